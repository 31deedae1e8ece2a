//! Why a queue is, or is not, being served.

use std::sync::Arc;

use millpond_partition::{Clock, QueueRef, QueueReport, QueueState, inspect};
use millpond_storage_api::StoreRead;
use millpond_types::UnixMillis;

use super::reasons::{self, Known};
use super::rows::{self, Active, Leases};
use super::{Activity, Explanation, LeaseInfo, QueueInfo, View, WindowInfo, rules, waiting};
use crate::{Error, Queue};

/// Leases that are listed.
const LEASES_MAX: usize = 100;

impl Queue {
    /// Why the queue is, or is not, being served: its state and every reason for it in a sentence each, and the
    /// [rules](crate::Settings) that hold for it with where each comes from.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), millpond::Error> {
    /// use millpond::{Engine, Entry, Options};
    ///
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let engine = Engine::open(Options::new(directory.path())).await?;
    /// let emails = engine.topic("emails");
    /// let queue = emails.queue("tenant-42");
    /// queue.enqueue(Entry::new("hello")).await?;
    /// emails.pause().await?;
    /// let explanation = queue.explain().await?;
    /// assert_eq!(explanation.state, "paused");
    /// assert!(explanation.reason.contains("by the rule of the topic"));
    /// # engine.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The name is invalid, the engine is closed or has stopped, or what is stored cannot be read.
    pub async fn explain(&self) -> Result<Explanation, Error> {
        explain(&View::Running(self.engine().clone()), self.names()?).await
    }
}

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
    let mut n_bytes = 0;
    if let Some(stored) = inspect::queue(store, names).await? {
        let active = Active { key: stored.key, row: stored.row };
        leases = rows::leases_in_force(store, names.id).await?;
        let head = rows::head_enqueued_at(store, &active, &leases).await?;
        queue.n_entries = active.row.n_ready;
        queue.n_delayed = active.row.n_delayed;
        queue.n_dead = active.row.n_dead;
        queue.n_leased = leases.len() as u64;
        queue.head_waits_ms = head.map(|enqueued_at| now.since(enqueued_at));
        n_bytes = active.row.n_bytes;
    }
    let leases = listed(leases, now);
    let delayed = waiting::delayed(store, names.id, now).await?;
    let rules = rules::holding(view, names).await?;
    let known = Known { queue: &queue, rules: &rules, delayed: delayed.first(), now };
    let reasons = reasons::stopped(&known, leases.first(), n_bytes);
    Ok(Explanation {
        queue,
        state: reasons.state.to_owned(),
        reason: reasons.reason,
        also: reasons.also,
        limit: None,
        rules,
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
        queue.add_turns(report);
    } else if let Some(stored) = inspect::queue(store, names).await? {
        // It left memory because nothing of it is ready, or a restart has not brought it back yet.
        queue.n_entries = stored.row.n_ready;
        queue.n_delayed = stored.row.n_delayed;
        queue.n_dead = stored.row.n_dead;
    }
    let delayed = waiting::delayed(store, names.id, now).await?;
    let rules = rules::holding(view, names).await?;
    let known = Known { queue: &queue, rules: &rules, delayed: delayed.first(), now };
    let reasons = reasons::running(&known, report);
    let leased_by = report.and_then(|report| match &report.state {
        QueueState::Leased { by, .. } => Some(by.as_ref()?.to_string()),
        _ => None,
    });
    Ok(Explanation {
        queue,
        state: reasons.state.to_owned(),
        reason: reasons.reason,
        also: reasons.also,
        limit: report.and_then(|report| reasons::limit(&report.state)),
        rules,
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
        ..QueueInfo::default()
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
