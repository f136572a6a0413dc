//! The one search loop: best-first search of one level (Malkov and Yashunin 2018, Algorithm 2), for queries and inserts.
//!
//! The published algorithm keeps two heaps; here one sorted pool serves as both, since the candidates worth expanding
//! are exactly the unexpanded ones among the `ef` nearest. The neighbours of a node are gathered first and all their
//! lines asked for, then computed four at a time, so that the memory's latency overlaps.

use crate::metric::Point;
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

/// The nodes of a graph as points.
pub(crate) trait Points {
    /// Slots below this are published.
    fn limit(&self) -> u32;
    fn point(&self, slot: u32) -> Point<'_>;
    fn distance(&self, query: Point<'_>, slot: u32) -> f32;
    fn distance_4(&self, query: Point<'_>, slots: [u32; 4]) -> [f32; 4];
    /// Asks the memory for the point.
    fn prefetch(&self, slot: u32);
    /// Bytes that [`prefetch`](Self::prefetch) asks for.
    fn prefetched(&self) -> usize;
}

/// Searches a level from `entries` for the `ef` nearest live nodes; the result is in `scratch.pool`.
///
/// Complexity: about `ef` lists read, and a distance for each of their nodes not seen before.
pub(crate) fn search_level<L: Level, P: Points>(
    level: &L,
    points: &P,
    query: Point<'_>,
    entries: &[Candidate],
    ef: usize,
    live: impl Fn(u32) -> bool,
    scratch: &mut Scratch,
) {
    let Scratch { pool, visited, fresh, counters } = scratch;
    let limit = points.limit();
    let ahead = (AHEAD_BYTES / points.prefetched()).clamp(4, 64);
    pool.reset(ef);
    visited.reset(limit as usize);
    for entry in entries {
        if entry.slot < limit && visited.insert(entry.slot) {
            pool.insert(entry.distance, entry.slot, live(entry.slot));
        }
    }
    while let Some(slot) = pool.expand_next() {
        fresh.clear();
        for link in level.list(slot) {
            let neighbour = link.load(Ordering::Acquire);
            if neighbour == END {
                break;
            }
            if neighbour < limit && visited.insert(neighbour) {
                if fresh.len() < ahead {
                    points.prefetch(neighbour);
                }
                fresh.push(neighbour);
            }
        }
        counters.hops += 1;
        counters.distances += fresh.len() as u64;
        // Likely the next to be expanded: its list arrives while the distances are computed.
        if let Some(next) = pool.peek_next() {
            level.prefetch_list(next);
        }
        let mut at = 0;
        while at + 4 <= fresh.len() {
            for later in fresh.iter().skip(at + ahead).take(4) {
                points.prefetch(*later);
            }
            let four = [fresh[at], fresh[at + 1], fresh[at + 2], fresh[at + 3]];
            let distances = points.distance_4(query, four);
            for (distance, neighbour) in distances.into_iter().zip(four) {
                offer(pool, level, distance, neighbour, &live);
            }
            at += 4;
        }
        for &neighbour in &fresh[at..] {
            offer(pool, level, points.distance(query, neighbour), neighbour, &live);
        }
    }
}

#[inline]
fn offer<L: Level>(pool: &mut crate::scratch::Pool, level: &L, distance: f32, slot: u32, live: &impl Fn(u32) -> bool) {
    if distance <= pool.bound() {
        pool.insert(distance, slot, live(slot));
        if pool.peek_next() == Some(slot) {
            level.prefetch_list(slot);
        }
    }
}

/// Walks a level greedily to a node nearer to the query than all its neighbours.
pub(crate) fn descend<L: Level, P: Points>(
    level: &L,
    points: &P,
    query: Point<'_>,
    mut nearest: Candidate,
    scratch: &mut Scratch,
) -> Candidate {
    let limit = points.limit();
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
                points.prefetch(neighbour);
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
            for (distance, slot) in points.distance_4(query, four).into_iter().zip(four) {
                consider(distance, slot);
            }
        }
        for &slot in fours.remainder() {
            consider(points.distance(query, slot), slot);
        }
        if nearest.slot == before.slot {
            return nearest;
        }
    }
}
