//! The commands in the README work as they stand there.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::fixture::Fixture;

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
