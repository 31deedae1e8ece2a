//! Checks of rules that were there when the store was opened, and of others.

use std::collections::BTreeSet;

use millpond_sync::Arc;

use super::{Judge, lease_ready, settle_each, stopped};
use crate::Violation;
use crate::actor::Actor;
use crate::event::Action;
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
    is_kept(judge, &turns)?;
    let held = judge.oracle(|oracle| oracle.held());
    let acked: Vec<_> = held.into_iter().filter(|_| random.percent(ACKED_PERCENT)).collect();
    acked.iter().for_each(|held| turns.acked(held.marker));
    settle_each(actor, acked.into_iter().map(|held| (held, Action::Ack))).await?;
    turns = lease_ready(actor, judge, turns, random).await?;
    is_kept(judge, &turns)?;
    Ok(turns)
}

/// Whatever is ready and was not granted is kept by a rule.
fn is_kept(judge: &Judge, turns: &Turns) -> Result<(), Violation> {
    let mut kept = BTreeSet::new();
    for (marker, queue) in turns.missing() {
        if !kept.contains(&queue) && judge.oracle(|oracle| oracle.kept_by(queue)).is_none() {
            return Err(Violation::KeptByNobody { marker, queue });
        }
        kept.insert(queue);
    }
    Ok(())
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
