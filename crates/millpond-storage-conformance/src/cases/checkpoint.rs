//! Consistent views.

use millpond_storage_api::{Checkpoint, LogPosition, Table, WriteBatch};

use crate::Harness;
use crate::fixture::{Fixture, batch, check_tables, find_in_history, get};

fn step(n: u8) -> WriteBatch {
    batch(|batch| {
        batch.put(Table::Active, b"latest", &[n]);
        batch.put(Table::Entries, &[n], b"entry");
        batch.put(Table::Payloads, &[n], b"payload");
        if n >= 3 {
            batch.single_delete(Table::Entries, &[n - 3]);
            batch.delete_range(Table::Payloads, &[0], &[n - 3]);
        }
    })
}

fn commit<H: Harness>(fixture: &mut Fixture<H>, steps: std::ops::Range<u8>) {
    for n in steps {
        fixture.commit(|batch| *batch = step(n));
    }
}

fn checkpoint<H: Harness>(fixture: &mut Fixture<H>) -> Checkpoint {
    let checkpoint = fixture.store.checkpoint();
    fixture.harness.block_on(checkpoint).expect("a healthy store gives a checkpoint")
}

pub(crate) fn it_stays_while_the_store_moves_on<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    commit(&mut fixture, 0..5);
    let checkpoint = checkpoint(&mut fixture);
    let then = fixture.oracle.clone();
    for n in 5..30 {
        fixture.commit(|batch| *batch = step(n));
        check_tables(&mut fixture.harness, &*checkpoint.view, &then);
    }
    let latest = get(&mut fixture.harness, &*checkpoint.view, Table::Active, b"latest");
    assert_eq!(latest, Some(vec![4]));
    fixture.check();
}

/// Taken with commits in flight: whatever moment it stands for, its position names exactly that one.
pub(crate) fn its_position_is_exact<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut history = vec![fixture.oracle.clone()];
    let mut taken = Vec::new();
    for n in 0..40 {
        let ticket = fixture.submit(|batch| *batch = step(n));
        history.push(fixture.oracle.clone());
        let durable_before = fixture.store.durable_position();
        if n % 3 == 0 {
            fixture.wait(ticket).expect("a healthy store commits");
            let resolved = LogPosition(u64::from(n) + 1);
            let checkpoint = checkpoint(&mut fixture);
            assert_eq!(checkpoint.position, resolved, "nothing else is in flight");
            taken.push(checkpoint);
        } else {
            let checkpoint = checkpoint(&mut fixture);
            assert!(checkpoint.position >= durable_before);
            taken.push(checkpoint);
        }
    }
    for checkpoint in taken {
        let held = find_in_history(&mut fixture.harness, &*checkpoint.view, &history);
        assert_eq!(checkpoint.position, LogPosition(held as u64));
    }
}

pub(crate) fn checkpoints_are_independent<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut taken = Vec::new();
    for n in 0..8 {
        fixture.commit(|batch| *batch = step(n));
        taken.push((checkpoint(&mut fixture), fixture.oracle.clone()));
    }
    while !taken.is_empty() {
        // Neither the oldest nor the newest first.
        let (checkpoint, then) = taken.remove(taken.len() / 2);
        check_tables(&mut fixture.harness, &*checkpoint.view, &then);
    }
}

pub(crate) fn an_empty_store_has_one<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let checkpoint = checkpoint(&mut fixture);
    assert_eq!(checkpoint.position, LogPosition(0));
    let then = fixture.oracle.clone();
    fixture.put(Table::Active, b"key", b"value");
    check_tables(&mut fixture.harness, &*checkpoint.view, &then);
}

/// What a transfer does: pin, copy a checkpoint, then replay the log over the copy.
pub(crate) fn a_checkpoint_and_the_log_give_the_store<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    commit(&mut fixture, 0..5);
    let pin = fixture.store.log().pin();
    commit(&mut fixture, 5..8);
    let checkpoint = checkpoint(&mut fixture);
    assert!(pin.position() <= checkpoint.position, "the log reaches back to the checkpoint");
    let mut copy = fixture.oracle.clone();
    check_tables(&mut fixture.harness, &*checkpoint.view, &copy);
    commit(&mut fixture, 8..20);
    let mut after = checkpoint.position;
    loop {
        let read = fixture.store.log().read_after(after, 200);
        let records = fixture.harness.block_on(read).expect("the pin holds them");
        let Some(last) = records.last() else { break };
        assert!(last.position > after, "reading the log must make progress");
        after = last.position;
        records.iter().for_each(|record| copy.apply(&record.batch));
    }
    let store = fixture.store.clone();
    check_tables(&mut fixture.harness, &*store, &copy);
}
