//! One token bucket, exact: nothing is rounded, and a refund leaves it as if nothing had been taken.
//!
//! The level is kept in tokens times nanoseconds of the period, so that the tokens of any span of time are
//! a whole number. It can be negative: what costs more than the burst passes when the bucket is full, and
//! leaves a debt.
//!
//! A refund cannot simply put back what was taken. If the bucket was full meanwhile, the tokens were
//! replaced already, and whoever came then may have used them: putting them back would let more through than
//! the rate allows. Had the tokens not been taken, the level would be higher by what was taken, but
//! never by more than the *room* the bucket had at any time since. So `n = min(taken, least room since)` is
//! put back. Room shrinks until the next take, so it is noted before each take; of these notes only those are
//! kept that are smaller than all later ones.

use std::collections::VecDeque;

use crate::Rate;
use crate::rules::{Mutation, Rules};

/// Notes that are kept. Beyond it the two oldest become one, and a refund may put back less.
const NOTES_MAX: usize = 32;

/// The room just before a take.
#[derive(Debug, Clone, Copy)]
struct Note {
    take: u64,
    room: i128,
}

#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    level: i128,
    at_ns: u64,
    /// In the order of takes; the room grows.
    notes: VecDeque<Note>,
    rules: Rules,
}

impl Bucket {
    /// A full one; `take` is the first take that can be refunded to it.
    pub(super) fn new(rate: Rate, now_ns: u64, take: u64, rules: Rules) -> Self {
        let notes = VecDeque::from([Note { take, room: 0 }]);
        Self { rate, level: full(rate), at_ns: now_ns, notes, rules }
    }

    pub(super) const fn rate(&self) -> Rate {
        self.rate
    }

    /// The same bucket at another rate: it keeps its tokens, as many as the new burst allows; `take` is the
    /// first take that can be refunded from now on.
    pub(super) fn change(&mut self, rate: Rate, take: u64) {
        let level = self.level * i128::from(rate.per_ns);
        self.level = level.div_euclid(i128::from(self.rate.per_ns)).min(full(rate));
        self.rate = rate;
        self.notes = VecDeque::from([Note { take, room: 0 }]);
    }

    /// It was empty at that time and has been filling since; `take` is the first take that can be refunded.
    pub(super) fn empty_since(&mut self, at_ns: u64, now_ns: u64, take: u64) {
        (self.level, self.at_ns) = (0, at_ns);
        self.refill(now_ns);
        self.notes = VecDeque::from([Note { take, room: 0 }]);
    }

    /// Hands its tokens and its debt to a bucket of another rate. It goes on without tokens, as both would
    /// let the same ones through, and keeps the debt.
    pub(super) fn hand_over(&mut self, now_ns: u64, rate: Rate, take: u64) -> Self {
        self.refill(now_ns);
        let Self { level, at_ns, rules, .. } = *self;
        let mut heir = Self { rate: self.rate, level, at_ns, notes: VecDeque::new(), rules };
        heir.change(rate, take);
        if !rules.lacks(Mutation::TokensCopied) {
            self.level = level.min(0);
        }
        self.notes.clone_from(&heir.notes);
        heir
    }

    /// Adds the tokens that time has brought.
    pub(super) fn refill(&mut self, now_ns: u64) {
        self.level = self.level_at(now_ns);
        self.at_ns = self.at_ns.max(now_ns);
    }

    /// Whether nothing is missing.
    pub(super) fn is_full(&self, now_ns: u64) -> bool {
        self.level_at(now_ns) == full(self.rate)
    }

    /// What is in it, if nobody takes any until then.
    pub(super) fn level_at(&self, now_ns: u64) -> i128 {
        let elapsed_ns = now_ns.saturating_sub(self.at_ns);
        let mut level = self.level + i128::from(elapsed_ns) * i128::from(self.rate.n_tokens);
        if self.rules.lacks(Mutation::RefillRounded) && elapsed_ns > 0 {
            level -= level.rem_euclid(i128::from(self.rate.per_ns));
        }
        let bounded = !self.rules.lacks(Mutation::BurstUnbounded);
        if bounded { level.min(full(self.rate)) } else { level }
    }

    /// Whether `n_tokens` can be taken although `n_promised` are for others.
    pub(super) fn has(&self, n_tokens: u64, n_promised: u64) -> bool {
        self.level >= self.needed(n_tokens, n_promised)
    }

    /// Takes tokens, whatever the level.
    pub(super) fn take(&mut self, n_tokens: u64, take: u64) {
        let room = full(self.rate) - self.level;
        while self.notes.back().is_some_and(|note| note.room >= room) {
            self.notes.pop_back();
        }
        self.notes.push_back(Note { take, room });
        if self.notes.len() > NOTES_MAX
            && let Some(oldest) = self.notes.pop_front()
            && let Some(next) = self.notes.front_mut()
        {
            next.room = oldest.room;
        }
        self.level -= self.scaled(n_tokens);
    }

    /// Undoes a take, as far as the tokens were not replaced meanwhile.
    pub(super) fn refund(&mut self, n_tokens: u64, take: u64) {
        let first_after = self.notes.partition_point(|note| note.take <= take);
        let room_now = full(self.rate) - self.level;
        let room = self.notes.get(first_after).map_or(room_now, |note| note.room.min(room_now));
        let mut n_back = self.scaled(n_tokens).min(room).max(0);
        if self.rules.lacks(Mutation::RefundsAll) {
            n_back = self.scaled(n_tokens).min(room_now);
        }
        self.level += n_back;
        let mut least = room_now - n_back;
        for at in (0..self.notes.len()).rev() {
            let note = &mut self.notes[at];
            if note.take > take {
                note.room -= n_back;
            }
            if note.room > least {
                self.notes.remove(at);
            } else {
                least = note.room;
            }
        }
    }

    /// When `n_tokens` can be taken, if nobody takes any before; `None` if only a promise that ends can help.
    pub(super) fn ready_at_ns(&self, n_tokens: u64, n_promised: u64) -> Option<u64> {
        let needed = self.needed(n_tokens, n_promised);
        if needed > full(self.rate) {
            return None;
        }
        let missing = (needed - self.level).max(0);
        let per_token = i128::from(self.rate.n_tokens);
        let wait_ns = (missing + per_token - 1) / per_token;
        Some(self.at_ns.saturating_add(u64::try_from(wait_ns).unwrap_or(u64::MAX)))
    }

    /// Whole tokens that can be taken now.
    pub(super) fn n_tokens(&self) -> u32 {
        let n_tokens = self.level.max(0) / i128::from(self.rate.per_ns);
        u32::try_from(n_tokens).unwrap_or(u32::MAX)
    }

    #[cfg(test)]
    pub(super) const fn level(&self) -> i128 {
        self.level
    }

    fn needed(&self, n_tokens: u64, n_promised: u64) -> i128 {
        let n_tokens = n_tokens.min(u64::from(self.rate.burst));
        self.scaled(n_promised) + self.scaled(n_tokens)
    }

    fn scaled(&self, n_tokens: u64) -> i128 {
        i128::from(n_tokens) * i128::from(self.rate.per_ns)
    }
}

fn full(rate: Rate) -> i128 {
    i128::from(rate.burst) * i128::from(rate.per_ns)
}
