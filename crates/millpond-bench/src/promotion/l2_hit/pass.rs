//! One run of one arm.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use millpond_blob_cache::{BlobCache, CacheStats};
use rustix::time::{ClockId, clock_gettime};

use super::arm::{Arm, Over, Work};
use super::rows::{N_KEYS, NOW, Rows, id, key};
use crate::measure::count;
use crate::promotion::Outcome;

/// Long enough for a worker to install and fall asleep.
const PACE: Duration = Duration::from_micros(100);

/// A pass that was something else is repeated so often, at most.
const TRIES_MAX: usize = 5;

pub(super) struct Pass<'a> {
    pub(super) rows: &'a Rows,
    pub(super) arm: Arm,
    pub(super) n_readers: usize,
    /// Of each reader.
    pub(super) n_reads: usize,
}

/// Microseconds of a read.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) reader_us: f64,
    pub(super) other_us: f64,
    pub(super) n_wakeups_per_1000: f64,
    /// Pairs that found their value in memory, or on its way there.
    pub(super) n_passed_over_per_1000: f64,
}

/// What one reader saw.
struct Seen {
    reads: Vec<Duration>,
    measured_ns: u64,
    thread_ns: u64,
}

impl Pass<'_> {
    /// Repeated where other work of the machine made another arm of it: a worker that gets no processor is not awake.
    pub(super) fn run(&self) -> Outcome<Taken> {
        for _ in 1..TRIES_MAX {
            if let Ok(taken) = self.once() {
                return Ok(taken);
            }
        }
        self.once()
    }

    fn once(&self) -> Outcome<Taken> {
        self.warm()?;
        let work = Arc::new(Work::default());
        let over = Over(work.clone());
        let (arm, executed) = (self.arm, work.clone());
        let cache = self.rows.runtime.block_on(BlobCache::open_with(
            self.rows.store.clone(),
            arm.options(self.rows.memory_bytes),
            move |promotion| arm.execute(promotion, &executed),
        ))?;
        let before = cache.stats();
        let process_ns = cpu_ns(ClockId::ProcessCPUTime);
        let seen = self.read(&cache, &work)?;
        let process_ns = cpu_ns(ClockId::ProcessCPUTime) - process_ns;
        drop(over);
        if let Some(pool) = cache.pool() {
            let closed = pool.close(Duration::from_secs(10));
            if closed.still_running > 0 {
                return Err(format!("{closed:?}").into());
            }
        }
        let n_seen = seen.iter().map(|seen| seen.reads.len()).sum::<usize>();
        let n_wakeups = self.check(n_seen, &before, &cache.stats())?;
        let install_ns = (arm == Arm::Awake).then(|| work.install_ns.load(Ordering::Relaxed));
        Ok(self.summary(seen, process_ns, install_ns, n_wakeups))
    }

    /// Fills the block cache through a cache of its own, which remembers no key.
    fn warm(&self) -> Outcome<()> {
        let options = Arm::Nobody.options(self.rows.memory_bytes);
        let runtime = &self.rows.runtime;
        let cache = runtime.block_on(BlobCache::open(self.rows.store.clone(), options))?;
        for (n, value) in self.rows.values.iter().enumerate() {
            let blob = runtime.block_on(cache.get(key(&id(n))?, NOW))?;
            check(blob.map(|blob| blob.value).as_deref(), value)?;
        }
        Ok(())
    }

    fn read(&self, cache: &BlobCache, work: &Work) -> Outcome<Vec<Seen>> {
        let start = Barrier::new(self.n_readers);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..self.n_readers)
                .map(|reader| {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        self.reader(cache, work, reader).map_err(|error| error.to_string())
                    })
                })
                .collect();
            let join = |reader: std::thread::ScopedJoinHandle<'_, Result<Seen, String>>| {
                Ok(reader.join().map_err(|_| "a reader panicked")??)
            };
            readers.into_iter().map(join).collect()
        })
    }

    fn reader(&self, cache: &BlobCache, work: &Work, reader: usize) -> Outcome<Seen> {
        let mut seen =
            Seen { reads: Vec::with_capacity(self.n_reads), measured_ns: 0, thread_ns: 0 };
        let thread_ns = cpu_ns(ClockId::ThreadCPUTime);
        for read in 0..self.n_reads {
            let n = reader * N_KEYS + read % N_KEYS;
            let (id, value) = (id(n), &self.rows.values[n]);
            let key = key(&id)?;
            if self.arm.is_paced() {
                let since = now();
                while since.elapsed() < PACE {
                    std::thread::yield_now();
                }
            }
            let get = || cache.get(key, NOW).now_or_never().ok_or("a read was not in the cache");
            let first = get()??.map(|blob| blob.value);
            check(first.as_deref(), value)?;
            let cpu = cpu_ns(ClockId::ThreadCPUTime);
            let started = now();
            let blob = get();
            let (took, cpu) = (started.elapsed(), cpu_ns(ClockId::ThreadCPUTime) - cpu);
            if let Some(pool) = cache.pool() {
                work.n_asked.fetch_max(pool.stats().n_accepted, Ordering::Relaxed);
            }
            let second = blob??.map(|blob| blob.value);
            check(second.as_deref(), value)?;
            // One buffer for both: it was resident, or is still in the pool. The store gives each read its own.
            let is_hit = first.map(|value| value.as_ptr()) == second.map(|value| value.as_ptr());
            if !is_hit {
                seen.reads.push(took);
                seen.measured_ns += cpu;
            }
        }
        seen.thread_ns = cpu_ns(ClockId::ThreadCPUTime) - thread_ns;
        Ok(seen)
    }

    /// That the reads were what the arm says. Gives how often the worker was woken.
    fn check(&self, n_seen: usize, before: &CacheStats, after: &CacheStats) -> Outcome<u64> {
        let n_reads = count(n_seen);
        let n_installed = count(after.index.n_installed - before.index.n_installed);
        let n_evicted = count(after.index.n_evicted - before.index.n_evicted);
        let n_inline = count(after.inline.n_installed - before.inline.n_installed);
        let n_wakeups = after.pool.map_or(0, |pool| pool.n_wakeups)
            - before.pool.map_or(0, |pool| pool.n_wakeups);
        let woken = count(n_wakeups) / n_reads;
        let nearly_all = n_reads * 0.8;
        // A key that is still on its way is passed over, and where nobody wakes the worker many are.
        let part = if matches!(self.arm, Arm::Awake | Arm::Polling) { 0.05 } else { 0.5 };
        let is_right = n_reads >= count(self.n_reads * self.n_readers) * part
            && match self.arm {
                Arm::Nobody | Arm::NobodyPaced => n_installed == 0.0,
                Arm::Inline => n_inline >= nearly_all,
                Arm::Parked => n_inline == 0.0 && (woken >= 0.5 || self.n_readers > 1),
                Arm::Awake | Arm::Polling => n_inline == 0.0 && woken <= 0.25,
            }
            && (!self.arm.promotes() || n_installed >= nearly_all && n_evicted >= n_reads * 0.7);
        if !is_right {
            return Err(format!("{:?} was something else: {before:?}, {after:?}", self.arm).into());
        }
        Ok(n_wakeups)
    }

    fn summary(
        &self,
        seen: Vec<Seen>,
        process_ns: u64,
        install_ns: Option<u64>,
        n_wakeups: u64,
    ) -> Taken {
        let n_reads = count(seen.iter().map(|seen| seen.reads.len()).sum::<usize>());
        let measured_ns: u64 = seen.iter().map(|seen| seen.measured_ns).sum();
        let thread_ns: u64 = seen.iter().map(|seen| seen.thread_ns).sum();
        let other_ns = install_ns.unwrap_or_else(|| process_ns.saturating_sub(thread_ns));
        let mut reads: Vec<_> = seen.into_iter().flat_map(|seen| seen.reads).collect();
        reads.sort_unstable();
        let at = |part: usize| reads[(reads.len() - 1) * part / 1_000].as_secs_f64() * 1e6;
        Taken {
            p50_us: at(500),
            p99_us: at(990),
            p999_us: at(999),
            reader_us: count(measured_ns) / n_reads / 1e3,
            other_us: count(other_ns) / n_reads / 1e3,
            n_passed_over_per_1000: (1.0 - n_reads / count(self.n_reads * self.n_readers)) * 1e3,
            n_wakeups_per_1000: count(n_wakeups) / n_reads * 1e3,
        }
    }
}

fn check(found: Option<&[u8]>, value: &[u8]) -> Outcome<()> {
    if found == Some(value) { Ok(()) } else { Err("a read brought other bytes".into()) }
}

/// Nanoseconds of processor time.
pub(super) fn cpu_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    secs.unwrap_or(0) * 1_000_000_000 + nanos.unwrap_or(0)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}
