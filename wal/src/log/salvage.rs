//! What is whole in a damaged log: every group whose checksum is right, wherever it lies.
//!
//! Recovery stops where the row of groups breaks, because it must not take a part of the log for all of it. Whoever saves
//! what is left goes on behind the damage: a group carries its own LSNs, so what was between is known by its numbers. A
//! group written after a sync begins at a multiple of [`ALIGN`], and is found there; without syncs the groups up to the
//! next such place go with the damaged one.

use super::format::{FILE_HEADER, FileHeader, GROUP_HEADER, GroupHeader, Head, align_up};
use super::read::{self, Window};
use super::scan::Record;
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::names;
use std::ops::Range;
use std::sync::Arc;

/// What [`salvage`] has found.
#[derive(Clone, Debug, Default)]
pub struct Salvaged {
    /// The LSNs of the records that were passed on, in order.
    pub lsns: Vec<Range<u64>>,
    /// File, place, and what is wrong there.
    pub damage: Vec<(String, u64, String)>,
    /// Log files that were looked at.
    pub files: u64,
}

impl Salvaged {
    /// The LSNs from `from` to `to`, both included, of which no record was found.
    pub fn missing(&self, from: u64, to: u64) -> Vec<Range<u64>> {
        let (mut missing, mut next) = (Vec::new(), from);
        for found in self.lsns.iter().chain([&(to.saturating_add(1)..u64::MAX)]) {
            if found.start > next {
                missing.push(next..found.start.min(to.saturating_add(1)));
            }
            next = next.max(found.end);
            if next > to {
                break;
            }
        }
        missing.retain(|range| !range.is_empty());
        missing
    }

    /// The last LSN found; 0 if there is none.
    pub fn last_lsn(&self) -> u64 {
        self.lsns.last().map_or(0, |range| range.end - 1)
    }

    fn note(&mut self, lsns: Range<u64>) {
        match self.lsns.last_mut() {
            Some(last) if last.end == lsns.start => last.end = lsns.end,
            _ => self.lsns.push(lsns),
        }
    }
}

/// The store that the headers of the log's files say they belong to: what the first whole one says.
///
/// # Errors
/// Of the disk.
pub fn uuid_of(disk: &dyn Disk) -> Result<Option<[u8; 16]>> {
    for no in numbers(disk)? {
        if let Ok(file) = disk.open(&names::wal(no))
            && let Ok(Head::Whole(header, _)) = read::head(&file)
        {
            return Ok(Some(header.uuid));
        }
    }
    Ok(None)
}

fn numbers(disk: &dyn Disk) -> Result<Vec<u64>> {
    let listed = match disk.list(names::WAL_DIR) {
        Err(error) if error.is_not_found() => Vec::new(),
        listed => listed?,
    };
    let mut numbers: Vec<u64> = listed.iter().filter_map(|name| names::parse_wal(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Calls `f` for every record of every group that is whole, in the order of their LSNs, without changing anything. `uuid`
/// is the store's, if it is known: files of others are left out.
///
/// # Errors
/// Those of `f`; what cannot be read is damage.
pub fn salvage<E: From<Error>>(
    disk: &dyn Disk,
    uuid: Option<[u8; 16]>,
    mut f: impl FnMut(Record<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<Salvaged, E> {
    let mut found = Salvaged::default();
    let mut files: Vec<(u64, Arc<dyn DiskFile>, Option<FileHeader>)> = Vec::new();
    for no in numbers(disk)? {
        let name = names::wal(no);
        let head = disk.open(&name).and_then(|file| Ok((read::head(&file)?, file)));
        match head {
            Ok((Head::Whole(header, _), _)) if uuid.is_some_and(|uuid| uuid != header.uuid) || header.no != no => {
                found.damage.push((name, 16, "it belongs to another store, or to another place in the log".into()));
            }
            Ok((Head::Whole(header, _), file)) => files.push((no, file, Some(header))),
            Ok((Head::Torn, file)) => {
                // One that was never finished is as it should be.
                if matches!(read::any_group(&file, no), Ok(Some(_))) {
                    found.damage.push((name, 0, "the file header is damaged".into()));
                    files.push((no, file, None));
                }
            }
            Ok((Head::Other(version), _)) => {
                found.damage.push((name, 8, format!("format version {version}, which this build does not read")));
            }
            Err(error) => found.damage.push((name, 0, error.to_string())),
        }
    }
    found.files = files.len() as u64;
    for (at, (no, file, header)) in files.iter().enumerate() {
        // Where the next file continues, this one ends, whatever an unfinished write left behind.
        let continued = files[at + 1..].iter().filter_map(|(.., header)| header.as_ref());
        let end = continued.filter(|next| next.prev_file == *no).map(|next| next.prev_end).next();
        let mut window = match Window::open(Arc::clone(file)) {
            Ok(window) => window,
            Err(error) => {
                found.damage.push((names::wal(*no), 0, error.to_string()));
                continue;
            }
        };
        let salt = header.as_ref().map(|header| header.salt);
        walk(&mut window, *no, salt, end.unwrap_or(u64::MAX), &mut found, &mut f)?;
    }
    Ok(found)
}

fn walk<E: From<Error>>(
    window: &mut Window,
    no: u64,
    mut salt: Option<u32>,
    end: u64,
    found: &mut Salvaged,
    f: &mut impl FnMut(Record<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let (name, mut at) = (names::wal(no), FILE_HEADER as u64);
    while at < end {
        let least = found.lsns.last().map_or(0, |range| range.end);
        let known = salt;
        let fits = |group: &GroupHeader| {
            group.file_no == no && known.is_none_or(|salt| group.salt == salt) && group.first_lsn >= least
        };
        let mut here = window.group(at, fits)?.map(|header| (at, header));
        if here.is_none() {
            here = window.find(at, fits)?;
        }
        let Some((start, header)) = here.filter(|(start, _)| *start < end) else {
            return Ok(());
        };
        if start != at && start != align_up(at) {
            found.damage.push((name.clone(), at, format!("nothing can be read from here up to byte {start}")));
        }
        let Some(group) = window.body(start, &header)? else { return Ok(()) };
        salt = salt.or(Some(header.salt));
        at = start + (GROUP_HEADER + header.len as usize) as u64;
        let last = header.first_lsn.checked_add(header.records.into()).filter(|_| group.adds_up());
        let Some(lsns) = last.map(|last| header.first_lsn..last) else {
            let what = format!("{} bytes do not hold the {} records they should", header.len, header.records);
            found.damage.push((name.clone(), start, what));
            continue;
        };
        let mut records = group.records().zip(lsns.start..).peekable();
        while let Some(((offset, record), lsn)) = records.next() {
            let ends_group = records.peek().is_none();
            let (kind, flags, body) = (record.kind, record.flags, record.body);
            f(Record { lsn, kind, flags, body, ends_group, file: &name, offset })?;
        }
        if !lsns.is_empty() {
            found.note(lsns);
        }
    }
    Ok(())
}
