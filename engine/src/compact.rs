//! A collection without its dead slots: its live records in a new generation of its files.
//!
//! First what is dead is unlinked (`sweep`). Then the live slots are numbered anew, breadth first from the entry point
//! over the links of level 0, so that what a walk reads together lies together, and their lists are written with the new
//! numbers: a few passes over all links and one over all vectors, far less than building. Only where most slots were dead
//! all are linked anew.
//!
//! A node keeps its level. So a slot's level is what its id says; that new slots get theirs by a hash of their number
//! is for those who give it out.

use crate::heads::Head;
use crate::index::{Entry, Index};
use crate::search::END;
use crate::sums::Sums;
use crate::view::PageImage;
use lodestore_wal::{Disk, PAGE, Result};
use rayon::ThreadPool;
use std::sync::atomic::Ordering;

/// Nodes after which it is worth looking how much has been done.
const AT_ONCE: usize = 4096;
/// Where fewer than one slot in so many is alive, the graph is built anew: mended in one go, it finds less (of 5,000 sentence
/// vectors with 80 % removed, recall@10 at ef 16 0.9675 instead of 0.9815; with 60 %, 0.9575 and 0.9595).
const WORTH_MENDING: usize = 3;
/// Not a slot: of a dead one, its new number.
const GONE: u32 = u32::MAX;

/// How a collection is to be compacted.
pub struct Compacting<'a> {
    /// Where its files are.
    pub disk: &'a dyn Disk,
    /// The store.
    pub uuid: [u8; 16],
    /// Threads that share the work. What comes out is the same as without.
    pub pool: Option<&'a ThreadPool>,
    /// Called with the steps done and those there are.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

impl std::fmt::Debug for Compacting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compacting").field("disk", &self.disk).field("pool", &self.pool).finish_non_exhaustive()
    }
}

fn link_all(new: &Index, slots: &[u32], pool: Option<&ThreadPool>) -> Result<()> {
    match pool {
        Some(pool) => pool.install(|| new.link_many(slots, 0, true)),
        None => new.link_many(slots, 0, false),
    }
}

impl Index {
    /// Writes the live records into the next generation of the files, durable when this returns; nothing names it yet.
    /// Nobody writes meanwhile, all slots are linked and all pages are in their files; searches go on.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if a slot or a page is damaged; of the disk. This index has not
    /// changed; [`remove_generation`](crate::remove_generation) removes what there is of the new one.
    pub fn compact(&self, how: Compacting<'_>) -> Result<Index> {
        let Compacting { disk, uuid, pool, progress } = how;
        if disk.is_persistent() {
            self.check_pages()?;
        }
        let mut sweep = self.begin_sweep(u64::MAX);
        self.sweep(&mut sweep, u32::MAX)?;
        let lost = self.end_sweep(sweep)?;
        self.relink(&lost)?;
        let order = self.walk_order();
        let (mut done, all) = (0, 2 * order.len() as u64);
        let mut told = |more: usize| {
            let before = done;
            done += more as u64;
            // Often enough for people.
            if before / AT_ONCE as u64 != done / AT_ONCE as u64 || done == all {
                progress(done, all);
            }
        };
        let new = self.next_generation(disk, uuid, &order, || told(1))?;
        if order.len() < self.limit() as usize / WORTH_MENDING {
            link_all(&new, &(0..order.len() as u32).collect::<Vec<_>>(), pool)?;
            told(order.len());
        } else {
            self.move_lists(&new, &order, told)?;
        }
        new.settle_generation(disk)?;
        Ok(new)
    }

    /// Writes the lists of the live slots, which have live ones only, with their new numbers.
    fn move_lists(&self, new: &Index, order: &[u32], mut told: impl FnMut(usize)) -> Result<()> {
        let mut moved = vec![GONE; self.limit() as usize];
        for (&slot, place) in order.iter().zip(0..) {
            moved[slot as usize] = place;
        }
        let moved = |slot: u32| moved.get(slot as usize).copied().filter(|&slot| slot != GONE);
        for (&slot, place) in order.iter().zip(0..) {
            for level in 0..=self.id_of(slot).level {
                new.write_list(place, level, self.neighbours(slot, level).filter_map(moved))?;
            }
            if (place as usize).is_multiple_of(AT_ONCE) {
                new.settle_some()?;
            }
            told(1);
        }
        let entry = self.entry().and_then(|entry| Some(Entry { slot: moved(entry.slot)?, level: entry.level }));
        new.set_entry(entry);
        Ok(())
    }

    /// The slots, given out or not any more or not yet, whose id says `key`.
    pub fn slots_with(&self, key: u64) -> Vec<u32> {
        (0..self.ids.slots() as u32).filter(|&slot| self.id_of(slot).key == key && self.id_of(slot).lsn != 0).collect()
    }

    /// Compares the pages of lists and tombstones with their checksums.
    fn check_pages(&self) -> Result<()> {
        let head = self.recorded.lock().unwrap_or_default();
        let slots = u64::from(head.next_slot);
        let Head { next_upper, .. } = head;
        let covered = [slots, u64::from(next_upper), crate::index::tomb_words(slots)];
        for (segment, slots) in self.arrays().into_iter().zip(covered) {
            let pages = segment.pages_for(slots);
            Sums::covering(segment.array(), pages).try_for_each(|page| self.sums.read(page).map(drop))?;
            let mut image: PageImage = Box::new([0; PAGE]);
            for page in 0..pages {
                segment.file().read_at(page * PAGE as u64, &mut image[..])?;
                self.sums.check(segment.array(), page, &image, segment.file().path())?;
            }
        }
        Ok(())
    }

    /// The live slots, breadth first from the entry point, and from the first that is left when a walk has ended.
    fn walk_order(&self) -> Vec<u32> {
        let limit = self.limit();
        let mut seen = vec![false; limit as usize];
        let mut order: Vec<u32> = Vec::with_capacity(limit as usize);
        let entry = self.entry().map(|entry| entry.slot).filter(|&slot| slot < limit);
        let mut at = 0;
        for start in entry.into_iter().chain(0..limit) {
            if !std::mem::replace(&mut seen[start as usize], true) {
                order.push(start);
            }
            while let Some(&slot) = order.get(at) {
                at += 1;
                for next in self.neighbours(slot, 0).filter(|&n| n < limit) {
                    if !std::mem::replace(&mut seen[next as usize], true) {
                        order.push(next);
                    }
                }
            }
        }
        order.retain(|&slot| !self.is_dead(slot));
        order
    }

    /// Writes a list, every word of it.
    fn write_list(&self, slot: u32, level: u8, neighbours: impl Iterator<Item = u32>) -> Result<()> {
        let Some((segment, place)) = self.list_place(slot, level) else { return Ok(()) };
        segment.touch(place)?;
        for (word, value) in segment.words(place).iter().zip(neighbours.chain(std::iter::repeat(END))) {
            word.store(value, Ordering::Release);
        }
        Ok(())
    }
}
