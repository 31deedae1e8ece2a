//! Models of the threads that meet in the index and in a flight, named after the race each excludes.

use std::sync::Arc as StdArc;

use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};
use millpond_sync::{model, thread};
use millpond_types::UnixMillis;

use crate::cache::Flight;
use crate::index::{Arrival, Core};
use crate::rules::Rules;
use crate::{
    Admission, Blob, BlobCache, CacheOptions, Committed, Index, IndexOptions, Key, Lookup, Meta,
    Miss, Promotion, Scope, Ticket,
};

const NOW: UnixMillis = UnixMillis(0);
const OPTIONS: IndexOptions = IndexOptions {
    bytes_max: 1_000,
    n_shards: 1,
    ghosts_max: 4,
    admission: Admission::SecondHit,
    hash_seed: 0,
};

fn key() -> Key<'static> {
    Key::new("ns", b"key").expect("it is short")
}

fn index(rules: Rules) -> Index {
    Index::with_rules(OPTIONS, rules).expect("the options are good")
}

/// The second miss of a key brings a ticket.
fn ticket(index: &Index, key: Key<'_>) -> Ticket {
    let _ = index.lookup(key, NOW);
    match index.lookup(key, NOW) {
        Lookup::Miss(Miss::Promote(ticket)) => ticket,
        found => panic!("{found:?}"),
    }
}

fn value(index: &Index, key: Key<'_>) -> Option<Blob> {
    match index.lookup(key, NOW) {
        Lookup::Hit(blob) => Some(blob),
        Lookup::Miss(_) => None,
    }
}

fn tagged(value: &'static str) -> Blob {
    Blob::with_meta(value, Meta::new().tagged("tag").expect("it is short"))
}

fn commit_against_put(rules: Rules) {
    let index = index(rules);
    let old = ticket(&index, key());
    let committer = thread::spawn(move || old.commit(Blob::new("old"), NOW));
    index.put(key(), Blob::new("new"), NOW);
    committer.join().expect("a commit does not panic");
    let found = value(&index, key()).expect("there is room");
    assert_eq!(found.value, "new", "what is resident is older than the last write");
}

#[test]
fn a_late_commit_does_not_replace_what_was_put() {
    model("blob_cache_commit_against_put", || commit_against_put(Rules::SHIPPED));
}

#[test]
fn a_late_commit_does_not_bring_back_what_was_removed() {
    model("blob_cache_commit_against_remove", || {
        let index = index(Rules::SHIPPED);
        let old = ticket(&index, key());
        let committer = thread::spawn(move || old.commit(Blob::new("old"), NOW));
        index.remove(key());
        committer.join().expect("a commit does not panic");
        assert_eq!(value(&index, key()), None);
    });
}

/// What is invalidated last is gone; what is put last may be reached by it, and nothing older is there.
#[test]
fn commit_put_and_invalidation_leave_nothing_old() {
    model("blob_cache_commit_against_put_and_invalidate", || {
        let index = index(Rules::SHIPPED);
        let old = ticket(&index, key());
        let committer = thread::spawn(move || old.commit(tagged("old"), NOW));
        let putter = {
            let index = index.clone();
            thread::spawn(move || index.put(key(), tagged("new"), NOW))
        };
        index.invalidate(Scope::Tag("tag"));
        committer.join().expect("a commit does not panic");
        putter.join().expect("a put does not panic");
        assert!(value(&index, key()).is_none_or(|found| found.value == "new"));
        index.invalidate(Scope::Namespace("ns"));
        assert_eq!(value(&index, key()), None);
    });
}

#[test]
fn a_flush_reaches_what_is_committed_beside_it() {
    model("blob_cache_flush_against_commit", || {
        let index = index(Rules::SHIPPED);
        let old = ticket(&index, key());
        let committer = thread::spawn(move || old.commit(Blob::new("old"), NOW));
        index.invalidate(Scope::All);
        assert_eq!(value(&index, key()), None, "read after the flush");
        committer.join().expect("a commit does not panic");
        assert_eq!(value(&index, key()), None);
    });
}

/// Of two misses one gets the ticket; when it is dropped, the next miss gets another one.
#[test]
fn a_dropped_ticket_is_given_again() {
    model("blob_cache_two_hits_and_a_dropped_ticket", || {
        let index = index(Rules::SHIPPED);
        let _ = index.lookup(key(), NOW);
        let other = {
            let index = index.clone();
            thread::spawn(move || drop(index.lookup(key(), NOW)))
        };
        drop(index.lookup(key(), NOW));
        other.join().expect("a lookup does not panic");
        let found = index.lookup(key(), NOW);
        assert!(matches!(found, Lookup::Miss(Miss::Promote(_))), "{found:?}");
    });
}

/// Each of two fits, both do not.
#[test]
fn installs_beside_each_other_stay_within_the_bound() {
    model("blob_cache_bytes_against_installs", || {
        let index = index(Rules::SHIPPED);
        let large = || Blob::new(vec![0; 500]);
        let other = Key::new("ns", b"other").expect("it is short");
        let (first, second) = (ticket(&index, key()), ticket(&index, other));
        let committer = thread::spawn(move || first.commit(large(), NOW));
        let committed = second.commit(large(), NOW);
        assert!(index.stats().bytes <= OPTIONS.bytes_max);
        let other = committer.join().expect("a commit does not panic");
        assert!(index.stats().bytes <= OPTIONS.bytes_max);
        assert_eq!(index.stats().n_entries, 1, "{committed:?} and {other:?}");
    });
}

/// A value that is refused for its size leaves a key that is seen, and what was put beside it.
#[test]
fn a_commit_refused_for_its_size_leaves_nothing_behind() {
    model("blob_cache_refusal_for_size_against_lookup_and_put", || {
        let options = IndexOptions { admission: Admission::BySize, ..OPTIONS };
        let index = Index::with_rules(options, Rules::SHIPPED).expect("the options are good");
        let other = Key::new("ns", b"other").expect("it is short");
        index.put(other, Blob::new("small"), NOW);
        let old = ticket(&index, key());
        let committer = thread::spawn(move || old.commit(Blob::new(vec![0; 700]), NOW));
        drop(index.lookup(key(), NOW));
        index.put(other, Blob::new("new"), NOW);
        let committed = committer.join().expect("a commit does not panic");
        assert_eq!(committed, Committed::TooSeldom);
        assert_eq!(value(&index, other).expect("nobody took its room").value, "new");
        assert_eq!((index.stats().n_pending, index.stats().n_too_seldom), (0, 1));
        let found = index.lookup(key(), NOW);
        assert!(matches!(found, Lookup::Miss(Miss::Promote(_))), "{found:?}");
    });
}

#[test]
fn an_inline_commit_beside_a_put_leaves_the_new_value() {
    model("blob_cache_inline_commit_against_put", || {
        let index = index(Rules::SHIPPED);
        let old = ticket(&index, key());
        let committer = thread::spawn(move || old.try_commit(Blob::new("old"), NOW).ok());
        index.put(key(), Blob::new("new"), NOW);
        let committed = committer.join().expect("a commit does not panic");
        assert_ne!(committed, Some(Committed::TooLarge));
        assert_eq!(value(&index, key()).expect("there is room").value, "new");
    });
}

/// Of two writers the last to begin wins, or nobody.
#[test]
fn writers_beside_each_other_leave_the_last_or_nothing() {
    model("blob_cache_writer_against_writer", || {
        let index = index(Rules::SHIPPED);
        let stamp = index.core.generations.stamp();
        let first = Core::begin_write(&index.core, key());
        let second = Core::begin_write(&index.core, key());
        let n_bytes = key().n_bytes();
        let ender = thread::spawn(move || first.end_with(Blob::new("first"), stamp, n_bytes, NOW));
        second.end_with(Blob::new("second"), stamp, n_bytes, NOW);
        ender.join().expect("a write does not panic");
        assert!(value(&index, key()).is_none_or(|found| found.value == "second"));
        assert_eq!(index.stats().n_pending, 0);
    });
}

/// Whoever comes, leader or follower, one of the two reads and nobody waits for ever.
#[test]
fn a_leader_that_goes_away_hands_over() {
    use crate::cache::{Followed, Follower, Leader};

    model("blob_cache_leader_drop_against_follower", || {
        let index = index(Rules::SHIPPED);
        let arrive = |index: &Index| Core::join(&index.core, key(), NOW, || Flight::new(false));
        let Arrival::Lead(ticket, flight) = arrive(&index) else { panic!("it is the first") };
        let leader = Leader::new(flight, ticket);
        let leaver = thread::spawn(move || drop(leader));
        match arrive(&index) {
            Arrival::Lead(ticket, flight) => drop(Leader::new(flight, ticket)),
            Arrival::Follow(flight, place) => {
                match thread::block_on(Follower::new(flight.clone())) {
                    Followed::Lead(ticket) => drop(Leader::new(flight, ticket)),
                    Followed::Gone => drop(index.core.forget(key(), place)),
                    Followed::Done(outcome) => panic!("nobody has answered: {outcome:?}"),
                }
            }
            found => panic!("{found:?}"),
        }
        leaver.join().expect("a drop does not panic");
        assert_eq!(index.stats().n_pending, 0);
    });
}

/// After a put has returned, a reader finds it, whatever was read beside it.
#[test]
fn a_read_beside_a_put_leaves_the_new_value() {
    model("blob_cache_get_against_put", || {
        let disk = MemoryDisk::new();
        let store = MemoryStore::open(&disk, MemoryOptions::default()).expect("it is empty");
        let options = CacheOptions { index: OPTIONS, pool: None, ..CacheOptions::default() };
        let opened = BlobCache::open_with(StdArc::new(store), options, Promotion::install);
        let cache = thread::block_on(opened).expect("the store is open");
        let reader = {
            let cache = cache.clone();
            thread::spawn(move || thread::block_on(cache.get(key(), NOW)))
        };
        thread::block_on(cache.put(key(), Blob::new("new"), NOW)).expect("the store is open");
        let found = thread::block_on(cache.get(key(), NOW)).expect("the store is open");
        assert_eq!(found.expect("it was put").value, "new");
        reader.join().expect("a read does not panic").expect("the store is open");
        assert_eq!(cache.stats().index.n_pending, 0);
    });
}

/// The broken twin: a commit that does not ask whether its ticket is still there.
#[cfg(millpond_loom)]
#[test]
#[should_panic(expected = "older than the last write")]
fn a_commit_that_does_not_ask_is_found() {
    let rules = Rules { broken: Some(crate::rules::Mutation::CommitUnasked) };
    model("broken_blob_cache_commit_unasked", move || commit_against_put(rules));
}
