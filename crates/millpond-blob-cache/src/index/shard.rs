//! The state machine of the keys of one shard, under its lock.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashTable;
use millpond_types::UnixMillis;
use slab::Slab;

use super::budget::Budget;
use super::sieve::Sieve;
use super::slot::{
    Hashed, NONE, Offer, Place, Resident, Shared, Slot, State, Trash, Written, pending, writing,
};
use super::stats::Counts;
use super::window::Window;
use super::{Admission, SIGHTINGS_MIN};
use crate::Blob;
use crate::cache::Flight;
use crate::generations::Generations;
use crate::rules::{Mutation, Rules};

#[derive(Debug)]
pub(super) struct Shard {
    table: HashTable<u32>,
    slots: Slab<Slot>,
    sieve: Sieve,
    window: Window,
    admission: Admission,
    version: u64,
    pub(super) bytes: usize,
    pub(super) counts: Counts,
    rules: Rules,
}

impl Shard {
    pub(super) fn new(n_ghosts_max: usize, admission: Admission, rules: Rules) -> Self {
        Self {
            table: HashTable::new(),
            slots: Slab::new(),
            sieve: Sieve::new(),
            window: Window::new(n_ghosts_max),
            admission,
            version: 0,
            bytes: 0,
            counts: Counts::default(),
            rules,
        }
    }

    pub(super) fn n_ghosts(&self) -> usize {
        self.window.len()
    }

    pub(super) fn n_slots(&self) -> usize {
        self.slots.len()
    }

    fn find(&self, of: Hashed<'_>) -> Option<u32> {
        self.table.find(of.hash, |at| of.key.is(&self.slots[*at as usize].key)).copied()
    }

    /// The value, if it is resident and holds.
    pub(super) fn hit(
        &mut self,
        of: Hashed<'_>,
        now: UnixMillis,
        generations: &Generations,
        budget: &Budget,
        trash: &mut Trash,
    ) -> Option<Blob> {
        let at = self.find(of)?;
        let Slot { key, state: State::Resident(resident), .. } = &mut self.slots[at as usize]
        else {
            return None;
        };
        let is_expired = resident.blob.meta.is_expired(now);
        // Read before the table is looked at, so that a later change is looked at again.
        let version = generations.version();
        let holds = resident.checked == version
            || generations.holds(key, resident.blob.meta.tags(), resident.stamp);
        if (!is_expired || self.rules.lacks(Mutation::ExpiryIgnored))
            && (holds || self.rules.lacks(Mutation::HitUnasked))
        {
            resident.checked = version;
            resident.visited = true;
            return Some(resident.blob.clone());
        }
        if is_expired {
            self.counts.expired += 1;
        } else {
            self.counts.invalidated += 1;
        }
        self.remove(at, budget, trash);
        None
    }

    /// A miss that wants to install: whether the key has been asked for lately.
    pub(super) fn miss(&mut self, of: Hashed<'_>) -> Option<Place> {
        match self.find(of) {
            Some(at) if !self.gives_ticket(at) => None,
            Some(at) => Some(self.replace(at, pending(None, SIGHTINGS_MIN))),
            None => {
                let n_sightings = self.sighted(of.hash);
                let is_again = n_sightings >= SIGHTINGS_MIN;
                is_again.then(|| self.occupy(of, pending(None, n_sightings)))
            }
        }
    }

    fn gives_ticket(&self, at: u32) -> bool {
        let is_writing = matches!(self.slots[at as usize].state, State::Writing { .. });
        is_writing && self.rules.lacks(Mutation::TicketWhileWriting)
    }

    /// A miss that shares its read: it leads, joins, or is alone while the key is written.
    pub(super) fn miss_shared(
        &mut self,
        of: Hashed<'_>,
        flight: impl FnOnce() -> Arc<Flight>,
    ) -> Shared {
        let Some(at) = self.find(of) else {
            let n_sightings = self.sighted(of.hash);
            let flight = flight();
            let place = self.occupy(of, pending(Some(flight.clone()), n_sightings));
            return Shared::Lead(place, flight);
        };
        let slot = &mut self.slots[at as usize];
        let place = Place { at, version: slot.version };
        match &mut slot.state {
            State::Pending { flight: Some(flight), n_sightings } => {
                *n_sightings = n_sightings.saturating_add(1);
                Shared::Join(place, flight.clone())
            }
            State::Writing { flight: Some(flight), .. } => Shared::Join(place, flight.clone()),
            _ => Shared::Alone,
        }
    }

    /// How often the key was asked for within the window, with this time. After the first it is in the window; after
    /// that its slot knows.
    fn sighted(&mut self, hash: u64) -> u8 {
        let n_sightings = self.window.take(hash).saturating_add(1);
        if n_sightings >= SIGHTINGS_MIN {
            return n_sightings;
        }
        if self.rules.lacks(Mutation::FirstHitAdmits) {
            return SIGHTINGS_MIN;
        }
        self.remember(hash, n_sightings);
        n_sightings
    }

    fn remember(&mut self, hash: u64, n_sightings: u8) {
        if self.rules.lacks(Mutation::GhostsUnbounded) {
            self.window.grow();
        }
        self.window.remember(hash, n_sightings);
    }

    /// Whether a key with a ticket has to be asked for more often before it gets a value of that size. If so, the
    /// refusal is counted, and the sightings are in the window.
    ///
    /// The keys of a shard are a sample of all, so its mean stands for that of the index, and is known under its lock.
    pub(super) fn refuses_for_size(&mut self, place: Place, charge_bytes: usize) -> bool {
        if !self.is_current(place) {
            return false;
        }
        let Slot { hash, state: State::Pending { n_sightings, .. }, .. } =
            self.slots[place.at as usize]
        else {
            return false;
        };
        if self.rules.lacks(Mutation::SizeIgnored)
            || n_sightings >= self.admission.n_sightings(charge_bytes, self.mean_bytes())
        {
            return false;
        }
        self.counts.too_seldom += 1;
        let is_forgotten = self.rules.lacks(Mutation::SightingsForgotten);
        self.remember(hash, if is_forgotten { 1 } else { n_sightings });
        true
    }

    /// Of the residents; `None` without any.
    fn mean_bytes(&self) -> Option<usize> {
        self.bytes.checked_div(self.counts.n_resident)
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Makes a slot for a key that has none.
    fn occupy(&mut self, of: Hashed<'_>, state: State) -> Place {
        let version = self.next_version();
        let (key, hash) = (of.key.encode(), of.hash);
        let slot = Slot { key, hash, version, state, newer: NONE, older: NONE };
        let at = u32::try_from(self.slots.insert(slot)).expect("slots fit into memory");
        let slots = &self.slots;
        self.table.insert_unique(of.hash, at, |at| slots[*at as usize].hash);
        Place { at, version }
    }

    /// Begins another life of a slot that is not resident.
    fn replace(&mut self, at: u32, state: State) -> Place {
        let version = self.next_version();
        let slot = &mut self.slots[at as usize];
        slot.version = version;
        slot.state = state;
        Place { at, version }
    }

    /// The key is vacant again.
    fn remove(&mut self, at: u32, budget: &Budget, trash: &mut Trash) {
        let slot = &self.slots[at as usize];
        let entry = self.table.find_entry(slot.hash, |found| *found == at);
        entry.expect("every slot is in the table").remove();
        self.uncount(at, budget);
        trash.push(self.slots.remove(at as usize).state);
    }

    /// If the slot is resident, it no longer counts as such.
    fn uncount(&mut self, at: u32, budget: &Budget) {
        if let State::Resident(resident) = &self.slots[at as usize].state {
            let charge_bytes = resident.charge_bytes;
            self.counts.n_resident -= 1;
            self.bytes -= charge_bytes;
            budget.release(charge_bytes);
            self.sieve.unlink(&mut self.slots, at);
        }
    }

    /// Makes a slot resident that is not.
    fn install(&mut self, at: u32, offer: Offer) {
        let version = self.next_version();
        let slot = &mut self.slots[at as usize];
        slot.version = version;
        self.bytes += offer.charge_bytes;
        self.counts.n_resident += 1;
        self.counts.installed += 1;
        slot.state = State::Resident(Resident {
            blob: offer.blob,
            stamp: offer.stamp,
            // No version is that high: the first hit asks.
            checked: u64::MAX,
            visited: false,
            charge_bytes: offer.charge_bytes,
        });
        self.sieve.push(&mut self.slots, at);
    }

    pub(super) fn is_current(&self, place: Place) -> bool {
        self.slots.get(place.at as usize).is_some_and(|slot| slot.version == place.version)
    }

    /// Whether the slot is in this life, and is being written.
    pub(super) fn is_written(&self, place: Place) -> bool {
        self.is_current(place) && self.is_writing(place.at)
    }

    pub(super) fn is_admitted(&self, place: Place) -> bool {
        self.is_current(place)
            && matches!(
                self.slots[place.at as usize].state,
                State::Pending { n_sightings: SIGHTINGS_MIN.., .. }
            )
    }

    /// Whether another value of the key is resident.
    pub(super) fn is_resident(&self, hash: u64, key: &[u8]) -> bool {
        let found = self.table.find(hash, |at| self.slots[*at as usize].key == key);
        found.is_some_and(|at| matches!(self.slots[*at as usize].state, State::Resident(_)))
    }

    /// Ends a pending slot with its value.
    pub(super) fn fulfil(
        &mut self,
        place: Place,
        offer: Offer,
        budget: &Budget,
        trash: &mut Trash,
    ) {
        if let State::Resident(_) = &self.slots[place.at as usize].state {
            // Only a broken twin comes here: it does not ask whether its ticket is still there.
            self.uncount(place.at, budget);
            let state = std::mem::replace(
                &mut self.slots[place.at as usize].state,
                pending(None, SIGHTINGS_MIN),
            );
            trash.push(state);
        }
        self.install(place.at, offer);
    }

    /// The encoded key of a slot.
    pub(super) fn key_at(&self, place: Place) -> Bytes {
        self.slots[place.at as usize].key.clone()
    }

    pub(super) fn is_occupied(&self, place: Place) -> bool {
        self.slots.contains(place.at as usize)
    }

    /// Ends a pending slot without a value; `seen` makes the next hit schedule again.
    pub(super) fn give_up(&mut self, place: Place, seen: bool, budget: &Budget, trash: &mut Trash) {
        if !self.is_current(place) {
            return;
        }
        let Slot { hash, state: State::Pending { n_sightings, .. }, .. } =
            self.slots[place.at as usize]
        else {
            return;
        };
        self.remove(place.at, budget, trash);
        if seen {
            self.remember(hash, n_sightings);
        }
    }

    /// Replaces whatever there is by a resident value.
    pub(super) fn put(&mut self, of: Hashed<'_>, offer: Offer, budget: &Budget, trash: &mut Trash) {
        match self.find(of) {
            Some(at) if self.is_writing(at) => {
                // Its writers decide what is the last value; this one is not among them.
                budget.release(offer.charge_bytes);
                self.fail_writers(at);
                return;
            }
            Some(at) if self.rules.lacks(Mutation::PutKeepsTickets) && self.is_pending(at) => {
                budget.release(offer.charge_bytes);
                return;
            }
            Some(at) => {
                if self.rules.lacks(Mutation::ReplacedCounted)
                    && let State::Resident(resident) = &self.slots[at as usize].state
                {
                    budget.add_back(resident.charge_bytes);
                }
                self.remove(at, budget, trash);
            }
            None => {}
        }
        let place = self.occupy(of, pending(None, SIGHTINGS_MIN));
        self.install(place.at, offer);
    }

    /// Leaves the key vacant.
    pub(super) fn clear(&mut self, of: Hashed<'_>, budget: &Budget, trash: &mut Trash) {
        match self.find(of) {
            Some(at) if self.is_writing(at) => self.fail_writers(at),
            Some(at) if self.rules.lacks(Mutation::RemoveKeepsTickets) && self.is_pending(at) => {}
            Some(at) => self.remove(at, budget, trash),
            None => {}
        }
    }

    fn is_pending(&self, at: u32) -> bool {
        matches!(self.slots[at as usize].state, State::Pending { .. })
    }

    fn is_writing(&self, at: u32) -> bool {
        matches!(self.slots[at as usize].state, State::Writing { .. })
    }

    /// None of the writers that are under way may install.
    fn fail_writers(&mut self, at: u32) {
        if let State::Writing { failed, flight, .. } = &mut self.slots[at as usize].state {
            *failed = true;
            *flight = None;
        }
    }

    /// One more writer of the key.
    pub(super) fn begin_write(
        &mut self,
        of: Hashed<'_>,
        budget: &Budget,
        trash: &mut Trash,
    ) -> Option<Place> {
        let Some(at) = self.find(of) else {
            return Some(self.occupy(of, writing(None)));
        };
        let version = self.next_version();
        let keeps_flight = self.rules.lacks(Mutation::FlightSurvivesWrite);
        let slot = &mut self.slots[at as usize];
        match &mut slot.state {
            State::Writing { n_writers, flight, .. } => {
                *n_writers += 1;
                if !keeps_flight {
                    *flight = None;
                }
                slot.version = version;
                return Some(Place { at, version });
            }
            State::Resident(_) if self.rules.lacks(Mutation::WriteServesOld) => return None,
            State::Pending { flight, .. } if keeps_flight => {
                let flight = flight.take();
                return Some(self.replace(at, writing(flight)));
            }
            _ => {}
        }
        self.remove(at, budget, trash);
        Some(self.occupy(of, writing(None)))
    }

    /// The holder of a ticket becomes a writer, if the ticket is still there; with its flight, if what it
    /// brings is what is written.
    pub(super) fn begin_write_for(&mut self, place: Place, keeps_flight: bool) -> Option<Place> {
        if !self.is_current(place) {
            return None;
        }
        let slot = &mut self.slots[place.at as usize];
        let State::Pending { flight, .. } = &mut slot.state else { return None };
        let flight = flight.take().filter(|_| keeps_flight);
        Some(self.replace(place.at, writing(flight)))
    }

    /// One writer less. The last one leaves its value if it was also the last to begin, and nobody failed.
    pub(super) fn end_write(
        &mut self,
        place: Place,
        written: Written,
        budget: &Budget,
        trash: &mut Trash,
    ) -> bool {
        let slot = &mut self.slots[place.at as usize];
        let is_last_to_begin =
            slot.version == place.version || self.rules.lacks(Mutation::LastToEndWins);
        let State::Writing { n_writers, failed, .. } = &mut slot.state else {
            unreachable!("a slot is written until its last writer has ended");
        };
        *n_writers -= 1;
        if matches!(written, Written::Failed) && !self.rules.lacks(Mutation::FailureForgotten) {
            *failed = true;
        }
        let (is_last, has_failed) = (*n_writers == 0, *failed);
        let offer = match written {
            Written::Value(offer) if is_last && is_last_to_begin && !has_failed => offer,
            Written::Value(offer) => {
                budget.release(offer.charge_bytes);
                trash.push(State::Resident(Resident {
                    blob: offer.blob,
                    stamp: offer.stamp,
                    checked: 0,
                    visited: false,
                    charge_bytes: 0,
                }));
                if is_last {
                    self.remove(place.at, budget, trash);
                }
                return false;
            }
            Written::Nothing | Written::Failed => {
                if is_last {
                    self.remove(place.at, budget, trash);
                }
                return false;
            }
        };
        self.install(place.at, offer);
        true
    }

    /// Makes room for others. Returns whether somebody left.
    pub(super) fn evict(&mut self, now: UnixMillis, budget: &Budget, trash: &mut Trash) -> bool {
        let ignores_visits = self.rules.lacks(Mutation::VisitsIgnored);
        let victim = self.sieve.victim(&mut self.slots, |slot| {
            let State::Resident(resident) = &mut slot.state else {
                unreachable!("only residents are linked");
            };
            let visited = std::mem::take(&mut resident.visited);
            visited && !resident.blob.meta.is_expired(now) && !ignores_visits
        });
        let Some(at) = victim else { return false };
        self.counts.evicted += 1;
        if self.rules.lacks(Mutation::EvictedCounted)
            && let State::Resident(resident) = &self.slots[at as usize].state
        {
            budget.add_back(resident.charge_bytes);
        }
        self.remove(at, budget, trash);
        true
    }

    /// Keys and charges of the residents.
    #[cfg(test)]
    pub(super) fn residents(&self) -> impl Iterator<Item = (&Bytes, &Blob, usize)> {
        self.slots.iter().filter_map(|(_, slot)| match &slot.state {
            State::Resident(resident) => Some((&slot.key, &resident.blob, resident.charge_bytes)),
            _ => None,
        })
    }
}
