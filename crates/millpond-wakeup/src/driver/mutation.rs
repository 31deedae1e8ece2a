//! The rules of a driver that are each indispensable, as switches that only the tests can turn.

/// One rule left out. The tests show that each is missed; outside of them the question "is it left out?" is
/// the constant `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutation {
    /// A driver says until when it sleeps after it has given up the lock (D1).
    SayTooLate,
    /// An earlier deadline does not wake the driver (D1).
    EarlierWakesNobody,
    /// The first deadline does not wake the driver (D1).
    FirstWakesNobody,
    /// The removal of the last deadline does not wake the driver (D1).
    RemovalWakesNobody,
    /// The end does not wake the driver (D1).
    EndWakesNobody,
    /// Every change wakes the driver (D2).
    EverythingWakes,
    /// The sleep is set anew although it ends at the right time.
    ResetAlways,
    /// An alarm that went off is not set again.
    RingOnce,
}

#[cfg(test)]
impl Mutation {
    pub(super) const ALL: [Self; 8] = [
        Self::SayTooLate,
        Self::EarlierWakesNobody,
        Self::FirstWakesNobody,
        Self::RemovalWakesNobody,
        Self::EndWakesNobody,
        Self::EverythingWakes,
        Self::ResetAlways,
        Self::RingOnce,
    ];
}
