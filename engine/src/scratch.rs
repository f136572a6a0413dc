//! What a search needs besides the graph: the candidate pool, the visited marks, and buffers. Reused.

use crate::codes::CodeQuery;
use crate::packed::{Block, Tables};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

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
    /// What the pool has no room for, if it is to be kept: nothing in it is nearer than what is in the pool.
    overflow: Option<BinaryHeap<Reverse<u64>>>,
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
        self.overflow = None;
    }

    /// As [`reset`](Self::reset), for a walk that goes on: what there is no room for is kept, and comes in as the nearest
    /// are [taken out](Self::pop_nearest).
    pub(crate) fn reset_keeping_all(&mut self, ef: usize) {
        self.reset(ef);
        self.overflow = Some(BinaryHeap::new());
    }

    /// How many more live nodes it has room for.
    pub(crate) fn room(&self) -> usize {
        self.ef.saturating_sub(self.live)
    }

    /// Nodes farther than this are of no use.
    #[inline(always)]
    pub(crate) fn bound(&self) -> f32 {
        if self.live < self.ef || self.overflow.is_some() {
            f32::INFINITY
        } else {
            self.entries.last().map_or(f32::INFINITY, |&e| distance_of(e))
        }
    }

    /// Adds a node that is not in the pool yet. Says whether it is the nearest one not expanded.
    #[inline]
    pub(crate) fn insert(&mut self, distance: f32, slot: u32, live: bool) -> bool {
        self.insert_entry(entry(distance, slot) | if live { 0 } else { DEAD })
    }

    /// Adds a live node that is not to be expanded.
    pub(crate) fn insert_settled(&mut self, distance: f32, slot: u32) {
        self.insert_entry(entry(distance, slot) | EXPANDED);
    }

    #[inline]
    fn insert_entry(&mut self, new: u64) -> bool {
        let live = new & DEAD == 0;
        let at = self.entries.partition_point(|&e| e < new);
        if self.live == self.ef {
            // Once there are ef live ones the last entry is one of them; what lies beyond is of no use.
            if at == self.entries.len() {
                self.put_by(new);
                return false;
            }
            if live {
                if let Some(last) = self.entries.pop() {
                    self.put_by(last);
                }
                self.live -= 1;
            }
        }
        self.entries.insert(at, new);
        self.live += usize::from(live);
        if self.live >= self.ef {
            while let Some(&last) = self.entries.last().filter(|&e| e & DEAD != 0) {
                self.entries.pop();
                self.put_by(last);
            }
        }
        let first = at <= self.next || self.entries[self.next..at].iter().all(|e| e & EXPANDED != 0);
        self.next = if first { at } else { self.next }.min(self.entries.len());
        first
    }

    /// Keeps what there is no room for, if that is asked.
    #[inline(always)]
    fn put_by(&mut self, entry: u64) {
        if let Some(overflow) = &mut self.overflow {
            overflow.push(Reverse(entry));
        }
    }

    /// In a pool that keeps all: takes care that nothing known is expanded any more, and adds live nodes that are not to
    /// be either.
    pub(crate) fn settle_all(&mut self, more: impl Iterator<Item = Candidate>) {
        let Some(overflow) = &mut self.overflow else { return };
        let mut all = std::mem::take(overflow).into_vec();
        // What is in the pool may be farther than some of them.
        all.extend(self.entries.drain(..).map(Reverse));
        all.iter_mut().for_each(|Reverse(known)| *known |= EXPANDED);
        all.extend(more.map(|node| Reverse(entry(node.distance, node.slot) | EXPANDED)));
        *overflow = BinaryHeap::from(all);
        self.live = 0;
        self.refill();
        self.next = self.entries.len();
    }

    /// Takes the nearest node out, expanded or not, and says whether it counted as live. What was put by comes in.
    pub(crate) fn pop_nearest(&mut self) -> Option<(Candidate, bool)> {
        if self.entries.is_empty() {
            return None;
        }
        let first = self.entries.remove(0);
        self.next = self.next.saturating_sub(1);
        let live = first & DEAD == 0;
        self.live -= usize::from(live);
        self.refill();
        Some((Candidate { distance: distance_of(first), slot: slot_of(first) }, live))
    }

    fn refill(&mut self) {
        let Some(overflow) = &mut self.overflow else { return };
        while self.live < self.ef
            && let Some(Reverse(next)) = overflow.pop()
        {
            self.live += usize::from(next & DEAD == 0);
            self.entries.push(next);
        }
    }

    /// Whether an [`entry`] would be the nearest one not expanded.
    #[inline(always)]
    pub(crate) fn is_next(&self, new: u64) -> bool {
        self.peek_from(self.next).is_none_or(|at| new < self.entries[at])
    }

    /// Adds nodes that are not in the pool yet: their [entries](entry), sorted.
    #[inline(always)]
    pub(crate) fn take(&mut self, new: &[u64], live: &impl Fn(u32) -> bool) {
        if self.live < self.entries.len() || self.overflow.is_some() || !new.iter().all(|&e| live(slot_of(e))) {
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

    /// Whether a node below the `slots` of the last [`reset`](Self::reset) is marked.
    #[inline(always)]
    pub(crate) fn has(&self, slot: u32) -> bool {
        self.words[slot as usize / 64] & 1 << (slot % 64) != 0
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

    /// Adds a slot or takes it out; there is room for it.
    #[inline]
    pub(crate) fn set(&mut self, slot: u32, is_in: bool) {
        let (word, bit) = (&mut self.0[slot as usize / 64], 1 << (slot % 64));
        *word = if is_in { *word | bit } else { *word & !bit };
    }

    /// Takes a slot out, if there is room for it at all; says whether it was in it.
    pub(crate) fn remove(&mut self, slot: u32) -> bool {
        let was_in = self.has(slot);
        if was_in {
            self.set(slot, false);
        }
        was_in
    }

    /// Makes room for slots below `slots`.
    pub(crate) fn grow(&mut self, slots: u32) {
        let words = (slots as usize).div_ceil(64);
        if self.0.len() < words {
            self.0.resize(words, 0);
        }
    }

    /// Those in it, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        slots_of(&self.0, 0)
    }

    /// Up to `count` of those in it that are `wanted`, from all over.
    pub(crate) fn spread(&self, count: usize, wanted: impl Fn(u32) -> bool, into: &mut Vec<u32>) {
        /// Looked at in each stretch.
        const TRIES: usize = 256;
        let words = self.0.len();
        for nth in 0..count {
            // The first of a stretch, so that one with few does not cost any.
            let (from, to) = (nth * words / count, (nth + 1) * words / count);
            let slots = slots_of(&self.0[from..to], from as u32);
            into.extend(slots.take(TRIES).find(|&slot| wanted(slot)));
        }
    }
}

/// The slots of some words, the first of which is the `from`th.
fn slots_of(words: &[u64], from: u32) -> impl Iterator<Item = u32> + '_ {
    words.iter().zip(from..).flat_map(|(&word, at)| {
        let rest = |&left: &u64| Some(left & (left - 1)).filter(|&left| left != 0);
        let bits = std::iter::successors(Some(word).filter(|&word| word != 0), rest);
        bits.map(move |left| at * 64 + left.trailing_zeros())
    })
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
    /// Walks through the graph.
    pub walks: u64,
    /// Times that all records were compared, or all that are to be kept.
    pub scans: u64,
    /// Records that a filter was asked about and did not keep.
    pub refused: u64,
    /// Vectors compared exactly that were not in memory, and had to be read from the disk.
    pub missed: u64,
    /// Whether it was ended before it was done.
    pub cut_short: bool,
    /// Whether that was because a vector could not be read: see [`Index::check_read`](crate::Index::check_read).
    pub unread: bool,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, more: Self) {
        self.hops += more.hops;
        self.distances += more.distances;
        self.reranked += more.reranked;
        self.walks += more.walks;
        self.scans += more.scans;
        self.refused += more.refused;
        self.missed += more.missed;
        self.unread |= more.unread;
        self.cut_short |= more.cut_short;
    }
}

/// The reusable memory of one search.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) pool: Pool,
    pub(crate) visited: Visited,
    /// Of a walk among some nodes: others whose lists have been read, and those of the node being expanded.
    pub(crate) through: Visited,
    pub(crate) passed: Vec<u32>,
    /// Which nodes a filter has been asked about, and which of them it keeps.
    pub(crate) asked: Visited,
    pub(crate) kept: SlotSet,
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
    /// Vectors that were read from their file, and which of them were there at once.
    pub(crate) vectors: Vec<u8>,
    pub(crate) there: Vec<bool>,
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
        let mut scratch = self.take();
        let result = f(&mut scratch);
        self.give_back(scratch);
        result
    }

    /// A scratch, for longer.
    pub(crate) fn take(&self) -> Scratch {
        let mut scratch = self.0.lock().pop().unwrap_or_default();
        scratch.counters = Counters::default();
        scratch.dropped.clear();
        scratch
    }

    pub(crate) fn give_back(&self, scratch: Scratch) {
        self.0.lock().push(scratch);
    }
}

#[cfg(test)]
mod tests;
