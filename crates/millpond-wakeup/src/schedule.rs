use std::hash::{BuildHasher, Hash};

use crate::{Drained, Due, Nanos, Pending, Timers, Wakeups};

/// What [`Timers`] and [`Wakeups`] have in common, for code that drives either.
///
/// The methods are those of the two, under the same names. It cannot be implemented elsewhere.
pub trait Schedule: sealed::Sealed {
    /// What a timer carries: the value, or the key.
    type Value;

    /// The earliest deadline.
    fn next_deadline(&self) -> Option<Nanos>;

    /// Takes out the first timer, if it is due.
    fn pop_due(&mut self, now: Nanos) -> Option<Due<Self::Value>>;

    /// Moves what is due to the end of `batch`, in order, `budget` timers at most.
    fn drain_due(
        &mut self,
        now: Nanos,
        budget: usize,
        batch: &mut Vec<Due<Self::Value>>,
    ) -> Drained;

    /// Removes all timers and returns them in the order in which they would have fired.
    fn clear(&mut self) -> Pending<Self::Value>;

    /// Stops accepting timers, for ever, and returns those that have not fired.
    fn shutdown(&mut self) -> Pending<Self::Value>;

    /// Whether it was shut down.
    fn is_shut_down(&self) -> bool;

    /// Timers that are pending.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "that is how a trait is sealed")]
    pub trait Sealed {}
}

macro_rules! schedule {
    ([$($parameters:tt)*] $scheduler:ty, $value:ident) => {
        impl<$($parameters)*> sealed::Sealed for $scheduler {}

        impl<$($parameters)*> Schedule for $scheduler {
            type Value = $value;

            fn next_deadline(&self) -> Option<Nanos> {
                self.next_deadline()
            }

            fn pop_due(&mut self, now: Nanos) -> Option<Due<$value>> {
                self.pop_due(now)
            }

            fn drain_due(
                &mut self,
                now: Nanos,
                budget: usize,
                batch: &mut Vec<Due<$value>>,
            ) -> Drained {
                self.drain_due(now, budget, batch)
            }

            fn clear(&mut self) -> Pending<$value> {
                self.clear()
            }

            fn shutdown(&mut self) -> Pending<$value> {
                self.shutdown()
            }

            fn is_shut_down(&self) -> bool {
                self.is_shut_down()
            }

            fn len(&self) -> usize {
                self.len()
            }
        }
    };
}

schedule!([T] Timers<T>, T);
schedule!([K: Hash + Eq, S: BuildHasher] Wakeups<K, S>, K);
