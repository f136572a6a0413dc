//! Locks with the interface that the store's have, of loom's; and ways to break them.

use loom::sync;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

pub use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// A part of a primitive that is left out, to see that it is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Fences do nothing.
    Fences,
    /// Nobody is woken.
    Notices,
}

thread_local! {
    static WITHOUT: Cell<Option<Without>> = const { Cell::new(None) };
}

/// From here on, on this thread (loom runs all of a model's threads on one).
pub fn leave_out(what: Option<Without>) {
    WITHOUT.with(|without| without.set(what));
}

fn left_out(what: Without) -> bool {
    WITHOUT.with(Cell::get) == Some(what)
}

/// [`std::sync::atomic::fence`].
pub fn fence(order: Ordering) {
    if !left_out(Without::Fences) {
        sync::atomic::fence(order);
    }
}

/// A lock that cannot be poisoned.
#[derive(Debug, Default)]
pub struct Mutex<T>(sync::Mutex<T>);

/// Holds a [`Mutex`].
#[derive(Debug)]
pub struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    /// A lock of `value`.
    pub fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect("loom does not poison")))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("given away while waiting only")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("given away while waiting only")
    }
}

/// A condition to wait for.
#[derive(Debug, Default)]
pub struct Condvar(sync::Condvar);

impl Condvar {
    /// Nobody waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets go of the lock until somebody notifies.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.0.take().expect("given away while waiting only");
        guard.0 = Some(self.0.wait(held).expect("loom does not poison"));
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        if !left_out(Without::Notices) {
            self.0.notify_all();
        }
    }
}
