//! `millpond queue`: which queues there are, why one is, or is not, being served, pausing it and emptying it.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use millpond::admin::{
    Admin, DelayedInfo, Explanation, Order, PurgeInfo, QueueInfo, RuleChange, WaitsFor,
};

use crate::args::{Place, QueueVerb};
use crate::ask;
use crate::failure::Failure;
use crate::output::{Column, bytes, count, duration_us, print, print_json, table};
use crate::{partition, rule, top};

pub(crate) async fn run(verb: QueueVerb) -> Result<(), Failure> {
    match verb {
        QueueVerb::Ls { place, topic, limit } => {
            let admin = Admin::connect(&place.data).await?;
            let queues = list(&admin, topic.as_deref(), Order::Name, limit).await?;
            if place.json { print_json(&queues) } else { print(&listed(&queues)) }
        }
        QueueVerb::Top(arguments) => top::run(&arguments).await,
        QueueVerb::Explain { place, topic, key } => {
            let admin = Admin::connect(&place.data).await?;
            let explanation = admin.explain(&topic, key.as_bytes()).await?;
            if place.json { print_json(&explanation) } else { print(&explained(&explanation)) }
        }
        QueueVerb::Pause { place, queue } => rule::queue(&place, &queue, RuleChange::pause()).await,
        QueueVerb::Resume { place, queue } => {
            rule::queue(&place, &queue, RuleChange::resume()).await
        }
        QueueVerb::Purge { place, topic, key, yes } => {
            let purged = purge(&place, &topic, &key, yes).await?;
            if place.json { print_json(&purged) } else { print(&removed(&purged)) }
        }
    }
}

async fn list(
    admin: &Admin,
    topic: Option<&str>,
    order: Order,
    limit: u64,
) -> Result<Vec<QueueInfo>, Failure> {
    let n_max = usize::try_from(limit).unwrap_or(usize::MAX);
    let list = admin.queues(topic, order, n_max).await?;
    if let Some(why) = list.incomplete {
        // Standard error may be closed, and then there is nobody to tell.
        let _ = writeln!(io::stderr(), "millpond: the list may lack queues: {why}");
    }
    Ok(list.queues)
}

fn listed(queues: &[QueueInfo]) -> String {
    if queues.is_empty() {
        return "no queue holds anything\n".to_owned();
    }
    let columns = [
        Column::Text("topic"),
        Column::Text("queue"),
        Column::Number("ready"),
        Column::Number("leased"),
        Column::Number("delayed"),
        Column::Number("dead"),
        Column::Number("head waits"),
        Column::Number("partition"),
    ];
    let rows = queues.iter().map(|queue| {
        [
            queue.topic.clone(),
            queue.key.clone(),
            count(queue.n_entries),
            count(queue.n_leased),
            count(queue.n_delayed),
            count(queue.n_dead),
            waits(queue),
            queue.partition.to_string(),
        ]
    });
    table(columns, rows)
}

pub(crate) fn waits(queue: &QueueInfo) -> String {
    queue.head_waits_ms.map_or("-".to_owned(), |ms| duration_us(ms.saturating_mul(1000)))
}

fn explained(explanation: &Explanation) -> String {
    let Explanation { queue, state, reason, window, activity, leases, delayed, .. } = explanation;
    let mut text = format!("{} / {}: {state}: {reason}\n", queue.topic, queue.key);
    for also in &explanation.also {
        let _ = writeln!(text, "also: {also}");
    }
    text.push('\n');
    let mut facts = vec![
        ("ready", count(queue.n_entries)),
        ("leased", count(queue.n_leased)),
        ("delayed", count(queue.n_delayed)),
        ("dead", count(queue.n_dead)),
        ("head waits", waits(queue)),
    ];
    if let Some(window) = window {
        let n_entries = entries(window.n_entries);
        facts.extend([
            ("in memory", format!("{n_entries}, {}", bytes(window.n_bytes))),
            ("refill", window.refill.clone()),
            ("set aside", count(window.n_set_aside)),
        ]);
    }
    facts.extend([("partition", queue.partition.to_string()), ("id", queue.id.clone())]);
    for (name, value) in facts {
        let _ = writeln!(text, "{name:<11} {value}");
    }
    if !explanation.rules.is_empty() {
        let _ = write!(text, "\nrules\n{}", rule::held(&explanation.rules));
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
    if !delayed.is_empty() {
        text.push('\n');
        text += &waiting(delayed);
    }
    if let Some(activity) = activity {
        text = format!("{text}\n{}", partition::doing(&[(queue.partition, activity.clone())]));
    }
    text
}

fn waiting(delayed: &[DelayedInfo]) -> String {
    let columns = ["entry", "attempts", "ready in"].map(Column::Number);
    let [entry, attempts, ready_in] = columns;
    let rows = delayed.iter().map(|info| {
        let waits_for = match info.waits_for {
            WaitsFor::Delay => "a delay",
            WaitsFor::Date => "a date",
            WaitsFor::BackOff => "a retry",
        };
        [
            info.sequence.to_string(),
            info.n_attempts.to_string(),
            duration_us(info.due_in_ms.saturating_mul(1000)),
            waits_for.to_owned(),
        ]
    });
    table([entry, attempts, ready_in, Column::Text("waits for")], rows)
}

async fn purge(place: &Place, topic: &str, key: &str, yes: bool) -> Result<PurgeInfo, Failure> {
    if !yes {
        ask::somebody_is_there("purge a queue")?;
    }
    let admin = Admin::connect(&place.data).await?;
    if !yes {
        let queue = admin.explain(topic, key.as_bytes()).await?.queue;
        let n_entries = queue.n_held();
        let QueueInfo { topic, key, n_leased, .. } = queue;
        if n_entries == 0 {
            // Whatever comes now is not what was meant.
            return Ok(PurgeInfo { topic, key, n_entries, n_leased });
        }
        let held = counted(n_entries, n_leased);
        ask::or_decline(&format!("Remove everything that {topic} / {key} holds ({held})?"))?;
    }
    Ok(admin.purge(topic, key.as_bytes()).await?)
}

fn removed(purged: &PurgeInfo) -> String {
    let PurgeInfo { topic, key, n_entries, n_leased } = purged;
    match n_entries {
        0 => format!("{topic} / {key} holds nothing\n"),
        _ => format!("{topic} / {key}: removed {}\n", counted(*n_entries, *n_leased)),
    }
}

fn counted(n_entries: u64, n_leased: u64) -> String {
    match n_leased {
        0 => entries(n_entries),
        _ => format!("{}, {} of them leased", entries(n_entries), count(n_leased)),
    }
}

fn entries(n: u64) -> String {
    format!("{} {}", count(n), if n == 1 { "entry" } else { "entries" })
}
