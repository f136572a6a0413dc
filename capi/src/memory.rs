//! What callers point to. All that has to be believed of C is here: that a pointer which is not NULL points to as much as
//! was said, for as long as the call takes.
#![expect(unsafe_code, reason = "pointers from C become slices and texts")]

use crate::status::{Result, bad_argument};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

/// Bytes of the caller's: a name, or a payload. Without any, `bytes` may be NULL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// The first of them.
    pub bytes: *const u8,
    /// How many.
    pub len: usize,
}

/// As many as were said; none need a pointer if there are none.
///
/// # Safety
/// If not NULL, `pointer` points to `count` initialised numbers that nobody changes during the call.
pub(crate) unsafe fn read<'a, T>(what: &str, pointer: *const T, count: usize) -> Result<&'a [T]> {
    check(what, pointer, count)?;
    // SAFETY: not NULL and aligned, of a size that a slice may have; the rest the caller promises.
    Ok(if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(pointer, count) } })
}

/// What as many point to as were said.
///
/// # Safety
/// As for [`read`], and each of them points to as much as it says.
pub(crate) unsafe fn slices<'a>(what: &str, pointer: *const Bytes, count: usize) -> Result<Vec<&'a [u8]>> {
    // SAFETY: the caller promises.
    let all: &[Bytes] = unsafe { read(what, pointer, count)? };
    // SAFETY: as before.
    all.iter().map(|one| unsafe { read(what, one.bytes, one.len) }).collect()
}

/// As [`read`], to be written.
///
/// # Safety
/// If not NULL, `pointer` points to room for `count` values, initialised or not, that nobody else uses during the call.
pub(crate) unsafe fn write<'a, T>(what: &str, pointer: *mut T, count: usize) -> Result<&'a mut [MaybeUninit<T>]> {
    check(what, pointer, count)?;
    // SAFETY: as for `read`; nobody else uses it, the caller promises.
    Ok(if count == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(pointer.cast(), count) } })
}

/// Writes as many as there are, or as there is room for.
pub(crate) fn fill<T: Copy>(to: &mut [MaybeUninit<T>], from: &[T]) {
    for (to, &value) in to.iter_mut().zip(from) {
        to.write(value);
    }
}

fn check<T>(what: &str, pointer: *const T, count: usize) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    if pointer.is_null() {
        return bad_argument(format!("{what} is NULL, {count} are needed"));
    }
    if !pointer.is_aligned() {
        return bad_argument(format!("{what} is at {pointer:p}, which is not a place for its type"));
    }
    if count.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return bad_argument(format!("{count} of {what} are more than memory can hold"));
    }
    Ok(())
}

/// Puts a result where the caller wants it, if anywhere.
///
/// # Safety
/// If not NULL, `pointer` is one that a `T` can be written to.
pub(crate) unsafe fn put<T>(pointer: *mut T, value: T) {
    if !pointer.is_null() && pointer.is_aligned() {
        // SAFETY: checked, and what else is needed the caller promises.
        unsafe { pointer.write(value) }
    }
}

/// A text in UTF-8.
///
/// # Safety
/// If not NULL, `pointer` points to bytes up to a zero that nobody changes during the call.
pub(crate) unsafe fn text<'a>(what: &str, pointer: *const c_char) -> Result<&'a str> {
    if pointer.is_null() {
        return bad_argument(format!("{what} is NULL"));
    }
    // SAFETY: not NULL; the rest the caller promises.
    match unsafe { CStr::from_ptr(pointer) }.to_str() {
        Ok(text) => Ok(text),
        Err(error) => bad_argument(format!("{what} is not UTF-8: {error}")),
    }
}
