//! Names and keys: which collections exist, where each key's record lies, and its payload.
//!
//! The catalogue is one of two materialisations of the log (the segments are the other); it says itself how far it
//! has got. Rows are *staged* in log order, under the log's lock, into a table in memory that every look-up asks
//! first; they reach redb in batches, and the disk at checkpoints.
//!
//! # Format of `catalog.redb`
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `"applied_lsn"` | u64 LE: log records up to this one are in here |
//! | `meta` | `"uuid"` | 16 bytes, the store's |
//! | `collections` | name (UTF-8) | collection u32 LE, LSN of its creation u64 LE |
//! | `records` | collection u32 BE, key u64 BE | slot u32 LE, payload |

use crate::backend::Backend;
use crate::error::{Error, Result};
use lodestore_wal::names;
use parking_lot::{Mutex, RwLock};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const COLLECTIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("collections");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const APPLIED: &str = "applied_lsn";
const UUID: &str = "uuid";
/// Rows kept in memory before they go to redb.
const STAGED_ROWS: usize = 8192;
/// Payload bytes kept in memory before they go to redb.
const STAGED_BYTES: usize = 8 << 20;
/// Memory for redb's pages.
const CACHE_BYTES: usize = 64 << 20;

/// A collection and a key in it.
pub(crate) type RowKey = (u32, u64);

/// Where a record is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) slot: u32,
    pub(crate) payload: Arc<[u8]>,
}

/// What is known of a collection by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameEntry {
    pub(crate) id: u32,
    pub(crate) created: u64,
}

#[derive(Debug)]
struct StagedRow {
    lsn: u64,
    key: RowKey,
    /// `None` = removed.
    row: Option<Row>,
}

#[derive(Debug, Default)]
struct Staged {
    queue: Vec<StagedRow>,
    names: Vec<(String, NameEntry)>,
    last_lsn: u64,
}

/// Keys, payloads and names.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// `None` once the store is closed.
    db: RwLock<Option<Database>>,
    staged: Mutex<Staged>,
    /// The newest row of every key in the queue, with its LSN.
    overlay: RwLock<HashMap<RowKey, (u64, Option<Row>)>>,
    names: RwLock<BTreeMap<String, NameEntry>>,
    /// One batch at a time goes to redb.
    applying: Mutex<()>,
    applied: AtomicU64,
    durable: AtomicU64,
    staged_rows: AtomicUsize,
    staged_bytes: AtomicUsize,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Catalog(error.to_string())
}

fn encode_key((collection, key): RowKey) -> [u8; 12] {
    let mut bytes = [0; 12];
    // Big-endian, so that redb's byte order is the order of the keys.
    bytes[..4].copy_from_slice(&collection.to_be_bytes());
    bytes[4..].copy_from_slice(&key.to_be_bytes());
    bytes
}

fn decode_key(bytes: &[u8]) -> Option<RowKey> {
    let (collection, key) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*collection), u64::from_be_bytes(key.try_into().ok()?)))
}

fn decode_row(bytes: &[u8]) -> Result<Row> {
    let (slot, payload) = bytes.split_first_chunk::<4>().ok_or_else(|| Error::Corrupt {
        file: names::CATALOG.into(),
        offset: 0,
        what: format!("a record of {} bytes", bytes.len()),
    })?;
    Ok(Row { slot: u32::from_le_bytes(*slot), payload: payload.into() })
}

impl Catalog {
    /// Makes the catalogue of a new store, durable when this returns.
    pub(crate) fn create(backend: Backend, uuid: [u8; 16]) -> Result<()> {
        let db = redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(failed)?;
        let mut txn = db.begin_write().map_err(failed)?;
        make_durable(&mut txn)?;
        {
            let mut meta = txn.open_table(META).map_err(failed)?;
            meta.insert(UUID, uuid.as_slice()).map_err(failed)?;
            meta.insert(APPLIED, 0u64.to_le_bytes().as_slice()).map_err(failed)?;
            txn.open_table(COLLECTIONS).map_err(failed)?;
            txn.open_table(RECORDS).map_err(failed)?;
        }
        txn.commit().map_err(failed)
    }

    /// Opens the catalogue of store `uuid`.
    pub(crate) fn open(backend: Backend, uuid: [u8; 16]) -> Result<Self> {
        let db = redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(failed)?;
        let txn = db.begin_read().map_err(failed)?;
        let meta = txn.open_table(META).map_err(failed)?;
        let corrupt = |what: &str| Error::Corrupt { file: names::CATALOG.into(), offset: 0, what: what.into() };
        let found = meta.get(UUID).map_err(failed)?.ok_or_else(|| corrupt("no store identity"))?;
        if found.value() != uuid {
            return Err(corrupt("it belongs to another store"));
        }
        let applied = meta.get(APPLIED).map_err(failed)?.ok_or_else(|| corrupt("no applied LSN"))?;
        let applied =
            u64::from_le_bytes(applied.value().try_into().map_err(|_| corrupt("an applied LSN of another size"))?);
        let mut by_name = BTreeMap::new();
        for entry in txn.open_table(COLLECTIONS).map_err(failed)?.iter().map_err(failed)? {
            let (name, value) = entry.map_err(failed)?;
            let (id, created) =
                value.value().split_first_chunk::<4>().ok_or_else(|| corrupt("a collection entry is cut"))?;
            let created = created.try_into().map_err(|_| corrupt("a collection entry is cut"))?;
            let entry = NameEntry { id: u32::from_le_bytes(*id), created: u64::from_le_bytes(created) };
            by_name.insert(name.value().to_owned(), entry);
        }
        drop((meta, txn));
        Ok(Self {
            db: RwLock::new(Some(db)),
            staged: Mutex::default(),
            overlay: RwLock::default(),
            names: RwLock::new(by_name),
            applying: Mutex::new(()),
            applied: AtomicU64::new(applied),
            durable: AtomicU64::new(applied),
            staged_rows: AtomicUsize::new(0),
            staged_bytes: AtomicUsize::new(0),
        })
    }

    /// Log records up to this one are in redb, though perhaps not on the disk.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Log records up to this one are in redb and on the disk.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The collections by name.
    pub(crate) fn names(&self) -> BTreeMap<String, NameEntry> {
        self.names.read().clone()
    }

    pub(crate) fn name(&self, name: &str) -> Option<NameEntry> {
        self.names.read().get(name).copied()
    }

    /// Notes what record `lsn` does to a key. Called in the order of the log.
    pub(crate) fn stage(&self, lsn: u64, key: RowKey, row: Option<Row>) {
        let bytes = row.as_ref().map_or(0, |r| r.payload.len());
        self.overlay.write().insert(key, (lsn, row.clone()));
        let mut staged = self.staged.lock();
        staged.queue.push(StagedRow { lsn, key, row });
        staged.last_lsn = lsn;
        self.staged_rows.fetch_add(1, Ordering::Relaxed);
        self.staged_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that record `lsn` makes a collection. Called in the order of the log.
    pub(crate) fn stage_name(&self, lsn: u64, name: &str, id: u32) {
        let entry = NameEntry { id, created: lsn };
        self.names.write().insert(name.to_owned(), entry);
        let mut staged = self.staged.lock();
        staged.names.push((name.to_owned(), entry));
        staged.last_lsn = lsn;
    }

    /// Notes that nothing up to `lsn` is missing, after replay skipped records that do not concern the catalogue.
    pub(crate) fn stage_nothing(&self, lsn: u64) {
        let mut staged = self.staged.lock();
        staged.last_lsn = staged.last_lsn.max(lsn);
    }

    /// Whether enough is staged to be worth a transaction.
    pub(crate) fn is_full(&self) -> bool {
        self.staged_rows.load(Ordering::Relaxed) >= STAGED_ROWS
            || self.staged_bytes.load(Ordering::Relaxed) >= STAGED_BYTES
    }

    /// Finds a key's record.
    pub(crate) fn get(&self, key: RowKey) -> Result<Option<Row>> {
        self.with_row(key, |staged| staged.clone(), decode_row)
    }

    /// Finds a key's slot.
    pub(crate) fn slot(&self, key: RowKey) -> Result<Option<u32>> {
        self.with_row(key, |row| row.slot, decode_row_slot)
    }

    fn with_row<T>(
        &self,
        key: RowKey,
        staged: impl FnOnce(&Row) -> T,
        stored: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<Option<T>> {
        // A row leaves the overlay only after its transaction, so whoever misses it here finds it in redb.
        if let Some((_, row)) = self.overlay.read().get(&key) {
            return Ok(row.as_ref().map(staged));
        }
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        let txn = db.begin_read().map_err(failed)?;
        let table = txn.open_table(RECORDS).map_err(failed)?;
        match table.get(encode_key(key).as_slice()).map_err(failed)? {
            Some(value) => stored(value.value()).map(Some),
            None => Ok(None),
        }
    }

    /// Moves what is staged into redb, without making it durable. Returns how far redb has got then.
    pub(crate) fn apply(&self) -> Result<u64> {
        let _applying = self.applying.lock();
        let batch = std::mem::take(&mut *self.staged.lock());
        if batch.last_lsn <= self.applied() {
            return Ok(self.applied());
        }
        self.staged_rows.fetch_sub(batch.queue.len(), Ordering::Relaxed);
        let bytes = batch.queue.iter().filter_map(|r| r.row.as_ref()).map(|r| r.payload.len()).sum();
        self.staged_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.write(&batch)?;
        self.applied.store(batch.last_lsn, Ordering::Release);
        let mut overlay = self.overlay.write();
        for row in &batch.queue {
            // A newer row of the key stays until its own turn.
            if overlay.get(&row.key).is_some_and(|(lsn, _)| *lsn == row.lsn) {
                overlay.remove(&row.key);
            }
        }
        Ok(batch.last_lsn)
    }

    fn write(&self, batch: &Staged) -> Result<()> {
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        let mut txn = db.begin_write().map_err(failed)?;
        txn.set_durability(Durability::None).map_err(failed)?;
        {
            // The last row of each key wins; in the order of keys, neighbours share a page.
            let mut rows: BTreeMap<RowKey, &Option<Row>> = BTreeMap::new();
            rows.extend(batch.queue.iter().map(|r| (r.key, &r.row)));
            let mut records = txn.open_table(RECORDS).map_err(failed)?;
            let mut value = Vec::new();
            for (key, row) in rows {
                match row {
                    Some(row) => {
                        value.clear();
                        value.extend_from_slice(&row.slot.to_le_bytes());
                        value.extend_from_slice(&row.payload);
                        records.insert(encode_key(key).as_slice(), value.as_slice()).map_err(failed)?;
                    }
                    None => {
                        records.remove(encode_key(key).as_slice()).map_err(failed)?;
                    }
                }
            }
            let mut collections = txn.open_table(COLLECTIONS).map_err(failed)?;
            for (name, entry) in &batch.names {
                let mut value = entry.id.to_le_bytes().to_vec();
                value.extend_from_slice(&entry.created.to_le_bytes());
                collections.insert(name.as_str(), value.as_slice()).map_err(failed)?;
            }
            let mut meta = txn.open_table(META).map_err(failed)?;
            meta.insert(APPLIED, batch.last_lsn.to_le_bytes().as_slice()).map_err(failed)?;
        }
        txn.commit().map_err(failed)
    }

    /// Makes what was [applied](Self::apply) durable. The log is synced up to there already: a catalogue ahead of
    /// its log could not be explained after a crash.
    pub(crate) fn commit_durably(&self) -> Result<()> {
        let _applying = self.applying.lock();
        let applied = self.applied();
        if applied == self.durable() {
            return Ok(());
        }
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        let mut txn = db.begin_write().map_err(failed)?;
        make_durable(&mut txn)?;
        {
            let mut meta = txn.open_table(META).map_err(failed)?;
            meta.insert(APPLIED, applied.to_le_bytes().as_slice()).map_err(failed)?;
        }
        txn.commit().map_err(failed)?;
        self.durable.store(applied, Ordering::Release);
        Ok(())
    }

    /// Calls `f` for every record in redb, in order of collection and key. Staged rows are not seen.
    pub(crate) fn for_each(&self, mut f: impl FnMut(RowKey, u32)) -> Result<()> {
        let db = self.db.read();
        let txn = db.as_ref().ok_or(Error::Closed)?.begin_read().map_err(failed)?;
        let table = txn.open_table(RECORDS).map_err(failed)?;
        for entry in table.iter().map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            let key = decode_key(key.value()).ok_or_else(|| Error::Corrupt {
                file: names::CATALOG.into(),
                offset: 0,
                what: format!("a key of {} bytes", key.value().len()),
            })?;
            f(key, decode_row_slot(value.value())?);
        }
        Ok(())
    }

    /// Closes redb, which saves what lets it open quickly.
    pub(crate) fn close(&self) {
        drop(self.db.write().take());
    }
}

fn decode_row_slot(bytes: &[u8]) -> Result<u32> {
    match bytes.split_first_chunk::<4>() {
        Some((slot, _)) => Ok(u32::from_le_bytes(*slot)),
        None => decode_row(bytes).map(|row| row.slot),
    }
}

fn make_durable(txn: &mut redb::WriteTransaction) -> Result<()> {
    txn.set_durability(Durability::Immediate).map_err(failed)?;
    // Both make opening after a crash a matter of milliseconds, whatever the size.
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    Ok(())
}
