//! The files of a log: making the next one, forgetting old ones.

use super::format::FileHeader;
use super::space::Space;
use crate::disk::Disk;
use crate::error::Result;
use crate::mutant::{self, Mutant};
use crate::names;
use std::hash::{BuildHasher, RandomState};

/// A log file whose header is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) no: u64,
    pub(super) first_lsn: u64,
    pub(super) len: u64,
}

/// Every file of the log, oldest first; records go to the last.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) entries: Vec<Entry>,
    /// The number of the next file made.
    pub(super) next_no: u64,
}

impl Files {
    /// The number for a new file, never given out again.
    pub(super) fn reserve_no(&mut self) -> u64 {
        let no = self.next_no;
        self.next_no = self.next_no.saturating_add(1);
        no
    }

    /// Records go to file `no` from now on.
    pub(super) fn push(&mut self, no: u64, first_lsn: u64) {
        self.entries.push(Entry { no, first_lsn, len: 0 });
    }

    /// Removes every file but the last whose records all have an LSN up to `lsn`.
    pub(super) fn remove_through(&mut self, disk: &dyn Disk, lsn: u64) -> Result<()> {
        while let [oldest, next, ..] = self.entries[..] {
            if next.first_lsn > lsn.saturating_add(1) {
                break;
            }
            let removed = disk.remove(&names::wal(oldest.no));
            if !removed.as_ref().is_err_and(|error| error.is_not_found()) {
                removed?;
            }
            self.entries.remove(0);
        }
        Ok(())
    }
}

/// Makes an empty file with some room. Part of the log only once [`begin`] gave it a header, so a failure here
/// leaves the log as it was.
pub(super) fn prepare(disk: &dyn Disk, no: u64) -> Result<Space> {
    let name = names::wal(no);
    let file = disk.create(&name)?;
    Space::new(file).inspect_err(|_| {
        // Left behind it would be taken for a torn file and ignored, so failing here changes nothing.
        let _ = disk.remove(&name);
    })
}

/// Gives a prepared file its header, durable on return. From the first byte on, a failure leaves it open whether
/// the file is part of the log: the caller must not write on elsewhere. Returns the header's checksum.
pub(super) fn begin(disk: &dyn Disk, space: &Space, header: &FileHeader) -> Result<u32> {
    let (bytes, crc) = header.encode();
    space.file().write_at(0, &bytes)?;
    space.file().sync()?;
    mutant::unless(Mutant::LogNameUnsynced, || disk.sync_dir(names::WAL_DIR))?;
    Ok(crc)
}

/// A salt for a new file: groups that an earlier life of a disk block left behind do not have it.
pub(super) fn salt(uuid: &[u8; 16], no: u64, first_lsn: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(uuid);
    hasher.update(&no.to_le_bytes());
    hasher.update(&first_lsn.to_le_bytes());
    hasher.update(&nonce(no).to_le_bytes());
    hasher.finalize()
}

#[cfg(any(test, feature = "sim"))]
static FIXED_NONCE: std::sync::OnceLock<u64> = std::sync::OnceLock::new();

/// Makes the salts of this process's log files the same in every run, for tests that compare traces.
#[cfg(any(test, feature = "sim"))]
pub fn fix_salt(nonce: u64) {
    let _ = FIXED_NONCE.set(nonce);
}

fn nonce(no: u64) -> u64 {
    #[cfg(any(test, feature = "sim"))]
    if let Some(nonce) = FIXED_NONCE.get() {
        return *nonce;
    }
    RandomState::new().hash_one(no)
}
