//! The store's own thread: periodic syncs, checkpoints, linking after a crash.

use crate::error::{Error, Result};
use crate::options::Durability;
use crate::shared::{Bell, Shared, Wanted};
use std::sync::{Arc, Weak};

/// Starts the thread. It ends when the store is closed or its last handle goes.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    let bell = shared.bell.clone();
    let weak = Arc::downgrade(shared);
    let durability = shared.options.durability;
    std::thread::Builder::new()
        .name("lodestore".into())
        .spawn(move || run(&bell, &weak, durability))
        .map(|_| ())
        .map_err(|source| Error::Io { op: "start", path: "thread".into(), source })
}

fn run(bell: &Bell, weak: &Weak<Shared>, durability: Durability) {
    loop {
        let wanted = bell.wait(None);
        if wanted.stop {
            return;
        }
        if wanted.sync
            && let Durability::Every(period) = durability
        {
            // Writes of the whole period share one sync.
            let stopped = bell.wait_for_stop(period);
            if let Some(shared) = weak.upgrade() {
                // A failure has poisoned the store, which is how writers learn of it.
                let _ = shared.sync();
            }
            if stopped {
                return;
            }
        }
        let Some(shared) = weak.upgrade() else { return };
        work(&shared, wanted);
    }
}

fn work(shared: &Shared, wanted: Wanted) {
    // Failures here either poison the store or leave all as it was, to be tried again at the next occasion.
    if wanted.link && shared.link_pending().is_ok() {
        let _ = shared.checkpoint();
    }
    if wanted.checkpoint && shared.checkpoint_due() {
        let _ = shared.checkpoint();
    }
}
