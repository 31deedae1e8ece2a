//! Invalidating by everything, namespace and tag, so that it holds below and after a restart.

use millpond_storage_api::{
    Durable, PartitionStore, ScanEnd, ScanRequest, StoreError, StoreErrorKind, Table, WriteBatch,
};
use millpond_types::LimitExceeded;

use super::write::{After, Underway};
use super::{BlobCache, Shared};
use crate::generations::{Generations, Scope};
use crate::key::NAME_BYTES_MAX;
use crate::row::{self, Rows};
use crate::rules::{Mutation, Rules};
use crate::{CacheError, OpenError};

/// Rows and bytes of one read at the opening.
const RECOVER_ROWS_MAX: usize = 1_024;
const RECOVER_BYTES_MAX: usize = 1 << 20;

/// An invalidation that is on its way.
pub(super) struct Announcement {
    scope: OwnedScope,
    number: u64,
}

enum OwnedScope {
    All,
    Namespace(Box<str>),
    Tag(Box<str>),
}

impl Announcement {
    /// Its commit has ended.
    pub(super) fn publish(&self, shared: &Shared, is_durable: bool) {
        let scope = match &self.scope {
            OwnedScope::All => Scope::All,
            OwnedScope::Namespace(name) => Scope::Namespace(name),
            OwnedScope::Tag(name) => Scope::Tag(name),
        };
        if is_durable {
            shared.generations().publish(scope, self.number);
        } else {
            shared.generations().publish_in_doubt(scope, self.number);
        }
    }
}

impl BlobCache {
    /// Makes every value in `scope` a miss, durably, in memory and below. It takes the same time however many they are;
    /// their rows are deleted as they are found, or at once if the scope is everything and the store can do that
    /// cheaply. A name that nobody uses reaches nothing.
    ///
    /// When it has returned, no call returns a value that was put, or whose loader was called, before the call.
    /// What is put meanwhile may be reached by it.
    ///
    /// # Errors
    ///
    /// `Limit` if the name is too long, or too many names were invalidated since everything was: invalidate
    /// everything. `Store` if the commit failed: it is in force until the cache is opened again, and then perhaps.
    pub async fn invalidate(&self, scope: Scope<'_>) -> Result<Durable<()>, CacheError> {
        let shared = &*self.shared;
        shared.check(scope)?;
        shared.settle_orphans();
        let (outcome, after) = shared.announce(scope).ended().await;
        if let After::Announcement(announcement) = after {
            announcement.publish(shared, outcome.is_ok());
        }
        Ok(outcome?.map(drop))
    }
}

impl Shared {
    fn check(&self, scope: Scope<'_>) -> Result<(), LimitExceeded> {
        if let Scope::Namespace(name) | Scope::Tag(name) = scope {
            LimitExceeded::check("a name", name.len(), NAME_BYTES_MAX, "bytes")?;
        }
        if self.generations().knows(scope) {
            return Ok(());
        }
        let n_names = self.generations().n_names() + 1;
        LimitExceeded::check("the names invalidated", n_names, self.options.names_max, "names")
    }

    fn announce(&self, scope: Scope<'_>) -> Underway<'_> {
        let owned = match scope {
            Scope::All => OwnedScope::All,
            Scope::Namespace(name) => OwnedScope::Namespace(name.into()),
            Scope::Tag(name) => OwnedScope::Tag(name.into()),
        };
        let row_key = self.rows.generation_key(scope);
        let table = self.options.table;
        let mut batch = WriteBatch::new();
        let _order = self.numbering.lock();
        let number = self.generations().allocate();
        if scope == Scope::All {
            let [names, values] = self.rows.superseded();
            batch.delete_range(table, &names.0, &names.1);
            if self.store.capabilities().cheap_range_delete {
                batch.delete_range(table, &values.0, &values.1);
                // Nobody may find in memory what is already gone below.
                self.generations().publish_in_doubt(scope, number);
            }
        }
        batch.put(table, &row_key, &row::encode_generation(&row_key, number));
        let announcement = Announcement { scope: owned, number };
        Underway::new(self, self.store.submit(batch), After::Announcement(announcement))
    }
}

/// Reads what was invalidated before.
pub(super) async fn recover(
    store: &dyn PartitionStore,
    table: Table,
    rows: &Rows,
    generations: &Generations,
    rules: Rules,
) -> Result<(), OpenError> {
    let (mut lower, upper) = rows.generations();
    loop {
        let request = ScanRequest {
            table,
            lower,
            upper: Some(upper.clone()),
            rows_max: RECOVER_ROWS_MAX,
            bytes_max: RECOVER_BYTES_MAX,
            skip_max: u64::MAX,
        };
        let (found, end) = store.scan(request).await?;
        for (key, value) in found.iter() {
            let damaged =
                |error: CacheError| StoreError::new(StoreErrorKind::Corrupt, error.to_string());
            let scope = rows.scope(key).map_err(damaged)?;
            let number = row::decode_generation(key, value).map_err(damaged)?;
            if !rules.lacks(Mutation::GenerationsForgotten) {
                generations.publish(scope, number);
            }
        }
        match end {
            ScanEnd::Exhausted => return Ok(()),
            ScanEnd::Truncated { last } => {
                lower = last;
                lower.push(0);
            }
        }
    }
}
