//! The rules as switches that only the tests can turn.

/// One rule left out. The tests and models show that each of them is needed; outside of the tests the question
/// "is it left out?" is the constant `false`. Numbers are those of the crate's promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A panic keeps the bytes and the key of its request (1).
    PanicKeepsClaim,
    /// The bound on bytes is checked without what is taken already (1).
    BytesUnsummed,
    /// A place is not free again when its request has been taken out (1).
    PlaceStays,
    /// A request for which there are no bytes has the oldest one evicted before it is refused (2).
    EvictsAndRejects,
    /// Newcomers that should yield push the oldest out (2).
    NewestEvicts,
    /// A key is looked for and inserted in two steps (3).
    InsertInTwoSteps,
    /// An evicted or abandoned request keeps its key and bytes (4).
    UnstartedKeepsClaim,
    /// A request is counted as accepted after it was pushed (4).
    CountsLate,
    /// An end is counted before key and bytes are free (4).
    EndsBeforeRelease,
    /// A push wakes nobody (5).
    PushWakesNobody,
    /// A push wakes everybody (5).
    PushWakesAll,
    /// A worker parks without a last look (5).
    NoLastLook,
    /// A worker takes a request while it is entered as asleep (5).
    LastLookTakes,
    /// A panic ends the thread (7).
    PanicEndsWorker,
    /// A producer that sees the pool closed pushes (8).
    ClosedLetsIn,
    /// The last one to leave a closed pool just goes (8).
    LastOutGoes,
    /// A close leaves what waits to the workers, whatever they do (8).
    CloseStrands,
}

#[cfg(test)]
impl Mutation {
    /// Those that the histories find; models and other tests find the rest.
    pub(crate) const SEQUENTIAL: [Self; 8] = [
        Self::PanicKeepsClaim,
        Self::BytesUnsummed,
        Self::PlaceStays,
        Self::EvictsAndRejects,
        Self::NewestEvicts,
        Self::UnstartedKeepsClaim,
        Self::PanicEndsWorker,
        Self::CloseStrands,
    ];
}

/// The rules in force.
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
