//! What Python hands in: keys, vectors, payloads, names of settings.

use crate::errors::{refuse, wrong_shape};
use half::f16;
use lodestore::{Bits, Components, Element};
use numpy::{PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// A key: any integer of Python or numpy from 0 to 2⁶⁴ − 1.
pub(crate) fn key(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    value.extract::<u64>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            return refuse(format!("a key is an integer from 0 to 2**64 - 1, got {value}"));
        }
        let kind = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("a key is an integer, got {kind}"))
    })
}

/// Keys: a numpy array of integers, one dimension, or any iterable of integers.
pub(crate) fn keys(value: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    let py = value.py();
    let Ok(array) = value.cast::<PyUntypedArray>() else {
        return value.try_iter()?.map(|item| key(&item?)).collect();
    };
    if array.ndim() != 1 {
        return Err(wrong_shape("the array of keys", array.shape(), "(rows,)"));
    }
    let kind: String = array.dtype().getattr(intern!(py, "kind"))?.extract()?;
    match kind.as_str() {
        "u" => {}
        "i" => {
            let least = value.call_method1(intern!(py, "min"), ()).ok().filter(|_| array.len() > 0);
            if let Some(least) = least.filter(|least| least.lt(0).unwrap_or(false)) {
                return Err(refuse(format!("a key is an integer from 0 to 2**64 - 1, got {least}")));
            }
        }
        _ => return Err(PyTypeError::new_err(format!("keys are integers, got an array of {}", array.dtype()))),
    }
    let array = required(value, Some("uint64"))?;
    Ok(array.cast::<PyArrayDyn<u64>>()?.readonly().as_slice()?.to_vec())
}

/// Vectors as numpy holds them: one, or several row by row, contiguous, of a type that the store takes as it is.
pub(crate) enum Vectors<'py> {
    F32(PyReadonlyArrayDyn<'py, f32>),
    F16(PyReadonlyArrayDyn<'py, f16>),
    I8(PyReadonlyArrayDyn<'py, i8>),
    U8(PyReadonlyArrayDyn<'py, u8>),
    /// Eight components a byte.
    Bits(PyReadonlyArrayDyn<'py, u8>),
}

impl<'py> Vectors<'py> {
    /// One vector of `dim` components.
    pub(crate) fn one(value: &Bound<'py, PyAny>, dim: usize, element: Element) -> PyResult<Self> {
        Self::new(value, "the vector", &[], dim, element)
    }

    /// Several, each a row. The number of rows is that of the array.
    pub(crate) fn rows(value: &Bound<'py, PyAny>, what: &str, dim: usize, element: Element) -> PyResult<Self> {
        Self::new(value, what, &["rows"], dim, element)
    }

    fn new(value: &Bound<'py, PyAny>, what: &str, outer: &[&str], dim: usize, element: Element) -> PyResult<Self> {
        let array = floats_unless_taken(value)?;
        let shape = array.cast::<PyUntypedArray>()?.shape().to_vec();
        let bytes = array.cast::<PyArrayDyn<u8>>().is_ok();
        let width = shape.last().copied().unwrap_or(0);
        let packed = element == Element::Bits && bytes && width == dim.div_ceil(8);
        if shape.len() != outer.len() + 1 || (width != dim && !packed) {
            let expected = |width: usize| match outer {
                [rows] => format!("({rows}, {width})"),
                _ => format!("({width},)"),
            };
            let or_packed = match element {
                Element::Bits => format!(", or {} of uint8 with eight components a byte", expected(dim.div_ceil(8))),
                _ => String::new(),
            };
            return Err(wrong_shape(what, &shape, &(expected(dim) + &or_packed)));
        }
        Ok(if packed {
            Vectors::Bits(array.cast::<PyArrayDyn<u8>>()?.readonly())
        } else if bytes {
            Vectors::U8(array.cast::<PyArrayDyn<u8>>()?.readonly())
        } else if let Ok(array) = array.cast::<PyArrayDyn<i8>>() {
            Vectors::I8(array.readonly())
        } else if let Ok(array) = array.cast::<PyArrayDyn<f16>>() {
            Vectors::F16(array.readonly())
        } else {
            Vectors::F32(array.cast::<PyArrayDyn<f32>>()?.readonly())
        })
    }

    /// How many they are, if they are rows.
    pub(crate) fn count(&self) -> usize {
        let shape = match self {
            Vectors::F32(array) => array.shape(),
            Vectors::F16(array) => array.shape(),
            Vectors::I8(array) => array.shape(),
            Vectors::U8(array) | Vectors::Bits(array) => array.shape(),
        };
        shape.first().copied().unwrap_or(0)
    }

    pub(crate) fn components(&self) -> PyResult<Components<'_>> {
        Ok(match self {
            Vectors::F32(array) => array.as_slice()?.into(),
            Vectors::F16(array) => array.as_slice()?.into(),
            Vectors::I8(array) => array.as_slice()?.into(),
            Vectors::U8(array) => array.as_slice()?.into(),
            Vectors::Bits(array) => Bits(array.as_slice()?).into(),
        })
    }
}

/// The array itself if it is of a type that the store takes and lies row by row; else a copy, of `float32` if it is of
/// another type of numbers. Of booleans the bytes.
fn floats_unless_taken<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    let array = match value.cast::<PyUntypedArray>() {
        Ok(array) => array.clone(),
        Err(_) => numpy(py)?.call_method1(intern!(py, "asarray"), (value,))?.cast_into::<PyUntypedArray>()?,
    };
    let kind: String = array.dtype().getattr(intern!(py, "kind"))?.extract()?;
    let taken = array.cast::<PyArrayDyn<f32>>().is_ok()
        || array.cast::<PyArrayDyn<f16>>().is_ok()
        || array.cast::<PyArrayDyn<i8>>().is_ok()
        || array.cast::<PyArrayDyn<u8>>().is_ok();
    match kind.as_str() {
        "f" | "i" | "u" if taken => required(&array, None),
        "f" | "i" | "u" => required(&array, Some("float32")),
        "b" => required(&array, Some("uint8")),
        _ => Err(PyTypeError::new_err(format!("vectors are of numbers, got an array of {}", array.dtype()))),
    }
}

/// The array, or a copy of it, of that type, aligned and row by row.
fn required<'py>(array: &Bound<'py, PyAny>, dtype: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
    let py = array.py();
    numpy(py)?.call_method1(intern!(py, "require"), (array, dtype, "CA"))
}

fn numpy(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "numpy"))
}

/// Payloads: `None`, or an iterable of `bytes` or `bytearray`.
pub(crate) fn payloads(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<PyBackedBytes>>> {
    let Some(value) = value else { return Ok(None) };
    if value.is_instance_of::<pyo3::types::PyBytes>() {
        return Err(PyTypeError::new_err("payloads are an iterable of bytes, one for each row, got bytes"));
    }
    let one = |item: PyResult<Bound<'_, PyAny>>| Ok(item?.extract::<PyBackedBytes>()?);
    Ok(Some(value.try_iter()?.map(one).collect::<PyResult<_>>()?))
}
