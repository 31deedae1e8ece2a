//! The commands that build something and start it.

use std::fs;
use std::path::{Path, PathBuf, absolute};
use std::process::Command;

use crate::args::BenchOptions;
use crate::error::{Context, Result};
use crate::provision;
use crate::rocksdb::Rocksdb;
use crate::workspace::{Workspace, run};

/// The job log that `demo` replays.
const LOG: &str = "crates/millpond-cli/data/NASA-iPSC-1993-3.1-cln.swf.gz";
/// About half of the log's jobs.
const CRASH_AFTER: &str = "9000";

/// The benches of `millpond-cache-bench`; all others are of `millpond-bench`.
const CACHE_BENCHES: [&str; 2] = ["coherence", "hit-ratio"];

/// Provides what the machine lacks, and the compiled RocksDB.
pub(crate) fn prepare(workspace: &Workspace) -> Result<Rocksdb> {
    provision::provision(provision::BUILD)?;
    Rocksdb::ensure(workspace)
}

/// Replays a real job log through durable queues, with a kill -9 in the middle.
pub(crate) fn demo(workspace: &Workspace) -> Result<()> {
    let rocksdb = prepare(workspace)?;
    let mut build = workspace.cargo();
    build.args(["build", "--locked", "--release", "--package", "millpond-cli"]);
    run(rocksdb.apply(&mut build))?;

    let target_dir = workspace.target_dir()?;
    let results = target_dir.join("demo");
    fs::create_dir_all(&results).context(format_args!("create {}", results.display()))?;
    // Not in the directory for temporary files: that is often memory, where a sync costs nothing.
    let store = TemporaryStore(results.join(format!("store-{}", std::process::id())));
    let (json, svg) = (results.join("replay.json"), results.join("replay.svg"));
    let mut replay = Command::new(target_dir.join("release/millpond"));
    replay.current_dir(&workspace.root).args(["replay", LOG, "--data"]).arg(&store.0);
    replay.args(["--speed", "max", "--crash-after", CRASH_AFTER]);
    replay.arg("--json").arg(&json).arg("--svg").arg(&svg);
    run(&mut replay)?;
    println!("figures: {}\npicture: {}", json.display(), svg.display());
    Ok(())
}

/// The store of one replay, removed at the end however the replay ended.
#[derive(Debug)]
struct TemporaryStore(PathBuf);

impl Drop for TemporaryStore {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(error) = fs::remove_dir_all(&self.0)
        {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Applies clippy's suggestions, then the format.
pub(crate) fn fix(workspace: &Workspace) -> Result<()> {
    let rocksdb = prepare(workspace)?;
    let mut clippy = workspace.cargo();
    clippy.args(["clippy", "--fix", "--allow-dirty", "--workspace", "--all-targets"]);
    run(rocksdb.apply(&mut clippy))?;
    run(workspace.cargo().args(["fmt", "--all"]))
}

/// Runs the benchmarks: all of them, or those that are named. RocksDB is there only for those that link it.
pub(crate) fn bench(workspace: &Workspace, options: &BenchOptions) -> Result<()> {
    let (of_caches, others): (Vec<&String>, Vec<&String>) =
        options.names.iter().partition(|name| CACHE_BENCHES.contains(&name.as_str()));
    let is_all = options.names.is_empty();
    let has_others = is_all || !others.is_empty();
    if has_others {
        let rocksdb = prepare(workspace)?;
        let mut bench = bench_command(workspace, "millpond-bench", &others, options)?;
        run(rocksdb.apply(&mut bench))?;
    }
    if is_all || !of_caches.is_empty() {
        let mut bench = bench_command(workspace, "millpond-cache-bench", &of_caches, options)?;
        if has_others {
            bench.arg("--append");
        }
        run(&mut bench)?;
    }
    Ok(())
}

fn bench_command(
    workspace: &Workspace,
    package: &str,
    names: &[&String],
    options: &BenchOptions,
) -> Result<Command> {
    let mut bench = workspace.cargo();
    bench.args(["run", "--locked", "--release", "--package", package, "--"]);
    bench.args(names);
    if options.quick {
        bench.arg("--quick");
    }
    if let Some(json) = &options.json {
        // The benchmarks run in the root of the workspace; the name was given where the user stands.
        bench.arg("--json").arg(absolute(json).context("find the current directory")?);
    }
    Ok(bench)
}

/// Prints the variables that point a shell's cargo at the compiled RocksDB.
pub(crate) fn env(workspace: &Workspace) -> Result<()> {
    if let Some(lib_dir) = prepare(workspace)?.lib_dir {
        println!("export ROCKSDB_LIB_DIR={} ROCKSDB_STATIC=1", quoted(&lib_dir));
    }
    Ok(())
}

/// A path as one word for a POSIX shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_and_quotes_stays_one_word() {
        assert_eq!(quoted(Path::new("/it's here")), r"'/it'\''s here'");
    }

    #[test]
    fn the_store_of_a_demo_is_removed() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let store = TemporaryStore(directory.path().join("store"));
        let path = store.0.clone();
        fs::create_dir_all(path.join("deep")).expect("the directory is writable");
        drop(store);
        assert!(!path.exists());
    }
}
