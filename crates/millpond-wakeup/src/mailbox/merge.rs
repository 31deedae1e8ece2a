use super::MailboxOwner;
use crate::{Drained, Due, Nanos, Schedule};

/// What one turn of a loop handles: a message, or a timer that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<T, V> {
    /// Somebody left it in the mailbox.
    Message(T),
    /// Its time has come.
    Due(Due<V>),
}

/// The share of due timers in a merged drain.
#[derive(Debug)]
pub struct DueShare<'a, S> {
    /// Where they come from: [`Timers`](crate::Timers) or [`Wakeups`](crate::Wakeups).
    pub schedule: &'a mut S,
    /// The time, as the scheduler counts it.
    pub now: Nanos,
    /// Most timers that one drain takes.
    pub share: usize,
    /// The class of messages before which they come: 0 makes them the most urgent of all, and the number of
    /// classes the least.
    pub before: usize,
}

impl<T, const N: usize> MailboxOwner<T, N> {
    /// Appends to `out` up to `shares[class]` messages of each class and up to [`DueShare::share`] due timers,
    /// the most urgent first, and clears the notification. Never waits. Says how many timers it took, and
    /// whether more are due.
    ///
    /// Timers are one more class as far as guarantees go: one with `n` timers before it is taken by drain
    /// number `n / share + 1` after its deadline, whatever floods the mailbox, and a flood of timers keeps no
    /// message back.
    ///
    /// ```
    /// use millpond_wakeup::mailbox::{DueShare, Event, UNBOUNDED, mailbox};
    /// use millpond_wakeup::{Nanos, Timers};
    ///
    /// let (sender, mut owner) = mailbox::<&str, 2>([UNBOUNDED, 1024]);
    /// let mut timers = Timers::new(1_000);
    /// timers.insert(Nanos::from_millis(5), "flush")?;
    /// for _ in 0..100 {
    ///     sender.push::<0>("control")?;
    ///     sender.push::<1>("data")?;
    /// }
    ///
    /// let due = DueShare { schedule: &mut timers, now: Nanos::from_millis(7), share: 16, before: 1 };
    /// let mut turn = Vec::new();
    /// let drained = owner.drain_merged(&mut turn, [1, 2], due);
    /// assert!(drained.n_due == 1 && !drained.more);
    /// let turn: Vec<_> = turn
    ///     .into_iter()
    ///     .map(|event| match event {
    ///         Event::Message(message) => message,
    ///         Event::Due(due) => due.value,
    ///     })
    ///     .collect();
    /// assert_eq!(turn, ["control", "flush", "data", "data"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Sleep until [`Schedule::next_deadline`] before the next one: a deadline that has passed ends
    /// [`wait`](Self::wait) at once.
    pub fn drain_merged<S: Schedule>(
        &mut self,
        out: &mut impl Extend<Event<T, S::Value>>,
        shares: [usize; N],
        due: DueShare<'_, S>,
    ) -> Drained {
        let DueShare { schedule, now, share, before } = due;
        let first = std::array::from_fn(|class| if class < before { shares[class] } else { 0 });
        let rest = std::array::from_fn(|class| shares[class] - first[class]);
        self.take(first, |messages| out.extend(messages.map(Event::Message)));
        let mut n_due = 0;
        out.extend(std::iter::from_fn(|| {
            let due = if n_due < share { schedule.pop_due(now) } else { None };
            n_due += usize::from(due.is_some());
            due.map(Event::Due)
        }));
        self.take(rest, |messages| out.extend(messages.map(Event::Message)));
        let next = schedule.next_deadline();
        Drained { n_due, more: next.is_some_and(|deadline| deadline <= now) }
    }
}
