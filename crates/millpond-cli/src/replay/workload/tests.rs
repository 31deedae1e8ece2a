use super::*;

fn job(number: u64, submit_s: Option<u64>, run_s: Option<u64>, user: Option<u64>) -> swf::Job {
    swf::Job { number, submit_s, run_s, n_processors: None, user, application: None }
}

fn plan(jobs: &[swf::Job], speed: Speed) -> Workload {
    let pace = Pace { speed, run_us: None };
    Workload::plan(jobs, pace, Discipline::Fair).expect("a few jobs")
}

#[test]
fn a_speed_is_max_or_a_positive_number() {
    assert_eq!("max".parse(), Ok(Speed::Max));
    assert_eq!("2.5".parse(), Ok(Speed::Times(2.5)));
    for bad in ["0", "-1", "nan", "inf", "-0", "", "fast", "1e999"] {
        assert!(bad.parse::<Speed>().is_err(), "{bad}");
    }
}

#[test]
fn times_are_scaled_from_the_first_submission() {
    let jobs = vec![job(1, Some(100), Some(20), Some(7)), job(2, Some(150), None, Some(8))];
    let workload = plan(&jobs, Speed::Times(10.0));
    let times: Vec<_> = workload.tasks.iter().map(|task| (task.due_us, task.run_us)).collect();
    assert_eq!(times, [(0, 2_000_000), (5_000_000, 0)]);
    assert_eq!((workload.span_s, workload.longest_run_us()), (50, 2_000_000));
    let at_once = plan(&jobs, Speed::Max);
    assert!(at_once.tasks.iter().all(|task| (task.due_us, task.run_us) == (0, 0)));
    let pace = Pace { speed: Speed::Times(10.0), run_us: Some(3_000) };
    let alike = Workload::plan(&jobs, pace, Discipline::Fair).expect("two jobs");
    assert!(alike.tasks.iter().all(|task| task.run_us == 3_000));
}

#[test]
fn every_user_has_a_queue_and_the_unknown_one_too() {
    let users = [Some(3), None, Some(3), Some(1)];
    let jobs: Vec<_> =
        users.iter().zip(1..).map(|(user, n)| job(n, Some(n), Some(1), *user)).collect();
    let workload = plan(&jobs, Speed::Max);
    assert_eq!(workload.queues, ["user-3", "user-unknown", "user-1"]);
    let queues: Vec<_> = workload.tasks.iter().map(|task| task.queue).collect();
    assert_eq!(queues, [0, 1, 0, 2]);

    let pace = Pace { speed: Speed::Max, run_us: None };
    let shared = Workload::plan(&jobs, pace, Discipline::Fifo).expect("four jobs");
    assert_eq!((shared.queues.len(), &shared.users), (1, &workload.users));
    let places: Vec<_> = shared.tasks.iter().map(|task| (task.queue, task.user)).collect();
    assert_eq!(places, [(0, 0), (0, 1), (0, 0), (0, 2)]);
}

#[test]
fn an_unknown_submit_time_is_that_of_the_job_before() {
    let jobs = vec![
        job(1, None, None, None),
        job(2, Some(9), None, None),
        job(3, None, None, None),
        job(4, Some(5), None, None),
    ];
    let workload = plan(&jobs, Speed::Times(1.0));
    let numbers: Vec<_> = workload
        .tasks
        .iter()
        .map(|task| task.payload.split(',').next().expect("a first field").to_owned())
        .collect();
    assert_eq!(numbers, ["{\"number\":1", "{\"number\":4", "{\"number\":2", "{\"number\":3"]);
}
