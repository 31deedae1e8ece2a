//! Writing: below first, then in memory, in one order for both.

use millpond_storage_api::{CommitTicket, Durable, LogPosition, StoreError, WriteBatch};
use millpond_types::UnixMillis;

use super::flight::Leader;
use super::scopes::Announcement;
use super::{BlobCache, Shared};
use crate::generations::Stamp;
use crate::index::{Core, WriteTicket};
use crate::row::Row;
use crate::rules::Mutation;
use crate::{Blob, CacheError, Key, Ticket};

/// With so many commits under way for which nobody waits, no row is deleted for being out of date.
const SWEEPS_MAX: usize = 1_024;

/// A commit whose caller has gone, with what has to be done when it has ended.
pub(super) struct Orphan {
    pub(super) commit: CommitTicket,
    pub(super) after: After,
}

/// What the end of a commit is for.
pub(super) enum After {
    Write(WriteTicket),
    Announcement(Announcement),
}

/// A commit that is waited for. If its future is dropped it becomes an orphan: what it is for waits for its end.
pub(super) struct Underway<'a> {
    shared: &'a Shared,
    orphan: Option<Orphan>,
}

impl<'a> Underway<'a> {
    pub(super) fn new(shared: &'a Shared, commit: CommitTicket, after: After) -> Self {
        Self { shared, orphan: Some(Orphan { commit, after }) }
    }

    /// Waits for the end of the commit.
    pub(super) async fn ended(mut self) -> (Result<Durable<LogPosition>, StoreError>, After) {
        let orphan = self.orphan.as_mut().expect("it is taken below");
        let outcome = (&mut orphan.commit).await;
        let Orphan { after, .. } = self.orphan.take().expect("it was there a line ago");
        (outcome, after)
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let Some(orphan) = self.orphan.take() else { return };
        if !self.shared.core().rules.lacks(Mutation::CancelEndsWrite) {
            self.shared.adopt(orphan);
        }
    }
}

impl BlobCache {
    /// Stores `blob` as the value of `key`, durably, and makes it resident.
    ///
    /// When it has returned, no call returns an older value. Until then a reader gets the old or the new one, never the
    /// old one after the new one. Of concurrent calls for one key the same one wins in memory and below.
    ///
    /// # Errors
    ///
    /// `Limit` if the value is too large; nothing was changed. `Store` if the commit failed: whether it took effect shows
    /// when the store is opened again, and the key has no value in memory.
    pub async fn put(
        &self,
        key: Key<'_>,
        blob: Blob,
        now: UnixMillis,
    ) -> Result<Durable<()>, CacheError> {
        blob.check()?;
        let shared = &*self.shared;
        shared.settle_orphans();
        // Before the row is written, so that it knows of no invalidation that comes after it.
        let row = Row { blob, stamp: shared.generations().stamp() };
        let batch = shared.batch(key, Some(&row));
        let underway = shared.submit(key, batch);
        let (outcome, after) = underway.ended().await;
        // Without a commit, dropping `after` says that the write has failed.
        let durable = outcome?;
        let Row { blob, stamp } = row;
        shared.install(after, key, blob, stamp, now);
        Ok(durable.map(drop))
    }

    /// Removes the value of `key`, durably. It is no error if there is none.
    ///
    /// When it has returned, no call returns the value; see [`put`](Self::put).
    ///
    /// # Errors
    ///
    /// `Store` if the commit failed, as in `put`.
    pub async fn remove(&self, key: Key<'_>) -> Result<Durable<()>, CacheError> {
        let shared = &*self.shared;
        shared.settle_orphans();
        let underway = shared.submit(key, shared.batch(key, None));
        let (outcome, after) = underway.ended().await;
        let durable = outcome?;
        if let After::Write(write) = after {
            write.end_removed();
        }
        Ok(durable.map(drop))
    }

    /// Stores what was loaded, unless the key was written meanwhile, and answers everybody.
    pub(super) async fn store_loaded(
        &self,
        mut leader: Leader,
        key: Key<'_>,
        blob: Blob,
        now: UnixMillis,
    ) -> Result<Option<Blob>, CacheError> {
        let shared = &*self.shared;
        let stamp = leader.ticket().stamp();
        let is_admitted = leader.ticket().is_admitted() && leader.ticket().admits(&blob);
        let row = Row { blob: blob.clone(), stamp };
        let batch = shared.batch(key, Some(&row));
        let ticket = leader.give_ticket(row.clone());
        let Some(underway) = shared.submit_for(ticket, key, batch, true) else {
            // Somebody knows better what the value is. It is still what was loaded.
            drop(leader.resolve(Ok(Some(row))));
            return Ok(Some(blob));
        };
        let (outcome, after) = underway.ended().await;
        if let Err(error) = outcome {
            drop(after);
            drop(leader.resolve(Err(error.clone().into())));
            return Err(error.into());
        }
        match after {
            After::Write(write) if !is_admitted => write.end_removed(),
            after => shared.install(after, key, blob.clone(), stamp, now),
        }
        drop(leader.resolve(Ok(Some(row))));
        Ok(Some(blob))
    }
}

impl Shared {
    fn batch(&self, key: Key<'_>, row: Option<&Row>) -> WriteBatch {
        let row_key = self.rows.value_key(key);
        let mut batch = WriteBatch::new();
        match row {
            Some(row) => batch.put(self.options.table, &row_key, &row.encode(&row_key)),
            None => batch.delete(self.options.table, &row_key),
        }
        batch
    }

    /// Submits a write of the key.
    fn submit(&self, key: Key<'_>, batch: WriteBatch) -> Underway<'_> {
        let _order = self.stripes[self.core().stripe(key, self.stripes.len())].lock();
        let write = Core::begin_write(self.core(), key);
        Underway::new(self, self.store.submit(batch), After::Write(write))
    }

    /// Submits a write of the key, if nothing has ended the ticket.
    fn submit_for(
        &self,
        ticket: Ticket,
        key: Key<'_>,
        batch: WriteBatch,
        keeps_flight: bool,
    ) -> Option<Underway<'_>> {
        let _order = self.stripes[self.core().stripe(key, self.stripes.len())].lock();
        let write = ticket.into_write(keeps_flight)?;
        Some(Underway::new(self, self.store.submit(batch), After::Write(write)))
    }

    fn install(&self, after: After, key: Key<'_>, blob: Blob, stamp: Stamp, now: UnixMillis) {
        let After::Write(write) = after else { unreachable!("the commit was one of a write") };
        write.end_with(blob, stamp, key.n_bytes(), now);
    }

    /// Deletes a row that is out of date, unless the key was written since it was read, or too much of that is under
    /// way. Nobody waits for it.
    pub(super) fn sweep(&self, ticket: Ticket, key: Key<'_>) {
        if self.orphans.lock().len() < SWEEPS_MAX {
            drop(self.submit_for(ticket, key, self.batch(key, None), false));
        }
    }

    /// Takes over a commit whose caller is gone.
    fn adopt(&self, orphan: Orphan) {
        self.orphans.lock().push(orphan);
        self.settle_orphans();
    }

    /// Does what is due for commits that have ended since.
    pub(super) fn settle_orphans(&self) {
        let mut ended = Vec::new();
        {
            let mut orphans = self.orphans.lock();
            let mut at = 0;
            while let Some(orphan) = orphans.get_mut(at) {
                match orphan.commit.try_outcome() {
                    None => at += 1,
                    Some(outcome) => {
                        let Orphan { after, .. } = orphans.swap_remove(at);
                        ended.push((outcome, after));
                    }
                }
            }
        }
        for (outcome, after) in ended {
            match after {
                // What is resident now is not worth the question whether the value is still wanted.
                After::Write(write) => drop(write),
                After::Announcement(announcement) => announcement.publish(self, outcome.is_ok()),
            }
        }
    }
}
