//! What the payload cache has counted. Partitions share it, so nothing of it has their label.

use metrics::{counter, gauge, with_recorder};
use millpond_partition::PayloadStats;

use super::{BYTES, N, Series, number, series};

type Counted = Series<fn(&PayloadStats) -> u64>;
type Measured = Series<fn(&PayloadStats) -> f64>;
/// Its name, and how many ended so.
type Outcome = (&'static str, fn(&PayloadStats) -> u64);

const COUNTERS: &[Counted] = &[
    series("millpond_payload_hits_total", N, "large payloads that were in memory", |s| s.n_hits),
    series("millpond_payload_misses_total", N, "large payloads read from storage", |s| s.n_misses),
    series("millpond_payload_evictions_total", N, "payloads that left memory for others", |s| {
        s.n_evicted
    }),
];

const GAUGES: &[Measured] = &[
    series("millpond_payload_hit_ratio", None, "hits among hits and misses, 0 to 1", |s| {
        let n_lookups = s.n_hits + s.n_misses;
        if n_lookups == 0 { 0.0 } else { number(s.n_hits) / number(n_lookups) }
    }),
    series("millpond_payload_cache_bytes", BYTES, "payloads in memory", |s| number(s.bytes as u64)),
    series("millpond_payload_cache_entries", N, "payloads in memory", |s| {
        number(s.n_entries as u64)
    }),
    series("millpond_payload_reads_pending", N, "payloads being read to be kept", |s| {
        number(s.n_pending as u64)
    }),
];

const INSTALLS: &str = "millpond_payload_installs_total";
const INSTALLS_HELP: &str = "payloads offered to memory, by outcome";
const OUTCOMES: [Outcome; 4] = [
    ("installed", |s| s.n_installed),
    ("stale", |s| s.n_stale),
    ("already_resident", |s| s.n_already_resident),
    ("refused", |s| s.n_refused),
];

pub(super) fn describe() {
    with_recorder(|recorder| {
        for Series { name, unit, help, .. } in COUNTERS {
            recorder.describe_counter((*name).into(), *unit, (*help).into());
        }
        for Series { name, unit, help, .. } in GAUGES {
            recorder.describe_gauge((*name).into(), *unit, (*help).into());
        }
        recorder.describe_counter(INSTALLS.into(), N, INSTALLS_HELP.into());
    });
}

pub(super) fn publish(stats: &PayloadStats) {
    for series in COUNTERS {
        counter!(series.name).absolute((series.read)(stats));
    }
    for series in GAUGES {
        gauge!(series.name).set((series.read)(stats));
    }
    for (outcome, read) in OUTCOMES {
        counter!(INSTALLS, "outcome" => outcome).absolute(read(stats));
    }
}
