//! Vector files, read a block of rows at a time and written row by row, whatever their size.
//!
//! | ending | rows | elements |
//! |---|---|---|
//! | `.fvecs`, `.bvecs`, `.ivecs` (TEXMEX) | `i32` dimension, then the elements | `f32`, `u8`, `i32` |
//! | `.npy` (NumPy, format 1 to 3) | 2-D, or 1-D as one row; C order | `<f4 <f8 <f2 i1 u1` |
//!
//! Written are `.fvecs`, `.bvecs` and `.npy` of `<f4`, `|i1` and `|u1`. `f32`, `f16`, `i8` and `u8` are handed on as they are, the others in `f32`. Everything is little-endian. A file's own numbers are compared with its length before anything is allocated.

mod block;
mod error;
mod element;
mod npy;
mod rows;
mod write;

use std::path::Path;

pub(crate) use block::Block;
pub(crate) use element::Element;
pub(crate) use error::FormatError;
pub(crate) use rows::Rows;
pub(crate) use write::{Kind, Numbers};

/// More than any embedding has; a larger number in a file is damage.
pub(crate) const MAX_DIM: u64 = 65_536;

/// Opens a file of vectors by its ending.
pub(crate) fn vectors(path: &Path) -> Result<Rows, FormatError> {
    match ending(path).as_deref() {
        Some("fvecs") => Rows::texmex(path, Element::F32),
        Some("bvecs") => Rows::texmex(path, Element::U8),
        Some("npy") => Rows::npy(path),
        _ => Err(FormatError::Ending { path: path.into(), read: ".fvecs, .bvecs and .npy" }),
    }
}

/// Opens a file of keys, a row for each query.
pub(crate) fn keys(path: &Path) -> Result<Rows, FormatError> {
    match ending(path).as_deref() {
        Some("ivecs") => Rows::texmex(path, Element::I32),
        _ => Err(FormatError::Ending { path: path.into(), read: ".ivecs" }),
    }
}

fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase())
}

#[cfg(test)]
mod tests;
