//! The package's own Python classes, found once.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// A class of one of the package's Python modules.
pub(crate) struct Class {
    module: &'static str,
    name: &'static str,
    found: PyOnceLock<Py<PyType>>,
}

impl Class {
    const fn new(module: &'static str, name: &'static str) -> Self {
        Self { module, name, found: PyOnceLock::new() }
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyType>> {
        self.found.import(py, self.module, self.name)
    }

    /// An object of the class.
    pub(crate) fn make<'py, A>(&self, py: Python<'py>, arguments: A) -> PyResult<Bound<'py, PyAny>>
    where
        A: pyo3::call::PyCallArgs<'py>,
    {
        self.get(py)?.call1(arguments)
    }
}

macro_rules! classes {
    ($module:literal: $($constant:ident = $name:literal),*) => {
        $(pub(crate) static $constant: Class = Class::new($module, $name);)*
    };
}

classes!("lodestore._errors":
    ERROR = "Error", INPUT = "InputError", DIMENSION = "DimensionError", NOT_FOUND = "NotFoundError",
    CLOSED = "ClosedError", LOCKED = "LockedError", CORRUPT = "CorruptError", STORAGE = "StorageError", STALE = "StaleError");

classes!("lodestore._results":
    RECORD = "Record", HIT = "Hit", GROUP = "Group", HITS = "Hits", BATCH_HITS = "BatchHits", COLLECTION_INFO = "CollectionInfo",
    STORE_STATS = "StoreStats", COLLECTION_REPORT = "CollectionReport", VERIFY_REPORT = "VerifyReport",
    SCRUB_REPORT = "ScrubReport", MEMORY_STATS = "MemoryStats", RECALL_AT = "RecallAt", RECALL_REPORT = "RecallReport");

classes!("uuid": UUID = "UUID");
