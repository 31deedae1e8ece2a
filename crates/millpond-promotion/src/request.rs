//! What is asked for, who does it, and how it can end.

/// Something that may be done later, or never.
pub trait Request: Send + 'static {
    /// A hash of the key that the work is for. At most one request per key is accepted and not yet ended.
    ///
    /// Equal keys must have equal hashes. Where two keys share a hash, or its fingerprint in the pool, the
    /// second is refused as a duplicate while the first one is on its way: that costs this attempt, and nothing
    /// is ever done for the wrong key. The hash need not be well mixed.
    fn key_hash(&self) -> u64;

    /// The memory that the request keeps alive, in bytes. It is asked once per request.
    fn n_bytes(&self) -> usize;
}

/// Does the work, on the pool's threads.
///
/// A closure `Fn(R) -> Ended` is one too.
pub trait Executor<R>: Send + Sync + 'static {
    /// Does what `request` asks for, and may block. Several threads call it at the same time.
    ///
    /// A panic ends this request as panicked; the thread and the other requests are none the worse.
    fn run(&self, request: R) -> Ended;
}

impl<R, F: Fn(R) -> Ended + Send + Sync + 'static> Executor<R> for F {
    fn run(&self, request: R) -> Ended {
        self(request)
    }
}

/// How a request ended that an executor ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The value is in the fast tier now.
    Installed,
    /// The value had been replaced or removed since, and was left alone.
    Stale,
    /// The fast tier had it already.
    AlreadyResident,
    /// It could not be done.
    Failed,
}
