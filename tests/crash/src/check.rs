//! Reopening a store and holding it to what was promised.

use std::path::Path;
use std::time::Duration;

use millpond::admin::Admin;
use millpond::{Engine, Error, LeasesAtOpen, Options, Settings};
use millpond_sync::{Arc, Mutex};
use tokio::task::JoinSet;

use crate::actor::{Actor, Held, Sink, Source, Stop, now_ms};
use crate::event::{Action, DeadAction, Event, Leases, Nacked, queues};
use crate::oracle::{HeldLease, Late, Oracle, Violation};
use crate::random::Random;
use crate::stored::{self, StoredEntries};
use crate::turns::Turns;

mod ruled;

/// Calls that a check has in flight, so that they share their commits.
const CALLS_IN_FLIGHT: usize = 64;
/// Memory of an engine under test, small so that flushes and compactions happen, in bytes.
const WRITE_BUFFER_BYTES: usize = 2 << 20;
const CACHE_BYTES: usize = 4 << 20;

/// What is due comes by then, or the engine has forgotten it.
const DUE_WITHIN: Duration = Duration::from_secs(100);
/// The engine is asked so often whether it has come to rest.
const LOOKS_MAX: usize = 100_000;

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

/// Makes the rules that every engine of these tests has, unless they are there.
///
/// # Errors
///
/// The engine has stopped.
pub async fn lay_down_rules(engine: &Engine) -> Result<(), Error> {
    for (number, topic) in queues::TOPICS.into_iter().enumerate() {
        let topic = engine.topic(topic);
        let Settings { backoff, attempts_max, .. } = queues::settings(number);
        let found = topic.settings()?.unwrap_or_default();
        let rule = Settings { backoff, attempts_max, ..found.clone() };
        if rule != found {
            topic.set(rule).await?;
        }
    }
    Ok(())
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
    /// some and verifies the rows again. Each time it leases first what the rules let through that it found, then
    /// the rest without rules, and leaves others behind.
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
        judge.oracle(|oracle| oracle.at_rest(&stored, now_ms()))?;
        if !create {
            let rules = stored::read_rules(self.directory).await?;
            judge.oracle(|oracle| oracle.rules_at_rest(&rules))?;
        }
        let turns = Turns::new(stored, leases, now_ms());
        let options = options(self.directory, leases).create(create).partitions(self.n_partitions);
        judge.say(&Event::Opening { leases })?;
        let engine = Engine::open(options).await?;
        lay_down_rules(&engine).await?;
        let n_partitions = engine.status().await?.n_partitions;
        let n_partitions = u16::try_from(n_partitions).expect("engines have few partitions");
        judge.say(&Event::Opened { n_partitions })?;
        let actor = Actor::new(engine.clone(), judge.clone(), life);
        actor.find_rules().map_err(stopped)?;
        let late = match leases {
            Leases::Keep => settle_held(&actor, judge, turns, random).await?,
            Leases::Release => drain_all(&actor, judge, turns, random).await?,
        };
        ruled::lay_down(&actor, random).await?;
        engine.close().await?;
        judge.say(&Event::Closed)?;
        Ok(late)
    }
}

/// Settles some of the leases that must be in force and some dead letters, then leases what is ready.
async fn settle_held(
    actor: &Actor<Judge>,
    judge: &Arc<Judge>,
    mut turns: Turns,
    random: &mut Random,
) -> Result<Vec<Late>, Violation> {
    let held = judge.oracle(|oracle| oracle.held());
    settle_some(actor, &held, random).await?;
    for HeldLease { marker, .. } in held {
        match judge.oracle(|oracle| oracle.nacked(marker)) {
            Some(Nacked::Ready) => turns.given_back(marker),
            Some(Nacked::BackingOff(_)) => turns.made_to_wait(marker),
            Some(Nacked::Dead) | None => {}
        }
    }
    settle_dead_letters(actor, &mut turns, random).await?;
    let turns = lease_ready(actor, judge, turns, random).await?;
    lease_everything(actor, judge, turns, random).await.map(|turns| turns.late().to_vec())
}

/// Leases everything, compares, and settles some of it.
async fn drain_all(
    actor: &Actor<Judge>,
    judge: &Arc<Judge>,
    turns: Turns,
    random: &mut Random,
) -> Result<Vec<Late>, Violation> {
    let turns = ruled::fill_up(actor, judge, turns, random).await?;
    let turns = lease_everything(actor, judge, turns, random).await?;
    let mut turns = lease_what_is_due(actor, judge, turns).await?;
    let there = turns.found().union(turns.waiting()).chain(turns.dead());
    let there = there.copied().collect();
    judge.oracle(|oracle| oracle.settle_doubts(&there))?;
    compare_counts(actor, &turns).await?;
    settle_dead_letters(actor, &mut turns, random).await?;
    settle_some(actor, &judge.oracle(|oracle| oracle.held()), random).await?;
    Ok(turns.late().to_vec())
}

/// What the engine counts is what was found.
async fn compare_counts(actor: &Actor<Judge>, turns: &Turns) -> Result<(), Violation> {
    let found = [turns.found().len(), turns.waiting().len(), turns.dead().len()];
    let found = found.map(|n| n as u64);
    let mut counted = [0; 3];
    // Entries whose last attempt ended with the old owner's leases are set aside one after the other.
    for _ in 0..LOOKS_MAX {
        let status = actor.engine().status().await?;
        counted = [status.n_entries, status.n_delayed, status.n_dead];
        if counted == found {
            return Ok(());
        }
    }
    Err(Violation::Miscounted { counted, found })
}

/// Waits for what is due soon, and leases it.
async fn lease_what_is_due(
    actor: &Actor<Judge>,
    judge: &Arc<Judge>,
    mut turns: Turns,
) -> Result<Turns, Violation> {
    while let Some(queue) = turns.awaited().into_iter().next() {
        let source = Source::Queue(queue);
        let held = actor.lease_within(source, 100, true, DUE_WITHIN).await.map_err(stopped)?;
        if held.is_empty() {
            return Err(Violation::Overdue { queue });
        }
        judge_grants(judge, &mut turns, held)?;
    }
    Ok(turns)
}

fn judge_grants(judge: &Judge, turns: &mut Turns, held: Vec<Held>) -> Result<(), Violation> {
    let now_ms = now_ms();
    judge.oracle(|oracle| held.into_iter().try_for_each(|held| turns.granted(held, oracle, now_ms)))
}

/// Replays some of the dead letters and drops others.
async fn settle_dead_letters(
    actor: &Actor<Judge>,
    turns: &mut Turns,
    random: &mut Random,
) -> Result<(), Violation> {
    let mut calls = JoinSet::new();
    for (marker, queue, id) in turns.dead_letters() {
        let action = match random.below(100) {
            0..30 => DeadAction::Replay,
            30..45 => DeadAction::Drop,
            _ => continue,
        };
        match action {
            DeadAction::Replay => turns.given_back(marker),
            DeadAction::Drop => turns.dropped(marker),
        }
        if calls.len() >= CALLS_IN_FLIGHT {
            ended(calls.join_next().await)?;
        }
        let actor = actor.clone();
        calls
            .spawn(async move { actor.dead_letter(marker, queue, id, action).await.map(|_| None) });
    }
    while !calls.is_empty() {
        ended(calls.join_next().await)?;
    }
    Ok(())
}

/// Withdraws all rules, leases what is ready and checks that whatever was ready has come.
async fn lease_everything(
    actor: &Actor<Judge>,
    judge: &Arc<Judge>,
    turns: Turns,
    random: &mut Random,
) -> Result<Turns, Violation> {
    ruled::withdraw(actor, judge).await?;
    let turns = lease_ready(actor, judge, turns, random).await?;
    turns.ended()?;
    Ok(turns)
}

/// Leases until nothing comes, from some queues by name and from the rest through their topics, and checks that
/// it comes in its [turn](Turns).
async fn lease_ready(
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
            judge_grants(judge, &mut turns, held)?;
        }
    }
    Ok(turns)
}

async fn settle_some(
    actor: &Actor<Judge>,
    held: &[HeldLease],
    random: &mut Random,
) -> Result<(), Violation> {
    let calls = held.iter().filter_map(|&held| {
        let action = match random.below(100) {
            0..40 => Action::Ack,
            40..65 => Action::Nack,
            65..72 => Action::NackAfter(random.below(100) as u64),
            72..76 => Action::Reject,
            76..85 => Action::Extend,
            _ => return None,
        };
        Some((held, action))
    });
    settle_each(actor, calls).await
}

async fn settle_each(
    actor: &Actor<Judge>,
    wanted: impl Iterator<Item = (HeldLease, Action)>,
) -> Result<(), Violation> {
    let mut calls = JoinSet::new();
    for (HeldLease { marker, id, token }, action) in wanted {
        let held = Held { marker, id, token };
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

type Settled = Result<Option<Nacked>, Stop<Violation>>;
type Joined = Option<Result<Settled, tokio::task::JoinError>>;

fn ended(call: Joined) -> Result<(), Violation> {
    match call {
        Some(Ok(outcome)) => outcome.map(drop).map_err(stopped),
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
