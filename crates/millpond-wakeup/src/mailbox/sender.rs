use std::task::{Wake, Waker};

use millpond_sync::Arc;

use super::{Closed, Sending, Shared, TrySendError};

/// The senders' end. Cheap to clone, and of use from any thread or task.
#[derive(Debug)]
pub struct MailboxSender<T, const N: usize> {
    shared: Arc<Shared<T, N>>,
}

impl<T, const N: usize> MailboxSender<T, N> {
    pub(super) fn new(shared: Arc<Shared<T, N>>) -> Self {
        Self { shared }
    }

    /// Leaves a message whatever the class holds already: for messages that must not be refused, and that
    /// something else keeps few. They count, so they keep back those who wait for room.
    ///
    /// A class that does not exist does not compile:
    ///
    /// ```compile_fail,E0080
    /// let (sender, _owner) = millpond_wakeup::mailbox::mailbox::<u8, 2>([1, 1]);
    /// let _ = sender.push::<2>(0);
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub fn push<const CLASS: usize>(&self, message: T) -> Result<(), Closed<T>> {
        const { assert!(CLASS < N, "the mailbox has no such class") };
        let weight = (self.shared.weigh)(&message);
        let sleep = {
            let mut state = self.shared.state.lock();
            if state.sealed {
                return Err(Closed(message));
            }
            state.push::<CLASS>(message, weight)
        };
        self.shared.end(sleep);
        Ok(())
    }

    /// Leaves a message if there is room for it now, and nobody waits for that room.
    ///
    /// # Errors
    ///
    /// [`TrySendError`], which says whether it is worth trying again.
    pub fn try_send<const CLASS: usize>(&self, message: T) -> Result<(), TrySendError<T>> {
        const { assert!(CLASS < N, "the mailbox has no such class") };
        let weight = (self.shared.weigh)(&message);
        let sleep = {
            let mut state = self.shared.state.lock();
            if state.sealed {
                return Err(TrySendError::Closed(message));
            }
            if !state.admits::<CLASS>(u64::MAX) {
                return Err(TrySendError::Full(message));
            }
            state.push::<CLASS>(message, weight)
        };
        self.shared.end(sleep);
        Ok(())
    }

    /// Leaves a message as soon as there is room for it, in the order of those who wait.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future has left nothing, and has lost its turn.
    pub fn send<const CLASS: usize>(&self, message: T) -> Sending<'_, T, N, CLASS> {
        const { assert!(CLASS < N, "the mailbox has no such class") };
        Sending::new(&self.shared, message)
    }

    /// Ends the owner's sleep, or its next one, once.
    pub fn notify(&self) {
        let sleep = self.shared.state.lock().notify();
        self.shared.end(sleep);
    }

    /// Whether messages are refused from now on.
    pub fn is_closed(&self) -> bool {
        self.shared.state.lock().sealed
    }

    /// A waker that [notifies](Self::notify), for futures that the owner polls itself. It counts as a sender
    /// for as long as it or a clone of it exists.
    pub fn waker(&self) -> Waker
    where
        T: Send + 'static,
    {
        Waker::from(std::sync::Arc::new(Notify(self.clone())))
    }
}

impl<T, const N: usize> Clone for MailboxSender<T, N> {
    fn clone(&self) -> Self {
        self.shared.state.lock().n_senders += 1;
        Self { shared: self.shared.clone() }
    }
}

/// The last one wakes the owner, which would otherwise sleep for ever.
impl<T, const N: usize> Drop for MailboxSender<T, N> {
    fn drop(&mut self) {
        let sleep = {
            let mut state = self.shared.state.lock();
            state.n_senders -= 1;
            if state.n_senders == 0 { state.notify() } else { None }
        };
        self.shared.end(sleep);
    }
}

struct Notify<T, const N: usize>(MailboxSender<T, N>);

impl<T: Send + 'static, const N: usize> Wake for Notify<T, N> {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        self.0.notify();
    }
}
