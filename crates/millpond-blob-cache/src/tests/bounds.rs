//! Bounds that histories of a few keys do not reach, and properties with a shape of their own.

use millpond_types::UnixMillis;

use super::{Random, with};
use crate::rules::Mutation;
use crate::{
    Admission, Blob, Committed, ENTRY_OVERHEAD_BYTES, GHOSTS_MAX, Index, IndexOptions, Key, Lookup,
    Miss, Scope,
};

/// A property, given the rule that is left out.
type Property = fn(Option<Mutation>) -> Result<(), String>;

/// Those beside the histories.
pub(super) const PROPERTIES: [(&str, Property); 5] = [
    ("large values are asked for more often", large_values_are_asked_for_more_often),
    ("a late number reaches what was read", a_late_number_reaches_what_was_read),
    ("a scan leaves residents alone", a_scan_leaves_residents_alone),
    ("what is asked for stays", what_is_asked_for_stays),
    ("ghosts are bounded", ghosts_are_bounded),
];

const NOW: UnixMillis = UnixMillis(0);

fn index(bytes_max: usize, n_shards: usize, broken: Option<Mutation>) -> Index {
    let admission = Admission::SecondHit;
    let options = IndexOptions { bytes_max, n_shards, ghosts_max: 1_000, admission, hash_seed: 1 };
    Index::with_rules(options, with(broken)).unwrap()
}

/// A read of the key and, if it is to become resident, its commit. Whether it was a hit.
fn read(index: &Index, number: u64, n_bytes: usize) -> bool {
    let id = number.to_be_bytes();
    let key = Key::new("", &id).unwrap();
    match index.lookup(key, NOW) {
        Lookup::Hit(_) => true,
        Lookup::Miss(Miss::NotYet) => false,
        Lookup::Miss(Miss::Promote(ticket)) => {
            ticket.commit(Blob::new(vec![0; n_bytes]), NOW);
            false
        }
    }
}

fn scan(index: &Index, from: u64, n_keys: u64) -> Result<(), String> {
    for number in from..from + n_keys {
        read(index, number, 100);
        if number % 1_000 == 0 && index.stats().n_ghosts > 1_024 {
            return Err(format!("{} ghosts", index.stats().n_ghosts));
        }
    }
    Ok(())
}

fn a_scan_leaves_residents_alone(broken: Option<Mutation>) -> Result<(), String> {
    let index = index(100_000, 1, broken);
    for _ in 0..2 {
        for number in 0..100 {
            read(&index, number, 500);
        }
    }
    let n_installed = index.stats().n_installed;
    scan(&index, 1_000, 10_000)?;
    if index.stats().n_installed != n_installed {
        return Err("what is asked for once was installed".to_owned());
    }
    let n_left = (0..100).filter(|number| read(&index, *number, 500)).count();
    if n_left == 100 { Ok(()) } else { Err(format!("{n_left} of 100 are left")) }
}

/// Keys that are hit survive more than their room's worth of others.
fn what_is_asked_for_stays(broken: Option<Mutation>) -> Result<(), String> {
    let index = index(100_000, 1, broken);
    for number in 0..50 {
        let id = u64::to_be_bytes(number);
        index.put(Key::new("", &id).unwrap(), Blob::new(vec![0; 500]), NOW);
    }
    for number in 1_000..2_000_u64 {
        if number % 20 == 0 && (0..50).any(|number| !read(&index, number, 500)) {
            return Err("a key that is asked for has left".to_owned());
        }
        let id = number.to_be_bytes();
        index.put(Key::new("", &id).unwrap(), Blob::new(vec![0; 500]), NOW);
    }
    Ok(())
}

fn ghosts_are_bounded(broken: Option<Mutation>) -> Result<(), String> {
    scan(&index(100_000, 8, broken), 0, 100_000)
}

/// A full index of values that count 1,000 bytes each, and values of other sizes, committed in both ways.
fn large_values_are_asked_for_more_often(broken: Option<Mutation>) -> Result<(), String> {
    let options = IndexOptions {
        bytes_max: 100_000,
        n_shards: 1,
        ghosts_max: 1_000,
        ..IndexOptions::default()
    };
    let sizes = [(500, 2), (999, 2), (1_000, 2), (1_001, 3), (2_001, 4), (3_001, 5), (50_000, 5)];
    for (charge_bytes, n_sightings) in sizes {
        for is_inline in [false, true] {
            let index = Index::with_rules(options, with(broken)).unwrap();
            for number in 0..100_u64 {
                let id = number.to_be_bytes();
                let key = Key::new("", &id).unwrap();
                index.put(key, charged(key, 1_000), NOW);
            }
            let key = Key::new("", b"another.").unwrap();
            let found = sightings_until_resident(&index, key, charge_bytes, is_inline);
            // Inline, only a few give way.
            let has_room = !is_inline || charge_bytes <= 8_000;
            let expected = has_room.then_some(n_sightings);
            if found != expected {
                return Err(format!(
                    "{charge_bytes} bytes, inline {is_inline}: {found:?} sightings"
                ));
            }
            let stats = index.stats();
            if (stats.n_too_seldom, stats.n_stale, stats.n_refused) != (n_sightings - 2, 0, 0) {
                return Err(format!("{stats:?}"));
            }
        }
    }
    Ok(())
}

/// A value that counts so many bytes.
fn charged(key: Key<'_>, charge_bytes: usize) -> Blob {
    Blob::new(vec![0; charge_bytes - ENTRY_OVERHEAD_BYTES - key.n_bytes()])
}

/// Of ten lookups, the one after whose miss the value was installed.
fn sightings_until_resident(
    index: &Index,
    key: Key<'_>,
    charge_bytes: usize,
    is_inline: bool,
) -> Option<u64> {
    for n_sightings in 1..=10 {
        let Lookup::Miss(Miss::Promote(ticket)) = index.lookup(key, NOW) else { continue };
        let blob = charged(key, charge_bytes);
        let committed = match is_inline {
            true => ticket.try_commit(blob, NOW).ok()?,
            false => ticket.commit(blob, NOW),
        };
        match committed {
            Committed::Installed => return Some(n_sightings),
            Committed::TooSeldom => {}
            _ => return None,
        }
    }
    None
}

/// Two invalidations of which the first comes into force last, and a promotion between them of a row that was written
/// before both.
fn a_late_number_reaches_what_was_read(broken: Option<Mutation>) -> Result<(), String> {
    let index = index(10_000, 1, broken);
    let generations = &index.core.generations;
    let (written_under, key) = (generations.stamp(), Key::new("ns", b"key").unwrap());
    let late = generations.allocate();
    index.invalidate(Scope::Tag("another"));
    let _ = index.lookup(key, NOW);
    let Lookup::Miss(Miss::Promote(mut ticket)) = index.lookup(key, NOW) else {
        return Err("the second miss brings a ticket".to_owned());
    };
    ticket.read_under(written_under);
    ticket.commit(Blob::new("value"), NOW);
    generations.publish(Scope::Namespace("ns"), late);
    match index.lookup(key, NOW) {
        Lookup::Hit(_) => Err("what was invalidated is a hit".to_owned()),
        Lookup::Miss(_) => Ok(()),
    }
}

#[test]
fn properties_hold() {
    for (name, property) in PROPERTIES {
        property(None).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

#[test]
fn ten_million_scanned_keys_leave_a_bounded_window() {
    let index = index(100_000, 16, None);
    scan(&index, 0, 10_000_000).unwrap();
    let stats = index.stats();
    assert_eq!((stats.n_entries, stats.bytes, stats.n_pending), (0, 0, 0));
    assert!(stats.n_ghosts <= 16 * 1_000_usize.div_ceil(16), "{} ghosts", stats.n_ghosts);
}

#[test]
fn values_of_a_mebibyte_stay_within_the_bound() {
    const BYTES_MAX: usize = 20 << 20;
    let index = index(BYTES_MAX, 16, None);
    let mut random = Random(3);
    for _ in 0..2_000 {
        read(&index, random.below(60) as u64, 1 << 20);
        let bytes = index.stats().bytes;
        assert!(bytes <= BYTES_MAX, "{bytes} bytes");
    }
    // All but one of those that fit, although a sixteenth of the room holds one only.
    assert!(index.stats().n_entries >= 18, "{:?}", index.stats());
}

#[test]
fn the_first_resident_of_a_shard_has_nothing_to_be_compared_with() {
    for is_inline in [false, true] {
        let index = Index::new(IndexOptions { bytes_max: 100_000, ..IndexOptions::default() });
        let large = Key::new("", b"large").unwrap();
        let found = sightings_until_resident(&index.unwrap(), large, 80_000, is_inline);
        assert_eq!(found, Some(2));
    }
}

#[test]
fn the_window_is_twice_what_fits() {
    let options = IndexOptions::for_values(1_000 * (792 + ENTRY_OVERHEAD_BYTES), 792);
    assert_eq!(options.ghosts_max, 2_000);
    assert_eq!(IndexOptions::for_values(0, 0).ghosts_max, 0);
    let most = IndexOptions::for_values(usize::MAX, usize::MAX);
    assert_eq!(most.ghosts_max, 2);
    assert_eq!(IndexOptions::for_values(usize::MAX, 0).ghosts_max, GHOSTS_MAX);
}

#[test]
fn a_value_that_fits_nowhere_is_refused_and_costs_nobody_its_place() {
    let index = index(10_000, 4, None);
    let key = |id| Key::new("", id).unwrap();
    assert_eq!(index.put(key(b"small"), Blob::new(vec![0; 100]), NOW), Committed::Installed);
    assert_eq!(index.put(key(b"large"), Blob::new(vec![0; 10_000]), NOW), Committed::TooLarge);
    assert!(matches!(index.lookup(key(b"small"), NOW), Lookup::Hit(_)));
    let _ = index.lookup(key(b"large"), NOW);
    let Lookup::Miss(Miss::Promote(ticket)) = index.lookup(key(b"large"), NOW) else { panic!() };
    assert_eq!(ticket.commit(Blob::new(vec![0; 10_000]), NOW), Committed::TooLarge);
    assert_eq!((index.stats().n_pending, index.stats().n_entries), (0, 1));
}

#[test]
fn a_value_too_large_takes_the_old_one_with_it() {
    let index = index(10_000, 1, None);
    let key = Key::new("", b"key").unwrap();
    index.put(key, Blob::new("old"), NOW);
    index.put(key, Blob::new(vec![0; 10_000]), NOW);
    assert!(matches!(index.lookup(key, NOW), Lookup::Miss(_)));
}

#[test]
fn options_that_cannot_be_are_refused() {
    let refused = |options| Index::new(options).unwrap_err().to_string();
    let options = IndexOptions::default();
    assert_eq!(refused(IndexOptions { bytes_max: 0, ..options }), "bytes_max must not be 0");
    assert_eq!(refused(IndexOptions { n_shards: 0, ..options }), "n_shards must not be 0");
    let many = refused(IndexOptions { n_shards: usize::MAX, ..options });
    assert!(many.contains("n_shards"), "{many}");
    refused(IndexOptions { ghosts_max: usize::MAX, ..options });
    // No window: nothing is promoted, and puts work.
    let index = Index::new(IndexOptions { ghosts_max: 0, ..options }).unwrap();
    let key = Key::new("", b"").unwrap();
    for _ in 0..3 {
        assert!(matches!(index.lookup(key, NOW), Lookup::Miss(Miss::NotYet)));
    }
    assert_eq!(index.put(key, Blob::new("value"), NOW), Committed::Installed);
    assert!(Key::new(&"n".repeat(256), b"").is_err());
    assert!(Key::new("", &[0; 1_025]).is_err());
}

/// The figure of the documentation: a slot, its place in a table that is half full, and what the key's allocation costs.
#[test]
fn the_overhead_is_what_is_counted() {
    const PLACE_BYTES: usize = 2 * (size_of::<u32>() + 1);
    const KEY_ALLOCATION_BYTES: usize = 16 + 32;
    let bytes = crate::index::slot_bytes() + PLACE_BYTES + KEY_ALLOCATION_BYTES;
    println!("{bytes} bytes");
    assert!(bytes <= crate::ENTRY_OVERHEAD_BYTES, "{bytes} bytes");
}
