//! Pages with checksums, beneath redb.
//!
//! redb compares its own checksums only when it is asked to check the whole file. Until then it believes what it
//! reads, and a flipped bit makes it panic, sometimes while it unwinds from a panic, which ends the process. So every
//! page carries a checksum of ours, and redb is not shown a page that is not as it wrote it.
//!
//! # Format of `catalog.redb`
//!
//! | offset | content |
//! |---|---|
//! | 0 | redb's first page, copy 0 |
//! | 4096 | redb's first page, copy 1 |
//! | 8192 + 4198400 g | checksums of group g: 1024 × u32 LE |
//! | 8192 + 4198400 g + 4096 (i + 1) | page i of group g: redb's page 1 + 1024 g + i |
//!
//! A page's checksum is the CRC-32 of its number (u64 LE) and of its 4096 bytes.
//!
//! A copy of the first page:
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `"LSCATLG1"` |
//! | 8..16 | sequence number, u64 LE: the higher one counts |
//! | 16..4092 | what redb wrote, then zeros |
//! | 4092..4096 | CRC-32 of all before, u32 LE |
//!
//! The first page is the only one that redb overwrites while it is in use. Between two syncs one copy alone changes,
//! so a torn write leaves the other, as it was synced; after the sync the other copy follows, so that a damaged one
//! is no loss. All the other pages are written once before a synced first page names them: one that is torn belongs to
//! a transaction that never was, which needs redb's two-phase commits (but see [`Pages::torn_may_be`]).

mod carve;
mod check;

use lodestore_wal::{DiskFile, Error, Result};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use carve::Carver;
pub(crate) use check::{check, pages_in};

/// redb's pages.
const PAGE: u64 = 4096;
/// Pages that share a page of checksums.
const GROUP: u64 = PAGE / 4;
const GROUP_BYTES: u64 = (1 + GROUP) * PAGE;
/// Where the groups begin: behind the copies of page 0.
const BODY: u64 = 2 * PAGE;
/// Bytes at the beginning that change while redb is in use; others are written before anything in use refers to them.
pub(crate) const CHANGING: u64 = BODY;
const MAGIC: [u8; 8] = *b"LSCATLG1";
/// Where redb's bytes begin in a copy of page 0.
const CONTENT: usize = 16;
/// Where the checksum of a copy of page 0 is.
const CRC_AT: usize = PAGE as usize - 4;
/// How much of page 0 redb can use.
const FIRST_BYTES: usize = CRC_AT - CONTENT;

/// A file of redb's, page by page.
#[derive(Debug)]
pub(crate) struct Pages {
    file: Arc<dyn DiskFile>,
    first: Mutex<First>,
    torn_may_be: Arc<AtomicBool>,
    /// A copy of the first page that was not whole when the file was opened. The next write of that page mends it.
    spoilt: Option<usize>,
}

/// Pages of one group, one behind the other.
#[derive(Debug)]
struct Run {
    page: u64,
    pages: usize,
    crcs_at: u64,
    at: u64,
}

/// redb's first page.
#[derive(Debug)]
struct First {
    content: Vec<u8>,
    sequence: u64,
    /// The copy that is as it was at the last sync; the other one is written.
    synced: usize,
    changed: bool,
}

fn corrupt(file: &dyn DiskFile, offset: u64, what: String) -> Error {
    Error::Corrupt { file: file.path().into(), offset, what }
}

fn crc(page: u64, content: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&page.to_le_bytes());
    hasher.update(content);
    hasher.finalize().to_le_bytes()
}

fn encode_first(first: &First) -> Vec<u8> {
    let mut copy = vec![0; PAGE as usize];
    copy[..8].copy_from_slice(&MAGIC);
    copy[8..CONTENT].copy_from_slice(&first.sequence.to_le_bytes());
    copy[CONTENT..CRC_AT].copy_from_slice(&first.content);
    let crc = crc32fast::hash(&copy[..CRC_AT]).to_le_bytes();
    copy[CRC_AT..].copy_from_slice(&crc);
    copy
}

/// Sequence number and content, if the copy is whole.
fn decode_first(copy: &[u8]) -> Option<(u64, &[u8])> {
    let (head, crc) = copy.split_at_checked(CRC_AT)?;
    let whole = head.starts_with(&MAGIC) && crc == crc32fast::hash(head).to_le_bytes();
    let sequence = u64::from_le_bytes(head[8..CONTENT].try_into().ok()?);
    whole.then_some((sequence, &head[CONTENT..]))
}

impl Pages {
    /// The pages of a file; of an empty one, those of a new database.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there are bytes, but no whole copy of the first page.
    pub(crate) fn open(file: Arc<dyn DiskFile>) -> Result<Self> {
        let length = file.len()?;
        let (mut found, mut spoilt): (Option<(usize, u64, Vec<u8>)>, _) = (None, None);
        for copy in 0..2 {
            let mut bytes = vec![0; PAGE as usize];
            let at = copy as u64 * PAGE;
            if length < at + PAGE {
                break;
            }
            file.read_at(at, &mut bytes)?;
            match decode_first(&bytes) {
                None => spoilt = Some(copy),
                Some((sequence, content)) if found.as_ref().is_none_or(|&(_, newest, _)| sequence > newest) => {
                    found = Some((copy, sequence, content.to_vec()));
                }
                Some(_) => {}
            }
        }
        let first = match found {
            Some((synced, sequence, content)) => First { content, sequence, synced, changed: false },
            None if length == 0 => First { content: vec![0; FIRST_BYTES], sequence: 0, synced: 1, changed: false },
            None => {
                let what = format!("neither copy of its first page is whole, in a file of {length} bytes");
                return Err(corrupt(&*file, 0, what));
            }
        };
        Ok(Self { file, first: Mutex::new(first), torn_may_be: Arc::default(), spoilt })
    }

    /// Which copy of the first page was not whole when the file was opened.
    pub(crate) fn spoilt(&self) -> Option<usize> {
        self.spoilt
    }

    /// While this is set, a page that is not as it was written reads as zeros: to redb, a page that its own checksum
    /// does not match. redb's closing commit of a database that a failed transaction was dropped from has one phase
    /// only. Its opening must then be let see for itself that the commit is torn, to go back to the one before.
    pub(crate) fn torn_may_be(&self) -> Arc<AtomicBool> {
        self.torn_may_be.clone()
    }

    /// Whether a file can be what is left of one that was being made: one that has, in its first bytes, nothing but
    /// what is written there.
    pub(crate) fn may_be_new(file: &dyn DiskFile) -> Result<bool> {
        let mut start = [0; 8];
        let there = file.len()?.min(8) as usize;
        file.read_at(0, &mut start[..there])?;
        // A torn write leaves some of the bytes zero.
        Ok(start.iter().zip(&MAGIC).all(|(found, magic)| [0, *magic].contains(found)))
    }

    /// Length in redb's bytes.
    pub(crate) fn len(&self) -> Result<u64> {
        let length = self.file.len()?;
        let body = length.saturating_sub(BODY);
        let pages = body / GROUP_BYTES * GROUP + (body % GROUP_BYTES / PAGE).saturating_sub(1);
        Ok(if length == 0 { 0 } else { (1 + pages) * PAGE })
    }

    /// Sets the length in redb's bytes.
    pub(crate) fn set_len(&self, len: u64) -> Result<()> {
        let Some(pages) = len.div_ceil(PAGE).checked_sub(1) else { return self.file.set_len(0) };
        let (groups, rest) = (pages / GROUP, pages % GROUP);
        let before = self.file.len()?;
        let after = BODY + groups * GROUP_BYTES + if rest == 0 { 0 } else { (1 + rest) * PAGE };
        self.file.set_len(after)?;
        if after < before && rest != 0 {
            // Those of pages that are gone: should they come back, they are zeros without a checksum.
            let gone = vec![0; 4 * (GROUP - rest) as usize];
            self.file.write_at(BODY + groups * GROUP_BYTES + 4 * rest, &gone)?;
        }
        Ok(())
    }

    /// Fills `out` from redb's `offset`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a page is not as it was written.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        if offset < PAGE {
            let first = self.first.lock();
            let from = offset as usize;
            let content = first.content.get(from..from + out.len());
            let content = content.ok_or_else(|| self.odd("read", offset, out.len()))?;
            out.copy_from_slice(content);
            return Ok(());
        }
        let mut out = out;
        for run in self.runs("read", offset, out.len())? {
            let mut recorded = vec![0; 4 * run.pages];
            self.file.read_at(run.crcs_at, &mut recorded)?;
            let (here, rest) = out.split_at_mut(run.pages * PAGE as usize);
            out = rest;
            self.file.read_at(run.at, here)?;
            for (nth, (recorded, content)) in recorded.chunks(4).zip(here.chunks_mut(PAGE as usize)).enumerate() {
                let page = run.page + nth as u64;
                if *recorded == crc(page, content) {
                    continue;
                }
                if !self.torn_may_be.load(Ordering::Relaxed) {
                    let what = format!("the checksum of page {page} does not match its content");
                    return Err(corrupt(&*self.file, run.at + nth as u64 * PAGE, what));
                }
                content.fill(0);
            }
        }
        Ok(())
    }

    /// Writes `bytes` at redb's `offset`.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if offset < PAGE {
            let mut first = self.first.lock();
            let from = offset as usize;
            let odd = || self.odd("write", offset, bytes.len());
            first.content.get_mut(from..from + bytes.len()).ok_or_else(odd)?.copy_from_slice(bytes);
            if !first.changed {
                first.changed = true;
                first.sequence += 1;
            }
            return self.write_first(&first, 1 - first.synced);
        }
        let mut bytes = bytes;
        for run in self.runs("write", offset, bytes.len())? {
            let (here, rest) = bytes.split_at(run.pages * PAGE as usize);
            bytes = rest;
            let pages = here.chunks(PAGE as usize).zip(run.page..);
            let crcs: Vec<u8> = pages.flat_map(|(content, page)| crc(page, content)).collect();
            self.file.write_at(run.at, here)?;
            self.file.write_at(run.crcs_at, &crcs)?;
        }
        Ok(())
    }

    /// Makes everything durable.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut first = self.first.lock();
        self.file.sync()?;
        if first.changed {
            // This one will be synced with whatever comes next.
            self.write_first(&first, first.synced)?;
            first.synced = 1 - first.synced;
            first.changed = false;
        }
        Ok(())
    }

    fn write_first(&self, first: &First, copy: usize) -> Result<()> {
        self.file.write_at(copy as u64 * PAGE, &encode_first(first))
    }

    /// Where the whole pages at redb's `offset` are, group by group.
    fn runs(&self, op: &'static str, offset: u64, len: usize) -> Result<Vec<Run>> {
        if !offset.is_multiple_of(PAGE) || !(len as u64).is_multiple_of(PAGE) {
            return Err(self.odd(op, offset, len));
        }
        let (mut page, end) = (offset / PAGE, (offset + len as u64) / PAGE);
        let mut runs = Vec::with_capacity(1);
        while page < end {
            let (group, nth) = ((page - 1) / GROUP, (page - 1) % GROUP);
            let pages = (GROUP - nth).min(end - page);
            let start = BODY + group * GROUP_BYTES;
            runs.push(Run { page, pages: pages as usize, crcs_at: start + 4 * nth, at: start + (1 + nth) * PAGE });
            page += pages;
        }
        Ok(runs)
    }

    fn odd(&self, op: &'static str, offset: u64, len: usize) -> Error {
        let text = format!("{len} bytes at {offset} are not whole pages");
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, text);
        Error::Io { op, path: self.file.path().into(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestore_wal::disk::{Disk, MemDisk};

    fn new_file() -> (MemDisk, Arc<dyn DiskFile>) {
        let disk = MemDisk::new();
        let file = disk.create("f").unwrap();
        (disk, file)
    }

    fn page(seed: u64) -> Vec<u8> {
        (0..PAGE).map(|n| ((n + 1).wrapping_mul(seed.wrapping_mul(0x9E37_79B9) + 1) >> 7) as u8).collect()
    }

    #[test]
    fn what_was_written_is_read_also_across_groups() {
        let (_disk, file) = new_file();
        let pages = Pages::open(file.clone()).unwrap();
        assert_eq!(pages.len().unwrap(), 0);
        for count in [0, 1, 2, GROUP, GROUP + 1, GROUP + 2, 2 * GROUP + 1] {
            pages.set_len(count * PAGE).unwrap();
            assert_eq!(pages.len().unwrap(), count * PAGE);
        }
        pages.write(0, &[7; 320]).unwrap();
        let run: Vec<u8> = (0..8).flat_map(page).collect();
        // Pages 1021 to 1028: the first group ends with page 1024.
        pages.write((GROUP - 3) * PAGE, &run).unwrap();
        pages.sync().unwrap();
        let pages = Pages::open(file).unwrap();
        let mut out = vec![0; run.len()];
        pages.read((GROUP - 3) * PAGE, &mut out).unwrap();
        assert!(out == run);
        for nth in 0..8 {
            let mut out = page(99);
            pages.read((GROUP - 3 + nth) * PAGE, &mut out).unwrap();
            assert!(out == page(nth));
        }
        let mut first = [0; 320];
        pages.read(0, &mut first).unwrap();
        assert_eq!(first, [7; 320]);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_told_or_harmless() {
        let (_disk, file) = new_file();
        let pages = Pages::open(file.clone()).unwrap();
        pages.set_len(4 * PAGE).unwrap();
        pages.write(0, &[7; 320]).unwrap();
        (1..4).for_each(|n| pages.write(n * PAGE, &page(n)).unwrap());
        pages.sync().unwrap();
        for at in 0..file.len().unwrap() {
            let mut byte = [0];
            file.read_at(at, &mut byte).unwrap();
            file.write_at(at, &[byte[0] ^ 1 << (at % 8)]).unwrap();
            let pages = Pages::open(file.clone()).unwrap();
            let mut first = [0; 320];
            pages.read(0, &mut first).unwrap();
            assert_eq!(first, [7; 320], "byte {at}");
            let told = (1..4).filter(|n| {
                let mut out = vec![0; PAGE as usize];
                let told = pages.read(n * PAGE, &mut out).is_err();
                assert!(told || out == page(*n), "byte {at}");
                told
            });
            let in_pages = at >= BODY + PAGE || (BODY..BODY + 12).contains(&at);
            assert_eq!(told.count(), usize::from(in_pages), "byte {at}");
            file.write_at(at, &byte).unwrap();
        }
    }

    #[test]
    fn a_page_in_the_place_of_another_is_told() {
        let (_disk, file) = new_file();
        let pages = Pages::open(file.clone()).unwrap();
        (1..3).for_each(|n| pages.write(n * PAGE, &page(n)).unwrap());
        let mut moved = vec![0; PAGE as usize];
        file.read_at(BODY + PAGE, &mut moved).unwrap();
        file.write_at(BODY + 2 * PAGE, &moved).unwrap();
        let mut crc = [0; 4];
        file.read_at(BODY, &mut crc).unwrap();
        file.write_at(BODY + 4, &crc).unwrap();
        let error = pages.read(2 * PAGE, &mut moved).unwrap_err();
        assert!(matches!(error, Error::Corrupt { offset, .. } if offset == BODY + 2 * PAGE), "{error:?}");
        pages.torn_may_be().store(true, Ordering::Relaxed);
        pages.read(2 * PAGE, &mut moved).unwrap();
        assert!(moved.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_torn_first_page_leaves_the_synced_one() {
        let (_disk, file) = new_file();
        let pages = Pages::open(file.clone()).unwrap();
        for round in 1..5 {
            pages.write(0, &[round; 320]).unwrap();
            // Only the copy that this one went to may be torn: the other is what was synced before.
            let copy = 1 - pages.first.lock().synced as u64;
            let mut whole = vec![0; PAGE as usize];
            file.read_at(copy * PAGE, &mut whole).unwrap();
            file.write_at(copy * PAGE + 30, &[99]).unwrap();
            if round > 1 {
                let mut first = [0; 320];
                Pages::open(file.clone()).unwrap().read(0, &mut first).unwrap();
                assert_eq!(first, [round - 1; 320]);
            }
            file.write_at(copy * PAGE, &whole).unwrap();
            pages.sync().unwrap();
        }
    }

    #[test]
    fn no_whole_first_page_is_damage() {
        let (_disk, file) = new_file();
        file.write_at(0, &[1; 10_000]).unwrap();
        let error = Pages::open(file.clone()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { offset: 0, .. }), "{error:?}");
        assert!(!Pages::may_be_new(&*file).unwrap());
        file.write_at(0, b"LSCA\0\0\0\0").unwrap();
        assert!(Pages::may_be_new(&*file).unwrap());
    }
}
