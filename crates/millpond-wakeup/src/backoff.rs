//! How long to wait before the next attempt.

use thiserror::Error;

/// Exponential back-off with full jitter: the longest wait doubles with every failed attempt up to a cap,
/// and the wait itself is uniform between nothing and that.
///
/// A pure function without state: the same attempt and seed give the same delay on every machine and in
/// every version. Full jitter spreads what one outage has made fail at the same time, and needs the least
/// work of the known variants (M. Brooker, *Exponential Backoff And Jitter*, 2015).
///
/// ```
/// use millpond_wakeup::BackoffPolicy;
///
/// let policy = BackoffPolicy::new(100, 30_000)?;
/// let seed = 42; // of the entry, so that no two wait alike
/// assert!(policy.delay_ms(1, seed, 0) <= 100);
/// assert!(policy.delay_ms(3, seed, 0) <= 400);
/// assert!(policy.delay_ms(1_000_000, seed, 0) <= 30_000);
/// // The other side asked for five seconds of peace: no jitter may undercut that.
/// assert!(policy.delay_ms(1, seed, 5_000) >= 5_000);
/// # Ok::<(), millpond_wakeup::BackoffError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffPolicy {
    base_ms: u64,
    cap_ms: u64,
}

/// Why there is no such policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BackoffError {
    /// The first wait would be longer than the longest: raise the cap or lower the base.
    #[error("a back-off's base of {base_ms} ms must not exceed its cap of {cap_ms} ms")]
    BaseAboveCap {
        /// The base asked for, in milliseconds.
        base_ms: u64,
        /// The cap asked for, in milliseconds.
        cap_ms: u64,
    },
}

impl BackoffPolicy {
    /// Waits of at most `base_ms` milliseconds after the first failure, and of at most `cap_ms` ever. A base
    /// of 0 means no back-off at all: only the floor of [`delay_ms`](Self::delay_ms) counts.
    ///
    /// # Errors
    ///
    /// [`BackoffError::BaseAboveCap`].
    pub const fn new(base_ms: u64, cap_ms: u64) -> Result<Self, BackoffError> {
        if base_ms > cap_ms {
            return Err(BackoffError::BaseAboveCap { base_ms, cap_ms });
        }
        Ok(Self { base_ms, cap_ms })
    }

    /// The longest wait after the first failure, in milliseconds.
    pub const fn base_ms(&self) -> u64 {
        self.base_ms
    }

    /// The longest wait that jitter can give, in milliseconds.
    pub const fn cap_ms(&self) -> u64 {
        self.cap_ms
    }

    /// How many milliseconds to wait after attempt number `attempt` has failed: uniform in
    /// `0..=min(cap, base · 2^(attempt − 1))`, and at least `floor_ms`.
    ///
    /// Attempts count from 1; an attempt 0 is treated like the first. The `seed` says who waits: give each
    /// entry its own, and keep it for all its attempts, which are told apart in here.
    ///
    /// `floor_ms` is what the other side asked for as back-pressure. It holds even above the cap. The caller
    /// keeps it with the entry for as long as it is in force, so that a later failure of another kind does
    /// not undercut it.
    pub fn delay_ms(&self, attempt: u32, seed: u64, floor_ms: u64) -> u64 {
        // SplitMix64 in two steps, so that neighbouring seeds and attempts have nothing in common.
        let random = splitmix64(splitmix64(seed).wrapping_add(u64::from(attempt.max(1))));
        // Lemire's range reduction. In 128 bits, because the ceiling may be `u64::MAX`; its bias is below
        // one part in 2^64 / ceiling.
        let n_delays = u128::from(self.ceiling_ms(attempt)) + 1;
        let delay = (u128::from(random) * n_delays) >> 64;
        let delay_ms =
            u64::try_from(delay).expect("a product shifted by 64 bits is below n_delays");
        delay_ms.max(floor_ms)
    }

    /// The longest wait that jitter can give after attempt number `attempt`, in milliseconds.
    pub fn ceiling_ms(&self, attempt: u32) -> u64 {
        let n_doublings = attempt.saturating_sub(1);
        // Only zeros may be shifted out; a base of 0 has 64 of them, and stays 0.
        let is_exact = n_doublings <= self.base_ms.leading_zeros();
        match self.base_ms.checked_shl(n_doublings) {
            Some(ceiling_ms) if is_exact => ceiling_ms.min(self.cap_ms),
            _ if self.base_ms == 0 => 0,
            _ => self.cap_ms,
        }
    }
}

/// One output of SplitMix64 (Steele, Lea and Flood 2014) for the state `seed`.
pub(crate) fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
