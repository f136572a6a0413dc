//! The native half of the Python package `lodestore`: stores, collections and batches over numpy arrays.
//!
//! Arrays are looked at and made while the interpreter is held; all work is done without it, so other Python threads
//! run meanwhile. What calls return is built from the small classes in `lodestore/_results.py`, and every error becomes
//! one of `lodestore/_errors.py`.
#![forbid(unsafe_code)]

use pyo3::prelude::*;

// Lower first: a module names only those above it.
mod classes;
mod errors;
mod input;
mod keyed;
mod tags;
mod output;
mod waiting;
mod scan;
mod keyset;
mod filter;
mod search;
mod stream;
mod collection;
mod batch;
mod store;
mod foreign;

/// The native half of lodestore; use the package `lodestore`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::batch::{Batch, Savepoint};
    #[pymodule_export]
    use crate::collection::Collection;
    #[pymodule_export]
    use crate::foreign::{_give_hnswlib, _graph_size, _take_hnswlib, _vectors};
    #[pymodule_export]
    use crate::keyset::KeySet;
    #[pymodule_export]
    use crate::scan::Scan;
    #[pymodule_export]
    use crate::store::{Store, in_memory, open};
    #[pymodule_export]
    use crate::stream::Stream;
    #[pymodule_export]
    use crate::tags::{Tag, TagFilter};
}
