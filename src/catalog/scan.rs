//! Rows of a collection in the order of their keys, as of one moment.

use super::{Catalog, RECORDS, Row, RowRef, explained, failed, guarded};
use crate::error::{Error, Result};
use crate::key::RowKey;
use lodestore_wal::Session;
use redb::{AccessGuard, ReadableDatabase};
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

type Guard = AccessGuard<'static, &'static [u8]>;
type Staged = (RowKey, Option<Row>);

/// Which end of what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Front,
    Back,
}

/// An iterator from both ends, at each of which one item may have been looked at.
struct Ends<I: Iterator> {
    rest: I,
    front: Option<I::Item>,
    back: Option<I::Item>,
}

impl<I: DoubleEndedIterator> Ends<I> {
    fn new(rest: I) -> Self {
        Self { rest, front: None, back: None }
    }

    fn take(&mut self, end: End) -> Option<I::Item> {
        match end {
            End::Front => self.front.take().or_else(|| self.rest.next()).or_else(|| self.back.take()),
            End::Back => self.back.take().or_else(|| self.rest.next_back()).or_else(|| self.front.take()),
        }
    }

    fn put_back(&mut self, end: End, item: I::Item) {
        match end {
            End::Front => self.front = Some(item),
            End::Back => self.back = Some(item),
        }
    }
}

/// The rows; whatever is written meanwhile, they are as they were.
pub(crate) struct ScanRows {
    stored: Ends<redb::Range<'static, &'static [u8], &'static [u8]>>,
    /// What was not in redb yet, or is newer than what was.
    staged: Ends<std::vec::IntoIter<Staged>>,
    /// Says that somebody reads.
    _scanning: Arc<()>,
    session: Option<Session>,
}

/// A row of those.
pub(crate) enum Found {
    Stored { key: Guard, value: Guard },
    Staged { key: RowKey, row: Row },
}

impl Found {
    /// The key's bytes, in their order.
    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Found::Stored { key, .. } => RowKey::key_of_row(key.value()),
            Found::Staged { key, .. } => key.bytes(),
        }
    }

    /// The record's row.
    pub(crate) fn row(&self) -> Result<RowRef<'_>> {
        match self {
            Found::Stored { key, value } => RowRef::decode(key.value(), value.value()),
            Found::Staged { row, .. } => Ok(row.as_ref()),
        }
    }
}

/// Whether no key can be between the two.
pub(super) fn is_empty<T: Ord>(from: &Bound<T>, to: &Bound<T>) -> bool {
    use Bound::{Excluded, Included};
    match (from, to) {
        (Included(from), Included(to)) => from > to,
        (Included(from) | Excluded(from), Included(to) | Excluded(to)) => from >= to,
        _ => false,
    }
}

impl Catalog {
    /// The rows whose keys are within the bounds; `None` if they leave no room for any. `meanwhile` is called at the moment
    /// that they are of: no [staging](Self::stage) is under way.
    pub(crate) fn scan(
        &self,
        from: Bound<RowKey>,
        to: Bound<RowKey>,
        meanwhile: impl FnOnce(),
    ) -> Result<Option<ScanRows>> {
        if is_empty(&from, &to) {
            return Ok(None);
        }
        let bounds = (from.as_ref().map(RowKey::row), to.as_ref().map(RowKey::row));
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        // Nothing is staged meanwhile, and what leaves the overlay is in redb before.
        let overlay = self.overlay.read();
        let explained = |error| explained(error, &self.session);
        let table =
            guarded(|| db.begin_read().map_err(failed)?.open_table(RECORDS).map_err(failed)).map_err(explained)?;
        let copied = |(key, (_, row)): (&RowKey, &(u64, Option<Row>))| (key.clone(), row.clone());
        let staged: Vec<Staged> = overlay.range((from.as_ref(), to.as_ref())).map(copied).collect();
        meanwhile();
        drop(overlay);
        let stored = Ends::new(guarded(|| table.range::<&[u8]>(bounds).map_err(failed)).map_err(explained)?);
        let (_scanning, session) = (self.scans.clone(), self.session.clone());
        Ok(Some(ScanRows { stored, staged: Ends::new(staged.into_iter()), _scanning, session }))
    }
}

impl ScanRows {
    /// The next row at one end of what is left.
    pub(crate) fn next(&mut self, end: End) -> Result<Option<Found>> {
        loop {
            let stored = guarded(|| self.stored.take(end).transpose().map_err(failed));
            let stored = stored.map_err(|error| explained(error, &self.session))?;
            let (stored, staged) = match (stored, self.staged.take(end)) {
                (Some(stored), Some(staged)) => {
                    let order = stored.0.value().cmp(staged.0.row());
                    match if end == End::Front { order } else { order.reverse() } {
                        Ordering::Less => {
                            self.staged.put_back(end, staged);
                            (Some(stored), None)
                        }
                        // The staged one is newer.
                        Ordering::Equal => (None, Some(staged)),
                        Ordering::Greater => {
                            self.stored.put_back(end, Ok(stored));
                            (None, Some(staged))
                        }
                    }
                }
                one => one,
            };
            match (stored, staged) {
                (Some((key, value)), _) => return Ok(Some(Found::Stored { key, value })),
                (None, Some((key, Some(row)))) => return Ok(Some(Found::Staged { key, row })),
                // Removed.
                (None, Some((_, None))) => {}
                (None, None) => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_meet_in_the_middle() {
        let mut ends = Ends::new(vec![1, 2, 3, 4].into_iter());
        let first = ends.take(End::Front).unwrap();
        ends.put_back(End::Front, first);
        let last = ends.take(End::Back).unwrap();
        ends.put_back(End::Back, last);
        let taken: Vec<_> =
            [End::Back, End::Front, End::Back, End::Back, End::Front].into_iter().map(|end| ends.take(end)).collect();
        assert_eq!((first, last, taken), (1, 4, vec![Some(4), Some(1), Some(3), Some(2), None]));
        // What one end has looked at is the other's, if nothing else is left.
        let mut ends = Ends::new(vec![7].into_iter());
        let only = ends.take(End::Back).unwrap();
        ends.put_back(End::Back, only);
        assert_eq!((ends.take(End::Front), ends.take(End::Back)), (Some(7), None));
    }
}
