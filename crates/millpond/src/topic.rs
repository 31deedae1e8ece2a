//! Handles of topics and queues. They cost nothing and touch no storage.

use std::sync::Arc;
use std::time::Duration;

use millpond_partition::inspect::StoredEntry;
use millpond_partition::{Accepted, LeaseSource, NewEntry, Partition, Purged, QueueRef, inspect};
use millpond_storage_api::{Buffered, Durable};
use millpond_types::{EntryId, InvalidName, QueueKey, TopicId, TopicName};

use crate::engine::Engine;
use crate::{ConsumerBuilder, DeadLetters, Delivery, Entry, Error, LeaseRequest};

/// A named set of queues served by the same consumers. An invalid name is reported by the first
/// operation that needs it.
#[derive(Debug, Clone)]
pub struct Topic {
    engine: Engine,
    name: Result<TopicName, InvalidName>,
}

impl Topic {
    pub(crate) fn new(engine: Engine, name: &str) -> Self {
        Self { engine, name: TopicName::new(name) }
    }

    /// The queue with this key. It comes into being with its first entry.
    pub fn queue(&self, key: impl AsRef<[u8]>) -> Queue {
        let names = self.name.clone().and_then(|topic| {
            let key = QueueKey::new(key)?;
            Ok(QueueRef::new(topic, key))
        });
        Queue { engine: self.engine.clone(), names }
    }

    /// Asks for leases from any queue of the topic, the queues taking turns.
    pub fn lease(&self) -> LeaseRequest {
        LeaseRequest::new(self.engine.clone(), self.source())
    }

    /// Leases `n_max` entries from any queues of the topic, waiting for those that are not there yet; when the
    /// wait is over, what there is, possibly nothing. For 30 seconds: `lease()`, its options and
    /// [`fetch_full`](LeaseRequest::fetch_full) are the same for other leases.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), millpond::Error> {
    /// use std::time::Duration;
    ///
    /// use millpond::{Engine, Entry, Options};
    ///
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let engine = Engine::open(Options::new(directory.path())).await?;
    /// let emails = engine.topic("emails");
    /// emails.queue("tenant-42").enqueue_batch(vec![Entry::new("a"), Entry::new("b")]).await?;
    /// let batch = emails.lease_batch(100, Duration::from_millis(5)).await?;
    /// assert_eq!(batch.len(), 2);
    /// # engine.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`LeaseRequest::fetch_full`].
    ///
    /// # Cancel safety
    ///
    /// As [`LeaseRequest::fetch_full`].
    pub async fn lease_batch(&self, n_max: usize, wait: Duration) -> Result<Vec<Delivery>, Error> {
        self.lease().max(n_max).wait(wait).fetch_full().await
    }

    /// A stream of deliveries from any queue of the topic.
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(self.lease())
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn valid_name(&self) -> Result<TopicName, InvalidName> {
        self.name.clone()
    }

    fn source(&self) -> Result<LeaseSource, Error> {
        let name = self.name.clone()?;
        Ok(LeaseSource::Topic(TopicId::derive(&name)))
    }
}

/// One ordered durable queue. An invalid key is reported by the first operation that needs it.
#[derive(Debug, Clone)]
pub struct Queue {
    engine: Engine,
    names: Result<Arc<QueueRef>, InvalidName>,
}

impl Queue {
    /// Accepts one entry. The receipt tells its [id](Accepted::id); with a key that was seen lately
    /// ([`Entry::once`]), that of the entry that had been accepted instead.
    ///
    /// Calls that wait for their receipts at the same time take their places in the queue in the order in
    /// which their futures are first polled, as long as fewer commands are on their way than the
    /// partition's mailbox holds ([`mailbox_capacity`](crate::PartitionOptions::mailbox_capacity)).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when a name is invalid or a limit exceeded (the
    /// text names it); [`Full`](crate::ErrorKind::Full) when it would exceed a bound of its queue or of the
    /// partition: then nothing was changed; [`Closed`](crate::ErrorKind::Closed), [`NoSpace`](crate::ErrorKind::NoSpace) or
    /// [`Io`](crate::ErrorKind::Io) when the engine has stopped, and then nobody knows whether this entry
    /// was accepted.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have accepted the entry.
    pub async fn enqueue(&self, entry: Entry) -> Result<Durable<Accepted>, Error> {
        let receipt = self.enqueue_checked(vec![entry.into_new()?]).await?;
        Ok(receipt.map(|accepted| accepted[0]))
    }

    /// As [`enqueue`](Self::enqueue), with a receipt as soon as the entry would survive the end of the process,
    /// `kill -9` included. That takes no sync of the disk.
    ///
    /// A power cut, or the failure of a later commit, may take the entry back, with everything that came after
    /// it, and then its id may be given to another. Any [`Durable`] value of the same partition that comes later
    /// makes it durable, too: the receipt of an `enqueue` into this queue, or a delivery from it.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), millpond::Error> {
    /// use millpond::{Buffered, Durable, Engine, Entry, Options};
    ///
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let engine = Engine::open(Options::new(directory.path())).await?;
    /// let clicks = engine.topic("clicks").queue("tenant-42");
    /// for click in ["a", "b", "c"] {
    ///     // The next power cut may take it.
    ///     let _receipt: Buffered<_> = clicks.enqueue_buffered(Entry::new(click)).await?;
    /// }
    /// // No power cut takes this one, nor those before it.
    /// let _receipt: Durable<_> = clicks.enqueue(Entry::new("d")).await?;
    /// # engine.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`enqueue`](Self::enqueue).
    ///
    /// # Cancel safety
    ///
    /// As [`enqueue`](Self::enqueue).
    pub async fn enqueue_buffered(&self, entry: Entry) -> Result<Buffered<Accepted>, Error> {
        let (partition, names) = self.place()?;
        let receipt = partition.enqueue_buffered(names, vec![entry.into_new()?]).await?;
        Ok(receipt.map(|accepted| accepted[0]))
    }

    /// Accepts several entries, all or none, in this order. The receipt tells their ids. Those whose keys were
    /// seen lately, in the same batch too, are left out, and it tells those that had been accepted instead.
    ///
    /// # Errors
    ///
    /// As [`enqueue`](Self::enqueue); also for a batch that is empty, has more than 10,000 entries, or
    /// more than 64 MiB of bodies.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have accepted them, but never a part of them.
    pub async fn enqueue_batch(
        &self,
        entries: Vec<Entry>,
    ) -> Result<Durable<Vec<Accepted>>, Error> {
        self.enqueue_checked(Entry::into_batch(entries)?).await
    }

    /// As [`enqueue_batch`](Self::enqueue_batch), with a receipt of the kind that
    /// [`enqueue_buffered`](Self::enqueue_buffered) gives.
    ///
    /// # Errors
    ///
    /// As [`enqueue_batch`](Self::enqueue_batch).
    ///
    /// # Cancel safety
    ///
    /// As [`enqueue_batch`](Self::enqueue_batch).
    pub async fn enqueue_batch_buffered(
        &self,
        entries: Vec<Entry>,
    ) -> Result<Buffered<Vec<Accepted>>, Error> {
        let (partition, names) = self.place()?;
        Ok(partition.enqueue_buffered(names, Entry::into_batch(entries)?).await?)
    }

    async fn enqueue_checked(
        &self,
        entries: Vec<NewEntry>,
    ) -> Result<Durable<Vec<Accepted>>, Error> {
        let names = self.names()?;
        Ok(self.engine.partition_of(names.id).enqueue(names, entries).await?)
    }

    /// Its names, if it lives in this partition, as queue `of` does.
    pub(crate) fn names_beside(
        &self,
        home: &Partition,
        of: impl std::fmt::Display,
    ) -> Result<&Arc<QueueRef>, Error> {
        let (partition, names) = self.place()?;
        if partition.is_same(home) {
            return Ok(names);
        }
        Err(Error::invalid(format!(
            "queue {}/{} does not live with queue {of}: what is acked and enqueued together goes to a queue of \
             the same key",
            names.topic, names.key
        )))
    }

    /// Its partition, and its names.
    pub(crate) fn place(&self) -> Result<(&Partition, &Arc<QueueRef>), Error> {
        let names = self.names()?;
        Ok((self.engine.partition_of(names.id), names))
    }

    /// Asks for leases from this queue only.
    pub fn lease(&self) -> LeaseRequest {
        let source = self.names().map(|names| LeaseSource::Queue(names.id));
        LeaseRequest::new(self.engine.clone(), source)
    }

    /// As [`Topic::lease_batch`], from this queue only.
    ///
    /// # Errors
    ///
    /// As [`LeaseRequest::fetch_full`].
    ///
    /// # Cancel safety
    ///
    /// As [`LeaseRequest::fetch_full`].
    pub async fn lease_batch(&self, n_max: usize, wait: Duration) -> Result<Vec<Delivery>, Error> {
        self.lease().max(n_max).wait(wait).fetch_full().await
    }

    /// A stream of deliveries from this queue only.
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(self.lease())
    }

    /// Its dead letters: entries that had all their attempts, or were rejected.
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.engine.clone(), self.names.clone())
    }

    /// Removes everything that the queue holds: each entry that was accepted before the purge, ready, leased,
    /// delayed or dead. The receipt tells how much that was; for a queue that does not exist, nothing.
    ///
    /// What is accepted after the purge stays, and is delivered once the purge is through. Before and after
    /// are decided as for several calls of [`enqueue`](Self::enqueue): by the order in which the futures are
    /// first polled. From then on nobody is handed an entry that the purge removes. Whoever holds one
    /// learns of it when settling: the answer is [`StaleLease`](crate::ErrorKind::StaleLease).
    ///
    /// On a store that deletes ranges cheaply, as RocksDB does, a long queue is purged by one commit: all or
    /// nothing. A short one, and any queue on another store, takes several: if the engine crashes or stops
    /// between them, no receipt was given, a part of the entries is gone, and the others are as they were,
    /// with their leases. Purging again removes the rest.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), millpond::Error> {
    /// use millpond::{Engine, Entry, ErrorKind, Options};
    ///
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let engine = Engine::open(Options::new(directory.path())).await?;
    /// let queue = engine.topic("emails").queue("tenant-42");
    /// queue.enqueue_batch(vec![Entry::new("a"), Entry::new("b"), Entry::new("c")]).await?;
    /// let held = queue.lease().fetch_one().await?.expect("one is ready");
    ///
    /// let purged = queue.purge().await?.into_inner();
    /// assert_eq!((purged.n_entries, purged.n_leased), (3, 1));
    /// assert!(queue.lease().fetch_one().await?.is_none());
    /// assert_eq!(held.ack().await.unwrap_err().kind(), ErrorKind::StaleLease);
    /// # engine.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when what is stored about the queue cannot be decoded, and
    /// [`Closed`](crate::ErrorKind::Closed), [`NoSpace`](crate::ErrorKind::NoSpace) or
    /// [`Io`](crate::ErrorKind::Io) when the engine has stopped; then nobody knows how much was removed.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have purged the queue.
    pub async fn purge(&self) -> Result<Durable<Purged>, Error> {
        let names = self.names()?;
        Ok(self.engine.partition_of(names.id).purge(names.id).await?)
    }

    /// Up to `n_max` entries in order of delivery, beginning after `after`, without leasing them: those that
    /// are ready, and those leased at the moment.
    ///
    /// # Errors
    ///
    /// A name is invalid, or storage cannot be read.
    pub async fn browse(
        &self,
        after: Option<EntryId>,
        n_max: usize,
    ) -> Result<Vec<StoredEntry>, Error> {
        let names = self.names()?;
        let store = self.engine.partition_of(names.id).store();
        let after = after.map(|id| id.rank);
        Ok(inspect::entries(&**store, names.id, after, n_max).await?)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn names(&self) -> Result<&Arc<QueueRef>, Error> {
        self.names.as_ref().map_err(|error| error.clone().into())
    }
}
