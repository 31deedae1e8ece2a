//! What the memory tier has counted.

/// Figures of an [`Index`](crate::Index). Counters are since it was made; the shards are read one after the
/// other, so that figures of one moment need a moment without calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct IndexStats {
    /// Lookups that found a value.
    pub n_hits: u64,
    /// Lookups that did not.
    pub n_misses: u64,
    /// Values that became resident, by a commit or a put.
    pub n_installed: u64,
    /// Commits refused because the key was replaced, or what it holds was invalidated, meanwhile.
    pub n_stale: u64,
    /// Commits refused because a newer value was resident.
    pub n_already_resident: u64,
    /// Values that were not taken because there is no room for their like.
    pub n_refused: u64,
    /// Commits refused because the key was not asked for often enough for a value of that size.
    pub n_too_seldom: u64,
    /// Values that left to make room.
    pub n_evicted: u64,
    /// Values that were found expired.
    pub n_expired: u64,
    /// Values that were found invalidated.
    pub n_invalidated: u64,
    /// Values that are resident.
    pub n_entries: usize,
    /// Bytes of the residents with their keys and overhead, and of what is being installed.
    pub bytes: usize,
    /// Keys that were asked for lately and are not resident.
    pub n_ghosts: usize,
    /// Keys with a ticket or a writer under way.
    pub n_pending: usize,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) installed: u64,
    pub(super) stale: u64,
    pub(super) already_resident: u64,
    pub(super) refused: u64,
    pub(super) too_seldom: u64,
    pub(super) evicted: u64,
    pub(super) expired: u64,
    pub(super) invalidated: u64,
    pub(super) n_resident: usize,
}

impl IndexStats {
    pub(super) fn add(&mut self, counts: &Counts, n_slots: usize, n_ghosts: usize) {
        self.n_hits += counts.hits;
        self.n_misses += counts.misses;
        self.n_installed += counts.installed;
        self.n_stale += counts.stale;
        self.n_already_resident += counts.already_resident;
        self.n_refused += counts.refused;
        self.n_too_seldom += counts.too_seldom;
        self.n_evicted += counts.evicted;
        self.n_expired += counts.expired;
        self.n_invalidated += counts.invalidated;
        self.n_entries += counts.n_resident;
        self.n_pending += n_slots - counts.n_resident;
        self.n_ghosts += n_ghosts;
    }
}
