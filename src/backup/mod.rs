//! Backups: a store as it was at one moment, in another directory, while the store is in use.
//!
//! A directory holds any number of backups of one store. Each has what it takes to restore it: its own blocks, and the
//! names of those that earlier ones have. So a backup writes what has changed since the last one, and every one can be
//! restored by itself.

mod format;
mod read;
mod write;

use crate::error::Result;
use crate::observe::{self, Work};
use crate::shared::Shared;
use lodestore_wal::{Disk, OsDisk, names};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use read::Backups;

/// Whether a file of a store is in its backups. The catalogue's rows are, under the name of its file.
fn is_kept(name: &str) -> bool {
    let of_collection = || names::parse_part(name).is_some() || names::parse_recall(name).is_some();
    name == names::HEADS || name == names::CATALOG || of_collection()
}

/// A backup to be set up and [run](Self::run): see [`Store::backup`](crate::Store::backup).
#[must_use = "nothing is backed up until it is run"]
pub struct Backup<'a> {
    shared: &'a Shared,
    to: PathBuf,
    progress: Box<write::Progress<'a>>,
}

impl fmt::Debug for Backup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup").field("to", &self.to).finish_non_exhaustive()
    }
}

/// What a backup consists of. See [`Store::backup`](crate::Store::backup).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// Its number, one more than the last one's in that directory.
    pub number: u64,
    /// It holds the writes up to this record of the log.
    pub lsn: u64,
    /// Whether there was an earlier one to build on.
    pub incremental: bool,
    /// Bytes of the files and rows in it.
    pub bytes: u64,
    /// Bytes written for it.
    pub written: u64,
}

/// A backup that is there. See [`Backups::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupInfo {
    /// Its number.
    pub number: u64,
    /// It holds the writes up to this record of the log.
    pub lsn: u64,
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// Bytes of the files and rows in it.
    pub bytes: u64,
}

impl<'a> Backup<'a> {
    pub(crate) fn new(shared: &'a Shared, to: &Path) -> Self {
        Self { shared, to: to.to_owned(), progress: Box::new(|_, _| true) }
    }

    /// Calls `progress` now and then with the bytes of files looked at and those there are. If it answers no, the backup ends with
    /// [`Error::Cancelled`](crate::Error::Cancelled), and nothing of it is left.
    pub fn progress(mut self, progress: impl FnMut(u64, u64) -> bool + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Makes the backup.
    ///
    /// # Errors
    /// [`Error::OtherBackup`](crate::Error::OtherBackup) if the directory holds backups of another store,
    /// [`Error::Locked`](crate::Error::Locked) if another is being made there, [`Error::Corrupt`](crate::Error::Corrupt)
    /// if a row of the catalogue is damaged or the disk does not give back what was written, and of the disk. Earlier
    /// backups are as they were then, and so is the store. If the very last step failed, in which the backup gets its
    /// name, it may be there all the same, whole: [`Backups::list`] tells.
    pub fn run(self) -> Result<BackupReport> {
        self.shared.check_writes()?;
        let to = OsDisk::create_root(&self.to)?;
        self.run_on(Arc::new(to))
    }

    /// As [`run`](Self::run), into any [`Disk`](crate::disk::Disk) instead of the directory given.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_on(mut self, to: Arc<dyn Disk>) -> Result<BackupReport> {
        let _work = observe::begin(Work::Backup, &self.shared.path);
        write::write(self.shared, (to, &self.to), &mut *self.progress)
    }
}
