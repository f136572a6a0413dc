//! Types of keys, and keys as the catalogue has them.

use crate::error::{Error, Result};
use lodestore_engine::{KeyType, MAX_KEY, StoredKey};
use smallvec::SmallVec;
use std::fmt;
use std::ops::Bound;

mod sealed {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for u128 {}
    #[cfg(feature = "uuid")]
    impl Sealed for uuid::Uuid {}
    impl Sealed for str {}
    impl Sealed for [u8] {}
}

/// A type that records can be kept under: `u64`, `u128`, `str`, `[u8]`, and with the feature `uuid` also `uuid::Uuid`.
///
/// Keys of one collection are of one type and have an order: numbers that of their values, the others that of their
/// bytes. Strings and bytes have up to [`MAX_KEY`] of them, and may be empty. A `u64` costs nothing besides its record;
/// a key of another type is also kept in a file of its own, with 8 bytes more and in multiples of 16.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let pages = store.collection::<str>("pages").dim(2).open_or_create()?;
/// pages.put("https://example.org/", &[1.0, 2.0], b"")?;
/// pages.put_many(&["a", "b"], &[3.0, 4.0, 5.0, 6.0], None)?;
/// let nearest: String = pages.search(&[3.0, 4.0]).k(1).run()?[0].key.clone();
/// assert_eq!(nearest, "a");
///
/// let blobs = store.collection::<[u8]>("blobs").dim(2).open_or_create()?;
/// blobs.put([0xFF, 0x00], &[1.0, 2.0], b"")?;
/// assert!(blobs.contains([0xFF, 0x00])?);
/// assert!(store.collection::<u64>("blobs").open().is_err(), "its keys are of another type");
/// # Ok::<(), lodestore::Error>(())
/// ```
pub trait Key: sealed::Sealed + Send + Sync + 'static {
    /// What results hold.
    type Owned: Clone + Ord + Send + Sync + fmt::Debug + 'static;

    /// What a [filter](crate::Search::filter) is asked about.
    type Ref<'a>: Copy + fmt::Debug;

    /// Its type as a value.
    const TYPE: KeyType;

    /// The key in bytes that have the order of the keys.
    #[doc(hidden)]
    fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T;

    /// `None` if it is not one of these keys.
    #[doc(hidden)]
    fn read(stored: StoredKey<'_>) -> Option<Self::Ref<'_>>;

    #[doc(hidden)]
    fn owned(key: Self::Ref<'_>) -> Self::Owned;
}

impl Key for u64 {
    type Owned = u64;
    type Ref<'a> = u64;
    const TYPE: KeyType = KeyType::U64;

    fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        f(&self.to_be_bytes())
    }

    fn read(stored: StoredKey<'_>) -> Option<u64> {
        match stored {
            StoredKey::Number(number) => Some(number),
            StoredKey::Bytes(bytes) => bytes.try_into().ok().map(u64::from_be_bytes),
        }
    }

    fn owned(key: u64) -> u64 {
        key
    }
}

impl Key for u128 {
    type Owned = u128;
    type Ref<'a> = u128;
    const TYPE: KeyType = KeyType::U128;

    fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        f(&self.to_be_bytes())
    }

    fn read(stored: StoredKey<'_>) -> Option<u128> {
        bytes_of(stored)?.try_into().ok().map(u128::from_be_bytes)
    }

    fn owned(key: u128) -> u128 {
        key
    }
}

#[cfg(feature = "uuid")]
impl Key for uuid::Uuid {
    type Owned = uuid::Uuid;
    type Ref<'a> = uuid::Uuid;
    const TYPE: KeyType = KeyType::Uuid;

    fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        f(self.as_bytes())
    }

    fn read(stored: StoredKey<'_>) -> Option<uuid::Uuid> {
        uuid::Uuid::from_slice(bytes_of(stored)?).ok()
    }

    fn owned(key: uuid::Uuid) -> uuid::Uuid {
        key
    }
}

impl Key for str {
    type Owned = String;
    type Ref<'a> = &'a str;
    const TYPE: KeyType = KeyType::Str;

    fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        f(self.as_bytes())
    }

    fn read(stored: StoredKey<'_>) -> Option<&str> {
        std::str::from_utf8(bytes_of(stored)?).ok()
    }

    fn owned(key: &str) -> String {
        key.to_owned()
    }
}

impl Key for [u8] {
    type Owned = Vec<u8>;
    type Ref<'a> = &'a [u8];
    const TYPE: KeyType = KeyType::Bytes;

    fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        f(self)
    }

    fn read(stored: StoredKey<'_>) -> Option<&[u8]> {
        bytes_of(stored)
    }

    fn owned(key: &[u8]) -> Vec<u8> {
        key.to_owned()
    }
}

fn bytes_of(stored: StoredKey<'_>) -> Option<&[u8]> {
    match stored {
        StoredKey::Number(_) => None,
        StoredKey::Bytes(bytes) => Some(bytes),
    }
}

/// What may be given where a key of type `K` is asked for: numbers and UUIDs as they are or by reference; for `str`
/// whatever is `AsRef<str>` (`&str`, `String`, `&String`, `Box<str>` …), for `[u8]` whatever is `AsRef<[u8]>`.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// docs.put(1, &[1.0, 2.0], b"")?;
/// for key in &[1, 2] {
///     println!("{key}: {}", docs.contains(key)?);
/// }
/// let words = store.collection::<str>("words").dim(2).open_or_create()?;
/// words.put("one", &[1.0, 2.0], b"")?;
/// assert!(words.contains(String::from("one"))?);
/// # Ok::<(), lodestore::Error>(())
/// ```
pub trait AsKey<K: Key + ?Sized> {
    #[doc(hidden)]
    fn with_key<T>(&self, f: impl FnOnce(&K) -> T) -> T;
}

macro_rules! as_itself {
    ($($key:ty),*) => {$(
        impl AsKey<$key> for $key {
            fn with_key<T>(&self, f: impl FnOnce(&$key) -> T) -> T {
                f(self)
            }
        }

        impl AsKey<$key> for &$key {
            fn with_key<T>(&self, f: impl FnOnce(&$key) -> T) -> T {
                f(self)
            }
        }
    )*};
}
as_itself!(u64, u128);
#[cfg(feature = "uuid")]
as_itself!(uuid::Uuid);

impl<Q: AsRef<str> + ?Sized> AsKey<str> for Q {
    fn with_key<T>(&self, f: impl FnOnce(&str) -> T) -> T {
        f(self.as_ref())
    }
}

impl<Q: AsRef<[u8]> + ?Sized> AsKey<[u8]> for Q {
    fn with_key<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        f(self.as_ref())
    }
}

/// A collection and a key in it, as redb has it: the collection's number big-endian, then the key in bytes that have the
/// order of the keys. Short ones, all `u64` among them, take no memory of their own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RowKey(SmallVec<[u8; 24]>);

/// Bytes before the key.
const PREFIX: usize = 4;

impl RowKey {
    pub(crate) fn new(collection: u32, key: StoredKey<'_>) -> Self {
        match key {
            StoredKey::Number(number) => Self::of_bytes(collection, &number.to_be_bytes()),
            StoredKey::Bytes(bytes) => Self::of_bytes(collection, bytes),
        }
    }

    pub(crate) fn of<K: Key + ?Sized>(collection: u32, key: &(impl AsKey<K> + ?Sized)) -> Self {
        key.with_key(|key| key.with_bytes(|bytes| Self::of_bytes(collection, bytes)))
    }

    /// Of a key's bytes, in their order.
    pub(crate) fn of_bytes(collection: u32, key: &[u8]) -> Self {
        let mut bytes = SmallVec::from_slice(&collection.to_be_bytes());
        bytes.extend_from_slice(key);
        Self(bytes)
    }

    /// What redb has; `None` if that is too short.
    pub(crate) fn from_row(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= PREFIX).then(|| Self(SmallVec::from_slice(bytes)))
    }

    /// As redb has it.
    pub(crate) fn row(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn collection(&self) -> u32 {
        self.0.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// The part of what redb has that is the key.
    pub(crate) fn key_of_row(row: &[u8]) -> &[u8] {
        row.get(PREFIX..).unwrap_or_default()
    }

    /// The end of those that begin with these bytes.
    pub(crate) fn end_of_prefix(&self) -> Bound<RowKey> {
        end_of_prefix(self.row()).map(|end| Self(SmallVec::from_vec(end)))
    }

    /// The key's bytes, in their order.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0[PREFIX..]
    }

    /// The key, if it is a `u64`.
    pub(crate) fn number(&self) -> Option<u64> {
        self.bytes().try_into().ok().map(u64::from_be_bytes)
    }

    /// Whether it is the key that a slot has.
    pub(crate) fn is(&self, key: StoredKey<'_>) -> bool {
        match key {
            StoredKey::Number(number) => self.bytes() == number.to_be_bytes(),
            StoredKey::Bytes(bytes) => self.bytes() == bytes,
        }
    }

    /// # Errors
    /// [`Error::KeyTooLong`].
    pub(crate) fn check(&self, row: usize) -> Result<()> {
        let got = self.bytes().len();
        if got > MAX_KEY { Err(Error::KeyTooLong { row, got, limit: MAX_KEY }) } else { Ok(()) }
    }

    /// The key for a message.
    pub(crate) fn shown(&self, key: KeyType) -> String {
        match (key, self.bytes()) {
            (KeyType::U64, bytes) if bytes.len() == 8 => shown(StoredKey::Number(self.number().unwrap_or(0))),
            (_, bytes) => shown(StoredKey::Bytes(bytes)),
        }
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:02x?}", self.collection(), self.bytes())
    }
}

/// The end of what begins with these bytes.
pub(crate) fn end_of_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// A key for a message: a number, text in quotes, or else its bytes.
pub(crate) fn shown(key: StoredKey<'_>) -> String {
    match key {
        StoredKey::Number(number) => number.to_string(),
        StoredKey::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => format!("{text:?}"),
            Err(_) => format!("{bytes:02x?}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_order_of_collections_and_keys() {
        let mut rows = vec![RowKey::of::<str>(2, ""), RowKey::of::<str>(2, "b"), RowKey::of::<str>(2, "ab")];
        rows.extend([RowKey::of::<u64>(1, &256), RowKey::of::<u64>(1, &2), RowKey::of::<u64>(1, &u64::MAX)]);
        rows.extend([RowKey::of::<u128>(3, &u128::MAX), RowKey::of::<u128>(3, &1), RowKey::of::<[u8]>(0, &[7; 50])]);
        rows.sort();
        let expected = [
            RowKey::of::<[u8]>(0, &[7; 50]),
            RowKey::of::<u64>(1, &2),
            RowKey::of::<u64>(1, &256),
            RowKey::of::<u64>(1, &u64::MAX),
            RowKey::of::<str>(2, ""),
            RowKey::of::<str>(2, "ab"),
            RowKey::of::<str>(2, "b"),
            RowKey::of::<u128>(3, &1),
            RowKey::of::<u128>(3, &u128::MAX),
        ];
        assert_eq!(rows, expected);
        assert!(rows.iter().all(|row| RowKey::from_row(row.row()).as_ref() == Some(row)));
        assert_eq!((rows[1].collection(), rows[1].number(), rows[0].number()), (1, Some(2), None));
        assert_eq!(rows[5].shown(KeyType::Str), "\"ab\"");
        let end = |row: RowKey| match row.end_of_prefix() {
            Bound::Excluded(end) => end.row().to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(end(RowKey::of::<str>(2, "ab")), [0, 0, 0, 2, b'a', b'c']);
        assert_eq!(end(RowKey::of::<[u8]>(2, &[7, 0xFF, 0xFF])), [0, 0, 0, 2, 8]);
        assert_eq!(end(RowKey::of::<[u8]>(0xFF, &[0xFF])), [0, 0, 1]);
    }
}
