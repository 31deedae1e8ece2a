//! The index of deadlines against an ordered set.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::{DeadlineIndex, Nanos};

#[derive(Debug, Clone, Copy)]
enum Op {
    Insert(u64, u8),
    Remove(u64, u8),
    Pop(u64),
    Drain(u64, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let (deadline, key) = (0_u64..6, 0_u8..4);
    prop_oneof![
        4 => (deadline.clone(), key.clone()).prop_map(|(deadline, key)| Op::Insert(deadline, key)),
        2 => (deadline.clone(), key).prop_map(|(deadline, key)| Op::Remove(deadline, key)),
        1 => deadline.clone().prop_map(Op::Pop),
        1 => (deadline, 0_usize..4).prop_map(|(now, budget)| Op::Drain(now, budget)),
    ]
}

fn first_due(model: &BTreeSet<(Nanos, u8)>, now: u64) -> Option<(Nanos, u8)> {
    model.first().copied().filter(|(deadline, _)| deadline.0 <= now)
}

proptest! {
    #[test]
    fn an_index_of_deadlines_is_an_ordered_set(ops in prop::collection::vec(op(), 0..60)) {
        let (mut index, mut model) = (DeadlineIndex::new(), BTreeSet::new());
        for op in ops {
            match op {
                Op::Insert(deadline, key) => {
                    let is_new = model.insert((Nanos(deadline), key));
                    prop_assert_eq!(index.insert(Nanos(deadline), key), is_new);
                }
                Op::Remove(deadline, key) => {
                    let was_there = model.remove(&(Nanos(deadline), key));
                    prop_assert_eq!(index.remove(Nanos(deadline), &key), was_there);
                }
                Op::Pop(now) => {
                    let expected = first_due(&model, now);
                    expected.iter().for_each(|due| { model.remove(due); });
                    prop_assert_eq!(index.pop_due(Nanos(now)), expected);
                }
                Op::Drain(now, budget) => {
                    let mut batch = Vec::new();
                    let drained = index.drain_due(Nanos(now), budget, &mut batch);
                    prop_assert_eq!((drained.n_due, batch.len() <= budget), (batch.len(), true));
                    for due in batch {
                        prop_assert_eq!(Some(due), first_due(&model, now));
                        model.remove(&due);
                    }
                    prop_assert_eq!(drained.more, first_due(&model, now).is_some());
                }
            }
            prop_assert_eq!(index.next_deadline(), model.first().map(|(deadline, _)| *deadline));
            prop_assert_eq!((index.len(), index.is_empty()), (model.len(), model.is_empty()));
        }
    }
}

#[test]
fn an_index_that_holds_little_is_little() {
    assert_eq!(size_of::<DeadlineIndex<u32>>(), 16);
    assert_eq!(size_of::<DeadlineIndex<u64>>(), 24);
}
