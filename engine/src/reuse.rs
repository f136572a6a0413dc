//! Slots that hold no vector any more, and how they get another one.
//!
//! # Format of a free slot
//!
//! Its bit in `tombs` is set, and its level-0 list, to which no list refers, says what the next vector there has to
//! know: word 0 is [`FREE`], word 1 the end mark, word 2 the complement of the number of the node's first upper list,
//! word 3 that of its level. (So none of them is a slot, to a search that has begun to read the list before.) Lists are
//! in whole cache lines, so the words are there whatever M is. Its vector, code and id are not to be looked at: a crash
//! may have left half of what was to be put there.

use crate::index::{Index, Place};
use crate::readers::{Reading, Seat};
use crate::search::END;
use lodestore_wal::Result;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Begins the list of a free slot. No slot has this number, so searches skip it.
pub(crate) const FREE: u32 = u32::MAX - 1;

/// As [`Reading`], for whoever keeps the index, too.
#[derive(Debug)]
pub struct OwnedReading {
    index: Arc<Index>,
    seat: Seat,
}

impl Drop for OwnedReading {
    fn drop(&mut self) {
        self.index.readers.leave(&self.seat);
    }
}

impl Index {
    /// As [`reading`](Self::reading), for as long as it is wanted.
    pub fn reading_owned(index: &Arc<Self>) -> OwnedReading {
        OwnedReading { seat: index.readers.enter(), index: index.clone() }
    }

    /// Counts the caller as a reader until the result is dropped. What it learns of slots meanwhile, from links or from
    /// the catalogue, stays so: none of them gets another vector.
    pub fn reading(&self) -> Reading<'_> {
        self.readers.begin()
    }

    /// Slots that are free, ready for use or not yet.
    pub fn free(&self) -> u64 {
        self.free_count.load(Ordering::Acquire)
    }

    /// What a free slot has; `None` if it is not free.
    pub fn free_place(&self, slot: u32) -> Option<Place> {
        if slot >= self.next_slot() || !self.is_dead(slot) {
            return None;
        }
        let words = self.links.words(slot);
        let word = |at: usize| words[at].load(Ordering::Acquire);
        let (upper, level) = (!word(2), !word(3));
        let fits = u64::from(upper) + u64::from(level) <= u64::from(self.next_upper());
        (word(0) == FREE && fits).then(|| Place { slot, level: level.min(255) as u8, upper })
    }

    /// The free slots that may be used now, lowest first, up to `count`. Called under the sequencer.
    pub(crate) fn reusable(&self, count: usize) -> Vec<Place> {
        if self.free() == 0 {
            return Vec::new();
        }
        let is_free = |slot| self.free_place(slot).is_some();
        let mut free_slots = self.free_slots.lock();
        let slots = free_slots.ready(count, &self.readers, is_free);
        // One that is not free after all must not stand before the others for ever.
        let place = |slot| {
            self.free_place(slot).or_else(|| {
                free_slots.take(slot);
                None
            })
        };
        slots.into_iter().filter_map(place).collect()
    }

    /// Announces that a slot given out before is to be used again.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if the page of tombstones, or of its list, is damaged.
    pub fn announce(&self, slot: u32) -> Result<()> {
        self.links.touch(slot)?;
        self.tombs.touch(slot / 32)
    }

    /// Gives a free slot out again, after [`announce`](Self::announce).
    pub(crate) fn revive(&self, slot: u32) {
        self.free_slots.lock().take(slot);
        // It must not seem free if it is buried before it is linked, as recovery does.
        self.links.words(slot)[0].store(END, Ordering::Release);
        self.tombs.words(slot / 32)[0].fetch_and(!(1 << (slot % 32)), Ordering::AcqRel);
        self.free_count.fetch_sub(1, Ordering::AcqRel);
        self.reused.note(slot);
    }

    /// Says that what was unlinked so far is so durably by checkpoint `number`, or needs none; and that no other process
    /// looks at a checkpoint before `oldest`.
    pub fn settle_free(&self, number: u64, oldest: u64) {
        self.free_slots.lock().durable(number, oldest);
    }

    /// As [`settle_free`](Self::settle_free), for what was free when the index was opened, after checkpoint `number`. Called
    /// before anything is put.
    pub fn opened_at(&self, number: u64, oldest: u64) {
        self.free_slots.lock().opened(number, oldest);
    }

    /// Makes dead slots that nothing refers to free. The caller holds the gate for reading.
    pub(crate) fn set_free(&self, slots: &[u32]) -> Result<()> {
        slots.iter().try_for_each(|&slot| self.links.touch(slot))?;
        // Before they can be seen to be free: whoever looks for slots that were free at opening would take them for such.
        self.free_slots.lock().unlinked(slots.iter().copied());
        for &slot in slots {
            let (id, words) = (self.id_of(slot), self.links.words(slot));
            for (word, value) in words.iter().zip([FREE, END, !id.upper, !u32::from(id.level)]) {
                word.store(value, Ordering::Release);
            }
            self.repack(slot, 0);
        }
        self.free_count.fetch_add(slots.len() as u64, Ordering::AcqRel);
        self.dead.fetch_sub(slots.len() as u64, Ordering::AcqRel);
        Ok(())
    }
}
