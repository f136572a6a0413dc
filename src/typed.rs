//! Payloads of a type of the program's own.

use crate::collection::Collection;
use crate::components::Components;
use crate::error::{Error, Result};
use crate::hits::Hit;
use crate::key::{AsKey, Key, RowKey};
use crate::record::Record;
use crate::search::Search;
use crate::tags::Tags;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

/// A collection whose payloads are of type `P`, by serde: see [`Collection::typed`]. Needs the feature `serde`.
///
/// Payloads are kept as JSON, so that other languages and the command line can read them, and a field may be added
/// (`#[serde(default)]`) or left out later.
pub struct Typed<K: Key + ?Sized, P> {
    collection: Collection<K>,
    payload: PhantomData<fn(P) -> P>,
}

impl<K: Key + ?Sized, P> Clone for Typed<K, P> {
    fn clone(&self) -> Self {
        Self { collection: self.collection.clone(), payload: PhantomData }
    }
}

impl<K: Key + ?Sized, P> fmt::Debug for Typed<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").field("collection", &self.collection).field("payload", &type_name::<P>()).finish()
    }
}

/// A record with its payload as `P`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TypedRecord<P> {
    /// As [`Record::vector`].
    pub vector: Vec<f32>,
    /// The payload.
    pub payload: P,
    /// The tags.
    pub tags: Tags,
}

impl<K: Key + ?Sized> Collection<K> {
    /// The collection with payloads of type `P`. Nothing is stored of the type: a payload that is no `P` is an error when it
    /// is read as one, and only then.
    ///
    /// ```
    /// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    /// struct Note {
    ///     title: String,
    ///     year: u16,
    /// }
    /// let store = lodestore::Store::in_memory()?;
    /// let notes = store.collection::<str>("notes").dim(2).open_or_create()?.typed::<Note>();
    /// notes.put("a", &[1.0, 2.0], &Note { title: "On growth".into(), year: 1917 })?;
    /// assert_eq!(notes.get("a")?.unwrap().payload.year, 1917);
    /// let hits = notes.search(&[1.0, 2.0]).k(1).run()?;
    /// assert_eq!(hits[0].payload_as::<Note>()?.title, "On growth");
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn typed<P: Serialize + DeserializeOwned>(&self) -> Typed<K, P> {
        Typed { collection: self.clone(), payload: PhantomData }
    }
}

impl<K: Key + ?Sized, P: Serialize + DeserializeOwned> Typed<K, P> {
    /// The collection, for all that does not concern payloads.
    pub fn collection(&self) -> &Collection<K> {
        &self.collection
    }

    /// A payload as it is stored: for [batches](crate::WriteBatch::put), which take bytes.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// let typed = docs.typed::<Vec<u32>>();
    /// let mut batch = store.batch();
    /// batch.put(&docs, 1, &[1.0, 2.0], &typed.encode(&vec![7, 8])?)?;
    /// batch.commit()?;
    /// assert_eq!(typed.payload(1)?, Some(vec![7, 8]));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Payload`] if JSON cannot hold it so that it could be read again: a map with keys that are no strings, a
    /// number that is not finite, more than 128 levels. It is read again to know that.
    pub fn encode(&self, payload: &P) -> Result<Vec<u8>> {
        let wrong = |error: serde_json::Error| Error::Payload {
            key: "to be put".into(),
            what: format!("a {} cannot be kept as JSON: {error}", type_name::<P>()),
        };
        let bytes = serde_json::to_vec(payload).map_err(wrong)?;
        serde_json::from_slice::<P>(&bytes).map_err(wrong)?;
        Ok(bytes)
    }

    /// As [`Collection::put`].
    ///
    /// # Errors
    /// As [`Collection::put`] and [`encode`](Self::encode). Nothing has changed then.
    pub fn put<'v>(&self, key: impl AsKey<K>, vector: impl Into<Components<'v>>, payload: &P) -> Result<()> {
        self.collection.put(key, vector, &self.encode(payload)?)
    }

    /// As [`Collection::put_many`].
    ///
    /// # Errors
    /// As [`Collection::put_many`] and [`encode`](Self::encode), which looks at all payloads first.
    pub fn put_many<'v>(
        &self,
        keys: &[impl AsKey<K>],
        vectors: impl Into<Components<'v>>,
        payloads: &[P],
    ) -> Result<()> {
        let encoded = payloads.iter().map(|payload| self.encode(payload)).collect::<Result<Vec<_>>>()?;
        let encoded: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
        self.collection.put_many(keys, vectors, Some(&encoded))
    }

    /// As [`Collection::put_tagged`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_tagged<'v>(
        &self,
        key: impl AsKey<K>,
        vector: impl Into<Components<'v>>,
        payload: &P,
        tags: &Tags,
    ) -> Result<()> {
        self.collection.put_tagged(key, vector, &self.encode(payload)?, tags)
    }

    /// As [`Collection::set_payload`].
    ///
    /// # Errors
    /// As [`Collection::set_payload`] and [`encode`](Self::encode).
    pub fn set_payload(&self, key: impl AsKey<K>, payload: &P) -> Result<bool> {
        self.collection.set_payload(key, &self.encode(payload)?)
    }

    /// As [`Collection::get`].
    ///
    /// # Errors
    /// As [`Collection::get`]; [`Error::Payload`] if the payload is no `P`.
    pub fn get(&self, key: impl AsKey<K>) -> Result<Option<TypedRecord<P>>> {
        let key = RowKey::of::<K>(self.collection.open.id, &key);
        match self.collection.stored(&key)? {
            Some((Record { vector, payload, tags }, false)) => {
                Ok(Some(TypedRecord { vector, payload: decode(&payload, || key.shown(K::TYPE))?, tags }))
            }
            _ => Ok(None),
        }
    }

    /// As [`Collection::payload`].
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn payload(&self, key: impl AsKey<K>) -> Result<Option<P>> {
        let key = RowKey::of::<K>(self.collection.open.id, &key);
        let payload = self.collection.payload_of(&key)?;
        payload.map(|payload| decode(&payload, || key.shown(K::TYPE))).transpose()
    }

    /// As [`Collection::search`], with payloads fetched: [`Hit::payload_as`] gives them.
    pub fn search<'a>(&'a self, query: impl Into<Components<'a>>) -> Search<'a, K> {
        self.collection.search(query).with_payloads()
    }
}

impl<T: fmt::Debug> Hit<T> {
    /// The payload, as [`Typed`] keeps them. Needs the feature `serde`.
    ///
    /// # Errors
    /// [`Error::Payload`] if it is no `P`, or there is none: not [asked for](Search::with_payloads), or the record was
    /// removed meanwhile.
    pub fn payload_as<P: DeserializeOwned>(&self) -> Result<P> {
        let shown = || format!("{:?}", self.key);
        let payload = self.payload.as_deref().ok_or_else(|| Error::Payload {
            key: shown(),
            what: "it was not asked for (search with `with_payloads()`), or the record has been removed since".into(),
        })?;
        decode(payload, shown)
    }
}

fn decode<P: DeserializeOwned>(payload: &[u8], key: impl FnOnce() -> String) -> Result<P> {
    serde_json::from_slice(payload).map_err(|error| Error::Payload {
        key: key(),
        what: format!("its {} bytes are no {}: {error}", payload.len(), type_name::<P>()),
    })
}
