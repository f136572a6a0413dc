//! Filters of keys: a callable of Python, which needs the interpreter, or a set of keys, which does not.

use crate::errors::refuse;
use crate::keyset::{self, KeySet};
use crate::waiting::Asked;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyTuple};

/// Which keys a search may find.
pub(crate) enum Filter {
    Asked(Asked),
    Set(lodestore::KeySet),
}

impl Filter {
    /// Of a callable, a `KeySet`, an array of booleans by key, or integer keys.
    pub(crate) fn new(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(set) = value.cast::<KeySet>() {
            return Ok(Filter::Set(set.get().0.clone()));
        }
        if value.is_callable() {
            return Ok(Filter::Asked(Asked::new(value.clone().unbind())));
        }
        keyset::set(value).map(Filter::Set)
    }

    fn keeps(&self, key: u64) -> bool {
        match self {
            Filter::Asked(callable) => callable.keeps(key),
            Filter::Set(set) => set.contains(key),
        }
    }

    /// The set, if it is one.
    pub(crate) fn set(&self) -> Option<&lodestore::KeySet> {
        match self {
            Filter::Asked(_) => None,
            Filter::Set(set) => Some(set),
        }
    }

    /// What says so of keys, if it has to be asked.
    pub(crate) fn asked(&self) -> Option<impl Fn(u64) -> bool + Sync + '_> {
        match self {
            Filter::Asked(callable) => Some(|key| callable.keeps(key)),
            Filter::Set(_) => None,
        }
    }

    /// After the work: what a callable raised is raised.
    pub(crate) fn end(self) -> PyResult<()> {
        match self {
            Filter::Asked(callable) => callable.end(),
            Filter::Set(_) => Ok(()),
        }
    }
}

/// One filter for all rows, or one for each.
pub(crate) enum Filters {
    All(Filter),
    /// Sets only.
    Sets(Vec<lodestore::KeySet>),
    Each(Vec<Option<Filter>>),
}

impl Filters {
    /// A list of anything but integers and booleans has a filter for each of so many rows.
    pub(crate) fn new(value: &Bound<'_, PyAny>, rows: usize) -> PyResult<Self> {
        let is_list = value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>();
        if !is_list {
            return Filter::new(value).map(Filters::All);
        }
        let each: Vec<Bound<'_, PyAny>> = value.try_iter()?.collect::<PyResult<_>>()?;
        // Integers of numpy are none of Python's, but are as good as index.
        let is_number = |one: &Bound<'_, PyAny>| {
            one.is_instance_of::<PyInt>()
                || one.hasattr("__index__").unwrap_or(false) && !one.hasattr("__len__").unwrap_or(true)
        };
        if each.iter().all(is_number) {
            return Filter::new(value).map(Filters::All);
        }
        if each.len() != rows {
            return Err(refuse(format!(
                "filter is one for all rows, or one for each of the {rows}; got {}",
                each.len()
            )));
        }
        let one = |one: &Bound<'_, PyAny>| if one.is_none() { Ok(None) } else { Filter::new(one).map(Some) };
        let each: Vec<Option<Filter>> = each.iter().map(one).collect::<PyResult<_>>()?;
        let sets: Option<Vec<_>> = each.iter().map(|one| one.as_ref().and_then(Filter::set).cloned()).collect();
        Ok(sets.map_or(Filters::Each(each), Filters::Sets))
    }

    pub(crate) fn keeps(&self, row: usize, key: u64) -> bool {
        match self {
            Filters::All(filter) => filter.keeps(key),
            Filters::Sets(sets) => sets[row].contains(key),
            Filters::Each(each) => each[row].as_ref().is_none_or(|filter| filter.keeps(key)),
        }
    }

    /// See [`Filter::end`].
    pub(crate) fn end(self) -> PyResult<()> {
        match self {
            Filters::All(filter) => filter.end(),
            Filters::Sets(_) => Ok(()),
            Filters::Each(each) => each.into_iter().flatten().try_for_each(Filter::end),
        }
    }
}
