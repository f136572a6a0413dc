//! Asking for nearest neighbours.

use crate::check::check_queries;
use crate::components::Components;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::hits::{Fetch, Hits};
use crate::key::{Key, RowKey};
use crate::keyset::KeySet;
use crate::observe::Call;
use crate::shared::{Handle, Open, Shared};
use crate::tag_filter::TagFilter;
use crate::which::{Records, Which};
use lodestore_engine::{Index as Graph, Wanted, Watch};
use std::fmt;
use std::sync::Arc;

pub(crate) const DEFAULT_K: usize = 10;
pub(crate) const DEFAULT_EF: usize = 64;

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
#[must_use = "a search does nothing until it is run"]
pub struct Search<'a, K: Key + ?Sized> {
    pub(crate) handle: &'a Arc<Handle>,
    pub(crate) open: &'a Arc<Open>,
    pub(crate) query: Asked<'a>,
    /// `None`: [`DEFAULT_K`], or all if something else ends the search.
    pub(crate) k: Option<usize>,
    pub(crate) ef: usize,
    pub(crate) ratio: Option<f32>,
    recall: Option<f64>,
    pub(crate) fetch: Fetch,
    pub(crate) which: Which<'a, K>,
    /// Not to be found.
    pub(crate) except: Option<RowKey>,
    pub(crate) control: Option<&'a Control>,
}

/// What is searched for.
#[derive(Clone, Debug)]
pub(crate) enum Asked<'a> {
    Given(Components<'a>),
    /// The vector of a record, and its key.
    Stored(Vec<f32>, RowKey),
}

impl Asked<'_> {
    pub(crate) fn components(&self) -> Components<'_> {
        match self {
            Asked::Given(components) => *components,
            Asked::Stored(vector, _) => vector.into(),
        }
    }
}

impl<K: Key + ?Sized> Clone for Search<'_, K> {
    fn clone(&self) -> Self {
        Self { query: self.query.clone(), except: self.except.clone(), ..*self }
    }
}

impl<K: Key + ?Sized> fmt::Debug for Search<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Search");
        debug.field("collection", &self.open.name).field("k", &self.k).field("ef", &self.ef);
        debug.field("which", &self.which).finish_non_exhaustive()
    }
}

impl<'a, K: Key + ?Sized> Search<'a, K> {
    pub(crate) fn new(handle: &'a Arc<Handle>, open: &'a Arc<Open>, query: Asked<'a>) -> Self {
        Self {
            handle,
            open,
            query,
            k: None,
            ef: DEFAULT_EF,
            ratio: None,
            recall: None,
            fetch: Fetch::default(),
            which: Which::ALL,
            except: None,
            control: None,
        }
    }

    /// How many records to find. Default: 10. Fewer come back if there are fewer.
    pub fn k(mut self, k: usize) -> Self {
        self.k = Some(k);
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
    /// The least `ef` that did so when [`Collection::measure_recall`](crate::Collection::measure_recall) measured last,
    /// be it before the store was opened; how long ago [`recall_report`](crate::Collection::recall_report) tells.
    pub fn recall(mut self, recall: f64) -> Self {
        self.recall = Some(recall);
        self
    }

    /// Finds only records of whose keys `filter` says so. Finds `k` of them whenever there are so many: it walks among the
    /// records that are kept, and where they are few, or the walk finds too few, all of them are compared
    /// ([`SearchStats::plan`](crate::SearchStats::plan) says what it did). It may be asked more than once of a key, and of
    /// any key; with [`among`](Self::among) only of those in the set.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&[1, 2, 3, 4], &[1.0, 2.0, 3.0, 4.0], None)?;
    /// let hits = docs.search(&[1.0]).k(2).filter(&|key| key % 2 == 0).run()?;
    /// assert_eq!((hits[0].key, hits[1].key), (2, 4));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn filter(mut self, filter: &'a (dyn Fn(K::Ref<'_>) -> bool + Sync + 'a)) -> Self {
        self.which.filter = Some(filter);
        self
    }

    /// As [`filter`](Self::filter), of keys and payloads. Each payload that it is asked about is read for it, which takes
    /// about two microseconds: where keys are enough to tell, a filter of them is much faster.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&[1, 2], &[1.0, 2.0], Some(&[b"cat", b"dog"]))?;
    /// let hits = docs.search(&[1.0]).filter_payloads(&|_key, payload| payload == b"dog").run()?;
    /// assert_eq!(hits[0].key, 2);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn filter_payloads(mut self, filter: &'a (dyn Fn(K::Ref<'_>, &[u8]) -> bool + Sync + 'a)) -> Self {
        self.which.payloads = Some(filter);
        self
    }

    /// Finds only records whose [tags](crate::Tags) fulfil a condition; all of them may be found, as with
    /// [`filter`](Self::filter). Which they are is looked up in an index of the tags, and kept for the conditions used
    /// last: so it is fast from the first time, whether few fulfil it or many. Goes together with the other filters.
    /// [Streams](Self::stream), and what is made of them, look each record up that they come to.
    ///
    /// ```
    /// use lodestore::{TagFilter, Tags};
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// for (key, year) in [(1, 2019), (2, 2024), (3, 2025)] {
    ///     docs.put_tagged(key, &[key as f32], b"", &Tags::new().with("year", year)?)?;
    /// }
    /// let hits = docs.search(&[1.0]).tagged(&TagFilter::range("year", 2020..)?).run()?;
    /// assert_eq!(hits.iter().map(|hit| hit.key).collect::<Vec<_>>(), [2, 3]);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn tagged(mut self, filter: &'a TagFilter) -> Self {
        self.which.tags = Some(filter);
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
        self.fetch.payloads = true;
        self
    }

    /// Also fetches each record's [tags](crate::Tags).
    pub fn with_tags(mut self) -> Self {
        self.fetch.tags = true;
        self
    }

    /// Also fetches each record's vector.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[5.0, 5.0], b"")?;
    /// let hits = docs.search(&[4.0, 4.0]).with_vectors().run()?;
    /// assert_eq!(hits[0].vector.as_deref(), Some(&[5.0, 5.0][..]));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn with_vectors(mut self) -> Self {
        self.fetch.vectors = true;
        self
    }

    /// Leaves out the record that is [searched from](crate::Collection::search_near). Of a search for a vector that was
    /// given, nothing.
    pub fn exclude_self(mut self) -> Self {
        if let Asked::Stored(_, key) = &self.query {
            self.except = Some(key.clone());
        }
        self
    }

    /// A deadline, after which what is known is given (and [`SearchStats::complete`](crate::SearchStats::complete) is
    /// false), and cancelling, which ends the search with [`Error::Cancelled`]. Looked at every 16 hops.
    ///
    /// ```
    /// use lodestore::Control;
    /// use std::time::Duration;
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put_many(&[1, 2], &[0.0, 0.0, 5.0, 5.0], None)?;
    /// let hits = docs.search(&[4.0, 4.0]).control(&Control::new().timeout(Duration::from_secs(1))).run()?;
    /// assert!(hits.stats().complete);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn control(mut self, control: &'a Control) -> Self {
        self.control = Some(control);
        self
    }

    /// Searches.
    ///
    /// # Errors
    /// [`Error::Dimension`], [`Error::NotFinite`], [`Error::NotRepresentable`], [`Error::SpareBit`],
    /// [`Error::ZeroVector`], [`Error::Magnitude`] for the query, [`Error::Setting`], [`Error::Cancelled`];
    /// [`Error::Corrupt`] if a key that was found is damaged. Fewer than `k` records are no error.
    pub fn run(self) -> Result<Hits<K>> {
        let (call, shared) = (Call::begin(), &self.handle.0);
        shared.check_open()?;
        let shape = self.open.shape();
        let components = self.query.components();
        components.one_row(shape, 0)?;
        let query = check_queries(self.open, components)?;
        let asked = self.k.unwrap_or(DEFAULT_K);
        let ef = self.candidates()?;
        let index = self.open.index();
        // Slots stay what they are until vectors are fetched.
        let _reading = index.reading();
        // One more, if one is left out.
        let (k, ef) = bounded(&index, asked.saturating_add(usize::from(self.except.is_some())), ef);
        let ratio = checked(self.ratio)?;
        let go_on = || self.control.is_none_or(Control::goes_on);
        let watch = if self.control.is_some() { Watch::new(&go_on) } else { Watch::NOBODY };
        let wanted = Wanted { k, ef, ratio, watch, ..Wanted::nearest(k) };
        let records = Records::new(shared, self.open, &index);
        let members = self.which.members(&index, 1, &records)?;
        let (mut found, counters) = self.which.search(query.row(shape, 0), wanted, &records, members.as_ref());
        records.check()?;
        self.control.map_or(Ok(()), Control::check)?;
        let excepted = |raw| self.except.as_ref().is_some_and(|key| index.key(raw).is_ok_and(|stored| key.is(stored)));
        found.retain(|found| !excepted(found.key));
        found.truncate(asked);
        let hits = found.into_iter().map(|found| self.fetch.hit::<K>(shared, &index, found)).collect::<Result<_>>()?;
        call.searched(1, [counters.hops, counters.distances, counters.reranked]);
        Ok(Hits::new(hits, counters.into()))
    }
}

impl<K: Key + ?Sized> Search<'_, K> {
    /// The `ef` that was given, or that is enough for the recall.
    pub(crate) fn candidates(&self) -> Result<usize> {
        let k = self.k.unwrap_or(DEFAULT_K);
        self.recall.map_or(Ok(self.ef), |recall| ef_for(&self.handle.0, self.open, k, recall))
    }
}

impl<'a> Search<'a, u64> {
    /// Finds only records whose keys are in a set: as a [`filter`](Self::filter) that says so, and faster, the more so the
    /// oftener the set is used.
    ///
    /// ```
    /// use lodestore::KeySet;
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&[1, 2, 3, 4], &[1.0, 2.0, 3.0, 4.0], None)?;
    /// assert_eq!(docs.search(&[1.0]).among(&KeySet::range(3..)).run()?[0].key, 3);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn among(mut self, set: &'a KeySet) -> Self {
        self.which.set = Some(set);
        self
    }
}

/// A ratio below 1 would leave the `k` nearest themselves out.
pub(crate) fn checked(ratio: Option<f32>) -> Result<f32> {
    match ratio {
        Some(ratio) if ratio >= 1.0 => Ok(ratio),
        Some(ratio) => Err(Error::Setting(format!("stop_beyond is {ratio}, allowed is 1 and above"))),
        None => Ok(f32::INFINITY),
    }
}

/// The `ef` that a measurement has found to be enough.
pub(crate) fn ef_for(shared: &Shared, open: &Open, k: usize, recall: f64) -> Result<usize> {
    let Some(report) = shared.recall_of(open)? else {
        let what = format!("recall of '{}' has never been measured: measure_recall does", open.name);
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
pub(crate) fn bounded(index: &Graph, k: usize, ef: usize) -> (usize, usize) {
    let slots = index.next_slot() as usize;
    (k.min(slots), ef.min(slots))
}
