//! Many callers at the same time, each of which takes the next piece of work when it is through with one.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use crate::queues::Outcome;

/// Has `n_callers` do the pieces 0 to `n_pieces`, each piece once. Ends when all are done, or one has failed.
pub(crate) async fn share_out<W>(
    n_callers: usize,
    n_pieces: usize,
    piece: impl Fn(usize) -> W + Send + Sync + 'static,
) -> Outcome<()>
where
    W: Future<Output = Outcome<()>> + Send + 'static,
{
    let (next, piece) = (Arc::new(AtomicUsize::new(0)), Arc::new(piece));
    let mut callers: JoinSet<Outcome<()>> = JoinSet::new();
    for _ in 0..n_callers {
        let (next, piece) = (next.clone(), piece.clone());
        callers.spawn(async move {
            loop {
                // Relaxed: each number goes to one caller, and nothing else is handed over.
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= n_pieces {
                    return Ok(());
                }
                piece(n).await?;
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}
