//! What can go wrong below the store, said with the numbers.

use std::io;
use std::path::PathBuf;

/// Result of a call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the disk or the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call to the file system failed.
    #[error("{op} {path}: {source}")]
    Io {
        /// What was tried: `"open"`, `"write"`, `"sync"`, …
        op: &'static str,
        /// The file, relative to the store's directory unless it lies outside.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file's content is not what was written there.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Corrupt {
        /// The file, relative to the store's directory.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// Expected and found.
        what: String,
    },
    /// A collection is compared by a metric that only another program knows.
    #[error("{file}: the collection is compared by '{metric}', which this program has not registered")]
    Unregistered {
        /// The file that names it.
        file: String,
        /// The metric.
        metric: String,
    },
    /// Another handle, in this process or another, has the store open for writing.
    #[error("{path} is open elsewhere ({holder}); close it there first")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote about itself: process id, host, since when.
        holder: String,
    },
    /// The disk has no room for what is to be written. Nothing was changed.
    #[error("no space left on the disk for {needed} more bytes of {path}; free some and try again")]
    NoSpace {
        /// The file that was to grow.
        path: String,
        /// By how many bytes.
        needed: u64,
    },
    /// An earlier write or sync failed; what reached the disk is unknown, so nothing more is written.
    #[error("writing stopped after an earlier failure ({first}); reads still work, reopen the store to write again")]
    Poisoned {
        /// The failure that caused it.
        first: String,
    },
    /// A record or batch is larger than one log group can hold.
    #[error("{got} bytes in one log group; the limit is {limit}: split the batch")]
    TooLarge {
        /// Bytes asked for.
        got: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Something was to be written where only reading is possible.
    #[error("{path} was opened for reading only")]
    ReadOnly {
        /// The file.
        path: String,
    },
    /// A writer has changed what a reader in another process still looks at.
    #[error("{path} is not what it was any more: another writer has opened the store since")]
    Stale {
        /// The file.
        path: String,
    },
    /// As many readers as there are seats for.
    #[error("{seats} processes read {path} already, which is the limit")]
    NoSeat {
        /// How many there can be.
        seats: usize,
        /// The directory of their seats.
        path: String,
    },
    /// A file of a newer format.
    #[error("{file} has format version {found}; this build reads up to {supported}: use a newer lodestore")]
    FormatTooNew {
        /// The file.
        file: String,
        /// Its major version.
        found: u16,
        /// The newest this build understands.
        supported: u16,
    },
}

impl Error {
    /// Wraps an I/O error; running out of space becomes [`Error::NoSpace`].
    pub fn io(op: &'static str, path: impl Into<String>, source: io::Error) -> Self {
        Error::Io { op, path: path.into(), source }
    }

    /// A [`Error::Corrupt`].
    pub fn corrupt(file: impl Into<String>, offset: u64, what: impl Into<String>) -> Self {
        Error::Corrupt { file: file.into(), offset, what: what.into() }
    }

    /// Whether this says that a file or directory does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether this says that the disk is full.
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::NoSpace { .. } => true,
            Error::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}
