//! What users take out.

use std::time::Duration;

use bytes::Bytes;
use millpond_partition::{Grant, LeaseRef, Nack, Nacked, Partition, QueueRef};
use millpond_storage_api::Durable;
use millpond_types::{Body, EntryId, Headers, LeaseToken, QueueKey, TopicName, UnixMillis};
use tokio::sync::OwnedSemaphorePermit;

use crate::Error;
use crate::lease::lease_ms;

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

/// An entry under lease. Settle it with [`ack`](Self::ack) or [`nack`](Self::nack); dropped unsettled, it
/// stays leased until its deadline and is then delivered again.
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
    pub async fn ack(self) -> Result<Durable<()>, Error> {
        Ok(self.partition.ack(self.lease().into()).await?)
    }

    /// The work was not done: the entry is ready again, at its old place, with this attempt counted.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub async fn nack(self) -> Result<Durable<Nacked>, Error> {
        Ok(self.partition.nack(self.lease().into(), Nack::default()).await?)
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
