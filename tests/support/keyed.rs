//! Collections with any type of keys, used by number: what a test does with one type it does with the others, too.

use lodestore::{AsKey, Collection, CollectionInfo, Error, Key, Record, Result, Store, TagFilter, Tags, WriteBatch};

/// A type of keys with a key for every number.
pub(crate) trait Numbered: Key<Owned: AsKey<Self>> {
    fn key(number: u64) -> Self::Owned;
    fn number(key: &Self::Owned) -> u64;
}

impl Numbered for u64 {
    fn key(number: u64) -> u64 {
        number
    }

    fn number(key: &u64) -> u64 {
        *key
    }
}

impl Numbered for u128 {
    fn key(number: u64) -> u128 {
        u128::from(number) << 64 | 7
    }

    fn number(key: &u128) -> u64 {
        (key >> 64) as u64
    }
}

/// Of some lengths, around those of a unit of the keys segment.
impl Numbered for str {
    fn key(number: u64) -> String {
        format!("{}{number}", "ключ ".repeat(number as usize % 7))
    }

    fn number(key: &String) -> u64 {
        key.rsplit(' ').next().expect("there is always a last one").parse().expect("it ends in a number")
    }
}

/// The empty one among them, long ones, and any bytes.
impl Numbered for [u8] {
    fn key(number: u64) -> Vec<u8> {
        match number {
            0 => Vec::new(),
            _ => [&number.to_be_bytes()[..], &vec![0xFF; number as usize % 5 * 90]].concat(),
        }
    }

    fn number(key: &Vec<u8>) -> u64 {
        key.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

/// A collection, whatever its keys are.
#[derive(Clone)]
pub(crate) enum Docs {
    Number(Collection<u64>),
    Str(Collection<str>),
    Bytes(Collection<[u8]>),
}

macro_rules! each {
    ($docs:expr, $inner:ident => $does:expr) => {
        match $docs {
            Docs::Number($inner) => $does,
            Docs::Str($inner) => $does,
            Docs::Bytes($inner) => $does,
        }
    };
}

fn key<K: Numbered + ?Sized>(_: &Collection<K>, number: u64) -> K::Owned {
    K::key(number)
}

/// What a search finds: number, distance and payload.
pub(crate) type Found = (u64, f32, Option<Vec<u8>>);

fn found<K: Numbered + ?Sized>(docs: &Collection<K>, query: &[f32], k: usize, ef: usize) -> Result<Vec<Found>> {
    let hits = docs.search(query).k(k).ef(ef).with_payloads().run()?;
    Ok(hits.into_iter().map(|hit| (K::number(&hit.key), hit.distance, hit.payload)).collect())
}

/// Vector, payload and tags.
pub(crate) type Valued<'a> = (&'a [f32], &'a [u8], &'a Tags);

fn tagged<K: Numbered + ?Sized>(
    docs: &Collection<K>,
    query: &[f32],
    k: usize,
    condition: &TagFilter,
) -> Result<Vec<u64>> {
    let hits = docs.search(query).k(k).tagged(condition).run()?;
    Ok(hits.into_iter().map(|hit| K::number(&hit.key)).collect())
}

fn numbers<K: Numbered + ?Sized>(docs: &Collection<K>) -> Result<Vec<u64>> {
    docs.iter().map(|key| key.map(|key| K::number(&key))).collect()
}

impl Docs {
    /// Opens a collection, of which it is known only what it is called.
    pub(crate) fn open(store: &Store, name: &str) -> Result<Self> {
        match store.collection::<u64>(name).open() {
            Err(Error::SettingDiffers { stored, .. }) if stored == "str" => {
                store.collection(name).open().map(Docs::Str)
            }
            Err(Error::SettingDiffers { stored, .. }) if stored == "bytes" => {
                store.collection(name).open().map(Docs::Bytes)
            }
            opened => opened.map(Docs::Number),
        }
    }

    pub(crate) fn put(&self, number: u64, vector: &[f32], payload: &[u8]) -> Result<()> {
        each!(self, docs => docs.put(key(docs, number), vector, payload))
    }

    pub(crate) fn put_tagged(&self, number: u64, (vector, payload, tags): Valued<'_>) -> Result<()> {
        each!(self, docs => docs.put_tagged(key(docs, number), vector, payload, tags))
    }

    pub(crate) fn set_tags(&self, number: u64, tags: &Tags) -> Result<bool> {
        each!(self, docs => docs.set_tags(key(docs, number), tags))
    }

    pub(crate) fn batch_put_tagged(
        &self,
        batch: &mut WriteBatch,
        number: u64,
        (vector, payload, tags): Valued<'_>,
    ) -> Result<()> {
        each!(self, docs => batch.put_tagged(docs, key(docs, number), vector, payload, tags))
    }

    pub(crate) fn put_many_tagged(
        &self,
        numbers: &[u64],
        vectors: &[f32],
        payloads: &[&[u8]],
        tags: &[Tags],
    ) -> Result<()> {
        each!(self, docs => {
            let keys: Vec<_> = numbers.iter().map(|&number| key(docs, number)).collect();
            docs.put_many_tagged(&keys, vectors, Some(payloads), tags)
        })
    }

    /// The numbers of all up to `k` that fulfil a condition, in order.
    pub(crate) fn tagged(&self, query: &[f32], k: usize, condition: &TagFilter) -> Result<Vec<u64>> {
        let mut numbers: Vec<u64> = each!(self, docs => tagged(docs, query, k, condition))?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(crate) fn remove(&self, number: u64) -> Result<bool> {
        each!(self, docs => docs.remove(key(docs, number)))
    }

    pub(crate) fn get(&self, number: u64) -> Result<Option<Record>> {
        each!(self, docs => docs.get(key(docs, number)))
    }

    pub(crate) fn contains(&self, number: u64) -> Result<bool> {
        each!(self, docs => docs.contains(key(docs, number)))
    }

    pub(crate) fn put_many(&self, numbers: &[u64], vectors: &[f32], payloads: Option<&[&[u8]]>) -> Result<()> {
        each!(self, docs => {
            let keys: Vec<_> = numbers.iter().map(|&number| key(docs, number)).collect();
            docs.put_many(&keys, vectors, payloads)
        })
    }

    pub(crate) fn batch_put(&self, batch: &mut WriteBatch, number: u64, vector: &[f32], payload: &[u8]) -> Result<()> {
        each!(self, docs => batch.put(docs, key(docs, number), vector, payload))
    }

    pub(crate) fn batch_remove(&self, batch: &mut WriteBatch, number: u64) -> Result<()> {
        each!(self, docs => batch.remove(docs, key(docs, number)))
    }

    pub(crate) fn search(&self, query: &[f32], k: usize, ef: usize) -> Result<Vec<Found>> {
        each!(self, docs => found(docs, query, k, ef))
    }

    pub(crate) fn set_payload(&self, number: u64, payload: &[u8]) -> Result<bool> {
        each!(self, docs => docs.set_payload(key(docs, number), payload))
    }

    pub(crate) fn batch_set_payload(&self, batch: &mut WriteBatch, number: u64, payload: &[u8]) -> Result<()> {
        each!(self, docs => batch.set_payload(docs, key(docs, number), payload))
    }

    /// The numbers of all keys, in the order of numbers, whichever order the keys have.
    pub(crate) fn numbers(&self) -> Result<Vec<u64>> {
        let mut numbers = each!(self, docs => numbers(docs))?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(crate) fn mark_deleted(&self, number: u64) -> Result<bool> {
        each!(self, docs => docs.mark_deleted(key(docs, number)))
    }

    pub(crate) fn unmark_deleted(&self, number: u64) -> Result<bool> {
        each!(self, docs => docs.unmark_deleted(key(docs, number)))
    }

    pub(crate) fn is_marked_deleted(&self, number: u64) -> Result<bool> {
        each!(self, docs => docs.is_marked_deleted(key(docs, number)))
    }

    pub(crate) fn get_marked(&self, number: u64) -> Result<Option<Record>> {
        each!(self, docs => docs.get_marked(key(docs, number)))
    }

    pub(crate) fn batch_mark(&self, batch: &mut WriteBatch, number: u64) -> Result<()> {
        each!(self, docs => batch.mark_deleted(docs, key(docs, number)))
    }

    pub(crate) fn batch_unmark(&self, batch: &mut WriteBatch, number: u64) -> Result<()> {
        each!(self, docs => batch.unmark_deleted(docs, key(docs, number)))
    }

    pub(crate) fn compact(&self, erase: bool) -> Result<()> {
        each!(self, docs => docs.compact().erase(erase).run().map(drop))
    }

    pub(crate) fn info(&self) -> CollectionInfo {
        each!(self, docs => docs.info())
    }
}
