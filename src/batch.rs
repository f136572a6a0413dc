//! Batches: all or nothing.

use crate::check::{check_payload, check_vector};
use crate::collection::Collection;
use crate::components::Components;
use crate::error::{Error, Result};
use crate::key::{AsKey, Key, RowKey};
use crate::shared::{Handle, Open};
use crate::write::{Action, Change};
use std::sync::Arc;

/// Changes that happen all or not at all, also across a crash, with one sync for all of them. See [`Store::batch`](crate::Store::batch).
///
/// A batch holds its rows in memory until it is committed, and at most 64 MiB of them. Dropping it discards it.
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
    rows: Vec<Row>,
    /// As stored.
    vectors: Vec<u8>,
    payloads: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Row {
    target: Arc<Open>,
    key: RowKey,
    what: What,
}

/// What a row does; of a vector and a payload, where they end in the buffers.
#[derive(Clone, Copy, Debug)]
enum What {
    Put { vector_end: usize, payload_end: usize },
    SetPayload { payload_end: usize },
    Remove,
    Mark,
    Unmark,
}

impl WriteBatch {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        Self { handle, rows: Vec::new(), vectors: Vec::new(), payloads: Vec::new() }
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
        let (row, vector, shape) = (self.rows.len(), vector.into(), collection.open.shape());
        let key = collection.row_key(key, row)?;
        vector.one_row(shape, row)?;
        let vector = vector.stored(shape, row)?;
        check_vector(&collection.open, &vector, row)?;
        check_payload(payload, row)?;
        self.vectors.extend_from_slice(&vector);
        self.payloads.extend_from_slice(payload);
        let what = What::Put { vector_end: self.vectors.len(), payload_end: self.payloads.len() };
        self.rows.push(Row { target: collection.open.clone(), key, what });
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
        self.rows.push(Row { target: collection.open.clone(), key, what });
        Ok(())
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
        self.payloads.extend_from_slice(payload);
        let what = What::SetPayload { payload_end: self.payloads.len() };
        self.rows.push(Row { target: collection.open.clone(), key, what });
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
        let (mut vectors, mut payloads) = (0, 0);
        let mut changes: Vec<Change<'_>> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let mut payload = |end: usize| &self.payloads[std::mem::replace(&mut payloads, end)..end];
            let action = match row.what {
                What::Put { vector_end, payload_end } => {
                    let vector = &self.vectors[std::mem::replace(&mut vectors, vector_end)..vector_end];
                    Action::Put { vector, payload: payload(payload_end) }
                }
                What::SetPayload { payload_end } => Action::SetPayload { payload: payload(payload_end) },
                What::Remove => Action::Remove,
                What::Mark => Action::Mark,
                What::Unmark => Action::Unmark,
            };
            changes.push(Change { target: &row.target, key: row.key.clone(), action });
        }
        self.handle.0.write(&changes).map(|_| ())
    }
}
