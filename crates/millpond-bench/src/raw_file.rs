//! The floor: appending bytes to a file and syncing it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// Synced appends of `n_bytes` each, per second.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn syncs_per_second(dir: &Path, n_bytes: usize, run: Duration) -> io::Result<f64> {
    let file = tempfile::NamedTempFile::new_in(dir)?;
    let mut handle: &File = file.as_file();
    let bytes = vec![0x5A; n_bytes];
    let started = Instant::now();
    let mut n_syncs = 0_u32;
    while started.elapsed() < run {
        handle.write_all(&bytes)?;
        handle.sync_data()?;
        n_syncs += 1;
    }
    let rate = f64::from(n_syncs) / started.elapsed().as_secs_f64();
    let expected = u64::from(n_syncs) * n_bytes as u64;
    if handle.metadata()?.len() != expected {
        return Err(io::Error::other("the file does not hold what was written"));
    }
    Ok(rate)
}
