//! `lodestore.Tag` and `lodestore.TagFilter`; tags as Python has them.

use crate::errors::{raise, refuse};
use lodestore::{TagValue, Tags};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyDict, PyFrozenSet, PyInt, PyList, PyMapping, PySet, PyString, PyTuple};
use std::ops::Bound as End;

/// A field of tags, for conditions: Tag("lang") == "en", Tag("year") >= 2020, Tag("lang").any(["en", "fr"]). Conditions
/// are put together with &, |, - and ~, and given to searches as tags.
#[pyclass(frozen, module = "lodestore")]
pub(crate) struct Tag(String);

/// A condition on the tags of records, for the searches of any collection. A field with several values fulfils what one of
/// them does; ~condition is every record that does not fulfil it.
#[pyclass(frozen, module = "lodestore")]
pub(crate) struct TagFilter(pub(crate) lodestore::TagFilter);

fn value(value: &Bound<'_, PyAny>) -> PyResult<TagValue> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(TagValue::Text(text.extract()?));
    }
    // Also the integers of numpy, but nothing that has a fraction.
    if value.is_instance_of::<PyInt>() || value.hasattr("__index__")? {
        let wide = |_| refuse(format!("a tag's value is an integer of 64 bits or a str, got {value}"));
        return value.extract::<i64>().map(TagValue::Integer).map_err(wide);
    }
    let what = format!("a tag's value is an int or a str, not {}", value.get_type().name()?);
    Err(PyTypeError::new_err(what))
}

/// Tags of a mapping: to each field a value, or several.
pub(crate) fn tags(given: Option<&Bound<'_, PyAny>>) -> PyResult<Tags> {
    let mut tags = Tags::new();
    let Some(given) = given.filter(|given| !given.is_none()) else { return Ok(tags) };
    let odd = || PyTypeError::new_err("tags are a mapping of fields to values, such as {'lang': 'en', 'year': 2024}");
    for item in given.cast::<PyMapping>().map_err(|_| odd())?.items()?.iter() {
        let (field, values): (String, Bound<'_, PyAny>) = item.extract()?;
        let several = values.is_instance_of::<PyList>() || values.is_instance_of::<PyTuple>();
        if several || values.is_instance_of::<PySet>() || values.is_instance_of::<PyFrozenSet>() {
            for one in values.try_iter()? {
                tags.add(&field, value(&one?)?).map_err(raise)?;
            }
        } else {
            tags.add(&field, value(&values)?).map_err(raise)?;
        }
    }
    Ok(tags)
}

/// The tags of each of so many rows.
pub(crate) fn rows(given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<Tags>>> {
    let Some(given) = given else { return Ok(None) };
    if given.is_instance_of::<PyDict>() {
        return Err(PyTypeError::new_err("tags are an iterable of mappings, one for each row, got a dict"));
    }
    given.try_iter()?.map(|one| tags(Some(&one?))).collect::<PyResult<_>>().map(Some)
}

fn object<'py>(py: Python<'py>, value: &TagValue) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        TagValue::Integer(integer) => integer.into_pyobject(py)?.into_any(),
        TagValue::Text(text) => PyString::new(py, text).into_any(),
    })
}

/// A dict: to each field its value, or a list of several.
pub(crate) fn dict<'py>(py: Python<'py>, tags: &Tags) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (field, _) in tags.iter() {
        if dict.contains(field)? {
            continue;
        }
        let values = tags.get(field).map(|value| object(py, value)).collect::<PyResult<Vec<_>>>()?;
        match &values[..] {
            [one] => dict.set_item(field, one)?,
            several => dict.set_item(field, PyList::new(py, several)?)?,
        }
    }
    Ok(dict)
}

#[pymethods]
impl Tag {
    #[new]
    #[pyo3(signature = (field, /))]
    fn new(field: String) -> PyResult<Self> {
        // What no record may have is told here.
        lodestore::TagFilter::has(&field).map_err(raise)?;
        Ok(Self(field))
    }

    fn __richcmp__(&self, other: &Bound<'_, PyAny>, op: CompareOp) -> PyResult<TagFilter> {
        let value = value(other)?;
        let filter = match op {
            CompareOp::Eq => lodestore::TagFilter::eq(&self.0, value),
            CompareOp::Ne => lodestore::TagFilter::eq(&self.0, value).map(|equal| !equal),
            CompareOp::Lt => lodestore::TagFilter::between(&self.0, End::Unbounded, End::Excluded(value)),
            CompareOp::Le => lodestore::TagFilter::between(&self.0, End::Unbounded, End::Included(value)),
            CompareOp::Gt => lodestore::TagFilter::between(&self.0, End::Excluded(value), End::Unbounded),
            CompareOp::Ge => lodestore::TagFilter::between(&self.0, End::Included(value), End::Unbounded),
        };
        filter.map(TagFilter).map_err(raise)
    }

    fn __hash__(&self) -> PyResult<isize> {
        Err(PyTypeError::new_err("a Tag has no hash: comparing it makes a condition"))
    }

    /// The field has one of the values.
    #[pyo3(signature = (values, /))]
    fn any(&self, values: &Bound<'_, PyAny>) -> PyResult<TagFilter> {
        if values.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("any() takes an iterable of values, got a str"));
        }
        let values = values.try_iter()?.map(|one| value(&one?)).collect::<PyResult<Vec<_>>>()?;
        lodestore::TagFilter::any(&self.0, values).map(TagFilter).map_err(raise)
    }

    /// The field has a value from start up to, but without, stop.
    #[pyo3(signature = (start, stop, /))]
    fn range(&self, start: &Bound<'_, PyAny>, stop: &Bound<'_, PyAny>) -> PyResult<TagFilter> {
        let (start, stop) = (End::Included(value(start)?), End::Excluded(value(stop)?));
        lodestore::TagFilter::between(&self.0, start, stop).map(TagFilter).map_err(raise)
    }

    /// The field has a str that begins so.
    #[pyo3(signature = (start, /))]
    fn startswith(&self, start: &str) -> PyResult<TagFilter> {
        lodestore::TagFilter::starts_with(&self.0, start).map(TagFilter).map_err(raise)
    }

    /// The field has a value, whichever.
    fn exists(&self) -> PyResult<TagFilter> {
        lodestore::TagFilter::has(&self.0).map(TagFilter).map_err(raise)
    }

    fn __repr__(&self) -> String {
        format!("lodestore.Tag({:?})", self.0)
    }
}

#[pymethods]
impl TagFilter {
    fn __and__(&self, other: &Self) -> Self {
        Self(&self.0 & &other.0)
    }

    fn __or__(&self, other: &Self) -> Self {
        Self(&self.0 | &other.0)
    }

    fn __sub__(&self, other: &Self) -> Self {
        Self(&self.0 - &other.0)
    }

    fn __invert__(&self) -> Self {
        Self(!&self.0)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().0 == self.0)
    }

    fn __hash__(&self) -> PyResult<isize> {
        Err(PyTypeError::new_err("a TagFilter has no hash"))
    }

    /// `and`, `or` and `not` would drop one of the conditions, as would 1 <= Tag("n") < 3.
    fn __bool__(&self) -> PyResult<bool> {
        let what = "a condition on tags is neither true nor false: put them together with &, | and ~, in brackets, and use range()";
        Err(PyTypeError::new_err(what))
    }

    /// Whether a record with these tags, a mapping, fulfils it.
    #[pyo3(signature = (tags, /))]
    fn matches(&self, tags: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.0.matches(&self::tags(Some(tags))?))
    }

    fn __repr__(&self) -> String {
        format!("<lodestore.TagFilter: {}>", self.0)
    }
}
