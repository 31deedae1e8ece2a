//! Histories of the cache over a store with its faults: reads, loaders and commits that end in any order or never,
//! crashes, damage. What is checked of each answer:
//!
//! * It is no older than the last write of its key that had finished before the call.
//! * One reader never gets an older value after a newer one.
//! * It had not been invalidated before the call, and has not expired.
//! * If the last write had finished before the call and still holds, the answer is its value.
//!
//! And at the end: nobody waits for ever, memory and store agree, and no key is left in between.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use millpond_storage_api::{StoreErrorKind, StoreRead, Table};
use millpond_storage_memory::{
    FailedBatch, MemoryDisk, MemoryOptions, MemoryStore, SyncMode, Visibility,
};
use millpond_sync::thread::block_on;
use millpond_types::UnixMillis;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use super::store::{GatedStore, Gates};
use super::{variable, with};
use crate::row::{Row, Rows};
use crate::rules::Mutation;
use crate::{
    Admission, Blob, BlobCache, CacheError, CacheOptions, IndexOptions, Key, Meta, Promotion, Scope,
};

const TABLE: Table = Table::Payloads;
const PREFIX: &[u8] = b"cache";
const N_KEYS: u8 = 4;
const N_READERS: usize = 3;
const N_TASKS_MAX: usize = 12;
const STEPS_MAX: usize = 120;
const TAGS: [&str; 2] = ["red", "blue"];
const NAMESPACES: [&str; 2] = ["one", "two"];

#[derive(Debug, Clone, Copy)]
struct Step {
    kind: u8,
    pick: u16,
    amount: u16,
}

/// A value that was ever made, by its number.
#[derive(Debug, Clone)]
struct Value {
    key: u8,
    blob: Blob,
    begin: u64,
    end: Option<u64>,
    is_loaded: bool,
}

#[derive(Debug, Clone, Copy)]
struct Write {
    begin: u64,
    end: Option<u64>,
    value: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Invalidation {
    scope: Scope<'static>,
    begin: u64,
    end: Option<u64>,
}

/// What loaders share with the world.
#[derive(Debug, Default)]
struct Log {
    tick: Cell<u64>,
    values: RefCell<Vec<Value>>,
}

impl Log {
    fn make(&self, key: u8, amount: u16, now: UnixMillis, is_loaded: bool) -> (usize, Blob) {
        let mut values = self.values.borrow_mut();
        let number = values.len();
        let mut bytes = (number as u64).to_be_bytes().to_vec();
        bytes.resize(8 + usize::from(amount % 7) * 60, 0);
        let mut meta = Meta::new();
        if amount & 0x40 != 0 {
            meta = meta.tagged(TAGS[usize::from(amount >> 7) % 2]).unwrap();
        }
        if amount & 0x300 == 0x300 {
            meta = meta.expiring_at(now.plus(u64::from(amount >> 12)));
        }
        let blob = Blob::with_meta(bytes, meta);
        let begin = self.tick.get();
        values.push(Value { key, blob: blob.clone(), begin, end: None, is_loaded });
        (number, blob)
    }
}

#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

enum Kind {
    Read { key: u8, reader: usize, now: UnixMillis },
    Write { key: u8, at: usize },
    Invalidate(usize),
}

type Answer = Result<Option<Blob>, CacheError>;

struct Task {
    future: Pin<Box<dyn Future<Output = Answer>>>,
    flag: Arc<Flag>,
    kind: Kind,
    begin: u64,
}

struct World {
    disk: MemoryDisk,
    options: MemoryOptions,
    looks_early: bool,
    cheap_range_delete: bool,
    broken: Option<Mutation>,
    store: Arc<MemoryStore>,
    gates: Gates,
    cache: BlobCache,
    log: Rc<Log>,
    now: UnixMillis,
    writes: BTreeMap<u8, Vec<Write>>,
    invalidations: Vec<Invalidation>,
    /// Keys whose row was damaged, and until when.
    damaged: BTreeMap<u8, u64>,
    /// The store has refused a commit.
    is_dead: bool,
    tasks: Vec<Task>,
    /// What each reader has last seen of each key.
    seen: BTreeMap<(usize, u8), u64>,
}

fn check(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn key(id: &[u8; 1]) -> Key<'_> {
    Key::new(NAMESPACES[usize::from(id[0] % 2)], id).unwrap()
}

fn reaches(scope: Scope<'_>, key: u8, blob: &Blob) -> bool {
    match scope {
        Scope::All => true,
        Scope::Namespace(name) => NAMESPACES[usize::from(key % 2)] == name,
        Scope::Tag(tag) => blob.meta.tags().iter().any(|known| **known == *tag),
    }
}

fn open(
    store: &Arc<MemoryStore>,
    gates: &Gates,
    looks_early: bool,
    cheap_range_delete: bool,
    broken: Option<Mutation>,
) -> BlobCache {
    let store =
        GatedStore { store: store.clone(), gates: gates.clone(), looks_early, cheap_range_delete };
    let index = IndexOptions {
        bytes_max: 1_000,
        n_shards: 2,
        ghosts_max: 64,
        admission: if looks_early { Admission::BySize } else { Admission::SecondHit },
        hash_seed: 1,
    };
    let options = CacheOptions {
        index,
        table: TABLE,
        prefix: Bytes::from_static(PREFIX),
        pool: None,
        ..CacheOptions::default()
    };
    let opened = BlobCache::open_ruled(Arc::new(store), options, Promotion::install, with(broken));
    block_on(opened).unwrap()
}

impl World {
    fn new(shape: u8, broken: Option<Mutation>) -> Self {
        let disk = MemoryDisk::new();
        let visibility = if shape & 1 == 0 { Visibility::AtSubmit } else { Visibility::AtSync };
        let options =
            MemoryOptions { sync: SyncMode::Stepped, visibility, ..MemoryOptions::default() };
        let store = Arc::new(MemoryStore::open(&disk, options).unwrap());
        let gates = Gates::default();
        let (looks_early, cheap_range_delete) = (shape & 2 != 0, shape & 4 != 0);
        let cache = open(&store, &gates, looks_early, cheap_range_delete, broken);
        Self {
            disk,
            options,
            looks_early,
            cheap_range_delete,
            broken,
            store,
            gates,
            cache,
            log: Rc::default(),
            now: UnixMillis(0),
            writes: BTreeMap::new(),
            invalidations: Vec::new(),
            damaged: BTreeMap::new(),
            is_dead: false,
            tasks: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        self.log.tick.set(self.log.tick.get() + 1);
        let number = u8::try_from(step.pick % u16::from(N_KEYS)).unwrap();
        let has_room = self.tasks.len() < N_TASKS_MAX;
        match step.kind {
            0..8 if has_room => self.read(number, step, false)?,
            8..11 if has_room => self.read(number, step, true)?,
            11..15 if has_room => self.write(number, step, true)?,
            15 if has_room => self.write(number, step, false)?,
            16 if has_room => self.invalidate(step)?,
            17 => self.now = self.now.plus(u64::from(step.amount % 4)),
            18..22 if self.gates.len() > 0 => {
                self.gates.open(usize::from(step.pick) % self.gates.len());
            }
            22..26 => drop(self.disk.sync_next()),
            26 if !self.tasks.is_empty() => {
                let at = usize::from(step.pick) % self.tasks.len();
                drop(self.tasks.swap_remove(at));
            }
            27 if step.amount.is_multiple_of(3) => self.damage(number, step.amount),
            28 if step.amount.is_multiple_of(3) => {
                self.crash(usize::from(step.amount % 5));
            }
            29 if step.amount.is_multiple_of(8) && !self.is_dead && has_room => {
                let batch = [FailedBatch::Lost, FailedBatch::Survives][usize::from(step.pick % 2)];
                self.disk.fail_commit(0, StoreErrorKind::NoSpace, batch);
                self.is_dead = true;
                self.write(number, step, true)?;
            }
            _ => {}
        }
        self.poll(false)
    }

    fn spawn(
        &mut self,
        kind: Kind,
        future: impl Future<Output = Answer> + 'static,
    ) -> Result<(), String> {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let begin = self.log.tick.get();
        self.tasks.push(Task { future: Box::pin(future), flag, kind, begin });
        self.poll(true)
    }

    /// Polls who was woken; only the newest if it was just spawned, so that calls begin in the order of ticks.
    fn poll(&mut self, only_newest: bool) -> Result<(), String> {
        let mut at = if only_newest { self.tasks.len() - 1 } else { 0 };
        while let Some(task) = self.tasks.get_mut(at) {
            if !task.flag.0.swap(false, Ordering::Relaxed) {
                at += 1;
                continue;
            }
            let waker = Waker::from(task.flag.clone());
            match task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => at += 1,
                Poll::Ready(answer) => {
                    let task = self.tasks.swap_remove(at);
                    self.answered(&task, answer)?;
                    at = if only_newest { self.tasks.len() } else { 0 };
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, number: u8, step: Step, loads: bool) -> Result<(), String> {
        let reader = usize::from(step.amount) % N_READERS;
        let is_busy =
            |task: &Task| matches!(task.kind, Kind::Read { reader: busy, .. } if busy == reader);
        if self.tasks.iter().any(is_busy) {
            return Ok(());
        }
        let (cache, now) = (self.cache.clone(), self.now);
        let kind = Kind::Read { key: number, reader, now };
        if !loads {
            return self.spawn(kind, async move { cache.get(key(&[number]), now).await });
        }
        let (log, gates) = (self.log.clone(), self.gates.clone());
        self.spawn(kind, async move {
            let load = || async move {
                let (_, blob) = log.make(number, step.amount, now, true);
                gates.pass().await;
                match step.amount % 5 {
                    0 => Err("the loader fails"),
                    1 => Ok(None),
                    _ => Ok(Some(blob)),
                }
            };
            cache.get_or_load(key(&[number]), now, load).await
        })
    }

    fn write(&mut self, number: u8, step: Step, is_put: bool) -> Result<(), String> {
        let (cache, now) = (self.cache.clone(), self.now);
        let made = is_put.then(|| self.log.make(number, step.amount, now, false));
        let (value, blob) = made.unzip();
        let writes = self.writes.entry(number).or_default();
        writes.push(Write { begin: self.log.tick.get(), end: None, value });
        let kind = Kind::Write { key: number, at: writes.len() - 1 };
        self.spawn(kind, async move {
            match blob {
                Some(blob) => cache.put(key(&[number]), blob, now).await.map(|_| None),
                None => cache.remove(key(&[number])).await.map(|_| None),
            }
        })
    }

    fn invalidate(&mut self, step: Step) -> Result<(), String> {
        let name = usize::from(step.pick >> 3) % 2;
        let scope = match step.pick % 5 {
            0 => Scope::All,
            1..3 => Scope::Namespace(NAMESPACES[name]),
            _ => Scope::Tag(TAGS[name]),
        };
        self.invalidations.push(Invalidation { scope, begin: self.log.tick.get(), end: None });
        let cache = self.cache.clone();
        let kind = Kind::Invalidate(self.invalidations.len() - 1);
        self.spawn(kind, async move { cache.invalidate(scope).await.map(|_| None) })
    }

    fn damage(&mut self, number: u8, amount: u16) {
        if self.disk.n_unsynced() > 0 {
            return;
        }
        let row_key = Rows { prefix: PREFIX.into() }.value_key(key(&[number]));
        let Ok(Some(row)) = self.store.try_get(TABLE, &row_key) else { return };
        let mut row = row.to_vec();
        let at = usize::from(amount) % row.len();
        row[at] ^= 1 << (amount % 8);
        self.disk.poke_row(TABLE, &row_key, &row);
        self.damaged.insert(number, u64::MAX);
    }

    fn crash(&mut self, keep: usize) {
        self.tasks.clear();
        self.gates = Gates::default();
        self.disk.crash(keep);
        self.store = Arc::new(MemoryStore::open(&self.disk, self.options).unwrap());
        let Self { store, gates, looks_early, cheap_range_delete, broken, .. } = self;
        self.cache = open(store, gates, *looks_early, *cheap_range_delete, *broken);
        self.is_dead = false;
        self.seen.clear();
    }

    fn answered(&mut self, task: &Task, answer: Answer) -> Result<(), String> {
        let tick = self.log.tick.get();
        match (&task.kind, answer) {
            (_, Err(CacheError::Store(error))) => {
                check(self.is_dead, || format!("nothing was injected, and yet: {error}"))
            }
            (Kind::Read { key, .. }, Err(CacheError::Corrupt { why })) => {
                let healed = self.damaged.get(key).copied().unwrap_or(0);
                check(healed >= task.begin, || format!("key {key} is not damaged: {why}"))
            }
            (Kind::Read { .. }, Err(CacheError::Load(_))) => Ok(()),
            (_, Err(error)) => Err(format!("{error:?}")),
            (Kind::Write { key, at }, Ok(_)) => {
                let write = &mut self.writes.get_mut(key).unwrap()[*at];
                write.end = Some(tick);
                if let Some(value) = write.value {
                    self.log.values.borrow_mut()[value].end = Some(tick);
                }
                if let Some(healed) = self.damaged.get_mut(key) {
                    *healed = tick.min(*healed);
                }
                Ok(())
            }
            (Kind::Invalidate(at), Ok(_)) => {
                self.invalidations[*at].end = Some(tick);
                Ok(())
            }
            (Kind::Read { key, reader, now }, Ok(answer)) => {
                self.judge(*key, *reader, *now, task.begin, answer)
            }
        }
    }

    fn judge(
        &mut self,
        key: u8,
        reader: usize,
        now: UnixMillis,
        begin: u64,
        answer: Option<Blob>,
    ) -> Result<(), String> {
        let expected = self.certain(key, now, begin);
        let Some(blob) = answer else {
            return check(expected.is_none(), || {
                format!("key {key}: nothing found, value {} expected", expected.unwrap_or(0))
            });
        };
        let number = blob.value.first_chunk::<8>().map_or(u64::MAX, |n| u64::from_be_bytes(*n));
        let values = self.log.values.borrow();
        let made = usize::try_from(number).ok().and_then(|number| values.get(number));
        let value = made.filter(|value| value.blob == blob && value.key == key);
        let Some(value) = value else { return Err(format!("key {key}: nobody made {blob:?}")) };
        check(expected.is_none_or(|expected| expected as u64 == number), || {
            format!("key {key}: value {number} found, {} expected", expected.unwrap_or(0))
        })?;
        let floor = self.finished(key, begin).map_or(0, |write| write.begin);
        check(value.begin >= floor, || {
            format!(
                "key {key}: value {number} of {} is older than the write of {floor}",
                value.begin
            )
        })?;
        // What a loader brings is an answer even if it has expired by then.
        let is_fresh = value.is_loaded || !value.blob.meta.is_expired(now);
        check(is_fresh, || format!("value {number} has expired"))?;
        let was_there = |before: u64| match value.is_loaded {
            true => value.begin < before,
            false => value.end.is_some_and(|end| end < before),
        };
        let reached = self.invalidations.iter().find(|invalidation| {
            invalidation.end.is_some_and(|end| end < begin)
                && was_there(invalidation.begin)
                && reaches(invalidation.scope, key, &blob)
        });
        check(reached.is_none(), || format!("value {number} in spite of {reached:?}"))?;
        if !value.is_loaded {
            let seen = self.seen.entry((reader, key)).or_default();
            check(value.begin >= *seen, || {
                format!("reader {reader}: value {number} of {} after one of {seen}", value.begin)
            })?;
            *seen = value.begin;
        }
        Ok(())
    }

    /// The newest write that had finished before `begin`.
    fn finished(&self, key: u8, begin: u64) -> Option<Write> {
        let writes = self.writes.get(&key)?.iter();
        writes
            .filter(|write| write.end.is_some_and(|end| end < begin))
            .max_by_key(|w| w.begin)
            .copied()
    }

    /// The value that nothing but itself can be the answer, if there is one.
    fn certain(&self, key: u8, now: UnixMillis, begin: u64) -> Option<usize> {
        let last = self.finished(key, begin)?;
        let is_last = self.writes[&key].iter().all(|write| write.begin <= last.begin);
        let number = last.value.filter(|_| is_last)?;
        let values = self.log.values.borrow();
        let blob = &values[number].blob;
        let may_be_reached = self.invalidations.iter().any(|invalidation| {
            invalidation.end.is_none_or(|end| end >= last.begin)
                && reaches(invalidation.scope, key, blob)
        });
        (!may_be_reached && !blob.meta.is_expired(now)).then_some(number)
    }

    fn finish(mut self) -> Result<(), String> {
        for round in 0.. {
            check(round < 100, || "no end of reads and commits".to_owned())?;
            self.log.tick.set(self.log.tick.get() + 1);
            self.disk.sync_all();
            while self.gates.len() > 0 {
                self.gates.open(0);
            }
            self.poll(false)?;
            if self.gates.len() == 0 && self.disk.n_unsynced() == 0 {
                break;
            }
        }
        check(self.tasks.is_empty(), || format!("{} calls wait for ever", self.tasks.len()))?;
        if self.is_dead {
            return Ok(());
        }
        let mut put = Box::pin(self.cache.put(key(&[N_KEYS]), Blob::new("last"), self.now));
        let mut context = Context::from_waker(Waker::noop());
        check(put.as_mut().poll(&mut context).is_pending(), || "it is not synced".to_owned())?;
        self.disk.sync_all();
        check(put.as_mut().poll(&mut context).is_ready(), || "it is synced".to_owned())?;
        drop(put);
        let stats = self.cache.stats();
        check(stats.index.n_pending == 0, || format!("keys are left in between: {stats:?}"))?;
        self.agree()
    }

    /// What is resident and holds is what is below.
    fn agree(&self) -> Result<(), String> {
        let core = &self.cache.index().core;
        for (encoded, blob, _) in core.residents() {
            let id = [*encoded.last().unwrap()];
            let row_key = Rows { prefix: PREFIX.into() }.value_key(key(&id));
            let row = self.store.try_get(TABLE, &row_key).map_err(|error| error.to_string())?;
            let row = row.map(|row| Row::decode(&row_key, row, false));
            let Some(Ok(row)) = row else {
                check(self.damaged.contains_key(&id[0]) || !self.is_hit(&id), || {
                    format!("key {}: {blob:?} in memory, nothing below", id[0])
                })?;
                continue;
            };
            let is_same =
                row.blob == blob || self.damaged.contains_key(&id[0]) || !self.is_hit(&id);
            check(is_same, || format!("key {}: {blob:?} in memory, {row:?} below", id[0]))?;
        }
        Ok(())
    }

    fn is_hit(&self, id: &[u8; 1]) -> bool {
        matches!(self.cache.index().lookup(key(id), self.now), crate::Lookup::Hit(_))
    }
}

fn play(shape: u8, steps: &[Step], broken: Option<Mutation>) -> Result<(), String> {
    let mut world = World::new(shape, broken);
    for step in steps {
        world.step(*step)?;
    }
    world.finish()
}

type Failure = TestError<(u8, Vec<Step>)>;

/// Plays random histories until one fails. The whole run follows from one printed seed.
fn search(n_cases: u64, broken: Option<Mutation>) -> Result<(), (u64, Box<Failure>)> {
    let seed = variable("MILLPOND_BLOB_CACHE_SEED", 0x706f_6e64);
    let config = Config {
        cases: u32::try_from(variable("MILLPOND_BLOB_CACHE_CASES", n_cases)).unwrap(),
        failure_persistence: None,
        max_shrink_iters: if broken.is_some() { 0 } else { 20_000 },
        ..Config::default()
    };
    let step = (0..30_u8, any::<u16>(), any::<u16>()).prop_map(|(kind, pick, amount)| Step {
        kind,
        pick,
        amount,
    });
    let history = (0..8_u8, prop::collection::vec(step, 0..STEPS_MAX));
    let state = (u128::from(seed) << 64 | 1).to_le_bytes();
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &state);
    println!("layered histories: seed={seed} cases={} broken={broken:?}", config.cases);
    TestRunner::new_with_rng(config, rng)
        .run(&history, |(shape, steps)| play(shape, &steps, broken).map_err(TestCaseError::fail))
        .map_err(|error| (seed, Box::new(error)))
}

#[test]
fn layered_histories_keep_their_promises() {
    if let Err((seed, error)) = search(10_000, None) {
        panic!(
            "{error}\nreplay: MILLPOND_BLOB_CACHE_SEED={seed} cargo test -p millpond-blob-cache layered_histories"
        );
    }
}

#[test]
fn every_rule_of_the_cache_is_missed() {
    for broken in Mutation::CACHE {
        let why = match catch_unwind(AssertUnwindSafe(|| search(3_000, Some(broken)))) {
            Ok(Ok(())) => None,
            Ok(Err((_, error))) => match *error {
                TestError::Fail(why, (_, steps)) => {
                    Some(format!("{why} (history of {} steps)", steps.len()))
                }
                error => panic!("{error}"),
            },
            Err(_) => Some("an invariant of the code".to_owned()),
        };
        println!("{broken:?}: {why:?}");
        assert!(why.is_some(), "{broken:?} went unnoticed: the histories are too weak");
    }
}
