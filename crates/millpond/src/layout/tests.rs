//! The manifest, and what else may be in the directory.

use std::path::Path;

use millpond_storage_api::OpenError;

use super::{Manifest, check_unused, parse_manifest, read_manifest, write_manifest};

fn parse(text: &str) -> Result<Manifest, OpenError> {
    parse_manifest(Path::new("data"), text)
}

#[test]
fn manifests_round_trip() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(read_manifest(directory.path()), Ok(None));
    for complete in [false, true] {
        let manifest = Manifest { n_partitions: 7, complete };
        write_manifest(directory.path(), manifest).unwrap();
        assert_eq!(read_manifest(directory.path()), Ok(Some(manifest)));
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_newer_or_older_format_is_named() {
    let newer = parse("format 4\nsomething else\n").unwrap_err();
    let expected = OpenError::NewerFormat { path: "data".into(), found: 4, supported: 3 };
    assert_eq!(newer, expected);
    let older = parse("format 1\npartitions 1\nstate complete\n").unwrap_err();
    let expected = OpenError::OlderFormat { path: "data".into(), found: 1, supported: 3 };
    assert_eq!(older, expected);
}

#[test]
fn malformed_manifests_are_refused() {
    for text in [
        "",
        "format",
        "format x\npartitions 1\nstate complete\n",
        "format 0\npartitions 1\nstate complete\n",
        "format 3\npartitions 0\nstate complete\n",
        "format 3\npartitions 1025\nstate complete\n",
        "format 3\npartitions 99999\nstate complete\n",
        "format 3\npartitions 1\n",
        "format 3\npartitions 1\nstate odd\n",
        "partitions 1\nformat 3\nstate complete\n",
    ] {
        let error = parse(text).expect_err(text);
        assert!(matches!(error, OpenError::UnknownFormat { .. }), "{text:?}: {error:?}");
    }
}

#[test]
fn a_directory_of_somebody_else_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("lost+found")).unwrap();
    assert_eq!(check_unused(directory.path()), Ok(()));
    std::fs::write(directory.path().join("thesis.txt"), "words").unwrap();
    let error = check_unused(directory.path()).unwrap_err();
    assert!(error.to_string().contains("thesis.txt"), "{error}");
}
