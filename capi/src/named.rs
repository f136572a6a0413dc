//! Records under names: keys that are text or bytes.
#![expect(unsafe_code, reason = "functions that C calls")]

use crate::collection::components;
use crate::handles::{self, with_named};
use crate::memory::{Bytes, fill, put, read, slices, write};
use crate::status::{Failure, Result, Status, bad_argument, call};
use lodestore::{AsKey, Key};
use std::ffi::c_void;
use std::mem::MaybeUninit;

/// A type of keys that are names.
pub(crate) trait Name: Key {
    /// What a name is given as.
    type Given<'a>: AsKey<Self>;

    /// # Errors
    /// For bytes that are no such name.
    fn name<'a>(what: &str, bytes: &'a [u8]) -> Result<Self::Given<'a>>;

    // That it outlives itself makes it a lifetime of the same kind here and there.
    fn bytes_of<'a>(key: Self::Ref<'a>) -> &'a [u8]
    where
        'a: 'a;
}

impl Name for str {
    type Given<'a> = &'a str;

    fn name<'a>(what: &str, bytes: &'a [u8]) -> Result<&'a str> {
        match std::str::from_utf8(bytes) {
            Ok(name) => Ok(name),
            Err(error) => bad_argument(format!("{what} is not UTF-8: {error}")),
        }
    }

    fn bytes_of<'a>(key: &'a str) -> &'a [u8]
    where
        'a: 'a,
    {
        key.as_bytes()
    }
}

impl Name for [u8] {
    type Given<'a> = &'a [u8];

    fn name<'a>(_: &str, bytes: &'a [u8]) -> Result<&'a [u8]> {
        Ok(bytes)
    }

    fn bytes_of<'a>(key: &'a [u8]) -> &'a [u8]
    where
        'a: 'a,
    {
        key
    }
}

/// As lodestore_put, under a name of `key_len` bytes, in a collection whose keys are text or bytes.
///
/// # Safety
/// `key`, `vector` and `payload` point to as much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_put_named(
    collection: u64,
    key: *const u8,
    key_len: usize,
    vector: *const f32,
    dim: usize,
    payload: *const u8,
    payload_len: usize,
) -> Status {
    call(|| {
        let named = handles::named(collection)?;
        with_named!(&named, docs, K => {
            let dim = components(docs, 1, dim)?;
            // SAFETY: as the caller promises.
            let (key, vector, payload) = unsafe {
                (read("key", key, key_len)?, read("vector", vector, dim)?, read("payload", payload, payload_len)?)
            };
            Ok(docs.put(K::name("key", key)?, vector, payload)?)
        })
    })
}

/// As lodestore_put_many, under names.
///
/// # Safety
/// `keys`, `vectors` and `payloads` point to as much, and what they point to does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_put_many_named(
    collection: u64,
    keys: *const Bytes,
    vectors: *const f32,
    rows: usize,
    dim: usize,
    payloads: *const Bytes,
) -> Status {
    call(|| {
        let named = handles::named(collection)?;
        with_named!(&named, docs, K => {
            let count = components(docs, rows, dim)?;
            // SAFETY: as the caller promises.
            let (keys, vectors, payloads) = unsafe {
                let given = if payloads.is_null() { None } else { Some(slices("payloads", payloads, rows)?) };
                (slices("keys", keys, rows)?, read("vectors", vectors, count)?, given)
            };
            let name = |(row, key)| K::name(&format!("key {row}"), key);
            let keys = keys.into_iter().enumerate().map(name).collect::<Result<Vec<_>>>()?;
            Ok(docs.put_many(&keys, vectors, payloads.as_deref())?)
        })
    })
}

/// As lodestore_get, of a name.
///
/// # Safety
/// `key` points to as much; `vector`, `payload` and `payload_len` can be written to, as far as was said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_get_named(
    collection: u64,
    key: *const u8,
    key_len: usize,
    vector: *mut f32,
    dim: usize,
    payload: *mut u8,
    payload_room: usize,
    payload_len: *mut usize,
) -> Status {
    call(|| {
        let named = handles::named(collection)?;
        with_named!(&named, docs, K => {
            let wanted = if vector.is_null() { 0 } else { components(docs, 1, dim)? };
            // SAFETY: as the caller promises.
            let (key, vector, room) = unsafe {
                (read("key", key, key_len)?, write("vector", vector, wanted)?, write("payload", payload, payload_room)?)
            };
            let Some(record) = docs.get(K::name("key", key)?)? else {
                let what = format!("collection '{}' has no record of key {:?}", docs.name(), String::from_utf8_lossy(key));
                return Err(Failure(Status::NotFound, what));
            };
            fill(vector, &record.vector);
            fill(room, &record.payload);
            // SAFETY: as the caller promises.
            unsafe { put(payload_len, record.payload.len()) };
            Ok(())
        })
    })
}

/// As lodestore_remove, of a name.
///
/// # Safety
/// `key` points to as much; `removed` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_remove_named(
    collection: u64,
    key: *const u8,
    key_len: usize,
    removed: *mut bool,
) -> Status {
    call(|| {
        let named = handles::named(collection)?;
        // SAFETY: as the caller promises.
        let key = unsafe { read("key", key, key_len)? };
        let was_there = with_named!(&named, docs, K => docs.remove(K::name("key", key)?)?);
        // SAFETY: as the caller promises.
        unsafe { put(removed, was_there) };
        Ok(())
    })
}

/// As LodestoreFilter, of names. The bytes are there during the call only.
pub type NamedFilter = Option<unsafe extern "C" fn(key: *const u8, key_len: usize, context: *mut c_void) -> bool>;

/// As lodestore_search, in a collection whose keys are text or bytes. The names of what is found are written one after the
/// other into `names`, which has room for `names_room` bytes, and `keys` says where each is. If there is not enough room,
/// LODESTORE_STATUS_NO_ROOM, and `names_len` (or NULL) gets how many bytes it takes; a name has at most 4,096.
///
/// # Safety
/// `query` has `dim` components, `keys` and `distances` have room for `k`, `names` for as much as was said, `found` can be
/// written to, and `names_len` if it is not NULL; `filter` may be called with `context` during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_search_named(
    collection: u64,
    query: *const f32,
    dim: usize,
    k: usize,
    ef: usize,
    filter: NamedFilter,
    context: *mut c_void,
    keys: *mut Bytes,
    distances: *mut f32,
    found: *mut usize,
    names: *mut u8,
    names_room: usize,
    names_len: *mut usize,
) -> Status {
    call(|| {
        let named = handles::named(collection)?;
        with_named!(&named, docs, K => {
            let dim = components(docs, 1, dim)?;
            // SAFETY: as the caller promises.
            let (query, keys, distances, found, names) = unsafe {
                (
                    read("query", query, dim)?,
                    write("keys", keys, k)?,
                    write("distances", distances, k)?,
                    write("found", found, 1)?,
                    write("names", names, names_room)?,
                )
            };
            let context = context.expose_provenance();
            let keep = |key: <K as Key>::Ref<'_>| {
                let (key, context) = (K::bytes_of(key), std::ptr::with_exposed_provenance_mut(context));
                // SAFETY: as the caller promises.
                filter.is_none_or(|filter| unsafe { filter(key.as_ptr(), key.len(), context) })
            };
            let mut search = docs.search(query).k(k);
            if ef != 0 {
                search = search.ef(ef);
            }
            if filter.is_some() {
                search = search.filter(&keep);
            }
            let hits = search.run()?;
            let needed = hits.iter().map(|hit| bytes_of(&hit.key).len()).sum();
            // SAFETY: as the caller promises.
            unsafe { put(names_len, needed) };
            if needed > names.len() {
                let what = format!("the names of what was found take {needed} bytes, there is room for {names_room}");
                return Err(Failure(Status::NoRoom, what));
            }
            let mut room = names;
            for ((hit, key), distance) in hits.iter().zip(keys).zip(distances) {
                key.write(take(&mut room, bytes_of(&hit.key)));
                distance.write(hit.distance);
            }
            found[0].write(hits.len());
            Ok(())
        })
    })
}

/// As lodestore_search_named without a filter, for `rows` queries by up to `threads` threads (0: all cores): `keys` and
/// `distances` have `rows` times `k` places, row by row, and `found` one for each row. Places beyond what is found are
/// left as they were.
///
/// # Safety
/// `queries` has `rows` times `dim` components; `keys`, `distances`, `found` and `names` have room for as much as was said, and
/// `names_len` can be written to if it is not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_search_many_named(
    collection: u64,
    queries: *const f32,
    rows: usize,
    dim: usize,
    k: usize,
    ef: usize,
    threads: usize,
    keys: *mut Bytes,
    distances: *mut f32,
    found: *mut usize,
    names: *mut u8,
    names_room: usize,
    names_len: *mut usize,
) -> Status {
    call(|| {
        let named = handles::named(collection)?;
        with_named!(&named, docs, _K => {
            let count = components(docs, rows, dim)?;
            let Some(places) = rows.checked_mul(k) else { return bad_argument(format!("{rows} rows of {k} places")) };
            // SAFETY: as the caller promises.
            let (queries, keys, distances, found, names) = unsafe {
                (
                    read("queries", queries, count)?,
                    write("keys", keys, places)?,
                    write("distances", distances, places)?,
                    write("found", found, rows)?,
                    write("names", names, names_room)?,
                )
            };
            let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let mut search = docs.search_many(queries).k(k).threads(if threads == 0 { cores() } else { threads });
            if ef != 0 {
                search = search.ef(ef);
            }
            let hits = search.run()?;
            let needed = (0..rows).flat_map(|row| hits.keys(row)).map(|key| bytes_of(key).len()).sum();
            // SAFETY: as the caller promises.
            unsafe { put(names_len, needed) };
            if needed > names.len() {
                let what = format!("the names of what was found take {needed} bytes, there is room for {names_room}");
                return Err(Failure(Status::NoRoom, what));
            }
            let mut room = names;
            for (row, found) in found.iter_mut().enumerate() {
                for (key, name) in keys[row * k..].iter_mut().zip(hits.keys(row)) {
                    key.write(take(&mut room, bytes_of(name)));
                }
                fill(&mut distances[row * k..], hits.distances(row));
                found.write(hits.keys(row).len());
            }
            Ok(())
        })
    })
}

fn bytes_of(key: &impl AsRef<[u8]>) -> &[u8] {
    key.as_ref()
}

/// Writes a name where there is room, of which there is enough, and says where.
fn take(room: &mut &mut [MaybeUninit<u8>], name: &[u8]) -> Bytes {
    let (place, rest) = std::mem::take(room).split_at_mut(name.len());
    fill(place, name);
    *room = rest;
    Bytes { bytes: place.as_ptr().cast(), len: name.len() }
}
