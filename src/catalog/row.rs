//! A record's row, as it is kept in memory and in redb.
//!
//! # Format
//!
//! CRC, the slot u32 LE, the payload. If the slot's highest bit is set, which no slot has, there are tags before the
//! payload: their bytes u16 LE, and they (`src/tags.rs`).

use super::{damaged, seal, unsealed};
use crate::error::Result;
use crate::tags::Tags;
use std::sync::Arc;

const TAGGED: u32 = 1 << 31;

/// Where a record is, and what is kept of it besides its vector.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) slot: u32,
    /// Encoded. `None`: there are none.
    pub(crate) tags: Option<Arc<[u8]>>,
    pub(crate) payload: Arc<[u8]>,
}

impl Row {
    /// Without tags.
    pub(crate) fn new(slot: u32, payload: &[u8]) -> Self {
        Self { slot, tags: None, payload: payload.into() }
    }

    /// Its tags, decoded.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if they are none.
    pub(crate) fn read_tags(&self) -> Result<Tags> {
        self.as_ref().read_tags()
    }

    pub(crate) fn tags(&self) -> &[u8] {
        self.tags.as_deref().unwrap_or_default()
    }

    pub(crate) fn as_ref(&self) -> RowRef<'_> {
        RowRef { slot: self.slot, tags: self.tags(), payload: &self.payload }
    }
}

/// As [`Row`], where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowRef<'a> {
    pub(crate) slot: u32,
    pub(crate) tags: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> RowRef<'a> {
    pub(crate) fn decode(key: &[u8], value: &'a [u8]) -> Result<Self> {
        let short = || damaged(format!("a record of {} bytes", value.len()));
        let (slot, rest) = unsealed(key, value)?.split_first_chunk::<4>().ok_or_else(short)?;
        let slot = u32::from_le_bytes(*slot);
        if slot & TAGGED == 0 {
            return Ok(Self { slot, tags: &[], payload: rest });
        }
        let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let parts = rest.split_at_checked(u16::from_le_bytes(*length).into());
        let (tags, payload) = parts.ok_or_else(short)?;
        Ok(Self { slot: slot & !TAGGED, tags, payload })
    }

    /// Whether a value seems to be of a record with tags; its checksum is not looked at.
    pub(crate) fn has_tags(value: &[u8]) -> bool {
        value.get(7).is_some_and(|last| last & 0x80 != 0)
    }

    /// The value that redb has for it.
    pub(crate) fn encode(self, key: &[u8], value: &mut Vec<u8>) {
        if self.tags.is_empty() {
            seal(value, key, &[&self.slot.to_le_bytes(), self.payload]);
        } else {
            let (slot, length) = (self.slot | TAGGED, self.tags.len() as u16);
            seal(value, key, &[&slot.to_le_bytes(), &length.to_le_bytes(), self.tags, self.payload]);
        }
    }

    /// As [`Row::read_tags`].
    pub(crate) fn read_tags(self) -> Result<Tags> {
        Tags::decode(self.tags).ok_or_else(|| damaged(format!("the tags of the record in slot {}", self.slot)))
    }

    pub(crate) fn owned(self) -> Row {
        let tags = (!self.tags.is_empty()).then(|| self.tags.into());
        Row { slot: self.slot, tags, payload: self.payload.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written_and_cut_ones_are_refused() {
        let mut value = Vec::new();
        for (tags, payload) in [(&b""[..], &b""[..]), (b"", b"text"), (b"tags", b""), (b"tags", b"text")] {
            let row = RowRef { slot: 7, tags, payload };
            row.encode(b"key", &mut value);
            assert_eq!(RowRef::decode(b"key", &value).unwrap(), row);
            assert!(RowRef::decode(b"other", &value).is_err());
        }
        let (slot, content) = (7 | TAGGED, [9, 0, 1]);
        for end in 0..content.len() {
            seal(&mut value, b"key", &[&slot.to_le_bytes(), &content[..end]]);
            assert!(RowRef::decode(b"key", &value).is_err());
        }
    }
}
