//! The counters of each collection as of the last checkpoint.
//!
//! # Format of `heads`
//!
//! Pages of 4096 bytes holding 32 records of 128 bytes: collection `id` has record `id mod 32` of page `id / 32`.
//! A `Record` of zeros is a collection that no checkpoint has seen yet. Pages change only through checkpoints.

use crate::findings::Findings;
use crate::view::PageImage;
use lodestore_wal::{DiskFile, Error, PAGE, Result, names};
use std::sync::Arc;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const SIZE: usize = 128;
const PER_PAGE: u32 = (PAGE / SIZE) as u32;
const MAGIC: [u8; 4] = *b"HEAD";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Record {
    magic: [u8; 4],
    id: U32,
    next_slot: U32,
    next_upper: U32,
    /// Entry point: level + 1 in the high half, slot in the low half; 0 = none.
    entry: U64,
    /// Slots that are not tombstoned.
    live: U64,
    /// The LSN that made the collection.
    created: U64,
    /// Slots that are neither live nor linked.
    free: U32,
    /// Which generation of the collection's files; compacting makes the next one.
    generation: U32,
    /// Units of the keys segment that are in use.
    next_key: U32,
    spare: [u8; 72],
    crc: U32,
}
const _: () = assert!(size_of::<Record>() == SIZE);

/// A collection's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The slot that the next vector gets.
    pub next_slot: u32,
    /// The next free upper list.
    pub next_upper: u32,
    /// Entry point: level + 1 in the high half, slot in the low half; 0 = none.
    pub entry: u64,
    /// Slots that are not tombstoned.
    pub live: u64,
    /// The LSN that made the collection.
    pub created: u64,
    /// Slots that are neither live nor linked.
    pub free: u32,
    /// Which generation of its files: how many times it was compacted.
    pub generation: u32,
    /// Units of its keys segment that are in use.
    pub next_key: u32,
}

/// Where a collection's record is: page of the file, and byte in it.
pub(crate) fn place(id: u32) -> (u64, usize) {
    (u64::from(id / PER_PAGE), (id % PER_PAGE) as usize * SIZE)
}

/// A collection's head in the page that holds it.
pub(crate) fn in_page(page: &[u8; PAGE], id: u32, at: usize) -> Result<Option<Head>> {
    decode(page[at..at + SIZE].try_into().expect("a record"), id, u64::from(id) * SIZE as u64)
}

/// The open heads file.
#[derive(Debug)]
pub struct Heads {
    file: Arc<dyn DiskFile>,
}

impl Heads {
    /// Wraps the open file.
    pub fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file }
    }

    /// The file, for syncing.
    pub(crate) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Numbers of collections that there is room for: those with a head are below.
    pub fn count(&self) -> Result<u32> {
        Ok(u32::try_from(self.file.len()? / SIZE as u64).unwrap_or(u32::MAX))
    }

    /// A collection's head; `None` if no checkpoint has written one.
    pub fn read(&self, id: u32) -> Result<Option<Head>> {
        let at = u64::from(id) * SIZE as u64;
        if self.file.len()? < at + SIZE as u64 {
            return Ok(None);
        }
        let mut bytes = [0; SIZE];
        self.file.read_at(at, &mut bytes)?;
        decode(&bytes, id, at)
    }

    /// Compares every record with its checksum; those of numbers that no collection has must be zeros.
    pub fn check(&self, is_collection: impl Fn(u32) -> bool, findings: &mut Findings) {
        let Some(length) = findings.check(self.file.len()) else { return };
        let whole = length / SIZE as u64 * SIZE as u64;
        let mut page = vec![0; PAGE];
        for at in (0..whole).step_by(PAGE) {
            let bytes = &mut page[..(whole - at).min(PAGE as u64) as usize];
            if findings.check(self.file.read_at(at, bytes)).is_none() {
                return;
            }
            for (record, at) in bytes.chunks_exact(SIZE).zip((at..).step_by(SIZE)) {
                let id = u32::try_from(at / SIZE as u64).unwrap_or(u32::MAX);
                let found = findings.check(decode(record.try_into().expect("a record"), id, at));
                if found.flatten().is_some() && !is_collection(id) {
                    findings.damage(names::HEADS, at, format!("a head of collection {id}, which there is not"));
                }
            }
        }
        findings.zeros(&*self.file, whole..length, true, "behind the last record");
        findings.checked(&*self.file, length);
    }

    /// The images of the pages that hold these collections, with their records replaced. Makes room in the file.
    pub(crate) fn updated(&self, heads: &[(u32, Head)]) -> Result<Vec<(u64, PageImage)>> {
        let mut heads = heads.to_vec();
        heads.sort_unstable_by_key(|&(id, _)| id);
        let mut images: Vec<(u64, PageImage)> = Vec::new();
        for (id, head) in heads {
            let page = u64::from(id / PER_PAGE);
            if images.last().is_none_or(|(last, _)| *last != page) {
                self.file.allocate((page + 1) * PAGE as u64)?;
                let mut image: PageImage = Box::new([0; PAGE]);
                self.file.read_at(page * PAGE as u64, &mut image[..])?;
                images.push((page, image));
            }
            let image = &mut images.last_mut().expect("just pushed").1;
            let at = (id % PER_PAGE) as usize * SIZE;
            image[at..at + SIZE].copy_from_slice(&encode(id, &head));
        }
        Ok(images)
    }
}

fn encode(id: u32, head: &Head) -> [u8; SIZE] {
    let record = Record {
        magic: MAGIC,
        id: U32::new(id),
        next_slot: U32::new(head.next_slot),
        next_upper: U32::new(head.next_upper),
        entry: U64::new(head.entry),
        live: U64::new(head.live),
        created: U64::new(head.created),
        free: U32::new(head.free),
        generation: U32::new(head.generation),
        next_key: U32::new(head.next_key),
        spare: [0; 72],
        crc: U32::new(0),
    };
    let mut bytes = [0; SIZE];
    bytes.copy_from_slice(record.as_bytes());
    let crc = crc32fast::hash(&bytes[..SIZE - 4]);
    bytes[SIZE - 4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; SIZE], id: u32, at: u64) -> Result<Option<Head>> {
    if bytes.iter().all(|&b| b == 0) {
        return Ok(None);
    }
    let record =
        Record::read_from_bytes(&bytes[..]).map_err(|_| Error::corrupt(names::HEADS, at, "unreadable record"))?;
    let computed = crc32fast::hash(&bytes[..SIZE - 4]);
    if record.magic != MAGIC || record.id.get() != id || record.crc.get() != computed {
        let what = format!("head of collection {id}: checksum {:08x}, computed {computed:08x}", record.crc.get());
        return Err(Error::corrupt(names::HEADS, at, what));
    }
    Ok(Some(Head {
        next_slot: record.next_slot.get(),
        next_upper: record.next_upper.get(),
        entry: record.entry.get(),
        live: record.live.get(),
        created: record.created.get(),
        free: record.free.get(),
        generation: record.generation.get(),
        next_key: record.next_key.get(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestore_wal::{Disk, MemDisk};

    #[test]
    fn heads_round_trip_across_pages_and_damage_is_noticed() {
        let disk = MemDisk::new();
        let heads = Heads::new(disk.create(names::HEADS).unwrap());
        assert_eq!(heads.read(5).unwrap(), None);
        let head = |n| {
            let (next_upper, live, next_key) = (n / 16, u64::from(n), 3 * n);
            Head {
                next_slot: n,
                next_upper,
                entry: 7 << 32 | 3,
                live,
                created: 1,
                free: n,
                generation: n / 2,
                next_key,
            }
        };
        for (page, image) in heads.updated(&[(70, head(9)), (0, head(1)), (31, head(2))]).unwrap() {
            heads.file.write_at(page * PAGE as u64, &image[..]).unwrap();
        }
        assert_eq!(heads.read(70).unwrap(), Some(head(9)));
        assert_eq!(heads.read(31).unwrap(), Some(head(2)));
        assert_eq!(heads.read(30).unwrap(), None);
        heads.file.write_at(31 * 128 + 40, &[1]).unwrap();
        assert!(matches!(heads.read(31), Err(Error::Corrupt { .. })));
    }
}
