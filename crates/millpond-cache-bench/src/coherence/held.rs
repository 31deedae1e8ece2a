//! A load that is on its way for exactly as long as a case wants, and the steps of everybody else meanwhile.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::Outcome;
use crate::cache::{Cache, Key, Load, LoadFailed};

/// Polls after which a future is taken to wait for somebody else. Everything runs on one thread, so more of
/// them change nothing: tasks that a cache has spawned take their turns between the polls.
const N_POLLS: usize = 32;

/// A caller who waits for a loader that waits for the [`end`](Self::end).
pub(super) struct Flight<'a> {
    caller: Pin<Box<dyn Future<Output = Result<Bytes, LoadFailed>> + 'a>>,
    answer: Option<Result<Bytes, LoadFailed>>,
    gate: Option<oneshot::Sender<()>>,
    is_loading: Arc<AtomicBool>,
}

impl<'a> Flight<'a> {
    /// Asks for the key, and goes on until the caller has an answer or waits.
    pub(super) async fn start<C: Cache>(
        cache: &'a C,
        key: Key,
        result: Result<Bytes, LoadFailed>,
    ) -> Self {
        let (gate, is_open) = oneshot::channel();
        let is_loading = Arc::new(AtomicBool::new(false));
        let started = is_loading.clone();
        let load: Load = async move {
            // Relaxed: everything runs on one thread.
            started.store(true, Ordering::Relaxed);
            // A gate that is gone is open.
            let _ = is_open.await;
            result
        }
        .boxed();
        let mut caller: Pin<Box<dyn Future<Output = _> + 'a>> =
            Box::pin(cache.get_or_load(key, load));
        let answer = match step(caller.as_mut()).await {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        };
        Self { caller, answer, gate: Some(gate), is_loading }
    }

    /// Whether its own loader has been asked. If not, it has an answer already, or waits for another load.
    pub(super) fn is_loading(&self) -> bool {
        self.is_loading.load(Ordering::Relaxed)
    }

    /// Lets the loader go on; what the caller is told then.
    ///
    /// # Errors
    ///
    /// Nobody answers, although the loader has ended.
    pub(super) async fn end(mut self) -> Outcome<Result<Bytes, LoadFailed>> {
        self.gate = None;
        if let Some(answer) = self.answer {
            return Ok(answer);
        }
        finish(self.caller.as_mut()).await
    }
}

/// Polls until the future is ready or waits for somebody else.
pub(super) async fn step<T>(mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    for _ in 0..N_POLLS {
        let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if polled.is_ready() {
            return polled;
        }
        yield_now().await;
    }
    Poll::Pending
}

/// The result of a future that has nobody to wait for.
pub(super) async fn finish<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Outcome<T> {
    match step(future).await {
        Poll::Ready(result) => Ok(result),
        Poll::Pending => Err("a caller waits for an answer that nobody will give".into()),
    }
}

/// Lets the tasks that a cache has spawned come to rest.
pub(super) async fn settle() {
    for _ in 0..N_POLLS {
        yield_now().await;
    }
}
