//! What a search needs besides the graph: the candidate pool, the visited marks, and buffers. Reused.

use parking_lot::Mutex;

/// A node and its distance from the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Distance from the query.
    pub distance: f32,
    /// The node.
    pub slot: u32,
}

const EXPANDED: u32 = 1 << 31;
const DEAD: u32 = 1 << 30;
const SLOT: u32 = DEAD - 1;

/// The nearest nodes seen so far, sorted: `ef` live ones and whatever dead ones lie between.
///
/// Equal distances are ordered by falling slot number: among many copies of one vector a walk drifts to the newest,
/// which is where the next copy finds its neighbours.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    entries: Vec<(f32, u32)>,
    ef: usize,
    live: usize,
    /// Entries below are all expanded.
    next: usize,
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
    #[inline]
    pub(crate) fn bound(&self) -> f32 {
        if self.live < self.ef { f32::INFINITY } else { self.entries.last().map_or(f32::INFINITY, |e| e.0) }
    }

    /// Adds a node that is not in the pool yet.
    #[inline]
    pub(crate) fn insert(&mut self, distance: f32, slot: u32, live: bool) {
        let at = self.entries.partition_point(|&(d, s)| d < distance || (d == distance && s & SLOT > slot));
        if self.live == self.ef && at == self.entries.len() {
            return;
        }
        self.entries.insert(at, (distance, if live { slot } else { slot | DEAD }));
        self.next = self.next.min(at);
        self.live += usize::from(live);
        if self.live >= self.ef {
            // Once there are ef live ones the last entry is one of them; what lies beyond is of no use.
            self.trim();
            if self.live > self.ef {
                self.entries.pop();
                self.live -= 1;
                self.trim();
            }
            self.next = self.next.min(self.entries.len());
        }
    }

    fn trim(&mut self) {
        while self.entries.last().is_some_and(|e| e.1 & DEAD != 0) {
            self.entries.pop();
        }
    }

    /// The nearest node not expanded yet, which becomes expanded.
    #[inline]
    pub(crate) fn expand_next(&mut self) -> Option<u32> {
        let found = self.peek_from(self.next)?;
        self.next = found + 1;
        let entry = &mut self.entries[found].1;
        *entry |= EXPANDED;
        Some(*entry & SLOT)
    }

    /// The nearest node not expanded yet.
    #[inline]
    pub(crate) fn peek_next(&self) -> Option<u32> {
        self.peek_from(self.next).map(|at| self.entries[at].1 & SLOT)
    }

    #[inline]
    fn peek_from(&self, from: usize) -> Option<usize> {
        self.entries[from..].iter().position(|e| e.1 & EXPANDED == 0).map(|i| from + i)
    }

    /// The live nodes, nearest first.
    pub(crate) fn live(&self) -> impl Iterator<Item = Candidate> + '_ {
        self.entries
            .iter()
            .filter(|e| e.1 & DEAD == 0)
            .map(|&(distance, slot)| Candidate { distance, slot: slot & SLOT })
    }

    /// The nearest node, live or not.
    pub(crate) fn nearest(&self) -> Option<Candidate> {
        self.entries.first().map(|&(distance, slot)| Candidate { distance, slot: slot & SLOT })
    }

    pub(crate) fn contains(&self, distance: f32, slot: u32) -> bool {
        let from = self.entries.partition_point(|e| e.0 < distance);
        self.entries[from..].iter().take_while(|e| e.0 == distance).any(|e| e.1 & SLOT == slot)
    }
}

/// Which nodes a search has seen: a generation a node, so that clearing is adding one.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    marks: Vec<u16>,
    generation: u16,
}

impl Visited {
    /// Forgets all, and makes room for nodes below `slots`.
    pub(crate) fn reset(&mut self, slots: usize) {
        if self.marks.len() < slots {
            // A fresh vector is zeroed lazily by the system; growing the old one would touch all of it.
            self.marks = vec![0; slots.next_power_of_two().max(1024)];
            self.generation = 0;
        }
        self.generation = match self.generation.checked_add(1) {
            Some(next) => next,
            None => {
                self.marks.fill(0);
                1
            }
        };
    }

    /// Marks a node below the `slots` of the last [`reset`](Self::reset); says whether it was new.
    #[inline]
    pub(crate) fn insert(&mut self, slot: u32) -> bool {
        let mark = &mut self.marks[slot as usize];
        let new = *mark != self.generation;
        *mark = self.generation;
        new
    }
}

/// Work counted during a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Nodes whose neighbours were read.
    pub hops: u64,
    /// Distances computed.
    pub distances: u64,
}

/// The reusable memory of one search.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) pool: Pool,
    pub(crate) visited: Visited,
    /// Neighbours not seen before, of the node being expanded.
    pub(crate) fresh: Vec<u32>,
    pub(crate) counters: Counters,
}

/// Scratches waiting to be used again.
#[derive(Debug, Default)]
pub(crate) struct ScratchPool(Mutex<Vec<Scratch>>);

impl ScratchPool {
    /// Runs `f` with a scratch. The lock is held only to take and to return it.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.0.lock().pop().unwrap_or_default();
        scratch.counters = Counters::default();
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
        for _ in 0..70_000 {
            visited.reset(10);
            assert!(visited.insert(3));
            assert!(!visited.insert(3));
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
            let mut expected: Vec<(u8, std::cmp::Reverse<u32>)> = nodes.iter().enumerate()
                .filter(|(_, n)| n.1).map(|(s, n)| (n.0, std::cmp::Reverse(s as u32))).collect();
            expected.sort_unstable();
            expected.truncate(ef);
            let got: Vec<_> = pool.live().map(|c| (c.distance as u8, std::cmp::Reverse(c.slot))).collect();
            prop_assert_eq!(got, expected);
            let mut rest = 0;
            while pool.expand_next().is_some() { rest += 1; }
            prop_assert!(rest <= nodes.len());
            prop_assert!(pool.peek_next().is_none());
        }
    }
}
