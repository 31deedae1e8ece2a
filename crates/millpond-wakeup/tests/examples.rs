//! The examples check themselves; here they run.

#[path = "../examples/flush.rs"]
mod flush;
#[path = "../examples/lease_expiry.rs"]
mod lease_expiry;
#[path = "../examples/retry.rs"]
mod retry;

#[test]
fn flush_at_so_many_items_or_after_so_long() {
    flush::main().expect("there is room for all tenants");
}

#[test]
fn retry_with_jitter_and_a_floor() {
    retry::main().expect("the policy is sound and there is room for all entries");
}

#[test]
fn lease_expiry_with_one_wakeup_per_queue() {
    lease_expiry::main().expect("there is room for all queues");
}
