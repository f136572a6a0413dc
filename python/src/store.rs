//! `lodestore.Store`, and how it is opened.

use crate::batch::Batch;
use crate::collection::Collection;
use crate::errors::{raise, refuse};
use crate::output;
use lodestore::{Codes, Durability, Element, Metric, Residency, StoreStats, VerifyReport};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyString, PyType};
use std::path::PathBuf;
use std::time::Duration;

/// A directory of named collections; made by open() or in_memory().
///
/// As a context manager it is closed at the end of the block. May be used from any thread; calls that work release the
/// GIL. One process has a store open at a time.
#[pyclass(frozen, module = "lodestore")]
pub(crate) struct Store {
    store: lodestore::Store,
    path: Option<PathBuf>,
}

/// Opens the store in a directory, or makes one there.
///
/// create: whether to make it if there is none.
/// durability: "sync": every write is on the disk when its call returns; "buffered": it survives the end of the process,
/// not a power loss; a number: as buffered, and on the disk after so many seconds.
/// threads: how many link the rows of one large write; 0 is one for each core.
/// residency: "mapped", "resident" (read into memory) or "packed" (and neighbourhoods laid out for faster searches).
#[pyfunction]
#[pyo3(
    signature = (path, *, create = true, durability = None, threads = 0, residency = "mapped"),
    text_signature = "(path, *, create=True, durability='sync', threads=0, residency='mapped')"
)]
pub(crate) fn open(
    py: Python<'_>,
    path: PathBuf,
    create: bool,
    durability: Option<&Bound<'_, PyAny>>,
    threads: usize,
    residency: &str,
) -> PyResult<Store> {
    let durability = durability.map_or(Ok(Durability::Sync), durability_of)?;
    let residency = named(
        "residency",
        residency,
        &[("mapped", Residency::Mapped), ("resident", Residency::Resident), ("packed", Residency::Packed)],
    )?;
    let options =
        lodestore::Store::options().create(create).durability(durability).threads(threads).residency(residency);
    let store = py.detach(|| options.open(&path)).map_err(raise)?;
    Ok(Store { store, path: Some(path) })
}

/// A store that lives in memory and goes with its last object.
#[pyfunction]
pub(crate) fn in_memory(py: Python<'_>) -> PyResult<Store> {
    let store = py.detach(lodestore::Store::in_memory).map_err(raise)?;
    Ok(Store::in_memory(store))
}

fn durability_of(value: &Bound<'_, PyAny>) -> PyResult<Durability> {
    let wrong =
        || refuse(format!("durability is \"sync\", \"buffered\" or a number of seconds from 0 up, got {value}"));
    if let Ok(name) = value.cast::<PyString>() {
        return match name.to_str()? {
            "sync" => Ok(Durability::Sync),
            "buffered" => Ok(Durability::Buffered),
            _ => Err(wrong()),
        };
    }
    let seconds: f64 = value.extract().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds).map(Durability::Every).map_err(|_| wrong())
}

/// The setting of that name.
fn named<T: Copy>(setting: &str, name: &str, all: &[(&str, T)]) -> PyResult<T> {
    match all.iter().find(|(known, _)| *known == name) {
        Some((_, value)) => Ok(*value),
        None => {
            let known: Vec<_> = all.iter().map(|(known, _)| format!("\"{known}\"")).collect();
            Err(refuse(format!("{setting} is one of {}, got \"{name}\"", known.join(", "))))
        }
    }
}

/// The codes of that name.
pub(crate) fn codes_of(name: &str) -> PyResult<Codes> {
    let all = [("auto", Codes::Auto), ("none", Codes::None), ("8", Codes::Eight), ("4", Codes::Four)];
    named("codes", name, &all)
}

fn check_key_type(key: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let Some(key) = key else { return Ok(()) };
    let kind = key.cast::<PyType>().map_err(|_| PyTypeError::new_err("key is a type: int"))?;
    if kind.is(kind.py().get_type::<PyInt>()) {
        return Ok(());
    }
    Err(refuse(format!("key is {}; keys are integers from 0 to 2**64 - 1 in this version: key=int", kind.name()?)))
}

impl Store {
    /// One that is in memory.
    pub(crate) fn in_memory(store: lodestore::Store) -> Self {
        Self { store, path: None }
    }
}

#[pymethods]
impl Store {
    /// The directory; None of a store in memory.
    #[getter]
    fn path(&self) -> Option<PathBuf> {
        self.path.clone()
    }

    /// Opens a collection, or makes it if it is not there and dim is given.
    ///
    /// Settings are fixed when a collection is made. When it is opened, those that are given must be the stored ones.
    /// dim: components of a vector, 1 to 65,536. metric: "l2" (the default), "ip", "cosine" or "hamming".
    /// key: int. element: what components are kept as: "f32" (the default), "f16", "bf16", "i8", "u8" or "bits".
    /// m: links of a node, 2 to 512, 16 by default. ef_construction: 1 to 65,536, 128 by default.
    /// codes: "auto" (the default), "none", "8" or "4" bits. seed: of the nodes' levels, 100 by default.
    #[pyo3(
        signature = (name, dim = None, metric = None, key = None, element = None, m = None, ef_construction = None,
            codes = None, seed = None),
        text_signature = "($self, name, dim=None, metric=None, key=int, element=None, m=None, ef_construction=None, \
            codes=None, seed=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn collection(
        &self,
        py: Python<'_>,
        name: &str,
        dim: Option<usize>,
        metric: Option<&str>,
        key: Option<&Bound<'_, PyAny>>,
        element: Option<&str>,
        m: Option<usize>,
        ef_construction: Option<usize>,
        codes: Option<&str>,
        seed: Option<u64>,
    ) -> PyResult<Collection> {
        check_key_type(key)?;
        let mut builder = self.store.collection::<u64>(name);
        if let Some(dim) = dim {
            builder = builder.dim(dim);
        }
        if let Some(metric) = metric {
            let all = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::Hamming].map(|m| (m.name(), m));
            builder = builder.metric(named("metric", metric, &all)?);
        }
        if let Some(element) = element {
            builder = builder.element(named("element", element, &Element::ALL.map(|e| (e.name(), e)))?);
        }
        if let Some(m) = m {
            builder = builder.m(m);
        }
        if let Some(ef_construction) = ef_construction {
            builder = builder.ef_construction(ef_construction);
        }
        if let Some(codes) = codes {
            builder = builder.codes(codes_of(codes)?);
        }
        if let Some(seed) = seed {
            builder = builder.seed(seed);
        }
        let opened = py.detach(|| if dim.is_some() { builder.open_or_create() } else { builder.open() });
        Ok(Collection(opened.map_err(raise)?))
    }

    /// The collections, by name: a list of CollectionInfo.
    fn collections<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let infos = py.detach(|| self.store.collections()).map_err(raise)?;
        output::infos(py, infos)
    }

    /// A batch: changes to any collections of this store that happen all or not at all.
    fn batch(&self) -> Batch {
        Batch::new(self.store.batch())
    }

    /// Makes every write so far durable, whatever the durability.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.store.sync()).map_err(raise)
    }

    /// Brings the files up to date with the log and shortens it. Happens by itself as the log grows, and at close.
    fn checkpoint(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.store.checkpoint()).map_err(raise)
    }

    /// Counts and sizes, StoreStats.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let stats: StoreStats = py.detach(|| self.store.stats()).map_err(raise)?;
        output::stats(py, stats)
    }

    /// Checks every checksum, every link and every key. Returns a VerifyReport, whose ok says whether nothing is wrong.
    /// Reads all of the store; writes wait meanwhile, searches do not.
    fn verify<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let report: VerifyReport = py.detach(|| self.store.verify()).map_err(raise)?;
        output::verify(py, report)
    }

    /// Takes a checkpoint and closes the store; what was opened from it raises ClosedError from then on. Closing twice
    /// is closing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.store.clone().close()).map_err(raise)
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _exc_type: Option<&Bound<'_, PyAny>>,
        _exc_value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        match &self.path {
            Some(path) => format!("<lodestore.Store {:?}>", path),
            None => "<lodestore.Store in memory>".to_owned(),
        }
    }
}
