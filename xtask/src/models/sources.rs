//! Finding the models in the sources, so that one that silently does not run is missed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::workspace::Workspace;

/// A call of `model("name", …)`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Model {
    pub(super) name: String,
    /// The function around the call.
    pub(super) test: String,
    pub(super) package: String,
    /// Whether it is compiled into the library's tests; otherwise into an integration test.
    pub(super) in_library: bool,
    /// For messages.
    pub(super) file: String,
}

impl Model {
    /// A model that loom must refute.
    pub(super) fn is_broken_twin(&self) -> bool {
        self.name.starts_with("broken_")
    }
}

/// All models of the packages of the workspace.
pub(super) fn find(workspace: &Workspace) -> Result<Vec<Model>> {
    let metadata = workspace.metadata(&["--no-deps"])?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut models = Vec::new();
    for package in packages {
        let (Some(name), Some(manifest)) =
            (package["name"].as_str(), package["manifest_path"].as_str())
        else {
            continue;
        };
        // Its sources speak of models without having one.
        if name == env!("CARGO_PKG_NAME") {
            continue;
        }
        for part in ["src", "tests"] {
            let mut files = Vec::new();
            rust_files(&Path::new(manifest).with_file_name(part), &mut files);
            for file in files {
                let text =
                    fs::read_to_string(&file).context(format_args!("read {}", file.display()))?;
                let shown = file.strip_prefix(&workspace.root).unwrap_or(&file).display();
                models.extend(calls(&text).into_iter().map(|(model, test)| Model {
                    name: model,
                    test,
                    package: name.to_owned(),
                    in_library: part == "src",
                    file: shown.to_string(),
                }));
            }
        }
    }
    distinct(models)
}

/// Refuses two models with one name: a report could not be told from the other's.
fn distinct(models: Vec<Model>) -> Result<Vec<Model>> {
    let mut files: BTreeMap<&str, &str> = BTreeMap::new();
    for model in &models {
        if let Some(other) = files.insert(&model.name, &model.file) {
            return Err(Error::failed(format!(
                "two models are called {}: in {other} and in {}",
                model.name, model.file
            )));
        }
    }
    Ok(models)
}

/// Every call of `model` with a literal name outside of comments, with the function around it.
pub(super) fn calls(text: &str) -> Vec<(String, String)> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    code.match_indices("model(")
        .filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .filter_map(|(at, call)| {
            let literal = code[at + call.len()..].trim_start().strip_prefix('"')?;
            let name = literal.split_once('"')?.0;
            Some((name.to_owned(), enclosing_function(&code[..at])))
        })
        .collect()
}

/// The name of the last function that starts in `code`.
fn enclosing_function(code: &str) -> String {
    let after = code.rsplit_once("fn ").map_or("", |(_, after)| after);
    after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The Rust files below a directory, in a fixed order; none where there is no such directory.
fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
