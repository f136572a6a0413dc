//! Linking the nodes of one write together, so that any number of threads makes the same graph.
//!
//! They are linked in rounds. All nodes of a round look for their neighbours in the graph as it was before the round,
//! and write their own lists, which nobody can see yet. Then the links to them are sorted by the list that they go to,
//! and added list by list. Neither step depends on who does what first. A round is small beside the graph, and beside
//! what the same write has linked before it, so that few of a node's true neighbours are in its own round, where it
//! cannot see them (batches with prefix doubling: Dobson and others 2024, "ParlayANN", section 3). Nor does the order
//! of the rows matter: rows that come sorted have their neighbours next to them, so the order is drawn anew.

use crate::index::Index;
use crate::insert::{Link, Nearby, Ways};
use crate::scratch::Dropped;
use crate::seeded::Seeded;
use lodestore_wal::Result;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// The largest round: one part in so many of the graph,
const OF_GRAPH: usize = 64;
/// and of what the write has linked already;
const OF_WRITE: usize = 4;
/// from the first so many on,
const FIRST: usize = 4;
/// and never more than these, since their neighbours wait in memory.
const MOST: usize = 1024;

impl Index {
    /// Links the slots of one write, before which `before` slots had been given out, as [`link`](Self::link) does one:
    /// with the threads of the pool that this runs in, or, if not `parallel`, alone. The graph is the same in both
    /// cases, as long as nobody else writes meanwhile.
    ///
    /// # Errors
    /// As [`link`](Self::link).
    pub fn link_many(&self, slots: &[u32], before: u32, parallel: bool) -> Result<()> {
        let (begun, sweeping) = (self.doubt.begin(), || self.condemned.read().is_some());
        let before_it = sweeping();
        let linked = self.link_rounds(slots, before, parallel);
        self.doubt.end(begun, slots.len(), before_it || sweeping());
        linked
    }

    fn link_rounds(&self, slots: &[u32], before: u32, parallel: bool) -> Result<()> {
        let Some(&first) = slots.first() else { return Ok(()) };
        let mut order = slots.to_vec();
        shuffle(&mut order, self.geometry().seed ^ u64::from(first));
        let mut at = 0;
        while at < order.len() {
            let most = round_after(before as usize, at);
            let highest = self.entry().map(|entry| entry.level);
            // A node above all others is linked by itself, and is then where walks begin.
            let below = |&&slot: &&u32| highest.is_some_and(|highest| self.id_of(slot).level <= highest);
            let count = order[at..].iter().take(most).take_while(below).count();
            if count > 1 {
                self.link_round(&order[at..at + count], parallel)?;
            } else {
                self.link(order[at])?;
            }
            at += count.max(1);
        }
        Ok(())
    }

    fn link_round(&self, slots: &[u32], parallel: bool) -> Result<()> {
        let Some(entry) = self.entry() else { return slots.iter().try_for_each(|&slot| self.link(slot)) };
        let near: Vec<Nearby> = each(parallel, slots, |&slot| {
            self.scratch.with(|scratch| self.prepare(slot, self.id_of(slot).level, entry, scratch))
        })?;
        let mut links: Vec<(u32, Link)> = Vec::new();
        for (node, (&slot, near)) in slots.iter().zip(&near).enumerate() {
            for (level, neighbours) in near.own.iter().enumerate() {
                links.extend(neighbours.iter().map(|n| (node as u32, Link::back(n, level, slot))));
            }
        }
        // Of a list, the nearest first.
        links.sort_unstable_by(|(_, a), (_, b)| {
            let distance = || a.distance.total_cmp(&b.distance);
            (a.level, a.node).cmp(&(b.level, b.node)).then_with(distance).then(a.new.cmp(&b.new))
        });
        let lists: Vec<&[(u32, Link)]> =
            links.chunk_by(|(_, a), (_, b)| (a.level, a.node) == (b.level, b.node)).collect();
        // For each node, a bit for each level on which somebody links to it.
        let linked: Vec<AtomicU32> = slots.iter().map(|_| AtomicU32::new(0)).collect();
        // With the node for whose sake each link was given up.
        let dropped: Vec<Vec<(u32, Dropped)>> = each(parallel, &lists, |list| {
            let mut dropped = Vec::new();
            self.scratch.with(|scratch| {
                list.iter().try_for_each(|&(node, link)| {
                    self.attach(link, scratch)?;
                    dropped.extend(scratch.dropped.drain(..).map(|lost| (node, lost)));
                    Ok(())
                })
            })?;
            // Only now: a later link may have pushed out an earlier one.
            for (node, link) in *list {
                if self.neighbours(link.node, link.level).any(|n| n == link.new) {
                    linked[*node as usize].fetch_or(1 << link.level, Ordering::Relaxed);
                }
            }
            Ok(dropped)
        })?;
        let paths = self.paths(near.iter().map(|near| &near.walked[..]));
        let ways = |node: u32| Ways { paths: &paths, walk: &near[node as usize].walked };
        // Whether a node is lost is seen only now that all lists are as they stay.
        let lost: Vec<Vec<(u32, Dropped)>> = each(parallel, &dropped, |dropped| {
            Ok(dropped.iter().copied().filter(|(node, dropped)| self.is_lost(dropped, ways(*node))).collect())
        })?;
        for (node, lost) in lost.into_iter().flatten() {
            // Another may have been given back what led there.
            if self.is_lost(&lost, ways(node)) {
                self.take_back(lost, ways(node))?;
            }
        }
        for ((node, (&slot, near)), linked) in (0..).zip(slots.iter().zip(&near)).zip(linked) {
            let linked = linked.into_inner();
            for at in near.own.iter().enumerate().filter(|(level, _)| linked & 1 << level == 0) {
                self.insist(slot, (at.0, at.1), ways(node))?;
            }
            self.settle(slot);
        }
        Ok(())
    }
}

/// The most nodes of a round, when the write found `before` nodes and has linked `done` of its own.
fn round_after(before: usize, done: usize) -> usize {
    (done / OF_WRITE).max(FIRST).min((before + done) / OF_GRAPH).clamp(1, MOST)
}

/// In the same order for the same seed (Fisher and Yates).
fn shuffle(slots: &mut [u32], seed: u64) {
    let mut seeded = Seeded::new(seed);
    for left in (2..=slots.len()).rev() {
        slots.swap(left - 1, seeded.below(left));
    }
}

/// What `f` makes of each, in order.
fn each<T: Sync, R: Send>(parallel: bool, of: &[T], f: impl Fn(&T) -> Result<R> + Send + Sync) -> Result<Vec<R>> {
    /// Few enough that no thread is left alone with many.
    const AT_ONCE: usize = 4;
    if parallel { of.par_iter().with_max_len(AT_ONCE).map(f).collect() } else { of.iter().map(f).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_grow_with_the_graph_and_with_the_write() {
        let rounds = |before: usize, count: usize| {
            let mut rounds = Vec::new();
            let mut done = 0;
            while done < count {
                rounds.push(round_after(before, done).min(count - done));
                done += rounds[rounds.len() - 1];
            }
            rounds
        };
        assert_eq!(rounds(0, 130)[..128], [1; 128]);
        assert_eq!(rounds(0, 134)[128..], [2, 2, 2]);
        assert_eq!(rounds(1_000_000, 30), [4, 4, 4, 4, 4, 5, 5]);
        assert_eq!(rounds(1_000_000, 100_000).into_iter().max(), Some(MOST));
        assert!(rounds(1_000_000, 10_000).len() < 60);
    }

    #[test]
    fn a_shuffle_keeps_all_and_depends_on_its_seed_only() {
        let shuffled = |seed| {
            let mut slots: Vec<u32> = (0..1000).collect();
            shuffle(&mut slots, seed);
            slots
        };
        let mut slots = shuffled(7);
        assert_eq!(slots, shuffled(7));
        assert_ne!(slots, shuffled(8));
        assert!(slots.iter().zip(0..).filter(|&(&slot, at)| slot == at).count() < 20);
        slots.sort_unstable();
        assert!(slots.into_iter().eq(0..1000));
    }
}
