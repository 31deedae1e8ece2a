//! `millpond partition`: what the partitions hold, how they are doing, and whether their rows agree.

use std::fmt::Write as _;

use millpond::admin::{Activity, Admin, PartitionCheck, PartitionInfo};

use crate::args::{PartitionVerb, Place};
use crate::failure::{Exit, Failure};
use crate::output::{Column, bytes, count, duration_us, percent, print, print_json, table};

pub(crate) async fn run(verb: PartitionVerb) -> Result<(), Failure> {
    match verb {
        PartitionVerb::Ls { place } => list(&place).await,
        PartitionVerb::Verify { place } => verify(&place).await,
    }
}

async fn list(place: &Place) -> Result<(), Failure> {
    let admin = Admin::connect(&place.data).await?;
    let partitions = admin.partitions().await?;
    if place.json { print_json(&partitions) } else { print(&listed(&partitions)) }
}

fn listed(partitions: &[PartitionInfo]) -> String {
    let columns = ["partition", "queues", "ready", "leased", "delayed", "dead"].map(Column::Number);
    let rows = partitions.iter().map(|info| {
        let PartitionInfo { partition, .. } = info;
        let counts = [info.n_queues, info.n_entries, info.n_leased, info.n_delayed, info.n_dead];
        let [queues, ready, leased, delayed, dead] = counts.map(count);
        [partition.to_string(), queues, ready, leased, delayed, dead]
    });
    let mut text = table(columns, rows);
    let activity = |info: &PartitionInfo| Some((info.partition, info.activity.clone()?));
    let active: Vec<_> = partitions.iter().filter_map(activity).collect();
    if !active.is_empty() {
        text = format!("{text}\n{}", doing(&active));
    }
    text
}

/// How the partitions of a running engine are doing.
pub(crate) fn doing(active: &[(u16, Activity)]) -> String {
    let mut text = format!("{}\n{}", in_memory(active), refills(active));
    for (partition, activity) in active.iter().filter(|(_, activity)| activity.recalling) {
        let _ = match &activity.recall_failure {
            None => writeln!(text, "\npartition {partition}: bringing queues back"),
            Some(why) => {
                writeln!(text, "\npartition {partition}: bringing queues back fails: {why}")
            }
        };
    }
    text
}

/// What the partitions of a running engine keep in memory.
fn in_memory(active: &[(u16, Activity)]) -> String {
    let columns = ["partition", "queues in memory", "windows", "of", "hit rate", "set aside"];
    let rows = active.iter().map(|(partition, activity)| {
        [
            partition.to_string(),
            count(activity.n_resident),
            bytes(activity.window_bytes),
            bytes(activity.window_bytes_max),
            percent(activity.hit_rate),
            count(activity.n_set_aside),
        ]
    });
    table(columns.map(Column::Number), rows)
}

/// How the heads of queues came into memory.
fn refills(active: &[(u16, Activity)]) -> String {
    let columns = [
        "partition",
        "read on demand",
        "read ahead",
        "p50",
        "p99",
        "max",
        "would block",
        "overflows",
    ];
    let rows = active.iter().map(|(partition, activity)| {
        [
            partition.to_string(),
            count(activity.n_refills_demanded),
            count(activity.n_refills_ahead),
            duration_us(activity.refill_p50_us),
            duration_us(activity.refill_p99_us),
            duration_us(activity.refill_max_us),
            percent(activity.would_block_rate),
            count(activity.n_overlay_overflows),
        ]
    });
    table(columns.map(Column::Number), rows)
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
