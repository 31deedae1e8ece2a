//! What single calls answer, good input and bad.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millpond_promotion::{Ended, PoolOptions};
use millpond_storage_api::{PartitionStore, StoreErrorKind, Table};
use millpond_storage_memory::{FailedBatch, MemoryDisk, MemoryOptions, MemoryStore};
use millpond_sync::Mutex;
use millpond_sync::thread::block_on;
use millpond_types::{ErrorKind, UnixMillis};

use super::store::{GatedStore, Gates};
use crate::{
    Blob, BlobCache, CacheError, CacheOptions, IndexOptions, Key, Meta, Promotion, Scope,
    VALUE_BYTES_MAX,
};

const NOW: UnixMillis = UnixMillis(0);

fn key(id: &[u8]) -> Key<'_> {
    Key::new("ns", id).unwrap()
}

fn store(disk: &MemoryDisk) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::open(disk, MemoryOptions::default()).unwrap())
}

fn cache(disk: &MemoryDisk, options: CacheOptions) -> BlobCache {
    block_on(BlobCache::open(store(disk), options)).unwrap()
}

fn alone() -> CacheOptions {
    CacheOptions { pool: None, ..CacheOptions::default() }
}

fn put(cache: &BlobCache, id: &[u8], blob: Blob) {
    block_on(cache.put(key(id), blob, NOW)).unwrap();
}

fn get(cache: &BlobCache, id: &[u8]) -> Option<Blob> {
    block_on(cache.get(key(id), NOW)).unwrap()
}

fn invalidate(cache: &BlobCache, scope: Scope<'_>) {
    block_on(cache.invalidate(scope)).unwrap();
}

fn remove(cache: &BlobCache) {
    block_on(cache.remove(key(b"key"))).unwrap();
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn gated() -> (BlobCache, Gates) {
    let gates = Gates::default();
    let store = GatedStore {
        store: store(&MemoryDisk::new()),
        gates: gates.clone(),
        looks_early: true,
        cheap_range_delete: true,
    };
    (block_on(BlobCache::open(Arc::new(store), alone())).unwrap(), gates)
}

#[test]
fn concurrent_misses_share_one_read() {
    let (cache, gates) = gated();
    let (mut first, mut second) =
        (pin!(cache.get(key(b"key"), NOW)), pin!(cache.get(key(b"key"), NOW)));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    assert_eq!(gates.len(), 1);
    gates.open(0);
    assert!(matches!(poll(first.as_mut()), Poll::Ready(Ok(None))));
    assert!(matches!(poll(second.as_mut()), Poll::Ready(Ok(None))));
    let stats = cache.stats();
    assert_eq!((stats.n_reads, stats.n_joined, stats.index.n_pending), (1, 1, 0));
}

#[test]
fn one_loader_fails_for_everybody_and_leaves_nothing() {
    let (cache, gates) = gated();
    let n_loads = Cell::new(0);
    let n_loads = &n_loads;
    let load = || async move {
        n_loads.set(n_loads.get() + 1);
        Err::<Option<Blob>, _>("the source is away")
    };
    let mut first = pin!(cache.get_or_load(key(b"key"), NOW, load));
    let mut second = pin!(cache.get_or_load(key(b"key"), NOW, load));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    gates.open(0);
    for answer in [poll(first.as_mut()), poll(second.as_mut())] {
        let Poll::Ready(Err(error)) = answer else { panic!("{answer:?}") };
        assert!(matches!(error, CacheError::Load(_)), "{error}");
        assert_eq!(error.to_string(), "the loader failed: the source is away");
        assert_eq!(error.kind(), ErrorKind::Retry);
    }
    assert_eq!((n_loads.get(), cache.stats().index.n_pending), (1, 0));
}

#[test]
fn a_follower_loads_when_the_leader_is_gone() {
    let (cache, gates) = gated();
    let load = |value: &'static str| async move { Ok::<_, CacheError>(Some(Blob::new(value))) };
    let mut first = Box::pin(cache.get_or_load(key(b"key"), NOW, || load("first")));
    let mut second = pin!(cache.get_or_load(key(b"key"), NOW, || load("second")));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    drop(first);
    assert!(poll(second.as_mut()).is_pending());
    assert_eq!(gates.len(), 2, "the second call reads by itself");
    gates.open(1);
    let Poll::Ready(Ok(Some(blob))) = poll(second.as_mut()) else { panic!("it has loaded") };
    assert_eq!(blob.value, "second");
    assert_eq!((cache.stats().n_loads, cache.stats().index.n_pending), (1, 0));
}

#[test]
fn a_loader_that_is_late_stores_nothing_over_a_put() {
    let (cache, gates) = gated();
    let source = Gates::default();
    let load = || async {
        source.pass().await;
        Ok::<_, CacheError>(Some(Blob::new("old")))
    };
    let mut loading = pin!(cache.get_or_load(key(b"key"), NOW, load));
    assert!(poll(loading.as_mut()).is_pending());
    gates.open(0);
    assert!(poll(loading.as_mut()).is_pending());
    put(&cache, b"key", Blob::new("new"));
    source.open(0);
    assert!(poll(loading.as_mut()).is_ready());
    assert_eq!(get(&cache, b"key").unwrap().value, "new");
}

#[test]
fn what_was_invalidated_stays_so_after_a_restart_and_is_deleted_when_read() {
    let disk = MemoryDisk::new();
    let open = || cache(&disk, alone());
    let before = open();
    let tagged = |tag| Blob::with_meta("value", Meta::new().tagged(tag).unwrap());
    put(&before, b"red", tagged("red"));
    put(&before, b"blue", tagged("blue"));
    block_on(before.invalidate(Scope::Tag("red"))).unwrap();
    block_on(before.invalidate(Scope::Tag("nobody's"))).unwrap();
    drop(before);
    let after = open();
    assert_eq!(get(&after, b"red"), None);
    assert_eq!(get(&after, b"red"), None);
    let stats = after.stats();
    assert_eq!((stats.n_read_stale, stats.n_reads), (1, 2), "the row is gone");
    assert_eq!(get(&after, b"blue").unwrap(), tagged("blue"));
    block_on(after.invalidate(Scope::All)).unwrap();
    put(&after, b"red", tagged("red"));
    drop(after);
    let last = open();
    assert_eq!((get(&last, b"blue"), get(&last, b"red")), (None, Some(tagged("red"))));
}

#[test]
fn an_expired_value_is_a_miss_in_both_tiers() {
    let disk = MemoryDisk::new();
    let soon = Blob::with_meta("value", Meta::new().expiring_at(UnixMillis(10)));
    let first = cache(&disk, alone());
    put(&first, b"key", soon.clone());
    assert_eq!(block_on(first.get(key(b"key"), UnixMillis(9))).unwrap(), Some(soon));
    assert_eq!(block_on(first.get(key(b"key"), UnixMillis(10))).unwrap(), None);
    assert_eq!(first.stats().index.bytes, 0);
}

#[test]
fn the_second_read_promotes_inline_and_the_third_is_a_hit() {
    let disk = MemoryDisk::new();
    put(&cache(&disk, alone()), b"key", Blob::new("value"));
    let cache = cache(&disk, alone());
    for _ in 0..3 {
        assert_eq!(get(&cache, b"key").unwrap().value, "value");
    }
    let stats = cache.stats();
    assert_eq!((stats.n_reads, stats.inline.n_installed, stats.index.n_hits), (2, 1, 1));
}

/// A promotion that waits in the pool, with the executor in the test's hands.
#[test]
fn a_promotion_in_the_pool_does_not_bring_back_what_changed() {
    let disk = MemoryDisk::new();
    type Change = fn(&BlobCache);
    let changes: [(&str, Change, Option<&str>); 4] = [
        ("nothing", |_| {}, Some("old")),
        ("tag", |cache| invalidate(cache, Scope::Tag("t")), None),
        ("put", |cache| put(cache, b"key", Blob::new("new")), Some("new")),
        ("remove", remove, None),
    ];
    for (name, change, expected) in changes {
        put(
            &cache(&disk, alone()),
            b"key",
            Blob::with_meta("old", Meta::new().tagged("t").unwrap()),
        );
        let (started, starts) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let (ended, ends) = mpsc::channel();
        let gone = Mutex::new(gone);
        let executor = move |promotion: Promotion| {
            started.send(()).unwrap();
            gone.lock().recv().unwrap();
            let how = promotion.install();
            ended.send(how).unwrap();
            how
        };
        let options = CacheOptions { inline_bytes_max: 0, ..CacheOptions::default() };
        let opened = BlobCache::open_with(store(&disk), options, executor);
        let cache = block_on(opened).unwrap();
        get(&cache, b"key").unwrap();
        get(&cache, b"key").unwrap();
        starts.recv().unwrap();
        change(&cache);
        go.send(()).unwrap();
        let how = ends.recv().unwrap();
        assert_eq!(how == Ended::Installed, name == "nothing", "{name}: {how:?}");
        let found = get(&cache, b"key").map(|blob| blob.value);
        assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{name}");
    }
}

/// Refused before it is scheduled, or by the reader: in both cases the row is read, and nothing is left behind.
#[test]
fn a_value_too_large_for_how_often_it_is_read_is_promoted_later() {
    for inline_bytes_max in [0, 1 << 20] {
        let disk = MemoryDisk::new();
        put(&cache(&disk, alone()), b"key", Blob::new(vec![7; 5_000]));
        let index = IndexOptions { bytes_max: 10_000, n_shards: 1, ..IndexOptions::default() };
        let options = CacheOptions { index, inline_bytes_max, ..CacheOptions::default() };
        let opened = BlobCache::open_with(store(&disk), options, Promotion::install);
        let cache = block_on(opened).unwrap();
        for number in 0..100_u8 {
            put(&cache, &[number], Blob::new(vec![1; 100]));
        }
        for n_reads in 1..=4 {
            assert_eq!(get(&cache, b"key").unwrap().value, vec![7; 5_000]);
            let stats = cache.stats();
            assert_eq!((stats.n_reads, stats.index.n_pending, stats.n_pooled), (n_reads, 0, 0));
            assert_eq!(stats.inline.n_too_seldom, n_reads - 1);
        }
        assert_eq!(cache.stats().index.n_too_seldom, 3);
        get(&cache, b"key").unwrap();
        cache.pool().unwrap().close(Duration::from_secs(60));
        assert_eq!(get(&cache, b"key").unwrap().value, vec![7; 5_000]);
        assert_eq!((cache.stats().n_reads, cache.stats().index.n_too_seldom), (5, 3));
    }
}

/// What is loaded is stored, and becomes resident when its size allows.
#[test]
fn a_large_value_that_is_loaded_again_is_stored_and_not_resident() {
    let index = IndexOptions { bytes_max: 10_000, n_shards: 1, ..IndexOptions::default() };
    let cache = cache(&MemoryDisk::new(), CacheOptions { index, ..alone() });
    for number in 0..100_u8 {
        put(&cache, &[number], Blob::new(vec![1; 100]));
    }
    assert_eq!(get(&cache, b"key"), None);
    let load = || async { Ok::<_, CacheError>(Some(Blob::new(vec![7; 5_000]))) };
    let loaded = block_on(cache.get_or_load(key(b"key"), NOW, load)).unwrap().unwrap();
    assert_eq!(loaded.value, vec![7; 5_000]);
    let stats = cache.stats().index;
    assert_eq!((stats.n_too_seldom, stats.n_pending), (1, 0));
    for _ in 0..4 {
        assert_eq!(get(&cache, b"key"), Some(loaded.clone()));
    }
    assert_eq!((cache.stats().n_loads, cache.stats().index.n_too_seldom), (1, 3));
    assert_eq!(cache.stats().index.n_hits, 1, "the fifth sighting has installed it");
}

#[test]
fn an_executor_that_panics_or_refuses_costs_promotions_only() {
    let disk = MemoryDisk::new();
    put(&cache(&disk, alone()), b"key", Blob::new("value"));
    let executors: [fn(Promotion) -> Ended; 2] =
        [|_| panic!("an executor with a defect"), |_| Ended::Failed];
    for executor in executors {
        let options = CacheOptions { inline_bytes_max: 0, ..CacheOptions::default() };
        let cache = block_on(BlobCache::open_with(store(&disk), options, executor)).unwrap();
        for _ in 0..10 {
            assert_eq!(get(&cache, b"key").unwrap().value, "value");
        }
        cache.pool().unwrap().close(Duration::from_secs(60));
        assert_eq!(get(&cache, b"key").unwrap().value, "value");
        let stats = cache.stats();
        assert_eq!((stats.index.n_entries, stats.index.n_pending), (0, 0));
    }
}

#[test]
fn a_failed_commit_leaves_nothing_in_memory() {
    let disk = MemoryDisk::new();
    let cache = cache(&disk, alone());
    put(&cache, b"key", Blob::new("old"));
    disk.fail_commit(0, StoreErrorKind::NoSpace, FailedBatch::Lost);
    let failed = block_on(cache.put(key(b"key"), Blob::new("new"), NOW)).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::NoSpace);
    assert_eq!((cache.stats().index.n_entries, cache.stats().index.n_pending), (0, 0));
    assert!(block_on(cache.invalidate(Scope::All)).is_err());
    assert!(block_on(cache.remove(key(b"key"))).is_err());
}

#[test]
fn a_closed_store_is_an_error_and_hits_are_served() {
    let disk = MemoryDisk::new();
    let store = store(&disk);
    let cache = block_on(BlobCache::open(store.clone(), alone())).unwrap();
    put(&cache, b"key", Blob::new("value"));
    block_on(store.close()).unwrap();
    assert_eq!(get(&cache, b"key").unwrap().value, "value");
    let error = block_on(cache.get(key(b"other"), NOW)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(cache.stats().index.n_pending, 0);
}

#[test]
fn what_is_too_large_is_refused_or_only_read() {
    let index = IndexOptions { bytes_max: 1_000, ..IndexOptions::default() };
    let cache = cache(&MemoryDisk::new(), CacheOptions { index, ..alone() });
    put(&cache, b"key", Blob::new(vec![7; 2_000]));
    for _ in 0..3 {
        assert_eq!(get(&cache, b"key").unwrap().value.len(), 2_000);
    }
    assert_eq!(cache.stats().index.n_entries, 0);
    let huge = Blob::new(vec![0; VALUE_BYTES_MAX + 1]);
    let error = block_on(cache.put(key(b"key"), huge, NOW)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(get(&cache, b"key").unwrap().value.len(), 2_000);
}

#[test]
fn names_are_bounded_until_everything_is_invalidated() {
    let cache = cache(&MemoryDisk::new(), CacheOptions { names_max: 1, ..alone() });
    block_on(cache.invalidate(Scope::Tag("one"))).unwrap();
    block_on(cache.invalidate(Scope::Tag("one"))).unwrap();
    assert!(matches!(block_on(cache.invalidate(Scope::Tag("two"))), Err(CacheError::Limit(_))));
    block_on(cache.invalidate(Scope::All)).unwrap();
    block_on(cache.invalidate(Scope::Tag("two"))).unwrap();
    let long = "n".repeat(256);
    assert!(block_on(cache.invalidate(Scope::Namespace(&long))).is_err());
}

#[test]
fn options_that_cannot_be_are_refused() {
    let refused = |options| {
        let opened = block_on(BlobCache::open(store(&MemoryDisk::new()), options));
        opened.unwrap_err().to_string()
    };
    for table in [Table::Entries, Table::Log, Table::System] {
        assert!(refused(CacheOptions { table, ..alone() }).contains(table.name()));
    }
    let index = IndexOptions { bytes_max: 0, ..IndexOptions::default() };
    refused(CacheOptions { index, ..alone() });
    refused(CacheOptions { prefix: vec![0; 256].into(), ..alone() });
    let pool = PoolOptions { slots: 0, ..PoolOptions::default() };
    refused(CacheOptions { pool: Some(pool), ..alone() });
}
