//! Where things are, and how a command is started there.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::{Context, Error, Result};

/// The checkout this command works on.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// Directory of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// What outlives a checkout: the compiled RocksDB.
    pub(crate) cache_dir: PathBuf,
    /// The cargo that started this program.
    pub(crate) cargo: OsString,
}

impl Workspace {
    /// The workspace `cargo xtask` was started in.
    ///
    /// Asked at run time, never baked in: checkouts may share one build directory, and with it this
    /// binary.
    pub(crate) fn find() -> Result<Self> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let root = match env::var_os("CARGO_MANIFEST_DIR") {
            Some(package) => Path::new(&package).parent().map(Path::to_owned),
            None => None,
        };
        let root = match root {
            Some(root) => root,
            None => locate_root(&cargo)?,
        };
        let cache_dir = cache_dir(|name| env::var_os(name)).unwrap_or(root.join("target/cache"));
        Ok(Self { root, cache_dir, cargo })
    }

    /// A cargo command in the root that reads nothing from the terminal.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// `cargo metadata` with the given extra arguments.
    pub(crate) fn metadata(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.cargo();
        command.args(["metadata", "--locked", "--format-version", "1"]).args(arguments);
        let text = output_of(&mut command)?;
        serde_json::from_str(&text).context("read the output of `cargo metadata`")
    }

    /// The build directory cargo uses, whatever decided it.
    pub(crate) fn target_dir(&self) -> Result<PathBuf> {
        let metadata = self.metadata(&["--no-deps"])?;
        let directory = metadata["target_directory"].as_str();
        directory.map(PathBuf::from).ok_or_else(|| {
            Error::failed("`cargo metadata` names no target_directory; is this cargo 1.95?")
        })
    }

    /// The text of a file of the repository.
    pub(crate) fn read(&self, relative: &str) -> Result<String> {
        std::fs::read_to_string(self.root.join(relative)).context(format_args!("read {relative}"))
    }
}

/// `$MILLPOND_CACHE_DIR`, `$XDG_CACHE_HOME/millpond` or `$HOME/.cache/millpond`; `None` where none of them
/// is set.
fn cache_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    path("MILLPOND_CACHE_DIR")
        .or_else(|| path("XDG_CACHE_HOME").map(|directory| directory.join("millpond")))
        .or_else(|| path("HOME").map(|home| home.join(".cache/millpond")))
}

fn locate_root(cargo: &OsString) -> Result<PathBuf> {
    let mut command = Command::new(cargo);
    command.args(["locate-project", "--workspace", "--message-format", "plain"]);
    let manifest = output_of(&mut command)?;
    let root = Path::new(manifest.trim()).parent().map(Path::to_owned);
    root.ok_or_else(|| Error::failed("`cargo locate-project` names no directory"))
}

/// Runs a command to its end and gives what it wrote to standard output; its errors pass through.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output =
        command.stderr(Stdio::inherit()).output().context(format_args!("start `{shown}`"))?;
    if !output.status.success() {
        return Err(Error::failed(format!("`{shown}` failed ({})", output.status)));
    }
    String::from_utf8(output.stdout).context(format_args!("read the output of `{shown}`"))
}

/// Runs a command to its end, its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().context(format_args!("start `{shown}`"))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::failed(format!("`{shown}` failed ({status})")))
    }
}

/// The command as one could type it, without its environment.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_goes_where_the_first_variable_says() {
        let directory = |environment: &[(&str, &str)]| {
            cache_dir(|name| {
                let set = environment.iter().find(|(key, _)| *key == name);
                set.map(|(_, value)| OsString::from(value))
            })
        };
        let (own, xdg, home) =
            (("MILLPOND_CACHE_DIR", "/m"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h"));
        assert_eq!(directory(&[own, xdg, home]), Some("/m".into()));
        assert_eq!(directory(&[xdg, home]), Some("/x/millpond".into()));
        let empty = ("XDG_CACHE_HOME", "");
        assert_eq!(directory(&[empty, home]), Some("/h/.cache/millpond".into()));
        assert_eq!(directory(&[]), None);
    }

    #[test]
    fn a_failing_command_is_named_with_its_arguments() {
        let error = run(Command::new("false").arg("x")).expect_err("`false` fails");
        assert!(error.to_string().starts_with("`false x` failed"), "{error}");
        let error = run(&mut Command::new("/no/such/program")).expect_err("there is none");
        assert!(error.to_string().starts_with("cannot start `program`"), "{error}");
    }
}
