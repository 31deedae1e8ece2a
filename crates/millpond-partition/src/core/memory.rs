//! One byte budget for the windows of all queues.
//!
//! A window forgets from its end, and what it forgot is read again when it is wanted, so shrinking is
//! always right and only costs a read.
//!
//! What shrinks is chosen as in the CLOCK algorithm (Corbató 1968): a hand goes round the queues, spares
//! what was used since it came by, and takes the rest down to its head at first, to nothing the next time.
//! How fast it goes decides. A round visits every queue once, so a hand that is faster than the round takes
//! exactly what the round wants next, and nothing in memory is ever of use. So near the budget a read
//! brings a single row, which is handed out at once and leaves nothing behind, and moves the hand by one
//! queue: as fast as the round, in which what consumers use survives and what nobody uses goes. Only
//! beyond the budget, where entries come that nobody consumes, the hand runs until there is room.

use millpond_inbox::Inbox;

use super::queues::Slot;
use super::{Core, Load, Mutation, Window};
use crate::options::PartitionOptions;

/// Rows that a read brings when half of the budget is used: many small windows are worth more than a few
/// large ones.
const ROWS_WHEN_HALF: usize = 4;

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

    /// How much a read may bring, besides what is taken.
    pub(super) fn rows_per_read(&self, options: &PartitionOptions) -> usize {
        match self.window_bytes {
            _ if self.is_tight(options) => 1,
            bytes if bytes >= options.window_bytes_max / 2 => ROWS_WHEN_HALF,
            _ => usize::MAX,
        }
    }

    /// Whether nothing should be read that nobody waits for. Some way below the budget, so that what must be
    /// read does not reach it.
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
            self.move_hand();
        }
        self.memory.window_bytes > self.options.window_bytes_max
    }

    /// Looks at one more queue.
    pub(super) fn move_hand(&mut self) {
        let n_slots = self.queues.n_slots();
        self.memory.hand = if self.memory.hand < n_slots { self.memory.hand } else { 0 };
        let next = self.queues.at(self.memory.hand).map(|(slot, _)| slot);
        self.memory.hand += 1;
        if let Some(slot) = next {
            self.shrink(slot);
        }
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
