//! Which slots hold records with a tag: made of the rows in the same transactions, so never ahead of them or behind.
//!
//! # Format
//!
//! Key: collection u32 BE, the tag's term (`src/tags.rs`), the upper 16 bits of the slots u16 BE. Value: CRC, their lower 16
//! bits as a roaring bitmap in its portable format. The CRC is that of `tags`, the key, and the bitmap: it must not
//! be taken for a record's, should the page be found by itself. There is none without slots, and no table before
//! the first.

use super::scan::is_empty;
use super::{Catalog, POSTINGS, RECORDS, RowRef, damaged, explained, failed, guarded};
use crate::error::{Error, Result};
use crate::key::RowKey;
use crate::tag_filter::{Expr, TagFilter};
use crate::tags::terms;
use lodestore_wal::Session;
use redb::{ReadableDatabase, ReadableTable, TableError, TableHandle, WriteTransaction};
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

type Table = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

fn crc(key: &[u8], content: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    [b"tags", key, content].into_iter().for_each(|part| hasher.update(part));
    hasher.finalize().to_le_bytes()
}

/// Whether a row of the table has the checksum that it must have.
pub(super) fn check(key: &[u8], value: &[u8]) -> Result<()> {
    decode(key, value).map(drop)
}

fn decode(key: &[u8], value: &[u8]) -> Result<RoaringBitmap> {
    let odd = || damaged(format!("the slots kept for tag {key:02x?} are not as they were written"));
    let (recorded, content) = value.split_first_chunk::<4>().ok_or_else(odd)?;
    if *recorded != crc(key, content) {
        return Err(odd());
    }
    let slots = RoaringBitmap::deserialize_from(content).map_err(|_| odd())?;
    if slots.max().is_none_or(|slot| slot > u32::from(u16::MAX)) { Err(odd()) } else { Ok(slots) }
}

fn encode(key: &[u8], slots: &RoaringBitmap, value: &mut Vec<u8>) {
    value.clear();
    value.extend_from_slice(&[0; 4]);
    slots.serialize_into(&mut *value).expect("memory takes it");
    let crc = crc(key, &value[4..]);
    value[..4].copy_from_slice(&crc);
}

/// Of a key, what all slots of its row have in common.
fn base(key: &[u8]) -> Result<u32> {
    let chunk = key.last_chunk::<2>().filter(|_| key.len() > 6);
    let chunk = chunk.ok_or_else(|| damaged(format!("the key of a tag has {} bytes", key.len())))?;
    Ok(u32::from(u16::from_be_bytes(*chunk)) << 16)
}

/// The key of a term's row that has a slot.
fn key_of(collection: [u8; 4], term: &[u8], slot: u32) -> Vec<u8> {
    [&collection[..], term, &((slot >> 16) as u16).to_be_bytes()].concat()
}

/// What changes in the table: first all that goes, then all that comes.
#[derive(Default)]
pub(super) struct Deltas {
    goes: BTreeMap<Vec<u8>, RoaringBitmap>,
    comes: BTreeMap<Vec<u8>, RoaringBitmap>,
}

impl Deltas {
    /// The row of a record, whose key redb has as `key`, is another one, or not there any more.
    pub(super) fn change(&mut self, key: &[u8], old: Option<RowRef<'_>>, new: Option<RowRef<'_>>) {
        if let (Some(old), Some(new)) = (old, new)
            && (old.slot, old.tags) == (new.slot, new.tags)
        {
            return;
        }
        old.into_iter().for_each(|row| Self::note(&mut self.goes, key, row));
        new.into_iter().for_each(|row| Self::note(&mut self.comes, key, row));
    }

    /// A row is there from now on.
    pub(super) fn comes(&mut self, key: &[u8], row: RowRef<'_>) {
        Self::note(&mut self.comes, key, row);
    }

    /// A row that came does not.
    pub(super) fn does_not_come(&mut self, key: &[u8], row: RowRef<'_>) {
        let collection = collection_of(key);
        for term in terms(row.tags).flatten() {
            if let Some(slots) = self.comes.get_mut(&key_of(collection, term, row.slot)) {
                slots.remove(row.slot & 0xFFFF);
            }
        }
    }

    fn note(to: &mut BTreeMap<Vec<u8>, RoaringBitmap>, key: &[u8], row: RowRef<'_>) {
        let collection = collection_of(key);
        for term in terms(row.tags).flatten() {
            to.entry(key_of(collection, term, row.slot)).or_default().insert(row.slot & 0xFFFF);
        }
    }

    pub(super) fn write(mut self, txn: &WriteTransaction) -> Result<()> {
        self.comes.retain(|_, slots| !slots.is_empty());
        if self.goes.is_empty() && self.comes.is_empty() {
            return Ok(());
        }
        let mut table = txn.open_table(POSTINGS).map_err(failed)?;
        let mut value = Vec::new();
        // In the order of keys, neighbours share a page.
        let mut keys: Vec<&Vec<u8>> = self.goes.keys().chain(self.comes.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let mut slots = match table.get(key.as_slice()).map_err(failed)? {
                Some(row) => decode(key, row.value())?,
                None => RoaringBitmap::new(),
            };
            if let Some(goes) = self.goes.get(key) {
                slots -= goes;
            }
            if let Some(comes) = self.comes.get(key) {
                slots |= comes;
            }
            if slots.is_empty() {
                table.remove(key.as_slice()).map_err(failed)?;
            } else {
                encode(key, &slots, &mut value);
                table.insert(key.as_slice(), value.as_slice()).map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn collection_of(key: &[u8]) -> [u8; 4] {
    key.first_chunk().copied().unwrap_or_default()
}

/// The keys of a collection's rows.
fn of_collection(collection: u32) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    // There is no collection of the highest number.
    let key = |number: u32| number.to_be_bytes().to_vec();
    (Bound::Included(key(collection)), Bound::Excluded(key(collection.saturating_add(1))))
}

fn borrowed(range: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (range.0.as_ref().map(Vec::as_slice), range.1.as_ref().map(Vec::as_slice))
}

/// Forgets all of a collection.
pub(super) fn clear(txn: &WriteTransaction, collection: u32) -> Result<()> {
    if !txn.list_tables().map_err(failed)?.any(|table| table.name() == POSTINGS.name()) {
        return Ok(());
    }
    let range = of_collection(collection);
    let mut table = txn.open_table(POSTINGS).map_err(failed)?;
    table.retain_in::<&[u8], _>(borrowed(&range), |_, _| false).map_err(failed)
}

/// Tags of a collection's records as of one moment.
pub(crate) struct Tagged {
    table: Option<Table>,
    /// What was not in redb yet: slots and their tags.
    staged: Vec<(u32, Option<Arc<[u8]>>)>,
    collection: u32,
    /// Says that somebody reads.
    _scanning: Arc<()>,
    session: Option<Session>,
}

impl Catalog {
    /// The tags of a collection's records. `meanwhile` is called at the moment that they are of: no
    /// [staging](Self::stage) is under way.
    pub(crate) fn tagged(&self, collection: u32, meanwhile: impl FnOnce()) -> Result<Tagged> {
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        // Nothing is staged meanwhile, and what leaves the overlay is in redb before.
        let overlay = self.overlay.read();
        let table = guarded(|| table(&db.begin_read().map_err(failed)?));
        let table = table.map_err(|error| explained(error, &self.session))?;
        let first = RowKey::of_bytes(collection, &[]);
        let rows = overlay.range((Bound::Included(&first), first.end_of_prefix().as_ref()));
        let staged = rows.filter_map(|(_, (_, row))| row.as_ref().map(|row| (row.slot, row.tags.clone()))).collect();
        meanwhile();
        let (_scanning, session) = (self.scans.clone(), self.session.clone());
        Ok(Tagged { table, staged, collection, _scanning, session })
    }

    /// Compares all postings with the rows that they are made of.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one is damaged, one too many, or missing.
    pub(crate) fn check_postings(&self) -> Result<()> {
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        guarded(|| {
            let txn = db.begin_read().map_err(failed)?;
            let mut due = Deltas::default();
            for entry in txn.open_table(RECORDS).map_err(failed)?.iter().map_err(failed)? {
                let (key, value) = entry.map_err(failed)?;
                due.comes(key.value(), RowRef::decode(key.value(), value.value())?);
            }
            let mut due = due.comes;
            if let Some(table) = table(&txn)? {
                for entry in table.iter().map_err(failed)? {
                    let (key, value) = entry.map_err(failed)?;
                    let slots = decode(key.value(), value.value())?;
                    if due.remove(key.value()).is_none_or(|due| due != slots) {
                        let key = key.value();
                        return Err(damaged(format!("tag {key:02x?} is of other slots than the records say")));
                    }
                }
            }
            match due.pop_first() {
                Some((key, _)) => Err(damaged(format!("tag {key:02x?} of records is not found"))),
                None => Ok(()),
            }
        })
    }
}

/// `None`: nothing has a tag.
pub(super) fn table(txn: &redb::ReadTransaction) -> Result<Option<Table>> {
    match txn.open_table(POSTINGS) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => Ok(Some(table.map_err(failed)?)),
    }
}

impl Tagged {
    /// The slots of the records that fulfil `filter`, of those below `limit`; dead ones may be among them.
    pub(crate) fn slots(&self, filter: &TagFilter, limit: u32) -> Result<RoaringBitmap> {
        let slots = guarded(|| self.stored(filter, limit));
        let mut slots = slots.map_err(|error| explained(error, &self.session))?;
        for (slot, tags) in &self.staged {
            if filter.matches_encoded(tags.as_deref().unwrap_or_default()) {
                slots.insert(*slot);
            } else {
                slots.remove(*slot);
            }
        }
        Ok(slots)
    }

    fn stored(&self, filter: &TagFilter, limit: u32) -> Result<RoaringBitmap> {
        let collection = self.collection.to_be_bytes();
        let mut slots = RoaringBitmap::new();
        match &*filter.0 {
            Expr::OneOf { terms, .. } => {
                for term in terms {
                    let key = |chunk: [u8; 2]| [&collection[..], term, &chunk].concat();
                    self.add((Bound::Included(key([0; 2])), Bound::Included(key([255; 2]))), &mut slots)?;
                }
            }
            Expr::Between { from, to, .. } => {
                // No term begins with another, so what follows one is its slots.
                let key = |term: &Vec<u8>, then: &[u8]| [&collection[..], term, then].concat();
                let from = match from {
                    Bound::Included(term) => Bound::Included(key(term, &[])),
                    Bound::Excluded(term) => Bound::Excluded(key(term, &[255; 2])),
                    Bound::Unbounded => of_collection(self.collection).0,
                };
                let to = match to {
                    Bound::Included(term) => Bound::Included(key(term, &[255; 2])),
                    Bound::Excluded(term) => Bound::Excluded(key(term, &[])),
                    Bound::Unbounded => of_collection(self.collection).1,
                };
                self.add((from, to), &mut slots)?;
            }
            Expr::And(parts) => {
                let mut parts = parts.iter();
                if let Some(first) = parts.next() {
                    slots = self.stored(first, limit)?;
                }
                for part in parts {
                    if slots.is_empty() {
                        break;
                    }
                    slots &= self.stored(part, limit)?;
                }
            }
            Expr::Or(parts) => {
                for part in parts {
                    slots |= self.stored(part, limit)?;
                }
            }
            Expr::TooDeep => {}
            Expr::Not(part) => {
                slots.insert_range(0..limit);
                slots -= self.stored(part, limit)?;
            }
        }
        Ok(slots)
    }

    fn add(&self, range: (Bound<Vec<u8>>, Bound<Vec<u8>>), to: &mut RoaringBitmap) -> Result<()> {
        let Some(table) = &self.table else { return Ok(()) };
        if is_empty(&range.0, &range.1) {
            return Ok(());
        }
        for entry in table.range::<&[u8]>(borrowed(&range)).map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            let base = base(key.value())?;
            let slots = decode(key.value(), value.value())?;
            if base == 0 {
                *to |= slots;
            } else {
                to.extend(slots.iter().map(|slot| base | slot));
            }
        }
        Ok(())
    }
}
