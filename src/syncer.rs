//! The thread that syncs what was written, in its time: apart from the one that works, since nothing that takes long, a
//! checkpoint or a backup, may keep a write from becoming durable.

use crate::background::spawn;
use crate::error::Result;
use crate::options::Durability;
use crate::shared::{Bell, Shared};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// After this long without a write, the end of the log is sealed: from then on damage to the last write is told from
/// a write that a crash cut short.
const IDLE: Duration = Duration::from_millis(100);

/// Starts the thread, if there is anything for it to do. It ends when the store is closed or its last handle goes.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    let durability = shared.options.durability;
    if durability == Durability::Buffered || !shared.disk.is_persistent() {
        return Ok(());
    }
    let bell = shared.sync_bell.clone();
    let mut syncer = Syncer { bell, shared: Arc::downgrade(shared), durability, due: None, seen: 0 };
    spawn("lodestore-sync", move || syncer.run())
}

struct Syncer {
    bell: Bell,
    /// Weak: the thread must not keep a store open that nobody uses.
    shared: Weak<Shared>,
    durability: Durability,
    /// When what was written is to be synced or sealed.
    due: Option<Instant>,
    /// The last LSN when `due` was set.
    seen: u64,
}

impl Syncer {
    fn run(&mut self) {
        loop {
            let wanted = self.bell.wait(self.due.map(|due| due.saturating_duration_since(Instant::now())));
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
        // The log of a store that is closed may be somebody else's to write by now.
        let _syncing = shared.syncing.lock();
        if shared.check_open().is_err() {
            return;
        }
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
