//! Whatever is wrong has its exit code and one sentence.

use std::process::Stdio;

use crate::fixture::{Fixture, line, log};

#[test]
fn a_log_that_is_none_is_refused() {
    let fixture = Fixture::new();
    fixture.run("replay missing.swf").assert_refused(3, "cannot read missing.swf");
    let bad: [(&str, Vec<u8>, &str); 6] = [
        ("empty", Vec::new(), "the log has no jobs"),
        ("comments", b"; nothing\n".to_vec(), "the log has no jobs"),
        (
            "truncated",
            format!("{}\n2 5 -1 1 4 -1 -1 -1 -1 -1 -1", line(1, 0, 1, 1)).into_bytes(),
            "line 2 of the log: it ends after 11 of 18 fields; field 12, user, is missing",
        ),
        (
            "corrupt",
            line(1, 0, 1, 1).replace(" 4 ", " four ").into_bytes(),
            "line 1 of the log: field 5, allocated processors, is `four`",
        ),
        ("binary", (0..=255).collect(), "line 1 of the log: it is not text"),
        ("cut.gz", vec![0x1f, 0x8b, 8, 0, 0], "damaged or cut off after line 0"),
    ];
    for (name, content, sentence) in bad {
        fixture.file(name, content);
        fixture.run(&format!("replay {name}")).assert_refused(10, sentence);
    }
    assert!(!fixture.path("data").exists(), "nothing was opened");
}

#[test]
fn absurd_options_are_usage_errors() {
    let fixture = Fixture::new();
    fixture.file("log.swf", log(10, 2));
    for options in ["--speed 0", "--speed -1", "--speed nan", "--workers 0", "--crash-after 0"] {
        let ended = fixture.run(&format!("replay log.swf {options}"));
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains("invalid value"), "{ended:?}");
    }
    for after in [10, 1_000_000] {
        let ended = fixture.run(&format!("replay log.swf --crash-after {after}"));
        ended.assert_refused(2, "the log has 10 jobs");
    }
    fixture.run("replay log.swf --speed 1e-9").assert_refused(2, "a lease lasts at most 7 days");
    fixture.run("replay log.swf --svg no/where.svg").assert_refused(3, "cannot write no/where.svg");
    assert!(!fixture.path("data").exists(), "nothing was opened");
}

#[test]
fn a_place_without_a_readable_engine_is_refused() {
    let fixture = Fixture::new();
    for command in ["queue ls", "queue top", "queue explain jobs a", "partition ls"] {
        fixture.run(command).assert_refused(3, "there is no engine at data");
    }
    fixture.file("file", "");
    fixture.run("partition verify --data file").assert_refused(7, "file");

    std::fs::create_dir(fixture.path("newer")).expect("the directory is writable");
    fixture.file("newer/MILLPOND", "format 99\npartitions 1\nstate complete\n");
    fixture.file("log.swf", log(3, 1));
    for command in ["queue ls", "replay log.swf"] {
        fixture.run(&format!("{command} --data newer")).assert_refused(5, "99");
    }
    std::fs::create_dir(fixture.path("foreign")).expect("the directory is writable");
    fixture.file("foreign/letter.txt", "dear");
    fixture.run("replay log.swf --data foreign").assert_refused(5, "letter.txt");
    assert_eq!(fixture.run("doctor --data foreign").code, 1);
}

#[test]
fn a_queue_key_has_1_to_1024_bytes() {
    let fixture = Fixture::new();
    fixture.file("log.swf", log(3, 1));
    assert_eq!(fixture.run("replay log.swf").code, 0);
    let long = fixture.run(&format!("queue explain jobs {}", "k".repeat(4096)));
    long.assert_refused(2, "queue key is 4096 bytes, the limit is 1024 bytes");
    let empty = fixture.command("queue explain jobs").arg("").output();
    let empty: crate::fixture::Ended = empty.expect("the program starts").into();
    empty.assert_refused(2, "a queue key must not be empty");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let fixture = Fixture::new();
    fixture.file("log.swf", log(3, 1));
    for line in ["replay log.swf", "queue ls", "doctor --json", "completions bash"] {
        let mut command = fixture.command(line);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program starts");
        drop(child.stdout.take());
        let ended: crate::fixture::Ended =
            child.wait_with_output().expect("the program ends").into();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{line}");
    }
}

#[test]
fn the_internal_command_does_not_hang_or_panic() {
    let fixture = Fixture::new();
    fixture.run("replay-engine").assert_refused(7, "this command is internal");
}

#[test]
fn shells_get_their_completions() {
    let fixture = Fixture::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = fixture.run(&format!("completions {shell}"));
        assert!(script.code == 0 && script.stdout.contains("millpond"), "{shell}: {script:?}");
    }
}
