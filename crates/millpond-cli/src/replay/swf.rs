//! Reading a job log in the Standard Workload Format: one job per line, `;` comments, 18 numbers, −1 for
//! unknown; plain or gzipped.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// Longest line, in bytes. A job takes about 90; without a bound a binary file could be one line.
const LINE_BYTES_MAX: u64 = 16 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The fields of a line, in order, as the format names them.
const FIELDS: [&str; 18] = [
    "job number",
    "submit time",
    "wait time",
    "run time",
    "allocated processors",
    "average CPU time used",
    "used memory",
    "requested processors",
    "requested time",
    "requested memory",
    "status",
    "user",
    "group",
    "application",
    "queue",
    "partition",
    "preceding job",
    "think time",
];

/// One job of a log. What the log does not know is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) number: u64,
    /// Seconds since the start of the log.
    pub(crate) submit_s: Option<u64>,
    pub(crate) run_s: Option<u64>,
    pub(crate) n_processors: Option<u64>,
    pub(crate) user: Option<u64>,
    pub(crate) application: Option<u64>,
}

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("cannot open the log: {0}")]
    Open(#[source] io::Error),
    #[error("cannot read the log beyond line {line}: {source}")]
    Read { line: u64, source: io::Error },
    #[error("the compressed log is damaged or cut off after line {line}")]
    Compression { line: u64 },
    #[error("line {line} of the log: {problem}")]
    Line { line: u64, problem: LineProblem },
    #[error("the log has no jobs")]
    Empty,
}

/// What is wrong with one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineProblem {
    #[error("it is not text")]
    NotText,
    #[error("it is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("it ends after {found} of 18 fields; field {}, {}, is missing", found + 1, FIELDS[*found])]
    Truncated { found: usize },
    #[error("it has {found} fields, a job has 18")]
    TooManyFields { found: usize },
    #[error("field {}, {}, is `{text}`: a whole number from 0 is needed, or -1 for unknown", index + 1, FIELDS[*index])]
    NotANumber { index: usize, text: String },
    #[error("field {}, {}, must be known", index + 1, FIELDS[*index])]
    Unknown { index: usize },
}

/// Reads a log file, decompressing it if it starts as gzip does.
pub(crate) fn read_file(path: &Path) -> Result<Vec<Job>, LogError> {
    let mut file = BufReader::new(File::open(path).map_err(LogError::Open)?);
    let start = file.fill_buf().map_err(|source| LogError::Read { line: 0, source })?;
    if start.starts_with(&GZIP_MAGIC) {
        return read(BufReader::new(MultiGzDecoder::new(file)));
    }
    read(file)
}

/// Reads the text of a log.
pub(crate) fn read(mut text: impl BufRead) -> Result<Vec<Job>, LogError> {
    let mut jobs = Vec::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let n = (&mut text).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes);
        match n {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(read_error(line - 1, error)),
        }
        let parsed = parse_line(&bytes).map_err(|problem| LogError::Line { line, problem })?;
        jobs.extend(parsed);
    }
    if jobs.is_empty() {
        return Err(LogError::Empty);
    }
    Ok(jobs)
}

fn read_error(line: u64, error: io::Error) -> LogError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            LogError::Compression { line }
        }
        _ => LogError::Read { line, source: error },
    }
}

/// `None` for a comment or an empty line.
fn parse_line(bytes: &[u8]) -> Result<Option<Job>, LineProblem> {
    if bytes.len() as u64 > LINE_BYTES_MAX {
        return Err(LineProblem::TooLong);
    }
    if bytes.trim_ascii_start().first().is_none_or(|first| *first == b';') {
        return Ok(None);
    }
    let line = std::str::from_utf8(bytes).map_err(|_| LineProblem::NotText)?;
    if line.trim_end().chars().any(|c| c.is_control() && c != '\t') {
        return Err(LineProblem::NotText);
    }
    let mut values = [None; FIELDS.len()];
    let mut found = 0;
    for text in line.split_ascii_whitespace() {
        if let Some(value) = values.get_mut(found) {
            *value = parse_field(found, text)?;
        }
        found += 1;
    }
    match found {
        18 => Ok(Some(job(&values)?)),
        0..18 => Err(LineProblem::Truncated { found }),
        _ => Err(LineProblem::TooManyFields { found }),
    }
}

fn parse_field(index: usize, text: &str) -> Result<Option<u64>, LineProblem> {
    if text == "-1" {
        return Ok(None);
    }
    // Averages may have a fraction, which no job needs.
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => whole,
        _ => text,
    };
    let number = whole.parse().ok().filter(|_| !whole.starts_with('+'));
    number.map(Some).ok_or_else(|| {
        let text = text.chars().take(40).collect();
        LineProblem::NotANumber { index, text }
    })
}

fn job(values: &[Option<u64>; FIELDS.len()]) -> Result<Job, LineProblem> {
    Ok(Job {
        number: values[0].ok_or(LineProblem::Unknown { index: 0 })?,
        submit_s: values[1],
        run_s: values[3],
        n_processors: values[4],
        user: values[11],
        application: values[13],
    })
}

#[cfg(test)]
mod tests;
