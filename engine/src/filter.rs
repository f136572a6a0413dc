//! The search loop on packed neighbourhoods: estimates decide which neighbours are compared.
//!
//! A second loop beside that of `search`, since a hop reads another thing: there, a list, and the codes of all in it that
//! are new; here, a block, and the codes of those that may be near, a third of them. So few are fetched in the time that
//! the memory takes for one, which would be spent waiting: so several nodes are expanded before their neighbours are
//! compared. The rest is one with that loop: how it begins and ends, the comparison, pool and marks.

use crate::kernel::{Codes, Work};
use crate::packed::{Packed, Tables};
use crate::scratch::{Candidate, Scratch};
use crate::search::{Distances, Until, ahead, ask, begin, compare};

/// Nodes that are expanded at a time. Measured on 1,000,000 SIFT vectors at ef 160, for the same recall: 124 µs a query
/// with 1, 103 with 2, 94 with 4, 95 with 8.
const AT_A_TIME: usize = 4;

/// Where the walk goes, and what it looks for.
#[derive(Debug)]
pub(crate) struct Filter<'a, D> {
    pub(crate) packed: &'a Packed,
    pub(crate) tables: &'a Tables,
    pub(crate) distances: &'a D,
    pub(crate) until: Until<'a>,
}

/// As [`search_level`](crate::search::search_level), of level 0.
///
/// Complexity: about `ef` blocks read, and a distance for a third of the nodes that are new, or fewer.
pub(crate) fn search_packed<D: Distances>(
    filter: Filter<'_, D>,
    entries: &[Candidate],
    live: impl Fn(u32) -> bool,
    scratch: &mut Scratch,
) {
    scratch.pool.reset(filter.until.ef);
    begin(filter.distances, entries, &live, scratch);
    filter.distances.kernel().run(SearchPacked { filter, live, scratch });
}

struct SearchPacked<'a, D, F> {
    filter: Filter<'a, D>,
    live: F,
    scratch: &'a mut Scratch,
}

impl<D: Distances, F: Fn(u32) -> bool> Work for SearchPacked<'_, D, F> {
    type Out = ();

    #[inline(always)]
    fn run(self, kernel: impl Codes) {
        let Self { filter, live, scratch } = self;
        let Filter { packed, distances, .. } = filter;
        while let Some(count) = gather(kernel, &filter, scratch) {
            ask(distances, &scratch.fresh[..count.min(ahead(distances))]);
            compare(|slot| packed.prefetch(slot), distances, kernel, count, &live, scratch);
            scratch.pool.peek(AT_A_TIME).for_each(|slot| packed.prefetch(slot));
        }
    }
}

/// Takes the next nodes to expand, and finds those of their neighbours that are new and may be near. Says how many, or
/// `None` at the end of the search.
#[inline(always)]
fn gather<D: Distances>(kernel: impl Codes, filter: &Filter<'_, D>, scratch: &mut Scratch) -> Option<usize> {
    let &Filter { packed, tables, until, .. } = filter;
    let Scratch { pool, visited, fresh, block, counters, .. } = scratch;
    if until.watch.ends(counters.hops, AT_A_TIME as u64) {
        counters.cut_short = true;
        return None;
    }
    // More may have been published since; they have no mark.
    let limit = visited.slots();
    // Room for three more: the last group of four is filled up.
    let room = AT_A_TIME * packed.room() + 3;
    if fresh.len() < room {
        fresh.resize(room, 0);
    }
    let (mut hops, mut count, bound) = (0, 0, pool.bound());
    {
        let (mut marks, fresh) = (visited.marks(), &mut fresh[..]);
        while hops < AT_A_TIME
            && let Some(node) = pool.expand_nearest()
        {
            if until.ratio.is_finite() && pool.is_beyond(until.k, until.ratio) {
                break;
            }
            hops += 1;
            packed.near(kernel, (tables, block), (node.slot, node.distance, bound), |neighbour| {
                if neighbour < limit {
                    // Marked now that it is compared: one that is not may get a better estimate from another node.
                    fresh[count] = neighbour;
                    count += usize::from(marks.insert(neighbour));
                }
            });
        }
    }
    visited.note(&fresh[..count]);
    counters.hops += hops as u64;
    counters.distances += count as u64;
    (hops > 0).then_some(count)
}
