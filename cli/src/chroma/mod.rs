//! Chroma's persistent directory: which collections it has, and their records.
//!
//! | part | content |
//! |---|---|
//! | `chroma.sqlite3` | everything but the vectors that an index has taken over |
//! | `<segment>/` | the index of a collection: see `lodestore::foreign::chroma`, and `index_metadata.pickle` with the ids |
//!
//! Of the database, as versions 0.4 to 1.5 of Chroma make it, these tables are read.
//!
//! | table | what of it |
//! |---|---|
//! | `collections`, `databases` | name, dimension, configuration |
//! | `collection_metadata`, `segment_metadata` | the metric, `hnsw:space`, if the configuration does not say it |
//! | `segments` | which are the collection's: one of vectors, one of metadata |
//! | `embeddings`, `embedding_metadata`, `embedding_metadata_array` | ids, documents and metadata |
//! | `max_seq_id` | up to where in the queue each segment is |
//! | `embeddings_queue` | operations in their order; those that a segment has not seen are carried out here |
//!
//! The database is opened for reading. Nothing in it is believed: what a column holds is looked at, and what must be
//! there twice is compared.

mod error;
mod pickle;
mod database;
mod queue;
mod records;

use std::path::Path;

use anyhow::Result;
use lodestore::Metric;

use database::Database;

/// Whether it is such a directory.
pub(crate) fn is_directory(path: &Path) -> bool {
    path.join(database::FILE).is_file()
}

/// A collection of Chroma.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) dim: usize,
    pub(crate) metric: Metric,
    /// Links of a node, if there is an index.
    pub(crate) m: Option<usize>,
    pub(crate) records: Records,
}

/// In the order of their ids.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) ids: Vec<String>,
    /// Row by row.
    pub(crate) vectors: Vec<f32>,
    /// JSON: `document`, `metadata` and `uri`, of which a record may have any; empty if it has none.
    pub(crate) payloads: Vec<Vec<u8>>,
}

/// Reads the collection `asked`, or if none is named the one called `by_default`, or the only one.
pub(crate) fn read(directory: &Path, asked: Option<&str>, by_default: &str) -> Result<Found> {
    let database = Database::open(directory)?;
    let source = database.choose(asked, by_default)?;
    records::read(directory, &database, source)
}
