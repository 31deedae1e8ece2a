//! How a partition ends, and who hears of it.

use std::sync::Arc;

use millpond_sync::{Mutex, oneshot};

use crate::PartitionError;
use crate::command::Answer;
use crate::driver::panicked;

/// How the loop ended, and who waits to hear of it.
#[derive(Debug, Default)]
pub(crate) struct End(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Known before the mailbox refuses its first message.
    why: Option<PartitionError>,
    /// Known once the store is given up.
    ended: Option<Answer<()>>,
    waiters: Vec<oneshot::Sender<Answer<()>>>,
}

impl End {
    /// Notes why callers are refused from now on. The first reason is the real one.
    pub(crate) fn because(&self, why: PartitionError) {
        self.0.lock().why.get_or_insert(why);
    }

    /// Why a caller was refused.
    pub(crate) fn error(&self) -> PartitionError {
        self.0.lock().why.clone().unwrap_or(PartitionError::Closed)
    }

    /// Comes back when the partition has ended and its store is given up.
    pub(crate) async fn wait(&self) -> Answer<()> {
        let receiver = {
            let mut state = self.0.lock();
            if let Some(ended) = &state.ended {
                return ended.clone();
            }
            let (sender, receiver) = oneshot::channel();
            state.waiters.push(sender);
            receiver
        };
        receiver.await.unwrap_or(Err(PartitionError::Closed))
    }

    fn announce(&self, ended: Answer<()>) {
        let waiters = {
            let mut state = self.0.lock();
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(ended.clone());
            std::mem::take(&mut state.waiters)
        };
        for waiter in waiters {
            let _ = waiter.send(ended.clone());
        }
    }
}

/// The duty to say how the partition ended. Dropped without having done so, it says that the loop
/// panicked.
pub(crate) struct Announce(pub(crate) Arc<End>);

impl Announce {
    pub(crate) fn make(self, ended: Answer<()>) {
        self.0.announce(ended);
    }
}

impl Drop for Announce {
    fn drop(&mut self) {
        self.0.announce(Err(PartitionError::Stopped(panicked())));
    }
}
