//! What a deadline costs to set, replace, postpone, cancel and deliver, beside two other ways to keep it.
//!
//! All subjects get the same operations on the same timers, and all see a simulated clock that moves in steps
//! of 10 ms; after each step everything that is due is taken out, and every delivery is checked for the
//! step it came in. A round of a case is: insert N timers spread over 30 s; replace some, in no order, by
//! others of that kind; postpone some, one after the other to ascending deadlines, as leases are extended;
//! cancel a third and set them again (not timed); then drain until nothing is left.
//!
//! * `handle`: [`millpond_wakeup::Timers`]. `key`: [`millpond_wakeup::Wakeups`], keys of 8 bytes, with the
//!   hash function of std.
//! * `delay-queue`: `DelayQueue` of tokio-util, under tokio's paused clock. Moving that clock is not timed.
//! * `binary-heap`: the heap of std; what is replaced or cancelled stays in it until it comes up.
//!
//! Their handles lie in a vector that is not timed and not counted. *No sync is involved.*
//!
//! `worst step` is the longest drain of one step. `of a node` says how many random accesses to as many nodes
//! of 32 bytes an operation takes: memory alone costs that much.
//!
//! The cases named `worst call` time every call by itself, for deadlines of many kinds. The machine takes the
//! processor away at times, so each call counts with the shortest of several runs of the same history.

mod binary_heap;
mod delay_queue;
mod handle;
mod key;
mod nodes;
mod worst;

use std::time::{Duration, Instant};

use crate::measure::{Effort, allocated_bytes, count, median};
use crate::report::{Figure, Report};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const NS_PER_MS: u64 = 1_000_000;
/// How far deadlines are spread.
const SPREAD_NS: u64 = 30_000 * NS_PER_MS;
/// How far the clock moves before each drain.
const STEP_NS: u64 = 10 * NS_PER_MS;
/// `DelayQueue` rounds up to milliseconds.
const LATE_NS_MAX: u64 = NS_PER_MS;

/// What takes part. Timers are known by numbers from 0; times are nanoseconds since it was made.
trait Subject {
    /// The timer is not set.
    fn insert(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()>;
    /// The timer is set.
    fn replace(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()>;
    /// The timer is set.
    fn cancel(&mut self, timer: usize) -> Outcome<()>;
    /// The clock moves. Not timed.
    fn advance(&mut self, _now_ns: u64) -> Outcome<()> {
        Ok(())
    }
    /// Takes out all that is due.
    fn drain(&mut self, now_ns: u64, deliver: &mut impl FnMut(usize)) -> Outcome<()>;
}

/// Numbers that look random and are the same in every run: splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) const fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// All numbers below `n`, in no order.
    pub(crate) fn shuffled(&mut self, n: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        for index in (1..n).rev() {
            all.swap(index, usize::try_from(self.below(index as u64 + 1)).unwrap_or(0));
        }
        all
    }
}

/// What one round showed: nanoseconds per operation, and other units where the name says so.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    insert: f64,
    replace: f64,
    postpone: f64,
    cancel: f64,
    drain: f64,
    worst_step_ms: f64,
    bytes: f64,
}

struct Series {
    name: &'static str,
    rounds: Vec<Round>,
}

/// The operations of a case; every subject gets the same.
struct Work {
    n_timers: usize,
    inserts: Vec<u64>,
    replacements: Vec<(usize, u64)>,
    postponed: Vec<(usize, u64)>,
    cancelled: Vec<(usize, u64)>,
    /// Where each timer stands when the draining begins.
    last: Vec<u64>,
}

impl Work {
    fn new(n_timers: usize) -> Self {
        let mut random = Random(n_timers as u64);
        let mut last: Vec<u64> = (0..n_timers).map(|_| random.below(SPREAD_NS)).collect();
        let inserts = last.clone();
        let mut some = |random: &mut Random, n: usize| -> Vec<(usize, u64)> {
            let chosen = random.shuffled(n_timers).into_iter().take(n);
            let set: Vec<_> = chosen.map(|timer| (timer, random.below(SPREAD_NS))).collect();
            set.iter().for_each(|(timer, deadline)| last[*timer] = *deadline);
            set
        };
        let replacements = some(&mut random, n_timers / 2);
        let mut postponed = some(&mut random, n_timers / 4);
        postponed.sort_unstable_by_key(|(_, deadline)| *deadline);
        let cancelled = some(&mut random, n_timers / 3);
        Self { n_timers, inserts, replacements, postponed, cancelled, last }
    }
}

pub(crate) fn run(report: &mut Report, effort: Effort, only: &str) -> Outcome<()> {
    const SIZES: [(&str, usize, usize); 3] =
        [("10k timers", 10_000, 30), ("100k timers", 100_000, 3), ("1M timers", 1_000_000, 1)];
    let n_rounds = effort.n_runs.min(7);
    for (case, n_timers, n_repeats) in SIZES.into_iter().filter(|(name, ..)| name.contains(only)) {
        let work = Work::new(n_timers);
        let series = |name| Series { name, rounds: Vec::new() };
        let mut all = ["handle", "key", "delay-queue", "binary-heap"].map(series);
        let mut node_ns = Vec::new();
        for _ in 0..n_rounds {
            // Interleaved, so that a slow minute of the machine is a slow minute for all.
            let [by_handle, by_key, delay_queue, binary_heap] = &mut all;
            by_handle.rounds.push(rounds(n_repeats, &work, || handle::Handles::new(n_timers))?);
            by_key.rounds.push(rounds(n_repeats, &work, || key::Keys::new(n_timers))?);
            delay_queue
                .rounds
                .push(rounds(n_repeats, &work, || delay_queue::Queue::new(n_timers))?);
            binary_heap.rounds.push(rounds(n_repeats, &work, || binary_heap::Heap::new(n_timers))?);
            node_ns.push(nodes::random_access_ns(n_timers));
        }
        let node_ns = median(node_ns);
        report_nodes(report, case, node_ns)?;
        for series in &all {
            report_series(report, case, series, &all[2].rounds, node_ns)?;
        }
        if n_timers >= 1_000_000 || n_timers <= 10_000 {
            bars(case, &all);
        }
    }
    worst::run(report, effort, only)
}

fn report_nodes(report: &mut Report, case: &str, node_ns: f64) -> Outcome<()> {
    report.figure(&Figure {
        bench: "wakeup",
        case,
        subject: "node",
        metric: "random access",
        value: node_ns,
        unit: "ns",
        ratio: None,
        ratio_to: None,
    })?;
    Ok(())
}

type Metric = (&'static str, &'static str, fn(&Round) -> f64);
const METRICS: [Metric; 7] = [
    ("insert", "ns", |round| round.insert),
    ("replace", "ns", |round| round.replace),
    ("postpone", "ns", |round| round.postpone),
    ("cancel", "ns", |round| round.cancel),
    ("drain", "ns", |round| round.drain),
    ("worst step", "ms", |round| round.worst_step_ms),
    ("memory", "B/timer", |round| round.bytes),
];

fn report_series(
    report: &mut Report,
    case: &str,
    series: &Series,
    delay_queue: &[Round],
    node_ns: f64,
) -> Outcome<()> {
    for (metric, unit, value) in METRICS {
        let is_peer = series.name == "delay-queue";
        let ratios =
            series.rounds.iter().zip(delay_queue).map(|(run, peer)| value(run) / value(peer));
        let value = median(series.rounds.iter().map(value).collect());
        report.figure(&Figure {
            bench: "wakeup",
            case,
            subject: series.name,
            metric,
            value,
            unit,
            ratio: (!is_peer).then(|| median(ratios.collect())),
            ratio_to: (!is_peer).then_some("delay-queue"),
        })?;
        if unit == "ns" && series.name == "handle" {
            report.figure(&Figure {
                bench: "wakeup",
                case,
                subject: series.name,
                metric: &format!("{metric}, of a node"),
                value: value / node_ns,
                unit: "",
                ratio: None,
                ratio_to: None,
            })?;
        }
    }
    Ok(())
}

/// Says how the figures stand to the bars of the design.
fn bars(case: &str, [by_handle, _, delay_queue, _]: &[Series; 4]) {
    let ratio = |value: fn(&Round) -> f64| {
        let pairs = by_handle.rounds.iter().zip(&delay_queue.rounds);
        median(pairs.map(|(ours, peer)| value(peer) / value(ours)).collect())
    };
    let ours = |value: fn(&Round) -> f64| median(by_handle.rounds.iter().map(value).collect());
    let say = |what: &str, value: f64, is_met: bool| {
        println!("bar      {case}: {what}: {value:.2} {}", if is_met { "met" } else { "MISSED" });
    };
    if by_handle.rounds.is_empty() {
        return;
    }
    if case.starts_with("10k") {
        for (metric, _, value) in METRICS.into_iter().filter(|(_, unit, _)| *unit == "ns") {
            let times = ratio(value);
            say(&format!("{metric}, times as fast as DelayQueue, at least 1"), times, times >= 1.0);
        }
        return;
    }
    for (what, bar, value) in [
        ("replace, times as fast as DelayQueue, at least 3", 3.0, METRICS[1].2),
        ("cancel, times as fast as DelayQueue, at least 3", 3.0, METRICS[3].2),
        ("drain, times as fast as DelayQueue, at least 2", 2.0, METRICS[4].2),
    ] {
        let times = ratio(value);
        say(what, times, times >= bar);
    }
    let worst_ms = ours(|round| round.worst_step_ms);
    say("worst 10 ms step in ms, at most 1", worst_ms, worst_ms <= 1.0);
    let bytes = ours(|round| round.bytes);
    say("bytes per timer, at most 48", bytes, bytes <= 48.0);
}

/// The mean of several rounds, of which the worst step is the worst of all.
fn rounds<S: Subject>(n: usize, work: &Work, new: impl Fn() -> S) -> Outcome<Round> {
    let mut sum = Round::default();
    for _ in 0..n {
        let round = round(work, &new)?;
        sum.insert += round.insert / count(n);
        sum.replace += round.replace / count(n);
        sum.postpone += round.postpone / count(n);
        sum.cancel += round.cancel / count(n);
        sum.drain += round.drain / count(n);
        sum.worst_step_ms = sum.worst_step_ms.max(round.worst_step_ms);
        sum.bytes = round.bytes;
    }
    Ok(sum)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn round<S: Subject>(work: &Work, new: impl Fn() -> S) -> Outcome<Round> {
    let mut subject = new();
    let before = allocated_bytes();
    let ns = |from: Instant, n: usize| from.elapsed().as_secs_f64() * 1e9 / count(n);

    let from = Instant::now();
    for (timer, deadline) in work.inserts.iter().enumerate() {
        subject.insert(timer, *deadline)?;
    }
    let insert = ns(from, work.n_timers);
    let bytes = count(allocated_bytes() - before) / count(work.n_timers);

    let from = Instant::now();
    for (timer, deadline) in &work.replacements {
        subject.replace(*timer, *deadline)?;
    }
    let replace = ns(from, work.replacements.len());

    let from = Instant::now();
    for (timer, deadline) in &work.postponed {
        subject.replace(*timer, *deadline)?;
    }
    let postpone = ns(from, work.postponed.len());

    let from = Instant::now();
    for (timer, _) in &work.cancelled {
        subject.cancel(*timer)?;
    }
    let cancel = ns(from, work.cancelled.len());
    for (timer, deadline) in &work.cancelled {
        subject.insert(*timer, *deadline)?;
    }

    let (spent, worst) = drain(&mut subject, work)?;
    Ok(Round {
        insert,
        replace,
        postpone,
        cancel,
        drain: spent.as_secs_f64() * 1e9 / count(work.n_timers),
        worst_step_ms: worst.as_secs_f64() * 1e3,
        bytes,
    })
}

/// Moves the clock until nothing is left, and checks that every timer comes once and in its step.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn drain(subject: &mut impl Subject, work: &Work) -> Outcome<(Duration, Duration)> {
    let (mut spent, mut worst) = (Duration::ZERO, Duration::ZERO);
    let (mut n_due, mut n_wrong, mut sum) = (0, 0_u64, 0_u64);
    let mut now_ns = 0;
    while now_ns < SPREAD_NS + STEP_NS {
        let before_ns = now_ns;
        now_ns += STEP_NS;
        subject.advance(now_ns)?;
        let from = Instant::now();
        subject.drain(now_ns, &mut |timer| {
            let deadline = work.last[timer];
            let is_early = deadline > now_ns;
            let is_late = deadline + LATE_NS_MAX < before_ns;
            n_wrong += u64::from(is_early || is_late);
            sum = sum.wrapping_add(Random(timer as u64).next());
            n_due += 1;
        })?;
        let step = from.elapsed();
        spent += step;
        worst = worst.max(step);
    }
    let expected =
        (0..work.n_timers as u64).fold(0_u64, |sum, timer| sum.wrapping_add(Random(timer).next()));
    if (n_due, n_wrong, sum) != (work.n_timers, 0, expected) {
        return Err(format!("{n_due} of {} came, {n_wrong} at a wrong time", work.n_timers).into());
    }
    Ok((spent, worst))
}
