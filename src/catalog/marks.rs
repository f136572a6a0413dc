//! Which records are marked as deleted: by their slots, so that opening a collection reads no more than those.

use super::{Catalog, MARKS, crc, damaged, explained, failed, guarded, unsealed};
use crate::error::{Error, Result};
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableError};
use std::collections::{BTreeMap, BTreeSet};

fn encode(collection: u32, slot: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&collection.to_be_bytes());
    bytes[4..].copy_from_slice(&slot.to_be_bytes());
    bytes
}

fn decode(key: &[u8], value: &[u8]) -> Result<(u32, u32)> {
    let odd = || damaged(format!("a mark of {} bytes", key.len()));
    unsealed(key, value)?;
    let (collection, slot) = key.split_first_chunk::<4>().ok_or_else(odd)?;
    Ok((u32::from_be_bytes(*collection), u32::from_be_bytes(slot.try_into().map_err(|_| odd())?)))
}

/// Writes what was staged; the last word on each slot counts.
pub(super) fn write(txn: &redb::WriteTransaction, staged: &[(u64, (u32, u32, bool))]) -> Result<()> {
    let any = staged.iter().any(|(_, (.., marked))| *marked);
    // Most stores never have any: then there is no table, and it is not to be made.
    if staged.is_empty() || (!any && !exists(txn)?) {
        return Ok(());
    }
    let marks: BTreeMap<(u32, u32), bool> =
        staged.iter().map(|&(_, (of, slot, marked))| ((of, slot), marked)).collect();
    let mut table = txn.open_table(MARKS).map_err(failed)?;
    if !any && table.is_empty().map_err(failed)? {
        return Ok(());
    }
    for ((collection, slot), marked) in marks {
        let key = encode(collection, slot);
        if marked {
            insert(&mut table, key)?;
        } else {
            table.remove(key.as_slice()).map_err(failed)?;
        }
    }
    Ok(())
}

fn insert(table: &mut redb::Table<'_, &[u8], &[u8]>, key: [u8; 8]) -> Result<()> {
    table.insert(key.as_slice(), crc(&key, &[]).as_slice()).map_err(failed)?;
    Ok(())
}

fn exists(txn: &redb::WriteTransaction) -> Result<bool> {
    use redb::TableHandle;
    Ok(txn.list_tables().map_err(failed)?.any(|table| table.name() == MARKS.name()))
}

/// The marked slots of a collection, taken out; [`put_back`] gives some others back.
pub(super) fn take(txn: &redb::WriteTransaction, collection: u32) -> Result<BTreeSet<u32>> {
    let mut slots = BTreeSet::new();
    if !exists(txn)? {
        return Ok(slots);
    }
    let mut table = txn.open_table(MARKS).map_err(failed)?;
    for mark in range(&table, collection)? {
        slots.insert(mark?.1);
    }
    for &slot in &slots {
        table.remove(encode(collection, slot).as_slice()).map_err(failed)?;
    }
    Ok(slots)
}

/// Marks slots of a collection.
pub(super) fn put_back(txn: &redb::WriteTransaction, collection: u32, slots: &BTreeSet<u32>) -> Result<()> {
    if slots.is_empty() {
        return Ok(());
    }
    let mut table = txn.open_table(MARKS).map_err(failed)?;
    slots.iter().try_for_each(|&slot| insert(&mut table, encode(collection, slot)))
}

fn range(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    collection: u32,
) -> Result<impl Iterator<Item = Result<(u32, u32)>>> {
    let (first, last) = (encode(collection, 0), encode(collection, u32::MAX));
    let marks = table.range(first.as_slice()..=last.as_slice()).map_err(failed)?;
    Ok(marks.map(|mark| {
        let (key, value) = mark.map_err(failed)?;
        decode(key.value(), value.value())
    }))
}

impl Catalog {
    /// The marked slots of a collection in redb. What is staged is not seen.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a row is damaged.
    pub(crate) fn marks(&self, collection: u32) -> Result<Vec<u32>> {
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        let marks = guarded(|| {
            let txn = db.begin_read().map_err(failed)?;
            match txn.open_table(MARKS) {
                Err(TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
                table => range(&table.map_err(failed)?, collection)?.map(|mark| Ok(mark?.1)).collect(),
            }
        });
        marks.map_err(|error| explained(error, &self.session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::catalog::{Row, RowRef, Staging};
    use crate::key::RowKey;
    use lodestore_wal::{Disk, MemDisk, Poison};

    /// A record is marked, replaced, marked again, while another thread applies what is staged: what it finds is always
    /// what the records up to the LSN that it finds have made. A record that is replaced and whose mark is still there
    /// would leave the mark to whoever gets the slot next.
    #[test]
    fn rows_and_marks_of_a_record_are_applied_together() {
        const COLLECTION: u32 = 3;
        let disk = MemDisk::new();
        let backend = || Backend::new(disk.open("catalog").unwrap(), Poison::new()).unwrap();
        disk.create("catalog").unwrap();
        Catalog::create(backend(), [1; 16]).unwrap();
        let catalog = Catalog::open(backend(), [1; 16]).unwrap();
        std::thread::scope(|scope| {
            let applying = scope.spawn(|| {
                let (mut looks, mut last) = (0, 0);
                while looks < 200 || last < 5000 {
                    let (lsn, snapshot) = catalog.rows().unwrap();
                    let (mut slots, mut marks) = (Vec::new(), Vec::new());
                    let mut take = |table: u8, key: &[u8], value: &[u8]| {
                        match table {
                            2 => slots.push(RowRef::decode(key, value)?.slot),
                            3 => marks.push(decode(key, value)?.1),
                            _ => {}
                        }
                        Ok(())
                    };
                    snapshot.for_each(&mut take).unwrap();
                    // Odd records put into the slot of their number, even ones mark what the one before has put.
                    let put = (lsn.saturating_sub(1) / 2 * 2 + 1) as u32;
                    let due = (vec![put], if lsn % 2 == 0 { vec![put] } else { vec![] });
                    assert!(lsn == 0 || (slots, marks) == due, "after record {lsn}");
                    (looks, last) = (looks + u64::from(lsn > last), lsn);
                }
            });
            for lsn in (1..).step_by(2) {
                // Not too far ahead of it.
                while !applying.is_finished() && lsn > catalog.applied() + 100_000 {
                    std::thread::yield_now();
                }
                let row = Row::new(lsn as u32, &[]);
                let (key, unmarked) = (RowKey::of::<u64>(COLLECTION, &7), [(lsn > 1).then(|| lsn as u32 - 2), None]);
                catalog.stage([Staging::Row { lsn, key, row: Some(row), unmarked }], || {});
                let (lsn, slot) = (lsn + 1, lsn as u32);
                catalog.stage([Staging::Mark { lsn, collection: COLLECTION, slot, marked: true }], || {});
                if applying.is_finished() {
                    break;
                }
            }
        });
    }
}
