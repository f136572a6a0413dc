//! The one search loop: best-first search of one level (Malkov and Yashunin 2018, Algorithm 2), for queries and inserts.
//!
//! The published algorithm keeps two heaps; here one sorted pool serves as both, since the candidates worth expanding
//! are exactly the unexpanded ones among the `ef` nearest. The neighbours of a node are gathered first and all their
//! lines asked for, then computed four at a time, so that the memory's latency overlaps.

use crate::codes::CodeQuery;
use crate::kernel::{Codes, Kernel, Work};
use crate::scratch::{Candidate, Scratch, entry, slot_of};
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ends a link list.
pub(crate) const END: u32 = u32::MAX;
/// Bytes asked for ahead of the vector being computed: a share of the first-level cache.
const AHEAD_BYTES: usize = 16 << 10;
/// Bytes of a vector that are asked for ahead. The CPU itself fetches the rest of a longer one, and better: asking for
/// all of it keeps every fill buffer busy and stalls (measured at 384 dimensions: 103 µs a query, with this 90).
pub(crate) const AHEAD_OF_ONE: usize = 512;

/// One level of a graph.
pub(crate) trait Level {
    /// The neighbours of a node: slots up to [`END`]. Any content must do no harm.
    fn list(&self, slot: u32) -> &[AtomicU32];
    /// Asks the memory for the list.
    fn prefetch_list(&self, slot: u32);
    /// Whether what walks read may have to be read from the disk, so that it is worth asking for it.
    fn meets_disk(&self) -> bool {
        false
    }
    /// Asks the disk for the list, if it is not in memory.
    fn request_list(&self, _slot: u32) {}
}

/// Distances from one point to the nodes of a graph.
pub(crate) trait Distances {
    /// Slots below this are published.
    fn limit(&self) -> u32;
    fn to(&self, slot: u32) -> f32;
    /// Each equals [`to`](Self::to) bit for bit.
    fn to_4(&self, slots: [u32; 4]) -> [f32; 4];
    /// The kernel that computes them.
    fn kernel(&self) -> Kernel;
    /// Each equals [`to`](Self::to) bit for bit, by that kernel. `slots` and `to` are of one length.
    fn many(&self, kernel: impl Codes, slots: &[[u32; 4]], to: &mut [[f32; 4]]);
    /// Asks the memory for what [`to`](Self::to) reads.
    fn prefetch(&self, slot: u32);
    /// Bytes that [`prefetch`](Self::prefetch) asks for.
    fn prefetched(&self) -> usize;
    /// Asks the disk for what [`to`](Self::to) reads, if it is not in memory.
    fn request(&self, slot: u32);
}

/// Distances between any two nodes of a graph.
pub(crate) trait Pairs {
    /// The distances from one of them.
    type From<'a>: Distances
    where
        Self: 'a;
    fn from<'a>(&'a self, slot: u32, work: &'a mut CodeQuery) -> Self::From<'a>;
    /// Whether two nodes lie at one point.
    fn are_copies(&self, a: u32, b: u32) -> bool;
}

/// Asked now and then whether to go on.
pub type GoOn<'a> = dyn Fn() -> bool + Sync + 'a;

/// Whether somebody wants a search to end before it is done.
#[derive(Clone, Copy, Default)]
pub struct Watch<'a>(Option<&'a GoOn<'a>>);

impl<'a> Watch<'a> {
    /// Hops, or one for each so many vectors, after which it is asked.
    const EVERY: u64 = 16;

    /// Nobody.
    pub const NOBODY: Self = Self(None);

    /// Whoever answers `go_on`.
    pub fn new(go_on: &'a GoOn<'a>) -> Self {
        Self(Some(go_on))
    }

    /// Whether to end. Asks now and then, as `hops` rises by so many `at_a_time`.
    #[inline(always)]
    pub(crate) fn ends(self, hops: u64, at_a_time: u64) -> bool {
        match self.0 {
            None => false,
            Some(go_on) => hops % Self::EVERY < at_a_time && !go_on(),
        }
    }

    /// As [`ends`](Self::ends), for a look at one vector after the other.
    #[inline(always)]
    pub(crate) fn ends_scan(self, slot: u32) -> bool {
        match self.0 {
            None => false,
            Some(go_on) => u64::from(slot).is_multiple_of(16 * Self::EVERY) && !go_on(),
        }
    }
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watch").field(&self.0.is_some()).finish()
    }
}

/// When a search ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until<'a> {
    /// When so many nearest live nodes are known, and their neighbours.
    pub(crate) ef: usize,
    /// Or before: when what is to be expanded next is farther than `ratio` times the `k`th nearest (Al-Jazzazi and
    /// others 2025, "Distance adaptive beam search").
    pub(crate) k: usize,
    pub(crate) ratio: f32,
    /// Or when it is told to.
    pub(crate) watch: Watch<'a>,
    /// Or after so many hops, which may change on the way.
    pub(crate) hops: Option<&'a Cell<u64>>,
}

impl Until<'_> {
    /// Not before.
    pub(crate) fn ef(ef: usize) -> Self {
        Self { ef, k: ef, ratio: f32::INFINITY, watch: Watch::NOBODY, hops: None }
    }
}

/// Which nodes are live: which may be found.
pub(crate) trait Live {
    fn is_live(&self, slot: u32) -> bool;
    /// Asks the memory for what [`is_live`](Self::is_live) reads.
    fn prefetch(&self, slot: u32);
}

impl<F: Fn(u32) -> bool> Live for F {
    #[inline(always)]
    fn is_live(&self, slot: u32) -> bool {
        self(slot)
    }

    #[inline(always)]
    fn prefetch(&self, _: u32) {}
}

/// Searches a level from `entries` for the nearest live nodes; the result is in `scratch.pool`.
///
/// Complexity: about `ef` lists read, and a distance for each of their nodes not seen before.
pub(crate) fn search_level<L: Level, D: Distances>(
    level: &L,
    distances: &D,
    entries: &[Candidate],
    until: Until<'_>,
    live: impl Live,
    scratch: &mut Scratch,
) {
    scratch.pool.reset(until.ef);
    begin(distances, entries, &live, scratch);
    go_on(level, distances, until, live, scratch);
}

/// The search from where it is, with what is in the pool, until all in it are expanded, or it is to end.
pub(crate) fn go_on<L: Level, D: Distances>(
    level: &L,
    distances: &D,
    until: Until<'_>,
    live: impl Live,
    scratch: &mut Scratch,
) {
    distances.kernel().run(SearchLevel { level, distances, until, live, scratch });
}

struct SearchLevel<'a, L, D, F> {
    level: &'a L,
    distances: &'a D,
    until: Until<'a>,
    live: F,
    scratch: &'a mut Scratch,
}

impl<L: Level, D: Distances, F: Live> Work for SearchLevel<'_, L, D, F> {
    type Out = ();

    #[inline(always)]
    fn run(self, kernel: impl Codes) {
        let Self { level, distances, until, live, scratch } = self;
        let meets_disk = level.meets_disk();
        while let Some(count) = gather(level, until, scratch) {
            if meets_disk {
                request(level, distances, count, scratch);
            }
            ask(distances, &scratch.fresh[..count.min(ahead(distances))]);
            compare(|slot| level.prefetch_list(slot), distances, kernel, count, &live, scratch);
        }
    }
}

/// Puts the entries into the pool, which is empty.
pub(crate) fn begin<D: Distances>(distances: &D, entries: &[Candidate], live: &impl Live, scratch: &mut Scratch) {
    let Scratch { pool, visited, .. } = scratch;
    let limit = distances.limit();
    visited.reset(limit as usize);
    for entry in entries {
        if entry.slot < limit && visited.insert(entry.slot) {
            visited.note(&[entry.slot]);
            pool.insert(entry.distance, entry.slot, live.is_live(entry.slot));
        }
    }
}

/// Lists of nodes that are asked for before they are expanded, where they may not be in memory.
const LISTS: usize = 8;

/// Asks the disk for what the comparison with the neighbours that were gathered reads, and for the lists that are likely
/// next: so that a hop waits for the disk once, and not for one page after the other.
#[cold]
fn request<L: Level, D: Distances>(level: &L, distances: &D, count: usize, scratch: &Scratch) {
    scratch.fresh[..count].iter().for_each(|&slot| distances.request(slot));
    scratch.pool.peek(LISTS).for_each(|slot| level.request_list(slot));
}

/// How many vectors, or codes, are asked for before the first is compared.
#[inline(always)]
pub(crate) fn ahead<D: Distances>(distances: &D) -> usize {
    (AHEAD_BYTES / distances.prefetched()).clamp(4, 64)
}

/// Asks the memory for what the comparison with `slots` reads.
#[inline(always)]
pub(crate) fn ask<D: Distances>(distances: &D, slots: &[u32]) {
    slots.iter().for_each(|&slot| distances.prefetch(slot));
}

/// Takes the next node to expand, and finds those of its neighbours that are new. Says how many, or
/// `None` at the end of the search.
#[inline(always)]
fn gather<L: Level>(level: &L, until: Until<'_>, scratch: &mut Scratch) -> Option<usize> {
    let Scratch { pool, visited, fresh, counters, .. } = scratch;
    if until.watch.ends(counters.hops, 1) {
        counters.cut_short = true;
        return None;
    }
    if until.hops.is_some_and(|most| counters.hops >= most.get()) {
        return None;
    }
    // More may have been published since; they have no mark.
    let limit = visited.slots();
    let slot = pool.expand_next()?;
    if until.ratio.is_finite() && pool.is_beyond(until.k, until.ratio) {
        return None;
    }
    let list = level.list(slot);
    // Room for three more: the last group of four is filled up.
    if fresh.len() < list.len() + 3 {
        fresh.resize(list.len() + 3, 0);
    }
    let mut count = 0;
    {
        let (mut marks, fresh) = (visited.marks(), &mut fresh[..]);
        for link in list {
            let neighbour = link.load(Ordering::Acquire);
            if neighbour >= limit {
                if neighbour == END {
                    break;
                }
                continue;
            }
            // About half of them are new, which no branch could guess: so each is written, and counted if it is.
            fresh[count] = neighbour;
            count += usize::from(marks.insert(neighbour));
        }
    }
    visited.note(&fresh[..count]);
    counters.hops += 1;
    counters.distances += count as u64;
    // Likely the next to be expanded: its list arrives while the distances are computed.
    if let Some(next) = pool.peek_next() {
        level.prefetch_list(next);
    }
    Some(count)
}

/// Fours of neighbours that are compared at a time.
const AT_ONCE: usize = 4;

/// Compares the `count` neighbours that were gathered, and calls `soon` with the one to be expanded next, if it is among
/// them.
#[inline(always)]
pub(crate) fn compare<D: Distances>(
    soon: impl Fn(u32),
    distances: &D,
    kernel: impl Codes,
    count: usize,
    live: &impl Live,
    scratch: &mut Scratch,
) {
    let Scratch { pool, fresh, to, near, .. } = scratch;
    if count == 0 {
        return;
    }
    let fours = count.div_ceil(4);
    // The last group of four is filled up with repetitions of the last.
    let last = fresh[count - 1];
    fresh[count..4 * fours].fill(last);
    if to.len() < fours {
        to.resize(fours, [0.0; 4]);
    }
    let slots = &fresh[..4 * fours].as_chunks().0[..fours];
    let ahead = ahead(distances);
    for at in (0..fours).step_by(AT_ONCE) {
        let end = fours.min(at + AT_ONCE);
        if 4 * at + ahead < count {
            ask(distances, &fresh[4 * at + ahead..count.min(4 * end + ahead)]);
        }
        distances.many(kernel, &slots[at..end], &mut to[at..end]);
    }
    if near.len() < fresh.len() {
        near.resize(fresh.len(), 0);
    }
    let (to, near) = (to[..fours].as_flattened(), &mut near[..4 * fours]);
    for ((near, &slot), &to) in near.iter_mut().zip(slots.as_flattened()).zip(to) {
        *near = entry(to, slot);
    }
    // Those near enough move to the front. No branch could guess which they are: so each is moved, and counted if it is.
    let bound = pool.bound();
    let mut found = 0;
    for (at, &to) in to[..count].iter().enumerate() {
        near[found] = near[at];
        found += usize::from(to <= bound);
    }
    let near = &mut near[..found];
    sort(near);
    if let Some(&first) = near.first() {
        if pool.is_next(first) {
            soon(slot_of(first));
        }
        near.iter().for_each(|&entry| live.prefetch(slot_of(entry)));
        pool.take(near, &|slot| live.is_live(slot));
    }
}

/// Sorts what is short most of the time.
#[inline(always)]
fn sort(entries: &mut [u64]) {
    const SHORT: usize = 12;
    if entries.len() > SHORT {
        entries.sort_unstable();
        return;
    }
    for at in 1..entries.len() {
        let new = entries[at];
        let mut place = at;
        while place > 0 && entries[place - 1] > new {
            entries[place] = entries[place - 1];
            place -= 1;
        }
        entries[place] = new;
    }
}

/// Walks a level greedily to a node nearer to the query than all its neighbours.
pub(crate) fn descend<L: Level, D: Distances>(
    level: &L,
    distances: &D,
    nearest: Candidate,
    scratch: &mut Scratch,
) -> Candidate {
    distances.kernel().run(Descend { level, distances, nearest, scratch })
}

struct Descend<'a, L, D> {
    level: &'a L,
    distances: &'a D,
    nearest: Candidate,
    scratch: &'a mut Scratch,
}

impl<L: Level, D: Distances> Work for Descend<'_, L, D> {
    type Out = Candidate;

    #[inline(always)]
    fn run(self, kernel: impl Codes) -> Candidate {
        let Self { level, distances, mut nearest, scratch } = self;
        let limit = distances.limit();
        loop {
            let before = nearest;
            let fresh = &mut scratch.fresh;
            fresh.clear();
            for link in level.list(before.slot) {
                let neighbour = link.load(Ordering::Acquire);
                if neighbour == END {
                    break;
                }
                if neighbour < limit {
                    distances.prefetch(neighbour);
                    fresh.push(neighbour);
                }
            }
            scratch.counters.hops += 1;
            scratch.counters.distances += fresh.len() as u64;
            // The last group of four is filled up.
            fresh.resize(fresh.len().next_multiple_of(4), before.slot);
            scratch.to.resize((fresh.len() / 4).max(scratch.to.len()), [0.0; 4]);
            let to = &mut scratch.to[..fresh.len() / 4];
            distances.many(kernel, fresh.as_chunks().0, to);
            for (&slot, &distance) in fresh.iter().zip(to.as_flattened()) {
                if distance < nearest.distance {
                    nearest = Candidate { distance, slot };
                }
            }
            if nearest.slot == before.slot {
                return nearest;
            }
        }
    }
}
