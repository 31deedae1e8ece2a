//! What users take out.

use std::time::Duration;

use bytes::Bytes;
use millpond_partition::{Accepted, Grant, LeaseRef, Nacked, Partition, QueueRef};
use millpond_storage_api::{Buffered, Durable};
use millpond_types::{Body, EntryId, Headers, LeaseToken, QueueKey, TopicName, UnixMillis};
use tokio::sync::OwnedSemaphorePermit;

use crate::time::lease_ms;
use crate::{Entry, Error, Nack, Queue};

/// Names a lease: keep it, send it elsewhere, and settle the entry with
/// [`Engine::ack`](crate::Engine::ack) and its siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The entry.
    pub id: EntryId,
    /// The fencing token.
    pub token: LeaseToken,
}

impl From<Lease> for LeaseRef {
    fn from(lease: Lease) -> Self {
        Self { id: lease.id, token: lease.token }
    }
}

/// An entry under lease. Settle it with [`ack`](Self::ack), [`nack`](Self::nack) or [`reject`](Self::reject);
/// dropped unsettled, it stays leased until its deadline and is then delivered again.
#[derive(Debug)]
pub struct Delivery {
    grant: Durable<Grant>,
    names: std::sync::Arc<QueueRef>,
    body: Body,
    partition: Partition,
    /// The consumer's credit, given back when the delivery is gone.
    credit: Option<OwnedSemaphorePermit>,
}

impl Delivery {
    pub(crate) fn new(
        grant: Durable<Grant>,
        names: std::sync::Arc<QueueRef>,
        body: Body,
        partition: Partition,
    ) -> Self {
        Self { grant, names, body, partition, credit: None }
    }

    /// The consumer may ask for the next entry at once. In the same partition its request follows the settlement,
    /// and both become durable together, or the settlement first; another partition may be faster.
    fn return_credit(&mut self) {
        self.credit = None;
    }

    pub(crate) fn set_credit(&mut self, credit: OwnedSemaphorePermit) {
        self.credit = Some(credit);
    }

    pub(crate) fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The payload, as it was enqueued.
    pub fn payload(&self) -> &Bytes {
        &self.body.payload
    }

    /// The headers, as they were enqueued.
    pub fn headers(&self) -> &Headers {
        &self.body.headers
    }

    /// The entry.
    pub fn id(&self) -> EntryId {
        self.grant.get().id
    }

    /// The key of its queue.
    pub fn queue_key(&self) -> &QueueKey {
        &self.names.key
    }

    /// The topic of its queue.
    pub fn topic(&self) -> &TopicName {
        &self.names.topic
    }

    /// The fencing token of the lease: strictly larger than that of every earlier lease of this queue.
    pub fn token(&self) -> LeaseToken {
        self.grant.get().token
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.grant.get().attempt
    }

    /// When the entry was accepted.
    pub fn enqueued_at(&self) -> UnixMillis {
        self.grant.get().enqueued_at
    }

    /// When the lease ends by itself, as granted; [`extend`](Self::extend) returns later ones.
    pub fn deadline(&self) -> UnixMillis {
        self.grant.get().deadline
    }

    /// The lease, to be settled elsewhere.
    pub fn lease(&self) -> Lease {
        Lease { id: self.id(), token: self.token() }
    }

    /// The work is done: removes the entry.
    ///
    /// # Errors
    ///
    /// [`StaleLease`](crate::ErrorKind::StaleLease) when the lease no longer stands: somebody else may
    /// have done the work too. [`Closed`](crate::ErrorKind::Closed) when the engine has stopped.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have removed the entry.
    pub async fn ack(mut self) -> Result<Durable<()>, Error> {
        self.return_credit();
        Ok(self.partition.ack(self.lease().into()).await?)
    }

    /// As [`ack`](Self::ack), confirmed as soon as it would survive the end of the process: see
    /// [`Queue::enqueue_buffered`]. A power cut, or the failure of a later commit, may bring the entry back. It
    /// is then delivered again, though it was confirmed as done.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    ///
    /// # Cancel safety
    ///
    /// As [`ack`](Self::ack).
    pub async fn ack_buffered(mut self) -> Result<Buffered<()>, Error> {
        self.return_credit();
        Ok(self.partition.ack_buffered(self.lease().into()).await?)
    }

    /// The work is done, and has led to more work: removes the entry and accepts the others, in this order,
    /// by one commit. A crash leaves both or neither.
    ///
    /// The queue is one of the same key, in whatever topic, or this one: those live together. The receipt is
    /// that of [`enqueue_batch`](crate::Queue::enqueue_batch); entries that had been accepted before
    /// ([`Entry::once`]) do not keep the others back, nor the ack. What leaves makes room for what comes.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), millpond::Error> {
    /// use millpond::{Engine, Entry, Options};
    ///
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let engine = Engine::open(Options::new(directory.path())).await?;
    /// let (orders, invoices) = (engine.topic("orders"), engine.topic("invoices"));
    /// orders.queue("tenant-42").enqueue(Entry::new("3 lamps")).await?;
    ///
    /// let mut order = orders.lease().fetch_one().await?.expect("one is ready");
    /// let invoice = Entry::new("96 EUR");
    /// order.ack_and_enqueue(&invoices.queue(order.queue_key().as_bytes()), vec![invoice]).await?;
    /// assert!(orders.lease().fetch_one().await?.is_none());
    /// assert_eq!(invoices.lease().fetch_one().await?.expect("one is ready").payload(), "96 EUR");
    /// # engine.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack) and [`enqueue_batch`](crate::Queue::enqueue_batch), and
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a queue that lives elsewhere. Then nothing was done,
    /// and the delivery is as it was: it can be tried again, or settled otherwise. Only if the engine has
    /// stopped nobody knows.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have done both, but never a part.
    pub async fn ack_and_enqueue(
        &mut self,
        queue: &Queue,
        entries: Vec<Entry>,
    ) -> Result<Durable<Vec<Accepted>>, Error> {
        let entries = Entry::into_batch(entries)?;
        let QueueRef { topic, key, .. } = &*self.names;
        let names = queue.names_beside(&self.partition, format_args!("{topic}/{key}"))?;
        let receipt = self.partition.ack_and_enqueue(self.lease().into(), names, entries).await?;
        self.return_credit();
        Ok(receipt)
    }

    /// The work was not done: this attempt counts, and the [rules](crate::Settings) of the queue say what
    /// becomes of the entry. Without one it is ready again at once, at its old place. The answer tells.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use millpond::{Engine, Entry, Nacked, Options, Settings};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let data = directory.path().join("data");
    /// let engine = Engine::open(Options::new(data)).await?;
    /// let emails = engine.topic("emails");
    /// let retries = Settings::default()
    ///     .with_backoff(Duration::from_millis(100), Duration::from_secs(30))
    ///     .with_attempts_max(1);
    /// emails.set(retries).await?;
    /// let queue = emails.queue("tenant-42");
    /// queue.enqueue(Entry::new("hello")).await?;
    ///
    /// let delivery = queue.lease().fetch_one().await?.expect("one entry is ready");
    /// let nacked = delivery.nack().await?.into_inner();
    /// assert_eq!(nacked, Nacked::Dead, "it was the only attempt");
    /// # engine.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack). When what is stored of the entry cannot be read
    /// ([`Corrupt`](crate::ErrorKind::Corrupt), [`Io`](crate::ErrorKind::Io)), the lease stands until its
    /// deadline.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have ended the lease.
    pub async fn nack(self) -> Result<Durable<Nacked>, Error> {
        self.nack_with(Nack::retry()).await
    }

    /// As [`nack`](Self::nack), with the next attempt after so long: see [`Nack::after`].
    ///
    /// # Errors
    ///
    /// As [`nack_with`](Self::nack_with).
    ///
    /// # Cancel safety
    ///
    /// As [`nack`](Self::nack).
    pub async fn nack_after(self, delay: Duration) -> Result<Durable<Nacked>, Error> {
        self.nack_with(Nack::after(delay)).await
    }

    /// As [`nack`](Self::nack), with the next attempt not before so long has passed: see
    /// [`Nack::with_floor`].
    ///
    /// # Errors
    ///
    /// As [`nack_with`](Self::nack_with).
    ///
    /// # Cancel safety
    ///
    /// As [`nack`](Self::nack).
    pub async fn nack_with_floor(self, floor: Duration) -> Result<Durable<Nacked>, Error> {
        self.nack_with(Nack::with_floor(floor)).await
    }

    /// The work can never be done: the entry is set aside as a dead letter, with this reason. See
    /// [`Queue::dead_letters`](crate::Queue::dead_letters).
    ///
    /// # Errors
    ///
    /// As [`nack`](Self::nack).
    ///
    /// # Cancel safety
    ///
    /// As [`nack`](Self::nack).
    pub async fn reject(self, reason: impl Into<String>) -> Result<Durable<Nacked>, Error> {
        self.nack_with(Nack::reject().because(reason)).await
    }

    /// As [`nack`](Self::nack), with a wish for the next attempt and a reason.
    ///
    /// # Errors
    ///
    /// As [`nack`](Self::nack); also [`InvalidInput`](crate::ErrorKind::InvalidInput) for a wait of more than
    /// 3,650 days, and then the lease stands until its deadline.
    ///
    /// # Cancel safety
    ///
    /// As [`nack`](Self::nack).
    pub async fn nack_with(mut self, nack: Nack) -> Result<Durable<Nacked>, Error> {
        self.return_credit();
        Ok(self.partition.nack(self.lease().into(), nack.checked()?).await?)
    }

    /// The work takes longer: the lease ends `lease` from now. Returns the new deadline.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack), and [`InvalidInput`](crate::ErrorKind::InvalidInput) for a length outside
    /// 1 ms to 7 days.
    pub async fn extend(&self, lease: Duration) -> Result<Durable<UnixMillis>, Error> {
        let lease_ms = lease_ms(lease)?;
        Ok(self.partition.extend(self.lease().into(), lease_ms).await?)
    }
}
