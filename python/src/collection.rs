//! `lodestore.Collection`.

use crate::errors::{raise, refuse};
use crate::filter::{Filter, Filters};
use crate::input::{self, Vectors};
use crate::output::{self, Rows};
use crate::waiting::Waiting;
use pyo3::prelude::*;
use std::borrow::Cow;

/// Records of one dimension, element type and metric: integer keys, each with a vector and a payload of bytes.
///
/// Made by Store.collection(). May be used from any thread; calls that work release the GIL.
#[pyclass(frozen, module = "lodestore")]
pub(crate) struct Collection(pub(crate) lodestore::Collection<u64>);

#[pymethods]
impl Collection {
    /// The collection's name.
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    /// Components of a vector.
    #[getter]
    fn dim(&self) -> usize {
        self.0.dim()
    }

    /// The metric: "l2", "ip", "cosine" or "hamming".
    #[getter]
    fn metric(&self) -> &'static str {
        self.0.metric().name()
    }

    /// What components are kept as: "f32", "f16", "bf16", "i8", "u8" or "bits".
    #[getter]
    fn element(&self) -> &'static str {
        self.0.element().name()
    }

    /// Settings and size, a CollectionInfo.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let info = py.detach(|| self.0.info());
        output::info(py, info)
    }

    fn __len__(&self) -> usize {
        self.0.len() as usize
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = input::key(key)?;
        py.detach(|| self.0.contains(key)).map_err(raise)
    }

    fn __repr__(&self) -> String {
        let (name, dim, element, metric) = (self.name(), self.dim(), self.element(), self.metric());
        format!("<lodestore.Collection {name:?}: {} records, dim {dim}, {element}, {metric}>", self.0.len())
    }

    /// Puts a record, replacing the one of that key. When this returns it is as durable as the store's durability says,
    /// and every search that starts finds it.
    ///
    /// vector: shape (dim,), numbers of any type; of the collection's own they are taken as they are.
    /// payload: bytes, at most 16 MiB.
    #[pyo3(signature = (key, vector, payload = Cow::default()), text_signature = "($self, key, vector, payload=b'')")]
    fn put(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        vector: &Bound<'_, PyAny>,
        payload: Cow<'_, [u8]>,
    ) -> PyResult<()> {
        let key = input::key(key)?;
        let vector = Vectors::one(vector, self.0.dim(), self.0.element())?;
        let (components, payload) = (vector.components()?, &*payload);
        py.detach(|| self.0.put(key, components, payload)).map_err(raise)
    }

    /// Puts many records, linked by several threads. All is looked at before any is written. They are written in
    /// parts that take about a tenth of a second; Ctrl-C, an exception in progress or a crash leaves those written before.
    ///
    /// keys: integers, shape (rows,). matrix: shape (rows, dim), not to be changed meanwhile.
    /// payloads: None, or bytes for each row.
    /// progress: called now and then with the rows written and the rows there are.
    #[pyo3(signature = (keys, matrix, payloads = None, progress = None))]
    fn put_many(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        matrix: &Bound<'_, PyAny>,
        payloads: Option<&Bound<'_, PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let keys = input::keys(keys)?;
        let payloads = input::payloads(payloads)?;
        let payloads: Option<Vec<&[u8]>> = payloads.as_ref().map(|all| all.iter().map(|one| &**one).collect());
        let vectors = Vectors::rows(matrix, "the matrix", self.0.dim(), self.0.element())?;
        let components = vectors.components()?;
        let mut waiting = Waiting::new(progress.as_ref(), keys.len());
        py.detach(|| self.0.put_many_while(&keys, components, payloads.as_deref(), |done| waiting.go_on(done)))
            .map_err(raise)?;
        waiting.end()
    }

    /// The record of a key, or None. Its vector is of float32, which has every number of every element type; bits are 0
    /// and 1.
    fn get<'py>(&self, py: Python<'py>, key: &Bound<'_, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let key = input::key(key)?;
        let record = py.detach(|| self.0.get(key)).map_err(raise)?;
        record.map(|record| output::record(py, record)).transpose()
    }

    /// The keys that a record is linked to in the graph, a list for each of its levels from 0 up, or None.
    fn links(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Option<Vec<Vec<u64>>>> {
        let key = input::key(key)?;
        py.detach(|| self.0.links(key)).map_err(raise)
    }

    /// Removes a record. Says whether there was one.
    fn remove(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = input::key(key)?;
        py.detach(|| self.0.remove(key)).map_err(raise)
    }

    /// Marks a record as deleted: nothing finds it until unmark_deleted() brings it back, as it was. It is not in the
    /// collection, get() gives None, and len() does not count it; put() replaces it, remove() removes it for good. Says
    /// whether there was such a record: False without one, and of one that is marked already.
    fn mark_deleted(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = input::key(key)?;
        py.detach(|| self.0.mark_deleted(key)).map_err(raise)
    }

    /// Brings a record back that was marked as deleted. Says whether there was one.
    fn unmark_deleted(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = input::key(key)?;
        py.detach(|| self.0.unmark_deleted(key)).map_err(raise)
    }

    /// The record of a key that is marked as deleted, or None.
    fn get_marked<'py>(&self, py: Python<'py>, key: &Bound<'_, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let key = input::key(key)?;
        let record = py.detach(|| self.0.get_marked(key)).map_err(raise)?;
        record.map(|record| output::record(py, record)).transpose()
    }

    /// Whether a key has a record that is marked as deleted.
    fn is_marked_deleted(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = input::key(key)?;
        py.detach(|| self.0.is_marked_deleted(key)).map_err(raise)
    }

    /// The k records nearest to a vector, nearest first; fewer if there are fewer.
    ///
    /// query: shape (dim,). ef: candidates kept on the way, 64 unless given: more find more and take longer.
    /// recall: instead of ef, the share of the true neighbours to be found, 0 to 1, as recall() has measured it.
    /// payloads: whether to fetch them too. filter: which records may be found; k are whenever there are so many. A callable
    /// that is asked of keys, once for each; or, much faster since it needs no interpreter, an array of booleans by key,
    /// the keys, an array of integers, or a KeySet of them, which is best if several searches use it. exact: compares with every record, and so finds the true neighbours.
    #[pyo3(signature = (query, k = 10, ef = None, recall = None, payloads = true, filter = None, exact = false))]
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
    ) -> PyResult<Bound<'py, PyAny>> {
        if ef.is_some() && recall.is_some() {
            return Err(refuse("a search has an ef or a recall, not both"));
        }
        let query = Vectors::one(query, self.0.dim(), self.0.element())?;
        let components = query.components()?;
        let filter = filter.map(Filter::new).transpose()?;
        let hits = py.detach(|| {
            let asked = filter.as_ref().and_then(Filter::asked);
            let mut search = self.0.search(components).k(k);
            if let Some(ef) = ef {
                search = search.ef(ef);
            }
            if let Some(recall) = recall {
                search = search.recall(recall);
            }
            if let Some(asked) = &asked {
                search = search.filter(asked);
            }
            if let Some(set) = filter.as_ref().and_then(Filter::set) {
                search = search.among(set);
            }
            if exact {
                search = search.exact();
            }
            if payloads { search.with_payloads().run() } else { search.run() }
        });
        filter.map_or(Ok(()), Filter::end)?;
        output::hits(py, hits.map_err(raise)?, payloads)
    }

    /// Searches for many vectors at once. Ctrl-C stops it.
    ///
    /// queries: shape (rows, dim), not to be changed meanwhile. threads: how many share the queries; 0 is one for each
    /// core. recall, filter, exact: as for search(); filter may also be a list with one, or None, for each row. Returns BatchHits with keys and distances of the shape (rows, k).
    #[pyo3(signature = (queries, k = 10, ef = None, threads = 0, filter = None, exact = false, recall = None))]
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
    ) -> PyResult<Bound<'py, PyAny>> {
        if ef.is_some() && recall.is_some() {
            return Err(refuse("a search has an ef or a recall, not both"));
        }
        let queries = Vectors::rows(queries, "the queries", self.0.dim(), self.0.element())?;
        let components = queries.components()?;
        let mut waiting = Waiting::new(None, 0);
        let filter = filter.map(|filter| Filters::new(filter, queries.count())).transpose()?;
        let rows = py.detach(|| {
            let cores = || std::thread::available_parallelism().map_or(1, usize::from);
            let in_row = |row, key| filter.as_ref().is_none_or(|filter| filter.keeps(row, key));
            let mut search = self.0.search_many(components).k(k).threads(if threads == 0 { cores() } else { threads });
            if let Some(ef) = ef {
                search = search.ef(ef);
            }
            if let Some(recall) = recall {
                search = search.recall(recall);
            }
            search = match &filter {
                None => search,
                Some(Filters::All(Filter::Set(set))) => search.among(set),
                Some(Filters::Sets(sets)) => search.among_rows(sets),
                Some(_) => search.filter_rows(&in_row),
            };
            if exact {
                search = search.exact();
            }
            search.run_while(|| waiting.go_on(0)).map(|(hits, _)| Rows::new(&hits))
        });
        waiting.end()?;
        filter.map_or(Ok(()), Filters::end)?;
        output::batch_hits(py, rows.map_err(raise)?)
    }

    /// Measures how much of what an exact search finds searches find, on so many stored vectors, at rising ef; search()
    /// takes a recall from then on, also after the store was closed. Returns a RecallReport. Takes a distance for each sample and record, and the searches.
    #[pyo3(signature = (samples = 1000, k = 10, seed = 0))]
    fn recall<'py>(&self, py: Python<'py>, samples: usize, k: usize, seed: u64) -> PyResult<Bound<'py, PyAny>> {
        let report = py.detach(|| self.0.measure_recall(samples).k(k).seed(seed).run()).map_err(raise)?;
        output::recall(py, report)
    }

    /// What recall() has measured last, be it before the store was opened, or None.
    fn recall_report<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let report = py.detach(|| self.0.recall_report()).map_err(raise)?;
        report.map(|report| output::recall(py, report)).transpose()
    }
}
