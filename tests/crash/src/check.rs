//! Reopening a store and holding it to what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use millpond::admin::Admin;
use millpond::{Engine, EntryRank, LeasesAtOpen, Options};
use millpond_sync::{Arc, Mutex};
use tokio::task::JoinSet;

use crate::actor::{Actor, Held, Sink, Source, Stop};
use crate::event::{Action, Event, Leases, Marker, queues};
use crate::oracle::{Oracle, Violation};
use crate::random::Random;

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

impl Check<'_> {
    /// Reads the stopped store and verifies its rows; opens it with leases kept (if wanted), settles
    /// some of those that must be in force and leases what is ready; opens it with leases released,
    /// leases everything that is there and compares it with what must be there; settles some and
    /// verifies the rows again.
    ///
    /// # Errors
    ///
    /// The first promise found broken.
    pub async fn run(&self, oracle: Oracle) -> Result<Oracle, Violation> {
        if oracle.knows_a_store() {
            verify(self.directory).await?;
        }
        let mut random = Random::part(self.seed, u64::from(self.life));
        let judge = Arc::new(Judge(Mutex::new((oracle, Ok(())))));
        if self.keep_first {
            self.live(&judge, Leases::Keep, self.life, &mut random).await?;
        }
        self.live(&judge, Leases::Release, self.life + 1, &mut random).await?;
        verify(self.directory).await?;
        Ok(judge.oracle(|oracle| oracle.clone()))
    }

    async fn live(
        &self,
        judge: &Arc<Judge>,
        leases: Leases,
        life: u16,
        random: &mut Random,
    ) -> Result<(), Violation> {
        let create = !judge.oracle(|oracle| oracle.knows_a_store());
        let options = options(self.directory, leases).create(create).partitions(self.n_partitions);
        judge.say(&Event::Opening { leases })?;
        let engine = Engine::open(options).await?;
        let n_partitions = engine.status().await?.n_partitions;
        let n_partitions = u16::try_from(n_partitions).expect("engines have few partitions");
        judge.say(&Event::Opened { n_partitions })?;
        let actor = Actor::new(engine.clone(), judge.clone(), life);
        match leases {
            Leases::Keep => settle_held(&actor, judge, random).await?,
            Leases::Release => drain_all(&actor, judge, random).await?,
        }
        engine.close().await?;
        judge.say(&Event::Closed)
    }
}

/// Settles some of the leases that must be in force, then leases what is ready.
async fn settle_held(
    actor: &Actor<Judge>,
    judge: &Arc<Judge>,
    random: &mut Random,
) -> Result<(), Violation> {
    let held = judge.oracle(|oracle| oracle.held());
    let held =
        held.iter().map(|lease| Held { marker: lease.marker, id: lease.id, token: lease.token });
    settle_some(actor, held, random).await?;
    let (ready, explained) = judge.oracle(|oracle| (oracle.ready(), oracle.leases_in_doubt()));
    let found = lease_everything(actor, judge, Some(&ready), random).await?;
    let n = ready.difference(&found).count();
    if n > explained {
        return Err(Violation::Stuck { n, explained });
    }
    Ok(())
}

/// Leases everything, compares, and settles some of it.
async fn drain_all(
    actor: &Actor<Judge>,
    judge: &Arc<Judge>,
    random: &mut Random,
) -> Result<(), Violation> {
    let found = lease_everything(actor, judge, None, random).await?;
    judge.oracle(|oracle| oracle.settle_doubts(&found))?;
    let counted = actor.engine().status().await?.n_entries;
    if counted != found.len() as u64 {
        return Err(Violation::Miscounted { counted, found: found.len() as u64 });
    }
    let held = judge.oracle(|oracle| oracle.held());
    let held =
        held.iter().map(|lease| Held { marker: lease.marker, id: lease.id, token: lease.token });
    settle_some(actor, held, random).await
}

/// Leases until nothing is ready, some queues by name and the rest through their topics, and checks
/// that each queue is served in order. Only those in `ready`, if given, were ready from the beginning:
/// short leases of the life before may end meanwhile, and their entries then rightly come late. So do
/// those that a call leased whose answer died with its process; their attempts tell.
async fn lease_everything(
    actor: &Actor<Judge>,
    judge: &Arc<Judge>,
    ready: Option<&BTreeSet<Marker>>,
    random: &mut Random,
) -> Result<BTreeSet<Marker>, Violation> {
    let mut sources: Vec<Source> =
        (0..queues::N_QUEUES).filter(|_| random.percent(50)).map(Source::Queue).collect();
    sources.extend(queues::TOPICS.map(Source::Topic));
    let mut found = BTreeSet::new();
    let mut newest: BTreeMap<_, EntryRank> = BTreeMap::new();
    for source in sources {
        loop {
            let n_max = 1 + random.below(200);
            let held = actor.lease(source, n_max, true).await.map_err(stopped)?;
            if held.is_empty() {
                break;
            }
            for held in held {
                found.insert(held.marker);
                if ready.is_some_and(|ready| !ready.contains(&held.marker)) {
                    continue;
                }
                let rank = held.id.rank;
                if newest.get(&held.id.queue).is_some_and(|before| *before >= rank) {
                    let unheard = judge.oracle(|oracle| oracle.was_leased_unheard(held.marker));
                    if ready.is_some() && unheard {
                        continue;
                    }
                    let queue = (0..queues::N_QUEUES).find(|&q| queues::id(q) == held.id.queue);
                    let queue = queue.unwrap_or(u32::MAX);
                    return Err(Violation::Order { marker: held.marker, queue });
                }
                newest.insert(held.id.queue, rank);
            }
        }
    }
    Ok(found)
}

async fn settle_some(
    actor: &Actor<Judge>,
    held: impl Iterator<Item = Held>,
    random: &mut Random,
) -> Result<(), Violation> {
    let mut calls = JoinSet::new();
    for held in held {
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
