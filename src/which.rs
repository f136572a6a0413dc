//! Which records a search may find.

use crate::error::{Error, Result};
use crate::key::{Key, RowKey};
use crate::keyset::KeySet;
use crate::shared::{Open, Shared};
use crate::tag_filter::TagFilter;
use crate::tag_members::{self, is_fulfilled};
use lodestore_engine::{Counters, Index as Graph, Keep, Members, Neighbour, Query, Wanted};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Says of a key whether its record may be found.
pub(crate) type Filter<'a, K> = dyn Fn(<K as Key>::Ref<'_>) -> bool + Sync + 'a;

/// Says so of a key and a payload.
pub(crate) type PayloadFilter<'a, K> = dyn Fn(<K as Key>::Ref<'_>, &[u8]) -> bool + Sync + 'a;

/// Which records are compared: those that all of these keep.
pub(crate) struct Which<'a, K: Key + ?Sized> {
    pub(crate) exact: bool,
    /// Of a collection whose keys are `u64`.
    pub(crate) set: Option<&'a KeySet>,
    pub(crate) tags: Option<&'a TagFilter>,
    pub(crate) filter: Option<&'a Filter<'a, K>>,
    pub(crate) payloads: Option<&'a PayloadFilter<'a, K>>,
}

impl<K: Key + ?Sized> Clone for Which<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: Key + ?Sized> Copy for Which<'_, K> {}

impl<K: Key + ?Sized> fmt::Debug for Which<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Which");
        debug.field("exact", &self.exact).field("set", &self.set.is_some()).field("tags", &self.tags);
        debug.field("filter", &self.filter.is_some()).field("payloads", &self.payloads.is_some()).finish()
    }
}

impl<'a, K: Key + ?Sized> Which<'a, K> {
    pub(crate) const ALL: Self = Self { exact: false, set: None, tags: None, filter: None, payloads: None };

    pub(crate) fn is_all(&self) -> bool {
        self.set.is_none() && self.tags.is_none() && self.filter.is_none() && self.payloads.is_none()
    }

    /// Whether the record may be found whose key an id has as `raw`. A damaged key is not passed over: if it is found,
    /// the search says so.
    #[inline]
    pub(crate) fn keeps(&self, records: &Records<'_>, raw: u64) -> bool {
        self.keeps_at(records, raw, None)
    }

    /// The same of a record that has the tags, as long as the collection has this version.
    #[inline]
    fn keeps_at(&self, records: &Records<'_>, raw: u64, version: Option<u64>) -> bool {
        if self.set.is_some_and(|set| !set.contains(raw)) {
            return false;
        }
        if let Some(tags) = self.tags
            && version != Some(records.open.tagged.version())
            && !records.fulfil(raw, tags)
        {
            return false;
        }
        if self.filter.is_none() && self.payloads.is_none() {
            return true;
        }
        let Some(key) = records.graph.key(raw).ok().and_then(K::read) else { return true };
        self.filter.is_none_or(|keep| keep(key))
            && self.payloads.is_none_or(|keep| records.payload(raw).is_some_and(|payload| keep(key, &payload)))
    }

    /// Searches for what is wanted, of the records that may be found.
    pub(crate) fn search(
        &self,
        query: Query<'_>,
        wanted: Wanted<'_>,
        records: &Records<'_>,
        members: Option<&Among>,
    ) -> (Vec<Neighbour>, Counters) {
        let version = members.and_then(|among| among.version);
        // Of those that are known to have the tags it is not asked again but in the end.
        let is_known = members.is_some_and(|among| among.of_tags);
        let others = Which { tags: self.tags.filter(|_| !is_known), ..*self };
        let (keep, check) = (|raw| others.keeps(records, raw), |raw| self.keeps_at(records, raw, version));
        let is_some = !self.is_all();
        let (keep, check) = (is_some.then_some(&keep as &Keep<'_>), is_some.then_some(&check as &Keep<'_>));
        let partial = members.is_some_and(|among| among.partial);
        let wanted = Wanted { keep, check, members: members.map(|among| &*among.members), partial, ..wanted };
        let graph = records.graph;
        let (found, counters) =
            if self.exact { graph.find_exactly(query, &wanted) } else { graph.find(query, &wanted) };
        if counters.missed > 0 || counters.unread {
            records.met_disk(&counters);
        }
        (found, counters)
    }

    /// Where the records lie that may be found, as far as it is known, for so many queries of `records`.
    pub(crate) fn members(&self, graph: &Arc<Graph>, queries: usize, records: &Records<'_>) -> Result<Option<Among>> {
        let Records { shared, open, .. } = *records;
        let called = self.filter.is_some() || self.payloads.is_some();
        if let Some(tags) = self.tags {
            let Some((members, version)) = tag_members::members(shared, open, graph, tags)? else { return Ok(None) };
            // A set may be of few of those.
            if let Some(set) = self.set
                && let Some(fewer) = set.members(shared, open, graph, queries)?
                && fewer.len() < members.len()
            {
                return Ok(Some(Among { members: fewer, partial: true, of_tags: false, version: None }));
            }
            return Ok(Some(Among { members, partial: called || self.set.is_some(), of_tags: true, version }));
        }
        if let Some(set) = self.set {
            let members = set.members(shared, open, graph, queries)?;
            return Ok(members.map(|members| Among { members, partial: called, of_tags: false, version: None }));
        }
        // Asking about all once is less than asking about some for each query. Payloads take too long to read them all.
        let all = graph.next_slot() as usize;
        let pays = self.filter.is_some() && self.payloads.is_none() && queries.saturating_mul(ASKED) > all;
        let all = || Arc::new(graph.members(&|raw| self.keeps(records, raw)));
        Ok(pays.then(|| Among { members: all(), partial: false, of_tags: false, version: None }))
    }
}

/// Where the records are that may be found.
pub(crate) struct Among {
    members: Arc<Members>,
    /// Not all of them may.
    partial: bool,
    /// They had the tags that are asked for.
    of_tags: bool,
    /// As long as the collection has this version, all of them still have.
    version: Option<u64>,
}

/// Records that a filter is asked about for a query, about.
const ASKED: usize = 1000;

/// Where filters read keys and payloads. A failure is kept until the search is over.
pub(crate) struct Records<'a> {
    shared: &'a Shared,
    open: &'a Open,
    graph: &'a Graph,
    failed: Mutex<Option<Error>>,
}

impl<'a> Records<'a> {
    pub(crate) fn new(shared: &'a Shared, open: &'a Open, graph: &'a Graph) -> Self {
        Self { shared, open, graph, failed: Mutex::new(None) }
    }

    /// Whether the record has such tags. One with a damaged key is not passed over.
    fn fulfil(&self, raw: u64, tags: &TagFilter) -> bool {
        let Ok(key) = self.graph.key(raw) else { return true };
        is_fulfilled(self.shared, self.open, key, tags).unwrap_or_else(|error| {
            self.fail(error);
            false
        })
    }

    fn payload(&self, raw: u64) -> Option<Arc<[u8]>> {
        let read = || self.shared.catalog.get(&RowKey::new(self.graph.id(), self.graph.key(raw)?));
        read()
            .unwrap_or_else(|error| {
                self.fail(error);
                None
            })
            .map(|row| row.payload)
    }

    /// A search had to read vectors from the disk, or could not.
    #[cold]
    fn met_disk(&self, counters: &Counters) {
        self.shared.met_disk();
        if let Err(error) = self.graph.check_read(counters) {
            self.fail(error.into());
        }
    }

    pub(crate) fn fail(&self, error: Error) {
        self.failed.lock().get_or_insert(error);
    }

    /// What went wrong first since it was asked last.
    pub(crate) fn check(&self) -> Result<()> {
        self.failed.lock().take().map_or(Ok(()), Err)
    }
}
