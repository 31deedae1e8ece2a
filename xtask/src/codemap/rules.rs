//! The rules a workspace must keep; each gives one sentence per breach.

use std::collections::BTreeSet;

use super::packages::Package;
use super::table::{Allowed, Layer, Row, Table};

/// The only packages that may name RocksDB.
const MAY_NAME_ROCKSDB: [&str; 2] = ["millpond-storage-rocksdb", "millpond-bench"];
/// The only packages outside `tests/` that may name a runtime.
const MAY_NAME_TOKIO: [&str; 4] =
    ["millpond", "millpond-cli", "millpond-bench", "millpond-cache-bench"];
/// The only package that may name a runtime behind a feature, and in its tests.
const MAY_OFFER_TOKIO: &str = "millpond-wakeup";
/// Shorter, a first line says nothing.
const SENTENCE_CHARS_MIN: usize = 20;

/// Rule 1: table and workspace name the same packages.
pub(super) fn membership(table: &Table, packages: &[Package]) -> Vec<String> {
    let present: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut problems = Vec::new();
    for name in present.iter().filter(|name| !table.contains_key(**name)) {
        problems.push(format!("{name} is in the workspace and has no row in the table"));
    }
    for (name, row) in table {
        match (row.planned, present.contains(name.as_str())) {
            (false, false) => {
                problems.push(format!("{name} has a row in the table and is not in the workspace"));
            }
            (true, true) => problems.push(format!("{name} is marked planned and exists")),
            _ => {}
        }
        if let Allowed::Only(names) = &row.allowed {
            for unknown in names.iter().filter(|name| !table.contains_key(*name)) {
                problems.push(format!("{name} may depend on {unknown}, which has no row"));
            }
        }
    }
    problems
}

/// Rules 2 and 3: every edge between our packages is allowed.
pub(super) fn edges(table: &Table, packages: &[Package]) -> Vec<String> {
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut problems = Vec::new();
    for package in packages {
        let Some(row) = table.get(&package.name) else { continue };
        for dependency in package.dependencies.iter().filter(|d| ours.contains(d.name.as_str())) {
            let Some(target) = table.get(&dependency.name) else { continue };
            let (from, to) = (&package.name, &dependency.name);
            if allows(row, to) || (dependency.dev && allows_in_tests(row, target)) {
                continue;
            }
            problems.push(if dependency.dev {
                format!("the tests of {from} may not depend on {to}: it is neither lower nor a test library")
            } else {
                format!("{from} may not depend on {to}")
            });
        }
    }
    problems
}

fn allows(row: &Row, name: &str) -> bool {
    match &row.allowed {
        Allowed::Anything => true,
        Allowed::Only(names) => names.contains(name),
    }
}

fn allows_in_tests(row: &Row, target: &Row) -> bool {
    target.layer < row.layer || target.layer == Layer::Dev
}

/// Rule 4: who may name RocksDB and a runtime, and that xtask builds on nothing of ours.
pub(super) fn libraries(packages: &[Package]) -> Vec<String> {
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut problems = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        let in_tests = package.directory.starts_with("tests/");
        for dependency in &package.dependencies {
            let on = dependency.name.as_str();
            let refused = match on {
                "rocksdb" | "librocksdb-sys" => !MAY_NAME_ROCKSDB.contains(&name),
                "tokio" => {
                    let is_extra = dependency.optional || dependency.dev;
                    let offers = is_extra && name == MAY_OFFER_TOKIO;
                    !in_tests && !offers && !MAY_NAME_TOKIO.contains(&name)
                }
                _ => name == "xtask" && ours.contains(on),
            };
            if refused {
                problems.push(format!("{name} may not depend on {on}"));
            }
        }
    }
    problems
}

/// Rule 5: what a reader finds.
pub(super) fn documentation(codemap: &str, packages: &[Package]) -> Vec<String> {
    let mut problems = Vec::new();
    for package in packages {
        let Package { name, directory, first_line, .. } = package;
        let sentence = first_line.strip_prefix("//! ").unwrap_or_default();
        if sentence.chars().count() < SENTENCE_CHARS_MIN {
            problems.push(format!("the code of {name} does not open with a sentence about it"));
        }
        let Some(last) = directory.strip_prefix("crates/") else { continue };
        if last != name {
            problems.push(format!("{name} lies in {directory}"));
        }
        if !package.has_readme {
            problems.push(format!("{name} has no README.md"));
        }
        let heading = format!("`{name}`");
        if !codemap.lines().any(|line| line.starts_with('#') && line.contains(&heading)) {
            problems.push(format!("{name} has no section in the codemap"));
        }
    }
    problems
}
