//! The cases tell a cache that keeps its promise from one that does not.

use std::cell::RefCell;
use std::collections::HashMap;

use bytes::Bytes;

use super::{CASES, Case, Round, rounds};
use crate::Outcome;
use crate::cache::{Cache, Key, Load, LoadFailed, Support};

/// A map, and loads that are installed whatever has happened meanwhile. With `IS_CAREFUL`, every write makes the
/// loads before it stale.
#[derive(Default)]
struct Map<const IS_CAREFUL: bool> {
    values: RefCell<HashMap<Key, Bytes>>,
    n_writes: RefCell<u64>,
    /// A promotion that is held, and the number of writes when its value was read.
    promotion: RefCell<Option<(Key, Bytes, u64)>>,
}

impl<const IS_CAREFUL: bool> Map<IS_CAREFUL> {
    fn install(&self, key: Key, value: Bytes, n_writes: u64) {
        if !IS_CAREFUL || n_writes == *self.n_writes.borrow() {
            self.values.borrow_mut().insert(key, value);
        }
    }
}

impl<const IS_CAREFUL: bool> Cache for Map<IS_CAREFUL> {
    const NAME: &'static str = "map";

    fn new() -> Self {
        Self::default()
    }

    async fn get(&self, key: Key) -> Option<Bytes> {
        self.values.borrow().get(&key).cloned()
    }

    async fn insert(&self, key: Key, value: Bytes) {
        *self.n_writes.borrow_mut() += 1;
        self.values.borrow_mut().insert(key, value);
    }

    async fn remove(&self, key: Key) {
        *self.n_writes.borrow_mut() += 1;
        self.values.borrow_mut().remove(&key);
    }

    async fn get_or_load(&self, key: Key, load: Load) -> Result<Bytes, LoadFailed> {
        if let Some(value) = self.get(key).await {
            return Ok(value);
        }
        let n_writes = *self.n_writes.borrow();
        let value = load.await?;
        self.install(key, value.clone(), n_writes);
        Ok(value)
    }

    async fn clear(&self) -> Support {
        *self.n_writes.borrow_mut() += 1;
        self.values.borrow_mut().clear();
        Support::Done
    }

    async fn hold_promotion(&self, key: Key, value: Bytes) -> Outcome<Support> {
        self.promotion.replace(Some((key, value, *self.n_writes.borrow())));
        Ok(Support::Done)
    }

    async fn end_promotion(&self) -> Outcome<()> {
        let (key, value, n_writes) = self.promotion.take().ok_or("nothing is held")?;
        self.install(key, value, n_writes);
        Ok(())
    }
}

/// Has no room.
struct Nothing;

impl Cache for Nothing {
    const NAME: &'static str = "nothing";

    fn new() -> Self {
        Self
    }

    async fn get(&self, _key: Key) -> Option<Bytes> {
        None
    }

    async fn insert(&self, _key: Key, _value: Bytes) {}

    async fn remove(&self, _key: Key) {}

    async fn get_or_load(&self, _key: Key, load: Load) -> Result<Bytes, LoadFailed> {
        load.await
    }
}

fn rounds_of<C: Cache>(case: Case) -> Outcome<(Round, Option<u64>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(rounds::<C>(case, 3))
}

/// A map has neither.
fn is_lacking(name: &str) -> bool {
    name.contains("tag") || name.contains("namespace")
}

#[test]
fn a_careful_map_holds_wherever_it_has_the_operation() {
    for (name, case) in CASES {
        let ended = rounds_of::<Map<true>>(case).expect(name);
        let expected = if is_lacking(name) { Round::NoSuchOperation } else { Round::Holds };
        assert_eq!(ended, (expected, None), "{name}");
    }
}

#[test]
fn a_careless_map_is_stale_in_the_first_round() {
    for (name, case) in CASES {
        // A load that fails installs nothing, and the new value stays if its load ends last.
        let holds = name.contains("failing") || name.contains("old ends first");
        if !holds && !is_lacking(name) {
            let ended = rounds_of::<Map<false>>(case).expect(name);
            assert_eq!(ended, (Round::Stale, Some(1)), "{name}");
        }
    }
}

#[test]
fn a_cache_that_keeps_nothing_is_not_said_to_hold() {
    let error = rounds_of::<Nothing>(CASES[0].1).expect_err("it keeps nothing");
    assert!(error.to_string().contains("does not keep"), "{error}");
}
