//! What a random history consists of.

use std::sync::Arc;

use millpond_storage_api::StoreErrorKind;
use millpond_storage_memory::{BlockReads, FailedBatch, SnapshotAt, Visibility};
use millpond_types::limits::INLINE_BODY_BYTES_MAX;
use millpond_types::{Backoff, Quantum, RateLimit, Scope, Setting, Settings, TopicName};
use proptest::prelude::*;

use crate::command::{DeadAction, Retry};
use crate::options::{LeasesAtOpen, PartitionOptions};
use crate::{InboxLimits, LeaseSource, QueueRef};

/// Queues of the world but for those of dead letters; the last one is alone in the second topic. It has the
/// key of the first.
pub(super) const N_QUEUES: u8 = 6;
/// Queues of dead letters, one for each key. They follow the others.
pub(super) const N_GRAVES: u8 = N_QUEUES - 1;
/// The topic of all queues but the last, that of the last, and that of dead letters.
pub(super) const TOPICS: [&str; 3] = ["shared", "alone", "dead"];
const STEPS_MAX: usize = 140;
const HOUR: i64 = 3_600_000;

#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) options: PartitionOptions,
    /// Rules that are there before anything else is.
    pub(super) rules: Vec<(Scope, Settings)>,
    pub(super) visibility: Visibility,
    pub(super) tombstones: bool,
    /// The store deletes ranges cheaply.
    pub(super) ranges: bool,
    /// Nobody asks for work of a whole topic.
    pub(super) by_queue: bool,
    /// How the device behaves at first.
    pub(super) block: BlockReads,
    pub(super) hold: Option<SnapshotAt>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Ack,
    /// To survive the end of the process, and no more.
    AckBuffered,
    Nack(Retry),
    Extend(u64),
}

/// When a new entry is to be ready.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    Now,
    After(u64),
    /// By the wall clock, so far from what it shows.
    At(i64),
}

/// An entry to be enqueued.
#[derive(Debug, Clone, Copy)]
pub(super) struct New {
    pub(super) priority: u8,
    /// Length of its payload.
    pub(super) n_bytes: usize,
    pub(super) when: When,
    /// Which key it has, if any.
    pub(super) key: Option<u8>,
}

impl New {
    pub(super) const PLAIN: Self = Self { priority: 128, n_bytes: 3, when: When::Now, key: None };

    pub(super) fn at(when: When) -> Self {
        Self { when, ..Self::PLAIN }
    }
}

/// Which token a settlement names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    /// One of those accepted so far, oldest to newest, whatever became of it since.
    Received(u16),
    /// One of those that are in force.
    Standing(u16),
    /// The entry and a token that was never handed out, or not to this caller.
    Guessed { entry: u16, ahead: i8 },
}

/// What comes right after an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    Nothing,
    /// The next read fails.
    FailRead,
    /// The queue is purged, with or without its reads begun.
    Purge {
        reads: bool,
    },
    Advance(u64),
}

/// Which entry is said to be dead.
#[derive(Debug, Clone, Copy)]
pub(super) enum Corpse {
    /// One that is.
    Dead(u16),
    /// The one that somebody looked after last.
    Same,
    /// Any that there is.
    Any(u16),
    /// None that there is.
    Unknown { queue: u8 },
}

/// What a rule is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum About {
    Topic(u8),
    /// The prefix that is the whole key of this queue.
    Prefix(u8),
    Queue(u8),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Topic(u8),
    Queue(u8),
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    Enqueue {
        queue: u8,
        entries: Vec<New>,
        /// To survive the end of the process, and no more.
        buffered: bool,
    },
    Lease {
        source: Source,
        n_max: usize,
        lease_ms: u64,
        wait: bool,
    },
    /// A caller takes the leases that came in answer to its call.
    Accept(u16),
    /// A caller goes away, before or after its answer.
    Abandon(u16),
    /// Another partition serves a call that is registered with both.
    ClaimElsewhere(u16),
    Settle {
        lease: Named,
        action: Action,
    },
    /// A worker is done and hands on.
    HandOn {
        lease: Named,
        queue: u8,
        entries: Vec<New>,
    },
    /// One entry's whole life, as far as nothing is in its way.
    Job {
        queue: u8,
    },
    /// Entries come to a queue while its head is being read.
    Flood {
        queue: u8,
    },
    /// One attempt at the head of a queue, as far as nothing is in its way, and how it ends.
    Attempt {
        queue: u8,
        action: Action,
        then: Then,
    },
    /// A new entry is rejected, and its reads come back as often as they are let go; and what comes then.
    Bury {
        queue: u8,
        n_bytes: usize,
        n_reads: u8,
        then: Then,
    },
    /// Every caller takes its leases and acks them, and so do those who hold some already.
    AckAll,
    /// Accepted leases are returned without having been worked on.
    GiveBack(u16),
    /// Somebody looks after a dead letter, if it is one.
    Dead {
        entry: Corpse,
        action: DeadAction,
        /// And once more, as soon as its row was read.
        again: bool,
    },
    /// The loop takes a message about unreceived leases.
    Mail,
    Advance(u64),
    /// Somebody sets the wall clock.
    SetWall(i64),
    Timeout,
    Reads,
    /// A read that waits is looked at.
    PollRead(u16),
    /// The thread of a read that waits dies, or of the next one.
    LoseRead(u16),
    Purge(u8),
    /// A rule is made, or withdrawn.
    Configure {
        about: About,
        settings: Settings,
    },
    /// Small steps of work that waits for nothing.
    Tidy,
    Serve,
    Submit,
    /// The device writes batches, which makes none durable.
    Write(u8),
    /// The device makes batches durable.
    Sync(u8),
    /// The loop hears of it.
    TakeCommits,
    /// All that one turn of the loop does.
    Turn,
    /// As `Turn`, and its commit becomes durable at once.
    QuickTurn,
    Block(BlockReads),
    HoldScans(SnapshotAt),
    ReleaseScan(u16),
    ReleaseScans,
    /// Look-ups of queues take their time, or no more.
    HoldLookUps(bool),
    FailRead {
        after: u64,
        kind: StoreErrorKind,
    },
    FailCommit {
        after: u64,
        kind: StoreErrorKind,
        batch: FailedBatch,
    },
    Compact,
    Close(LeasesAtOpen),
    /// A power cut, or the end of the process alone, after so many turns without a sync.
    Crash {
        n_turns: u8,
        keep: usize,
        power: bool,
        at_open: LeasesAtOpen,
    },
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        14 => (0_u8..2).prop_map(Source::Topic),
        3 => Just(Source::Topic(2)),
        11 => (0..N_QUEUES).prop_map(Source::Queue),
        1 => (N_QUEUES..N_QUEUES + N_GRAVES).prop_map(Source::Queue),
    ]
}

fn queue() -> impl Strategy<Value = u8> {
    prop_oneof![12 => 0..N_QUEUES, 1 => N_QUEUES..N_QUEUES + N_GRAVES]
}

fn named() -> impl Strategy<Value = Named> {
    prop_oneof![
        6 => any::<u16>().prop_map(Named::Standing),
        1 => any::<u16>().prop_map(Named::Received),
        1 => (any::<u16>(), -2_i8..3).prop_map(|(entry, ahead)| Named::Guessed { entry, ahead }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => Just(Action::Ack),
        2 => Just(Action::AckBuffered),
        3 => retry().prop_map(Action::Nack),
        2 => prop::sample::select(&[1_u64, 200, 5_000]).prop_map(Action::Extend),
    ]
}

fn retry() -> impl Strategy<Value = Retry> {
    prop_oneof![
        6 => Just(Retry::Policy { floor_ms: 0 }),
        2 => prop::sample::select(&[1_u64, 40, 500]).prop_map(|floor_ms| Retry::Policy { floor_ms }),
        3 => prop::sample::select(&[0_u64, 1, 30, 400]).prop_map(Retry::After),
        2 => Just(Retry::Never),
    ]
}

fn corpse() -> impl Strategy<Value = Corpse> {
    prop_oneof![
        8 => any::<u16>().prop_map(Corpse::Dead),
        1 => Just(Corpse::Same),
        1 => any::<u16>().prop_map(Corpse::Any),
        1 => (0..N_QUEUES).prop_map(|queue| Corpse::Unknown { queue }),
    ]
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![
        6 => Just(Then::Nothing),
        2 => Just(Then::FailRead),
        1 => any::<bool>().prop_map(|reads| Then::Purge { reads }),
        2 => prop::sample::select(&[40_u64, 400]).prop_map(Then::Advance),
    ]
}

fn then_slowly() -> impl Strategy<Value = Then> {
    let purge = Just(Then::Purge { reads: false });
    prop_oneof![3 => then(), 2 => purge, 2 => Just(Then::FailRead)]
}

fn new_entry() -> impl Strategy<Value = New> {
    let priority = prop_oneof![3 => Just(128_u8), 1 => 127_u8..130];
    // Few values, so that many are due at the same time.
    let after = prop::sample::select(&[0_u64, 1, 9, 9, 40, 40, 400, 6_000]).prop_map(When::After);
    let at = prop::sample::select(&[-5_000_i64, 0, 1, 10, 10, 50, 500, HOUR]).prop_map(When::At);
    let when = prop_oneof![6 => Just(When::Now), 2 => after, 2 => at];
    let key = prop::option::weighted(0.3, 0_u8..3);
    (priority, n_bytes(), when, key).prop_map(|(priority, n_bytes, when, key)| New {
        priority,
        n_bytes,
        when,
        key,
    })
}

/// The second is beyond the limit of inline bodies once headers are added.
fn n_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![16 => Just(3), 2 => Just(950), 3 => Just(INLINE_BODY_BYTES_MAX)]
}

fn about() -> impl Strategy<Value = About> {
    prop_oneof![
        3 => (0_u8..2).prop_map(About::Topic),
        2 => (0..N_QUEUES).prop_map(About::Prefix),
        3 => (0..N_QUEUES).prop_map(About::Queue),
    ]
}

/// A rule that says one thing, or two, or nothing.
fn rule() -> impl Strategy<Value = Settings> {
    let none = Settings::default;
    let per = std::time::Duration::from_millis(100);
    prop_oneof![
        2 => Just(none()),
        3 => Just(none().with_paused(true)),
        3 => (0_u32..3).prop_map(move |n| none().with_concurrency(n)),
        3 => (0_u32..4).prop_map(move |n| none().with_concurrency_together(n)),
        1 => (1_u32..3).prop_map(move |n| none().with_rate(RateLimit::new(n, per, n))),
        1 => (1_u32..3).prop_map(move |n| none().with_rate_together(RateLimit::new(n, per, 1))),
        1 => (1_u32..5).prop_map(move |n| none().with_weight(n)),
        1 => (0_u8..4).prop_map(move |n| none().with_band(n)),
        2 => kept().prop_map(move |retention_ms| Settings { retention_ms, ..none() }),
        1 => Just(none().with_quantum(Quantum::Bytes(1))),
    ]
}

/// What rules say of failed attempts.
fn policy() -> impl Strategy<Value = Settings> {
    let pauses = prop::sample::select(&[(0_u64, 0_u64), (1, 1), (8, 40), (50, 2_000)]);
    let backoff = pauses.prop_map(|(base_ms, cap_ms)| Backoff { base_ms, cap_ms });
    let attempts_max = prop::sample::select(&[None, Some(1_u32), Some(1), Some(2), Some(4)]);
    (prop::option::of(backoff), attempts_max).prop_map(|(backoff, attempts_max)| Settings {
        backoff: backoff.map_or(Setting::Off, Setting::Is),
        attempts_max: attempts_max.map_or(Setting::Off, Setting::Is),
        ..Settings::default()
    })
}

fn at_open() -> impl Strategy<Value = LeasesAtOpen> {
    prop_oneof![Just(LeasesAtOpen::Keep), Just(LeasesAtOpen::Release)]
}

fn block() -> impl Strategy<Value = BlockReads> {
    prop_oneof![
        3 => Just(BlockReads::Never),
        2 => Just(BlockReads::Always),
        1 => Just(BlockReads::EveryNth(2)),
        2 => (1_usize..4).prop_map(BlockReads::AfterRows),
    ]
}

fn hold() -> impl Strategy<Value = SnapshotAt> {
    prop_oneof![Just(SnapshotAt::Start), Just(SnapshotAt::Release)]
}

fn fault() -> impl Strategy<Value = Op> {
    let read =
        prop::sample::select(&[StoreErrorKind::Retry, StoreErrorKind::Io, StoreErrorKind::Corrupt]);
    let commit = prop::sample::select(&[StoreErrorKind::NoSpace, StoreErrorKind::Io]);
    let batch = prop_oneof![Just(FailedBatch::Lost), Just(FailedBatch::Survives)];
    prop_oneof![
        6 => block().prop_map(Op::Block),
        4 => hold().prop_map(Op::HoldScans),
        6 => any::<u16>().prop_map(Op::ReleaseScan),
        1 => Just(Op::ReleaseScans),
        4 => prop::bool::weighted(0.7).prop_map(Op::HoldLookUps),
        2 => any::<u16>().prop_map(Op::LoseRead),
        2 => (0_u64..2, read).prop_map(|(after, kind)| Op::FailRead { after, kind }),
        1 => (0_u64..3, commit, batch)
            .prop_map(|(after, kind, batch)| Op::FailCommit { after, kind, batch }),
        1 => Just(Op::Compact),
        1 => at_open().prop_map(Op::Close),
        2 => (0_u8..4, 0_usize..4, any::<bool>(), at_open())
            .prop_map(|(n_turns, keep, power, at_open)| Op::Crash { n_turns, keep, power, at_open }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<u16>();
    let entries = prop::collection::vec(new_entry(), 1..7);
    let handed_on = prop::collection::vec(new_entry(), 1..3);
    let lease_ms = prop::sample::select(&[30_u64, 300, 3_000]);
    let advance = prop::sample::select(&[1_u64, 1, 10, 40, 40, 400, 6_000]);
    let set_wall = prop::sample::select(&[-HOUR, -700, -1, 1, 30, 700, HOUR]);
    let dead_action = prop_oneof![2 => Just(DeadAction::Replay), 1 => Just(DeadAction::Drop)];
    prop_oneof![
        12 => (queue(), entries, any::<bool>())
            .prop_map(|(queue, entries, buffered)| Op::Enqueue { queue, entries, buffered }),
        16 => (source(), 1_usize..6, lease_ms, any::<bool>()).prop_map(
            |(source, n_max, lease_ms, wait)| Op::Lease { source, n_max, lease_ms, wait }
        ),
        18 => pick.prop_map(Op::Accept),
        3 => pick.prop_map(Op::Abandon),
        1 => pick.prop_map(Op::ClaimElsewhere),
        18 => (named(), action()).prop_map(|(lease, action)| Op::Settle { lease, action }),
        4 => (named(), 0..N_QUEUES, handed_on)
            .prop_map(|(lease, queue, entries)| Op::HandOn { lease, queue, entries }),
        8 => (queue(), action(), then())
            .prop_map(|(queue, action, then)| Op::Attempt { queue, action, then }),
        4 => (queue(), n_bytes(), 0_u8..4, then_slowly())
            .prop_map(|(queue, n_bytes, n_reads, then)| Op::Bury { queue, n_bytes, n_reads, then }),
        2 => Just(Op::AckAll),
        3 => (0..N_QUEUES).prop_map(|queue| Op::Job { queue }),
        1 => (0..N_QUEUES).prop_map(|queue| Op::Flood { queue }),
        1 => pick.prop_map(Op::GiveBack),
        4 => Just(Op::Mail),
        5 => (corpse(), dead_action, prop::bool::weighted(0.3))
            .prop_map(|(entry, action, again)| Op::Dead { entry, action, again }),
        7 => advance.prop_map(Op::Advance),
        1 => set_wall.prop_map(Op::SetWall),
        6 => Just(Op::Timeout),
        5 => Just(Op::Reads),
        8 => pick.prop_map(Op::PollRead),
        2 => queue().prop_map(Op::Purge),
        5 => (about(), rule()).prop_map(|(about, settings)| Op::Configure { about, settings }),
        4 => Just(Op::Tidy),
        5 => Just(Op::Serve),
        9 => Just(Op::Submit),
        5 => (1_u8..4).prop_map(Op::Sync),
        4 => (1_u8..4).prop_map(Op::Write),
        6 => Just(Op::TakeCommits),
        12 => Just(Op::Turn),
        16 => Just(Op::QuickTurn),
        14 => fault(),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    let inbox = (1_u8..5, 1_u16..6, 0_u8..4, (1_u8..4, 0_u8..6)).prop_map(
        |(capacity, overlay_max, low_mark, (batch_min, more))| {
            InboxLimits::new(capacity.into(), overlay_max, low_mark.min(capacity - 1))
                .and_then(|limits| limits.with_batch(batch_min, batch_min + more))
                .expect("limits that an inbox can work with")
        },
    );
    let sizes = (1_usize..5, 1_usize..4, prop::sample::select(&[40_usize, 100, 1 << 18]));
    let skip_max = prop::sample::select(&[0_u64, 1, 1000]);
    let timers_per_turn = prop::sample::select(&[1_usize, 2, 1024]);
    let window_bytes = prop::sample::select(&[40_usize, 80, 200, 1 << 20]);
    let visible = prop_oneof![Just(Visibility::AtSubmit), Just(Visibility::AtSync)];
    let by_queue = prop::bool::weighted(0.3);
    let store =
        (visible, any::<bool>(), by_queue, block(), prop::option::of(hold()), any::<bool>());
    let idle = (0_usize..4, window_bytes);
    let retry = (policy(), prop::option::of(policy()));
    let idle = (idle.0, idle.1, bounds(), any::<bool>());
    (inbox, sizes, skip_max, timers_per_turn, idle, at_open(), store, retry).prop_map(
        |(inbox, sizes, scan_skip_max, timers_per_turn, idle, at_open, store, retry)| Setup {
            options: PartitionOptions {
                commits_in_flight_max: sizes.0,
                scans_in_flight_max: sizes.1,
                scan_bytes_max: sizes.2,
                scan_skip_max,
                timers_per_turn,
                idle_queues_max: idle.0,
                names_cached_max: if idle.3 { 1 } else { 100 },
                window_bytes_max: idle.1,
                entries_max: idle.2.entries_max,
                bytes_max: idle.2.bytes_max,
                lease_calls_max: idle.2.lease_calls_max,
                defaults: Settings {
                    attempts_max: retry.0.attempts_max,
                    backoff: retry.0.backoff,
                    ..idle.2.of_queues
                },
                inbox,
                leases_at_open: at_open,
                ..PartitionOptions::default()
            },
            rules: retry.1.map(alone).into_iter().collect(),
            visibility: store.0,
            tombstones: store.1,
            by_queue: store.2,
            block: store.3,
            hold: store.4,
            ranges: store.5,
        },
    )
}

/// The topic that may have a rule of its own from the beginning.
fn alone(rule: Settings) -> (Scope, Settings) {
    (Scope::Topic(topic(1)), rule)
}

#[derive(Debug, Clone)]
struct Bounds {
    of_queues: Settings,
    entries_max: Option<u64>,
    bytes_max: Option<u64>,
    lease_calls_max: usize,
}

/// Mostly none, because a world that is full sees little.
fn bounds() -> impl Strategy<Value = Bounds> {
    let seldom = |max: std::ops::Range<u64>| prop::option::weighted(0.06, max);
    let calls = prop_oneof![8 => Just(1000_usize), 1 => 1_usize..4];
    let window_ms = prop::sample::select(&[1_u64, 9, 40, 400, 6_000]);
    let of_all = (seldom(2..16), seldom(20..2500), calls);
    (seldom(1..8), seldom(5..1200), of_all, window_ms, dead_letters(), kept()).prop_map(
        |(entries, bytes, of_all, window_ms, dead_letter_topic, retention_ms)| {
            let (entries_max, bytes_max, lease_calls_max) = of_all;
            let of_queues = Settings {
                dedup_window_ms: Some(window_ms),
                entries_max: entries.map_or(Setting::Inherited, Setting::Is),
                bytes_max: bytes.map_or(Setting::Inherited, Setting::Is),
                dead_letter_topic,
                retention_ms,
                ..Settings::default()
            };
            Bounds { of_queues, entries_max, bytes_max, lease_calls_max }
        },
    )
}

/// Where dead letters go.
fn dead_letters() -> impl Strategy<Value = Setting<TopicName>> {
    prop_oneof![Just(Setting::Inherited), Just(Setting::Is(topic(2)))]
}

/// How long entries are kept.
fn kept() -> impl Strategy<Value = Setting<u64>> {
    let kept_ms = prop::sample::select(&[30_u64, 400, 6_000]);
    prop_oneof![7 => Just(Setting::Inherited), 3 => kept_ms.prop_map(Setting::Is)]
}

pub(super) fn topic(n: usize) -> TopicName {
    TopicName::new(TOPICS[n]).expect("a valid name")
}

pub(super) fn history() -> impl Strategy<Value = (Setup, Vec<Op>)> {
    (setup(), prop::collection::vec(op(), STEPS_MAX / 4..STEPS_MAX))
}

impl Source {
    pub(super) fn resolve(self, setup: &Setup, queues: &[Arc<QueueRef>]) -> LeaseSource {
        match self {
            Self::Topic(topic) if setup.by_queue => {
                LeaseSource::Queue(queues[usize::from(topic)].id)
            }
            Self::Topic(0) => LeaseSource::Topic(queues[0].topic_id),
            Self::Topic(1) => LeaseSource::Topic(queues[usize::from(N_QUEUES) - 1].topic_id),
            Self::Topic(_) => LeaseSource::Topic(queues[usize::from(N_QUEUES)].topic_id),
            Self::Queue(queue) => LeaseSource::Queue(queues[usize::from(queue)].id),
        }
    }
}
