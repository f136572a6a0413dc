//! Asking for nearest neighbours.

use crate::check::check_queries;
use crate::components::Components;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::shared::{Open, Shared};
use lodestore_engine::{Counters, Index as Graph, Neighbour, Query};
use std::fmt;
use std::ops::Index;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const DEFAULT_K: usize = 10;
const DEFAULT_EF: usize = 64;

/// A search to be set up and [run](Self::run).
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// docs.put_many(&[1, 2], &[0.0, 0.0, 5.0, 5.0], None)?;
/// let hits = docs.search(&[4.0, 4.0]).k(1).ef(100).with_payloads().run()?;
/// assert_eq!((hits[0].key, hits[0].distance), (2, 2.0));
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a search does nothing until it is run"]
pub struct Search<'a, K: Key> {
    shared: &'a Shared,
    open: &'a Open,
    query: Components<'a>,
    k: usize,
    ef: usize,
    ratio: Option<f32>,
    recall: Option<f64>,
    payloads: bool,
    which: Which<'a, K>,
}

/// Which records are compared.
#[derive(Clone, Copy)]
struct Which<'a, K: Key> {
    exact: bool,
    filter: Option<&'a Filter<'a, K>>,
}

/// Says of a key whether its record may be found.
type Filter<'a, K> = dyn Fn(<K as Key>::Owned) -> bool + Sync + 'a;

impl<K: Key> fmt::Debug for Which<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Which").field("exact", &self.exact).field("filter", &self.filter.is_some()).finish()
    }
}

impl<K: Key> Which<'_, K> {
    const ALL: Self = Self { exact: false, filter: None };

    fn search(&self, graph: &Graph, query: Query<'_>, k: usize, ef: usize, ratio: f32) -> (Vec<Neighbour>, Counters) {
        let keep = self.filter.map(|filter| move |key| filter(K::from_u64(key)));
        match (self.exact, &keep) {
            (true, None) => graph.search_exact(query, k, None),
            (true, Some(keep)) => graph.search_exact(query, k, Some(keep)),
            (false, None) => graph.search(query, k, ef, ratio),
            (false, Some(keep)) => graph.search_where(query, k, ef, ratio, keep),
        }
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
    /// Its payload, if [asked for](Search::with_payloads).
    pub payload: Option<Vec<u8>>,
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
#[derive(Clone, Debug)]
pub struct Hits<K: Key> {
    hits: Vec<Hit<K::Owned>>,
    stats: SearchStats,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchStats {
    /// Nodes whose neighbours were read.
    pub hops: u64,
    /// Distances computed while walking; estimates of [packed](crate::Residency::Packed) neighbourhoods do not count.
    pub distances: u64,
    /// Vectors compared exactly after a walk on [codes](crate::Codes).
    pub reranked: u64,
}

impl From<Counters> for SearchStats {
    fn from(counters: Counters) -> Self {
        Self { hops: counters.hops, distances: counters.distances, reranked: counters.reranked }
    }
}

impl<'a, K: Key> Search<'a, K> {
    pub(crate) fn new(shared: &'a Shared, open: &'a Open, query: Components<'a>) -> Self {
        Self {
            shared,
            open,
            query,
            k: DEFAULT_K,
            ef: DEFAULT_EF,
            ratio: None,
            recall: None,
            payloads: false,
            which: Which::ALL,
        }
    }

    /// How many records to find. Default: 10. Fewer come back if there are fewer.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// Candidates kept on the way; more find more of the true neighbours and take longer. Default: 64. Less than `k`
    /// counts as `k`.
    pub fn ef(mut self, ef: usize) -> Self {
        self.ef = ef;
        self
    }

    /// Ends the walk before `ef` candidates are looked at, once the next one's distance is more than `ratio` times that
    /// of the `k`th nearest found: easy queries take less work, hard ones up to `ef`. Default: never, so that `ef` alone
    /// counts, as in hnswlib. On 30,000 sentence vectors recall 0.99 took 1,044 distances a query with `ef(128)` and
    /// 1.15, and about 1,400 by `ef` alone; where all queries are alike it gains little. Without effect on inner
    /// products.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put_many(&[1, 2], &[0.0, 0.0, 5.0, 5.0], None)?;
    /// let hits = docs.search(&[4.0, 4.0]).k(1).ef(200).stop_beyond(1.2).run()?;
    /// assert_eq!(hits[0].key, 2);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn stop_beyond(mut self, ratio: f32) -> Self {
        self.ratio = Some(ratio);
        self
    }

    /// Instead of an [`ef`](Self::ef): the share of the true neighbours, 0 to 1, that searches are to find on average.
    /// The least `ef` that did so when [`Collection::measure_recall`](crate::Collection::measure_recall) measured last.
    pub fn recall(mut self, recall: f64) -> Self {
        self.recall = Some(recall);
        self
    }

    /// Finds only records of whose keys `filter` says so. Finds `k` of them whenever there are so many: it is asked on
    /// the walk, and where it keeps few records, or the walk finds too few, all of them are compared. It may be asked
    /// more than once of a key, and of any key.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&[1, 2, 3, 4], &[1.0, 2.0, 3.0, 4.0], None)?;
    /// let hits = docs.search(&[1.0]).k(2).filter(&|key| key % 2 == 0).run()?;
    /// assert_eq!((hits[0].key, hits[1].key), (2, 4));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn filter(mut self, filter: &'a (dyn Fn(K::Owned) -> bool + Sync + 'a)) -> Self {
        self.which.filter = Some(filter);
        self
    }

    /// Compares with every record instead of walking the graph: finds the true neighbours. Complexity: a distance for
    /// each record.
    pub fn exact(mut self) -> Self {
        self.which.exact = true;
        self
    }

    /// Also fetches each record's payload.
    pub fn with_payloads(mut self) -> Self {
        self.payloads = true;
        self
    }

    /// Searches.
    ///
    /// # Errors
    /// [`Error::Dimension`], [`Error::NotFinite`], [`Error::NotRepresentable`], [`Error::SpareBit`],
    /// [`Error::ZeroVector`], [`Error::Magnitude`] for the query, [`Error::Setting`]; fewer than `k` records are no error.
    pub fn run(self) -> Result<Hits<K>> {
        self.shared.check_open()?;
        let shape = self.open.shape();
        self.query.one_row(shape, 0)?;
        let query = check_queries(self.open, self.query)?;
        let ef = self.recall.map_or(Ok(self.ef), |recall| ef_for(self.open, self.k, recall))?;
        let index = self.open.index();
        let (k, ef) = bounded(&index, self.k, ef);
        let ratio = checked(self.ratio)?;
        let (found, counters) = self.which.search(&index, query.row(shape, 0), k, ef, ratio);
        let mut hits = Vec::with_capacity(found.len());
        for Neighbour { key, distance, .. } in found {
            let payload = if self.payloads {
                let row = self.shared.catalog.get((self.open.id, key))?;
                row.map(|row| row.payload.to_vec())
            } else {
                None
            };
            hits.push(Hit { key: K::from_u64(key), distance, payload });
        }
        Ok(Hits { hits, stats: counters.into() })
    }
}

/// A ratio below 1 would leave the `k` nearest themselves out.
fn checked(ratio: Option<f32>) -> Result<f32> {
    match ratio {
        Some(ratio) if ratio >= 1.0 => Ok(ratio),
        Some(ratio) => Err(Error::Setting(format!("stop_beyond is {ratio}, allowed is 1 and above"))),
        None => Ok(f32::INFINITY),
    }
}

/// The `ef` that a measurement has found to be enough.
fn ef_for(open: &Open, k: usize, recall: f64) -> Result<usize> {
    let Some(report) = open.recall.read().clone() else {
        let what = format!("recall of '{}' has not been measured since it was opened: measure_recall does", open.name);
        return Err(Error::Setting(what));
    };
    if k > report.k {
        let what = format!("recall was measured for k {} and is asked for k {k}: measure it for that", report.k);
        return Err(Error::Setting(what));
    }
    report.ef_for(recall).ok_or_else(|| {
        let best = report.rows.iter().map(|row| row.recall).fold(0.0, f64::max);
        Error::Setting(format!("recall {recall} is asked for, the best measured is {best}"))
    })
}

/// No more candidates than there are slots: what is reserved for them must not follow a wild number.
fn bounded(index: &lodestore_engine::Index, k: usize, ef: usize) -> (usize, usize) {
    let slots = index.next_slot() as usize;
    (k.min(slots), ef.min(slots))
}

impl<K: Key> Hits<K> {
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

impl<K: Key> Index<usize> for Hits<K> {
    type Output = Hit<K::Owned>;

    fn index(&self, at: usize) -> &Self::Output {
        &self.hits[at]
    }
}

impl<K: Key> IntoIterator for Hits<K> {
    type Item = Hit<K::Owned>;
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.into_iter()
    }
}

impl<'a, K: Key> IntoIterator for &'a Hits<K> {
    type Item = &'a Hit<K::Owned>;
    type IntoIter = std::slice::Iter<'a, Hit<K::Owned>>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.iter()
    }
}

/// A search for many queries, to be set up and [run](Self::run).
#[derive(Clone, Debug)]
#[must_use = "a search does nothing until it is run"]
pub struct SearchMany<'a, K: Key> {
    shared: &'a Shared,
    open: &'a Open,
    queries: Components<'a>,
    k: usize,
    ef: usize,
    ratio: Option<f32>,
    threads: usize,
    which: Which<'a, K>,
}

/// What many queries found: for each row, up to `k` keys and distances, nearest first.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// docs.put_many(&[1, 2], &[0.0, 0.0, 5.0, 5.0], None)?;
/// let hits = docs.search_many(&[0.0, 1.0, 5.0, 4.0]).k(1).run()?;
/// for row in 0..hits.rows() {
///     println!("{:?} at {:?}", hits.keys(row), hits.distances(row));
/// }
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchHits<K: Key> {
    k: usize,
    keys: Vec<K::Owned>,
    distances: Vec<f32>,
    /// Where each row starts in `keys`, and the end.
    starts: Vec<usize>,
    stats: SearchStats,
}

impl<'a, K: Key> SearchMany<'a, K> {
    pub(crate) fn new(shared: &'a Shared, open: &'a Open, queries: Components<'a>) -> Self {
        Self { shared, open, queries, k: DEFAULT_K, ef: DEFAULT_EF, ratio: None, threads: 1, which: Which::ALL }
    }

    /// See [`Search::k`].
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// See [`Search::ef`].
    pub fn ef(mut self, ef: usize) -> Self {
        self.ef = ef;
        self
    }

    /// See [`Search::stop_beyond`].
    pub fn stop_beyond(mut self, ratio: f32) -> Self {
        self.ratio = Some(ratio);
        self
    }

    /// See [`Search::filter`]; one for all queries.
    pub fn filter(mut self, filter: &'a (dyn Fn(K::Owned) -> bool + Sync + 'a)) -> Self {
        self.which.filter = Some(filter);
        self
    }

    /// See [`Search::exact`].
    pub fn exact(mut self) -> Self {
        self.which.exact = true;
        self
    }

    /// Threads that share the queries. Default: 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Searches.
    ///
    /// # Errors
    /// [`Error::RowCount`] if the queries are not whole rows; otherwise as [`Search::run`], with the row.
    pub fn run(self) -> Result<BatchHits<K>> {
        self.run_while(|| true).map(|(hits, _)| hits)
    }

    /// As [`run`](Self::run), and after each query that this thread answers it asks `go_on`; if that says no, the search
    /// ends. Returns the hits, and whether it was let go on. If it was not, rows are empty that were not answered yet,
    /// of which there may be some before others that were.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put(1, &[1.0], b"")?;
    /// let (hits, all) = docs.search_many(&[0.5; 100]).run_while(|| false)?;
    /// assert!(!all && hits.rows() == 100 && hits.keys(99).is_empty());
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_while(self, mut go_on: impl FnMut() -> bool) -> Result<(BatchHits<K>, bool)> {
        self.shared.check_open()?;
        let index = self.open.index();
        let shape = self.open.shape();
        let (got, whole) = self.queries.rows(shape.dim);
        if !whole {
            return Err(Error::RowCount { keys: got + 1, what: "whole queries", got });
        }
        let queries = check_queries(self.open, self.queries)?;
        let rows: Vec<Query<'_>> = (0..got).map(|row| queries.row(shape, row)).collect();
        let (k, ef) = bounded(&index, self.k, self.ef);
        let ratio = checked(self.ratio)?;
        let next = AtomicUsize::new(0);
        /// Queries that a thread takes at a time.
        const BLOCK: usize = 16;
        let stopped = AtomicBool::new(false);
        let work = |go_on: &mut dyn FnMut() -> bool| {
            let mut done = Vec::new();
            let mut answer = |&query: &Query<'_>| {
                if stopped.load(Ordering::Relaxed) {
                    return Default::default();
                }
                let found = self.which.search(&index, query, k, ef, ratio);
                if !go_on() {
                    stopped.store(true, Ordering::Relaxed);
                }
                found
            };
            loop {
                let start = next.fetch_add(BLOCK, Ordering::Relaxed);
                if start >= rows.len() {
                    return done;
                }
                let end = (start + BLOCK).min(rows.len());
                done.push((start, rows[start..end].iter().map(&mut answer).collect::<Vec<_>>()));
            }
        };
        let threads = self.threads.min(rows.len().div_ceil(BLOCK)).max(1);
        let mut blocks = if threads == 1 {
            work(&mut go_on)
        } else {
            std::thread::scope(|scope| {
                // Where the system gives no more threads, those that there are do the work.
                let spawn = || std::thread::Builder::new().spawn_scoped(scope, || work(&mut || true));
                let others: Vec<_> = (1..threads).map_while(|_| spawn().ok()).collect();
                let mut all = work(&mut go_on);
                for other in others {
                    all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                }
                all
            })
        };
        blocks.sort_unstable_by_key(|(start, _)| *start);
        let hits = BatchHits::collect(self.k, blocks.into_iter().flat_map(|(_, found)| found));
        Ok((hits, !stopped.into_inner()))
    }
}

impl<K: Key> BatchHits<K> {
    fn collect(k: usize, found: impl Iterator<Item = (Vec<Neighbour>, Counters)>) -> Self {
        let mut hits =
            Self { k, keys: Vec::new(), distances: Vec::new(), starts: vec![0], stats: SearchStats::default() };
        for (row, counters) in found {
            hits.keys.extend(row.iter().map(|n| K::from_u64(n.key)));
            hits.distances.extend(row.iter().map(|n| n.distance));
            hits.starts.push(hits.keys.len());
            hits.stats.hops += counters.hops;
            hits.stats.distances += counters.distances;
            hits.stats.reranked += counters.reranked;
        }
        hits
    }

    /// Queries answered.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// The `k` asked for.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The keys found for a query.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn keys(&self, row: usize) -> &[K::Owned] {
        &self.keys[self.starts[row]..self.starts[row + 1]]
    }

    /// Their distances.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn distances(&self, row: usize) -> &[f32] {
        &self.distances[self.starts[row]..self.starts[row + 1]]
    }

    /// The work of all queries together.
    pub fn stats(&self) -> SearchStats {
        self.stats
    }
}
