//! Typed views of mapped memory: with `wal/src/map.rs` and the kernels, the only `unsafe` of the engine.
//!
//! Two kinds of bytes exist under a map, and this file has one view for each:
//!
//! * **write-once slots** (vectors, ids), in shared read-only maps. A slot's bytes are written by `write_at` before
//!   the slot's number is given to anyone, and never again; a view of a slot may be taken only by someone who was
//!   given its number through an acquire load or a lock, after which the bytes hold still.
//! * **words that change in place** (links, upper lists, tombstones), in private maps, touched through atomics only.
#![expect(unsafe_code, reason = "turns checked addresses inside live maps into references")]

use crate::kernel::{CODE_BLOCK, Codes, Line};
use crate::windows::Windows;
use lodestore_wal::{Map, PAGE};
use std::sync::atomic::{AtomicU32, Ordering};

/// A checkpoint's copy of one page.
pub(crate) type PageImage = Box<[u8; PAGE]>;

/// The words of a slot that changes in place.
#[inline(always)]
pub(crate) fn words(windows: &Windows, slot: u32) -> &[AtomicU32] {
    let address = windows.address(slot).cast::<AtomicU32>();
    debug_assert!(address.is_aligned());
    // SAFETY: `address` checked that the slot lies inside the file and its map, which lives as long as `windows`;
    // strides are multiples of 4 from a page-aligned base. All access to such segments is through these atomics.
    unsafe { std::slice::from_raw_parts(address, windows.stride() / 4) }
}

/// The bytes of a write-once slot.
#[inline(always)]
pub(crate) fn bytes(windows: &Windows, slot: u32) -> &[u8] {
    let address = windows.address(slot);
    // SAFETY: inside the file and its live map, initialised (files are zeros until written), and still: the slot was
    // written before its number was given out.
    unsafe { std::slice::from_raw_parts(address, windows.stride()) }
}

/// The bytes of write-once slots that follow each other; `None` if they are not all there, or not in one piece.
#[inline]
pub(crate) fn span(windows: &Windows, first: u32, count: u32) -> Option<&[u8]> {
    let last = first.checked_add(count.checked_sub(1)?)?;
    if u64::from(last) >= windows.slots() || !Windows::are_together(first, last) {
        return None;
    }
    // SAFETY: as for `bytes`: the last one is there, and so are all, in the one map that the first is in.
    Some(unsafe { std::slice::from_raw_parts(windows.address(first), count as usize * windows.stride()) })
}

/// The bytes of four write-once slots.
#[inline(always)]
pub(crate) fn bytes_4(windows: &Windows, slots: [u32; 4]) -> [&[u8]; 4] {
    let [a, b, c, d] = slots;
    // One comparison for all of them.
    windows.address(a.max(b).max(c.max(d)));
    // SAFETY: as for `bytes`; `address` checked the largest slot, and so all.
    let of = |slot| unsafe { std::slice::from_raw_parts(windows.hint(slot), windows.stride()) };
    [of(a), of(b), of(c), of(d)]
}

/// Codes that are taken at a time.
pub(crate) const CODES: usize = 16;

/// Of the codes of up to [`CODES`] write-once slots, in fours: the sums of their products with `q`, and their last
/// eight bytes. What is behind the last four is left alone.
///
/// # Panics
/// If a slot is not there, or `q` has not as many numbers as a code, `per_byte` to a byte.
#[inline(always)]
pub(crate) fn code_sums(
    kernel: impl Codes,
    (windows, per_byte): (&Windows, usize),
    q: &[i8],
    slots: &[[u32; 4]],
    sums: &mut [[i32; 4]; CODES / 4],
    last: &mut [[u64; 4]; CODES / 4],
) {
    let stride = windows.stride();
    assert!(q.len() == stride * per_byte && stride.is_multiple_of(CODE_BLOCK) && matches!(per_byte, 1 | 2 | 4 | 8));
    let mut at = [[std::ptr::null(); 4]; CODES / 4];
    let mut highest = 0;
    let at = &mut at[..slots.len()];
    for (at, slots) in at.iter_mut().zip(slots) {
        for (at, &slot) in at.iter_mut().zip(slots) {
            highest = slot.max(highest);
            *at = windows.hint(slot);
        }
    }
    // One comparison for all of them.
    windows.address(highest);
    // SAFETY: as for `bytes`; the highest slot is there, and so all are; a stride holds as many numbers as `q` has.
    unsafe { kernel.many(per_byte, q, at, &mut sums[..slots.len()]) };
    for (at, last) in at.iter().zip(last) {
        for (at, last) in at.iter().zip(last) {
            // SAFETY: as for `bytes`; a stride is at least one block of 64 bytes.
            *last = u64::from_le_bytes(unsafe { at.add(stride - 8).cast::<[u8; 8]>().read() });
        }
    }
}

/// Copies a slot that changes in place.
///
/// # Panics
/// If `to` is not as long as the slot.
#[inline(always)]
pub(crate) fn lines(kernel: impl Codes, windows: &Windows, slot: u32, to: &mut [Line]) {
    let address = windows.address(slot);
    assert!(size_of_val(to) == windows.stride() && address.cast::<Line>().is_aligned());
    // SAFETY: inside the live map, as `address` checked, and aligned; all stores to such slots are through atomics.
    unsafe { kernel.snapshot(address, to) }
}

/// One word of a read-only page that a checkpoint may be rewriting with the same bytes meanwhile.
pub(crate) fn shared_word(windows: &Windows, slot: u32, word: usize) -> u32 {
    assert!(word * 4 + 4 <= windows.stride());
    let address = windows.address(slot).cast::<AtomicU32>().wrapping_add(word);
    // SAFETY: inside the file and its live map, aligned; a relaxed 4-byte atomic load is allowed on read-only memory.
    unsafe { &*address }.load(Ordering::Relaxed)
}

/// Copies page `page` of a map, word by word.
pub(crate) fn page_image(map: &Map, page: usize) -> PageImage {
    assert!((page + 1) * PAGE <= map.len());
    let mut image = Box::new([0; PAGE]);
    let base = map.as_ptr().wrapping_add(page * PAGE).cast::<AtomicU32>();
    for (word, out) in image.chunks_exact_mut(4).enumerate() {
        // SAFETY: inside the live map, aligned; words of these maps are only touched through atomics.
        let value = unsafe { &*base.wrapping_add(word) }.load(Ordering::Relaxed);
        // Memory holds little-endian words on every platform this compiles for (see `lib.rs`).
        out.copy_from_slice(&value.to_le_bytes());
    }
    image
}

/// Lets the file's bytes show again in place of page `page`'s private copy.
///
/// The caller holds the page's lock, and knows that the file holds the page's bytes durably.
pub(crate) fn drop_page(map: &Map, page: usize) {
    // SAFETY: the file's bytes equal the page's, so a reader sees no change; the lock keeps stores away.
    unsafe { map.drop_pages(page * PAGE..(page + 1) * PAGE) }
}
