use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

const LINE: &str = "57 25574 -1 10 1 -1 -1 -1 -1 -1 -1 4 1 2 -1 -1 -1 -1\n";

fn problem(text: &[u8]) -> (u64, LineProblem) {
    match read(text).expect_err("the log is bad") {
        LogError::Line { line, problem } => (line, problem),
        other => panic!("not a bad line: {other}"),
    }
}

fn file_with(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("it is writable");
    file
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).expect("memory is writable");
    encoder.finish().expect("memory is writable")
}

#[test]
fn a_job_is_read_and_comments_are_skipped() {
    let text = format!("; Version: 2.2\n\n{LINE}   ; indented\n");
    let jobs = read(text.as_bytes()).expect("a good log");
    let job = Job {
        number: 57,
        submit_s: Some(25574),
        run_s: Some(10),
        n_processors: Some(1),
        user: Some(4),
        application: Some(2),
    };
    assert_eq!(jobs, [job]);
}

#[test]
fn minus_one_is_unknown_and_fractions_are_cut() {
    let text = "1 -1 -1 7.75 -1 0.5 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1";
    let jobs = read(text.as_bytes()).expect("a good log");
    assert_eq!((jobs[0].submit_s, jobs[0].user, jobs[0].run_s), (None, None, Some(7)));
}

#[test]
fn a_truncated_line_names_the_missing_field() {
    let text = format!("; head\n{LINE}58 25600 -1 10 1 -1 -1 -1 -1 -1 -1\n");
    assert_eq!(problem(text.as_bytes()), (3, LineProblem::Truncated { found: 11 }));
    let error = read(text.as_bytes()).expect_err("the log is bad").to_string();
    assert_eq!(
        error,
        "line 3 of the log: it ends after 11 of 18 fields; field 12, user, is missing"
    );
}

#[test]
fn a_corrupt_field_is_named() {
    for bad in ["x", "-2", "+3", "1e3", "99999999999999999999", "0x10", "."] {
        let text = format!("57 25574 -1 {bad} 1 -1 -1 -1 -1 -1 -1 4 1 2 -1 -1 -1 -1\n");
        let problem = problem(text.as_bytes());
        assert_eq!(problem, (1, LineProblem::NotANumber { index: 3, text: bad.to_owned() }));
    }
}

#[test]
fn a_job_needs_a_number_and_no_more_than_18_fields() {
    let unnumbered = LINE.replacen("57", "-1", 1);
    assert_eq!(problem(unnumbered.as_bytes()), (1, LineProblem::Unknown { index: 0 }));
    let long = LINE.replace('\n', " 7\n");
    assert_eq!(problem(long.as_bytes()), (1, LineProblem::TooManyFields { found: 19 }));
}

#[test]
fn binary_garbage_is_no_log() {
    assert_eq!(problem(b"\x7fELF\x02\x01\x01\x00\xff\xfe"), (1, LineProblem::NotText));
    assert_eq!(problem(b"\x00\x01\x02 3 4\n"), (1, LineProblem::NotText));
    assert_eq!(problem(&vec![b'7'; 1 << 20]), (1, LineProblem::TooLong));
}

#[test]
fn an_empty_log_is_refused() {
    for text in ["", "\n\n", "; only\n; comments\n"] {
        assert!(matches!(read(text.as_bytes()), Err(LogError::Empty)), "{text:?}");
    }
}

#[test]
fn gzip_is_recognised_by_its_first_bytes() {
    let file = file_with(&gzip(&LINE.repeat(3)));
    assert_eq!(read_file(file.path()).expect("a good log").len(), 3);
    let plain = file_with(LINE.as_bytes());
    assert_eq!(read_file(plain.path()).expect("a good log").len(), 1);
}

#[test]
fn gzip_that_is_cut_off_or_damaged_is_refused() {
    let whole = gzip(&LINE.repeat(500));
    let cut = file_with(&whole[..whole.len() - 9]);
    assert!(matches!(read_file(cut.path()), Err(LogError::Compression { .. })));
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let damaged = file_with(&damaged);
    assert!(read_file(damaged.path()).is_err());
    let head = file_with(&whole[..2]);
    assert!(matches!(read_file(head.path()), Err(LogError::Compression { line: 0 })));
}

#[test]
fn a_missing_file_and_a_directory_are_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let missing = read_file(&directory.path().join("no.swf"));
    assert!(matches!(missing, Err(LogError::Open(_))));
    assert!(matches!(read_file(directory.path()), Err(LogError::Read { line: 0, .. })));
}

#[test]
fn the_log_of_the_project_is_whole() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/NASA-iPSC-1993-3.1-cln.swf.gz");
    let jobs = read_file(&path).expect("a good log");
    let users: std::collections::HashSet<_> = jobs.iter().map(|job| job.user).collect();
    assert_eq!((jobs.len(), users.len()), (18_239, 69));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        let _ = read(&bytes[..]);
    }
}
