//! What a search needs besides the graph: the candidate pool, the visited marks, and buffers. Reused.

use crate::codes::CodeQuery;
use crate::packed::{Block, Tables};
use parking_lot::Mutex;

/// A node and its distance from the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Distance from the query.
    pub distance: f32,
    /// The node.
    pub slot: u32,
}

impl Candidate {
    /// As the pool sorts: the nearest first, of equal distances the newest slot.
    pub(crate) fn nearer(&self, other: &Self) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(other.slot.cmp(&self.slot))
    }
}

/// Flags of a pool entry, below the slot.
const EXPANDED: u64 = 1;
const DEAD: u64 = 2;
const FLAGS: u32 = 2;
/// Words in a row that are cleared in the time of one that is somewhere.
const FILLED_AT_ONCE: usize = 8;
/// The largest slot number that an entry has room for.
const LAST_SLOT: u32 = u32::MAX >> FLAGS;

/// The nearest nodes seen so far, sorted: `ef` live ones and whatever dead ones lie between.
///
/// Equal distances are ordered by falling slot number: among many copies of one vector a walk drifts to the newest,
/// which is where the next copy finds its neighbours.
///
/// An entry is one number, so that comparing two takes one instruction and finding a place no guesses of branches:
/// the distance's bits, made to sort as numbers do, then the slot counted from the end, then the flags.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    entries: Vec<u64>,
    ef: usize,
    live: usize,
    /// Entries below are all expanded.
    next: usize,
}

#[inline(always)]
pub(crate) fn entry(distance: f32, slot: u32) -> u64 {
    let bits = distance.to_bits();
    // Negative numbers sort backwards: all their bits flip; of the others the sign only.
    let sorted = bits ^ (((bits as i32 >> 31) as u32) | 1 << 31);
    u64::from(sorted) << 32 | u64::from(LAST_SLOT - slot) << FLAGS
}

#[inline(always)]
pub(crate) fn slot_of(entry: u64) -> u32 {
    LAST_SLOT - (entry as u32 >> FLAGS)
}

#[inline(always)]
fn distance_of(entry: u64) -> f32 {
    let sorted = (entry >> 32) as u32;
    f32::from_bits(sorted ^ (((!sorted as i32 >> 31) as u32) | 1 << 31))
}

impl Pool {
    pub(crate) fn reset(&mut self, ef: usize) {
        self.entries.clear();
        self.entries.reserve(ef + 1);
        self.ef = ef;
        self.live = 0;
        self.next = 0;
    }

    /// Nodes farther than this are of no use.
    #[inline(always)]
    pub(crate) fn bound(&self) -> f32 {
        if self.live < self.ef { f32::INFINITY } else { self.entries.last().map_or(f32::INFINITY, |&e| distance_of(e)) }
    }

    /// Adds a node that is not in the pool yet. Says whether it is the nearest one not expanded.
    #[inline]
    pub(crate) fn insert(&mut self, distance: f32, slot: u32, live: bool) -> bool {
        let new = entry(distance, slot) | if live { 0 } else { DEAD };
        let at = self.entries.partition_point(|&e| e < new);
        if self.live == self.ef {
            // Once there are ef live ones the last entry is one of them; what lies beyond is of no use.
            if at == self.entries.len() {
                return false;
            }
            if live {
                self.entries.pop();
                self.live -= 1;
            }
        }
        self.entries.insert(at, new);
        self.live += usize::from(live);
        if self.live >= self.ef {
            while self.entries.last().is_some_and(|e| e & DEAD != 0) {
                self.entries.pop();
            }
        }
        let first = at <= self.next || self.entries[self.next..at].iter().all(|e| e & EXPANDED != 0);
        self.next = if first { at } else { self.next }.min(self.entries.len());
        first
    }

    /// Whether an [`entry`] would be the nearest one not expanded.
    #[inline(always)]
    pub(crate) fn is_next(&self, new: u64) -> bool {
        self.peek_from(self.next).is_none_or(|at| new < self.entries[at])
    }

    /// Adds nodes that are not in the pool yet: their [entries](entry), sorted.
    #[inline(always)]
    pub(crate) fn take(&mut self, new: &[u64], live: &impl Fn(u32) -> bool) {
        if self.live < self.entries.len() || !new.iter().all(|&e| live(slot_of(e))) {
            for &e in new {
                if distance_of(e) <= self.bound() {
                    self.insert(distance_of(e), slot_of(e), live(slot_of(e)));
                }
            }
            return;
        }
        // All are alive, so that the farthest drop out, one for each beyond ef.
        let (mut old, mut new) = (&self.entries[..], new);
        for _ in self.ef..old.len() + new.len() {
            if old.last() > new.last() {
                old = &old[..old.len() - 1];
            } else {
                new = &new[..new.len() - 1];
            }
        }
        if new.is_empty() {
            return;
        }
        let mut unmoved = old.len();
        self.entries.resize(unmoved + new.len(), 0);
        // Each stretch between two new ones moves once.
        for (before, &e) in new.iter().enumerate().rev() {
            let at = self.entries[..unmoved].partition_point(|&old| old < e);
            self.entries.copy_within(at..unmoved, at + before + 1);
            self.entries[at + before] = e;
            unmoved = at;
        }
        self.next = self.next.min(unmoved);
        self.live = self.entries.len();
    }

    /// The nearest node not expanded yet, which becomes expanded.
    #[inline(always)]
    pub(crate) fn expand_next(&mut self) -> Option<u32> {
        self.expand_nearest().map(|node| node.slot)
    }

    /// As [`expand_next`](Self::expand_next), with its distance.
    #[inline(always)]
    pub(crate) fn expand_nearest(&mut self) -> Option<Candidate> {
        let found = self.peek_from(self.next)?;
        self.next = found + 1;
        let entry = &mut self.entries[found];
        *entry |= EXPANDED;
        Some(Candidate { distance: distance_of(*entry), slot: slot_of(*entry) })
    }

    /// Whether the node expanded last is farther than `ratio` times the `k`th nearest. With dead nodes among them, of
    /// which the `k` nearest cannot be told, never.
    #[inline]
    pub(crate) fn is_beyond(&self, k: usize, ratio: f32) -> bool {
        let (last, kth) = (self.next.wrapping_sub(1), k.wrapping_sub(1));
        if last <= kth || self.live < self.entries.len() {
            return false;
        }
        match (self.entries.get(last), self.entries.get(kth)) {
            (Some(&last), Some(&kth)) => distance_of(last) > ratio * distance_of(kth),
            _ => false,
        }
    }

    /// The nearest node not expanded yet.
    #[inline(always)]
    pub(crate) fn peek_next(&self) -> Option<u32> {
        self.peek_from(self.next).map(|at| slot_of(self.entries[at]))
    }

    /// The nearest nodes not expanded yet, up to so many.
    #[inline(always)]
    pub(crate) fn peek(&self, count: usize) -> impl Iterator<Item = u32> + '_ {
        self.entries[self.next..].iter().filter(|&e| e & EXPANDED == 0).take(count).map(|&e| slot_of(e))
    }

    #[inline(always)]
    fn peek_from(&self, from: usize) -> Option<usize> {
        self.entries[from..].iter().position(|e| e & EXPANDED == 0).map(|i| from + i)
    }

    /// The live nodes, nearest first.
    pub(crate) fn live(&self) -> impl Iterator<Item = Candidate> + '_ {
        let live = self.entries.iter().filter(|&e| e & DEAD == 0);
        live.map(|&e| Candidate { distance: distance_of(e), slot: slot_of(e) })
    }

    /// The nearest node, live or not.
    pub(crate) fn nearest(&self) -> Option<Candidate> {
        self.entries.first().map(|&e| Candidate { distance: distance_of(e), slot: slot_of(e) })
    }
}

/// Which nodes a search has seen: a bit for each, small enough to stay in the nearer caches. (A generation for each,
/// which needs no clearing, has sixteen times the size and waits for the memory; a hash table takes longer to look up.)
#[derive(Debug, Default)]
pub(crate) struct Visited {
    words: Vec<u64>,
    /// Nodes whose bits are to be cleared.
    seen: Vec<u32>,
    /// There is a bit for those below.
    slots: u32,
}

impl Visited {
    /// Forgets all, and makes room for nodes below `slots`.
    pub(crate) fn reset(&mut self, slots: usize) {
        let words = slots.div_ceil(64);
        if self.words.len() < words {
            // A fresh vector is zeroed lazily by the system; growing the old one would touch all of it.
            self.words = vec![0; words.next_power_of_two().max(64)];
        } else if self.words.len() <= self.seen.len() * FILLED_AT_ONCE {
            self.words.fill(0);
        } else {
            self.seen.iter().for_each(|&slot| self.words[slot as usize / 64] = 0);
        }
        self.seen.clear();
        self.slots = slots as u32;
    }

    /// The `slots` of the last [`reset`](Self::reset).
    pub(crate) fn slots(&self) -> u32 {
        self.slots
    }

    /// For marking several.
    #[inline(always)]
    pub(crate) fn marks(&mut self) -> Marks<'_> {
        Marks(&mut self.words)
    }

    /// Marks a node below the `slots` of the last [`reset`](Self::reset); says whether it was new. What is new has to
    /// be [noted](Self::note).
    #[inline(always)]
    pub(crate) fn insert(&mut self, slot: u32) -> bool {
        self.marks().insert(slot)
    }

    /// Remembers nodes that were new.
    #[inline(always)]
    pub(crate) fn note(&mut self, slots: &[u32]) {
        self.seen.extend_from_slice(slots);
    }
}

/// Marks of nodes.
pub(crate) struct Marks<'a>(&'a mut [u64]);

impl Marks<'_> {
    /// See [`Visited::insert`].
    #[inline(always)]
    pub(crate) fn insert(&mut self, slot: u32) -> bool {
        let (word, bit) = (&mut self.0[slot as usize / 64], 1 << (slot % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// A set of slots: a bit for each.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotSet(Vec<u64>);

impl SlotSet {
    /// An empty one, for slots below `slots`.
    pub(crate) fn below(slots: u32) -> Self {
        Self(vec![0; (slots as usize).div_ceil(64)])
    }

    /// Whether a slot is in it; any number may be asked for.
    #[inline]
    pub(crate) fn has(&self, slot: u32) -> bool {
        self.0.get(slot as usize / 64).is_some_and(|word| word & 1 << (slot % 64) != 0)
    }

    /// Adds a slot; says whether it is new.
    ///
    /// # Panics
    /// If it is not below the number that the set was made for.
    #[inline]
    pub(crate) fn add(&mut self, slot: u32) -> bool {
        Marks(&mut self.0).insert(slot)
    }
}

/// Work counted during a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Nodes whose neighbours were read.
    pub hops: u64,
    /// Distances computed.
    pub distances: u64,
    /// Vectors compared exactly after a walk on codes.
    pub reranked: u64,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, more: Self) {
        self.hops += more.hops;
        self.distances += more.distances;
        self.reranked += more.reranked;
    }
}

/// The reusable memory of one search.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) pool: Pool,
    pub(crate) visited: Visited,
    /// Neighbours not seen before, of the node being expanded.
    pub(crate) fresh: Vec<u32>,
    /// How far they are, in fours, and the entries of those that are near enough.
    pub(crate) to: Vec<[f32; 4]>,
    pub(crate) near: Vec<u64>,
    pub(crate) counters: Counters,
    /// What a walk has found, and what of it is nearest exactly.
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) nearest: Pool,
    pub(crate) found: Vec<Candidate>,
    /// The point that a walk on codes looks for, and one that a choice among neighbours looks from.
    pub(crate) query: CodeQuery,
    pub(crate) from: CodeQuery,
    /// The same for packed neighbourhoods, and a copy of one.
    pub(crate) tables: Tables,
    pub(crate) block: Block,
    /// Links that lists have given up for others.
    pub(crate) dropped: Vec<Dropped>,
}

/// A link that a list has given up for another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropped {
    pub(crate) node: u32,
    pub(crate) level: u8,
    pub(crate) lost: Candidate,
}

/// Scratches waiting to be used again.
#[derive(Debug, Default)]
pub(crate) struct ScratchPool(Mutex<Vec<Scratch>>);

impl ScratchPool {
    /// Runs `f` with a scratch. The lock is held only to take and to return it.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.0.lock().pop().unwrap_or_default();
        scratch.counters = Counters::default();
        scratch.dropped.clear();
        let result = f(&mut scratch);
        self.0.lock().push(scratch);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_node_is_new_once_a_search() {
        let mut visited = Visited::default();
        for round in 0..300usize {
            let slots = 1000 + round % 7 * 5000;
            visited.reset(slots);
            let mut seen = std::collections::HashSet::new();
            for n in 0..round * 3 % 500 {
                let slot = (n * n * 31 + round) % slots;
                let new = visited.insert(slot as u32);
                assert_eq!(new, seen.insert(slot), "round {round}, {n}");
                if new {
                    visited.note(&[slot as u32]);
                }
            }
        }
    }

    proptest! {
        /// Against a sorted list: the pool holds the ef nearest live nodes, and every node between them.
        #[test]
        fn the_pool_keeps_the_nearest(
            ef in 1usize..12,
            nodes in prop::collection::vec((0u8..20, any::<bool>()), 0..80),
        ) {
            let mut pool = Pool::default();
            pool.reset(ef);
            for (slot, &(distance, live)) in nodes.iter().enumerate() {
                if f32::from(distance) <= pool.bound() {
                    pool.insert(f32::from(distance), slot as u32, live);
                }
                if slot % 3 == 0 {
                    pool.expand_next();
                }
            }
            check(&mut pool, ef, &nodes)?;
        }

        /// The same, with several taken at once.
        #[test]
        fn the_pool_keeps_the_nearest_of_many(
            ef in 1usize..12,
            nodes in prop::collection::vec((0u8..20, prop::bool::weighted(0.9)), 0..80),
            all_live in any::<bool>(),
            at_once in 1usize..9,
        ) {
            let nodes: Vec<_> = nodes.into_iter().map(|(distance, live)| (distance, live || all_live)).collect();
            let mut pool = Pool::default();
            pool.reset(ef);
            for first in (0..nodes.len()).step_by(at_once) {
                let of = |slot: usize| (f32::from(nodes[slot].0), slot as u32);
                let mut new: Vec<u64> = (first..nodes.len().min(first + at_once))
                    .map(of).filter(|&(d, _)| d <= pool.bound()).map(|(d, slot)| entry(d, slot)).collect();
                new.sort_unstable();
                let next = pool.peek_next();
                let is_next = new.first().is_some_and(|&first| pool.is_next(first));
                pool.take(&new, &|slot| nodes[slot as usize].1);
                prop_assert!(pool.entries.is_sorted());
                if let Some(next) = pool.peek_next().filter(|_| all_live) {
                    prop_assert_eq!(is_next, new.first().map(|&e| slot_of(e)) == Some(next));
                } else {
                    prop_assert!(!all_live || (next.is_none() && new.is_empty()));
                }
                if first % 3 == 0 {
                    pool.expand_next();
                }
            }
            check(&mut pool, ef, &nodes)?;
        }
    }

    /// Whether the pool holds the `ef` nearest live nodes.
    fn check(pool: &mut Pool, ef: usize, nodes: &[(u8, bool)]) -> Result<(), TestCaseError> {
        let mut expected: Vec<(u8, std::cmp::Reverse<u32>)> =
            nodes.iter().enumerate().filter(|(_, n)| n.1).map(|(s, n)| (n.0, std::cmp::Reverse(s as u32))).collect();
        expected.sort_unstable();
        expected.truncate(ef);
        let got: Vec<_> = pool.live().map(|c| (c.distance as u8, std::cmp::Reverse(c.slot))).collect();
        prop_assert_eq!(got, expected);
        let mut rest = 0;
        while pool.expand_next().is_some() {
            rest += 1;
        }
        prop_assert!(rest <= nodes.len());
        prop_assert!(pool.peek_next().is_none());
        Ok(())
    }
}
