//! What a call of `schedule` costs beside a worker that is awake.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use millpond_promotion::{Ended, Pool, Rejection, Scheduled};

use super::{Outcome, Promote, SLOTS, install, pool};
use crate::measure::{Effort, count, median};
use crate::report::{Figure, Report};

/// Calls that are timed together.
const N_CALLS: usize = 1_000;
/// Such batches in a run.
const N_BATCHES: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Filling,
    Overwriting,
    Draining,
}

pub(super) const CASES: [Case; 3] = [Case::Filling, Case::Overwriting, Case::Draining];

impl Case {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Filling => "schedule, filling",
            Self::Overwriting => "schedule, overwriting",
            Self::Draining => "schedule, draining",
        }
    }
}

pub(super) fn run(report: &mut Report, effort: Effort, case: Case) -> Outcome<()> {
    let (mut ours, mut theirs, mut ratios, mut woken) = (vec![], vec![], vec![], vec![]);
    for _ in 0..effort.n_runs {
        let (pool_ns, n_wakeups) = match case {
            Case::Filling | Case::Overwriting => (beside_one_that_is_inside(case)?, 0),
            Case::Draining => beside_one_that_drains()?,
        };
        let push_ns = raw(case)?;
        ours.push(pool_ns);
        theirs.push(push_ns);
        ratios.push(pool_ns / push_ns);
        woken.push(count(n_wakeups) / count(N_CALLS * N_BATCHES) * 1e3);
    }
    let figure = |subject, metric, value, unit, ratio: Option<f64>| Figure {
        bench: "promotion",
        case: case.name(),
        subject,
        metric,
        value,
        unit,
        ratio,
        ratio_to: ratio.map(|_| "force-push"),
    };
    report.figure(&figure("pool", "schedule", median(ours), "ns", Some(median(ratios))))?;
    if case == Case::Draining {
        report.figure(&figure("pool", "wake-ups", median(woken), "of 1000", None))?;
    }
    report.figure(&figure("force-push", "push", median(theirs), "ns", None))?;
    Ok(())
}

/// A worker that stays inside the executor until this is dropped.
struct Occupied {
    pool: Pool<Promote>,
    _stays: Sender<()>,
}

impl Occupied {
    fn new() -> Outcome<Self> {
        let (stays, leaves) = mpsc::channel::<()>();
        let leaves = Mutex::new(leaves);
        let pool = pool(move |_| {
            let _ = leaves.lock().map(|leaves| leaves.recv());
            Ended::Installed
        })?;
        let _ = pool.schedule(Promote::new(u64::MAX));
        while pool.stats().n_in_flight == 0 {
            std::thread::yield_now();
        }
        Ok(Self { pool, _stays: stays })
    }
}

fn beside_one_that_is_inside(case: Case) -> Outcome<f64> {
    let mut batches = Vec::new();
    let mut occupied = Occupied::new()?;
    let mut keys = 0..;
    let (mut n_full, mut n_queued, mut n_evicting) = (0_u64, 0_u64, 0_u64);
    let mut batch = |pool: &Pool<Promote>, n: usize| {
        let started = now();
        for key in keys.by_ref().take(n) {
            match black_box(pool.schedule(Promote::new(key))) {
                Scheduled::Queued => n_queued += 1,
                Scheduled::QueuedEvicting(_) => n_evicting += 1,
                // Two fingerprints that are the same, or a full cell.
                Scheduled::Rejected { why: Rejection::Duplicate | Rejection::Full, .. } => {
                    n_full += 1
                }
                Scheduled::Rejected { .. } => {}
            }
        }
        ns_per_call(started.elapsed())
    };
    if case == Case::Overwriting {
        batch(&occupied.pool, SLOTS);
    }
    for _ in 0..N_BATCHES {
        if case == Case::Filling {
            occupied = Occupied::new()?;
        }
        batches.push(batch(&occupied.pool, N_CALLS));
    }
    let n_calls = N_CALLS * N_BATCHES + if case == Case::Overwriting { SLOTS } else { 0 };
    let n_last = occupied.pool.stats();
    let is_right = n_queued + n_evicting + n_full == u64::try_from(n_calls)?
        && n_full <= u64::try_from(n_calls / 1_000)?
        && n_last.n_wakeups <= 1
        && (case == Case::Overwriting) == (n_evicting > 0);
    if !is_right {
        return Err(format!("{n_queued} {n_evicting} {n_full}: {n_last:?}").into());
    }
    Ok(median(batches))
}

/// The worker takes what comes. Gives how often it had to be woken, too.
fn beside_one_that_drains() -> Outcome<(f64, u64)> {
    let pool = pool(install)?;
    let mut batches = Vec::new();
    let mut keys = 0..;
    for _ in 0..N_BATCHES {
        let started = now();
        for key in keys.by_ref().take(N_CALLS) {
            let _ = black_box(pool.schedule(Promote::new(key)));
        }
        batches.push(ns_per_call(started.elapsed()));
    }
    let closed = pool.close(Duration::MAX);
    let stats = pool.stats();
    let n_calls = u64::try_from(N_CALLS * N_BATCHES)?;
    if closed.still_running > 0
        || stats.n_submitted != n_calls
        || stats.n_installed + stats.n_evicted != stats.n_accepted
    {
        return Err(format!("{closed:?}, {stats:?}").into());
    }
    Ok((median(batches), stats.n_wakeups))
}

fn raw(case: Case) -> Outcome<f64> {
    let ring = Arc::new(ArrayQueue::<Promote>::new(SLOTS));
    let is_over = Arc::new(AtomicBool::new(false));
    let drain = (case == Case::Draining).then(|| {
        let (ring, is_over) = (ring.clone(), is_over.clone());
        std::thread::spawn(move || {
            let mut n_popped = 0;
            while !is_over.load(Ordering::Acquire) || !ring.is_empty() {
                match ring.pop() {
                    Some(promote) => n_popped += usize::from(black_box(promote).key < u64::MAX),
                    None => spin_loop(),
                }
            }
            n_popped
        })
    });
    let mut batches = Vec::new();
    let mut keys = 0..;
    let mut n_out = 0;
    if case == Case::Overwriting {
        for _ in 0..SLOTS {
            let _ = ring.force_push(Promote::new(0));
        }
    }
    for _ in 0..N_BATCHES {
        if case == Case::Filling {
            while ring.pop().is_some() {
                n_out += 1;
            }
        }
        let started = now();
        for key in keys.by_ref().take(N_CALLS) {
            n_out += usize::from(black_box(ring.force_push(Promote::new(key))).is_some());
        }
        batches.push(ns_per_call(started.elapsed()));
    }
    is_over.store(true, Ordering::Release);
    n_out +=
        drain.map_or(Ok(0), std::thread::JoinHandle::join).map_err(|_| "the drain panicked")?;
    let n_in = N_CALLS * N_BATCHES + if case == Case::Overwriting { SLOTS } else { 0 };
    if n_out + ring.len() != n_in {
        return Err(format!("{n_out} came out of {n_in}").into());
    }
    Ok(median(batches))
}

fn ns_per_call(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e9 / count(N_CALLS)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}
