//! Whether a cache can give back what was overwritten or removed while a load of it was on its way.
//!
//! A loader of the old value is held until the case lets it go on; what comes in between has returned by then.
//! Everything runs on one thread, step by step, so a round is the same each time; it is repeated because
//! residues of one round could matter in the next. A round holds if nobody who comes after the write, then or
//! later, gets the old value: the new one and none are both right. The caller who was there before the write may
//! get either.
//!
//! A value that nobody interferes with must be kept, in every round, so that keeping nothing is no way to hold.

mod held;
mod round;

#[cfg(test)]
mod tests;

use serde::Serialize;

use self::round::{
    Order, Round, Write, old_value, second_load, write_during_load, write_during_promotion,
};
use crate::Outcome;
use crate::cache::{Cache, Key, LoadFailed};
use crate::ours::blob_cache::Ours;
use crate::peers::foyer::Foyer;
use crate::peers::moka::{Moka, MokaEntries};
use crate::peers::quick_cache::QuickCache;
use crate::report::Report;

/// The columns of the table.
const NAMES: [&str; 5] = [Ours::NAME, Foyer::NAME, Moka::NAME, MokaEntries::NAME, QuickCache::NAME];

/// What is on its way, and what comes in between.
#[derive(Clone, Copy, Debug)]
enum Case {
    Load(Write),
    FailingLoad(Write),
    SecondLoad(Order),
    Promotion(Write),
}

const CASES: [(&str, Case); 14] = [
    ("load, insert", Case::Load(Write::Insert)),
    ("load, remove", Case::Load(Write::Remove)),
    ("load, invalidate all", Case::Load(Write::Clear)),
    ("load, invalidate namespace", Case::Load(Write::ClearNamespace)),
    ("load, invalidate tag", Case::Load(Write::RemoveTag)),
    ("failing load, insert", Case::FailingLoad(Write::Insert)),
    ("failing load, remove", Case::FailingLoad(Write::Remove)),
    ("load, remove, load; old ends first", Case::SecondLoad(Order::OldFirst)),
    ("load, remove, load; new ends first", Case::SecondLoad(Order::NewFirst)),
    ("promotion, insert", Case::Promotion(Write::Insert)),
    ("promotion, remove", Case::Promotion(Write::Remove)),
    ("promotion, invalidate all", Case::Promotion(Write::Clear)),
    ("promotion, invalidate namespace", Case::Promotion(Write::ClearNamespace)),
    ("promotion, invalidate tag", Case::Promotion(Write::RemoveTag)),
];

/// One cell of the table.
#[derive(Debug, Serialize)]
struct Cell<'a> {
    bench: &'static str,
    case: &'a str,
    subject: &'a str,
    n_rounds: u64,
    verdict: &'a str,
    /// The first round that gave the old value, counted from 1.
    stale_in_round: Option<u64>,
}

/// Runs every case whose name contains `only`, `n_rounds` times or until it shows the old value.
pub(crate) fn run(report: &mut Report, n_rounds: u64, only: &str) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    println!("coherence, {n_rounds} rounds");
    println!("{}", row("case", &NAMES));
    for (name, case) in CASES.into_iter().filter(|(name, _)| name.contains(only)) {
        let cells = runtime.block_on(async {
            Outcome::Ok([
                cell::<Ours>(report, name, case, n_rounds).await?,
                cell::<Foyer>(report, name, case, n_rounds).await?,
                cell::<Moka>(report, name, case, n_rounds).await?,
                cell::<MokaEntries>(report, name, case, n_rounds).await?,
                cell::<QuickCache>(report, name, case, n_rounds).await?,
            ])
        })?;
        println!("{}", row(name, &cells));
    }
    println!();
    Ok(())
}

fn row(first: &str, cells: &[impl AsRef<str>]) -> String {
    let cells: String = cells.iter().map(|cell| format!(" {:<22}", cell.as_ref())).collect();
    format!("{first:<36}{cells}").trim_end().to_owned()
}

/// The verdict, which goes into the report too.
async fn cell<C: Cache>(
    report: &mut Report,
    case_name: &str,
    case: Case,
    n_rounds: u64,
) -> Outcome<String> {
    let (last, stale_in_round) = rounds::<C>(case, n_rounds)
        .await
        .map_err(|error| format!("{case_name}: {}: {error}", C::NAME))?;
    let verdict = match last {
        Round::Holds => "holds".to_owned(),
        Round::HoldsByWaiting => "holds, the write waits".to_owned(),
        Round::Stale => format!("stale in round {}", stale_in_round.unwrap_or_default()),
        Round::NoSuchOperation => "no such operation".to_owned(),
    };
    report.line(&Cell {
        bench: "coherence",
        case: case_name,
        subject: C::NAME,
        n_rounds,
        verdict: &verdict,
        stale_in_round,
    })?;
    Ok(verdict)
}

/// How the last round ended, and the first one with the old value.
async fn rounds<C: Cache>(case: Case, n_rounds: u64) -> Outcome<(Round, Option<u64>)> {
    let cache = C::new();
    let mut last = Round::NoSuchOperation;
    for round in 1..=n_rounds {
        last = one_round(&cache, case, round).await?;
        match last {
            Round::Holds | Round::HoldsByWaiting => {}
            Round::Stale => return Ok((last, Some(round))),
            Round::NoSuchOperation => break,
        }
    }
    Ok((last, None))
}

async fn one_round<C: Cache>(cache: &C, case: Case, key: Key) -> Outcome<Round> {
    match case {
        Case::Load(write) => write_during_load(cache, key, write, Ok(old_value(key))).await,
        Case::FailingLoad(write) => write_during_load(cache, key, write, Err(LoadFailed)).await,
        Case::SecondLoad(order) => second_load(cache, key, order).await,
        Case::Promotion(write) => write_during_promotion(cache, key, write).await,
    }
}
