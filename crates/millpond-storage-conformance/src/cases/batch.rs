//! What the changes of a batch mean.

use millpond_storage_api::{LogPosition, Table};

use crate::Harness;
use crate::fixture::{Fixture, TABLES};

/// Checks now and after a crash: some stores apply a batch one way and recover it another way.
fn check<H: Harness>(mut fixture: Fixture<H>) {
    fixture.check();
    check_gets(&mut fixture);
    fixture.reopen_crash();
    fixture.check();
    check_gets(&mut fixture);
}

/// What scans do not find must not be found by name either.
fn check_gets<H: Harness>(fixture: &mut Fixture<H>) {
    for table in TABLES {
        for letter in b'a'..=b'z' {
            let expected = fixture.oracle.get(table, &[letter]).map(<[u8]>::to_vec);
            assert_eq!(fixture.get(table, &[letter]), expected, "table {}", table.name());
        }
    }
}

pub(crate) fn changes_apply_in_order<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.commit(|batch| {
        for n in 0..50 {
            batch.put(Table::Active, b"key", &[n]);
            batch.put(Table::Active, &[n], b"before");
        }
        batch.put(Table::Active, &[7], b"after");
    });
    assert_eq!(fixture.get(Table::Active, b"key"), Some(vec![49]));
    check(fixture);
}

pub(crate) fn put_then_delete_leaves_nothing<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.commit(|batch| {
        batch.put(Table::Active, b"key", b"value");
        batch.delete(Table::Active, b"key");
        batch.put(Table::Entries, b"key", b"value");
        batch.single_delete(Table::Entries, b"key");
    });
    assert_eq!(fixture.get(Table::Active, b"key"), None);
    assert_eq!(fixture.get(Table::Entries, b"key"), None);
    check(fixture);
}

pub(crate) fn delete_then_put_leaves_the_value<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.put(Table::Active, b"key", b"old");
    fixture.commit(|batch| {
        batch.delete(Table::Active, b"key");
        batch.put(Table::Active, b"key", b"new");
    });
    assert_eq!(fixture.get(Table::Active, b"key").as_deref(), Some(&b"new"[..]));
    check(fixture);
}

fn with_letters<H: Harness>(harness: H) -> Fixture<H> {
    let mut fixture = Fixture::new(harness);
    fixture.commit(|batch| {
        for table in TABLES {
            (b'a'..=b'z').for_each(|letter| batch.put(table, &[letter], b"value"));
        }
    });
    fixture
}

pub(crate) fn delete_range_is_half_open<H: Harness>(harness: H) {
    let mut fixture = with_letters(harness);
    fixture.commit(|batch| batch.delete_range(Table::Payloads, b"c", b"x"));
    assert!(fixture.get(Table::Payloads, b"b").is_some());
    assert!(fixture.get(Table::Payloads, b"c").is_none());
    assert!(fixture.get(Table::Payloads, b"w").is_none());
    assert!(fixture.get(Table::Payloads, b"x").is_some());
    check(fixture);
}

pub(crate) fn delete_range_spares_later_puts<H: Harness>(harness: H) {
    let mut fixture = with_letters(harness);
    fixture.commit(|batch| {
        batch.delete_range(Table::Payloads, b"a", b"n");
        batch.put(Table::Payloads, b"f", b"later in the batch");
    });
    fixture.put(Table::Payloads, b"g", b"in a later batch");
    assert!(fixture.get(Table::Payloads, b"f").is_some());
    assert!(fixture.get(Table::Payloads, b"g").is_some());
    check(fixture);
}

pub(crate) fn delete_range_takes_earlier_puts<H: Harness>(harness: H) {
    let mut fixture = with_letters(harness);
    fixture.commit(|batch| {
        batch.put(Table::Payloads, b"ff", b"new");
        batch.put(Table::Payloads, b"g", b"overwritten");
        batch.delete_range(Table::Payloads, b"f", b"h");
    });
    assert!(fixture.get(Table::Payloads, b"ff").is_none());
    assert!(fixture.get(Table::Payloads, b"g").is_none());
    check(fixture);
}

pub(crate) fn empty_and_inverted_delete_ranges_do_nothing<H: Harness>(harness: H) {
    let mut fixture = with_letters(harness);
    fixture.commit(|batch| {
        batch.delete_range(Table::Payloads, b"c", b"c");
        batch.delete_range(Table::Payloads, b"x", b"c");
        batch.delete_range(Table::Payloads, b"c\0", b"d");
    });
    check(fixture);
}

pub(crate) fn delete_range_stays_in_its_table<H: Harness>(harness: H) {
    let mut fixture = with_letters(harness);
    fixture.commit(|batch| batch.delete_range(Table::Payloads, &[], &[0xFF; 8]));
    assert!(fixture.get(Table::Payloads, b"m").is_none());
    assert!(fixture.get(Table::Entries, b"m").is_some());
    assert!(fixture.get(Table::Leases, b"m").is_some());
    check(fixture);
}

pub(crate) fn single_delete_removes_and_the_key_can_return<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for round in 0..5 {
        fixture.put(Table::Entries, b"key", &[round]);
        assert_eq!(fixture.get(Table::Entries, b"key"), Some(vec![round]));
        fixture.commit(|batch| batch.single_delete(Table::Entries, b"key"));
        assert_eq!(fixture.get(Table::Entries, b"key"), None);
        if round % 2 == 0 {
            fixture.reopen_clean();
        }
    }
    fixture.commit(|batch| {
        batch.put(Table::Entries, b"key", b"first");
        batch.single_delete(Table::Entries, b"key");
        batch.put(Table::Entries, b"key", b"second");
    });
    check(fixture);
}

pub(crate) fn removing_what_is_absent_is_fine<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.commit(|batch| {
        batch.delete(Table::Active, b"key");
        batch.delete_range(Table::Active, b"a", b"z");
    });
    fixture.put(Table::Active, b"key", b"value");
    check(fixture);
}

pub(crate) fn a_large_batch_is_one_batch<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let position = fixture.commit(|batch| {
        for n in 0..2000_u32 {
            batch.put(Table::Payloads, &n.to_be_bytes(), &[5; 700]);
        }
    });
    assert_eq!((position, fixture.commit(|_| {})), (LogPosition(1), LogPosition(2)));
    check(fixture);
}
