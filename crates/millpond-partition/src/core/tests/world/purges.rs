//! Purges: from when on nobody may be handed what they concern, and what they remove.

use super::staged::is_refused;
use super::*;

impl World {
    /// Applies a change that a purge has staged.
    pub(super) fn purge_row(&mut self, queue: QueueId, change: &Change) -> Checked {
        let at = self.staging();
        let is_purge = match change {
            Change::Purged(_) => {
                note(Situation::PurgedByRange);
                let mine = self.model.entries.iter().filter(|(id, _)| id.queue == queue);
                let gone: Vec<EntryId> = mine.map(|(id, _)| *id).collect();
                for id in gone {
                    // One that was acked already is gone since then.
                    self.removals.entry(id).or_insert(at);
                }
                true
            }
            Change::Removed(id, stage) => {
                note(match stage {
                    Stage::Ready => Situation::PurgedByRow,
                    Stage::Delayed => Situation::PurgedDelayed,
                    Stage::Dead => Situation::PurgedDead,
                });
                self.removals.insert(*id, at);
                let entry = self.model.entries.get(id);
                entry.is_some_and(|entry| entry.purged && entry.place.stage() == *stage)
            }
            _ => false,
        };
        prop_assert!(is_purge, "nobody asked for {:?}", change);
        self.model.apply(change, at, Ending::Forgotten);
        Ok(())
    }

    /// Purges that have begun: from here on nobody may be handed what they concern.
    pub(super) fn note_purges(&mut self, of: impl Fn(&QueueId) -> bool) {
        for (_, queue) in self.node.core.queues.iter().filter(|(_, queue)| of(&queue.id)) {
            let Some(purge) = queue.purge() else { continue };
            let is_new = self.begun.insert(queue.id, purge.upto) != Some(purge.upto);
            let (mut n_entries, mut n_leased) = (0, 0);
            // Also of one seen before: entries that were parked with it are known only now.
            let mine = self.model.entries.iter_mut().filter(|(id, _)| id.queue == queue.id);
            for (id, entry) in mine.filter(|(id, _)| id.rank.sequence < purge.upto) {
                if entry.removed.is_none() && !entry.purged {
                    n_entries += 1;
                    let lease = entry.lease.as_ref();
                    n_leased += u64::from(lease.is_some_and(|l| !l.is_over(self.handled)));
                }
                entry.purged = true;
                self.purged.insert(*id);
            }
            if n_leased > 0 {
                note(Situation::PurgedWhileLeased);
            }
            if is_new {
                self.started.push_back((queue.id, 0));
            }
            let mut newest = self.started.iter_mut().rev();
            if let Some((_, n)) = newest.find(|(id, _)| *id == queue.id) {
                *n += n_entries;
            }
        }
    }

    /// Purges that were answered have removed what they say.
    pub(super) fn hear_purges(&mut self) -> Checked {
        for (queue, mut answer) in std::mem::take(&mut self.purges) {
            let Some(outcome) = answer.try_recv().map_err(fail)? else {
                self.purges.push((queue, answer));
                continue;
            };
            if is_refused(Some(outcome.clone()))? {
                continue;
            }
            let removed = *outcome.map_err(fail)?.get();
            if removed.n_entries == 0 {
                continue;
            }
            let at = self.started.iter().position(|(id, _)| *id == queue);
            let Some((_, n_entries)) = at.and_then(|at| self.started.remove(at)) else {
                prop_assert!(!self.looks_inside(), "a purge that was not begun");
                continue;
            };
            prop_assert_eq!(removed.n_entries, n_entries, "entries of {} removed", queue);
        }
        Ok(())
    }
}
