//! Looking into an engine that is running, that was interrupted, and that lost its supervisor.

use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::fixture::{Ended, Fixture, line};

/// Looks at a running engine until it shows something; each takes a whole start of the program.
const TRIES_MAX: usize = 2000;

/// A replay that stays as it is: one job runs and one waits behind it, for as long as a test may take.
struct LongReplay {
    fixture: Fixture,
    child: Child,
}

const EXPLAIN: &str = "queue explain jobs user-1 --json";

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    (0..TRIES_MAX).find_map(|_| look()).unwrap_or_else(|| panic!("never: {what}"))
}

impl LongReplay {
    fn start() -> Self {
        let fixture = Fixture::new();
        fixture.file("log.swf", format!("{}\n{}", line(1, 0, 90_000, 1), line(2, 0, 1, 2)));
        let mut command = fixture.command("replay log.swf --speed 1 --workers 1 --partitions 1");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let replay = Self { fixture, child: child.expect("the program starts") };
        wait_for("the first job is leased, the second waits", || {
            let explained = replay.fixture.run(EXPLAIN);
            let is_leased = explained.code == 0 && explained.json()["state"] == "leased";
            let n_queues = || replay.queues().as_array().map_or(0, Vec::len);
            (is_leased && n_queues() == 2).then_some(())
        });
        replay
    }

    fn queues(&self) -> Value {
        self.fixture.json("queue ls --json")
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process is there");
    }

    fn wait(self) -> (Fixture, Ended) {
        let output = self.child.wait_with_output().expect("the program ends");
        (self.fixture, output.into())
    }
}

#[test]
fn a_running_engine_answers_and_closes_cleanly_when_interrupted() {
    let replay = LongReplay::start();
    let fixture = &replay.fixture;
    let explained = fixture.run("queue explain jobs user-1");
    assert!(explained.stdout.contains("user-1: leased: everything that is ready is leased"));
    let waiting = fixture.json("queue explain jobs user-2 --json");
    assert_eq!((&waiting["state"], &waiting["n_entries"]), (&"ready".into(), &1.into()));
    let top = fixture.json("queue top --by oldest -n 1 --interval 0 --json")["queues"].clone();
    assert_eq!(top[0]["key"], "user-2", "the leased one has no waiting head");
    assert_eq!(fixture.json("partition verify --json")[0]["n_entries"], 2);
    let partitions = fixture.json("partition ls --json");
    assert_eq!((&partitions[0]["n_queues"], &partitions[0]["n_leased"]), (&2.into(), &1.into()));
    let doctor = fixture.run("doctor");
    assert!(doctor.stdout.contains("running, and answers"), "{doctor:?}");
    fixture.run("replay log.swf").assert_refused(4, "another process has the engine in data open");

    replay.signal(Signal::INT);
    let (fixture, ended) = replay.wait();
    assert_eq!(ended.code, 130, "{ended:?}");
    for words in ["interrupted in", "as far as it went", "the store is clean"] {
        assert!(ended.stdout.contains(words), "{words:?} is not in {}", ended.stdout);
    }
    let doctor = fixture.run("doctor");
    assert!(doctor.stdout.contains("stopped; 1 partitions"), "{doctor:?}");
    stopped_engine_is_read(&fixture);
}

/// What the interrupted replay left is still there.
fn stopped_engine_is_read(fixture: &Fixture) {
    let queues = fixture.run("queue ls");
    assert!(queues.stdout.contains("jobs   user-1      1       1"), "{queues:?}");
    let waiting = fixture.json("queue explain jobs user-2 --json");
    assert_eq!(waiting["state"], "stopped");
    assert_eq!(fixture.json(EXPLAIN)["leases"].as_array().map(Vec::len), Some(1));
    let nothing = fixture.json("queue explain jobs user-99 --json");
    assert_eq!((&nothing["state"], &nothing["n_entries"]), (&"empty".into(), &0.into()));
    let verified = fixture.run("partition verify");
    assert_eq!((verified.code, verified.stdout.lines().count()), (0, 2), "{verified:?}");
    fixture.run("replay log.swf").assert_refused(2, "topic `jobs` in data is not empty");
    fixture
        .run("replay log.swf --partitions 2")
        .assert_refused(2, "the engine in data was created with 1");
}

#[test]
fn a_terminated_replay_says_so() {
    let replay = LongReplay::start();
    replay.signal(Signal::TERM);
    assert_eq!(replay.wait().1.code, 143);
}

#[test]
fn an_engine_whose_supervisor_is_killed_closes_by_itself() {
    let mut replay = LongReplay::start();
    replay.child.kill().expect("the process is there");
    replay.child.wait().expect("the process ends");
    let fixture = replay.fixture;
    fixture.file("short.swf", line(1, 0, 0, 1));
    let ended = wait_for("the engine is closed", || {
        let ended = fixture.run("replay short.swf --topic other");
        (ended.code != 4).then_some(ended)
    });
    assert_eq!(ended.code, 0, "{ended:?}");
}
