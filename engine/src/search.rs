//! The one search loop: best-first search of one level (Malkov and Yashunin 2018, Algorithm 2), for queries and inserts.
//!
//! The published algorithm keeps two heaps; here one sorted pool serves as both, since the candidates worth expanding
//! are exactly the unexpanded ones among the `ef` nearest. The neighbours of a node are gathered first and all their
//! lines asked for, then computed four at a time, so that the memory's latency overlaps.

use crate::codes::CodeQuery;
use crate::scratch::{Candidate, Scratch};
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
}

/// Distances from one point to the nodes of a graph.
pub(crate) trait Distances {
    /// Slots below this are published.
    fn limit(&self) -> u32;
    fn to(&self, slot: u32) -> f32;
    /// Each equals [`to`](Self::to) bit for bit.
    fn to_4(&self, slots: [u32; 4]) -> [f32; 4];
    /// Asks the memory for what [`to`](Self::to) reads.
    fn prefetch(&self, slot: u32);
    /// Bytes that [`prefetch`](Self::prefetch) asks for.
    fn prefetched(&self) -> usize;
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

/// When a search ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until {
    /// When so many nearest live nodes are known, and their neighbours.
    pub(crate) ef: usize,
    /// Or before: when what is to be expanded next is farther than `ratio` times the `k`th nearest (Al-Jazzazi and
    /// others 2025, "Distance adaptive beam search").
    pub(crate) k: usize,
    pub(crate) ratio: f32,
}

impl Until {
    /// Not before.
    pub(crate) fn ef(ef: usize) -> Self {
        Self { ef, k: ef, ratio: f32::INFINITY }
    }
}

/// Searches a level from `entries` for the nearest live nodes; the result is in `scratch.pool`.
///
/// Complexity: about `ef` lists read, and a distance for each of their nodes not seen before.
pub(crate) fn search_level<L: Level, D: Distances>(
    level: &L,
    distances: &D,
    entries: &[Candidate],
    until: Until,
    live: impl Fn(u32) -> bool,
    scratch: &mut Scratch,
) {
    let Scratch { pool, visited, fresh, counters, .. } = scratch;
    let limit = distances.limit();
    let ahead = (AHEAD_BYTES / distances.prefetched()).clamp(4, 64);
    pool.reset(until.ef);
    let adapts = until.ratio.is_finite();
    visited.reset(limit as usize);
    for entry in entries {
        if entry.slot < limit && visited.insert(entry.slot) {
            visited.note(&[entry.slot]);
            pool.insert(entry.distance, entry.slot, live(entry.slot));
        }
    }
    while let Some(slot) = pool.expand_next() {
        if adapts && pool.is_beyond(until.k, until.ratio) {
            break;
        }
        let list = level.list(slot);
        // Room for three more: the last group of four is filled up.
        if fresh.len() < list.len() + 3 {
            fresh.resize(list.len() + 3, 0);
        }
        let mut count = 0;
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
            count += usize::from(visited.insert(neighbour));
        }
        fresh[..count.min(ahead)].iter().for_each(|&slot| distances.prefetch(slot));
        visited.note(&fresh[..count]);
        counters.hops += 1;
        counters.distances += count as u64;
        // Likely the next to be expanded: its list arrives while the distances are computed.
        if let Some(next) = pool.peek_next() {
            level.prefetch_list(next);
        }
        if count == 0 {
            continue;
        }
        let last = fresh[count - 1];
        fresh[count..count + 3].fill(last);
        let mut bound = pool.bound();
        let mut at = 0;
        while at < count {
            if at + ahead < count {
                fresh[at + ahead..count.min(at + ahead + 4)].iter().for_each(|&later| distances.prefetch(later));
            }
            let four = [fresh[at], fresh[at + 1], fresh[at + 2], fresh[at + 3]];
            let to = distances.to_4(four);
            for n in 0..4 {
                // The last group's repetitions come last.
                if to[n] <= bound && at + n < count {
                    if pool.insert(to[n], four[n], live(four[n])) {
                        level.prefetch_list(four[n]);
                    }
                    bound = pool.bound();
                }
            }
            at += 4;
        }
    }
}

/// Walks a level greedily to a node nearer to the query than all its neighbours.
pub(crate) fn descend<L: Level, D: Distances>(
    level: &L,
    distances: &D,
    mut nearest: Candidate,
    scratch: &mut Scratch,
) -> Candidate {
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
        let mut consider = |distance: f32, slot: u32| {
            if distance < nearest.distance {
                nearest = Candidate { distance, slot };
            }
        };
        let mut fours = fresh.chunks_exact(4);
        for four in &mut fours {
            let four = [four[0], four[1], four[2], four[3]];
            for (distance, slot) in distances.to_4(four).into_iter().zip(four) {
                consider(distance, slot);
            }
        }
        for &slot in fours.remainder() {
            consider(distances.to(slot), slot);
        }
        if nearest.slot == before.slot {
            return nearest;
        }
    }
}
