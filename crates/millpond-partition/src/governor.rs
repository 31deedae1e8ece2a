//! What the partitions of an engine share: limits that hold over all of them, and what waits where.
//!
//! The state is behind one lock, which is held for single operations only. A partition that makes something
//! available to another one puts that on the other's list and notifies its mailbox afterwards, so that the
//! other finds it in the turn that this brings about, or in one before.

use std::collections::HashMap;
use std::sync::Arc;

use millpond_scheduler::{Band, DomainId, Limits, ResourceId, Scheduler, SchedulerOptions, Split};
use millpond_sync::{Mutex, MutexGuard};
use millpond_types::{QueueKey, Scope, Settings, SettingsRow, TopicId, TopicName, UnixMillis};

use crate::clock::Clock;
use crate::mailbox::MailboxSender;
use crate::{LimitOf, RuleError};

#[cfg(test)]
mod models;
mod rules;

use rules::Rules;
pub(crate) use rules::{Matching, Resolved, limit};

/// What the partitions of an engine share. Cheap to clone; all clones are the same.
///
/// A partition that is [opened](crate::Partition::open) alone has one of its own.
#[derive(Clone)]
pub struct Governor(Arc<Inner>);

struct Inner {
    clock: Clock,
    state: Mutex<State>,
}

/// The place of one partition.
#[derive(Debug)]
pub(crate) struct Seat {
    governor: Governor,
    number: usize,
}

/// Where a topic is in a partition.
pub(crate) type TopicSlot = u32;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) rules: Rules,
    domains: HashMap<DomainId, (usize, TopicSlot)>,
    members: Vec<Member>,
    topics: HashMap<TopicId, Shared>,
}

#[derive(Debug, Default)]
struct Member {
    /// How to make it take a turn.
    mailbox: Option<MailboxSender>,
    /// Topics for which something was made available.
    woken: Vec<TopicSlot>,
}

/// One topic in all partitions.
#[derive(Debug)]
struct Shared {
    resource: ResourceId,
    n_domains: usize,
    /// What waits in each partition, by band.
    weights: [Vec<u64>; Band::COUNT],
    /// How the credits of consumers have been divided among the partitions.
    split: Split,
}

/// The time as limits count it.
pub(crate) fn nanos(time: UnixMillis) -> u64 {
    time.0.saturating_mul(1_000_000)
}

impl State {
    /// Whose limit a resource of a topic's queues stands for.
    pub(crate) fn limit_of(&self, id: TopicId, resource: ResourceId) -> LimitOf {
        if self.topics.get(&id).is_some_and(|topic| topic.resource == resource) {
            return LimitOf::Topic;
        }
        self.rules.prefix_of(id, resource).map_or(LimitOf::Queue, LimitOf::Prefix)
    }
}

impl Governor {
    /// For an engine with so many partitions.
    pub fn new(n_partitions: u16) -> Self {
        let state = State {
            limits: Limits::new(),
            rules: Rules::default(),
            domains: HashMap::new(),
            members: (0..n_partitions).map(|_| Member::default()).collect(),
            topics: HashMap::new(),
        };
        Self(Arc::new(Inner { clock: Clock::start(), state: Mutex::new(state) }))
    }

    /// The clock of all partitions, so that they agree on when a limit lets more through.
    pub(crate) fn clock(&self) -> Clock {
        self.0.clock
    }

    /// What a rule says, if there is one.
    pub fn rule(&self, scope: &Scope) -> Option<Settings> {
        self.0.state.lock().rules.get(scope)
    }

    /// Every rule.
    pub fn rules(&self) -> Vec<SettingsRow> {
        self.0.state.lock().rules.iter().collect()
    }

    /// The rules that concern the queue with this key, the most specific first: its own, those of its prefixes from
    /// the longest to the shortest, and the topic's.
    pub fn rules_concerning(&self, topic: &TopicName, key: &QueueKey) -> Vec<(Scope, Settings)> {
        self.0.state.lock().rules.concerning(topic, key)
    }

    /// A new rule, to be stored with [`configure`](crate::Partition::configure): one for a queue in its
    /// partition, any other in all. One change is to be stored before the next is made.
    ///
    /// # Errors
    ///
    /// Why it may not be made.
    pub fn change(&self, scope: Scope, settings: Settings) -> Result<SettingsRow, RuleError> {
        let mut row = SettingsRow { scope, revision: 0, settings };
        let mut state = self.0.state.lock();
        state.rules.check(&row, millpond_types::limits::RULES_MAX)?;
        row.revision = state.rules.next_revision();
        Ok(row)
    }

    /// Rules that a crash kept from being stored in this partition.
    pub fn missing_in(&self, partition: usize) -> Vec<SettingsRow> {
        self.0.state.lock().rules.missing_in(partition)
    }

    /// What withdrawn rules were about of which every partition has the empty row. These rows can go:
    /// [`row_to_forget`](Self::row_to_forget) with [`configure`](crate::Partition::configure) in all partitions,
    /// and then [`forget`](Self::forget).
    pub fn withdrawn(&self) -> Vec<Scope> {
        self.0.state.lock().rules.withdrawn()
    }

    /// What tells a partition to remove the empty row of a withdrawn rule.
    pub fn row_to_forget(scope: Scope) -> SettingsRow {
        SettingsRow { scope, revision: 0, settings: Settings::default() }
    }

    /// All partitions have removed the row of a withdrawn rule.
    pub fn forget(&self, scope: &Scope) {
        self.0.state.lock().rules.forget(scope);
    }

    /// Divides what a consumer wants of a topic among the partitions: in proportion to the weight that waits in
    /// each, of the first band in which something waits, and over time exactly. One number per partition; all
    /// of them 0 if nothing waits anywhere.
    pub fn share_out(&self, topic: TopicId, n_wanted: u32) -> Vec<u32> {
        let mut state = self.0.state.lock();
        let n_partitions = state.members.len();
        let mut shares = vec![0; n_partitions];
        if let Some(topic) = state.topics.get_mut(&topic)
            && let Some(weights) = topic.weights.iter().find(|band| band.iter().any(|w| *w > 0))
        {
            topic.split.share_out(n_wanted, weights, &mut shares);
        }
        shares
    }

    /// A partition had less than what was meant for it.
    pub fn unused(&self, topic: TopicId, partition: usize, n_entries: u32) {
        if let Some(topic) = self.0.state.lock().topics.get_mut(&topic) {
            topic.split.unused(partition, n_entries);
        }
    }

    /// A partition takes its place.
    ///
    /// # Panics
    ///
    /// When there is no such place.
    pub(crate) fn join(&self, number: usize, mailbox: MailboxSender) -> Seat {
        let mut state = self.0.state.lock();
        state.members[number] = Member { mailbox: Some(mailbox), woken: Vec::new() };
        drop(state);
        Seat { governor: self.clone(), number }
    }
}

impl Seat {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.governor.0.state.lock()
    }

    /// A scheduler for the queues of a topic in this partition.
    pub(crate) fn add_domain(&self, now: UnixMillis, id: TopicId, slot: TopicSlot) -> Scheduler {
        let mut state = self.lock();
        let State { limits, rules, domains, members, topics } = &mut *state;
        let topic = topics.entry(id).or_insert_with(|| {
            let (limit, since_ns) = rules.topic_limit(id);
            let resource = limits.add_since(nanos(now), limit, None, since_ns);
            Shared {
                resource: resource.expect("fewer topics than 2^32"),
                n_domains: 0,
                weights: std::array::from_fn(|_| vec![0; members.len()]),
                split: Split::new(u16::try_from(members.len()).expect("as many as were asked for")),
            }
        });
        topic.n_domains += 1;
        let options = SchedulerOptions::new().resource(topic.resource);
        let scheduler = Scheduler::new(options, limits).expect("the resource is in use");
        domains.insert(scheduler.domain(), (self.number, slot));
        scheduler
    }

    /// A topic has left the partition. With `forgets` its bucket goes along, full or not.
    pub(crate) fn remove_domain(&self, id: TopicId, scheduler: Scheduler, forgets: bool) {
        let mut state = self.lock();
        let State { limits, domains, topics, .. } = &mut *state;
        domains.remove(&scheduler.domain());
        scheduler.close(limits).expect("its own limits");
        let Some(topic) = topics.get_mut(&id) else { return };
        topic.n_domains -= 1;
        topic.weights.iter_mut().for_each(|weights| weights[self.number] = 0);
        // What is not full stays, or it would be full when the topic comes back. As of the last time they were used.
        let is_at_rest = forgets || limits.is_at_rest(0, topic.resource).unwrap_or(true);
        // Permits may be out of an owner that failed; then it stays until the engine is closed.
        if topic.n_domains == 0 && is_at_rest && limits.remove(topic.resource).is_ok() {
            topics.remove(&id);
        }
    }

    /// Says how much waits in the topic here.
    pub(crate) fn publish(&self, state: &mut State, id: TopicId, scheduler: &Scheduler) {
        if state.members.len() == 1 {
            return;
        }
        let Some(topic) = state.topics.get_mut(&id) else { return };
        for (band, weights) in Band::ALL.into_iter().zip(&mut topic.weights) {
            weights[self.number] = scheduler.eligible_weight(band);
        }
    }

    /// The partition is opened, and takes over the rules that it has stored.
    pub(crate) fn recover(&self, now: UnixMillis, mut rows: Vec<SettingsRow>) {
        self.lock().rules.opened(nanos(now));
        // Another partition may have stopped long before this one, and have told of older rules. What limits nothing
        // any more goes first, and the others as they were made: so no more limits are within each other at any
        // time than may be.
        let limits = |row: &SettingsRow| {
            row.settings.concurrency_together.is_some() || row.settings.rate_together.is_some()
        };
        rows.sort_by_key(|row| (limits(row), row.revision));
        rows.iter().for_each(|row| self.learn(now, row, true));
    }

    /// A rule is stored in this partition: it is in force from now on.
    pub(crate) fn learn(&self, now: UnixMillis, row: &SettingsRow, is_recovered: bool) {
        let mut state = self.lock();
        let State { limits, rules, members, topics, .. } = &mut *state;
        let place = (self.number, members.len());
        rules.learn(nanos(now), limits, place, row, is_recovered);
        if let Scope::Topic(name) = &row.scope {
            let id = TopicId::derive(name);
            if let Some(topic) = topics.get(&id) {
                let changed = limits.change(nanos(now), topic.resource, rules.topic_limit(id).0);
                changed.expect("a topic in memory has its resource");
            }
        }
    }

    /// All queues of this partition go by the rules of a topic as they were at this revision.
    pub(crate) fn walked(&self, now: UnixMillis, topic: TopicId, revision: u64) {
        let mut state = self.lock();
        let State { limits, rules, .. } = &mut *state;
        rules.walked(nanos(now), limits, self.number, (topic, revision));
    }

    /// Tells every partition what was made available to it, and returns the topics of this one.
    pub(crate) fn take_woken(&self) -> Vec<TopicSlot> {
        let mut others = Vec::new();
        let mut state = self.lock();
        let State { limits, domains, members, .. } = &mut *state;
        while let Some(domain) = limits.poll_woken() {
            let Some((number, topic)) = domains.get(&domain) else { continue };
            let member = &mut members[*number];
            member.woken.push(*topic);
            if *number != self.number {
                others.extend(member.mailbox.clone());
            }
        }
        let woken = std::mem::take(&mut members[self.number].woken);
        drop(state);
        others.iter().for_each(MailboxSender::notify);
        woken
    }
}

impl std::fmt::Debug for Governor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Governor").finish_non_exhaustive()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.lock().members[self.number] = Member::default();
    }
}
