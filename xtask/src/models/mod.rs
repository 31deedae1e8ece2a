//! Running the concurrency models under loom, and refusing to call a search that was cut short a success.
//!
//! A model is a call of `millpond_sync::model("name", …)` in a test whose path contains `models::`: only
//! those tests run under loom, where every other test would touch a lock outside of a model and panic.
//! The sources are searched for such calls first, so a model that did not run is missed:
//!
//! 1. Every model found in the sources reports a line, but for those whose name starts with `broken_`:
//!    they are the twins that loom must refute, in a test that expects the panic.
//! 2. Every reported search is complete within its bound.
//! 3. At least one model ran.

mod report;
mod sources;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::args::LoomOptions;
use crate::error::{Context, Error, Result};
use crate::rocksdb::Rocksdb;
use crate::workspace::{Workspace, shown};

use report::{Run, judge, table};
use sources::Model;

/// Enough for every known bug of this kind in practice, and small enough to finish.
const PREEMPTIONS: &str = "2";
/// A bounded model that takes longer is too large; loom then stops, and the line says `incomplete`.
const SECONDS_PER_MODEL: &str = "300";
/// Joins the rustflags that `.cargo/config.toml` sets, where the variable RUSTFLAGS would replace them.
const CFG: &str = r#"target."cfg(all())".rustflags=["--cfg","millpond_loom"]"#;

/// Runs the models that `options` names, or all of them.
pub(crate) fn run(workspace: &Workspace, rocksdb: &Rocksdb, options: &LoomOptions) -> Result<()> {
    let known = sources::find(workspace)?;
    let chosen = choose(&known, &options.models)?;
    let target_dir = workspace.target_dir()?.join("loom");
    let mut runs: Vec<Run> = Vec::new();
    let mut failed: Vec<String> = Vec::new();
    for (package, models) in by_package(&chosen) {
        let mut command = command(workspace, package, &models, options, &target_dir);
        let passed = stream(rocksdb.apply(&mut command), &mut runs)?;
        if !passed {
            failed.push(format!("models of {package} failed; see above"));
        }
    }
    println!("\n{}", table(&runs));
    failed.extend(judge(&chosen, &runs));
    if failed.is_empty() {
        return Ok(());
    }
    for problem in &failed {
        println!("{problem}");
    }
    Err(Error::failed(failed.swap_remove(0)))
}

/// The models with the given names; all where none is given.
fn choose<'a>(known: &'a [Model], names: &[String]) -> Result<Vec<&'a Model>> {
    for name in names {
        if !known.iter().any(|model| model.name == *name) {
            let known: Vec<_> = known.iter().map(|model| model.name.as_str()).collect();
            return Err(Error::usage(format!(
                "there is no model `{name}`; there are: {}",
                known.join(", ")
            )));
        }
    }
    Ok(known.iter().filter(|model| names.is_empty() || names.contains(&model.name)).collect())
}

fn by_package<'a>(models: &[&'a Model]) -> BTreeMap<&'a str, Vec<&'a Model>> {
    let mut packages: BTreeMap<&str, Vec<&Model>> = BTreeMap::new();
    for model in models {
        packages.entry(&model.package).or_default().push(model);
    }
    packages
}

fn command(
    workspace: &Workspace,
    package: &str,
    models: &[&Model],
    options: &LoomOptions,
    target_dir: &Path,
) -> Command {
    let mut command = workspace.cargo();
    command.args(["--config", CFG, "test", "--locked", "--release", "--package", package]);
    // The other targets need not even compile under the cfg.
    if models.iter().any(|model| model.in_library) {
        command.arg("--lib");
    }
    if models.iter().any(|model| !model.in_library) {
        command.args(["--test", "*"]);
    }
    command.arg("--");
    if options.models.is_empty() {
        command.arg("models::");
    } else {
        command.args(models.iter().map(|model| &model.test));
    }
    command.args(["--nocapture", "--test-threads=1"]);
    command.env("CARGO_TARGET_DIR", target_dir);
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "LOOM_MAX_PERMUTATIONS"] {
        command.env_remove(variable);
    }
    if options.full {
        command.env_remove("LOOM_MAX_PREEMPTIONS").env_remove("LOOM_MAX_DURATION");
    } else {
        command.env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS);
        command.env("LOOM_MAX_DURATION", SECONDS_PER_MODEL);
    }
    command
}

/// Runs a command, passes its output through and collects the searches it reports. Gives whether it
/// succeeded.
fn stream(command: &mut Command, runs: &mut Vec<Run>) -> Result<bool> {
    let shown = shown(command);
    println!("{shown}");
    let doing = format!("run `{shown}`");
    let mut child = command.stdout(Stdio::piped()).spawn().context(&doing)?;
    let output = child.stdout.take().expect("standard output was piped two lines above");
    for line in BufReader::new(output).lines() {
        let line = line.context(&doing)?;
        println!("{line}");
        runs.extend(Run::parse(&line)?);
    }
    Ok(child.wait().context(&doing)?.success())
}
