//! The rules as switches that only the tests can turn.

/// One rule left out. The test suite shows that each of them is needed; outside of the tests the question
/// "is it left out?" is the constant `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A commit does not ask whether its ticket is still there.
    CommitUnasked,
    /// A put leaves the tickets that are out as they are.
    PutKeepsTickets,
    /// A removal leaves the tickets that are out as they are.
    RemoveKeepsTickets,
    /// What is committed counts as known since the commit, not since its ticket.
    StampedLate,
    /// What was read counts as known since the ticket, not since it was written.
    RowStampForgotten,
    /// A hit trusts what it finds although something was invalidated.
    HitUnasked,
    /// Whether something was invalidated is asked by stamp, which later ones can overtake.
    AskedByStamp,
    /// An expired value is a hit.
    ExpiryIgnored,
    /// Only the bytes of the value are counted.
    OverheadForgotten,
    /// What is evicted stays counted.
    EvictedCounted,
    /// What is replaced stays counted.
    ReplacedCounted,
    /// Room is not made before something is installed.
    RoomUnreserved,
    /// A window of ghosts has no end.
    GhostsUnbounded,
    /// A ticket that is dropped stays in its slot.
    DroppedStays,
    /// A ticket that is dropped leaves no ghost.
    DroppedForgotten,
    /// A value stays resident while its key is written.
    WriteServesOld,
    /// Of two writers the one that ends last is taken for the last one.
    LastToEndWins,
    /// A write that failed is installed if another one succeeded.
    FailureForgotten,
    /// A key that is being written gives tickets.
    TicketWhileWriting,
    /// The first hit schedules.
    FirstHitAdmits,
    /// A large value becomes resident as soon as a small one.
    SizeIgnored,
    /// A value that was refused for its size is seen once again.
    SightingsForgotten,
    /// The hand passes over nobody.
    VisitsIgnored,
    /// Readers join a flight that began before a write.
    FlightSurvivesWrite,
    /// Who has a ticket writes whatever was put meanwhile.
    WriteUnasked,
    /// A row is read without asking what was invalidated since.
    RowUnasked,
    /// The checksum is not looked at.
    ChecksumUnasked,
    /// A write that was given up is taken for ended.
    CancelEndsWrite,
    /// A leader that goes away takes its followers' answer with it.
    LeaderForgets,
    /// Generations start again after a restart.
    GenerationsForgotten,
}

#[cfg(test)]
impl Mutation {
    pub(crate) const INDEX: [Self; 23] = [
        Self::RowStampForgotten,
        Self::CommitUnasked,
        Self::PutKeepsTickets,
        Self::RemoveKeepsTickets,
        Self::StampedLate,
        Self::HitUnasked,
        Self::AskedByStamp,
        Self::ExpiryIgnored,
        Self::OverheadForgotten,
        Self::EvictedCounted,
        Self::ReplacedCounted,
        Self::RoomUnreserved,
        Self::GhostsUnbounded,
        Self::DroppedStays,
        Self::DroppedForgotten,
        Self::WriteServesOld,
        Self::LastToEndWins,
        Self::FailureForgotten,
        Self::TicketWhileWriting,
        Self::FirstHitAdmits,
        Self::SizeIgnored,
        Self::SightingsForgotten,
        Self::VisitsIgnored,
    ];

    pub(crate) const CACHE: [Self; 7] = [
        Self::FlightSurvivesWrite,
        Self::WriteUnasked,
        Self::RowUnasked,
        Self::ChecksumUnasked,
        Self::CancelEndsWrite,
        Self::LeaderForgets,
        Self::GenerationsForgotten,
    ];
}

/// What the tests may choose differently. It takes no memory outside of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    #[cfg(test)]
    pub(crate) broken: Option<Mutation>,
}

#[cfg(not(test))]
impl Rules {
    pub(crate) const SHIPPED: Self = Self {};

    pub(crate) const fn lacks(self, _rule: Mutation) -> bool {
        false
    }
}

#[cfg(test)]
impl Rules {
    pub(crate) const SHIPPED: Self = Self { broken: None };

    pub(crate) fn lacks(self, rule: Mutation) -> bool {
        self.broken == Some(rule)
    }
}
