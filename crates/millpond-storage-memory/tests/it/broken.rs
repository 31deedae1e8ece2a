//! No case of the suite is idle: each fails for some defect, and each defect fails some case.

use std::collections::BTreeSet;

use millpond_storage_conformance::broken::{BrokenHarness, Defect};
use millpond_storage_conformance::{Case, cases, fault_cases};

use crate::harness::MemoryHarness;

type Broken = BrokenHarness<MemoryHarness>;

fn all_cases() -> Vec<Case<Broken>> {
    cases().into_iter().chain(fault_cases()).collect()
}

/// The cases that fail for `defect`.
fn failing(defect: Defect) -> impl Iterator<Item = (&'static str, &'static str)> {
    let fails = move |case: &Case<Broken>| {
        case.failure(BrokenHarness::new(MemoryHarness::resolving(), defect)).is_some()
    };
    all_cases().into_iter().filter(fails).map(|case| (case.group, case.name))
}

#[test]
fn every_case_and_every_defect_find_each_other() {
    let (first, second) = Defect::ALL.split_at(Defect::ALL.len() / 2);
    let caught_by = |defects: &[Defect]| -> Vec<(Defect, BTreeSet<_>)> {
        defects.iter().map(|&defect| (defect, failing(defect).collect())).collect()
    };
    let caught = std::thread::scope(|scope| {
        let first = scope.spawn(|| caught_by(first));
        let second = caught_by(second);
        [first.join().expect("a failing case does not end its thread"), second].concat()
    });

    let missed: Vec<_> =
        caught.iter().filter(|(_, cases)| cases.is_empty()).map(|(defect, _)| defect).collect();
    assert!(missed.is_empty(), "no case fails for {missed:?}");
    let busy: BTreeSet<_> = caught.into_iter().flat_map(|(_, cases)| cases).collect();
    let all: BTreeSet<_> = all_cases().into_iter().map(|case| (case.group, case.name)).collect();
    assert!(all.is_subset(&busy), "no defect fails {:?}", all.difference(&busy));
}
