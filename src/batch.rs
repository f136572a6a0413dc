//! Batches: all or nothing.

use crate::check::{check_payload, check_vector};
use crate::collection::Collection;
use crate::components::Components;
use crate::error::{Error, Result};
use crate::key::{AsKey, Key, RowKey};
use crate::record::Record;
use crate::shared::{Handle, Open};
use crate::tags::Tags;
use crate::write::{Action, Change};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Changes that happen all or not at all, also across a crash, with one sync for all of them. See [`Store::batch`](crate::Store::batch).
///
/// A batch holds its rows in memory until it is committed, and at most 64 MiB of them. Dropping it discards it;
/// [`rollback_to`](Self::rollback_to) takes a part of it back. [`get`](Self::get) sees its changes, nobody else does: what
/// others write meanwhile is not kept out, and a key that both change has what came last.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// let mut batch = store.batch();
/// batch.put(&docs, 1, &[1.0, 2.0], b"one")?;
/// assert!(docs.is_empty(), "nothing happens before the commit");
/// batch.commit()?;
/// assert_eq!(docs.len(), 1);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a batch does nothing until it is committed"]
pub struct WriteBatch {
    handle: Arc<Handle>,
    /// No other batch has it, but clones.
    number: u64,
    rows: Vec<Row>,
    /// The last row of each key.
    last: HashMap<RowKey, usize>,
    /// As stored.
    vectors: Vec<u8>,
    payloads: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Row {
    target: Arc<Open>,
    key: RowKey,
    /// No other row has it, of whatever batch, but clones.
    number: u64,
    /// The row of the same key before it.
    before: Option<usize>,
    what: What,
}

/// What a row does; of a vector and a payload, where they are in the buffers.
#[derive(Clone, Debug)]
enum What {
    Put {
        vector: Range<usize>,
        payload: Range<usize>,
    },
    SetPayload {
        payload: Range<usize>,
    },
    /// In the same buffer.
    SetTags {
        tags: Range<usize>,
    },
    Remove,
    Mark,
    Unmark,
}

/// A state of a batch to go back to. See [`WriteBatch::savepoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint {
    batch: u64,
    rows: usize,
    /// The number of the last of them.
    last: Option<u64>,
    vectors: usize,
    payloads: usize,
}

impl WriteBatch {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        let (rows, last, vectors, payloads) = Default::default();
        Self { handle, number: next_number(), rows, last, vectors, payloads }
    }

    fn state(&self, rows: usize) -> (u64, usize, Option<u64>) {
        (self.number, rows, rows.checked_sub(1).and_then(|last| self.rows.get(last)).map(|row| row.number))
    }

    /// Adds a put. Later changes of a key in the same batch win.
    ///
    /// # Errors
    /// As [`Collection::put`], at once; the batch is as before then. [`Error::OtherStore`].
    pub fn put<'v, K: Key + ?Sized>(
        &mut self,
        collection: &Collection<K>,
        key: impl AsKey<K>,
        vector: impl Into<Components<'v>>,
        payload: &[u8],
    ) -> Result<()> {
        self.check_store(collection)?;
        let key = collection.row_key(key, self.rows.len())?;
        self.put_row(collection, key, vector.into(), payload)
    }

    fn put_row<K: Key + ?Sized>(
        &mut self,
        collection: &Collection<K>,
        key: RowKey,
        vector: Components<'_>,
        payload: &[u8],
    ) -> Result<()> {
        let (row, shape) = (self.rows.len(), collection.open.shape());
        vector.one_row(shape, row)?;
        let vector = vector.stored(shape, row)?;
        check_vector(&collection.open, &vector, row)?;
        check_payload(payload, row)?;
        let vector = appended(&mut self.vectors, &vector);
        let payload = appended(&mut self.payloads, payload);
        self.push(collection, key, What::Put { vector, payload });
        Ok(())
    }

    /// Adds a removal; of a key that has no record it does nothing.
    ///
    /// # Errors
    /// [`Error::OtherStore`], [`Error::KeyTooLong`].
    pub fn remove<K: Key + ?Sized>(&mut self, collection: &Collection<K>, key: impl AsKey<K>) -> Result<()> {
        self.add(collection, key, What::Remove)
    }

    /// Adds a [mark](Collection::mark_deleted); of a key that has no record, or one that is marked, it does nothing.
    ///
    /// # Errors
    /// [`Error::OtherStore`], [`Error::KeyTooLong`].
    pub fn mark_deleted<K: Key + ?Sized>(&mut self, collection: &Collection<K>, key: impl AsKey<K>) -> Result<()> {
        self.add(collection, key, What::Mark)
    }

    /// Adds that a mark is [taken off](Collection::unmark_deleted); of a key whose record has none it does nothing.
    ///
    /// # Errors
    /// [`Error::OtherStore`], [`Error::KeyTooLong`].
    pub fn unmark_deleted<K: Key + ?Sized>(&mut self, collection: &Collection<K>, key: impl AsKey<K>) -> Result<()> {
        self.add(collection, key, What::Unmark)
    }

    fn add<K: Key + ?Sized>(&mut self, collection: &Collection<K>, key: impl AsKey<K>, what: What) -> Result<()> {
        self.check_store(collection)?;
        let key = collection.row_key(key, self.rows.len())?;
        self.push(collection, key, what);
        Ok(())
    }

    fn push<K: Key + ?Sized>(&mut self, collection: &Collection<K>, key: RowKey, what: What) {
        let before = self.last.insert(key.clone(), self.rows.len());
        self.rows.push(Row { target: collection.open.clone(), key, number: next_number(), before, what });
    }

    /// Adds a change of a payload alone, as [`Collection::set_payload`]; of a key that has no record by then it does nothing.
    ///
    /// # Errors
    /// [`Error::PayloadTooLarge`], [`Error::OtherStore`], [`Error::KeyTooLong`].
    pub fn set_payload<K: Key + ?Sized>(
        &mut self,
        collection: &Collection<K>,
        key: impl AsKey<K>,
        payload: &[u8],
    ) -> Result<()> {
        self.check_store(collection)?;
        let key = collection.row_key(key, self.rows.len())?;
        check_payload(payload, self.rows.len())?;
        let payload = appended(&mut self.payloads, payload);
        self.push(collection, key, What::SetPayload { payload });
        Ok(())
    }

    /// Adds a put with tags, as [`Collection::put_tagged`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_tagged<'v, K: Key + ?Sized>(
        &mut self,
        collection: &Collection<K>,
        key: impl AsKey<K>,
        vector: impl Into<Components<'v>>,
        payload: &[u8],
        tags: &Tags,
    ) -> Result<()> {
        self.check_store(collection)?;
        let key = collection.row_key(key, self.rows.len())?;
        self.put_row(collection, key.clone(), vector.into(), payload)?;
        if !tags.is_empty() {
            self.push_tags(collection, key, tags);
        }
        Ok(())
    }

    /// Adds a change of tags alone, as [`Collection::set_tags`]; of a key that has no record by then it does nothing.
    ///
    /// # Errors
    /// [`Error::OtherStore`], [`Error::KeyTooLong`].
    pub fn set_tags<K: Key + ?Sized>(
        &mut self,
        collection: &Collection<K>,
        key: impl AsKey<K>,
        tags: &Tags,
    ) -> Result<()> {
        self.check_store(collection)?;
        let key = collection.row_key(key, self.rows.len())?;
        self.push_tags(collection, key, tags);
        Ok(())
    }

    fn push_tags<K: Key + ?Sized>(&mut self, collection: &Collection<K>, key: RowKey, tags: &Tags) {
        let tags = appended(&mut self.payloads, &tags.encode());
        self.push(collection, key, What::SetTags { tags });
    }

    /// The record of a key as it would be if the batch were committed now; `None` if there would be none, or it would be
    /// marked as deleted. Changes of the batch are looked up, the others read from the collection.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"one")?;
    /// let mut batch = store.batch();
    /// batch.set_payload(&docs, 1, b"uno")?;
    /// batch.put(&docs, 2, &[3.0, 4.0], b"due")?;
    /// assert_eq!(batch.get(&docs, 1)?.unwrap().payload, b"uno");
    /// assert_eq!(batch.get(&docs, 2)?.unwrap().vector, [3.0, 4.0]);
    /// batch.remove(&docs, 1)?;
    /// assert!(batch.get(&docs, 1)?.is_none() && docs.get(1)?.unwrap().payload == b"one");
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OtherStore`], [`Error::KeyTooLong`]; if the catalogue cannot be read.
    pub fn get<K: Key + ?Sized>(&self, collection: &Collection<K>, key: impl AsKey<K>) -> Result<Option<Record>> {
        self.check_store(collection)?;
        let key = collection.row_key(key, 0)?;
        let mut rows = Vec::new();
        let mut at = self.last.get(&key).copied();
        while let Some(row) = at.map(|at| &self.rows[at]) {
            rows.push(&row.what);
            // What was before these does not matter.
            at = if matches!(row.what, What::Put { .. } | What::Remove) { None } else { row.before };
        }
        let mut seen = match rows.last() {
            Some(What::Put { .. } | What::Remove) => None,
            _ => collection.stored(&key)?,
        };
        let geometry = *collection.open.index().geometry();
        for what in rows.into_iter().rev() {
            match (what, &mut seen) {
                (What::Put { vector, payload }, _) => {
                    let mut components = Vec::with_capacity(geometry.dim);
                    geometry.element.decode(&self.vectors[vector.clone()], geometry.dim, &mut components);
                    let payload = self.payloads[payload.clone()].to_vec();
                    seen = Some((Record { vector: components, payload, tags: Tags::new() }, false));
                }
                (What::Remove, _) => seen = None,
                (What::SetPayload { payload }, Some((record, false))) => {
                    record.payload = self.payloads[payload.clone()].to_vec();
                }
                (What::Mark, Some((_, marked))) => *marked = true,
                (What::Unmark, Some((_, marked))) => *marked = false,
                (What::SetTags { tags }, Some((record, false))) => {
                    record.tags = Tags::decode(&self.payloads[tags.clone()]).unwrap_or_default();
                }
                (What::SetPayload { .. } | What::SetTags { .. } | What::Mark | What::Unmark, _) => {}
            }
        }
        Ok(seen.filter(|(_, marked)| !marked).map(|(record, _)| record))
    }

    /// The batch as it is now, to [go back to](Self::rollback_to). Costs nothing.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// let mut batch = store.batch();
    /// batch.put(&docs, 1, &[1.0, 2.0], b"one")?;
    /// let before = batch.savepoint();
    /// batch.put(&docs, 2, &[3.0, 4.0], b"two")?;
    /// batch.rollback_to(before)?;
    /// batch.commit()?;
    /// assert_eq!((docs.len(), docs.contains(2)?), (1, false));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn savepoint(&self) -> Savepoint {
        let (batch, rows, last) = self.state(self.rows.len());
        Savepoint { batch, rows, last, vectors: self.vectors.len(), payloads: self.payloads.len() }
    }

    /// Takes back all changes that were added since `savepoint`.
    ///
    /// # Errors
    /// [`Error::Setting`] if it is not a state that this batch has been through and not gone back behind; the batch is as
    /// before then.
    pub fn rollback_to(&mut self, savepoint: Savepoint) -> Result<()> {
        let Savepoint { batch, rows, last, vectors, payloads } = savepoint;
        if rows > self.rows.len() || self.state(rows) != (batch, rows, last) {
            let what = format!("the savepoint after {rows} changes is not one of this batch, or was taken back itself");
            return Err(Error::Setting(what));
        }
        for row in self.rows.drain(rows..).rev() {
            match row.before {
                Some(before) => self.last.insert(row.key, before),
                None => self.last.remove(&row.key),
            };
        }
        self.vectors.truncate(vectors);
        self.payloads.truncate(payloads);
        Ok(())
    }

    fn check_store<K: Key + ?Sized>(&self, collection: &Collection<K>) -> Result<()> {
        if collection.belongs_to(&self.handle.0) {
            return Ok(());
        }
        Err(Error::OtherStore { collection: collection.name().to_owned() })
    }

    /// Changes in the batch.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Carries out the batch.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::NoSpace`] change nothing. After an [`Error::Io`] of the log the store takes
    /// no more writes, and holds after reopening all of the batch or none.
    pub fn commit(self) -> Result<()> {
        let mut changes: Vec<Change<'_>> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let action = match &row.what {
                What::Put { vector, payload } => {
                    Action::Put { vector: &self.vectors[vector.clone()], payload: &self.payloads[payload.clone()] }
                }
                What::SetPayload { payload } => Action::SetPayload { payload: &self.payloads[payload.clone()] },
                What::SetTags { tags } => Action::SetTags { tags: &self.payloads[tags.clone()] },
                What::Remove => Action::Remove,
                What::Mark => Action::Mark,
                What::Unmark => Action::Unmark,
            };
            changes.push(Change { target: &row.target, key: row.key.clone(), action });
        }
        self.handle.0.write(&changes).map(|_| ())
    }
}

/// A number that was not given before in this process.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Appends to a buffer; says where.
fn appended(buffer: &mut Vec<u8>, bytes: &[u8]) -> Range<usize> {
    let start = buffer.len();
    buffer.extend_from_slice(bytes);
    start..buffer.len()
}
