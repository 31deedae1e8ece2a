use super::*;
use millpond::admin::Activity;

fn queue(key: &str, n_granted: Option<u32>) -> QueueInfo {
    QueueInfo {
        topic: "t".to_owned(),
        key: key.to_owned(),
        id: key.to_owned(),
        n_entries: 7,
        n_granted,
        weight: Some(3),
        band: Some(0),
        ..QueueInfo::default()
    }
}

fn look(at: u64, n_granted: u64, queues: Vec<QueueInfo>) -> Look {
    let activity = Some(Activity { n_granted, ..Activity::default() });
    let partitions = vec![PartitionInfo { activity, ..PartitionInfo::default() }];
    Look { at: Micros(at), queues, partitions, incomplete: None }
}

#[test]
fn rates_and_shares_are_what_was_leased_in_between() {
    let before = look(0, 100, vec![queue("a", Some(10)), queue("b", Some(5)), queue("c", Some(9))]);
    let queues = vec![
        queue("a", Some(40)),
        queue("b", Some(5)),
        queue("c", Some(2)),
        queue("new", Some(1)),
        queue("away", None),
    ];
    let after = look(2_000_000, 160, queues);
    let rows = after.rows(Some(&before));
    let told: Vec<_> = rows.iter().map(|row| (row.rate_per_s, row.share)).collect();
    let unknown = (None, None);
    assert_eq!(told, [(Some(15.0), Some(0.5)), (Some(0.0), Some(0.0)), unknown, unknown, unknown]);
    let text = listed(&rows);
    assert!(text.contains("15.0/s  50.0 %       3"), "{text}");
}

#[test]
fn one_look_has_no_rates_and_leases_that_were_not_counted_yet_are_not_more_than_all() {
    let one = look(0, 100, vec![queue("a", Some(10))]);
    assert_eq!((one.rows(None)[0].rate_per_s, one.rows(None)[0].share), (None, None));
    let next = look(1_000_000, 105, vec![queue("a", Some(20))]);
    assert_eq!(next.rows(Some(&one))[0].share, Some(1.0));
    let none = look(1_000_000, 100, vec![queue("a", Some(10))]);
    assert_eq!(none.rows(Some(&one))[0].share, Some(0.0));
}
