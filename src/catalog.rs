//! Names and keys: which collections exist, where each key's record lies, and its payload.
//!
//! The catalogue is one of two materialisations of the log (the segments are the other); it says itself how far it
//! has got. Rows are *staged* in log order, under the log's lock, into a table in memory that every look-up asks
//! first; they reach redb in batches, and the disk at checkpoints.
//!
//! # Format of redb's tables
//!
//! (Of the file beneath: [`pages`](crate::pages).)
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `"applied_lsn"` | CRC, u64 LE: log records up to this one are in here |
//! | `meta` | `"uuid"` | 16 bytes, the store's |
//! | `collections` | name (UTF-8) | CRC, collection u32 LE, LSN of its creation u64 LE |
//! | `records` | collection u32 BE, key in the order of its bytes: u64 and u128 BE | CRC, slot, tags, payload: `src/catalog/row.rs` |
//! | `marks` | collection u32 BE, slot u32 BE | CRC: the record in that slot is marked as deleted. Made with the first mark |
//! | `postings` | collection, tag, slots | which slots: `src/catalog/postings.rs`. Made with the first tag |
//!
//! A CRC is the CRC-32, u32 LE, of the row's key and of what follows. redb has checksums of its own for each page; but it
//! compares them only when asked to, and a damaged page that one of its rows changes in gets a fresh, valid one.

mod check;
mod marks;
mod moving;
mod opening;
mod pins;
mod postings;
mod rewrite;
mod row;
mod rows;
mod salvage;
mod scan;
mod staged;
mod walk;

use crate::backend::{Backend, Rest};
use crate::error::{Error, Result};
use crate::key::RowKey;
use lodestore_wal::mutant::{self, Mutant};
use lodestore_wal::{Poison, Session, names};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub(crate) use moving::Move;
pub(crate) use opening::open;
use pins::{Pins, Replaced};
pub(crate) use rewrite::remove_leftover;
pub(crate) use row::{Row, RowRef};
pub(crate) use rows::RowSink;
pub(crate) use salvage::{Beside, RawKey, SalvagedRows, collection_of};
pub(crate) use scan::{End, ScanRows};
pub(crate) use staged::{Hold, Staging};
use staged::{Staged, StagedRow};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const COLLECTIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("collections");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const MARKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("marks");
const POSTINGS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("postings");
const APPLIED: &str = "applied_lsn";
const UUID: &str = "uuid";
/// Rows kept in memory before they go to redb. Each time it copies every page that one of them is in, mostly all, and what
/// the last checkpoint has is kept, and all that was copied since: with a quarter of this, the catalogue of 200,000
/// records that come and go was five times as large as of those that stay.
const STAGED_ROWS: usize = 32_768;
/// Payload bytes kept in memory before they go to redb.
const STAGED_BYTES: usize = 8 << 20;

type Records = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

/// What is known of a collection by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameEntry {
    pub(crate) id: u32,
    pub(crate) created: u64,
}

/// Keys, payloads and names.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// `None` once the store is closed.
    db: RwLock<Option<Database>>,
    /// Bytes of its pages in memory.
    cache: usize,
    poison: Poison,
    rest: Rest,
    staged: Mutex<Staged>,
    /// The newest row of every key in the queue, with its LSN.
    overlay: RwLock<BTreeMap<RowKey, (u64, Option<Row>)>>,
    names: RwLock<BTreeMap<String, NameEntry>>,
    /// One batch at a time goes to redb.
    applying: Mutex<()>,
    applied: AtomicU64,
    durable: AtomicU64,
    /// Log records above this one are not applied yet.
    limit: AtomicU64,
    staged_rows: AtomicUsize,
    staged_bytes: AtomicUsize,
    /// Which copy of the file's first page was not whole when it was opened, and has been mended since.
    spoilt: Option<usize>,
    /// The store's.
    uuid: Option<[u8; 16]>,
    /// The records in redb as of the last transaction, for looking keys up: beginning to read costs more than reading.
    view: RwLock<Option<Records>>,
    /// Held by whoever reads row after row.
    scans: Arc<()>,
    /// What erasing has replaced while rows were being read from it.
    replaced: Mutex<Vec<Replaced>>,
    pins: Mutex<Pins>,
    /// How long what is read is kept by a writer in another process.
    session: Option<Session>,
    /// It ends without another look at what it has read.
    fleeting: bool,
}

fn damaged(what: impl Into<String>) -> Error {
    Error::Corrupt { file: names::CATALOG.into(), offset: 0, what: what.into() }
}

fn failed(error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Corrupted(what) => damaged(what),
        // Of the tables that every catalogue has, as every build has made them; or a panic over damage came before.
        error @ (redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::UpgradeRequired(_)
        | redb::Error::LockPoisoned(_)) => damaged(error.to_string()),
        redb::Error::Io(error) if error.kind() == ErrorKind::InvalidData => damaged(error.to_string()),
        redb::Error::Io(error) => match error.downcast::<lodestore_wal::Error>() {
            Ok(error) => error.into(),
            Err(source) => Error::Io { op: "use", path: names::CATALOG.into(), source },
        },
        error => Error::Catalog(error.to_string()),
    }
}

/// Runs calls of redb, which trusts what it reads: it compares the checksums of its pages only in
/// [`check`](Catalog::check), and a length in a damaged page can make it index out of bounds. That must be an error of
/// this one call, not the end of the caller's thread. Nothing of ours is left half changed by it: closures write to
/// redb alone, a transaction that is dropped while it unwinds is rolled back, and a failed write poisons the store.
fn guarded<T>(calls: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(calls)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(damaged(format!("its content makes no sense to redb: {text}")))
    })
}

/// Once a read has failed redb says of all others that one has. If it was because nothing is kept any more, that is what
/// is to be known.
fn explained(error: Error, session: &Option<Session>) -> Error {
    match session.as_ref().map(|session| session.check(names::CATALOG)) {
        Some(Err(stale @ lodestore_wal::Error::Stale { .. })) => stale.into(),
        _ => error,
    }
}

fn crc(key: &[u8], content: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(content);
    hasher.finalize().to_le_bytes()
}

/// Puts a value together, its checksum first.
fn seal(value: &mut Vec<u8>, key: &[u8], content: &[&[u8]]) {
    value.clear();
    value.resize(4, 0);
    content.iter().for_each(|part| value.extend_from_slice(part));
    let crc = crc(key, &value[4..]);
    value[..4].copy_from_slice(&crc);
}

/// What [`seal`] was given.
fn unsealed<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8]> {
    match value.split_first_chunk::<4>() {
        Some((recorded, content)) if *recorded == crc(key, content) => Ok(content),
        _ => Err(damaged(format!("the checksum of the {} bytes kept for key {key:02x?} does not match", value.len()))),
    }
}

fn database(backend: Backend) -> Result<Database> {
    redb::Builder::new().set_cache_size(backend.cache).create_with_backend(backend).map_err(failed)
}

fn decode_name(name: &str, value: &[u8]) -> Result<NameEntry> {
    let short = || damaged(format!("collection '{name}' of {} bytes", value.len()));
    let (id, created) = unsealed(name.as_bytes(), value)?.split_first_chunk::<4>().ok_or_else(short)?;
    let created = created.try_into().map_err(|_| short())?;
    Ok(NameEntry { id: u32::from_le_bytes(*id), created: u64::from_le_bytes(created) })
}

fn put_applied(txn: &redb::WriteTransaction, lsn: u64) -> Result<()> {
    let mut value = Vec::new();
    seal(&mut value, APPLIED.as_bytes(), &[&lsn.to_le_bytes()]);
    txn.open_table(META).map_err(failed)?.insert(APPLIED, value.as_slice()).map_err(failed)?;
    Ok(())
}

impl Catalog {
    /// Makes the catalogue of a new store, durable when this returns.
    pub(crate) fn create(backend: Backend, uuid: [u8; 16]) -> Result<()> {
        let mut applied = Vec::new();
        seal(&mut applied, APPLIED.as_bytes(), &[&0u64.to_le_bytes()]);
        Self::create_of(backend, |to| {
            to(rows::META_NUMBER, APPLIED.as_bytes(), &applied)?;
            to(rows::META_NUMBER, UUID.as_bytes(), &uuid)
        })
    }

    /// Opens the catalogue of store `uuid`.
    pub(crate) fn open(backend: Backend, uuid: [u8; 16]) -> Result<Self> {
        guarded(|| Self::open_unguarded(backend, Some(uuid)))
    }

    /// Of any store, if it is not known which.
    fn open_unguarded(backend: Backend, uuid: Option<[u8; 16]>) -> Result<Self> {
        // redb would take an empty file for a new database, and make it one.
        if backend.len().map_err(redb::Error::Io).map_err(failed)? == 0 {
            return Err(damaged("the file is empty"));
        }
        let (poison, rest, spoilt, cache) =
            (backend.poison().clone(), backend.resting(), backend.spoilt(), backend.cache);
        let db = database(backend)?;
        let txn = db.begin_read().map_err(failed)?;
        let meta = txn.open_table(META).map_err(failed)?;
        let found = meta.get(UUID).map_err(failed)?.ok_or_else(|| damaged("no store identity"))?;
        let found: Option<[u8; 16]> = found.value().try_into().ok();
        if found.is_none() || uuid.is_some_and(|uuid| found != Some(uuid)) {
            return Err(damaged("it belongs to another store"));
        }
        let applied = meta.get(APPLIED).map_err(failed)?.ok_or_else(|| damaged("no applied LSN"))?;
        let applied = unsealed(APPLIED.as_bytes(), applied.value())?;
        let applied = u64::from_le_bytes(applied.try_into().map_err(|_| damaged("an applied LSN of another size"))?);
        let mut by_name = BTreeMap::new();
        for entry in txn.open_table(COLLECTIONS).map_err(failed)?.iter().map_err(failed)? {
            let (name, value) = entry.map_err(failed)?;
            by_name.insert(name.value().to_owned(), decode_name(name.value(), value.value())?);
        }
        drop((meta, txn));
        Ok(Self {
            db: RwLock::new(Some(db)),
            cache,
            poison,
            rest,
            staged: Mutex::default(),
            overlay: RwLock::default(),
            names: RwLock::new(by_name),
            applying: Mutex::new(()),
            applied: AtomicU64::new(applied),
            durable: AtomicU64::new(applied),
            limit: AtomicU64::new(u64::MAX),
            staged_rows: AtomicUsize::new(0),
            staged_bytes: AtomicUsize::new(0),
            spoilt,
            uuid: found,
            view: RwLock::default(),
            scans: Arc::default(),
            replaced: Mutex::default(),
            pins: Mutex::default(),
            session: None,
            fleeting: false,
        })
    }

    /// Says of a catalogue that another process writes how long it is kept.
    pub(crate) fn set_session(&mut self, session: Session) {
        self.session = Some(session);
        self.set_fleeting();
    }

    /// Says that what it reads may not be kept any more when it is closed.
    pub(crate) fn set_fleeting(&mut self) {
        self.fleeting = true;
    }

    /// Which copy of the file's first page was not whole when the catalogue was opened: a crash or damage.
    pub(crate) fn spoilt(&self) -> Option<usize> {
        self.spoilt
    }

    /// Lets redb write, if it was opened to rest until the store's first write.
    pub(crate) fn end_rest(&self) -> Result<()> {
        Ok(self.rest.end()?)
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

    /// Notes what log records do, in one step for all who look at more than one key; `meanwhile` is part of it. What is
    /// staged may be applied at any moment, and says by its LSN that nothing is missing. Called in the order of the log.
    pub(crate) fn stage(&self, changes: impl IntoIterator<Item = Staging>, meanwhile: impl FnOnce()) {
        let mut overlay = self.overlay.write();
        let mut staged = self.staged.lock();
        let (mut rows, mut bytes) = (0, 0);
        for change in changes {
            staged.last_lsn = change.lsn();
            match change {
                Staging::Row { lsn, key, row, unmarked } => {
                    bytes += row.as_ref().map_or(0, |row| row.payload.len() + row.tags().len());
                    let unmarked = unmarked.into_iter().flatten().map(|slot| (lsn, (key.collection(), slot, false)));
                    let before = staged.marks.len();
                    staged.marks.extend(unmarked);
                    rows += 1 + staged.marks.len() - before;
                    overlay.insert(key.clone(), (lsn, row.clone()));
                    staged.queue.push(StagedRow { lsn, key, row });
                }
                Staging::Mark { lsn, collection, slot, marked } => {
                    staged.marks.push((lsn, (collection, slot, marked)));
                    rows += 1;
                }
            }
        }
        meanwhile();
        self.staged_rows.fetch_add(rows, Ordering::Relaxed);
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
        // While it is held at a checkpoint's end, nothing would come of trying.
        if self.limit.load(Ordering::Relaxed) != u64::MAX {
            return false;
        }
        self.staged_rows.load(Ordering::Relaxed) >= STAGED_ROWS
            || self.staged_bytes.load(Ordering::Relaxed) >= STAGED_BYTES
    }

    /// Finds a key's record.
    pub(crate) fn get(&self, key: &RowKey) -> Result<Option<Row>> {
        self.with_row(key, Row::clone, |row| row.owned())
    }

    /// Finds a key's slot.
    pub(crate) fn slot(&self, key: &RowKey) -> Result<Option<u32>> {
        self.with_row(key, |row| row.slot, |row| row.slot)
    }

    /// Finds a key's tags, encoded; `None` if it has no record.
    pub(crate) fn tags(&self, key: &RowKey) -> Result<Option<Option<Arc<[u8]>>>> {
        self.with_row(key, |row| row.tags.clone(), |row| (!row.tags.is_empty()).then(|| row.tags.into()))
    }

    fn with_row<T>(
        &self,
        key: &RowKey,
        staged: impl FnOnce(&Row) -> T,
        stored: impl FnOnce(RowRef<'_>) -> T,
    ) -> Result<Option<T>> {
        // A row leaves the overlay only after its transaction, so whoever misses it here finds it in redb.
        if let Some((_, row)) = self.overlay.read().get(key) {
            return Ok(row.as_ref().map(staged));
        }
        let find = |records: &Records| {
            let key = key.row();
            match records.get(key).map_err(failed)? {
                Some(value) => RowRef::decode(key, value.value()).map(|row| Some(stored(row))),
                None => Ok(None),
            }
        };
        let find = |records: &Records| guarded(|| find(records)).map_err(|error| explained(error, &self.session));
        if let Some(records) = &*self.view.read() {
            return find(records);
        }
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        let mut view = self.view.write();
        if view.is_none() {
            let open = || db.begin_read().map_err(failed)?.open_table(RECORDS).map_err(failed);
            *view = Some(guarded(open).map_err(|error| explained(error, &self.session))?);
        }
        // Others read meanwhile.
        let view = RwLockWriteGuard::downgrade(view);
        find(view.as_ref().expect("made above"))
    }

    /// Redb holds something else now: look-ups must see it before what was staged goes.
    fn forget_view(&self) {
        drop(self.view.write().take());
    }

    /// Keeps what log records above `lsn` do from being applied, so that a checkpoint's catalogue holds what its segments do.
    /// One at a time; all up to `lsn` is staged.
    pub(crate) fn hold_at(&self, lsn: u64) -> Hold<'_> {
        // S0 has synced the log up to there.
        self.limit.store(if mutant::on(Mutant::CatalogueFirst) { u64::MAX } else { lsn }, Ordering::Release);
        Hold(self)
    }

    /// Moves what is staged into redb, without making it durable. Returns how far redb has got then.
    pub(crate) fn apply(&self) -> Result<u64> {
        let _applying = self.applying.lock();
        let batch = self.staged.lock().take(self.limit.load(Ordering::Acquire));
        if batch.last_lsn <= self.applied() {
            return Ok(self.applied());
        }
        self.staged_rows.fetch_sub(batch.queue.len() + batch.marks.len(), Ordering::Relaxed);
        let bytes = batch.queue.iter().filter_map(|r| r.row.as_ref()).map(|r| r.payload.len() + r.tags().len()).sum();
        self.staged_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let written = guarded(|| self.write(&batch));
        self.forget_view();
        written?;
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
            let mut rows: BTreeMap<&RowKey, &Option<Row>> = BTreeMap::new();
            rows.extend(batch.queue.iter().map(|r| (&r.key, &r.row)));
            let mut records = txn.open_table(RECORDS).map_err(failed)?;
            let (mut value, mut deltas) = (Vec::new(), postings::Deltas::default());
            for (key, row) in rows {
                let key = key.row();
                let old = match row {
                    Some(row) => {
                        row.as_ref().encode(key, &mut value);
                        records.insert(key, value.as_slice()).map_err(failed)?
                    }
                    None => records.remove(key).map_err(failed)?,
                };
                // Of one that is damaged it is not known which tags it had: `verify` tells.
                let old = old.as_ref().filter(|old| RowRef::has_tags(old.value()));
                let old = old.and_then(|old| RowRef::decode(key, old.value()).ok());
                deltas.change(key, old, row.as_ref().map(Row::as_ref));
            }
            drop(records);
            deltas.write(&txn)?;
            let mut collections = txn.open_table(COLLECTIONS).map_err(failed)?;
            for (name, entry) in &batch.names {
                seal(&mut value, name.as_bytes(), &[&entry.id.to_le_bytes(), &entry.created.to_le_bytes()]);
                collections.insert(name.as_str(), value.as_slice()).map_err(failed)?;
            }
        }
        marks::write(&txn, &batch.marks)?;
        put_applied(&txn, batch.last_lsn)?;
        txn.commit().map_err(failed)
    }

    /// Makes what was [applied](Self::apply) durable, for checkpoint `number`. The log is synced up to there already: a
    /// catalogue ahead of its log could not be explained after a crash.
    pub(crate) fn commit_durably(&self, number: u64) -> Result<()> {
        let _applying = self.applying.lock();
        let applied = self.applied();
        if applied == self.durable() {
            return Ok(());
        }
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        guarded(|| {
            let mut txn = db.begin_write().map_err(failed)?;
            make_durable(&mut txn)?;
            put_applied(&txn, applied)?;
            txn.commit().map_err(failed)
        })?;
        // A failure does not show in redb's answer.
        self.poison.check()?;
        self.durable.store(applied, Ordering::Release);
        // A store that keeps nothing has none.
        if self.pins.lock().newest().is_some() {
            self.pin_in(db, number)?;
        }
        self.drop_replaced();
        Ok(())
    }

    /// Closes redb, which saves what lets it open quickly.
    pub(crate) fn close(&self) {
        let db = self.db.write().take();
        self.forget_view();
        if self.fleeting {
            // redb would look at pages again that nobody keeps any more.
            self.rest.refuse();
        }
        drop(std::mem::take(&mut *self.replaced.lock()));
        // What it saves is for speed only; should it fail, the next opening takes longer.
        drop(Replaced::new(db, self.take_pins()));
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        // Also of a store whose opening failed half-way, perhaps because of what redb found.
        self.close();
    }
}

fn make_durable(txn: &mut redb::WriteTransaction) -> Result<()> {
    txn.set_durability(Durability::Immediate).map_err(failed)?;
    // Both make opening after a crash a matter of milliseconds, whatever the size.
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    Ok(())
}
