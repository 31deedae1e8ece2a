//! The table of packages in the codemap.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};

/// Height of a package. A higher one may use a lower one in its tests.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Layer {
    /// `L0` to `L9`.
    Product(u8),
    /// Libraries for tests.
    Dev,
    /// Packages that only test.
    Tests,
    /// Programs for developers.
    Tool,
}

/// What a package may depend on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Allowed {
    Anything,
    Only(BTreeSet<String>),
}

/// One row of the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Row {
    pub(super) layer: Layer,
    /// Announced, not in the workspace yet.
    pub(super) planned: bool,
    pub(super) allowed: Allowed,
}

/// The rows by package name.
pub(super) type Table = BTreeMap<String, Row>;

/// Reads the table whose header has the columns `layer`, `crate` and `may depend on`.
pub(super) fn parse(text: &str) -> Result<Table> {
    let mut lines = text.lines().skip_while(|line| !header(line)).map(cells);
    let header = lines.next().ok_or_else(|| {
        Error::failed("the codemap has no table with the columns layer, crate and may depend on")
    })?;
    let column = |name: &str| header.iter().position(|cell| *cell == name).unwrap_or_default();
    let (layer_at, crate_at, allowed_at) =
        (column("layer"), column("crate"), column("may depend on"));
    let mut table = Table::new();
    for row in lines.skip(1).take_while(|row| !row.is_empty()) {
        let cell = |at: usize| row.get(at).copied().unwrap_or_default();
        let name = names(cell(crate_at)).into_iter().next().ok_or_else(|| {
            Error::failed(format!("a row of the codemap names no crate: {}", row.join(" | ")))
        })?;
        let parsed = Row {
            layer: layer(cell(layer_at), &name)?,
            planned: cell(crate_at).contains("(planned)"),
            allowed: allowed(cell(allowed_at), &name)?,
        };
        if table.insert(name.clone(), parsed).is_some() {
            return Err(Error::failed(format!("the codemap has two rows for {name}")));
        }
    }
    Ok(table)
}

fn header(line: &str) -> bool {
    let cells = cells(line);
    ["layer", "crate", "may depend on"].iter().all(|name| cells.contains(name))
}

/// The cells of a table row; none where the line is no row.
fn cells(line: &str) -> Vec<&str> {
    let inner = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|'));
    inner.map(|inner| inner.split('|').map(str::trim).collect()).unwrap_or_default()
}

/// Everything in backticks.
fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn layer(cell: &str, name: &str) -> Result<Layer> {
    match cell {
        "dev" => Ok(Layer::Dev),
        "tests" => Ok(Layer::Tests),
        "tool" => Ok(Layer::Tool),
        _ => cell
            .strip_prefix('L')
            .filter(|digits| digits.len() == 1)
            .and_then(|digit| digit.parse().ok())
            .map(Layer::Product)
            .ok_or_else(|| {
                Error::failed(format!("the codemap puts {name} on an unknown layer `{cell}`"))
            }),
    }
}

fn allowed(cell: &str, name: &str) -> Result<Allowed> {
    match cell {
        "anything" => Ok(Allowed::Anything),
        "–" => Ok(Allowed::Only(BTreeSet::new())),
        _ => match names(cell) {
            empty if empty.is_empty() => Err(Error::failed(format!(
                "the codemap does not say what {name} may depend on: write `–`, `anything` or names in \
                 backticks"
            ))),
            names => Ok(Allowed::Only(names.into_iter().collect())),
        },
    }
}
