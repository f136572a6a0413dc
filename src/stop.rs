//! When a search ends, and which of the records it comes to are its answer.

use crate::hits::Hit;
use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;

/// What a [`StopCondition`] says of a record.
///
/// See [`Search::stop_when`](crate::Search::stop_when).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the answer.
    Take,
    /// It is not; the search goes on.
    Skip,
    /// It is the last one.
    TakeAndStop,
    /// It is not, and none after it is.
    Stop,
}

/// Decides when a search ends, and which of the records it comes to are its answer.
///
/// It is asked once of each record, the nearest first; one that the walk comes upon late may be nearer than one before.
/// The search ends when it says so, or when there is no other record; it panics if the condition does, and the
/// collection is none the worse. Closures that take a hit and give a [`Verdict`] are conditions, and so are [`Radius`] and
/// [`Documents`].
///
/// ```
/// use lodestore::{Hit, StopCondition, Verdict};
/// /// As many as fit.
/// struct Budget(usize);
/// impl StopCondition<u64> for Budget {
///     fn judge(&mut self, hit: &Hit<u64>) -> Verdict {
///         match self.0.checked_sub(hit.payload.as_ref().map_or(0, Vec::len)) {
///             Some(left) => {
///                 self.0 = left;
///                 Verdict::Take
///             }
///             None => Verdict::Stop,
///         }
///     }
/// }
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
/// docs.put_many(&[1, 2, 3], &[1.0, 2.0, 3.0], Some(&[b"four", b"four", b"four"]))?;
/// assert_eq!(docs.search(&[1.2]).with_payloads().stop_when(Budget(9))?.len(), 2);
/// # Ok::<(), lodestore::Error>(())
/// ```
pub trait StopCondition<T> {
    /// What is to be done with a record. It has its payload and vector if the search fetches them.
    fn judge(&mut self, hit: &Hit<T>) -> Verdict;
}

impl<T, F: FnMut(&Hit<T>) -> Verdict> StopCondition<T> for F {
    fn judge(&mut self, hit: &Hit<T>) -> Verdict {
        self(hit)
    }
}

/// Everything within a radius: hnswlib's epsilon search.
///
/// ```
/// use lodestore::Radius;
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
/// docs.put_many(&[1, 2, 3], &[1.0, 2.0, 9.0], None)?;
/// assert_eq!(docs.search(&[1.0]).stop_when(Radius::new(4.0))?.len(), 2);
/// assert_eq!(docs.search(&[1.0]).stop_when(Radius::new(4.0).max_candidates(1))?.len(), 1);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Radius {
    radius: f32,
    min: usize,
    max: usize,
    seen: usize,
}

impl Radius {
    /// All whose distance is at most `radius`, in the collection's metric: under L2 the square of the length.
    pub fn new(radius: f32) -> Self {
        Self { radius, min: 0, max: usize::MAX, seen: 0 }
    }

    /// Goes on until so many records were looked at, also beyond the radius: more find more. Default: 0; the search's
    /// `ef` candidates beyond the radius are known in any case.
    pub fn min_candidates(mut self, min: usize) -> Self {
        self.min = min;
        self
    }

    /// At most so many records, the nearest. Default: all.
    pub fn max_candidates(mut self, max: usize) -> Self {
        self.max = max;
        self
    }
}

impl<T> StopCondition<T> for Radius {
    fn judge(&mut self, hit: &Hit<T>) -> Verdict {
        if self.seen >= self.max {
            return Verdict::Stop;
        }
        self.seen += 1;
        match hit.distance <= self.radius {
            true if self.seen == self.max => Verdict::TakeAndStop,
            true => Verdict::Take,
            false if self.seen < self.min => Verdict::Skip,
            false => Verdict::Stop,
        }
    }
}

/// The records nearest to a query, until they are of so many documents: for documents of several vectors each. hnswlib's
/// multi-vector search.
///
/// ```
/// use lodestore::Documents;
/// let store = lodestore::Store::in_memory()?;
/// let parts = store.collection::<u64>("parts").dim(1).open_or_create()?;
/// parts.put_many(&[10, 11, 20, 30], &[1.0, 1.1, 1.3, 5.0], None)?;
/// let hits = parts.search(&[1.0]).stop_when(Documents::new(2, |hit: &lodestore::Hit<u64>| hit.key / 10))?;
/// assert_eq!(hits.iter().map(|hit| hit.key).collect::<Vec<_>>(), [10, 11, 20]);
/// # Ok::<(), lodestore::Error>(())
/// ```
pub struct Documents<D, F> {
    documents: usize,
    of: F,
    seen: HashSet<D>,
}

impl<D, F> fmt::Debug for Documents<D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Documents");
        debug.field("documents", &self.documents).field("seen", &self.seen.len()).finish_non_exhaustive()
    }
}

impl<D: Eq + Hash, F> Documents<D, F> {
    /// The records of the `documents` nearest documents; `of` says which one a record is of. A document is as near as its
    /// nearest record.
    pub fn new(documents: usize, of: F) -> Self {
        Self { documents, of, seen: HashSet::new() }
    }
}

impl<T, D: Eq + Hash, F: FnMut(&Hit<T>) -> D> StopCondition<T> for Documents<D, F> {
    fn judge(&mut self, hit: &Hit<T>) -> Verdict {
        if self.documents == 0 {
            return Verdict::Stop;
        }
        self.seen.insert((self.of)(hit));
        // As in hnswlib, with the first record of the last document.
        if self.seen.len() >= self.documents { Verdict::TakeAndStop } else { Verdict::Take }
    }
}
