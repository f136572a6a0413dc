//! Rows with vectors as they are stored, written many at a time into a collection that is made for them.

use crate::check::{check_payload, check_vector};
use crate::codes::Codes;
use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::store::Store;
use crate::write::{Action, Change};
use lodestore_engine::Geometry;

/// Rows that are written together.
const ROWS: usize = 1024;
/// Bytes of vectors and payloads that are written together.
const BYTES: usize = 16 << 20;

/// Rows on their way into a new collection.
pub(crate) struct Rows {
    collection: Collection<u64>,
    rows: Vec<(u64, Vec<u8>, Vec<u8>)>,
    bytes: usize,
    /// Keys of records that are to be marked as deleted.
    marked: Vec<u64>,
}

/// A key, in the bytes that the catalogue has for it.
fn key_of(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// A key for a message.
pub(crate) fn shown(bytes: &[u8]) -> String {
    key_of(bytes).map_or_else(|| format!("{bytes:02x?}"), |key| key.to_string())
}

impl Rows {
    pub(crate) fn new(store: &Store, name: &str, geometry: &Geometry, codes: Codes) -> Result<Self> {
        let builder = store.collection::<u64>(name).dim(geometry.dim).element(geometry.element).metric(geometry.metric);
        let builder = builder.m(geometry.m).ef_construction(geometry.ef_construction).seed(geometry.seed);
        Ok(Self { collection: builder.codes(codes).create()?, rows: Vec::new(), bytes: 0, marked: Vec::new() })
    }

    /// Adds a row, of a key as the catalogue has it.
    ///
    /// # Errors
    /// As [`Collection::put`]; the rows before it may not be written then.
    pub(crate) fn put(&mut self, key: &[u8], vector: Vec<u8>, payload: Vec<u8>, marked: bool) -> Result<()> {
        let odd = || Error::Setting(format!("a key of {} bytes", key.len()));
        let key = key_of(key).ok_or_else(odd)?;
        check_vector(&self.collection.open, &vector, self.rows.len())?;
        check_payload(&payload, self.rows.len())?;
        if marked {
            self.marked.push(key);
        }
        self.bytes += vector.len() + payload.len();
        self.rows.push((key, vector, payload));
        if self.rows.len() >= ROWS || self.bytes >= BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let changes: Vec<Change<'_>> = self
            .rows
            .iter()
            .map(|(key, vector, payload)| Change {
                target: &self.collection.open,
                key: *key,
                action: Action::Put { vector, payload },
            })
            .collect();
        self.collection.shared().write(&changes)?;
        self.rows.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Writes what is left, and the marks.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        for keys in self.marked.chunks(ROWS) {
            let mark = |&key: &u64| Change { target: &self.collection.open, key, action: Action::Mark };
            self.collection.shared().write(&keys.iter().map(mark).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
