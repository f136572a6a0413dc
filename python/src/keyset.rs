//! `lodestore.KeySet`.

use crate::input;
use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

/// A set of keys, for the filters of searches: made once, of keys or ranges of them, put together with &, |, - and ~, and used
/// by any number of searches. Where its records lie is found out once, so it pays to keep it.
///
/// keys: integers, an array or any iterable; or an array of booleans, which says of each key from 0 up whether it is in it.
/// ~set are all keys that are not in set, those that are put later too. It does not change.
#[pyclass(frozen, module = "lodestore")]
pub(crate) struct KeySet(pub(crate) lodestore::KeySet);

/// The keys of an array of booleans, or of integers.
pub(crate) fn set(value: &Bound<'_, PyAny>) -> PyResult<lodestore::KeySet> {
    let py = value.py();
    if let Ok(mask) = value.cast::<PyArrayDyn<bool>>() {
        if mask.ndim() != 1 {
            return Err(crate::errors::wrong_shape("the mask", mask.shape(), "(keys,)"));
        }
        let mask = mask.readonly();
        return Ok(match mask.as_slice() {
            Ok(mask) => py.detach(|| of_mask(mask)),
            // Not one after the other.
            Err(_) => {
                let mask = mask.as_array();
                py.detach(|| kept(mask.iter()))
            }
        });
    }
    let keys = input::keys(value)?;
    Ok(py.detach(|| keys.into_iter().collect()))
}

fn kept<'a>(mask: impl Iterator<Item = &'a bool>) -> lodestore::KeySet {
    mask.zip(0..).filter(|(is_in, _)| **is_in).map(|(_, key)| key).collect()
}

/// A mask, and the set that it was made into.
type Made = (Box<[bool]>, lodestore::KeySet);

/// Masks that were given last. Who searches with one mask again and again, a query at a time, would otherwise wait for the
/// set, and for where its records lie, at each query: much longer than for the search.
static LAST: Mutex<Vec<Made>> = Mutex::new(Vec::new());
const KEPT: usize = 4;
/// Of larger ones no copy is kept.
const LARGEST: usize = 4 << 20;

fn of_mask(mask: &[bool]) -> lodestore::KeySet {
    let last = || LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if mask.len() > LARGEST {
        return kept(mask.iter());
    }
    // The caller's array may change meanwhile; the set must be of what is kept beside it.
    let mask: Box<[bool]> = mask.into();
    {
        let mut last = last();
        if let Some(at) = last.iter().position(|(given, _)| *given == mask) {
            // Those that are used stay.
            last[at..].rotate_left(1);
            return last[last.len() - 1].1.clone();
        }
    }
    let set = kept(mask.iter());
    let mut last = last();
    if last.len() == KEPT {
        last.remove(0);
    }
    last.push((mask, set.clone()));
    set
}

#[pymethods]
impl KeySet {
    #[new]
    #[pyo3(signature = (keys = None, /))]
    fn new(keys: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        keys.map_or_else(|| Ok(lodestore::KeySet::new()), set).map(Self)
    }

    /// All keys from start up to stop, without stop.
    #[staticmethod]
    #[pyo3(signature = (start, stop = None, /))]
    fn range(start: &Bound<'_, PyAny>, stop: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let start = input::key(start)?;
        Ok(Self(match stop {
            Some(stop) => lodestore::KeySet::range(start..input::key(stop)?),
            None => lodestore::KeySet::range(start..),
        }))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.0.contains(input::key(key)?))
    }

    /// How many keys are in it, whether they have records or not.
    fn __len__(&self) -> usize {
        // Python has no greater length.
        usize::try_from(self.0.len()).unwrap_or(usize::MAX).min(isize::MAX as usize)
    }

    fn __bool__(&self) -> bool {
        !self.0.is_empty()
    }

    fn __and__(&self, py: Python<'_>, other: &Self) -> Self {
        Self(py.detach(|| &self.0 & &other.0))
    }

    fn __or__(&self, py: Python<'_>, other: &Self) -> Self {
        Self(py.detach(|| &self.0 | &other.0))
    }

    fn __sub__(&self, py: Python<'_>, other: &Self) -> Self {
        Self(py.detach(|| &self.0 - &other.0))
    }

    fn __invert__(&self, py: Python<'_>) -> Self {
        Self(py.detach(|| !&self.0))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self.0 == other.get().0)
    }

    fn __repr__(&self) -> String {
        format!("<lodestore.KeySet of {} keys>", self.0.len())
    }
}
