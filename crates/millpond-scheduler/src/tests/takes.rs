//! Takes of a particular queue, beside the turns.

use super::shares::{Bench, Checked, N_PICKS};
use crate::rules::Mutation;
use crate::{Band, Limit, Permit, Refused, SchedulerOptions, Take, Woken};

/// A queue that somebody takes from, and waits for, has no more turns than the others.
pub(super) fn takes_gain_nothing(broken: Option<Mutation>) -> Checked {
    let mut bench = Bench::new(SchedulerOptions::new().quantum(2).unwrap(), broken);
    let own = bench.limits.add(0, Limit::none().concurrency(1), None).unwrap();
    bench.add(2, Band::FIRST, Some(own));
    for _ in 0..4 {
        bench.add(2, Band::FIRST, None);
    }
    let mut served = [0_u64; 5];
    for number in 0..N_PICKS {
        let permit = must_take(&mut bench, 0)?;
        must_wait(&mut bench, 0)?;
        bench.limits.release(0, permit).unwrap();
        // Sometimes nobody is there any more to take what the queue was woken for.
        if number % 3 > 0 {
            let permit = must_take(&mut bench, 0)?;
            bench.limits.release(0, permit).unwrap();
        }
        let picked = bench.must_pick()?;
        served[picked.owner_slot as usize] += 1;
        if let Some(permit) = picked.permit {
            bench.limits.release(0, permit).unwrap();
        }
        let [taken, others @ ..] = served;
        if others.into_iter().any(|other| taken > other + 8) {
            return Err(format!("a queue that is taken gets {taken}, the others {others:?}"));
        }
    }
    Ok(())
}

/// Takes are woken one by one, in the order in which they came, however often they ask.
pub(super) fn takes_wait_in_line(broken: Option<Mutation>) -> Checked {
    let mut bench = Bench::new(SchedulerOptions::new(), broken);
    let tenant = bench.limits.add(0, Limit::none().concurrency(1), None).unwrap();
    for _ in 0..3 {
        bench.add(1, Band::FIRST, Some(tenant));
    }
    let mut permit = must_take(&mut bench, 0)?;
    for at in [1, 2, 2, 0, 2] {
        must_wait(&mut bench, at)?;
    }
    for at in [1, 2, 0] {
        bench.limits.release(0, permit).unwrap();
        let queue = bench.handles[at];
        let expected = Woken::Queue { queue, owner_slot: u32::try_from(at).unwrap() };
        let woken = bench.scheduler.poll_woken(&mut bench.limits).unwrap();
        if woken != Some(expected) {
            return Err(format!("{woken:?}, and it was the turn of {at}"));
        }
        must_wait(&mut bench, (at + 1) % 3)?;
        permit = must_take(&mut bench, at)?;
    }
    match bench.scheduler.poll_woken(&mut bench.limits).unwrap() {
        None => Ok(()),
        woken => Err(format!("{woken:?}, and nothing was released")),
    }
}

/// A permit that moves inside a resource wakes nobody there, and one where it no longer counts.
pub(super) fn rebasing_releases_what_is_left(broken: Option<Mutation>) -> Checked {
    let mut bench = Bench::new(SchedulerOptions::new(), broken);
    let one = Limit::none().concurrency(1);
    let plan = bench.limits.add(0, one, None).unwrap();
    let [old, new] = [0; 2].map(|_| bench.limits.add(0, one, Some(plan)).unwrap());
    bench.add(1, Band::FIRST, Some(old));
    bench.add(1, Band::FIRST, Some(new));
    let permit = must_take(&mut bench, 0)?;
    must_wait(&mut bench, 1)?;
    bench.limits.rebase(0, permit, None, Some(new)).unwrap();
    let used = [plan, old, new].map(|id| bench.limits.usage(id).unwrap());
    let counts = used.map(|usage| (usage.n_held, usage.n_promised));
    // The one that waits at the plan was promised the permit of its own resource.
    if counts != [(1, 0), (0, 0), (1, 1)] {
        return Err(format!("held and promised {counts:?}"));
    }
    bench.limits.rebase(0, permit, None, None).unwrap();
    must_take(&mut bench, 1)?;
    bench.limits.release(0, permit).unwrap();
    Ok(())
}

#[test]
fn adopting_is_refused_what_makes_no_sense() {
    let mut bench = Bench::new(SchedulerOptions::new(), None);
    let plan = bench.limits.add(0, Limit::none(), None).unwrap();
    let tenant = bench.limits.add(0, Limit::none(), Some(plan)).unwrap();
    let gone = bench.limits.add(0, Limit::none(), None).unwrap();
    bench.limits.remove(gone).unwrap();
    let limits = &mut bench.limits;
    assert_eq!(limits.adopt(0, None, None), Ok(None));
    assert_eq!(limits.adopt(0, Some(plan), Some(tenant)), Err(Refused::ChargedTwice));
    assert_eq!(limits.adopt(0, Some(gone), None), Err(Refused::UnknownResource));
    let permit = limits.adopt(0, Some(plan), None).unwrap().unwrap();
    assert_eq!(limits.rebase(0, permit, Some(plan), Some(tenant)), Err(Refused::ChargedTwice));
    limits.release(0, permit).unwrap();
    assert_eq!(limits.rebase(0, permit, None, None), Err(Refused::StalePermit));
}

/// A promise to a queue whose turn is far away does not outlive the next pick.
#[test]
fn a_take_that_does_not_come_holds_nothing() {
    let mut bench = Bench::new(SchedulerOptions::new(), None);
    let tenant = bench.limits.add(0, Limit::none().concurrency(1), None).unwrap();
    bench.add(1, Band::FIRST, Some(tenant));
    let permit = must_take(&mut bench, 0).unwrap();
    must_wait(&mut bench, 0).unwrap();
    for _ in 0..3 {
        bench.add(1, Band::FIRST, None);
    }
    bench.limits.release(0, permit).unwrap();
    assert_eq!(bench.limits.usage(tenant).unwrap().n_promised, 1);
    assert_eq!(bench.must_pick().unwrap().owner_slot, 1);
    assert_eq!(bench.limits.usage(tenant).unwrap().n_promised, 0);
}

/// A take from a queue whose domain waits gives up what was promised to the queue.
#[test]
fn a_domain_that_waits_keeps_nothing_for_a_take() {
    let mut bench = Bench::new(SchedulerOptions::new(), None);
    let tenant = bench.limits.add(0, Limit::none().concurrency(1), None).unwrap();
    bench.add(1, Band::FIRST, Some(tenant));
    let permit = must_take(&mut bench, 0).unwrap();
    must_wait(&mut bench, 0).unwrap();
    bench.limits.release(0, permit).unwrap();
    let woken = bench.scheduler.poll_woken(&mut bench.limits).unwrap();
    assert!(matches!(woken, Some(Woken::Queue { owner_slot: 0, .. })));
    let busy = bench.limits.add(0, Limit::none().concurrency(0), None).unwrap();
    bench.scheduler.leaf = busy.slot;
    must_wait(&mut bench, 0).unwrap();
    assert_eq!(bench.limits.usage(tenant).unwrap().n_promised, 0);
    bench.limits.change(0, busy, Limit::none()).unwrap();
    let woken = bench.scheduler.poll_woken(&mut bench.limits).unwrap();
    assert_eq!(woken, Some(Woken::Domain));
    must_take(&mut bench, 0).unwrap();
}

fn must_take(bench: &mut Bench, at: usize) -> Result<Permit, String> {
    match bench.take(at) {
        Take::Serve(picked) => {
            picked.permit.ok_or_else(|| "it is subject to a resource".to_owned())
        }
        other => Err(format!("{other:?}, and queue {at} can be taken")),
    }
}

fn must_wait(bench: &mut Bench, at: usize) -> Checked {
    match bench.take(at) {
        Take::Waits => Ok(()),
        other => Err(format!("{other:?}, and queue {at} has to wait")),
    }
}
