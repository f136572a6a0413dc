//! Indexes of hnswlib, for `lodestore/hnswlib.py`: their bytes made a collection, and the other way round.

use crate::collection::Collection;
use crate::errors::raise;
use crate::input;
use crate::keyed::Keyed;
use crate::store::{Store as PyStore, codes_of};
use crate::waiting::Waiting;
use lodestore::foreign::hnswlib;
use lodestore::{Error, Metric, Store};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

/// The store, its collection, the keys in the order of the file, and which of them are deleted.
type LoadedIndex<'py> = (PyStore, Collection, Bound<'py, PyArray1<u64>>, Bound<'py, PyArray1<bool>>);

/// A store in memory with a collection that is the graph of hnswlib's index in `data`; the labels of its elements, in their order, and
/// which of them are deleted.
#[pyfunction]
pub(crate) fn _take_hnswlib<'py>(
    py: Python<'py>,
    data: PyBackedBytes,
    dim: usize,
    metric: &str,
    codes: &str,
) -> PyResult<LoadedIndex<'py>> {
    let metric = if metric == "l2" { Metric::L2 } else { Metric::InnerProduct };
    let codes = codes_of(codes)?;
    let mut waiting = Waiting::new(None, 0);
    let taken = py.detach(|| -> Result<_, Error> {
        let graph = hnswlib::read(&data, "index", &hnswlib::Reading::default().dim(dim))?.graph;
        let store = Store::in_memory()?;
        let builder = store.collection::<u64>("items").metric(metric).codes(codes);
        // As it is: what hnswlib found is found.
        let loaded = builder.load(&graph).relink(false).while_told(|_, _| waiting.go_on(0)).run()?;
        Ok((store, loaded.collection, graph.keys().to_vec(), graph.deleted().to_vec()))
    });
    waiting.end()?;
    let (store, collection, keys, deleted) = taken.map_err(raise)?;
    Ok((PyStore::in_memory(store), Collection(Keyed::Int(collection)), keys.into_pyarray(py), deleted.into_pyarray(py)))
}

/// The file of hnswlib's index that has a collection's graph, with room for so many elements, and these settings.
#[pyfunction]
pub(crate) fn _give_hnswlib<'py>(
    py: Python<'py>,
    collection: &Bound<'py, Collection>,
    max_elements: u64,
    m: usize,
    ef_construction: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let collection = collection.get().of_ints()?;
    let bytes = py.detach(|| -> Result<Vec<u8>, Error> {
        let mut graph = collection.graph()?;
        graph.set_m(m);
        graph.set_ef_construction(ef_construction);
        let mut bytes = Vec::with_capacity(hnswlib::size(&graph) as usize);
        hnswlib::write(&graph, max_elements, &mut bytes).expect("memory takes all that is written");
        Ok(bytes)
    });
    Ok(PyBytes::new(py, &bytes.map_err(raise)?))
}

/// Records of a collection, those marked as deleted included, and the levels of all of them added up.
#[pyfunction]
pub(crate) fn _graph_size(py: Python<'_>, collection: &Bound<'_, Collection>) -> PyResult<(u64, u64)> {
    let collection = collection.get().of_ints()?;
    py.detach(|| collection.graph_size()).map_err(raise)
}

/// The vectors of these keys, shape (keys, dim); None if one has no record.
#[pyfunction]
pub(crate) fn _vectors<'py>(
    py: Python<'py>,
    collection: &Bound<'py, Collection>,
    keys: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyArray2<f32>>>> {
    let (keys, collection) = (input::keys(keys)?, collection.get().of_ints()?);
    let mut waiting = Waiting::new(None, 0);
    let vectors = py.detach(|| -> Result<_, Error> {
        let mut vectors = Vec::new();
        for &key in &keys {
            match collection.get(key)? {
                Some(record) if waiting.go_on(0) => vectors.extend(record.vector),
                _ => return Ok(None),
            }
        }
        Ok(Some(vectors))
    });
    waiting.end()?;
    let Some(vectors) = vectors.map_err(raise)? else { return Ok(None) };
    Ok(Some(vectors.into_pyarray(py).reshape([keys.len(), collection.dim()])?))
}
