//! One round of each case: a slow load or promotion of the old value, and what comes in between.

use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::held::{Flight, finish, settle, step};
use crate::Outcome;
use crate::cache::{Cache, Key, LoadFailed, Support};

/// How a round ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Round {
    Holds,
    /// Holds, because the write does not return before the load has ended.
    HoldsByWaiting,
    /// Somebody who came after the write got what was there before.
    Stale,
    NoSuchOperation,
}

/// What comes in between.
#[derive(Clone, Copy, Debug)]
pub(super) enum Write {
    Insert,
    Remove,
    Clear,
    ClearNamespace,
    RemoveTag,
}

impl Write {
    async fn apply<C: Cache>(self, cache: &C, key: Key) -> Support {
        match self {
            Self::Insert => cache.insert(key, new_value(key)).await,
            Self::Remove => cache.remove(key).await,
            Self::Clear => return cache.clear().await,
            Self::ClearNamespace => return cache.clear_namespace().await,
            Self::RemoveTag => return cache.remove_tag_of(key).await,
        }
        Support::Done
    }
}

/// Which of two loads ends first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    OldFirst,
    NewFirst,
}

/// A load is in flight, a write comes, the load ends with `result`.
pub(super) async fn write_during_load<C: Cache>(
    cache: &C,
    key: Key,
    write: Write,
    result: Result<Bytes, LoadFailed>,
) -> Outcome<Round> {
    is_kept_in_peace(cache, key).await?;
    let flight = Flight::start(cache, key, result).await;
    if !flight.is_loading() {
        return Err("nothing is loaded, although the cache does not have the key".into());
    }
    let mut writing = pin!(write.apply(cache, key));
    let written = step(writing.as_mut()).await;
    let is_stale_at_once = match written {
        Poll::Ready(Support::NoSuchOperation) => return Ok(Round::NoSuchOperation),
        Poll::Ready(Support::Done) => is_old(cache.get(key).await.as_ref(), key),
        Poll::Pending => false,
    };
    // The caller came before the write, so either value is right for it, and so is an error. It goes first: a load
    // may run in its caller.
    flight.end().await?.ok();
    if written.is_pending() {
        finish(writing).await?;
    }
    let is_stale = is_stale_at_once || is_stale_at_rest(cache, key, write).await?;
    Ok(match (is_stale, written.is_pending()) {
        (true, _) => Round::Stale,
        (false, true) => Round::HoldsByWaiting,
        (false, false) => Round::Holds,
    })
}

/// A load of the old value is in flight, the key is removed, and another caller asks for it.
pub(super) async fn second_load<C: Cache>(cache: &C, key: Key, order: Order) -> Outcome<Round> {
    is_kept_in_peace(cache, key).await?;
    let first = Flight::start(cache, key, Ok(old_value(key))).await;
    let mut removing = pin!(cache.remove(key));
    let is_waiting = step(removing.as_mut()).await.is_pending();
    let answer = if is_waiting {
        first.end().await?.ok();
        finish(removing).await?;
        Flight::start(cache, key, Ok(new_value(key))).await.end().await?
    } else {
        let second = Flight::start(cache, key, Ok(new_value(key))).await;
        both_end(first, second, order).await?
    };
    let is_stale =
        is_old(answer.ok().as_ref(), key) || is_stale_at_rest(cache, key, Write::Insert).await?;
    Ok(match (is_stale, is_waiting) {
        (true, _) => Round::Stale,
        (false, true) => Round::HoldsByWaiting,
        (false, false) => Round::Holds,
    })
}

/// What the second caller is told.
async fn both_end(
    first: Flight<'_>,
    second: Flight<'_>,
    order: Order,
) -> Outcome<Result<Bytes, LoadFailed>> {
    // A second caller whose loader is not asked waits for the first load: only that one can go on.
    if order == Order::NewFirst && second.is_loading() {
        let answer = second.end().await?;
        first.end().await?.ok();
        return Ok(answer);
    }
    first.end().await?.ok();
    second.end().await
}

/// The old value is on its way from the slow tier to memory, and a write comes.
pub(super) async fn write_during_promotion<C: Cache>(
    cache: &C,
    key: Key,
    write: Write,
) -> Outcome<Round> {
    if cache.hold_promotion(key, old_value(key)).await? == Support::NoSuchOperation {
        return Ok(Round::NoSuchOperation);
    }
    let written = write.apply(cache, key).await;
    let is_stale_at_once = is_old(cache.get(key).await.as_ref(), key);
    cache.end_promotion().await?;
    if written == Support::NoSuchOperation {
        return Ok(Round::NoSuchOperation);
    }
    let is_stale = is_stale_at_once || is_stale_at_rest(cache, key, write).await?;
    Ok(if is_stale { Round::Stale } else { Round::Holds })
}

/// A cache that keeps nothing would pass every case: what nobody interferes with must be there afterwards.
async fn is_kept_in_peace<C: Cache>(cache: &C, key: Key) -> Outcome<()> {
    let key = !key;
    load_now(cache, key).await?;
    let kept = finish(pin!(cache.get(key))).await?;
    if kept.as_ref() != Some(&new_value(key)) {
        return Err(format!("{} does not keep what it has loaded", C::NAME).into());
    }
    Ok(())
}

/// Whether the cache has, or loads, anything but what the write left behind.
async fn is_stale_at_rest<C: Cache>(cache: &C, key: Key, write: Write) -> Outcome<bool> {
    settle().await;
    // More than once, because a read may bring a value nearer.
    for _ in 0..3 {
        let kept = finish(pin!(cache.get(key))).await?;
        let is_right = match write {
            Write::Insert => kept.as_ref().is_none_or(|kept| *kept == new_value(key)),
            _ => kept.is_none(),
        };
        if !is_right {
            return Ok(true);
        }
    }
    Ok(load_now(cache, key).await? != new_value(key))
}

/// Asks for the key with a loader of the new value that does not wait.
async fn load_now<C: Cache>(cache: &C, key: Key) -> Outcome<Bytes> {
    let load = async move { Ok(new_value(key)) }.boxed();
    Ok(finish(pin!(cache.get_or_load(key, load))).await??)
}

fn is_old(value: Option<&Bytes>, key: Key) -> bool {
    value.is_some_and(|value| *value == old_value(key))
}

pub(super) fn old_value(key: Key) -> Bytes {
    value(key, 1)
}

fn new_value(key: Key) -> Bytes {
    value(key, 2)
}

/// Tells of which key and write it is.
fn value(key: Key, version: u64) -> Bytes {
    [key.to_be_bytes(), version.to_be_bytes()].concat().into()
}
