//! Which record of a key is the last one, and whether it was removed.
//!
//! Every record has an LSN, wherever it is found, and the highest one counts. What says that a record was removed:
//!
//! 1. the log, by a later record of its key;
//! 2. a whole catalogue, as far as it has got: what it has no row for is not there;
//! 3. a tombstone, for a slot that the last checkpoint covers.
//!
//! A record that is marked as deleted has a tombstone, too; a whole catalogue and the log tell it from a removed one, and it
//! is kept with its mark. Without a whole catalogue it is taken for removed, unless the log has it.
//!
//! If none of the three can be asked, a record is kept, and the report says that it may have been removed.

use super::sources::{Segments, Sources};
use crate::catalog::{Beside, RawKey, Row};
use lodestore_engine::{Head, Id};
use std::collections::HashSet;

/// Where a record's vector and payload are.
#[derive(Clone, Debug)]
pub(super) enum Choice {
    /// In the log.
    Logged,
    /// In a slot; what is beside the vector, if it is known; whether it is certain that the record was not removed.
    Slot { slot: u32, id: Id, beside: Option<Beside>, certain: bool },
    /// In this slot, which is not what it was.
    Lost { slot: u32 },
}

/// The keys of one collection and what to take for each, in an order that does not depend on chance.
pub(super) fn choose(
    sources: &Sources,
    segments: Option<&Segments>,
    collection: u32,
    head: Option<Head>,
) -> Vec<(RawKey, Choice)> {
    let mut keys: HashSet<&RawKey> = HashSet::new();
    let of_this = |key: &&RawKey| key.starts_with(&collection.to_be_bytes());
    keys.extend(sources.events.keys().filter(of_this));
    keys.extend(sources.rows.of.keys().filter(of_this));
    keys.extend(segments.iter().flat_map(|segments| segments.slots.keys()));
    let mut keys: Vec<&RawKey> = keys.into_iter().collect();
    keys.sort_unstable();
    let chooser = Chooser { sources, segments, collection, head };
    let chosen = keys.into_iter().filter_map(|key| Some((key.clone(), chooser.of(key)?)));
    let mut chosen: Vec<_> = chosen.collect();
    // As they lay, so that what is read is read in order.
    chosen.sort_by_key(|(_, choice)| match choice {
        Choice::Logged => u64::MAX,
        Choice::Slot { slot, .. } | Choice::Lost { slot } => u64::from(*slot),
    });
    chosen
}

struct Chooser<'a> {
    sources: &'a Sources,
    segments: Option<&'a Segments>,
    collection: u32,
    head: Option<Head>,
}

impl Chooser<'_> {
    fn of(&self, key: &RawKey) -> Option<Choice> {
        let logged = self.sources.events.get(key);
        let logged_lsn = logged.map_or(0, |event| event.lsn);
        let newest = self.newest_slot(key);
        let newest_lsn = newest.map_or(0, |(id, ..)| id.lsn);
        let is_loaded = |id: &Id| self.sources.loaded.get(&self.collection).is_some_and(|&lsn| id.lsn <= lsn);
        let nothing = |id: &Id, slot| is_loaded(id).then(|| Beside::of(&Row::new(slot, &[])));
        if let Some(applied) = self.sources.rows.complete {
            // Beyond the catalogue the log decides, and a slot where the log cannot.
            if newest_lsn > applied.max(logged_lsn) {
                return newest.map(|(id, slot, dead)| self.slot(id, slot, nothing(&id, slot), dead.is_some()));
            }
            if logged_lsn > applied {
                return logged.filter(|event| event.put.is_some()).map(|_| Choice::Logged);
            }
            let row = self.sources.rows.of.get(key)?.first()?.clone();
            return self.of_row(key, row, newest);
        }
        if logged_lsn >= newest_lsn {
            return logged.filter(|event| event.put.is_some()).map(|_| Choice::Logged);
        }
        newest.map(|(id, slot, dead)| {
            let beside = self.sources.rows.beside(key, slot).or_else(|| nothing(&id, slot));
            self.slot(id, slot, beside, dead.is_some())
        })
    }

    fn slot(&self, id: Id, slot: u32, beside: Option<Beside>, certain: bool) -> Choice {
        Choice::Slot { slot, id, beside, certain }
    }

    /// What a row of a whole catalogue says, of which nothing newer is known.
    fn of_row(&self, key: &RawKey, row: Row, newest: Option<(Id, u32, Option<bool>)>) -> Option<Choice> {
        let slot = row.slot;
        let is_its = |of: &[(Id, u32)]| of.iter().find(|(_, other)| *other == slot).map(|(id, _)| *id);
        // The id tells, too, when the file of keys is damaged.
        let by_id = |segments: &Segments| {
            let id = *segments.ids.get(&slot)?;
            segments.salvage.may_be(&id, &key[4..]).then_some(id)
        };
        let at_row = self
            .segments
            .and_then(|segments| segments.slots.get(key).and_then(|of| is_its(of)).or_else(|| by_id(segments)));
        if let Some(id) = at_row {
            // A later removal whose log record is gone left its tombstone.
            let marked = self.sources.is_marked((self.collection, slot), key);
            if self.covered(&id) && !marked && !self.sources.missing.is_empty() && self.is_dead(slot) == Some(true) {
                return newest
                    .filter(|(newer, ..)| newer.lsn > id.lsn)
                    .map(|(id, slot, dead)| self.slot(id, slot, None, dead.is_some()));
            }
            return Some(self.slot(id, slot, Some(Beside::of(&row)), true));
        }
        let logged = self.sources.events.get(key).and_then(|event| event.put.as_ref());
        if logged.is_some_and(|put| put.slot == slot) {
            return Some(Choice::Logged);
        }
        // A catalogue from before a compaction names the slots of the files before it.
        let moved = self.sources.compacted.get(&self.collection);
        if moved.is_some_and(|(lsn, _)| Some(*lsn) > self.sources.rows.complete)
            && let Some(&(id, slot)) = self.segments.and_then(|segments| segments.slots.get(key)?.first())
        {
            return Some(self.slot(id, slot, Some(Beside::of(&row)), true));
        }
        Some(Choice::Lost { slot })
    }

    /// The newest slot of a key that counts and is not known to be dead, with what is known of that.
    fn newest_slot(&self, key: &RawKey) -> Option<(Id, u32, Option<bool>)> {
        let of = self.segments?.slots.get(key)?;
        for &(id, slot) in of {
            // Behind the last checkpoint the log says what counts, if it can.
            if !self.covered(&id) && !self.sources.is_missing(id.lsn) {
                continue;
            }
            if self.head.is_some_and(|head| slot >= head.next_slot) && !self.sources.is_missing(id.lsn) {
                continue;
            }
            let dead = if self.covered(&id) { self.is_dead(slot) } else { Some(false) };
            if dead != Some(true) {
                return Some((id, slot, dead));
            }
        }
        None
    }

    fn covered(&self, id: &Id) -> bool {
        let loaded = self.sources.loaded.get(&self.collection).is_some_and(|&lsn| id.lsn <= lsn);
        loaded || self.sources.ckpt_lsn.is_none_or(|covered| id.lsn <= covered)
    }

    fn is_dead(&self, slot: u32) -> Option<bool> {
        self.segments?.salvage.is_dead(&self.sources.overlay, slot)
    }
}
