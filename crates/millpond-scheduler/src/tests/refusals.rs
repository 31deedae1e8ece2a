//! Bad input is refused, and changes nothing.

use std::time::Duration;

use super::with;
use crate::rules::Mutation;
use crate::{
    Band, Explanation, Head, Heads, Invalid, Limit, Limits, PausedBy, Pick, QueueOptions, Rate,
    Refused, Scheduler, SchedulerOptions, Weight,
};

/// A handle, id or permit that has ended finds nothing, also when its place has a new owner.
pub(super) fn stale_names_find_nothing(broken: Option<Mutation>) -> Result<(), String> {
    let same = |what: &str, found: Result<(), Refused>, expected: Refused| {
        if found == Err(expected) { Ok(()) } else { Err(format!("{what}: {found:?}")) }
    };
    let mut limits = Limits::with_rules(with(broken));
    let options = SchedulerOptions::new();
    let mut scheduler = Scheduler::with_rules(options, &mut limits, with(broken)).unwrap();
    let old = limits.add(0, Limit::none(), None).unwrap();
    limits.remove(old).unwrap();
    let resource = limits.add(0, Limit::none(), None).unwrap();
    same("resource", limits.remove(old), Refused::UnknownResource)?;

    let gone = scheduler.add(&mut limits, QueueOptions::default()).unwrap();
    scheduler.remove(&mut limits, gone).unwrap();
    let of_tenant = QueueOptions { resource: Some(resource), ..QueueOptions::default() };
    let queue = scheduler.add(&mut limits, of_tenant).unwrap();
    let set = scheduler.set_head(&mut limits, gone, Head::Cost(1));
    same("queue", set, Refused::UnknownQueue)?;
    same("queue", scheduler.pause(&mut limits, gone), Refused::UnknownQueue)?;

    scheduler.set_head(&mut limits, queue, Head::Cost(1)).unwrap();
    let mut permits = Vec::new();
    for _ in 0..2 {
        let Ok(Pick::Serve(picked)) = scheduler.pick(0, &mut limits, Heads::Read) else {
            return Err("there is something to be picked".to_owned());
        };
        permits.extend(picked.permit);
        let released = limits.release(0, permits[0]);
        if permits.len() == 2 {
            same("permit", released, Refused::StalePermit)?;
        }
    }
    Ok(())
}

#[test]
fn figures_that_make_no_sense_are_refused() {
    assert_eq!(Weight::new(0), Err(Invalid::Weight));
    assert_eq!(Weight::new(1_000_001), Err(Invalid::Weight));
    assert_eq!(Band::new(4), Err(Invalid::Band));
    assert_eq!(SchedulerOptions::new().quantum(0), Err(Invalid::Quantum));
    assert_eq!(SchedulerOptions::new().ageing(0), Err(Invalid::Ageing));
    let second = Duration::from_secs(1);
    assert_eq!(Rate::new(0, second, 1), Err(Invalid::RateOfNothing));
    assert_eq!(Rate::new(1, Duration::ZERO, 1), Err(Invalid::RatePeriod));
    assert_eq!(Rate::new(1, second * 86_401, 1), Err(Invalid::RatePeriod));
    assert_eq!(Rate::new(1, second, 0), Err(Invalid::RateWithoutBurst));
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let mut limits = Limits::new();
    let mut scheduler = Scheduler::new(SchedulerOptions::new(), &mut limits).unwrap();
    assert_eq!(scheduler.set_quantum(0), Err(Invalid::Quantum));
    assert_eq!(scheduler.set_ageing(Some(0)), Err(Invalid::Ageing));
    let queue = scheduler.add(&mut limits, QueueOptions::default()).unwrap();
    assert_eq!(scheduler.resource(&limits, queue), Ok(None));
    let tenant = limits.add(0, Limit::none(), None).unwrap();
    scheduler.set_resource(&mut limits, queue, Some(tenant)).unwrap();
    assert_eq!(scheduler.resource(&limits, queue), Ok(Some(tenant)));
    scheduler.remove(&mut limits, queue).unwrap();
    assert_eq!(scheduler.resource(&limits, queue), Err(Refused::UnknownQueue));
}

#[test]
fn names_of_others_are_refused() {
    let (mut limits, mut others) = (Limits::new(), Limits::new());
    let mut scheduler = Scheduler::new(SchedulerOptions::new(), &mut limits).unwrap();
    let foreign = others.add(0, Limit::none(), None).unwrap();
    let options = QueueOptions { resource: Some(foreign), ..QueueOptions::default() };
    assert_eq!(scheduler.add(&mut limits, options), Err(Refused::UnknownResource));
    assert_eq!(scheduler.pick(0, &mut others, Heads::Read), Err(Refused::ForeignLimits));
    assert_eq!(limits.change(0, foreign, Limit::none()), Err(Refused::UnknownResource));
}

#[test]
fn a_resource_in_use_stays() {
    let mut limits = Limits::new();
    let domain = limits.add(0, Limit::none(), None).unwrap();
    let below = limits.add(0, Limit::none(), Some(domain)).unwrap();
    let options = SchedulerOptions::new().resource(domain);
    let mut scheduler = Scheduler::new(options, &mut limits).unwrap();
    assert_eq!(limits.remove(domain), Err(Refused::InUse { n_permits: 0, n_users: 2 }));
    let twice = QueueOptions { resource: Some(below), ..QueueOptions::default() };
    assert_eq!(scheduler.add(&mut limits, twice), Err(Refused::ChargedTwice));
    let third = limits.add(0, Limit::none(), Some(below)).unwrap();
    let fourth = limits.add(0, Limit::none(), Some(third)).unwrap();
    assert_eq!(limits.add(0, Limit::none(), Some(fourth)), Err(Refused::TooDeep));
}

#[test]
fn a_limit_of_0_is_explained_as_a_pause_and_a_lower_one_drains() {
    let mut limits = Limits::new();
    let tenant = limits.add(0, Limit::none().concurrency(2), None).unwrap();
    let mut scheduler = Scheduler::new(SchedulerOptions::new(), &mut limits).unwrap();
    let options = QueueOptions { resource: Some(tenant), ..QueueOptions::default() };
    let queue = scheduler.add(&mut limits, options).unwrap();
    scheduler.set_head(&mut limits, queue, Head::Cost(1)).unwrap();
    let mut permits = Vec::new();
    while let Pick::Serve(picked) = scheduler.pick(0, &mut limits, Heads::Read).unwrap() {
        permits.extend(picked.permit);
    }
    assert_eq!(permits.len(), 2);
    let waits = Explanation::WaitsForPermit { resource: tenant, n_held: 2, limit: 2 };
    assert_eq!(scheduler.explain(&limits, queue), Ok(waits));

    limits.change(0, tenant, Limit::none().concurrency(0)).unwrap();
    let paused = Explanation::Paused { by: PausedBy::Limit(tenant) };
    assert_eq!(scheduler.explain(&limits, queue), Ok(paused));
    limits.change(0, tenant, Limit::none().concurrency(1)).unwrap();
    limits.release(0, permits[0]).unwrap();
    assert_eq!(scheduler.pick(0, &mut limits, Heads::Read), Ok(Pick::Idle), "one is still out");
    limits.release(0, permits[1]).unwrap();
    assert_eq!(limits.poll_woken(), Some(scheduler.domain()));
    assert!(matches!(scheduler.pick(0, &mut limits, Heads::Read), Ok(Pick::Serve(_))));
}
