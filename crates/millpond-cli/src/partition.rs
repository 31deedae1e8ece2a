//! `millpond partition`: what the partitions hold, and whether their rows agree.

use std::fmt::Write as _;

use millpond::admin::{Admin, Order, PartitionCheck};
use serde::Serialize;

use crate::args::{PartitionVerb, Place};
use crate::failure::{Exit, Failure};
use crate::output::{Column, count, print, print_json, table};

pub(crate) async fn run(verb: PartitionVerb) -> Result<(), Failure> {
    match verb {
        PartitionVerb::Ls { place } => list(&place).await,
        PartitionVerb::Verify { place } => verify(&place).await,
    }
}

/// What one partition holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Holding {
    partition: u16,
    n_queues: u64,
    n_entries: u64,
    n_leased: u64,
}

async fn list(place: &Place) -> Result<(), Failure> {
    let admin = Admin::connect(&place.data).await?;
    let partitions = 0..admin.n_partitions();
    let mut holdings: Vec<_> =
        partitions.map(|partition| Holding { partition, ..Holding::default() }).collect();
    for queue in admin.queues(None, Order::Name, usize::MAX).await? {
        if let Some(holding) = holdings.get_mut(usize::from(queue.partition)) {
            holding.n_queues += 1;
            holding.n_entries += queue.n_entries;
            holding.n_leased += queue.n_leased;
        }
    }
    if place.json {
        return print_json(&holdings);
    }
    let columns = ["partition", "queues", "entries", "leased"].map(Column::Number);
    let rows = holdings.iter().map(|holding| {
        let Holding { partition, n_queues, n_entries, n_leased } = holding;
        [partition.to_string(), count(*n_queues), count(*n_entries), count(*n_leased)]
    });
    print(&table(columns, rows))
}

async fn verify(place: &Place) -> Result<(), Failure> {
    let admin = Admin::connect(&place.data).await?;
    let checks = admin.verify().await?;
    if place.json {
        print_json(&checks)?;
    } else {
        print(&verified(&checks))?;
    }
    if checks.iter().all(|check| check.n_problems == 0) {
        return Ok(());
    }
    Err(Failure::silent(Exit::Problem))
}

fn verified(checks: &[PartitionCheck]) -> String {
    let columns =
        ["partition", "queues", "entries", "leases", "rows", "problems"].map(Column::Number);
    let rows = checks.iter().map(|check| {
        [
            check.partition.to_string(),
            count(check.n_queues),
            count(check.n_entries),
            count(check.n_leases),
            count(check.n_rows),
            count(check.n_problems),
        ]
    });
    let mut text = table(columns, rows);
    for check in checks {
        for problem in &check.problems {
            let _ = writeln!(text, "partition {}: {problem}", check.partition);
        }
    }
    text
}
