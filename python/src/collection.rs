//! `lodestore.Collection`.

use crate::classes;
use crate::errors::{raise, refuse};
use crate::filter::Given;
use crate::input::{self, Vectors};
use crate::keyed::{Keyed, PyKey, object, with_keyed};
use crate::output;
use crate::scan::{Scan, between};
use crate::search::{Wanted, search, search_many};
use crate::stream::{self, Stream};
use crate::tags::{self, TagFilter};
use crate::waiting::Waiting;
use lodestore::Element;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyList, PyString, PyType};
use std::borrow::Cow;

/// Records of one dimension, element type and metric: keys of one type, each with a vector and a payload of bytes.
///
/// Made by Store.collection(). May be used from any thread; calls that work release the GIL.
#[pyclass(frozen, module = "lodestore")]
pub(crate) struct Collection(pub(crate) Keyed);

impl Collection {
    fn shape(&self) -> (usize, Element) {
        with_keyed!(&self.0, docs => (docs.dim(), docs.element()))
    }

    /// One whose keys are integers.
    pub(crate) fn of_ints(&self) -> PyResult<&lodestore::Collection<u64>> {
        match &self.0 {
            Keyed::Int(docs) => Ok(docs),
            _ => Err(refuse("the keys of the collection are not integers")),
        }
    }
}

fn put_many<K: PyKey + ?Sized>(
    py: Python<'_>,
    docs: &lodestore::Collection<K>,
    keys: &Bound<'_, PyAny>,
    vectors: &Vectors<'_>,
    (payloads, tags): (Option<&[&[u8]]>, Option<&[lodestore::Tags]>),
    progress: Option<Py<PyAny>>,
) -> PyResult<()> {
    let (keys, components) = (K::many(keys)?, vectors.components()?);
    let mut waiting = Waiting::new(progress.as_ref(), keys.len());
    let mut go_on = |done| waiting.go_on(done);
    let put = || match tags {
        None => docs.put_many_while(&keys, components, payloads, &mut go_on),
        Some(tags) => docs.put_many_tagged_while(&keys, components, payloads, tags, &mut go_on),
    };
    py.detach(put).map_err(raise)?;
    waiting.end()
}

fn links<'py, K: PyKey + ?Sized>(
    py: Python<'py>,
    docs: &lodestore::Collection<K>,
    key: &Bound<'py, PyAny>,
) -> PyResult<Option<Vec<Vec<Bound<'py, PyAny>>>>> {
    let key = K::one(key)?;
    let Some(levels) = py.detach(|| docs.links(key)).map_err(raise)? else { return Ok(None) };
    let objects = |keys: Vec<K::Owned>| keys.iter().map(|key| object::<K>(py, key)).collect();
    levels.into_iter().map(objects).collect::<PyResult<_>>().map(Some)
}

/// A key of a collection: of any other type it raises TypeError.
pub(crate) fn key_of<K: PyKey + ?Sized>(_: &lodestore::Collection<K>, key: &Bound<'_, PyAny>) -> PyResult<K::Owned> {
    K::one(key)
}

#[pymethods]
impl Collection {
    /// The collection's name.
    #[getter]
    fn name(&self) -> &str {
        with_keyed!(&self.0, docs => docs.name())
    }

    /// Components of a vector.
    #[getter]
    fn dim(&self) -> usize {
        self.shape().0
    }

    /// The metric: "l2", "ip", "cosine" or "hamming".
    #[getter]
    fn metric(&self) -> &'static str {
        with_keyed!(&self.0, docs => docs.metric().name())
    }

    /// What components are kept as: "f32", "f16", "bf16", "i8", "u8" or "bits".
    #[getter]
    fn element(&self) -> &'static str {
        self.shape().1.name()
    }

    /// The type of the keys: int, str, bytes or uuid.UUID.
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyType>> {
        Ok(match self.0 {
            Keyed::Int(_) | Keyed::Long(_) => py.get_type::<PyInt>(),
            Keyed::Uuid(_) => classes::UUID.get(py)?.clone(),
            Keyed::Str(_) => py.get_type::<PyString>(),
            Keyed::Bytes(_) => py.get_type::<PyBytes>(),
        })
    }

    /// Settings and size, a CollectionInfo.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let info = py.detach(|| with_keyed!(&self.0, docs => docs.info()));
        output::info(py, info)
    }

    fn __len__(&self) -> usize {
        with_keyed!(&self.0, docs => docs.len() as usize)
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        with_keyed!(&self.0, docs => {
            let key = key_of(docs, key)?;
            py.detach(|| docs.contains(key)).map_err(raise)
        })
    }

    fn __repr__(&self) -> String {
        let (name, dim, element, metric) = (self.name(), self.dim(), self.element(), self.metric());
        format!("<lodestore.Collection {name:?}: {} records, dim {dim}, {element}, {metric}>", self.__len__())
    }

    /// Puts a record, replacing the one of that key. When this returns it is as durable as the store's durability says,
    /// and every search that starts finds it.
    ///
    /// vector: shape (dim,), numbers of any type; of the collection's own they are taken as they are.
    /// payload: bytes, at most 16 MiB. tags: a mapping of fields to an int or a str, or to several, by which searches choose.
    #[pyo3(
        signature = (key, vector, payload = Cow::default(), tags = None),
        text_signature = "($self, key, vector, payload=b'', tags=None)"
    )]
    fn put(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        vector: &Bound<'_, PyAny>,
        payload: Cow<'_, [u8]>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let ((dim, element), tags) = (self.shape(), tags::tags(tags)?);
        with_keyed!(&self.0, docs => {
            let key = key_of(docs, key)?;
            let vector = Vectors::one(vector, dim, element)?;
            let (components, payload) = (vector.components()?, &*payload);
            py.detach(|| docs.put_tagged(key, components, payload, &tags)).map_err(raise)
        })
    }

    /// Puts many records, linked by several threads. All is looked at before any is written. They are written in
    /// parts that take about a tenth of a second; Ctrl-C, an exception in progress or a crash leaves those written before.
    ///
    /// keys: an array of integers, shape (rows,), or any iterable of keys. matrix: shape (rows, dim), not to be changed meanwhile.
    /// payloads: None, or bytes for each row.
    /// progress: called now and then with the rows written and the rows there are. tags: None, or a mapping or None for each row.
    #[pyo3(signature = (keys, matrix, payloads = None, progress = None, tags = None))]
    fn put_many(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        matrix: &Bound<'_, PyAny>,
        payloads: Option<&Bound<'_, PyAny>>,
        progress: Option<Py<PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let tags = tags::rows(tags)?;
        let payloads = input::payloads(payloads)?;
        let payloads: Option<Vec<&[u8]>> = payloads.as_ref().map(|all| all.iter().map(|one| &**one).collect());
        let (dim, element) = self.shape();
        let vectors = Vectors::rows(matrix, "the matrix", dim, element)?;
        with_keyed!(&self.0, docs => put_many(py, docs, keys, &vectors, (payloads.as_deref(), tags.as_deref()), progress))
    }

    /// The record of a key, or None. Its vector is of float32, which has every number of every element type; bits are 0
    /// and 1.
    fn get<'py>(&self, py: Python<'py>, key: &Bound<'_, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let record = with_keyed!(&self.0, docs => {
            let key = key_of(docs, key)?;
            py.detach(|| docs.get(key)).map_err(raise)?
        });
        record.map(|record| output::record(py, record)).transpose()
    }

    /// The keys that a record is linked to in the graph, a list for each of its levels from 0 up, or None.
    fn links<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Option<Vec<Vec<Bound<'py, PyAny>>>>> {
        with_keyed!(&self.0, docs => links(py, docs, key))
    }

    /// Replaces the payload of a record, and leaves its vector as it is. Says whether there is such a record.
    fn set_payload(&self, py: Python<'_>, key: &Bound<'_, PyAny>, payload: Cow<'_, [u8]>) -> PyResult<bool> {
        with_keyed!(&self.0, docs => {
            let (key, payload) = (key_of(docs, key)?, &*payload);
            py.detach(|| docs.set_payload(key, payload)).map_err(raise)
        })
    }

    /// Replaces the tags of a record, and leaves the rest as it is. Says whether there is such a record.
    fn set_tags(&self, py: Python<'_>, key: &Bound<'_, PyAny>, tags: &Bound<'_, PyAny>) -> PyResult<bool> {
        let tags = tags::tags(Some(tags))?;
        with_keyed!(&self.0, docs => {
            let key = key_of(docs, key)?;
            py.detach(|| docs.set_tags(key, &tags)).map_err(raise)
        })
    }

    /// The keys in their order, an iterator. They are those that had a record when it was made, whatever is written
    /// meanwhile, fetched some hundred at a time.
    ///
    /// records: whether to give pairs, each a key and its Record. reverse: from the last to the first.
    #[pyo3(signature = (records = false, reverse = false))]
    fn iter(&self, records: bool, reverse: bool) -> Scan {
        with_keyed!(&self.0, docs => Scan::new(docs.iter(), records, reverse))
    }

    /// The keys from start up to, but without, stop; None is no limit. Otherwise as iter().
    #[pyo3(signature = (start = None, stop = None, records = false, reverse = false))]
    fn range(
        &self,
        start: Option<&Bound<'_, PyAny>>,
        stop: Option<&Bound<'_, PyAny>>,
        records: bool,
        reverse: bool,
    ) -> PyResult<Scan> {
        with_keyed!(&self.0, docs => Ok(Scan::new(between(docs, start, stop)?, records, reverse)))
    }

    /// The keys that begin with prefix, which str and bytes can. Otherwise as iter().
    #[pyo3(signature = (prefix, records = false, reverse = false))]
    fn prefix(&self, prefix: &Bound<'_, PyAny>, records: bool, reverse: bool) -> PyResult<Scan> {
        match &self.0 {
            Keyed::Int(_) | Keyed::Long(_) | Keyed::Uuid(_) => {
                Err(refuse("the keys of the collection are numbers, which have no prefix; use range()"))
            }
            Keyed::Str(docs) => Ok(Scan::new(docs.prefix(str::one(prefix)?), records, reverse)),
            Keyed::Bytes(docs) => Ok(Scan::new(docs.prefix(<[u8]>::one(prefix)?), records, reverse)),
        }
    }

    fn __iter__(&self) -> Scan {
        self.iter(false, false)
    }

    /// Removes a record. Says whether there was one.
    fn remove(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        with_keyed!(&self.0, docs => {
            let key = key_of(docs, key)?;
            py.detach(|| docs.remove(key)).map_err(raise)
        })
    }

    /// Marks a record as deleted: nothing finds it until unmark_deleted() brings it back, as it was. It is not in the
    /// collection, get() gives None, and len() does not count it; put() replaces it, remove() removes it for good. Says
    /// whether there was such a record: False without one, and of one that is marked already.
    fn mark_deleted(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        with_keyed!(&self.0, docs => {
            let key = key_of(docs, key)?;
            py.detach(|| docs.mark_deleted(key)).map_err(raise)
        })
    }

    /// Brings a record back that was marked as deleted. Says whether there was one.
    fn unmark_deleted(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        with_keyed!(&self.0, docs => {
            let key = key_of(docs, key)?;
            py.detach(|| docs.unmark_deleted(key)).map_err(raise)
        })
    }

    /// The record of a key that is marked as deleted, or None.
    fn get_marked<'py>(&self, py: Python<'py>, key: &Bound<'_, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let record = with_keyed!(&self.0, docs => {
            let key = key_of(docs, key)?;
            py.detach(|| docs.get_marked(key)).map_err(raise)?
        });
        record.map(|record| output::record(py, record)).transpose()
    }

    /// Whether a key has a record that is marked as deleted.
    fn is_marked_deleted(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        with_keyed!(&self.0, docs => {
            let key = key_of(docs, key)?;
            py.detach(|| docs.is_marked_deleted(key)).map_err(raise)
        })
    }

    /// The k records nearest to a vector, nearest first; fewer if there are fewer.
    ///
    /// query: shape (dim,). ef: candidates kept on the way, 64 unless given: more find more and take longer.
    /// recall: instead of ef, the share of the true neighbours to be found, 0 to 1, as recall() has measured it.
    /// payloads: whether to fetch them too. tags: a condition on the tags of records, see Tag. filter: which records may be found; k are whenever there are so many. A callable
    /// that is asked of keys, once for each; or, much faster since it needs no interpreter, an array of booleans by key,
    /// the keys, an array of integers, or a KeySet of them, which is best if several searches use it. exact: compares with every record, and so finds the true neighbours.
    /// timeout: seconds after which what is known is given; complete of the Hits says whether it came to that.
    #[pyo3(signature = (query, k = 10, ef = None, recall = None, payloads = true, filter = None, exact = false, timeout = None, tags = None))]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn search<'py>(
        &self,
        py: Python<'py>,
        query: &Bound<'py, PyAny>,
        k: usize,
        ef: Option<usize>,
        recall: Option<f64>,
        payloads: bool,
        filter: Option<&Bound<'py, PyAny>>,
        exact: bool,
        timeout: Option<f64>,
        tags: Option<&Bound<'py, TagFilter>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let wanted = Wanted { k: Some(k), ef, recall, payloads, exact, timeout };
        wanted.check()?;
        let (dim, element) = self.shape();
        let query = Vectors::one(query, dim, element)?;
        with_keyed!(&self.0, docs => search(py, docs, &query, wanted, Given::new(filter, tags)))
    }

    /// Searches for many vectors at once. Ctrl-C stops it.
    ///
    /// queries: shape (rows, dim), not to be changed meanwhile. threads: how many share the queries; 0 is one for each
    /// core. recall, filter, exact, timeout: as for search(); filter may also be a list with one, or None, for each row. Returns BatchHits with keys and distances of the shape (rows, k).
    #[pyo3(
        signature = (queries, k = 10, ef = None, threads = 0, filter = None, exact = false, recall = None, timeout = None, tags = None)
    )]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn search_many<'py>(
        &self,
        py: Python<'py>,
        queries: &Bound<'py, PyAny>,
        k: usize,
        ef: Option<usize>,
        threads: usize,
        filter: Option<&Bound<'py, PyAny>>,
        exact: bool,
        recall: Option<f64>,
        timeout: Option<f64>,
        tags: Option<&Bound<'py, TagFilter>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let wanted = Wanted { k: Some(k), ef, recall, payloads: false, exact, timeout };
        wanted.check()?;
        let (dim, element) = self.shape();
        let queries = Vectors::rows(queries, "the queries", dim, element)?;
        with_keyed!(&self.0, docs => search_many(py, docs, &queries, wanted, Given::new(filter, tags), threads))
    }

    /// All records whose distance from a vector is at most radius, in the collection's metric (under "l2" the square of the
    /// length), nearest first: Hits.
    ///
    /// It ends once the nearest of the ef nearest that are left is farther, so a larger ef finds what lies behind others;
    /// exact finds all. k: at most so many, None for all. min_candidates: goes on until so many records were
    /// looked at, also beyond the radius. Otherwise as search(). Ctrl-C stops it.
    #[pyo3(signature = (query, radius, k = None, ef = None, recall = None, payloads = true, filter = None, exact = false,
        timeout = None, min_candidates = 0, tags = None))]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn within<'py>(
        &self,
        py: Python<'py>,
        query: &Bound<'py, PyAny>,
        radius: f32,
        k: Option<usize>,
        ef: Option<usize>,
        recall: Option<f64>,
        payloads: bool,
        filter: Option<&Bound<'py, PyAny>>,
        exact: bool,
        timeout: Option<f64>,
        min_candidates: usize,
        tags: Option<&Bound<'py, TagFilter>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (dim, element) = self.shape();
        let query = Vectors::one(query, dim, element)?;
        let wanted = Wanted { k, ef, recall, payloads, exact, timeout };
        with_keyed!(&self.0, docs => stream::within(py, docs, &query, wanted, Given::new(filter, tags), (radius, min_candidates)))
    }

    /// The k nearest groups, each as near as its nearest record: records of which group(hit) says the same, such as the
    /// parts of one document. A list of Group, nearest first.
    ///
    /// group: a callable that takes a Hit and returns something hashable. most: of each group at most so many records, of those
    /// that are nearer than the nearest of the last group; 1 gives each group's nearest only. Otherwise as search().
    #[pyo3(signature = (query, group, k = 10, most = 1, ef = None, payloads = true, filter = None, exact = false,
        timeout = None, tags = None))]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn group_by<'py>(
        &self,
        py: Python<'py>,
        query: &Bound<'py, PyAny>,
        group: &Bound<'py, PyAny>,
        k: usize,
        most: usize,
        ef: Option<usize>,
        payloads: bool,
        filter: Option<&Bound<'py, PyAny>>,
        exact: bool,
        timeout: Option<f64>,
        tags: Option<&Bound<'py, TagFilter>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let (dim, element) = self.shape();
        let query = Vectors::one(query, dim, element)?;
        let wanted = Wanted { k: None, ef, recall: None, payloads, exact, timeout };
        with_keyed!(&self.0, docs => stream::group_by(py, docs, &query, wanted, Given::new(filter, tags), (group, k, most)))
    }

    /// The records nearest to a vector, until they are of so many documents, the last with its first record: hnswlib's
    /// multi-vector search. Returns Hits, nearest first.
    ///
    /// document: a callable that takes a Hit and returns something hashable, which says what document it is of. Otherwise as
    /// search().
    #[pyo3(signature = (query, documents, document, ef = None, payloads = true, filter = None, exact = false,
        timeout = None, tags = None))]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn search_documents<'py>(
        &self,
        py: Python<'py>,
        query: &Bound<'py, PyAny>,
        documents: usize,
        document: &Bound<'py, PyAny>,
        ef: Option<usize>,
        payloads: bool,
        filter: Option<&Bound<'py, PyAny>>,
        exact: bool,
        timeout: Option<f64>,
        tags: Option<&Bound<'py, TagFilter>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (dim, element) = self.shape();
        let query = Vectors::one(query, dim, element)?;
        let wanted = Wanted { k: None, ef, recall: None, payloads, exact, timeout };
        with_keyed!(&self.0, docs => stream::documents(py, docs, &query, wanted, Given::new(filter, tags), (document, documents)))
    }

    /// The records nearest to a vector one after the other, as many as are asked for: a Stream. Any search that is to end
    /// otherwise than others is a loop over it.
    ///
    /// ef: how far the walk looks ahead. exact: compares with all before the first. Otherwise as search().
    #[pyo3(signature = (query, ef = None, recall = None, payloads = true, filter = None, exact = false, timeout = None, tags = None))]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn stream<'py>(
        &self,
        query: &Bound<'py, PyAny>,
        ef: Option<usize>,
        recall: Option<f64>,
        payloads: bool,
        filter: Option<&Bound<'py, PyAny>>,
        exact: bool,
        timeout: Option<f64>,
        tags: Option<&Bound<'py, TagFilter>>,
    ) -> PyResult<Stream> {
        let (dim, element) = self.shape();
        let query = Vectors::one(query, dim, element)?;
        let wanted = Wanted { k: None, ef, recall, payloads, exact, timeout };
        with_keyed!(&self.0, docs => Stream::new(docs, &query, wanted, Given::new(filter, tags)))
    }

    /// Measures how much of what an exact search finds searches find, on so many stored vectors, at rising ef; search()
    /// takes a recall from then on, also after the store was closed. Returns a RecallReport. Takes a distance for each sample and record, and the searches.
    #[pyo3(signature = (samples = 1000, k = 10, seed = 0))]
    fn recall<'py>(&self, py: Python<'py>, samples: usize, k: usize, seed: u64) -> PyResult<Bound<'py, PyAny>> {
        let measured = || with_keyed!(&self.0, docs => docs.measure_recall(samples).k(k).seed(seed).run());
        let report = py.detach(measured).map_err(raise)?;
        output::recall(py, report)
    }

    /// What recall() has measured last, be it before the store was opened, or None.
    fn recall_report<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let report = py.detach(|| with_keyed!(&self.0, docs => docs.recall_report())).map_err(raise)?;
        report.map(|report| output::recall(py, report)).transpose()
    }
}
