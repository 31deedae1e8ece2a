//! An engine of which one sees the commits.

use std::path::Path;
use std::sync::Arc;

use millpond::{Engine, PartitionOptions, PartitionStore, Status};
use millpond_storage_rocksdb::{BudgetOptions, OpenMode, RocksBudget, RocksStore};

use crate::measure::count;
use crate::queues::Outcome;
use crate::queues::fill::settled;

/// A new engine in a directory that goes with it.
pub(super) struct World {
    pub(super) engine: Engine,
    stores: Vec<Arc<RocksStore>>,
    _directory: tempfile::TempDir,
}

/// Commits of all partitions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Commits {
    n: u64,
    n_rows: u64,
    write_us: u64,
}

impl World {
    pub(super) async fn open(dir: &Path, n_partitions: u16) -> Outcome<Self> {
        let directory = tempfile::tempdir_in(dir)?;
        let budget = RocksBudget::new(BudgetOptions::default());
        let open = |partition| {
            let path = directory.path().join(format!("partition-{partition}"));
            RocksStore::open(path, &budget, OpenMode::Create).map(Arc::new)
        };
        let stores: Vec<_> = (0..n_partitions).map(open).collect::<Result<_, _>>()?;
        let shared = stores.iter().map(|store| store.clone() as Arc<dyn PartitionStore>).collect();
        let engine = Engine::with_stores(shared, PartitionOptions::default()).await?;
        Ok(Self { engine, stores, _directory: directory })
    }

    /// Since the engine was opened.
    pub(super) fn commits(&self) -> Commits {
        let mut sum = Commits::default();
        for stats in self.stores.iter().map(|store| store.commit_stats()) {
            sum.n += stats.n_groups;
            sum.n_rows += stats.n_ops;
            sum.write_us += stats.write_us_total;
        }
        sum
    }

    /// Checks that so many entries came and went, each once, and closes the engine.
    pub(super) async fn close(self, n_entries: u64) -> Outcome<()> {
        settled(&self.engine, |Status { counters, n_entries: n_left, n_leased, .. }| {
            let passed = [counters.n_enqueued, counters.n_granted, counters.n_acked];
            passed == [n_entries; 3] && (*n_left, *n_leased) == (0, 0)
        })
        .await?;
        Ok(self.engine.close().await?)
    }
}

impl Commits {
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            n: self.n - before.n,
            n_rows: self.n_rows - before.n_rows,
            write_us: self.write_us - before.write_us,
        }
    }

    /// Time of one write with its sync, in microseconds.
    pub(super) fn mean_us(self) -> f64 {
        count(self.write_us) / count(self.n.max(1))
    }

    pub(super) fn rows_each(self) -> f64 {
        count(self.n_rows) / count(self.n.max(1))
    }
}
