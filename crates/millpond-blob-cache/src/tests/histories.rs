//! Histories of the index against a map: nothing that it returns is older than the last finished write.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use millpond_types::UnixMillis;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use super::{variable, with};
use crate::generations::Stamp;
use crate::index::{Core, WriteTicket};
use crate::rules::{Mutation, Rules};
use crate::{
    Admission, Blob, Committed, ENTRY_OVERHEAD_BYTES, Index, IndexOptions, Key, Lookup, Meta, Miss,
    Scope, Ticket,
};

const BYTES_MAX: usize = 3_000;
const GHOSTS_MAX: usize = 8;
const N_KEYS: u8 = 12;
const TAGS: [&str; 2] = ["red", "blue"];
const NAMESPACES: [&str; 2] = ["one", "two"];
const STEPS_MAX: usize = 150;

#[derive(Debug, Clone, Copy)]
struct Step {
    kind: u8,
    pick: u16,
    amount: u16,
}

/// What is below: the last value of the key, and what it was stamped with.
#[derive(Debug, Clone)]
struct Truth {
    blob: Blob,
    stamp: Stamp,
    is_invalid: bool,
}

/// A ticket with what was read for it.
struct Out {
    key: u8,
    ticket: Ticket,
    read: Option<Blob>,
    /// Whether the key was replaced since.
    is_stale: bool,
    /// Whether what was read was invalidated since.
    is_invalid: bool,
}

struct Writer {
    key: u8,
    key_bytes: usize,
    write: WriteTicket,
    blob: Option<Blob>,
    stamp: Stamp,
}

struct World {
    index: Index,
    admission: Admission,
    now: UnixMillis,
    n_values: u64,
    below: BTreeMap<u8, Truth>,
    out: Vec<Out>,
    writers: Vec<Writer>,
    /// Keys that are being written, of which one write has failed.
    doubtful: BTreeSet<u8>,
    /// Numbers of invalidations that are on their way.
    unpublished: Vec<u64>,
}

fn check(holds: bool, why: impl Fn() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn id(key: u8) -> [u8; 1] {
    [key]
}

impl World {
    fn new(n_shards: usize, rules: Rules) -> Self {
        let options = IndexOptions {
            bytes_max: BYTES_MAX,
            n_shards,
            ghosts_max: GHOSTS_MAX,
            admission: if n_shards == 1 { Admission::SecondHit } else { Admission::BySize },
            hash_seed: 7,
        };
        Self {
            admission: options.admission,
            index: Index::with_rules(options, rules).unwrap(),
            now: UnixMillis(0),
            n_values: 0,
            below: BTreeMap::new(),
            out: Vec::new(),
            writers: Vec::new(),
            doubtful: BTreeSet::new(),
            unpublished: Vec::new(),
        }
    }

    fn blob(&mut self, step: Step) -> Blob {
        self.n_values += 1;
        let n_bytes = match step.amount % 16 {
            0 => BYTES_MAX + 1,
            1..4 => 700,
            n => 8 + usize::from(n) * 10,
        };
        let mut value = self.n_values.to_be_bytes().to_vec();
        value.resize(n_bytes, 0);
        let mut meta = Meta::new();
        if step.amount & 0x100 != 0 {
            meta = meta.tagged(TAGS[usize::from(step.amount >> 9) % 2]).unwrap();
        }
        if step.amount & 0x400 != 0 {
            meta = meta.expiring_at(self.now.plus(u64::from(step.amount >> 12)));
        }
        Blob::with_meta(value, meta)
    }

    /// What a hit may return: the value below, if it holds.
    fn expected(&self, key: u8) -> Option<Blob> {
        let truth = self.below.get(&key)?;
        let holds = !truth.is_invalid && !truth.blob.meta.is_expired(self.now);
        holds.then(|| truth.blob.clone())
    }

    fn is_written(&self, key: u8) -> bool {
        self.writers.iter().any(|writer| writer.key == key)
    }

    fn end_tickets(&mut self, key: u8) {
        for out in self.out.iter_mut().filter(|out| out.key == key) {
            out.is_stale = true;
        }
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let number = u8::try_from(step.pick % u16::from(N_KEYS)).unwrap();
        let id = id(number);
        let key = Key::new(NAMESPACES[usize::from(number % 2)], &id).unwrap();
        match step.kind {
            0..8 => self.lookup(number, key)?,
            8..12 => self.commit(step)?,
            12 => drop(self.take_out(step)),
            13..15 => self.put(number, key, step)?,
            15 => {
                self.index.remove(key);
                self.forget(number);
            }
            16 => self.invalidate(step),
            17 => self.now = self.now.plus(u64::from(step.amount % 4)),
            18 | 19 => self.begin_write(number, key, step),
            20..22 => self.end_write(step)?,
            22 => self.unpublished.push(self.index.core.generations.allocate()),
            _ => self.publish(step),
        }
        Ok(())
    }

    fn forget(&mut self, key: u8) {
        if self.is_written(key) {
            self.doubtful.insert(key);
        }
        self.below.remove(&key);
        self.end_tickets(key);
    }

    fn lookup(&mut self, number: u8, key: Key<'_>) -> Result<(), String> {
        let has_ticket = self.out.iter().any(|out| out.key == number && !out.is_stale);
        match self.index.lookup(key, self.now) {
            Lookup::Hit(blob) => {
                let expected = self.expected(number);
                check(Some(&blob) == expected.as_ref(), || {
                    let number_of = |blob: &Blob| blob.value.first_chunk::<8>().copied();
                    let (found, expected) = (number_of(&blob), expected.as_ref().map(number_of));
                    format!("key {number}: {found:?} found, {expected:?} expected")
                })?;
                check(!self.is_written(number), || format!("key {number}: a hit amid a write"))
            }
            Lookup::Miss(Miss::Promote(mut ticket)) => {
                if let Some(truth) = self.below.get(&number) {
                    ticket.read_under(truth.stamp);
                }
                check(!has_ticket, || format!("key {number}: two tickets"))?;
                check(!self.is_written(number), || format!("key {number}: a ticket amid a write"))?;
                let read = self.expected(number);
                self.out.push(Out {
                    key: number,
                    ticket,
                    read,
                    is_stale: false,
                    is_invalid: false,
                });
                Ok(())
            }
            Lookup::Miss(Miss::NotYet) => Ok(()),
        }
    }

    fn take_out(&mut self, step: Step) -> Option<Out> {
        if self.out.is_empty() {
            return None;
        }
        let at = usize::from(step.pick) % self.out.len();
        Some(self.out.swap_remove(at))
    }

    fn commit(&mut self, step: Step) -> Result<(), String> {
        let Some(out) = self.take_out(step) else { return Ok(()) };
        // Absent below: there is nothing to commit, and the ticket is given back.
        let Some(blob) = out.read else { return Ok(()) };
        let has_newer = out.is_stale || out.is_invalid;
        let committed = match step.amount & 1 {
            0 => out.ticket.commit(blob.clone(), self.now),
            _ => match out.ticket.try_commit(blob.clone(), self.now) {
                Ok(committed) => committed,
                Err((ticket, blob)) => ticket.commit(blob, self.now),
            },
        };
        match committed {
            Committed::Installed => check(!has_newer, || "a stale ticket installed".to_owned()),
            Committed::TooLarge => {
                check(blob.value.len() > BYTES_MAX, || "it is not too large".to_owned())
            }
            Committed::NoRoom => Err("there is always room when nobody installs".to_owned()),
            Committed::TooSeldom => {
                check(!has_newer, || "a stale ticket is too early".to_owned())?;
                check(self.admission == Admission::BySize, || "the size is asked".to_owned())?;
                self.is_seen(out.key)
            }
            Committed::Stale | Committed::AlreadyResident => {
                check(has_newer, || format!("a good ticket is {committed:?}"))
            }
        }
    }

    /// The next miss of a key that has no slot schedules.
    fn is_seen(&self, number: u8) -> Result<(), String> {
        let id = id(number);
        let key = Key::new(NAMESPACES[usize::from(number % 2)], &id).unwrap();
        let found = self.index.lookup(key, self.now);
        check(matches!(found, Lookup::Miss(Miss::Promote(_))), || {
            format!("key {number}: a ticket that was given back schedules nothing")
        })
    }

    fn put(&mut self, number: u8, key: Key<'_>, step: Step) -> Result<(), String> {
        let blob = self.blob(step);
        let is_expired = blob.meta.is_expired(self.now);
        let stamp = self.index.core.generations.stamp();
        let committed = self.index.put(key, blob.clone(), self.now);
        self.end_tickets(number);
        if self.is_written(number) {
            self.below.remove(&number);
            self.doubtful.insert(number);
            return Ok(());
        }
        self.below.insert(number, Truth { blob: blob.clone(), stamp, is_invalid: false });
        if committed == Committed::Installed && !is_expired {
            let found = self.index.lookup(key, self.now);
            return check(matches!(found, Lookup::Hit(found) if found == blob), || {
                format!("key {number}: what was put is not there")
            });
        }
        Ok(())
    }

    fn invalidate(&mut self, step: Step) {
        match step.pick % 5 {
            0 => {
                self.index.invalidate(Scope::All);
                self.reach(None, |_, _| true);
            }
            n @ 1..3 => {
                let tag = TAGS[usize::from(n % 2)];
                self.index.invalidate(Scope::Tag(tag));
                self.reach(None, |_, blob| has_tag(blob, tag));
            }
            n => {
                let at = usize::from(n % 2);
                self.index.invalidate(Scope::Namespace(NAMESPACES[at]));
                self.reach(None, |key, _| usize::from(key % 2) == at);
            }
        }
    }

    /// Later numbers may come into force before earlier ones.
    fn publish(&mut self, step: Step) {
        if self.unpublished.is_empty() {
            return;
        }
        let at = usize::from(step.pick) % self.unpublished.len();
        let number = self.unpublished.swap_remove(at);
        let tag = TAGS[usize::from(step.amount % 2)];
        self.index.core.generations.publish(Scope::Tag(tag), number);
        self.reach(Some(number), |_, blob| has_tag(blob, tag));
    }

    /// What is stamped with `number` or a higher one was written meanwhile, and stays.
    fn reach(&mut self, number: Option<u64>, is_reached: impl Fn(u8, &Blob) -> bool) {
        let is_older = |stamp: Stamp| number.is_none_or(|number| stamp.0 < number);
        for (key, truth) in &mut self.below {
            truth.is_invalid |= is_older(truth.stamp) && is_reached(*key, &truth.blob);
        }
        for out in &mut self.out {
            let is_read = out.read.as_ref().is_some_and(|blob| is_reached(out.key, blob));
            out.is_invalid |= is_older(out.ticket.stamp()) && is_read;
        }
    }

    fn begin_write(&mut self, number: u8, key: Key<'_>, step: Step) {
        let blob = (step.kind == 18).then(|| self.blob(step));
        let stamp = self.index.core.generations.stamp();
        let write = Core::begin_write(&self.index.core, key);
        self.end_tickets(number);
        match &blob {
            Some(blob) => {
                let truth = Truth { blob: blob.clone(), stamp, is_invalid: false };
                self.below.insert(number, truth);
            }
            None => drop(self.below.remove(&number)),
        }
        let key_bytes = key.n_bytes();
        self.writers.push(Writer { key: number, key_bytes, write, blob, stamp });
    }

    fn end_write(&mut self, step: Step) -> Result<(), String> {
        if self.writers.is_empty() {
            return Ok(());
        }
        let at = usize::from(step.pick) % self.writers.len();
        let Writer { key, key_bytes, write, blob, stamp } = self.writers.remove(at);
        match blob {
            _ if step.amount.is_multiple_of(8) => {
                drop(write);
                self.doubtful.insert(key);
            }
            Some(blob) => drop(write.end_with(blob, stamp, key_bytes, self.now)),
            None => write.end_removed(),
        }
        if !self.is_written(key) && self.doubtful.remove(&key) {
            self.below.remove(&key);
        }
        Ok(())
    }

    fn audit(&self) -> Result<(), String> {
        let stats = self.index.stats();
        let residents = self.index.core.residents();
        let sum: usize = residents
            .iter()
            .map(|(key, blob, _)| key.len() + blob.n_bytes() + ENTRY_OVERHEAD_BYTES)
            .sum();
        check(stats.bytes == sum, || format!("{} bytes counted, {sum} resident", stats.bytes))?;
        check(sum <= BYTES_MAX, || format!("{sum} bytes resident"))?;
        check(stats.n_ghosts <= GHOSTS_MAX, || format!("{} ghosts", stats.n_ghosts))?;
        let n_out = self.out.iter().filter(|out| !out.is_stale).count();
        let written: BTreeSet<u8> = self.writers.iter().map(|writer| writer.key).collect();
        check(stats.n_pending == n_out + written.len(), || {
            format!("{} slots pending, {n_out} tickets, {} written", stats.n_pending, written.len())
        })
    }

    /// A ticket that is dropped leaves a key whose next miss schedules again.
    fn finish(mut self) -> Result<(), String> {
        while let Some(out) = self.out.pop() {
            if out.is_stale {
                continue;
            }
            let number = out.key;
            drop(out);
            self.is_seen(number)?;
        }
        self.audit()
    }
}

fn has_tag(blob: &Blob, tag: &str) -> bool {
    blob.meta.tags().iter().any(|known| **known == *tag)
}

fn play(n_shards: usize, steps: &[Step], broken: Option<Mutation>) -> Result<(), String> {
    let mut world = World::new(n_shards, with(broken));
    for step in steps {
        world.step(*step).and_then(|()| world.audit())?;
    }
    world.finish()
}

type Failure = TestError<(usize, Vec<Step>)>;

/// Plays random histories until one fails. The whole run follows from one printed seed.
fn search(n_cases: u64, broken: Option<Mutation>) -> Result<(), (u64, Box<Failure>)> {
    let seed = variable("MILLPOND_BLOB_CACHE_SEED", 0x706f_6e64);
    let config = Config {
        cases: u32::try_from(variable("MILLPOND_BLOB_CACHE_CASES", n_cases)).unwrap(),
        failure_persistence: None,
        max_shrink_iters: if broken.is_some() { 0 } else { 20_000 },
        ..Config::default()
    };
    let step = (0..25_u8, any::<u16>(), any::<u16>()).prop_map(|(kind, pick, amount)| Step {
        kind,
        pick,
        amount,
    });
    let history = (1..5_usize, prop::collection::vec(step, 0..STEPS_MAX));
    let state = (u128::from(seed) << 64 | 1).to_le_bytes();
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &state);
    println!("histories: seed={seed} cases={} broken={broken:?}", config.cases);
    TestRunner::new_with_rng(config, rng)
        .run(&history, |(n_shards, steps)| {
            play(n_shards, &steps, broken).map_err(TestCaseError::fail)
        })
        .map_err(|error| (seed, Box::new(error)))
}

#[test]
fn histories_agree_with_the_map() {
    if let Err((seed, error)) = search(10_000, None) {
        panic!(
            "{error}\nreplay: MILLPOND_BLOB_CACHE_SEED={seed} cargo test -p millpond-blob-cache histories_agree"
        );
    }
}

#[test]
fn every_rule_of_the_index_is_missed() {
    for broken in Mutation::INDEX {
        let mut reasons = Vec::new();
        match catch_unwind(AssertUnwindSafe(|| search(1_000, Some(broken)))) {
            Ok(Ok(())) => {}
            Ok(Err((_, error))) => match *error {
                TestError::Fail(why, (_, steps)) => {
                    reasons.push(format!("{why} (history of {} steps)", steps.len()));
                }
                error => panic!("{error}"),
            },
            Err(_) => reasons.push("an invariant of the code".to_owned()),
        }
        for (name, property) in super::bounds::PROPERTIES {
            if let Err(why) = property(Some(broken)) {
                reasons.push(format!("{name}: {why}"));
            }
        }
        println!("{broken:?}: {}", reasons.join("; "));
        assert!(!reasons.is_empty(), "{broken:?} went unnoticed: the properties are too weak");
    }
}
