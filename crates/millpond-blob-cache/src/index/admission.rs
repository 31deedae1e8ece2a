//! How often a key has to be asked for before its value becomes resident.

/// Sightings of a key before it gets a ticket.
pub(super) const SIGHTINGS_MIN: u8 = 2;
/// What a large value needs beyond that, at most.
const EXTRA_SIGHTINGS_MAX: u8 = 3;

/// How often a key has to be asked for within the window before what is read for it becomes resident.
///
/// A put is always admitted, if there is room for it at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Admission {
    /// Twice, whatever the size. The most bytes hit, and the quicker to follow a change of what is asked for.
    SecondHit,
    /// Twice if the value is no larger than the mean of the residents, three times if it is no larger than two of them,
    /// and so on up to five times. The most hits: a large value takes the room of several small ones, and has to be
    /// asked for that much more often. What a commit learns too early is [`TooSeldom`](crate::Committed::TooSeldom).
    #[default]
    BySize,
}

impl Admission {
    /// The sightings that a value needs, which is `SIGHTINGS_MIN` where there are no residents to compare it with.
    pub(super) fn n_sightings(self, charge_bytes: usize, mean_bytes: Option<usize>) -> u8 {
        let in_means = match (self, mean_bytes) {
            (Self::BySize, Some(mean_bytes)) => charge_bytes.saturating_sub(1) / mean_bytes.max(1),
            _ => 0,
        };
        let extra = u8::try_from(in_means).unwrap_or(u8::MAX).min(EXTRA_SIGHTINGS_MAX);
        SIGHTINGS_MIN + extra
    }
}
