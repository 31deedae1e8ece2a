//! What it costs to pick the next queue, beside two other ways to do it.
//!
//! Every queue has work at all times, and weights are 1 to 4. A run makes four picks for each queue, and two
//! million at least; afterwards every queue must have got what its weight says, within one turn.
//!
//! * `drr`: [`millpond_scheduler::Scheduler`], queues without limits. `drr-tenants`: the same, each queue
//!   subject to one of 1,000 tenants with a concurrency that is not reached; the permit is released after
//!   64 more picks.
//! * `wfq-btree`: weighted fair queueing by virtual finishing times in a `BTreeSet`.
//! * `fifo-ring`: a `VecDeque` of numbers and a vector of queues. It knows no weights, and nothing can leave it.
//!
//! In the cases named `in order` the queues lie in memory in the order of their turns, which the processor
//! foresees; in the cases named `shuffled` they do not, so that each turn waits for memory as it does in real
//! use. `of a step` says how many steps round a ring of as many bare nodes of 56 bytes a pick takes: memory
//! alone costs one step per turn, and there are five picks in two turns. Memory includes what the owner keeps to
//! name a queue. *No sync is involved.*

mod btree;
mod chase;
mod drr;
mod ring;

use std::time::Instant;

use crate::measure::{Effort, allocated_bytes, count, median};
use crate::report::{Figure, Report};
use crate::wakeup::Random;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const N_PICKS_MIN: usize = 2_000_000;

/// What takes part. Queues are known by numbers from 0.
trait Subject: Sized {
    /// Knows the queues; none of them has work.
    fn new(weights: &[u32]) -> Outcome<Self>;
    /// The queue has work from now on, for ever.
    fn fill(&mut self, queue: usize) -> Outcome<()>;
    /// The queue whose turn it is.
    fn pick(&mut self) -> Outcome<usize>;
    /// Whether shares follow weights.
    const IS_WEIGHTED: bool = true;
}

#[derive(Debug, Default)]
struct Series {
    pick_ns: Vec<f64>,
    /// Of a queue without work, and with it.
    bytes: [f64; 2],
}

pub(crate) fn run(report: &mut Report, effort: Effort, only: &str) -> Outcome<()> {
    let mut flat: Vec<(usize, bool, f64)> = Vec::new();
    for (n_queues, size) in [(10, "10 queues"), (10_000, "10k queues"), (1_000_000, "1M queues")] {
        for is_shuffled in [false, true] {
            let case = format!("{size}, {}", if is_shuffled { "shuffled" } else { "in order" });
            if !case.contains(only) {
                continue;
            }
            let mut all: [Series; 4] = std::array::from_fn(|_| Series::default());
            let mut steps_ns = Vec::new();
            for _ in 0..effort.n_runs.min(7) {
                steps_ns.push(chase::step_ns(&order_of(n_queues, is_shuffled)));
                // Interleaved, so that a slow minute of the machine is a slow minute for all.
                let [drr, tenants, btree, ring] = &mut all;
                one_run::<drr::Drr<false>>(drr, n_queues, is_shuffled)?;
                one_run::<drr::Drr<true>>(tenants, n_queues, is_shuffled)?;
                one_run::<btree::VirtualTime>(btree, n_queues, is_shuffled)?;
                one_run::<ring::Fifo>(ring, n_queues, is_shuffled)?;
            }
            let step_ns = median(steps_ns);
            report_case(report, &case, &all, step_ns)?;
            flat.push((n_queues, is_shuffled, median(all[0].pick_ns.clone())));
        }
    }
    bars(&flat);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn one_run<S: Subject>(series: &mut Series, n_queues: usize, is_shuffled: bool) -> Outcome<()> {
    let mut random = Random::new(n_queues as u64);
    let weights: Vec<u32> =
        (0..n_queues).map(|_| 1 + u32::try_from(random.below(4)).unwrap_or(0)).collect();
    let order = order_of(n_queues, is_shuffled);
    let before = allocated_bytes();
    let mut subject = S::new(&weights)?;
    let bytes = || count(allocated_bytes() - before) / count(n_queues);
    let idle = bytes();
    for queue in &order {
        subject.fill(*queue)?;
    }
    series.bytes = [idle, bytes()];
    let n_picks = N_PICKS_MIN.max(4 * n_queues);
    let mut served = vec![0_u32; n_queues];
    let mut picks = vec![0_u32; n_picks];
    let from = Instant::now();
    for pick in &mut picks {
        *pick = u32::try_from(subject.pick()?)?;
    }
    series.pick_ns.push(from.elapsed().as_secs_f64() * 1e9 / count(n_picks));
    picks.iter().for_each(|queue| served[*queue as usize] += 1);
    check::<S>(&served, &weights)
}

/// The order of turns.
fn order_of(n_queues: usize, is_shuffled: bool) -> Vec<usize> {
    if is_shuffled { Random::new(1).shuffled(n_queues) } else { (0..n_queues).collect() }
}

/// Every queue got what its weight says, within one turn.
fn check<S: Subject>(served: &[u32], weights: &[u32]) -> Outcome<()> {
    let weight_of = |at: usize| if S::IS_WEIGHTED { u64::from(weights[at]) } else { 1 };
    let total: u64 = served.iter().copied().map(u64::from).sum();
    let weight: u64 = (0..weights.len()).map(weight_of).sum();
    for (at, served) in served.iter().enumerate() {
        let due = total * weight_of(at) / weight;
        if u64::from(*served).abs_diff(due) > weight_of(at) + 1 {
            return Err(format!("queue {at} got {served}, and {due} were its share").into());
        }
    }
    Ok(())
}

fn report_case(report: &mut Report, case: &str, all: &[Series; 4], step_ns: f64) -> Outcome<()> {
    let names = ["drr", "drr-tenants", "wfq-btree", "fifo-ring"];
    let mut say = |subject, metric, value, unit, ratio: Option<f64>| {
        let ratio_to = ratio.map(|_| "wfq-btree");
        let bench = "schedule";
        report.figure(&Figure { bench, case, subject, metric, value, unit, ratio, ratio_to })
    };
    for (name, series) in names.into_iter().zip(all) {
        let pick_ns = median(series.pick_ns.clone());
        let ratios = series.pick_ns.iter().zip(&all[2].pick_ns).map(|(ours, peer)| ours / peer);
        let ratio = (name != "wfq-btree").then(|| median(ratios.collect()));
        say(name, "pick", pick_ns, "ns", ratio)?;
        say(name, "pick, of a step", pick_ns / step_ns, "", None)?;
        let [idle, with_work] = series.bytes;
        say(name, "memory, no work", idle, "B/queue", None)?;
        say(name, "memory", with_work, "B/queue", None)?;
    }
    Ok(())
}

/// Says how flat the cost of a pick is.
fn bars(flat: &[(usize, bool, f64)]) {
    for is_shuffled in [false, true] {
        let of = |n_queues| {
            flat.iter().find(|(n, shuffled, _)| (*n, *shuffled) == (n_queues, is_shuffled))
        };
        let (Some((.., few)), Some((.., many))) = (of(10), of(1_000_000)) else { continue };
        let times = many / few;
        let order = if is_shuffled { "shuffled" } else { "in order" };
        let verdict = if times <= 2.0 { "met" } else { "MISSED" };
        println!(
            "bar      {order}: a pick among 1M, of one among 10, at most 2: {times:.2} {verdict}"
        );
    }
}
