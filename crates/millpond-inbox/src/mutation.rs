//! The rules that are each indispensable, as switches that only the tests can turn.

/// One rule of the algorithm left out. The test suite shows that every one of them loses or revives a
/// row, or breaks a bound; outside of the tests the question "is it left out?" is the constant `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A finished refill trusts its window beyond what the scan reached.
    IgnoreEnd,
    /// A finished refill trusts its window beyond the overlay's horizon.
    IgnoreHorizon,
    /// A refill is merged although `cov` fell below its start.
    NoDiscard,
    /// A departure during a refill leaves no tombstone.
    NoTombstone,
    /// A refill admits keys that are taken.
    AdmitTakenInMerge,
    /// An insert of a taken key is admitted.
    AdmitTakenInsert,
    /// An eviction does not lower `cov`.
    EvictKeepsCov,
    /// A refill admits as much as an empty window holds, whatever is in it.
    RoomIgnoresItems,
    /// Inserts fill what only a refill may.
    InsertFillsToBatch,
    /// The batch doubles beyond its maximum.
    BatchPastMax,
    /// Memory pressure halves the batch down to nothing.
    BatchBelowMin,
}

#[cfg(test)]
impl Mutation {
    pub(crate) const ALL: [Self; 11] = [
        Self::IgnoreEnd,
        Self::IgnoreHorizon,
        Self::NoDiscard,
        Self::NoTombstone,
        Self::AdmitTakenInMerge,
        Self::AdmitTakenInsert,
        Self::EvictKeepsCov,
        Self::RoomIgnoresItems,
        Self::InsertFillsToBatch,
        Self::BatchPastMax,
        Self::BatchBelowMin,
    ];
}
