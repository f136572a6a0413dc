//! All rows, one after the other, so that all pages that lead to them are read.

use super::{Catalog, RECORDS, failed, guarded, unsealed};
use crate::error::{Error, Result};
use redb::ReadableDatabase;

/// What is left of them.
pub(crate) struct Walk {
    records: redb::Range<'static, &'static [u8], &'static [u8]>,
}

impl Catalog {
    /// Begins to read all rows of records. Names were read when it was opened; marks are read at once.
    pub(crate) fn walk(&self) -> Result<Walk> {
        self.names().values().try_for_each(|entry| self.marks(entry.id).map(drop))?;
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        guarded(|| {
            let records = db.begin_read().map_err(failed)?.open_table(RECORDS).map_err(failed)?;
            Ok(Walk { records: records.range::<&[u8]>(..).map_err(failed)? })
        })
    }
}

impl Walk {
    /// Reads up to `count` rows, and says how many there were.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one, or a page that leads to it, is damaged. The others are not found from here then.
    pub(crate) fn some(&mut self, count: usize) -> Result<usize> {
        guarded(|| {
            for nth in 0..count {
                let Some(entry) = self.records.next() else { return Ok(nth) };
                let (key, value) = entry.map_err(failed)?;
                unsealed(key.value(), value.value())?;
            }
            Ok(count)
        })
    }
}
