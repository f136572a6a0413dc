//! Records that are deleted for now: the soft form of removal.

use crate::collection::Collection;
use crate::error::Result;
use crate::key::{AsKey, Key, RowKey};
use crate::record::{Record, check_slot};
use crate::write::{Action, Change};

impl<K: Key + ?Sized> Collection<K> {
    /// Marks a key's record as deleted: as if it were removed, but it keeps its slot, its links, its vector and its
    /// payload, and [`unmark_deleted`](Self::unmark_deleted) brings it back. Until then no search that starts after this
    /// returns it, [`get`](Self::get), [`payload`](Self::payload), [`links`](Self::links) and
    /// [`contains`](Self::contains) say that there is none, and [`len`](Self::len) does not count it. A put replaces it,
    /// a removal removes it for good, compacting keeps it. Searches walk through marked records, so what is not to come
    /// back should be removed.
    ///
    /// Says whether there was such a record: false of a key without one, or whose record is marked already.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"one")?;
    /// assert!(docs.mark_deleted(1)? && !docs.mark_deleted(1)?);
    /// assert!(docs.get(1)?.is_none() && docs.is_marked_deleted(1)?);
    /// assert!(docs.unmark_deleted(1)?);
    /// assert_eq!(docs.get(1)?.unwrap().payload, b"one");
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn mark_deleted(&self, key: impl AsKey<K>) -> Result<bool> {
        let key = self.row_key(key, 0)?;
        let change = Change { target: &self.open, key, action: Action::Mark };
        Ok(self.shared().write(&[change])?[0])
    }

    /// Brings a record back that was [marked as deleted](Self::mark_deleted). Says whether there was one.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn unmark_deleted(&self, key: impl AsKey<K>) -> Result<bool> {
        let key = self.row_key(key, 0)?;
        let change = Change { target: &self.open, key, action: Action::Unmark };
        Ok(self.shared().write(&[change])?[0])
    }

    /// Whether a key has a record that is [marked as deleted](Self::mark_deleted).
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn is_marked_deleted(&self, key: impl AsKey<K>) -> Result<bool> {
        self.shared().check_open()?;
        let key = RowKey::of::<K>(self.open.id, &key);
        self.open.reading(|index| {
            let Some(slot) = self.shared().catalog.slot(&key)? else { return Ok(false) };
            check_slot(index, slot)?;
            Ok(index.is_marked(slot))
        })
    }

    /// The record of a key that is [marked as deleted](Self::mark_deleted); `None` if there is none, or it is not marked.
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn get_marked(&self, key: impl AsKey<K>) -> Result<Option<Record>> {
        self.record(key, true)
    }
}
