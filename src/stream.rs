//! Records in the order of their distances, as many as are asked for; and searches that end otherwise than after `k`.

use crate::check::check_queries;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::hits::{Fetch, Hit, Hits, SearchStats};
use crate::key::{Key, RowKey};
use crate::search::{DEFAULT_K, Search};
use crate::shared::{Handle, Open};
use crate::stop::{Radius, StopCondition, Verdict};
use crate::tag_filter::TagFilter;
use crate::which::{Records, Which};
use lodestore_engine::{Step, Walk, Watch};
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

/// The records nearest to a query, one after the other, without a `k`: an iterator. From [`Search::stream`].
///
/// The nearest comes first; one that the walk comes upon late comes late, and each comes once. It ends when all records
/// have been given. While it is there, the places of removed records are not used again, so do not keep one for long
/// beside writes. Records that are put meanwhile may come or not, and removed ones may still come.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
/// docs.put_many(&[1, 2, 3, 4], &[1.0, 2.0, 3.0, 4.0], None)?;
/// let mut nearest = docs.search(&[0.0]).stream()?;
/// assert_eq!(nearest.next().unwrap()?.key, 1);
/// let even: Vec<u64> = nearest.map(|hit| Ok(hit?.key)).filter(|key| matches!(key, Ok(key) if key % 2 == 0)).collect::<Result<_, lodestore::Error>>()?;
/// assert_eq!(even, [2, 4]);
/// # Ok::<(), lodestore::Error>(())
/// ```
pub struct Stream<'a, K: Key + ?Sized> {
    handle: Arc<Handle>,
    open: Arc<Open>,
    walk: Walk,
    fetch: Fetch,
    which: Which<'a, K>,
    except: Option<RowKey>,
    control: Option<Control>,
    /// After an error or the end nothing follows.
    ended: bool,
    cut_short: bool,
}

impl<K: Key + ?Sized> fmt::Debug for Stream<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Stream");
        debug.field("collection", &self.open.name).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<K: Key + ?Sized> Stream<'_, K> {
    /// The work so far. Not [complete](SearchStats::complete) once a deadline has ended it.
    pub fn stats(&self) -> SearchStats {
        SearchStats { complete: !self.cut_short, ..self.walk.counters().into() }
    }

    /// The stream without its filter, if it has one, so that it borrows nothing.
    pub fn without_filter(self) -> Stream<'static, K> {
        let Self { handle, open, walk, fetch, except, control, ended, cut_short, .. } = self;
        Stream { handle, open, walk, fetch, which: Which::ALL, except, control, ended, cut_short }
    }

    fn advance(&mut self) -> Result<Option<Hit<K::Owned>>> {
        let shared = &self.handle.0;
        shared.check_open()?;
        let graph = self.walk.index().clone();
        let (which, records) = (self.which, Records::new(shared, &self.open, &graph));
        let keep = |raw| which.keeps(&records, raw);
        let keep = (!which.is_all()).then_some(&keep as &lodestore_engine::Keep<'_>);
        let control = self.control.as_ref();
        let go_on = || control.is_none_or(Control::goes_on);
        let watch = if control.is_some() { Watch::new(&go_on) } else { Watch::NOBODY };
        let except = self.except.as_ref();
        let excepted = |raw| except.is_some_and(|key| graph.key(raw).is_ok_and(|stored| key.is(stored)));
        loop {
            let step = if go_on() { self.walk.next(keep, watch) } else { Step::CutShort };
            records.check()?;
            match step {
                Step::Found(found) if excepted(found.key) => {}
                Step::Found(found) => return self.fetch.hit::<K>(shared, self.walk.index(), found).map(Some),
                Step::End => return Ok(None),
                Step::CutShort => {
                    self.cut_short = true;
                    return control.map_or(Ok(None), |control| control.check().map(|()| None));
                }
            }
        }
    }
}

impl<K: Key + ?Sized> Iterator for Stream<'_, K> {
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), [`Error::Cancelled`](crate::Error::Cancelled), and if payloads cannot be
    /// read. Nothing follows then.
    type Item = Result<Hit<K::Owned>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<K: Key + ?Sized> std::iter::FusedIterator for Stream<'_, K> {}

/// What [`Search::group_by`] finds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Groups<G, T> {
    /// The groups, nearest first.
    pub groups: Vec<Group<G, T>>,
    /// The work it took.
    pub stats: SearchStats,
}

/// A group of records that belong together, from [`Search::group_by`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Group<G, T> {
    /// Which one.
    pub id: G,
    /// Its records that the search came to, nearest first; at least one.
    pub hits: Vec<Hit<T>>,
}

impl<'a, K: Key + ?Sized> Search<'a, K> {
    /// The records nearest to the query one after the other, as many as are asked for. `ef` says how far the walk looks
    /// ahead (as does `recall`, for as many as `k` says), `exact` compares with all before the first. Walks compare vectors,
    /// not codes.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`Error::Setting`](crate::Error::Setting) for [`stop_beyond`](Self::stop_beyond), since a
    /// stream ends with whoever asks.
    pub fn stream(self) -> Result<Stream<'a, K>> {
        self.handle.0.check_open()?;
        let shape = self.open.shape();
        let components = self.query.components();
        components.one_row(shape, 0)?;
        let query = check_queries(self.open, components)?;
        let index = self.open.index();
        let ef = self.candidates()?.min(index.next_slot() as usize);
        if self.ratio.is_some() {
            return Err(Error::Setting(
                "stop_beyond has no meaning for a stream, which goes on while it is asked".into(),
            ));
        }
        self.which.tags.map_or(Ok(()), TagFilter::check)?;
        let walk = Walk::new(index, query.row(shape, 0), ef, self.which.exact);
        Ok(Stream {
            handle: self.handle.clone(),
            open: self.open.clone(),
            walk,
            fetch: self.fetch,
            which: self.which,
            except: self.except,
            control: self.control.cloned(),
            ended: false,
            cut_short: false,
        })
    }

    /// Searches until `condition` ends it; the hits that it takes, nearest first, and at most `k` of them if a `k` was
    /// asked for. Complexity: a list read, and a distance for each of its nodes that are new, for each record that the
    /// condition looks at and `ef` more; at most about one and a half distances for each record there is.
    ///
    /// ```
    /// use lodestore::{Hit, Verdict};
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&[1, 2, 3, 4], &[1.0, 1.1, 1.2, 9.0], None)?;
    /// // Up to the first gap.
    /// let mut last = 0.0;
    /// let hits = docs.search(&[1.0]).stop_when(|hit: &Hit<u64>| {
    ///     let gap = hit.distance - std::mem::replace(&mut last, hit.distance);
    ///     if gap > 1.0 { Verdict::Stop } else { Verdict::Take }
    /// })?;
    /// assert_eq!(hits.len(), 3);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn stop_when(self, mut condition: impl StopCondition<K::Owned>) -> Result<Hits<K>> {
        let most = self.k.unwrap_or(usize::MAX);
        let mut stream = self.stream()?;
        let mut hits: Vec<Hit<K::Owned>> = Vec::new();
        while hits.len() < most
            && let Some(hit) = stream.next()
        {
            let hit = hit?;
            match condition.judge(&hit) {
                Verdict::Take => hits.push(hit),
                Verdict::Skip => {}
                Verdict::TakeAndStop => {
                    hits.push(hit);
                    break;
                }
                Verdict::Stop => break,
            }
        }
        // What the walk came upon late may be nearer.
        hits.sort_by(|a, b| a.distance.total_cmp(&b.distance));
        Ok(Hits::new(hits, stream.stats()))
    }

    /// Everything whose distance is at most `radius`, in the collection's metric (under L2 the square of the length),
    /// nearest first; at most `k` if a `k` was asked for. Complete as far as the walk goes: it ends once the nearest of
    /// the `ef` nearest that are left is farther. Complete without a doubt with [`exact`](Self::exact), and where that is
    /// not much more than half of the records.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&[1, 2, 3], &[1.0, 2.0, 9.0], None)?;
    /// let keys: Vec<u64> = docs.search(&[1.5]).within(0.25)?.iter().map(|hit| hit.key).collect();
    /// assert_eq!(keys.len(), 2);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run); [`Error::Setting`] if the radius is not a number.
    pub fn within(self, radius: f32) -> Result<Hits<K>> {
        if radius.is_nan() {
            return Err(Error::Setting("a radius is a number; got NaN".into()));
        }
        self.stop_when(Radius::new(radius))
    }

    /// The `k` nearest groups, each as near as its nearest record: records that `group` gives the same, such as the parts
    /// of one document. A group has up to `most` of its records, of those that are nearer than the nearest record of the
    /// last group: 1 gives each group's nearest only.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let parts = store.collection::<u64>("parts").dim(1).open_or_create()?;
    /// parts.put_many(&[10, 11, 20, 30], &[1.0, 1.1, 1.3, 5.0], None)?;
    /// let groups = parts.search(&[1.0]).k(2).group_by(9, |hit| hit.key / 10)?.groups;
    /// assert_eq!((groups[0].id, groups[0].hits.len()), (1, 2));
    /// assert_eq!((groups[1].id, groups[1].hits[0].key), (2, 20));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn group_by<G: Eq + Hash + Clone>(
        self,
        most: usize,
        mut group: impl FnMut(&Hit<K::Owned>) -> G,
    ) -> Result<Groups<G, K::Owned>> {
        let wanted = self.k.unwrap_or(DEFAULT_K);
        let mut places: HashMap<G, usize> = HashMap::new();
        let mut groups: Vec<Group<G, K::Owned>> = Vec::new();
        let mut stream = self.stream()?;
        while groups.len() < wanted
            && let Some(hit) = stream.next()
        {
            let hit = hit?;
            let id = group(&hit);
            let at = *places.entry(id.clone()).or_insert(groups.len());
            if at == groups.len() {
                groups.push(Group { id, hits: Vec::new() });
            }
            groups[at].hits.push(hit);
        }
        for group in &mut groups {
            group.hits.sort_by(|a, b| a.distance.total_cmp(&b.distance));
            group.hits.truncate(most.max(1));
        }
        groups.sort_by(|a, b| a.hits[0].distance.total_cmp(&b.hits[0].distance));
        Ok(Groups { groups, stats: stream.stats() })
    }
}
