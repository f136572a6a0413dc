//! Rust's errors as Python exceptions.

use crate::classes;
use lodestore::Error;
use pyo3::prelude::*;

/// The exception for an error of the store; its text is the error's.
pub(crate) fn raise(error: Error) -> PyErr {
    let class = match error {
        Error::Dimension { .. } | Error::RowCount { .. } => &classes::DIMENSION,
        Error::NotFinite { .. }
        | Error::NotRepresentable { .. }
        | Error::SpareBit { .. }
        | Error::ZeroVector { .. }
        | Error::Magnitude { .. }
        | Error::KeyTooLong { .. }
        | Error::PayloadTooLarge { .. }
        | Error::TooLarge { .. }
        | Error::CollectionExists { .. }
        | Error::SettingDiffers { .. }
        | Error::Setting(_)
        | Error::Tag(_)
        | Error::Graph(_)
        | Error::ReadOnly
        | Error::OtherStore { .. } => &classes::INPUT,
        Error::NoCollection { .. } | Error::NotAStore { .. } => &classes::NOT_FOUND,
        Error::Closed => &classes::CLOSED,
        Error::Stale { .. } => &classes::STALE,
        Error::Locked { .. } | Error::Unsettled { .. } | Error::TooManyReaders { .. } => &classes::LOCKED,
        Error::Corrupt { .. } | Error::FormatTooNew { .. } => &classes::CORRUPT,
        Error::NoSpace { .. } | Error::Poisoned { .. } | Error::Io { .. } | Error::Catalog(_) => &classes::STORAGE,
        _ => &classes::ERROR,
    };
    exception(class, error.to_string())
}

/// An `InputError`.
pub(crate) fn refuse(what: impl Into<String>) -> PyErr {
    exception(&classes::INPUT, what.into())
}

/// A `DimensionError`.
pub(crate) fn wrong_shape(what: &str, got: &[usize], expected: &str) -> PyErr {
    let got = match got {
        [one] => format!("({one},)"),
        many => format!("({})", many.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    };
    exception(&classes::DIMENSION, format!("the shape of {what} is {got}, expected is {expected}"))
}

fn exception(class: &classes::Class, message: String) -> PyErr {
    Python::attach(|py| match class.get(py) {
        Ok(class) => PyErr::from_type(class.clone(), message),
        Err(error) => error,
    })
}
