//! Every rule passes on a sound workspace, and each breach of it is caught.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use super::packages::{Dependency, Package};
use super::table::{Allowed, Layer, Table};
use super::{packages, rules, table};

const CODEMAP: &str = "
# Architecture

| word | meaning |
|---|---|
| layer | height |

| layer | crate | one line | may depend on |
|---|---|---|---|
| L0 | `millpond-sync` | locks | – |
| L0 | `millpond-types` | ids | – |
| L2 | `millpond-inbox` | refill | `millpond-types`, `millpond-sync` |
| L2 | `millpond-wakeup` | deadlines | `millpond-sync` |
| L2 | `millpond-storage-memory` | reference | `millpond-types` |
| L3 | `millpond-partition` (planned) | loop | `millpond-inbox` |
| dev | `millpond-storage-conformance` | suite | `millpond-types` |
| tests | `millpond-it` | end to end | anything |
| tool | `xtask` | chores | – |

## Crates

### `millpond-sync`
### `millpond-types`
### `millpond-inbox`
### `millpond-wakeup`
### `millpond-storage-memory`
### `millpond-storage-conformance`
";

fn package(name: &str, directory: &str) -> Package {
    Package {
        name: name.to_owned(),
        directory: format!("{directory}{name}"),
        dependencies: Vec::new(),
        has_readme: true,
        first_line: "//! A sentence that says what it is.".to_owned(),
    }
}

/// A workspace that keeps every rule.
fn sound() -> Vec<Package> {
    let mut packages: Vec<Package> = ["sync", "types", "inbox", "wakeup", "storage-memory"]
        .iter()
        .chain(&["storage-conformance"])
        .map(|name| package(&format!("millpond-{name}"), "crates/"))
        .collect();
    packages.push(package("millpond-it", "tests/"));
    packages.push(package("xtask", ""));
    depend(&mut packages, "millpond-inbox", "millpond-types");
    depend(&mut packages, "millpond-it", "tokio");
    depend(&mut packages, "millpond-wakeup", "tokio");
    last(&mut packages, "millpond-wakeup").optional = true;
    depend_in_tests(&mut packages, "millpond-wakeup", "tokio");
    depend(&mut packages, "xtask", "serde_json");
    packages
}

fn find<'a>(packages: &'a mut [Package], name: &str) -> &'a mut Package {
    packages.iter_mut().find(|package| package.name == name).expect("the fixture has it")
}

fn depend(packages: &mut [Package], from: &str, to: &str) {
    let dependency = Dependency { name: to.to_owned(), dev: false, optional: false };
    find(packages, from).dependencies.push(dependency);
}

fn depend_in_tests(packages: &mut [Package], from: &str, to: &str) {
    depend(packages, from, to);
    last(packages, from).dev = true;
}

fn last<'a>(packages: &'a mut [Package], from: &str) -> &'a mut Dependency {
    find(packages, from).dependencies.last_mut().expect("one was added")
}

fn parsed() -> Table {
    table::parse(CODEMAP).expect("the table is well formed")
}

fn problems(packages: &[Package]) -> Vec<String> {
    let table = parsed();
    let mut problems = rules::membership(&table, packages);
    problems.extend(rules::edges(&table, packages));
    problems.extend(rules::libraries(packages));
    problems.extend(rules::documentation(CODEMAP, packages));
    problems
}

/// The problems after one change to the sound workspace.
fn after(change: impl FnOnce(&mut Vec<Package>)) -> Vec<String> {
    let mut packages = sound();
    change(&mut packages);
    problems(&packages)
}

#[test]
fn a_sound_workspace_passes() {
    assert_eq!(problems(&sound()), Vec::<String>::new());
}

#[test]
fn the_table_is_read_with_layers_and_edges() {
    let table = parsed();
    assert_eq!(table.len(), 9);
    let inbox = &table["millpond-inbox"];
    assert_eq!(inbox.layer, Layer::Product(2));
    let names = ["millpond-sync", "millpond-types"].map(str::to_owned);
    assert_eq!(inbox.allowed, Allowed::Only(BTreeSet::from(names)));
    assert_eq!(table["millpond-sync"].allowed, Allowed::Only(BTreeSet::new()));
    assert_eq!(table["millpond-it"].allowed, Allowed::Anything);
    assert!(table["millpond-partition"].planned && !inbox.planned);
}

#[test]
fn a_table_that_leaves_something_open_is_refused() {
    let row = |row: &str| {
        format!("| layer | crate | one line | may depend on |\n|---|---|---|---|\n{row}\n")
    };
    for (text, expected) in [
        ("no table".to_owned(), "no table"),
        (row("| L0 | `a` | x |  |"), "does not say what a may depend on"),
        (row("| L0 | `a` | x | types |"), "does not say what a may depend on"),
        (row("| L | `a` | x | – |"), "unknown layer"),
        (row("| L0 | a | x | – |"), "names no crate"),
        (row("| L0 | `a` | x | – |\n| L0 | `a` | x | – |"), "two rows for a"),
    ] {
        let error = table::parse(&text).expect_err(&text);
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[test]
fn an_edge_that_is_not_in_the_table_is_caught() {
    let problems = after(|p| depend(p, "millpond-types", "millpond-inbox"));
    assert_eq!(problems, ["millpond-types may not depend on millpond-inbox"]);
    let problems = after(|p| depend(p, "millpond-inbox", "millpond-storage-memory"));
    assert_eq!(problems, ["millpond-inbox may not depend on millpond-storage-memory"]);
    // A test library is one in tests only.
    let problems = after(|p| depend(p, "millpond-inbox", "millpond-storage-conformance"));
    assert_eq!(problems, ["millpond-inbox may not depend on millpond-storage-conformance"]);
}

#[test]
fn tests_may_use_what_is_lower_and_test_libraries() {
    let problems = after(|p| {
        depend_in_tests(p, "millpond-storage-memory", "millpond-sync");
        depend_in_tests(p, "millpond-storage-memory", "millpond-storage-conformance");
        depend_in_tests(p, "millpond-storage-conformance", "millpond-storage-memory");
    });
    assert_eq!(problems, Vec::<String>::new());
    for (from, to) in [
        ("millpond-inbox", "millpond-storage-memory"),
        ("millpond-types", "millpond-inbox"),
        ("millpond-types", "millpond-it"),
        ("millpond-inbox", "xtask"),
    ] {
        let problems = after(|p| depend_in_tests(p, from, to));
        assert_eq!(problems.len(), 1, "{from} to {to}: {problems:?}");
        assert!(problems[0].starts_with(&format!("the tests of {from} may not depend on {to}")));
    }
}

#[test]
fn a_package_without_a_row_and_a_row_without_a_package_are_caught() {
    let problems = after(|p| p.retain(|package| package.name != "millpond-storage-memory"));
    let expected = "millpond-storage-memory has a row in the table and is not in the workspace";
    assert_eq!(problems, [expected]);
    let problems = after(|p| p.push(package("millpond-new", "tests/")));
    assert_eq!(problems, ["millpond-new is in the workspace and has no row in the table"]);
    let problems = after(|p| p.push(package("millpond-partition", "tests/")));
    assert_eq!(problems, ["millpond-partition is marked planned and exists"]);

    let text = CODEMAP.replace("| locks | – |", "| locks | `millpond-lost` |");
    let table = table::parse(&text).expect("the table is well formed");
    let problems = rules::membership(&table, &sound());
    assert_eq!(problems, ["millpond-sync may depend on millpond-lost, which has no row"]);
}

#[test]
fn rocksdb_and_tokio_outside_their_places_are_caught() {
    for (from, to) in [
        ("millpond-inbox", "rocksdb"),
        ("millpond-it", "rocksdb"),
        ("millpond-inbox", "librocksdb-sys"),
        ("millpond-inbox", "tokio"),
    ] {
        assert_eq!(after(|p| depend(p, from, to)), [format!("{from} may not depend on {to}")]);
        let in_tests = after(|p| depend_in_tests(p, from, to));
        assert_eq!(in_tests, [format!("{from} may not depend on {to}")]);
    }
}

#[test]
fn a_runtime_behind_a_feature_is_offered_in_one_place_only() {
    let problems = after(|p| depend(p, "millpond-wakeup", "tokio"));
    assert_eq!(problems, ["millpond-wakeup may not depend on tokio"], "it is not behind one");
    let problems = after(|p| {
        depend(p, "millpond-inbox", "tokio");
        last(p, "millpond-inbox").optional = true;
    });
    assert_eq!(problems, ["millpond-inbox may not depend on tokio"]);
}

#[test]
fn xtask_on_top_of_a_package_of_ours_is_caught() {
    // Even a lower one, and even in tests.
    let problems = after(|p| depend_in_tests(p, "xtask", "millpond-sync"));
    assert_eq!(problems, ["xtask may not depend on millpond-sync"]);
}

#[test]
fn missing_pages_are_caught() {
    let problems = after(|p| find(p, "millpond-inbox").has_readme = false);
    assert_eq!(problems, ["millpond-inbox has no README.md"]);
    let problems = after(|p| find(p, "millpond-inbox").directory = "crates/inbox".to_owned());
    assert_eq!(problems, ["millpond-inbox lies in crates/inbox"]);
    for line in ["", "//! Short.", "use std::fmt;", "// Not documentation, but long enough."] {
        let problems = after(|p| find(p, "xtask").first_line = line.to_owned());
        assert_eq!(problems, ["the code of xtask does not open with a sentence about it"]);
    }
    let text = CODEMAP.replace("### `millpond-types`", "millpond-types");
    let problems = rules::documentation(&text, &sound());
    assert_eq!(problems, ["millpond-types has no section in the codemap"]);
}

#[test]
fn packages_are_read_from_what_cargo_says() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let package = directory.path().join("crates/a");
    fs::create_dir_all(package.join("src")).expect("the directory is writable");
    fs::write(package.join("src/lib.rs"), "//! What it is.\n").expect("it is writable");
    fs::write(package.join("README.md"), "").expect("it is writable");
    let metadata = json!({ "packages": [{
        "name": "a",
        "manifest_path": package.join("Cargo.toml"),
        "targets": [
            { "kind": ["test"], "src_path": package.join("tests/main.rs") },
            { "kind": ["lib"], "src_path": package.join("src/lib.rs") },
        ],
        "dependencies": [
            { "name": "b", "kind": null, "optional": true },
            { "name": "c", "kind": "dev" },
            { "name": "d", "kind": "build" },
        ],
    }]});
    let read = packages::read(&metadata, directory.path()).expect("it is well formed");
    let [one] = &read[..] else { panic!("one package, not {read:?}") };
    assert_eq!((one.name.as_str(), one.directory.as_str()), ("a", "crates/a"));
    assert_eq!((one.has_readme, one.first_line.as_str()), (true, "//! What it is."));
    let edges: Vec<_> = one.dependencies.iter().map(|d| (d.name.as_str(), d.dev)).collect();
    assert_eq!(edges, [("b", false), ("c", true), ("d", false)]);
    let optional = one.dependencies.iter().filter(|d| d.optional).map(|d| d.name.as_str());
    assert!(optional.eq(["b"]));
    assert!(packages::read(&json!({}), directory.path()).is_err());
}
