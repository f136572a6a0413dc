//! `lodestore.Batch`.

use crate::collection::{Collection, key_of};
use crate::errors::{raise, refuse};
use crate::input::Vectors;
use crate::keyed::with_keyed;
use crate::output;
use crate::tags;
use lodestore::WriteBatch;
use pyo3::prelude::*;
use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A state of a batch to go back to; made by Batch.savepoint().
#[pyclass(frozen, module = "lodestore")]
pub(crate) struct Savepoint(lodestore::Savepoint);

/// Changes that happen all or not at all, also across a crash, with one sync for all of them; made by Store.batch().
///
/// As a context manager it commits at the end of the block, and is discarded if the block raises. It holds its rows in
/// memory until then, at most 64 MiB of them.
#[pyclass(frozen, module = "lodestore")]
pub(crate) struct Batch(Mutex<Option<WriteBatch>>);

impl Batch {
    pub(crate) fn new(batch: WriteBatch) -> Self {
        Self(Mutex::new(Some(batch)))
    }

    /// Nobody waits long for it: no work is done while it is held, but looking a record up, without the interpreter.
    fn held(&self) -> MutexGuard<'_, Option<WriteBatch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut WriteBatch) -> lodestore::Result<T>) -> PyResult<T> {
        match &mut *self.held() {
            Some(batch) => change(batch).map_err(raise),
            None => Err(refuse(GONE)),
        }
    }
}

const GONE: &str = "the batch was committed or discarded; make a new one";

#[pymethods]
impl Batch {
    /// Adds a put. Later changes of a key in the same batch win. vector: shape (dim,). tags: as for Collection.put().
    #[pyo3(
        signature = (collection, key, vector, payload = Cow::default(), tags = None),
        text_signature = "($self, collection, key, vector, payload=b'', tags=None)"
    )]
    fn put(
        &self,
        collection: &Bound<'_, Collection>,
        key: &Bound<'_, PyAny>,
        vector: &Bound<'_, PyAny>,
        payload: Cow<'_, [u8]>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let tags = tags::tags(tags)?;
        with_keyed!(&collection.get().0, docs => {
            let key = key_of(docs, key)?;
            let vector = Vectors::one(vector, docs.dim(), docs.element())?;
            let components = vector.components()?;
            self.change(|batch| batch.put_tagged(docs, key, components, &payload, &tags))
        })
    }

    /// Adds a removal; of a key that has no record it does nothing.
    fn remove(&self, collection: &Bound<'_, Collection>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        with_keyed!(&collection.get().0, docs => {
            let key = key_of(docs, key)?;
            self.change(|batch| batch.remove(docs, key))
        })
    }

    /// Adds a change of a payload alone; of a key that has no record by then it does nothing.
    fn set_payload(
        &self,
        collection: &Bound<'_, Collection>,
        key: &Bound<'_, PyAny>,
        payload: Cow<'_, [u8]>,
    ) -> PyResult<()> {
        with_keyed!(&collection.get().0, docs => {
            let key = key_of(docs, key)?;
            self.change(|batch| batch.set_payload(docs, key, &payload))
        })
    }

    /// Adds a change of tags alone; of a key that has no record by then it does nothing.
    fn set_tags(
        &self,
        collection: &Bound<'_, Collection>,
        key: &Bound<'_, PyAny>,
        tags: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let tags = tags::tags(Some(tags))?;
        with_keyed!(&collection.get().0, docs => {
            let key = key_of(docs, key)?;
            self.change(|batch| batch.set_tags(docs, key, &tags))
        })
    }

    /// Adds a mark, as Collection.mark_deleted(); without such a record it does nothing.
    fn mark_deleted(&self, collection: &Bound<'_, Collection>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        with_keyed!(&collection.get().0, docs => {
            let key = key_of(docs, key)?;
            self.change(|batch| batch.mark_deleted(docs, key))
        })
    }

    /// Adds that a mark is taken off, as Collection.unmark_deleted(); without one it does nothing.
    fn unmark_deleted(&self, collection: &Bound<'_, Collection>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        with_keyed!(&collection.get().0, docs => {
            let key = key_of(docs, key)?;
            self.change(|batch| batch.unmark_deleted(docs, key))
        })
    }

    /// The record of a key as it would be if the batch were committed now, or None.
    fn get<'py>(
        &self,
        py: Python<'py>,
        collection: &Bound<'_, Collection>,
        key: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let record = with_keyed!(&collection.get().0, docs => {
            let key = key_of(docs, key)?;
            let got = py.detach(|| self.held().as_ref().map(|batch| batch.get(docs, key)));
            match got {
                Some(got) => got.map_err(raise)?,
                None => return Err(refuse(GONE)),
            }
        });
        record.map(|record| output::record(py, record)).transpose()
    }

    /// The batch as it is now, to go back to with rollback_to().
    fn savepoint(&self) -> PyResult<Savepoint> {
        self.change(|batch| Ok(Savepoint(batch.savepoint())))
    }

    /// Takes back all changes that were added since the savepoint, which is one of this batch.
    fn rollback_to(&self, savepoint: &Savepoint) -> PyResult<()> {
        self.change(|batch| batch.rollback_to(savepoint.0))
    }

    /// Carries out the batch.
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        let batch = self.held().take();
        match batch {
            Some(batch) => py.detach(|| batch.commit()).map_err(raise),
            None => Err(refuse(GONE)),
        }
    }

    /// Changes in the batch.
    fn __len__(&self) -> usize {
        self.held().as_ref().map_or(0, WriteBatch::len)
    }

    /// An empty batch is a batch, too.
    fn __bool__(&self) -> bool {
        true
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: Option<&Bound<'_, PyAny>>,
        _exc_value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        if exc_type.is_some() {
            self.held().take();
            return Ok(());
        }
        let batch = self.held().take();
        batch.map_or(Ok(()), |batch| py.detach(|| batch.commit()).map_err(raise))
    }
}
