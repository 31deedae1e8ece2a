//! The disk, the processor and the limits.

use std::io::Write as _;
use std::path::Path;

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};

use super::Check;
use crate::clock::Micros;
use crate::output::{bytes, count, duration_us};

/// Below this an engine soon stops.
const SPACE_FAIL_BYTES: u64 = 64 << 20;
/// Below this compactions may have no room.
const SPACE_WARN_BYTES: u64 = 1 << 30;
const INODES_WARN: u64 = 10_000;
const INODES_FAIL: u64 = 100;
/// Files that a partition keeps open at most, with room for the rest of the process.
const FILES_PER_PARTITION: u64 = 640;
/// Writes that are timed.
const N_SYNCS: usize = 64;
const SYNC_BYTES: usize = 4096;
/// No disk with a memory of its own failures is faster.
const SYNC_TOO_FAST_US: u64 = 5;
const SYNC_SLOW_US: u64 = 20_000;

/// Room for data and for files.
pub(super) fn space(ground: &Path) -> Vec<Check> {
    let stat = match statvfs(ground) {
        Ok(stat) => stat,
        Err(error) => {
            return vec![Check::warn("free space", error.to_string(), "look at the file system")];
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let total = stat.f_blocks.saturating_mul(stat.f_frsize);
    let found = format!("{} free of {}", bytes(free), bytes(total));
    let more = "free some space: an engine that cannot write stops, and loses nothing";
    let space = if free < SPACE_FAIL_BYTES {
        Check::fail("free space", found, more)
    } else if free < SPACE_WARN_BYTES {
        Check::warn("free space", found, more)
    } else {
        Check::ok("free space", found)
    };
    vec![space, inodes(stat.f_favail, stat.f_files)]
}

fn inodes(free: u64, total: u64) -> Check {
    const NAME: &str = "free inodes";
    if total == 0 {
        return Check::ok(NAME, "the file system makes them as needed");
    }
    let found = format!("{} free of {}", count(free), count(total));
    if free < INODES_FAIL {
        Check::fail(NAME, found, "remove files: no new one can be created")
    } else if free < INODES_WARN {
        Check::warn(NAME, found, "remove files before new ones cannot be created")
    } else {
        Check::ok(NAME, found)
    }
}

/// What a durable commit costs here: writes that are synced, timed one by one.
pub(super) fn sync_latency(ground: &Path) -> Check {
    const NAME: &str = "sync latency";
    let mut times = match timed_syncs(ground) {
        Ok(times) => times,
        Err(error) => {
            let found = format!("cannot be measured: {error}");
            return Check::fail(NAME, found, "an engine needs to write and sync files here");
        }
    };
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let found = format!(
        "{} median, {} worst, of {N_SYNCS} × ({} + fdatasync)",
        duration_us(median),
        duration_us(worst),
        bytes(SYNC_BYTES as u64)
    );
    match median {
        ..SYNC_TOO_FAST_US => Check::warn(
            NAME,
            found,
            "no disk is that fast: here a sync does not reach one, and a power cut may take receipts back",
        ),
        SYNC_SLOW_US.. => Check::warn(
            NAME,
            found,
            "every receipt waits that long: use a faster disk, or one with a protected write cache",
        ),
        _ => Check::ok(NAME, found),
    }
}

fn timed_syncs(ground: &Path) -> std::io::Result<Vec<u64>> {
    // Without a name where the file system allows it, so nothing is left even by a kill.
    let mut file = tempfile::tempfile_in(ground)?;
    let block = [0x5a; SYNC_BYTES];
    let mut times = Vec::with_capacity(N_SYNCS);
    for _ in 0..N_SYNCS {
        let start = Micros::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(Micros::now().since(start));
    }
    Ok(times)
}

/// What kind of file system it is.
#[cfg(target_os = "linux")]
pub(super) fn file_system(ground: &Path) -> Check {
    const NAME: &str = "file system";
    let magic = match rustix::fs::statfs(ground) {
        Ok(stat) => u64::try_from(stat.f_type).unwrap_or(0),
        Err(error) => return Check::warn(NAME, error.to_string(), "look at the file system"),
    };
    match magic {
        0xef53 => Check::ok(NAME, "ext4"),
        0x5846_5342 => Check::ok(NAME, "xfs"),
        0x9123_683e => Check::ok(NAME, "btrfs"),
        0x2fc1_2fc1 => Check::ok(NAME, "zfs"),
        0xf2f5_2010 => Check::ok(NAME, "f2fs"),
        0x794c_7630 => Check::warn(
            NAME,
            "overlayfs",
            "a container's own layer goes with the container: mount a volume for the data",
        ),
        0x0102_1994 | 0x8584_58f6 => Check::warn(
            NAME,
            "memory (tmpfs)",
            "nothing here survives a restart of the machine: name a --data on a disk",
        ),
        0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x517b => Check::warn(
            NAME,
            "network (nfs or smb)",
            "locks and syncs depend on the server: use a local disk",
        ),
        other => Check::ok(NAME, format!("type {other:#x}")),
    }
}

/// What kind of file system it is: not known on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn file_system(_ground: &Path) -> Check {
    Check::ok("file system", "its kind is not known on this system")
}

/// Whether the engine may open as many files as it may need.
pub(super) fn open_files(n_partitions: Option<u16>) -> Check {
    const NAME: &str = "open files";
    let n_partitions = n_partitions.map_or_else(n_cores, u64::from);
    let needed = n_partitions * FILES_PER_PARTITION;
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => {
            let found =
                format!("at most {}, {n_partitions} partitions may need {needed}", count(limit));
            Check::warn(NAME, found, format!("raise it before starting: ulimit -n {needed}"))
        }
        Some(limit) => Check::ok(NAME, format!("at most {}", count(limit))),
        None => Check::ok(NAME, "not limited"),
    }
}

/// Whether the processor computes the checksums of every row by itself.
pub(super) fn checksums() -> Check {
    const NAME: &str = "checksums";
    #[cfg(target_arch = "x86_64")]
    let in_hardware = is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let in_hardware = std::arch::is_aarch64_feature_detected!("crc");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let in_hardware = false;
    if in_hardware {
        return Check::ok(NAME, "CRC32C in hardware");
    }
    Check::warn(
        NAME,
        "CRC32C in software",
        "the processor lacks the instructions: expect less speed",
    )
}

fn n_cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

/// Whether the partitions, fixed when the engine was created, fit the cores.
pub(super) fn cores(n_partitions: Option<u16>) -> Check {
    const NAME: &str = "cores";
    let n_cores = n_cores();
    let Some(n_partitions) = n_partitions.map(u64::from) else {
        return Check::ok(NAME, format!("{n_cores}; a new engine gets as many partitions"));
    };
    let found = format!("{n_cores}, for {n_partitions} partitions");
    if n_partitions < n_cores.div_ceil(2) {
        let advice = "the number of partitions is fixed: a new engine would use more cores";
        return Check::warn(NAME, found, advice);
    }
    Check::ok(NAME, found)
}
