//! Tables, JSON and numbers for people.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::failure::Failure;

/// Writes to standard output. A reader that went away, like `head`, ends the output and is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    is_read(text).map(drop)
}

/// As [`print`]; whether anybody reads it.
pub(crate) fn is_read(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::io("write to standard output", &error)),
    }
}

/// The JSON form of an answer.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Failure::io("write JSON", &error.into()))
}

/// Prints a value as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(&json(value)?)
}

/// A table without lines, numbers to the right.
pub(crate) fn table<const N: usize>(
    columns: [Column; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(columns.iter().map(|column| column.name()));
    table.add_rows(rows);
    for (column, made) in columns.iter().zip(table.column_iter_mut()) {
        made.set_padding((0, 2));
        if matches!(column, Column::Number(_)) {
            made.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    Text(&'static str),
    Number(&'static str),
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Number(name) => name,
        }
    }
}

/// `18239` as `18,239`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration in its natural unit, with three significant digits.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn duration_us(us: u64) -> String {
    let us = us as f64;
    match us {
        ..1e3 => format!("{us} µs"),
        ..1e6 => three_digits(us / 1e3, "ms"),
        ..60e6 => three_digits(us / 1e6, "s"),
        ..3600e6 => three_digits(us / 60e6, "min"),
        ..86_400e6 => three_digits(us / 3600e6, "h"),
        _ => three_digits(us / 86_400e6, "d"),
    }
}

fn three_digits(value: f64, unit: &str) -> String {
    match value {
        ..9.995 => format!("{value:.2} {unit}"),
        ..99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A user's text, with control characters escaped: they could steer a terminal.
pub(crate) fn on_one_line(text: &str) -> String {
    escaped(text, char::is_control)
}

/// As [`on_one_line`], with its lines and tabs.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, |c| c.is_control() && !matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A part from 0 to 1 in percent.
pub(crate) fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// Bytes in binary units.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    three_digits(value, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let counts = [(0, "0"), (999, "999"), (1000, "1,000"), (18_239, "18,239")];
        assert!(counts.iter().all(|(n, text)| count(*n) == *text));
        let durations =
            [(7, "7 µs"), (1234, "1.23 ms"), (54_321, "54.3 ms"), (7_948_936_000_000, "92.0 d")];
        for (us, text) in durations {
            assert_eq!(duration_us(us), text);
        }
        assert_eq!((bytes(1023), bytes(1536)), ("1023 B".to_owned(), "1.50 KiB".to_owned()));
        assert_eq!(bytes(76 << 30), "76.0 GiB");
        assert_eq!((percent(1.0), percent(0.0625)), ("100.0 %".to_owned(), "6.2 %".to_owned()));
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(on_one_line("a\tb\nc\u{1b}[2J ü"), "a\\tb\\nc\\u{1b}[2J ü");
        assert_eq!(printable("a\tb\nc\u{1b}[2J ü"), "a\tb\nc\\u{1b}[2J ü");
    }

    #[test]
    fn a_table_is_aligned_and_has_no_trailing_blanks() {
        let rows = [["a".to_owned(), "1".to_owned()], ["long".to_owned(), "1,000".to_owned()]];
        let text = table([Column::Text("queue"), Column::Number("entries")], rows);
        assert_eq!(text, "queue  entries\na            1\nlong     1,000\n");
    }
}
