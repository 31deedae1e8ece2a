//! The rules that are each indispensable, as switches that only the tests can turn.

/// One rule of the algorithm left out. The test suite shows that every one of them loses or revives a
/// row; outside of the tests the question "is it left out?" is the constant `false`.
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
}

#[cfg(test)]
impl Mutation {
    pub(crate) const ALL: [Self; 7] = [
        Self::IgnoreEnd,
        Self::IgnoreHorizon,
        Self::NoDiscard,
        Self::NoTombstone,
        Self::AdmitTakenInMerge,
        Self::AdmitTakenInsert,
        Self::EvictKeepsCov,
    ];
}
