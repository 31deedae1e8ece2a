use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Command, clap::Error> {
    let words = std::iter::once("millpond").chain(line.split_whitespace());
    Arguments::try_parse_from(words).map(|arguments| arguments.command)
}

#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn a_replay_has_sensible_defaults() {
    let Ok(Command::Replay(replay)) = parse("replay log.swf --data x") else {
        panic!("a log is all that a replay needs")
    };
    assert_eq!((replay.speed, replay.workers, replay.topic.as_str()), (Speed::Max, 256, "jobs"));
    assert_eq!((replay.crash_after, replay.partitions), (None, None));
    assert_eq!((replay.run_ms, replay.fair, replay.fifo), (None, false, false));
}

#[test]
fn zero_and_absurd_options_are_refused() {
    let bad = [
        "--speed 0",
        "--speed -1",
        "--speed nan",
        "--speed inf",
        "--speed 1e400",
        "--speed fast",
        "--workers 0",
        "--workers -1",
        "--workers 1000000",
        "--crash-after 0",
        "--crash-after -5",
        "--crash-after 99999999999999999999",
        "--run-ms 0",
        "--run-ms -3",
        "--run-ms 3600001",
        "--partitions 0",
        "--partitions 1025",
        "--partitions 99999",
    ];
    for options in bad {
        let error = parse(&format!("replay log.swf {options}")).expect_err(options);
        assert_eq!(error.kind(), ErrorKind::ValueValidation, "{options}: {error}");
        assert_eq!(error.exit_code(), 2);
    }
    let long = format!("replay log.swf --topic {}", "t".repeat(256));
    assert_eq!(parse(&long).expect_err("too long").kind(), ErrorKind::ValueValidation);
    for line in ["queue top -n 0", "queue ls --limit 0"] {
        assert_eq!(parse(line).expect_err(line).kind(), ErrorKind::ValueValidation);
    }
}

#[test]
fn the_exit_codes_are_in_the_help() {
    let help = Arguments::command().render_long_help().to_string();
    assert!(help.contains(EXIT_CODES), "{help}");
    assert!(!help.contains(HOST_COMMAND), "the internal command is not shown");
}
