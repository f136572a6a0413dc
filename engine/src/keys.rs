//! Keys of records: their types, and the segment for those that do not fit into a slot's id.
//!
//! # Format of `c/<id>/keys`
//!
//! Of collections whose keys are not `u64`. Units of 16 bytes; an entry is a `Header` and the key's bytes, and takes whole
//! units, filled with zeros. Entries are appended and never changed. None lies across the end of a window (`windows.rs`:
//! unit 2¹⁶, and each power of two above): where one would, zeros go up to there. A record's id has, in the place of a
//! number, its key's [`reference`]: the entry's first unit in the low half, the header's checksum in the high half. So a
//! damaged key, and a key that is not the one meant, is noticed whenever it is read.
//!
//! `u128` are 16 bytes big-endian, UUIDs their 16 bytes, strings UTF-8. So the order of the bytes is that of the keys.

use crate::view;
use crate::windows::Windows;
use lodestore_wal::{DiskFile, Error, Mapping, Result};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The longest key, in bytes.
pub const MAX_KEY: usize = 4096;

/// Bytes of a unit.
pub(crate) const UNIT: usize = 16;
/// Units that there are windows for.
const MAX_UNITS: u64 = Windows::MOST;

/// What the keys of a collection are.
///
/// ```
/// use lodestore_engine::KeyType;
/// assert_eq!(("str".parse(), KeyType::Str.to_string()), (Ok(KeyType::Str), "str".to_owned()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyType {
    /// Numbers below 2⁶⁴.
    #[default]
    U64,
    /// Numbers below 2¹²⁸.
    U128,
    /// UUIDs, in the order of their bytes.
    Uuid,
    /// Strings, in the order of their UTF-8 bytes, which is that of their characters.
    Str,
    /// Any bytes.
    Bytes,
}

impl KeyType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::U64, Self::U128, Self::Uuid, Self::Str, Self::Bytes];

    /// As `meta` says it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::U64 => 1,
            Self::U128 => 2,
            Self::Uuid => 3,
            Self::Str => 4,
            Self::Bytes => 5,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.code() == code)
    }

    /// Whether a key is in its slot's id itself.
    pub fn in_id(self) -> bool {
        self == Self::U64
    }

    /// `u64`, `u128`, `uuid`, `str` or `bytes`.
    pub fn name(self) -> &'static str {
        match self {
            Self::U64 => "u64",
            Self::U128 => "u128",
            Self::Uuid => "uuid",
            Self::Str => "str",
            Self::Bytes => "bytes",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyType {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let known = || format!("unknown key type '{name}'; known are {}", Self::ALL.map(Self::name).join(", "));
        Self::ALL.into_iter().find(|key| key.name() == name).ok_or_else(known)
    }
}

/// A key as a collection has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredKey<'a> {
    /// A `u64`.
    Number(u64),
    /// Of any other type.
    Bytes(&'a [u8]),
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    length: U16,
    reserved: U16,
    /// CRC-32 of the length and the key.
    crc: U32,
}
const HEADER: usize = size_of::<Header>();
const _: () = assert!(HEADER == 8 && MAX_KEY <= u16::MAX as usize);

/// CRC-32 of a key's length, as a `u16`, and its bytes.
fn crc(key: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u16).to_le_bytes());
    hasher.update(key);
    hasher.finalize()
}

fn units(length: usize) -> u32 {
    (HEADER + length).div_ceil(UNIT) as u32
}

/// What an id has for the key that is kept from `unit` on.
pub(crate) fn reference(unit: u32, key: &[u8]) -> u64 {
    u64::from(crc(key)) << 32 | u64::from(unit)
}

/// Where the entry of a reference begins.
pub(crate) fn offset(reference: u64) -> u64 {
    u64::from(reference as u32) * UNIT as u64
}

/// Whether a key has the checksum that is in a reference.
pub(crate) fn may_be(reference: u64, key: &[u8]) -> bool {
    key.len() <= MAX_KEY && crc(key) == (reference >> 32) as u32
}

/// The key of a reference from the file, of which nothing else is known; or what is wrong with it.
///
/// # Errors
/// Of the disk, but for the file's end.
pub(crate) fn read_from(file: &dyn DiskFile, reference: u64) -> Result<std::result::Result<Vec<u8>, String>> {
    let (at, mut header, length) = (offset(reference), [0; HEADER], file.len()?);
    if at + HEADER as u64 > length {
        return Ok(Err(format!("the file has {length} bytes")));
    }
    file.read_at(at, &mut header)?;
    let key_length = usize::from(u16::from_le_bytes([header[0], header[1]]));
    if key_length > MAX_KEY || at + (HEADER + key_length) as u64 > length {
        return Ok(Err(format!("a key of {key_length} bytes, the file has {length}")));
    }
    let mut key = vec![0; key_length];
    file.read_at(at + HEADER as u64, &mut key)?;
    Ok(if may_be(reference, &key) { Ok(key) } else { Err("the checksum of the key differs".into()) })
}

/// Entries to be written together, from the end of a segment on.
#[derive(Clone, Debug, Default)]
pub struct NewKeys {
    first: u32,
    next: u32,
    bytes: Vec<u8>,
}

impl NewKeys {
    /// None yet, behind so many units.
    pub fn after(units: u32) -> Self {
        Self { first: units, next: units, bytes: Vec::new() }
    }

    /// Adds a key of at most [`MAX_KEY`] bytes, and returns its reference.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the segment is full; nothing is added then.
    pub fn add(&mut self, key: &[u8]) -> Result<u64> {
        debug_assert!(key.len() <= MAX_KEY);
        let units = units(key.len());
        let at = Windows::contiguous(self.next, units);
        let end = u64::from(at) + u64::from(units);
        if end > MAX_UNITS {
            return Err(Error::TooLarge { got: end * UNIT as u64, limit: MAX_UNITS * UNIT as u64 });
        }
        let header = Header { length: U16::new(key.len() as u16), reserved: U16::new(0), crc: U32::new(crc(key)) };
        self.bytes.resize((at - self.first) as usize * UNIT, 0);
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(key);
        self.next = end as u32;
        self.bytes.resize((self.next - self.first) as usize * UNIT, 0);
        Ok(reference(at, key))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.next == self.first
    }

    /// Bytes that they take.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Where the segment ends with them, in units.
    pub fn end(&self) -> u32 {
        self.next
    }
}

/// The keys of a collection.
#[derive(Debug)]
pub(crate) struct KeySegment {
    windows: Windows,
    /// Units in use.
    next: AtomicU32,
}

impl KeySegment {
    /// Maps the file, in which the first `next` units must be there.
    pub(crate) fn open(file: Arc<dyn DiskFile>, next: u32) -> Result<Self> {
        let windows = Windows::open(file, UNIT, Mapping::Shared, u64::from(next))?;
        Ok(Self { windows, next: AtomicU32::new(next) })
    }

    pub(crate) fn file(&self) -> &Arc<dyn DiskFile> {
        self.windows.file()
    }

    pub(crate) fn next(&self) -> u32 {
        self.next.load(Ordering::Acquire)
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.next()) * UNIT as u64
    }

    /// Says that entries up to there may be looked at, before any reference to them is given out.
    pub(crate) fn set_next(&self, next: u32) {
        self.next.store(next, Ordering::Release);
    }

    /// Writes entries behind those in use; nobody looks at them yet.
    pub(crate) fn write(&self, keys: &NewKeys) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        self.windows.ensure(u64::from(keys.next))?;
        self.file().write_at(u64::from(keys.first) * UNIT as u64, &keys.bytes)
    }

    /// The key that a reference is to.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there is none there, or one of another checksum.
    pub(crate) fn read(&self, reference: u64) -> Result<&[u8]> {
        let (unit, recorded) = (reference as u32, (reference >> 32) as u32);
        let damaged = |what: String| Error::corrupt(self.file().path(), u64::from(unit) * UNIT as u64, what);
        let next = self.next();
        let key = if unit < next { self.entry(unit, next) } else { None };
        let key = key.ok_or_else(|| damaged(format!("no key begins at unit {unit} of {next}")))?;
        let computed = crc(key);
        if computed != recorded {
            return Err(damaged(format!("checksum {recorded:08x}, of the {} bytes {computed:08x}", key.len())));
        }
        Ok(key)
    }

    /// What is an entry's key if one begins there and ends before `end`.
    fn entry(&self, unit: u32, end: u32) -> Option<&[u8]> {
        let header = Header::ref_from_prefix(view::span(&self.windows, unit, 1)?).ok()?.0;
        let length = usize::from(header.length.get());
        let units = units(length);
        if length > MAX_KEY || unit.checked_add(units)? > end {
            return None;
        }
        Some(&view::span(&self.windows, unit, units)?[HEADER..HEADER + length])
    }

    /// Looks at every entry, referred to or not, and what is between them; calls `damaged` with the unit and what is wrong.
    pub(crate) fn check_all(&self, mut damaged: impl FnMut(u32, String)) {
        let (mut unit, end, mut lost) = (0, self.next(), false);
        while unit < end {
            match self.check_entry(unit, end) {
                Ok(units) => (unit, lost) = (unit + units, false),
                Err(what) => {
                    // Where the next entry begins is not known: told once.
                    if !lost {
                        damaged(unit, what);
                    }
                    (unit, lost) = (unit + 1, true);
                }
            }
        }
    }

    /// The units that an entry, or a gap, takes.
    fn check_entry(&self, unit: u32, end: u32) -> std::result::Result<u32, String> {
        let is_zero = |from: u32, count: u32| {
            view::span(&self.windows, from, count).is_some_and(|bytes| bytes.iter().all(|&byte| byte == 0))
        };
        if is_zero(unit, 1) {
            // A gap is there because what follows behind it did not fit.
            let next = Windows::window_end(unit);
            let gap = next - unit;
            let follows = if next < end { self.entry(next, end) } else { None };
            let is_gap = follows.is_some_and(|key| units(key.len()) > gap) && is_zero(unit, gap);
            return if is_gap { Ok(gap) } else { Err("zeros where a key is due".into()) };
        }
        let key = self.entry(unit, end).ok_or("no key begins here")?;
        let units = units(key.len());
        let bytes = view::span(&self.windows, unit, units).ok_or("a key across the end of a window")?;
        let header = Header::ref_from_prefix(bytes).map_err(|_| "no header")?.0;
        let (recorded, computed) = (header.crc.get(), crc(key));
        if recorded != computed {
            return Err(format!("checksum {recorded:08x}, computed {computed:08x}"));
        }
        if header.reserved.get() != 0 || bytes[HEADER + key.len()..].iter().any(|&byte| byte != 0) {
            return Err("not zero where nothing is kept".into());
        }
        Ok(units)
    }

    /// The units from which on a key's entry is found, in use or not. Nobody writes meanwhile.
    pub(crate) fn units_with(&self, key: &[u8]) -> Vec<u32> {
        let end = self.windows.slots() as u32;
        let header = [&(key.len() as u16).to_le_bytes()[..], &[0; 2], &crc(key).to_le_bytes()].concat();
        let is_there = |&unit: &u32| {
            view::span(&self.windows, unit, 1).is_some_and(|bytes| bytes.starts_with(&header))
                && self.entry(unit, end) == Some(key)
        };
        (0..end).filter(is_there).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestore_wal::{Disk, MemDisk};

    fn segment() -> (MemDisk, KeySegment) {
        let disk = MemDisk::new();
        let segment = KeySegment::open(disk.create("keys").unwrap(), 0).unwrap();
        (disk, segment)
    }

    fn append(segment: &KeySegment, keys: &[Vec<u8>]) -> Vec<u64> {
        let mut new = NewKeys::after(segment.next());
        let references = keys.iter().map(|key| new.add(key).unwrap()).collect();
        segment.write(&new).unwrap();
        segment.set_next(new.end());
        references
    }

    #[test]
    fn keys_of_every_length_are_read_as_they_were_written() {
        let (disk, segment) = segment();
        let keys: Vec<Vec<u8>> =
            (0..=MAX_KEY).map(|length| (0..length).map(|n| (n * length) as u8).collect()).collect();
        let references: Vec<u64> = keys.chunks(100).flat_map(|keys| append(&segment, keys)).collect();
        // Enough for some windows.
        assert!(segment.next() > 1 << 18);
        let again = KeySegment::open(disk.open("keys").unwrap(), segment.next()).unwrap();
        for (key, &reference) in keys.iter().zip(&references) {
            assert_eq!(segment.read(reference).unwrap(), key);
            assert_eq!(again.read(reference).unwrap(), key);
        }
        again.check_all(|unit, what| panic!("unit {unit}: {what}"));
        assert_eq!(again.units_with(&keys[77]), [references[77] as u32]);
        assert!(again.units_with(b"never there").is_empty());
    }

    #[test]
    fn what_is_not_a_key_is_told() {
        let (_disk, segment) = segment();
        let references = append(&segment, &[b"one".to_vec(), vec![], vec![7; 100]]);
        let none = |reference| matches!(segment.read(reference), Err(Error::Corrupt { .. }));
        assert!(none(u64::MAX) && none(0) && none(references[2] + 1) && none(references[0] + (1 << 32)));
        assert!(none(references[2] & (u64::MAX << 32)) && none(u64::from(segment.next())));
        // Behind the end nothing is a key, even if it is there.
        let mut new = NewKeys::after(segment.next());
        let reference = new.add(b"later").unwrap();
        segment.write(&new).unwrap();
        assert!(none(reference) && segment.units_with(b"later").len() == 1);
        segment.set_next(new.end());
        assert_eq!(segment.read(reference).unwrap(), b"later");
    }

    #[test]
    fn every_flipped_bit_of_an_entry_is_noticed() {
        let (_disk, segment) = segment();
        append(&segment, &[b"a key of more than sixteen bytes".to_vec(), vec![3; 20], vec![]]);
        let mut good = [0; 96];
        assert_eq!(segment.next(), 6);
        segment.file().read_at(0, &mut good).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            segment.file().write_at(0, &bad).unwrap();
            let mut found = Vec::new();
            segment.check_all(|unit, _| found.push(unit));
            assert!(!found.is_empty(), "bit {bit}");
        }
    }
}
