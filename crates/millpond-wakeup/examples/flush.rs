//! Batches per tenant that are flushed at so many items or after so long, whichever comes first.
//!
//! ```text
//! cargo run -p millpond-wakeup --example flush
//! ```
//!
//! Every tenant with an open batch has one wakeup, set when its first item arrives and cancelled when the
//! batch fills up. Time is simulated here; a real loop sleeps until `next_deadline`.

use std::collections::HashMap;
use std::time::Duration;

use millpond_wakeup::{Due, Nanos, Rejected, Wakeups};

const ITEMS_MAX: usize = 4;
const WAIT_MAX: Duration = Duration::from_millis(20);
const N_TENANTS: u64 = 3;

type Tenant = u64;

/// When an item came.
type Item = Nanos;

/// Why a batch left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Full,
    Late,
}

struct Batcher {
    open: HashMap<Tenant, Vec<Item>>,
    wakeups: Wakeups<Tenant>,
    flushed: Vec<(Nanos, Reason, Vec<Item>)>,
    due: Vec<Due<Tenant>>,
}

impl Batcher {
    fn new() -> Self {
        let wakeups = Wakeups::new(10_000);
        Self { open: HashMap::new(), wakeups, flushed: Vec::new(), due: Vec::new() }
    }

    fn push(&mut self, now: Nanos, tenant: Tenant, item: Item) -> Result<(), Rejected<Tenant>> {
        let batch = self.open.entry(tenant).or_default();
        if batch.is_empty() {
            self.wakeups.set_after(now, tenant, WAIT_MAX)?;
        }
        batch.push(item);
        if batch.len() == ITEMS_MAX {
            self.wakeups.cancel(&tenant);
            self.flush(now, tenant, Reason::Full);
        }
        Ok(())
    }

    /// Flushes what has waited long enough: 100 batches at most, so that a turn of the loop stays short.
    fn handle_timeout(&mut self, now: Nanos) {
        let mut due = std::mem::take(&mut self.due);
        let _ = self.wakeups.drain_due(now, 100, &mut due);
        for Due { value: tenant, .. } in due.drain(..) {
            self.flush(now, tenant, Reason::Late);
        }
        self.due = due;
    }

    fn flush(&mut self, now: Nanos, tenant: Tenant, reason: Reason) {
        if let Some(batch) = self.open.remove(&tenant) {
            self.flushed.push((now, reason, batch));
        }
    }
}

pub(crate) fn main() -> Result<(), Rejected<Tenant>> {
    let mut batcher = Batcher::new();
    let mut n_items = 0;
    for ms in 0..1_000 {
        let now = Nanos::from_millis(ms);
        batcher.handle_timeout(now);
        // Each tenant has times of many items, which fill batches, and of few.
        for tenant in 0..N_TENANTS {
            let is_busy = (ms / 100 + tenant) % 2 == 0;
            if ms % if is_busy { 3 } else { 17 } == 0 {
                batcher.push(now, tenant, now)?;
                n_items += 1;
            }
        }
    }
    while let Some(deadline) = batcher.wakeups.next_deadline() {
        batcher.handle_timeout(deadline);
    }

    let n_full = batcher.flushed.iter().filter(|(_, reason, _)| *reason == Reason::Full).count();
    let n_late = batcher.flushed.len() - n_full;
    println!("{n_items} items left in {n_full} full batches and {n_late} after {WAIT_MAX:?}");
    assert!(n_full > 100 && n_late > 20, "both happen");
    for (now, reason, batch) in &batcher.flushed {
        let waited = now.saturating_since(batch[0]);
        match reason {
            Reason::Full => assert!(batch.len() == ITEMS_MAX && waited < WAIT_MAX),
            Reason::Late => assert!(batch.len() < ITEMS_MAX && waited == WAIT_MAX),
        }
    }
    let n_flushed: usize = batcher.flushed.iter().map(|(_, _, batch)| batch.len()).sum();
    assert_eq!((n_flushed, batcher.open.len()), (n_items, 0), "nothing is lost");
    Ok(())
}
