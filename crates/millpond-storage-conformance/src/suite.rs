//! The list of cases, from which both the tests and the table are made.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::Once;

use crate::{FaultHarness, Harness};

/// One case of the suite.
#[derive(Debug)]
pub struct Case<H> {
    /// The part of the contract that it is about.
    pub group: &'static str,
    /// What must hold.
    pub name: &'static str,
    /// Runs the case on a fresh harness; panics if the backend breaks the contract.
    pub run: fn(H),
}

impl<H> Case<H> {
    /// Runs the case and returns why it failed, if it did, without printing anything.
    pub fn failure(&self, harness: H) -> Option<String> {
        let failed = quietly(|| (self.run)(harness)).err()?;
        let text = failed.downcast_ref::<String>().cloned();
        let text = text.or_else(|| failed.downcast_ref::<&str>().map(ToString::to_string));
        Some(text.unwrap_or_default())
    }
}

/// What a test of [`conformance_suite!`](crate::conformance_suite) calls.
#[doc(hidden)]
pub fn run_case<H: Harness>(group: &str, name: &str, harness: H) {
    run(cases(), group, name, harness);
}

/// What a test about failing commits calls.
#[doc(hidden)]
pub fn run_fault_case<H: FaultHarness>(group: &str, name: &str, harness: H) {
    run(fault_cases(), group, name, harness);
}

fn run<H>(cases: Vec<Case<H>>, group: &str, name: &str, harness: H) {
    let case = cases.into_iter().find(|case| (case.group, case.name) == (group, name));
    let case = case.expect("the tests and the table are made from the same list");
    (case.run)(harness);
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic whose message nobody wants to see. Other threads keep theirs.
fn quietly(run: impl FnOnce()) -> std::thread::Result<()> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                hook(info);
            }
        }));
    });
    QUIET.set(true);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    outcome
}

macro_rules! suite {
    ($d:tt
     faults { $($fault_group:ident { $($fault_case:ident,)+ })+ }
     $($group:ident { $($case:ident,)+ })+
    ) => {
        /// Every case that any backend can run.
        pub fn cases<H: Harness>() -> Vec<Case<H>> {
            vec![$($(Case {
                group: stringify!($group),
                name: stringify!($case),
                run: crate::cases::$group::$case::<H>,
            },)+)+]
        }

        /// Every case that needs a failing device.
        pub fn fault_cases<H: FaultHarness>() -> Vec<Case<H>> {
            vec![$($(Case {
                group: stringify!($fault_group),
                name: stringify!($fault_case),
                run: crate::cases::$fault_group::$fault_case::<H>,
            },)+)+]
        }

        /// Makes one `#[test]` per case, in one module per group. The argument makes a fresh
        /// [`Harness`](crate::Harness). With `faults` as second argument the harness is a
        /// [`FaultHarness`](crate::FaultHarness), and the cases about failing commits are made too.
        #[macro_export]
        macro_rules! conformance_suite {
            ($d harness:expr) => {
                fn conformance_harness() -> impl $d crate::Harness {
                    $d harness
                }
                $(mod $group {
                    $(#[test]
                    fn $case() {
                        $d crate::run_case(
                            stringify!($group),
                            stringify!($case),
                            super::conformance_harness(),
                        );
                    })+
                })+
            };
            ($d harness:expr, faults) => {
                $d crate::conformance_suite!($d harness);
                fn conformance_fault_harness() -> impl $d crate::FaultHarness {
                    $d harness
                }
                $(mod $fault_group {
                    $(#[test]
                    fn $fault_case() {
                        $d crate::run_fault_case(
                            stringify!($fault_group),
                            stringify!($fault_case),
                            super::conformance_fault_harness(),
                        );
                    })+
                })+
            };
        }
    };
}

suite! { $
    faults {
        fail_stop {
            a_failed_commit_says_why,
            every_later_commit_fails_too,
            earlier_commits_are_durable,
            reopening_is_the_cure,
            nothing_durable_is_lost,
            a_failed_buffered_batch_says_why_and_stops_the_store,
            buffered_batches_fail_after_a_failed_commit,
        }
    }
    order {
        positions_are_dense_from_one,
        positions_go_on_after_a_clean_reopen,
        positions_go_on_after_a_crash,
        batches_apply_in_the_order_of_submit,
        tickets_resolve_in_the_order_of_submit,
        threads_get_distinct_dense_positions,
        an_empty_batch_takes_a_position,
        durable_position_keeps_up_with_tickets,
    }
    durability {
        everything_survives_a_clean_reopen,
        acknowledged_batches_survive_a_crash,
        a_crash_keeps_a_prefix_of_what_was_submitted,
        a_batch_survives_whole_or_not_at_all,
        removals_survive_a_crash,
        crashes_in_a_row_lose_nothing,
        dropping_the_ticket_does_not_cancel_the_commit,
        what_threads_were_told_survives_a_crash,
    }
    visibility {
        a_resolved_batch_is_visible_to_every_read,
        reads_see_a_prefix_of_what_was_submitted,
        reads_never_go_back,
        a_batch_becomes_visible_as_a_whole,
    }
    buffered {
        both_kinds_stand_in_one_order,
        a_durable_ticket_resolves_after_those_before_it,
        it_is_visible_once_its_ticket_resolves,
        a_later_durable_batch_covers_it,
        an_empty_durable_batch_covers_it,
        it_survives_the_end_of_the_process,
        a_crash_keeps_a_prefix_of_both_kinds,
        it_survives_whole_or_not_at_all,
        it_is_durable_after_a_close,
        it_is_refused_after_a_close,
        a_checkpoint_holds_it,
        its_record_is_read_once_it_is_durable,
    }
    ownership {
        every_open_claims_a_higher_epoch,
        an_epoch_is_claimed_before_anything_is_written,
        the_epoch_of_a_handle_never_changes,
        a_second_handle_is_refused_or_fences_the_first,
        a_fenced_batch_never_takes_effect,
    }
    scan {
        the_lower_bound_is_inclusive_and_the_upper_is_not,
        bounds_need_not_be_keys,
        without_an_upper_bound_it_ends_with_the_table,
        empty_and_inverted_ranges_are_exhausted,
        an_empty_table_is_exhausted,
        keys_of_ones_are_reached,
        keys_are_ordered_as_unsigned_bytes,
        rows_max_is_kept,
        bytes_max_is_kept,
        an_oversized_row_is_still_returned,
        continuing_after_last_gives_every_row_once,
        a_range_of_exactly_rows_max_ends,
        overwritten_and_removed_rows_are_gone,
        ranges_reach_over_long_prefixes,
        tombstones_do_not_stop_it,
        skip_max_keeps_a_valid_prefix,
        it_sees_one_moment,
        a_dropped_scan_harms_nothing,
    }
    get {
        absent_is_none_and_empty_is_some,
        the_newest_value_is_returned,
        binary_keys_and_large_values_come_back,
        tables_do_not_mix,
        it_works_after_a_reopen,
    }
    batch {
        changes_apply_in_order,
        put_then_delete_leaves_nothing,
        delete_then_put_leaves_the_value,
        delete_range_is_half_open,
        delete_range_spares_later_puts,
        delete_range_takes_earlier_puts,
        empty_and_inverted_delete_ranges_do_nothing,
        delete_range_stays_in_its_table,
        single_delete_removes_and_the_key_can_return,
        removing_what_is_absent_is_fine,
        a_large_batch_is_one_batch,
    }
    log {
        nothing_is_recorded_without_a_pin,
        pinned_batches_are_read_back_as_submitted,
        positions_match_the_tickets,
        reading_after_the_newest_is_empty,
        bytes_max_gives_at_least_one_and_no_holes,
        advancing_keeps_what_lies_behind_it,
        what_was_not_recorded_is_a_gap,
        a_second_pin_does_not_hide_a_hole,
        every_pin_holds,
        only_durable_batches_are_read,
        a_reopened_store_has_an_empty_log,
    }
    checkpoint {
        it_stays_while_the_store_moves_on,
        its_position_is_exact,
        checkpoints_are_independent,
        an_empty_store_has_one,
        a_checkpoint_and_the_log_give_the_store,
    }
    close {
        it_is_idempotent,
        submitted_batches_are_durable_when_it_ends,
        everything_is_refused_afterwards,
        the_store_can_be_opened_again,
        dropping_the_future_harms_nothing,
        a_batch_that_races_it_is_durable_or_refused,
    }
    differential {
        a_random_history_matches_the_oracle,
    }
}
