//! Rules that change in the middle of everything, and what they forbid.

use millpond_types::{Scope, Settings, SettingsRow};

use super::*;
use crate::core::tests::op::About;
use crate::core::tests::world::staged::Receiver;
use crate::governor::Governor;
use crate::rules::Effective;

/// Every rule that was made, with the batch that stores it.
#[derive(Default)]
pub(super) struct Rulebook {
    rows: Vec<(LogPosition, SettingsRow)>,
    pending: Vec<Receiver<()>>,
}

impl Rulebook {
    /// Whatever was not stored has never been said.
    pub(super) fn crashed(&mut self, durable: LogPosition) {
        self.rows.retain(|(at, _)| *at <= durable);
        self.pending.clear();
    }

    pub(super) fn end(&mut self, why: &PartitionError) -> Checked {
        for mut answer in self.pending.drain(..) {
            // Some may have been answered by the last step.
            let answer = answer.try_recv().map_err(fail)?.map(|answer| answer.map(drop));
            prop_assert!(
                answer == Some(Ok(())) || answer == Some(Err(why.clone())),
                "{:?}",
                answer
            );
        }
        Ok(())
    }

    /// The rules in force once so much is durable.
    fn in_force(&self, handled: LogPosition) -> InForce<'_> {
        let stored = self.rows.iter().filter(|(at, _)| *at <= handled);
        stored.map(|(_, row)| (&row.scope, &row.settings)).collect()
    }
}

/// The last rule for each scope.
type InForce<'a> = BTreeMap<&'a Scope, &'a Settings>;

/// How many leases of some queues may be out together.
struct Limit {
    /// Their numbers.
    queues: Vec<usize>,
    max: usize,
}

impl Limit {
    fn n_of(&self, n_out: &[usize]) -> usize {
        self.queues.iter().map(|queue| n_out[*queue]).sum()
    }
}

fn limits_nothing(rule: &Settings) -> bool {
    let is_free = rule.concurrency.value().is_none() && rule.concurrency_together.is_none();
    let is_fast = rule.rate.value().is_none() && rule.rate_together.is_none();
    rule.paused.is_none() && is_free && is_fast
}

/// What rules that concern a queue are about, the most specific first.
fn scopes_of(names: &QueueRef) -> [Scope; 3] {
    [
        Scope::Queue(names.topic.clone(), names.key.clone()),
        Scope::Prefix(names.topic.clone(), names.key.clone()),
        Scope::Topic(names.topic.clone()),
    ]
}

impl World {
    /// The rules that are there from the beginning.
    pub(super) fn lay_down_rules(&mut self) -> Checked {
        for (scope, settings) in self.setup.rules.clone() {
            self.say(scope, settings)?;
        }
        if self.rulebook.rows.is_empty() { Ok(()) } else { self.commit_turn() }
    }

    pub(super) fn configure(&mut self, about: About, settings: &Settings) -> Checked {
        let names = |queue: u8| self.queues[usize::from(queue)].clone();
        let scope = match about {
            About::Topic(0) => Scope::Topic(names(0).topic.clone()),
            About::Topic(_) => Scope::Topic(names(N_QUEUES - 1).topic.clone()),
            About::Prefix(n) => Scope::Prefix(names(n).topic.clone(), names(n).key.clone()),
            About::Queue(n) => Scope::Queue(names(n).topic.clone(), names(n).key.clone()),
        };
        // How often an entry is tried stays as it is: whatever has failed was judged by the rules of that moment,
        // and of what a restart finds nobody knows when it will be judged.
        let Settings { attempts_max, backoff, .. } = self.base(&scope);
        let settings = Settings { attempts_max, backoff, ..settings.clone() };
        // What makes no sense for it is refused, and says nothing.
        if settings.check(&scope).is_err() { Ok(()) } else { self.say(scope, settings) }
    }

    /// What was said from the beginning.
    fn base(&self, scope: &Scope) -> Settings {
        let rules = self.setup.rules.iter();
        rules
            .filter(|(other, _)| other == scope)
            .map(|(_, rule)| rule.clone())
            .next()
            .unwrap_or_default()
    }

    pub(super) fn say(&mut self, scope: Scope, settings: Settings) -> Checked {
        let governor: &Governor = &self.node.governor;
        let row = governor.change(scope, settings).map_err(fail)?;
        let (reply, answer) = millpond_sync::oneshot::channel();
        self.rulebook.rows.push((self.staging(), row.clone()));
        self.rulebook.pending.push(answer);
        self.node.core.handle_message(self.now, Message::Configure { row, reply });
        note(Situation::RuleChanged);
        Ok(())
    }

    /// What holds for a queue: as the core sees it, if it knows the queue.
    pub(super) fn rules_of(&self, queue: QueueId) -> Effective {
        let core = &self.node.core;
        match core.queues.find(&queue).filter(|slot| !core.queues[*slot].class.is_unresolved()) {
            Some(slot) => (**core.rules_of(slot)).clone(),
            None => self.said_of(queue),
        }
    }

    /// What follows from the rules that were stored, added up anew.
    pub(super) fn said_of(&self, queue: QueueId) -> Effective {
        let names = self.queues.iter().find(|names| names.id == queue);
        let scopes = names.map(|names| scopes_of(names));
        self.sum_of(&self.rulebook.in_force(self.handled), scopes.iter().flatten())
    }

    fn sum_of<'a>(
        &self,
        rules: &InForce<'_>,
        scopes: impl Iterator<Item = &'a Scope>,
    ) -> Effective {
        let said = scopes.filter_map(|scope| Some((*rules.get(scope)?, Some(scope.clone()))));
        Effective::of(said.chain([(&self.setup.options.defaults, None)]))
    }

    /// Answers to changes of rules: from then on they hold for every queue in memory.
    pub(super) fn hear_of_rules(&mut self) -> Checked {
        let mut pending = std::mem::take(&mut self.rulebook.pending);
        let mut n_answered = 0;
        let mut kept = Vec::new();
        for mut answer in pending.drain(..) {
            match answer.try_recv().map_err(fail)? {
                None => kept.push(answer),
                Some(Ok(_)) => n_answered += 1,
                Some(Err(error)) => return Err(fail(format!("a rule was refused: {error}"))),
            }
        }
        self.rulebook.pending = kept;
        if n_answered > 0 && self.rulebook.pending.is_empty() {
            self.check_rules()?;
        }
        Ok(())
    }

    /// When no change is on its way, every queue goes by the rules as they are.
    fn check_rules(&self) -> Checked {
        let core = &self.node.core;
        for (slot, queue) in core.queues.iter() {
            if queue.class.is_unresolved() {
                prop_assert!(queue.n_leased() == 0, "leases of {} count nowhere", queue.id);
                continue;
            }
            let said = self.said_of(queue.id);
            prop_assert_eq!(&**core.rules_of(slot), &said, "rules of {}", queue.id);
        }
        note(Situation::RulesHold);
        Ok(())
    }

    /// How many leases of each queue are out.
    pub(super) fn n_out(&self) -> Vec<usize> {
        let core = &self.node.core;
        let n_of = |slot| {
            let queue: &crate::core::Queue = &core.queues[slot];
            queue.leases().filter(|(_, lease)| lease.permit.is_some()).count()
        };
        let slots = self.queues.iter().map(|names| core.queues.find(&names.id));
        slots.map(|slot| slot.map_or(0, n_of)).collect()
    }

    /// Every lease in force counts, once, and nothing else does.
    pub(in crate::core::tests) fn check_permits(&self) -> Checked {
        if self.shares {
            return Ok(());
        }
        let core = &self.node.core;
        for (_, queue) in core.queues.iter() {
            for (rank, lease) in queue.leases() {
                let counts = lease.permit.is_some();
                let is_over = lease.state.is_over();
                // One that an earlier owner ended and that is to be set aside was never counted.
                let is_corpse = lease.state == crate::core::LeaseState::Expiring;
                prop_assert!(counts != is_over || is_corpse, "{:?} of {}", rank, queue.id);
            }
        }
        let n_out: usize = self.n_out().into_iter().sum();
        prop_assert_eq!(core.seat.lock().limits.n_permits(), n_out, "permits");
        Ok(())
    }

    /// What was just granted was allowed: how many leases of each queue may be out, given those that were.
    pub(super) fn check_limits(&self, n_before: &[usize]) -> Checked {
        if !self.rulebook.pending.is_empty() || n_before.is_empty() {
            return Ok(());
        }
        let n_out = self.n_out();
        for limit in self.limits() {
            let (n_before, n_now) = (limit.n_of(n_before), limit.n_of(&n_out));
            let allowed = n_before.max(limit.max);
            let of = &limit.queues;
            prop_assert!(n_now <= allowed, "{} leases of {:?}, at most {}", n_now, of, allowed);
            if n_now > n_before {
                note(Situation::GrantedWithinLimit);
            }
        }
        Ok(())
    }

    /// Everything that limits how many leases are out.
    fn limits(&self) -> Vec<Limit> {
        let rules = self.rulebook.in_force(self.handled);
        if rules.values().all(|rule| limits_nothing(rule)) {
            return Vec::new();
        }
        let mut limits = Vec::new();
        let mut limit = |queues: Vec<usize>, max: Option<u32>| {
            limits.extend(max.map(|max| Limit { queues, max: max as usize }));
        };
        let together = |scope: &Scope| {
            let rule = rules.get(scope)?;
            if rule.paused == Some(true) { Some(0) } else { rule.concurrency_together }
        };
        for (n, names) in self.queues.iter().enumerate() {
            let scopes = scopes_of(names);
            let sum = self.sum_of(&rules, scopes.iter());
            let is_paused = !sum.paused_by.is_empty();
            limit(vec![n], if is_paused { Some(0) } else { sum.concurrency });
            let [_, prefix, topic] = &scopes;
            limit(vec![n], together(prefix));
            let is_of_topic = |(n, other): (usize, &Arc<QueueRef>)| {
                (other.topic_id == names.topic_id).then_some(n)
            };
            let of_topic: Vec<usize> =
                self.queues.iter().enumerate().filter_map(is_of_topic).collect();
            if of_topic[0] == n {
                limit(of_topic, together(topic));
            }
        }
        limits
    }

    /// After callers were served: whoever still waits for a topic, waits because nothing of it may be leased.
    pub(in crate::core::tests) fn check_nobody_waits_in_vain(&self) -> Checked {
        if self.shares {
            return Ok(());
        }
        let core = &self.node.core;
        if !self.rulebook.pending.is_empty() {
            return Ok(());
        }
        let rules = self.rulebook.in_force(self.handled);
        let is_slow =
            rules.values().any(|rule| rule.rate_together.is_some() || rule.rate.value().is_some());
        if is_slow {
            return Ok(());
        }
        let (limits, n_out) = (self.limits(), self.n_out());
        for (n, names) in self.queues.iter().enumerate() {
            let slot = core.queues.find(&names.id);
            let Some(slot) = slot.filter(|slot| core.queues[*slot].is_servable()) else { continue };
            let mut mine = limits.iter().filter(|limit| limit.queues.contains(&n));
            if mine.any(|limit| limit.n_of(&n_out) >= limit.max) {
                note(Situation::HeldBack);
                continue;
            }
            let topic = core.topics.find(names.topic_id).map(|at| &core.topics[at]);
            let waits = topic.is_some_and(|topic| {
                !topic.listed && topic.waiters.iter().any(|waiter| waiter.call.is_open())
            });
            prop_assert!(!waits, "somebody waits beside {}: {:?}", names.id, core.queues[slot]);
            let mut direct = core.queue_waiters.get(&names.id).into_iter().flat_map(|w| w.iter());
            let waits = direct.any(|waiter| waiter.call.is_open());
            let is_listed = core.queues_to_serve.contains(&names.id);
            prop_assert!(!waits || is_listed, "somebody waits for {}", names.id);
        }
        Ok(())
    }

    /// Whether nothing but the head of a queue decides whether it is served.
    pub(in crate::core::tests) fn has_no_rules(&self) -> bool {
        if self.shares || !limits_nothing(&self.setup.options.defaults) {
            return false;
        }
        self.rulebook.rows.iter().all(|(_, row)| limits_nothing(&row.settings))
    }

    /// Nothing is forbidden any more, so that everything can be worked off.
    pub(super) fn withdraw_rules(&mut self) -> Checked {
        let said = self.rulebook.in_force(LogPosition(u64::MAX)).into_iter();
        let said = said.map(|(scope, settings)| (self.base(scope), scope, settings));
        let changed = said.filter(|(base, _, settings)| base != *settings);
        let changed: Vec<_> = changed.map(|(base, scope, _)| (scope.clone(), base)).collect();
        for (scope, base) in changed {
            self.say(scope, base)?;
        }
        Ok(())
    }
}
