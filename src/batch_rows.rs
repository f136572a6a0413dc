//! Rows with vectors as they are stored, written many at a time into a collection that is made for them.

use crate::check::{check_payload, check_vector};
use crate::codes::Codes;
use crate::error::{Error, Result};
use crate::key::{Key, RowKey};
use crate::shared::{Open, Shared};
use crate::store::Store;
use crate::write::{Action, Change};
use lodestore_engine::{Geometry, KeyType, StoredKey};
use std::sync::Arc;

/// Rows that are written together.
const ROWS: usize = 1024;
/// Bytes of vectors and payloads that are written together.
const BYTES: usize = 16 << 20;

/// What a record is to have.
pub(crate) struct NewRow {
    /// As stored.
    pub(crate) vector: Vec<u8>,
    /// Encoded.
    pub(crate) tags: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// Rows on their way into a new collection.
pub(crate) struct NewRows {
    shared: Arc<Shared>,
    open: Arc<Open>,
    rows: Vec<(RowKey, NewRow)>,
    bytes: usize,
    /// Keys of records that are to be marked as deleted.
    marked: Vec<RowKey>,
}

fn make<K: Key + ?Sized>(
    store: &Store,
    name: &str,
    geometry: &Geometry,
    codes: Codes,
) -> Result<(Arc<Shared>, Arc<Open>)> {
    let builder = store.collection::<K>(name).dim(geometry.dim).element(geometry.element).metric(geometry.metric);
    let builder = builder.m(geometry.m).ef_construction(geometry.ef_construction).seed(geometry.seed);
    let collection = builder.codes(codes).create()?;
    Ok((collection.shared().clone(), collection.open.clone()))
}

impl NewRows {
    /// The store stays open as long as this.
    pub(crate) fn new(store: &Store, name: &str, geometry: &Geometry, codes: Codes) -> Result<Self> {
        let (shared, open) = match geometry.key {
            KeyType::U64 => make::<u64>(store, name, geometry, codes),
            KeyType::U128 => make::<u128>(store, name, geometry, codes),
            KeyType::Str => make::<str>(store, name, geometry, codes),
            KeyType::Bytes => make::<[u8]>(store, name, geometry, codes),
            #[cfg(feature = "uuid")]
            KeyType::Uuid => make::<uuid::Uuid>(store, name, geometry, codes),
            other => {
                Err(Error::Setting(format!("this build has no keys of type {other}: it lacks the feature {other}")))
            }
        }?;
        Ok(Self { shared, open, rows: Vec::new(), bytes: 0, marked: Vec::new() })
    }

    /// Adds a row, of a key as the catalogue has it.
    ///
    /// # Errors
    /// As [`Collection::put`]; the rows before it may not be written then.
    pub(crate) fn put(&mut self, key: &[u8], row: NewRow, marked: bool) -> Result<()> {
        let stored = match self.open.index().geometry().key {
            KeyType::U64 => key.try_into().ok().map(|key| StoredKey::Number(u64::from_be_bytes(key))),
            _ => Some(StoredKey::Bytes(key)),
        };
        let odd = || Error::Setting(format!("a key of {} bytes", key.len()));
        let key = RowKey::new(self.open.id, stored.ok_or_else(odd)?);
        check_vector(&self.open, &row.vector, self.rows.len())?;
        check_payload(&row.payload, self.rows.len())?;
        if marked {
            self.marked.push(key.clone());
        }
        self.bytes += row.vector.len() + row.tags.len() + row.payload.len();
        self.rows.push((key, row));
        if self.rows.len() >= ROWS || self.bytes >= BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let mut changes: Vec<Change<'_>> = Vec::with_capacity(self.rows.len());
        for (key, NewRow { vector, tags, payload }) in &self.rows {
            let of = |action| Change { target: &self.open, key: key.clone(), action };
            changes.push(of(Action::Put { vector, payload }));
            changes.extend((!tags.is_empty()).then(|| of(Action::SetTags { tags })));
        }
        self.shared.write(&changes)?;
        self.rows.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Writes what is left, and the marks.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        for keys in self.marked.chunks(ROWS) {
            let mark = |key: &RowKey| Change { target: &self.open, key: key.clone(), action: Action::Mark };
            self.shared.write(&keys.iter().map(mark).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
