//! Contract 5: ownership.

use millpond_storage_api::{Epoch, OpenError, StoreErrorKind, Table};

use crate::Harness;
use crate::fixture::{Fixture, batch};

pub(crate) fn every_open_claims_a_higher_epoch<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut newest = Epoch(0);
    for round in 0..6 {
        let epoch = fixture.store.epoch();
        assert!(epoch > newest, "epoch {epoch} after {newest}");
        newest = epoch;
        fixture.put(Table::Active, b"key", &[round]);
        if round % 2 == 0 { fixture.reopen_clean() } else { fixture.reopen_crash() }
    }
}

/// A crash right after the open: the claim itself must have been durable.
pub(crate) fn an_epoch_is_claimed_before_anything_is_written<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for _ in 0..4 {
        let epoch = fixture.store.epoch();
        fixture.reopen_crash();
        assert!(fixture.store.epoch() > epoch, "epoch {epoch} was claimed twice");
    }
}

pub(crate) fn the_epoch_of_a_handle_never_changes<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let epoch = fixture.store.epoch();
    fixture.put(Table::Active, b"key", b"value");
    assert_eq!(fixture.store.epoch(), epoch);
    let first = fixture.store.clone();
    fixture.reopen_clean();
    assert_eq!(first.epoch(), epoch, "a closed handle still knows its epoch");
}

pub(crate) fn a_second_handle_is_refused_or_fences_the_first<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.put(Table::Active, b"first", b"value");
    let first = fixture.store.clone();
    match fixture.harness.open() {
        Ok(second) => {
            assert!(first.capabilities().shared, "two handles are open on a store for one");
            assert!(second.epoch() > first.epoch());
            fixture.store = second;
            // Submitting is what must fail; only then must every reader know, too.
            let ticket = first.submit(batch(|batch| batch.put(Table::Active, b"late", b"")));
            let error = fixture.wait(ticket).expect_err("the first handle was overtaken");
            assert_eq!(error.kind(), StoreErrorKind::Fenced);
            let error = fixture.harness.block_on(first.get(Table::Active, b"first"));
            assert_eq!(error.map_err(|error| error.kind()), Err(StoreErrorKind::Fenced));
        }
        Err(error) => {
            assert!(!first.capabilities().shared, "a shared store was refused: {error}");
            assert!(matches!(error, OpenError::AlreadyOpen { .. }), "{error}");
        }
    }
    // Whoever is the owner now can write.
    fixture.put(Table::Active, b"second", b"value");
    fixture.check();
    fixture.reopen_crash();
    fixture.check();
}

pub(crate) fn a_fenced_batch_never_takes_effect<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.put(Table::Active, b"key", b"first");
    let first = fixture.store.clone();
    let Ok(second) = fixture.harness.open() else {
        // Refused, and with it everything that could be fenced. The refusal changed nothing:
        fixture.put(Table::Active, b"key", b"second");
        fixture.reopen_crash();
        fixture.check();
        return;
    };
    fixture.store = second;
    for n in 0..5 {
        let late = first.submit(batch(|batch| batch.put(Table::Active, b"key", &[n])));
        let error = fixture.wait(late).expect_err("the first handle was overtaken");
        assert_eq!(error.kind(), StoreErrorKind::Fenced);
        fixture.check();
    }
    fixture.reopen_crash();
    fixture.check();
}
