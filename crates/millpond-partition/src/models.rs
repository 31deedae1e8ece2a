//! Models of the threads that read, named after the race each excludes.

use millpond_sync::{model, thread};

use crate::executor::Executor;

/// What becomes of a job: run, or dropped.
struct Job(millpond_sync::oneshot::Sender<()>);

#[test]
fn a_job_submitted_while_a_thread_falls_asleep_is_run() {
    model("executor_submit_against_sleep", || {
        let executor = Executor::new(1, |Job(sender)| {
            let _ = sender.send(());
        });
        for _ in 0..2 {
            let (sender, receiver) = millpond_sync::oneshot::channel();
            executor.submit(Job(sender), false);
            thread::block_on(receiver).expect("the job is run");
        }
    });
}

#[test]
fn a_job_is_run_or_dropped_when_the_executor_goes() {
    model("executor_submit_against_drop", || {
        let executor = Executor::new(1, |Job(sender)| {
            let _ = sender.send(());
        });
        let (sender, receiver) = millpond_sync::oneshot::channel();
        executor.submit(Job(sender), true);
        drop(executor);
        // Either way somebody hears of it: nobody waits for ever.
        let _ = thread::block_on(receiver);
    });
}

// Loom ends a model at the first panic.
#[cfg(not(millpond_loom))]
#[test]
fn a_panic_costs_a_job_and_no_thread() {
    let executor = Executor::new(1, |Job(sender)| {
        drop(sender);
        panic!("a job that fails");
    });
    for _ in 0..2 {
        let (sender, receiver) = millpond_sync::oneshot::channel();
        executor.submit(Job(sender), false);
        assert!(thread::block_on(receiver).is_err(), "its owner hears of it");
    }
}
