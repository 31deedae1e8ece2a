//! The arm for production: std and `parking_lot`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Instant;

pub use parking_lot::MutexGuard;
pub use std::sync::Arc;

/// Mutual exclusion without poisoning: a panic while the lock is held leaves it unlocked.
#[derive(Debug, Default)]
pub struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    /// Blocks until the lock is held.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    /// The lock, if nobody holds it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }

    /// Takes the value out; no other reference exists, so nothing is locked.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

/// Many readers or one writer, without poisoning.
#[derive(Debug, Default)]
pub struct RwLock<T>(parking_lot::RwLock<T>);

impl<T> RwLock<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(parking_lot::RwLock::new(value))
    }

    /// Blocks until shared access is held.
    pub fn read(&self) -> parking_lot::RwLockReadGuard<'_, T> {
        self.0.read()
    }

    /// Blocks until exclusive access is held.
    pub fn write(&self) -> parking_lot::RwLockWriteGuard<'_, T> {
        self.0.write()
    }
}

/// A condition variable. Waits may end spuriously: always wait in a loop over the condition.
#[derive(Debug, Default)]
pub struct Condvar(parking_lot::Condvar);

impl Condvar {
    /// A condition variable with no waiters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Releases the lock, waits to be notified and takes the lock again.
    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    /// As [`wait`](Self::wait), but returns at `deadline` at the latest. Under a model the deadline
    /// never comes.
    pub fn wait_until<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> MutexGuard<'a, T> {
        self.0.wait_until(&mut guard, deadline);
        guard
    }

    /// Wakes one waiter, if there is one.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes every waiter.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Where one thread sleeps until another wakes it. A wake-up is remembered: one that comes first ends the next
/// sleep at once, and several that come first count as one.
///
/// Unlike [`thread::park`] it is there before its thread is, and under a model it wakes nobody who waits for
/// something else.
#[derive(Debug, Default)]
pub struct Parker {
    woken: AtomicBool,
    sleeper: OnceLock<thread::Thread>,
}

impl Parker {
    /// Nobody sleeps here yet, and no wake-up is remembered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sleeps until a wake-up comes, and uses it up. Always the same thread may call this.
    ///
    /// # Panics
    ///
    /// In builds with debug assertions, where a second thread calls it: nobody would wake that one.
    pub fn park(&self) {
        let sleeper = self.sleeper.get_or_init(thread::current);
        debug_assert_eq!(sleeper.id(), thread::current().id(), "a parker belongs to one thread");
        // Pairs with the fence in `unpark`: either this side sees the wake-up or that one sees the sleeper.
        fence(Ordering::SeqCst);
        // Acquire pairs with the store in `unpark`: what was done before it is visible after the sleep.
        while !self.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }

    /// Wakes the thread that sleeps here, or the next one at once. It takes no lock, and makes a call of the
    /// system only if the thread really sleeps.
    pub fn unpark(&self) {
        // Release pairs with the swap in `park`.
        self.woken.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if let Some(sleeper) = self.sleeper.get() {
            sleeper.unpark();
        }
    }
}

pub mod atomic {
    //! Atomic integers, flags and fences.
    pub use std::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

pub mod cell {
    //! A cell whose accesses a model can check for races.

    /// Interior mutability whose every access is a closure, so that loom sees where it begins and ends.
    #[derive(Debug, Default)]
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Wraps `value`.
        pub fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Shared access. Dereferencing the pointer is the caller's `unsafe`, and only inside `f`.
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Exclusive access. Dereferencing the pointer is the caller's `unsafe`, and only inside `f`.
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

pub mod thread {
    //! Threads, parking, and waiting for a future without a runtime.
    pub use std::thread::{Builder, JoinHandle, Thread, current, park, spawn, yield_now};

    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Runs `future` to its end on this thread, parking while it is pending.
    pub fn block_on<F: Future>(future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => return output,
                Poll::Pending => park(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Parker, thread};

    /// A wake-up that is lost ends this in a hang.
    #[test]
    fn two_threads_that_wake_each_other_in_turn_come_to_an_end() {
        const N_ROUNDS: usize = 20_000;
        let parkers = Arc::new([Parker::new(), Parker::new()]);
        let other = {
            let parkers = parkers.clone();
            thread::spawn(move || {
                for _ in 0..N_ROUNDS {
                    parkers[1].park();
                    parkers[0].unpark();
                }
            })
        };
        for _ in 0..N_ROUNDS {
            parkers[1].unpark();
            parkers[0].park();
        }
        other.join().expect("it only parks and unparks");
    }

    #[test]
    fn wake_ups_that_come_first_count_as_one() {
        let parker = Parker::new();
        parker.unpark();
        parker.unpark();
        parker.park();
        assert!(!parker.woken.load(super::Ordering::Relaxed));
    }
}
