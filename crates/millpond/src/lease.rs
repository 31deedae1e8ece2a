//! Asking for work: single requests, and consumers that keep asking.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use millpond_partition::{
    Grant, LeaseAnswer, LeaseCall, LeaseRef, LeaseSource, Partition, PartitionError, inspect,
};
use millpond_storage_api::Durable;
use millpond_types::limits::{BATCH_ENTRIES_MAX, LEASE_MS_MAX, LEASE_MS_MIN};
use millpond_types::{ErrorKind, LimitExceeded};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::{Delivery, Error};

/// Length of a lease when none is asked for.
const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// How long a consumer waits before it asks again; any value works, a long one costs least.
const CONSUMER_WAIT: Duration = Duration::from_secs(60);
/// How often a request asks again because nothing of what it was granted could be delivered.
const ROUNDS_MAX: usize = 100;

pub(crate) fn lease_ms(lease: Duration) -> Result<u64, Error> {
    let ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    if (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&ms) {
        return Ok(ms);
    }
    Err(Error::invalid(format!("a lease lasts 1 ms to 7 days, not {lease:?}")))
}

/// A request for leases. Made by [`Topic::lease`](crate::Topic::lease) and
/// [`Queue::lease`](crate::Queue::lease).
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is fetched"]
pub struct LeaseRequest {
    engine: Engine,
    source: Result<LeaseSource, Error>,
    n_max: usize,
    lease: Duration,
    wait: Duration,
}

impl LeaseRequest {
    pub(crate) fn new(engine: Engine, source: Result<LeaseSource, Error>) -> Self {
        Self { engine, source, n_max: 1, lease: DEFAULT_LEASE, wait: Duration::ZERO }
    }

    /// Most entries to lease at once: 1 (the default) to 10,000.
    pub fn max(mut self, n_max: usize) -> Self {
        self.n_max = n_max;
        self
    }

    /// Length of the leases: 1 ms to 7 days, 30 seconds by default.
    pub fn lease_for(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long to wait for the first entry; not at all by default.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Leases one entry, or none if there is none within the wait.
    ///
    /// # Errors
    ///
    /// As [`fetch`](Self::fetch).
    ///
    /// # Cancel safety
    ///
    /// As [`fetch`](Self::fetch).
    pub async fn fetch_one(self) -> Result<Option<Delivery>, Error> {
        Ok(self.max(1).fetch().await?.pop())
    }

    /// Leases what is ready, up to the maximum; waits only while there is nothing at all. An entry that is
    /// stored in a form nobody can read is passed over: it stays leased, and `millpond partition verify`
    /// tells of it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name or an option out of range;
    /// [`Closed`](crate::ErrorKind::Closed) when the engine has stopped.
    ///
    /// # Cancel safety
    ///
    /// Safe: leases that were granted to a dropped future are given back, and the attempt does not count.
    pub async fn fetch(self) -> Result<Vec<Delivery>, Error> {
        let source = self.source.clone()?;
        let lease_ms = lease_ms(self.lease)?;
        if self.n_max == 0 {
            return Err(Error::invalid("a lease request needs a maximum of at least 1"));
        }
        LimitExceeded::check("lease request", self.n_max, BATCH_ENTRIES_MAX, "entries")?;
        let started = Instant::now();
        for _ in 0..ROUNDS_MAX {
            let wait = self.wait.saturating_sub(started.elapsed());
            let grants = self.grants(source, lease_ms, wait).await?;
            if grants.is_empty() {
                break;
            }
            let deliveries = self.engine.deliver(grants).await?;
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
        Ok(Vec::new())
    }

    async fn grants(&self, source: LeaseSource, lease_ms: u64, wait: Duration) -> Received {
        let partitions = match source {
            LeaseSource::Queue(id) => vec![self.engine.partition_of(id).clone()],
            LeaseSource::Topic(_) => self.engine.partitions_in_turn(),
        };
        // Whoever has work answers the first pass; only when nobody has is everybody asked to wait.
        if partitions.len() > 1 || wait.is_zero() {
            for partition in &partitions {
                let (call, answer) = LeaseCall::new(self.n_max, lease_ms);
                partition.lease(source, &call, false).await?;
                let grants = received(answer.await)?;
                if !grants.is_empty() {
                    return Ok(grants);
                }
            }
        }
        if wait.is_zero() {
            return Ok(Vec::new());
        }
        let (call, answer) = LeaseCall::new(self.n_max, lease_ms);
        for partition in &partitions {
            partition.lease(source, &call, true).await?;
        }
        wait_for(&call, answer, wait).await
    }
}

type Received = Result<Vec<Durable<Grant>>, Error>;

async fn wait_for(call: &LeaseCall, mut answer: LeaseAnswer, wait: Duration) -> Received {
    match tokio::time::timeout(wait, &mut answer).await {
        Ok(answer) => received(answer),
        Err(_) if call.withdraw() => Ok(Vec::new()),
        // Claimed at the last moment: the grant is on its way.
        Err(_) => received(answer.await),
    }
}

fn received<E>(answer: Result<Result<millpond_partition::Grants, PartitionError>, E>) -> Received {
    let grants = answer.map_err(|_| Error::from(PartitionError::Closed))??;
    Ok(grants.accept())
}

/// Leases on their way to a user. Dropped before they arrive, they are given back.
struct InTransit {
    engine: Engine,
    leases: Vec<LeaseRef>,
}

impl Drop for InTransit {
    fn drop(&mut self) {
        for lease in self.leases.drain(..) {
            self.engine.partition_of(lease.id.queue).give_back(vec![lease]);
        }
    }
}

impl Engine {
    /// Turns grants into deliveries by reading their bodies.
    async fn deliver(&self, grants: Vec<Durable<Grant>>) -> Result<Vec<Delivery>, Error> {
        let lease_ref = |grant: &Grant| LeaseRef { id: grant.id, token: grant.token };
        let leases = grants.iter().map(|grant| lease_ref(grant.get())).collect();
        let mut in_transit = InTransit { engine: self.clone(), leases };
        let mut deliveries = Vec::with_capacity(grants.len());
        for grant in grants {
            let id = grant.get().id;
            match self.read(grant).await {
                Ok(delivery) => deliveries.extend(delivery),
                // Its neighbours flow. It stays leased, so that it is not in the way until the deadline.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tracing::error!(entry = %id, %error, "an entry that cannot be read is passed over");
                }
                Err(error) => return Err(error),
            }
        }
        in_transit.leases.clear();
        Ok(deliveries)
    }

    /// `None` if the entry has left: it was purged, or its lease ended, while it was being read.
    async fn read(&self, grant: Durable<Grant>) -> Result<Option<Delivery>, Error> {
        let id = grant.get().id;
        let partition: &Partition = self.partition_of(id.queue);
        let store = &**partition.store();
        let Some(body) = inspect::entry_body(store, id).await? else { return Ok(None) };
        let names = match &grant.get().queue {
            Some(names) => names.clone(),
            None => inspect::queue_names(store, id.queue).await?.ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, format!("queue {} has no names", id.queue))
            })?,
        };
        Ok(Some(Delivery::new(grant, names, body, partition.clone())))
    }
}

/// Sets up a [`Consumer`].
#[derive(Debug, Clone)]
#[must_use = "a consumer must be started"]
pub struct ConsumerBuilder {
    request: LeaseRequest,
    credits: usize,
}

impl ConsumerBuilder {
    pub(crate) fn new(request: LeaseRequest) -> Self {
        Self { request, credits: 1 }
    }

    /// Length of the leases: 1 ms to 7 days, 30 seconds by default.
    pub fn lease_for(mut self, lease: Duration) -> Self {
        self.request = self.request.lease_for(lease);
        self
    }

    /// How many entries the consumer may have leased and unsettled: 1 (the default) to 10,000.
    pub fn credits(mut self, credits: usize) -> Self {
        self.credits = credits;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name or an option out of range.
    pub fn start(self) -> Result<Consumer, Error> {
        self.request.source.clone()?;
        lease_ms(self.request.lease)?;
        if self.credits == 0 {
            return Err(Error::invalid("a consumer needs at least 1 credit"));
        }
        LimitExceeded::check("credits", self.credits, BATCH_ENTRIES_MAX, "entries")?;
        Ok(Consumer {
            request: self.request.wait(CONSUMER_WAIT),
            credits: Arc::new(Semaphore::new(self.credits)),
            fetched: VecDeque::new(),
        })
    }
}

/// Deliveries from a topic or queue, as long as there are credits: each unsettled delivery holds one.
/// Dropping the consumer gives back what was fetched and not yet handed out.
#[derive(Debug)]
pub struct Consumer {
    request: LeaseRequest,
    credits: Arc<Semaphore>,
    fetched: VecDeque<Delivery>,
}

impl Consumer {
    /// The next delivery; waits for one, and for a credit. `None` once the engine is closed.
    ///
    /// # Errors
    ///
    /// The engine has stopped because its storage failed, or a read failed.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Error> {
        loop {
            if let Some(delivery) = self.fetched.pop_front() {
                return Ok(Some(delivery));
            }
            let first = self.credits.clone().acquire_owned().await;
            let mut credits = first.expect("the semaphore is never closed");
            let n_more = self.credits.available_permits();
            if let Ok(more) = self.credits.clone().try_acquire_many_owned(small(n_more)) {
                credits.merge(more);
            }
            let deliveries = match self.request.clone().max(credits.num_permits()).fetch().await {
                Ok(deliveries) => deliveries,
                Err(error) if error.kind() == ErrorKind::Closed => return Ok(None),
                Err(error) => return Err(error),
            };
            for mut delivery in deliveries {
                if let Some(credit) = credits.split(1) {
                    delivery.set_credit(credit);
                }
                self.fetched.push_back(delivery);
            }
        }
    }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("credits are limited to 10,000")
}

impl Drop for Consumer {
    fn drop(&mut self) {
        for delivery in self.fetched.drain(..) {
            delivery.partition().give_back(vec![delivery.lease().into()]);
        }
    }
}
