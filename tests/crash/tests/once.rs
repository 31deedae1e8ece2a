//! Keys by which entries are told apart, and work that is handed on, across `kill -9`.
//!
//! The child is this test binary itself, started again with a variable that tells it where. It says what it
//! was promised, a line at a time, and is killed after one of those lines. Whoever comes after it does
//! everything again: what was promised must not be done a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use millpond::{Accepted, Engine, Entry, Queue};
use millpond_crash_tests::check;
use millpond_crash_tests::event::Leases;

use crate::support::{runtime, scratch};

const PLACE: &str = "MILLPOND_CRASH_ONCE";
const N_JOBS: u32 = 60;
/// After how many lines the child is killed.
const KILLS: [usize; 4] = [1, 17, 40, 90];

fn line(what: &str, n: u32, accepted: Accepted) {
    let kind = if accepted.is_duplicate() { "again" } else { "new" };
    println!("{what} {n} {kind} {}", accepted.id());
    std::io::stdout().flush().expect("somebody listens");
}

async fn queues(directory: &Path) -> (Engine, Queue, Queue) {
    let options = check::options(directory, Leases::Release).partitions(2);
    let engine = Engine::open(options).await.expect("nothing is in the way");
    let (jobs, done) =
        (engine.topic("jobs").queue("tenant-42"), engine.topic("done").queue("tenant-42"));
    (engine, jobs, done)
}

/// Accepts every job once, and hands on what comes of it.
async fn work(jobs: &Queue, done: &Queue, mut said: impl FnMut(&str, u32, Accepted)) {
    for n in 0..N_JOBS {
        let entry = Entry::new(n.to_string()).once(format!("job {n}"));
        let accepted = jobs.enqueue(entry).await.expect("there is room").into_inner();
        said("job", n, accepted);
    }
    while let Some(mut delivery) = jobs.lease().fetch_one().await.expect("it is open") {
        let text = String::from_utf8(delivery.payload().to_vec()).expect("a number");
        let n = text.parse().expect("a number");
        let result = vec![Entry::new(text).once(format!("result {n}"))];
        let handed_on = delivery.ack_and_enqueue(done, result).await.expect("the lease stands");
        said("done", n, handed_on.into_inner().remove(0));
    }
}

/// Not a test by itself: what the parent starts.
#[test]
fn child() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    runtime().block_on(async {
        let (_engine, jobs, done) = queues(Path::new(&place)).await;
        work(&jobs, &done, line).await;
        println!("through");
        std::process::exit(0);
    });
}

/// What a child was promised before it was killed after so many lines, or had nothing more to do: kind, number
/// and id.
fn promised(child: &str, directory: &Path, n_lines: usize) -> BTreeSet<(String, u32, String)> {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", child, "--nocapture", "--test-threads=1"])
        .env(PLACE, directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut promised = BTreeSet::new();
    let mut is_through = false;
    for line in output.lines() {
        let line = line.expect("text");
        let words: Vec<&str> = line.split(' ').collect();
        if let [what @ ("job" | "done"), n, _, id] = words[..] {
            promised.insert((what.to_owned(), n.parse().expect("a number"), id.to_owned()));
        }
        is_through = line == "through";
        if promised.len() >= n_lines || is_through {
            break;
        }
    }
    child.kill().expect("it is ours");
    child.wait().expect("it has ended");
    assert!(is_through || promised.len() >= n_lines, "it ended after {} lines", promised.len());
    promised
}

#[test]
#[should_panic(expected = "it ended after 0 lines")]
fn a_child_that_does_nothing_is_noticed() {
    promised("once::nobody", scratch().path(), KILLS[0]);
}

#[test]
fn whatever_is_done_again_after_a_kill_is_done_once() {
    let place = scratch();
    let directory = place.path().join("data");
    let mut all = BTreeMap::new();
    for n_lines in KILLS {
        for (what, n, id) in promised("once::child", &directory, n_lines) {
            // A key stands for the same entry in every life.
            let before = all.insert((what, n), id.clone());
            assert!(before.is_none_or(|before| before == id), "{n} was accepted twice");
        }
    }
    runtime().block_on(async {
        let (engine, jobs, done) = queues(&directory).await;
        work(&jobs, &done, |what, n, accepted| {
            let promised = all.get(&(what.to_owned(), n));
            assert!(
                promised
                    .is_none_or(|id| accepted.is_duplicate() && *id == accepted.id().to_string()),
                "{what} {n} was promised as {promised:?}, and is {accepted:?}"
            );
        })
        .await;
        // Every job has led to one result, and to nothing else.
        let results = done.browse(None, 1000).await.expect("it can be read");
        assert_eq!(results.len(), N_JOBS as usize);
        assert!(jobs.browse(None, 10).await.expect("it can be read").is_empty());
        engine.close().await.expect("it closes");
    });
}
