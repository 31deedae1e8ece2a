//! What becomes of dead letters.

use std::sync::Arc;

use futures_util::future::join_all;
use millpond_partition::inspect::{self, DeadLetter};
use millpond_partition::{DeadAction, PartitionError, QueueRef};
use millpond_storage_api::Durable;
use millpond_types::{Body, EntryId, ErrorKind, InvalidName};

use crate::{Engine, Error};

/// Dead letters that are replayed or dropped in one step: their commands share commits.
const STEP: usize = 256;

/// The dead letters of one queue: entries that had all their attempts, or were
/// [rejected](crate::Delivery::reject). They stay until somebody replays or drops them, and are in nobody's
/// way. Made by [`Queue::dead_letters`](crate::Queue::dead_letters).
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), millpond::Error> {
/// use millpond::{Engine, Entry, Options};
///
/// # let directory = tempfile::tempdir().expect("a temporary directory");
/// # let engine = Engine::open(Options::new(directory.path())).await?;
/// let queue = engine.topic("emails").queue("tenant-42");
/// queue.enqueue(Entry::new("hello")).await?;
/// let delivery = queue.lease().fetch_one().await?.expect("one entry is ready");
/// delivery.reject("no such address").await?;
///
/// let dead = queue.dead_letters();
/// let letters = dead.list(None, 100).await?;
/// assert_eq!(letters[0].reason, "no such address");
/// dead.replay(letters[0].id).await?;
/// assert_eq!(queue.lease().fetch_one().await?.expect("it is ready again").payload(), "hello");
/// # engine.close().await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DeadLetters {
    engine: Engine,
    names: Result<Arc<QueueRef>, InvalidName>,
}

/// How far replaying or dropping all of them has come.
pub(crate) struct Step {
    pub(crate) n_done: u64,
    /// Where the next step begins; absent after the last.
    pub(crate) next: Option<EntryId>,
}

impl DeadLetters {
    pub(crate) fn new(engine: Engine, names: Result<Arc<QueueRef>, InvalidName>) -> Self {
        Self { engine, names }
    }

    /// Up to `n_max` of them in the order in which they would be delivered, beginning after `after`, without
    /// their payloads. What cannot be decoded is passed over.
    ///
    /// # Errors
    ///
    /// A name is invalid, or storage cannot be read.
    pub async fn list(
        &self,
        after: Option<EntryId>,
        n_max: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        let queue = self.names()?.id;
        let store = self.engine.partition_of(queue).store();
        Ok(inspect::dead_letters(&**store, queue, after.map(|id| id.rank), n_max).await?)
    }

    /// One of them with its headers and payload; `None` if it is not, or no longer, among them.
    ///
    /// # Errors
    ///
    /// A name is invalid, or storage cannot be read.
    pub async fn show(&self, id: EntryId) -> Result<Option<(DeadLetter, Body)>, Error> {
        let queue = self.names()?.id;
        if id.queue != queue {
            return Ok(None);
        }
        let store = self.engine.partition_of(queue).store();
        Ok(inspect::dead_letter(&**store, id).await?)
    }

    /// Makes one ready again, at its old place in the queue, with no attempts counted and its
    /// [floor](crate::Nack::with_floor) forgotten.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) when it is not, or no longer, among them;
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an invalid name; [`Corrupt`](ErrorKind::Corrupt) when it
    /// cannot be decoded; [`Closed`](ErrorKind::Closed), [`NoSpace`](ErrorKind::NoSpace) or
    /// [`Io`](ErrorKind::Io) when the engine has stopped, and then nobody knows whether it was done.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have done it.
    pub async fn replay(&self, id: EntryId) -> Result<Durable<()>, Error> {
        self.settle(id, DeadAction::Replay).await
    }

    /// Removes one for good.
    ///
    /// # Errors
    ///
    /// As [`replay`](Self::replay).
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have done it.
    pub async fn drop(&self, id: EntryId) -> Result<Durable<()>, Error> {
        self.settle(id, DeadAction::Drop).await
    }

    /// Makes all ready again, a few hundred at a time, in the order in which they will be delivered. Returns how
    /// many that was, all of it durable. What dies while this goes on may be left.
    ///
    /// # Errors
    ///
    /// As [`replay`](Self::replay), but that what is gone already is no error. Those that were replayed before
    /// an error stay so.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has done a part.
    pub async fn replay_all(&self) -> Result<u64, Error> {
        self.settle_all(DeadAction::Replay).await
    }

    /// Removes all for good, a few hundred at a time. Returns how many that was, all of it durable. What dies
    /// while this goes on may be left.
    ///
    /// # Errors
    ///
    /// As [`replay_all`](Self::replay_all).
    ///
    /// # Cancel safety
    ///
    /// A dropped future has done a part.
    pub async fn drop_all(&self) -> Result<u64, Error> {
        self.settle_all(DeadAction::Drop).await
    }

    pub(crate) async fn settle(
        &self,
        id: EntryId,
        action: DeadAction,
    ) -> Result<Durable<()>, Error> {
        let queue = self.names()?.id;
        if id.queue != queue {
            return Err(PartitionError::NotDead { id }.into());
        }
        Ok(self.engine.partition_of(queue).dead(id, action).await?)
    }

    async fn settle_all(&self, action: DeadAction) -> Result<u64, Error> {
        let (mut n_done, mut after) = (0, None);
        loop {
            let step = self.step(action, after).await?;
            n_done += step.n_done;
            if step.next.is_none() {
                return Ok(n_done);
            }
            after = step.next;
        }
    }

    /// The next few. Each step begins after the one before, so that whatever dies again is not met again.
    pub(crate) async fn step(
        &self,
        action: DeadAction,
        after: Option<EntryId>,
    ) -> Result<Step, Error> {
        let letters = self.list(after, STEP).await?;
        let next = letters.get(STEP - 1).map(|letter| letter.id);
        let mut n_done = 0;
        for settled in join_all(letters.iter().map(|letter| self.settle(letter.id, action))).await {
            match settled {
                Ok(_) => n_done += 1,
                // Somebody else was faster.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Step { n_done, next })
    }

    fn names(&self) -> Result<&Arc<QueueRef>, Error> {
        self.names.as_ref().map_err(|error| error.clone().into())
    }
}
