use millpond::{EntryRank, Epoch, LeaseToken, Priority, Sequence};

use super::*;
use crate::clock::Micros;
use crate::replay::event::{Event, LeaseSeen};
use crate::replay::ledger::Ledger;
use crate::replay::picture::draw_comparison;
use crate::replay::report::tests::report_with;
use crate::replay::supervisor::{Ending, Outcome};
use crate::replay::workload::{JobIndex, Task};

/// One entry per job: whose it is.
const USERS: [usize; 7] = [0, 1, 1, 2, 1, 2, 1];

fn workload(discipline: Discipline) -> Workload {
    let queue = |user| if discipline == Discipline::Fair { user } else { 0 };
    let task =
        |user| Task { queue: queue(user), user, due_us: 0, run_us: 0, payload: String::new() };
    let users: Vec<_> = (0..3).map(|user| format!("user-{user}")).collect();
    let queues =
        if discipline == Discipline::Fair { users.clone() } else { vec!["all".to_owned()] };
    Workload { queues, users, tasks: USERS.map(task).to_vec(), span_s: 0 }
}

/// All jobs are accepted at the same time and leased after these waits, in the order of the waits.
fn report(discipline: Discipline, waits_ms: [u64; 7], n_problems: u64) -> Report {
    let workload = workload(discipline);
    let mut ledger = Ledger::new(workload.tasks.iter().map(|task| task.queue));
    let mut enter = |at_ms: u64, event| {
        ledger.enter(Micros(at_ms * 1000), &event).expect("a job of the replay");
    };
    enter(1, Event::Opened);
    let rank = |job: u32| EntryRank { priority: Priority(128), sequence: Sequence(job.into()) };
    for job in 0..7 {
        enter(2, Event::Accepted { job: JobIndex(job), rank: rank(job), call_us: 900 });
    }
    let mut turns: Vec<_> = waits_ms.into_iter().zip(0_u32..).collect();
    turns.sort_unstable();
    for ((wait_ms, job), number) in turns.into_iter().zip(1..) {
        let token = LeaseToken { epoch: Epoch(1), number };
        let lease = LeaseSeen { token, attempt: 1 };
        let rank = rank(job);
        let job = JobIndex(job);
        enter(2 + wait_ms, Event::Granted { job, rank, lease });
        enter(2 + wait_ms, Event::Acking { job, token });
        enter(2 + wait_ms, Event::Acked { job });
    }
    let outcome = Outcome {
        ledger,
        ending: Ending::Finished,
        crash: None,
        started_at: Micros(1000),
        ended_at: Micros(1_000_000),
    };
    report_with(&workload, &outcome, discipline, n_problems)
}

/// In one queue, jobs wait by their place; in queues of their own, one or two turns of three users.
const FIFO_MS: [u64; 7] = [100, 200, 300, 400, 500, 600, 700];
const FAIR_MS: [u64; 7] = [10, 20, 200, 30, 400, 40, 700];

fn comparison(fifo_ms: [u64; 7], fair_ms: [u64; 7]) -> Comparison {
    let fifo = report(Discipline::Fifo, fifo_ms, 0);
    let fair = report(Discipline::Fair, fair_ms, 0);
    Comparison::new(&workload(Discipline::Fair), fifo, fair)
}

/// Within the precision of a histogram.
fn assert_about(us: u64, expected_us: u64) {
    assert!(us.abs_diff(expected_us) <= expected_us / 500, "{us} is not {expected_us}");
}

#[test]
fn the_others_are_all_but_the_user_with_most_jobs() {
    let compared = comparison(FIFO_MS, FAIR_MS);
    assert!(compared.passed, "{}", compared.to_text());
    let names: Vec<_> = compared.users.iter().map(|user| (&*user.user, user.jobs)).collect();
    assert_eq!(names, [("user-1", 4), ("user-2", 2), ("user-0", 1)]);
    let heaviest = compared.heaviest.as_ref().expect("there are users");
    assert_eq!(heaviest.user, "user-1");
    assert_about(heaviest.fifo.p50_us, 300_000);
    assert_about(heaviest.fair.p50_us, 200_000);
    assert_about(heaviest.fair.p99_us, 700_000);
    // Of user-2 and user-0: 600 and 100 ms in one queue, 40 and 10 ms in their own.
    let others = compared.others.expect("there are two more");
    assert_eq!(others.users, 2);
    assert_about(others.fifo_p99_us, 350_000);
    assert_about(others.fair_p99_us, 25_000);
    assert!((others.times_shorter - 14.0).abs() < 0.1, "{others:?}");
}

#[test]
fn the_sentence_claims_no_more_than_was_measured() {
    let shorter = comparison(FIFO_MS, FAIR_MS);
    let sentence = shorter.sentence();
    let claim = "the heaviest user, user-1 with 4 of 7 jobs, no longer delays the others";
    assert!(sentence.contains(claim) && sentence.contains("14 times shorter"), "{sentence}");
    assert!(shorter.to_text().contains(&sentence));
    for (fifo_ms, fair_ms) in [(FIFO_MS, FIFO_MS), (FAIR_MS, FIFO_MS)] {
        let sentence = comparison(fifo_ms, fair_ms).sentence();
        assert!(!sentence.contains("no longer"), "{sentence}");
    }
}

#[test]
fn replays_that_took_unequally_long_prove_nothing() {
    let slower = comparison(FIFO_MS.map(|wait_ms| wait_ms * 3), FAIR_MS);
    assert!(slower.others.is_some_and(|others| others.times_shorter > 10.0) && !slower.even);
    let sentence = slower.sentence();
    assert!(sentence.contains("says little") && !sentence.contains("no longer"), "{sentence}");
    assert!(is_even(100, 125) && is_even(125, 100) && !is_even(100, 126) && is_even(0, 0));
}

#[test]
fn one_user_is_compared_to_nobody() {
    let (fifo, fair) = (report(Discipline::Fifo, FIFO_MS, 0), report(Discipline::Fair, FAIR_MS, 0));
    let mut alone = workload(Discipline::Fair);
    alone.users.truncate(1);
    alone.tasks.truncate(1);
    let compared = Comparison::new(&alone, fifo, fair);
    assert_eq!((compared.users.len(), compared.others), (1, None));
    assert!(compared.sentence().contains("not two users"));
    let svg = draw_comparison(&compared).expect("it can be drawn");
    assert!(!svg.contains("NaN"));
}

#[test]
fn a_comparison_passes_only_if_both_replays_did() {
    let workload = workload(Discipline::Fair);
    let [fifo, fair] = [(Discipline::Fifo, FIFO_MS), (Discipline::Fair, FAIR_MS)]
        .map(|(discipline, waits_ms)| move |n_problems| report(discipline, waits_ms, n_problems));
    for (n_fifo, n_fair, passed) in [(0, 0, true), (1, 0, false), (0, 1, false)] {
        let compared = Comparison::new(&workload, fifo(n_fifo), fair(n_fair));
        assert_eq!(compared.passed, passed);
        assert_eq!(compared.to_text().contains("FAILED"), !passed);
    }
}

#[test]
fn the_picture_shows_both_disciplines_and_the_figures() {
    let svg = draw_comparison(&comparison(FIFO_MS, FAIR_MS)).expect("it can be drawn");
    for text in ["one queue for all", "one queue per user", "14 times", "350 ms", "25.0 ms"] {
        assert!(svg.contains(text), "{text}");
    }
    assert!(!svg.contains("NaN"));
}

#[test]
fn the_median_of_an_even_number_lies_between_the_middle_ones() {
    assert_eq!(median(vec![]), None);
    assert_eq!((median(vec![7]), median(vec![9, 1])), (Some(7), Some(5)));
    assert_eq!((median(vec![3, 1, 2]), median(vec![4, 1, 2, 9])), (Some(2), Some(3)));
}
