//! Heads whose time will be over.

use std::collections::BTreeMap;

use millpond_types::UnixMillis;
use proptest::prelude::*;

use super::Checked;
use crate::core::waits::Wait;
use crate::core::{Core, Effect, Queue, Slot};

/// Whoever has a head that is not kept for ever is woken at its end at the latest. Nobody else waits, so that a
/// queue without work can leave memory.
pub(super) fn check(core: &Core, slot: Slot, queue: &Queue) -> Checked {
    let kept_ms = core.rules_of(slot).retention_ms.filter(|_| !queue.class.is_unresolved());
    let head = queue.window.peek().filter(|_| queue.purge().is_none());
    let end = head.and_then(|(_, head)| Some(head.enqueued_at.plus(kept_ms? + 1)));
    let waits = queue.busy.iter().flat_map(|busy| busy.waits.iter());
    let waits: Vec<UnixMillis> = waits
        .filter(|(_, wait)| **wait == Wait::Outlives)
        .map(|(at, _)| UnixMillis(at.as_millis()))
        .collect();
    let noted: Vec<UnixMillis> = queue.busy.iter().filter_map(|busy| busy.outlives_at).collect();
    prop_assert_eq!(&waits, &noted, "the end of the head of {}", queue.id);
    prop_assert_eq!(waits.len(), usize::from(end.is_some()), "{} waits: {:?}", queue.id, waits);
    prop_assert!(waits.first().copied() <= end, "{} is looked at too late", queue.id);
    Ok(())
}

/// How many entries of each queue go because their time was over.
pub(super) fn n_leaving<'a>(effects: impl Iterator<Item = &'a Effect>) -> BTreeMap<Slot, usize> {
    let mut n_leaving = BTreeMap::new();
    for effect in effects {
        if let Effect::Outlived { slot, .. } = effect {
            *n_leaving.entry(*slot).or_default() += 1;
        }
    }
    n_leaving
}
