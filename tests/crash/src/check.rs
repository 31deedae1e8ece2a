//! Reopening a store and holding it to what was promised.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use millpond::admin::Admin;
use millpond::{Engine, LeasesAtOpen, Options};
use millpond_sync::{Arc, Mutex};
use tokio::task::JoinSet;

use crate::actor::{Actor, Held, Sink, Source, Stop};
use crate::event::{Action, Event, Leases, queues};
use crate::oracle::{HeldLease, Late, Oracle, Violation};
use crate::random::Random;
use crate::stored::{self, StoredEntries};
use crate::turns::Turns;

/// Calls that a check has in flight, so that they share their commits.
const CALLS_IN_FLIGHT: usize = 64;
/// Memory of an engine under test, small so that flushes and compactions happen, in bytes.
const WRITE_BUFFER_BYTES: usize = 2 << 20;
const CACHE_BYTES: usize = 4 << 20;

/// How every engine of these tests is opened.
pub fn options(directory: &Path, leases: Leases) -> Options {
    let leases = match leases {
        Leases::Keep => LeasesAtOpen::Keep,
        Leases::Release => LeasesAtOpen::Release,
    };
    Options::new(directory)
        .leases_at_open(leases)
        .write_buffer_bytes(WRITE_BUFFER_BYTES)
        .cache_bytes(CACHE_BYTES)
        .control_socket(false)
}

/// Feeds an oracle. The first violation is kept; whoever comes later is stopped too.
struct Judge(Mutex<(Oracle, Result<(), Violation>)>);

impl Sink for Judge {
    type Stop = Violation;

    fn say(&self, event: &Event) -> Result<(), Violation> {
        let (oracle, judgement) = &mut *self.0.lock();
        *judgement = judgement.clone().and_then(|()| oracle.apply(event));
        judgement.clone()
    }
}

impl Judge {
    fn oracle<T>(&self, look: impl FnOnce(&mut Oracle) -> T) -> T {
        look(&mut self.0.lock().0)
    }
}

/// A store that is to be checked.
#[derive(Debug)]
pub struct Check<'a> {
    /// Its directory.
    pub directory: &'a Path,
    /// Partitions of a store that was never open so far.
    pub n_partitions: u16,
    /// Decides what is settled how.
    pub seed: u64,
    /// Number of the first of the two lives that the check takes.
    pub life: u16,
    /// Whether old leases are checked before they are released.
    pub keep_first: bool,
}

/// A store that honours every promise.
#[derive(Debug)]
pub struct Checked {
    /// What it must do from now on.
    pub oracle: Oracle,
    /// Entries that rightly came late.
    pub late: Vec<Late>,
}

impl Check<'_> {
    /// Reads the stopped store, verifies its rows and holds them to the oracle; opens it with leases kept
    /// (if wanted), settles some of those that must be in force and leases what is ready; opens it with
    /// leases released, leases everything that is there and compares it with what must be there; settles
    /// some and verifies the rows again.
    ///
    /// # Errors
    ///
    /// The first promise found broken.
    pub async fn run(&self, oracle: Oracle) -> Result<Checked, Violation> {
        if oracle.knows_a_store() {
            verify(self.directory).await?;
        }
        let mut random = Random::part(self.seed, u64::from(self.life));
        let judge = Arc::new(Judge(Mutex::new((oracle, Ok(())))));
        let mut late = Vec::new();
        if self.keep_first {
            late = self.live(&judge, Leases::Keep, self.life, &mut random).await?;
        }
        self.live(&judge, Leases::Release, self.life + 1, &mut random).await?;
        verify(self.directory).await?;
        Ok(Checked { oracle: judge.oracle(|oracle| oracle.clone()), late })
    }

    /// One life. Returns what rightly came late.
    async fn live(
        &self,
        judge: &Arc<Judge>,
        leases: Leases,
        life: u16,
        random: &mut Random,
    ) -> Result<Vec<Late>, Violation> {
        let create = !judge.oracle(|oracle| oracle.knows_a_store());
        let stored =
            if create { StoredEntries::new() } else { stored::read(self.directory).await? };
        judge.oracle(|oracle| oracle.at_rest(&stored))?;
        let turns = Turns::new(stored, leases, now_ms());
        let options = options(self.directory, leases).create(create).partitions(self.n_partitions);
        judge.say(&Event::Opening { leases })?;
        let engine = Engine::open(options).await?;
        let n_partitions = engine.status().await?.n_partitions;
        let n_partitions = u16::try_from(n_partitions).expect("engines have few partitions");
        judge.say(&Event::Opened { n_partitions })?;
        let actor = Actor::new(engine.clone(), judge.clone(), life);
        let late = match leases {
            Leases::Keep => settle_held(&actor, judge, turns, random).await?,
            Leases::Release => drain_all(&actor, judge, turns, random).await?,
        };
        engine.close().await?;
        judge.say(&Event::Closed)?;
        Ok(late)
    }
}

/// Settles some of the leases that must be in force, then leases what is ready.
async fn settle_held(
    actor: &Actor<Judge>,
    judge: &Arc<Judge>,
    mut turns: Turns,
    random: &mut Random,
) -> Result<Vec<Late>, Violation> {
    let held = judge.oracle(|oracle| oracle.held());
    settle_some(actor, &held, random).await?;
    judge.oracle(|oracle| {
        let given_back = held.iter().filter(|lease| oracle.was_given_back(lease.marker));
        given_back.for_each(|lease| turns.given_back(lease.marker));
    });
    lease_everything(actor, judge, turns, random).await.map(|turns| turns.late().to_vec())
}

/// Leases everything, compares, and settles some of it.
async fn drain_all(
    actor: &Actor<Judge>,
    judge: &Arc<Judge>,
    turns: Turns,
    random: &mut Random,
) -> Result<Vec<Late>, Violation> {
    let turns = lease_everything(actor, judge, turns, random).await?;
    judge.oracle(|oracle| oracle.settle_doubts(turns.found()))?;
    let (counted, found) = (actor.engine().status().await?.n_entries, turns.found().len() as u64);
    if counted != found {
        return Err(Violation::Miscounted { counted, found });
    }
    settle_some(actor, &judge.oracle(|oracle| oracle.held()), random).await?;
    Ok(turns.late().to_vec())
}

/// Leases until nothing is ready, some queues by name and the rest through their topics, and checks that
/// whatever was ready comes, in its [turn](Turns).
async fn lease_everything(
    actor: &Actor<Judge>,
    judge: &Arc<Judge>,
    mut turns: Turns,
    random: &mut Random,
) -> Result<Turns, Violation> {
    let mut sources: Vec<Source> =
        (0..queues::N_QUEUES).filter(|_| random.percent(50)).map(Source::Queue).collect();
    sources.extend(queues::TOPICS.map(Source::Topic));
    for source in sources {
        loop {
            let n_max = 1 + random.below(200);
            let held = actor.lease(source, n_max, true).await.map_err(stopped)?;
            if held.is_empty() {
                break;
            }
            let now_ms = now_ms();
            judge.oracle(|oracle| {
                held.into_iter().try_for_each(|held| turns.granted(held, oracle, now_ms))
            })?;
        }
    }
    turns.ended()?;
    Ok(turns)
}

#[expect(clippy::disallowed_methods, reason = "the engine under test goes by this clock")]
fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

async fn settle_some(
    actor: &Actor<Judge>,
    held: &[HeldLease],
    random: &mut Random,
) -> Result<(), Violation> {
    let mut calls = JoinSet::new();
    for &HeldLease { marker, id, token } in held {
        let held = Held { marker, id, token };
        let action = match random.below(100) {
            0..40 => Action::Ack,
            40..75 => Action::Nack,
            75..85 => Action::Extend,
            _ => continue,
        };
        if calls.len() >= CALLS_IN_FLIGHT {
            ended(calls.join_next().await)?;
        }
        let actor = actor.clone();
        calls.spawn(async move { actor.settle(held, action).await });
    }
    while !calls.is_empty() {
        ended(calls.join_next().await)?;
    }
    Ok(())
}

type Joined = Option<Result<Result<(), Stop<Violation>>, tokio::task::JoinError>>;

fn ended(call: Joined) -> Result<(), Violation> {
    match call {
        Some(Ok(outcome)) => outcome.map_err(stopped),
        Some(Err(panicked)) => {
            Err(Violation::Engine { kind: "panic".to_owned(), text: panicked.to_string() })
        }
        None => Ok(()),
    }
}

fn stopped(stop: Stop<Violation>) -> Violation {
    match stop {
        Stop::Sink(violation) => violation,
        Stop::Engine(kind) => {
            let text = "it stopped during the check".to_owned();
            Violation::Engine { kind: kind.name().to_owned(), text }
        }
    }
}

/// Checks every row of a stopped store without changing a byte.
///
/// # Errors
///
/// Rows contradict each other, or cannot be read.
pub async fn verify(directory: &Path) -> Result<(), Violation> {
    for check in Admin::connect(directory).await?.verify().await? {
        if check.n_problems > 0 {
            let first = check.problems.first().cloned().unwrap_or_default();
            return Err(Violation::Inconsistent { n: check.n_problems, first });
        }
    }
    Ok(())
}
