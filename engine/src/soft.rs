//! Tombstones, and records that are marked as deleted: no search finds them, and they may come back as they were.
//!
//! The slot of such a record is tombstoned like a dead one. Unlike that it is linked to, looked after and never unlinked.
//! Order of stores: nobody who looks at a slot meanwhile takes a marked one for a dead one.

use crate::index::Index;
use crate::marks::MarkedSlots;
use lodestore_wal::{Error, Result, names};
use std::sync::atomic::Ordering;

impl Index {
    /// Slots whose records are marked as deleted.
    pub fn marked(&self) -> u64 {
        self.marks.count()
    }

    /// Whether the record of a slot is marked as deleted.
    #[inline]
    pub fn is_marked(&self, slot: u32) -> bool {
        self.marks.has(slot)
    }

    /// The slots that are marked now.
    pub fn marked_slots(&self) -> MarkedSlots {
        self.marks.copy(self.next_slot())
    }

    /// Whether a slot holds no record any more: it is tombstoned and not only marked.
    #[inline]
    pub fn is_gone(&self, slot: u32) -> bool {
        // The mark comes before the tombstone and goes after it, so it is asked for between two looks.
        self.is_dead(slot) && !self.is_marked(slot) && self.is_dead(slot)
    }

    /// Announces that a slot given out before is to be marked, or unmarked.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if the page of tombstones is damaged.
    pub fn announce_mark(&self, slot: u32) -> Result<()> {
        self.tombs.touch(slot / 32)
    }

    /// Marks a live slot, after [`announce_mark`](Self::announce_mark). Called under the sequencer.
    pub fn mark(&self, slot: u32) {
        self.marks.set(slot);
        self.tombs.words(slot / 32)[0].fetch_or(1 << (slot % 32), Ordering::AcqRel);
        self.live.fetch_sub(1, Ordering::AcqRel);
    }

    /// Makes a marked slot live again, after [`announce_mark`](Self::announce_mark). Called under the sequencer.
    pub fn unmark(&self, slot: u32) {
        self.tombs.words(slot / 32)[0].fetch_and(!(1 << (slot % 32)), Ordering::AcqRel);
        self.marks.clear(slot);
        self.live.fetch_add(1, Ordering::AcqRel);
        self.reused.note(slot);
    }

    /// Makes a marked slot a dead one: its record is replaced or removed. Called under the sequencer.
    pub fn give_up_mark(&self, slot: u32) {
        // Counted first, as in `bury`.
        self.dead.fetch_add(1, Ordering::AcqRel);
        if !self.marks.clear(slot) {
            self.dead.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Tombstones a slot: no search that starts after this returns it. Says whether it was live.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if the page of tombstones is damaged.
    pub fn bury(&self, slot: u32) -> Result<bool> {
        self.tombs.touch(slot / 32)?;
        // Counted first, so that nobody who finds the bit set believes that there are no tombstones.
        self.dead.fetch_add(1, Ordering::AcqRel);
        let before = self.tombs.words(slot / 32)[0].fetch_or(1 << (slot % 32), Ordering::AcqRel);
        let was_live = before & (1 << (slot % 32)) == 0;
        if was_live {
            self.live.fetch_sub(1, Ordering::AcqRel);
        } else {
            self.dead.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(was_live)
    }

    /// Takes the tombstone from a dead slot again: in the log, which recovery reads before it knows what is marked, its
    /// mark was taken off. Says whether there was one.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if the page of tombstones is damaged.
    pub fn exhume(&self, slot: u32) -> Result<bool> {
        self.tombs.touch(slot / 32)?;
        let before = self.tombs.words(slot / 32)[0].fetch_and(!(1 << (slot % 32)), Ordering::AcqRel);
        let was_dead = before & (1 << (slot % 32)) != 0;
        if was_dead {
            self.reused.note(slot);
            self.live.fetch_add(1, Ordering::AcqRel);
            self.dead.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(was_dead)
    }

    /// Says which of the tombstoned slots are only marked. Nobody else uses the index yet.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if one of them is not tombstoned, or free.
    pub fn load_marks(&self, slots: &[u32]) -> Result<()> {
        for &slot in slots {
            if slot >= self.next_slot() || !self.is_dead(slot) || self.free_place(slot).is_some() {
                let what = format!("slot {slot} of collection {} is marked as deleted, and holds none such", self.id());
                return Err(Error::corrupt(names::CATALOG, 0, what));
            }
            if self.marks.set(slot) {
                self.dead.fetch_sub(1, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    /// Marks live slots of a generation that nobody uses yet.
    pub(crate) fn mark_new(&self, mut slots: impl Iterator<Item = u32>) -> Result<()> {
        slots.try_for_each(|slot| {
            self.announce_mark(slot)?;
            self.mark(slot);
            Ok(())
        })
    }
}
