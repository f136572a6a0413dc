//! Records in the order of their keys.

use crate::catalog::{End, RowRef, ScanRows};
use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::key::{AsKey, Key, RowKey};
use crate::record::{Record, check_slot};
use crate::shared::Handle;
use lodestore_engine::{Index, MarkedSlots, OwnedReading, StoredKey};
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};
use std::sync::Arc;

/// Keys from one to another, as [`Collection::range`] takes them: `a..b`, `a..=b`, `a..`, `..b`, `..=b`, `..`, or a pair of
/// [`Bound`]s, of whatever is [`AsKey`].
pub trait KeyRange<K: Key + ?Sized> {
    #[doc(hidden)]
    fn key_bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>);
}

impl<K: Key + ?Sized> KeyRange<K> for RangeFull {
    fn key_bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

macro_rules! key_range {
    ($($range:ty),*) => {$(
        impl<K: Key + ?Sized, Q: AsKey<K>> KeyRange<K> for $range {
            fn key_bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
                let bytes = |key: &Q| key.with_key(|key| key.with_bytes(<[u8]>::to_vec));
                (self.start_bound().map(bytes), self.end_bound().map(bytes))
            }
        }
    )*};
}
key_range!(Range<Q>, RangeInclusive<Q>, RangeFrom<Q>, RangeTo<Q>, RangeToInclusive<Q>, (Bound<Q>, Bound<Q>));

/// The records within bounds, as they were when the scan began.
struct Scan {
    rows: ScanRows,
    /// Of those that were marked as deleted then.
    marked: MarkedSlots,
    index: Arc<Index>,
    /// Keeps what slots hold.
    _reading: OwnedReading,
    /// Keeps the store open.
    handle: Arc<Handle>,
}

/// The keys of a collection in their order, from both ends: see [`Collection::iter`].
///
/// They are those that had a record when the iterator was made, whatever is written meanwhile: every batch is seen whole or
/// not at all, and records that were [marked as deleted](Collection::mark_deleted) then are left out. Little is loaded
/// ahead: the rows of the last writes, up to some thousands. Writers, checkpoints and compaction do not wait; as long as
/// the iterator lives, the space of what is replaced and removed is not used again. An error, [`Error::Closed`] among
/// them, is an item, and the last one.
#[must_use = "an iterator does nothing until it is asked"]
pub struct Keys<K: Key + ?Sized> {
    /// `None` = nothing more.
    state: Option<Result<Box<Scan>>>,
    keys: PhantomData<fn(&K)>,
}

/// Keys with their payloads: see [`Keys::with_payloads`].
#[must_use = "an iterator does nothing until it is asked"]
#[derive(Debug)]
pub struct Payloads<K: Key + ?Sized>(Keys<K>);

/// Keys with their records: see [`Keys::with_records`].
#[must_use = "an iterator does nothing until it is asked"]
#[derive(Debug)]
pub struct Records<K: Key + ?Sized>(Keys<K>);

impl<K: Key + ?Sized> fmt::Debug for Keys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("type", &K::TYPE).field("ended", &self.state.is_none()).finish()
    }
}

impl<K: Key + ?Sized> Keys<K> {
    fn new(collection: &Collection<K>, from: Bound<RowKey>, to: Bound<RowKey>) -> Self {
        let scan = || {
            let shared = collection.shared();
            shared.check_open()?;
            // Rows and slots of one generation.
            collection.open.with_index(|index| {
                let _reading = Index::reading_owned(index);
                let mut marked = MarkedSlots::default();
                let rows = shared.catalog.scan(from, to, || marked = index.marked_slots())?;
                let (handle, index) = (collection.handle().clone(), index.clone());
                Ok(rows.map(|rows| Box::new(Scan { rows, marked, index, _reading, handle })))
            })
        };
        Self { state: scan().transpose(), keys: PhantomData }
    }

    /// With each key also its payload.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put(1, &[0.5], b"one")?;
    /// for item in docs.iter().with_payloads() {
    ///     let (key, payload) = item?;
    ///     assert_eq!((key, &payload[..]), (1, &b"one"[..]));
    /// }
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn with_payloads(self) -> Payloads<K> {
        Payloads(self)
    }

    /// With each key also its record, the vector as [`get`](Collection::get) returns it.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put(1, &[0.5], b"one")?;
    /// let (key, record) = docs.iter().with_records().next().expect("just put")?;
    /// assert_eq!((key, &record.vector[..], &record.payload[..]), (1, &[0.5][..], &b"one"[..]));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn with_records(self) -> Records<K> {
        Records(self)
    }

    fn step<T>(&mut self, end: End, part: impl Fn(&Index, RowRef<'_>) -> Result<T>) -> Option<Result<(K::Owned, T)>> {
        let scan = match self.state.as_mut()? {
            Ok(scan) => scan,
            // What made it impossible.
            Err(_) => return self.state.take()?.err().map(Err),
        };
        let item = scan.next::<K, T>(end, part).transpose();
        if !matches!(item, Some(Ok(_))) {
            self.state = None;
        }
        item
    }
}

impl Scan {
    fn next<K: Key + ?Sized, T>(
        &mut self,
        end: End,
        part: impl Fn(&Index, RowRef<'_>) -> Result<T>,
    ) -> Result<Option<(K::Owned, T)>> {
        let shared = &self.handle.0;
        loop {
            shared.check_open()?;
            // What redb says while it is being closed does not matter.
            let found = self.rows.next(end).or_else(|error| shared.check_open().and(Err(error)))?;
            let Some(found) = found else { return Ok(None) };
            let row = found.row()?;
            if self.marked.has(row.slot) {
                continue;
            }
            let key = K::read(StoredKey::Bytes(found.key())).map(K::owned).ok_or_else(|| {
                let what = format!("a key of {} bytes where keys are of type {}", found.key().len(), K::TYPE);
                Error::Corrupt { file: lodestore_wal::names::CATALOG.into(), offset: 0, what }
            })?;
            check_slot(&self.index, row.slot)?;
            return Ok(Some((key, part(&self.index, row)?)));
        }
    }
}

impl<K: Key + ?Sized> Iterator for Keys<K> {
    type Item = Result<K::Owned>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(End::Front, |_, _| Ok(())).map(|item| item.map(|(key, ())| key))
    }
}

impl<K: Key + ?Sized> DoubleEndedIterator for Keys<K> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(End::Back, |_, _| Ok(())).map(|item| item.map(|(key, ())| key))
    }
}

impl<K: Key + ?Sized> FusedIterator for Keys<K> {}

macro_rules! with_parts {
    ($iterator:ident, $item:ty, $part:expr) => {
        impl<K: Key + ?Sized> Iterator for $iterator<K> {
            type Item = Result<(K::Owned, $item)>;

            fn next(&mut self) -> Option<Self::Item> {
                self.0.step(End::Front, $part)
            }
        }

        impl<K: Key + ?Sized> DoubleEndedIterator for $iterator<K> {
            fn next_back(&mut self) -> Option<Self::Item> {
                self.0.step(End::Back, $part)
            }
        }

        impl<K: Key + ?Sized> FusedIterator for $iterator<K> {}
    };
}
with_parts!(Payloads, Vec<u8>, |_, row| Ok(row.payload.to_vec()));
with_parts!(Records, Record, Record::read);

impl<K: Key + ?Sized> Collection<K> {
    /// The keys that have a record, in their order: see [`Keys`].
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<str>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&["b", "a", "c"], &[1.0, 2.0, 3.0], None)?;
    /// let keys = docs.iter().collect::<lodestore::Result<Vec<String>>>()?;
    /// assert_eq!(keys, ["a", "b", "c"]);
    /// assert_eq!(docs.iter().next_back().expect("three keys")?, "c");
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn iter(&self) -> Keys<K> {
        self.range(..)
    }

    /// The keys within a range that have a record, in their order: see [`Keys`]. A range that ends before it begins is
    /// empty.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&[1, 5, 7, 9], &[0.0, 1.0, 2.0, 3.0], None)?;
    /// let keys = docs.range(2..9).collect::<lodestore::Result<Vec<u64>>>()?;
    /// assert_eq!(keys, [5, 7]);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn range(&self, range: impl KeyRange<K>) -> Keys<K> {
        let id = self.open.id;
        let (from, to) = range.key_bounds();
        let from = match from.map(|key| RowKey::of_bytes(id, &key)) {
            Bound::Unbounded => Bound::Included(RowKey::of_bytes(id, &[])),
            bound => bound,
        };
        let to = match to.map(|key| RowKey::of_bytes(id, &key)) {
            Bound::Unbounded => RowKey::of_bytes(id, &[]).end_of_prefix(),
            bound => bound,
        };
        Keys::new(self, from, to)
    }

    fn with_prefix(&self, prefix: &[u8]) -> Keys<K> {
        let prefix = RowKey::of_bytes(self.open.id, prefix);
        let to = prefix.end_of_prefix();
        Keys::new(self, Bound::Included(prefix), to)
    }
}

impl Collection<str> {
    /// The keys that begin with `prefix`, in their order: see [`Keys`].
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<str>("docs").dim(1).open_or_create()?;
    /// docs.put_many(&["de/berlin", "fr/lyon", "fr/paris"], &[1.0, 2.0, 3.0], None)?;
    /// let keys = docs.prefix("fr/").collect::<lodestore::Result<Vec<String>>>()?;
    /// assert_eq!(keys, ["fr/lyon", "fr/paris"]);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn prefix(&self, prefix: impl AsRef<str>) -> Keys<str> {
        self.with_prefix(prefix.as_ref().as_bytes())
    }
}

impl Collection<[u8]> {
    /// The keys that begin with `prefix`, in their order: see [`Keys`].
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Keys<[u8]> {
        self.with_prefix(prefix.as_ref())
    }
}
