//! How often the random histories led into each situation that matters. A property that is never put to
//! the test proves nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::StaleReason;

/// One list for both, so that none of them can be left out of what is demanded.
macro_rules! situations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Situation {
            $($(#[$doc])* $name,)*
        }

        const ALL: &[Situation] = &[$(Situation::$name,)*];
    };
}
situations! {
    Acked,
    Nacked,
    Extended,
    /// A lease outlived its first deadline because it was extended.
    ExtendedInTime,
    Expired,
    Unreceived,
    /// A message about unreceived leases came too late.
    UnreceivedTooLate,
    NotLeased,
    ExpiredReply,
    Superseded,
    Settling,
    SecondAttempt,
    SentAwayWithNothing,
    ServedElsewhere,
    Stopped,
    Closed,
    /// A power cut in which some unsynced batches survived and others did not.
    CrashedBetween,
    /// A caller who had asked for no more was told before the commit was durable, or with others of a
    /// commit that was synced.
    ToldWhenBuffered,
    ToldWhenSynced,
    /// A power cut took back what was only buffered, and the end of a process did not.
    BufferedLost,
    BufferedKept,
    RecoveredHeldLease,
    RecoveredReleased,
    ScanWaited,
    ScanFailed,
    OverlayOverflowed,
    /// A queue left memory and came back.
    Returned,
    /// A queue came back after a restart.
    Recalled,
    /// A command waited until its queue was looked up, and one of which that failed.
    Parked,
    LookUpFailed,
    PurgedByRange,
    PurgedByRow,
    PurgedWhileLeased,
    WindowShrunk,
    ReadAhead,
    /// Entries became ready by time.
    RoseAfterDelay,
    RoseAfterBackOff,
    RoseAtDate,
    WallClockSet,
    /// More was due than may be on its way from a line at a time.
    LineWasFull,
    /// What failed attempts lead to.
    NackedWithoutPause,
    BackedOff,
    FloorKept,
    Rejected,
    Spent,
    /// The last attempt ended without a word.
    SpentUnheard,
    MoveFailed,
    /// A purge came while the row of a failed entry was to be read.
    MovePurged,
    NotDead,
    Replayed,
    Dropped,
    RecoveredDelayed,
    RecoveredDead,
    /// The last attempt ended with its owner.
    RecoveredSpent,
    PurgedDelayed,
    PurgedDead,
    /// A queue left memory with work, and somebody wanted it.
    Dormant,
    /// A rule was made or withdrawn …
    RuleChanged,
    /// … and held everywhere when that was said.
    RulesHold,
    /// Something was leased that counts in a limit.
    GrantedWithinLimit,
    /// A head was not leased, because of a limit or a pause.
    HeldBack,
    QueueFull,
    PartitionFull,
    /// Too many callers waited for work.
    CallRefused,
    /// A command waited until storage said whether its keys were seen.
    AskedForKeys,
    Duplicate,
    /// The entry that had taken the key was gone.
    DuplicateOfGone,
    DuplicateInBatch,
    KeyTakenAgain,
    KeyForgotten,
    /// An ack that came with entries, and one whose lease did not stand.
    HandedOn,
    HandedOnStale,
    /// Dead letters that went to another topic, those among them whose body crossed the limit of inline bodies,
    /// and what some of them had to wait for.
    Forwarded,
    ForwardedLarge,
    ForwardedLarger,
    ForwardNamesRead,
    ForwardLooksUp,
    ForwardBodyRead,
    /// A purge of its queue, or a failure, met one on its way.
    ForwardPurged,
    /// Entries whose time was over: found by somebody who looked for something to serve, or by nobody.
    OutlivedUnserved,
    OutlivedAlone,
    /// They had been leased before, or had a body of their own.
    OutlivedRetry,
    OutlivedLarge,
}

use Situation::*;

/// Each of the situations comes about once in so many histories, at the least. The rarest comes twice as
/// often, so that no choice of the seed falls short.
const HISTORIES_PER_SITUATION: u64 = 150;

thread_local! {
    static SEEN: RefCell<BTreeMap<Situation, u64>> = const { RefCell::new(BTreeMap::new()) };
}

pub(super) fn note(situation: Situation) {
    note_many(situation, 1);
}

pub(super) fn note_many(situation: Situation, n: u64) {
    SEEN.with_borrow_mut(|seen| *seen.entry(situation).or_default() += n);
}

pub(super) fn note_stale(reason: StaleReason) {
    note(match reason {
        StaleReason::NotLeased => NotLeased,
        StaleReason::Expired => ExpiredReply,
        StaleReason::Superseded => Superseded,
        StaleReason::Settling => Settling,
    });
}

/// To be called after `n_histories`.
pub(super) fn check(n_histories: u64) {
    SEEN.with_borrow(|seen| {
        println!("situations: {seen:?}");
        for &situation in ALL {
            let n = seen.get(&situation).copied().unwrap_or_default();
            let wanted = n_histories / HISTORIES_PER_SITUATION;
            assert!(n >= wanted, "{situation:?} came about {n} times, not {wanted}");
        }
    });
}
