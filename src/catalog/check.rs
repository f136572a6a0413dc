//! Whether the catalogue is as it was written.

use super::{Catalog, RECORDS, RowRef, damaged, database, failed, guarded};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::key::RowKey;
use lodestore_wal::{Disk, Poison, names};
use redb::{ReadableDatabase, ReadableTable};
use std::sync::Arc;

impl Catalog {
    /// Compares the checksums of all of redb's pages, as the disk holds them. May make durable what was
    /// [applied](Self::apply), so the log must be synced up to there. `seen`: by another process.
    ///
    /// # Errors
    /// [`Error::Corrupt`]. What redb holds afterwards may be less than what was applied: the store must not go on to
    /// throw log files away.
    pub(crate) fn check(&self, disk: &dyn Disk, seen: bool) -> Result<()> {
        let is_read = || seen || Arc::strong_count(&self.scans) > 1;
        if is_read() {
            let number = self.pins.lock().newest();
            self.commit_durably(number.unwrap_or(0))?;
        }
        let _applying = self.applying.lock();
        let mut db = self.db.write();
        let db = db.as_mut().ok_or(Error::Closed)?;
        self.forget_view();
        let whole = if !is_read() {
            // redb does not check a database that somebody reads from.
            let pins = self.take_pins();
            let newest = pins.newest();
            drop(pins);
            let whole = guarded(|| db.check_integrity().map_err(failed))?;
            newest.map_or(Ok(()), |number| self.pin_in(db, number))?;
            whole
        } else {
            // Another one of the same file writes nothing into it.
            let backend = Backend::new(disk.open(names::CATALOG)?, Poison::new())?;
            backend.rest();
            guarded(|| database(backend)?.check_integrity().map_err(failed))?
        };
        if whole { Ok(()) } else { Err(damaged("redb's checksums do not match")) }
    }

    /// Calls `f` for every record in redb, in order of collection and key. Staged rows are not seen.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a row is damaged, or if looking for its key does not find it.
    pub(crate) fn for_each(&self, mut f: impl FnMut(RowKey, u32)) -> Result<()> {
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        guarded(|| {
            let txn = db.begin_read().map_err(failed)?;
            let table = txn.open_table(RECORDS).map_err(failed)?;
            for entry in table.iter().map_err(failed)? {
                let (key, value) = entry.map_err(failed)?;
                let (key, RowRef { slot, .. }) = (key.value(), RowRef::decode(key.value(), value.value())?);
                let lost = || damaged(format!("the record of key {key:02x?} is there, but not where it is looked for"));
                let found = table.get(key).map_err(failed)?.ok_or_else(lost)?;
                if found.value() != value.value() {
                    return Err(lost());
                }
                let odd = || damaged(format!("a key of {} bytes", key.len()));
                f(RowKey::from_row(key).ok_or_else(odd)?, slot);
            }
            Ok(())
        })
    }
}
