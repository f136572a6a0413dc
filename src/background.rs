//! The store's own thread: checkpoints, linking after a crash, and what writers have left to mend.

use crate::error::{Error, Result};
use crate::observe;
use crate::shared::{Bell, Shared, Wanted};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What writers have put out of reach is looked for this long after it may have come about,
const MEND_AFTER: Duration = Duration::from_millis(50);
/// and not again before so many times as long as it took.
const MEND_REST: u32 = 20;

/// Starts the thread. It ends when the store is closed or its last handle goes.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    let mut worker = Worker { bell: shared.bell.clone(), shared: Arc::downgrade(shared), mend: None };
    spawn("lodestore", move || worker.run())
}

/// Starts a thread of the store's own.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(run).map(|_| ()).map_err(|source| Error::Io {
        op: "start",
        path: "thread".into(),
        source,
    })
}

struct Worker {
    bell: Bell,
    /// Weak: the thread must not keep a store open that nobody uses.
    shared: Weak<Shared>,
    /// When it is to be looked for what writers have put out of reach.
    mend: Option<Instant>,
}

impl Worker {
    fn run(&mut self) {
        loop {
            let wanted = self.bell.wait(self.mend.map(|due| due.saturating_duration_since(Instant::now())));
            if wanted.stop {
                return;
            }
            let Some(shared) = self.shared.upgrade() else { return };
            work(&shared, wanted);
            if wanted.mend && self.mend.is_none() {
                self.mend = Some(Instant::now() + MEND_AFTER);
            }
            if self.mend.is_some_and(|due| due <= Instant::now()) {
                self.mend = mend(&shared);
            }
        }
    }
}

fn work(shared: &Shared, wanted: Wanted) {
    // Failures here either poison the store or leave all as it was, to be tried again at the next occasion.
    let checkpoint = || {
        match shared.checkpoint() {
            // Whoever closes the store takes one.
            Ok(()) | Err(Error::Closed) => {}
            Err(error) => observe::failed(&shared.path, "a checkpoint in the background", &error),
        }
    };
    if wanted.link {
        match shared.link_pending() {
            Ok(()) => checkpoint(),
            Err(error) => observe::failed(&shared.path, "linking what was in the log", &error),
        }
    }
    if wanted.checkpoint && (shared.checkpoint_due() || shared.any_sweep_due()) {
        checkpoint();
    }
}

/// Says when to look again, if there is something by then.
fn mend(shared: &Shared) -> Option<Instant> {
    let started = Instant::now();
    {
        let _checkpointing = shared.checkpointing.lock();
        if shared.check_open().is_ok() {
            // A failure poisons the store.
            let _ = shared.mend();
        }
    }
    let now = Instant::now();
    shared.any_doubted().then(|| now + MEND_AFTER.max(MEND_REST * (now - started)))
}
