//! A graph that another library built, taken over as it is: in the next generation of a collection's files.
//!
//! Nodes become slots of the same number, with the level and the links that they have. Nothing is believed:
//! [`Given::check`] looks at every number before anything is written, and a list longer than the collection's lists are
//! is chosen from as inserts choose.

use crate::distances::{CodePairs, ExactPairs};
use crate::geometry::{MAX_LEVEL, MAX_SLOTS};
use crate::heads::Head;
use crate::ids::Id;
use crate::index::{Entry, Index};
use crate::scratch::{Candidate, Scratch};
use crate::search::{Distances, Pairs};
use crate::select::select;
use crate::slots::{SlotBytes, vector_crc};
use lodestore_wal::{Disk, Result};
use rayon::prelude::*;
use std::fmt;
use std::sync::atomic::Ordering;

/// Slots that are written at once.
const AT_ONCE: usize = 4096;
/// Of these, how many a thread encodes at a time.
const ENCODED: usize = 64;

/// A graph by numbers of nodes, from 0 up.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// Vectors as stored, row by row.
    pub vectors: &'a [u8],
    /// Keys; of nodes that are not dead, marked ones included, no two are the same.
    pub keys: &'a [u64],
    /// The highest level of each node.
    pub levels: &'a [u8],
    /// Nodes that hold no record: walks pass through them, until they are unlinked.
    pub dead: &'a [bool],
    /// Nodes whose records are marked as deleted; none of them is dead.
    pub marked: &'a [bool],
    /// The neighbours of a node on a level.
    pub links: &'a (dyn Fn(u32, u8) -> &'a [u32] + Sync),
    /// Where walks begin.
    pub entry: Option<u32>,
}

impl fmt::Debug for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("nodes", &self.keys.len()).field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl Given<'_> {
    /// Looks at every number, not at the vectors.
    ///
    /// # Errors
    /// What is wrong: with the counts, an entry point that is not of the highest level, a level above the highest that
    /// there may be, a link to the node itself, to none, or to one that is not on that level.
    pub fn check(&self) -> std::result::Result<(), String> {
        let count = self.keys.len();
        if count > MAX_SLOTS as usize {
            return Err(format!("{count} nodes, the most there may be is {MAX_SLOTS}"));
        }
        let columns = [self.levels.len(), self.dead.len(), self.marked.len()];
        if columns != [count; 3] {
            return Err(format!("{count} keys, and {columns:?} levels, dead and marked"));
        }
        let top = self.levels.iter().copied().max();
        match (self.entry, top) {
            (None, None) => return Ok(()),
            (Some(entry), Some(top)) if (entry as usize) < count => {
                let level = self.levels[entry as usize];
                if level != top {
                    return Err(format!("the entry point {entry} is on level {level}, the highest is {top}"));
                }
            }
            (entry, _) => return Err(format!("the entry point is {entry:?}, of {count} nodes")),
        }
        (0..count as u32).into_par_iter().try_for_each(|node| self.check_node(node))
    }

    fn check_node(&self, node: u32) -> std::result::Result<(), String> {
        let highest = self.levels[node as usize];
        if highest > MAX_LEVEL {
            return Err(format!("node {node} is on level {highest}, the highest there may be is {MAX_LEVEL}"));
        }
        for level in 0..=highest {
            for &link in (self.links)(node, level) {
                let there = self.levels.get(link as usize);
                if link == node || there.is_none_or(|&other| other < level) {
                    let what = match there {
                        None => format!("of {} nodes", self.levels.len()),
                        Some(_) if link == node => "which is itself".to_owned(),
                        Some(other) => format!("which is on levels up to {other}"),
                    };
                    return Err(format!("node {node} is linked on level {level} to node {link}, {what}"));
                }
            }
        }
        Ok(())
    }
}

impl Index {
    /// Writes a graph that was [checked](Given::check) into the next generation of the files, durable when this returns;
    /// nothing names it yet. Its slots are of log record `lsn`. With `relink`, what no walk can reach is linked to.
    /// Returns also how many nodes with a record no walk could reach. `go_on` is called with the steps done and those there are;
    /// if it says no, nothing is returned.
    ///
    /// # Errors
    /// Of the disk; [`remove_generation`](crate::remove_generation) removes what there is of the new files.
    ///
    /// # Panics
    /// If there are not as many vectors as keys.
    pub fn load(
        &self,
        disk: &dyn Disk,
        uuid: [u8; 16],
        given: &Given<'_>,
        (lsn, relink): (u64, bool),
        go_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Option<(Index, u64)>> {
        let width = self.geometry().vector_bytes();
        assert_eq!(given.vectors.len(), given.keys.len() * width, "a vector for each node");
        let (new, empty) = self.empty_generation(disk, uuid)?;
        let (count, all) = (given.keys.len(), 2 * given.keys.len() as u64);
        let uppers: u64 = given.levels.iter().map(|&level| u64::from(level)).sum();
        new.reserve(count as u64, uppers)?;
        let mut upper = 0;
        for first in (0..count).step_by(AT_ONCE) {
            if !go_on(first as u64, all) {
                return Ok(None);
            }
            let rows = first..count.min(first + AT_ONCE);
            let vectors = &given.vectors[rows.start * width..rows.end * width];
            let parts: Vec<SlotBytes> = vectors
                .par_chunks(ENCODED * width)
                .map(|rows| {
                    let mut bytes = SlotBytes::default();
                    new.encode(rows, &mut bytes);
                    bytes
                })
                .collect();
            let mut bytes = SlotBytes::default();
            parts.iter().for_each(|part| bytes.append(part));
            let ids = rows.clone().map(|row| {
                let (key, level) = (given.keys[row], given.levels[row]);
                let id = Id { key, lsn, vector_crc: vector_crc(&given.vectors[row * width..][..width]), upper, level };
                upper += u32::from(level);
                id
            });
            let (ids, slots): (Vec<Id>, Vec<u32>) = (ids.collect(), rows.map(|row| row as u32).collect());
            new.write_slots(&slots, &bytes, &ids)?;
        }
        let live = given.dead.iter().filter(|&&dead| !dead).count() as u64;
        let entry = given.entry.map(|slot| Entry { slot, level: given.levels[slot as usize] });
        let head = Head { next_slot: count as u32, next_upper: upper, live, entry: Entry::encode(entry), ..empty };
        new.set_head(&head);
        for slot in (0..count as u32).filter(|&slot| given.dead[slot as usize]) {
            new.tombs.touch(slot / 32)?;
            new.tombs.words(slot / 32)[0].fetch_or(1 << (slot % 32), Ordering::AcqRel);
        }
        for slot in 0..count as u32 {
            if (slot as usize).is_multiple_of(AT_ONCE) {
                if !go_on(count as u64 + u64::from(slot), all) {
                    return Ok(None);
                }
                new.settle_some()?;
            }
            new.scratch.with(|scratch| {
                (0..=given.levels[slot as usize])
                    .try_for_each(|level| new.take_list(slot, level, (given.links)(slot, level), scratch))
            })?;
        }
        new.mark_new((0..count as u32).filter(|&slot| given.marked[slot as usize]))?;
        let lost = new.unreached(count as u32);
        if relink {
            new.relink(&lost)?;
        }
        new.settle_generation(disk)?;
        go_on(all, all);
        Ok(Some((new, lost.len() as u64)))
    }

    /// Writes the list of a node: each of the links once, and of too many those that an insert would choose.
    fn take_list(&self, slot: u32, level: u8, links: &[u32], scratch: &mut Scratch) -> Result<()> {
        let mut once: Vec<u32> = Vec::with_capacity(links.len());
        for &link in links {
            if !once.contains(&link) {
                once.push(link);
            }
        }
        if once.len() > self.cap(level) {
            match self.codes() {
                Some(codes) => self.clip(slot, level, &mut once, &CodePairs { codes, limit: self.limit() }, scratch),
                None => self.clip(slot, level, &mut once, &ExactPairs(self), scratch),
            }
        }
        self.store_list(slot, level, once.into_iter())
    }

    fn clip<P: Pairs>(&self, slot: u32, level: u8, links: &mut Vec<u32>, pairs: &P, scratch: &mut Scratch) {
        let work = &mut scratch.from;
        let mut candidates: Vec<Candidate> = {
            let from = pairs.from(slot, work);
            links.iter().map(|&slot| Candidate { distance: from.to(slot), slot }).collect()
        };
        candidates.sort_unstable_by(Candidate::nearer);
        let mut chosen = Vec::new();
        select(pairs, slot, &candidates, self.cap(level), work, &mut chosen);
        links.clear();
        links.extend(chosen.iter().map(|candidate| candidate.slot));
    }
}
