//! Asking for work again and again: a stream of deliveries, one at a time or in batches.

use std::sync::Arc;
use std::time::Duration;

use millpond_types::limits::BATCH_ENTRIES_MAX;
use millpond_types::{ErrorKind, LimitExceeded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lease::{Asking, Untaken};
use crate::{Delivery, Error, LeaseRequest};

/// How long a consumer waits before it asks again; any value works, a long one costs least.
const CONSUMER_WAIT: Duration = Duration::from_secs(60);

/// Sets up a [`Consumer`], or [`Batches`].
#[derive(Debug, Clone)]
#[must_use = "a consumer must be started"]
pub struct ConsumerBuilder {
    request: LeaseRequest,
    credits: Option<usize>,
}

impl ConsumerBuilder {
    pub(crate) fn new(request: LeaseRequest) -> Self {
        Self { request, credits: None }
    }

    /// Length of the leases: 1 ms to 7 days, 30 seconds by default.
    pub fn lease_for(mut self, lease: Duration) -> Self {
        self.request = self.request.lease_for(lease);
        self
    }

    /// How many entries the consumer may have leased and unsettled: 1 to 10,000. One that is being settled does
    /// not count: what comes next is leased while the settlement is on its way. In the same partition it is not leased
    /// before that; another partition may be faster. By default 1, and for batches as many as a batch has.
    pub fn credits(mut self, credits: usize) -> Self {
        self.credits = Some(credits);
        self
    }

    /// Its name, in 1 to 255 bytes: see [`LeaseRequest::named`].
    pub fn named(mut self, holder: impl Into<Arc<str>>) -> Self {
        self.request = self.request.named(holder);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name or an option out of range.
    pub fn start(self) -> Result<Consumer, Error> {
        let asking = self.request.checked()?;
        let credits = credits(self.credits.unwrap_or(1))?;
        Ok(Consumer { asking, credits, fetched: Untaken::default() })
    }

    /// Starts it for batches of `n_max` entries that are complete after `wait` at the latest.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); also when there are fewer credits than a batch has entries, or the leases are
    /// not longer than the wait.
    pub fn batches(self, n_max: usize, wait: Duration) -> Result<Batches, Error> {
        let asking = self.request.max(n_max).checked()?;
        asking.check_wait(wait)?;
        let n_credits = self.credits.unwrap_or(n_max);
        if n_credits < n_max {
            let text = format!("a batch of {n_max} entries needs as many credits, not {n_credits}");
            return Err(Error::invalid(text));
        }
        let n_max = permits(n_max);
        Ok(Batches { asking, credits: credits(n_credits)?, n_max, wait })
    }
}

fn credits(n: usize) -> Result<Arc<Semaphore>, Error> {
    if n == 0 {
        return Err(Error::invalid("a consumer needs at least 1 credit"));
    }
    LimitExceeded::check("credits", n, BATCH_ENTRIES_MAX, "entries")?;
    Ok(Arc::new(Semaphore::new(n)))
}

fn permits(n: usize) -> u32 {
    u32::try_from(n).expect("credits are limited to 10,000")
}

async fn acquire(credits: &Arc<Semaphore>, n: u32) -> OwnedSemaphorePermit {
    credits.clone().acquire_many_owned(n).await.expect("the semaphore is never closed")
}

/// Deliveries from a topic or queue, as long as there are credits: each unsettled delivery holds one.
/// Dropping the consumer gives back what was fetched and not yet handed out.
#[derive(Debug)]
pub struct Consumer {
    asking: Asking,
    credits: Arc<Semaphore>,
    fetched: Untaken,
}

impl Consumer {
    /// The next delivery; waits for one, and for a credit. `None` once the engine is closed.
    ///
    /// # Errors
    ///
    /// The engine has stopped because its storage failed, or a read failed, or as many callers wait for work as may
    /// ([`Full`](crate::ErrorKind::Full)). Unless the engine has stopped, it can be called again.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Error> {
        loop {
            if let Some(delivery) = self.fetched.take() {
                return Ok(Some(delivery));
            }
            let mut credits = acquire(&self.credits, 1).await;
            let n_more = permits(self.credits.available_permits());
            if let Ok(more) = self.credits.clone().try_acquire_many_owned(n_more) {
                credits.merge(more);
            }
            let deliveries = self.asking.some(credits.num_permits(), CONSUMER_WAIT).await;
            let Some(mut deliveries) = unless_closed(deliveries)? else { return Ok(None) };
            hand_credits(&mut deliveries, credits);
            self.fetched.add(deliveries);
        }
    }
}

/// Batches of deliveries from a topic or queue, as long as there are credits for a whole one: each unsettled
/// delivery holds one. Made by [`ConsumerBuilder::batches`].
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
/// let rows = engine.topic("rows");
/// rows.queue("table-7").enqueue_batch(vec![Entry::new("x"); 5]).await?;
/// let mut batches = rows.consumer().batches(3, Duration::from_millis(5))?;
/// while let Some(batch) = batches.next_batch().await? {
///     println!("writing {} rows at once", batch.len());
///     for delivery in batch {
///         delivery.ack().await?;
///     }
/// #   if engine.status().await?.n_entries == 0 { break }
/// }
/// # engine.close().await
/// # }
/// ```
#[derive(Debug)]
pub struct Batches {
    asking: Asking,
    credits: Arc<Semaphore>,
    n_max: u32,
    wait: Duration,
}

impl Batches {
    /// The next batch, never empty: it waits for a first entry as long as it takes, and from then on until the
    /// batch is full or its wait is over. `None` once the engine is closed.
    ///
    /// # Errors
    ///
    /// As [`Consumer::next`]. What was leased for the batch is given back.
    ///
    /// # Cancel safety
    ///
    /// Safe: what was leased for a batch when its future is dropped is given back, and the attempts do not
    /// count.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<Delivery>>, Error> {
        let credits = acquire(&self.credits, self.n_max).await;
        let mut found = Untaken::default();
        while found.len() == 0 {
            let first = self.asking.some(credits.num_permits(), CONSUMER_WAIT).await;
            let Some(first) = unless_closed(first)? else { return Ok(None) };
            found.add(first);
        }
        let more = self.asking.collect(&mut found, credits.num_permits(), self.wait).await;
        if unless_closed(more)?.is_none() {
            return Ok(None);
        }
        let mut batch = found.take_all();
        hand_credits(&mut batch, credits);
        Ok(Some(batch))
    }
}

fn unless_closed<T>(outcome: Result<T, Error>) -> Result<Option<T>, Error> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::Closed => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// One credit for each delivery; the others go back.
fn hand_credits(deliveries: &mut [Delivery], mut credits: OwnedSemaphorePermit) {
    for delivery in deliveries {
        if let Some(credit) = credits.split(1) {
            delivery.set_credit(credit);
        }
    }
}
