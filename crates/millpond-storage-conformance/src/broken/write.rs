//! What becomes of a submitted batch.

use std::sync::Arc;

use millpond_storage_api::{
    CommitPromise, CommitTicket, Epoch, LogPosition, LogRecord, Op, PartitionStore, StoreError,
    StoreErrorKind, Table, WriteBatch,
};

use super::{Defect, Lab, Outcome};
use crate::fixture::TABLES;

pub(super) fn resolve(promise: CommitPromise, outcome: Outcome) {
    match outcome {
        Ok(position) => promise.durable(position),
        Err(error) => promise.failed(error),
    }
}

fn outcome(mut ticket: CommitTicket) -> Outcome {
    let outcome = ticket.try_outcome().expect("the store underneath never waits");
    outcome.map(millpond_storage_api::Durable::into_inner)
}

impl Lab {
    /// Writes what was acknowledged and is not written yet.
    pub(super) fn flush(&self) {
        let (stash, newest) = {
            let mut state = self.state.lock();
            (state.stash.take(), state.newest.clone())
        };
        if let (Some(stash), Some(newest)) = (stash, newest) {
            drop(newest.submit(stash));
        }
    }

    /// The process has ended: what it had not written is gone.
    pub(super) fn forget(&self) {
        let (stash, held) = {
            let mut state = self.state.lock();
            state.buffered = LogPosition(0);
            (state.stash.take(), std::mem::take(&mut state.held))
        };
        // Whoever is told of a failure may use the store.
        drop((stash, held));
    }

    pub(super) fn fail_held(&self, error: &StoreError) {
        let held = std::mem::take(&mut self.state.lock().held);
        held.into_iter().for_each(|(promise, _)| promise.failed(error.clone()));
    }

    pub(super) fn write(
        &self,
        inner: &Arc<dyn PartitionStore>,
        epoch: Epoch,
        batch: WriteBatch,
    ) -> Outcome {
        let n_submits = {
            let mut state = self.state.lock();
            state.used_epoch = epoch;
            state.n_submits += 1;
            state.n_submits
        };
        let next = inner.durable_position().next();
        match self.defect {
            Defect::AcknowledgesEarly | Defect::LosesOnClose => {
                self.flush();
                let next = inner.durable_position().next();
                self.state.lock().stash = Some(batch);
                return Ok(next);
            }
            Defect::LosesUnwaited => {
                self.state.lock().stash = Some(batch);
                return Ok(next);
            }
            Defect::LosesFromTheMiddle if n_submits % 5 == 3 => {
                self.flush();
                self.state.lock().stash = Some(batch);
                return Ok(next);
            }
            Defect::TearsBatches => {
                self.flush();
                let (head, tail) = split(&batch);
                self.state.lock().stash = Some(tail);
                return outcome(inner.submit(head));
            }
            Defect::IgnoresEmptyBatches if batch.is_empty() => {
                return Ok(inner.durable_position());
            }
            Defect::FailsOnAbsentKeys if deletes_absent(&**inner, &batch) => {
                return Err(StoreError::new(StoreErrorKind::Io, "there is no such key"));
            }
            Defect::SplitsLargeBatches if batch.n_bytes() > 1 << 20 => {
                let (head, tail) = split(&batch);
                outcome(inner.submit(head))?;
                return outcome(inner.submit(tail));
            }
            _ => {}
        }
        let written = outcome(inner.submit(self.rewrite(&batch)));
        if let Ok(position) = written {
            self.state.lock().records.push(LogRecord { position, batch: batch.clone() });
        }
        self.cover_up(written, next, batch)
    }

    /// What the submitter is told.
    fn cover_up(&self, written: Outcome, next: LogPosition, batch: WriteBatch) -> Outcome {
        let Err(error) = &written else { return written };
        let first = !std::mem::replace(&mut self.state.lock().failed, true);
        let newest = self.state.lock().newest.clone();
        match self.defect {
            Defect::WritesFencedBatches if error.kind() == StoreErrorKind::Fenced => {
                newest.into_iter().for_each(|newest| drop(newest.submit(batch.clone())));
            }
            Defect::HidesFailure if first => return Ok(next),
            Defect::GoesOnAfterFailure if !first => return Ok(next),
            Defect::FailureTakesEarlierTickets => self.fail_held(error),
            _ => {}
        }
        written
    }

    /// The batch that is written instead.
    fn rewrite(&self, batch: &WriteBatch) -> WriteBatch {
        let mut ops: Vec<Op<'_>> = batch.ops().collect();
        let previous = std::mem::replace(&mut self.state.lock().previous, batch.clone());
        let mut out = WriteBatch::new();
        match self.defect {
            Defect::ReversesChanges => ops.reverse(),
            Defect::DeletesRangesLast => ops.sort_by_key(|op| matches!(op, Op::DeleteRange { .. })),
            Defect::IgnoresDeletes => ops.retain(|op| !matches!(op, Op::Delete { .. })),
            // Entries stay out of it: the store underneath would notice.
            Defect::ReplaysThePreviousBatch => ops.extend(previous.ops().filter(|op| {
                !matches!(op, Op::Put { table: Table::Entries, .. } | Op::SingleDelete { .. })
            })),
            _ => {}
        }
        for op in ops {
            push(&mut out, op);
            let Op::DeleteRange { table, lower, upper } = op else { continue };
            match self.defect {
                Defect::DeletesTheUpperBound => out.delete(table, upper),
                Defect::DeletesInvertedRanges => out.delete_range(table, upper, lower),
                Defect::DeletesRangesEverywhere => {
                    TABLES.iter().for_each(|&table| out.delete_range(table, lower, upper));
                }
                _ => {}
            }
        }
        out
    }
}

fn push(batch: &mut WriteBatch, op: Op<'_>) {
    match op {
        Op::Put { table, key, value } => batch.put(table, key, value),
        Op::Delete { table, key } => batch.delete(table, key),
        Op::SingleDelete { table, key } => batch.single_delete(table, key),
        Op::DeleteRange { table, lower, upper } => batch.delete_range(table, lower, upper),
    }
}

pub(super) fn split(batch: &WriteBatch) -> (WriteBatch, WriteBatch) {
    let (mut head, mut tail) = (WriteBatch::new(), WriteBatch::new());
    for (index, op) in batch.ops().enumerate() {
        push(if index < batch.len().div_ceil(2) { &mut head } else { &mut tail }, op);
    }
    (head, tail)
}

fn deletes_absent(inner: &dyn PartitionStore, batch: &WriteBatch) -> bool {
    batch.ops().any(|op| match op {
        Op::Delete { table, key } => inner.try_get(table, key) == Ok(None),
        _ => false,
    })
}
