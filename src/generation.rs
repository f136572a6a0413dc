//! Generations of a collection's files: which one holds, and which ones are left over.

use crate::catalog::{Catalog, remove_leftover};
use crate::error::Result;
use crate::key::RowKey;
use crate::shared::Open;
use lodestore_engine::{Head, Heads, Index, Metrics, Super, remove_generation};
use lodestore_wal::{Disk, names};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Keys with their slots.
pub(crate) type Slots = Vec<(RowKey, u32)>;

/// Opens a generation that a log record names, and no checkpoint yet.
pub(crate) fn open_unnamed(disk: &dyn Disk, uuid: [u8; 16], id: u32, head: Head, metrics: &Metrics) -> Result<Index> {
    let index = Index::open_with(disk, uuid, (id, head.created), Some(head), metrics)?;
    index.set_named(false);
    Ok(index)
}

/// The keys of the first `slots` slots.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) if a key is damaged.
pub(crate) fn slots_of(index: &Index, slots: u32) -> Result<Slots> {
    let of = |slot| Ok((RowKey::new(index.id(), index.key(index.id_of(slot).key)?), slot));
    (0..slots.min(index.next_slot())).map(of).collect()
}

/// The records of a generation that was loaded, with their slots, and which of these are marked as deleted, as far as the
/// segments tell: a slot that was buried since, or used again, is taken for what a later record of the log says.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) if a key is damaged.
pub(crate) fn loaded_records(index: &Index, slots: u32) -> Result<(Slots, BTreeSet<u32>)> {
    let mut records: HashMap<u64, u32> = HashMap::new();
    let is_held = |slot: &u32| index.free_place(*slot).is_none();
    for slot in (0..slots.min(index.next_slot())).filter(is_held) {
        let other = records.entry(index.id_of(slot).key).or_insert(slot);
        if !index.is_dead(slot) || index.is_dead(*other) {
            *other = slot;
        }
    }
    let marked = records.values().copied().filter(|&slot| index.is_dead(slot)).collect();
    let row = |(raw, slot)| Ok((RowKey::new(index.id(), index.key(raw)?), slot));
    Ok((records.into_iter().map(row).collect::<Result<_>>()?, marked))
}

/// Removes what compactions have left that did not come to their end: generations that neither the last checkpoint nor
/// the log names, and a catalogue that did not take over.
pub(crate) fn sweep(
    disk: &dyn Disk,
    state: &Super,
    heads: &Heads,
    catalog: &Catalog,
    open: &HashMap<u32, Arc<Open>>,
) -> Result<()> {
    if disk.list("")?.contains(&names::tmp(names::CATALOG)) {
        remove_leftover(disk)?;
    }
    let made: HashMap<u32, u64> = catalog.names().values().map(|entry| (entry.id, entry.created)).collect();
    for name in disk.list(names::COLLECTIONS_DIR)? {
        let path = format!("{}/{name}", names::COLLECTIONS_DIR);
        let Some((id, generation)) = names::parse_collection_dir(&path) else { continue };
        // One that was never made is replaced when its number is given out.
        let Some(&created) = made.get(&id) else { continue };
        let head = if created <= state.ckpt_lsn { heads.read(id)? } else { None };
        let in_use = open.get(&id).map(|open| open.index().generation());
        if generation != head.map_or(0, |head| head.generation) && Some(generation) != in_use {
            remove_generation(disk, id, generation)?;
        }
    }
    Ok(())
}
