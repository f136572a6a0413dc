//! An HNSW graph with its vectors, in memory: what collections are loaded from and handed out as.

use crate::error::{Error, Result};

/// An HNSW graph with its vectors, by numbers of nodes from 0 up: to move an index from another library into a
/// collection without building it again ([`CollectionBuilder::load`](crate::CollectionBuilder::load)), or out of it
/// ([`Collection::graph`](crate::Collection::graph)). Files of other libraries become one and are made of one by
/// [`foreign`](crate::foreign).
///
/// ```
/// use lodestore::{Graph, Metric, Store};
/// let mut graph = Graph::new(1, 16, 200);
/// graph.add(70, &[0.0], &[&[1]])?; // node 0, on level 0, linked to node 1
/// graph.add(71, &[5.0], &[&[0], &[]])?; // node 1, also on level 1
/// graph.set_entry(1);
/// let store = Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").metric(Metric::L2).load(&graph).run()?.collection;
/// assert_eq!(docs.search(&[1.0]).k(1).run()?[0].key, 70);
/// assert_eq!(docs.graph()?, graph);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    dim: usize,
    m: usize,
    ef_construction: usize,
    keys: Vec<u64>,
    deleted: Vec<bool>,
    vectors: Vec<f32>,
    levels: Vec<u8>,
    /// Of each node, which of `ends` is that of its list of level 0.
    lists: Vec<usize>,
    /// Where in `links` each list ends; it begins where the one before ends.
    ends: Vec<usize>,
    links: Vec<u32>,
    entry: Option<u32>,
}

impl Graph {
    /// An empty one, of vectors of `dim` components, with up to `m` links of a node on each level above 0 and twice as
    /// many on level 0. `ef_construction` is how many candidates are to be kept when more is inserted.
    pub fn new(dim: usize, m: usize, ef_construction: usize) -> Self {
        Self { dim, m, ef_construction, ..Self::default() }
    }

    /// Adds a node, with the numbers of its neighbours on each of its levels from 0 up. They are looked at when the graph
    /// is loaded, and may be of nodes that are still to come.
    ///
    /// # Errors
    /// [`Error::Graph`] if the vector has not the graph's dimension, there is no list, or more than 256.
    pub fn add(&mut self, key: u64, vector: &[f32], lists: &[&[u32]]) -> Result<()> {
        if vector.len() != self.dim || lists.is_empty() || lists.len() > 256 {
            let (node, got) = (self.len(), vector.len());
            let what =
                format!("node {node} has {got} components and {} lists; the dimension is {}", lists.len(), self.dim);
            return Err(Error::Graph(what));
        }
        self.begin(key, false);
        self.vectors.extend_from_slice(vector);
        lists.iter().for_each(|list| self.push_list(list.iter().copied()));
        Ok(())
    }

    /// Begins a node, which has no vector and no list yet.
    pub(crate) fn begin(&mut self, key: u64, deleted: bool) {
        self.keys.push(key);
        self.deleted.push(deleted);
        self.levels.push(0);
        self.lists.push(self.ends.len());
    }

    /// Adds components to the vector of the last node.
    pub(crate) fn extend_vector(&mut self, components: impl IntoIterator<Item = f32>) {
        self.vectors.extend(components);
    }

    /// Adds the list of the next level of the last node.
    pub(crate) fn push_list(&mut self, links: impl IntoIterator<Item = u32>) {
        self.links.extend(links);
        self.ends.push(self.links.len());
        if let (Some(level), Some(first)) = (self.levels.last_mut(), self.lists.last()) {
            *level = (self.ends.len() - first - 1) as u8;
        }
    }

    /// Makes room for so many nodes.
    pub(crate) fn reserve(&mut self, nodes: usize, links: usize) {
        self.keys.reserve(nodes);
        self.deleted.reserve(nodes);
        self.levels.reserve(nodes);
        self.lists.reserve(nodes);
        self.ends.reserve(nodes);
        self.vectors.reserve(nodes * self.dim);
        self.links.reserve(links);
    }

    /// Says that searches pass through a node and do not find it.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn set_deleted(&mut self, node: u32, deleted: bool) {
        self.deleted[node as usize] = deleted;
    }

    /// Says where searches begin: at a node of the highest level. Default: none, which only an empty graph may have.
    pub fn set_entry(&mut self, node: impl Into<Option<u32>>) {
        self.entry = node.into();
    }

    /// Sets how many links a node has at most on the levels above 0. Longer lists stay, until they are loaded or written.
    pub fn set_m(&mut self, m: usize) {
        self.m = m;
    }

    /// Sets how many candidates are to be kept when more is inserted.
    pub fn set_ef_construction(&mut self, ef_construction: usize) {
        self.ef_construction = ef_construction;
    }

    /// Components of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Links of a node on the levels above 0, at most.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Candidates kept while inserting.
    pub fn ef_construction(&self) -> usize {
        self.ef_construction
    }

    /// Nodes, deleted ones included.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Where searches begin.
    pub fn entry(&self) -> Option<u32> {
        self.entry
    }

    /// The key of each node.
    pub fn keys(&self) -> &[u64] {
        &self.keys
    }

    /// Which nodes searches do not find.
    pub fn deleted(&self) -> &[bool] {
        &self.deleted
    }

    /// The highest level of each node.
    pub fn levels(&self) -> &[u8] {
        &self.levels
    }

    /// All vectors, row by row.
    pub fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// The vector of a node.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn vector(&self, node: u32) -> &[f32] {
        &self.vectors[node as usize * self.dim..][..self.dim]
    }

    /// The neighbours of a node on a level, none if it is not on it.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn links(&self, node: u32, level: u8) -> &[u32] {
        if level > self.levels[node as usize] {
            return &[];
        }
        let at = self.lists[node as usize] + usize::from(level);
        let from = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.links[from..self.ends[at]]
    }

    /// Replaces the vectors, which are as many.
    pub(crate) fn map_vectors(&mut self, f: impl Fn(&mut [f32])) {
        self.vectors.chunks_exact_mut(self.dim.max(1)).for_each(f);
    }
}
