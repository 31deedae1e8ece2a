//! What the process says about itself: memory, threads and their time on the processor.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::measure::allocated_bytes;

/// Name of the thread that owns a partition.
pub(crate) const LOOP: &str = "millpond-loop";
/// Name of the threads on which a partition waits for reads.
pub(super) const REFILL: &str = "millpond-refill";

/// Memory at one moment, in bytes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Asked for by Rust code and not given back.
    pub(crate) allocated: usize,
    /// Of the whole process, RocksDB's caches included.
    pub(crate) resident: usize,
}

impl Memory {
    pub(crate) fn now() -> Outcome<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: usize = kib.ok_or("no VmRSS in /proc/self/status")?.trim().parse()?;
        Ok(Self { allocated: allocated_bytes(), resident: kib << 10 })
    }
}

/// What the scheduler did with the threads of one name.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct ThreadTime {
    /// On a processor.
    pub(super) ran: Duration,
    /// Ready to run, while others ran.
    pub(crate) waited: Duration,
    /// How often another thread took its processor.
    pub(super) n_preempted: u64,
}

impl ThreadTime {
    /// Of the threads that are there now.
    pub(crate) fn of(name: &str) -> Outcome<Self> {
        let mut sum = Self::default();
        for task in tasks(name)? {
            let times = fs::read_to_string(task.join("schedstat"))?;
            let mut times = times.split_whitespace().map(str::parse::<u64>);
            let mut next = || times.next().ok_or("schedstat has three numbers");
            sum.ran += Duration::from_nanos(next()??);
            sum.waited += Duration::from_nanos(next()??);
            let status = fs::read_to_string(task.join("status"))?;
            let switches =
                status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
            sum.n_preempted += switches.ok_or("no switches in status")?.trim().parse::<u64>()?;
        }
        Ok(sum)
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            ran: self.ran - before.ran,
            waited: self.waited - before.waited,
            n_preempted: self.n_preempted - before.n_preempted,
        }
    }
}

/// Processor time of the whole process.
pub(super) fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.unwrap_or(0), nanos.unwrap_or(0))
}

/// How many threads have this name.
pub(super) fn n_threads(name: &str) -> Outcome<usize> {
    Ok(tasks(name)?.len())
}

fn tasks(name: &str) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        // A thread may end while it is looked at.
        if fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
            found.push(task);
        }
    }
    Ok(found)
}
