//! Rules that are each indispensable, as switches that only the tests can turn.

use super::Core;

/// One rule of the core left out. The test suite shows that every one of them breaks a promise; outside
/// of the tests the question "is it left out?" is the constant `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A durable commit also answers what is still being staged (P2).
    AnswerBeforeDurable,
    /// A batch is not synced although only some of its callers can do without (P1, P2).
    UnsyncedForSome,
    /// An entry is shown when it is staged (P1).
    ShowBeforeDurable,
    /// The stored floor is raised past entries that are on their way (P3).
    FloorPastEntering,
    /// The scheduler is not told of the end of a load (P4).
    LoadEndUnnoticed,
    /// A queue that is being loaded does not count as one that may have work (P5).
    LoadUncounted,
    /// The end of a lease keeps its permit.
    PermitKept,
    /// A rule is put in force and not stored.
    RuleUnstored,
    /// A rule is put in force for queues that come into memory later.
    RuleForNewQueuesOnly,
    /// Leases out of a queue of which the key is not known do not count.
    LeasesUnresolved,
    /// A queue leaves memory while its bucket is not full.
    BucketForgotten,
    /// What was made available to a topic that nobody asks for stays there.
    PromiseKept,
    /// A caller is kept for as long as somebody else may come.
    CallerKeptForever,
    /// A lease that was recovered does not hide its entry (P6).
    RecoveredLeaseShown,
    /// A deadline passes without effect.
    ExpiryIgnored,
    /// An extension leaves the old deadline in force.
    OldDeadlineStays,
    /// A released entry does not return to the window.
    ReleasedNotRestored,
    /// The departure of an entry is not confirmed to the window.
    DepartureUnconfirmed,
    /// Whoever names a leased entry may settle it.
    TokenUnchecked,
    /// A new lease begins to count attempts anew.
    AttemptsLost,
    /// A grant that nobody received counts as an attempt.
    UnreceivedCounted,
    /// An ack leaves the lease record.
    AckKeepsLeaseRow,
    /// An ack leaves the separate body.
    AckKeepsBody,
    /// Sequences are given out without being reserved.
    SequenceUnreserved,
    /// A queue leaves memory while a commit concerns it.
    BusyQueueForgotten,
    /// What memory could serve of a queue counts as all of it.
    PartialScanTrusted,
    /// A row that is older than what became of its queue since is taken for new.
    StaleRowRecalled,
    /// A queue that has not been brought back counts as empty.
    UnrecalledTakenForEmpty,
    /// A queue goes on while it is being purged.
    PurgeUnmarked,
    /// A queue counts as empty after its purge, whatever has arrived meanwhile.
    PurgeForgetsArrivals,
    /// A shrunken window counts as the whole queue.
    ShrunkenTrusted,
    /// A delayed entry is ready a little too early (D3).
    DueEarly,
    /// An entry that is ready leaves its row among the delayed ones.
    DelayedRowKept,
    /// The stored floor of a line is raised past entries that are on their way (D2).
    LineFloorPastEntering,
    /// A purge leaves what is delayed.
    PurgeKeepsDelayed,
    /// A queue that left memory with work counts as empty.
    DormantTakenForEmpty,
    /// There is no end to attempts.
    AttemptsUnlimited,
    /// A later failure forgets the floor of an earlier one.
    RetryFloorForgotten,
    /// An entry that dies leaves no row.
    DeadLost,
    /// A move that failed leaves its lease without a deadline.
    MoveFailureForgetsDeadline,
    /// A dead letter that is on its way may be replayed or dropped again.
    DeadTwice,
    /// A delay loses what was left of the millisecond in which it began.
    DelayCutShort,
    /// Dates are looked at by the clock of the partition.
    WallClockIgnored,
    /// There is no limit to what is on its way from a line.
    LeavingUnlimited,
    /// The departure of an entry is not confirmed to its line.
    RisenUnconfirmed,
    /// An entry whose queue could not be looked up stays taken.
    FailedLookUpForgets,
    /// What is being purged becomes ready when it is due.
    PurgedRises,
    /// A line does not hear of what a purge removes.
    DelayedPurgeUnnoticed,
    /// A purge leaves the moves that are not staged.
    PurgeKeepsMoves,
    /// A queue that leaves memory with work is not counted.
    DormantUncounted,
    /// A queue that comes back stays counted as dormant.
    DormantStaysCounted,
    /// A queue may leave memory before it is handed the command that it was brought back for.
    BroughtBackInVain,
    /// A queue leaves memory while it is being looked up (P7).
    LookedUpForgotten,
    /// A dead letter that is replayed keeps its attempts.
    ReplayKeepsAttempts,
    /// An ack leaves the bytes of its entry counted.
    AckKeepsBytes,
    /// A purge leaves the bytes of what it removes counted.
    PurgeKeepsBytes,
    /// Bounds are not heeded.
    BoundsIgnored,
    /// Only what is ready counts for the bounds of a queue.
    OnlyReadyBound,
    /// Any number of callers may wait.
    CallsUnbounded,
    /// What is on its way to storage is not known as seen (K2).
    FreshKeysForgotten,
    /// Keys are not compared with those of the same batch.
    BatchRepeats,
    /// A window has no end.
    KeysForEver,
    /// A key that is taken again keeps its old row by time (K1).
    OldExpiryKept,
    /// The stored floor of keys is raised past keys that are on their way (F1).
    DedupFloorPastEntering,
    /// No key is ever forgotten.
    NothingForgotten,
    /// A key that was taken again is forgotten with its old row by time.
    TakenAgainForgotten,
    /// What comes after a command that waits at the door does not wait (T1).
    DoorUnordered,
    /// A key that was taken again is not kept while a step is being read.
    NotKeptForStep,
    /// A queue that gets entries together with an ack is not looked up.
    TargetTakenForEmpty,
    /// Entries that come with an ack are accepted though the lease does not stand.
    AcceptedThoughStale,
    /// What all queues hold together is only written down when it is more than before.
    TotalsOnlyGrow,
    /// The queue a dead letter goes to is taken for empty without a look.
    ForwardUnasked,
    /// The queue a dead letter goes to may leave memory while the body is read.
    ForwardUnpinned,
    /// A move that fails keeps the queue it was to go to in memory.
    ForwardHoldsOn,
    /// A dead letter whose way is blocked is never heard of again.
    ForwardRefusalForgets,
    /// A dead letter that goes leaves its separate body.
    ForwardKeepsBody,
    /// What is over is delivered all the same.
    OutlivedGranted,
    /// An entry is over a little too early.
    OutlivedEarly,
    /// An entry that is over leaves its separate body.
    OutlivedKeepsBody,
    /// Nobody looks at a head whose time is over, unless somebody wants it.
    OutlivedUnwatched,
    /// A head that is over before the one that was there is not looked at earlier.
    WatchedTooLate,
}

#[cfg(test)]
impl Mutation {
    /// All but the rules of late look-ups, of keys kept for a step, of promises and of buckets, which have examples
    /// of their own: the chain of events that needs them is too long for chance, or needs two partitions.
    pub(crate) const ALL: [Self; 76] = [
        Self::AnswerBeforeDurable,
        Self::UnsyncedForSome,
        Self::ShowBeforeDurable,
        Self::FloorPastEntering,
        Self::LoadEndUnnoticed,
        Self::LoadUncounted,
        Self::PermitKept,
        Self::RuleUnstored,
        Self::RuleForNewQueuesOnly,
        Self::LeasesUnresolved,
        Self::RecoveredLeaseShown,
        Self::ExpiryIgnored,
        Self::OldDeadlineStays,
        Self::ReleasedNotRestored,
        Self::DepartureUnconfirmed,
        Self::TokenUnchecked,
        Self::AttemptsLost,
        Self::UnreceivedCounted,
        Self::AckKeepsLeaseRow,
        Self::AckKeepsBody,
        Self::SequenceUnreserved,
        Self::BusyQueueForgotten,
        Self::PartialScanTrusted,
        Self::StaleRowRecalled,
        Self::UnrecalledTakenForEmpty,
        Self::PurgeUnmarked,
        Self::PurgeForgetsArrivals,
        Self::ShrunkenTrusted,
        Self::DueEarly,
        Self::DelayedRowKept,
        Self::LineFloorPastEntering,
        Self::PurgeKeepsDelayed,
        Self::DormantTakenForEmpty,
        Self::AttemptsUnlimited,
        Self::RetryFloorForgotten,
        Self::DeadLost,
        Self::MoveFailureForgetsDeadline,
        Self::DeadTwice,
        Self::DelayCutShort,
        Self::WallClockIgnored,
        Self::LeavingUnlimited,
        Self::RisenUnconfirmed,
        Self::FailedLookUpForgets,
        Self::PurgedRises,
        Self::DelayedPurgeUnnoticed,
        Self::PurgeKeepsMoves,
        Self::DormantUncounted,
        Self::DormantStaysCounted,
        Self::BroughtBackInVain,
        Self::ReplayKeepsAttempts,
        Self::AckKeepsBytes,
        Self::PurgeKeepsBytes,
        Self::TotalsOnlyGrow,
        Self::TargetTakenForEmpty,
        Self::AcceptedThoughStale,
        Self::BoundsIgnored,
        Self::OnlyReadyBound,
        Self::CallsUnbounded,
        Self::FreshKeysForgotten,
        Self::BatchRepeats,
        Self::KeysForEver,
        Self::OldExpiryKept,
        Self::DedupFloorPastEntering,
        Self::NothingForgotten,
        Self::TakenAgainForgotten,
        Self::DoorUnordered,
        Self::ForwardUnasked,
        Self::ForwardUnpinned,
        Self::ForwardHoldsOn,
        Self::ForwardRefusalForgets,
        Self::ForwardKeepsBody,
        Self::OutlivedGranted,
        Self::OutlivedEarly,
        Self::OutlivedKeepsBody,
        Self::OutlivedUnwatched,
        Self::WatchedTooLate,
    ];
}

impl Core {
    #[cfg(test)]
    pub(super) fn is_broken(&self, rule: Mutation) -> bool {
        self.options.broken == Some(rule)
    }

    #[cfg(not(test))]
    pub(super) const fn is_broken(&self, _rule: Mutation) -> bool {
        false
    }
}
