//! The packages of the workspace, as `cargo metadata` lists them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};

/// One package of the workspace.
#[derive(Clone, Debug)]
pub(super) struct Package {
    pub(super) name: String,
    /// Its directory, relative to the root, with `/` between the parts.
    pub(super) directory: String,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) has_readme: bool,
    /// First line of the library, or of the program where there is no library.
    pub(super) first_line: String,
}

/// One dependency a package declares, ours or not.
#[derive(Clone, Debug)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) dev: bool,
    /// Whether it takes a feature to have it.
    pub(super) optional: bool,
}

/// Reads the output of `cargo metadata --no-deps`, and of each package what the rules look at.
pub(super) fn read(metadata: &Value, root: &Path) -> Result<Vec<Package>> {
    let packages = metadata["packages"].as_array();
    let packages = packages.ok_or_else(|| Error::failed("`cargo metadata` lists no packages"))?;
    packages.iter().map(|package| one(package, root)).collect()
}

fn one(package: &Value, root: &Path) -> Result<Package> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&package["name"]);
    let manifest = text(&package["manifest_path"]);
    let directory =
        Path::new(&manifest).parent().filter(|directory| directory.starts_with(root)).ok_or_else(
            || Error::failed(format!("{name} lies outside the workspace: {manifest}")),
        )?;
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Package {
        name,
        directory: relative(directory, root),
        dependencies: dependencies
            .iter()
            .map(|dependency| Dependency {
                name: text(&dependency["name"]),
                dev: dependency["kind"] == "dev",
                optional: dependency["optional"] == true,
            })
            .collect(),
        has_readme: directory.join("README.md").is_file(),
        first_line: first_line(package),
    })
}

fn relative(directory: &Path, root: &Path) -> String {
    let relative = directory.strip_prefix(root).unwrap_or(directory);
    let parts = relative.components().map(|part| part.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

fn first_line(package: &Value) -> String {
    let targets = package["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has_kind = |target: &&Value, kind: &str| {
        target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == kind))
    };
    let of_kind = |kind| targets.iter().find(|target| has_kind(target, kind));
    let target = ["lib", "proc-macro", "bin", "test"].into_iter().find_map(of_kind);
    let path = target.and_then(|target| target["src_path"].as_str());
    let source = path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    source.lines().next().unwrap_or_default().to_owned()
}
