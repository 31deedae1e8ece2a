//! No case of the suite is idle: each fails for some defect, and each defect fails some case.

use millpond_storage_conformance::broken::{BrokenHarness, Defect};
use millpond_storage_conformance::{Case, cases, fault_cases};

use crate::harness::MemoryHarness;

type Broken = BrokenHarness<MemoryHarness>;

#[test]
fn every_case_and_every_defect_find_each_other() {
    // Cases that have not failed yet, before those that have: those are only asked until one of them
    // catches the defect at hand.
    let mut idle: Vec<Case<Broken>> = cases().into_iter().chain(fault_cases()).collect();
    let mut busy: Vec<Case<Broken>> = Vec::new();
    let mut missed = Vec::new();
    for &defect in Defect::ALL {
        let fails = |case: &Case<Broken>| {
            case.failure(BrokenHarness::new(MemoryHarness::resolving(), defect)).is_some()
        };
        let (caught, still_idle): (Vec<_>, Vec<_>) = idle.into_iter().partition(fails);
        idle = still_idle;
        if caught.is_empty() && !busy.iter().any(fails) {
            missed.push(defect);
        }
        busy.extend(caught);
    }
    let idle: Vec<_> = idle.iter().map(|case| (case.group, case.name)).collect();
    assert!(missed.is_empty(), "no case fails for {missed:?}");
    assert!(idle.is_empty(), "no defect fails {idle:?}");
}
