//! What calls return, as objects of Python.

use crate::classes;
use crate::keyed::{self, PyKey};
use crate::tags;
use lodestore::{
    BatchHits, CollectionInfo, Hit, MemoryStats, RecallReport, Record, ScrubReport, StoreStats, VerifyReport,
};
use numpy::{IntoPyArray, PyArray1, PyArrayMethods};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use std::time::SystemTime;

pub(crate) fn record(py: Python<'_>, record: Record) -> PyResult<Bound<'_, PyAny>> {
    let tags = tags::dict(py, &record.tags)?;
    classes::RECORD.make(py, (record.vector.into_pyarray(py), PyBytes::new(py, &record.payload), tags))
}

pub(crate) fn hits<K: PyKey + ?Sized>(
    py: Python<'_>,
    hits: Vec<Hit<K::Owned>>,
    with_payloads: bool,
    complete: bool,
) -> PyResult<Bound<'_, PyAny>> {
    let keys = K::column(py, hits.iter().map(|hit| hit.key.clone()).collect())?;
    let distances = PyArray1::from_iter(py, hits.iter().map(|hit| hit.distance));
    let payload = |hit: Hit<K::Owned>| hit.payload.map(|payload| PyBytes::new(py, &payload));
    let payloads = with_payloads.then(|| PyList::new(py, hits.into_iter().map(payload))).transpose()?;
    classes::HITS.make(py, (keys, distances, payloads, complete))
}

/// Hits of many queries in rows of equal width.
pub(crate) struct Rows<K: PyKey + ?Sized> {
    width: usize,
    keys: Vec<K::Cell>,
    distances: Vec<f32>,
    counts: Vec<i64>,
}

impl<K: PyKey + ?Sized> Rows<K> {
    /// `None` if there is no memory for so many.
    pub(crate) fn new(hits: &BatchHits<K>) -> Option<Self> {
        let (rows, width) = (hits.rows(), hits.k());
        let all = rows.checked_mul(width)?;
        let (mut keys, mut distances) = (Vec::new(), Vec::new());
        keys.try_reserve_exact(all).ok()?;
        distances.try_reserve_exact(all).ok()?;
        for row in 0..rows {
            keys.extend(hits.keys(row).iter().map(K::cell));
            distances.extend_from_slice(hits.distances(row));
            keys.resize((row + 1) * width, K::EMPTY);
            distances.resize((row + 1) * width, f32::INFINITY);
        }
        let counts = (0..rows).map(|row| hits.keys(row).len() as i64).collect();
        Some(Self { width, keys, distances, counts })
    }
}

/// `rows` is what [`Rows::new`] gave, made without the interpreter.
pub(crate) fn batch_hits<K: PyKey + ?Sized>(
    py: Python<'_>,
    rows: Option<Rows<K>>,
    complete: bool,
) -> PyResult<Bound<'_, PyAny>> {
    let rows = rows.ok_or_else(|| PyMemoryError::new_err("no memory for rows × k hits; ask for a smaller k"))?;
    let shape = [rows.counts.len(), rows.width];
    let keys = K::rows(py, rows.keys, shape)?;
    let distances = rows.distances.into_pyarray(py).reshape(shape)?;
    classes::BATCH_HITS.make(py, (keys, distances, rows.counts.into_pyarray(py), complete))
}

pub(crate) fn info(py: Python<'_>, info: CollectionInfo) -> PyResult<Bound<'_, PyAny>> {
    let (element, metric, codes) = (info.element.name(), info.metric.name(), info.codes.to_string());
    let settings = (info.name, info.dim, element, metric, info.m, info.ef_construction, info.seed, codes);
    let (name, dim, element, metric, m, ef_construction, seed, codes) = settings;
    let (len, slots, unlinked, marked) = (info.len, info.slots, info.unlinked, info.marked);
    let key = keyed::type_name(info.key);
    // No tuple is as long.
    let parts = [
        (name, dim, element, metric, m, ef_construction).into_pyobject(py)?,
        (seed, codes, len, slots, unlinked, marked).into_pyobject(py)?,
        (key,).into_pyobject(py)?,
    ];
    let all: Vec<_> = parts.iter().flat_map(|part| part.iter()).collect();
    let all = PyTuple::new(py, all)?;
    classes::COLLECTION_INFO.make(py, all)
}

pub(crate) fn infos(py: Python<'_>, infos: Vec<CollectionInfo>) -> PyResult<Bound<'_, PyList>> {
    PyList::new(py, infos.into_iter().map(|one| info(py, one)).collect::<PyResult<Vec<_>>>()?)
}

pub(crate) fn stats(py: Python<'_>, stats: StoreStats) -> PyResult<Bound<'_, PyAny>> {
    let collections = infos(py, stats.collections)?;
    let lsns = (stats.last_lsn, stats.durable_lsn, stats.checkpoint_lsn);
    let sizes = (collections, stats.records, stats.files, stats.bytes);
    let log = (stats.log_bytes, stats.log_syncs, stats.checkpoints);
    let rest = (stats.dirty_bytes, stats.readers, stats.poisoned, stats.kernel);
    let last = (stats.scrub.map(|report| scrub(py, report)).transpose()?, memory(py, stats.memory)?);
    let parts = [
        sizes.into_pyobject(py)?,
        lsns.into_pyobject(py)?,
        log.into_pyobject(py)?,
        rest.into_pyobject(py)?,
        last.into_pyobject(py)?,
    ];
    let all: Vec<_> = parts.iter().flat_map(|part| part.iter()).collect();
    classes::STORE_STATS.make(py, PyTuple::new(py, all)?)
}

fn memory(py: Python<'_>, of: MemoryStats) -> PyResult<Bound<'_, PyAny>> {
    let first = (of.budget, of.changed, of.changed_limit, of.catalog_limit, of.hot, of.hot_in_memory);
    let rest = (of.hot_limit, of.vectors, of.vectors_in_memory, of.packed, of.process);
    let parts = [first.into_pyobject(py)?, rest.into_pyobject(py)?];
    let all: Vec<_> = parts.iter().flat_map(|part| part.iter()).collect();
    classes::MEMORY_STATS.make(py, PyTuple::new(py, all)?)
}

pub(crate) fn verify(py: Python<'_>, report: VerifyReport) -> PyResult<Bound<'_, PyAny>> {
    let one = |of: lodestore::CollectionReport| {
        let counts = (of.name, of.records, of.slots, of.pages, of.links, of.unreachable, of.no_in_links, of.marked);
        classes::COLLECTION_REPORT.make(py, counts)
    };
    let collections = report.collections.into_iter().map(one).collect::<PyResult<Vec<_>>>()?;
    classes::VERIFY_REPORT.make(py, (collections, report.problems, report.problem_count))
}

pub(crate) fn scrub(py: Python<'_>, report: ScrubReport) -> PyResult<Bound<'_, PyAny>> {
    let ended = report.ended.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let counts = (ended, report.slots, report.pages, report.rows, report.problems, report.problem_count);
    classes::SCRUB_REPORT.make(py, counts)
}

pub(crate) fn recall(py: Python<'_>, report: RecallReport) -> PyResult<Bound<'_, PyAny>> {
    let row = |at: &lodestore::RecallAt| classes::RECALL_AT.make(py, (at.ef, at.recall, at.low, at.high, at.distances));
    let rows = report.rows.iter().map(row).collect::<PyResult<Vec<_>>>()?;
    classes::RECALL_REPORT.make(py, (report.k, report.samples, report.records, rows, report.lsn))
}
