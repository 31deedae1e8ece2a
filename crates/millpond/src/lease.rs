//! Asking for work once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use millpond_partition::{
    Grant, Grants, LeaseAnswer, LeaseCall, LeaseRef, LeaseSource, Partition, PartitionError,
    inspect,
};
use millpond_storage_api::Durable;
use millpond_types::limits::{BATCH_ENTRIES_MAX, HOLDER_BYTES_MAX};
use millpond_types::{ErrorKind, LimitExceeded, TopicId, ms_rounded_up};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::time::{check_ms, lease_ms};
use crate::{Delivery, Error};

/// Length of a lease when none is asked for.
const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// How often a request asks again because nothing of what it was granted could be delivered.
const ROUNDS_MAX: usize = 100;

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
    holder: Option<Arc<str>>,
}

impl LeaseRequest {
    pub(crate) fn new(engine: Engine, source: Result<LeaseSource, Error>) -> Self {
        Self { engine, source, n_max: 1, lease: DEFAULT_LEASE, wait: Duration::ZERO, holder: None }
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

    /// Who asks: 1 to 255 bytes that [`explain`](crate::admin::Admin::explain) shows while the leases are
    /// held. It is not stored, and means nothing to the engine.
    pub fn named(mut self, holder: impl Into<Arc<str>>) -> Self {
        self.holder = Some(holder.into());
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
    /// [`Full`](crate::ErrorKind::Full) when as many callers wait for work as may
    /// ([`lease_calls_max`](crate::PartitionOptions::lease_calls_max)): try again later;
    /// [`Closed`](crate::ErrorKind::Closed) when the engine has stopped.
    ///
    /// # Cancel safety
    ///
    /// Safe: leases that were granted to a dropped future are given back, and the attempt does not count.
    pub async fn fetch(self) -> Result<Vec<Delivery>, Error> {
        let asking = self.checked()?;
        let started = Instant::now();
        for _ in 0..ROUNDS_MAX {
            let wait = self.wait.saturating_sub(started.elapsed());
            let grants = asking.grants(self.n_max, wait).await?;
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

    /// Leases as many entries as the maximum says, waiting for those that are not there yet; when the wait is
    /// over, what there is, possibly nothing. Entries are leased as they come, so the lease has to be longer
    /// than the wait.
    ///
    /// # Errors
    ///
    /// As [`fetch`](Self::fetch); also [`InvalidInput`](crate::ErrorKind::InvalidInput) when the leases are not
    /// longer than the wait. What was leased before an error is given back.
    ///
    /// # Cancel safety
    ///
    /// As [`fetch`](Self::fetch).
    pub async fn fetch_full(self) -> Result<Vec<Delivery>, Error> {
        let asking = self.checked()?;
        asking.check_wait(self.wait)?;
        let mut found = Untaken::default();
        asking.collect(&mut found, self.n_max, self.wait).await?;
        Ok(found.take_all())
    }

    /// Checks the options.
    pub(crate) fn checked(&self) -> Result<Asking, Error> {
        let source = self.source.clone()?;
        let lease_ms = lease_ms(self.lease)?;
        if self.n_max == 0 {
            return Err(Error::invalid("a lease request needs a maximum of at least 1"));
        }
        LimitExceeded::check("lease request", self.n_max, BATCH_ENTRIES_MAX, "entries")?;
        if let Some(holder) = &self.holder {
            if holder.is_empty() {
                return Err(Error::invalid("the name of a lease's holder must not be empty"));
            }
            LimitExceeded::check("name of a holder", holder.len(), HOLDER_BYTES_MAX, "bytes")?;
        }
        let (engine, holder) = (self.engine.clone(), self.holder.clone());
        Ok(Asking { engine, source, lease_ms, holder })
    }
}

/// A request that was checked.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    engine: Engine,
    source: LeaseSource,
    lease_ms: u64,
    holder: Option<Arc<str>>,
}

impl Asking {
    /// Passes waits during which no lease of the batch can end.
    pub(crate) fn check_wait(&self, wait: Duration) -> Result<(), Error> {
        check_ms("wait for a batch", ms_rounded_up(wait), self.lease_ms - 1)?;
        Ok(())
    }

    /// Leases what is ready, up to `n_max` entries; waits so long for the first.
    pub(crate) async fn some(&self, n_max: usize, wait: Duration) -> Result<Vec<Delivery>, Error> {
        let grants = self.grants(n_max, wait).await?;
        self.engine.deliver(grants).await
    }

    /// Leases until there are `n_wanted` entries, or until the wait is over.
    ///
    /// What is ready comes without a look at the time, so that a short wait finds it too.
    pub(crate) async fn collect(
        &self,
        found: &mut Untaken,
        n_wanted: usize,
        wait: Duration,
    ) -> Result<(), Error> {
        let started = Instant::now();
        // Whoever does not wait takes what is ready; but leases run meanwhile.
        let enough = if wait.is_zero() { Duration::from_millis(self.lease_ms / 2) } else { wait };
        let mut n_rounds = 0;
        while found.len() < n_wanted && n_rounds < ROUNDS_MAX {
            if found.len() > 0 && started.elapsed() >= enough {
                break;
            }
            let n_left = n_wanted - found.len();
            let mut grants = self.ready(n_left).await?;
            if grants.is_empty() {
                let left = wait.saturating_sub(started.elapsed());
                if left.is_zero() {
                    break;
                }
                grants = self.arriving(n_left, left).await?;
            }
            let n_before = found.len();
            found.add(self.engine.deliver(grants).await?);
            n_rounds = if found.len() == n_before { n_rounds + 1 } else { 0 };
        }
        Ok(())
    }

    async fn grants(&self, n_max: usize, wait: Duration) -> Received {
        // Whoever has work answers the first pass; only when nobody has is everybody asked to wait.
        if wait.is_zero() || self.partitions().nth(1).is_some() {
            let grants = self.ready(n_max).await?;
            if !grants.is_empty() || wait.is_zero() {
                return Ok(grants);
            }
        }
        self.arriving(n_max, wait).await
    }

    /// What is ready, from every partition as much as is due to it.
    async fn ready(&self, n_max: usize) -> Received {
        let mut was_asked = Vec::new();
        if let (LeaseSource::Topic(topic), true) = (self.source, self.engine.n_partitions() > 1) {
            let n_wanted = u32::try_from(n_max).expect("batches are limited to 10,000");
            was_asked = self.engine.0.governor.share_out(topic, n_wanted);
            let grants = self.shared(topic, &was_asked).await?;
            if !grants.is_empty() {
                return Ok(grants);
            }
        }
        // Where nothing is known to wait, there may be what nobody has looked for yet.
        for number in self.partitions() {
            if was_asked.get(number).is_some_and(|n| *n > 0) {
                continue;
            }
            let grants = self.ready_in(number, n_max).await?;
            if !grants.is_empty() {
                return Ok(grants);
            }
        }
        Ok(Vec::new())
    }

    /// What is ready in some partitions, from all of them at the same time.
    async fn shared(&self, topic: TopicId, shares: &[u32]) -> Received {
        let asked = shares.iter().enumerate().filter(|(_, n)| **n > 0);
        let asked = asked.map(|(number, n)| async move {
            let grants = self.granted_in(number, *n as usize).await?;
            let n_granted = u32::try_from(grants.n_leases()).unwrap_or(u32::MAX);
            self.engine.0.governor.unused(topic, number, n.saturating_sub(n_granted));
            Ok::<_, Error>(grants)
        });
        // Accepted when all have answered: dropped before, or after an error, they are given back.
        let granted = futures_util::future::try_join_all(asked).await?;
        Ok(granted.into_iter().flat_map(Grants::accept).collect())
    }

    async fn ready_in(&self, number: usize, n_max: usize) -> Received {
        Ok(self.granted_in(number, n_max).await?.accept())
    }

    async fn granted_in(&self, number: usize, n_max: usize) -> Result<Grants, Error> {
        let (call, answer) = self.call(n_max);
        self.engine.partition(number).lease(self.source, &call, false).await?;
        answered(answer.await)
    }

    /// Waits for the first partition that has something.
    async fn arriving(&self, n_max: usize, wait: Duration) -> Received {
        let (call, answer) = self.call(n_max);
        for number in self.partitions() {
            self.engine.partition(number).lease(self.source, &call, true).await?;
        }
        wait_for(&call, answer, wait).await
    }

    /// Where to look, in another order each time.
    fn partitions(&self) -> impl Iterator<Item = usize> + use<> {
        let (only, all) = match self.source {
            LeaseSource::Queue(id) => (Some(self.engine.partition_number(id)), None),
            LeaseSource::Topic(_) => (None, Some(self.engine.partitions_in_turn())),
        };
        only.into_iter().chain(all.into_iter().flatten())
    }

    fn call(&self, n_max: usize) -> (Arc<LeaseCall>, LeaseAnswer) {
        LeaseCall::by(self.holder.clone(), n_max, self.lease_ms)
    }
}

type Received = Result<Vec<Durable<Grant>>, Error>;

async fn wait_for(call: &LeaseCall, mut answer: LeaseAnswer, wait: Duration) -> Received {
    match tokio::time::timeout(wait, &mut answer).await {
        Ok(answer) => Ok(answered(answer)?.accept()),
        Err(_) if call.withdraw() => Ok(Vec::new()),
        // Claimed at the last moment: the grant is on its way.
        Err(_) => Ok(answered(answer.await)?.accept()),
    }
}

fn answered<E>(answer: Result<Result<Grants, PartitionError>, E>) -> Result<Grants, Error> {
    Ok(answer.map_err(|_| Error::from(PartitionError::Closed))??)
}

/// Deliveries that nobody has taken. Dropped, they are given back, and their attempts do not count.
#[derive(Debug, Default)]
pub(crate) struct Untaken(VecDeque<Delivery>);

impl Untaken {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn add(&mut self, deliveries: impl IntoIterator<Item = Delivery>) {
        self.0.extend(deliveries);
    }

    pub(crate) fn take(&mut self) -> Option<Delivery> {
        self.0.pop_front()
    }

    pub(crate) fn take_all(mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.0).into()
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        for delivery in self.0.drain(..) {
            delivery.partition().give_back(vec![delivery.lease().into()]);
        }
    }
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
        let Some(body) = partition.body(id).await? else { return Ok(None) };
        let names = match &grant.get().queue {
            Some(names) => names.clone(),
            None => inspect::queue_names(store, id.queue).await?.ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, format!("queue {} has no names", id.queue))
            })?,
        };
        Ok(Some(Delivery::new(grant, names, body, partition.clone())))
    }
}
