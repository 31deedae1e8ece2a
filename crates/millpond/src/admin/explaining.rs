//! Why a queue is, or is not, being served.

use std::sync::Arc;

use millpond_partition::{Clock, QueueRef, QueueReport, QueueState, inspect};
use millpond_storage_api::StoreRead;
use millpond_types::UnixMillis;

use super::rows::{self, Active, Leases};
use super::{Activity, DelayedInfo, Explanation, LeaseInfo, QueueInfo, View, WindowInfo, waiting};
use crate::Error;

/// Leases that are listed.
const LEASES_MAX: usize = 100;

pub(super) async fn explain(view: &View, names: &Arc<QueueRef>) -> Result<Explanation, Error> {
    let now = Clock::start().now();
    let partition = usize::from(names.id.partition(view.n_partitions()));
    match view {
        View::Stopped(stores) => explain_stopped(view, &*stores[partition], names, now).await,
        View::Running(engine) => {
            let partition = &engine.0.partitions[partition];
            let report = partition.report_queue(names.id).await?;
            let store = &**partition.store();
            let mut explanation = explain_running(view, store, names, report.as_ref(), now).await?;
            let report = partition.report(0).await?;
            explanation.activity = Some(Activity::new(&report, engine.0.window_bytes_max));
            Ok(explanation)
        }
    }
}

async fn explain_stopped(
    view: &View,
    store: &dyn StoreRead,
    names: &Arc<QueueRef>,
    now: UnixMillis,
) -> Result<Explanation, Error> {
    let mut queue = nothing(view, names);
    let mut leases = Leases::new();
    if let Some(stored) = inspect::queue(store, names).await? {
        let active = Active { key: stored.key, row: stored.row };
        leases = rows::leases_in_force(store, names.id).await?;
        let head = rows::head_enqueued_at(store, &active, &leases).await?;
        queue.n_entries = active.row.n_ready;
        queue.n_delayed = active.row.n_delayed;
        queue.n_dead = active.row.n_dead;
        queue.n_leased = leases.len() as u64;
        queue.head_waits_ms = head.map(|enqueued_at| now.since(enqueued_at));
    }
    let leases = listed(leases, now);
    let delayed = waiting::delayed(store, names.id, now).await?;
    let (state, reason) = stopped_state(&queue, leases.first(), delayed.first());
    Ok(Explanation {
        queue,
        state: state.to_owned(),
        reason,
        window: None,
        activity: None,
        leased_by: None,
        leases,
        delayed,
    })
}

async fn explain_running(
    view: &View,
    store: &dyn StoreRead,
    names: &Arc<QueueRef>,
    report: Option<&QueueReport>,
    now: UnixMillis,
) -> Result<Explanation, Error> {
    let mut queue = nothing(view, names);
    let mut leases = Leases::new();
    if let Some(report) = report {
        let head = rows::head_of_report(store, report).await?;
        leases = rows::leases_in_force(store, names.id).await?;
        queue.n_entries = report.n_entries;
        queue.n_delayed = report.n_delayed;
        queue.n_dead = report.n_dead;
        queue.n_leased = report.n_leased;
        queue.head_waits_ms = head.map(|enqueued_at| now.since(enqueued_at));
    }
    let delayed = waiting::delayed(store, names.id, now).await?;
    let (state, reason) = running_state(report, delayed.first(), now);
    let leased_by = report.and_then(|report| match &report.state {
        QueueState::Leased { by, .. } => Some(by.as_ref()?.to_string()),
        _ => None,
    });
    Ok(Explanation {
        queue,
        state: state.to_owned(),
        reason,
        window: Some(report.map(window).unwrap_or_default()),
        activity: None,
        leased_by,
        leases: listed(leases, now),
        delayed,
    })
}

/// What is said of a queue that holds nothing.
fn nothing(view: &View, names: &QueueRef) -> QueueInfo {
    let (topic, key) = rows::in_text(names);
    QueueInfo {
        topic,
        key,
        id: names.id.to_string(),
        partition: names.id.partition(view.n_partitions()),
        n_entries: 0,
        n_delayed: 0,
        n_dead: 0,
        n_leased: 0,
        head_waits_ms: None,
    }
}

/// Nearest deadline first.
fn listed(leases: Leases, now: UnixMillis) -> Vec<LeaseInfo> {
    let mut leases: Vec<_> = leases.into_iter().collect();
    leases.sort_by_key(|(sequence, row)| (row.deadline, *sequence));
    leases.truncate(LEASES_MAX);
    let info = |(sequence, row): (millpond_types::Sequence, millpond_types::LeaseRow)| LeaseInfo {
        sequence: sequence.0,
        token: row.token.to_string(),
        attempt: row.attempts,
        ends_in_ms: row.deadline.since(now),
    };
    leases.into_iter().map(info).collect()
}

fn stopped_state(
    queue: &QueueInfo,
    lease: Option<&LeaseInfo>,
    delayed: Option<&DelayedInfo>,
) -> (&'static str, String) {
    if queue.head_waits_ms.is_some() || delayed.is_some_and(|first| first.due_in_ms == 0) {
        return ("stopped", "it has entries to be served, and no engine is running".to_owned());
    }
    if queue.n_entries == 0 {
        return nothing_ready(queue.n_delayed, queue.n_dead, delayed);
    }
    match (queue.n_entries.saturating_sub(queue.n_leased), lease) {
        (0, Some(lease)) => ("leased", all_leased(None, lease.ends_in_ms)),
        (n_left, _) => ("set_aside", undecodable(n_left)),
    }
}

fn running_state(
    report: Option<&QueueReport>,
    delayed: Option<&DelayedInfo>,
    now: UnixMillis,
) -> (&'static str, String) {
    let Some(report) = report else { return nothing_ready(0, 0, None) };
    let fixed = |state: &'static str, reason: &str| (state, reason.to_owned());
    match &report.state {
        QueueState::Empty | QueueState::Delayed => {
            nothing_ready(report.n_delayed, report.n_dead, delayed)
        }
        QueueState::Ready { n_ahead: 0 } => {
            fixed("ready", "its head is next to be leased; no consumer has asked")
        }
        QueueState::Ready { n_ahead } => {
            ("ready", format!("its head can be leased; {n_ahead} queues of the topic come first"))
        }
        QueueState::Leased { until, by } => ("leased", all_leased(by.as_deref(), until.since(now))),
        QueueState::Cold => {
            fixed("cold", "its head is not in memory; it is read when the turn of the queue comes")
        }
        QueueState::Loading => fixed("loading", "its head is being read from storage"),
        QueueState::Committing => {
            fixed("committing", "a change of its head is on its way to storage")
        }
        QueueState::BackingOff { until, error } => {
            let ms = until.since(now);
            ("unreadable", format!("its head cannot be read ({error}); next try in {ms} ms"))
        }
        QueueState::Purging => fixed("purging", "everything it held is being removed"),
        QueueState::SetAside { n_entries } => ("set_aside", undecodable(*n_entries)),
        _ => fixed("unknown", "this version cannot describe its state"),
    }
}

fn nothing_ready(
    n_delayed: u64,
    n_dead: u64,
    delayed: Option<&DelayedInfo>,
) -> (&'static str, String) {
    match (n_delayed, n_dead) {
        (0, 0) => ("empty", "it holds nothing".to_owned()),
        (0, _) => ("dead", format!("all that it holds are dead letters ({n_dead})")),
        _ => waiting::state(delayed),
    }
}

fn all_leased(by: Option<&str>, ms: u64) -> String {
    let of = by.map_or(String::new(), |by| format!(", of {by:?},"));
    format!("everything that is ready is leased; the first lease{of} ends in {ms} ms")
}

fn undecodable(n_entries: u64) -> String {
    format!(
        "what is left of it cannot be decoded ({n_entries} entries); `partition verify` tells why"
    )
}

fn window(report: &QueueReport) -> WindowInfo {
    let n_entries = report.n_cached as u64;
    let n_set_aside = match report.state {
        QueueState::SetAside { n_entries } => n_entries,
        _ => report.n_set_aside as u64,
    };
    let n_known = n_entries.saturating_add(report.n_leased).saturating_add(n_set_aside);
    let refill = match &report.state {
        QueueState::Cold => "on its turn",
        QueueState::Loading => "under way",
        QueueState::BackingOff { .. } => "after a pause",
        QueueState::Purging => "after the purge",
        _ if n_known >= report.n_entries => NOT_NEEDED,
        _ => "when low",
    };
    let n_bytes = report.window_bytes as u64;
    WindowInfo { n_entries, n_bytes, n_set_aside, refill: refill.to_owned() }
}

const NOT_NEEDED: &str = "not needed";

impl Default for WindowInfo {
    /// The window over nothing.
    fn default() -> Self {
        Self { n_entries: 0, n_bytes: 0, n_set_aside: 0, refill: NOT_NEEDED.to_owned() }
    }
}
