//! What users say about an attempt that failed.

use std::time::Duration;

use millpond_partition::Retry;
use millpond_types::ms_rounded_up;

use crate::Error;
use crate::time::check_delay;

/// How an attempt failed, and what is to become of its entry. Goes to
/// [`Delivery::nack_with`](crate::Delivery::nack_with) or [`Engine::nack_with`](crate::Engine::nack_with).
///
/// Whatever is asked for, an entry that has had as many attempts as the [rules](crate::Settings) of its
/// topic allows is set aside as a dead letter.
///
/// ```
/// use std::time::Duration;
///
/// use millpond::Nack;
///
/// // The other side said: 503, Retry-After: 20.
/// let busy = Nack::with_floor(Duration::from_secs(20)).because("503 from example.org");
/// let hopeless = Nack::reject().because("no such address");
/// # let _ = (busy, hopeless);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    wish: Wish,
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Policy { floor: Duration },
    After(Duration),
    Never,
}

impl Nack {
    /// A retry as the policy of the topic says.
    pub fn retry() -> Self {
        Self::new(Wish::Policy { floor: Duration::ZERO })
    }

    /// A retry after so long, whatever the policy says about the wait; or after the entry's
    /// [floor](Self::with_floor) if that is longer. Zero is at once. At most 3,650 days; parts of a
    /// millisecond count as a whole one.
    pub fn after(delay: Duration) -> Self {
        Self::new(Wish::After(delay))
    }

    /// A retry as the policy of the topic says, but not before so long has passed: what a busy service asks
    /// for with `Retry-After`. The floor stays with the entry: later retries wait as long too, until another
    /// floor is set. Zero leaves the floor as it is. At most 3,650 days.
    pub fn with_floor(floor: Duration) -> Self {
        Self::new(Wish::Policy { floor })
    }

    /// No retry: the entry can never succeed, and is set aside as a dead letter.
    pub fn reject() -> Self {
        Self::new(Wish::Never)
    }

    /// Why it failed. Kept if this makes the entry a dead letter: the first
    /// [`REASON_BYTES_MAX`](crate::limits::REASON_BYTES_MAX) bytes of it, up to the end of a character.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    fn new(wish: Wish) -> Self {
        Self { wish, reason: String::new() }
    }

    pub(crate) fn checked(self) -> Result<millpond_partition::Nack, Error> {
        let ms = |wait| check_delay("wait before a retry", ms_rounded_up(wait));
        let retry = match self.wish {
            Wish::Policy { floor } => Retry::Policy { floor_ms: ms(floor)? },
            Wish::After(delay) => Retry::After(ms(delay)?),
            Wish::Never => Retry::Never,
        };
        Ok(millpond_partition::Nack { retry, reason: self.reason })
    }
}

impl Default for Nack {
    /// As [`retry`](Self::retry).
    fn default() -> Self {
        Self::retry()
    }
}
