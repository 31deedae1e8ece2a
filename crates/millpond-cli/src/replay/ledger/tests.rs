use millpond::{Epoch, Priority, Sequence};

use super::*;

/// A run of one queue whose jobs are entries with ten times their number as sequence.
struct Run {
    ledger: Ledger,
    now: u64,
}

fn rank(job: u32) -> EntryRank {
    EntryRank { priority: Priority(128), sequence: Sequence(u64::from(job) * 10 + 10) }
}

fn lease(epoch: u64, number: u64, attempt: u32) -> LeaseSeen {
    LeaseSeen { token: LeaseToken { epoch: Epoch(epoch), number }, attempt }
}

impl Run {
    fn of(n_jobs: usize) -> Self {
        let mut run = Self { ledger: Ledger::new(vec![0; n_jobs]), now: 0 };
        run.event(Event::Opened);
        assert_eq!(run.settle().1.len(), n_jobs, "a new store holds nothing");
        run
    }

    fn event(&mut self, event: Event) -> &mut Self {
        self.now += 100;
        self.ledger.enter(Micros(self.now), &event).expect("a job of the run");
        self
    }

    fn settle(&mut self) -> (Settled, Vec<JobIndex>) {
        self.now += 100;
        self.ledger.settle(Micros(self.now))
    }

    fn accepted(&mut self, job: u32) -> &mut Self {
        self.event(Event::Accepted { job: JobIndex(job), rank: rank(job), call_us: 7 })
    }

    fn granted(&mut self, job: u32, lease: LeaseSeen) -> &mut Self {
        self.event(Event::Granted { job: JobIndex(job), rank: rank(job), lease })
    }

    fn acking(&mut self, job: u32, lease: LeaseSeen) -> &mut Self {
        self.event(Event::Acking { job: JobIndex(job), token: lease.token })
    }

    fn acked(&mut self, job: u32) -> &mut Self {
        self.event(Event::Acked { job: JobIndex(job) })
    }

    fn done(&mut self, job: u32, lease: LeaseSeen) -> &mut Self {
        self.granted(job, lease).acking(job, lease).acked(job)
    }

    fn found(&mut self, job: u32, lease: Option<LeaseSeen>) -> &mut Self {
        self.event(Event::Found { job: JobIndex(job), rank: rank(job), lease })
    }

    fn violations(&self) -> Violations {
        self.ledger.violations()
    }
}

#[test]
fn a_run_without_a_crash_adds_up() {
    let mut run = Run::of(2);
    run.accepted(0).accepted(1).done(0, lease(1, 1, 1));
    assert!(!run.ledger.is_finished());
    run.done(1, lease(1, 2, 1));
    assert!(run.ledger.is_finished());
    assert_eq!((run.ledger.n_accepted(), run.ledger.n_acked()), (2, 2));
    assert_eq!(run.violations(), Violations::default());
}

#[test]
fn a_crash_leaves_no_job_in_doubt() {
    let mut run = Run::of(6);
    // 0: done. 1: acking, gone. 2: acking, still there. 3: leased. 4: receipt not heard. 5: nothing.
    for job in 0..4 {
        run.accepted(job);
    }
    run.done(0, lease(1, 1, 1));
    run.granted(1, lease(1, 2, 1)).acking(1, lease(1, 2, 1));
    run.granted(2, lease(1, 3, 1)).acking(2, lease(1, 3, 1));
    run.granted(3, lease(1, 4, 1));
    run.event(Event::Opened);
    run.found(2, Some(lease(1, 3, 1))).found(3, Some(lease(1, 4, 1))).found(4, None);
    let (settled, to_enqueue) = run.settle();
    let expected = Settled { accepted: 1, acked: 1, granted: 0, released: 2, to_enqueue: 1 };
    assert_eq!(settled, expected);
    assert_eq!(to_enqueue, [JobIndex(5)]);
    run.accepted(5);
    run.done(2, lease(2, 1, 2)).done(3, lease(2, 2, 2));
    run.done(4, lease(2, 3, 1)).done(5, lease(2, 4, 1));
    assert!(run.ledger.is_finished());
    assert_eq!((run.ledger.n_accepted(), run.ledger.n_acked()), (6, 6));
    assert_eq!(run.ledger.n_redelivered(), 2);
    assert_eq!(run.violations(), Violations::default());
}

#[test]
fn an_entry_that_vanished_is_lost() {
    let mut run = Run::of(2);
    run.accepted(0).accepted(1).granted(1, lease(1, 1, 1));
    run.event(Event::Opened);
    let (_, to_enqueue) = run.settle();
    assert_eq!(to_enqueue, [], "what was accepted is not enqueued again");
    assert_eq!(run.violations().lost, 2);
    assert!(run.ledger.is_finished(), "nobody waits for a lost entry");
}

#[test]
fn an_acknowledged_entry_that_is_there_again_is_revived() {
    let mut run = Run::of(1);
    run.accepted(0).done(0, lease(1, 1, 1));
    run.event(Event::Opened);
    run.found(0, Some(lease(1, 1, 1)));
    run.settle();
    assert_eq!(run.violations().revived, 1);
    run.granted(0, lease(2, 1, 2));
    assert_eq!(run.violations().revived, 2);
}

#[test]
fn a_lease_that_the_store_forgot_is_noticed() {
    for stored in [None, Some(lease(1, 3, 1))] {
        let mut run = Run::of(1);
        run.accepted(0).granted(0, lease(1, 4, 1));
        run.event(Event::Opened);
        run.found(0, stored);
        run.settle();
        assert_eq!(run.violations().forgotten_leases, 1, "{stored:?}");
    }
}

#[test]
fn a_token_or_attempt_that_does_not_grow_is_noticed() {
    for again in [lease(1, 4, 2), lease(2, 1, 1), lease(2, 1, 3)] {
        let mut run = Run::of(1);
        run.accepted(0).granted(0, lease(1, 4, 1));
        run.event(Event::Opened);
        run.found(0, Some(lease(1, 4, 1)));
        run.settle();
        run.granted(0, again);
        assert_eq!(run.violations().forgotten_leases, 1, "{again:?}");
    }
}

#[test]
fn one_job_with_two_entries_is_noticed() {
    let mut run = Run::of(2);
    run.accepted(0);
    run.event(Event::Granted { job: JobIndex(0), rank: rank(1), lease: lease(1, 1, 1) });
    assert_eq!(run.violations().duplicated, 1);
}

#[test]
fn a_swapped_grant_order_is_flagged() {
    let mut run = Run::of(2);
    run.accepted(0).accepted(1).done(1, lease(1, 1, 1)).done(0, lease(1, 2, 1));
    assert_eq!(run.violations().out_of_order, 1);
}

#[test]
fn a_grant_that_only_the_store_remembers_is_no_gap_in_the_order() {
    let mut run = Run::of(2);
    run.accepted(0).accepted(1);
    // The worker that held 0 was killed before it could say so.
    run.granted(1, lease(1, 2, 1));
    assert_eq!(run.violations().out_of_order, 1, "without the store it looks like one");
    run.event(Event::Opened);
    run.found(0, Some(lease(1, 1, 1))).found(1, Some(lease(1, 2, 1)));
    let (settled, _) = run.settle();
    assert_eq!((settled.granted, settled.released), (1, 2));
    run.done(0, lease(2, 1, 2)).done(1, lease(2, 2, 2));
    assert_eq!(run.violations(), Violations::default());
}

#[test]
fn a_job_that_was_placed_before_its_predecessor_is_noticed() {
    let mut run = Run::of(2);
    run.event(Event::Accepted { job: JobIndex(0), rank: rank(1), call_us: 1 });
    run.event(Event::Accepted { job: JobIndex(1), rank: rank(0), call_us: 1 });
    assert_eq!(run.violations().misplaced, 1);
}

#[test]
fn an_event_before_its_receipt_is_no_contradiction() {
    let mut run = Run::of(1);
    run.granted(0, lease(1, 1, 1)).accepted(0);
    run.acking(0, lease(1, 1, 1)).acked(0);
    assert_eq!(run.violations(), Violations::default());
    assert_eq!(run.ledger.n_accepted(), 1);
}

#[test]
fn an_expired_lease_is_a_redelivery() {
    let mut run = Run::of(1);
    run.accepted(0).granted(0, lease(1, 1, 1)).acking(0, lease(1, 1, 1));
    run.event(Event::Refused { job: JobIndex(0) });
    run.done(0, lease(1, 2, 2));
    assert_eq!((run.ledger.n_redelivered(), run.ledger.n_refused()), (1, 1));
    assert_eq!(run.violations(), Violations::default());
}

#[test]
fn waits_are_counted_from_ready_and_downtime_is_nobodys_latency() {
    let mut run = Run::of(1);
    run.accepted(0);
    let accepted_at = run.now;
    run.now += 1_000_000;
    run.event(Event::Opened).found(0, None);
    run.settle();
    let opened_at = run.ledger.lives[1].0;
    run.granted(0, lease(2, 1, 1));
    let samples = run.ledger.samples();
    assert_eq!(samples.ready_to_leased_us, [run.now - opened_at]);
    assert_eq!(samples.waits_us, [Some(run.now - accepted_at)]);
    assert_eq!(samples.enqueue_us, [7]);
}

#[test]
fn a_running_job_is_known_until_it_is_acknowledged() {
    let mut run = Run::of(1);
    assert_eq!(run.ledger.leased_at(JobIndex(0)), None);
    run.accepted(0).granted(0, lease(1, 1, 1));
    assert_eq!(run.ledger.leased_at(JobIndex(0)), Some(Micros(run.now)));
    run.acking(0, lease(1, 1, 1));
    assert_eq!(run.ledger.leased_at(JobIndex(0)), None);
}

#[test]
fn an_unknown_job_is_refused() {
    let mut run = Run::of(1);
    let event = Event::Acked { job: JobIndex(1) };
    assert_eq!(run.ledger.enter(Micros(1), &event), Err(UnknownJob(1)));
}
