//! The queues after a restart: all back, none read.

use std::path::Path;

use millpond::Engine;
use serde::{Deserialize, Serialize};

use super::fill::{Filling, park, settled};
use super::population::{self, TOPIC};
use super::probe::Memory;
use super::step::{Step, in_child};
use super::turns::Turns;
use super::{Figures, Outcome, options};

/// What a restart showed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Recalled {
    back: Memory,
    after_lease: Memory,
    turns: Turns,
}

pub(super) fn part(out: &mut Figures<'_>, filling: &Filling) -> Outcome<()> {
    let copy = filling.copy()?;
    let dir = copy.path().to_owned();
    let recalled: Recalled = in_child(&Step::Recall { dir, n_queues: filling.n_queues })?;
    out.case(format!("restart, {} queues", filling.n_queues));
    filling.report_memory(out, "", recalled.back)?;
    filling.report_memory(out, "+ lease", recalled.after_lease)?;
    recalled.turns.report(out)
}

/// Brings all queues back, and serves one lease.
pub(super) async fn run(dir: &Path, n_queues: usize) -> Outcome<Recalled> {
    let engine = Engine::open(options(dir)).await?;
    while engine.status().await?.recalling {
        park().await;
    }
    let n = n_queues as u64;
    let all_back = |n_leased: u64| {
        move |status: &millpond::Status| {
            status.counters.n_queues_recalled == n
                && (status.n_queues, status.n_entries, status.n_leased) == (n_queues, n, n_leased)
        }
    };
    let status = settled(&engine, all_back(0)).await?;
    let back = Memory::now()?;
    let turns = Turns::of(&status.counters)?;
    let delivery = engine.topic(TOPIC).lease().fetch_one().await?;
    population::read(delivery.as_ref().ok_or("a queue that is back has no head")?)?;
    settled(&engine, all_back(1)).await?;
    let after_lease = Memory::now()?;
    drop(delivery);
    engine.close().await?;
    Ok(Recalled { back, after_lease, turns })
}
