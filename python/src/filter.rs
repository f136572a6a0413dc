//! Filters of keys: a callable of Python, which needs the interpreter, or a set of keys, which does not.

use crate::errors::refuse;
use crate::keyed::PyKey;
use crate::keyset::{self, KeySet};
use crate::tags::TagFilter;
use crate::waiting::Asked;
use lodestore::KeyType;
use numpy::PyArrayDyn;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use std::collections::HashSet;

/// Which records a search may find, as it was given.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a, 'py> {
    pub(crate) filter: Option<&'a Bound<'py, PyAny>>,
    pub(crate) tags: Option<&'a lodestore::TagFilter>,
}

impl<'a, 'py> Given<'a, 'py> {
    pub(crate) fn new(filter: Option<&'a Bound<'py, PyAny>>, tags: Option<&'a Bound<'py, TagFilter>>) -> Self {
        Self { filter, tags: tags.map(|tags| &tags.get().0) }
    }
}

/// Which keys a search may find.
pub(crate) enum Filter<K: PyKey + ?Sized> {
    Asked(Asked<K>),
    /// Of integers.
    Set(lodestore::KeySet),
    /// Of other keys.
    Keys(HashSet<K::Owned>),
}

impl<K: PyKey + ?Sized> Filter<K> {
    /// Of a callable, a `KeySet`, an array of booleans by key, or keys.
    pub(crate) fn new(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let of_ints = K::TYPE == KeyType::U64;
        if let Ok(set) = value.cast::<KeySet>() {
            return match of_ints {
                true => Ok(Filter::Set(set.get().0.clone())),
                false => Err(refuse("a KeySet is of integers, and the keys of the collection are not; give the keys")),
            };
        }
        if value.is_callable() {
            return Ok(Filter::Asked(Asked::new(value.clone().unbind())));
        }
        if of_ints {
            return keyset::set(value).map(Filter::Set);
        }
        if value.is_instance_of::<PyArrayDyn<bool>>() {
            return Err(refuse("an array of booleans is by key, so keys must be integers; give the keys themselves"));
        }
        Ok(Filter::Keys(K::many(value)?.into_iter().collect()))
    }

    pub(crate) fn keeps(&self, key: K::Ref<'_>) -> bool {
        match self {
            Filter::Asked(callable) => callable.keeps(key),
            Filter::Set(set) => K::number(key).is_some_and(|key| set.contains(key)),
            Filter::Keys(keys) => K::is_in(key, keys),
        }
    }

    /// The set of integers, if it is one.
    pub(crate) fn set(&self) -> Option<&lodestore::KeySet> {
        match self {
            Filter::Set(set) => Some(set),
            _ => None,
        }
    }

    /// What says so of keys, if that is not a set of integers.
    pub(crate) fn asked(&self) -> Option<impl Fn(K::Ref<'_>) -> bool + Sync + '_> {
        match self {
            Filter::Set(_) => None,
            _ => Some(|key: K::Ref<'_>| self.keeps(key)),
        }
    }

    /// What a callable has raised by now is raised.
    pub(crate) fn raised(&self) -> PyResult<()> {
        match self {
            Filter::Asked(callable) => callable.raised(),
            _ => Ok(()),
        }
    }

    /// After the work: what a callable raised is raised.
    pub(crate) fn end(self) -> PyResult<()> {
        match self {
            Filter::Asked(callable) => callable.end(),
            _ => Ok(()),
        }
    }
}

/// One filter for all rows, or one for each.
pub(crate) enum Filters<K: PyKey + ?Sized> {
    All(Filter<K>),
    /// Sets of integers only.
    Sets(Vec<lodestore::KeySet>),
    Each(Vec<Option<Filter<K>>>),
}

impl<K: PyKey + ?Sized> Filters<K> {
    /// A list of anything but keys and booleans has a filter for each of so many rows.
    pub(crate) fn new(value: &Bound<'_, PyAny>, rows: usize) -> PyResult<Self> {
        let is_list = value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>();
        if !is_list {
            return Filter::new(value).map(Filters::All);
        }
        let each: Vec<Bound<'_, PyAny>> = value.try_iter()?.collect::<PyResult<_>>()?;
        if each.iter().all(K::is_one) {
            return Filter::new(value).map(Filters::All);
        }
        if each.len() != rows {
            return Err(refuse(format!(
                "filter is one for all rows, or one for each of the {rows}; got {}",
                each.len()
            )));
        }
        let one = |one: &Bound<'_, PyAny>| if one.is_none() { Ok(None) } else { Filter::new(one).map(Some) };
        let each: Vec<Option<Filter<K>>> = each.iter().map(one).collect::<PyResult<_>>()?;
        let sets: Option<Vec<_>> = each.iter().map(|one| one.as_ref().and_then(Filter::set).cloned()).collect();
        Ok(sets.map_or(Filters::Each(each), Filters::Sets))
    }

    pub(crate) fn keeps(&self, row: usize, key: K::Ref<'_>) -> bool {
        match self {
            Filters::All(filter) => filter.keeps(key),
            Filters::Sets(sets) => K::number(key).is_some_and(|key| sets[row].contains(key)),
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
