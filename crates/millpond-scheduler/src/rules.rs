//! The rules as switches that only the tests can turn.

/// One rule left out. The test suite shows that each of them is needed; outside of the tests the question
/// "is it left out?" is the constant `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A place that is given up keeps its generation.
    KeepGeneration,
    /// Every quantum is that of weight 1.
    WeightIgnored,
    /// A queue that runs empty keeps its credit.
    CreditBanked,
    /// A queue that is blocked loses its credit.
    CreditForfeited,
    /// A queue that was blocked in its turn gets another quantum when it goes on.
    QuantumTwice,
    /// A queue that comes back is served before the others.
    JoinsInFront,
    /// A queue that comes back enters the ring although it is there.
    JoinsTwice,
    /// A turn ends only when the queue is empty.
    TurnWithoutEnd,
    /// A change of weight leaves the total as it was.
    TotalForgotten,
    /// Bands are passed over for ever.
    NeverAged,
    /// The lowest band is served first.
    BandsReversed,
    /// Only the innermost resource of a chain is asked.
    ParentsUnasked,
    /// What was promised to a queue that goes away is promised to nobody else.
    PromiseLost,
    /// Who waits for an outer resource gives up what it has of the inner ones.
    InnerGivenUp,
    /// A release wakes nobody.
    WakesNobody,
    /// A release wakes all that wait.
    WakesAll,
    /// A newcomer takes what was promised to others.
    Barges,
    /// A queue blocked in the middle of its turn waits behind the others.
    MidTurnAtBack,
    /// A release wakes the one that came last.
    WakesLast,
    /// A refund forgets that the bucket was full meanwhile.
    RefundsAll,
    /// What is left of a token when a bucket is looked at is lost.
    RefillRounded,
    /// A bucket grows beyond its burst.
    BurstUnbounded,
    /// A queue that is paused stays in the ring.
    PausedStays,
    /// A low band holds what was promised to it against higher ones.
    LowBandHolds,
    /// Nothing says when tokens will be there.
    NeverArmed,
    /// A queue that was woken gets no place.
    WokenUnplaced,
    /// A queue that was woken for a take has a turn.
    TurnByTake,
    /// A take while the queue waits puts it before the others.
    TakeJumps,
    /// A take takes credit.
    TakeCharged,
    /// A take that is given back brings credit.
    TakeRepaid,
    /// A domain that goes on with a take is still thought to wait.
    TakeStrands,
    /// A permit that is adopted takes tokens.
    AdoptCharged,
    /// A permit that counts elsewhere gives tokens back that it did not take.
    RebaseRefunds,
    /// A permit that counts elsewhere is released before.
    RebaseReleasesFirst,
    /// A bucket is full after a restart.
    RestartsFull,
    /// A resource that is replaced keeps its tokens.
    TokensCopied,
    /// A resource is at rest although its bucket is not full.
    RestsWhileFilling,
    /// A smaller quantum leaves credit as it was.
    QuantumUncut,
    /// Ageing stays as it was at first.
    AgeingFixed,
    /// What a division leaves is lost.
    SplitForgets,
    /// A part that could not use its credits gets them again.
    SplitInsists,
}

#[cfg(test)]
impl Mutation {
    pub(crate) const ALL: [Self; 41] = [
        Self::KeepGeneration,
        Self::WeightIgnored,
        Self::CreditBanked,
        Self::CreditForfeited,
        Self::QuantumTwice,
        Self::JoinsInFront,
        Self::JoinsTwice,
        Self::TurnWithoutEnd,
        Self::TotalForgotten,
        Self::NeverAged,
        Self::BandsReversed,
        Self::ParentsUnasked,
        Self::PromiseLost,
        Self::InnerGivenUp,
        Self::WakesNobody,
        Self::WakesAll,
        Self::Barges,
        Self::MidTurnAtBack,
        Self::WakesLast,
        Self::RefundsAll,
        Self::RefillRounded,
        Self::BurstUnbounded,
        Self::PausedStays,
        Self::LowBandHolds,
        Self::NeverArmed,
        Self::WokenUnplaced,
        Self::TurnByTake,
        Self::TakeJumps,
        Self::TakeCharged,
        Self::TakeRepaid,
        Self::TakeStrands,
        Self::AdoptCharged,
        Self::RebaseRefunds,
        Self::RebaseReleasesFirst,
        Self::RestartsFull,
        Self::TokensCopied,
        Self::RestsWhileFilling,
        Self::QuantumUncut,
        Self::AgeingFixed,
        Self::SplitForgets,
        Self::SplitInsists,
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
