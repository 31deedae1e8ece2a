//! What an inbox costs while nothing happens; a partition holds millions of them.

use millpond_inbox::Inbox;

#[test]
fn an_inbox_of_small_keys_and_handles_fits_in_a_cache_line() {
    assert!(size_of::<Inbox<[u8; 16], [u8; 16]>>() <= 64);
    // A priority and a sequence number, aligned, and a handle of two words.
    assert!(size_of::<Inbox<(u8, u64), (u64, u64)>>() <= 64);
}
