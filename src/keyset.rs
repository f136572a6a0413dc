//! Sets of keys, made once and used by any number of searches.

mod blocks;

use crate::by_value::by_value;
use crate::error::Result;
use crate::key::RowKey;
use crate::shared::{Open, Shared};
use blocks::Blocks;
use lodestore_engine::{Index, Members, StoredKey};
use parking_lot::Mutex;
use std::fmt;
use std::ops::{BitAnd, BitOr, Not, RangeBounds, Sub};
use std::sync::{Arc, Weak};

/// A set of keys of the type `u64`, for [searches among them](crate::Search::among): made of keys or of ranges of them, put together with `&`, `|`, `-`
/// and `!`, and used by any number of searches of any collections.
///
/// Where its records lie is found out once for each collection, and kept up with what is put and removed; so it pays to
/// keep a set, and searches that follow take no longer for it. `!set` are all keys that are not in `set`, those that are
/// put later too. A clone is the same set, and costs nothing.
///
/// ```
/// use lodestore::KeySet;
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
/// docs.put_many(&[1, 2, 3, 4], &[1.0, 2.0, 3.0, 4.0], None)?;
/// let set = KeySet::from([2, 4]) | KeySet::range(1000..2000);
/// assert_eq!(docs.search(&[1.0]).k(1).among(&set).run()?[0].key, 2);
/// assert_eq!(docs.search(&[1.0]).k(1).among(&!&set).run()?[0].key, 1);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct KeySet(Arc<Inner>);

#[derive(Default)]
struct Inner {
    keys: Blocks,
    found: Mutex<Vec<Found>>,
}

/// What is known of a set in a collection. Compacting makes another index, of which nothing is known yet.
struct Found {
    index: Weak<Index>,
    /// `None`: it has been used once, without finding out.
    members: Option<Arc<Members>>,
}

/// Collections of which it is kept where a set's records lie.
const KEPT: usize = 4;
/// Looking a key up in the catalogue takes as long as looking at so many slots.
const SLOTS_A_KEY: u64 = 200;
/// Queries of one call that are worth finding out at the first use.
const MANY: usize = 16;

impl KeySet {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// All keys of a range.
    ///
    /// ```
    /// use lodestore::KeySet;
    /// assert!(KeySet::range(10..).contains(10) && !KeySet::range(..10).contains(10));
    /// ```
    pub fn range(range: impl RangeBounds<u64>) -> Self {
        Self::of(Blocks::of_range(&range))
    }

    fn of(keys: Blocks) -> Self {
        Self(Arc::new(Inner { keys, found: Mutex::default() }))
    }

    /// Whether a key is in it.
    #[inline]
    pub fn contains(&self, key: u64) -> bool {
        self.0.keys.contains(key)
    }

    /// How many keys are in it, whether they have records or not; 2⁶⁴ is given as `u64::MAX`.
    ///
    /// ```
    /// use lodestore::KeySet;
    /// let set = KeySet::from([1, 2, 2]);
    /// assert_eq!((set.len(), (!&set).len()), (2, u64::MAX - 1));
    /// ```
    pub fn len(&self) -> u64 {
        self.0.keys.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a key; says whether it is new. Other clones stay as they are. What was known of where its records lie is
    /// forgotten, so add many at a time: with [`Extend`].
    pub fn insert(&mut self, key: u64) -> bool {
        self.change(key, true)
    }

    /// Takes a key out; says whether it was in it. Otherwise as [`insert`](Self::insert).
    pub fn remove(&mut self, key: u64) -> bool {
        self.change(key, false)
    }

    fn change(&mut self, key: u64, to: bool) -> bool {
        if self.contains(key) == to {
            return false;
        }
        match Arc::get_mut(&mut self.0) {
            Some(own) => {
                own.found.get_mut().clear();
                own.keys.change(key, to)
            }
            None => {
                let mut keys = self.0.keys.clone();
                keys.change(key, to);
                *self = Self::of(keys);
                true
            }
        }
    }

    /// Where its records lie in a collection, for so many queries. `None`: it would take longer to find out than to ask
    /// key by key.
    pub(crate) fn members(
        &self,
        shared: &Shared,
        open: &Open,
        index: &Arc<Index>,
        queries: usize,
    ) -> Result<Option<Arc<Members>>> {
        let mut all = self.0.found.lock();
        let keep = |key| self.contains(key);
        if let Some(at) = all.iter().position(|found| std::ptr::eq(found.index.as_ptr(), Arc::as_ptr(index))) {
            if let Some(members) = &mut all[at].members {
                if !index.is_current(members) {
                    index.catch_up(Arc::make_mut(members), &keep);
                }
                return Ok(Some(members.clone()));
            }
            let members = Arc::new(self.find(shared, open, index)?);
            all[at].members = Some(members.clone());
            return Ok(Some(members));
        }
        let members = if queries >= MANY || self.is_small(index) {
            Some(Arc::new(self.find(shared, open, index)?))
        } else {
            None
        };
        all.retain(|found| found.index.strong_count() > 0);
        if all.len() == KEPT {
            all.remove(0);
        }
        all.push(Found { index: Arc::downgrade(index), members: members.clone() });
        Ok(members)
    }

    /// Whether it takes less to look its keys up than to look at all slots.
    fn is_small(&self, index: &Index) -> bool {
        self.len().saturating_mul(SLOTS_A_KEY) < u64::from(index.next_slot())
    }

    fn find(&self, shared: &Shared, open: &Open, index: &Index) -> Result<Members> {
        let listed = self.0.keys.listed().filter(|_| self.is_small(index));
        let Some(keys) = listed else { return Ok(index.members(&|key| self.contains(key))) };
        // Before the look-ups: what is put meanwhile is caught up with.
        let until = shared.progress(index);
        let slots = open.reading(|now| {
            if !std::ptr::eq(now, index) {
                return Ok(None);
            }
            let slot = |key| shared.catalog.slot(&RowKey::new(open.id, StoredKey::Number(key))).transpose();
            keys.filter_map(slot).collect::<Result<Vec<u32>>>().map(Some)
        })?;
        Ok(slots.map_or_else(|| index.members(&|key| self.contains(key)), |slots| index.members_at(slots, until)))
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeySet").field(&self.0.keys).finish()
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        // By what is in one and not in the other: a block can be described in two ways.
        (self - other).is_empty() && (other - self).is_empty()
    }
}

impl Eq for KeySet {}

impl FromIterator<u64> for KeySet {
    fn from_iter<I: IntoIterator<Item = u64>>(keys: I) -> Self {
        let mut keys: Vec<u64> = keys.into_iter().collect();
        if !keys.is_sorted() {
            keys.sort_unstable();
        }
        keys.dedup();
        Self::of(Blocks::of_sorted(keys.into_iter()))
    }
}

impl<const N: usize> From<[u64; N]> for KeySet {
    fn from(keys: [u64; N]) -> Self {
        keys.into_iter().collect()
    }
}

impl From<&[u64]> for KeySet {
    fn from(keys: &[u64]) -> Self {
        keys.iter().copied().collect()
    }
}

impl Extend<u64> for KeySet {
    fn extend<I: IntoIterator<Item = u64>>(&mut self, keys: I) {
        *self = &*self | &keys.into_iter().collect();
    }
}

impl Not for &KeySet {
    type Output = KeySet;

    /// All keys that are not in it.
    fn not(self) -> KeySet {
        KeySet::of(self.0.keys.complement())
    }
}

impl BitAnd for &KeySet {
    type Output = KeySet;

    /// The keys that are in both.
    fn bitand(self, other: &KeySet) -> KeySet {
        KeySet::of(self.0.keys.and(&other.0.keys))
    }
}

impl BitOr for &KeySet {
    type Output = KeySet;

    /// The keys that are in one of them, or in both.
    fn bitor(self, other: &KeySet) -> KeySet {
        !(&!self & &!other)
    }
}

impl Sub for &KeySet {
    type Output = KeySet;

    /// The keys that are in the first and not in the second.
    fn sub(self, other: &KeySet) -> KeySet {
        self & &!other
    }
}

by_value!(KeySet);
