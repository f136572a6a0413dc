//! Collections of whatever keys, and keys as objects of Python.

use crate::errors::refuse;
use crate::input;
use lodestore::{AsKey, Key, KeySet, KeyType, Search, SearchMany};
use numpy::{IntoPyArray, PyArray1, PyArrayMethods};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyInt, PyList, PyString};
use std::collections::HashSet;
use std::hash::Hash;
use uuid::Uuid;

/// A key of any type.
#[derive(Debug)]
pub(crate) enum AnyKey {
    Int(u64),
    Long(u128),
    Uuid(Uuid),
    Str(String),
    Bytes(Vec<u8>),
}

impl AnyKey {
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            AnyKey::Int(key) => key.into_pyobject(py)?.into_any(),
            AnyKey::Long(key) => key.into_pyobject(py)?.into_any(),
            AnyKey::Uuid(key) => key.into_pyobject(py)?,
            AnyKey::Str(key) => PyString::new(py, key).into_any(),
            AnyKey::Bytes(key) => PyBytes::new(py, key).into_any(),
        })
    }
}

/// A type of keys that Python has.
pub(crate) trait PyKey: Key<Owned: AsKey<Self> + Hash> {
    /// A key in rows of many.
    type Cell: Clone + Send;

    /// Stands behind the keys of a row that has fewer than others.
    const EMPTY: Self::Cell;

    fn one(value: &Bound<'_, PyAny>) -> PyResult<Self::Owned>;

    /// From an array or any iterable.
    fn many(value: &Bound<'_, PyAny>) -> PyResult<Vec<Self::Owned>>;

    fn any(key: Self::Owned) -> AnyKey;

    /// What a filter is asked about.
    fn borrowed(key: &Self::Owned) -> Self::Ref<'_>;

    fn is_in(key: Self::Ref<'_>, keys: &HashSet<Self::Owned>) -> bool;

    /// The number, if that is what these keys are.
    fn number(key: Self::Ref<'_>) -> Option<u64>;

    /// Whether it is of the type that such a key has.
    fn is_one(value: &Bound<'_, PyAny>) -> bool;

    /// A search among a set, if these keys are numbers; there is no set of others.
    fn among<'a>(search: Search<'a, Self>, set: &'a KeySet) -> Search<'a, Self>;

    fn among_many<'a>(search: SearchMany<'a, Self>, set: &'a KeySet) -> SearchMany<'a, Self>;

    fn among_rows<'a>(search: SearchMany<'a, Self>, sets: &'a [KeySet]) -> SearchMany<'a, Self>;

    /// The keys of hits, a column.
    fn column<'py>(py: Python<'py>, keys: Vec<Self::Owned>) -> PyResult<Bound<'py, PyAny>>;

    fn cell(key: &Self::Owned) -> Self::Cell;

    /// Rows of them.
    fn rows<'py>(py: Python<'py>, cells: Vec<Self::Cell>, shape: [usize; 2]) -> PyResult<Bound<'py, PyAny>>;
}

pub(crate) fn object<'py, K: PyKey + ?Sized>(py: Python<'py>, key: &K::Owned) -> PyResult<Bound<'py, PyAny>> {
    K::any(key.clone()).object(py)
}

impl PyKey for u64 {
    type Cell = u64;

    const EMPTY: u64 = u64::MAX;

    fn one(value: &Bound<'_, PyAny>) -> PyResult<u64> {
        input::key(value)
    }

    fn many(value: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
        input::keys(value)
    }

    fn any(key: u64) -> AnyKey {
        AnyKey::Int(key)
    }

    fn borrowed(key: &u64) -> u64 {
        *key
    }

    fn is_in(key: u64, keys: &HashSet<u64>) -> bool {
        keys.contains(&key)
    }

    fn number(key: u64) -> Option<u64> {
        Some(key)
    }

    fn is_one(value: &Bound<'_, PyAny>) -> bool {
        // Integers of numpy are none of Python's, but are as good as index.
        value.is_instance_of::<PyInt>()
            || value.hasattr("__index__").unwrap_or(false) && !value.hasattr("__len__").unwrap_or(true)
    }

    fn among<'a>(search: Search<'a, u64>, set: &'a KeySet) -> Search<'a, u64> {
        search.among(set)
    }

    fn among_many<'a>(search: SearchMany<'a, u64>, set: &'a KeySet) -> SearchMany<'a, u64> {
        search.among(set)
    }

    fn among_rows<'a>(search: SearchMany<'a, u64>, sets: &'a [KeySet]) -> SearchMany<'a, u64> {
        search.among_rows(sets)
    }

    fn column<'py>(py: Python<'py>, keys: Vec<u64>) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyArray1::from_vec(py, keys).into_any())
    }

    fn cell(key: &u64) -> u64 {
        *key
    }

    fn rows<'py>(py: Python<'py>, cells: Vec<u64>, shape: [usize; 2]) -> PyResult<Bound<'py, PyAny>> {
        Ok(cells.into_pyarray(py).reshape(shape)?.into_any())
    }
}

/// Keys that numpy has no numbers for: a list, or an array of objects.
macro_rules! objects {
    () => {
        type Cell = Option<Self::Owned>;

        const EMPTY: Self::Cell = None;

        fn many(value: &Bound<'_, PyAny>) -> PyResult<Vec<Self::Owned>> {
            // Which are iterables, too, of what nobody means.
            if value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() {
                return Err(PyTypeError::new_err(format!("keys are an iterable of keys, got {}", type_of(value))));
            }
            value.try_iter()?.map(|item| Self::one(&item?)).collect()
        }

        fn number(_: Self::Ref<'_>) -> Option<u64> {
            None
        }

        fn among<'a>(search: Search<'a, Self>, _: &'a KeySet) -> Search<'a, Self> {
            search
        }

        fn among_many<'a>(search: SearchMany<'a, Self>, _: &'a KeySet) -> SearchMany<'a, Self> {
            search
        }

        fn among_rows<'a>(search: SearchMany<'a, Self>, _: &'a [KeySet]) -> SearchMany<'a, Self> {
            search
        }

        fn column<'py>(py: Python<'py>, keys: Vec<Self::Owned>) -> PyResult<Bound<'py, PyAny>> {
            let keys = keys.iter().map(|key| object::<Self>(py, key)).collect::<PyResult<Vec<_>>>()?;
            Ok(PyList::new(py, keys)?.into_any())
        }

        fn cell(key: &Self::Owned) -> Self::Cell {
            Some(key.clone())
        }

        fn rows<'py>(py: Python<'py>, cells: Vec<Self::Cell>, shape: [usize; 2]) -> PyResult<Bound<'py, PyAny>> {
            let cell = |key: Self::Cell| match key {
                Some(key) => object::<Self>(py, &key).map(Bound::unbind),
                None => Ok(py.None()),
            };
            let cells = cells.into_iter().map(cell).collect::<PyResult<Vec<Py<PyAny>>>>()?;
            Ok(cells.into_pyarray(py).reshape(shape)?.into_any())
        }
    };
}

fn type_of(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

fn wrong(value: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    PyTypeError::new_err(format!("a key is {expected}, got {}", type_of(value)))
}

impl PyKey for str {
    objects!();

    fn borrowed(key: &String) -> &str {
        key
    }

    fn is_in(key: &str, keys: &HashSet<String>) -> bool {
        keys.contains(key)
    }

    fn is_one(value: &Bound<'_, PyAny>) -> bool {
        value.is_instance_of::<PyString>()
    }

    fn one(value: &Bound<'_, PyAny>) -> PyResult<String> {
        let text = value.cast::<PyString>().map_err(|_| wrong(value, "a str"))?;
        // A lone surrogate has no UTF-8.
        Ok(text.to_str().map_err(|_| refuse("a key is text that has UTF-8"))?.to_owned())
    }

    fn any(key: String) -> AnyKey {
        AnyKey::Str(key)
    }
}

impl PyKey for [u8] {
    objects!();

    fn borrowed(key: &Vec<u8>) -> &[u8] {
        key
    }

    fn is_in(key: &[u8], keys: &HashSet<Vec<u8>>) -> bool {
        keys.contains(key)
    }

    fn is_one(value: &Bound<'_, PyAny>) -> bool {
        value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyByteArray>()
    }

    fn one(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(bytes.as_bytes().to_vec());
        }
        let array = value.cast::<PyByteArray>().map_err(|_| wrong(value, "bytes"))?;
        Ok(array.to_vec())
    }

    fn any(key: Vec<u8>) -> AnyKey {
        AnyKey::Bytes(key)
    }
}

/// Keys that are small, and no numbers that numpy has.
macro_rules! values {
    ($key:ty) => {
        objects!();

        fn borrowed(key: &$key) -> $key {
            *key
        }

        fn is_in(key: $key, keys: &HashSet<$key>) -> bool {
            keys.contains(&key)
        }
    };
}

impl PyKey for u128 {
    values!(u128);

    fn is_one(value: &Bound<'_, PyAny>) -> bool {
        u64::is_one(value)
    }

    fn one(value: &Bound<'_, PyAny>) -> PyResult<u128> {
        value.extract().map_err(|error: PyErr| match error.is_instance_of::<PyOverflowError>(value.py()) {
            true => refuse(format!("a key is an integer from 0 to 2**128 - 1, got {value}")),
            false => wrong(value, "an integer"),
        })
    }

    fn any(key: u128) -> AnyKey {
        AnyKey::Long(key)
    }
}

impl PyKey for Uuid {
    values!(Uuid);

    fn is_one(value: &Bound<'_, PyAny>) -> bool {
        value.extract::<Uuid>().is_ok()
    }

    fn one(value: &Bound<'_, PyAny>) -> PyResult<Uuid> {
        value.extract().map_err(|_| wrong(value, "a uuid.UUID"))
    }

    fn any(key: Uuid) -> AnyKey {
        AnyKey::Uuid(key)
    }
}

/// What keys of a type are called here.
pub(crate) fn type_name(key: KeyType) -> &'static str {
    match key {
        KeyType::U64 => "int",
        other => other.name(),
    }
}

/// A collection, whatever its keys are.
#[derive(Clone)]
pub(crate) enum Keyed {
    Int(lodestore::Collection<u64>),
    Long(lodestore::Collection<u128>),
    Uuid(lodestore::Collection<Uuid>),
    Str(lodestore::Collection<str>),
    Bytes(lodestore::Collection<[u8]>),
}

/// Does the same with a collection of any keys.
macro_rules! with_keyed {
    ($keyed:expr, $collection:ident => $does:expr) => {
        match $keyed {
            $crate::keyed::Keyed::Int($collection) => $does,
            $crate::keyed::Keyed::Long($collection) => $does,
            $crate::keyed::Keyed::Uuid($collection) => $does,
            $crate::keyed::Keyed::Str($collection) => $does,
            $crate::keyed::Keyed::Bytes($collection) => $does,
        }
    };
}
pub(crate) use with_keyed;
