//! A random history beside the oracle, with clean and unclean ends mixed in.

use std::collections::BTreeSet;

use millpond_storage_api::{
    Buffered, BufferedTicket, CommitTicket, Durable, LogPosition, ScanRequest, Table, WriteBatch,
};

use crate::Harness;
use crate::fixture::{Fixture, TABLES, find_in_history, range};
use crate::oracle::Oracle;
use crate::random::Random;

const N_STEPS: usize = 600;
const SEED: u64 = 20_260;

/// Set `MILLPOND_SEED` to run another history; the seed of a failing one is printed.
pub(crate) fn a_random_history_matches_the_oracle<H: Harness>(harness: H) {
    let seed = std::env::var("MILLPOND_SEED").ok().map_or(SEED, |seed| {
        seed.parse().unwrap_or_else(|_| panic!("MILLPOND_SEED is not a number: {seed}"))
    });
    println!("replay with MILLPOND_SEED={seed}");
    let mut history = History::new(Fixture::new(harness), seed);
    for _ in 0..N_STEPS {
        history.step();
    }
    history.wait_for_all();
    history.fixture.check();
}

struct History<H> {
    fixture: Fixture<H>,
    random: Random,
    /// States since the last one known to be durable, that one first.
    states: Vec<Oracle>,
    durable: LogPosition,
    /// The last one that was waited for.
    waited: LogPosition,
    tickets: Vec<Ticket>,
}

enum Ticket {
    Durable(CommitTicket),
    Buffered(BufferedTicket),
}

impl<H: Harness> History<H> {
    fn new(fixture: Fixture<H>, seed: u64) -> Self {
        Self {
            fixture,
            random: Random::new(seed),
            states: vec![Oracle::default()],
            durable: LogPosition(0),
            waited: LogPosition(0),
            tickets: Vec::new(),
        }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0..20 => self.submit(),
            20..26 => self.wait_for_some(),
            26..32 => {
                self.wait_for_all();
                self.scan();
            }
            32..38 => {
                self.wait_for_all();
                let (table, key) = self.place();
                let expected = self.fixture.oracle.get(table, &key).map(<[u8]>::to_vec);
                assert_eq!(self.fixture.get(table, &key), expected);
            }
            38 => {
                self.fixture.reopen_clean();
                self.wait_for_all();
                self.covered(self.waited);
                self.fixture.check();
            }
            _ => self.crash(),
        }
    }

    fn submit(&mut self) {
        let batch = self.batch();
        self.tickets.push(if self.random.one_in(2) {
            Ticket::Buffered(self.fixture.submit_buffered(|to| *to = batch))
        } else {
            Ticket::Durable(self.fixture.submit(|to| *to = batch))
        });
        self.states.push(self.fixture.oracle.clone());
    }

    fn batch(&mut self) -> WriteBatch {
        let mut batch = WriteBatch::new();
        // Entries are put only where there is none and removed only where there is one.
        let entries = self.fixture.oracle.range(Table::Entries, b"", None);
        let mut live: BTreeSet<_> = entries.into_iter().map(|(key, _)| key).collect();
        for _ in 0..self.random.below(8) {
            let (table, key) = self.place();
            let is_entry = table == Table::Entries;
            match self.random.below(10) {
                0 => {
                    let upper = self.key();
                    batch.delete_range(table, &key, &upper);
                    live.retain(|live| !is_entry || !(&key..&upper).contains(&live));
                }
                _ if is_entry && live.remove(&key) => batch.single_delete(table, &key),
                1..4 => batch.delete(table, &key),
                _ => {
                    let value = vec![self.random.next().to_be_bytes()[0]; self.random.below(300)];
                    batch.put(table, &key, &value);
                    if is_entry {
                        live.insert(key);
                    }
                }
            }
        }
        batch
    }

    fn place(&mut self) -> (Table, Vec<u8>) {
        (TABLES[self.random.below(TABLES.len())], self.key())
    }

    /// Few and short keys with the extremes among them, so that histories meet.
    fn key(&mut self) -> Vec<u8> {
        const BYTES: [u8; 5] = [0, 1, b'm', 0xFE, 0xFF];
        (0..=self.random.below(3)).map(|_| BYTES[self.random.below(BYTES.len())]).collect()
    }

    fn wait_for_some(&mut self) {
        if !self.tickets.is_empty() {
            let n_tickets = 1 + self.random.below(self.tickets.len());
            self.wait_for(n_tickets);
        }
    }

    fn wait_for_all(&mut self) {
        self.wait_for(self.tickets.len());
    }

    fn wait_for(&mut self, n_tickets: usize) {
        let tickets: Vec<_> = self.tickets.drain(..n_tickets).collect();
        for ticket in tickets {
            let harness = &mut self.fixture.harness;
            let (position, durable) = match ticket {
                Ticket::Durable(ticket) => {
                    (harness.block_on(ticket).map(Durable::into_inner), true)
                }
                Ticket::Buffered(ticket) => {
                    (harness.block_on(ticket).map(Buffered::into_inner), false)
                }
            };
            let position = position.expect("a healthy store commits");
            assert_eq!(position, self.waited.next());
            self.waited = position;
            if durable {
                self.covered(position);
            }
        }
    }

    /// Everything up to `position` is durable.
    fn covered(&mut self, position: LogPosition) {
        let n_covered = usize::try_from(position.0 - self.durable.0).expect("few are in flight");
        self.states.drain(..n_covered);
        self.durable = position;
    }

    fn scan(&mut self) {
        let (table, lower) = self.place();
        let upper = (!self.random.one_in(4)).then(|| self.key());
        let request = ScanRequest {
            rows_max: 1 + self.random.below(20),
            bytes_max: 1 + self.random.below(2000),
            skip_max: self.random.below(50) as u64,
            ..range(table, &lower, upper.as_deref())
        };
        self.fixture.scan(&request);
    }

    fn crash(&mut self) {
        self.fixture.reopen_crash();
        self.tickets.clear();
        let store = self.fixture.store.clone();
        let position = store.durable_position();
        let kept = position.0.checked_sub(self.durable.0).expect("nothing acknowledged is lost");
        let kept = usize::try_from(kept).expect("few are in flight");
        assert!(kept < self.states.len(), "position {position} was never submitted");
        let state = self.states.swap_remove(kept);
        // States may be equal, so the position says which one it is.
        find_in_history(&mut self.fixture.harness, &*store, std::slice::from_ref(&state));
        self.fixture.oracle = state.clone();
        self.states = vec![state];
        (self.durable, self.waited) = (position, position);
    }
}
