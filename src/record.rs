//! What a key has.

use crate::catalog::RowRef;
use crate::error::{Error, Result};
use crate::tags::Tags;
use lodestore_engine::Index;

/// A record's value.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// docs.put(1, &[0.1, 0.2], b"x")?;
/// let record = docs.get(1)?.expect("just put");
/// assert_eq!(record.vector, [0.1, 0.2]);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The vector, of any [`Element`](crate::Element) exactly as the collection keeps it (bits as 0 and 1): of `f32` bit for bit as it
    /// was put, of `f16` and `bf16` as it was rounded.
    pub vector: Vec<f32>,
    /// The payload.
    pub payload: Vec<u8>,
    /// The tags.
    pub tags: Tags,
}

impl Record {
    /// What the slot of a row that [there is](check_slot) holds, with what the row does.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the tags are none.
    pub(crate) fn read(index: &Index, row: RowRef<'_>) -> Result<Self> {
        Ok(Self { vector: index.decoded(row.slot), payload: row.payload.to_vec(), tags: row.read_tags()? })
    }
}

/// A slot that the catalogue names must exist.
pub(crate) fn check_slot(index: &Index, slot: u32) -> Result<()> {
    let next = index.next_slot();
    if slot < next {
        return Ok(());
    }
    let what = format!("it names slot {slot} of collection {}, which has {next}", index.id());
    Err(Error::Corrupt { file: lodestore_wal::names::CATALOG.into(), offset: 0, what })
}
