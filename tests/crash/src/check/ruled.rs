//! Checks of rules that were there when the store was opened, and of others.

use std::collections::BTreeMap;

use millpond_sync::Arc;

use super::{DUE_WITHIN, Judge, judge_grants, lease_ready, settle_each, stopped};
use crate::Violation;
use crate::actor::{Actor, Source};
use crate::event::{Action, Marker};
use crate::random::Random;
use crate::rules::{RuleScope, Says};
use crate::turns::Turns;

/// In so many of 100 cases a lease is acked, and a scope gets a rule.
const ACKED_PERCENT: usize = 40;
const RULED_PERCENT: usize = 40;

/// Leases what the rules let through, makes room by acks, leases again, and checks each time that nothing is
/// left for which there is room. For a store that was opened with leases released, so that it has no leases
/// but those of this call.
pub(super) async fn fill_up(
    actor: &Actor<Judge>,
    judge: &Arc<Judge>,
    mut turns: Turns,
    random: &mut Random,
) -> Result<Turns, Violation> {
    turns = lease_ready(actor, judge, turns, random).await?;
    turns = lease_the_rest(actor, judge, turns).await?;
    let held = judge.oracle(|oracle| oracle.held());
    let acked: Vec<_> = held.into_iter().filter(|_| random.percent(ACKED_PERCENT)).collect();
    acked.iter().for_each(|held| turns.acked(held.marker));
    settle_each(actor, acked.into_iter().map(|held| (held, Action::Ack))).await?;
    turns = lease_ready(actor, judge, turns, random).await?;
    turns = lease_the_rest(actor, judge, turns).await?;
    Ok(turns)
}

/// Waits for whatever is ready and was not granted, unless a rule keeps it. What a lease has made available may be
/// on its way from one partition to another, and who does not wait for it may miss it.
async fn lease_the_rest(
    actor: &Actor<Judge>,
    judge: &Arc<Judge>,
    mut turns: Turns,
) -> Result<Turns, Violation> {
    while let Some((marker, queue)) = kept_by_nobody(judge, &turns) {
        let source = Source::Queue(queue);
        let held = actor.lease_within(source, 1, true, DUE_WITHIN).await.map_err(stopped)?;
        if held.is_empty() {
            return Err(Violation::KeptByNobody { marker, queue });
        }
        judge_grants(judge, &mut turns, held)?;
    }
    Ok(turns)
}

/// An entry that is ready and was not granted, and that no rule keeps.
fn kept_by_nobody(judge: &Judge, turns: &Turns) -> Option<(Marker, u32)> {
    let mut firsts = BTreeMap::new();
    for (marker, queue) in turns.missing() {
        firsts.entry(queue).or_insert(marker);
    }
    let is_kept = |queue| judge.oracle(|oracle| oracle.kept_by(queue)).is_some();
    let found = firsts.into_iter().find(|(queue, _)| !is_kept(*queue));
    found.map(|(queue, marker)| (marker, queue))
}

/// Withdraws all rules.
pub(super) async fn withdraw(actor: &Actor<Judge>, judge: &Judge) -> Result<(), Violation> {
    for (scope, _) in judge.oracle(|oracle| oracle.rules()) {
        actor.rule(scope, Says::default()).await.map_err(stopped)?;
    }
    Ok(())
}

/// Makes rules for the next life.
pub(super) async fn lay_down(actor: &Actor<Judge>, random: &mut Random) -> Result<(), Violation> {
    for scope in RuleScope::all() {
        if random.percent(RULED_PERCENT) {
            actor.rule(scope, Says::choose(random, scope)).await.map_err(stopped)?;
        }
    }
    Ok(())
}
