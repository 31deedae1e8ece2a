//! One resource: what it allows, what is in use, and who waits.

use super::bucket::Bucket;
use super::line::{Kind, Line};
use crate::config::Charge;
use crate::rules::Rules;
use crate::{Band, Limit};

#[derive(Debug)]
pub(super) struct Resource {
    /// The one around it, or `NONE`.
    pub(super) parent: u32,
    /// How many there are from here to the outermost.
    pub(super) depth: u8,
    concurrency: Option<u32>,
    pub(super) n_held: u32,
    /// Queues and domains that name it, and resources below it.
    pub(super) n_users: u32,
    pub(super) permits: Line,
    pub(super) throttle: Option<Box<Throttle>>,
    /// When it is to be looked at.
    pub(super) armed_ns: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Throttle {
    /// `None` once the rate was lifted: then whoever waits is let go.
    pub(super) bucket: Option<Bucket>,
    pub(super) line: Line,
}

impl Resource {
    pub(super) const fn new(parent: u32, depth: u8) -> Self {
        Self {
            parent,
            depth,
            concurrency: None,
            n_held: 0,
            n_users: 0,
            permits: Line::EMPTY,
            throttle: None,
            armed_ns: None,
        }
    }

    pub(super) const fn concurrency(&self) -> Option<u32> {
        self.concurrency
    }

    /// Puts another limit in force. Who waits is to be looked at afterwards.
    pub(super) fn set(&mut self, limit: Limit, now_ns: u64, take: u64, rules: Rules) {
        self.concurrency = limit.concurrency;
        let Some(throttle) = &mut self.throttle else {
            let line = |rate| {
                let bucket = Some(Bucket::new(rate, now_ns, take, rules));
                Box::new(Throttle { bucket, line: Line::EMPTY })
            };
            self.throttle = limit.rate.map(line);
            return;
        };
        match (&mut throttle.bucket, limit.rate) {
            (Some(bucket), Some(rate)) => {
                bucket.refill(now_ns);
                bucket.change(rate, take);
            }
            (bucket, rate) => {
                *bucket = rate.map(|rate| Bucket::new(rate, now_ns, take, rules));
            }
        }
    }

    pub(super) fn bucket(&mut self) -> Option<&mut Bucket> {
        self.throttle.as_mut()?.bucket.as_mut()
    }

    /// How many tokens something of this cost takes.
    pub(super) fn n_tokens(&self, cost: u32) -> u32 {
        let bucket = self.throttle.as_ref().and_then(|throttle| throttle.bucket.as_ref());
        match bucket.map(|bucket| bucket.rate().charge) {
            Some(Charge::Cost) => cost,
            Some(Charge::Entries) => 1,
            None => 0,
        }
    }

    /// What is missing for one more of this cost, if anything is. `own` was promised to who asks, and then
    /// it does not stand behind those who wait.
    pub(super) fn lacks(
        &self,
        band: Band,
        cost: u32,
        own: [Option<u64>; 2],
        barges: bool,
    ) -> Option<Kind> {
        let [own_permit, own_tokens] = own;
        let is_behind = |line: &Line, own: Option<u64>| {
            own.is_none() && line.has_waiters_up_to(band) && !barges
        };
        let promised = |line: &Line, own: Option<u64>| {
            let promised = line.promised_up_to(band).saturating_sub(own.unwrap_or(0));
            if barges { 0 } else { promised }
        };
        if !self.has_permit(promised(&self.permits, own_permit))
            || is_behind(&self.permits, own_permit)
        {
            return Some(Kind::Permits);
        }
        let throttle = self.throttle.as_ref()?;
        let bucket = throttle.bucket.as_ref()?;
        let n_promised = promised(&throttle.line, own_tokens);
        let has_tokens = bucket.has(u64::from(self.n_tokens(cost)), n_promised);
        (!has_tokens || is_behind(&throttle.line, own_tokens)).then_some(Kind::Tokens)
    }

    /// Something is promised to a waiter, or no longer: a permit, and so many tokens.
    pub(super) fn promise(&mut self, band: Band, promised: [Option<u64>; 2], comes: bool) {
        let [permit, tokens] = promised;
        let count = |line: &mut Line, amount: Option<u64>| {
            let sum = &mut line.promised[band.index()];
            let amount = amount.unwrap_or(0);
            *sum = if comes { *sum + amount } else { *sum - amount };
        };
        count(&mut self.permits, permit);
        if let Some(throttle) = &mut self.throttle {
            count(&mut throttle.line, tokens);
        }
    }

    /// Whether there is one permit more than were promised.
    pub(super) fn has_permit(&self, n_promised: u64) -> bool {
        let used = u64::from(self.n_held) + n_promised;
        self.concurrency.is_none_or(|limit| used < u64::from(limit))
    }

    pub(super) fn line_mut(&mut self, kind: Kind) -> &mut Line {
        match kind {
            Kind::Permits => &mut self.permits,
            Kind::Tokens => {
                &mut self.throttle.as_mut().expect("who waits for tokens waits at a throttle").line
            }
        }
    }
}
