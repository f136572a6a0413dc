//! Opening collections.

use crate::budget::Budget;
use crate::catalog::NameEntry;
use crate::error::{Error, Result};
use crate::options::{Residency, StoreOptions};
use crate::shared::{Open, Shared};
use lodestore_engine::{Heads, Index, Metrics, Super};
use lodestore_wal::{Disk, names};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Shared {
    /// The collection of that name, opened if it was not yet.
    pub(crate) fn open_collection(&self, name: &str) -> Result<Arc<Open>> {
        self.check_open()?;
        let entry = self.catalog.name(name).ok_or_else(|| Error::NoCollection {
            name: name.to_owned(),
            store: self.path.display().to_string(),
            present: self.catalog.names().into_keys().collect::<Vec<_>>().join(", "),
        })?;
        if let Some(open) = self.open.read().get(&entry.id) {
            return Ok(open.clone());
        }
        let mut all = self.open.write();
        if let Some(open) = all.get(&entry.id) {
            return Ok(open.clone());
        }
        let state = self.superblock.lock().1;
        let open = open_collection(&*self.disk, &state, &self.heads, (name, entry), &self.options.metrics)?;
        open.index().opened_at(state.done, self.oldest_reader.load(Ordering::Acquire));
        open.index().load_marks(&self.catalog.marks(entry.id)?)?;
        reside(&open.index(), &self.options)?;
        all.insert(entry.id, open.clone());
        drop(all);
        self.review_budget();
        Ok(open)
    }
}

/// Brings into memory what is to be there. Nobody uses the index yet.
pub(crate) fn reside(index: &Index, options: &StoreOptions) -> Result<()> {
    let room = options.memory.map_or(u64::MAX, Budget::hot);
    let (residency, hot) = (options.residency, index.hot_bytes());
    if residency != Residency::Mapped && hot <= room {
        index.make_resident();
    }
    if residency == Residency::Packed && hot.saturating_add(index.packed_estimate()) <= room {
        index.pack()?;
    }
    Ok(())
}

/// Opens a collection's files as the last checkpoint left them. What is marked as deleted is for the caller to load.
pub(crate) fn open_collection(
    disk: &dyn Disk,
    state: &Super,
    heads: &Heads,
    (name, entry): (&str, NameEntry),
    metrics: &Metrics,
) -> Result<Arc<Open>> {
    let head = heads.read(entry.id)?;
    // A collection that the last checkpoint knew has a head; without one its records would seem never to have been.
    let known = entry.created <= state.ckpt_lsn;
    if known && head.is_none_or(|head| head.created != entry.created) {
        let what = format!("collection '{name}' was made by record {}, its head says {head:?}", entry.created);
        return Err(Error::Corrupt { file: names::HEADS.into(), offset: u64::from(entry.id) * 128, what });
    }
    let head = if known { head } else { None };
    let index = Index::open_with(disk, state.uuid, (entry.id, entry.created), head, metrics)?;
    Ok(Arc::new(Open::new(name.to_owned(), index)))
}
