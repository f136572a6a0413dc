//! What can be wrong with a vector file, and where in it.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::MAX_DIM;

#[derive(Debug, Error)]
pub(crate) enum FormatError {
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: io::Error },

    #[error("{}: the ending is unknown, {read} can be read", path.display())]
    Ending { path: PathBuf, read: &'static str },

    #[error("{}: the ending is unknown, .npy, .fvecs and .bvecs can be written", path.display())]
    WriteEnding { path: PathBuf },

    #[error("{}: .bvecs holds numbers from 0 to 255, and the collection has others; write .npy", path.display())]
    Bvecs { path: PathBuf },

    #[error("{}: the file holds no rows", path.display())]
    Empty { path: PathBuf },

    #[error("{}: row {row} at byte {offset} has dimension {got}, expected 1 to {MAX_DIM}", path.display())]
    Dimension { path: PathBuf, row: u64, offset: u64, got: i64 },

    #[error("{}: row {row} at byte {offset} has dimension {got}, expected {expected} as in row 0", path.display())]
    MixedDimension { path: PathBuf, row: u64, offset: u64, got: i64, expected: usize },

    #[error("{}: row {row} at byte {offset} is cut off: {got} of {expected} bytes are there", path.display())]
    Truncated { path: PathBuf, row: u64, offset: u64, got: u64, expected: u64 },

    #[error("{}: {extra} bytes follow the last row, which ends at byte {offset}", path.display())]
    Trailing { path: PathBuf, offset: u64, extra: u64 },

    #[error("{}: row {row} holds the key {got}, and keys are not negative", path.display())]
    Key { path: PathBuf, row: u64, got: i32 },

    #[error("{}: not a .npy file that can be read: {what} (byte {offset})", path.display())]
    Npy { path: PathBuf, offset: u64, what: String },
}
