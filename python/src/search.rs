//! Searches for `k` records, of one query and of many.

use crate::errors::{raise, refuse};
use crate::filter::{Filter, Filters, Given};
use crate::input::Vectors;
use crate::keyed::PyKey;
use crate::output::{self, Rows};
use crate::waiting::Waiting;
use lodestore::{Collection, Control, Search};
use pyo3::prelude::*;
use std::time::Duration;

/// What a search is asked for, but for its filter.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) k: Option<usize>,
    pub(crate) ef: Option<usize>,
    pub(crate) recall: Option<f64>,
    pub(crate) payloads: bool,
    pub(crate) exact: bool,
    /// Seconds.
    pub(crate) timeout: Option<f64>,
}

impl Wanted {
    /// With a deadline, if there is one.
    pub(crate) fn control(&self) -> PyResult<Control> {
        let Some(seconds) = self.timeout else { return Ok(Control::new()) };
        match Duration::try_from_secs_f64(seconds) {
            Ok(timeout) => Ok(Control::new().timeout(timeout)),
            // Longer than anybody waits.
            Err(_) if seconds > 0.0 => Ok(Control::new()),
            Err(_) => Err(refuse(format!("timeout is a number of seconds from 0 up, got {seconds}"))),
        }
    }

    /// The search that this asks for.
    pub(crate) fn apply<'a, K: PyKey + ?Sized>(self, mut search: Search<'a, K>) -> Search<'a, K> {
        if let Some(k) = self.k {
            search = search.k(k);
        }
        if let Some(ef) = self.ef {
            search = search.ef(ef);
        }
        if let Some(recall) = self.recall {
            search = search.recall(recall);
        }
        if self.exact {
            search = search.exact();
        }
        if self.payloads { search.with_payloads() } else { search }
    }

    /// # Errors
    /// `InputError` for two answers to one question.
    pub(crate) fn check(&self) -> PyResult<()> {
        match (self.ef, self.recall) {
            (Some(_), Some(_)) => Err(refuse("a search has an ef or a recall, not both")),
            _ => Ok(()),
        }
    }
}

pub(crate) fn search<'py, K: PyKey + ?Sized>(
    py: Python<'py>,
    docs: &Collection<K>,
    query: &Vectors<'py>,
    wanted: Wanted,
    given: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let components = query.components()?;
    let (filter, tags) = (given.filter.map(Filter::<K>::new).transpose()?, given.tags);
    // What nobody can end is not looked at on the way.
    let control = wanted.timeout.is_some().then(|| wanted.control()).transpose()?;
    let hits = py.detach(|| {
        let asked = filter.as_ref().and_then(Filter::asked);
        let mut search = wanted.apply(docs.search(components));
        if let Some(control) = &control {
            search = search.control(control);
        }
        if let Some(asked) = &asked {
            search = search.filter(asked);
        }
        if let Some(set) = filter.as_ref().and_then(Filter::set) {
            search = K::among(search, set);
        }
        if let Some(tags) = tags {
            search = search.tagged(tags);
        }
        search.run()
    });
    filter.map_or(Ok(()), Filter::end)?;
    let hits = hits.map_err(raise)?;
    let complete = hits.stats().complete;
    output::hits::<K>(py, hits.into_iter().collect(), wanted.payloads, complete)
}

pub(crate) fn search_many<'py, K: PyKey + ?Sized>(
    py: Python<'py>,
    docs: &Collection<K>,
    queries: &Vectors<'py>,
    wanted: Wanted,
    given: Given<'_, 'py>,
    threads: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let components = queries.components()?;
    let mut waiting = Waiting::new(None, 0);
    let filter = given.filter.map(|filter| Filters::<K>::new(filter, queries.count())).transpose()?;
    let tags = given.tags;
    let control = wanted.timeout.is_some().then(|| wanted.control()).transpose()?;
    let rows = py.detach(|| {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let in_row = |row: usize, key: K::Ref<'_>| filter.as_ref().is_none_or(|filter| filter.keeps(row, key));
        let in_each = |key: K::Ref<'_>| in_row(0, key);
        let mut search = docs.search_many(components).threads(if threads == 0 { cores() } else { threads });
        if let Some(k) = wanted.k {
            search = search.k(k);
        }
        if let Some(ef) = wanted.ef {
            search = search.ef(ef);
        }
        if let Some(recall) = wanted.recall {
            search = search.recall(recall);
        }
        if let Some(control) = &control {
            search = search.control(control);
        }
        search = match &filter {
            None => search,
            Some(Filters::All(Filter::Set(set))) => K::among_many(search, set),
            Some(Filters::Sets(sets)) => K::among_rows(search, sets),
            Some(Filters::All(Filter::Asked(_) | Filter::Keys(_))) => search.filter(&in_each),
            Some(_) => search.filter_rows(&in_row),
        };
        if let Some(tags) = tags {
            search = search.tagged(tags);
        }
        if wanted.exact {
            search = search.exact();
        }
        search.run_while(|| waiting.go_on(0)).map(|(hits, _)| (hits.stats().complete, Rows::<K>::new(&hits)))
    });
    waiting.end()?;
    filter.map_or(Ok(()), Filters::end)?;
    let (complete, rows) = rows.map_err(raise)?;
    output::batch_hits(py, rows, complete)
}
