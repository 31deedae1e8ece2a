//! The mixed load of a worker: several tasks that enqueue, lease, settle, replay, drop, purge, and make rules
//! and withdraw them, each by its own seed.

use millpond_sync::Arc;
use millpond_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::task::JoinSet;

use crate::actor::{Actor, Held, Sink, Source, Stop, now_ms};
use crate::event::{Action, DeadAction, Nacked, Start, queues};
use crate::random::Random;
use crate::rules::{RuleScope, Says};

/// Entries that a store may hold before the tasks prefer to consume.
const ENTRIES_WANTED: u64 = 800;
/// Leases that one task holds before it prefers to settle.
const HELD_MAX: usize = 60;
/// One call in so many is a purge.
const CALLS_PER_PURGE: usize = 500;
/// One call in so many makes a rule.
const CALLS_PER_RULE: usize = 60;
const PRIORITIES: [u8; 5] = [0, 3, 128, 128, 255];
/// Most entries wait for less than this, in milliseconds.
const SOON_MS: usize = 300;
/// The others wait for longer than any test, in milliseconds.
const LATE_MS: u64 = 3600 * 1000;
/// A failed attempt is followed by the next one after less than this, in milliseconds.
const RETRY_MS: usize = 100;
/// Dead letters that one task remembers before it prefers to settle them.
const DEAD_MAX: usize = 20;

/// What the tasks of a load share.
#[derive(Debug)]
pub struct Control {
    n_enqueued: AtomicU64,
    n_removed: AtomicU64,
    stopping: AtomicBool,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            n_enqueued: AtomicU64::new(0),
            n_removed: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        }
    }
}

impl Control {
    /// Every task ends after the call that it is in.
    pub fn stop(&self) {
        // Relaxed: it guards no data.
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the store holds more than is wanted. Entries of earlier lives do not count.
    fn is_full(&self) -> bool {
        // Relaxed: a wish, it guards no data.
        let n_enqueued = self.n_enqueued.load(Ordering::Relaxed);
        n_enqueued > self.n_removed.load(Ordering::Relaxed) + ENTRIES_WANTED
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Runs `n_tasks` tasks of up to `n_calls` calls each. Ends early when the engine or the sink stops, or on
/// [`Control::stop`].
///
/// # Errors
///
/// Why it ended early.
///
/// # Panics
///
/// When a task does.
pub async fn run<S: Sink>(
    actor: &Actor<S>,
    control: &Arc<Control>,
    seed: u64,
    n_tasks: u8,
    n_calls: u64,
) -> Result<(), Stop<S::Stop>> {
    let mut tasks = JoinSet::new();
    for task in 0..n_tasks {
        let random = Random::part(seed, u64::from(task) + 1);
        let task = Task {
            actor: actor.clone(),
            control: control.clone(),
            random,
            held: Vec::new(),
            dead: Vec::new(),
            scopes: RuleScope::all().skip(task.into()).step_by(n_tasks.into()).collect(),
        };
        tasks.spawn(task.run(n_calls));
    }
    let mut ended = Ok(());
    while let Some(task) = tasks.join_next().await {
        let outcome = task.expect("a task of the load panicked");
        if outcome.is_err() {
            control.stop();
        }
        ended = ended.and(outcome);
    }
    ended
}

struct Task<S> {
    actor: Actor<S>,
    control: Arc<Control>,
    random: Random,
    held: Vec<Held>,
    /// Dead letters, with the numbers of their queues.
    dead: Vec<(u32, Held)>,
    /// No other task makes rules about these.
    scopes: Vec<RuleScope>,
}

impl<S: Sink> Task<S> {
    async fn run(mut self, n_calls: u64) -> Result<(), Stop<S::Stop>> {
        for _ in 0..n_calls {
            if self.control.is_stopping() {
                break;
            }
            let choice = self.random.below(if self.control.is_full() { 50 } else { 100 });
            match choice {
                _ if self.random.below(CALLS_PER_PURGE) == 0 => self.purge().await?,
                _ if self.random.below(CALLS_PER_RULE) == 0 => self.rule().await?,
                _ if self.held.len() > HELD_MAX => self.settle().await?,
                _ if self.dead.len() > DEAD_MAX => self.dead_letter().await?,
                0..20 => self.lease().await?,
                20..22 if !self.dead.is_empty() => self.dead_letter().await?,
                20..50 => self.settle().await?,
                50..85 => self.enqueue(1).await?,
                _ => {
                    let n = 2 + self.random.below(18);
                    self.enqueue(n).await?;
                }
            }
        }
        Ok(())
    }

    fn queue(&mut self) -> u32 {
        // Half of the load goes to a few queues, so that some are deep.
        let bound = if self.random.percent(50) { 4 } else { queues::N_QUEUES as usize };
        u32::try_from(self.random.below(bound)).expect("there are few queues")
    }

    fn start(&mut self) -> Start {
        if self.random.percent(75) {
            return Start::Now;
        }
        let ms = match self.random.below(20) {
            0 => LATE_MS,
            // One batch has several that are due at the same moment.
            1..10 => 50,
            _ => self.random.below(SOON_MS) as u64,
        };
        if self.random.percent(50) { Start::After(ms) } else { Start::At(now_ms() + ms) }
    }

    async fn enqueue(&mut self, n: usize) -> Result<(), Stop<S::Stop>> {
        let queue = self.queue();
        let wanted: Vec<(u8, Start)> =
            (0..n).map(|_| (*self.random.one_of(&PRIORITIES), self.start())).collect();
        self.actor.enqueue(queue, &wanted).await?;
        // Relaxed: a wish, it guards no data.
        self.control.n_enqueued.fetch_add(n as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn lease(&mut self) -> Result<(), Stop<S::Stop>> {
        let source = if self.random.percent(40) {
            Source::Queue(self.queue())
        } else {
            Source::Topic(queues::TOPICS[self.random.below(queues::TOPICS.len())])
        };
        let n_max = 1 + self.random.below(8);
        let long = !self.random.percent(10);
        let held = self.actor.lease(source, n_max, long).await?;
        self.held.extend(held);
        Ok(())
    }

    /// Whoever holds leases of the queue, this task too, will learn of it when settling.
    async fn purge(&mut self) -> Result<(), Stop<S::Stop>> {
        let queue = self.queue();
        let n = self.actor.purge(queue).await?;
        // Relaxed: a wish, it guards no data.
        self.control.n_removed.fetch_add(n, Ordering::Relaxed);
        Ok(())
    }

    async fn rule(&mut self) -> Result<(), Stop<S::Stop>> {
        let scope = *self.random.one_of(&self.scopes);
        let says = Says::choose(&mut self.random, scope);
        self.actor.rule(scope, says).await
    }

    async fn settle(&mut self) -> Result<(), Stop<S::Stop>> {
        if self.held.is_empty() {
            return self.lease().await;
        }
        let index = self.random.below(self.held.len());
        let action = choose(&mut self.random);
        let held = self.held[index];
        let nacked = self.actor.settle(held, action).await?;
        if action != Action::Extend {
            self.held.swap_remove(index);
        }
        if nacked == Some(Nacked::Dead) {
            let of_entry = |queue: &u32| queues::id(*queue) == held.id.queue;
            let queue = (0..queues::N_QUEUES).find(of_entry).expect("it was leased by its queue");
            self.dead.push((queue, held));
        }
        if action == Action::Ack {
            self.control.n_removed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn dead_letter(&mut self) -> Result<(), Stop<S::Stop>> {
        let (queue, held) = self.dead.swap_remove(self.random.below(self.dead.len()));
        let replays = self.random.percent(60);
        let action = if replays { DeadAction::Replay } else { DeadAction::Drop };
        let is_done = self.actor.dead_letter(held.marker, queue, held.id, action).await?;
        if is_done && action == DeadAction::Drop {
            // Relaxed: a wish, it guards no data.
            self.control.n_removed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// What becomes of a lease.
pub(crate) fn choose(random: &mut Random) -> Action {
    match random.below(100) {
        0..62 => Action::Ack,
        62..76 => Action::Nack,
        76..82 => Action::NackAfter(random.below(RETRY_MS) as u64),
        82..86 => Action::Reject,
        _ => Action::Extend,
    }
}
