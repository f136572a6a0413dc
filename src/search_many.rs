//! Asking for the nearest neighbours of many queries in one call.

use crate::check::{check_queries, key_of};
use crate::components::Components;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::hits::SearchStats;
use crate::key::Key;
use crate::keyset::KeySet;
use crate::observe::Call;
use crate::search::{DEFAULT_EF, DEFAULT_K, bounded, checked, ef_for};
use crate::shared::{Open, Shared};
use crate::tag_filter::TagFilter;
use crate::which::{Records, Which};
use lodestore_engine::{Counters, Index as Graph, Neighbour, Query, Wanted, Watch};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A search for many queries, to be set up and [run](Self::run).
#[must_use = "a search does nothing until it is run"]
pub struct SearchMany<'a, K: Key + ?Sized> {
    shared: &'a Shared,
    open: &'a Open,
    queries: Components<'a>,
    k: usize,
    ef: usize,
    ef_rows: Option<&'a [usize]>,
    ratio: Option<f32>,
    recall: Option<f64>,
    threads: usize,
    which: Which<'a, K>,
    filter_rows: Option<&'a RowFilter<'a, K>>,
    among_rows: Option<&'a [KeySet]>,
    control: Option<&'a Control>,
}

/// Says of a query's row and a key whether the record may be found for it.
type RowFilter<'a, K> = dyn Fn(usize, <K as Key>::Ref<'_>) -> bool + Sync + 'a;

impl<K: Key + ?Sized> Clone for SearchMany<'_, K> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<K: Key + ?Sized> fmt::Debug for SearchMany<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SearchMany");
        debug.field("k", &self.k).field("ef", &self.ef).field("threads", &self.threads).field("which", &self.which);
        debug.field("filter_rows", &self.filter_rows.is_some()).finish_non_exhaustive()
    }
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
pub struct BatchHits<K: Key + ?Sized> {
    k: usize,
    keys: Vec<K::Owned>,
    distances: Vec<f32>,
    /// Where each row starts in `keys`, and the end.
    starts: Vec<usize>,
    stats: SearchStats,
}

impl<K: Key + ?Sized> Clone for BatchHits<K> {
    fn clone(&self) -> Self {
        let (keys, distances, starts) = (self.keys.clone(), self.distances.clone(), self.starts.clone());
        Self { keys, distances, starts, ..*self }
    }
}

impl<K: Key + ?Sized> fmt::Debug for BatchHits<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("BatchHits");
        debug.field("k", &self.k).field("keys", &self.keys).field("distances", &self.distances).finish_non_exhaustive()
    }
}

impl<'a, K: Key + ?Sized> SearchMany<'a, K> {
    pub(crate) fn new(shared: &'a Shared, open: &'a Open, queries: Components<'a>) -> Self {
        Self {
            shared,
            open,
            queries,
            k: DEFAULT_K,
            ef: DEFAULT_EF,
            ef_rows: None,
            ratio: None,
            recall: None,
            threads: 1,
            which: Which::ALL,
            filter_rows: None,
            among_rows: None,
            control: None,
        }
    }

    /// See [`Search::k`](crate::Search::k).
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// See [`Search::ef`](crate::Search::ef).
    pub fn ef(mut self, ef: usize) -> Self {
        self.ef = ef;
        self
    }

    /// An [`ef`](Self::ef) for each query.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put_many(&[1, 2], &[0.0, 0.0, 5.0, 5.0], None)?;
    /// let hits = docs.search_many(&[0.0, 1.0, 5.0, 4.0]).k(1).ef_rows(&[10, 200]).run()?;
    /// assert_eq!((hits.keys(0), hits.keys(1)), (&[1][..], &[2][..]));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn ef_rows(mut self, ef: &'a [usize]) -> Self {
        self.ef_rows = Some(ef);
        self
    }

    /// See [`Search::recall`](crate::Search::recall); one for all queries.
    pub fn recall(mut self, recall: f64) -> Self {
        self.recall = Some(recall);
        self
    }

    /// See [`Search::stop_beyond`](crate::Search::stop_beyond).
    pub fn stop_beyond(mut self, ratio: f32) -> Self {
        self.ratio = Some(ratio);
        self
    }

    /// See [`Search::filter`](crate::Search::filter); one for all queries. If they are more than a thousandth of the
    /// records, it is asked about all keys once, at the beginning.
    pub fn filter(mut self, filter: &'a (dyn Fn(K::Ref<'_>) -> bool + Sync + 'a)) -> Self {
        self.which.filter = Some(filter);
        self
    }

    /// See [`Search::filter_payloads`](crate::Search::filter_payloads); one for all queries.
    pub fn filter_payloads(mut self, filter: &'a (dyn Fn(K::Ref<'_>, &[u8]) -> bool + Sync + 'a)) -> Self {
        self.which.payloads = Some(filter);
        self
    }

    /// A [`filter`](crate::Search::filter) that may differ from query to query: it is given the query's row, too.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&[1, 2, 3, 4], &[1.0, 2.0, 3.0, 4.0], None)?;
    /// let odd_then_even = |row: usize, key: u64| key % 2 == 1 - row as u64;
    /// let hits = docs.search_many(&[3.9, 3.1]).k(1).filter_rows(&odd_then_even).run()?;
    /// assert_eq!((hits.keys(0), hits.keys(1)), (&[3][..], &[4][..]));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn filter_rows(mut self, filter: &'a (dyn Fn(usize, K::Ref<'_>) -> bool + Sync + 'a)) -> Self {
        self.filter_rows = Some(filter);
        self
    }

    /// For all queries, as [`Search::tagged`](crate::Search::tagged).
    pub fn tagged(mut self, filter: &'a TagFilter) -> Self {
        self.which.tags = Some(filter);
        self
    }

    /// See [`Search::exact`](crate::Search::exact).
    pub fn exact(mut self) -> Self {
        self.which.exact = true;
        self
    }

    /// Deadline, cancelling and progress, which counts queries. After a deadline the rows are empty that were not
    /// answered, and [`SearchStats::complete`] is false.
    pub fn control(mut self, control: &'a Control) -> Self {
        self.control = Some(control);
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
    /// [`Error::RowCount`] if the queries are not whole rows, or there is not one `ef` or set for each; otherwise as
    /// [`Search::run`](crate::Search::run), with the row.
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
        let call = Call::begin();
        let index = self.open.index();
        let shape = self.open.shape();
        let (got, whole) = self.queries.rows(shape.dim);
        if !whole {
            return Err(Error::RowCount { keys: got + 1, what: "whole queries", got });
        }
        let queries = check_queries(self.open, self.queries)?;
        let rows: Vec<Query<'_>> = (0..got).map(|row| queries.row(shape, row)).collect();
        let ef = self.recall.map_or(Ok(self.ef), |recall| ef_for(self.shared, self.open, self.k, recall))?;
        if let Some(each) = self.ef_rows.filter(|each| each.len() != got) {
            return Err(Error::RowCount { keys: got, what: "values of ef", got: each.len() });
        }
        let ratio = checked(self.ratio)?;
        let go_on_within = || self.control.is_none_or(Control::goes_on);
        let watch = if self.control.is_some() { Watch::new(&go_on_within) } else { Watch::NOBODY };
        if let Some(each) = self.among_rows.filter(|each| each.len() != got) {
            return Err(Error::RowCount { keys: got, what: "sets", got: each.len() });
        }
        let records = Records::new(self.shared, self.open, &index);
        // Once the search is to end no query is answered, whatever is found out here.
        let asked = |key: K::Ref<'_>| go_on_within() && self.which.filter.is_none_or(|keep| keep(key));
        let mut for_all = self.which;
        // What is asked of each query by itself is asked of those with the tags only.
        let in_turn = self.filter_rows.is_some() && self.which.tags.is_some();
        if (self.control.is_some() && for_all.filter.is_some()) || in_turn {
            for_all.filter = Some(&asked);
        }
        // A set for each query is looked at when it is its turn.
        let members = match (self.filter_rows.is_none() || in_turn) && self.among_rows.is_none() {
            true => for_all.members(&index, got, &records)?,
            false => None,
        };
        let search = |row: usize, query: Query<'_>| {
            let (k, ef) = bounded(&index, self.k, self.ef_rows.map_or(ef, |each| each[row]));
            let wanted = Wanted { k, ef, ratio, watch, ..Wanted::nearest(k) };
            let in_row = |key: K::Ref<'_>| {
                self.which.filter.is_none_or(|keep| keep(key)) && self.filter_rows.is_none_or(|keep| keep(row, key))
            };
            let mut which = self.which;
            if self.filter_rows.is_some() {
                which.filter = Some(&in_row);
            }
            let Some(each) = self.among_rows else { return which.search(query, wanted, &records, members.as_ref()) };
            which.set = Some(&each[row]);
            // Should it fail, the search does.
            let own = which.members(&index, 1, &records).unwrap_or_else(|error| {
                records.fail(error);
                None
            });
            which.search(query, wanted, &records, own.as_ref())
        };
        let (next, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        /// Queries that a thread takes at a time.
        const BLOCK: usize = 16;
        let stopped = AtomicBool::new(false);
        let work = |go_on: &mut dyn FnMut() -> bool| {
            let mut done = Vec::new();
            let mut answer = |row: usize| {
                if stopped.load(Ordering::Relaxed) || !go_on_within() {
                    return (Vec::new(), Counters { cut_short: true, ..Counters::default() });
                }
                let found = search(row, rows[row]);
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
                done.push((start, (start..end).map(&mut answer).collect::<Vec<_>>()));
                if let Some(control) = self.control {
                    let before = answered.fetch_add(end - start, Ordering::Relaxed);
                    control.tell((before + end - start) as u64, rows.len() as u64);
                }
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
        self.control.map_or(Ok(()), Control::check)?;
        records.check()?;
        blocks.sort_unstable_by_key(|(start, _)| *start);
        let hits = BatchHits::collect(&index, self.k, blocks.into_iter().flat_map(|(_, found)| found))?;
        let SearchStats { hops, distances, reranked, .. } = hits.stats;
        call.searched(hits.rows(), [hops, distances, reranked]);
        Ok((hits, !stopped.into_inner()))
    }
}

impl<'a> SearchMany<'a, u64> {
    /// See [`Search::among`](crate::Search::among); one for all queries.
    pub fn among(mut self, set: &'a KeySet) -> Self {
        self.which.set = Some(set);
        self
    }

    /// A set for each query, in place of one for [all](Self::among). Clones of a set are one set.
    ///
    /// ```
    /// use lodestore::KeySet;
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&[1, 2, 3, 4], &[1.0, 2.0, 3.0, 4.0], None)?;
    /// let sets = [KeySet::from([1, 3]), KeySet::range(..3)];
    /// let hits = docs.search_many(&[3.9, 3.1]).k(1).among_rows(&sets).run()?;
    /// assert_eq!((hits.keys(0), hits.keys(1)), (&[3][..], &[2][..]));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn among_rows(mut self, sets: &'a [KeySet]) -> Self {
        self.among_rows = Some(sets);
        self
    }
}

impl<K: Key + ?Sized> BatchHits<K> {
    fn collect(index: &Graph, k: usize, found: impl Iterator<Item = (Vec<Neighbour>, Counters)>) -> Result<Self> {
        let mut hits = Self { k, keys: Vec::new(), distances: Vec::new(), starts: vec![0], stats: SearchStats::NONE };
        for (row, counters) in found {
            for neighbour in &row {
                hits.keys.push(key_of::<K>(index, neighbour.key)?);
            }
            hits.distances.extend(row.iter().map(|n| n.distance));
            hits.starts.push(hits.keys.len());
            hits.stats += counters.into();
        }
        Ok(hits)
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
