//! The bytes that all shards share.

use millpond_sync::atomic::{AtomicUsize, Ordering};

/// Bytes are reserved before something is installed, and come back when it leaves, so that their sum never
/// exceeds the bound. The counter publishes nothing: relaxed suffices.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    bytes_max: usize,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { used: AtomicUsize::new(0), bytes_max }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn try_reserve(&self, n_bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(n_bytes).filter(|sum| *sum <= self.bytes_max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Counts bytes for which there may be no room: only broken twins do.
    pub(super) fn add_back(&self, n_bytes: usize) {
        self.used.fetch_add(n_bytes, Ordering::Relaxed);
    }

    pub(super) fn release(&self, n_bytes: usize) {
        self.used.fetch_sub(n_bytes, Ordering::Relaxed);
    }
}
