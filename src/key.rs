//! Types of keys.

mod sealed {
    pub trait Sealed {}
    impl Sealed for u64 {}
}

/// A type that records can be kept under: `u64`. (Strings, bytes, UUIDs and `u128` are to follow.)
pub trait Key: sealed::Sealed + Send + Sync + 'static {
    /// What results hold.
    type Owned: Clone + Send + Sync + std::fmt::Debug + 'static;

    #[doc(hidden)]
    fn to_u64(&self) -> u64;

    #[doc(hidden)]
    fn from_u64(raw: u64) -> Self::Owned;
}

impl Key for u64 {
    type Owned = u64;

    fn to_u64(&self) -> u64 {
        *self
    }

    fn from_u64(raw: u64) -> u64 {
        raw
    }
}

/// What may be given where a key of type `K` is asked for: the key, or a reference to it.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// docs.put(1, &[1.0, 2.0], b"")?;
/// for key in &[1, 2] {
///     println!("{key}: {}", docs.contains(key)?);
/// }
/// # Ok::<(), lodestore::Error>(())
/// ```
pub trait AsKey<K: Key + ?Sized> {
    #[doc(hidden)]
    fn with_key<T>(&self, f: impl FnOnce(&K) -> T) -> T;
}

impl AsKey<u64> for u64 {
    fn with_key<T>(&self, f: impl FnOnce(&u64) -> T) -> T {
        f(self)
    }
}

impl AsKey<u64> for &u64 {
    fn with_key<T>(&self, f: impl FnOnce(&u64) -> T) -> T {
        f(self)
    }
}
