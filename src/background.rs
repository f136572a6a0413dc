//! The store's own thread: periodic syncs, checkpoints, linking after a crash, and what writers have left to mend.

use crate::error::{Error, Result};
use crate::options::Durability;
use crate::shared::{Bell, Shared, Wanted};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// After this long without a write, the end of the log is sealed: from then on damage to the last write is told from
/// a write that a crash cut short.
const IDLE: Duration = Duration::from_millis(100);

/// What writers have put out of reach is looked for this long after it may have come about,
const MEND_AFTER: Duration = Duration::from_millis(50);
/// and not again before so many times as long as it took.
const MEND_REST: u32 = 20;

/// Starts the thread. It ends when the store is closed or its last handle goes.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    let mut worker = Worker {
        bell: shared.bell.clone(),
        shared: Arc::downgrade(shared),
        durability: shared.options.durability,
        due: None,
        mend: None,
        seen: 0,
    };
    std::thread::Builder::new()
        .name("lodestore".into())
        .spawn(move || worker.run())
        .map(|_| ())
        .map_err(|source| Error::Io { op: "start", path: "thread".into(), source })
}

struct Worker {
    bell: Bell,
    /// Weak: the thread must not keep a store open that nobody uses.
    shared: Weak<Shared>,
    durability: Durability,
    /// When what was written is to be synced or sealed.
    due: Option<Instant>,
    /// When it is to be looked for what writers have put out of reach.
    mend: Option<Instant>,
    /// The last LSN when `due` was set.
    seen: u64,
}

impl Worker {
    fn run(&mut self) {
        loop {
            let next = [self.due, self.mend].into_iter().flatten().min();
            let wanted = self.bell.wait(next.map(|due| due.saturating_duration_since(Instant::now())));
            if wanted.stop {
                return;
            }
            let Some(shared) = self.shared.upgrade() else { return };
            if wanted.sync && self.due.is_none() {
                self.postpone(&shared);
            }
            if self.due.is_some_and(|due| due <= Instant::now()) {
                self.due = None;
                self.sync(&shared);
            }
            work(&shared, wanted);
            if wanted.mend && self.mend.is_none() {
                self.mend = Some(Instant::now() + MEND_AFTER);
            }
            if self.mend.is_some_and(|due| due <= Instant::now()) {
                self.mend = mend(&shared);
            }
        }
    }

    fn postpone(&mut self, shared: &Shared) {
        let period = match self.durability {
            Durability::Every(period) => period,
            _ => IDLE,
        };
        self.seen = shared.last_lsn();
        // A period beyond the end of time is never over.
        self.due = Instant::now().checked_add(period);
    }

    fn sync(&mut self, shared: &Shared) {
        // A failure has poisoned the store, which is how writers learn of it.
        match self.durability {
            Durability::Every(_) => drop(shared.sync()),
            // Under load each write vouches for the one before; only the last one needs a seal.
            _ if shared.last_lsn() != self.seen => self.postpone(shared),
            _ => {
                if let Some(log) = shared.log_if_any() {
                    let _ = log.seal();
                }
            }
        }
    }
}

fn work(shared: &Shared, wanted: Wanted) {
    // Failures here either poison the store or leave all as it was, to be tried again at the next occasion.
    if wanted.link && shared.link_pending().is_ok() {
        let _ = shared.checkpoint();
    }
    if wanted.checkpoint && (shared.checkpoint_due() || shared.any_sweep_due()) {
        let _ = shared.checkpoint();
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
