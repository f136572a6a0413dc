//! The catalogue in a new file, so that nothing is left of the rows it once held.
//!
//! redb gives a page that it does not need any more to whoever needs one next, with its bytes in it. So the rows that
//! there are go to a new file, `catalog.redb.tmp`, which is made durable and then takes the old one's name.

use super::{Catalog, Replaced, database, guarded};
use crate::backend::Backend;
use crate::error::Result;
use lodestore_wal::{Disk, Poison, names};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Removes what an interrupted rewriting has left.
pub(crate) fn remove_leftover(disk: &dyn Disk) -> Result<()> {
    match disk.remove(&names::tmp(names::CATALOG)) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}

impl Catalog {
    /// Writes the catalogue into a new file beside, durably. Nobody stages rows until [`take_over`](Self::take_over).
    ///
    /// # Errors
    /// Of the disk, and of damaged rows. The catalogue is as it was.
    pub(crate) fn copy_beside(&self, disk: &dyn Disk) -> Result<()> {
        remove_leftover(disk)?;
        let file = disk.create(&names::tmp(names::CATALOG))?;
        // What fails here concerns the new file only.
        let copied = (|| {
            let (_, rows) = self.rows()?;
            Self::create_of(Backend::new(file.clone(), Poison::new())?, |to| rows.for_each(to))?;
            Ok(file.sync()?)
        })();
        copied.inspect_err(|_| drop(remove_leftover(disk)))
    }

    /// Goes on in the file that [`copy_beside`](Self::copy_beside) has written. The log is synced up to what was applied.
    ///
    /// # Errors
    /// Of the disk. Which of the two files holds is unknown then, and the store must not go on.
    pub(crate) fn take_over(&self, disk: &dyn Disk) -> Result<()> {
        let _applying = self.applying.lock();
        disk.rename(&names::tmp(names::CATALOG), names::CATALOG)?;
        disk.sync_dir("")?;
        let backend = Backend::new(disk.open(names::CATALOG)?, self.poison.clone())?.with_cache(self.cache);
        backend.hides_failures().store(true, Ordering::Release);
        let new = guarded(|| database(backend))?;
        // Readers of the old one have their answers. It writes what it saves for its next opening to nobody's file.
        let old = {
            let mut db = self.db.write();
            self.forget_view();
            db.replace(new)
        };
        let pins = self.take_pins();
        let number = pins.newest();
        self.replaced.lock().push(Replaced::new(old, pins));
        self.drop_replaced();
        self.durable.store(self.applied(), Ordering::Release);
        number.map_or(Ok(()), |number| self.pin(number))
    }

    /// What was replaced goes, unless somebody is in the middle of rows: they go on in it.
    pub(super) fn drop_replaced(&self) {
        let mut replaced = self.replaced.lock();
        if Arc::strong_count(&self.scans) == 1 {
            replaced.clear();
        }
    }
}
