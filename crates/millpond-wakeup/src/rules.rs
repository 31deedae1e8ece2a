//! The numbers that shape the ladder, and its rules as switches that only the tests can turn.

/// Counts of timers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Most in a bucket.
    pub(crate) bucket: usize,
    /// Most that a refill sorts into the front, which holds twice as many before it spills.
    pub(crate) front: usize,
    /// A bucket that shrinks below this joins its neighbour.
    pub(crate) merge: usize,
    /// Keys in a table of the index, on average.
    pub(crate) table: usize,
}

impl Shape {
    pub(crate) const SHIPPED: Self = Self { bucket: 2_048, front: 128, merge: 64, table: 1_024 };
}

/// One rule left out. The test suite shows that each of them is needed; outside of the tests the question
/// "is it left out?" is the constant `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A tie of the first fence goes to the front, before older timers.
    TieBelowFence,
    /// In the front, a timer goes before older ones of its deadline.
    TieBeforeOlder,
    /// Buckets are split and sorted by deadline alone.
    OrderWithoutRevision,
    /// Of the positions that timers left in a bucket, only the last one is used again.
    HolesForgotten,
    /// A front that ran empty is not filled before the next call.
    LazyRefill,
    /// What spills into a bucket does not lower its fence.
    SpillKeepsFence,
    /// A bucket that takes over its predecessor's timers keeps its own fence.
    MergeKeepsFence,
    /// A timer stays in its bucket when its new deadline lies beyond it.
    StaysBeyondFence,
    /// Buckets that shrink are left as they are.
    NoMerge,
    /// A place that is given up keeps its generation.
    KeepGeneration,
    /// A new deadline keeps the old revision.
    KeepRevision,
    /// One timer more than the capacity is accepted.
    OneTooMany,
    /// A key that has a deadline needs capacity for another one.
    ReplaceNeedsRoom,
    /// A shutdown accepts what comes after it.
    ShutdownForgotten,
    /// A delivered key stays in the index.
    DeliveredStaysIndexed,
    /// A table of the index that is split loses a key.
    SplitDropsKey,
}

#[cfg(test)]
impl Mutation {
    pub(crate) const ALL: [Self; 16] = [
        Self::TieBelowFence,
        Self::TieBeforeOlder,
        Self::OrderWithoutRevision,
        Self::HolesForgotten,
        Self::LazyRefill,
        Self::SpillKeepsFence,
        Self::MergeKeepsFence,
        Self::StaysBeyondFence,
        Self::NoMerge,
        Self::KeepGeneration,
        Self::KeepRevision,
        Self::OneTooMany,
        Self::ReplaceNeedsRoom,
        Self::ShutdownForgotten,
        Self::DeliveredStaysIndexed,
        Self::SplitDropsKey,
    ];

    /// Whether leaving it out costs time or memory and nothing else.
    pub(crate) const fn is_about_bounds(self) -> bool {
        matches!(self, Self::NoMerge | Self::HolesForgotten | Self::DeliveredStaysIndexed)
    }
}

/// What the tests may choose differently. It takes no memory outside of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    #[cfg(test)]
    pub(crate) shape: Shape,
    #[cfg(test)]
    pub(crate) broken: Option<Mutation>,
}

#[cfg(not(test))]
impl Rules {
    pub(crate) const SHIPPED: Self = Self {};

    pub(crate) const fn shape(self) -> Shape {
        Shape::SHIPPED
    }

    pub(crate) const fn lacks(self, _rule: Mutation) -> bool {
        false
    }
}

#[cfg(test)]
impl Rules {
    pub(crate) const SHIPPED: Self = Self { shape: Shape::SHIPPED, broken: None };

    pub(crate) const fn shape(self) -> Shape {
        self.shape
    }

    pub(crate) fn lacks(self, rule: Mutation) -> bool {
        self.broken == Some(rule)
    }
}
