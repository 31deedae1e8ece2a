//! What can be wrong with a store.

macro_rules! defects {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// One way to break the contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Defect {
            $($(#[$doc])* $name,)+
        }

        impl Defect {
            /// Every defect.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

defects! {
    /// Applies each batch once more after the next one.
    ReplaysThePreviousBatch,
    /// Applies the changes of a batch backwards.
    ReversesChanges,
    /// Leaves holes between positions.
    SkipsPositions,
    /// Counts positions from one after each open.
    RestartsPositions,
    /// Gives an empty batch the position of the one before it.
    IgnoresEmptyBatches,
    /// Resolves later tickets first, and not even at the end of `close`.
    ResolvesBackwards,
    /// Reports a durable position that resolved tickets have passed.
    ReportsAnOldPosition,
    /// Acknowledges before writing: a crash takes the newest batch.
    AcknowledgesEarly,
    /// Acknowledges before writing: closing takes the newest batch.
    LosesOnClose,
    /// Writes only what somebody waits for.
    LosesUnwaited,
    /// Writes some batches late: a crash takes them and leaves later ones.
    LosesFromTheMiddle,
    /// Writes half of each batch late.
    TearsBatches,
    /// Reads what was there before the newest batch.
    ReadsStaleRows,
    /// Now and then reads what was there before the newest batch.
    ReadsGoBack,
    /// Reads the upper half of a range as it was before the newest batch.
    MixesTwoMoments,
    /// Gives every handle the same epoch.
    NeverRaisesTheEpoch,
    /// Claims an epoch only with the first batch.
    ClaimsEpochsLate,
    /// Tells every handle the newest epoch.
    TellsTheNewestEpoch,
    /// Lets two handles write.
    NeverFences,
    /// Denies that a second handle can fence the first.
    DeniesSharing,
    /// Refuses the batch of a fenced handle, and writes it.
    WritesFencedBatches,
    /// Returns the row at the upper bound.
    IncludesTheUpperBound,
    /// Omits the row at the lower bound.
    ExcludesTheLowerBound,
    /// Takes an inverted range for one without an upper bound.
    ReadsInvertedRanges,
    /// Goes on into the next table.
    LeaksTheNextTable,
    /// Takes a key of `0xFF` for the end of the table.
    StopsAtOnes,
    /// Compares bytes as signed numbers.
    OrdersBytesAsSigned,
    /// Returns more rows than asked for.
    IgnoresRowsMax,
    /// Returns more bytes than asked for.
    IgnoresBytesMax,
    /// Returns nothing when the first row is over the limit.
    RefusesOversizedRows,
    /// Says that a truncated range is exhausted.
    SaysExhausted,
    /// Says that an exhausted range is truncated.
    SaysTruncated,
    /// Omits the last row before a limit.
    DropsTheRowAtTheLimit,
    /// Leaves the rows of the scan before in the buffer.
    KeepsLeftovers,
    /// Says that a range is exhausted when it would block.
    TakesBlockingForTheEnd,
    /// Keeps only the last of the rows read before it would block.
    LosesRowsBeforeBlocking,
    /// Stops working when a scan is dropped.
    BreaksWhenAScanIsDropped,
    /// Takes an empty value for an absent one.
    TakesEmptyForAbsent,
    /// Finds a key in whichever table has it.
    LooksInEveryTable,
    /// Cuts values at 64 KiB.
    CutsLargeValues,
    /// Finds nothing until something was written after the open.
    ForgetsOnReopen,
    /// Deletes the key at the upper bound of a range.
    DeletesTheUpperBound,
    /// Deletes ranges after the other changes of the batch.
    DeletesRangesLast,
    /// Deletes the range between inverted bounds.
    DeletesInvertedRanges,
    /// Deletes a range from every table.
    DeletesRangesEverywhere,
    /// Ignores deletes.
    IgnoresDeletes,
    /// Fails a batch that deletes what is not there.
    FailsOnAbsentKeys,
    /// Writes a large batch as two.
    SplitsLargeBatches,
    /// Reads nothing from the log where it should say that batches are missing.
    HidesGaps,
    /// Says that batches are missing after the newest one.
    SeesAGapAtTheEnd,
    /// Joins what was recorded before and after a hole.
    JoinsOverHoles,
    /// Omits the second record.
    DropsALogRecord,
    /// Records its own bookkeeping.
    RecordsBookkeeping,
    /// Records positions that are off by one.
    ShiftsLogPositions,
    /// Reads the log without a limit.
    IgnoresLogBytesMax,
    /// Reads nothing when the first record is over the limit.
    RefusesOversizedRecords,
    /// Lets go of one pin when the next is taken.
    HoldsOnePin,
    /// Keeps the log of the handle before.
    KeepsTheLogOnReopen,
    /// Gives the live store for a checkpoint.
    MovesCheckpoints,
    /// Gives checkpoints the next position.
    NamesCheckpointsLate,
    /// Fails the second `close`.
    ClosesOnlyOnce,
    /// Goes on serving reads after `close`.
    ServesAfterClose,
    /// Fails the tickets that are not resolved when `close` is called.
    CloseFailsTickets,
    /// Resolves the ticket of a failed commit as durable.
    HidesFailure,
    /// Resolves the tickets after a failed commit as durable.
    GoesOnAfterFailure,
    /// Fails earlier tickets together with the failed commit.
    FailureTakesEarlierTickets,
    /// Loses durable rows after a failed commit.
    FailureLosesData,
    /// Writes a buffered batch after the next durable one.
    WritesBufferedBatchesLast,
    /// Shows a buffered batch only when something else is written.
    HidesBufferedBatches,
    /// Makes durable only what was submitted as durable: a crash takes buffered batches from the middle.
    SyncsAroundBufferedBatches,
    /// Keeps buffered batches in the process: its end takes them.
    KeepsBufferedBatches,
    /// Writes half of each buffered batch late.
    TearsBufferedBatches,
    /// Closes without the newest buffered batch.
    LosesBufferedBatchesOnClose,
    /// Takes the batches that are buffered for durable ones.
    CountsBufferedBatchesAsDurable,
    /// Makes checkpoints without the newest buffered batch.
    OmitsBufferedBatchesFromCheckpoints,
    /// Resolves the ticket of a failed buffered batch as buffered.
    HidesFailureOfBufferedBatches,
    /// Resolves the tickets of buffered batches after a failed commit as buffered.
    BuffersAfterFailure,
    /// Accepts buffered batches after `close`.
    BuffersAfterClose,
}
