//! What a compiled RocksDB depends on, and the name of its place in the cache.

use crate::error::{Error, Result};

/// Everything that can change the bytes of `librocksdb.a`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KeyInputs {
    /// Version of `librocksdb-sys` in `Cargo.lock`, which names the bundled RocksDB too.
    pub(crate) version: String,
    /// The declaration of `rocksdb` in the root `Cargo.toml`: its features become compile flags.
    pub(crate) declaration: String,
    /// `rustflags` of `.cargo/config.toml`: the build script derives `-march` and `-m…` from them.
    pub(crate) rustflags: String,
    /// First line of the C++ compiler's `--version`.
    pub(crate) compiler: String,
    /// Target triple.
    pub(crate) target: String,
    /// `CXXFLAGS` of the environment, which the build script passes on.
    pub(crate) cxxflags: String,
}

impl KeyInputs {
    /// One input per line. Written beside the library, so that a rebuild can be explained by a diff.
    pub(crate) fn describe(&self) -> String {
        let Self { version, declaration, rustflags, compiler, target, cxxflags } = self;
        format!(
            "librocksdb-sys {version}\nrocksdb = {declaration}\nrustflags = {rustflags}\n\
             compiler {compiler}\ntarget {target}\nCXXFLAGS {cxxflags}\n"
        )
    }

    /// Sixteen hexadecimal digits, the same on every run and with every toolchain.
    pub(crate) fn key(&self) -> String {
        format!("{:016x}", fnv1a(self.describe().as_bytes()))
    }
}

/// FNV-1a, because `std`'s hasher may change between toolchains and a cache outlives them.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The version of `package` in the text of a `Cargo.lock`; `None` where it is not locked.
///
/// # Errors
///
/// Where two versions are locked: one library could not serve both.
pub(crate) fn locked_version(lock: &str, package: &str) -> Result<Option<String>> {
    let name = format!("name = \"{package}\"");
    let mut versions = lock.split("[[package]]").filter_map(|entry| {
        let mut lines = entry.lines().map(str::trim);
        lines.any(|line| line == name).then_some(())?;
        let version = lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')?;
        Some(version.to_owned())
    });
    let first = versions.next();
    match versions.next() {
        Some(second) => Err(Error::failed(format!(
            "Cargo.lock holds {package} twice ({} and {second}); one compiled RocksDB cannot serve both",
            first.unwrap_or_default(),
        ))),
        None => Ok(first),
    }
}

/// The value of `name = …` at the start of a line: a string, an array or an inline table, however many
/// lines it spans, without comments and with every run of blanks made one.
pub(crate) fn toml_values(text: &str, name: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(rest) = line.trim_start().strip_prefix(name).map(str::trim_start) else {
            continue;
        };
        let Some(rest) = rest.strip_prefix('=') else { continue };
        let mut value = without_comment(rest).trim().to_owned();
        while open_brackets(&value) > 0 {
            let Some(more) = lines.next() else { break };
            value.push(' ');
            value.push_str(without_comment(more).trim());
        }
        values.push(value.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    values
}

/// `line` up to a `#` that is outside quotes.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let end = line.find(|c| {
        quoted ^= c == '"';
        c == '#' && !quoted
    });
    &line[..end.unwrap_or(line.len())]
}

/// How many brackets outside quotes are still open.
fn open_brackets(text: &str) -> i32 {
    let mut quoted = false;
    text.chars().fold(0, |open, c| {
        quoted ^= c == '"';
        match c {
            '[' | '{' if !quoted => open + 1,
            ']' | '}' if !quoted => open - 1,
            _ => open,
        }
    })
}
