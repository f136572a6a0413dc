//! All rows, one after the other, so that all pages that lead to them are read.

use super::{Catalog, RECORDS, failed, guarded, postings, unsealed};
use crate::error::{Error, Result};
use redb::ReadableDatabase;

/// What is left of them.
pub(crate) struct Walk {
    records: redb::Range<'static, &'static [u8], &'static [u8]>,
    postings: Option<redb::Range<'static, &'static [u8], &'static [u8]>>,
}

impl Catalog {
    /// Begins to read all rows of records and tags. Names were read when it was opened; marks are read at once.
    pub(crate) fn walk(&self) -> Result<Walk> {
        self.names().values().try_for_each(|entry| self.marks(entry.id).map(drop))?;
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        guarded(|| {
            let txn = db.begin_read().map_err(failed)?;
            let records = txn.open_table(RECORDS).map_err(failed)?.range::<&[u8]>(..).map_err(failed)?;
            let postings = postings::table(&txn)?.map(|table| table.range::<&[u8]>(..)).transpose().map_err(failed)?;
            Ok(Walk { records, postings })
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
                if let Some(entry) = self.records.next() {
                    let (key, value) = entry.map_err(failed)?;
                    unsealed(key.value(), value.value())?;
                    continue;
                }
                let Some(entry) = self.postings.as_mut().and_then(Iterator::next) else { return Ok(nth) };
                let (key, value) = entry.map_err(failed)?;
                postings::check(key.value(), value.value())?;
            }
            Ok(count)
        })
    }
}
