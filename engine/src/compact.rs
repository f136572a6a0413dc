//! A collection without its dead slots: its records, marked ones included, in a new generation of its files.
//!
//! First what is dead is unlinked (`sweep`). Then the live slots are numbered anew, breadth first from the entry point
//! over the links of level 0, so that what a walk reads together lies together, and their lists are written with the new
//! numbers: a few passes over all links and one over all vectors, far less than building. That is so however few are
//! alive: of 5,000 sentence vectors with 80 % removed, recall@10 at ef 64 is 0.9975, of a fresh build 1.0, for 562 and
//! 638 distances.
//!
//! A node keeps its level. So a slot's level is what its id says; that new slots get theirs by a hash of their number
//! is for those who give it out.

use crate::index::{Entry, Index};
use crate::scratch::SlotSet;
use lodestore_wal::{Disk, Result};

/// Nodes after which it is worth looking how much has been done.
const AT_ONCE: u64 = 4096;
/// Not a slot: of a dead one, its new number.
const GONE: u32 = u32::MAX;

impl Index {
    /// Writes the live records into the next generation of the files, durable when this returns; nothing names it yet.
    /// Nobody writes meanwhile, all slots are linked and all pages are in their files; searches go on. `progress` is
    /// called with the steps done and those there are.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if a slot or a page is damaged; of the disk. What is dead may be
    /// unlinked then; [`remove_generation`](crate::remove_generation) removes what there is of the new files.
    pub fn compact(&self, disk: &dyn Disk, uuid: [u8; 16], progress: &mut dyn FnMut(u64, u64)) -> Result<Index> {
        if disk.is_persistent() {
            self.check_pages(|checked| checked)?;
        }
        let mut sweep = self.begin_sweep(u64::MAX);
        self.sweep(&mut sweep, u32::MAX)?;
        let lost = self.end_sweep(sweep)?;
        self.relink(&lost)?;
        let order = self.walk_order();
        let (mut done, all) = (0, 2 * order.len() as u64);
        let mut told = || {
            done += 1;
            // Often enough for people.
            if done % AT_ONCE == 0 || done == all {
                progress(done, all);
            }
        };
        let new = self.next_generation(disk, uuid, &order, &mut told)?;
        self.move_lists(&new, &order, told)?;
        new.mark_new((0..).zip(&order).filter(|(_, slot)| self.is_marked(**slot)).map(|(place, _)| place))?;
        new.settle_generation(disk)?;
        Ok(new)
    }

    /// Writes the lists of the live slots, which have live ones only, with their new numbers.
    fn move_lists(&self, new: &Index, order: &[u32], mut told: impl FnMut()) -> Result<()> {
        let mut moved = vec![GONE; self.limit() as usize];
        for (&slot, place) in order.iter().zip(0..) {
            moved[slot as usize] = place;
        }
        let moved = |slot: u32| moved.get(slot as usize).copied().filter(|&slot| slot != GONE);
        for (&slot, place) in order.iter().zip(0..) {
            for level in 0..=self.id_of(slot).level {
                new.store_list(place, level, self.neighbours(slot, level).filter_map(moved))?;
            }
            if u64::from(place).is_multiple_of(AT_ONCE) {
                new.settle_some()?;
            }
            told();
        }
        let entry = self.entry().and_then(|entry| Some(Entry { slot: moved(entry.slot)?, level: entry.level }));
        new.set_entry(entry);
        Ok(())
    }

    /// The slots with a record, breadth first from the entry point, and from the first that is left when a walk has ended.
    fn walk_order(&self) -> Vec<u32> {
        let limit = self.limit();
        let mut seen = SlotSet::below(limit);
        let mut order: Vec<u32> = Vec::with_capacity(limit as usize);
        let entry = self.entry().map(|entry| entry.slot).filter(|&slot| slot < limit);
        let mut at = 0;
        for start in entry.into_iter().chain(0..limit) {
            if seen.add(start) {
                order.push(start);
            }
            while let Some(&slot) = order.get(at) {
                at += 1;
                for next in self.neighbours(slot, 0).filter(|&n| n < limit) {
                    if seen.add(next) {
                        order.push(next);
                    }
                }
            }
        }
        order.retain(|&slot| !self.is_gone(slot));
        order
    }
}
