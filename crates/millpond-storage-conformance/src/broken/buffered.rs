//! What becomes of a batch that is only to be buffered.

use std::sync::Arc;

use millpond_storage_api::{
    Buffered, BufferedTicket, LogPosition, PartitionStore, StoreErrorKind, WriteBatch,
    buffered_ticket,
};

use super::write::split;
use super::{Defect, Lab, Outcome};

/// When a batch that was acknowledged and not written has to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Before a durable batch.
    Submit,
    Read,
    Checkpoint,
    Close,
}

impl Lab {
    /// Buffers with the defect. Gives the batch back if that is not about buffered batches.
    pub(super) fn buffer(
        &self,
        inner: &Arc<dyn PartitionStore>,
        batch: WriteBatch,
    ) -> Result<BufferedTicket, WriteBatch> {
        let outcome = match self.defect {
            Defect::WritesBufferedBatchesLast
            | Defect::HidesBufferedBatches
            | Defect::SyncsAroundBufferedBatches
            | Defect::KeepsBufferedBatches
            | Defect::LosesBufferedBatchesOnClose
            | Defect::OmitsBufferedBatchesFromCheckpoints => {
                self.flush();
                let next = inner.durable_position().next();
                self.state.lock().stash = Some(batch);
                Ok(next)
            }
            Defect::TearsBufferedBatches => {
                self.flush();
                let (head, tail) = split(&batch);
                let written = outcome(inner.submit(head).into());
                self.state.lock().stash = Some(tail);
                written
            }
            Defect::CountsBufferedBatchesAsDurable => {
                let written = outcome(inner.submit_buffered(batch));
                if let Ok(position) = written {
                    self.state.lock().buffered = position;
                }
                written
            }
            Defect::HidesFailureOfBufferedBatches
            | Defect::BuffersAfterFailure
            | Defect::BuffersAfterClose => {
                let next = inner.durable_position().next();
                outcome(inner.submit_buffered(batch)).or_else(|error| {
                    let stopped = error.kind() == StoreErrorKind::Closed;
                    let hides = stopped != (self.defect == Defect::HidesFailureOfBufferedBatches);
                    if hides { Ok(next) } else { Err(error) }
                })
            }
            _ => return Err(batch),
        };
        let (promise, ticket) = buffered_ticket();
        match outcome {
            Ok(position) => promise.buffered(position).expect("nobody asked for a sync"),
            Err(error) => promise.failed(error),
        }
        Ok(ticket)
    }

    /// Writes what was acknowledged as buffered, unless the defect is not to do that here.
    pub(super) fn catch_up(&self, before: Before) {
        let forgets = match self.defect {
            Defect::WritesBufferedBatchesLast | Defect::SyncsAroundBufferedBatches => {
                Before::Submit
            }
            Defect::HidesBufferedBatches => Before::Read,
            Defect::OmitsBufferedBatchesFromCheckpoints => Before::Checkpoint,
            Defect::LosesBufferedBatchesOnClose => Before::Close,
            Defect::KeepsBufferedBatches | Defect::TearsBufferedBatches => return self.flush(),
            _ => return,
        };
        if forgets != before {
            self.flush();
        } else if before == Before::Close {
            self.state.lock().stash = None;
        }
    }
}

fn outcome(mut ticket: BufferedTicket) -> Outcome {
    let outcome = ticket.try_outcome().expect("the store underneath never waits");
    outcome.map(Buffered::<LogPosition>::into_inner)
}
