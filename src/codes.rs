//! What a collection's walks compare.

use lodestore_engine::{Element, Metric};
use std::fmt;

/// Bits of a component in the codes of a collection: small copies of its vectors, which the walks of searches and
/// inserts compare. The nearest found are compared again exactly, and distances returned are always those of the
/// vectors as given.
///
/// Codes need no training and hold for any data; they are made from the vectors, in a file of their own.
///
/// ```
/// use lodestore::{Codes, Metric};
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(384).metric(Metric::Cosine).open_or_create()?;
/// assert_eq!(docs.info().codes, Codes::Four);
/// let plain = store.collection::<u64>("plain").dim(384).codes(Codes::None).open_or_create()?;
/// assert_eq!(plain.info().codes, Codes::None);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codes {
    /// Of floats none below 32 dimensions, where a vector is hardly larger than its code; from 256 dimensions on 4 bits
    /// under cosine and inner product; else 8 bits. Of other [elements](crate::Element), which are small themselves,
    /// none.
    #[default]
    Auto,
    /// Walks compare the vectors themselves.
    None,
    /// 8 bits: found as if there were no codes, of `f32` in about half the time.
    Eight,
    /// 4 bits: half the memory of 8. Where vectors are much longer than the distances between them, which happens
    /// under squared L2, a search needs a larger `ef` to find as much.
    Four,
}

impl Codes {
    /// How many, for a new collection.
    pub(crate) fn bits(self, dim: usize, element: Element, metric: Metric) -> u8 {
        match self {
            Codes::Auto if matches!(metric, Metric::User(_)) => 0,
            Codes::Auto if dim < 32 || !element.is_float() => 0,
            Codes::Auto if dim >= 256 && metric != Metric::L2 => 4,
            Codes::Auto | Codes::Eight => 8,
            Codes::None => 0,
            Codes::Four => 4,
        }
    }

    pub(crate) fn of_bits(bits: u8) -> Self {
        match bits {
            0 => Codes::None,
            4 => Codes::Four,
            _ => Codes::Eight,
        }
    }
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codes::Auto => "auto",
            Codes::None => "none",
            Codes::Eight => "8",
            Codes::Four => "4",
        })
    }
}
