//! What a backup's file says.
//!
//! # Format of `NNNNNNNN.backup`
//!
//! Little-endian. A [`Header`]; then for each file of the store, in the order of their names, a [`Section`], its name,
//! and an [`Entry`] for each of its blocks; then a section of no name and no blocks; then 32 bytes, the BLAKE3 hash of all
//! before. Files are cut into blocks of [`BLOCK`] bytes, the last one shorter.
//!
//! The catalogue is no file here but its rows, under the name of its file: for each the number of its table (u8), the
//! lengths of key and value (u32 each), key, value. They are cut behind rows that their keys choose
//! ([`RowCutter`]), so that a row more changes one block and not all that follow.
//!
//! # Format of `NNNNNNNN.blocks`
//!
//! The blocks that no backup before has, one after the other. What is where only entries say.

use crate::error::{Error, Result};
use lodestore_wal::{DiskFile, names};
use std::sync::Arc;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub(super) const MAGIC: [u8; 8] = *b"LODEBKUP";
pub(super) const MAJOR: u16 = 1;
/// Bytes of a block.
pub(super) const BLOCK: usize = 4096;
/// Bytes of a block of rows, unless a row is larger.
pub(super) const ROWS_BLOCK: usize = 16 << 10;
/// The largest block that is believed: a row with the largest payload, and its neighbours.
pub(super) const MOST: usize = crate::check::MAX_PAYLOAD + (1 << 20);
/// `Entry::from` of a block of zeros, which is nowhere.
pub(super) const ZEROS: u32 = u32::MAX;
/// Bytes of the hash at the end.
const SEAL: u64 = 32;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) major: U16,
    pub(super) minor: U16,
    pub(super) reserved: [u8; 4],
    /// The store's.
    pub(super) uuid: [u8; 16],
    pub(super) number: U64,
    /// The state after this record of the log.
    pub(super) lsn: U64,
    /// The last checkpoint's number.
    pub(super) checkpoint: U64,
    /// When it was made, in seconds since 1970.
    pub(super) made: U64,
}
const _: () = assert!(size_of::<Header>() == 64);

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Section {
    /// Bytes of the file; of rows, of all of them.
    pub(super) length: U64,
    pub(super) blocks: U64,
    pub(super) name: U16,
    pub(super) reserved: [u8; 6],
}

/// A block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Entry {
    /// Of its BLAKE3 hash the first half.
    pub(super) hash: [u8; 16],
    /// The number of the backup that has it; [`ZEROS`].
    pub(super) from: U32,
    pub(super) len: U32,
    /// Where in that backup's blocks.
    pub(super) at: U64,
}
pub(super) const ENTRY: usize = 32;
const _: () = assert!(size_of::<Entry>() == ENTRY);

/// What stands for a block's content.
pub(super) fn hash(block: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(block).as_bytes()[..16]);
    half
}

/// Cuts rows into blocks, at places that depend on what is around them only.
#[derive(Debug, Default)]
pub(super) struct RowCutter(Vec<u8>);

impl RowCutter {
    /// Adds a row; a block that is finished with it.
    pub(super) fn add(&mut self, table: u8, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        self.0.push(table);
        self.0.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.0.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(value);
        // One row in 64 by its key; blocks of few bytes are not worth an entry.
        let chosen = crc32fast::hash(key).is_multiple_of(64) && self.0.len() >= ENTRY * 16;
        (chosen || self.0.len() >= ROWS_BLOCK).then(|| std::mem::take(&mut self.0))
    }

    pub(super) fn finish(self) -> Option<Vec<u8>> {
        (!self.0.is_empty()).then_some(self.0)
    }
}

/// The rows of a block.
pub(super) fn rows(mut block: &[u8], f: &mut crate::catalog::RowSink<'_>) -> Result<bool> {
    while let Some((&table, rest)) = block.split_first() {
        let Some((lengths, rest)) = rest.split_first_chunk::<8>() else { return Ok(false) };
        let [key, value] = [0, 4].map(|at| u32::from_le_bytes([0, 1, 2, 3].map(|n| lengths[at + n])) as usize);
        let Some((key, rest)) = rest.split_at_checked(key) else { return Ok(false) };
        let Some((value, rest)) = rest.split_at_checked(value) else { return Ok(false) };
        f(table, key, value)?;
        block = rest;
    }
    Ok(true)
}

/// Writes a backup's file, from its start to its end.
pub(super) struct ManifestWriter {
    file: Arc<dyn DiskFile>,
    at: u64,
    bytes: Vec<u8>,
    hasher: blake3::Hasher,
}

impl ManifestWriter {
    pub(super) fn new(file: Arc<dyn DiskFile>, header: &Header) -> Self {
        let mut new = Self { file, at: 0, bytes: Vec::new(), hasher: blake3::Hasher::new() };
        new.bytes.extend_from_slice(header.as_bytes());
        new
    }

    pub(super) fn section(&mut self, name: &str, length: u64, entries: &[Entry]) -> Result<()> {
        let (length, blocks) = (U64::new(length), U64::new(entries.len() as u64));
        let section = Section { length, blocks, name: U16::new(name.len() as u16), reserved: [0; 6] };
        self.bytes.extend_from_slice(section.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(entries.as_bytes());
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.hasher.update(&self.bytes);
        self.file.write_at(self.at, &self.bytes)?;
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    /// Ends it, durably. Says how long it is.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.section("", 0, &[])?;
        let seal = *self.hasher.finalize().as_bytes();
        self.file.write_at(self.at, &seal)?;
        self.file.sync()?;
        Ok(self.at + SEAL)
    }
}

/// A file of a backup.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) length: u64,
    blocks: u64,
    /// Where its entries begin.
    at: u64,
}

/// A backup's file, whole and as it was written.
#[derive(Debug)]
pub(super) struct Manifest {
    file: Arc<dyn DiskFile>,
    pub(super) header: Header,
    pub(super) files: Vec<Listed>,
}

impl Manifest {
    /// Reads it, as the disk has it.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::FormatTooNew`].
    pub(super) fn open(file: Arc<dyn DiskFile>, number: u64) -> Result<Self> {
        let name = names::backup(number);
        let bytes = file.len()?;
        let corrupt = |offset: u64, what: String| Error::Corrupt { file: name.clone(), offset, what };
        if bytes < (size_of::<Header>() + size_of::<Section>()) as u64 + SEAL {
            return Err(corrupt(bytes, format!("it has {bytes} bytes, too few for any backup")));
        }
        let mut header = [0; size_of::<Header>()];
        file.read_at(0, &mut header)?;
        let header = Header::read_from_bytes(&header).map_err(|_| corrupt(0, "unreadable header".into()))?;
        if header.magic != MAGIC {
            return Err(corrupt(0, "not a backup of a lodestore store".into()));
        }
        if header.major.get() != MAJOR {
            let found = header.major.get();
            return Err(Error::FormatTooNew { file: name.clone(), found, supported: MAJOR });
        }
        if header.number.get() != number {
            return Err(corrupt(32, format!("it was written as {}", names::backup(header.number.get()))));
        }
        check_seal(&*file, bytes).map_err(|error| match error {
            Some(error) => error,
            None => corrupt(bytes - SEAL, "the hash of its content differs".into()),
        })?;
        let (mut files, mut at, end) = (Vec::new(), size_of::<Header>() as u64, bytes - SEAL);
        loop {
            let mut section = [0; size_of::<Section>()];
            let short = || corrupt(at, "it ends in the middle".into());
            if end - at < section.len() as u64 {
                return Err(short());
            }
            file.read_at(at, &mut section)?;
            let section = Section::read_from_bytes(&section).map_err(|_| short())?;
            let mut text = vec![0; usize::from(section.name.get())];
            let begin = at + size_of::<Section>() as u64 + text.len() as u64;
            let next = section.blocks.get().checked_mul(ENTRY as u64).and_then(|bytes| bytes.checked_add(begin));
            let next = next.filter(|&next| next <= end).ok_or_else(short)?;
            if text.is_empty() {
                break;
            }
            file.read_at(begin - text.len() as u64, &mut text)?;
            let text = String::from_utf8(text).map_err(|_| corrupt(at, "a name that is not UTF-8".into()))?;
            // What is restored goes to these places and no others.
            if !super::is_kept(&text) || files.last().is_some_and(|last: &Listed| last.name >= text) {
                return Err(corrupt(at, format!("a file '{text}', which a store does not have there")));
            }
            files.push(Listed { name: text, length: section.length.get(), blocks: section.blocks.get(), at: begin });
            at = next;
        }
        Ok(Self { file, header, files })
    }

    /// Calls `f` with each block of a file and where in the file it begins.
    ///
    /// # Errors
    /// Those of `f`; [`Error::Corrupt`] if the blocks do not make up the file.
    pub(super) fn entries(&self, of: &Listed, mut f: impl FnMut(u64, Entry) -> Result<()>) -> Result<()> {
        const AT_ONCE: usize = 1 << 12;
        let name = names::backup(self.header.number.get());
        let corrupt = |what: String| Error::Corrupt { file: name.clone(), offset: of.at, what };
        let (mut at, mut bytes) = (0, vec![0; AT_ONCE * ENTRY]);
        for first in (0..of.blocks).step_by(AT_ONCE) {
            let count = (of.blocks - first).min(AT_ONCE as u64) as usize;
            let part = &mut bytes[..count * ENTRY];
            self.file.read_at(of.at + first * ENTRY as u64, part)?;
            let entries = <[Entry]>::ref_from_bytes(part).map_err(|_| corrupt("unreadable entries".into()))?;
            for entry in entries {
                let len = entry.len.get() as usize;
                let from = entry.from.get();
                let number = self.header.number.get();
                if len == 0 || len > MOST || (from != ZEROS && u64::from(from) > number) {
                    return Err(corrupt(format!("{}: a block of {len} bytes of backup {from}", of.name)));
                }
                f(at, *entry)?;
                at += len as u64;
            }
        }
        if at != of.length {
            return Err(corrupt(format!("{}: blocks of {at} bytes, the file had {}", of.name, of.length)));
        }
        Ok(())
    }
}

/// An error of `None` says that the hash differs.
fn check_seal(file: &dyn DiskFile, bytes: u64) -> std::result::Result<(), Option<Error>> {
    let (mut hasher, mut buffer, end) = (blake3::Hasher::new(), vec![0; 1 << 20], bytes - SEAL);
    let mut at = 0;
    while at < end {
        let part = (end - at).min(buffer.len() as u64) as usize;
        file.read_at(at, &mut buffer[..part]).map_err(|error| Some(error.into()))?;
        hasher.update(&buffer[..part]);
        at += part as u64;
    }
    let mut seal = [0; SEAL as usize];
    file.read_at(end, &mut seal).map_err(|error| Some(error.into()))?;
    if *hasher.finalize().as_bytes() == seal { Ok(()) } else { Err(None) }
}
