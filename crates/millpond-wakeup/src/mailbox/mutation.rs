//! The rules of a mailbox that are each indispensable, as switches that only the tests can turn.

/// One rule left out. The tests show that each is missed; outside of them the question "is it left out?" is
/// the constant `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutation {
    /// A message does not end the owner's sleep (M2).
    PushWakesNobody,
    /// A notification does not end the owner's sleep (M2).
    NotifyWakesNobody,
    /// A message of a class without a share ends the owner's sleep (M2).
    WakeWithoutShare,
    /// The owner is woken again and again (M2).
    WakeTwice,
    /// A drain makes room and tells nobody (M3).
    DrainWakesNobody,
    /// Who comes later takes the room of who waits (M3).
    Overtake,
    /// The owner falls asleep although somebody waits beside free room (M3).
    SleepBesideRoom,
    /// A dropped future stays among those who wait (M3).
    DroppedWaits,
    /// Closing leaves those who wait for room alone (M3).
    CloseWakesNobody,
    /// A closed mailbox takes messages (M1).
    TakeWhenClosed,
    /// A drain takes from the most urgent class first what it may take from all (M4).
    OneShareForAll,
    /// A message comes in whatever its class weighs (M5).
    IgnoreWeight,
    /// What was drained weighs on (M5).
    WeightStays,
    /// Weight that becomes free wakes nobody who waits for it (M3).
    WeightWakesNobody,
    /// More are woken than find room, because what they weigh is not counted (M3).
    WakeBeyondWeight,
}

#[cfg(test)]
impl Mutation {
    pub(super) const ALL: [Self; 15] = [
        Self::PushWakesNobody,
        Self::NotifyWakesNobody,
        Self::WakeWithoutShare,
        Self::WakeTwice,
        Self::DrainWakesNobody,
        Self::Overtake,
        Self::SleepBesideRoom,
        Self::DroppedWaits,
        Self::CloseWakesNobody,
        Self::TakeWhenClosed,
        Self::OneShareForAll,
        Self::IgnoreWeight,
        Self::WeightStays,
        Self::WeightWakesNobody,
        Self::WakeBeyondWeight,
    ];
}
