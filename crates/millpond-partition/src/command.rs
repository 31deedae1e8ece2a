//! What users ask of a partition, and what they get.

use std::sync::Arc;

use bytes::Bytes;
use millpond_storage_api::Durable;
use millpond_sync::{Mutex, oneshot};
use millpond_types::{
    DelayedKey, DelayedRow, EntryId, LeaseToken, Priority, QueueId, QueueKey, SettingsRow, TopicId,
    TopicName, UnixMillis,
};

use crate::PartitionError;
use crate::core::Seen;
use crate::durability::Receipt;
use crate::mailbox::{CONTROL, MailboxSender};
use crate::report::{PartitionReport, QueueReport};

/// Names of a queue, with the ids derived from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRef {
    /// The topic.
    pub topic: TopicName,
    /// The key inside the topic.
    pub key: QueueKey,
    /// Id of the topic.
    pub topic_id: TopicId,
    /// Id of the queue.
    pub id: QueueId,
}

impl QueueRef {
    /// Derives the ids.
    pub fn new(topic: TopicName, key: QueueKey) -> Arc<Self> {
        let (topic_id, id) = (TopicId::derive(&topic), QueueId::derive(&topic, &key));
        Arc::new(Self { topic, key, topic_id, id })
    }
}

/// When an entry becomes ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// As soon as it is accepted.
    #[default]
    Now,
    /// So many milliseconds after it was accepted, by the partition's own clock, which no step of the wall
    /// clock moves. After a restart the rest of the delay is measured by the wall clock.
    After(u64),
    /// When the wall clock shows this time, also if it is set meanwhile. A time that is past is now.
    At(UnixMillis),
}

/// An entry to be accepted. Its body was checked against the limits and encoded.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// How urgent it is.
    pub priority: Priority,
    /// The [encoded](millpond_types::Body::encode) body.
    pub body: Bytes,
    /// When it becomes ready.
    pub start: Start,
    /// A key by which its queue tells whether it was accepted before: of at least one byte and at most
    /// [`DEDUP_KEY_BYTES_MAX`](millpond_types::limits::DEDUP_KEY_BYTES_MAX).
    pub dedup: Option<Bytes>,
}

/// What became of an entry that was to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It was accepted.
    New(EntryId),
    /// One with its key had been accepted before, within the window of the queue; it was not accepted again.
    Duplicate {
        /// The one that had. It may be gone since.
        of: EntryId,
    },
}

impl Accepted {
    /// The entry that was accepted, now or before.
    pub fn id(&self) -> EntryId {
        match self {
            Self::New(id) | Self::Duplicate { of: id } => *id,
        }
    }

    /// Whether it had been accepted before.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Duplicate { .. })
    }
}

/// What becomes of an entry whose attempt has failed. Whatever is asked for, an entry that has had as
/// many attempts as its [rules](millpond_types::Settings::attempts_max) allows is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// As the policy of the topic says.
    Policy {
        /// No retry comes earlier than so many milliseconds after its failure: neither this one nor any later
        /// one, until another floor is set. 0 leaves the floor as it is.
        floor_ms: u64,
    },
    /// After so many milliseconds, or after the entry's floor if that is longer.
    After(u64),
    /// Not at all: it can never succeed, and is set aside.
    Never,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// What becomes of the entry.
    pub retry: Retry,
    /// Why it failed. Kept with an entry that is set aside, the first
    /// [`REASON_BYTES_MAX`](millpond_types::limits::REASON_BYTES_MAX) bytes of it.
    pub reason: String,
}

impl Default for Nack {
    /// A retry as the policy says, for no stated reason.
    fn default() -> Self {
        Self { retry: Retry::Policy { floor_ms: 0 }, reason: String::new() }
    }
}

/// Where an entry stands after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nacked {
    /// Ready again, at its old place.
    Ready,
    /// It waits for its next attempt and is in nobody's way.
    BackingOff {
        /// When it is ready again, by the partition's clock.
        until: UnixMillis,
    },
    /// Set aside as a dead letter.
    Dead,
}

/// What to do with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadAction {
    /// Make it ready again, at its old place, its attempts uncounted and its floor forgotten.
    Replay,
    /// Remove it for good.
    Drop,
}

/// One lease, as granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The entry.
    pub id: EntryId,
    /// The fencing token: settle the entry with it, and hand it to systems that must refuse stale
    /// workers.
    pub token: LeaseToken,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// When the entry was accepted.
    pub enqueued_at: UnixMillis,
    /// When the lease ends by itself.
    pub deadline: UnixMillis,
    /// The names of the queue, if the partition knows them without a read.
    pub queue: Option<Arc<QueueRef>>,
}

/// What a purge removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purged {
    /// Entries, leased ones included.
    pub n_entries: u64,
    /// How many of them were leased. Their holders learn of it when they settle.
    pub n_leased: u64,
}

/// Where a lease call looks for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseSource {
    /// Any queue of the topic, fairly.
    Topic(TopicId),
    /// One queue.
    Queue(QueueId),
}

pub(crate) type Answer<T> = Result<T, PartitionError>;
pub(crate) type Reply<T> = oneshot::Sender<Answer<Durable<T>>>;

/// A request for leases that may be registered with several partitions at once. The first partition
/// with work claims it; the others find it claimed and forget it.
#[derive(Debug)]
pub struct LeaseCall {
    /// Most entries to grant, at least 1.
    pub n_max: usize,
    /// Length of the leases, in milliseconds.
    pub lease_ms: u64,
    /// Who wants them, for reports.
    pub holder: Option<Arc<str>>,
    reply: Mutex<Option<oneshot::Sender<Answer<Grants>>>>,
}

/// The answer to a [`LeaseCall`].
pub type LeaseAnswer = oneshot::Receiver<Result<Grants, PartitionError>>;

impl LeaseCall {
    /// A call and its future answer.
    pub fn new(n_max: usize, lease_ms: u64) -> (Arc<Self>, LeaseAnswer) {
        Self::by(None, n_max, lease_ms)
    }

    /// As [`new`](Self::new), for somebody whose name reports show while he holds the leases.
    pub fn by(holder: Option<Arc<str>>, n_max: usize, lease_ms: u64) -> (Arc<Self>, LeaseAnswer) {
        let (sender, receiver) = oneshot::channel();
        let reply = Mutex::new(Some(sender));
        (Arc::new(Self { n_max, lease_ms, holder, reply }), receiver)
    }

    /// Withdraws the call. `false` when a partition has claimed it already: then its answer comes.
    pub fn withdraw(&self) -> bool {
        self.reply.lock().take().is_some()
    }

    pub(crate) fn claim(&self) -> Option<oneshot::Sender<Answer<Grants>>> {
        self.reply.lock().take().filter(|sender| !sender.is_closed())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.reply.lock().as_ref().is_some_and(|sender| !sender.is_closed())
    }
}

/// Granted leases on their way to a caller. Dropped unread, they are given back at once and their
/// attempt does not count.
#[derive(Debug)]
pub struct Grants {
    pub(crate) grants: Vec<Durable<Grant>>,
    pub(crate) way_back: Option<MailboxSender>,
}

impl Grants {
    pub(crate) fn none() -> Self {
        Self { grants: Vec::new(), way_back: None }
    }

    /// How many leases they are.
    pub fn n_leases(&self) -> usize {
        self.grants.len()
    }

    /// Takes the leases over. From here on the caller settles them, or lets them expire.
    pub fn accept(mut self) -> Vec<Durable<Grant>> {
        self.way_back = None;
        std::mem::take(&mut self.grants)
    }
}

impl Drop for Grants {
    fn drop(&mut self) {
        if self.grants.is_empty() {
            return;
        }
        if let Some(way_back) = self.way_back.take() {
            let leases = self.grants.drain(..).map(Durable::into_inner);
            let leases =
                leases.map(|grant| LeaseRef { id: grant.id, token: grant.token }).collect();
            // A closed partition keeps the leases until their deadline.
            let _ = way_back.push::<CONTROL>(Message::Unreceived(leases));
        }
    }
}

/// Names a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseRef {
    /// The entry.
    pub id: EntryId,
    /// The token it was granted with.
    pub token: LeaseToken,
}

/// What to do with a lease.
#[derive(Debug)]
pub(crate) enum Settle {
    /// The work is done: the entry goes.
    Ack(Receipt<()>),
    /// The work was not done.
    Nack { nack: Nack, reply: Reply<Nacked> },
    /// The work takes longer: a new deadline, this many milliseconds from now.
    Extend { lease_ms: u64, reply: Reply<UnixMillis> },
}

/// Everything that reaches the loop through its mailbox.
#[derive(Debug)]
pub(crate) enum Message {
    Enqueue {
        queue: Arc<QueueRef>,
        entries: Vec<NewEntry>,
        seen: Seen,
        reply: Receipt<Vec<Accepted>>,
    },
    /// Both or neither. The lease may be of another queue.
    AckAndEnqueue {
        lease: LeaseRef,
        queue: Arc<QueueRef>,
        entries: Vec<NewEntry>,
        seen: Seen,
        reply: Reply<Vec<Accepted>>,
    },
    Lease {
        source: LeaseSource,
        call: Arc<LeaseCall>,
        wait: bool,
    },
    Settle {
        lease: LeaseRef,
        action: Settle,
    },
    Unreceived(Vec<LeaseRef>),
    Dead {
        id: EntryId,
        action: DeadAction,
        reply: Reply<()>,
    },
    Purge {
        id: QueueId,
        reply: Reply<Purged>,
    },
    /// An entry of a queue that has to be looked up is due. It comes from the loop itself.
    Due(DelayedKey, DelayedRow),
    /// A rule is to be stored.
    Configure {
        row: SettingsRow,
        reply: Reply<()>,
    },
    /// A dead letter goes to a queue that has to be looked up. From the loop itself, too.
    Forward {
        id: EntryId,
        to: Arc<QueueRef>,
    },
    ReportQueue {
        id: QueueId,
        reply: oneshot::Sender<Answer<Option<QueueReport>>>,
    },
    Report {
        n_queues_max: usize,
        reply: oneshot::Sender<Answer<PartitionReport>>,
    },
    Close,
}

impl Message {
    /// Answers a message that the loop will not handle.
    pub(crate) fn refuse(self, error: &PartitionError) {
        // Nobody has to be there to hear it.
        match self {
            Self::Enqueue { reply, .. } => reply.refuse(error.clone()),
            Self::AckAndEnqueue { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Lease { call, .. } => {
                if let Some(reply) = call.claim() {
                    drop(reply.send(Err(error.clone())));
                }
            }
            Self::Settle { action, .. } => action.refuse(error.clone()),
            Self::ReportQueue { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Report { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Configure { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Purge { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Dead { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Unreceived(_) | Self::Due(..) | Self::Forward { .. } | Self::Close => {}
        }
    }
}

impl Settle {
    pub(crate) fn refuse(self, error: PartitionError) {
        match self {
            Self::Ack(reply) => reply.refuse(error),
            Self::Nack { reply, .. } => drop(reply.send(Err(error))),
            Self::Extend { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}
