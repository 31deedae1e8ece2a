//! How long the turns of the loop took.

use std::time::Duration;

use millpond::Counters;
use serde::{Deserialize, Serialize};

use super::probe::{LOOP, ThreadTime};
use super::{Figures, Outcome};
use crate::measure::count;

/// No turn should take longer.
const TURN_MAX: Duration = Duration::from_millis(5);

/// The turns of one phase, and what the scheduler did with their thread.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Turns {
    n: u64,
    p50: Duration,
    p99: Duration,
    p999: Duration,
    max: Duration,
    n_too_long: u64,
    thread: ThreadTime,
}

impl Turns {
    /// Since the engine was opened.
    pub(crate) fn of(counters: &Counters) -> Outcome<Self> {
        let turns = &counters.turns;
        let at = |rank: u64| turns.quantile(count(rank) / count(turns.n().max(1)));
        // How many turns were short enough, by halving: the histogram tells times by rank.
        let (mut n_short, mut n_unknown) = (0, turns.n());
        while n_unknown > 0 {
            let half = n_unknown.div_ceil(2);
            let is_short = at(n_short + half) <= TURN_MAX;
            n_short += if is_short { half } else { 0 };
            n_unknown = if is_short { n_unknown - half } else { half - 1 };
        }
        Ok(Self {
            n: turns.n(),
            p50: turns.quantile(0.5),
            p99: turns.quantile(0.99),
            p999: turns.quantile(0.999),
            max: turns.max(),
            n_too_long: turns.n() - n_short,
            thread: ThreadTime::of(LOOP)?,
        })
    }

    pub(crate) fn report(&self, out: &mut Figures<'_>) -> Outcome<()> {
        let (us, ms) =
            (|time: Duration| time.as_secs_f64() * 1e6, |time: Duration| time.as_secs_f64() * 1e3);
        out.add("turns", count(self.n), "")?;
        out.add("turn p50", us(self.p50), "µs")?;
        out.add("turn p99", us(self.p99), "µs")?;
        out.add("turn p99.9", us(self.p999), "µs")?;
        out.at_most("turn max", us(self.max), "µs", us(TURN_MAX))?;
        out.add("turns > 5 ms", count(self.n_too_long), "")?;
        out.add("loop ran", ms(self.thread.ran), "ms")?;
        out.add("loop waited to run", ms(self.thread.waited), "ms")?;
        out.add("loop preempted", count(self.thread.n_preempted), "")
    }
}
