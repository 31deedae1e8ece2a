//! Reading what `strace -f -y -xx` wrote: calls, and in which order they began and ended.
//!
//! strace stops every thread at the entry and at the exit of a traced call and writes what it saw before
//! it lets the thread go on. So when one call ends *before* another begins, and the second begins
//! *because* the first ended, their lines stand in this order. Where two calls overlap, the one that began
//! first is written in two lines, `<unfinished ...>` and `<... resumed>`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The calls that make files, change them, make them durable, or could do so behind our back.
const CALLS: &str = "openat,open,creat,close,write,pwrite64,writev,pwritev,pwritev2,fdatasync,fsync,\
    sync_file_range,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,mkdir,mkdirat,\
    rmdir,truncate,ftruncate,fallocate,lseek,dup,dup2,dup3,fcntl,sendfile,splice,copy_file_range,\
    io_uring_setup";

/// A command that runs the program named by the next argument under strace.
pub fn command(trace: &Path) -> Command {
    let mut command = Command::new("strace");
    // -xx: every string in hexadecimal, so that nothing in it looks like syntax.
    command.args(["-f", "--seccomp-bpf", "-q", "-y", "-xx", "-s", "1000000000"]);
    command.arg(format!("--trace={CALLS}")).arg("-o").arg(trace);
    command
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    /// A string or buffer; the buffers of a vector are joined.
    Bytes(Vec<u8>),
    /// A descriptor and what it stood for.
    Fd(i32, PathBuf),
    /// Anything else, as strace shows it.
    Text(String),
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Vec<Arg>,
    /// What it returned; absent if the process died in it.
    pub result: Option<i64>,
}

/// What one line says: a call began, ended, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Index of the call that began.
    pub began: Option<usize>,
    /// Index of the call that ended.
    pub ended: Option<usize>,
}

/// A whole trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The calls, in the order in which they began.
    pub calls: Vec<Call>,
    /// The lines.
    pub steps: Vec<Step>,
}

/// A line that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the trace is not understood: {why}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// Why.
    pub why: String,
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    ///
    /// A line has a form that is not known here; nothing is skipped silently.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut trace = Self::default();
        let mut unfinished: BTreeMap<&str, (usize, String)> = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let error = |why: &str| ParseError { line: index + 1, why: why.to_owned() };
            let (thread, rest) = line.split_once(' ').ok_or_else(|| error("no thread"))?;
            let rest = rest.trim_start();
            if rest.starts_with("+++") || rest.starts_with("---") {
                continue;
            }
            let number = trace.calls.len();
            let step = if let Some(resumed) = rest.strip_prefix("<... ") {
                let (number, begun) =
                    unfinished.remove(thread).ok_or_else(|| error("nothing to resume"))?;
                let (_, end) =
                    resumed.split_once(" resumed>").ok_or_else(|| error("no `resumed>`"))?;
                trace.calls[number] = parse_call(&(begun + end)).map_err(error)?;
                Step { began: None, ended: Some(number) }
            } else if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
                let begun = begun.trim_end().to_owned();
                trace.calls.push(parse_begun(&begun).map_err(error)?);
                if unfinished.insert(thread, (number, begun)).is_some() {
                    return Err(error("two calls of one thread at the same time"));
                }
                Step { began: Some(number), ended: None }
            } else {
                trace.calls.push(parse_call(rest).map_err(error)?);
                Step { began: Some(number), ended: Some(number) }
            };
            trace.steps.push(step);
        }
        Ok(trace)
    }
}

type Parsed<T> = Result<T, &'static str>;

/// `name(args) = result`.
fn parse_call(text: &str) -> Parsed<Call> {
    let (call, result) = text.rsplit_once(" = ").ok_or("no result")?;
    let call = call.trim_end().strip_suffix(')').ok_or("no closing parenthesis")?;
    let mut call = parse_begun(call)?;
    let digits: String = result
        .chars()
        .enumerate()
        .take_while(|&(i, c)| c.is_ascii_digit() || (i == 0 && c == '-'))
        .map(|(_, c)| c)
        .collect();
    call.result = match result.trim() {
        "?" => None,
        _ => Some(digits.parse().map_err(|_| "the result is not a number")?),
    };
    Ok(call)
}

/// `name(args`.
fn parse_begun(text: &str) -> Parsed<Call> {
    let (name, args) = text.split_once('(').ok_or("no opening parenthesis")?;
    let args = split(args)?.into_iter().map(parse_arg).collect::<Parsed<_>>()?;
    Ok(Call { name: name.to_owned(), args, result: None })
}

/// Splits at the commas that are not inside a bracket. Strings hold no syntax: they are hexadecimal.
fn split(args: &str) -> Parsed<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (index, byte) in args.bytes().enumerate() {
        match byte {
            b'[' | b'{' | b'<' | b'(' => depth += 1,
            b']' | b'}' | b'>' | b')' => {
                depth = depth.checked_sub(1).ok_or("brackets do not match")?
            }
            b',' if depth == 0 => {
                parts.push(args[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(args[start..].trim());
    parts.retain(|part| !part.is_empty());
    Ok(parts)
}

fn parse_arg(text: &str) -> Parsed<Arg> {
    if text.contains("\"...") {
        return Err("a string was cut short");
    }
    if text.starts_with('"') || (text.starts_with('[') && text.contains('"')) {
        // Every second part is inside quotation marks.
        let mut bytes = Vec::new();
        for quoted in text.split('"').skip(1).step_by(2) {
            bytes.extend(unescape(quoted)?);
        }
        return Ok(Arg::Bytes(bytes));
    }
    if let Some((fd, rest)) = text.split_once('<')
        && let Some((path, _deleted)) = rest.rsplit_once('>')
    {
        let path = PathBuf::from(OsString::from_vec(unescape(path)?));
        return match fd {
            "AT_FDCWD" => Ok(Arg::Fd(-100, path)),
            _ => Ok(Arg::Fd(fd.parse().map_err(|_| "a descriptor is not a number")?, path)),
        };
    }
    Ok(Arg::Text(text.to_owned()))
}

/// `\x41B` is `AB`.
fn unescape(text: &str) -> Parsed<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let Some((escape, tail)) = tail.split_first_chunk::<3>() else {
            return Err("an escape is cut short");
        };
        let digits =
            std::str::from_utf8(&escape[1..]).map_err(|_| "an escape is not hexadecimal")?;
        if escape[0] != b'x' {
            return Err("an escape is not hexadecimal");
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| "an escape is not hexadecimal")?);
        rest = tail;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_arguments_and_a_result() {
        let text =
            r#"12 openat(AT_FDCWD<\x2f\x74>, "\x2f\x61", O_WRONLY|O_CREAT, 0644) = 5<\x2f\x61>"#;
        let trace = Trace::parse(text).expect("a trace");
        let args = vec![
            Arg::Fd(-100, "/t".into()),
            Arg::Bytes(b"/a".to_vec()),
            Arg::Text("O_WRONLY|O_CREAT".into()),
            Arg::Text("0644".into()),
        ];
        let call = Call { name: "openat".into(), args, result: Some(5) };
        assert_eq!(trace.calls, [call]);
        assert_eq!(trace.steps, [Step { began: Some(0), ended: Some(0) }]);
    }

    #[test]
    fn calls_of_two_threads_overlap() {
        let text = "1 fdatasync(3<\\x2f\\x61> <unfinished ...>\n\
                    2 write(1<pipe:[77]>, \"\\x0a\", 1) = 1\n\
                    1 <... fdatasync resumed>)              = 0\n\
                    1 +++ exited with 0 +++\n";
        let trace = Trace::parse(text).expect("a trace");
        assert_eq!(trace.calls[0].args, [Arg::Fd(3, "/a".into())]);
        assert_eq!(trace.calls[0].result, Some(0));
        assert_eq!(trace.calls[1].args[0], Arg::Fd(1, "pipe:[77]".into()));
        let steps: Vec<_> = trace.steps.iter().map(|step| (step.began, step.ended)).collect();
        assert_eq!(steps, [(Some(0), None), (Some(1), Some(1)), (None, Some(0))]);
    }

    #[test]
    fn vectors_errors_deleted_files_and_deaths_are_understood() {
        let text = "1 writev(3<\\x2f\\x61>(deleted), [{iov_base=\"\\x61\", iov_len=1}, {iov_base=\"\\x62\", iov_len=1}], 2) = 2\n\
                    1 write(4<\\x2f\\x62>, \"\\x61\", 1) = -1 EFBIG (File too large)\n\
                    1 write(4<\\x2f\\x62>, \"\\x61\", 1 <unfinished ...>\n\
                    1 +++ killed by SIGKILL +++\n";
        let trace = Trace::parse(text).expect("a trace");
        assert_eq!(trace.calls[0].args[..2], [Arg::Fd(3, "/a".into()), Arg::Bytes(b"ab".to_vec())]);
        assert_eq!(trace.calls[1].result, Some(-1));
        assert_eq!(trace.calls[2].result, None);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in
            ["1 what", "1 <... write resumed>) = 1", "1 write(1, \"\\x61\"..., 9) = 9", "1 close(3"]
        {
            assert!(Trace::parse(text).is_err(), "{text}");
        }
    }
}
