//! By which nodes walks came to where a new node is linked, so that a list gives up a link only if there is another way.
//!
//! A walk expands nodes one after the other, and comes to each but the first through a link of one that it expanded
//! before. As long as each of them keeps such a link, a walk comes to all of them; and with them to all nodes that they
//! link to, and to whatever lies behind those. So a link from one of them to a node may go if the node is still linked to
//! by one that was expanded earlier than itself, or, if it was not expanded, by any. "Earlier" keeps two that link to
//! each other from vouching for each other, which is how islands come about.
//!
//! Of several walks in one graph the least place that a node has in any of them does as well: in that walk its
//! predecessor has a lower one.

use crate::index::Index;
use crate::scratch::SlotSet;
use std::sync::Arc;

/// Not expanded.
const LAST: u32 = u32::MAX;

/// Slots with the least place that each has had.
#[derive(Debug, Default)]
struct Places {
    /// Slot + 1 above, place below; 0 is an empty one. A power of two of them, at most half of them full.
    table: Vec<u64>,
    shift: u32,
}

impl Places {
    /// With room for so many.
    fn new(count: usize) -> Self {
        let size = (2 * count).next_power_of_two().max(2);
        Self { table: vec![0; size], shift: u32::BITS - size.trailing_zeros() }
    }

    /// Where a slot is, or belongs.
    fn at(&self, slot: u32) -> usize {
        // Fibonacci hashing (Knuth).
        let mut at = (slot.wrapping_mul(0x9E37_79B9) >> self.shift) as usize;
        while self.table[at] != 0 && (self.table[at] >> 32) as u32 != slot + 1 {
            at = (at + 1) & (self.table.len() - 1);
        }
        at
    }

    fn add(&mut self, slot: u32, place: u32) {
        let at = self.at(slot);
        let before = if self.table[at] == 0 { LAST } else { self.table[at] as u32 };
        self.table[at] = u64::from(slot + 1) << 32 | u64::from(place.min(before));
    }

    fn get(&self, slot: u32) -> u32 {
        let found = if self.table.is_empty() { 0 } else { self.table[self.at(slot)] };
        if found == 0 { LAST } else { found as u32 }
    }
}

/// The walks of nodes that are linked together, by level.
#[derive(Debug)]
pub(crate) struct Paths {
    levels: Vec<Places>,
    /// Whose links go soon, whatever they are.
    condemned: Option<Arc<SlotSet>>,
}

impl Index {
    /// Of each walk, for each level from 0 up, the nodes in the order in which it expanded them.
    pub(crate) fn paths<'a>(&self, walks: impl Iterator<Item = &'a [Vec<u32>]> + Clone) -> Paths {
        let levels = walks.clone().map(<[_]>::len).max().unwrap_or(0);
        let levels = (0..levels).map(|level| {
            let of_level = || walks.clone().filter_map(|walk| walk.get(level));
            let mut places = Places::new(of_level().map(Vec::len).sum::<usize>() + 1);
            // Where walks begin.
            self.entry().iter().for_each(|entry| places.add(entry.slot, 0));
            for walk in of_level() {
                (0..).zip(walk).for_each(|(place, &slot)| places.add(slot, place));
            }
            places
        });
        Paths { levels: levels.collect(), condemned: self.condemned.read().clone() }
    }

    /// Whether walks still come to a node on a level, though not through the list of `except`; `walk` is one of those
    /// that `paths` was made of, which came to it or past it.
    pub(crate) fn is_reached(&self, (slot, level): (u32, u8), except: u32, paths: &Paths, walk: &[Vec<u32>]) -> bool {
        let place = paths.place_of_end(slot, level);
        let limit = self.limit();
        let is_earlier = |&from: &u32| from < limit && from != slot && paths.place(from, level) < place;
        let leads_there = |&from: &u32| {
            from < limit
                && from != except
                && !paths.condemned.as_ref().is_some_and(|condemned| condemned.has(from))
                && self.neighbours(from, level).any(|to| to == slot)
        };
        // Most links go both ways.
        self.neighbours(slot, level).filter(is_earlier).any(|from| leads_there(&from))
            || paths.before(walk, slot, level).any(|from| leads_there(&from))
    }
}

impl Paths {
    /// Whether a slot was expanded.
    pub(crate) fn has(&self, slot: u32, level: u8) -> bool {
        self.place(slot, level) != LAST
    }

    /// The place of a slot, the greatest number if it was not expanded.
    fn place(&self, slot: u32, level: u8) -> u32 {
        self.levels.get(usize::from(level)).map_or(LAST, |places| places.get(slot))
    }

    /// What has a lower place may vouch for a slot. Where a walk begins it comes from the level above, so for that any may:
    /// every node is to have a link to it.
    fn place_of_end(&self, slot: u32, level: u8) -> u32 {
        match self.place(slot, level) {
            0 => LAST,
            place => place,
        }
    }

    /// What a walk expanded that has a lower place than a slot, the last first.
    pub(crate) fn before<'a>(&'a self, walk: &'a [Vec<u32>], slot: u32, level: u8) -> impl Iterator<Item = u32> + 'a {
        let place = self.place_of_end(slot, level);
        let walk = walk.get(usize::from(level)).map_or(&[][..], Vec::as_slice);
        walk.iter().rev().copied().filter(move |&from| self.place(from, level) < place && from != slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_place_counts() {
        let slots: Vec<u32> = (0..500u32).map(|n| n.wrapping_mul(2_654_435_761) % 3000).collect();
        let mut places = Places::new(slots.len());
        let mut expected = std::collections::HashMap::new();
        for (at, &slot) in slots.iter().enumerate() {
            let place = (at as u32 * 7919) % 100;
            places.add(slot, place);
            expected.entry(slot).and_modify(|least: &mut u32| *least = place.min(*least)).or_insert(place);
        }
        for slot in 0..3000 {
            assert_eq!(places.get(slot), expected.get(&slot).copied().unwrap_or(LAST), "{slot}");
        }
        assert_eq!(Places::default().get(7), LAST);
    }
}
