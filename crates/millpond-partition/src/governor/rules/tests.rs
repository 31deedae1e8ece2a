use millpond_scheduler::{Head, Heads, Pick, Picked, QueueOptions, Scheduler, SchedulerOptions};

use super::*;

const NOW_NS: u64 = 1_700_000_000_000_000_000;

/// The rules of one topic, as the partitions of an engine learn them.
struct Book {
    rules: Rules,
    limits: Limits,
    n_partitions: usize,
    now_ns: u64,
}

fn topic() -> TopicName {
    TopicName::new("emails").expect("a valid name")
}

fn key(name: &str) -> QueueKey {
    QueueKey::new(name).expect("a valid key")
}

fn prefix(name: &str) -> Scope {
    Scope::Prefix(topic(), key(name))
}

/// So many at once, and hardly any later.
fn burst(n_entries: u32) -> Settings {
    let rate = RateLimit::new(1, Duration::from_secs(24 * 3600), n_entries);
    Settings::default().with_rate_together(rate)
}

impl Book {
    fn new(n_partitions: usize) -> Self {
        Self { rules: Rules::default(), limits: Limits::new(), n_partitions, now_ns: NOW_NS }
    }

    /// Makes a rule; the partitions do not know it yet.
    fn row(&mut self, scope: Scope, settings: Settings) -> SettingsRow {
        let mut row = SettingsRow { scope, revision: 0, settings };
        self.rules.check(&row, 100).expect("it makes sense");
        row.revision = self.rules.next_revision();
        row
    }

    fn learn_in(&mut self, partition: usize, row: &SettingsRow) {
        let place = (partition, self.n_partitions);
        self.rules.learn(self.now_ns, &mut self.limits, place, row, false);
    }

    /// Makes a rule that every partition knows.
    fn say(&mut self, scope: Scope, settings: Settings) {
        let row = self.row(scope, settings);
        (0..self.n_partitions).for_each(|partition| self.learn_in(partition, &row));
    }

    /// The queues of all partitions go by the rules.
    fn walked(&mut self) {
        let topic = TopicId::derive(&topic());
        for partition in 0..self.n_partitions {
            let upto = (topic, self.rules.newest);
            self.rules.walked(self.now_ns, &mut self.limits, partition, upto);
        }
    }

    fn resource(&self, name: &str) -> ResourceId {
        let rules = &self.rules.topics[&TopicId::derive(&topic())];
        rules.prefixes[&key(name)].resource.expect("it is limited")
    }

    /// Somebody takes one token.
    fn take(&mut self, name: &str) -> (Scheduler, Picked) {
        let resource = Some(self.resource(name));
        let limits = &mut self.limits;
        let scheduler = Scheduler::new(SchedulerOptions::new(), limits);
        let mut scheduler = scheduler.expect("it names no resource");
        let options = QueueOptions { resource, ..QueueOptions::default() };
        let queue = scheduler.add(limits, options).expect("there is room");
        scheduler.set_head(limits, queue, Head::Cost(1)).expect("it was just added");
        let pick = scheduler.pick(self.now_ns, limits, Heads::Read).expect("its own limits");
        let Pick::Serve(picked) = pick else { panic!("nobody else has a token: {pick:?}") };
        (scheduler, picked)
    }

    fn n_tokens(&self, name: &str) -> Option<u32> {
        self.limits.usage(self.resource(name)).expect("a rule names it").n_tokens
    }
}

#[test]
fn a_change_of_a_rule_leaves_other_prefixes_alone() {
    let mut book = Book::new(1);
    book.say(prefix("b/"), burst(1));
    let (mut scheduler, picked) = book.take("b/");
    assert_eq!(book.n_tokens("b/"), Some(0));
    book.say(prefix("a/"), burst(1));
    let given = scheduler.give_back(book.now_ns, &mut book.limits, picked);
    given.expect("it was picked from this scheduler");
    assert_eq!(book.n_tokens("b/"), Some(1), "what nobody used goes back");
}

#[test]
fn a_limit_around_others_leaves_their_buckets_as_they_are() {
    let mut book = Book::new(1);
    book.say(prefix("ab"), burst(2));
    drop(book.take("ab"));
    assert_eq!(book.n_tokens("ab"), Some(1));
    book.say(prefix("a"), Settings::default().with_concurrency_together(9));
    assert_eq!(book.n_tokens("ab"), Some(1), "while both are closed");
    book.walked();
    assert_eq!(book.n_tokens("ab"), Some(1));
    book.say(prefix("a"), Settings::default());
    book.walked();
    assert_eq!(book.n_tokens("ab"), Some(1), "and when it is withdrawn");
}

fn paused() -> Settings {
    Settings::default().with_paused(true)
}

#[test]
fn withdrawn_rules_do_not_count() {
    let mut book = Book::new(1);
    let check = |book: &Book, scope, settings| {
        book.rules.check(&SettingsRow { scope, revision: 0, settings }, 2)
    };
    for name in ["a", "b", "c"] {
        book.say(prefix(name), paused());
        book.say(prefix(name), Settings::default());
    }
    book.say(prefix("d"), paused());
    book.say(prefix("e"), paused());
    let too_many = Err(RuleError::TooMany { limit: 2 });
    for scope in [prefix("a"), prefix("f"), Scope::Topic(topic())] {
        assert_eq!(check(&book, scope, paused()), too_many);
    }
    assert_eq!(check(&book, prefix("d"), burst(1)), Ok(()), "it is there already");
    assert_eq!(check(&book, prefix("f"), Settings::default()), Ok(()), "that makes none");
    book.say(prefix("d"), Settings::default());
    assert_eq!(check(&book, Scope::Topic(topic()), paused()), Ok(()));
}

#[test]
fn a_withdrawn_rule_is_forgotten_once_all_partitions_know_that_it_is() {
    let mut book = Book::new(2);
    let id = TopicId::derive(&topic());
    book.say(prefix("a"), paused());
    let row = book.row(prefix("a"), Settings::default());
    book.learn_in(0, &row);
    assert_eq!(book.rules.withdrawn(), [], "the other would bring it back");
    assert_eq!(book.rules.missing_in(1), std::slice::from_ref(&row));
    book.learn_in(1, &row);
    assert_eq!(book.rules.withdrawn(), [prefix("a")]);
    assert!(book.rules.go_by_key(id));
    book.rules.forget(&prefix("a"));
    assert_eq!((book.rules.withdrawn(), book.rules.missing_in(1)), (vec![], vec![]));
    assert!(!book.rules.go_by_key(id), "nobody has to know the keys of its queues");
    book.say(prefix("a"), paused());
    book.rules.forget(&prefix("a"));
    assert_eq!(book.rules.get(&prefix("a")), Some(paused()), "what is said is not forgotten");
}

#[test]
fn a_rate_of_any_prefix_begins_empty_after_a_restart() {
    let mut book = Book::new(1);
    let rate = RateLimit::new(1, Duration::from_secs(3600), 5);
    let outer = book.row(prefix("a"), Settings::default().with_rate(rate));
    book.rules.learn(NOW_NS, &mut book.limits, (0, 1), &outer, true);
    book.now_ns += 1;
    book.say(prefix("ab"), Settings::default().with_weight(2));
    let (id, of) = (TopicId::derive(&topic()), key("abc"));
    let matching = book.rules.matching(id, QueueId::derive(&topic(), &of), Some(&of));
    let resolved = book.rules.resolve(id, &matching, &Settings::default());
    assert_eq!(resolved.since_ns, NOW_NS);
}
