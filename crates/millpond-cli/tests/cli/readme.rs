//! The commands in the README work as they stand there.

use std::os::unix::fs::symlink;
use std::path::Path;

use millpond::{Engine, Entry, Options};

use crate::fixture::Fixture;

#[test]
fn every_command_of_the_guide_succeeds() {
    let guide = include_str!("../../../../docs/fairness.md");
    let fixture = Fixture::new();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(async {
        let engine = Engine::open(Options::new(fixture.path("data")).partitions(2)).await;
        let engine = engine.expect("the directory is new");
        let queue = engine.topic("emails").queue("tenant-42/a");
        queue.enqueue(Entry::new("hello")).await.expect("it is accepted");
        engine.close().await.expect("it closes");
    });
    let commands: Vec<_> = guide.lines().filter(|line| line.starts_with("millpond ")).collect();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
        let (command, _) = command.split_once('#').unwrap_or((command, ""));
        // What goes on until it is interrupted is tested elsewhere.
        let line = command.trim_start_matches("millpond ").replace("--watch", "");
        let ended = fixture.run(&line);
        assert_eq!(ended.code, 0, "{command}: {ended:?}");
    }
}

#[test]
fn every_command_of_the_readme_succeeds() {
    let readme = include_str!("../../README.md");
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = package.parent().expect("the package lies in crates/");
    let fixture = Fixture::new();
    symlink(crates, fixture.path("crates")).expect("the directory is writable");
    let commands: Vec<_> =
        readme.lines().filter_map(|line| line.strip_prefix("$ millpond ")).collect();
    assert!(commands.len() >= 5, "{commands:?}");
    for command in commands {
        let ended = fixture.run(command);
        assert_eq!(ended.code, 0, "{command}: {ended:?}");
    }
    assert!(fixture.path("replay.svg").exists());
}
