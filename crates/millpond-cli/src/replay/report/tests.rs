use millpond::{EntryRank, Epoch, LeaseToken, Priority, Sequence};

use super::*;
use crate::failure::Exit;
use crate::replay::event::{Event, LeaseSeen};
use crate::replay::ledger::Ledger;
use crate::replay::picture::{Curves, draw};
use crate::replay::supervisor::Crash;
use crate::replay::workload::{Discipline, JobIndex, Task};

fn workload(n_jobs: usize) -> Workload {
    let task = Task { queue: 0, user: 0, due_us: 0, run_us: 0, payload: String::new() };
    let names = vec!["user-1".to_owned()];
    Workload { queues: names.clone(), users: names, tasks: vec![task; n_jobs], span_s: 0 }
}

fn rank(job: u32) -> EntryRank {
    EntryRank { priority: Priority(128), sequence: Sequence(job.into()) }
}

fn accepted(job: u32) -> Event {
    Event::Accepted { job: JobIndex(job), rank: rank(job), call_us: 900 }
}

/// A job from its receipt to the receipt of its acknowledgement.
fn done(job: u32, number: u64) -> [Event; 4] {
    let token = LeaseToken { epoch: Epoch(1), number };
    let lease = LeaseSeen { token, attempt: 1 };
    let job = JobIndex(job);
    let granted = Event::Granted { job, rank: rank(job.0), lease };
    [accepted(job.0), granted, Event::Acking { job, token }, Event::Acked { job }]
}

fn outcome(n_jobs: usize, ending: Ending, events: impl IntoIterator<Item = Event>) -> Outcome {
    let mut ledger = Ledger::new(vec![0; n_jobs]);
    let mut now = 1000;
    for event in [Event::Opened].into_iter().chain(events) {
        now += 1000;
        ledger.enter(Micros(now), &event).expect("a job of the replay");
    }
    Outcome { ledger, ending, crash: None, started_at: Micros(1000), ended_at: Micros(now) }
}

fn report_of(n_jobs: usize, outcome: &Outcome, n_problems: u64) -> Report {
    report_with(&workload(n_jobs), outcome, Discipline::Fair, n_problems)
}

/// Of a replay after which a verification found so many problems.
pub(in crate::replay) fn report_with(
    workload: &Workload,
    outcome: &Outcome,
    discipline: Discipline,
    n_problems: u64,
) -> Report {
    let settings = Settings {
        log: "log.swf".to_owned(),
        speed: "max".to_owned(),
        run_ms: Some(5),
        discipline,
        workers: 1,
        partitions: 1,
        topic: "jobs".to_owned(),
        crash_after_acks: None,
        engine: "millpond",
        sync_policy: "synced",
    };
    let problems = (0..n_problems).map(|n| format!("problem {n}")).collect();
    let check = PartitionCheck { n_problems, problems, ..PartitionCheck::default() };
    Report::new(settings, workload, outcome, &outcome.ledger.samples(), vec![check])
}

#[test]
fn a_replay_passes_only_if_everything_was_done_and_every_promise_kept() {
    let all = || outcome(2, Ending::Finished, done(0, 1).into_iter().chain(done(1, 2)));
    let report = report_of(2, &all(), 0);
    assert!(report.passed && report.to_text().contains("every promise was kept"));
    assert_eq!((report.accepted, report.acked, report.unfinished), (2, 2, 0));
    assert_eq!((report.enqueue.n, report.enqueue.p50_us), (2, 900));

    let unclean = report_of(2, &all(), 1);
    assert!(!unclean.passed && unclean.to_text().contains("partition verify: problem 0"));
    let swapped =
        outcome(2, Ending::Finished, [accepted(0)].into_iter().chain(done(1, 1)).chain(done(0, 2)));
    let swapped = report_of(2, &swapped, 0);
    assert!(!swapped.passed && swapped.to_text().contains("FAILED"));
    assert_eq!(swapped.violations.out_of_order, 1);
    let stalled = outcome(2, Ending::Stalled, done(0, 1).into_iter().chain([accepted(1)]));
    let stalled = report_of(2, &stalled, 0);
    assert_eq!((stalled.passed, stalled.unfinished, stalled.ending), (false, 1, "stalled"));
}

#[test]
fn a_lost_entry_fails_the_replay_and_is_told() {
    let mut lost = outcome(2, Ending::Finished, done(0, 1).into_iter().chain([accepted(1)]));
    lost.ledger.enter(Micros(9000), &Event::Opened).expect("no job is concerned");
    lost.ledger.settle(Micros(9100));
    assert!(lost.ledger.is_finished());
    let report = report_of(2, &lost, 0);
    assert_eq!((report.passed, report.violations.lost), (false, 1));
    assert!(report.to_text().contains("never acknowledged, and is gone"), "{}", report.to_text());
}

#[test]
fn an_interrupted_replay_is_no_broken_promise() {
    let ending = Ending::Interrupted(Exit::Interrupted);
    let report = report_of(3, &outcome(3, ending, done(0, 1)), 0);
    assert!(!report.passed && report.to_text().contains("as far as it went"));
}

#[test]
fn every_replay_can_be_drawn() {
    let nothing = outcome(1, Ending::Interrupted(Exit::Interrupted), []);
    let one = outcome(1, Ending::Finished, done(0, 1));
    let mut crashed = outcome(2, Ending::Finished, done(0, 1).into_iter().chain(done(1, 2)));
    let settled = Settled::default();
    crashed.crash = Some(Crash { killed_at: Micros(6000), reopened_at: Micros(8000), settled });
    for (n_jobs, outcome) in [(1, nothing), (1, one), (2, crashed)] {
        let report = report_of(n_jobs, &outcome, 0);
        let curves = Curves::new(&outcome, &outcome.ledger.samples());
        let svg = draw(&report, &curves).expect("it can be drawn");
        assert!(svg.contains("Waiting by user") && !svg.contains("NaN"));
        assert_eq!(svg.contains("kill -9"), outcome.crash.is_some());
    }
}
