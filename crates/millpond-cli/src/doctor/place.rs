//! The data directory and what is in it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use millpond::ErrorKind;
use millpond::admin::{Admin, PayloadInfo};
use rustix::fs::{Access, access};

use super::Check;
use crate::output::bytes;

/// Where a running engine answers.
const SOCKET: &str = "control.sock";
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The directory, or the nearest one above it that exists.
pub(super) fn ground(data: &Path) -> PathBuf {
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let mut above = absolute.ancestors();
    above.find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Whether an engine could work there.
pub(super) fn directory(data: &Path, ground: &Path) -> Check {
    const NAME: &str = "directory";
    let path = data.display();
    let metadata = match fs::metadata(ground) {
        Ok(metadata) => metadata,
        Err(error) => {
            return Check::fail(NAME, format!("{path}: {error}"), "make the directory accessible");
        }
    };
    if !metadata.is_dir() {
        let found = format!("{} is not a directory", ground.display());
        return Check::fail(NAME, found, "name another --data");
    }
    if let Err(error) = access(ground, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        let found = format!("{} cannot be written: {error}", ground.display());
        return Check::fail(NAME, found, "run as its owner, or change its owner or permissions");
    }
    if !data.exists() {
        return Check::ok(NAME, format!("{path} is not there; it can be created"));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        let found = format!("{path} can be written by others (mode {mode:04o})");
        return Check::warn(NAME, found, format!("chmod go-w {path}"));
    }
    Check::ok(NAME, format!("{path} is writable (mode {mode:04o})"))
}

/// What is in the directory, and how many partitions that engine has.
pub(super) async fn engine(data: &Path) -> (Vec<Check>, Option<u16>) {
    const NAME: &str = "engine";
    let admin = match Admin::connect(data).await {
        Ok(admin) => admin,
        Err(error) => {
            let found = error.to_string();
            let check = match error.kind() {
                ErrorKind::NotFound if is_used(data) => Check::fail(
                    NAME,
                    "no engine, but other files are there",
                    "an engine is only created in an empty directory: name another --data",
                ),
                ErrorKind::NotFound => Check::ok(NAME, "none yet; the first open creates it"),
                ErrorKind::AlreadyOpen => Check::warn(
                    NAME,
                    found,
                    "that process runs without its control socket, or hangs: look at it",
                ),
                ErrorKind::Format => Check::fail(
                    NAME,
                    found,
                    "use the version of millpond that wrote it, or restore a copy",
                ),
                _ => Check::fail(NAME, found, "restore a copy, or repair what refuses to be read"),
            };
            return (vec![check], None);
        }
    };
    let n = admin.n_partitions();
    let state = if admin.is_running() { "running, and answers" } else { "stopped" };
    let mut checks = vec![Check::ok(NAME, format!("{state}; {n} partitions"))];
    if !admin.is_running() && data.join(SOCKET).exists() {
        let found = format!("{SOCKET} is left over: the engine was killed");
        checks.push(Check::ok("socket", found + "; the next open replaces it"));
    }
    if let Ok(Some(payloads)) = admin.payloads().await {
        checks.push(Check::ok("payloads", told(&payloads)));
    }
    (checks, Some(n))
}

/// How the payload cache serves.
fn told(payloads: &PayloadInfo) -> String {
    let Some(ratio) = payloads.hit_ratio() else {
        return "none above a kilobyte was leased yet".to_owned();
    };
    let PayloadInfo { n_installed, n_overtaken, n_refused, n_evicted, n_entries, n_bytes, .. } =
        payloads;
    format!(
        "{:.1} % of those leased were in memory; {n_installed} kept, {n_overtaken} overtaken, {n_refused} without \
         room, {n_evicted} evicted; now {n_entries}, {}",
        ratio * 100.0,
        bytes(*n_bytes),
    )
}

fn is_used(data: &Path) -> bool {
    fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some())
}
