//! What can be wrong with a directory of Chroma.

use std::{io, path::PathBuf};

use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum ChromaError {
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: io::Error },

    #[error("{}: the database cannot be read: {what}", path.display())]
    Sqlite { path: PathBuf, what: &'static str, source: rusqlite::Error },

    #[error("{}: {what}", path.display())]
    Damaged { path: PathBuf, what: String },

    #[error("{}: no list of ids that can be read: {what} at byte {offset}", path.display())]
    Pickle { path: PathBuf, offset: usize, what: String },

    #[error("{}: {asked}; there are: {there}; name one with --source", path.display())]
    Which { path: PathBuf, asked: String, there: String },
}
