//! `kill -9` at seeded points of a mixed load, again and again on the same store.

use std::path::Path;

use millpond_crash_tests::check::Check;
use millpond_crash_tests::event::{DeadAction, Leases, NewEntry, Start, queues};
use millpond_crash_tests::random::Random;
use millpond_crash_tests::rules::{RuleScope, Says};
use millpond_crash_tests::stored::{Standing, StoredEntry, read};
use millpond_crash_tests::worker::{Worker, WorkerOptions};
use millpond_crash_tests::{Event, Oracle, Violation};

use crate::support::{check, endless, listen, number, runtime, scratch, seed, worker};

/// Kill points of a run without `MILLPOND_CRASH_POINTS`.
const POINTS: u64 = 20;
/// Kills that one store lives through.
const KILLS_PER_STORE: usize = 8;
/// Events before a kill, at most.
const EVENTS_MAX: usize = 8192;
/// Intents to purge before a kill, at most.
const PURGES_MAX: usize = 4;
/// Intents to replay or drop a dead letter before a kill, at most.
const DEAD_LETTERS_MAX: usize = 16;

/// Intents to change a rule before a kill, at most.
const RULES_MAX: usize = 32;

/// Where a worker is killed.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// While it opens the engine, or right before or after.
    Opening,
    /// Right after its k-th receipt.
    Receipt(usize),
    /// Right after its k-th intent.
    Intent(usize),
    /// Right after its k-th intent to purge a queue.
    Purge(usize),
    /// Right after its k-th intent to replay or drop a dead letter.
    DeadLetter(usize),
    /// Right after its k-th intent to change a rule.
    Rule(usize),
}

impl Point {
    fn choose(random: &mut Random) -> Self {
        // Small numbers are as likely as large ones: log-uniform.
        let bits = 1 + random.below(EVENTS_MAX.ilog2() as usize);
        let k = 1 + random.below(1 << bits);
        match random.below(13) {
            0 => Self::Opening,
            1..=7 => Self::Receipt(k),
            8 => Self::Purge(1 + random.below(PURGES_MAX)),
            9 => Self::DeadLetter(1 + random.below(DEAD_LETTERS_MAX)),
            10 => Self::Rule(1 + random.below(RULES_MAX)),
            _ => Self::Intent(k),
        }
    }
}

/// Kills a worker at a point. The oracle hears everything that was said before.
fn live_until(point: Point, options: &WorkerOptions, oracle: &mut Oracle) -> Result<(), Violation> {
    live_as(point, options, oracle, |event| event)
}

/// As [`live_until`], with a worker that says other things than it does.
fn live_as(
    point: Point,
    options: &WorkerOptions,
    oracle: &mut Oracle,
    said: impl Fn(Event) -> Event,
) -> Result<(), Violation> {
    let mut worker = Worker::start(worker(), options);
    let (mut receipts, mut intents, mut purges, mut dead_letters, mut rules) = (0, 0, 0, 0, 0);
    loop {
        let event = said(worker.next_event().expect("the load does not end by itself"));
        oracle.apply(&event)?;
        if event.is_receipt() {
            receipts += 1;
        } else if !matches!(
            event,
            Event::Opening { .. } | Event::Opened { .. } | Event::Rules { .. }
        ) {
            intents += 1;
            purges += usize::from(matches!(event, Event::Purge { .. }));
            dead_letters += usize::from(matches!(event, Event::DeadLetter { .. }));
            rules += usize::from(matches!(event, Event::Rule { .. }));
        }
        let reached = match point {
            Point::Opening => true,
            Point::Receipt(k) => event.is_receipt() && receipts >= k,
            Point::Intent(k) => intents >= k,
            Point::Purge(k) => purges >= k,
            Point::DeadLetter(k) => dead_letters >= k,
            Point::Rule(k) => rules >= k,
        };
        if reached {
            break;
        }
    }
    worker.kill();
    // What it said before it died, it said.
    while let Some(event) = worker.next_event() {
        oracle.apply(&said(event))?;
    }
    worker.wait();
    Ok(())
}

#[derive(Debug, Default)]
struct Totals {
    points: u64,
    stores: u64,
    receipts: u64,
    in_doubt: u64,
    enqueued: u64,
    delayed: u64,
    acked: u64,
    backed_off: u64,
    died: u64,
    replayed: u64,
    dropped: u64,
    purges: u64,
    purged: u64,
    rules: u64,
    late: u64,
}

/// One store from its creation through several kills.
fn life_of_a_store(
    directory: &Path,
    seed: u64,
    n_kills: usize,
    totals: &mut Totals,
) -> Result<(), (Point, Violation)> {
    let mut random = Random::new(seed);
    let n_partitions = 1 + u16::try_from(random.below(3)).expect("at most 3");
    let mut oracle = Oracle::new();
    let mut life = 1;
    for _ in 0..n_kills {
        let point = Point::choose(&mut random);
        let leases = if random.percent(70) { Leases::Keep } else { Leases::Release };
        let options =
            WorkerOptions { n_partitions, leases, ..endless(directory, random.next(), life) };
        live_until(point, &options, &mut oracle).map_err(|violation| (point, violation))?;
        totals.points += 1;
        life += 1;
        // A recovery that dies too, before the one that is checked.
        if random.percent(20) {
            let options = WorkerOptions { life, ..options };
            live_until(Point::Opening, &options, &mut oracle).map_err(|v| (point, v))?;
            totals.points += 1;
            life += 1;
        }
        let keep_first = random.percent(60);
        let seed = random.next();
        let reopened = Check { directory, n_partitions, seed, life, keep_first };
        let checked = check(&reopened, oracle).map_err(|violation| (point, violation))?;
        totals.late += checked.late.len() as u64;
        oracle = checked.oracle;
        life += 2;
    }
    let counts = oracle.counts();
    totals.stores += 1;
    totals.receipts += counts.receipts();
    totals.in_doubt += counts.in_doubt;
    totals.enqueued += counts.enqueued;
    totals.delayed += counts.delayed;
    totals.acked += counts.acked;
    totals.backed_off += counts.backed_off;
    totals.died += counts.died;
    totals.replayed += counts.replayed;
    totals.dropped += counts.dropped;
    totals.purges += counts.purges;
    totals.purged += counts.purged;
    totals.rules += counts.rules;
    Ok(())
}

#[test]
fn every_receipt_is_honoured_after_kill_9() {
    let seed = seed();
    let wanted = number("MILLPOND_CRASH_POINTS", POINTS);
    let mut totals = Totals::default();
    while totals.points < wanted {
        let store = totals.stores;
        let place = scratch();
        let left = usize::try_from(wanted - totals.points).unwrap_or(usize::MAX);
        let n_kills = KILLS_PER_STORE.min(left);
        let directory = place.path().join("data");
        let store_seed = Random::part(seed, store).next();
        if let Err((point, violation)) =
            life_of_a_store(&directory, store_seed, n_kills, &mut totals)
        {
            let kept = place.keep();
            panic!(
                "store {store}, killed at {point:?}: {violation}; seed {seed}, store kept at {}",
                kept.display()
            );
        }
    }
    println!(
        "crash points: {}, receipts honoured: {} ({} entries enqueued, {} of them to wait, {} acked, {} \
         backed off, {} dead, {} replayed, {} dropped, {} purged by {} purges, {} rules), \
         calls in doubt: {}, entries rightly late: {}, stores: {}, seed {seed}",
        totals.points,
        totals.receipts,
        totals.enqueued,
        totals.delayed,
        totals.acked,
        totals.backed_off,
        totals.died,
        totals.replayed,
        totals.dropped,
        totals.purged,
        totals.purges,
        totals.rules,
        totals.in_doubt,
        totals.late,
        totals.stores,
    );
}

/// The twin: a receipt for an entry that is not there. A check that does not miss it could not fail.
#[test]
fn a_store_that_lost_an_entry_is_caught() {
    let place = scratch();
    let directory = place.path().join("data");
    let mut oracle = Oracle::new();
    let options = endless(&directory, seed(), 1);
    live_until(Point::Receipt(40), &options, &mut oracle).expect("an honest worker");
    // A receipt that nobody gave.
    let op = 99 << 32;
    let marker = op << 8;
    let entry = NewEntry { marker, priority: 9, start: Start::Now };
    let intent = Event::Enqueue { op, queue: 1, entries: vec![entry], at_ms: 0 };
    oracle.apply(&intent).expect("an intent");
    oracle.apply(&Event::Enqueued { op, sequences: vec![1 << 40] }).expect("a receipt");
    let reopened =
        Check { directory: &directory, n_partitions: 1, seed: 1, life: 2, keep_first: false };
    assert_eq!(
        check(&reopened, oracle).expect_err("it is not there"),
        Violation::Lost { marker, queue: 1 }
    );
}

/// The twin of a purge: a receipt for one that did nothing.
#[test]
fn a_purge_that_removed_nothing_is_caught() {
    let place = scratch();
    let directory = place.path().join("data");
    let mut oracle = Oracle::new();
    let options = endless(&directory, seed(), 1);
    live_until(Point::Receipt(40), &options, &mut oracle).expect("an honest worker");
    let op = 99 << 32;
    let purged = |oracle: &Oracle, queue, n_entries| {
        let mut oracle = oracle.clone();
        oracle.apply(&Event::Purge { op, queue }).expect("an intent");
        let receipt = Event::Purged { op, n_entries, n_leased: 0 };
        oracle.apply(&receipt).is_ok().then_some(oracle)
    };
    let holds_something = |queue: &u32| purged(&oracle, *queue, 0).is_none();
    let queue = (0..queues::N_QUEUES).find(holds_something).expect("the worker enqueued");
    let lied = (1..).find_map(|n| purged(&oracle, queue, n)).expect("some number is right");
    let reopened =
        Check { directory: &directory, n_partitions: 1, seed: 1, life: 2, keep_first: true };
    let violation = check(&reopened, lied).expect_err("everything is there");
    assert!(matches!(violation, Violation::Revived { .. }), "{violation}");
}

/// The twin of a delay: a worker that asks for shorter ones than it says.
#[test]
fn an_engine_that_delivers_too_early_is_caught() {
    const LONGER_MS: u64 = 600_000;
    let place = scratch();
    let directory = place.path().join("data");
    let mut oracle = Oracle::new();
    let options = endless(&directory, seed(), 1);
    let longer = |event| match event {
        Event::Enqueue { op, queue, mut entries, at_ms } => {
            for entry in &mut entries {
                entry.start = match entry.start {
                    Start::After(ms) => Start::After(ms + LONGER_MS),
                    start => start,
                };
            }
            Event::Enqueue { op, queue, entries, at_ms }
        }
        event => event,
    };
    let caught = live_as(Point::Receipt(5000), &options, &mut oracle, longer);
    assert!(matches!(caught, Err(Violation::Early { .. })), "{caught:?}");
}

/// The twin of dead letters: a receipt for a replay that did nothing.
#[test]
fn a_replay_that_did_nothing_is_caught() {
    let place = scratch();
    let directory = place.path().join("data");
    let mut oracle = Oracle::new();
    let options = endless(&directory, seed(), 1);
    live_until(Point::DeadLetter(1), &options, &mut oracle).expect("an honest worker");
    let stored = runtime().block_on(read(&directory)).expect("a store");
    let op = 99 << 32;
    let replayed = |marker| {
        let mut oracle = oracle.clone();
        let action = DeadAction::Replay;
        oracle.apply(&Event::DeadLetter { op, marker, action }).expect("an intent");
        oracle.apply(&Event::DeadLetterDone { op }).expect("a receipt");
        oracle
    };
    let is_dead = |entry: &StoredEntry| matches!(entry.standing, Standing::Dead(_));
    let (&marker, _) = stored.iter().find(|(_, entry)| is_dead(entry)).expect("many fail");
    let reopened =
        Check { directory: &directory, n_partitions: 1, seed: 1, life: 2, keep_first: true };
    let violation = check(&reopened, replayed(marker)).expect_err("it is still dead");
    let why = "it was replayed";
    assert!(matches!(violation, Violation::StoredStage { why: w, .. } if w == why), "{violation}");
}

/// The twin of a rule: a receipt for one that nobody made.
#[test]
fn a_rule_that_was_lost_is_caught() {
    let place = scratch();
    let directory = place.path().join("data");
    let mut oracle = Oracle::new();
    let options = endless(&directory, seed(), 1);
    live_until(Point::Receipt(40), &options, &mut oracle).expect("an honest worker");
    let (op, scope) = (99 << 32, RuleScope::Topic(0));
    let says = Says { paused: true, n_max: Some(12_345) };
    oracle.apply(&Event::Rule { op, scope, says }).expect("an intent");
    oracle.apply(&Event::RuleSet { op }).expect("a receipt");
    let reopened =
        Check { directory: &directory, n_partitions: 1, seed: 1, life: 2, keep_first: true };
    let violation = check(&reopened, oracle).expect_err("it is not there");
    assert!(matches!(violation, Violation::WrongRule { .. }), "{violation}");
}

/// The twin of a limit: a worker whose limits are higher than it says.
#[test]
fn an_engine_that_leases_beyond_its_limits_is_caught() {
    let place = scratch();
    let directory = place.path().join("data");
    let mut oracle = Oracle::new();
    let options = endless(&directory, seed(), 1);
    let lower = |event| match event {
        Event::Rule { op, scope, says: Says { paused, n_max: Some(n_max) } } => {
            Event::Rule { op, scope, says: Says { paused, n_max: Some(n_max / 4) } }
        }
        event => event,
    };
    let caught = live_as(Point::Receipt(20_000), &options, &mut oracle, lower);
    let is_it =
        |v: &Violation| matches!(v, Violation::LimitExceeded { .. } | Violation::Stopped { .. });
    assert!(caught.as_ref().is_err_and(is_it), "{caught:?}");
}

#[test]
fn an_interrupt_closes_cleanly_and_leaves_nothing_in_doubt() {
    let place = scratch();
    let directory = place.path().join("data");
    let mut oracle = Oracle::new();
    let options = WorkerOptions { n_partitions: 2, ..endless(&directory, seed(), 1) };
    let mut worker = Worker::start(worker(), &options);
    for _ in 0..200 {
        let event = worker.next_event().expect("the load goes on");
        oracle.apply(&event).expect("it breaks no rule");
    }
    worker.interrupt();
    let said = listen(&mut worker, &mut oracle).expect("it breaks no rule");
    assert_eq!(said.last(), Some(&Event::Closed));
    assert!(worker.wait().success());
    assert_eq!(oracle.counts().in_doubt, 0);
    let reopened =
        Check { directory: &directory, n_partitions: 2, seed: 1, life: 2, keep_first: true };
    let checked = check(&reopened, oracle).expect("every receipt is honoured");
    assert_eq!(checked.oracle.counts().in_doubt, 0);
}
