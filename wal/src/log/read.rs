//! Reads the groups of one log file and tells whole ones from all else.

use super::format::{
    ALIGN, FILE_HEADER, FileHeader, GROUP_HEADER, GroupHeader, Head, RECORD_HEADER, RawRecord, align_up, split_record,
};
use crate::disk::DiskFile;
use crate::error::{Error, Result};
use std::sync::Arc;

/// Read at once, so that small groups do not cost a system call each.
const CHUNK: usize = 256 << 10;

/// A file seen through a buffer.
#[derive(Debug)]
pub(super) struct Window {
    file: Arc<dyn DiskFile>,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    pub(super) fn open(file: Arc<dyn DiskFile>) -> Result<Window> {
        let len = file.len()?;
        Ok(Window { file, len, start: 0, bytes: Vec::new() })
    }

    /// `size` bytes from `at`; `None` if the file ends before. So a size from the disk costs no more memory than
    /// the file is long, and callers ask for no more than a group.
    fn get(&mut self, at: u64, size: usize) -> Result<Option<&[u8]>> {
        if at.checked_add(size as u64).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        let held = |start: u64, bytes: &[u8]| at >= start && at + size as u64 <= start + bytes.len() as u64;
        if !held(self.start, &self.bytes) {
            let rest = usize::try_from(self.len - at).unwrap_or(usize::MAX);
            // Empty first: if the read fails, nothing half-read may pass for content.
            self.bytes.clear();
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.resize(size.max(CHUNK).min(rest), 0);
            self.file.read_at(at, &mut bytes)?;
            self.bytes = bytes;
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(Some(&self.bytes[from..from + size]))
    }

    fn array<const N: usize>(&mut self, at: u64) -> Result<Option<[u8; N]>> {
        Ok(self.get(at, N)?.and_then(|bytes| bytes.try_into().ok()))
    }

    /// The header of a group at `at` that `fits` and whose checksum is right.
    pub(super) fn group(&mut self, at: u64, fits: impl Fn(&GroupHeader) -> bool) -> Result<Option<GroupHeader>> {
        let Some(header) = self.array(at)?.as_ref().and_then(GroupHeader::decode).filter(fits) else {
            return Ok(None);
        };
        let whole = self.get(at, GROUP_HEADER + header.len as usize)?;
        Ok(whole.is_some_and(|group| header.verifies(group)).then_some(header))
    }

    /// The records of the group that [`group`](Self::group) has found at `at`.
    pub(super) fn body(&mut self, at: u64, header: &GroupHeader) -> Result<Option<Group<'_>>> {
        let bytes = self.get(at, GROUP_HEADER + header.len as usize)?;
        let (first_lsn, count) = (header.first_lsn, header.records);
        Ok(bytes.map(|bytes| Group { at, first_lsn, count, records: &bytes[GROUP_HEADER..] }))
    }

    /// The first whole group that `fits`, at a multiple of [`ALIGN`] from `at` on. A group written after a sync is
    /// always at one.
    pub(super) fn find(&mut self, at: u64, fits: impl Fn(&GroupHeader) -> bool) -> Result<Option<(u64, GroupHeader)>> {
        let mut at = align_up(at);
        while at < self.len {
            if let Some(header) = self.group(at, &fits)? {
                return Ok(Some((at, header)));
            }
            at += ALIGN;
        }
        Ok(None)
    }
}

/// The header of a log file.
pub(super) fn head(file: &Arc<dyn DiskFile>) -> Result<Head> {
    let mut window = Window::open(Arc::clone(file))?;
    Ok(window.array::<FILE_HEADER>(0)?.map_or(Head::Torn, |bytes| FileHeader::decode(&bytes)))
}

/// Where in a file without a whole header a group of its own lies. There is none if the header was never finished.
pub(super) fn any_group(file: &Arc<dyn DiskFile>, no: u64) -> Result<Option<u64>> {
    let mut window = Window::open(Arc::clone(file))?;
    let found = window.find(FILE_HEADER as u64, |group| group.file_no == no)?;
    Ok(found.map(|(at, _)| at))
}

/// A group whose checksum and place in the row are right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    pub(super) at: u64,
    pub(super) first_lsn: u64,
    count: u32,
    records: &'a [u8],
}

impl<'a> Group<'a> {
    /// Its records, each with where it starts in the file; less than there should be if they do not add up.
    pub(super) fn records(self) -> impl Iterator<Item = (u64, RawRecord<'a>)> {
        let (mut rest, mut at) = (self.records, self.at + GROUP_HEADER as u64);
        (0..self.count).map_while(move |_| {
            let (record, behind) = split_record(rest)?;
            let start = at;
            rest = behind;
            at += (RECORD_HEADER + record.body.len()) as u64;
            Some((start, record))
        })
    }

    /// Whether the records are as many as said, and fill the group.
    pub(super) fn adds_up(self) -> bool {
        let (count, size) = self
            .records()
            .fold((0, 0), |(count, size), (_, record)| (count + 1, size + RECORD_HEADER + record.body.len()));
        count == self.count && size == self.records.len()
    }
}

/// Walks the groups of one file.
#[derive(Debug)]
pub(super) struct Reader {
    window: Window,
    name: String,
    no: u64,
    salt: u32,
    /// Checksum of the last group read, or of the file header.
    pub(super) chain: u32,
    /// The LSN that comes next.
    pub(super) next_lsn: u64,
    /// Where the last group read ends.
    pub(super) end: u64,
}

impl Reader {
    /// Starts behind the file's header, whose checksum is `chain`.
    pub(super) fn new(file: Arc<dyn DiskFile>, header: &FileHeader, chain: u32) -> Result<Reader> {
        Ok(Reader {
            window: Window::open(file)?,
            name: header.name(),
            no: header.no,
            salt: header.salt,
            chain,
            next_lsn: header.first_lsn,
            end: FILE_HEADER as u64,
        })
    }

    /// The next group; `None` where the row ends, for whatever reason.
    pub(super) fn next(&mut self) -> Result<Option<Group<'_>>> {
        let (no, salt, chain, lsn) = (self.no, self.salt, self.chain, self.next_lsn);
        let fits = |group: &GroupHeader| {
            group.file_no == no && group.salt == salt && group.chain == chain && group.first_lsn == lsn
        };
        let mut at = self.end;
        let mut found = self.window.group(at, fits)?;
        if found.is_none() {
            at = align_up(at);
            found = self.window.group(at, fits)?;
        }
        let Some(header) = found else { return Ok(None) };
        let Some(group) = self.window.body(at, &header)? else { return Ok(None) };
        if !group.adds_up() {
            let what = format!("{} bytes do not hold the {} records they should", header.len, header.records);
            return Err(Error::corrupt(&self.name, at, what));
        }
        self.chain = header.crc;
        self.next_lsn = lsn + u64::from(header.records);
        self.end = at + (GROUP_HEADER + header.len as usize) as u64;
        Ok(Some(group))
    }

    /// A later group that proves that [`next_lsn`](Self::next_lsn) was synced before it was written: where it is
    /// and up to which LSN it vouches.
    pub(super) fn witness(&mut self) -> Result<Option<(u64, u64)>> {
        let (no, salt, lsn) = (self.no, self.salt, self.next_lsn);
        let fits = |group: &GroupHeader| group.file_no == no && group.salt == salt && group.durable_lsn >= lsn;
        Ok(self.window.find(self.end, fits)?.map(|(at, group)| (at, group.durable_lsn)))
    }
}
