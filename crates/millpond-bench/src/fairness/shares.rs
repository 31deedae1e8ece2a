//! Who is served, of queues that all have more than they get, when most of them are in one partition.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::{QueueId, QueueKey, Settings, TopicName};

use super::consumers::Consumers;
use super::entry::{entry, number_of};
use super::world::World;
use crate::measure::{count, median};
use crate::queues::{Figures, Outcome};

const TOPIC: &str = "shares";
const N_QUEUES: usize = 10;
/// What each queue is to get, in proportion.
const WEIGHTS: [u32; N_QUEUES] = [2, 1, 3, 1, 4, 1, 2, 1, 1, 3];
/// Entries of each queue.
const N_ENTRIES: usize = 4_000;
/// Services that are counted, after so many that are not: consumers begin one by one. One queue alone could
/// serve them all, so each has a backlog as long as services are counted.
const N_COUNTED: u64 = 3_000;
const N_BEFORE: u64 = 500;
const N_RUNS: usize = 5;

/// How far a queue's share of the services should be from its weight's share at most, in percent of the latter.
const OFF_PER_CENT_MAX: f64 = 10.0;

pub(super) fn part(out: &mut Figures<'_>, dir: &Path, only: &str) -> Outcome<()> {
    for n_partitions in [1, 2, 4] {
        let case = format!("shares, {n_partitions} partitions");
        if !case.contains(only) {
            continue;
        }
        let runs: Vec<_> =
            (0..N_RUNS).map(|_| one_run(dir, n_partitions)).collect::<Outcome<_>>()?;
        out.case(case);
        report(out, &runs)?;
    }
    Ok(())
}

/// Who was served how often.
struct Services {
    n: AtomicU64,
    /// Of each queue, among those that are counted.
    counted: [AtomicU64; N_QUEUES],
    came: Mutex<Vec<bool>>,
}

impl Services {
    /// An entry was leased. Relaxed: counts, which are read when everybody is through.
    fn note(&self, number: u64) -> Outcome<()> {
        let number = usize::try_from(number)?;
        let place = self.n.fetch_add(1, Ordering::Relaxed);
        if (N_BEFORE..N_BEFORE + N_COUNTED).contains(&place) {
            self.counted[number / N_ENTRIES].fetch_add(1, Ordering::Relaxed);
        }
        let mut came = self.came.lock().expect("nobody panics with it");
        match std::mem::replace(&mut came[number], true) {
            true => Err(format!("entry {number} came twice").into()),
            false => Ok(()),
        }
    }
}

/// Shares of all queues in percent of what their weights say.
#[tokio::main]
async fn one_run(dir: &Path, n_partitions: u16) -> Outcome<[f64; N_QUEUES]> {
    let world = World::open(dir, n_partitions).await?;
    let topic = world.engine.topic(TOPIC);
    for (at, (key, weight)) in keys(n_partitions)?.iter().zip(WEIGHTS).enumerate() {
        let queue = topic.queue(key);
        queue.set(Settings::default().with_weight(weight)).await?;
        let numbers: Vec<u64> = (0..N_ENTRIES).map(|n| (at * N_ENTRIES + n) as u64).collect();
        for numbers in numbers.chunks(1000) {
            queue.enqueue_batch(numbers.iter().copied().map(entry).collect()).await?;
        }
    }
    let n_all = N_QUEUES * N_ENTRIES;
    let services = Arc::new(Services {
        n: AtomicU64::new(0),
        counted: Default::default(),
        came: Mutex::new(vec![false; n_all]),
    });
    let noting = services.clone();
    let leased = move |delivery: &_| noting.note(number_of(delivery)?);
    let consumers = Consumers::start(&topic, Duration::ZERO, leased)?;
    consumers.acked(n_all as u64).await?;
    drop(consumers);
    world.close(n_all as u64).await?;
    let weight_sum: u32 = WEIGHTS.iter().sum();
    Ok(std::array::from_fn(|at| {
        let due = count(N_COUNTED) * f64::from(WEIGHTS[at]) / f64::from(weight_sum);
        count(services.counted[at].load(Ordering::Relaxed)) / due * 100.0
    }))
}

/// The first queue is in the last partition, and all others are in the first one.
fn keys(n_partitions: u16) -> Outcome<Vec<String>> {
    let topic = TopicName::new(TOPIC)?;
    let mut keys = Vec::new();
    for number in 0.. {
        let wanted = if keys.is_empty() { n_partitions - 1 } else { 0 };
        let key = format!("queue-{number}");
        if QueueId::derive(&topic, &QueueKey::new(&key)?).partition(n_partitions) == wanted {
            keys.push(key);
        }
        if keys.len() == N_QUEUES {
            break;
        }
    }
    Ok(keys)
}

fn report(out: &mut Figures<'_>, runs: &[[f64; N_QUEUES]]) -> Outcome<()> {
    let of = |f: &dyn Fn(&[f64]) -> f64| median(runs.iter().map(|run| f(run)).collect());
    let least = |shares: &[f64]| shares.iter().copied().fold(f64::INFINITY, f64::min);
    let most = |shares: &[f64]| shares.iter().copied().fold(0.0, f64::max);
    out.subject("millpond");
    out.add("the queue apart", of(&|shares| shares[0]), "% due")?;
    out.add("least of the others", of(&|shares| least(&shares[1..])), "% due")?;
    out.add("most of the others", of(&|shares| most(&shares[1..])), "% due")?;
    let off = of(&|shares| (most(shares) - 100.0).max(100.0 - least(shares)));
    out.at_most("furthest off", off, "%", OFF_PER_CENT_MAX)
}
