//! The limits of an inbox together with the batch it has reached.

use crate::Limits;

/// [`Limits`] and the current batch, in eight bytes. Side by side in the inbox they would take ten, and an
/// inbox of 16-byte keys and values would outgrow its cache line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizing {
    capacity: u16,
    overlay_max: u16,
    low_mark: u8,
    pub(crate) batch_min: u8,
    pub(crate) batch_max: u8,
    /// Always from `batch_min` to `batch_max`.
    pub(crate) batch: u8,
}

impl Sizing {
    pub(crate) const fn new(limits: Limits) -> Self {
        let Limits { capacity, overlay_max, low_mark, batch_min, batch_max } = limits;
        Self { capacity, overlay_max, low_mark, batch_min, batch_max, batch: batch_min }
    }

    pub(crate) const fn limits(&self) -> Limits {
        let Self { capacity, overlay_max, low_mark, batch_min, batch_max, batch: _ } = *self;
        Limits { capacity, overlay_max, low_mark, batch_min, batch_max }
    }

    /// How many rows the next refill asks for, from `batch_min` to `batch_max`.
    pub(crate) fn batch(&self) -> usize {
        usize::from(self.batch)
    }

    /// How many items a refill may leave in the window: its batch where that exceeds the capacity.
    pub(crate) fn filled(&self) -> usize {
        usize::from(self.capacity.max(u16::from(self.batch)))
    }
}
