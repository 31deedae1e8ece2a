//! Answering questions about an engine from its stores, and from its loops where it runs.

use std::ops::ControlFlow;
use std::sync::Arc;

use millpond_partition::verify::{Verification, verify};
use millpond_partition::{Partition, PartitionError, QueueRef};
use millpond_storage_api::StoreRead;
use millpond_types::{QueueKey, TopicName};

use super::{
    Activity, Answer, PartitionCheck, PartitionInfo, PayloadInfo, PurgeInfo, Question, dead,
    explaining, listing, rows, rules,
};
use crate::{Engine, Error};

/// What questions are answered from.
pub(crate) enum View {
    Stopped(Vec<Arc<dyn StoreRead>>),
    Running(Engine),
}

impl View {
    pub(super) fn stores(&self) -> Vec<Arc<dyn StoreRead>> {
        let of_partition = |partition: &Partition| partition.store().clone() as Arc<dyn StoreRead>;
        match self {
            Self::Stopped(readers) => readers.clone(),
            Self::Running(engine) => engine.0.partitions.iter().map(of_partition).collect(),
        }
    }

    pub(super) fn writable(&self) -> Result<&Engine, Error> {
        match self {
            Self::Running(engine) => Ok(engine),
            Self::Stopped(_) => Err(Error::invalid("an engine that is only read changes nothing")),
        }
    }

    pub(super) fn n_partitions(&self) -> u16 {
        match self {
            Self::Stopped(readers) => u16::try_from(readers.len()).unwrap_or(u16::MAX),
            Self::Running(engine) => engine.n_partitions(),
        }
    }
}

pub(crate) async fn answer(view: &View, question: Question) -> Result<Answer, Error> {
    let names = |topic: String, key: Vec<u8>| {
        let (topic, key) = (TopicName::new(&topic)?, QueueKey::new(key)?);
        Ok::<_, Error>(QueueRef::new(topic, key))
    };
    match question {
        Question::Queues { topic, order, n_max } => {
            Ok(Answer::Queues(listing::queues(view, topic.as_deref(), order, n_max).await?))
        }
        Question::Explain { topic, key } => {
            let explanation = explaining::explain(view, &names(topic, key)?).await?;
            Ok(Answer::Explanation(Box::new(explanation)))
        }
        Question::Partitions => Ok(Answer::Partitions(partitions(view).await?)),
        Question::Payloads => Ok(Answer::Payloads(match view {
            View::Stopped(_) => None,
            View::Running(engine) => Some(PayloadInfo::new(&engine.0.payloads.stats())),
        })),
        Question::Verify => Ok(Answer::Verified(verify_all(view).await?)),
        Question::Purge { topic, key } => {
            Ok(Answer::Purged(purge(view, &names(topic, key)?).await?))
        }
        Question::DeadLetters { topic, key, after, n_max } => {
            dead::list(view, &names(topic, key)?, after, n_max).await
        }
        Question::DeadLetter { topic, key, rank } => {
            dead::show(view, &names(topic, key)?, rank).await
        }
        Question::SettleDead { topic, key, rank, action } => {
            dead::settle(view, &names(topic, key)?, rank, action).await
        }
        Question::SettleAllDead { topic, key, after, action } => {
            dead::settle_step(view, names(topic, key)?, after, action).await
        }
        Question::Rules { topic } => Ok(Answer::Rules(rules::list(view, topic.as_deref()).await?)),
        Question::ChangeRule { key, row, unset } => {
            Ok(Answer::Rule(Box::new(rules::change(view, &key, &row, unset).await?)))
        }
    }
}

async fn purge(view: &View, names: &Arc<QueueRef>) -> Result<PurgeInfo, Error> {
    let engine = view.writable()?;
    let purged = engine.partition_of(names.id).purge(names.id).await?.into_inner();
    let (topic, key) = rows::in_text(names);
    Ok(PurgeInfo { topic, key, n_entries: purged.n_entries, n_leased: purged.n_leased })
}

async fn partitions(view: &View) -> Result<Vec<PartitionInfo>, Error> {
    let mut infos = Vec::new();
    for partition in 0..view.n_partitions() {
        let index = usize::from(partition);
        let info = match view {
            View::Stopped(readers) => stored(&*readers[index]).await?,
            View::Running(engine) => reported(engine, index).await?,
        };
        infos.push(PartitionInfo { partition, ..info });
    }
    Ok(infos)
}

/// What a stopped partition holds.
async fn stored(store: &dyn StoreRead) -> Result<PartitionInfo, Error> {
    let mut info = PartitionInfo::default();
    rows::each_active(store, None, |active| {
        info.n_queues += 1;
        info.n_entries = info.n_entries.saturating_add(active.row.n_ready);
        info.n_delayed = info.n_delayed.saturating_add(active.row.n_delayed);
        info.n_dead = info.n_dead.saturating_add(active.row.n_dead);
        ControlFlow::Continue(())
    })
    .await?;
    info.n_leased = rows::n_leases(store).await?;
    Ok(info)
}

async fn reported(engine: &Engine, index: usize) -> Result<PartitionInfo, Error> {
    let report = engine.0.partitions[index].report(0).await?;
    Ok(PartitionInfo {
        partition: 0,
        n_queues: report.n_queues as u64,
        n_entries: report.n_entries,
        n_delayed: report.n_delayed,
        n_dead: report.n_dead,
        n_leased: report.n_leased,
        activity: Some(Activity::new(&report, engine.0.window_bytes_max)),
    })
}

async fn verify_all(view: &View) -> Result<Vec<PartitionCheck>, Error> {
    let n_partitions = view.n_partitions();
    let mut checks = Vec::new();
    for partition in 0..n_partitions {
        let index = usize::from(partition);
        let found = match view {
            View::Stopped(readers) => verify(&*readers[index], partition, n_partitions).await?,
            // The rows of a running engine change; a checkpoint stands still.
            View::Running(engine) => {
                let store = engine.0.partitions[index].store();
                let checkpoint = store.checkpoint().await.map_err(PartitionError::from)?;
                verify(&*checkpoint.view, partition, n_partitions).await?
            }
        };
        checks.push(check(partition, found));
    }
    Ok(checks)
}

fn check(partition: u16, found: Verification) -> PartitionCheck {
    PartitionCheck {
        partition,
        n_queues: found.n_queues,
        n_entries: found.n_entries,
        n_leases: found.n_leases,
        n_rows: found.n_rows,
        n_problems: found.n_problems,
        problems: found.problems,
    }
}
