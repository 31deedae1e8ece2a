//! Which commands the core has dealt with, in order: some overtake others.

use std::sync::Arc;

use millpond_types::QueueId;

use crate::command::{LeaseSource, Message};

/// A command that is not waiting any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) enum Handled {
    /// By the address of its names, of which each command has its own.
    Entries(usize),
    Purge(QueueId),
    /// Commands of this kind keep their order in each queue.
    Other(QueueId),
}

impl Handled {
    pub(in crate::core) fn of(message: &Message) -> Option<Self> {
        Some(match message {
            Message::Enqueue { queue, .. } | Message::AckAndEnqueue { queue, .. } => {
                Self::Entries(Arc::as_ptr(queue).addr())
            }
            Message::Purge { id, .. } => Self::Purge(*id),
            Message::Lease { source: LeaseSource::Queue(id), .. } => Self::Other(*id),
            Message::Settle { lease, .. } => Self::Other(lease.id.queue),
            Message::Dead { id, .. } => Self::Other(id.queue),
            Message::Unreceived(leases) => Self::Other(leases.first()?.id.queue),
            _ => return None,
        })
    }
}
