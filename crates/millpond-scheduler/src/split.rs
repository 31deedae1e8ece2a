//! The credits of a consumer among several schedulers.

use crate::rules::{Mutation, Rules};

/// Greater weights count as this one.
const WEIGHT_MAX: u64 = 1 << 40;
/// Bits of a carry behind the point: what is lost when a weight changes is less than 2^-16 of a credit.
const CARRY_BITS: u32 = 16;

/// Divides credits among parts in proportion to weights that may change at every call, in whole numbers.
///
/// It is for a consumer whose credits go to several [schedulers](crate::Scheduler), in proportion to
/// their [`eligible_weight`](crate::Scheduler::eligible_weight). One is kept for as long as there are credits to
/// divide: what rounding keeps from a part in one call comes to it in a later one.
///
/// ```
/// use millpond_scheduler::Split;
///
/// let mut split = Split::new(3);
/// let (mut shares, mut totals) = (Vec::new(), [0; 3]);
/// for _ in 0..100 {
///     split.share_out(1, &[5, 3, 2], &mut shares);
///     for (total, share) in totals.iter_mut().zip(&shares) {
///         *total += share;
///     }
/// }
/// assert_eq!(totals, [50, 30, 20]);
/// ```
///
/// # How it divides
///
/// The parts are the leaves of a binary tree. At each node credits go to the left and to the right in proportion to
/// the weights below; the fraction of a credit that is left of a division is carried to the next one at that
/// node. While weights stay the same, a node is less than one credit away from the exact proportion, over
/// any run of calls. A part has at most ⌈log₂ parts⌉ nodes above it, therefore
///
/// * over any run of calls with the same weights, each part's total differs from `total * weight / sum of weights`
///   by less than ⌈log₂ parts⌉ credits (by nothing if there is one part), however long it is;
/// * a carry is less than one credit, so a part banks nothing while its weight is 0.
///
/// Weights that change at every call are followed at each node as exactly, by what arrives there. With more than two
/// parts, a pattern of weights that repeats in step with the rounding above can shift shares by a few percent.
#[derive(Debug, Clone)]
pub struct Split {
    n_parts: usize,
    /// A heap: the root is at 1, the children of `at` are at `2 * at` and `2 * at + 1`, and the parts are the
    /// second half.
    nodes: Vec<Node>,
    /// Parts that could not use what they got last.
    sated: Vec<bool>,
    rules: Rules,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    /// Of all parts below.
    weight: u64,
    /// Credits for the parts below, of this call.
    n_credits: u32,
    /// The weight when the carry was left.
    carry_weight: u64,
    /// What was left of the last division, in credits times weight, shifted by [`CARRY_BITS`]. Less than one
    /// credit.
    carry: u128,
}

impl Split {
    /// Nothing was divided among these parts yet.
    #[must_use]
    pub fn new(n_parts: u16) -> Self {
        Self::with_rules(n_parts, Rules::SHIPPED)
    }

    pub(crate) fn with_rules(n_parts: u16, rules: Rules) -> Self {
        let n_parts = usize::from(n_parts);
        let nodes = vec![Node::default(); 2 * n_parts.next_power_of_two()];
        Self { n_parts, nodes, sated: vec![false; n_parts], rules }
    }

    /// Divides `n` credits: `out` is filled with one share per part, and they add up to `n`; all are 0 if all
    /// weights are. Takes time in proportion to the number of parts.
    ///
    /// Parts for which there is no weight weigh nothing, weights for which there is no part are ignored, and a weight
    /// above 2^40 counts as 2^40.
    pub fn share_out(&mut self, n: u32, weights: &[u64], out: &mut Vec<u32>) {
        out.clear();
        out.resize(self.n_parts, 0);
        self.weigh(weights, true);
        if self.nodes[1].weight == 0 {
            self.weigh(weights, false);
        }
        if n == 0 || self.nodes[1].weight == 0 {
            return;
        }
        self.sated.fill(false);
        self.nodes[1].n_credits = n;
        let n_leaves = self.nodes.len() / 2;
        for at in 1..n_leaves {
            let n_left = self.divide(at);
            let n_right = self.nodes[at].n_credits - n_left;
            self.nodes[2 * at].n_credits = n_left;
            self.nodes[2 * at + 1].n_credits = n_right;
        }
        for (share, leaf) in out.iter_mut().zip(&self.nodes[n_leaves..]) {
            *share = leaf.n_credits;
        }
    }

    /// A part could not use `n` of the credits it got. They are the caller's again, to be shared out with the
    /// next ones. The part is not owed them, and is passed over by the next call that shares
    /// anything out, unless no other part weighs anything: it would get the same ones again.
    ///
    /// A part that does not exist, or 0 credits, change nothing.
    pub fn unused(&mut self, part: usize, n: u32) {
        if n > 0
            && let Some(sated) = self.sated.get_mut(part)
        {
            *sated = !self.rules.lacks(Mutation::SplitInsists);
        }
    }

    /// Adds the weights up, from the parts to the root.
    fn weigh(&mut self, weights: &[u64], passes_over: bool) {
        let n_leaves = self.nodes.len() / 2;
        for (part, leaf) in self.nodes[n_leaves..].iter_mut().enumerate() {
            let weight = weights.get(part).copied().unwrap_or(0).min(WEIGHT_MAX);
            let counts = self.sated.get(part).is_some_and(|sated| !(passes_over && *sated));
            leaf.weight = if counts { weight } else { 0 };
        }
        for at in (1..n_leaves).rev() {
            self.nodes[at].weight = self.nodes[2 * at].weight + self.nodes[2 * at + 1].weight;
        }
    }

    /// How many of a node's credits go to the left.
    fn divide(&mut self, at: usize) -> u32 {
        let left = self.nodes[2 * at].weight;
        let node = &mut self.nodes[at];
        // Without credits, or with one side only, nothing is rounded and the carry stays what it is.
        if node.n_credits == 0 || left == 0 {
            return 0;
        }
        if left == node.weight {
            return node.n_credits;
        }
        if node.carry_weight != node.weight {
            let before = u128::from(node.carry_weight.max(1));
            node.carry = node.carry * u128::from(node.weight) / before;
            node.carry_weight = node.weight;
        }
        // At most 2^32 credits, 2^16 parts of 2^40 and the bits of the carry: 104 bits. And above, a
        // carry below 2^72 times a weight of 2^56: below 2^128.
        let whole = u128::from(node.weight) << CARRY_BITS;
        let due = ((u128::from(node.n_credits) * u128::from(left)) << CARRY_BITS) + node.carry;
        node.carry = if self.rules.lacks(Mutation::SplitForgets) { 0 } else { due % whole };
        u32::try_from(due / whole).expect("a part of the credits, and a carry below one")
    }
}
