//! Point reads.

use millpond_storage_api::Table;

use crate::Harness;
use crate::fixture::{Fixture, TABLES};

pub(crate) fn absent_is_none_and_empty_is_some<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.put(Table::Active, b"empty", b"");
    assert_eq!(fixture.get(Table::Active, b"empty"), Some(vec![]));
    assert_eq!(fixture.get(Table::Active, b"empt"), None);
    assert_eq!(fixture.get(Table::Active, b"empty\0"), None);
    assert_eq!(fixture.get(Table::Leases, b"empty"), None);
}

pub(crate) fn the_newest_value_is_returned<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for value in [&b"first"[..], b"", b"a longer value than the first"] {
        fixture.put(Table::Active, b"key", value);
        assert_eq!(fixture.get(Table::Active, b"key").as_deref(), Some(value));
    }
    fixture.commit(|batch| batch.delete(Table::Active, b"key"));
    assert_eq!(fixture.get(Table::Active, b"key"), None);
    fixture.put(Table::Active, b"key", b"again");
    assert_eq!(fixture.get(Table::Active, b"key").as_deref(), Some(&b"again"[..]));
}

pub(crate) fn binary_keys_and_large_values_come_back<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let every_byte: Vec<u8> = (0..=255).collect();
    let long_key = [7; 1000];
    let large: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    fixture.commit(|batch| {
        batch.put(Table::Payloads, &every_byte, b"every byte");
        batch.put(Table::Payloads, &[0], b"zero");
        batch.put(Table::Payloads, &[0, 0], b"two zeros");
        batch.put(Table::Payloads, &long_key, &large);
    });
    for _ in 0..2 {
        assert_eq!(fixture.get(Table::Payloads, &every_byte).as_deref(), Some(&b"every byte"[..]));
        assert_eq!(fixture.get(Table::Payloads, &[0]).as_deref(), Some(&b"zero"[..]));
        assert_eq!(fixture.get(Table::Payloads, &[0, 0]).as_deref(), Some(&b"two zeros"[..]));
        let found = fixture.get(Table::Payloads, &long_key).expect("it was put");
        assert!(found == large, "{} bytes differ from the {} put", found.len(), large.len());
        fixture.reopen_crash();
    }
}

pub(crate) fn tables_do_not_mix<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    // A key of the user's beside those of the store.
    let tables = TABLES.iter().copied().chain([Table::System]);
    fixture.commit(|batch| {
        for table in tables.clone() {
            batch.put(table, b"user key", table.name().as_bytes());
        }
    });
    fixture.commit(|batch| batch.delete(Table::Leases, b"user key"));
    for table in tables {
        let expected = (table != Table::Leases).then(|| table.name().as_bytes().to_vec());
        assert_eq!(fixture.get(table, b"user key"), expected, "table {}", table.name());
    }
}

pub(crate) fn it_works_after_a_reopen<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.put(Table::Active, b"clean", b"1");
    fixture.reopen_clean();
    fixture.put(Table::Active, b"crash", b"2");
    fixture.reopen_crash();
    assert_eq!(fixture.get(Table::Active, b"clean").as_deref(), Some(&b"1"[..]));
    assert_eq!(fixture.get(Table::Active, b"crash").as_deref(), Some(&b"2"[..]));
    assert_eq!(fixture.get(Table::Active, b"never"), None);
}
