//! Listing queues: the first by some order, with as much memory as the list itself.

use std::cmp::Reverse;
use std::ops::ControlFlow;

use millpond_partition::{Clock, QueueReport};
use millpond_storage_api::StoreRead;
use millpond_types::{ActiveRow, QueueId, TopicId, TopicName, UnixMillis};

use super::lowest::Lowest;
use super::rows::{self, Active};
use super::{Admin, Order, QueueInfo, QueueList, View};
use crate::{Engine, Error};

/// Queues that a running loop may be asked for: to describe each takes it a moment in which it serves
/// nobody.
const REPORTED_MAX: usize = Admin::RATED_MAX;

pub(super) async fn queues(
    view: &View,
    topic: Option<&str>,
    order: Order,
    n_max: usize,
) -> Result<QueueList, Error> {
    let topic = topic.map(TopicName::new).transpose()?.map(|name| TopicId::derive(&name));
    let n_max = n_max.min(Admin::LISTED_MAX);
    let now = Clock::start().now();
    let mut listing = Listing { view, topic, now, order, n_max, passed_over: None };
    let mut queues = match order {
        Order::Name => listing.by_name().await?,
        Order::Deepest => listing.by_count(|row| row.n_ready, |info| info.n_entries).await?,
        Order::MostDead => listing.by_count(|row| row.n_dead, |info| info.n_dead).await?,
        Order::Oldest => listing.by_age().await?,
    };
    if let View::Running(engine) = view
        && order != Order::Name
        && queues.len() <= REPORTED_MAX
    {
        add_turns(engine, &mut queues).await?;
    }
    Ok(QueueList { queues, incomplete: listing.passed_over })
}

/// What only the loops know, of queues that were described from rows.
async fn add_turns(engine: &Engine, queues: &mut [QueueInfo]) -> Result<(), Error> {
    for info in queues.iter_mut().filter(|info| info.n_granted.is_none()) {
        let Ok(id) = u128::from_str_radix(&info.id, 16) else { continue };
        let id = QueueId(id.to_be_bytes());
        if let Some(report) = engine.partition_of(id).report_queue(id).await? {
            info.add_turns(&report);
        }
    }
    Ok(())
}

/// A list being made.
struct Listing<'a> {
    view: &'a View,
    topic: Option<TopicId>,
    now: UnixMillis,
    order: Order,
    n_max: usize,
    /// What was not looked at.
    passed_over: Option<String>,
}

/// A queue, and the partition whose store it is in.
type Found = (usize, Active);

impl Listing<'_> {
    async fn by_name(&mut self) -> Result<Vec<QueueInfo>, Error> {
        let mut first = Lowest::new(self.n_max);
        let mut n_left = Admin::LISTED_MAX;
        let mut is_cut = false;
        for (partition, store) in self.view.stores().into_iter().enumerate() {
            let mut found = Vec::new();
            let n_malformed = rows::each_active(&*store, self.topic, |active| {
                if found.len() == n_left {
                    is_cut = true;
                    return ControlFlow::Break(());
                }
                found.push(active);
                ControlFlow::Continue(())
            })
            .await?;
            self.note_malformed(n_malformed);
            n_left -= found.len();
            for active in found {
                let names = rows::names(&*store, active.key).await?;
                first.push(names, (partition, active));
            }
        }
        if is_cut {
            let n = Admin::LISTED_MAX;
            self.passed_over = Some(format!("only {n} queues were looked at; name a topic"));
        }
        self.describe_all(first.into_sorted()).await
    }

    /// Whatever has most comes first; what that is, is read from a row or from what is told in the end.
    async fn by_count(
        &mut self,
        of_row: fn(&ActiveRow) -> u64,
        of_info: fn(&QueueInfo) -> u64,
    ) -> Result<Vec<QueueInfo>, Error> {
        let lists_none = self.order != Order::MostDead;
        let mut deepest = Lowest::new(self.n_max);
        let mut infos = Lowest::new(self.n_max);
        let mut n_seen = 0;
        for (partition, store) in self.view.stores().into_iter().enumerate() {
            if let View::Running(engine) = self.view
                && let Some(reports) = self.reported(engine, partition).await?
            {
                for report in reports {
                    let info = self.describe_report(&*store, partition, report).await?;
                    infos.push(Reverse(of_info(&info)), info);
                }
                continue;
            }
            let n_malformed = rows::each_active(&*store, self.topic, |active| {
                let n = of_row(&active.row);
                if n > 0 || lists_none {
                    n_seen += 1;
                    deepest.push(Reverse(n), (partition, active));
                }
                ControlFlow::Continue(())
            })
            .await?;
            self.note_malformed(n_malformed);
        }
        if n_seen > Admin::LISTED_MAX && self.n_max == Admin::LISTED_MAX {
            self.passed_over = Some(format!("it ends after {} queues", Admin::LISTED_MAX));
        }
        for info in self.describe_all(deepest.into_sorted()).await? {
            infos.push(Reverse(of_info(&info)), info);
        }
        Ok(infos.into_sorted())
    }

    /// What the loop of a partition knows of its deepest queues, if that is what was asked for.
    async fn reported(
        &self,
        engine: &Engine,
        partition: usize,
    ) -> Result<Option<Vec<QueueReport>>, Error> {
        let may_be = self.order == Order::Deepest && self.topic.is_none();
        if !may_be || self.n_max > REPORTED_MAX {
            return Ok(None);
        }
        let report = engine.0.partitions[partition].report(self.n_max).await?;
        // Storage knows more until all queues are back, and of queues that left because nothing is ready.
        let is_all = report.deepest.len() >= self.n_max.min(report.n_queues);
        Ok((report.recalling.is_none() && is_all).then_some(report.deepest))
    }

    async fn by_age(&mut self) -> Result<Vec<QueueInfo>, Error> {
        let mut oldest = Lowest::new(self.n_max);
        for (partition, store) in self.view.stores().into_iter().enumerate() {
            // Sequences grow with time, and the floor is close to the head: that tells whose head to read.
            let mut candidates = Lowest::new(Admin::HEADS_READ_MAX);
            let mut n_seen = 0;
            let n_malformed = rows::each_active(&*store, self.topic, |active| {
                if active.row.n_ready == 0 {
                    return ControlFlow::Continue(());
                }
                n_seen += 1;
                candidates.push(active.row.floor.sequence, (partition, active));
                ControlFlow::Continue(())
            })
            .await?;
            self.note_malformed(n_malformed);
            if n_seen > Admin::HEADS_READ_MAX {
                let n = Admin::HEADS_READ_MAX;
                let text = format!("only the {n} queues that seem oldest were looked at");
                self.passed_over = Some(text);
            }
            for info in self.describe_all(candidates.into_sorted()).await? {
                oldest.push(Reverse(info.head_waits_ms), info);
            }
        }
        Ok(oldest.into_sorted())
    }

    fn note_malformed(&mut self, n_malformed: u64) {
        if n_malformed > 0 {
            let text = "damaged rows were passed over: `partition verify` lists them";
            self.passed_over = Some(text.to_owned());
        }
    }

    async fn describe_all(&self, found: Vec<Found>) -> Result<Vec<QueueInfo>, Error> {
        let stores = self.view.stores();
        let mut infos = Vec::with_capacity(found.len());
        for (partition, active) in found {
            infos.push(describe(&*stores[partition], partition, &active, self.now).await?);
        }
        Ok(infos)
    }

    async fn describe_report(
        &self,
        store: &dyn StoreRead,
        partition: usize,
        report: QueueReport,
    ) -> Result<QueueInfo, Error> {
        let (topic, key) = match &report.names {
            Some(names) => rows::in_text(names),
            None => rows::names(store, rows::key_of(&report)).await?,
        };
        let head = rows::head_of_report(store, &report).await?;
        let mut info = QueueInfo {
            topic,
            key,
            id: report.id.to_string(),
            partition: number(partition),
            n_entries: report.n_entries,
            n_delayed: report.n_delayed,
            n_dead: report.n_dead,
            n_leased: report.n_leased,
            head_waits_ms: head.map(|enqueued_at| self.now.since(enqueued_at)),
            ..QueueInfo::default()
        };
        info.add_turns(&report);
        Ok(info)
    }
}

/// Describes a queue from its rows alone.
async fn describe(
    store: &dyn StoreRead,
    partition: usize,
    active: &Active,
    now: UnixMillis,
) -> Result<QueueInfo, Error> {
    let (topic, key) = rows::names(store, active.key).await?;
    let leases = rows::leases_in_force(store, active.key.queue).await?;
    let head = rows::head_enqueued_at(store, active, &leases).await?;
    Ok(QueueInfo {
        topic,
        key,
        id: active.key.queue.to_string(),
        partition: number(partition),
        n_entries: active.row.n_ready,
        n_delayed: active.row.n_delayed,
        n_dead: active.row.n_dead,
        n_leased: leases.len() as u64,
        head_waits_ms: head.map(|enqueued_at| now.since(enqueued_at)),
        ..QueueInfo::default()
    })
}

fn number(partition: usize) -> u16 {
    u16::try_from(partition).expect("an engine has at most 1,024 partitions")
}

#[cfg(test)]
mod tests;
