//! Deadlines, cancelling, progress.

use crate::error::{Error, Result};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Called with what is done and what there is to do.
type Progress = dyn Fn(u64, u64) + Send + Sync;

/// How a long call is ended before it is done, and says how far it is.
///
/// A deadline gives what is known when it has passed; who cancels wants no answer, and gets [`Error::Cancelled`]. Clones
/// share the flag: keep one, and hand one to the call. A call that asks a closure whether to go on, such as
/// [`put_many_while`](crate::Collection::put_many_while), is given [`goes_on`](Self::goes_on).
///
/// ```
/// use lodestore::{Control, Error};
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
/// docs.put_many(&[1, 2, 3], &[1.0, 2.0, 3.0], None)?;
/// let control = Control::new().on_progress(|done, all| println!("{done} of {all}"));
/// assert_eq!(docs.search_many(&[0.0, 9.0]).control(&control).run()?.rows(), 2);
/// let elsewhere = control.clone();
/// std::thread::spawn(move || elsewhere.cancel()).join().expect("no panic");
/// assert!(matches!(docs.search_many(&[0.0, 9.0]).control(&control).run(), Err(Error::Cancelled)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Control {
    cancelled: Arc<AtomicBool>,
    deadline: Option<Instant>,
    progress: Option<Arc<Progress>>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Control");
        debug.field("cancelled", &self.is_cancelled()).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Control {
    /// No deadline, not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// When a call is to give what it knows.
    pub fn deadline(mut self, at: Instant) -> Self {
        self.deadline = Some(at);
        self
    }

    /// A [deadline](Self::deadline), from now. One that is too far away to be told is none.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.deadline = Instant::now().checked_add(after);
        self
    }

    /// Called now and then by the threads of a long call, with what is done and what there is to do. What that counts,
    /// each call says. It is to return soon.
    pub fn on_progress(mut self, progress: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Ends the calls that have this, or a clone of it, within a millisecond or so of searching; for good.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Whether a call that has it is to go on: it is not cancelled, and the deadline has not passed.
    pub fn goes_on(&self) -> bool {
        !self.is_cancelled() && self.deadline.is_none_or(|at| Instant::now() < at)
    }

    /// # Errors
    /// [`Error::Cancelled`].
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Says how far a call is.
    pub(crate) fn tell(&self, done: u64, all: u64) {
        if let Some(progress) = &self.progress {
            progress(done, all);
        }
    }
}
