//! Whoever takes entries out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::{Consumer, Delivery, Topic};
use tokio::task::JoinSet;

use super::wait;
use crate::queues::Outcome;
use crate::queues::fill::park;

const N_CONSUMERS: usize = 4;
/// Unsettled entries of each consumer.
const CREDITS: usize = 16;

/// Consumers that have nothing to do with an entry but to keep it for a while. Dropped, they stop.
pub(super) struct Consumers {
    tally: Arc<Tally>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Tally {
    n_acked: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Consumers {
    /// Each entry is shown to `leased`, keeps its credit for `work`, and is acked.
    pub(super) fn start(
        topic: &Topic,
        work: Duration,
        leased: impl Fn(&Delivery) -> Outcome<()> + Clone + Send + 'static,
    ) -> Outcome<Self> {
        let tally = Arc::new(Tally::default());
        let mut tasks = JoinSet::new();
        for _ in 0..N_CONSUMERS {
            let consumer = topic.consumer().credits(CREDITS).start()?;
            let (tally, leased) = (tally.clone(), leased.clone());
            tasks.spawn(async move {
                let outcome = consume(consumer, work, &tally, leased).await;
                tally.note(outcome);
            });
        }
        Ok(Self { tally, _tasks: tasks })
    }

    /// Entries acked so far.
    pub(super) fn n_acked(&self) -> u64 {
        // Relaxed: a count.
        self.tally.n_acked.load(Ordering::Relaxed)
    }

    /// Waits until so many entries are acked.
    pub(super) async fn acked(&self, n: u64) -> Outcome<()> {
        while self.n_acked() < n {
            self.tally.check()?;
            park().await;
        }
        self.tally.check()
    }
}

async fn consume(
    mut consumer: Consumer,
    work: Duration,
    tally: &Arc<Tally>,
    leased: impl Fn(&Delivery) -> Outcome<()>,
) -> Outcome<()> {
    while let Some(delivery) = consumer.next().await? {
        leased(&delivery)?;
        let tally = tally.clone();
        // The credit is with the delivery, so there are never more of these than credits.
        tokio::spawn(async move {
            wait(work).await;
            match delivery.ack().await {
                Ok(_) => _ = tally.n_acked.fetch_add(1, Ordering::Relaxed),
                Err(error) => tally.note(Err(error.into())),
            }
        });
    }
    Err("the engine was closed while it was used".into())
}

impl Tally {
    /// The first thing that goes wrong is told.
    fn note(&self, outcome: Outcome<()>) {
        if let Err(error) = outcome {
            let mut failure = self.failure.lock().expect("nobody panics with it");
            failure.get_or_insert_with(|| error.to_string());
        }
    }

    fn check(&self) -> Outcome<()> {
        match &*self.failure.lock().expect("nobody panics with it") {
            Some(failure) => Err(failure.clone().into()),
            None => Ok(()),
        }
    }
}
