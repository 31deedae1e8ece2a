//! One compiled RocksDB for every profile, build directory and checkout of this machine.
//!
//! Compiling RocksDB takes about twenty CPU minutes. The build script of `librocksdb-sys` skips it where
//! `ROCKSDB_LIB_DIR` and `ROCKSDB_STATIC` name a finished library, so it is compiled once, kept in the cache
//! directory under a key over everything that can change it, and every other cargo command is pointed at
//! it: those started here through their environment, those typed by hand through `.cargo/rocksdb.toml`,
//! which `.cargo/config.toml` includes where it exists.
//!
//! 1. The library appears under its final name complete or not at all: it is renamed into place.
//! 2. Two commands never compile it at the same time: the second waits on a file lock, and then finds it.
//! 3. A library is used only under the key of what it was compiled from.

mod build;
mod key;
mod progress;

#[cfg(test)]
mod tests;

use std::env;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, Error, Result};
use crate::workspace::{Workspace, output_of};

use key::KeyInputs;

/// The package that compiles RocksDB.
const PACKAGE: &str = "librocksdb-sys";
const LIBRARY: &str = "librocksdb.a";

/// How commands are pointed at the compiled library.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Rocksdb {
    /// `None` while no crate of the workspace needs RocksDB.
    pub(crate) lib_dir: Option<PathBuf>,
}

impl Rocksdb {
    /// Finds the library, or compiles it.
    pub(crate) fn ensure(workspace: &Workspace) -> Result<Self> {
        if let Some(lib_dir) = given(workspace) {
            eprintln!("rocksdb: using {} (ROCKSDB_LIB_DIR)", lib_dir.display());
            return Ok(Self { lib_dir: Some(lib_dir) });
        }
        let Some(inputs) = key_inputs(workspace)? else { return Ok(Self { lib_dir: None }) };
        let lib_dir = ensure_cached(workspace, &inputs)?;
        tell_cargo(workspace, &lib_dir)?;
        Ok(Self { lib_dir: Some(lib_dir) })
    }

    /// Lets `command` link the library instead of compiling it.
    pub(crate) fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(lib_dir) = &self.lib_dir {
            command.env("ROCKSDB_LIB_DIR", lib_dir).env("ROCKSDB_STATIC", "1");
            command.env_remove("ROCKSDB_COMPILE");
        }
        command
    }
}

/// A library that the caller's environment names. One from our own cache is looked up again instead,
/// because the shell that exported it may be older than the key.
fn given(workspace: &Workspace) -> Option<PathBuf> {
    let lib_dir = PathBuf::from(env::var_os("ROCKSDB_LIB_DIR")?);
    (!lib_dir.starts_with(&workspace.cache_dir) && lib_dir.join(LIBRARY).is_file())
        .then_some(lib_dir)
}

/// What the library of this checkout depends on; `None` where nothing needs RocksDB.
fn key_inputs(workspace: &Workspace) -> Result<Option<KeyInputs>> {
    let Some(version) = key::locked_version(&workspace.read("Cargo.lock")?, PACKAGE)? else {
        return Ok(None);
    };
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let banner = output_of(Command::new(&compiler).arg("--version")).map_err(|_| {
        Error::missing(format!("no C++ compiler `{compiler}`: install g++ or clang, or set CXX"))
    })?;
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc_version = output_of(Command::new(rustc).arg("-vV").current_dir(&workspace.root))?;
    let target = rustc_version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(Some(KeyInputs {
        version,
        declaration: key::toml_values(&workspace.read("Cargo.toml")?, "rocksdb").join("; "),
        rustflags: key::toml_values(&workspace.read(".cargo/config.toml")?, "rustflags").join("; "),
        compiler: banner.lines().next().unwrap_or_default().to_owned(),
        target: target.unwrap_or_default().to_owned(),
        cxxflags: env::var("CXXFLAGS").unwrap_or_default(),
    }))
}

/// The directory of the library with these inputs, compiled now if it is not there yet.
fn ensure_cached(workspace: &Workspace, inputs: &KeyInputs) -> Result<PathBuf> {
    let cache = &workspace.cache_dir;
    let lib_dir = cache.join(format!("rocksdb-{}", inputs.key()));
    if lib_dir.join(LIBRARY).is_file() {
        return Ok(lib_dir);
    }
    fs::create_dir_all(cache).context(format_args!(
        "create the cache directory {} (MILLPOND_CACHE_DIR names another)",
        cache.display()
    ))?;
    let _lock = lock(&cache.join("rocksdb.lock"))?;
    // Whoever held the lock before may have compiled exactly this library.
    if !lib_dir.join(LIBRARY).is_file() {
        let build_dir = cache.join("rocksdb-build");
        let built = build::compile(workspace, inputs, &build_dir)?;
        install(&built, inputs, &lib_dir)?;
        fs::remove_dir_all(&build_dir)
            .context(format_args!("remove the build tree {}", build_dir.display()))?;
    }
    Ok(lib_dir)
}

/// Points the cargo commands that are typed by hand at the library.
fn tell_cargo(workspace: &Workspace, lib_dir: &Path) -> Result<()> {
    let path = workspace.root.join(".cargo/rocksdb.toml");
    let text = format!(
        "# Written by `cargo xtask`; `cargo xtask rocksdb` writes it anew.\n\
         [env]\nROCKSDB_LIB_DIR = {:?}\nROCKSDB_STATIC = \"1\"\n",
        lib_dir.display().to_string()
    );
    if fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    fs::write(&path, text).context(format_args!("write {}", path.display()))
}

/// Takes the lock that lets one process compile; it ends with the returned file.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).context(format_args!("create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            eprintln!("rocksdb: another command is compiling it; waiting for that one");
        }
        Err(TryLockError::Error(error)) => {
            return Err(Error::failed(format!("cannot lock {}: {error}", path.display())));
        }
    }
    file.lock().context(format_args!("lock {}", path.display()))?;
    Ok(file)
}

/// Puts a compiled library under its final name, whole or not at all.
fn install(built: &Path, inputs: &KeyInputs, lib_dir: &Path) -> Result<()> {
    let doing = format!("put the compiled RocksDB into {}", lib_dir.display());
    let unfinished = lib_dir.join(format!("{LIBRARY}.unfinished"));
    fs::create_dir_all(lib_dir).context(&doing)?;
    fs::write(lib_dir.join("key.txt"), inputs.describe()).context(&doing)?;
    fs::copy(built, &unfinished).context(&doing)?;
    // A torn library after a power cut would be linked for ever: its name must not precede its bytes.
    File::open(&unfinished).and_then(|file| file.sync_all()).context(&doing)?;
    fs::rename(&unfinished, lib_dir.join(LIBRARY)).context(&doing)
}
