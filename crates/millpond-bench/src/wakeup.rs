//! What a deadline costs to set, replace, postpone, cancel and deliver, beside two other ways to keep it.
//!
//! All subjects get the same operations on the same timers, and all see a simulated clock that moves in steps
//! of 10 ms; after each step everything that is due is taken out, and every delivery is checked for the
//! step it came in. A round of a case is: insert N timers spread over 30 s; replace some, in no order, by
//! others of that kind; postpone some, one after the other to ascending deadlines, as leases are extended;
//! cancel a third and set them again (not timed); then drain until nothing is left.
//!
//! * `handle`: [`millpond_wakeup::Timers`]. `key`: [`millpond_wakeup::Wakeups`], keys of 8 bytes.
//! * `delay-queue`: `DelayQueue` of tokio-util, under tokio's paused clock. Moving that clock is not timed.
//!   `delay-queue-map`: the same with a map from keys beside it, hashed as ours are.
//! * `binary-heap`: the heap of std; what is replaced or cancelled stays in it until it comes up.
//!
//! Their handles lie in a vector that is not timed and not counted. *No sync is involved.*
//!
//! `worst step` is the longest drain of one step; each step counts with its shortest time of all runs, because
//! the machine takes the processor away at times. `of a node` says how many random accesses to as many nodes
//! of 32 bytes an operation takes: memory alone costs that much.
//!
//! The cases named `worst call` time every call by itself, for deadlines of many kinds. The machine takes the
//! processor away at times, so each call counts with the shortest of several runs of the same history.

mod binary_heap;
mod delay_queue;
mod delay_queue_map;
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

/// Keeps what names a timer; the first time, timers come in the order of their numbers.
fn set<T>(names: &mut Vec<T>, timer: usize, name: T) {
    if timer == names.len() {
        names.push(name);
    } else {
        names[timer] = name;
    }
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
    bytes: f64,
}

/// The rounds of one subject, one after the other.
struct Series {
    name: &'static str,
    /// The name of the one it is compared to.
    peer: Option<&'static str>,
    rounds: Vec<Round>,
    /// The shortest time of each step of the drain.
    steps: Vec<Duration>,
}

impl Series {
    const fn new(name: &'static str, peer: Option<&'static str>) -> Self {
        Self { name, peer, rounds: Vec::new(), steps: Vec::new() }
    }

    /// Adds some rounds.
    fn run<S: Subject>(&mut self, n: usize, work: &Work, new: impl Fn() -> S) -> Outcome<()> {
        for _ in 0..n {
            let (round, steps) = round(work, &new)?;
            self.rounds.push(round);
            if self.steps.is_empty() {
                self.steps = steps;
            } else {
                self.steps
                    .iter_mut()
                    .zip(steps)
                    .for_each(|(least, step)| *least = step.min(*least));
            }
        }
        Ok(())
    }

    fn worst_step_ms(&self) -> f64 {
        self.steps.iter().max().map_or(0.0, |worst| worst.as_secs_f64() * 1e3)
    }

    fn median(&self, value: fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(value).collect())
    }

    /// How many times as long it takes as a peer, in the same rounds.
    fn ratio_to(&self, peer: &Self, value: fn(&Round) -> f64) -> f64 {
        median(
            self.rounds
                .iter()
                .zip(&peer.rounds)
                .map(|(run, peer)| value(run) / value(peer))
                .collect(),
        )
    }
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
    let runtime = delay_queue::paused_runtime()?;
    let _entered = runtime.enter();
    for (case, n_timers, n_repeats) in SIZES.into_iter().filter(|(name, ..)| name.contains(only)) {
        let work = Work::new(n_timers);
        let mut all = [
            Series::new("handle", Some("delay-queue")),
            Series::new("delay-queue", None),
            Series::new("key", Some("delay-queue-map")),
            Series::new("delay-queue-map", None),
            Series::new("binary-heap", Some("delay-queue")),
        ];
        let mut node_ns = Vec::new();
        for _ in 0..n_rounds {
            // Interleaved, so that a slow minute of the machine is a slow minute for all.
            let [by_handle, delay_queue, by_key, delay_queue_map, binary_heap] = &mut all;
            by_handle.run(n_repeats, &work, || handle::Handles::new(n_timers))?;
            delay_queue.run(n_repeats, &work, || delay_queue::Queue::new(&runtime, n_timers))?;
            by_key.run(n_repeats, &work, || key::Keys::new(n_timers))?;
            delay_queue_map
                .run(n_repeats, &work, || delay_queue_map::QueueAndMap::new(&runtime))?;
            binary_heap.run(n_repeats, &work, || binary_heap::Heap::new(n_timers))?;
            node_ns.push(nodes::random_access_ns(n_timers));
        }
        report_nodes(report, case, &all[0], median(node_ns))?;
        for series in &all {
            let peer = all.iter().find(|other| Some(other.name) == series.peer);
            report_series(report, case, series, peer)?;
        }
        bars(case, n_timers, &all[0], &all[1]);
    }
    worst::run(report, effort, only)
}

/// What one random access costs, and how many of them our operations take.
fn report_nodes(report: &mut Report, case: &str, ours: &Series, node_ns: f64) -> Outcome<()> {
    let mut figure = |subject, metric: &str, value, unit| {
        report.figure(&Figure {
            bench: "wakeup",
            case,
            subject,
            metric,
            value,
            unit,
            ratio: None,
            ratio_to: None,
        })
    };
    figure("node", "random access", node_ns, "ns")?;
    for (metric, _, value) in METRICS.into_iter().filter(|(_, unit, _)| *unit == "ns") {
        figure(ours.name, metric, ours.median(value) / node_ns, "nodes")?;
    }
    Ok(())
}

type Metric = (&'static str, &'static str, fn(&Round) -> f64);
const METRICS: [Metric; 6] = [
    ("insert", "ns", |round| round.insert),
    ("replace", "ns", |round| round.replace),
    ("postpone", "ns", |round| round.postpone),
    ("cancel", "ns", |round| round.cancel),
    ("drain", "ns", |round| round.drain),
    ("memory", "B/timer", |round| round.bytes),
];

fn report_series(
    report: &mut Report,
    case: &str,
    series: &Series,
    peer: Option<&Series>,
) -> Outcome<()> {
    let mut figure = |metric, unit, value, ratio: Option<f64>| {
        report.figure(&Figure {
            bench: "wakeup",
            case,
            subject: series.name,
            metric,
            value,
            unit,
            ratio,
            ratio_to: peer.map(|peer| peer.name),
        })
    };
    for (metric, unit, value) in METRICS {
        let ratio = peer.map(|peer| series.ratio_to(peer, value));
        figure(metric, unit, series.median(value), ratio)?;
    }
    let worst_ms = series.worst_step_ms();
    let ratio = peer.map(|peer| worst_ms / peer.worst_step_ms());
    figure("worst step", "µs", worst_ms * 1e3, ratio)?;
    Ok(())
}

/// Says how the figures stand to the bars of the design.
fn bars(case: &str, n_timers: usize, ours: &Series, peer: &Series) {
    let say = |what: &str, value: f64, bar: &str, is_met: bool| {
        let verdict = if is_met { "met" } else { "MISSED" };
        println!("bar      {case}: {what} {value:.2}, bar {bar}: {verdict}");
    };
    let times_as_fast = |metric: usize, bar: f64| {
        let (name, _, value) = METRICS[metric];
        let times = 1.0 / ours.ratio_to(peer, value);
        let what = format!("{name}, times as fast as {}:", peer.name);
        say(&what, times, &format!("{bar}"), times >= bar);
    };
    if n_timers <= 10_000 {
        (0..5).for_each(|metric| times_as_fast(metric, 1.0));
    }
    if n_timers >= 1_000_000 {
        [(1, 3.0), (3, 3.0), (4, 2.0)]
            .into_iter()
            .for_each(|(metric, bar)| times_as_fast(metric, bar));
        let worst_ms = ours.worst_step_ms();
        say("worst step, ms:", worst_ms, "1", worst_ms <= 1.0);
        let bytes = ours.median(METRICS[5].2);
        say("bytes per timer:", bytes, "48", bytes <= 48.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn round<S: Subject>(work: &Work, new: impl Fn() -> S) -> Outcome<(Round, Vec<Duration>)> {
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

    let steps = drain(&mut subject, work)?;
    let drain = steps.iter().sum::<Duration>().as_secs_f64() * 1e9 / count(work.n_timers);
    Ok((Round { insert, replace, postpone, cancel, drain, bytes }, steps))
}

/// Moves the clock until nothing is left, and checks that every timer comes once and in its step. Returns
/// what each step took.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn drain(subject: &mut impl Subject, work: &Work) -> Outcome<Vec<Duration>> {
    let mut steps = Vec::new();
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
        steps.push(from.elapsed());
    }
    let expected =
        (0..work.n_timers as u64).fold(0_u64, |sum, timer| sum.wrapping_add(Random(timer).next()));
    if (n_due, n_wrong, sum) != (work.n_timers, 0, expected) {
        return Err(format!("{n_due} of {} came, {n_wrong} at a wrong time", work.n_timers).into());
    }
    Ok(steps)
}
