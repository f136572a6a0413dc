//! Stores.
#![expect(unsafe_code, reason = "functions that C calls")]

use crate::handles;
use crate::memory::{put, text, write};
use crate::status::{Status, call};
use crate::types::durability;
use lodestore::Store;
use std::ffi::c_char;

/// Opens the store in directory `path`, or makes one there; `durability` is a LodestoreDurability.
///
/// # Safety
/// `path` is a text that ends with a zero; `store` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_open(path: *const c_char, durability: u32, store: *mut u64) -> Status {
    call(|| {
        // SAFETY: as the caller promises.
        let (path, to) = unsafe { (text("path", path)?, write("store", store, 1)?) };
        let opened = Store::options().durability(self::durability(durability)?).open(path)?;
        to[0].write(handles::add_store(opened));
        Ok(())
    })
}

/// Opens the store in directory `path` for reading, at its last checkpoint, also while another process writes to it. What
/// writes answers with LODESTORE_STATUS_READ_ONLY.
///
/// # Safety
/// `path` is a text that ends with a zero; `store` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_open_read_only(path: *const c_char, store: *mut u64) -> Status {
    call(|| {
        // SAFETY: as the caller promises.
        let (path, to) = unsafe { (text("path", path)?, write("store", store, 1)?) };
        to[0].write(handles::add_store(Store::open_read_only(path)?));
        Ok(())
    })
}

/// Goes on to the last checkpoint, of a store opened for reading, if there is a later one; `anew` (or NULL) gets whether
/// there was. Collections that were opened before stay as they were: open them again.
///
/// # Safety
/// `anew` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_refresh(store: u64, anew: *mut bool) -> Status {
    call(|| {
        let mut refreshed = handles::store(store)?;
        let is_another = refreshed.refresh()?;
        if is_another {
            handles::replace_store(store, refreshed);
        }
        // SAFETY: as the caller promises.
        unsafe { put(anew, is_another) };
        Ok(())
    })
}

/// A store in memory, which goes when it is closed.
///
/// # Safety
/// `store` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_open_in_memory(store: *mut u64) -> Status {
    call(|| {
        // SAFETY: as the caller promises.
        let to = unsafe { write("store", store, 1)? };
        to[0].write(handles::add_store(Store::in_memory()?));
        Ok(())
    })
}

/// Makes every write so far durable.
#[unsafe(no_mangle)]
pub extern "C" fn lodestore_sync(store: u64) -> Status {
    call(|| Ok(handles::store(store)?.sync()?))
}

/// Brings the files up to date with the log, so that the next opening has nothing to replay.
#[unsafe(no_mangle)]
pub extern "C" fn lodestore_checkpoint(store: u64) -> Status {
    call(|| Ok(handles::store(store)?.checkpoint()?))
}

/// Checks every checksum, link and key. `problems`: how many things are not as they must be; LODESTORE_STATUS_CORRUPT if
/// any, with the first in the error text.
///
/// # Safety
/// `problems` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_verify(store: u64, problems: *mut u64) -> Status {
    call(|| {
        let report = handles::store(store)?.verify()?;
        // SAFETY: as the caller promises.
        unsafe { put(problems, report.problem_count) };
        match report.problems.first() {
            None => Ok(()),
            Some(first) => Err(crate::status::Failure(Status::Corrupt, first.to_string())),
        }
    })
}

/// Looks for damage while the store is in use: compares what is in use with its checksums, and keeps nobody waiting for
/// more than a moment. `problems` as for lodestore_verify.
///
/// # Safety
/// `problems` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_scrub(store: u64, problems: *mut u64) -> Status {
    call(|| {
        let report = handles::store(store)?.scrub()?;
        // SAFETY: as the caller promises.
        unsafe { put(problems, report.problem_count) };
        match report.problems.into_iter().next() {
            None => Ok(()),
            Some(first) => Err(crate::status::Failure(Status::Corrupt, first)),
        }
    })
}

/// Takes a checkpoint and closes the store. Its handle is gone, whatever is returned; those of its collections are to be
/// released, and answer with LODESTORE_STATUS_CLOSED until then.
#[unsafe(no_mangle)]
pub extern "C" fn lodestore_close(store: u64) -> Status {
    call(|| Ok(handles::take_store(store)?.close()?))
}
