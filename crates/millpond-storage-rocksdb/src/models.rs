//! Models of the hand-offs between threads, and the same closures once under std.

use millpond_storage_api::{LogPins, LogPosition, StoreError, StoreErrorKind};
use millpond_sync::thread::{self, block_on};
use millpond_sync::{Arc, model, oneshot};

use crate::error::closed;
use crate::pool::ReadPool;
use crate::queue::CommitQueue;

fn queue() -> Arc<CommitQueue<u64>> {
    Arc::new(CommitQueue::new(LogPosition(0)))
}

/// What a writer sees until the queue is closed and empty.
fn drain_to_end(queue: &CommitQueue<u64>) -> Vec<u64> {
    let (mut seen, mut batch) = (Vec::new(), Vec::new());
    while queue.drain(&mut batch) {
        seen.append(&mut batch);
    }
    seen
}

#[test]
fn what_was_accepted_before_the_close_is_drained_once() {
    model("commit_queue_submit_against_close_against_drain", || {
        let queue = queue();
        let submitter = {
            let queue = queue.clone();
            thread::spawn(move || queue.push_commit(7).is_ok())
        };
        let closer = {
            let queue = queue.clone();
            thread::spawn(move || {
                queue.close(closed());
                queue.push_commit(8).expect_err("nothing is accepted after the close").0
            })
        };
        let seen = drain_to_end(&queue);
        let accepted = submitter.join().expect("submitting does not panic");
        assert_eq!(seen, if accepted { vec![7] } else { vec![] });
        assert_eq!(closer.join().expect("closing does not panic"), 8);
        queue.with_newest(|newest| assert_eq!(newest.0, u64::from(accepted)));
    });
}

#[test]
fn submitters_are_drained_in_the_order_of_their_positions() {
    model("commit_queue_two_submitters_are_ordered", || {
        let queue = queue();
        let submitter = {
            let queue = queue.clone();
            thread::spawn(move || queue.push_commit(1).expect("the queue is open"))
        };
        let second = queue.push_commit(2).expect("the queue is open");
        let first = submitter.join().expect("submitting does not panic");
        queue.close(closed());
        let expected = if first < second { vec![1, 2] } else { vec![2, 1] };
        assert_eq!(drain_to_end(&queue), expected);
        assert_eq!(first.0 + second.0, 3, "positions are dense");
    });
}

#[test]
fn a_waiting_writer_is_woken_by_each_item() {
    model("commit_queue_no_lost_wakeup", || {
        let queue = queue();
        let submitter = {
            let queue = queue.clone();
            thread::spawn(move || {
                queue.push_commit(1).expect("the queue is open");
                queue.push_control(2).expect("the queue is open");
            })
        };
        // A lost wakeup is a deadlock here, which loom reports.
        let (mut seen, mut batch) = (Vec::new(), Vec::new());
        while seen.len() < 2 {
            assert!(queue.drain(&mut batch), "nobody closes");
            seen.append(&mut batch);
        }
        assert_eq!(seen, [1, 2]);
        submitter.join().expect("submitting does not panic");
    });
}

#[test]
fn the_first_reason_of_a_close_stays() {
    model("commit_queue_close_against_close", || {
        let queue = queue();
        let failing = {
            let queue = queue.clone();
            thread::spawn(move || queue.close(StoreError::new(StoreErrorKind::Closed, "failed")))
        };
        queue.close(closed());
        let (_, before) = queue.push_commit(1).expect_err("the queue is closed");
        failing.join().expect("closing does not panic");
        let (_, after) = queue.push_commit(1).expect_err("the queue is closed");
        assert_eq!(before, after);
    });
}

#[test]
fn a_batch_after_a_pin_is_seen_with_the_pin() {
    model("commit_queue_pin_against_submit", || {
        let (queue, pins) = (queue(), LogPins::new());
        let submitter = {
            let queue = queue.clone();
            thread::spawn(move || queue.push_commit(1).expect("the queue is open"))
        };
        let writer = {
            let (queue, pins) = (queue.clone(), pins.clone());
            thread::spawn(move || {
                let mut batch = Vec::new();
                assert!(queue.drain(&mut batch), "nobody closes");
                pins.oldest()
            })
        };
        let pin = queue.with_newest(|newest| pins.pin_after(newest));
        let position = submitter.join().expect("submitting does not panic");
        let seen = writer.join().expect("draining does not panic");
        if position > pin.position() {
            assert_eq!(seen, Some(pin.position()), "the batch would not be recorded");
        }
    });
}

#[test]
fn a_read_is_run_or_dropped_when_the_pool_closes() {
    model("read_pool_run_against_close", || {
        let pool = Arc::new(ReadPool::start(1).expect("a thread"));
        let (sender, receiver) = oneshot::channel();
        let reader = {
            let pool = pool.clone();
            thread::spawn(move || {
                let run = pool.run(Box::new(move || {
                    let _ = sender.send(7);
                }));
                (run.is_ok(), block_on(receiver))
            })
        };
        pool.close();
        let (accepted, outcome) = reader.join().expect("reading does not panic");
        assert!(accepted || outcome.is_err(), "a refused read was run");
    });
}
