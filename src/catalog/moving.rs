//! New slots for all records of a collection, at once.

use super::{Catalog, RECORDS, RowRef, failed, guarded, marks, postings, put_applied, seal};
use crate::error::{Error, Result};
use crate::key::RowKey;
use parking_lot::MutexGuard;
use redb::{Durability, ReadableDatabase, ReadableTable};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// A collection's rows with their new slots, which nobody sees yet. Dropping it leaves all as it was.
pub(crate) struct Move<'a> {
    catalog: &'a Catalog,
    _applying: MutexGuard<'a, ()>,
    txn: redb::WriteTransaction,
    rows: u64,
}

impl Catalog {
    /// Begins to give the records of these keys these slots; keys without a record are passed over. Nobody stages rows
    /// until it is committed.
    pub(crate) fn begin_move(&self, collection: u32, slots: Vec<(RowKey, u32)>) -> Result<Move<'_>> {
        self.begin(collection, slots, None)
    }

    /// As [`begin_move`](Self::begin_move); keys without a record get one, without a payload. Those of the slots in
    /// `marked` are marked as deleted.
    pub(crate) fn begin_load(
        &self,
        collection: u32,
        slots: Vec<(RowKey, u32)>,
        marked: BTreeSet<u32>,
    ) -> Result<Move<'_>> {
        self.begin(collection, slots, Some(marked))
    }

    fn begin(&self, collection: u32, mut slots: Vec<(RowKey, u32)>, made: Option<BTreeSet<u32>>) -> Result<Move<'_>> {
        // What is staged names the old slots.
        self.apply()?;
        let applying = self.applying.lock();
        // In the order of keys, neighbours share a page.
        slots.sort_unstable();
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        let (txn, rows) = guarded(|| {
            let mut txn = db.begin_write().map_err(failed)?;
            txn.set_durability(Durability::None).map_err(failed)?;
            let mut rows = 0;
            let mut marked = marks::take(&txn, collection)?;
            let mut moved = BTreeSet::new();
            let make = made.is_some();
            postings::clear(&txn, collection)?;
            let mut deltas = postings::Deltas::default();
            {
                let mut last = None;
                let mut records = txn.open_table(RECORDS).map_err(failed)?;
                let mut value = Vec::new();
                for (key, slot) in &slots {
                    let (key, slot) = (key.row(), *slot);
                    match records.get(key).map_err(failed)? {
                        Some(row) => {
                            let row = RowRef::decode(key, row.value())?;
                            // Two slots may name a key when segments are ahead; its row has a new slot already then.
                            let marks = if last == Some(key) { &mut moved } else { &mut marked };
                            if marks.remove(&row.slot) {
                                moved.insert(slot);
                            }
                            if last == Some(key) {
                                deltas.does_not_come(key, row);
                            }
                            last = Some(key);
                            let row = RowRef { slot, ..row };
                            row.encode(key, &mut value);
                            deltas.comes(key, row);
                        }
                        None if make => seal(&mut value, key, &[&slot.to_le_bytes()]),
                        None => continue,
                    }
                    records.insert(key, value.as_slice()).map_err(failed)?;
                    rows += 1;
                }
            }
            moved.extend(made.unwrap_or_default());
            marks::put_back(&txn, collection, &moved)?;
            deltas.write(&txn)?;
            Ok((txn, rows))
        })?;
        Ok(Move { catalog: self, _applying: applying, txn, rows })
    }
}

impl Catalog {
    /// Records of a collection in redb. Staged rows are not seen.
    pub(crate) fn records_of(&self, collection: u32) -> Result<u64> {
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        guarded(|| {
            let txn = db.begin_read().map_err(failed)?;
            let table = txn.open_table(RECORDS).map_err(failed)?;
            let first = &collection.to_be_bytes()[..];
            // There is no collection of the highest number.
            let next = &collection.saturating_add(1).to_be_bytes()[..];
            let mut rows = table.range(first..next).map_err(failed)?;
            rows.try_fold(0, |count, row| row.map(|_| count + 1).map_err(failed))
        })
    }
}

impl Move<'_> {
    /// Records that get a slot.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Carries out what record `lsn` says: from now on everybody sees the new slots. Not durable yet.
    pub(crate) fn commit(self, lsn: u64) -> Result<()> {
        let Move { catalog, txn, .. } = self;
        guarded(|| {
            put_applied(&txn, lsn)?;
            txn.commit().map_err(failed)
        })?;
        catalog.forget_view();
        catalog.applied.store(lsn, Ordering::Release);
        Ok(())
    }
}
