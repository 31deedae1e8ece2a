//! The shards and what they share.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc as StdArc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use millpond_sync::{Arc, Mutex};
use millpond_types::UnixMillis;

use super::budget::Budget;
use super::shard::Shard;
use super::slot::{Hashed, Offer, Place, Shared, Trash, Written};
use super::{
    Committed, ENTRY_OVERHEAD_BYTES, IndexOptions, IndexStats, Lookup, Miss, Ticket, WriteTicket,
};
use crate::cache::Flight;
use crate::generations::{Generations, Stamp};
use crate::rules::{Mutation, Rules};
use crate::{Blob, Key};

/// Most residents that an inline commit evicts.
const INLINE_EVICTIONS_MAX: usize = 8;

/// What a reader does who shares what is read.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It is in memory.
    Hit(Blob),
    /// Read for all.
    Lead(Ticket, StdArc<Flight>),
    /// Somebody reads.
    Follow(StdArc<Flight>, Place),
    /// Read for yourself: the key is being written.
    Alone,
}

#[derive(Debug)]
pub(crate) struct Core {
    shards: Box<[Mutex<Shard>]>,
    budget: Budget,
    hasher: FixedState,
    pub(crate) generations: Generations,
    pub(crate) rules: Rules,
}

impl Core {
    pub(crate) fn new(options: IndexOptions, rules: Rules) -> Self {
        let n_shards = options.n_shards.next_power_of_two();
        let n_ghosts_max = options.ghosts_max.div_ceil(n_shards);
        let shards =
            (0..n_shards).map(|_| Mutex::new(Shard::new(n_ghosts_max, options.admission, rules)));
        Self {
            shards: shards.collect(),
            budget: Budget::new(options.bytes_max),
            hasher: FixedState::with_seed(options.hash_seed),
            generations: Generations::new(rules),
            rules,
        }
    }

    pub(super) fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[self.home(hash)]
    }

    /// The bits in the middle: the table of the shard uses those at both ends.
    fn home(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.shards.len() - 1)
    }

    fn hashed<'a>(&self, key: Key<'a>) -> Hashed<'a> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key.namespace().as_bytes());
        hasher.write(key.id());
        Hashed { key, hash: hasher.finish() }
    }

    /// Over which of `n_stripes` the writers of a key are ordered.
    #[expect(clippy::cast_possible_truncation, reason = "a few bits of a hash")]
    pub(crate) fn stripe(&self, key: Key<'_>, n_stripes: usize) -> usize {
        self.hashed(key).hash as usize % n_stripes
    }

    fn charge_bytes(&self, key_bytes: usize, blob: &Blob) -> usize {
        if self.rules.lacks(Mutation::OverheadForgotten) {
            return blob.value.len();
        }
        key_bytes + blob.n_bytes() + ENTRY_OVERHEAD_BYTES
    }

    pub(crate) fn lookup(this: &Arc<Self>, key: Key<'_>, now: UnixMillis) -> Lookup {
        let of = this.hashed(key);
        let mut trash = Trash::new();
        // Before the slot is taken, so that a ticket knows of no invalidation that came after it.
        let mut shard = this.shard(of.hash).lock();
        if let Some(blob) = shard.hit(of, now, &this.generations, &this.budget, &mut trash) {
            shard.counts.hits += 1;
            return Lookup::Hit(blob);
        }
        shard.counts.misses += 1;
        Lookup::Miss(match shard.miss(of) {
            None => Miss::NotYet,
            Some(place) => {
                let key = shard.key_at(place);
                Miss::Promote(Self::ticket(this, key, of.hash, place))
            }
        })
    }

    fn ticket(this: &Arc<Self>, key: Bytes, hash: u64, place: Place) -> Ticket {
        let stamp = this.generations.stamp();
        Ticket { core: this.clone(), place, key, hash, stamp, is_spent: false }
    }

    pub(crate) fn join(
        this: &Arc<Self>,
        key: Key<'_>,
        now: UnixMillis,
        flight: impl FnOnce() -> StdArc<Flight>,
    ) -> Arrival {
        let of = this.hashed(key);
        let mut trash = Trash::new();
        let mut shard = this.shard(of.hash).lock();
        if let Some(blob) = shard.hit(of, now, &this.generations, &this.budget, &mut trash) {
            shard.counts.hits += 1;
            return Arrival::Hit(blob);
        }
        shard.counts.misses += 1;
        match shard.miss_shared(of, flight) {
            Shared::Alone => Arrival::Alone,
            Shared::Join(place, flight) => Arrival::Follow(flight, place),
            Shared::Lead(place, flight) => {
                let key = shard.key_at(place);
                Arrival::Lead(Self::ticket(this, key, of.hash, place), flight)
            }
        }
    }

    pub(super) fn commit(&self, ticket: &Ticket, blob: Blob, now: UnixMillis) -> Committed {
        let mut trash = Trash::new();
        let charge_bytes = self.charge_bytes(ticket.key.len(), &blob);
        if charge_bytes > self.budget.bytes_max() {
            self.shard(ticket.hash).lock().counts.refused += 1;
            self.give_up(ticket.hash, ticket.place, false);
            return Committed::TooLarge;
        }
        // Asked before room is made: nobody is evicted for what will be refused.
        let mut is_good = self.is_good(ticket, &blob);
        if is_good {
            let mut shard = self.shard(ticket.hash).lock();
            if shard.refuses_for_size(ticket.place, charge_bytes) {
                shard.give_up(ticket.place, false, &self.budget, &mut trash);
                return Committed::TooSeldom;
            }
        }
        let has_room = is_good && self.make_room(charge_bytes, ticket.hash, now, &mut trash);
        let mut shard = self.shard(ticket.hash).lock();
        is_good = is_good && shard.is_current(ticket.place)
            || self.rules.lacks(Mutation::CommitUnasked) && shard.is_occupied(ticket.place);
        if is_good && has_room {
            let stamp = match self.rules.lacks(Mutation::StampedLate) {
                true => self.generations.stamp(),
                false => ticket.stamp,
            };
            shard.fulfil(
                ticket.place,
                Offer { blob, stamp, charge_bytes },
                &self.budget,
                &mut trash,
            );
            return Committed::Installed;
        }
        if has_room {
            self.budget.release(charge_bytes);
        }
        self.refuse(&mut shard, ticket, is_good, &mut trash)
    }

    fn refuse(
        &self,
        shard: &mut Shard,
        ticket: &Ticket,
        is_good: bool,
        trash: &mut Trash,
    ) -> Committed {
        shard.give_up(ticket.place, true, &self.budget, trash);
        if is_good {
            shard.counts.refused += 1;
            Committed::NoRoom
        } else if shard.is_resident(ticket.hash, &ticket.key) {
            shard.counts.already_resident += 1;
            Committed::AlreadyResident
        } else {
            shard.counts.stale += 1;
            Committed::Stale
        }
    }

    fn is_good(&self, ticket: &Ticket, blob: &Blob) -> bool {
        self.rules.lacks(Mutation::CommitUnasked)
            || self.rules.lacks(Mutation::StampedLate)
            || self.generations.holds(&ticket.key, blob.meta.tags(), ticket.stamp)
    }

    pub(super) fn try_commit(
        &self,
        ticket: &Ticket,
        blob: Blob,
        now: UnixMillis,
    ) -> Result<Committed, Blob> {
        let charge_bytes = self.charge_bytes(ticket.key.len(), &blob);
        if charge_bytes > self.budget.bytes_max() {
            return Ok(self.commit(ticket, blob, now));
        }
        let mut trash = Trash::new();
        let is_good = self.is_good(ticket, &blob);
        let Some(mut shard) = self.shard(ticket.hash).try_lock() else { return Err(blob) };
        if !is_good || !shard.is_current(ticket.place) {
            return Ok(self.refuse(&mut shard, ticket, false, &mut trash));
        }
        if shard.refuses_for_size(ticket.place, charge_bytes) {
            shard.give_up(ticket.place, false, &self.budget, &mut trash);
            return Ok(Committed::TooSeldom);
        }
        for _ in 0..=INLINE_EVICTIONS_MAX {
            if self.budget.try_reserve(charge_bytes) {
                let offer = Offer { blob, stamp: ticket.stamp, charge_bytes };
                shard.fulfil(ticket.place, offer, &self.budget, &mut trash);
                return Ok(Committed::Installed);
            }
            if !shard.evict(now, &self.budget, &mut trash) {
                break;
            }
        }
        Err(blob)
    }

    /// See [`Ticket::admits`].
    pub(super) fn admits(&self, ticket: &Ticket, blob: &Blob) -> bool {
        let charge_bytes = self.charge_bytes(ticket.key.len(), blob);
        !self.shard(ticket.hash).lock().refuses_for_size(ticket.place, charge_bytes)
    }

    /// Reserves bytes, evicting until there is room: first where more than a fair share is resident, beginning with
    /// the shard at home, and then anywhere.
    fn make_room(&self, n_bytes: usize, hash: u64, now: UnixMillis, trash: &mut Trash) -> bool {
        if self.budget.try_reserve(n_bytes) {
            return true;
        }
        if self.rules.lacks(Mutation::RoomUnreserved) {
            self.budget.add_back(n_bytes);
            return true;
        }
        let share_bytes = self.budget.bytes_max() / self.shards.len();
        for kept_bytes in [share_bytes, 0] {
            for step in 0..self.shards.len() {
                let at = (self.home(hash) + step) % self.shards.len();
                let mut shard = self.shards[at].lock();
                while shard.bytes > kept_bytes && shard.evict(now, &self.budget, trash) {
                    if self.budget.try_reserve(n_bytes) {
                        return true;
                    }
                }
            }
        }
        self.budget.try_reserve(n_bytes)
    }

    pub(super) fn put(&self, key: Key<'_>, blob: Blob, now: UnixMillis) -> Committed {
        let of = self.hashed(key);
        let stamp = self.generations.stamp();
        let mut trash = Trash::new();
        let charge_bytes = self.charge_bytes(key.n_bytes(), &blob);
        if charge_bytes > self.budget.bytes_max() {
            self.clear(key);
            self.shard(of.hash).lock().counts.refused += 1;
            return Committed::TooLarge;
        }
        if !self.make_room(charge_bytes, of.hash, now, &mut trash) {
            self.clear(key);
            self.shard(of.hash).lock().counts.refused += 1;
            return Committed::NoRoom;
        }
        let offer = Offer { blob, stamp, charge_bytes };
        self.shard(of.hash).lock().put(of, offer, &self.budget, &mut trash);
        Committed::Installed
    }

    pub(super) fn clear(&self, key: Key<'_>) {
        let of = self.hashed(key);
        let mut trash = Trash::new();
        self.shard(of.hash).lock().clear(of, &self.budget, &mut trash);
    }

    pub(super) fn give_up(&self, hash: u64, place: Place, seen: bool) {
        if self.rules.lacks(Mutation::DroppedStays) {
            return;
        }
        let seen = seen && !self.rules.lacks(Mutation::DroppedForgotten);
        let mut trash = Trash::new();
        self.shard(hash).lock().give_up(place, seen, &self.budget, &mut trash);
    }

    /// Ends the ticket of a flight that has nothing to say. Returns whether the key is being written, so that
    /// asking again would find the same flight.
    pub(crate) fn forget(&self, key: Key<'_>, place: Place) -> bool {
        let hash = self.hashed(key).hash;
        self.give_up(hash, place, true);
        self.shard(hash).lock().is_written(place)
    }

    pub(crate) fn begin_write(this: &Arc<Self>, key: Key<'_>) -> WriteTicket {
        let of = this.hashed(key);
        let mut trash = Trash::new();
        let place = this.shard(of.hash).lock().begin_write(of, &this.budget, &mut trash);
        WriteTicket { core: this.clone(), place, hash: of.hash, is_ended: false }
    }

    pub(super) fn end_write_with(
        &self,
        place: Option<Place>,
        hash: u64,
        blob: Blob,
        stamp: Stamp,
        key_bytes: usize,
        now: UnixMillis,
    ) -> bool {
        let charge_bytes = self.charge_bytes(key_bytes, &blob);
        let mut trash = Trash::new();
        let fits = charge_bytes <= self.budget.bytes_max()
            && self.make_room(charge_bytes, hash, now, &mut trash);
        let written = match fits {
            true => Written::Value(Offer { blob, stamp, charge_bytes }),
            false => Written::Nothing,
        };
        self.end_write(place, hash, written)
    }

    pub(super) fn end_write(&self, place: Option<Place>, hash: u64, written: Written) -> bool {
        let Some(place) = place else { return false };
        let mut trash = Trash::new();
        self.shard(hash).lock().end_write(place, written, &self.budget, &mut trash)
    }

    /// Whether a row that was written under `stamp` still holds.
    pub(crate) fn holds(&self, key: &[u8], blob: &Blob, stamp: Stamp) -> bool {
        self.generations.holds(key, blob.meta.tags(), stamp)
    }

    pub(super) fn stats(&self) -> IndexStats {
        let mut stats = IndexStats { bytes: self.budget.used(), ..IndexStats::default() };
        for shard in &self.shards {
            let shard = shard.lock();
            stats.add(&shard.counts, shard.n_slots(), shard.n_ghosts());
        }
        stats
    }

    /// Encoded keys, values and charges of the residents.
    #[cfg(test)]
    pub(crate) fn residents(&self) -> Vec<(Bytes, Blob, usize)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            all.extend(shard.residents().map(|(key, blob, n)| (key.clone(), blob.clone(), n)));
        }
        all
    }
}
