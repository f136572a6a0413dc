//! A collection: records of one dimension, element type and metric.

use crate::absent::AbsentReport;
use crate::catalog::Row;
use crate::check::{check_key, check_payload, check_vector, key_of};
use crate::compact::Compact;
use crate::components::Components;
use crate::error::{Error, Result};
use crate::info::CollectionInfo;
use crate::key::{AsKey, Key, RowKey};
use crate::measure::MeasureRecall;
use crate::recall::RecallReport;
use crate::record::{Record, check_slot};
use crate::search::{Asked, Search};
use crate::search_many::SearchMany;
use crate::shared::{Handle, Open, Shared};
use crate::tags::Tags;
use crate::write::{Action, Change};
use lodestore_engine::{Element, Index, Metric, StoredKey};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Rows of [`Collection::put_many`] that are written together.
const ROWS_AT_ONCE: usize = 1024;
/// Rows of [`Collection::put_many_while`] that are written together, at least.
const LEAST_BETWEEN: usize = 128;
/// Bytes that are about looked at while they are linked, which take a tenth of a second.
const LOOKED_AT_BETWEEN: usize = 40_000_000;
/// Bytes of a node that are looked at besides its vector.
const LOOKED_AT_BESIDES: usize = 64;
/// Bytes of vectors and payloads that are written together.
const BYTES_AT_ONCE: usize = 16 << 20;

/// A collection of records with keys of type `K`. Cheap to clone, usable from any thread; keeps its store open.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// let writer = docs.clone();
/// std::thread::spawn(move || writer.put(1, &[1.0, 2.0], b"")).join().expect("no panic")?;
/// assert!(docs.contains(1)?);
/// # Ok::<(), lodestore::Error>(())
/// ```
pub struct Collection<K: Key + ?Sized> {
    handle: Arc<Handle>,
    pub(crate) open: Arc<Open>,
    keys: PhantomData<fn(&K)>,
}

impl<K: Key + ?Sized> Clone for Collection<K> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), open: self.open.clone(), keys: PhantomData }
    }
}

impl<K: Key + ?Sized> fmt::Debug for Collection<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection")
            .field("name", &self.name())
            .field("dim", &self.dim())
            .field("element", &self.element())
            .field("metric", &self.metric())
            .field("len", &self.len())
            .finish()
    }
}

impl<K: Key + ?Sized> Collection<K> {
    pub(crate) fn new(handle: Arc<Handle>, open: Arc<Open>) -> Self {
        Self { handle, open, keys: PhantomData }
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }

    pub(crate) fn belongs_to(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(self.shared(), shared)
    }

    /// A key of the collection, looked at.
    pub(crate) fn row_key(&self, key: impl AsKey<K>, row: usize) -> Result<RowKey> {
        let key = RowKey::of::<K>(self.open.id, &key);
        key.check(row)?;
        Ok(key)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.open.name
    }

    /// Components of its vectors.
    pub fn dim(&self) -> usize {
        self.open.index().geometry().dim
    }

    /// What their components are kept as.
    pub fn element(&self) -> Element {
        self.open.index().geometry().element
    }

    /// Its metric.
    pub fn metric(&self) -> Metric {
        self.open.index().geometry().metric
    }

    /// Its settings and size.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// assert_eq!((docs.info().m, docs.info().ef_construction), (16, 128));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn info(&self) -> CollectionInfo {
        CollectionInfo::of(&self.open)
    }

    /// Bytes of what searches walk through that are in huge pages now; 0 where the system does not tell. What
    /// [`Residency::Resident`](crate::Residency::Resident) asks for, and the system grants or not. Takes milliseconds.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// println!("{} bytes in huge pages", docs.huge_bytes());
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn huge_bytes(&self) -> u64 {
        self.open.index().huge_bytes()
    }

    /// Bytes that [`Residency::Packed`](crate::Residency::Packed) takes beyond the files; 0 if the store was opened without
    /// it, or the collection has nothing that it could be made of.
    ///
    /// ```
    /// use lodestore::{Residency, Store};
    /// let dir = tempfile::tempdir()?;
    /// let store = Store::options().residency(Residency::Packed).open(dir.path())?;
    /// let docs = store.collection::<u64>("docs").dim(128).open_or_create()?;
    /// docs.put(1, &[0.5; 128], b"")?;
    /// assert_eq!(docs.packed_bytes(), 768);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn packed_bytes(&self) -> u64 {
        self.open.index().packed_bytes()
    }

    /// Records in it.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"")?;
    /// assert_eq!(docs.len(), 1);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn len(&self) -> u64 {
        self.open.records.load(Ordering::Acquire)
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a record, replacing the one of that key if there is one. When this returns, it is as durable as the
    /// store's [`Durability`](crate::Durability) says, and every search that starts finds it. A reader that runs
    /// meanwhile sees the old record or the new one.
    ///
    /// The vector has the collection's dimension. Its components may be of any type that [`Components`] takes.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[0.5, 0.5], b"first")?;
    /// docs.put(1, &[0.6, 0.4], b"second")?;
    /// assert_eq!(docs.get(1)?.unwrap().payload, b"second");
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Dimension`], [`Error::NotFinite`], [`Error::NotRepresentable`], [`Error::SpareBit`],
    /// [`Error::ZeroVector`], [`Error::Magnitude`], [`Error::KeyTooLong`], [`Error::PayloadTooLarge`] and
    /// [`Error::NoSpace`] change nothing.
    /// After an [`Error::Io`] of the log the store takes no more writes.
    pub fn put<'v>(&self, key: impl AsKey<K>, vector: impl Into<Components<'v>>, payload: &[u8]) -> Result<()> {
        let (vector, shape) = (vector.into(), self.open.shape());
        vector.one_row(shape, 0)?;
        let vector = &*vector.stored(shape, 0)?;
        let key = self.row_key(key, 0)?;
        let change = Change { target: &self.open, key, action: Action::Put { vector, payload } };
        self.shared().write(&[change]).map(|_| ())
    }

    /// Puts many records: `vectors` holds them row by row (`keys.len() × dim` components; of [`Bits`](crate::Bits) each
    /// row in bytes of its own), `payloads` one payload a row, or `None` for empty ones. Rows are checked, and where
    /// they are of another type than the collection's converted (into a copy), before any is written, linked by several threads, and logged
    /// about a thousand at a time; a crash or a failure in the middle leaves the rows before it. For all or nothing
    /// use a [`WriteBatch`](crate::WriteBatch). Without [tags](Self::put_many_tagged), whatever the records had before.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put_many(&[1, 2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], None)?;
    /// assert_eq!(docs.get(3)?.unwrap().vector, [4.0, 5.0]);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put), with the row; [`Error::RowCount`] if the lengths do not go together.
    pub fn put_many<'v>(
        &self,
        keys: &[impl AsKey<K>],
        vectors: impl Into<Components<'v>>,
        payloads: Option<&[&[u8]]>,
    ) -> Result<()> {
        self.put_rows(keys, vectors.into(), (payloads, None), ROWS_AT_ONCE, |_| true).map(|_| ())
    }

    /// As [`put_many`](Self::put_many), in parts that take about a tenth of a second, of 128 to 1,024 rows, by their size and
    /// ef_construction (of fewer, if they have 16 MiB): before each part `go_on` is asked, with the number of rows written so far, and if it says no the
    /// rest is left. Returns the number of rows written: for progress bars and for stopping.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// let keys: Vec<u64> = (0..5000).collect();
    /// let vectors: Vec<f32> = keys.iter().map(|&key| key as f32).collect();
    /// let written = docs.put_many_while(&keys, &vectors, None, |written| written < 2000)?;
    /// assert_eq!((written, docs.len()), (2048, 2048));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`put_many`](Self::put_many).
    pub fn put_many_while<'v>(
        &self,
        keys: &[impl AsKey<K>],
        vectors: impl Into<Components<'v>>,
        payloads: Option<&[&[u8]]>,
        go_on: impl FnMut(usize) -> bool,
    ) -> Result<usize> {
        self.put_rows(keys, vectors.into(), (payloads, None), self.rows_between(), go_on)
    }

    /// Rows that take about a tenth of a second.
    pub(crate) fn rows_between(&self) -> usize {
        let geometry = *self.open.index().geometry();
        let looked_at = geometry.ef_construction * (geometry.vector_bytes() + LOOKED_AT_BESIDES);
        (LOOKED_AT_BETWEEN / looked_at).clamp(LEAST_BETWEEN, ROWS_AT_ONCE)
    }

    pub(crate) fn put_rows(
        &self,
        keys: &[impl AsKey<K>],
        vectors: Components<'_>,
        (payloads, tags): (Option<&[&[u8]]>, Option<&[Tags]>),
        rows_at_once: usize,
        mut go_on: impl FnMut(usize) -> bool,
    ) -> Result<usize> {
        self.shared().check_open()?;
        let shape = self.open.shape();
        let (got, whole) = vectors.rows(shape.dim);
        if got != keys.len() || !whole {
            let what = if whole { "vectors" } else { "whole vectors" };
            return Err(Error::RowCount { keys: keys.len(), what, got });
        }
        if let Some(payloads) = payloads
            && payloads.len() != keys.len()
        {
            return Err(Error::RowCount { keys: keys.len(), what: "payloads", got: payloads.len() });
        }
        if let Some(tags) = tags.filter(|tags| tags.len() != keys.len()) {
            return Err(Error::RowCount { keys: keys.len(), what: "tags", got: tags.len() });
        }
        let tags: Option<Vec<Vec<u8>>> = tags.map(|tags| tags.iter().map(Tags::encode).collect());
        let stored = vectors.stored(shape, 0)?;
        let width = self.open.index().geometry().vector_bytes();
        let vectors = || stored.chunks_exact(width);
        for (row, (key, vector)) in keys.iter().zip(vectors()).enumerate() {
            check_key(key, row)?;
            check_vector(&self.open, vector, row)?;
            check_payload(payloads.map_or(&[], |p| p[row]), row)?;
        }
        let mut changes = Vec::with_capacity(rows_at_once.min(keys.len()));
        let (mut bytes, mut rows, mut written) = (0, 0, 0);
        for (row, (key, vector)) in keys.iter().zip(vectors()).enumerate() {
            let payload = payloads.map_or(&[][..], |p| p[row]);
            let key = RowKey::of::<K>(self.open.id, key);
            let of_tags = tags.as_ref().map_or(0, |tags| tags[row].len());
            bytes += 2 * key.bytes().len() + vector.len() + payload.len() + of_tags;
            let of = |key, action| Change { target: &self.open, key, action };
            let tags = tags.as_ref().map(|tags| &tags[row][..]).filter(|tags| !tags.is_empty());
            let tags = tags.map(|tags| of(key.clone(), Action::SetTags { tags }));
            changes.push(of(key, Action::Put { vector, payload }));
            changes.extend(tags);
            rows += 1;
            if rows == rows_at_once || bytes >= BYTES_AT_ONCE || row + 1 == keys.len() {
                if !go_on(written) {
                    break;
                }
                self.shared().write(&changes)?;
                written += rows;
                changes.clear();
                (bytes, rows) = (0, 0);
            }
        }
        Ok(written)
    }

    /// The record of a key; `None` if there is none, or it is [marked as deleted](Self::mark_deleted).
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"one")?;
    /// let record = docs.get(1)?.expect("just put");
    /// assert_eq!((&record.vector[..], &record.payload[..]), (&[1.0, 2.0][..], &b"one"[..]));
    /// assert!(docs.get(2)?.is_none());
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn get(&self, key: impl AsKey<K>) -> Result<Option<Record>> {
        self.record(key, false)
    }

    /// The record of a key, if it is marked as deleted or not as asked.
    pub(crate) fn record(&self, key: impl AsKey<K>, marked: bool) -> Result<Option<Record>> {
        let stored = self.stored(&RowKey::of::<K>(self.open.id, &key))?;
        Ok(stored.filter(|&(_, is_marked)| is_marked == marked).map(|(record, _)| record))
    }

    /// The record of a key, and whether it is marked as deleted.
    pub(crate) fn stored(&self, key: &RowKey) -> Result<Option<(Record, bool)>> {
        let found = self.look_up(key, |index, row| Record::read(index, row.as_ref()))?;
        found.map(|(record, marked)| Ok((record?, marked))).transpose()
    }

    /// What `read` makes of a key's row, and whether the record is marked as deleted.
    pub(crate) fn look_up<T>(&self, key: &RowKey, read: impl FnOnce(&Index, &Row) -> T) -> Result<Option<(T, bool)>> {
        self.find(|| self.shared().catalog.get(key), |row| row.slot, |index, row| Ok(read(index, &row)))
    }

    /// As [`look_up`](Self::look_up), of the slot alone.
    fn look_up_slot<T>(&self, key: &RowKey, read: impl FnOnce(&Index, u32) -> Result<T>) -> Result<Option<(T, bool)>> {
        self.find(|| self.shared().catalog.slot(key), |slot| *slot, read)
    }

    /// What `read` makes of what the catalogue has of a key, and whether the record is marked as deleted.
    fn find<R, T>(
        &self,
        look: impl Fn() -> Result<Option<R>>,
        slot_of: impl Fn(&R) -> u32,
        read: impl FnOnce(&Index, R) -> Result<T>,
    ) -> Result<Option<(T, bool)>> {
        self.shared().check_open()?;
        self.open.reading(|index| {
            let mut before = None;
            loop {
                let Some(found) = look()? else { return Ok(None) };
                let slot = slot_of(&found);
                check_slot(index, slot)?;
                let marked = index.is_marked(slot);
                // A marked record that is replaced loses its mark with its key: it was never there without. So what is
                // neither marked nor alive is looked up again; a slot that is still the key's is.
                if marked || before == Some(slot) || !index.is_gone(slot) {
                    return Ok(Some((read(index, found)?, marked)));
                }
                before = Some(slot);
            }
        })
    }

    /// The payload of a key, without its vector.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"one")?;
    /// assert_eq!(docs.payload(1)?.as_deref(), Some(&b"one"[..]));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn payload(&self, key: impl AsKey<K>) -> Result<Option<Vec<u8>>> {
        self.payload_of(&RowKey::of::<K>(self.open.id, &key))
    }

    pub(crate) fn payload_of(&self, key: &RowKey) -> Result<Option<Vec<u8>>> {
        let found = self.look_up(key, |_, row| row.payload.to_vec())?;
        Ok(found.filter(|(_, marked)| !marked).map(|(payload, _)| payload))
    }

    /// Replaces the payload of a key's record, of up to [`MAX_PAYLOAD`](crate::MAX_PAYLOAD) bytes, and leaves its vector and
    /// the graph as they are: it costs what it writes, whatever the dimension. Says whether there was such a record; not if
    /// it is [marked as deleted](Self::mark_deleted). As durable as a [`put`](Self::put).
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"one")?;
    /// assert!(docs.set_payload(1, b"uno")? && !docs.set_payload(2, b"due")?);
    /// assert_eq!(docs.get(1)?.unwrap().payload, b"uno");
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn set_payload(&self, key: impl AsKey<K>, payload: &[u8]) -> Result<bool> {
        let key = self.row_key(key, 0)?;
        let change = Change { target: &self.open, key, action: Action::SetPayload { payload } };
        Ok(self.shared().write(&[change])?[0])
    }

    /// The keys that a record is linked to in the graph, for each of its levels from 0 up. Links to removed and replaced
    /// records, which searches walk through, are left out. To look at a graph, or to hand it on.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&[1, 2], &[1.0, 2.0], None)?;
    /// assert_eq!(docs.links(1)?.expect("just put")[0], [2]);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn links(&self, key: impl AsKey<K>) -> Result<Option<Vec<Vec<K::Owned>>>> {
        let found = self.look_up_slot(&RowKey::of::<K>(self.open.id, &key), |index, slot| {
            let keys =
                |slots: Vec<u32>| slots.into_iter().map(|slot| key_of::<K>(index, index.id_of(slot).key)).collect();
            index.links(slot).into_iter().map(keys).collect::<Result<_>>()
        })?;
        Ok(found.filter(|(_, marked)| !marked).map(|(links, _)| links))
    }

    /// Whether a key has a record that is not [marked as deleted](Self::mark_deleted).
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"")?;
    /// assert!(docs.contains(1)? && !docs.contains(2)?);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn contains(&self, key: impl AsKey<K>) -> Result<bool> {
        let found = self.look_up_slot(&RowKey::of::<K>(self.open.id, &key), |_, _| Ok(()))?;
        Ok(found.is_some_and(|(_, marked)| !marked))
    }

    /// Removes a key's record, also one that is [marked as deleted](Self::mark_deleted); says whether there was one. No
    /// search that starts after this returns it.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"")?;
    /// assert!(docs.remove(1)?);
    /// assert!(!docs.remove(1)?);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn remove(&self, key: impl AsKey<K>) -> Result<bool> {
        let key = self.row_key(key, 0)?;
        let change = Change { target: &self.open, key, action: Action::Remove };
        Ok(self.shared().write(&[change])?[0])
    }

    /// A search for the records nearest to `query`, a vector of the collection's dimension, of any type that
    /// [`Components`] takes.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put_many(&[1, 2], &[0.0, 0.0, 5.0, 5.0], None)?;
    /// let hits = docs.search(&[1.0, 1.0]).k(2).ef(50).run()?;
    /// assert_eq!((hits[0].key, hits[0].distance), (1, 2.0));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn search<'a>(&'a self, query: impl Into<Components<'a>>) -> Search<'a, K> {
        Search::new(&self.handle, &self.open, Asked::Given(query.into()))
    }

    /// A search for the records nearest to that of a key: "more like this". Finds the record itself, too, unless that is
    /// [excluded](Search::exclude_self).
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&[1, 2, 3], &[1.0, 2.0, 9.0], None)?;
    /// assert_eq!(docs.search_near(1)?.k(1).exclude_self().run()?[0].key, 2);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoRecord`]; if the catalogue cannot be read.
    pub fn search_near(&self, key: impl AsKey<K>) -> Result<Search<'_, K>> {
        let key = RowKey::of::<K>(self.open.id, &key);
        let found = self.look_up_slot(&key, |index, slot| Ok(index.decoded(slot)))?;
        let stored = found.filter(|(_, marked)| !marked).map(|(vector, _)| vector);
        let missing = || Error::NoRecord { collection: self.name().into(), key: key.shown(K::TYPE) };
        Ok(Search::new(&self.handle, &self.open, Asked::Stored(stored.ok_or_else(missing)?, key)))
    }

    /// Measures how much of what an exact search finds searches find, on `samples` stored vectors: see
    /// [`RecallReport`](crate::RecallReport).
    pub fn measure_recall(&self, samples: usize) -> MeasureRecall<'_> {
        MeasureRecall::new(self.shared(), &self.open, samples)
    }

    /// What was [measured](Self::measure_recall) last, be it before the store was opened; `None` if nothing was. Its `lsn`
    /// and `records` tell what has changed since.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if what was kept is damaged: measuring again replaces it.
    pub fn recall_report(&self) -> Result<Option<RecallReport>> {
        self.shared().check_open()?;
        Ok(self.shared().recall_of(&self.open)?.map(|report| (*report).clone()))
    }

    /// Compacting, to be set up and run: see [`Compact`].
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"")?;
    /// docs.put(1, &[3.0, 4.0], b"")?;
    /// docs.compact().run()?;
    /// assert_eq!(docs.info().slots, 1);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn compact(&self) -> Compact<'_> {
        Compact::new(self.shared(), Some(self.open.clone()))
    }

    /// Looks for anything that is left of a key: in the catalogue, in slots, those of removed records included, in the file
    /// of keys and in the log. A removed key is left there until the collection is [compacted](Self::compact) and
    /// [erased](Compact::erase). Reads all ids and keys of the collection and the log; writes wait meanwhile.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<str>("docs").dim(1).open_or_create()?;
    /// docs.put("one", &[1.0], b"")?;
    /// docs.remove("one")?;
    /// assert!(!docs.verify_absent("one")?.absent());
    /// docs.compact().erase(true).run()?;
    /// assert!(docs.verify_absent("one")?.absent());
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// If something cannot be read.
    pub fn verify_absent(&self, key: impl AsKey<K>) -> Result<AbsentReport> {
        let key = RowKey::of::<K>(self.open.id, &key);
        let stored = match key.number().filter(|_| K::TYPE.in_id()) {
            Some(number) => StoredKey::Number(number),
            None => StoredKey::Bytes(key.bytes()),
        };
        AbsentReport::of(self.shared(), stored, vec![self.open.clone()])
    }

    /// Searches for many queries, given row by row, of any type that [`Components`] takes.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put_many(&[1, 2], &[0.0, 0.0, 5.0, 5.0], None)?;
    /// let hits = docs.search_many(&[0.1, 0.0, 4.9, 5.0]).k(1).threads(2).run()?;
    /// assert_eq!((hits.keys(0), hits.keys(1)), (&[1][..], &[2][..]));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn search_many<'a>(&'a self, queries: impl Into<Components<'a>>) -> SearchMany<'a, K> {
        SearchMany::new(self.shared(), &self.open, queries.into())
    }
}
