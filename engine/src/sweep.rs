//! Unlinking dead nodes, so that walks need not pass through them and their slots can be used again.
//!
//! A node does not know who links to it. So dead nodes are unlinked many at a time, by a sweep over all lists; where one
//! of them was a neighbour, the nearest of its own neighbours take its place (Singh and others 2021, "FreshDiskANN",
//! section 4.2; that only so many are added as were lost, and the rest of the list left as it is, is from Xu and others
//! 2025, "In-place updates of a graph index"). Writers go on between the steps of a sweep:
//!
//! 1. [`Index::begin_sweep`], while nobody writes: notes the nodes that are dead. None of them gets a new link from then
//!    on, since inserts take no dead neighbours. If the entry point is among them, a live node takes its place.
//! 2. [`Index::sweep`], again and again: takes them out of the lists of so many slots.
//! 3. [`Index::end_sweep`]: nothing links to them any more; they are free (`reuse`).
//! 4. [`Index::relink`], while nobody writes: what cannot be reached now gets new links to it.
//!
//! Nothing of this is logged. A crash before the next checkpoint leaves the nodes dead and linked, as before.

use crate::distances::{CodePairs, ExactPairs};
use crate::index::{Entry, Index};
use crate::scratch::{Candidate, Scratch, SlotSet};
use crate::search::{Distances, Pairs};
use crate::select::fill_up;
use lodestore_wal::Result;
use std::sync::Arc;

/// Dead nodes that are looked through for replacements, at most; a removed cluster may be larger.
const THROUGH: usize = 64;
/// Replacements to choose from: so many for each,
const CHOICE: usize = 8;
/// and at least these.
const FEWEST: usize = 16;

/// A sweep under way.
#[derive(Debug)]
pub struct Sweep {
    condemned: Arc<SlotSet>,
    slots: Vec<u32>,
    /// What was free when the sweep began. What is put there meanwhile links to nothing condemned.
    free: SlotSet,
    /// The first slot whose lists were not swept yet, and the first that needs no sweeping.
    next: u32,
    limit: u32,
    /// All that the log has up to this is linked.
    lsn: u64,
    /// Nodes whose lists have become empty.
    bare: Vec<u32>,
}

impl Index {
    /// Notes the dead nodes. The caller holds the gate for writing, and `lsn` is the last record of the log.
    pub fn begin_sweep(&self, lsn: u64) -> Sweep {
        let limit = self.next_slot();
        let mut condemned = SlotSet::below(limit);
        let (mut slots, mut free) = (Vec::new(), SlotSet::below(limit));
        for slot in (0..limit).filter(|&slot| self.is_gone(slot)) {
            if self.free_place(slot).is_some() {
                free.add(slot);
            } else {
                condemned.add(slot);
                slots.push(slot);
            }
        }
        if self.entry().is_some_and(|entry| condemned.has(entry.slot)) {
            let live = (0..limit).filter(|&slot| !self.is_gone(slot));
            let highest = live.map(|slot| Entry { slot, level: self.id_of(slot).level });
            // The first of the highest.
            self.set_entry(highest.reduce(|best, next| if next.level > best.level { next } else { best }));
        }
        let condemned = Arc::new(condemned);
        *self.condemned.write() = Some(condemned.clone());
        Sweep { condemned, slots, free, next: 0, limit, lsn, bare: Vec::new() }
    }

    /// Sweeps the lists of the next `count` slots; says whether there are more. The caller holds the gate for reading.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if a page that has to change is damaged. The graph is sound then.
    pub fn sweep(&self, sweep: &mut Sweep, count: u32) -> Result<bool> {
        let end = sweep.limit.min(sweep.next.saturating_add(count));
        self.scratch.with(|scratch| {
            for slot in sweep.next..end {
                if sweep.condemned.has(slot) || sweep.free.has(slot) {
                    continue;
                }
                for level in 0..=self.id_of(slot).level {
                    self.mend(slot, level, &sweep.condemned, scratch)?;
                    if level == 0 && !self.is_gone(slot) && self.neighbours(slot, 0).next().is_none() {
                        sweep.bare.push(slot);
                    }
                }
            }
            Ok(())
        })?;
        sweep.next = end;
        Ok(end < sweep.limit)
    }

    /// Ends a sweep of all lists: says that the nodes are free. Returns the live nodes that no walk can reach,
    /// without those that were put since the sweep began. The caller holds the gate for reading.
    ///
    /// # Errors
    /// As [`sweep`](Self::sweep); the slots are not used again then.
    pub fn end_sweep(&self, sweep: Sweep) -> Result<Vec<u32>> {
        debug_assert!(sweep.next == sweep.limit);
        self.set_free(&sweep.slots)?;
        *self.condemned.write() = None;
        let mut lost = sweep.bare;
        let unreached = self.unreached(sweep.limit).into_iter();
        lost.extend(unreached.filter(|&slot| self.id_of(slot).lsn <= sweep.lsn));
        lost.sort_unstable();
        lost.dedup();
        Ok(lost)
    }

    /// Links to nodes from others that walks reach. The caller holds the gate for writing.
    ///
    /// # Errors
    /// As [`sweep`](Self::sweep).
    pub fn relink(&self, slots: &[u32]) -> Result<()> {
        let Some(entry) = self.entry() else { return Ok(()) };
        let lost = slots.iter().filter(|&&slot| slot != entry.slot && !self.is_gone(slot));
        self.scratch.with(|scratch| {
            lost.into_iter().try_for_each(|&slot| {
                let near = self.nearby(slot, self.id_of(slot).level, entry, scratch);
                // What it links to may have no other link.
                if self.neighbours(slot, 0).next().is_none() {
                    self.write_own_lists(slot, self.id_of(slot).level, &near.own)?;
                }
                self.link_back(slot, &near, scratch)
            })
        })
    }

    /// Replaces the condemned neighbours of a node.
    fn mend(&self, slot: u32, level: u8, condemned: &SlotSet, scratch: &mut Scratch) -> Result<()> {
        if !self.neighbours(slot, level).any(|n| condemned.has(n)) {
            return Ok(());
        }
        match self.codes() {
            Some(codes) => self.mend_with(slot, level, condemned, &CodePairs { codes, limit: self.limit() }, scratch),
            None => self.mend_with(slot, level, condemned, &ExactPairs(self), scratch),
        }
    }

    fn mend_with<P: Pairs>(
        &self,
        slot: u32,
        level: u8,
        condemned: &SlotSet,
        pairs: &P,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let _lock = self.lock_lists(slot);
        // Nothing in the list is beyond it then.
        let limit = self.limit();
        let mut kept: Vec<Candidate> = Vec::with_capacity(self.cap(level));
        let mut through = Vec::new();
        scratch.visited.reset(limit as usize);
        scratch.visited.note(&[slot]);
        scratch.visited.insert(slot);
        for neighbour in self.neighbours(slot, level).filter(|&n| n < limit) {
            scratch.visited.insert(neighbour);
            scratch.visited.note(&[neighbour]);
            if condemned.has(neighbour) {
                through.push(neighbour);
            } else {
                // How far it is does not matter: it stays.
                kept.push(Candidate { distance: 0.0, slot: neighbour });
            }
        }
        let room = through.len();
        let wanted = FEWEST.max(CHOICE * room);
        let mut near = self.near_by(level, condemned, (through, wanted), pairs, slot, scratch);
        if near.len() > wanted {
            near.select_nth_unstable_by(wanted, Candidate::nearer);
            near.truncate(wanted);
        }
        near.sort_unstable_by(Candidate::nearer);
        let work = &mut scratch.from;
        fill_up(pairs, &near, (room, self.cap(level)), work, &mut kept);
        self.store_list(slot, level, kept.iter().map(|c| c.slot))
    }

    /// The live neighbours of dead nodes, and of their dead neighbours too if there are fewer than are `wanted`, with
    /// their distances from `slot`; without those that are marked as visited.
    fn near_by<P: Pairs>(
        &self,
        level: u8,
        condemned: &SlotSet,
        (mut through, wanted): (Vec<u32>, usize),
        pairs: &P,
        slot: u32,
        scratch: &mut Scratch,
    ) -> Vec<Candidate> {
        let limit = self.limit();
        let Scratch { visited, from: work, .. } = scratch;
        let from = pairs.from(slot, work);
        let (mut found, lost, mut at) = (Vec::new(), through.len(), 0);
        // Where one in sixteen is dead, each dead node has some dead neighbour: without an end here it would go on to the
        // end of `THROUGH` for every list, at seven times the cost.
        while at < through.len() && (at < lost || found.len() < wanted) {
            for neighbour in self.neighbours(through[at], level) {
                if neighbour >= limit || !visited.insert(neighbour) {
                    continue;
                }
                visited.note(&[neighbour]);
                if !self.is_gone(neighbour) {
                    from.prefetch(neighbour);
                    found.push(neighbour);
                } else if condemned.has(neighbour) && through.len() < THROUGH {
                    through.push(neighbour);
                }
            }
            at += 1;
        }
        let (fours, rest) = found.as_chunks();
        let mut near = Vec::with_capacity(found.len());
        for &four in fours {
            near.extend(from.to_4(four).into_iter().zip(four).map(|(distance, slot)| Candidate { distance, slot }));
        }
        near.extend(rest.iter().map(|&slot| Candidate { distance: from.to(slot), slot }));
        near
    }
}

#[cfg(test)]
mod tests;
