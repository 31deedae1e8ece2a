//! What waits for a commit.

use millpond_sync::oneshot;
use millpond_types::{DelayedKey, EntryHead, EntryRank, SettingsRow, Stage, UnixMillis};

use super::Slot;
use super::enqueue::Arrivals;
use super::moves::{Target, Tell};
use crate::command::{Accepted, Answer, Grant, Grants, Nacked, Reply};
use crate::durability::Receipt;
use crate::{PartitionError, Purged};

/// What a commit changes in memory once it is as durable as it was to be.
#[derive(Debug)]
pub(super) enum Effect {
    Enqueued {
        slot: Slot,
        arrivals: Arrivals,
        reply: Receipt<Vec<Accepted>>,
    },
    /// All entries of a command had been accepted before.
    Duplicates {
        accepted: Vec<Accepted>,
        reply: Receipt<Vec<Accepted>>,
    },
    Granted {
        grants: Vec<(Slot, Grant)>,
        reply: oneshot::Sender<Answer<Grants>>,
    },
    Gone {
        slot: Slot,
        rank: EntryRank,
        /// Nobody, if the entries that came with it are answered for.
        reply: Option<Receipt<()>>,
    },
    /// An entry is gone because its time was over.
    Outlived {
        slot: Slot,
        rank: EntryRank,
    },
    Released {
        slot: Slot,
        rank: EntryRank,
        reply: Option<Reply<Nacked>>,
    },
    /// An entry that had been delayed is ready.
    Arose {
        slot: Slot,
        key: DelayedKey,
        rank: EntryRank,
        head: EntryHead,
    },
    /// An entry is in another stage.
    Moved {
        slot: Slot,
        from: (Stage, EntryRank),
        to: Target,
        tell: Tell,
    },
    Extended {
        slot: Slot,
        deadline: UnixMillis,
        reply: Reply<UnixMillis>,
    },
    /// A step of a purge; the last one has somebody to answer, unless nobody asked.
    Purged {
        slot: Slot,
        /// What it removed of the lines.
        delayed: Vec<DelayedKey>,
        reply: Option<Reply<Purged>>,
    },
    /// A rule is stored.
    Configured {
        row: Box<SettingsRow>,
        reply: Reply<()>,
    },
    NothingToPurge {
        reply: Reply<Purged>,
    },
}

/// What follows from a batch on its way to storage.
#[derive(Debug)]
pub(crate) struct Effects {
    /// What has not been taken over.
    pub(super) effects: std::vec::IntoIter<Effect>,
    /// Size of the batch, until it is counted.
    pub(super) n_bytes: Option<usize>,
    /// Whether the batch is to be synced.
    pub(super) needs_sync: bool,
}

impl Effect {
    /// About how much there is to do for it.
    pub(super) fn n_entries(&self) -> usize {
        match self {
            Self::Enqueued { arrivals, .. } => arrivals.accepted.len().max(1),
            Self::Granted { grants, .. } => grants.len().max(1),
            Self::Purged { delayed, .. } => delayed.len().max(1),
            _ => 1,
        }
    }

    /// Whether it must survive a power cut: unless somebody has asked for less, it must.
    pub(super) fn needs_sync(&self) -> bool {
        match self {
            Self::Enqueued { reply, .. } | Self::Duplicates { reply, .. } => reply.needs_sync(),
            Self::Gone { reply, .. } => reply.as_ref().is_none_or(Receipt::needs_sync),
            _ => true,
        }
    }

    pub(super) fn refuse(self, error: &PartitionError) {
        let error = error.clone();
        match self {
            Self::Enqueued { reply, .. } | Self::Duplicates { reply, .. } => reply.refuse(error),
            Self::Configured { reply, .. } => drop(reply.send(Err(error))),
            Self::Granted { reply, .. } => drop(reply.send(Err(error))),
            Self::Gone { reply, .. } => {
                if let Some(reply) = reply {
                    reply.refuse(error);
                }
            }
            Self::Released { reply, .. } => {
                if let Some(reply) = reply {
                    drop(reply.send(Err(error)));
                }
            }
            Self::Extended { reply, .. } => drop(reply.send(Err(error))),
            Self::Arose { .. } | Self::Outlived { .. } => {}
            Self::Moved { tell, .. } => tell.refuse(error),
            Self::Purged { reply, .. } => {
                if let Some(reply) = reply {
                    drop(reply.send(Err(error)));
                }
            }
            Self::NothingToPurge { reply } => drop(reply.send(Err(error))),
        }
    }
}

impl Effects {
    /// Whether the batch is to be synced before anything of this takes effect.
    pub(crate) fn needs_sync(&self) -> bool {
        self.needs_sync
    }

    /// Whether everything was taken over.
    pub(crate) fn is_empty(&self) -> bool {
        self.effects.len() == 0
    }

    /// Answers those whose changes did not become durable.
    pub(crate) fn refuse(self, error: &PartitionError) {
        for effect in self.effects {
            effect.refuse(error);
        }
    }
}
