//! Filters of keys: a callable of Python, which needs the interpreter, or a set of keys, which does not.

use crate::input;
use crate::waiting::Asked;
use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use std::collections::HashSet;

/// Which keys a search may find.
pub(crate) enum Filter {
    Asked(Asked),
    /// A bit for each key from 0 up.
    Bits(Vec<u64>),
    Set(HashSet<u64>),
}

/// Bits for keys up to so many times as many as are listed, and a few more, are made; a hash is more to look into.
const SPARSE: u64 = 256;
const FEW: u64 = 1 << 20;

impl Filter {
    /// Of a callable, an array of booleans by key, or integer keys.
    pub(crate) fn new(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if value.is_callable() {
            return Ok(Filter::Asked(Asked::new(value.clone().unbind())));
        }
        if let Ok(mask) = value.cast::<PyArrayDyn<bool>>() {
            if mask.ndim() != 1 {
                return Err(crate::errors::wrong_shape("the mask", mask.cast::<PyUntypedArray>()?.shape(), "(keys,)"));
            }
            let mask = mask.readonly();
            let mut bits = vec![0; mask.as_array().len().div_ceil(64)];
            for (key, _) in mask.as_array().iter().enumerate().filter(|(_, kept)| **kept) {
                bits[key / 64] |= 1 << (key % 64);
            }
            return Ok(Filter::Bits(bits));
        }
        let keys = input::keys(value)?;
        let most = keys.iter().max().map_or(0, |&key| key.saturating_add(1));
        if most > FEW.saturating_add(SPARSE * keys.len() as u64) {
            return Ok(Filter::Set(keys.into_iter().collect()));
        }
        let mut bits = vec![0; most.div_ceil(64) as usize];
        keys.into_iter().for_each(|key| bits[(key / 64) as usize] |= 1 << (key % 64));
        Ok(Filter::Bits(bits))
    }

    #[inline]
    pub(crate) fn keeps(&self, key: u64) -> bool {
        match self {
            Filter::Bits(bits) => bits.get((key / 64) as usize).is_some_and(|word| word & 1 << (key % 64) != 0),
            Filter::Set(keys) => keys.contains(&key),
            Filter::Asked(callable) => callable.keeps(key),
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
