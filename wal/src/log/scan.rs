//! Reads a log back when its store is opened.
//!
//! Two ends of a log look alike: a crash cut the last write short, or bytes that had been promised to last were
//! damaged. The first is normal and the log ends there. It is the second, and opening is refused, if
//! - a later file continues from another place than the readable end,
//! - a later group in the same file says that the missing record had been synced,
//! - a file has no whole header but a whole group,
//! - the log ends before the LSN that the rest of the store has got to.

use super::files::{Entry, Files};
use super::format::{FILE_HEADER, FileHeader, Head, MAJOR};
use super::read::{self, Reader};
use super::{Log, Tail};
use crate::disk::{Disk, DiskFile, nonzero};
use crate::error::{Error, Result};
use crate::mutant::{self, Mutant};
use crate::names;
use crate::poison::Poison;
use std::sync::Arc;

/// A record read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number.
    pub lsn: u64,
    /// As given to [`Appender::append`](super::Appender::append).
    pub kind: u8,
    /// As given to [`Appender::append`](super::Appender::append); see [`IGNORABLE`](super::IGNORABLE).
    pub flags: u8,
    /// As given to [`Appender::append`](super::Appender::append).
    pub body: &'a [u8],
    /// Whether it is the last of its group. A batch never goes beyond that.
    pub ends_group: bool,
    /// The file it is in, for messages.
    pub file: &'a str,
    /// Where in the file it starts.
    pub offset: u64,
}

/// A log being read, before anything may be appended to it.
#[derive(Clone, Debug)]
pub struct LogScan {
    disk: Arc<dyn Disk>,
    uuid: [u8; 16],
    from_lsn: u64,
    /// The files to read, oldest first, never empty.
    chain: Vec<Link>,
    /// Every file with a whole header, oldest first.
    entries: Vec<Entry>,
    /// Numbers of files without one.
    torn: Vec<u64>,
    next_no: u64,
    tail: Option<Tail>,
}

#[derive(Clone, Debug)]
struct Link {
    file: Arc<dyn DiskFile>,
    header: FileHeader,
    crc: u32,
}

impl LogScan {
    /// Looks at the files of the log of store `uuid` and finds those needed for records from `from_lsn` on.
    ///
    /// Before anything is read, all of it is synced and dropped from the cache: what is read is what the disk
    /// holds, and will still be there after a power loss.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a needed file is missing, damaged or of another store, [`Error::FormatTooNew`] if any
    /// is newer than this build.
    pub fn open(disk: Arc<dyn Disk>, uuid: [u8; 16], from_lsn: u64) -> Result<LogScan> {
        Self::open_files(disk, uuid, Some(from_lsn), true)
    }

    /// As [`open`](Self::open), for a log whose every sync is known to have succeeded and that nobody wrote to since:
    /// opening it costs no sync.
    pub fn open_at_rest(disk: Arc<dyn Disk>, uuid: [u8; 16], from_lsn: u64) -> Result<LogScan> {
        Self::open_files(disk, uuid, Some(from_lsn), false)
    }

    /// As [`open_at_rest`](Self::open_at_rest), from the oldest record on that any file holds.
    pub fn open_all(disk: Arc<dyn Disk>, uuid: [u8; 16]) -> Result<LogScan> {
        Self::open_files(disk, uuid, None, false)
    }

    fn open_files(disk: Arc<dyn Disk>, uuid: [u8; 16], from_lsn: Option<u64>, settle: bool) -> Result<LogScan> {
        if settle {
            disk.sync_dir(names::WAL_DIR)?;
        }
        let mut numbers: Vec<u64> =
            disk.list(names::WAL_DIR)?.iter().filter_map(|name| names::parse_wal(name)).collect();
        numbers.sort_unstable();
        let mut found = Vec::with_capacity(numbers.len());
        for &no in &numbers {
            let file = disk.open(&names::wal(no))?;
            if settle {
                mutant::unless(Mutant::OldLogUnsynced, || file.sync())?;
                mutant::unless(Mutant::NoEviction, || file.evict())?;
            }
            found.push((no, file));
        }
        let (mut links, mut torn, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        for (no, file) in found {
            match whole_header(&file, no, uuid)? {
                Some((header, crc)) => {
                    entries.push(Entry { no, first_lsn: header.first_lsn, len: file.len()? });
                    links.push(Link { file, header, crc });
                }
                None => torn.push((no, file)),
            }
        }
        let from_lsn = from_lsn.or(links.first().map(|link: &Link| link.header.first_lsn)).unwrap_or(1);
        let last = links.last().map_or(0, |link| link.header.no);
        for (no, file) in torn.iter().filter(|(no, _)| *no > last) {
            if let Some(at) = read::any_group(file, *no)? {
                let what = format!("the file header is damaged: there is a group at byte {at}");
                return Err(Error::corrupt(names::wal(*no), 0, what));
            }
        }
        let torn: Vec<u64> = torn.into_iter().map(|(no, _)| no).collect();
        let chain = chain_from(links, &torn, from_lsn)?;
        let highest = numbers.last().copied().unwrap_or(0);
        let next_no = highest
            .checked_add(1)
            .filter(|no| *no < u64::MAX)
            .ok_or_else(|| Error::corrupt(names::wal(highest), 0, "no number is left for the next log file"))?;
        Ok(LogScan { disk, uuid, from_lsn, chain, entries, torn, next_no, tail: None })
    }

    /// Calls `f` for every record from `from_lsn` on, in the order of their LSNs, group by group: a group is whole
    /// before its first record is passed on. May be called again, and then starts over.
    ///
    /// # Errors
    /// Those of `f`, at once; [`Error::Corrupt`] if records that were promised to last cannot be read, which may
    /// show only after all those before them were passed on.
    pub fn replay<E: From<Error>>(
        &mut self,
        mut f: impl FnMut(Record<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.tail = None;
        let mut tail = None;
        for (index, link) in self.chain.iter().enumerate() {
            let name = link.header.name();
            let mut reader = Reader::new(Arc::clone(&link.file), &link.header, link.crc)?;
            let next = self.chain.get(index + 1).map(|next| &next.header);
            // Where the next file continues, this one ends, whatever an unfinished write left behind.
            while !next.is_some_and(|next| continues(next, &reader)) {
                let Some(group) = reader.next()? else {
                    mutant::unless(Mutant::ContinuationUnchecked, || check_end(&mut reader, &name, next))?;
                    break;
                };
                let mut records = group.records().zip(group.first_lsn..).peekable();
                while let Some(((offset, record), lsn)) = records.next() {
                    if lsn >= self.from_lsn {
                        let ends_group = records.peek().is_none();
                        let (kind, flags, body) = (record.kind, record.flags, record.body);
                        f(Record { lsn, kind, flags, body, ends_group, file: &name, offset })?;
                    }
                }
            }
            let (end, chain, next_lsn) = (reader.end, reader.chain, reader.next_lsn);
            tail = Some((Tail { file: link.header.no, end, chain, next_lsn }, name));
        }
        if let Some((tail, name)) = tail {
            if tail.next_lsn < self.from_lsn {
                let what = format!(
                    "the log ends with record {}, but the store has got to {}",
                    tail.next_lsn - 1,
                    self.from_lsn - 1
                );
                return Err(Error::corrupt(name, tail.end, what).into());
            }
            self.tail = Some(tail);
        }
        Ok(())
    }

    /// Reads every group of the files, as [`replay`](Self::replay) does, and compares what lies between and behind them,
    /// which means nothing, with the zeros that were there: calls `odd` with the file, the first byte that is none, and
    /// how many are not. A write that a crash cut short leaves such bytes. Returns the files with their lengths.
    ///
    /// # Errors
    /// As `replay`.
    pub fn check(&self, mut odd: impl FnMut(&str, u64, u64)) -> Result<Vec<(String, u64)>> {
        let mut files = Vec::with_capacity(self.chain.len());
        for (index, link) in self.chain.iter().enumerate() {
            let name = link.header.name();
            let mut reader = Reader::new(Arc::clone(&link.file), &link.header, link.crc)?;
            let next = self.chain.get(index + 1).map(|next| &next.header);
            let length = link.file.len()?;
            let (mut idle, mut from) = (Vec::new(), FILE_HEADER as u64);
            while !next.is_some_and(|next| continues(next, &reader)) {
                let Some(at) = reader.next()?.map(|group| group.at) else {
                    check_end(&mut reader, &name, next)?;
                    break;
                };
                if from < at {
                    idle.push(from..at);
                }
                from = reader.end;
            }
            idle.push(from..length);
            for range in idle {
                if let Some((first, count)) = nonzero(&*link.file, range)? {
                    odd(&name, first, count);
                }
            }
            files.push((name, length));
        }
        Ok(files)
    }

    /// After [`replay`](Self::replay), the first LSN that is not in the log; `from_lsn` before.
    pub fn next_lsn(&self) -> u64 {
        self.tail.map_or(self.from_lsn, |tail| tail.next_lsn)
    }

    /// Makes it a log to append to, in a new file that continues where the readable part ends; durable on return.
    /// Reads to the end first if that was not done.
    pub fn into_log(mut self, poison: Poison) -> Result<Log> {
        if self.tail.is_none() {
            self.replay::<Error>(|_| Ok(()))?;
        }
        let Some(tail) = self.tail else { return Err(no_log()) };
        let files = Files { entries: self.entries, next_no: self.next_no };
        let log = Log::start(Arc::clone(&self.disk), self.uuid, poison, files, tail)?;
        for no in self.torn {
            // Never part of the log; if one stays, the next opening ignores it again.
            let _ = self.disk.remove(&names::wal(no));
        }
        Ok(log)
    }
}

/// The header of file `no`; `None` if it is not whole.
fn whole_header(file: &Arc<dyn DiskFile>, no: u64, uuid: [u8; 16]) -> Result<Option<(FileHeader, u32)>> {
    let name = names::wal(no);
    match read::head(file)? {
        Head::Torn => Ok(None),
        Head::Other(found) if found > MAJOR => Err(Error::FormatTooNew { file: name, found, supported: MAJOR }),
        Head::Other(found) => Err(Error::corrupt(name, 8, format!("there is no format version {found}"))),
        Head::Whole(header, _) if header.uuid != uuid => {
            let what = format!("it belongs to store {}, this is {}", hex(header.uuid), hex(uuid));
            Err(Error::corrupt(name, 16, what))
        }
        Head::Whole(header, _) if header.no != no => {
            Err(Error::corrupt(name, 32, format!("it was written as {}", names::wal(header.no))))
        }
        Head::Whole(header, _) if header.first_lsn == 0 => Err(Error::corrupt(name, 40, "there is no record 0")),
        Head::Whole(header, crc) => Ok(Some((header, crc))),
    }
}

/// The files that hold records from `from_lsn` on, once it is clear that each continues the one before.
fn chain_from(mut links: Vec<Link>, torn: &[u64], from_lsn: u64) -> Result<Vec<Link>> {
    let Some(first) = links.first() else { return Err(no_log()) };
    let Some(start) = links.iter().rposition(|link| link.header.first_lsn <= from_lsn) else {
        let (name, first_lsn) = (first.header.name(), first.header.first_lsn);
        let before = missing(first.header.prev_file, torn);
        let what = format!("the log begins with record {first_lsn}, but {from_lsn} is needed: {before}");
        return Err(Error::corrupt(name, 0, what));
    };
    let chain = links.split_off(start);
    for pair in chain.windows(2) {
        let [before, header] = [&pair[0].header, &pair[1].header];
        if header.prev_file != before.no {
            let what = format!(
                "it continues {}, not {}: {}",
                names::wal(header.prev_file),
                before.name(),
                missing(header.prev_file, torn)
            );
            return Err(Error::corrupt(header.name(), 48, what));
        }
    }
    Ok(chain)
}

fn missing(no: u64, torn: &[u64]) -> String {
    let state = if torn.contains(&no) { "has a damaged header" } else { "is missing" };
    format!("{} {state}", names::wal(no))
}

fn continues(next: &FileHeader, reader: &Reader) -> bool {
    next.prev_end == reader.end && next.prev_chain == reader.chain && next.first_lsn == reader.next_lsn
}

/// No further group can be read in a file: right if a crash cut the last write short, an error otherwise.
fn check_end(reader: &mut Reader, name: &str, next: Option<&FileHeader>) -> Result<()> {
    let (end, lsn) = (reader.end, reader.next_lsn);
    if let Some(next) = next {
        let what = format!(
            "record {lsn} cannot be read here, but {} continues at byte {} with record {}",
            next.name(),
            next.prev_end,
            next.first_lsn
        );
        return Err(Error::corrupt(name, end, what));
    }
    if let Some((at, durable)) = reader.witness()? {
        let what = format!("record {lsn} cannot be read, but the group at byte {at} says that {durable} was synced");
        return Err(Error::corrupt(name, end, what));
    }
    Ok(())
}

fn no_log() -> Error {
    Error::corrupt(names::WAL_DIR, 0, "there is no log file with a whole header")
}

fn hex(uuid: [u8; 16]) -> String {
    uuid.iter().map(|byte| format!("{byte:02x}")).collect()
}
