//! The model: what is held and taken, counted in the plainest way.

/// A token bucket as its definition: all takes, and the level by going through them.
#[derive(Debug, Clone)]
pub(crate) struct ModelBucket {
    pub(crate) n_tokens: i128,
    pub(crate) per_ns: i128,
    pub(crate) burst: i128,
    start: (u64, i128),
    /// Number, time, tokens.
    takes: Vec<(u64, u64, i128)>,
}

impl ModelBucket {
    pub(crate) fn new(n_tokens: u32, per_ns: u64, burst: u32, now_ns: u64) -> Self {
        let (per_ns, burst) = (i128::from(per_ns), i128::from(burst));
        let start = (now_ns, burst * per_ns);
        Self { n_tokens: i128::from(n_tokens), per_ns, burst, start, takes: Vec::new() }
    }

    pub(super) fn empty_since(n_tokens: u32, per_ns: u64, burst: u32, at_ns: u64) -> Self {
        Self { start: (at_ns, 0), ..Self::new(n_tokens, per_ns, burst, at_ns) }
    }

    pub(super) const fn full(&self) -> i128 {
        self.burst * self.per_ns
    }

    /// The bucket that has its tokens from now on; this one keeps none.
    pub(super) fn hand_over(&mut self, now_ns: u64) -> Self {
        self.forget_takes(now_ns);
        let heir = self.clone();
        self.start.1 = self.start.1.min(0);
        heir
    }

    pub(crate) fn take(&mut self, number: u64, now_ns: u64, n_tokens: u32) {
        self.takes.push((number, now_ns, i128::from(n_tokens)));
    }

    /// The world in which it was never taken.
    pub(crate) fn refund(&mut self, number: u64) {
        self.takes.retain(|(of, ..)| *of != number);
    }

    pub(crate) fn level(&self, now_ns: u64) -> i128 {
        let (mut at_ns, mut level) = self.start;
        let refilled = |level: i128, from: u64, to: u64| {
            (level + i128::from(to - from) * self.n_tokens).min(self.burst * self.per_ns)
        };
        for (_, take_ns, n_tokens) in &self.takes {
            level = refilled(level, at_ns, *take_ns) - n_tokens * self.per_ns;
            at_ns = *take_ns;
        }
        refilled(level, at_ns, now_ns)
    }

    /// Nothing that was taken so far is refunded any more.
    pub(crate) fn forget_takes(&mut self, now_ns: u64) {
        self.start = (now_ns, self.level(now_ns));
        self.takes.clear();
    }
}

#[derive(Debug)]
pub(super) struct ModelResource {
    pub(super) parent: Option<usize>,
    pub(super) concurrency: Option<u32>,
    /// Tokens per period and burst, unless its rate is lifted.
    pub(super) rate: Option<(u32, u32)>,
    pub(super) bucket: Option<ModelBucket>,
    pub(super) n_held: u32,
}

impl ModelResource {
    pub(super) fn lacks(&self, now_ns: u64) -> bool {
        let has_permit = self.concurrency.is_none_or(|limit| self.n_held < limit);
        let has_token =
            self.bucket.as_ref().is_none_or(|bucket| bucket.level(now_ns) >= bucket.per_ns);
        !has_permit || !has_token
    }
}
