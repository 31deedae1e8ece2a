//! Compiling RocksDB through its own build script, and finding what came out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::progress::Progress;
use super::{KeyInputs, LIBRARY, PACKAGE};
use crate::error::{Context, Error, Result};
use crate::workspace::Workspace;

/// How often the build directory is looked at.
const POLL: Duration = Duration::from_millis(500);

/// Variables that would change what is compiled without changing the key.
const NOT_INHERITED: [&str; 5] = [
    "ROCKSDB_INCLUDE_DIR",
    "ROCKSDB_CXX_STD",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
];

/// Compiles into `build_dir` and gives the path of the library in it.
pub(super) fn compile(
    workspace: &Workspace,
    inputs: &KeyInputs,
    build_dir: &Path,
) -> Result<PathBuf> {
    // What an interrupted build left would be counted as done, and is compiled again anyway.
    if build_dir.exists() {
        fs::remove_dir_all(build_dir)
            .context(format_args!("remove the unfinished build {}", build_dir.display()))?;
    }
    fs::create_dir_all(build_dir).context(format_args!("create {}", build_dir.display()))?;
    let n_files = count_sources(workspace)?;
    eprintln!(
        "rocksdb: compiling {} once for this machine (about 20 CPU minutes), kept in {}",
        inputs.version,
        workspace.cache_dir.display()
    );
    let messages = build_dir.join("messages.json");
    let mut command = command(workspace, build_dir);
    command.stdout(File::create(&messages).context(format_args!("create {messages:?}"))?);
    let mut child = command.spawn().context("start cargo")?;
    let mut progress = Progress::start();
    let status = loop {
        if let Some(status) = child.try_wait().context("wait for cargo")? {
            break status;
        }
        progress.report(count_objects(build_dir), n_files);
        thread::sleep(POLL);
    };
    let took = progress.finish();
    if !status.success() {
        return Err(Error::failed(format!("compiling RocksDB failed ({status}); see above")));
    }
    eprintln!("rocksdb: compiled in {:.0?}", took);
    let messages = fs::read_to_string(&messages).context(format_args!("read {messages:?}"))?;
    let library = out_dir(&messages)?.join(LIBRARY);
    if library.is_file() {
        Ok(library)
    } else {
        Err(Error::failed(format!("cargo finished without leaving {}", library.display())))
    }
}

fn command(workspace: &Workspace, build_dir: &Path) -> Command {
    let mut command = workspace.cargo();
    command
        .args(["build", "--locked", "--quiet", "--release", "--package", PACKAGE])
        .args(["--message-format", "json-render-diagnostics", "--target-dir"])
        .arg(build_dir)
        // Debug information of C++ would quadruple the library and help nobody here.
        .args(["--config", "profile.release.debug=false"])
        // Overrules a ROCKSDB_LIB_DIR, which an outdated `.cargo/rocksdb.toml` would set in any case.
        .env("ROCKSDB_COMPILE", "1");
    for variable in NOT_INHERITED {
        command.env_remove(variable);
    }
    command
}

/// The directory the build script wrote to, from cargo's messages.
pub(super) fn out_dir(messages: &str) -> Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "build-script-executed")
        .filter(|message| message["package_id"].as_str().is_some_and(|id| id.contains(PACKAGE)))
        .find_map(|message| message["out_dir"].as_str().map(PathBuf::from))
        .ok_or_else(|| Error::failed(format!("cargo named no output directory for {PACKAGE}")))
}

/// How many files RocksDB consists of, as its build script counts them.
fn count_sources(workspace: &Workspace) -> Result<usize> {
    let metadata = workspace.metadata(&[])?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let manifest = packages
        .iter()
        .find(|package| package["name"] == PACKAGE)
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or_else(|| Error::failed(format!("`cargo metadata` does not know {PACKAGE}")))?;
    let list = Path::new(manifest).with_file_name("rocksdb_lib_sources.txt");
    let text = fs::read_to_string(&list).context(format_args!("read {}", list.display()))?;
    Ok(text.lines().count())
}

/// How many object files the build script has produced so far. Errors count as none: the build may be
/// creating the very directories that are read here.
fn count_objects(build_dir: &Path) -> usize {
    let Ok(packages) = fs::read_dir(build_dir.join("release/build")) else { return 0 };
    packages
        .flatten()
        .filter(|package| package.file_name().to_string_lossy().starts_with(PACKAGE))
        .filter_map(|package| fs::read_dir(package.path().join("out")).ok())
        .flat_map(|files| files.flatten())
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "o"))
        .count()
}
