//! One value from one thread to one waiting task, once.
//!
//! The receiver is a future that any executor can poll. Dropping the sender without a value resolves it
//! to [`Dropped`]; dropping the receiver hands the value back to a later [`Sender::send`].
//!
//! ```
//! use millpond_sync::{oneshot, thread};
//!
//! let (sender, receiver) = oneshot::channel();
//! sender.send(7).expect("the receiver is still there");
//! assert_eq!(thread::block_on(receiver), Ok(7));
//! ```

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::{Arc, Mutex};

/// The sender went away without sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the sender was dropped without a value")
    }
}

impl std::error::Error for Dropped {}

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    sender_gone: bool,
    receiver_gone: bool,
}

/// The giving end.
#[derive(Debug)]
pub struct Sender<T>(Arc<Mutex<Slot<T>>>);

/// The waiting end: a future that resolves to the value.
///
/// # Cancel safety
///
/// Polling may stop and resume at any time. Dropping the receiver before the value arrives makes
/// [`Sender::send`] return the value; dropping it afterwards drops the value.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Mutex<Slot<T>>>);

/// Connects a sender to a receiver.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Slot { value: None, waker: None, sender_gone: false, receiver_gone: false };
    let slot = Arc::new(Mutex::new(slot));
    (Sender(slot.clone()), Receiver(slot))
}

impl<T> Sender<T> {
    /// Delivers the value.
    ///
    /// # Errors
    ///
    /// Gives the value back when the receiver is gone.
    pub fn send(self, value: T) -> Result<(), T> {
        if let Some(waker) = self.put(value)? {
            waker.wake();
        }
        Ok(())
    }

    /// Leaves the value there. Whoever waits for it is to be woken, outside the lock: a waker may run the
    /// receiver at once.
    fn put(self, value: T) -> Result<Option<Waker>, T> {
        let mut slot = self.0.lock();
        if slot.receiver_gone {
            return Err(value);
        }
        slot.value = Some(value);
        Ok(slot.waker.take())
    }

    /// Whether a value sent now would have nobody to receive it.
    pub fn is_closed(&self) -> bool {
        self.0.lock().receiver_gone
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut slot = self.0.lock();
            slot.sender_gone = true;
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Sends values at once and wakes their receivers later, all together: what the sender has to do first is not
/// held up by those it has answered. Dropped, it wakes them.
///
/// ```
/// use millpond_sync::oneshot::{self, Outbox};
///
/// let mut outbox = Outbox::default();
/// let (sender, mut receiver) = oneshot::channel();
/// outbox.send(sender, 7).expect("the receiver is still there");
/// assert_eq!(receiver.try_recv(), Ok(Some(7)), "whoever looks finds it before it is woken");
/// outbox.wake_all();
/// ```
#[derive(Debug, Default)]
pub struct Outbox(Vec<Waker>);

impl Outbox {
    /// Delivers the value.
    ///
    /// # Errors
    ///
    /// Gives the value back when the receiver is gone.
    pub fn send<T>(&mut self, sender: Sender<T>, value: T) -> Result<(), T> {
        self.0.extend(sender.put(value)?);
        Ok(())
    }

    /// Wakes the receivers of what was sent since the last call.
    pub fn wake_all(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.wake_all();
    }
}

impl<T> Receiver<T> {
    /// The value if it is there already; `None` while it may still come.
    ///
    /// # Errors
    ///
    /// [`Dropped`] when it can no longer come.
    pub fn try_recv(&mut self) -> Result<Option<T>, Dropped> {
        let mut slot = self.0.lock();
        match slot.value.take() {
            Some(value) => Ok(Some(value)),
            None if slot.sender_gone => Err(Dropped),
            None => Ok(None),
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Dropped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.lock();
        if let Some(value) = slot.value.take() {
            return Poll::Ready(Ok(value));
        }
        if slot.sender_gone {
            return Poll::Ready(Err(Dropped));
        }
        if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            slot.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let (value, waker) = {
            let mut slot = self.0.lock();
            slot.receiver_gone = true;
            (slot.value.take(), slot.waker.take())
        };
        // Outside the lock: either may run code of the user's.
        drop(value);
        drop(waker);
    }
}
