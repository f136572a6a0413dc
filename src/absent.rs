//! Whether anything is left of a key.

use crate::error::Result;
use crate::key::{RowKey, shown};
use crate::op::{Op, Put};
use crate::shared::{Open, Shared};
use lodestore_engine::StoredKey;
use lodestore_wal::log::Commit;
use lodestore_wal::{LogScan, names};
use std::sync::Arc;

/// What [`Store::verify_absent`](crate::Store::verify_absent) found.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// store.collection::<u64>("docs").dim(2).open_or_create()?;
/// let report = store.verify_absent(7, None)?;
/// assert!(report.absent() && report.found.is_empty());
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AbsentReport {
    /// Slots looked at, those of removed records included.
    pub slots: u64,
    /// Log records looked at.
    pub log_records: u64,
    /// Where the key is still found, one sentence each.
    pub found: Vec<String>,
}

impl AbsentReport {
    /// Whether nothing is left of the key.
    pub fn absent(&self) -> bool {
        self.found.is_empty()
    }

    /// Of these collections, or those of them that have keys of this type.
    pub(crate) fn of(shared: &Shared, key: StoredKey<'_>, mut opens: Vec<Arc<Open>>) -> Result<Self> {
        shared.check_open()?;
        // It has neither the log nor the files that compacting has left.
        shared.check_writes()?;
        opens.retain(|open| open.index().geometry().key.in_id() == matches!(key, StoredKey::Number(_)));
        let mut report = Self::default();
        // Neither slots nor files change meanwhile.
        let _checkpointing = shared.checkpointing.lock();
        let _gate = shared.gate.write();
        for open in &opens {
            report.look_at(shared, open, key)?;
        }
        report.look_at_log(shared, &opens, key)?;
        Ok(report)
    }

    fn look_at(&mut self, shared: &Shared, open: &Open, key: StoredKey<'_>) -> Result<()> {
        let (index, name, named) = (open.index(), &open.name, shown(key));
        if shared.catalog.slot(&RowKey::new(open.id, key))?.is_some() {
            self.found.push(format!("collection '{name}' has a record of key {named}"));
        }
        self.slots += u64::from(index.next_slot());
        for slot in index.slots_with(key) {
            let state = if slot >= index.next_slot() || index.is_dead(slot) { "removed" } else { "live" };
            self.found.push(format!("collection '{name}': slot {slot}, a {state} one, has key {named}"));
        }
        for unit in index.key_units(key) {
            self.found.push(format!("collection '{name}': unit {unit} of its keys is key {named}"));
        }
        let dirs = shared.disk.list(names::COLLECTIONS_DIR)?.into_iter();
        for path in dirs.map(|dir| format!("{}/{dir}", names::COLLECTIONS_DIR)) {
            if names::parse_collection_dir(&path)
                .is_some_and(|(id, generation)| id == open.id && generation != index.generation())
            {
                self.found.push(format!("collection '{name}': files of another generation are still in {path}"));
            }
        }
        Ok(())
    }

    fn look_at_log(&mut self, shared: &Shared, opens: &[Arc<Open>], key: StoredKey<'_>) -> Result<()> {
        if !shared.disk.is_persistent() {
            return Ok(());
        }
        if let Some(log) = shared.log_if_any() {
            log.commit(log.last_lsn(), Commit::Synced)?;
        }
        LogScan::open_all(shared.disk.clone(), shared.uuid)?.replay(|record| {
            self.log_records += 1;
            let (collection, of) = match Op::decode(&record)? {
                Some(
                    Op::Put(Put { collection, key, .. })
                    | Op::Remove { collection, key, .. }
                    | Op::SetPayload { collection, key, .. }
                    | Op::SetTags { collection, key, .. },
                ) => (collection, key),
                _ => return Ok(()),
            };
            if of.stored() == key
                && let Some(open) = opens.iter().find(|open| open.id == collection)
            {
                let (name, file, lsn, key) = (&open.name, record.file, record.lsn, shown(key));
                self.found.push(format!("collection '{name}': log record {lsn} in {file} names key {key}"));
            }
            Ok(())
        })
    }
}
