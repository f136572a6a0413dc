//! Settings as C has them: numbers, which may be anything.

use crate::status::{Result, bad_argument};
use std::time::Duration;

/// Metrics. Smaller distances are nearer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The collection's own, or squared L2 for a new one.
    Default = 0,
    /// Squared Euclidean distance.
    L2 = 1,
    /// 1 less the inner product.
    InnerProduct = 2,
    /// 1 less the cosine.
    Cosine = 3,
}

/// What keys are. A collection's keys are of one type.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// The collection's own, or numbers for a new one.
    Default = 0,
    /// 64-bit numbers: the functions that take a `uint64_t key`.
    U64 = 1,
    /// Text in UTF-8, up to 4,096 bytes: the functions that end with `_named`.
    Text = 2,
    /// Any bytes, up to 4,096: the functions that end with `_named`.
    Bytes = 3,
}

/// What vectors are kept as. They are given and returned as `float` in any case.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// The collection's own, or F32 for a new one.
    Default = 0,
    /// 4 bytes a component.
    F32 = 1,
    /// IEEE 754 binary16, 2 bytes.
    F16 = 2,
    /// bfloat16, 2 bytes.
    Bf16 = 3,
    /// Whole numbers from -128 to 127, 1 byte.
    I8 = 4,
    /// Whole numbers from 0 to 255, 1 byte.
    U8 = 5,
}

/// What a write that has returned survives.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Power loss.
    Sync = 0,
    /// The end of the process; power loss once 100 ms have passed.
    Every100Ms = 1,
    /// The end of the process; power loss after lodestore_sync, lodestore_checkpoint or lodestore_close.
    Buffered = 2,
}

/// What a collection is to be. What is 0 is taken as stored, or as usual for a new one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Components of a vector. Needed to make a collection.
    pub dim: usize,
    /// A LodestoreMetric.
    pub metric: u32,
    /// A LodestoreElement.
    pub element: u32,
    /// HNSW's M; usually 16.
    pub m: usize,
    /// HNSW's ef_construction; usually 128.
    pub ef_construction: usize,
    /// Seed of the graph's levels; usually 100.
    pub seed: u64,
    /// A LodestoreKeyType.
    pub key: u32,
}

impl Settings {
    pub(crate) fn metric(&self) -> Result<Option<lodestore::Metric>> {
        Ok(Some(match self.metric {
            0 => return Ok(None),
            1 => lodestore::Metric::L2,
            2 => lodestore::Metric::InnerProduct,
            3 => lodestore::Metric::Cosine,
            other => return bad_argument(format!("metric is {other}; there are 0 to 3")),
        }))
    }

    pub(crate) fn key(&self) -> Result<Option<lodestore::KeyType>> {
        Ok(Some(match self.key {
            0 => return Ok(None),
            1 => lodestore::KeyType::U64,
            2 => lodestore::KeyType::Str,
            3 => lodestore::KeyType::Bytes,
            other => return bad_argument(format!("key is {other}; there are 0 to 3")),
        }))
    }

    pub(crate) fn element(&self) -> Result<Option<lodestore::Element>> {
        Ok(Some(match self.element {
            0 => return Ok(None),
            1 => lodestore::Element::F32,
            2 => lodestore::Element::F16,
            3 => lodestore::Element::Bf16,
            4 => lodestore::Element::I8,
            5 => lodestore::Element::U8,
            other => return bad_argument(format!("element is {other}; there are 0 to 5")),
        }))
    }
}

pub(crate) fn durability(number: u32) -> Result<lodestore::Durability> {
    match number {
        0 => Ok(lodestore::Durability::Sync),
        1 => Ok(lodestore::Durability::Every(Duration::from_millis(100))),
        2 => Ok(lodestore::Durability::Buffered),
        other => bad_argument(format!("durability is {other}; there are 0 to 2")),
    }
}
