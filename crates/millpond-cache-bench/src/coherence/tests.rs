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
        if !IS_CAREFUL || n_writes == *self.n_writes.borrow() {
            self.values.borrow_mut().insert(key, value.clone());
        }
        Ok(value)
    }

    async fn clear(&self) -> Support {
        *self.n_writes.borrow_mut() += 1;
        self.values.borrow_mut().clear();
        Support::Done
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

#[test]
fn a_careful_map_holds_wherever_it_has_the_operation() {
    for (name, case) in CASES {
        let ended = rounds_of::<Map<true>>(case).expect(name);
        let lacks =
            name.starts_with("promotion") || name.contains("tag") || name.contains("namespace");
        let expected = if lacks { Round::NoSuchOperation } else { Round::Holds };
        assert_eq!(ended, (expected, None), "{name}");
    }
}

#[test]
fn a_careless_map_is_stale_in_the_first_round() {
    for (name, case) in CASES {
        // A map keeps what the second load has put in, if that one ends last.
        let holds = name.contains("failing") || name.contains("old ends first");
        let lacks =
            name.starts_with("promotion") || name.contains("tag") || name.contains("namespace");
        if !holds && !lacks {
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
