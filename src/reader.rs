//! What a store that is only read knows of the one it reads.

use crate::error::Result;
use lodestore_engine::Superblock;
use lodestore_wal::{Disk, DiskLock, Seat, Session, names};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a store is that is to be read.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    /// The same directory, where the seats are.
    pub(crate) seats: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
}

/// A reader's place and checkpoint.
#[derive(Debug)]
pub(crate) struct Reader {
    place: Place,
    /// The number of the checkpoint that it looks at.
    checkpoint: u64,
    session: Session,
    /// Gone once the reader is closed.
    kept: Mutex<Option<Kept>>,
}

/// What keeps a writer from using again what a reader looks at.
#[derive(Debug)]
pub(crate) enum Kept {
    /// It is asked not to.
    Seat(Seat),
    /// There is none, and none can come: where a reader cannot write.
    Locked { _lock: Box<dyn DiskLock> },
    /// Nor was there ever one.
    Alone,
}

impl Reader {
    pub(crate) fn new(place: Place, checkpoint: u64, session: Session, kept: Kept) -> Self {
        Self { place, checkpoint, session, kept: Mutex::new(Some(kept)) }
    }

    /// Nobody looks any more.
    pub(crate) fn leave(&self) {
        drop(self.kept.lock().take());
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Whether the store has no later checkpoint, and this one is still kept.
    pub(crate) fn is_current(&self) -> Result<bool> {
        let state = Superblock::peek(&*self.place.disk)?;
        let kept = self.session.check(names::CATALOG).is_ok();
        Ok(kept && state.pending == 0 && state.done == self.checkpoint)
    }
}
