//! Batches: changes that happen all or not at all.
#![expect(unsafe_code, reason = "functions that C calls")]

use crate::collection::components;
use crate::handles::{self, Batch, with_named};
use crate::memory::{read, write};
use crate::named::Name;
use crate::status::{Failure, Status, call};

/// A batch of a store: what is put into it happens all or not at all, also across a crash, when it is committed. It holds its
/// rows in memory until then, at most 64 MiB of them.
///
/// # Safety
/// `batch` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_batch(store: u64, batch: *mut u64) -> Status {
    call(|| {
        // SAFETY: as the caller promises.
        let to = unsafe { write("batch", batch, 1)? };
        let made = Batch::new(handles::store(store)?.batch());
        to[0].write(handles::add_batch(made));
        Ok(())
    })
}

/// Adds a put, as lodestore_put. Later changes of a key in the same batch win.
///
/// # Safety
/// `vector` and `payload` point to as much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_batch_put(
    batch: u64,
    collection: u64,
    key: u64,
    vector: *const f32,
    dim: usize,
    payload: *const u8,
    payload_len: usize,
) -> Status {
    call(|| {
        let docs = handles::collection(collection)?;
        let dim = components(&docs, 1, dim)?;
        // SAFETY: as the caller promises.
        let (vector, payload) = unsafe { (read("vector", vector, dim)?, read("payload", payload, payload_len)?) };
        handles::batch(batch)?.change(|batch| batch.put(&docs, key, vector, payload))
    })
}

/// Adds a put under a name, as lodestore_put_named.
///
/// # Safety
/// `key`, `vector` and `payload` point to as much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_batch_put_named(
    batch: u64,
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
            let key = K::name("key", key)?;
            handles::batch(batch)?.change(|batch| batch.put(docs, key, vector, payload))
        })
    })
}

/// Adds a removal; of a key that has no record it does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn lodestore_batch_remove(batch: u64, collection: u64, key: u64) -> Status {
    call(|| {
        let docs = handles::collection(collection)?;
        handles::batch(batch)?.change(|batch| batch.remove(&docs, key))
    })
}

/// Adds the removal of a name.
///
/// # Safety
/// `key` points to as much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_batch_remove_named(
    batch: u64,
    collection: u64,
    key: *const u8,
    key_len: usize,
) -> Status {
    call(|| {
        let named = handles::named(collection)?;
        // SAFETY: as the caller promises.
        let key = unsafe { read("key", key, key_len)? };
        with_named!(&named, docs, K => {
            let key = K::name("key", key)?;
            handles::batch(batch)?.change(|batch| batch.remove(docs, key))
        })
    })
}

/// Carries the batch out. Its handle is gone, whatever is returned.
#[unsafe(no_mangle)]
pub extern "C" fn lodestore_batch_commit(batch: u64) -> Status {
    call(|| match handles::take_batch(batch)?.take() {
        Some(batch) => Ok(batch.commit()?),
        None => Err(Failure(Status::BadHandle, "the batch was committed".into())),
    })
}

/// Forgets a batch and what was put into it.
#[unsafe(no_mangle)]
pub extern "C" fn lodestore_batch_discard(batch: u64) -> Status {
    call(|| handles::take_batch(batch).map(drop))
}
