//! The first few of many, without keeping the many.

/// Of all items that were pushed, those with the lowest keys.
#[derive(Debug)]
pub(super) struct Lowest<K, T> {
    n_max: usize,
    items: Vec<(K, T)>,
}

impl<K: Ord, T> Lowest<K, T> {
    pub(super) fn new(n_max: usize) -> Self {
        Self { n_max, items: Vec::new() }
    }

    pub(super) fn push(&mut self, key: K, item: T) {
        self.items.push((key, item));
        // Rarely, so that it costs little; what is kept stays below twice what is wanted.
        if self.items.len() >= self.n_max.saturating_mul(2).max(64) {
            self.cut();
        }
    }

    /// The items in the order of their keys; of equal keys, the first that was pushed comes first.
    pub(super) fn into_sorted(mut self) -> Vec<T> {
        self.cut();
        self.items.into_iter().map(|(_, item)| item).collect()
    }

    fn cut(&mut self) {
        self.items.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.items.truncate(self.n_max);
    }
}

#[cfg(test)]
mod tests {
    use super::Lowest;

    #[test]
    fn the_lowest_are_kept_in_order() {
        for n_max in [0, 1, 2, 31, 32, 33, 64, 1000, usize::MAX] {
            let mut lowest = Lowest::new(n_max);
            // 7 has no factor in common with 1000: every key twice, in an odd order.
            for n in 0..1000_u32 {
                lowest.push(n * 7 % 1000 / 2, n);
                assert!(lowest.items.len() <= n_max.saturating_mul(2).max(64));
            }
            let mut all: Vec<u32> = (0..1000).collect();
            all.sort_by_key(|n| n * 7 % 1000 / 2);
            all.truncate(n_max);
            assert_eq!(lowest.into_sorted(), all, "{n_max}");
        }
    }
}
