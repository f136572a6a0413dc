//! Handing out: the graph of a collection, with its vectors.

use crate::collection::Collection;
use crate::error::Result;
use crate::graph::Graph;
use crate::shared::{Open, Shared};
use lodestore_engine::Index;

/// Not a node: of a slot that is not handed out, its number.
const NONE: u32 = u32::MAX;

impl Collection<u64> {
    /// A copy of its graph, with vectors as `f32` and numbered from 0 up without holes: see [`Graph`]. Records that are
    /// [marked as deleted](Self::mark_deleted) are deleted nodes of it. What was removed or replaced is unlinked first and
    /// is not in it. Searches go on meanwhile, writes wait while it is copied.
    ///
    /// # Errors
    /// If the store is closed; of the segments.
    pub fn graph(&self) -> Result<Graph> {
        self.shared().graph(&self.open)
    }

    /// Nodes that [`graph`](Self::graph) has, and the levels of all of them added up: what the size of an index of
    /// another library follows from. Takes a look at every slot.
    ///
    /// # Errors
    /// If the store is closed.
    pub fn graph_size(&self) -> Result<(u64, u64)> {
        self.shared().check_open()?;
        self.open.reading(|index| {
            let levels = slots_of(index).map(|slot| u64::from(index.id_of(slot).level));
            Ok(levels.fold((0, 0), |(nodes, levels), level| (nodes + 1, levels + level)))
        })
    }
}

/// The slots with a record, also of one that is marked as deleted.
fn slots_of(index: &Index) -> impl Iterator<Item = u32> + '_ {
    (0..index.next_slot()).filter(|&slot| !index.is_gone(slot))
}

impl Shared {
    fn graph(&self, open: &Open) -> Result<Graph> {
        let _number = self.checkpointing.lock();
        self.check_open()?;
        self.link_pending()?;
        if open.index().dead() > 0 {
            self.sweep_one(&open.index())?;
        }
        let _gate = self.gate.write();
        self.poison.check()?;
        let index = open.index();
        let geometry = index.geometry();
        let slots: Vec<u32> = slots_of(&index).collect();
        let mut numbers = vec![NONE; index.next_slot() as usize];
        for (&slot, number) in slots.iter().zip(0..) {
            numbers[slot as usize] = number;
        }
        let number = |slot: u32| numbers.get(slot as usize).copied().filter(|&number| number != NONE);
        let mut graph = Graph::new(geometry.dim, geometry.m, geometry.ef_construction);
        graph.reserve(slots.len(), 0);
        let mut floats = Vec::new();
        for &slot in &slots {
            let id = index.checked_id(slot)?;
            graph.begin(id.key, index.is_marked(slot));
            geometry.element.decode(index.vector(slot), geometry.dim, &mut floats);
            graph.extend_vector(floats.drain(..));
            (0..=id.level).for_each(|level| graph.push_list(index.neighbours(slot, level).filter_map(number)));
        }
        graph.set_entry(index.entry_slot().and_then(number));
        Ok(graph)
    }
}
