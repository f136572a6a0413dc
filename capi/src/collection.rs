//! Collections and their records.
#![expect(unsafe_code, reason = "functions that C calls")]

use crate::handles::{self, Any, Named, with_named};
use crate::memory::{Bytes, fill, put, read, slices, text, write};
use crate::status::{Failure, Result, Status, bad_argument, call};
use crate::types::Settings;
use lodestore::{Collection, Key, KeyType, Store};
use std::ffi::c_char;

/// Opens the collection of that name, or makes it if it is not there; with `settings` NULL only opens it. Settings that
/// were given must be the stored ones.
///
/// # Safety
/// `name` is a text that ends with a zero; `settings` is NULL or points to them; `collection` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_collection(
    store: u64,
    name: *const c_char,
    settings: *const Settings,
    collection: *mut u64,
) -> Status {
    call(|| {
        // SAFETY: as the caller promises.
        let (name, to) = unsafe { (text("name", name)?, write("collection", collection, 1)?) };
        let store = handles::store(store)?;
        let settings = match settings.is_null() {
            true => None,
            // SAFETY: not NULL, and as the caller promises.
            false => Some(unsafe { read("settings", settings, 1)? }[0]),
        };
        // What was not said is as stored.
        let asked = settings.map_or(Ok(None), |settings| settings.key())?;
        let stored = || Ok(store.collections()?.iter().find(|info| info.name == name).map(|info| info.key));
        let key = asked.map_or_else(stored, |key| Ok::<_, Failure>(Some(key)))?.unwrap_or_default();
        to[0].write(match key {
            KeyType::U64 => handles::add_collection(opened(&store, name, settings)?),
            KeyType::Str => handles::add_named(Named::Text(opened(&store, name, settings)?)),
            KeyType::Bytes => handles::add_named(Named::Bytes(opened(&store, name, settings)?)),
            other => {
                let what = format!("collection '{name}' has keys of type {other}, which C does not have");
                return Err(Failure(Status::Differs, what));
            }
        });
        Ok(())
    })
}

fn opened<K: Key + ?Sized>(store: &Store, name: &str, settings: Option<Settings>) -> Result<Collection<K>> {
    let mut builder = store.collection::<K>(name);
    let Some(settings) = settings else { return Ok(builder.open()?) };
    if settings.dim != 0 {
        builder = builder.dim(settings.dim);
    }
    if let Some(metric) = settings.metric()? {
        builder = builder.metric(metric);
    }
    if let Some(element) = settings.element()? {
        builder = builder.element(element);
    }
    if settings.m != 0 {
        builder = builder.m(settings.m);
    }
    if settings.ef_construction != 0 {
        builder = builder.ef_construction(settings.ef_construction);
    }
    if settings.seed != 0 {
        builder = builder.seed(settings.seed);
    }
    Ok(builder.open_or_create()?)
}

/// Gives a collection's handle back.
#[unsafe(no_mangle)]
pub extern "C" fn lodestore_release(collection: u64) -> Status {
    call(|| handles::take_collection(collection))
}

/// Components of the collection's vectors.
///
/// # Safety
/// `dim` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_dim(collection: u64, dim: *mut usize) -> Status {
    call(|| {
        // SAFETY: as the caller promises.
        let to = unsafe { write("dim", dim, 1)? };
        to[0].write(match handles::any(collection)? {
            Any::Numbers(docs) => docs.dim(),
            Any::Names(named) => with_named!(&named, docs, _K => docs.dim()),
        });
        Ok(())
    })
}

/// Records in the collection.
///
/// # Safety
/// `len` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_len(collection: u64, len: *mut u64) -> Status {
    call(|| {
        // SAFETY: as the caller promises.
        let to = unsafe { write("len", len, 1)? };
        to[0].write(match handles::any(collection)? {
            Any::Numbers(docs) => docs.len(),
            Any::Names(named) => with_named!(&named, docs, _K => docs.len()),
        });
        Ok(())
    })
}

/// Rows of `dim` components, if that is the collection's.
pub(crate) fn components<K: Key + ?Sized>(collection: &Collection<K>, rows: usize, dim: usize) -> Result<usize> {
    if dim != collection.dim() {
        let what = format!("{dim} components are given, '{}' has {}", collection.name(), collection.dim());
        return Err(Failure(Status::BadVector, what));
    }
    rows.checked_mul(dim).map_or_else(|| bad_argument(format!("{rows} rows of {dim} components")), Ok)
}

/// Puts a record, replacing the one of that key if there is one: `vector` has `dim` components, `payload` (NULL for
/// none) so many bytes. It is as durable as the store's durability says when this returns, and searches find it.
///
/// # Safety
/// `vector` and `payload` point to as much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_put(
    collection: u64,
    key: u64,
    vector: *const f32,
    dim: usize,
    payload: *const u8,
    payload_len: usize,
) -> Status {
    call(|| {
        let collection = handles::collection(collection)?;
        let dim = components(&collection, 1, dim)?;
        // SAFETY: as the caller promises.
        let (vector, payload) = unsafe { (read("vector", vector, dim)?, read("payload", payload, payload_len)?) };
        Ok(collection.put(key, vector, payload)?)
    })
}

/// Puts `rows` records: `vectors` has `dim` components for each of the `keys`, row by row, and `payloads` (NULL: none has
/// one) one for each. They are linked by all cores. All is looked at before any is written; after a failure in the middle the
/// rows before it are there.
///
/// # Safety
/// `keys`, `vectors` and `payloads` point to as much, and what `payloads` point to does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_put_many(
    collection: u64,
    keys: *const u64,
    vectors: *const f32,
    rows: usize,
    dim: usize,
    payloads: *const Bytes,
) -> Status {
    call(|| {
        let collection = handles::collection(collection)?;
        let count = components(&collection, rows, dim)?;
        // SAFETY: as the caller promises.
        let (keys, vectors, payloads) = unsafe {
            let given = if payloads.is_null() { None } else { Some(slices("payloads", payloads, rows)?) };
            (read("keys", keys, rows)?, read("vectors", vectors, count)?, given)
        };
        Ok(collection.put_many(keys, vectors, payloads.as_deref())?)
    })
}

/// The record of a key, or LODESTORE_STATUS_NOT_FOUND: its vector into the `dim` components of `vector` (NULL: not wanted), of
/// its payload as many bytes as `payload` has room for, `payload_room`, and into `payload_len` (or NULL) how many it has.
///
/// # Safety
/// `vector`, `payload` and `payload_len` can be written to, as far as was said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_get(
    collection: u64,
    key: u64,
    vector: *mut f32,
    dim: usize,
    payload: *mut u8,
    payload_room: usize,
    payload_len: *mut usize,
) -> Status {
    call(|| {
        let collection = handles::collection(collection)?;
        let wanted = if vector.is_null() { 0 } else { components(&collection, 1, dim)? };
        // SAFETY: as the caller promises.
        let (vector, room) = unsafe { (write("vector", vector, wanted)?, write("payload", payload, payload_room)?) };
        let Some(record) = collection.get(key)? else {
            let what = format!("collection '{}' has no record of key {key}", collection.name());
            return Err(Failure(Status::NotFound, what));
        };
        fill(vector, &record.vector);
        fill(room, &record.payload);
        // SAFETY: as the caller promises.
        unsafe { put(payload_len, record.payload.len()) };
        Ok(())
    })
}

/// Removes a key's record; `removed` (or NULL) gets whether there was one.
///
/// # Safety
/// `removed` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_remove(collection: u64, key: u64, removed: *mut bool) -> Status {
    call(|| {
        let was_there = handles::collection(collection)?.remove(key)?;
        // SAFETY: as the caller promises.
        unsafe { put(removed, was_there) };
        Ok(())
    })
}
