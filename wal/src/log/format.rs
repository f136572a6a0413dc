//! The bytes of a log file, said once. All numbers are little-endian; all sizes are in bytes.
//!
//! A file is a header of [`FILE_HEADER`] bytes and then groups. A group begins directly after the one before it or,
//! if that one was synced before this one was written, at the next multiple of [`ALIGN`]. What lies between and
//! behind them means nothing.
//!
//! **File header**, 4096 bytes:
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 8 | magic `LODEWAL` and a zero byte |
//! | 8 | 2 | major version; a newer one is refused |
//! | 10 | 2 | minor version; a newer one is read |
//! | 12 | 4 | zero |
//! | 16 | 16 | uuid of the store |
//! | 32 | 8 | number of this file, as in its name |
//! | 40 | 8 | LSN of its first record, there already or not |
//! | 48 | 8 | number of the file it continues; 0 for the first of a store |
//! | 56 | 8 | where that file's last group ends |
//! | 64 | 4 | checksum of that group, or of that file's header if it has none |
//! | 68 | 4 | salt, another one for each file |
//! | 72 | 4020 | zero |
//! | 4092 | 4 | CRC-32 of all before |
//!
//! **Group**, a header of 64 bytes and its records:
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 4 | magic `GRP1` |
//! | 4 | 4 | CRC-32 of all from byte 8 to the end of the records |
//! | 8 | 4 | size of the records |
//! | 12 | 4 | number of records; 0 in a seal |
//! | 16 | 8 | LSN of the first record; in a seal, of the next one to come |
//! | 24 | 8 | highest LSN known to be synced when this was written |
//! | 32 | 4 | checksum of the group before, or of the file header |
//! | 36 | 4 | salt of the file |
//! | 40 | 8 | number of the file |
//! | 48 | 16 | zero |
//! | 64 | … | the records |
//!
//! **Record**: size of the body (4), kind (1), flags (1), zero (2), body. LSNs are dense, one for each record.

use crate::names;

/// The most bytes one group takes, its header included.
pub const MAX_GROUP: usize = 64 << 20;
/// Record flag: who does not know the kind may skip the record.
pub const IGNORABLE: u8 = 1;

/// Size of the file header.
pub(super) const FILE_HEADER: usize = 4096;
/// Size of the group header.
pub(super) const GROUP_HEADER: usize = 64;
/// Size of the record header.
pub(super) const RECORD_HEADER: usize = 8;
/// Synced bytes are never in the same block of this size as bytes written later.
pub(super) const ALIGN: u64 = 4096;
/// The newest major version this build writes and reads.
pub(super) const MAJOR: u16 = 1;
const MINOR: u16 = 0;

const FILE_MAGIC: [u8; 8] = *b"LODEWAL\0";
const GROUP_MAGIC: [u8; 4] = *b"GRP1";

const FILE_MAJOR: usize = 8;
const FILE_MINOR: usize = 10;
const FILE_UUID: usize = 16;
const FILE_NO: usize = 32;
const FILE_FIRST_LSN: usize = 40;
const FILE_PREV_FILE: usize = 48;
const FILE_PREV_END: usize = 56;
const FILE_PREV_CHAIN: usize = 64;
const FILE_SALT: usize = 68;
const FILE_CRC: usize = 4092;

const GROUP_CRC: usize = 4;
const GROUP_LEN: usize = 8;
const GROUP_RECORDS: usize = 12;
const GROUP_FIRST_LSN: usize = 16;
const GROUP_DURABLE_LSN: usize = 24;
const GROUP_CHAIN: usize = 32;
const GROUP_SALT: usize = 36;
const GROUP_FILE: usize = 40;

const _: () = assert!(FILE_CRC + 4 == FILE_HEADER);
const _: () = assert!(FILE_SALT + 4 <= FILE_CRC);
const _: () = assert!(GROUP_FILE + 8 + 16 == GROUP_HEADER);
const _: () = assert!((FILE_HEADER as u64).is_multiple_of(ALIGN), "the first group starts on a block of its own");
const _: () = assert!(MAX_GROUP <= u32::MAX as usize, "sizes inside a group are u32");

/// The next multiple of [`ALIGN`]; `at` itself if it is one.
pub(super) fn align_up(at: u64) -> u64 {
    at.checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX)
}

/// What a file header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) uuid: [u8; 16],
    pub(super) no: u64,
    pub(super) first_lsn: u64,
    pub(super) prev_file: u64,
    pub(super) prev_end: u64,
    pub(super) prev_chain: u32,
    pub(super) salt: u32,
}

/// What the first bytes of a log file turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// A whole header, and its checksum, with which the chain of groups starts.
    Whole(FileHeader, u32),
    /// Never finished, or damaged.
    Torn,
    /// Of another major version.
    Other(u16),
}

impl FileHeader {
    /// The header's bytes and its checksum.
    pub(super) fn encode(&self) -> ([u8; FILE_HEADER], u32) {
        let mut bytes = [0; FILE_HEADER];
        put(&mut bytes, 0, FILE_MAGIC);
        put(&mut bytes, FILE_MAJOR, MAJOR.to_le_bytes());
        put(&mut bytes, FILE_MINOR, MINOR.to_le_bytes());
        put(&mut bytes, FILE_UUID, self.uuid);
        put(&mut bytes, FILE_NO, self.no.to_le_bytes());
        put(&mut bytes, FILE_FIRST_LSN, self.first_lsn.to_le_bytes());
        put(&mut bytes, FILE_PREV_FILE, self.prev_file.to_le_bytes());
        put(&mut bytes, FILE_PREV_END, self.prev_end.to_le_bytes());
        put(&mut bytes, FILE_PREV_CHAIN, self.prev_chain.to_le_bytes());
        put(&mut bytes, FILE_SALT, self.salt.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..FILE_CRC]);
        put(&mut bytes, FILE_CRC, crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(bytes: &[u8; FILE_HEADER]) -> Head {
        if take::<8>(bytes, 0) != FILE_MAGIC {
            return Head::Torn;
        }
        // Before the checksum: where a newer version keeps its own is not known, and taking such a file for a
        // torn one would drop its records.
        let major = u16::from_le_bytes(take(bytes, FILE_MAJOR));
        if major > MAJOR {
            return Head::Other(major);
        }
        let crc = u32_at(bytes, FILE_CRC);
        if crc != crc32fast::hash(&bytes[..FILE_CRC]) {
            return Head::Torn;
        }
        if major != MAJOR {
            return Head::Other(major);
        }
        let header = FileHeader {
            uuid: take(bytes, FILE_UUID),
            no: u64_at(bytes, FILE_NO),
            first_lsn: u64_at(bytes, FILE_FIRST_LSN),
            prev_file: u64_at(bytes, FILE_PREV_FILE),
            prev_end: u64_at(bytes, FILE_PREV_END),
            prev_chain: u32_at(bytes, FILE_PREV_CHAIN),
            salt: u32_at(bytes, FILE_SALT),
        };
        Head::Whole(header, crc)
    }

    /// The file's name.
    pub(super) fn name(&self) -> String {
        names::wal(self.no)
    }
}

/// What a group header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub(super) crc: u32,
    /// Size of the records: at most `MAX_GROUP - GROUP_HEADER` once decoded.
    pub(super) len: u32,
    pub(super) records: u32,
    pub(super) first_lsn: u64,
    pub(super) durable_lsn: u64,
    pub(super) chain: u32,
    pub(super) salt: u32,
    pub(super) file_no: u64,
}

impl GroupHeader {
    /// Puts this header over the first [`GROUP_HEADER`] bytes of `group`, with the size and the checksum of what
    /// follows them. Returns the checksum.
    pub(super) fn seal_into(&self, group: &mut [u8]) -> u32 {
        debug_assert!((GROUP_HEADER..=MAX_GROUP).contains(&group.len()));
        let len = u32::try_from(group.len() - GROUP_HEADER).expect("a group is below 4 GiB");
        group[..GROUP_HEADER].fill(0);
        put(group, 0, GROUP_MAGIC);
        put(group, GROUP_LEN, len.to_le_bytes());
        put(group, GROUP_RECORDS, self.records.to_le_bytes());
        put(group, GROUP_FIRST_LSN, self.first_lsn.to_le_bytes());
        put(group, GROUP_DURABLE_LSN, self.durable_lsn.to_le_bytes());
        put(group, GROUP_CHAIN, self.chain.to_le_bytes());
        put(group, GROUP_SALT, self.salt.to_le_bytes());
        put(group, GROUP_FILE, self.file_no.to_le_bytes());
        let crc = crc32fast::hash(&group[GROUP_LEN..]);
        put(group, GROUP_CRC, crc.to_le_bytes());
        crc
    }

    /// Reads a header; `None` if there is none, or one that no writer makes. Its checksum is not looked at yet.
    pub(super) fn decode(bytes: &[u8; GROUP_HEADER]) -> Option<GroupHeader> {
        if take::<4>(bytes, 0) != GROUP_MAGIC {
            return None;
        }
        let header = GroupHeader {
            crc: u32_at(bytes, GROUP_CRC),
            len: u32_at(bytes, GROUP_LEN),
            records: u32_at(bytes, GROUP_RECORDS),
            first_lsn: u64_at(bytes, GROUP_FIRST_LSN),
            durable_lsn: u64_at(bytes, GROUP_DURABLE_LSN),
            chain: u32_at(bytes, GROUP_CHAIN),
            salt: u32_at(bytes, GROUP_SALT),
            file_no: u64_at(bytes, GROUP_FILE),
        };
        let sound = header.len as usize <= MAX_GROUP - GROUP_HEADER
            && header.durable_lsn < header.first_lsn
            && header.first_lsn.checked_add(header.records.into()).is_some();
        sound.then_some(header)
    }

    /// Whether `group`, header and records, is what was written.
    pub(super) fn verifies(&self, group: &[u8]) -> bool {
        crc32fast::hash(&group[GROUP_LEN..]) == self.crc
    }
}

/// Appends a record to a group in the making.
pub(super) fn put_record(group: &mut Vec<u8>, kind: u8, flags: u8, size: usize, body: &[&[u8]]) {
    let size = u32::try_from(size).expect("a record is smaller than a group");
    let [a, b, c, d] = size.to_le_bytes();
    group.extend_from_slice(&[a, b, c, d, kind, flags, 0, 0]);
    for part in body {
        group.extend_from_slice(part);
    }
}

/// A record inside the records of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawRecord<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) body: &'a [u8],
}

/// Splits the first record off `records`; `None` if they do not hold a whole one.
pub(super) fn split_record(records: &[u8]) -> Option<(RawRecord<'_>, &[u8])> {
    let (head, rest) = records.split_first_chunk::<RECORD_HEADER>()?;
    let (body, rest) = rest.split_at_checked(u32_at(head, 0) as usize)?;
    Some((RawRecord { kind: head[4], flags: head[5], body }, rest))
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(take(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(take(bytes, at))
}
