//! What owners choose: weights, bands, rates, limits.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::{Invalid, ResourceId};

/// The greatest weight.
pub(crate) const WEIGHT_MAX: u32 = 1_000_000;
/// The longest period of a rate, in nanoseconds: a day.
pub(crate) const PER_NS_MAX: u64 = 86_400_000_000_000;

/// How much of a domain's service a queue gets, in proportion to the others: from 1 to 1,000,000.
///
/// ```
/// use millpond_scheduler::{Invalid, Weight};
///
/// assert_eq!(Weight::new(3)?.get(), 3);
/// assert_eq!(Weight::new(0), Err(Invalid::Weight));
/// # Ok::<(), Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(NonZeroU32);

impl Weight {
    /// The weight of a queue of which nothing else is said.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// # Errors
    ///
    /// [`Invalid::Weight`] for 0 and for more than 1,000,000.
    pub const fn new(weight: u32) -> Result<Self, Invalid> {
        match NonZeroU32::new(weight) {
            Some(valid) if weight <= WEIGHT_MAX => Ok(Self(valid)),
            _ => Err(Invalid::Weight),
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

/// A class of queues that is served before all classes after it: from 0, the first, to 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Band(u8);

impl Band {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// Served before the others.
    pub const FIRST: Self = Self(0);
    /// Served after the others.
    pub const LAST: Self = Self(3);
    /// All of them, in the order in which they are served.
    pub const ALL: [Self; Self::COUNT] = [Self(0), Self(1), Self(2), Self(3)];

    /// # Errors
    ///
    /// [`Invalid::Band`] if there are not that many.
    pub const fn new(band: u8) -> Result<Self, Invalid> {
        if band <= Self::LAST.0 { Ok(Self(band)) } else { Err(Invalid::Band) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a scheduler is told about a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueOptions {
    /// A number of the owner's, given back with every pick: the slot where it keeps the queue.
    pub owner_slot: u32,
    /// Its share among the queues of its band.
    pub weight: Weight,
    /// Its class.
    pub band: Band,
    /// The innermost resource it is subject to: its own, or else that of its tenant.
    pub resource: Option<ResourceId>,
}

/// What is the same for all queues of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerOptions {
    pub(crate) quantum: u32,
    pub(crate) ageing: Option<NonZeroU32>,
    pub(crate) resource: Option<ResourceId>,
}

impl SchedulerOptions {
    /// A quantum of one unit of cost: right where every entry costs 1.
    #[must_use]
    pub const fn new() -> Self {
        Self { quantum: 1, ageing: None, resource: None }
    }

    /// How much a queue of weight 1 may use up in a turn, in units of cost.
    ///
    /// A pick takes constant time if no head costs more than this. Otherwise it visits a queue as many
    /// times as quanta are missing.
    ///
    /// # Errors
    ///
    /// [`Invalid::Quantum`] for 0.
    pub const fn quantum(mut self, cost: u32) -> Result<Self, Invalid> {
        if cost == 0 {
            return Err(Invalid::Quantum);
        }
        self.quantum = cost;
        Ok(self)
    }

    /// A band that could have been served and was passed over by so many picks in a row gets the next one.
    /// Without it bands are strict, and a low one may wait for ever.
    ///
    /// # Errors
    ///
    /// [`Invalid::Ageing`] for 0.
    pub const fn ageing(mut self, n_picks: u32) -> Result<Self, Invalid> {
        self.ageing = NonZeroU32::new(n_picks);
        if self.ageing.is_none() { Err(Invalid::Ageing) } else { Ok(self) }
    }

    /// The innermost resource that the domain as a whole is subject to.
    #[must_use]
    pub const fn resource(mut self, resource: ResourceId) -> Self {
        self.resource = Some(resource);
        self
    }
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What a pick takes out of a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Charge {
    /// One token.
    #[default]
    Entries,
    /// As many tokens as the head costs.
    Cost,
}

/// A token bucket: so many tokens per period, of which at most a burst is saved up.
///
/// ```
/// use std::time::Duration;
/// use millpond_scheduler::{Invalid, Rate};
///
/// let per_second = Rate::new(100, Duration::from_secs(1), 20)?;
/// assert_eq!(Rate::new(100, Duration::from_secs(1), 0), Err(Invalid::RateWithoutBurst));
/// # Ok::<(), Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub(crate) n_tokens: u32,
    pub(crate) per_ns: u64,
    pub(crate) burst: u32,
    pub(crate) charge: Charge,
}

impl Rate {
    /// `n_tokens` every `per`, and at most `burst` of them saved up. A new bucket is full.
    ///
    /// # Errors
    ///
    /// [`Invalid::RateOfNothing`], [`Invalid::RatePeriod`] unless `per` is from 1 ns to a day, and
    /// [`Invalid::RateWithoutBurst`].
    pub const fn new(n_tokens: u32, per: Duration, burst: u32) -> Result<Self, Invalid> {
        let per_ns = per.as_nanos();
        if n_tokens == 0 {
            return Err(Invalid::RateOfNothing);
        }
        if per_ns == 0 || per_ns > PER_NS_MAX as u128 {
            return Err(Invalid::RatePeriod);
        }
        if burst == 0 {
            return Err(Invalid::RateWithoutBurst);
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most PER_NS_MAX, as just checked")]
        let per_ns = per_ns as u64;
        Ok(Self { n_tokens, per_ns, burst, charge: Charge::Entries })
    }

    /// The same rate, counted in another way.
    #[must_use]
    pub const fn charged_by(mut self, charge: Charge) -> Self {
        self.charge = charge;
        self
    }
}

/// What a resource allows. The default allows everything, and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    pub(crate) concurrency: Option<u32>,
    pub(crate) rate: Option<Rate>,
}

impl Limit {
    /// Allows everything, and counts.
    #[must_use]
    pub const fn none() -> Self {
        Self { concurrency: None, rate: None }
    }

    /// At most so many permits at the same time. 0 means paused.
    #[must_use]
    pub const fn concurrency(mut self, n_permits: u32) -> Self {
        self.concurrency = Some(n_permits);
        self
    }

    /// At most so much per time.
    #[must_use]
    pub const fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }
}
