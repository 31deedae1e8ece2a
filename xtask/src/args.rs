//! The command line.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// What `cargo xtask help` prints.
pub(crate) const HELP: &str = "\
The chores of the Millpond repository.

cargo xtask demo                         build everything, replay a real job log with a kill -9 in the middle
cargo xtask check [--keep-going]         the gate: format, codemap, lints, docs, tests, doctests, models
cargo xtask fix                          apply clippy's suggestions and the format
cargo xtask loom [--full] [MODEL…]       run the concurrency models; --full lifts the preemption bound
cargo xtask bench [NAME…] [--quick] [--json FILE]
                                         run the benchmarks
cargo xtask rocksdb                      compile RocksDB unless this machine has it, and point cargo at it
cargo xtask env                          print the variables of that RocksDB for a shell: eval \"$(cargo xtask env)\"
cargo xtask help                         this text

RocksDB is compiled once for a machine (about 20 CPU minutes) and kept in $MILLPOND_CACHE_DIR,
$XDG_CACHE_HOME/millpond or ~/.cache/millpond. A ROCKSDB_LIB_DIR that holds a librocksdb.a is used as it is.
`demo`, `check`, `fix` and `bench` install what is missing (libclang, a C++ compiler) on Debian and Ubuntu
where they may, and otherwise say what to install.

Exit codes: 0 done, 1 something failed, 2 wrong arguments, 3 the machine lacks something.
";

/// One thing to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Command {
    Demo,
    Check { keep_going: bool },
    Fix,
    Loom(LoomOptions),
    Bench(BenchOptions),
    Rocksdb,
    Env,
    Help,
}

/// Which models run, and how far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct LoomOptions {
    /// Every interleaving, however long it takes.
    pub(crate) full: bool,
    /// Names of models; all of them where empty.
    pub(crate) models: Vec<String>,
}

/// Which benchmarks run, and where their figures go.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct BenchOptions {
    pub(crate) names: Vec<String>,
    pub(crate) quick: bool,
    pub(crate) json: Option<PathBuf>,
}

impl Command {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut arguments = arguments.into_iter();
        let Some(name) = arguments.next() else {
            return Err(Error::usage("say what to do; `cargo xtask help` lists the commands"));
        };
        let rest: Vec<String> = arguments.collect();
        if rest.iter().any(|argument| argument == "--help" || argument == "-h") {
            return Ok(Self::Help);
        }
        match name.as_str() {
            "help" | "--help" | "-h" => Ok(Self::Help),
            "demo" => nothing_more(&name, &rest).map(|()| Self::Demo),
            "fix" => nothing_more(&name, &rest).map(|()| Self::Fix),
            "rocksdb" => nothing_more(&name, &rest).map(|()| Self::Rocksdb),
            "env" => nothing_more(&name, &rest).map(|()| Self::Env),
            "check" => check(&rest),
            "loom" => loom(rest).map(Self::Loom),
            "bench" => bench(rest).map(Self::Bench),
            _ => Err(Error::usage(format!(
                "there is no command `{name}`; `cargo xtask help` lists the commands"
            ))),
        }
    }
}

fn nothing_more(command: &str, rest: &[String]) -> Result<()> {
    rest.first().map_or(Ok(()), |argument| Err(unknown(command, argument)))
}

fn unknown(command: &str, argument: &str) -> Error {
    Error::usage(format!(
        "`{command}` takes no `{argument}`; `cargo xtask help` lists what it takes"
    ))
}

fn check(rest: &[String]) -> Result<Command> {
    let mut keep_going = false;
    for argument in rest {
        match argument.as_str() {
            "--keep-going" => keep_going = true,
            _ => return Err(unknown("check", argument)),
        }
    }
    Ok(Command::Check { keep_going })
}

fn loom(rest: Vec<String>) -> Result<LoomOptions> {
    let mut options = LoomOptions::default();
    for argument in rest {
        match argument.as_str() {
            "--full" => options.full = true,
            flag if flag.starts_with('-') => return Err(unknown("loom", flag)),
            _ => options.models.push(argument),
        }
    }
    Ok(options)
}

fn bench(rest: Vec<String>) -> Result<BenchOptions> {
    let mut options = BenchOptions::default();
    let mut rest = rest.into_iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--json" => {
                let file = rest.next().filter(|file| !file.is_empty() && !file.starts_with("--"));
                let file = file.ok_or_else(|| Error::usage("`--json` needs the name of a file"))?;
                options.json = Some(file.into());
            }
            flag if flag.starts_with('-') => return Err(unknown("bench", flag)),
            _ => options.names.push(argument),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command> {
        Command::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_command_of_the_help_is_understood() {
        let expected = [
            ("demo", Command::Demo),
            ("check", Command::Check { keep_going: false }),
            ("check --keep-going", Command::Check { keep_going: true }),
            ("fix", Command::Fix),
            ("rocksdb", Command::Rocksdb),
            ("env", Command::Env),
            ("help", Command::Help),
            ("-h", Command::Help),
            ("bench --help", Command::Help),
            (
                "loom ring --full close",
                Command::Loom(LoomOptions {
                    full: true,
                    models: vec!["ring".to_owned(), "close".to_owned()],
                }),
            ),
            (
                "bench engine --json out.json --quick",
                Command::Bench(BenchOptions {
                    names: vec!["engine".to_owned()],
                    quick: true,
                    json: Some("out.json".into()),
                }),
            ),
        ];
        for (line, command) in expected {
            assert_eq!(parse(line).expect(line), command, "{line}");
            let name = line.split(' ').next().expect("split gives at least one part");
            assert!(name == "-h" || HELP.contains(&format!("cargo xtask {name}")), "{name}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_word_that_is_wrong() {
        for (line, word) in [
            ("", "say what to do"),
            ("chekc", "`chekc`"),
            ("demo now", "`now`"),
            ("check --fast", "`--fast`"),
            ("loom --ful", "`--ful`"),
            ("bench --json", "`--json`"),
            ("bench --json --quick", "`--json`"),
            ("env -x", "`-x`"),
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(word), "{line}: {error}");
        }
    }
}
