//! What was invalidated, and when, in an order of its own.
//!
//! Every invalidation has a number, and every value carries the **stamp**: the highest number that was in force
//! when it was written, or read for a commit. A value is out of date if its namespace, one of its tags or
//! everything was invalidated by a number above its stamp. Nothing is walked when something is invalidated.
//!
//! Numbers come into force after they are durable, and not always in their order. So a stamp cannot say
//! whether *anything* has changed; the **version** can, and it is what a hit compares.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use millpond_sync::RwLock;
use millpond_sync::atomic::{AtomicU64, Ordering};

use crate::key::namespace_of;
use crate::rules::{Mutation, Rules};

/// What an invalidation reaches. Names that nobody uses are allowed and reach nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope<'a> {
    /// Every value.
    All,
    /// The values of a namespace.
    Namespace(&'a str),
    /// The values with a tag, whatever their namespace.
    Tag(&'a str),
}

/// The highest number in force at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Stamp(pub(crate) u64);

type Names = HashMap<Box<[u8]>, u64, FixedState>;

#[derive(Debug, Default)]
struct Table {
    /// Highest number given out.
    given: u64,
    /// Highest number in force.
    in_force: u64,
    all: u64,
    namespaces: Names,
    tags: Names,
}

#[derive(Debug)]
pub(crate) struct Generations {
    table: RwLock<Table>,
    version: AtomicU64,
    rules: Rules,
}

impl Generations {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { table: RwLock::new(Table::default()), version: AtomicU64::new(0), rules }
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp(self.table.read().in_force)
    }

    /// Changes with every invalidation that comes into force.
    pub(crate) fn version(&self) -> u64 {
        if self.rules.lacks(Mutation::AskedByStamp) {
            return self.stamp().0;
        }
        // Pairs with the release in `apply`: who sees the new version finds what made it.
        self.version.load(Ordering::Acquire)
    }

    /// Names that were invalidated; the memory of the table is in proportion.
    pub(crate) fn n_names(&self) -> usize {
        let table = self.table.read();
        table.namespaces.len() + table.tags.len()
    }

    /// A number above all that were given out.
    pub(crate) fn allocate(&self) -> u64 {
        let mut table = self.table.write();
        table.given += 1;
        table.given
    }

    /// Whether the name has a number already, so that another one takes no memory.
    pub(crate) fn knows(&self, scope: Scope<'_>) -> bool {
        let table = self.table.read();
        match scope {
            Scope::All => true,
            Scope::Namespace(name) => table.namespaces.contains_key(name.as_bytes()),
            Scope::Tag(name) => table.tags.contains_key(name.as_bytes()),
        }
    }

    /// `number` is durable, and in force from now on.
    pub(crate) fn publish(&self, scope: Scope<'_>, number: u64) {
        self.apply(scope, number, true);
    }

    /// Nobody knows whether `number` is durable. It holds here, but nothing is stamped with it, so that a
    /// number that is given out again after a restart cannot be one that a value carries.
    pub(crate) fn publish_in_doubt(&self, scope: Scope<'_>, number: u64) {
        self.apply(scope, number, false);
    }

    fn apply(&self, scope: Scope<'_>, number: u64, durable: bool) {
        let mut table = self.table.write();
        let raise = |names: &mut Names, name: &str| {
            let last = names.entry(name.as_bytes().into()).or_default();
            *last = number.max(*last);
        };
        match scope {
            Scope::All => {
                table.all = table.all.max(number);
                if durable {
                    table.namespaces.retain(|_, last| *last > number);
                    table.tags.retain(|_, last| *last > number);
                }
            }
            Scope::Namespace(name) => raise(&mut table.namespaces, name),
            Scope::Tag(name) => raise(&mut table.tags, name),
        }
        table.given = table.given.max(number);
        if durable {
            table.in_force = table.in_force.max(number);
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Whether nothing that concerns the value was invalidated above `stamp`.
    pub(crate) fn holds(&self, encoded_key: &[u8], tags: &[Box<str>], stamp: Stamp) -> bool {
        let table = self.table.read();
        let is_below = |last: Option<&u64>| last.is_none_or(|last| *last <= stamp.0);
        table.all <= stamp.0
            && is_below(table.namespaces.get(namespace_of(encoded_key)))
            && tags.iter().all(|tag| is_below(table.tags.get(tag.as_bytes())))
    }
}
