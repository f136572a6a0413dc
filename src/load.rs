//! Loading: a collection made of a graph that is there already, without building it (docs/durability.md, steps C1 to C6).

use crate::builder::CollectionBuilder;
use crate::check::check_vector;
use crate::collection::Collection;
use crate::compact::Next;
use crate::components::Components;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::key::{Key, RowKey};
use crate::op;
use crate::open::reside;
use crate::shared::{Open, Shared};
use lodestore_engine::geometry::{MAX_EF_CONSTRUCTION, MAX_LEVEL, MAX_M};
use lodestore_engine::load::Given;
use lodestore_engine::{Index, StoredKey};
use std::collections::HashMap;
use std::fmt;

/// Called with the steps done and those there are; says whether to go on.
type GoOn<'a> = Box<dyn FnMut(u64, u64) -> bool + 'a>;

/// A collection to be made of a [`Graph`]: see [`CollectionBuilder::load`].
#[must_use = "nothing is loaded until it is run"]
pub struct Load<'a, K: Key> {
    builder: CollectionBuilder<K>,
    graph: &'a Graph,
    relink: bool,
    go_on: GoOn<'a>,
}

impl<K: Key> fmt::Debug for Load<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("nodes", &self.graph.len()).field("relink", &self.relink).finish_non_exhaustive()
    }
}

/// What a [`Load`] has made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded<K: Key> {
    /// The collection.
    pub collection: Collection<K>,
    /// Nodes taken over, deleted ones and duplicates included.
    pub nodes: u64,
    /// Records that are [marked as deleted](Collection::mark_deleted).
    pub deleted: u64,
    /// Nodes that are no records since another has the same key.
    pub duplicates: u64,
    /// Records that no walk from the entry point could reach, before they were [linked](Load::relink).
    pub unreachable: u64,
}

impl CollectionBuilder<u64> {
    /// Makes the collection of a graph, without building it: nodes keep their links and levels, so that searches find
    /// what they found before, at the same `ef`. Dimension, M and ef_construction are the graph's unless they were set.
    /// A collection of that name must not be there, or be empty.
    ///
    /// Payloads are empty. Deleted nodes are records that are [marked as deleted](Collection::mark_deleted). Of several
    /// nodes of one key the last that is not deleted counts, or else the last; searches pass through the others until they
    /// are unlinked.
    pub fn load(self, graph: &Graph) -> Load<'_, u64> {
        Load { builder: self, graph, relink: true, go_on: Box::new(|_, _| true) }
    }
}

impl<'a, K: Key> Load<'a, K> {
    /// Whether records that no walk reaches get a link from their nearest neighbours. Default: true, so that every
    /// record is found; with false the graph stays exactly as it is.
    pub fn relink(mut self, relink: bool) -> Self {
        self.relink = relink;
        self
    }

    /// Asks now and then, with the steps done and those there are, two for each node, whether to go on.
    pub fn while_told(mut self, go_on: impl FnMut(u64, u64) -> bool + 'a) -> Self {
        self.go_on = Box::new(go_on);
        self
    }

    /// Loads. Takes about as long as copying the graph and its vectors; writes of the store wait meanwhile. After a crash
    /// the collection holds all of it, or is empty, or was never made.
    ///
    /// # Errors
    /// [`Error::Graph`] if a number in the graph is out of bounds, a link leads to the node itself or to a level that
    /// the other is not on, or the entry point is not on the highest level: then nothing was made. Of vectors as
    /// [`Collection::put`]; [`Error::CollectionExists`] if the collection is there and not empty; [`Error::Cancelled`] if
    /// it was told not to go on. These leave an empty collection, or none.
    pub fn run(mut self) -> Result<Loaded<K>> {
        let graph = self.graph;
        let levels: Vec<u8> = graph.levels().iter().map(|&level| level.min(MAX_LEVEL)).collect();
        let entry = graph.entry();
        let (dead, marked) = kinds_of(graph);
        let links = |node, level| graph.links(node, level);
        let (dead, marked) = (&dead[..], &marked[..]);
        let given = Given { vectors: &[], keys: graph.keys(), levels: &levels, dead, marked, links: &links, entry };
        if graph.vectors().len() != graph.len() * graph.dim() {
            let (got, expected) = (graph.vectors().len(), graph.len() * graph.dim());
            return Err(Error::Graph(format!("{got} components of vectors, {expected} expected")));
        }
        // A wrong graph leaves nothing behind.
        given.check().map_err(Error::Graph)?;
        let m = graph.m().clamp(2, MAX_M);
        let ef = graph.ef_construction().clamp(1, MAX_EF_CONSTRUCTION);
        let collection = self.builder.or(graph.dim(), m, ef)?.open_or_create()?;
        let open = collection.open.clone();
        let stored = Components::from(graph.vectors()).stored(open.shape(), 0)?;
        let width = open.index().geometry().vector_bytes();
        let mut rows = stored.chunks_exact(width).enumerate();
        rows.try_for_each(|(row, vector)| check_vector(&open, vector, row))?;
        let given = Given { vectors: &stored, ..given };
        let unreachable = collection.shared().load(&open, &given, self.relink, &mut self.go_on)?;
        let count = |nodes: &[bool]| nodes.iter().filter(|&&is| is).count() as u64;
        let (deleted, duplicates) = (count(marked), count(dead));
        Ok(Loaded { collection, nodes: graph.len() as u64, deleted, duplicates, unreachable })
    }
}

/// Which nodes are dead, and which are marked as deleted: of several of one key one counts, and the others are dead.
fn kinds_of(graph: &Graph) -> (Vec<bool>, Vec<bool>) {
    let (mut dead, mut marked) = (vec![false; graph.len()], graph.deleted().to_vec());
    let mut counts: HashMap<u64, usize> = HashMap::with_capacity(graph.len());
    for (node, &key) in graph.keys().iter().enumerate() {
        let other = counts.entry(key).or_insert(node);
        if *other == node {
            continue;
        }
        let loser = if marked[node] && !marked[*other] { node } else { std::mem::replace(other, node) };
        (dead[loser], marked[loser]) = (true, false);
    }
    (dead, marked)
}

impl Shared {
    /// Puts a graph in the place of an empty collection. Returns how many records no walk reaches.
    fn load(
        &self,
        open: &Open,
        given: &Given<'_>,
        relink: bool,
        go_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<u64> {
        let make = |old: &Index| {
            if old.live() + old.marked() != 0 {
                return Err(Error::CollectionExists { name: open.name.clone() });
            }
            // Nobody else gives out numbers while the gate is held.
            let lsn = self.last_lsn() + 1;
            let loaded = old.load(&*self.disk, self.uuid, given, (lsn, relink), go_on)?;
            let (index, unreachable) = loaded.ok_or(Error::Cancelled)?;
            reside(&index, &self.options)?;
            let row_key = |key| RowKey::new(open.id, StoredKey::Number(key));
            let nodes = || (0..).zip(given.keys.iter().zip(given.dead).zip(given.marked));
            let records =
                nodes().filter(|&(_, ((_, &dead), _))| !dead).map(|(slot, ((&key, _), _))| (row_key(key), slot));
            let marked = nodes().filter(|&(_, (_, &marked))| marked).map(|(slot, _)| slot);
            let moving = self.catalog.begin_load(open.id, records.collect(), marked.collect())?;
            Ok((Next { index, moving }, (lsn, unreachable)))
        };
        let (done, (lsn, unreachable)) = self.replace_generation(open, make, op::append_load)?;
        debug_assert_eq!(done, lsn);
        Ok(unreachable)
    }
}
