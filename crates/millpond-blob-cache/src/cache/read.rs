//! Reading, loading, and what becomes of what was read.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use millpond_promotion::Scheduled;
use millpond_types::UnixMillis;

use super::flight::{Flight, Followed, Follower, Leader, Outcome};
use super::promote::Promotion;
use super::{BlobCache, Shared};
use crate::index::{Arrival, Core};
use crate::row::Row;
use crate::rules::Mutation;
use crate::{Blob, CacheError, Committed, Key, Ticket};

/// What a row below says at some moment.
enum Below {
    Value(Row),
    Absent,
    /// It is expired or invalidated.
    Stale,
}

impl BlobCache {
    /// The value of `key`, unless there is none, it has expired at `now`, or it was invalidated.
    ///
    /// A value that is not in memory is read from the store, once for all that ask for it at the same time. If its key
    /// was asked for lately, it becomes resident on the way, or soon after by the pool.
    ///
    /// # Errors
    ///
    /// `Store` if the read failed, `Corrupt` if the row is damaged: for everybody who waited for the same read. The next
    /// call reads anew.
    pub async fn get(&self, key: Key<'_>, now: UnixMillis) -> Result<Option<Blob>, CacheError> {
        let shared = &*self.shared;
        loop {
            match Core::join(shared.core(), key, now, || Flight::new(false)) {
                Arrival::Hit(blob) => return Ok(Some(blob)),
                Arrival::Lead(ticket, flight) => {
                    return shared.lead(Leader::new(flight, ticket), key, now).await;
                }
                Arrival::Follow(flight, place) if !flight.loads => {
                    match Follower::new(flight.clone()).await {
                        Followed::Done(outcome) => {
                            shared.counters.joined.add();
                            return Ok(outcome?
                                .filter(|row| shared.holds(key, row, now))
                                .map(|row| row.blob));
                        }
                        Followed::Lead(ticket) => {
                            return shared.lead(Leader::new(flight, ticket), key, now).await;
                        }
                        Followed::Gone => {
                            if shared.core().forget(key, place) {
                                return shared.read_alone(key, now).await;
                            }
                        }
                    }
                }
                Arrival::Follow(..) | Arrival::Alone => return shared.read_alone(key, now).await,
            }
        }
    }

    /// The value of `key`; if there is none, the one that `load` brings, which is stored and then returned to everybody
    /// who asked meanwhile. Of concurrent calls one loads; if its future is dropped, or panics, another one loads.
    ///
    /// A loader that brings `None` stores nothing. It must bring the value of `key`: nobody can check that. What it
    /// brings after the key was put or removed is returned to those who waited, and not stored. While somebody else writes
    /// the key, nothing is shared and nothing that was loaded is stored.
    ///
    /// # Errors
    ///
    /// `Load` if the loader failed, for everybody who waited for it; nothing is left of it. `Limit` if what it brings is
    /// too large. `Store` if the value could not be stored or read, `Corrupt` if there is a damaged row: loading
    /// does not heal it.
    pub async fn get_or_load<L, F, E>(
        &self,
        key: Key<'_>,
        now: UnixMillis,
        load: L,
    ) -> Result<Option<Blob>, CacheError>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Blob>, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let shared = &*self.shared;
        loop {
            let (flight, place) = match Core::join(shared.core(), key, now, || Flight::new(true)) {
                Arrival::Hit(blob) => return Ok(Some(blob)),
                Arrival::Lead(ticket, flight) => {
                    let leader = Leader::new(flight, ticket);
                    return self.lead_load(leader, key, now, load).await;
                }
                Arrival::Follow(flight, place) => (flight, place),
                Arrival::Alone => return shared.load_alone(key, now, load).await,
            };
            match Follower::new(flight.clone()).await {
                Followed::Done(Ok(Some(row))) if shared.holds(key, &row, now) => {
                    shared.counters.joined.add();
                    return Ok(Some(row.blob));
                }
                Followed::Done(Ok(None)) if flight.loads => {
                    shared.counters.joined.add();
                    return Ok(None);
                }
                Followed::Done(Err(error)) => return Err(error),
                Followed::Lead(ticket) => {
                    let leader = Leader::new(flight, ticket);
                    return self.lead_load(leader, key, now, load).await;
                }
                // It was a plain read that found nothing, or what it found does not hold any more.
                Followed::Done(Ok(_)) | Followed::Gone => {
                    if shared.core().forget(key, place) {
                        return shared.load_alone(key, now, load).await;
                    }
                }
            }
        }
    }

    async fn lead_load<L, F, E>(
        &self,
        leader: Leader,
        key: Key<'_>,
        now: UnixMillis,
        load: L,
    ) -> Result<Option<Blob>, CacheError>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Blob>, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let shared = &*self.shared;
        match shared.read(key, now).await {
            Ok(Below::Absent | Below::Stale) => {}
            read => return shared.settle(leader, key, now, read),
        }
        match shared.load(load).await {
            Ok(Some(blob)) => self.store_loaded(leader, key, blob, now).await,
            outcome => {
                drop(leader.resolve(outcome.clone().map(|_| None)));
                outcome
            }
        }
    }
}

impl Shared {
    async fn lead(
        &self,
        leader: Leader,
        key: Key<'_>,
        now: UnixMillis,
    ) -> Result<Option<Blob>, CacheError> {
        let read = self.read(key, now).await;
        self.settle(leader, key, now, read)
    }

    /// Answers everybody, and then does what the ticket is for.
    fn settle(
        &self,
        leader: Leader,
        key: Key<'_>,
        now: UnixMillis,
        read: Result<Below, CacheError>,
    ) -> Result<Option<Blob>, CacheError> {
        let (outcome, is_stale): (Outcome, bool) = match read {
            Ok(Below::Value(row)) => (Ok(Some(row)), false),
            Ok(Below::Absent) => (Ok(None), false),
            Ok(Below::Stale) => (Ok(None), true),
            Err(error) => (Err(error), false),
        };
        let Some(mut ticket) = leader.resolve(outcome.clone()) else {
            unreachable!("a leader that reads has its ticket");
        };
        let row = outcome?;
        match &row {
            Some(row) if ticket.is_admitted() => {
                ticket.read_under(row.stamp);
                self.promote(ticket, row.blob.clone(), now);
            }
            None if is_stale => self.sweep(ticket, key),
            _ => drop(ticket),
        }
        Ok(row.map(|row| row.blob))
    }

    /// Installs what was read: here if that is cheap, else in the pool.
    fn promote(&self, ticket: Ticket, blob: Blob, now: UnixMillis) {
        let (ticket, blob) = if blob.value.len() <= self.options.inline_bytes_max {
            match ticket.try_commit(blob, now) {
                Ok(committed) => return self.counters.inline(committed),
                Err(given_back) => given_back,
            }
        } else {
            (ticket, blob)
        };
        let Some(pool) = &self.pool else {
            return self.counters.inline(ticket.commit(blob, now));
        };
        // Asked here, so that the pool holds nothing that will be refused.
        if !ticket.admits(&blob) {
            return self.counters.inline(Committed::TooSeldom);
        }
        match pool.schedule(Promotion { ticket, blob, now }) {
            Scheduled::Queued => self.counters.pooled.add(),
            Scheduled::QueuedEvicting(victim) => {
                self.counters.pooled.add();
                drop(victim);
            }
            Scheduled::Rejected { request, .. } => {
                self.counters.pool_refused.add();
                drop(request);
            }
        }
    }

    /// A read that nobody shares and that promotes nothing: the key is being written.
    async fn read_alone(&self, key: Key<'_>, now: UnixMillis) -> Result<Option<Blob>, CacheError> {
        self.settle_orphans();
        match self.read(key, now).await? {
            Below::Value(row) => Ok(Some(row.blob)),
            Below::Absent | Below::Stale => Ok(None),
        }
    }

    async fn read(&self, key: Key<'_>, now: UnixMillis) -> Result<Below, CacheError> {
        self.counters.reads.add();
        let below = self.read_row(key).await.inspect_err(|_| self.counters.read_errors.add())?;
        let Some(row) = below else { return Ok(Below::Absent) };
        if self.holds(key, &row, now) {
            self.counters.read_hits.add();
            return Ok(Below::Value(row));
        }
        self.counters.read_stale.add();
        Ok(Below::Stale)
    }

    async fn read_row(&self, key: Key<'_>) -> Result<Option<Row>, CacheError> {
        let row_key = self.rows.value_key(key);
        let bytes = match self.store.try_get(self.options.table, &row_key) {
            Err(error) if error.would_block() => {
                self.store.get(self.options.table, &row_key).await?
            }
            read => read?,
        };
        let is_checked = !self.core().rules.lacks(Mutation::ChecksumUnasked);
        bytes.map(|bytes| Row::decode(&row_key, bytes, is_checked)).transpose()
    }

    fn holds(&self, key: Key<'_>, row: &Row, now: UnixMillis) -> bool {
        let holds = self.core().holds(&key.encode(), &row.blob, row.stamp)
            || self.core().rules.lacks(Mutation::RowUnasked);
        holds && !row.blob.meta.is_expired(now)
    }

    async fn load_alone<L, F, E>(
        &self,
        key: Key<'_>,
        now: UnixMillis,
        load: L,
    ) -> Result<Option<Blob>, CacheError>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Blob>, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        match self.read_alone(key, now).await? {
            Some(blob) => Ok(Some(blob)),
            None => self.load(load).await,
        }
    }

    async fn load<L, F, E>(&self, load: L) -> Result<Option<Blob>, CacheError>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Blob>, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.counters.loads.add();
        let loaded = load().await.map_err(|error| {
            self.counters.load_errors.add();
            CacheError::Load(Arc::from(error.into()))
        })?;
        if let Some(blob) = &loaded {
            blob.check()?;
        }
        Ok(loaded)
    }
}
