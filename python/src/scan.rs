//! Iterators of Python over keys and records.

use crate::errors::raise;
use crate::keyed::{AnyKey, PyKey};
use crate::output;
use lodestore::{Collection, Keys, Record, Result};
use pyo3::prelude::*;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Items that are fetched at a time, without the interpreter, at most; and bytes of their records, about.
const AT_ONCE: usize = 512;
const BYTES_AT_ONCE: usize = 1 << 20;
/// At first: many look at no more.
const AT_FIRST: usize = 16;

/// A key, and its record if that is asked for.
type Item = (AnyKey, Option<Record>);

struct Source {
    rest: Box<dyn Iterator<Item = Result<Item>> + Send>,
    fetched: VecDeque<Item>,
    at_once: usize,
}

impl Source {
    fn fetch(&mut self) -> Result<()> {
        let mut bytes = 0;
        for item in self.rest.by_ref().take(self.at_once) {
            let (key, record) = item?;
            bytes += record.as_ref().map_or(0, |record| 4 * record.vector.len() + record.payload.len());
            self.fetched.push_back((key, record));
            if bytes >= BYTES_AT_ONCE {
                break;
            }
        }
        self.at_once = (2 * self.at_once).min(AT_ONCE);
        Ok(())
    }
}

/// Keys of a collection, or keys with their records, in the order of the keys, as of when it was made. Nothing is loaded
/// ahead but a few.
#[pyclass(frozen, module = "lodestore")]
pub(crate) struct Scan(Mutex<Source>);

impl Scan {
    pub(crate) fn new<K: PyKey + ?Sized>(keys: Keys<K>, records: bool, reverse: bool) -> Self {
        let with = |item: Result<(K::Owned, Record)>| item.map(|(key, record)| (K::any(key), Some(record)));
        let without = |key: Result<K::Owned>| key.map(|key| (K::any(key), None));
        let rest: Box<dyn Iterator<Item = Result<Item>> + Send> = match (records, reverse) {
            (true, false) => Box::new(keys.with_records().map(with)),
            (true, true) => Box::new(keys.with_records().rev().map(with)),
            (false, false) => Box::new(keys.map(without)),
            (false, true) => Box::new(keys.rev().map(without)),
        };
        Self(Mutex::new(Source { rest, fetched: VecDeque::new(), at_once: AT_FIRST }))
    }

    /// Never held while Python code may run.
    fn held(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys from one to another, without that.
pub(crate) fn between<K: PyKey + ?Sized>(
    collection: &Collection<K>,
    start: Option<&Bound<'_, PyAny>>,
    stop: Option<&Bound<'_, PyAny>>,
) -> PyResult<Keys<K>> {
    let (start, stop) = (start.map(K::one).transpose()?, stop.map(K::one).transpose()?);
    Ok(match (start, stop) {
        (None, None) => collection.iter(),
        (Some(start), None) => collection.range(start..),
        (None, Some(stop)) => collection.range(..stop),
        (Some(start), Some(stop)) => collection.range(start..stop),
    })
}

#[pymethods]
impl Scan {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let fetched = self.held().fetched.pop_front();
        let next = match fetched {
            None => {
                py.check_signals()?;
                py.detach(|| {
                    let mut source = self.held();
                    source.fetch().map(|()| source.fetched.pop_front())
                })
                .map_err(raise)?
            }
            next => next,
        };
        let Some((key, record)) = next else { return Ok(None) };
        let key = key.object(py)?;
        match record {
            None => Ok(Some(key)),
            Some(record) => Ok(Some((key, output::record(py, record)?).into_pyobject(py)?.into_any())),
        }
    }
}
