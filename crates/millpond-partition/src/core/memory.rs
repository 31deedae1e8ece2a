//! One byte budget for the windows of all queues.
//!
//! A window forgets from its end, and what it forgot is read again when it is wanted, so shrinking is
//! always right and only costs a read.
//!
//! Near the budget, the window that gives way is that of the queue just served: in a round it is wanted
//! again after all others, and Belady's rule is to forget what is wanted last. (What was not used for
//! longest, as LRU has it, is what the round wants next.) Beyond the budget, which takes entries that
//! nobody consumes, a hand goes round the queues as in the CLOCK algorithm (Corbató 1968), spares what
//! was used since it came by, and takes the rest down to its head at first, to nothing the next time.

use millpond_inbox::Inbox;

use super::queues::Slot;
use super::{Core, Load, Mutation, Window};
use crate::options::PartitionOptions;

/// Slots that the hand passes in one turn of the loop.
const STEPS_PER_TURN: usize = if cfg!(test) { 4 } else { 2048 };

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Heap of all windows.
    window_bytes: usize,
    hand: usize,
}

impl Memory {
    pub(super) fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    /// Whether nothing should be read that nobody waits for, and nothing kept that is wanted last. Some way
    /// below the budget, so that the hand does not take what the round wants next.
    pub(super) fn is_tight(&self, options: &PartitionOptions) -> bool {
        self.window_bytes >= options.window_bytes_max - options.window_bytes_max / 8
    }
}

impl Core {
    /// The only way to change a window, so that its bytes are counted.
    pub(super) fn with_window<R>(&mut self, slot: Slot, f: impl FnOnce(&mut Window) -> R) -> R {
        let queue = &mut self.queues[slot];
        let before = queue.window.heap_bytes();
        let result = f(&mut queue.window);
        queue.used = true;
        let after = queue.window.heap_bytes();
        self.memory.window_bytes = self.memory.window_bytes + after - before;
        result
    }

    /// Shrinks windows until they fit the budget, or for as long as one turn allows. Whether there is more
    /// to do.
    pub(super) fn shrink_windows(&mut self) -> bool {
        for _ in 0..STEPS_PER_TURN {
            if self.memory.window_bytes <= self.options.window_bytes_max {
                return false;
            }
            let n_slots = self.queues.n_slots();
            self.memory.hand = if self.memory.hand < n_slots { self.memory.hand } else { 0 };
            let next = self.queues.at(self.memory.hand).map(|(slot, _)| slot);
            self.memory.hand += 1;
            if let Some(slot) = next {
                self.shrink(slot);
            }
        }
        self.memory.window_bytes > self.options.window_bytes_max
    }

    /// A queue was served in its turn.
    pub(super) fn shrink_if_tight(&mut self, slot: Slot) {
        let queue = &self.queues[slot];
        if queue.load == Load::Reading || !self.memory.is_tight(&self.options) {
            return;
        }
        let n_forgotten = self.with_window(slot, |window| window.shrink_to(0));
        self.counters.n_windows_shrunk += u64::from(n_forgotten > 0);
    }

    fn shrink(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        let was_used = std::mem::take(&mut queue.used);
        // What is being read would have to be thrown away.
        if was_used || queue.load == Load::Reading || queue.window.heap_bytes() == 0 {
            return;
        }
        let n_kept = usize::from(queue.window.len() > 1);
        self.with_window(slot, |window| window.shrink_to(n_kept));
        self.queues[slot].used = false;
        self.counters.n_windows_shrunk += 1;
        if self.is_broken(Mutation::ShrunkenTrusted) {
            // As a window that forgets from its end and keeps claiming to know it.
            let empty = Inbox::new(true, self.options.inbox);
            self.with_window(slot, |window| *window = empty);
        }
        self.touch(slot);
    }
}
