//! All rows, one after the other, so that all pages that lead to them are read.

use super::{COLLECTIONS, Catalog, MARKS, RECORDS, decode_name, failed, guarded, unsealed};
use crate::error::{Error, Result};
use redb::{ReadableDatabase, ReadableTable, TableError};

/// What is left of them.
pub(crate) struct Walk {
    records: redb::Range<'static, &'static [u8], &'static [u8]>,
}

impl Catalog {
    /// Begins to read all rows that are in redb; those of names and marks, which are few, at once.
    pub(crate) fn walk(&self) -> Result<Walk> {
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        guarded(|| {
            let txn = db.begin_read().map_err(failed)?;
            for entry in txn.open_table(COLLECTIONS).map_err(failed)?.iter().map_err(failed)? {
                let (name, value) = entry.map_err(failed)?;
                decode_name(name.value(), value.value())?;
            }
            match txn.open_table(MARKS) {
                Err(TableError::TableDoesNotExist(_)) => {}
                marks => {
                    for entry in marks.map_err(failed)?.iter().map_err(failed)? {
                        let (key, value) = entry.map_err(failed)?;
                        unsealed(key.value(), value.value())?;
                    }
                }
            }
            let records = txn.open_table(RECORDS).map_err(failed)?;
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
