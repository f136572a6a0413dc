//! The search loop among some of the nodes: those that a filter keeps.
//!
//! The others are neither compared nor expanded, and take no place in the pool, so a walk takes about as long as one of
//! all nodes. But they hold the graph together: where a node has few neighbours that are kept, the lists of the others
//! are read too, for the kept ones among their neighbours (as ACORN-1 does, Patel and others 2024, "ACORN: Performant
//! and Predicate-Agnostic Search Over Vector Embeddings and Structured Data"). Unlike there, no more lists are read than it
//! takes to meet as many as a list has room for, and the walk begins at several nodes: what is kept may lie far from the
//! query.

use crate::kernel::{Codes, Work};
use crate::scratch::{Candidate, Scratch};
use crate::search::{Distances, END, Level, Until, ahead, ask, begin, compare};
use std::sync::atomic::{AtomicU32, Ordering};

/// Lists that are asked for before the first is read.
const LISTS_AHEAD: usize = 6;

/// Where the walk goes, and how long.
#[derive(Debug)]
pub(crate) struct Among<'a, L, D> {
    pub(crate) level: &'a L,
    pub(crate) distances: &'a D,
    pub(crate) until: Until<'a>,
    /// Lists that may be read: so many that it would have been less work to compare all that are kept.
    pub(crate) most: u64,
}

/// As [`search_level`](crate::search::search_level), among the nodes that `keeps` says are to be kept, from `seeds`, which
/// are, and from the surroundings of `from`, which need not be. Says whether it came to its end before `most` lists.
pub(crate) fn search_among<L: Level, D: Distances>(
    among: Among<'_, L, D>,
    from: Candidate,
    seeds: &[u32],
    mut keeps: impl FnMut(u32) -> bool,
    scratch: &mut Scratch,
) -> bool {
    let Among { distances, until, .. } = among;
    scratch.pool.reset(until.ef);
    begin(distances, &[], &|_| true, scratch);
    scratch.through.reset(distances.limit() as usize);
    // They are compared as the neighbours of a node are.
    let first = if keeps(from.slot) { Some(from.slot) } else { None };
    scratch.fresh.clear();
    for slot in seeds.iter().copied().chain(first).filter(|&slot| slot < distances.limit()) {
        if scratch.visited.insert(slot) {
            scratch.visited.note(&[slot]);
            scratch.fresh.push(slot);
        }
    }
    let count = scratch.fresh.len();
    scratch.fresh.resize(count + 3, 0);
    scratch.counters.distances += count as u64;
    ask(distances, &scratch.fresh[..count.min(ahead(distances))]);
    distances.kernel().run(SearchAmong { among, from: from.slot, keeps, count, scratch })
}

struct SearchAmong<'a, 'b, L, D, F> {
    among: Among<'a, L, D>,
    from: u32,
    keeps: F,
    count: usize,
    scratch: &'b mut Scratch,
}

impl<L: Level, D: Distances, F: FnMut(u32) -> bool> Work for SearchAmong<'_, '_, L, D, F> {
    type Out = bool;

    #[inline(always)]
    fn run(self, kernel: impl Codes) -> bool {
        let Self { among: Among { level, distances, until, most }, from, mut keeps, count, scratch } = self;
        compare(|_| {}, distances, kernel, count, &|_| true, scratch);
        let (mut left, mut hops) = (most, 0);
        let mut next = Some(from);
        while let Some(slot) = next {
            hops += 1;
            if until.watch.ends(hops, 1) {
                scratch.counters.cut_short = true;
                return true;
            }
            let (count, lists) = gather(level, slot, &mut keeps, scratch);
            ask(distances, &scratch.fresh[..count.min(ahead(distances))]);
            compare(|slot| level.prefetch_list(slot), distances, kernel, count, &|_| true, scratch);
            if left < lists {
                return false;
            }
            left -= lists;
            next = scratch.pool.expand_next();
            if until.ratio.is_finite() && scratch.pool.is_beyond(until.k, until.ratio) {
                return true;
            }
        }
        true
    }
}

/// Finds the kept neighbours of a node that are new, and those of its other neighbours if it has few. Says how many, and
/// how many lists were read.
#[inline(always)]
fn gather<L: Level>(level: &L, slot: u32, keeps: &mut impl FnMut(u32) -> bool, scratch: &mut Scratch) -> (usize, u64) {
    let Scratch { pool, visited, through, passed, fresh, counters, .. } = scratch;
    // More may have been published since; they have no mark.
    let limit = visited.slots();
    let list = level.list(slot);
    // As many as a node of a graph of the kept ones alone would have. With half as many, recall@10 at ef 64 of a tenth of
    // 100,000 SIFT vectors was 0.947, with three quarters 0.978, with all 0.989, as without a filter.
    let enough = list.len();
    // Room for one list more than is enough, and for three more: the last group of four is filled up.
    if fresh.len() < 2 * enough + 3 {
        fresh.resize(2 * enough + 3, 0);
    }
    passed.clear();
    let (mut count, mut met, mut lists) = (0, 0, 1);
    let (mut marks, fresh) = (visited.marks(), &mut fresh[..]);
    for neighbour in known(list, limit) {
        if keeps(neighbour) {
            met += 1;
            fresh[count] = neighbour;
            count += usize::from(marks.insert(neighbour));
        } else if !through.has(neighbour) {
            passed.push(neighbour);
        }
    }
    if met < enough {
        passed.iter().take(LISTS_AHEAD).for_each(|&other| level.prefetch_list(other));
        for (at, &other) in passed.iter().enumerate() {
            if let Some(&later) = passed.get(at + LISTS_AHEAD) {
                level.prefetch_list(later);
            }
            through.insert(other);
            through.note(&[other]);
            lists += 1;
            for neighbour in known(level.list(other), limit) {
                if keeps(neighbour) {
                    met += 1;
                    fresh[count] = neighbour;
                    count += usize::from(marks.insert(neighbour));
                }
            }
            if met >= enough {
                break;
            }
        }
    }
    visited.note(&fresh[..count]);
    counters.hops += lists;
    counters.distances += count as u64;
    // Likely the next to be expanded: its list arrives while the distances are computed.
    if let Some(next) = pool.peek_next() {
        level.prefetch_list(next);
    }
    (count, lists)
}

/// The neighbours in a list that are below `limit`.
#[inline(always)]
fn known(list: &[AtomicU32], limit: u32) -> impl Iterator<Item = u32> + '_ {
    let neighbours = list.iter().map(|link| link.load(Ordering::Acquire)).take_while(|&slot| slot != END);
    neighbours.filter(move |&slot| slot < limit)
}
