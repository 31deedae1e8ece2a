//! Durable retries: exponential back-off with full jitter, and a floor that the other side asked for.
//!
//! ```text
//! cargo run -p millpond-wakeup --example retry
//! ```
//!
//! What must survive a restart stands in a row per entry: attempts, the time of the next one, and until when
//! the floor is in force. The scheduler holds nothing but wakeups, and is filled from the rows again. A later
//! failure of another kind does not undercut the floor, because the row keeps it.

use std::collections::BTreeMap;

use millpond_wakeup::{BackoffPolicy, Due, Nanos, Rejected, Wakeups};

const BASE_MS: u64 = 100;
const CAP_MS: u64 = 2_000;
const N_ENTRIES: u64 = 1_000;
/// The service is away until then.
const OUTAGE_MS: u64 = 10_000;
/// At this time the service says "not before 7 seconds" to whoever calls.
const THROTTLED_MS: std::ops::Range<u64> = 1_000..1_500;
const FLOOR_MS: u64 = 7_000;
const RESTART_MS: u64 = 5_000;

type EntryId = u64;

/// What is stored of an entry.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    attempts: u32,
    due_ms: u64,
    floor_until_ms: u64,
}

enum Failure {
    /// No answer.
    Away,
    /// An answer that says how long to stay away.
    Throttled { floor_ms: u64 },
}

struct Retries {
    policy: BackoffPolicy,
    rows: BTreeMap<EntryId, Row>,
    wakeups: Wakeups<EntryId>,
}

impl Retries {
    /// After a start: every entry waits for its own time, and none is tried early.
    fn open(
        policy: BackoffPolicy,
        rows: BTreeMap<EntryId, Row>,
    ) -> Result<Self, Rejected<EntryId>> {
        let mut wakeups = Wakeups::new(1_000_000);
        for (id, row) in &rows {
            wakeups.set(*id, Nanos::from_millis(row.due_ms))?;
        }
        Ok(Self { policy, rows, wakeups })
    }

    fn failed(
        &mut self,
        now_ms: u64,
        id: EntryId,
        failure: &Failure,
    ) -> Result<(), Rejected<EntryId>> {
        let Some(row) = self.rows.get_mut(&id) else { return Ok(()) };
        row.attempts += 1;
        if let Failure::Throttled { floor_ms } = failure {
            row.floor_until_ms = row.floor_until_ms.max(now_ms + floor_ms);
        }
        let floor_ms = row.floor_until_ms.saturating_sub(now_ms);
        // The id is the seed: all entries failed at the same time, and must not come back at the same time.
        row.due_ms = now_ms + self.policy.delay_ms(row.attempts, id, floor_ms);
        self.wakeups.set(id, Nanos::from_millis(row.due_ms)).map(|_| ())
    }

    fn succeeded(&mut self, id: EntryId) {
        self.rows.remove(&id);
    }
}

/// The service that is called: away for ten seconds, and once it asks for peace.
fn call(now_ms: u64, id: EntryId) -> Result<(), Failure> {
    match now_ms {
        // Some answers are lost all the same.
        _ if THROTTLED_MS.contains(&now_ms) && !id.is_multiple_of(3) => {
            Err(Failure::Throttled { floor_ms: FLOOR_MS })
        }
        0..OUTAGE_MS => Err(Failure::Away),
        _ => Ok(()),
    }
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = BackoffPolicy::new(BASE_MS, CAP_MS)?;
    let rows = (0..N_ENTRIES).map(|id| (id, Row::default())).collect();
    let mut retries = Retries::open(policy, rows)?;
    let mut due: Vec<Due<EntryId>> = Vec::new();
    let (mut busiest, mut n_calls, mut n_throttled) = (0, 0, 0);
    let mut now_ms = 0;
    while let Some(next) = retries.wakeups.next_deadline() {
        if now_ms < RESTART_MS && next.as_millis() >= RESTART_MS {
            // A restart: the scheduler is gone, the rows are not.
            retries = Retries::open(policy, std::mem::take(&mut retries.rows))?;
            assert_eq!(retries.wakeups.next_deadline(), Some(next), "nothing fires early");
        }
        now_ms = next.as_millis();
        // A budget: the loop has other things to do.
        let drained = retries.wakeups.drain_due(next, 100, &mut due);
        if now_ms > 0 {
            busiest = busiest.max(drained.n_due);
        }
        for Due { value: id, .. } in due.drain(..) {
            n_calls += 1;
            let floor_until_ms = retries.rows[&id].floor_until_ms;
            assert!(now_ms >= floor_until_ms, "{id} was tried at {now_ms}, before its floor");
            match call(now_ms, id) {
                Ok(()) => retries.succeeded(id),
                Err(failure) => {
                    n_throttled += usize::from(matches!(failure, Failure::Throttled { .. }));
                    retries.failed(now_ms, id, &failure)?;
                }
            }
        }
    }
    println!(
        "{N_ENTRIES} entries, {n_calls} calls, {busiest} in the busiest millisecond, done at {now_ms} ms"
    );
    assert!(n_throttled > 100, "many were asked to stay away");
    assert!(retries.rows.is_empty(), "all came through");
    assert!(busiest <= 50, "jitter spreads what failed at the same time");
    assert!((OUTAGE_MS..=OUTAGE_MS + CAP_MS).contains(&now_ms), "soon after the outage");
    Ok(())
}
