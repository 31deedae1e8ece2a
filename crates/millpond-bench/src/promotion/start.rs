//! How soon a request starts whose worker has nothing to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use millpond_promotion::{Ended, Request, Scheduled};

use super::{Outcome, SLOTS};
use crate::measure::{Effort, count, median};
use crate::report::{Figure, Report};

pub(super) const CASE: &str = "start";
/// Requests in a run.
const N_STARTS: usize = 200;
/// Long enough for a worker to fall asleep.
const PAUSE: Duration = Duration::from_micros(500);
/// Each pause is longer by this than the last one, modulo the other's period, so that all of its phases are met.
const PAUSE_STEP: Duration = Duration::from_micros(389);
/// How often the one that polls looks.
pub(super) const PERIOD: Duration = Duration::from_millis(1);

/// When it was asked for.
struct Asked(Instant);

impl Request for Asked {
    fn key_hash(&self) -> u64 {
        7
    }

    fn n_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

pub(super) fn run(report: &mut Report, effort: Effort) -> Outcome<()> {
    let (mut ours, mut theirs) = (Percentiles::default(), Percentiles::default());
    for _ in 0..effort.n_runs {
        ours.add(parked()?);
        theirs.add(polled()?);
    }
    for (subject, percentiles, peer) in [("pool", &ours, Some(&theirs)), ("polling", &theirs, None)]
    {
        for (metric, values, peers) in [
            ("p50", &percentiles.p50, peer.map(|peer| &peer.p50)),
            ("p99", &percentiles.p99, peer.map(|peer| &peer.p99)),
        ] {
            let ratio = peers.map(|peers| {
                median(values.iter().zip(peers).map(|(value, peer)| value / peer).collect())
            });
            report.figure(&Figure {
                bench: "promotion",
                case: CASE,
                subject,
                metric,
                value: median(values.clone()),
                unit: "µs",
                ratio,
                ratio_to: ratio.map(|_| "polling"),
            })?;
        }
    }
    Ok(())
}

/// Of each run.
#[derive(Default)]
struct Percentiles {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Percentiles {
    fn add(&mut self, mut waits: Vec<Duration>) {
        waits.sort_unstable();
        let at = |part: usize| waits[(waits.len() - 1) * part / 100].as_secs_f64() * 1e6;
        self.p50.push(at(50));
        self.p99.push(at(99));
    }
}

fn parked() -> Outcome<Vec<Duration>> {
    let (started, starts) = mpsc::channel();
    let executor = move |asked: Asked| {
        let _ = started.send(now() - asked.0);
        Ended::Installed
    };
    let options = millpond_promotion::PoolOptions { workers: 1, ..Default::default() };
    let pool = millpond_promotion::Pool::new(options, executor)?;
    let waits = ask(&starts, || match pool.schedule(Asked(now())) {
        Scheduled::Queued => Ok(()),
        _ => Err("the last one has not ended".into()),
    })?;
    let stats = pool.stats();
    // Nearly each must have found the worker asleep.
    if count(stats.n_wakeups) < count(N_STARTS) * 0.98 {
        return Err(format!("the worker was awake: {stats:?}").into());
    }
    Ok(waits)
}

fn polled() -> Outcome<Vec<Duration>> {
    let (started, starts) = mpsc::channel();
    let polling = Polling::new(started);
    ask(&starts, || match polling.ring.force_push(Asked(now())) {
        None => Ok(()),
        Some(_) => Err("the ring overflowed".into()),
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark lets time pass")]
fn ask(starts: &Receiver<Duration>, push: impl Fn() -> Outcome<()>) -> Outcome<Vec<Duration>> {
    let mut waits = Vec::new();
    let mut extra = Duration::ZERO;
    for _ in 0..N_STARTS {
        std::thread::sleep(PAUSE + extra);
        extra = (extra + PAUSE_STEP).checked_sub(PERIOD).unwrap_or(extra + PAUSE_STEP);
        push()?;
        waits.push(starts.recv()?);
    }
    Ok(waits)
}

/// A thread that looks at a ring once in a period.
pub(super) struct Polling {
    ring: Arc<ArrayQueue<Asked>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Polling {
    fn new(started: Sender<Duration>) -> Self {
        let (ring, is_over) = (Arc::new(ArrayQueue::new(SLOTS)), Arc::new(AtomicBool::new(false)));
        let (polled, over) = (ring.clone(), is_over.clone());
        let thread = std::thread::Builder::new().name("polling".to_owned()).spawn(move || {
            while !over.load(Ordering::Acquire) {
                while let Some(Asked(at)) = polled.pop() {
                    let _ = started.send(now() - at);
                }
                rest();
            }
        });
        Self { ring, is_over, thread: thread.ok() }
    }

    /// With nothing to do.
    pub(super) fn idle() -> Self {
        Self::new(mpsc::channel().0)
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "what a polling thread does")]
pub(super) fn rest() {
    std::thread::sleep(PERIOD);
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}
