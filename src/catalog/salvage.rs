//! What is whole in a damaged catalogue, without changing its file.
//!
//! A copy in memory is opened and checked as redb does it. If that fails, every page is looked at by itself: each row has a
//! checksum of its own, so what is found is what was written, though perhaps not the last that was written of its key. A
//! leaf of redb's trees, format 3, is: a byte 1, a byte, the number of rows u16; where each key ends, u32 each, and where
//! each value ends; keys; values. Offsets are from the start of the page. A leaf of one large row takes pages in a row.

use super::{APPLIED, Catalog, NameEntry, RECORDS, Row, RowRef, decode_name, failed, guarded};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::pages::Carver;
use lodestore_wal::{Disk, DiskFile, MemDisk, Poison, names};
use redb::{ReadableDatabase, ReadableTable};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// A key as redb has it: the collection's number, and the key's bytes.
pub(crate) type RawKey = Box<[u8]>;

/// The collection of a raw key.
pub(crate) fn collection_of(key: &[u8]) -> Option<u32> {
    key.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// What a record has besides its vector; `None` where several rows say different things.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    pub(crate) payload: Option<Arc<[u8]>>,
    /// Encoded.
    pub(crate) tags: Option<Arc<[u8]>>,
}

impl Beside {
    pub(crate) fn of(row: &Row) -> Self {
        Self { payload: Some(row.payload.clone()), tags: Some(row.tags().into()) }
    }
}

/// Rows of a catalogue.
#[derive(Debug, Default)]
pub(crate) struct SalvagedRows {
    /// Set if they are all that there are, as of this LSN.
    pub(crate) complete: Option<u64>,
    pub(crate) uuid: Option<[u8; 16]>,
    pub(crate) names: BTreeMap<String, NameEntry>,
    /// Collection and slot of the records that are marked as deleted; known only if complete.
    pub(crate) marks: HashSet<(u32, u32)>,
    /// If not complete, there may be several of a key, and old ones.
    pub(crate) of: HashMap<RawKey, Vec<Row>>,
}

impl SalvagedRows {
    /// Reads a catalogue; `found` is told what is wrong with it.
    pub(crate) fn read(file: &dyn DiskFile, uuid: Option<[u8; 16]>, mut found: impl FnMut(Error)) -> Result<Self> {
        let length = file.len()?;
        match Self::of_copy(file, length, uuid, false).or_else(|_| Self::of_copy(file, length, uuid, true)) {
            Ok(rows) => Ok(rows),
            Err(error) => {
                found(error);
                Self::carve(file, &mut found)
            }
        }
    }

    fn of_copy(file: &dyn DiskFile, length: u64, uuid: Option<[u8; 16]>, torn: bool) -> Result<Self> {
        let disk = MemDisk::new();
        let copy = disk.create(names::CATALOG)?;
        let mut block = vec![0; 1 << 20];
        for at in (0..length).step_by(block.len()) {
            let bytes = &mut block[..(length - at).min(1 << 20) as usize];
            file.read_at(at, bytes)?;
            copy.write_at(at, bytes)?;
        }
        let backend = Backend::new(copy, Poison::new())?;
        backend.torn_may_be().store(torn, std::sync::atomic::Ordering::Relaxed);
        let catalog = guarded(|| Catalog::open_unguarded(backend, uuid))?;
        catalog.check(&disk, false)?;
        let mut rows =
            Self { complete: Some(catalog.applied()), uuid: catalog.uuid, names: catalog.names(), ..Self::default() };
        for entry in catalog.names().values() {
            rows.marks.extend(catalog.marks(entry.id)?.into_iter().map(|slot| (entry.id, slot)));
        }
        let db = catalog.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        guarded(|| {
            let txn = db.begin_read().map_err(failed)?;
            for entry in txn.open_table(RECORDS).map_err(failed)?.iter().map_err(failed)? {
                let (key, value) = entry.map_err(failed)?;
                let row = RowRef::decode(key.value(), value.value())?;
                rows.of.insert(key.value().into(), vec![row.owned()]);
            }
            Ok(())
        })?;
        Ok(rows)
    }

    /// Every row that is whole, wherever it lies.
    fn carve(file: &dyn DiskFile, found: &mut impl FnMut(Error)) -> Result<Self> {
        let (mut rows, mut carver, mut leaf) = (Self::default(), Carver::new(file)?, Vec::new());
        for page in carver.pages() {
            match carver.leaf(page, &mut leaf) {
                Ok(true) => for_each_in(&leaf, |key, value| rows.add(key, value)),
                Ok(false) => {}
                Err(error) => found(error.into()),
            }
        }
        Ok(rows)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) {
        if key == APPLIED.as_bytes() {
            return;
        }
        // A row of another table than it seems to be has another length.
        if let (Ok(name), 16) = (std::str::from_utf8(key), value.len())
            && let Ok(entry) = decode_name(name, value)
            && !name.is_empty()
            && !name.chars().any(char::is_control)
        {
            let known = self.names.entry(name.to_owned()).or_insert(entry);
            *known = if entry.created > known.created { entry } else { *known };
            return;
        }
        if key.len() >= 4
            && let Ok(row) = RowRef::decode(key, value)
        {
            let of = self.of.entry(key.into()).or_default();
            if !of.iter().any(|known| known.as_ref() == row) {
                of.push(row.owned());
            }
        }
    }

    /// What is known of the record that is in that slot; `None` if there is no row of it.
    pub(crate) fn beside(&self, key: &[u8], slot: u32) -> Option<Beside> {
        let of = || self.of.get(key).into_iter().flatten().filter(|row| row.slot == slot);
        let first = of().next()?;
        let payload = of().all(|row| row.payload == first.payload).then(|| first.payload.clone());
        let tags = of().all(|row| row.tags() == first.tags()).then(|| first.tags().into());
        Some(Beside { payload, tags })
    }
}

/// The rows of a leaf, as far as they lie inside of it.
fn for_each_in(leaf: &[u8], mut f: impl FnMut(&[u8], &[u8])) {
    let number = |at: usize| Some(u32::from_le_bytes(*leaf.get(at..)?.first_chunk::<4>()?) as usize);
    let Some(count) = leaf.get(2..4).map(|bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]]))) else { return };
    let key_end = |nth: usize| number(4 + 4 * nth);
    let value_end = |nth: usize| number(4 + 4 * count + 4 * nth);
    let Some(mut value_from) = count.checked_sub(1).and_then(key_end) else { return };
    let mut key_from = 4 + 8 * count;
    for nth in 0..count {
        let (Some(key_to), Some(value_to)) = (key_end(nth), value_end(nth)) else { return };
        if let (Some(key), Some(value)) = (leaf.get(key_from..key_to), leaf.get(value_from..value_to)) {
            f(key, value);
        }
        (key_from, value_from) = (key_to, value_to);
    }
}
