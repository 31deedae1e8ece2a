//! What counts as a model, as its report, and as a success.

use super::report::{Run, judge, table};
use super::sources::{Model, calls};
use super::*;

fn model(name: &str) -> Model {
    Model {
        name: name.to_owned(),
        test: format!("{name}_test"),
        package: "millpond-ring".to_owned(),
        in_library: true,
        file: "crates/millpond-ring/src/models.rs".to_owned(),
    }
}

fn reported(line: &str) -> Run {
    Run::parse(line).expect("the line is well formed").expect("the line is a report")
}

const COMPLETE: &str = "loom-model name=close executions=214 bound=2 complete";
const INCOMPLETE: &str = "loom-model name=close executions=9000 bound=none incomplete";

#[test]
fn a_report_is_found_behind_the_name_of_the_test() {
    let run = reported(&format!("test models::close ... {COMPLETE}"));
    let expected =
        Run { name: "close".to_owned(), executions: 214, bound: "2".to_owned(), complete: true };
    assert_eq!(run, expected);
    assert!(!reported(INCOMPLETE).complete);
    assert_eq!(Run::parse("test result: ok. 3 passed").expect("no report, no error"), None);
}

#[test]
fn a_garbled_report_is_an_error_and_not_a_silence() {
    for line in [
        "loom-model name=close executions=many bound=2 complete",
        "loom-model name=close executions=3 bound=2 finished",
        "loom-model name=close executions=3 complete",
        "loom-model ",
    ] {
        assert!(Run::parse(line).is_err(), "{line}");
    }
}

#[test]
fn complete_searches_of_every_model_pass() {
    let (close, twin) = (model("close"), model("broken_close"));
    assert_eq!(judge(&[&close, &twin], &[reported(COMPLETE)]), Vec::<String>::new());
}

#[test]
fn an_incomplete_search_is_caught() {
    let close = model("close");
    let problems = judge(&[&close], &[reported(COMPLETE), reported(INCOMPLETE)]);
    assert_eq!(problems, ["model close is incomplete: stopped after 9000 executions"]);
}

#[test]
fn a_model_that_did_not_run_is_caught() {
    let (close, open) = (model("close"), model("open"));
    let problems = judge(&[&close, &open], &[reported(COMPLETE)]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("model open in crates/millpond-ring/src/models.rs"));
}

#[test]
fn no_model_at_all_is_caught() {
    assert_eq!(judge(&[], &[]), ["no model ran"]);
}

#[test]
fn a_name_nobody_knows_is_refused_with_the_known_ones() {
    let known = [model("close"), model("open")];
    assert_eq!(choose(&known, &[]).expect("all are meant").len(), 2);
    let chosen = choose(&known, &["open".to_owned()]).expect("it is known");
    assert_eq!(chosen, [&known[1]]);
    let error = choose(&known, &["opne".to_owned()]).expect_err("nobody knows it");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().ends_with("there are: close, open"), "{error}");
}

#[test]
fn calls_are_found_in_code_and_not_in_comments() {
    let text = r#"
        //! model("in_a_comment", || {});
        fn first() {
            model("plain", || {});
        }
        fn second() {
            millpond_sync::model(
                "over_two_lines",
                || {},
            );
            remodel("another_function", || {});
            model(name, || {});
        }
    "#;
    let found = calls(text);
    let expected = [("plain", "first"), ("over_two_lines", "second")];
    assert_eq!(found, expected.map(|(model, test)| (model.to_owned(), test.to_owned())));
}

#[test]
fn the_table_counts_what_is_complete() {
    let table = table(&[reported(COMPLETE), reported(INCOMPLETE)]);
    assert!(table.contains("close          214      2  complete\n"), "{table}");
    assert!(table.contains("9000   none  INCOMPLETE"), "{table}");
    assert!(table.ends_with("1 of 2 models complete"), "{table}");
}

#[test]
fn only_the_targets_and_tests_that_are_asked_for_run() {
    let workspace = Workspace { root: "/".into(), cache_dir: "/".into(), cargo: "cargo".into() };
    let close = model("close");
    let line = |options: &LoomOptions| {
        shown(&command(&workspace, "millpond-ring", &[&close], options, Path::new("/t")))
    };
    let all = line(&LoomOptions::default());
    assert!(
        all.ends_with("--package millpond-ring --lib -- models:: --nocapture --test-threads=1")
    );
    let one = line(&LoomOptions { full: true, models: vec!["close".to_owned()] });
    assert!(one.ends_with("--lib -- close_test --nocapture --test-threads=1"), "{one}");
}
