//! `millpond queue`: which queues there are, and why one is, or is not, being served.

use std::fmt::Write as _;

use millpond::admin::{Admin, Explanation, Order, QueueInfo};

use crate::args::{Place, QueueVerb, TopBy};
use crate::failure::Failure;
use crate::output::{Column, count, duration_us, print, print_json, table};

pub(crate) async fn run(verb: QueueVerb) -> Result<(), Failure> {
    match verb {
        QueueVerb::Ls { place, topic, limit } => {
            list(&place, topic.as_deref(), Order::Name, limit).await
        }
        QueueVerb::Top { place, topic, by, limit } => {
            let order = match by {
                TopBy::Deepest => Order::Deepest,
                TopBy::Oldest => Order::Oldest,
            };
            list(&place, topic.as_deref(), order, limit).await
        }
        QueueVerb::Explain { place, topic, key } => {
            let admin = Admin::connect(&place.data).await?;
            let explanation = admin.explain(&topic, key.as_bytes()).await?;
            if place.json { print_json(&explanation) } else { print(&explained(&explanation)) }
        }
    }
}

async fn list(place: &Place, topic: Option<&str>, order: Order, limit: u64) -> Result<(), Failure> {
    let admin = Admin::connect(&place.data).await?;
    let n_max = usize::try_from(limit).unwrap_or(usize::MAX);
    let queues = admin.queues(topic, order, n_max).await?;
    if place.json { print_json(&queues) } else { print(&listed(&queues)) }
}

fn listed(queues: &[QueueInfo]) -> String {
    if queues.is_empty() {
        return "no queue holds anything\n".to_owned();
    }
    let columns = [
        Column::Text("topic"),
        Column::Text("queue"),
        Column::Number("entries"),
        Column::Number("leased"),
        Column::Number("head waits"),
        Column::Number("partition"),
    ];
    let rows = queues.iter().map(|queue| {
        [
            queue.topic.clone(),
            queue.key.clone(),
            count(queue.n_entries),
            count(queue.n_leased),
            waits(queue),
            queue.partition.to_string(),
        ]
    });
    table(columns, rows)
}

fn waits(queue: &QueueInfo) -> String {
    queue.head_waits_ms.map_or("-".to_owned(), |ms| duration_us(ms.saturating_mul(1000)))
}

fn explained(explanation: &Explanation) -> String {
    let Explanation { queue, state, reason, leases } = explanation;
    let mut text = format!("{} / {}: {state}: {reason}\n\n", queue.topic, queue.key);
    let facts = [
        ("entries", count(queue.n_entries)),
        ("leased", count(queue.n_leased)),
        ("head waits", waits(queue)),
        ("partition", queue.partition.to_string()),
        ("id", queue.id.clone()),
    ];
    for (name, value) in facts {
        let _ = writeln!(text, "{name:<11} {value}");
    }
    if !leases.is_empty() {
        let columns = ["entry", "attempt", "lease", "ends in"].map(Column::Number);
        let rows = leases.iter().map(|lease| {
            [
                lease.sequence.to_string(),
                lease.attempt.to_string(),
                lease.token.clone(),
                duration_us(lease.ends_in_ms.saturating_mul(1000)),
            ]
        });
        text.push('\n');
        text += &table(columns, rows);
    }
    text
}
