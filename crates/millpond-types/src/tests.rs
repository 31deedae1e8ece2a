//! Round trips, order and robustness of every codec.

use bytes::Bytes;
use proptest::prelude::*;

use crate::*;

fn queue_id() -> impl Strategy<Value = QueueId> {
    any::<[u8; 16]>().prop_map(QueueId)
}

fn rank() -> impl Strategy<Value = EntryRank> {
    (any::<u8>(), any::<u64>()).prop_map(|(priority, sequence)| EntryRank {
        priority: Priority(priority),
        sequence: Sequence(sequence),
    })
}

fn entry_key() -> impl Strategy<Value = EntryKey> {
    let stage = prop_oneof![Just(Stage::Ready), Just(Stage::Dead)];
    // Few queue ids, so that the later parts of the key decide often.
    (prop_oneof![queue_id(), Just(QueueId([7; 16]))], stage, rank())
        .prop_map(|(queue, stage, rank)| EntryKey { queue, stage, rank })
}

fn due() -> impl Strategy<Value = Due> {
    (prop::sample::select(DueClock::ALL.to_vec()), any::<u64>())
        .prop_map(|(clock, at)| Due { clock, at: UnixMillis(at) })
}

fn body() -> impl Strategy<Value = Body> {
    let header = ("[a-z]{0,9}", proptest::collection::vec(any::<u8>(), 0..20));
    let payload = proptest::collection::vec(any::<u8>(), 0..300);
    (proptest::collection::vec(header, 0..5), payload).prop_map(|(pairs, payload)| {
        let mut headers = Headers::default();
        for (name, value) in pairs {
            headers.push(name, value);
        }
        Body { headers, payload: payload.into() }
    })
}

proptest! {
    #[test]
    fn entry_keys_round_trip_and_sort_like_their_bytes(a in entry_key(), b in entry_key()) {
        prop_assert_eq!(EntryKey::decode(&a.encode()), Ok(a));
        prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
        prop_assert!(a.encode().starts_with(&EntryKey::stage_prefix(a.queue, a.stage)));
    }

    #[test]
    fn other_keys_round_trip_and_sort_like_their_bytes(
        a in (queue_id(), any::<u64>()), b in (queue_id(), any::<u64>()),
    ) {
        let lease = |(queue, n)| LeaseKey { queue, sequence: Sequence(n) };
        prop_assert_eq!(LeaseKey::decode(&lease(a).encode()), Ok(lease(a)));
        prop_assert_eq!(lease(a).cmp(&lease(b)), lease(a).encode().cmp(&lease(b).encode()));
        let payload = PayloadKey { queue: a.0, sequence: Sequence(a.1) };
        prop_assert_eq!(PayloadKey::decode(&payload.encode()), Ok(payload));
        let active = |a: (QueueId, u64), b: (QueueId, u64)| {
            ActiveKey { topic: TopicId(a.0.0), queue: b.0 }
        };
        prop_assert_eq!(ActiveKey::decode(&active(a, b).encode()), Ok(active(a, b)));
        prop_assert_eq!(
            active(a, b).cmp(&active(b, a)), active(a, b).encode().cmp(&active(b, a).encode())
        );
    }

    #[test]
    fn keys_of_delayed_entries_round_trip_and_sort_like_their_bytes(
        a in (due(), rank()), b in (due(), rank()), queue in queue_id(),
    ) {
        let by_time = |(due, rank): (Due, EntryRank)| {
            DelayedKey { due, queue, sequence: rank.sequence }
        };
        prop_assert_eq!(DelayedKey::decode(&by_time(a).encode()), Ok(by_time(a)));
        prop_assert_eq!(by_time(a).cmp(&by_time(b)), by_time(a).encode().cmp(&by_time(b).encode()));
        let by_queue = |(due, rank)| DelayedEntryKey { queue, due, rank };
        let stored = by_queue(a).encode();
        prop_assert_eq!(DelayedEntryKey::decode(&stored), Ok(by_queue(a)));
        prop_assert_eq!(by_queue(a).cmp(&by_queue(b)), stored[..].cmp(&by_queue(b).encode()));
        prop_assert!(DelayedEntryKey::is_one(&stored) && EntryKey::decode(&stored).is_err());
        prop_assert!(stored.starts_with(&EntryKey::stage_prefix(queue, Stage::Delayed)));
    }

    #[test]
    fn bodies_round_trip(body in body()) {
        let stored = body.encode();
        prop_assert_eq!(stored.len(), body.encoded_len());
        prop_assert_eq!(Body::decode(&stored), Ok(body));
    }

    #[test]
    fn rows_round_trip(
        attempts in any::<u32>(), at in any::<u64>(), inline in any::<bool>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..99), rank in rank(), token in any::<(u64, u64)>(),
    ) {
        let body = if inline { StoredBody::Inline(bytes.into()) } else { StoredBody::Separate { n_bytes: attempts } };
        let retry_floor_ms = token.0 % 3;
        let row = EntryRow { attempts, enqueued_at: UnixMillis(at), retry_floor_ms, body };
        let mut stored = Vec::new();
        row.encode_into(&mut stored);
        prop_assert_eq!(EntryRow::decode(&stored), Ok(row.clone()));
        let head = EntryHead {
            attempts,
            n_bytes: row.body.n_bytes(),
            enqueued_at: UnixMillis(at),
            separate_body: !inline,
            has_retry_floor: retry_floor_ms > 0,
        };
        prop_assert_eq!(EntryRow::decode_head(&stored), Ok(head));
        prop_assert_eq!(row.head(), head);

        let delayed = DelayedRow { priority: rank.priority, entry: row.clone() };
        let mut stored = Vec::new();
        delayed.encode_into(&mut stored);
        prop_assert_eq!(DelayedRow::decode(&stored), Ok(delayed));

        let waits = DelayedEntryRow { attempts, n_bytes: 7, separate_body: !inline };
        prop_assert_eq!(DelayedEntryRow::decode(&waits.encode()), Ok(waits));

        let cause = if inline { DeadCause::Rejected } else { DeadCause::AttemptsSpent };
        let reason = "no such user ✗".repeat(usize::from(inline));
        let dead = DeadRow { cause, died_at: UnixMillis(token.1), reason, entry: row };
        let mut stored = Vec::new();
        dead.encode_into(&mut stored);
        prop_assert_eq!(DeadRow::decode(&stored), Ok(dead));

        let token = LeaseToken { epoch: Epoch(token.0), number: token.1 };
        let lease = LeaseRow {
            token, deadline: UnixMillis(at), attempts, enqueued_at: UnixMillis(token.number), n_bytes: 9,
            priority: rank.priority, separate_body: !inline, has_retry_floor: retry_floor_ms > 0,
        };
        prop_assert_eq!(LeaseRow::decode(&lease.encode()), Ok(lease));

        let active = ActiveRow { n_ready: at, n_delayed: token.number, n_dead: 3, n_bytes: 4, floor: rank };
        prop_assert_eq!(ActiveRow::decode(&active.encode()), Ok(active));
        let totals = TotalsRow { n_entries: at, n_bytes: token.number };
        prop_assert_eq!(TotalsRow::decode(&totals.encode()), Ok(totals));
        let seen = DedupRow { rank, expires_at: UnixMillis(at) };
        prop_assert_eq!(DedupRow::decode(&seen.encode()), Ok(seen));
        prop_assert_eq!(decode_u64(&encode_u64(at)), Ok(at));
    }

    #[test]
    fn dedup_keys_round_trip_and_sort_by_time(
        a in (queue_id(), any::<u64>()), b in (queue_id(), any::<u64>()),
        key in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let by_time = |(queue, at): (QueueId, u64)| DedupExpiryKey {
            expires_at: UnixMillis(at),
            seen: DedupKey { queue, key: key.clone().into() },
        };
        let (a, b) = (by_time(a), by_time(b));
        prop_assert_eq!(DedupKey::decode(&a.seen.encode()), Ok(a.seen.clone()));
        prop_assert_eq!(DedupExpiryKey::decode(&a.encode()), Ok(a.clone()));
        prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
        prop_assert!(DedupExpiryKey::is_one(&a.encode()) && !DedupExpiryKey::is_one(&a.seen.encode()));
        prop_assert!(a.encode()[..] >= DedupExpiryKey::lower(a.expires_at)[..]);
    }

    #[test]
    fn queue_rows_round_trip(topic in "\\PC{1,40}", key in proptest::collection::vec(any::<u8>(), 1..99)) {
        let row = QueueRow { topic: TopicName::new(&topic).unwrap(), key: QueueKey::new(key).unwrap() };
        prop_assert_eq!(QueueRow::decode(&row.encode()), Ok(row));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let bytes = Bytes::from(bytes);
        let _ = EntryKey::decode(&bytes);
        let _ = LeaseKey::decode(&bytes);
        let _ = DelayedKey::decode(&bytes);
        let _ = DelayedEntryKey::decode(&bytes);
        let _ = DelayedRow::decode(&bytes);
        let _ = DelayedEntryRow::decode(&bytes);
        let _ = DeadRow::decode(&bytes);
        let _ = PayloadKey::decode(&bytes);
        let _ = ActiveKey::decode(&bytes);
        let _ = EntryRow::decode(&bytes);
        let _ = EntryRow::decode_head(&bytes);
        let _ = LeaseRow::decode(&bytes);
        let _ = ActiveRow::decode(&bytes);
        let _ = QueueRow::decode(&bytes);
        let _ = TotalsRow::decode(&bytes);
        let _ = DedupRow::decode(&bytes);
        let _ = DedupKey::decode(&bytes);
        let _ = DedupExpiryKey::decode(&bytes);
        let _ = SettingsRow::decode(&bytes, &bytes);
        let _ = Body::decode(&bytes);
        let _ = decode_u64(&bytes);
    }

    #[test]
    fn a_prefix_successor_is_the_least_upper_bound(
        prefix in proptest::collection::vec(prop_oneof![Just(0xFF_u8), any::<u8>()], 0..6),
        tail in proptest::collection::vec(any::<u8>(), 0..6),
    ) {
        let inside = [prefix.clone(), tail].concat();
        match prefix_successor(&prefix) {
            None => prop_assert!(prefix.iter().all(|&byte| byte == 0xFF)),
            Some(successor) => {
                prop_assert!(inside < successor);
                let highest = [prefix, vec![0xFF; 8]].concat();
                prop_assert!(highest < successor && successor <= [&successor[..], &[0]].concat());
            }
        }
    }
}

#[test]
fn names_are_checked_at_the_border() {
    assert_eq!(TopicName::new(""), Err(InvalidName::Empty { what: "topic name" }));
    assert_eq!(QueueKey::new(""), Err(InvalidName::Empty { what: "queue key" }));
    let long = QueueKey::new(vec![b'x'; 4096]).unwrap_err();
    assert_eq!(long.to_string(), "queue key is 4096 bytes, the limit is 1024 bytes");
    assert!(QueueKey::new(vec![b'x'; 1024]).is_ok());
    assert!(TopicName::new(&"x".repeat(256)).is_err());
}

#[test]
fn oversized_bodies_name_the_limit() {
    let body = Body { payload: vec![0; limits::PAYLOAD_BYTES_MAX + 1].into(), ..Body::default() };
    assert_eq!(
        body.check().unwrap_err().to_string(),
        "payload is 16777217 bytes, the limit is 16777216 bytes"
    );
    let mut body = Body::default();
    body.headers.push("a", vec![0; limits::HEADER_BYTES_MAX]);
    assert_eq!(body.check().unwrap_err().what, "sum of headers");
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let entry = EntryRow {
        attempts: 1,
        enqueued_at: UnixMillis(2),
        retry_floor_ms: 0,
        body: StoredBody::Inline(Bytes::from_static(b"body")),
    };
    let reason = "é".repeat(limits::REASON_BYTES_MAX);
    let dead = DeadRow { cause: DeadCause::Rejected, died_at: UnixMillis(3), reason, entry };
    let mut stored = Vec::new();
    dead.encode_into(&mut stored);
    let read = DeadRow::decode(&stored).unwrap();
    assert_eq!(read.reason, "é".repeat(limits::REASON_BYTES_MAX / 2));
    assert_eq!(read.entry, dead.entry);
}

#[test]
fn queue_ids_depend_on_the_split_between_topic_and_key() {
    let id =
        |topic, key| QueueId::derive(&TopicName::new(topic).unwrap(), &QueueKey::new(key).unwrap());
    assert_ne!(id("ab", "c"), id("a", "bc"));
    assert_eq!(id("jobs", "user-1"), id("jobs", "user-1"));
    // Stored data depends on this value: it must never change within a format version.
    assert_eq!(id("jobs", "user-1").to_string(), "4f6185f6829a6502095907bc871db7f4");
}

#[test]
fn queues_of_the_same_key_live_together() {
    let id = |topic, key: &QueueKey| QueueId::derive(&TopicName::new(topic).unwrap(), key);
    for n in 0..100 {
        let key = QueueKey::new(format!("user-{n}")).unwrap();
        let (jobs, failed) = (id("jobs", &key), id("failed", &key));
        assert_ne!(jobs, failed);
        assert_eq!(jobs.partition(1024), failed.partition(1024));
    }
}

#[test]
fn partitions_share_queues_evenly() {
    let topic = TopicName::new("jobs").unwrap();
    let mut counts = [0_u32; 3];
    for n in 0..3000 {
        let key = QueueKey::new(format!("user-{n}")).unwrap();
        counts[usize::from(QueueId::derive(&topic, &key).partition(3))] += 1;
    }
    assert!(counts.iter().all(|&count| (900..1100).contains(&count)), "{counts:?}");
}

#[test]
fn keys_are_shown_as_text_where_they_are_text() {
    assert_eq!(QueueKey::new("tenant-42").unwrap().to_string(), "tenant-42");
    assert_eq!(QueueKey::new([0xFF, b'a']).unwrap().to_string(), "\\xffa");
}
