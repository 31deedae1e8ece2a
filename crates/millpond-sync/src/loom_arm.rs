//! The arm for model checking: loom, with the same names as the std arm.

use std::time::Instant;

pub use loom::sync::{Arc, MutexGuard};

/// Mutual exclusion, as in the std arm.
#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    /// Blocks until the lock is held.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("loom aborts the model when a thread panics")
    }

    /// The lock, if nobody holds it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.0.into_inner().expect("loom aborts the model when a thread panics")
    }
}

/// Many readers or one writer, as in the std arm.
#[derive(Debug, Default)]
pub struct RwLock<T>(loom::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(loom::sync::RwLock::new(value))
    }

    /// Blocks until shared access is held.
    pub fn read(&self) -> loom::sync::RwLockReadGuard<'_, T> {
        self.0.read().expect("loom aborts the model when a thread panics")
    }

    /// Blocks until exclusive access is held.
    pub fn write(&self) -> loom::sync::RwLockWriteGuard<'_, T> {
        self.0.write().expect("loom aborts the model when a thread panics")
    }
}

/// A condition variable, as in the std arm, whose deadlines never come.
#[derive(Debug, Default)]
pub struct Condvar(loom::sync::Condvar);

impl Condvar {
    /// A condition variable with no waiters.
    pub fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    /// Releases the lock, waits to be notified and takes the lock again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).expect("loom aborts the model when a thread panics")
    }

    /// As [`wait`](Self::wait): a protocol that needs its deadline deadlocks here, and loom says so.
    pub fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _deadline: Instant,
    ) -> MutexGuard<'a, T> {
        self.wait(guard)
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

/// Where one thread sleeps until another wakes it, as in the std arm.
///
/// loom's own `unpark` also ends the thread's wait for a lock, which is why this one does not use it.
#[derive(Debug, Default)]
pub struct Parker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    /// Nobody sleeps here yet, and no wake-up is remembered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sleeps until a wake-up comes, and uses it up.
    pub fn park(&self) {
        let mut woken = self.woken.lock();
        while !*woken {
            woken = self.changed.wait(woken);
        }
        *woken = false;
    }

    /// Wakes the thread that sleeps here, or the next one at once.
    pub fn unpark(&self) {
        *self.woken.lock() = true;
        self.changed.notify_one();
    }
}

pub mod atomic {
    //! Atomic integers, flags and fences.
    pub use loom::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

pub mod cell {
    //! A cell whose accesses the model checks for races.
    pub use loom::cell::UnsafeCell;
}

pub mod thread {
    //! Threads, parking, and waiting for a future without a runtime.
    pub use loom::future::block_on;
    pub use loom::thread::{Builder, JoinHandle, Thread, current, park, spawn, yield_now};
}
