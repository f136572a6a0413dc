//! What log records do to the catalogue, until it is applied.

use super::{Catalog, NameEntry, Row};
use crate::key::RowKey;
use std::sync::atomic::Ordering;

#[derive(Debug)]
pub(super) struct StagedRow {
    pub(super) lsn: u64,
    pub(super) key: RowKey,
    /// `None` = removed.
    pub(super) row: Option<Row>,
}

/// What a log record does to the catalogue.
pub(crate) enum Staging {
    /// `None` = removed. Takes the marks off these slots of the collection.
    Row { lsn: u64, key: RowKey, row: Option<Row>, unmarked: [Option<u32>; 2] },
    /// The record in a slot is marked as deleted from then on, or unmarked.
    Mark { lsn: u64, collection: u32, slot: u32, marked: bool },
}

impl Staging {
    pub(super) fn lsn(&self) -> u64 {
        match self {
            Staging::Row { lsn, .. } | Staging::Mark { lsn, .. } => *lsn,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) queue: Vec<StagedRow>,
    pub(super) names: Vec<(String, NameEntry)>,
    /// The log record, then collection, slot, and whether its record is marked from then on.
    pub(super) marks: Vec<(u64, (u32, u32, bool))>,
    pub(super) last_lsn: u64,
}

impl Staged {
    /// Takes out what log records up to `limit` do.
    pub(super) fn take(&mut self, limit: u64) -> Staged {
        /// In the order of the log.
        fn through<T>(all: &mut Vec<T>, is_taken: impl Fn(&T) -> bool) -> Vec<T> {
            let rest = all.split_off(all.partition_point(is_taken));
            std::mem::replace(all, rest)
        }
        if self.last_lsn <= limit {
            return std::mem::take(self);
        }
        Staged {
            queue: through(&mut self.queue, |row| row.lsn <= limit),
            names: through(&mut self.names, |(_, entry)| entry.created <= limit),
            marks: through(&mut self.marks, |(lsn, _)| *lsn <= limit),
            last_lsn: limit,
        }
    }
}

/// While this is there, nothing of later log records is [applied](Catalog::apply).
#[derive(Debug)]
pub(crate) struct Hold<'a>(pub(super) &'a Catalog);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.limit.store(u64::MAX, Ordering::Release);
    }
}
