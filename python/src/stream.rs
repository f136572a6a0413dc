//! Records in the order of their distances, and searches that end otherwise than after `k`.

use crate::classes;
use crate::errors::{raise, refuse};
use crate::filter::{Filter, Given};
use crate::input::Vectors;
use crate::keyed::{AnyKey, PyKey, object};
use crate::output;
use crate::search::Wanted;
use crate::waiting::{Signals, interruptible};
use lodestore::{Collection, Control, Hit, Radius, StopCondition, TagFilter, Verdict};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A stream of Rust's, whose filter is asked here, and which ends when a signal's handler raises.
struct Source<K: PyKey + ?Sized> {
    stream: lodestore::Stream<'static, K>,
    filter: Option<Filter<K>>,
    tags: Option<TagFilter>,
    control: Control,
    signals: Signals,
    /// All at once is compared for the first one.
    exact: bool,
    /// Those that had been taken when a call failed: they come next.
    taken: Vec<Hit<K::Owned>>,
}

impl<K: PyKey + ?Sized> Source<K> {
    fn new(docs: &Collection<K>, query: &Vectors<'_>, wanted: Wanted, given: Given<'_, '_>) -> PyResult<Self> {
        wanted.check()?;
        let control = wanted.control()?;
        let (filter, tags) = (given.filter.map(Filter::new).transpose()?, given.tags.cloned());
        let mut search = wanted.apply(docs.search(query.components()?)).control(&control);
        if tags.is_some() {
            search = search.with_tags();
        }
        let stream = search.stream().map_err(raise)?.without_filter();
        Ok(Self { stream, filter, tags, control, signals: Signals::new(), exact: wanted.exact, taken: Vec::new() })
    }

    /// The next that is kept. Without the interpreter.
    fn next(&mut self) -> PyResult<Option<Hit<K::Owned>>> {
        loop {
            self.signals.check()?;
            let Some(hit) = self.stream.next() else { return Ok(None) };
            let hit = hit.map_err(raise)?;
            let is_tagged = |tags: &TagFilter| hit.tags.as_ref().is_some_and(|of| tags.matches(of));
            if !self.tags.as_ref().is_none_or(is_tagged) {
                continue;
            }
            let Some(filter) = &self.filter else { return Ok(Some(hit)) };
            let kept = filter.keeps(K::borrowed(&hit.key));
            filter.raised()?;
            if kept {
                return Ok(Some(hit));
            }
        }
    }

    /// Does something with it, without the interpreter.
    fn work<T: Send>(&mut self, py: Python<'_>, work: impl FnOnce(&mut Self) -> PyResult<T> + Send) -> PyResult<T> {
        let control = self.control.clone();
        match std::mem::take(&mut self.exact) {
            true => py.detach(|| interruptible(&control, || work(self))),
            false => py.detach(|| work(self)),
        }
    }

    fn complete(&self) -> bool {
        self.stream.stats().complete
    }
}

/// A hit as an object of Python.
fn hit<'py, K: PyKey + ?Sized>(py: Python<'py>, hit: &Hit<K::Owned>) -> PyResult<Bound<'py, PyAny>> {
    let payload = hit.payload.as_ref().map(|payload| PyBytes::new(py, payload));
    classes::HIT.make(py, (object::<K>(py, &hit.key)?, hit.distance, payload))
}

/// All within a radius, at most `k` of them.
pub(crate) fn within<'py, K: PyKey + ?Sized>(
    py: Python<'py>,
    docs: &Collection<K>,
    query: &Vectors<'py>,
    wanted: Wanted,
    given: Given<'_, 'py>,
    (radius, min_candidates): (f32, usize),
) -> PyResult<Bound<'py, PyAny>> {
    if radius.is_nan() {
        return Err(refuse("a radius is a number, got nan"));
    }
    let mut source = Source::new(docs, query, wanted, given)?;
    let mut condition = Radius::new(radius).min_candidates(min_candidates);
    let most = wanted.k.unwrap_or(usize::MAX);
    let found = source.work(py, |source| {
        let mut found = Vec::new();
        while found.len() < most
            && let Some(hit) = source.next()?
        {
            match condition.judge(&hit) {
                Verdict::Take => found.push(hit),
                Verdict::Skip => {}
                _ => break,
            }
        }
        Ok(found)
    })?;
    ordered::<K>(py, found, wanted.payloads, source.complete())
}

/// Hits that may have come late.
fn ordered<K: PyKey + ?Sized>(
    py: Python<'_>,
    mut found: Vec<Hit<K::Owned>>,
    payloads: bool,
    complete: bool,
) -> PyResult<Bound<'_, PyAny>> {
    found.sort_by(|a, b| a.distance.total_cmp(&b.distance));
    output::hits::<K>(py, found, payloads, complete)
}

/// Hits sorted by what a callable says of them: each group's own, in the order in which groups were met. Ends with the
/// first hit of the `groups`th.
fn grouped<K: PyKey + ?Sized>(
    py: Python<'_>,
    source: &mut Source<K>,
    groups: usize,
    group: &Bound<'_, PyAny>,
    mut each: impl FnMut(usize, Bound<'_, PyAny>, Hit<K::Owned>),
) -> PyResult<()> {
    let places = PyDict::new(py);
    while places.len() < groups {
        let Some(found) = source.work(py, Source::next)? else { break };
        let id = group.call1((hit::<K>(py, &found)?,))?;
        let place = match places.get_item(&id)? {
            Some(place) => place.extract()?,
            None => {
                let place = places.len();
                places.set_item(&id, place)?;
                place
            }
        };
        each(place, id, found);
    }
    Ok(())
}

/// What a callable has said, and the hits that it has said it of.
type Grouped<T> = (Py<PyAny>, Vec<Hit<T>>);

/// The nearest groups, each with at most `most` of its hits.
pub(crate) fn group_by<'py, K: PyKey + ?Sized>(
    py: Python<'py>,
    docs: &Collection<K>,
    query: &Vectors<'py>,
    wanted: Wanted,
    given: Given<'_, 'py>,
    (group, k, most): (&Bound<'py, PyAny>, usize, usize),
) -> PyResult<Bound<'py, PyList>> {
    let mut source = Source::new(docs, query, wanted, given)?;
    let mut groups: Vec<Grouped<K::Owned>> = Vec::new();
    grouped(py, &mut source, k, group, |place, id, found| {
        if place == groups.len() {
            groups.push((id.unbind(), Vec::new()));
        }
        groups[place].1.push(found);
    })?;
    let complete = source.complete();
    for (_, found) in &mut groups {
        found.sort_by(|a, b| a.distance.total_cmp(&b.distance));
        found.truncate(most.max(1));
    }
    groups.sort_by(|(_, a), (_, b)| a[0].distance.total_cmp(&b[0].distance));
    let group = |(id, found)| -> PyResult<_> {
        let hits = output::hits::<K>(py, found, wanted.payloads, complete)?;
        classes::GROUP.make(py, (id, hits))
    };
    PyList::new(py, groups.into_iter().map(group).collect::<PyResult<Vec<_>>>()?)
}

/// The hits up to the first of the `documents`th document.
pub(crate) fn documents<'py, K: PyKey + ?Sized>(
    py: Python<'py>,
    docs: &Collection<K>,
    query: &Vectors<'py>,
    wanted: Wanted,
    given: Given<'_, 'py>,
    (document, documents): (&Bound<'py, PyAny>, usize),
) -> PyResult<Bound<'py, PyAny>> {
    let mut source = Source::new(docs, query, wanted, given)?;
    let mut all = Vec::new();
    grouped(py, &mut source, documents, document, |_, _, found| all.push(found))?;
    ordered::<K>(py, all, wanted.payloads, source.complete())
}

type Item = (AnyKey, f32, Option<Vec<u8>>);

/// A source of whatever keys.
trait Items: Send {
    fn some(&mut self, py: Python<'_>, count: usize) -> PyResult<Vec<Item>>;

    /// Of the collection's keys.
    fn hits<'py>(&mut self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyAny>>;

    fn complete(&self) -> bool;
}

impl<K: PyKey + ?Sized> Source<K> {
    fn take(&mut self, py: Python<'_>, count: usize) -> PyResult<Vec<Hit<K::Owned>>> {
        let mut taken = std::mem::take(&mut self.taken);
        let all = self.work(py, |source| {
            while taken.len() < count
                && let Some(hit) = source.next()?
            {
                taken.push(hit);
            }
            Ok(())
        });
        self.taken = if all.is_ok() { taken.split_off(count.min(taken.len())) } else { std::mem::take(&mut taken) };
        all.map(|()| taken)
    }
}

struct Streamed<K: PyKey + ?Sized> {
    source: Source<K>,
    payloads: bool,
}

impl<K: PyKey + ?Sized> Items for Streamed<K> {
    fn some(&mut self, py: Python<'_>, count: usize) -> PyResult<Vec<Item>> {
        let taken = self.source.take(py, count)?;
        Ok(taken.into_iter().map(|hit| (K::any(hit.key), hit.distance, hit.payload)).collect())
    }

    fn hits<'py>(&mut self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyAny>> {
        let taken = self.source.take(py, count)?;
        output::hits::<K>(py, taken, self.payloads, self.source.complete())
    }

    fn complete(&self) -> bool {
        self.source.complete()
    }
}

/// What a stream holds.
struct Held {
    /// None while it is being asked: nobody waits for another, so that nobody waits for the interpreter with it.
    items: Option<Box<dyn Items>>,
    complete: bool,
}

/// The records nearest to a vector, one after the other, as many as are asked for: an iterator of Hit, made by
/// Collection.stream(). take(count) gives the next so many at once, as Hits.
///
/// The nearest comes first; one that the walk comes upon late comes late, and each comes once. While it is there, the places of
/// removed records are not used again, so do not keep one for long beside writes.
#[pyclass(frozen, module = "lodestore")]
pub(crate) struct Stream(Mutex<Held>);

impl Stream {
    pub(crate) fn new<K: PyKey + ?Sized>(
        docs: &Collection<K>,
        query: &Vectors<'_>,
        wanted: Wanted,
        given: Given<'_, '_>,
    ) -> PyResult<Self> {
        let source = Source::new(docs, query, wanted, given)?;
        let items: Box<dyn Items> = Box::new(Streamed { source, payloads: wanted.payloads });
        Ok(Self(Mutex::new(Held { items: Some(items), complete: true })))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks it.
    fn ask<T>(&self, ask: impl FnOnce(&mut dyn Items) -> PyResult<T>) -> PyResult<T> {
        let items = self.held().items.take();
        let Some(mut items) = items else {
            return Err(refuse("the stream is being asked by another thread, or by its own filter"));
        };
        let asked = ask(&mut *items);
        let complete = items.complete();
        let mut held = self.held();
        held.complete = complete;
        held.items = Some(items);
        asked
    }
}

#[pymethods]
impl Stream {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some((key, distance, payload)) = self.ask(|items| items.some(py, 1))?.pop() else { return Ok(None) };
        let payload = payload.map(|payload| PyBytes::new(py, &payload));
        classes::HIT.make(py, (key.object(py)?, distance, payload)).map(Some)
    }

    /// The next count records, Hits: fewer if there are fewer.
    fn take<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyAny>> {
        self.ask(|items| items.hits(py, count))
    }

    /// False once timeout has passed, and so ended it early.
    #[getter]
    fn complete(&self) -> bool {
        self.held().complete
    }
}
