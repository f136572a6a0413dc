//! `lodestore.Store`, and how it is opened.

use crate::batch::Batch;
use crate::classes;
use crate::collection::Collection;
use crate::errors::{raise, refuse};
use crate::keyed::Keyed;
use crate::output;
use crate::waiting::Waiting;
use lodestore::{Codes, Durability, Element, Key, KeyType, Metric, Residency, StoreStats, VerifyReport};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyList, PyString, PyType};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

/// A directory of named collections; made by open() or in_memory().
///
/// As a context manager it is closed at the end of the block. May be used from any thread; calls that work release the
/// GIL. One process has a store open for writing at a time; any may read beside it (see open).
#[pyclass(frozen, module = "lodestore")]
pub(crate) struct Store {
    /// Another one after a refresh.
    store: RwLock<lodestore::Store>,
    path: Option<PathBuf>,
    /// Held by whoever puts another one in its place, or closes it.
    changing: Mutex<()>,
}

/// Opens the store in a directory, or makes one there.
///
/// create: whether to make it if there is none.
/// durability: "sync": every write is on the disk when its call returns; "buffered": it survives the end of the process,
/// not a power loss; a number: as buffered, and on the disk after so many seconds.
/// threads: how many link the rows of one large write; 0 is one for each core.
/// residency: "mapped", "resident" (read into memory) or "packed" (and neighbourhoods laid out for faster searches).
/// scrub: seconds after which a thread of the store looks for damage, again and again, as scrub() does, for a twentieth of
/// the time; what it finds is in stats(). None: never.
/// memory: bytes that the store may take for itself, for data that is larger; what its parts take is in stats().memory.
/// None: no budget.
/// read_only: to see the last checkpoint, and what follows with refresh(), while another process may write; nothing is changed.
#[pyfunction]
#[pyo3(
    signature = (path, *, create = true, durability = None, threads = 0, residency = "mapped", read_only = false,
        scrub = None, memory = None),
    text_signature = "(path, *, create=True, durability='sync', threads=0, residency='mapped', read_only=False, scrub=None, memory=None)"
)]
#[expect(clippy::too_many_arguments, reason = "they are named in Python")]
pub(crate) fn open(
    py: Python<'_>,
    path: PathBuf,
    create: bool,
    durability: Option<&Bound<'_, PyAny>>,
    threads: usize,
    residency: &str,
    read_only: bool,
    scrub: Option<f64>,
    memory: Option<u64>,
) -> PyResult<Store> {
    let durability = durability.map_or(Ok(Durability::Sync), durability_of)?;
    let residency = named(
        "residency",
        residency,
        &[("mapped", Residency::Mapped), ("resident", Residency::Resident), ("packed", Residency::Packed)],
    )?;
    let mut options =
        lodestore::Store::options().create(create).durability(durability).threads(threads).residency(residency);
    if let Some(seconds) = scrub {
        let wrong = |_| refuse(format!("scrub is a number of seconds from 0 up, got {seconds}"));
        options = options.scrub(Duration::try_from_secs_f64(seconds).map_err(wrong)?);
    }
    if let Some(bytes) = memory {
        options = options.memory(bytes);
    }
    let open = || if read_only { options.open_read_only(&path) } else { options.open(&path) };
    let store = py.detach(open).map_err(raise)?;
    Ok(Store { store: RwLock::new(store), path: Some(path), changing: Mutex::default() })
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

/// What keys are to be; `None` if it was not said.
fn key_type(key: Option<&Bound<'_, PyAny>>) -> PyResult<Option<KeyType>> {
    let Some(key) = key else { return Ok(None) };
    if key.cast::<PyString>().is_ok_and(|name| name.to_str().is_ok_and(|name| name == "u128")) {
        return Ok(Some(KeyType::U128));
    }
    let kind = key.cast::<PyType>();
    let kind = kind.map_err(|_| PyTypeError::new_err("key is a type: int, str, bytes or uuid.UUID; or \"u128\""))?;
    let py = kind.py();
    let all = [
        (py.get_type::<PyInt>(), KeyType::U64),
        (py.get_type::<PyString>(), KeyType::Str),
        (py.get_type::<PyBytes>(), KeyType::Bytes),
        (classes::UUID.get(py)?.clone(), KeyType::Uuid),
    ];
    match all.iter().find(|(of_python, _)| kind.is(of_python)) {
        Some((_, key)) => Ok(Some(*key)),
        None => Err(refuse(format!("key is {}; keys are int, str, bytes or uuid.UUID", kind.name()?))),
    }
}

/// Settings as they were given.
#[derive(Clone, Copy, Default)]
struct Settings {
    dim: Option<usize>,
    metric: Option<Metric>,
    element: Option<Element>,
    m: Option<usize>,
    ef_construction: Option<usize>,
    codes: Option<Codes>,
    seed: Option<u64>,
}

fn open_collection<K: Key + ?Sized>(
    store: &lodestore::Store,
    name: &str,
    settings: Settings,
) -> lodestore::Result<lodestore::Collection<K>> {
    let mut builder = store.collection::<K>(name);
    if let Some(dim) = settings.dim {
        builder = builder.dim(dim);
    }
    if let Some(metric) = settings.metric {
        builder = builder.metric(metric);
    }
    if let Some(element) = settings.element {
        builder = builder.element(element);
    }
    if let Some(m) = settings.m {
        builder = builder.m(m);
    }
    if let Some(ef_construction) = settings.ef_construction {
        builder = builder.ef_construction(ef_construction);
    }
    if let Some(codes) = settings.codes {
        builder = builder.codes(codes);
    }
    if let Some(seed) = settings.seed {
        builder = builder.seed(seed);
    }
    if settings.dim.is_some() { builder.open_or_create() } else { builder.open() }
}

impl Store {
    /// One that is in memory.
    pub(crate) fn in_memory(store: lodestore::Store) -> Self {
        Self { store: RwLock::new(store), path: None, changing: Mutex::default() }
    }

    fn store(&self) -> lodestore::Store {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone()
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
    /// key: int, str, bytes or uuid.UUID; int by default for a new one, 0 to 2**64 - 1; "u128" for integers up to 2**128 - 1. element: what components are kept as: "f32" (the default), "f16", "bf16", "i8", "u8" or "bits".
    /// m: links of a node, 2 to 512, 16 by default. ef_construction: 1 to 65,536, 128 by default.
    /// codes: "auto" (the default), "none", "8" or "4" bits. seed: of the nodes' levels, 100 by default.
    #[pyo3(
        signature = (name, dim = None, metric = None, key = None, element = None, m = None, ef_construction = None,
            codes = None, seed = None),
        text_signature = "($self, name, dim=None, metric=None, key=None, element=None, m=None, ef_construction=None, \
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
        let metrics = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::Hamming].map(|m| (m.name(), m));
        let elements = Element::ALL.map(|e| (e.name(), e));
        let settings = Settings {
            dim,
            metric: metric.map(|name| named("metric", name, &metrics)).transpose()?,
            element: element.map(|name| named("element", name, &elements)).transpose()?,
            m,
            ef_construction,
            codes: codes.map(codes_of).transpose()?,
            seed,
        };
        let key = key_type(key)?;
        let store = &self.store();
        let keyed = py.detach(|| -> lodestore::Result<Result<Keyed, KeyType>> {
            // What was not said is as stored.
            let key = match key {
                Some(key) => key,
                None => {
                    store.collections()?.iter().find(|info| info.name == name).map(|info| info.key).unwrap_or_default()
                }
            };
            Ok(Ok(match key {
                KeyType::U64 => Keyed::Int(open_collection(store, name, settings)?),
                KeyType::U128 => Keyed::Long(open_collection(store, name, settings)?),
                KeyType::Uuid => Keyed::Uuid(open_collection(store, name, settings)?),
                KeyType::Str => Keyed::Str(open_collection(store, name, settings)?),
                KeyType::Bytes => Keyed::Bytes(open_collection(store, name, settings)?),
                other => return Ok(Err(other)),
            }))
        });
        let only_rust = |key| refuse(format!("collection '{name}' has keys of type {key}, which only Rust has"));
        keyed.map_err(raise)?.map(Collection).map_err(only_rust)
    }

    /// The collections, by name: a list of CollectionInfo.
    fn collections<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let infos = py.detach(|| self.store().collections()).map_err(raise)?;
        output::infos(py, infos)
    }

    /// A batch: changes to any collections of this store that happen all or not at all.
    fn batch(&self) -> Batch {
        Batch::new(self.store().batch())
    }

    /// Makes every write so far durable, whatever the durability.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.store().sync()).map_err(raise)
    }

    /// Brings the files up to date with the log and shortens it. Happens by itself as the log grows, and at close.
    fn checkpoint(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.store().checkpoint()).map_err(raise)
    }

    /// Counts and sizes, StoreStats.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let stats: StoreStats = py.detach(|| self.store().stats()).map_err(raise)?;
        output::stats(py, stats)
    }

    /// Checks every checksum, every link and every key. Returns a VerifyReport, whose ok says whether nothing is wrong.
    /// Reads all of the store; writes wait meanwhile, searches do not.
    fn verify<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let report: VerifyReport = py.detach(|| self.store().verify()).map_err(raise)?;
        output::verify(py, report)
    }

    /// Looks for damage while the store is in use: reads every page, vector, code, id, key and row that is in use and compares
    /// it with its checksum. Nobody waits for more than a moment; links as such and the log are not looked at. Returns a
    /// ScrubReport. Ctrl-C stops it.
    fn scrub<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut waiting = Waiting::new(None, 0);
        let report = py.detach(|| self.store().scrub_while(|| waiting.go_on(0)));
        waiting.end()?;
        output::scrub(py, report.map_err(raise)?)
    }

    /// Whether it was opened with read_only.
    #[getter]
    fn read_only(&self) -> bool {
        self.store().is_read_only()
    }

    /// Goes on to the last checkpoint, of a store opened with read_only, if there is a later one or a new writer has come;
    /// returns whether it was opened anew. Collections that were opened before stay as they were.
    fn refresh(&self, py: Python<'_>) -> PyResult<bool> {
        py.detach(|| {
            let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut store = self.store();
            let anew = store.refresh()?;
            if anew {
                *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
            }
            Ok(anew)
        })
        .map_err(raise)
    }

    /// Takes a checkpoint and closes the store; what was opened from it raises ClosedError from then on. Closing twice
    /// is closing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            self.store().close()
        })
        .map_err(raise)
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
