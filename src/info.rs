//! What is known of a collection as a whole.

use crate::codes::Codes;
use crate::shared::Open;
use lodestore_engine::{Element, KeyType, Metric};
use std::sync::atomic::Ordering;

/// A collection's settings and size.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// let info = docs.info();
/// println!("{}: {} records of dimension {}", info.name, info.len, info.dim);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CollectionInfo {
    /// Its name.
    pub name: String,
    /// What its keys are.
    pub key: KeyType,
    /// Components of a vector.
    pub dim: usize,
    /// What its components are kept as.
    pub element: Element,
    /// The metric.
    pub metric: Metric,
    /// HNSW's M.
    pub m: usize,
    /// HNSW's ef_construction.
    pub ef_construction: usize,
    /// Seed of the levels and of the codes' rotation.
    pub seed: u64,
    /// What walks compare; never [`Codes::Auto`].
    pub codes: Codes,
    /// Records.
    pub len: u64,
    /// Slots given out, those of replaced and removed records included.
    pub slots: u64,
    /// Records that are [marked as deleted](crate::Collection::mark_deleted); `len` does not count them.
    pub marked: u64,
    /// Slots of replaced and removed records that are still linked.
    pub dead: u64,
    /// Slots that wait to be used again.
    pub free: u64,
    /// Bytes that every search reads, room for records to come included: links, codes (without them vectors), ids.
    pub hot_bytes: u64,
    /// Bytes of the other vectors, of which a search reads those that it compares exactly: of a collection with codes.
    pub vector_bytes: u64,
    /// Records that are found by comparing until they are linked, after a crash.
    pub unlinked: u64,
}

impl CollectionInfo {
    pub(crate) fn of(open: &Open) -> Self {
        let index = open.index();
        let geometry = index.geometry();
        Self {
            name: open.name.clone(),
            key: geometry.key,
            dim: geometry.dim,
            element: geometry.element,
            metric: geometry.metric,
            m: geometry.m,
            ef_construction: geometry.ef_construction,
            seed: geometry.seed,
            codes: Codes::of_bits(geometry.codes),
            len: open.records.load(Ordering::Acquire),
            slots: u64::from(index.next_slot()),
            marked: index.marked(),
            dead: index.dead(),
            free: index.free(),
            hot_bytes: index.hot_bytes(),
            vector_bytes: index.cold_bytes(),
            unlinked: index.unlinked().len() as u64,
        }
    }
}
