//! The codemap `docs/architecture.md` against the workspace as cargo sees it.
//!
//! 1. The codemap's table and the workspace name the same packages.
//! 2. A normal or build dependency between our packages is in the table.
//! 3. A dev-dependency is in the table, or goes to a lower layer, or to a library of the layer `dev`.
//! 4. `rocksdb` is named by its backend and the benchmarks only, `tokio` by the facade and what stands
//!    above or beside it and behind a feature by `millpond-wakeup`, and `xtask` depends on none of our
//!    packages.
//! 5. Every directory in `crates/` is called like its package, has a README, has a section in the
//!    codemap, and its code opens with a sentence.

mod packages;
mod rules;
mod table;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::workspace::Workspace;

const CODEMAP: &str = "docs/architecture.md";

/// Compares the codemap with the workspace and prints everything that differs.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let text = workspace.read(CODEMAP)?;
    let table = table::parse(&text)?;
    let packages = packages::read(&workspace.metadata(&["--no-deps"])?, &workspace.root)?;
    // A set, because an edge may break two rules.
    let mut problems = BTreeSet::from_iter(rules::membership(&table, &packages));
    problems.extend(rules::edges(&table, &packages));
    problems.extend(rules::libraries(&packages));
    problems.extend(rules::documentation(&text, &packages));
    if problems.is_empty() {
        println!("{} packages are as {CODEMAP} says", packages.len());
        return Ok(());
    }
    for problem in &problems {
        println!("{problem}");
    }
    Err(Error::failed(format!("{} things are not as {CODEMAP} says", problems.len())))
}
