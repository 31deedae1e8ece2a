//! `millpond queue top`: the queues that need attention most, and what they got in between.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write as _};

use millpond::admin::{Admin, Order, PartitionInfo, QueueInfo};
use serde::Serialize;

use crate::args::{TopArguments, TopBy};
use crate::clock::{self, Micros};
use crate::failure::{Exit, Failure};
use crate::output::{self, Column, count, percent, table};
use crate::partition;
use crate::queue::waits;
use crate::signals::Signals;
use crate::units::Millis;

/// Brings the cursor of a terminal home, and clears what is below.
const REDRAW: &str = "\u{1b}[H\u{1b}[J";

pub(crate) async fn run(arguments: &TopArguments) -> Result<(), Failure> {
    let Millis(interval_ms) = arguments.interval;
    if arguments.watch && interval_ms == 0 {
        return Err(Failure::new(Exit::Usage, "--watch needs an --interval above 0"));
    }
    if arguments.by == TopBy::Rate && arguments.limit > Admin::RATED_MAX as u64 {
        let text = format!(
            "--by rate compares at most {} queues: name a smaller --limit",
            Admin::RATED_MAX
        );
        return Err(Failure::new(Exit::Usage, text));
    }
    let admin = Admin::connect(&arguments.place.data).await?;
    if arguments.watch {
        let mut signals = Signals::listen()?;
        return tokio::select! {
            watched = watch(&admin, arguments) => watched,
            exit = signals.next() => Err(Failure::silent(exit)),
        };
    }
    let is_compared = interval_ms > 0 && admin.is_running();
    let before = if is_compared { Some(Look::take(&admin, arguments).await?) } else { None };
    if is_compared {
        wait(interval_ms).await;
    }
    let look = Look::take(&admin, arguments).await?;
    look.note_incomplete();
    let text = look.shown(before.as_ref(), arguments)?;
    output::print(&text)
}

/// Looks again and again, until nobody reads any more.
async fn watch(admin: &Admin, arguments: &TopArguments) -> Result<(), Failure> {
    let redraws = !arguments.place.json && io::stdout().is_terminal();
    let mut before: Option<Look> = None;
    loop {
        let look = Look::take(admin, arguments).await?;
        if before.is_none() {
            look.note_incomplete();
        }
        let text = look.shown(before.as_ref(), arguments)?;
        let begin = if redraws { REDRAW } else { "" };
        let end = if redraws || arguments.place.json { "" } else { "\n" };
        if !output::is_read(&format!("{begin}{text}{end}"))? {
            return Ok(());
        }
        before = Some(look);
        wait(arguments.interval.0).await;
    }
}

async fn wait(interval_ms: u64) {
    clock::sleep_until(Micros::now().plus(interval_ms.saturating_mul(1000))).await;
}

/// What was seen at one time.
struct Look {
    at: Micros,
    queues: Vec<QueueInfo>,
    partitions: Vec<PartitionInfo>,
    incomplete: Option<String>,
}

/// A queue, and what it got between two looks.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    #[serde(flatten)]
    queue: QueueInfo,
    /// Leases per second; absent without a look before, or if it was not seen then.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_per_s: Option<f64>,
    /// The part of all leases of the engine, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
}

#[derive(Serialize)]
struct Top<'a> {
    queues: &'a [Row],
    partitions: &'a [PartitionInfo],
}

impl Look {
    async fn take(admin: &Admin, arguments: &TopArguments) -> Result<Self, Failure> {
        let order = match arguments.by {
            TopBy::Deepest | TopBy::Rate => Order::Deepest,
            TopBy::Dead => Order::MostDead,
            TopBy::Oldest => Order::Oldest,
        };
        let n_max = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
        let list = admin.queues(arguments.topic.as_deref(), order, n_max).await?;
        let at = Micros::now();
        let partitions = admin.partitions().await?;
        Ok(Self { at, queues: list.queues, partitions, incomplete: list.incomplete })
    }

    fn note_incomplete(&self) {
        if let Some(why) = &self.incomplete {
            // Standard error may be closed, and then there is nobody to tell.
            let _ = writeln!(io::stderr(), "millpond: the list may lack queues: {why}");
        }
    }

    /// Leases granted by all partitions since they were opened.
    fn n_granted(&self) -> u64 {
        let active = self.partitions.iter().filter_map(|info| info.activity.as_ref());
        active.map(|activity| activity.n_granted).sum()
    }

    fn shown(&self, before: Option<&Self>, arguments: &TopArguments) -> Result<String, Failure> {
        let mut rows = self.rows(before);
        if arguments.by == TopBy::Rate {
            rows.sort_by(|a, b| {
                b.rate_per_s.unwrap_or(-1.0).total_cmp(&a.rate_per_s.unwrap_or(-1.0))
            });
        }
        if arguments.place.json {
            return output::json(&Top { queues: &rows, partitions: &self.partitions });
        }
        let activity = |info: &PartitionInfo| Some((info.partition, info.activity.clone()?));
        let active: Vec<_> = self.partitions.iter().filter_map(activity).collect();
        let queues = listed(&rows);
        let has_activity = !active.is_empty();
        Ok(if has_activity { format!("{queues}\n{}", partition::doing(&active)) } else { queues })
    }

    fn rows(&self, before: Option<&Self>) -> Vec<Row> {
        let ids = |look: &Self| {
            let granted = |queue: &QueueInfo| Some((queue.id.clone(), queue.n_granted?));
            look.queues.iter().filter_map(granted).collect::<HashMap<_, _>>()
        };
        let earlier = before.map(ids).unwrap_or_default();
        // One that has less than before left memory meanwhile, and counts anew.
        let granted = |queue: &QueueInfo| {
            queue.n_granted?.checked_sub(*earlier.get(&queue.id)?).map(u64::from)
        };
        let n_shown: u64 = self.queues.iter().filter_map(granted).sum();
        // The partitions are asked after the queues, so a few leases may be missing in the sum.
        let n_all = before.map_or(0, |look| self.n_granted().saturating_sub(look.n_granted()));
        let n_all = n_all.max(n_shown);
        let us = before.map_or(0, |look| self.at.since(look.at));
        let row = |queue: &QueueInfo| {
            let n = granted(queue);
            Row {
                queue: queue.clone(),
                rate_per_s: n.filter(|_| us > 0).map(|n| part(n, us) * 1e6),
                share: n.map(|n| if n_all == 0 { 0.0 } else { part(n, n_all) }),
            }
        };
        self.queues.iter().map(row).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn part(n: u64, of: u64) -> f64 {
    n as f64 / of as f64
}

fn listed(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no queue holds anything\n".to_owned();
    }
    let columns = [
        Column::Text("topic"),
        Column::Text("queue"),
        Column::Number("ready"),
        Column::Number("leased"),
        Column::Number("dead"),
        Column::Number("head waits"),
        Column::Number("rate"),
        Column::Number("share"),
        Column::Number("weight"),
        Column::Number("partition"),
    ];
    let unknown = || "?".to_owned();
    let rows = rows.iter().map(|row| {
        let queue = &row.queue;
        [
            queue.topic.clone(),
            queue.key.clone(),
            count(queue.n_entries),
            count(queue.n_leased),
            count(queue.n_dead),
            waits(queue),
            row.rate_per_s.map_or_else(unknown, |rate| format!("{rate:.1}/s")),
            row.share.map_or_else(unknown, percent),
            queue.weight.map_or_else(unknown, |weight| count(weight.into())),
            queue.partition.to_string(),
        ]
    });
    table(columns, rows)
}

#[cfg(test)]
mod tests;
