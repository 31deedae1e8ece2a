//! Leases whose callers go away, and leases that end.

use millpond_partition::{LeaseCall, LeaseSource, PartitionError, PartitionOptions, StaleReason};
use millpond_sync::thread::block_on;

use crate::fixture::{
    LEASE_MS, answered, barrier, call, enqueue, lease, lease_ref, on_new_disk, queue,
};

#[test]
fn a_caller_that_goes_away_before_its_answer_takes_nothing() {
    let (_disk, partition) = on_new_disk(PartitionOptions::default());
    let queue = queue("a");
    let gone = call(&partition, LeaseSource::Queue(queue.id), 5, true);
    barrier(&partition);
    drop(gone);
    enqueue(&partition, &queue, 1);
    let grant = lease(&partition, LeaseSource::Queue(queue.id), 1).remove(0);
    assert_eq!(grant.attempt, 1);
}

#[test]
fn leases_dropped_unread_come_back_uncounted_and_under_new_tokens() {
    let (_disk, partition) = on_new_disk(PartitionOptions::default());
    let queue = queue("a");
    enqueue(&partition, &queue, 2);
    let unread = block_on(call(&partition, LeaseSource::Queue(queue.id), 5, true));
    let unread = unread.expect("answered").expect("the partition is open");
    let next = call(&partition, LeaseSource::Queue(queue.id), 5, true);
    drop(unread);
    let grants = answered(next).expect("the partition is open");
    assert_eq!(grants.iter().map(|grant| grant.attempt).collect::<Vec<_>>(), [1, 1]);
    assert!(grants.iter().all(|grant| grant.token.number > 2), "tokens are not used twice");
}

#[test]
fn a_call_withdrawn_by_its_caller_is_not_served() {
    let (_disk, partition) = on_new_disk(PartitionOptions::default());
    let queue = queue("a");
    let (withdrawn, answer) = LeaseCall::new(5, 1000);
    block_on(partition.lease(LeaseSource::Queue(queue.id), &withdrawn, true)).expect("open");
    assert!(withdrawn.withdraw() && !withdrawn.withdraw());
    block_on(answer).expect_err("there is nobody left to answer it");
    enqueue(&partition, &queue, 1);
    assert_eq!(lease(&partition, LeaseSource::Queue(queue.id), 1)[0].attempt, 1);
}

#[test]
fn a_lease_that_runs_out_is_granted_to_the_next_and_refused_to_the_first() {
    let (_disk, partition) = on_new_disk(PartitionOptions::default());
    let queue = queue("a");
    enqueue(&partition, &queue, 1);
    let (short, answer) = LeaseCall::new(1, 1);
    block_on(partition.lease(LeaseSource::Queue(queue.id), &short, true)).expect("open");
    let first = answered(answer).expect("the partition is open").remove(0);
    let second = lease(&partition, LeaseSource::Queue(queue.id), 1).remove(0);
    assert_eq!((second.id, second.attempt), (first.id, 2));
    assert!(second.token > first.token);
    let error = block_on(partition.ack(lease_ref(&first))).expect_err("it ran out");
    let reason = StaleReason::Superseded;
    assert_eq!(error, PartitionError::StaleLease { id: first.id, reason });
    block_on(partition.ack(lease_ref(&second))).expect("it is in force");
    let error = block_on(partition.ack(lease_ref(&second))).expect_err("acked already");
    let reason = StaleReason::NotLeased;
    assert_eq!(error, PartitionError::StaleLease { id: second.id, reason });
}

#[test]
fn a_lease_of_an_earlier_owner_ends_as_the_options_say() {
    use crate::fixture::{open, store};
    use millpond_partition::LeasesAtOpen;
    use millpond_storage_memory::MemoryOptions;

    let (disk, partition) = on_new_disk(PartitionOptions::default());
    let queue = queue("a");
    enqueue(&partition, &queue, 1);
    let first = lease(&partition, LeaseSource::Queue(queue.id), 1).remove(0);
    block_on(partition.close()).expect("the store has not failed");

    let keeping = open(store(&disk, MemoryOptions::default()), PartitionOptions::default());
    let none = answered(call(&keeping, LeaseSource::Queue(queue.id), 1, false));
    assert_eq!(none, Ok(Vec::new()), "the lease is in force");
    block_on(keeping.extend(lease_ref(&first), 90_000)).expect("its token is honoured");
    block_on(keeping.close()).expect("the store has not failed");

    let leases_at_open = LeasesAtOpen::Release;
    let options = PartitionOptions { leases_at_open, ..PartitionOptions::default() };
    let releasing = open(store(&disk, MemoryOptions::default()), options);
    let error = block_on(releasing.ack(lease_ref(&first))).expect_err("its owner is gone");
    let reason = StaleReason::Expired;
    assert_eq!(error, PartitionError::StaleLease { id: first.id, reason });
    let second = lease(&releasing, LeaseSource::Queue(queue.id), 1).remove(0);
    assert_eq!((second.id, second.attempt), (first.id, 2));
    assert!(second.token > first.token, "tokens grow across owners");
}

#[test]
fn the_last_attempt_is_judged_by_the_next_owner_if_the_one_that_ended_it_dies() {
    use crate::fixture::{open, store};
    use millpond_partition::{LeasesAtOpen, PartitionReport};
    use millpond_storage_memory::MemoryOptions;
    use millpond_types::Settings;

    let (disk, partition) = on_new_disk(PartitionOptions::default());
    let queue = queue("a");
    enqueue(&partition, &queue, 1);
    lease(&partition, LeaseSource::Queue(queue.id), 1);
    block_on(partition.close()).expect("the store has not failed");
    // This one has no limit yet, so it leaves what one has that dies before it comes to the entry.
    let leases_at_open = LeasesAtOpen::Release;
    let options = PartitionOptions { leases_at_open, ..PartitionOptions::default() };
    let releasing = open(store(&disk, MemoryOptions::default()), options);
    block_on(releasing.close()).expect("the store has not failed");

    let defaults = Settings::default().with_attempts_max(1);
    let options = PartitionOptions { defaults, ..PartitionOptions::default() };
    let judging = open(store(&disk, MemoryOptions::default()), options);
    let none = answered(call(&judging, LeaseSource::Queue(queue.id), 1, false));
    assert_eq!(none, Ok(Vec::new()), "its only attempt was made");
    let PartitionReport { n_entries, n_dead, .. } = block_on(judging.report(0)).expect("open");
    assert_eq!((n_entries, n_dead), (0, 1));
}

#[test]
fn a_call_registered_with_two_partitions_is_served_by_one() {
    let (_disk, first) = on_new_disk(PartitionOptions::default());
    let (_disk, second) = on_new_disk(PartitionOptions::default());
    let queue = queue("a");
    for n in 0..20 {
        let (shared, answer) = LeaseCall::new(1, LEASE_MS);
        for partition in [&first, &second] {
            block_on(partition.lease(LeaseSource::Topic(queue.topic_id), &shared, true))
                .expect("open");
        }
        let (busy, idle) = if n % 2 == 0 { (&first, &second) } else { (&second, &first) };
        let id = enqueue(busy, &queue, 1)[0];
        let grant = answered(answer).expect("both are open").remove(0);
        assert_eq!(grant.id, id);
        block_on(busy.ack(lease_ref(&grant))).expect("it is in force");
        let report = block_on(idle.report(0)).expect("open");
        assert_eq!(report.n_leased, 0);
    }
    // With work in both, only the one that claimed the call grants.
    let (shared, answer) = LeaseCall::new(5, LEASE_MS);
    for partition in [&first, &second] {
        enqueue(partition, &queue, 1);
        block_on(partition.lease(LeaseSource::Topic(queue.topic_id), &shared, true)).expect("open");
    }
    assert_eq!(answered(answer).expect("both are open").len(), 1);
    let leased = [&first, &second].map(|p| block_on(p.report(0)).expect("open").n_leased);
    assert_eq!(leased.iter().sum::<u64>(), 1);
}

#[test]
fn a_long_queue_does_not_keep_the_others_of_its_topic_waiting() {
    let (_disk, partition) = on_new_disk(PartitionOptions::default());
    enqueue(&partition, &queue("long"), 40);
    for key in ["b", "c"] {
        enqueue(&partition, &queue(key), 1);
    }
    let grants = lease(&partition, LeaseSource::Topic(queue("b").topic_id), 4);
    let queues: Vec<_> = grants.iter().map(|grant| grant.id.queue).collect();
    let [long, b, c] = ["long", "b", "c"].map(|key| queue(key).id);
    assert_eq!(queues, [long, b, c, long]);
}
