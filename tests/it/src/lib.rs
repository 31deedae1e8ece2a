//! The facade end to end: what the documentation promises to a user, and what it says about bad input.
//! The tests are in `tests/it`; this library only holds what they share.

use millpond::{Delivery, Engine, Error, ErrorKind, LeaseRequest, Options, Status};
use std::path::Path;

/// An engine with two partitions whose figures do not depend on the machine.
///
/// # Errors
///
/// As [`Engine::open`].
pub async fn open(directory: &Path) -> Result<Engine, Error> {
    Engine::open(options(directory)).await
}

/// The options of [`open`].
pub fn options(directory: &Path) -> Options {
    Options::new(directory).partitions(2).cache_bytes(8 << 20).write_buffer_bytes(8 << 20)
}

/// Leases and acks until nothing is ready, one entry at a time, and returns the payloads in order.
///
/// # Errors
///
/// As [`LeaseRequest::fetch`] and [`Delivery::ack`].
pub async fn drain(request: LeaseRequest) -> Result<Vec<String>, Error> {
    let mut payloads = Vec::new();
    while let Some(delivery) = request.clone().fetch_one().await? {
        payloads.push(text(&delivery));
        delivery.ack().await?;
    }
    Ok(payloads)
}

/// Sizes and counters once a restart has brought all queues back.
///
/// # Errors
///
/// As [`Engine::status`].
pub async fn status(engine: &Engine) -> Result<Status, Error> {
    loop {
        let status = engine.status().await?;
        if !status.recalling {
            return Ok(status);
        }
    }
}

/// The payload as text.
pub fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(delivery.payload()).into_owned()
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

/// Asserts that something was refused as invalid input, in words that say so.
///
/// # Panics
///
/// When it was not.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>, says: &str) {
    let error = outcome.expect_err(says);
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}
