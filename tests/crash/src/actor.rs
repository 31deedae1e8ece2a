//! Calls to an engine, each with its intent before and its receipt after it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millpond::{Delivery, Engine, Entry, EntryId, Error, ErrorKind, Nack, Purged, Scope};
use millpond_sync::Arc;
use millpond_sync::atomic::{AtomicU64, Ordering};

use crate::event::{
    Action, DeadAction, Event, Granted, LONG_LEASE, Marker, Nacked, NewEntry, OpId, SHORT_LEASE,
    Start, Token, queues,
};
use crate::payload::{marker_of, payload};
use crate::rules::{RuleScope, Says};

/// A call that has no answer by then has none: the engine hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Where events go.
pub trait Sink: Send + Sync + 'static {
    /// Why nothing more should be done.
    type Stop: Send + 'static;

    /// Takes one event; when this returns, the event survives the death of the process.
    ///
    /// # Errors
    ///
    /// Nobody listens any more, or what was said breaks a promise.
    fn say(&self, event: &Event) -> Result<(), Self::Stop>;
}

/// Why an actor can do no more.
#[derive(Debug)]
pub enum Stop<S> {
    /// The sink does not want more.
    Sink(S),
    /// The engine has stopped, or hangs.
    Engine(ErrorKind),
}

/// An entry under lease.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// The entry, by its payload.
    pub marker: Marker,
    /// The entry.
    pub id: EntryId,
    /// The lease.
    pub token: Token,
}

/// Calls an engine and tells a sink. Clones share their numbering.
pub struct Actor<S> {
    engine: Engine,
    sink: Arc<S>,
    next_op: Arc<AtomicU64>,
    early_receipts: bool,
}

impl<S> Clone for Actor<S> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            sink: self.sink.clone(),
            next_op: self.next_op.clone(),
            early_receipts: self.early_receipts,
        }
    }
}

type Outcome<T, S> = Result<T, Stop<<S as Sink>::Stop>>;

impl<S: Sink> Actor<S> {
    /// Its calls are numbered from `life · 2³²`: lives must differ.
    pub fn new(engine: Engine, sink: Arc<S>, life: u16) -> Self {
        let next_op = Arc::new(AtomicU64::new(u64::from(life) << 32));
        Self { engine, sink, next_op, early_receipts: false }
    }

    /// A liar: it says that entries were accepted before they were.
    #[must_use]
    pub fn with_early_receipts(mut self, early_receipts: bool) -> Self {
        self.early_receipts = early_receipts;
        self
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    fn say(&self, event: &Event) -> Outcome<(), S> {
        self.sink.say(event).map_err(Stop::Sink)
    }

    fn next_op(&self) -> OpId {
        // Relaxed: only uniqueness matters.
        self.next_op.fetch_add(1, Ordering::Relaxed)
    }

    /// Enqueues one entry per priority, as a batch if there are several.
    ///
    /// # Errors
    ///
    /// The engine or the sink stops.
    pub async fn enqueue(&self, queue: u32, wanted: &[(u8, Start)]) -> Outcome<(), S> {
        let op = self.next_op();
        // Calls are numbered from 2³² and batches are small, so no two entries share a marker.
        let marker = |index: usize| (op << 8) | index as u64;
        let new = |(index, &(priority, start))| NewEntry { marker: marker(index), priority, start };
        let entries: Vec<_> = wanted.iter().enumerate().map(new).collect();
        self.say(&Event::Enqueue { op, queue, entries: entries.clone(), at_ms: now_ms() })?;
        if self.early_receipts {
            let sequences = (1..=entries.len() as u64).collect();
            self.say(&Event::Enqueued { op, sequences })?;
        }
        let mut batch: Vec<_> = entries.iter().map(entry).collect();
        let handle = self.engine.topic(queues::topic(queue)).queue(queues::key(queue));
        let single = if batch.len() == 1 { batch.pop() } else { None };
        let call = async move {
            match single {
                Some(entry) => handle.enqueue(entry).await.map(|receipt| vec![*receipt.get()]),
                None => handle.enqueue_batch(batch).await.map(|receipt| receipt.into_inner()),
            }
        };
        let Some(ids) = self.answered(op, call).await? else { return Ok(()) };
        let sequences = ids.iter().map(|accepted| accepted.id().rank.sequence.0).collect();
        if self.early_receipts {
            return Ok(());
        }
        self.say(&Event::Enqueued { op, sequences })
    }

    /// Leases what is ready in one queue, or, without one, in one of the topics.
    ///
    /// # Errors
    ///
    /// The engine or the sink stops.
    pub async fn lease(&self, source: Source, n_max: usize, long: bool) -> Outcome<Vec<Held>, S> {
        self.lease_within(source, n_max, long, Duration::ZERO).await
    }

    /// As [`lease`](Self::lease), but waits for the first entry, `wait` at most.
    ///
    /// # Errors
    ///
    /// The engine or the sink stops.
    pub async fn lease_within(
        &self,
        source: Source,
        n_max: usize,
        long: bool,
        wait: Duration,
    ) -> Outcome<Vec<Held>, S> {
        let op = self.next_op();
        let queue = match source {
            Source::Queue(queue) => Some(queue),
            Source::Topic(_) => None,
        };
        self.say(&Event::Lease { op, queue, n_max, long })?;
        let request = match source {
            Source::Queue(queue) => {
                self.engine.topic(queues::topic(queue)).queue(queues::key(queue)).lease()
            }
            Source::Topic(topic) => self.engine.topic(topic).lease(),
        };
        let length = if long { LONG_LEASE } else { SHORT_LEASE };
        let call = request.max(n_max).lease_for(length).wait(wait).fetch();
        let Some(deliveries) = self.answered(op, call).await? else { return Ok(Vec::new()) };
        let mut grants = Vec::with_capacity(deliveries.len());
        let mut held = Vec::with_capacity(deliveries.len());
        for delivery in &deliveries {
            let Some(granted) = granted(delivery) else {
                let what = format!("the payload of {}", delivery.id());
                self.say(&Event::Damaged { what })?;
                continue;
            };
            grants.push(granted);
            held.push(Held { marker: granted.marker, id: delivery.id(), token: granted.token });
        }
        self.say(&Event::Leased { op, grants, at_ms: now_ms() })?;
        Ok(held)
    }

    /// Ends or extends a lease. A lease that no longer stands is no error here: the sink hears of it. Returns
    /// where the entry of a failed attempt stands.
    ///
    /// # Errors
    ///
    /// The engine or the sink stops.
    pub async fn settle(&self, held: Held, action: Action) -> Outcome<Option<Nacked>, S> {
        let Held { marker, id, token } = held;
        let op = self.next_op();
        self.say(&Event::Settle { op, marker, token, action, at_ms: now_ms() })?;
        let lease = millpond::Lease { id, token: token.into() };
        let engine = &self.engine;
        let nack = match action {
            Action::NackAfter(ms) => Nack::after(Duration::from_millis(ms)),
            Action::Reject => Nack::reject().because("it is not for us"),
            Action::Ack | Action::Nack | Action::Extend => Nack::retry(),
        };
        let call = async move {
            match action {
                Action::Ack => engine.ack(lease).await.map(|_| (None, None)),
                Action::Nack | Action::NackAfter(_) | Action::Reject => {
                    let nacked = engine.nack_with(lease, nack).await?;
                    Ok((None, Some(nacked.into_inner().into())))
                }
                Action::Extend => {
                    let deadline = engine.extend(lease, LONG_LEASE).await?;
                    Ok((Some(deadline.get().0), None))
                }
            }
        };
        let Some((deadline_ms, nacked)) = self.answered(op, call).await? else { return Ok(None) };
        self.say(&Event::Settled { op, deadline_ms, nacked })?;
        Ok(nacked)
    }

    /// Replays or drops a dead letter. That it is none any more is no error here: the sink hears of it.
    ///
    /// # Errors
    ///
    /// The engine or the sink stops.
    pub async fn dead_letter(
        &self,
        marker: Marker,
        queue: u32,
        id: EntryId,
        action: DeadAction,
    ) -> Outcome<bool, S> {
        let op = self.next_op();
        self.say(&Event::DeadLetter { op, marker, action })?;
        let letters =
            self.engine.topic(queues::topic(queue)).queue(queues::key(queue)).dead_letters();
        let call = async move {
            match action {
                DeadAction::Replay => letters.replay(id).await,
                DeadAction::Drop => letters.drop(id).await,
            }
        };
        if self.answered(op, call).await?.is_none() {
            return Ok(false);
        }
        self.say(&Event::DeadLetterDone { op })?;
        Ok(true)
    }

    /// Removes everything that a queue holds. Returns how many entries that was.
    ///
    /// # Errors
    ///
    /// The engine or the sink stops.
    pub async fn purge(&self, queue: u32) -> Outcome<u64, S> {
        let op = self.next_op();
        self.say(&Event::Purge { op, queue })?;
        let handle = self.engine.topic(queues::topic(queue)).queue(queues::key(queue));
        let call = async move { handle.purge().await };
        let Some(receipt) = self.answered(op, call).await? else { return Ok(0) };
        let Purged { n_entries, n_leased } = receipt.into_inner();
        self.say(&Event::Purged { op, n_entries, n_leased })?;
        Ok(n_entries)
    }

    /// Says which rules there are. For an engine that was just opened: nobody changes them meanwhile.
    ///
    /// # Errors
    ///
    /// The sink stops, or a rule says what no load says.
    pub fn find_rules(&self) -> Outcome<(), S> {
        let mut found = Vec::new();
        for rule in self.engine.rules() {
            let scope = RuleScope::named(&rule.scope);
            match scope.and_then(|scope| Some((scope, Says::of(scope, &rule.settings)?))) {
                Some(rule) => found.push(rule),
                None => {
                    let what = format!("the rule of {}: {:?}", rule.scope, rule.settings);
                    self.say(&Event::Damaged { what })?;
                }
            }
        }
        self.say(&Event::Rules { found })
    }

    /// Makes a rule. Nobody else may be changing rules of the same scope.
    ///
    /// # Errors
    ///
    /// The engine or the sink stops.
    pub async fn rule(&self, scope: RuleScope, says: Says) -> Outcome<(), S> {
        let op = self.next_op();
        self.say(&Event::Rule { op, scope, says })?;
        let settings = says.settings(scope);
        let engine = &self.engine;
        let call = async move {
            match scope.name() {
                Scope::Topic(topic) => engine.topic(topic.as_str()).set(settings).await,
                Scope::Prefix(topic, prefix) => {
                    engine.topic(topic.as_str()).prefix(prefix.as_bytes()).set(settings).await
                }
                Scope::Queue(topic, key) => {
                    engine.topic(topic.as_str()).queue(key.as_bytes()).set(settings).await
                }
            }
        };
        if self.answered(op, call).await?.is_some() {
            self.say(&Event::RuleSet { op })?;
        }
        Ok(())
    }

    /// The answer; `None` when the call was refused and that was said.
    async fn answered<T>(
        &self,
        op: OpId,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Outcome<Option<T>, S> {
        let refused = |kind: &str, text| Event::Refused { op, kind: kind.to_owned(), text };
        match tokio::time::timeout(ANSWER_WITHIN, call).await {
            Ok(Ok(value)) => Ok(Some(value)),
            Ok(Err(error)) => {
                self.say(&refused(error.kind().name(), error.to_string()))?;
                match error.kind() {
                    ErrorKind::StaleLease | ErrorKind::NotFound => Ok(None),
                    kind => Err(Stop::Engine(kind)),
                }
            }
            Err(elapsed) => {
                self.say(&refused("hangs", elapsed.to_string()))?;
                Err(Stop::Engine(ErrorKind::Closed))
            }
        }
    }
}

/// Where to lease from.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// Any queue of a topic.
    Topic(&'static str),
    /// One queue, by number.
    Queue(u32),
}

/// What the reader's clock shows, in milliseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "an engine that delivers too early shows by this clock"
)]
pub fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

fn entry(new: &NewEntry) -> Entry {
    let entry = Entry::new(payload(new.marker)).priority(new.priority);
    match new.start {
        Start::Now => entry,
        Start::After(ms) => entry.delay(Duration::from_millis(ms)),
        Start::At(ms) => entry.run_at(UNIX_EPOCH + Duration::from_millis(ms)),
    }
}

/// `None` when the payload is not, byte by byte, what was enqueued.
fn granted(delivery: &Delivery) -> Option<Granted> {
    let rank = delivery.id().rank;
    Some(Granted {
        marker: marker_of(delivery.payload())?,
        queue: queues::number(delivery.queue_key().as_bytes())?,
        priority: rank.priority.0,
        sequence: rank.sequence.0,
        token: delivery.token().into(),
        attempt: delivery.attempt(),
    })
}
