//! The gate: everything that must hold before a change is merged. It changes nothing in the checkout.

use std::process::{Command, Stdio};

use crate::args::LoomOptions;
use crate::error::Result;
use crate::rocksdb::Rocksdb;
use crate::steps::Steps;
use crate::workspace::{Workspace, run};
use crate::{codemap, models, provision};

/// Runs the gate. With `keep_going`, a failure stops only what needs its result.
pub(crate) fn check(workspace: &Workspace, keep_going: bool) -> Result<()> {
    let mut steps = Steps::new(keep_going);
    steps.run("fmt", || run(workspace.cargo().args(["fmt", "--all", "--check"])));
    steps.run("codemap", || codemap::check(workspace));
    let rocksdb = steps.run("rocksdb", || {
        provision::provision(&provision::needs_of_check(workspace))?;
        Rocksdb::ensure(workspace)
    });
    let rocksdb = rocksdb.as_ref();
    let cargo = |rocksdb: &Rocksdb, line: &str| {
        let mut command = workspace.cargo();
        command.args(line.split(' '));
        rocksdb.apply(&mut command);
        command
    };
    steps.run_with(rocksdb, "clippy", |rocksdb| {
        let line = "clippy --locked --workspace --all-targets -- -D warnings";
        run(&mut cargo(rocksdb, line))
    });
    steps.run_with(rocksdb, "features", |rocksdb| {
        // All other packages have no features to leave out or to add.
        let driver = "clippy --locked -p millpond-wakeup --features tokio -- -D warnings";
        run(&mut cargo(rocksdb, driver))?;
        let without = "clippy --locked -p millpond --no-default-features";
        run(&mut cargo(rocksdb, &format!("{without} -- -D warnings")))?;
        run(&mut cargo(rocksdb, &format!("{without} --features rocksdb -- -D warnings")))
    });
    steps.run_with(rocksdb, "docs", |rocksdb| {
        // Libraries only: the command `millpond` would write over the pages of the library `millpond`.
        let line = "doc --locked --workspace --no-deps --lib";
        run(cargo(rocksdb, line).env("RUSTDOCFLAGS", "-D warnings"))?;
        let driver = "doc --locked -p millpond-wakeup --features tokio --no-deps --lib";
        run(cargo(rocksdb, driver).env("RUSTDOCFLAGS", "-D warnings"))
    });
    steps.run_with(rocksdb, "tests", |rocksdb| run(&mut cargo(rocksdb, test_line(workspace))));
    steps.run_with(rocksdb, "doctests", |rocksdb| {
        run(&mut cargo(rocksdb, "test --locked --workspace --doc --no-fail-fast"))?;
        run(&mut cargo(rocksdb, "test --locked -p millpond-wakeup --features tokio --doc"))
    });
    steps.run_with(rocksdb, "models", |rocksdb| {
        models::run(workspace, rocksdb, &LoomOptions::default())
    });
    steps.finish()
}

/// nextest runs the tests of all packages at once; cargo's own runner one package after the other. Both
/// leave the benchmarks out.
fn test_line(workspace: &Workspace) -> &'static str {
    let mut probe: Command = workspace.cargo();
    probe.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if probe.status().is_ok_and(|status| status.success()) {
        "nextest run --locked --workspace --no-fail-fast"
    } else {
        "test --locked --workspace --lib --bins --tests --no-fail-fast"
    }
}
