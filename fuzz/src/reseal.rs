//! Puts checksums right after an input was changed, so that what lies behind them is tried too.
//!
//! The offsets are those of the modules that define the formats; where they were wrong here, the targets would only
//! find less.

use crate::PAGE;

/// Puts the CRC-32 of `bytes[from..to]` at `at`, if they reach that far.
fn seal(bytes: &mut [u8], from: usize, to: usize, at: usize) -> u32 {
    if from > to || to > bytes.len() || at.saturating_add(4) > bytes.len() {
        return 0;
    }
    let crc = crc32fast::hash(&bytes[from..to]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// A run of `size` bytes whose last four are the checksum of those before: a page, a record, a meta file.
pub fn block(bytes: &mut [u8], start: usize, size: usize) {
    seal(bytes, start, start + size - 4, start + size - 4);
}

/// The header of a log file, and the chain of groups as far as they can be told.
pub fn log(bytes: &mut [u8]) {
    let mut chain = seal(bytes, 0, PAGE - 4, PAGE - 4);
    let mut at = PAGE;
    loop {
        let is_group = |at: usize| bytes.get(at..at + 4) == Some(b"GRP1");
        if !is_group(at) {
            at = at.next_multiple_of(PAGE);
        }
        if !is_group(at) || at + 64 > bytes.len() {
            return;
        }
        bytes[at + 32..at + 36].copy_from_slice(&chain.to_le_bytes());
        let end = at.saturating_add(64).saturating_add(u32_at(bytes, at + 8) as usize);
        chain = seal(bytes, at + 8, end, at + 4);
        at = end;
        if at > bytes.len() {
            return;
        }
    }
}

/// A checkpoint file: header, footer, table and images, as many as its length has room for.
pub fn images(bytes: &mut [u8]) {
    const ROW: usize = 24;
    let Some(footer) = bytes.len().checked_sub(PAGE) else { return };
    let pages = u64_at(bytes, footer + 16).min((bytes.len() / PAGE) as u64) as usize;
    let table = (pages + 1) * PAGE;
    for page in 0..pages {
        seal(bytes, (page + 1) * PAGE, (page + 2) * PAGE, table + page * ROW + 16);
    }
    seal(bytes, table, table + pages * ROW, footer + 24);
    block(bytes, 0, PAGE);
    block(bytes, footer, PAGE);
}

/// The catalogue: both copies of its first page, and the checksum of each page behind them.
pub fn catalogue(bytes: &mut [u8]) {
    const GROUP: usize = PAGE / 4;
    for copy in 0..2 {
        if bytes.len() >= (copy + 1) * PAGE && bytes[copy * PAGE..copy * PAGE + 8] == *b"LSCATLG1" {
            block(bytes, copy * PAGE, PAGE);
        }
    }
    let mut group_at = 2 * PAGE;
    let mut page = 1u64;
    while group_at + PAGE <= bytes.len() {
        for i in 0..GROUP {
            let at = group_at + (i + 1) * PAGE;
            if at + PAGE > bytes.len() {
                return;
            }
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&page.to_le_bytes());
            hasher.update(&bytes[at..at + PAGE]);
            let crc = hasher.finalize().to_le_bytes();
            let place = &mut bytes[group_at + 4 * i..group_at + 4 * i + 4];
            // A page that was never written has none.
            if place.iter().any(|&byte| byte != 0) {
                place.copy_from_slice(&crc);
            }
            page += 1;
        }
        group_at += (GROUP + 1) * PAGE;
    }
}

/// The little-endian number at `at`; 0 where there is none.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The little-endian number at `at`; 0 where there is none.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
