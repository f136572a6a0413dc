//! What searches find.

use crate::check::key_of;
use crate::error::Result;
use crate::key::{Key, RowKey};
use crate::shared::Shared;
use crate::tags::Tags;
use lodestore_engine::{Counters, Index as Graph, Neighbour};
use std::fmt;
use std::ops::Index;

/// What is fetched of each record found, besides its key and distance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fetch {
    pub(crate) payloads: bool,
    pub(crate) tags: bool,
    pub(crate) vectors: bool,
}

impl Fetch {
    /// The record found in `graph`; whoever asks holds what keeps its slot as it is, if vectors are fetched.
    pub(crate) fn hit<K: Key + ?Sized>(
        self,
        shared: &Shared,
        graph: &Graph,
        found: Neighbour,
    ) -> Result<Hit<K::Owned>> {
        let Neighbour { key, slot, distance } = found;
        let row = match self.payloads || self.tags {
            true => shared.catalog.get(&RowKey::new(graph.id(), graph.key(key)?))?,
            false => None,
        };
        let payload = row.as_ref().filter(|_| self.payloads).map(|row| row.payload.to_vec());
        let tags = row.filter(|_| self.tags).map(|row| row.read_tags()).transpose()?;
        let vector = self.vectors.then(|| graph.decoded(slot));
        Ok(Hit { key: key_of::<K>(graph, key)?, distance, payload, tags, vector })
    }
}

/// A record found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit<T> {
    /// Its key.
    pub key: T,
    /// Its exact distance from the query, in the collection's metric.
    pub distance: f32,
    /// Its payload, if [asked for](crate::Search::with_payloads).
    pub payload: Option<Vec<u8>>,
    /// Its tags, if [asked for](crate::Search::with_tags).
    pub tags: Option<Tags>,
    /// Its vector as [`Record::vector`](crate::Record::vector), if [asked for](crate::Search::with_vectors).
    pub vector: Option<Vec<f32>>,
}

/// The records found, nearest first.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// docs.put_many(&[1, 2], &[0.0, 0.0, 5.0, 5.0], None)?;
/// let hits = docs.search(&[4.0, 4.0]).run()?;
/// let keys: Vec<u64> = hits.iter().map(|hit| hit.key).collect();
/// assert_eq!(keys, [2, 1]);
/// # Ok::<(), lodestore::Error>(())
/// ```
pub struct Hits<K: Key + ?Sized> {
    hits: Vec<Hit<K::Owned>>,
    stats: SearchStats,
}

impl<K: Key + ?Sized> Clone for Hits<K> {
    fn clone(&self) -> Self {
        Self { hits: self.hits.clone(), stats: self.stats }
    }
}

impl<K: Key + ?Sized> fmt::Debug for Hits<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hits").field("hits", &self.hits).field("stats", &self.stats).finish()
    }
}

/// The work of a search.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// docs.put_many(&[1, 2], &[0.0, 0.0, 5.0, 5.0], None)?;
/// let stats = docs.search(&[4.0, 4.0]).run()?.stats();
/// assert!(stats.distances > 0);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchStats {
    /// Nodes whose neighbours were read.
    pub hops: u64,
    /// Distances computed while walking; estimates of [packed](crate::Residency::Packed) neighbourhoods do not count.
    pub distances: u64,
    /// Vectors compared exactly after a walk on [codes](crate::Codes).
    pub reranked: u64,
    /// Vectors that were not in memory and had to be read from the disk for that; a few may have turned out not to be needed.
    /// Where nobody can tell 0, which is so of vectors that are not looked at after a walk on codes.
    pub disk_reads: u64,
    /// Walks through the graph: of a search 1, or 0 if all records that may be found were compared at once.
    pub walks: u64,
    /// Times that all records that may be found were compared.
    pub scans: u64,
    /// Records that a [filter](crate::Search::filter) was asked about on the way and did not keep; many queries may have
    /// asked about all records once, before.
    pub filtered: u64,
    /// Whether it went to its end, and so found `k` records or all there are: not if a [deadline](crate::Control::deadline) has cut it short.
    pub complete: bool,
}

/// How a search finds its records. It takes what it expects to be the least work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plan {
    /// It walks through the graph; with a [filter](crate::Search::filter), past the others or among the records that may be found.
    Walk,
    /// It compares with each record that may be found.
    Scan,
    /// It walks, finds that it takes too long or not enough, and compares with each.
    WalkThenScan,
}

impl SearchStats {
    pub(crate) const NONE: Self =
        Self { hops: 0, distances: 0, reranked: 0, disk_reads: 0, walks: 0, scans: 0, filtered: 0, complete: true };

    /// How the records were found. Of a search for many queries, how some of them were.
    pub fn plan(&self) -> Plan {
        match (self.walks, self.scans) {
            (0, _) => Plan::Scan,
            (_, 0) => Plan::Walk,
            _ => Plan::WalkThenScan,
        }
    }
}

impl From<Counters> for SearchStats {
    fn from(counters: Counters) -> Self {
        let Counters { hops, distances, reranked, missed, walks, scans, refused, cut_short, unread: _ } = counters;
        let (filtered, complete) = (refused, !cut_short);
        Self { hops, distances, reranked, disk_reads: missed, walks, scans, filtered, complete }
    }
}

impl std::ops::AddAssign for SearchStats {
    fn add_assign(&mut self, more: Self) {
        self.hops += more.hops;
        self.distances += more.distances;
        self.reranked += more.reranked;
        self.disk_reads += more.disk_reads;
        self.walks += more.walks;
        self.scans += more.scans;
        self.filtered += more.filtered;
        self.complete &= more.complete;
    }
}

impl<K: Key + ?Sized> Hits<K> {
    pub(crate) fn new(hits: Vec<Hit<K::Owned>>, stats: SearchStats) -> Self {
        Self { hits, stats }
    }

    /// Records found.
    pub fn len(&self) -> usize {
        self.hits.len()
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }

    /// The records, nearest first.
    pub fn iter(&self) -> std::slice::Iter<'_, Hit<K::Owned>> {
        self.hits.iter()
    }

    /// The work it took.
    pub fn stats(&self) -> SearchStats {
        self.stats
    }
}

impl<K: Key + ?Sized> Index<usize> for Hits<K> {
    type Output = Hit<K::Owned>;

    fn index(&self, at: usize) -> &Self::Output {
        &self.hits[at]
    }
}

impl<K: Key + ?Sized> IntoIterator for Hits<K> {
    type Item = Hit<K::Owned>;
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.into_iter()
    }
}

impl<'a, K: Key + ?Sized> IntoIterator for &'a Hits<K> {
    type Item = &'a Hit<K::Owned>;
    type IntoIter = std::slice::Iter<'a, Hit<K::Owned>>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.iter()
    }
}
