//! The storage seam: every byte that can reach the disk passes through these calls.
//!
//! Paths are relative to the store's directory, with `/` between parts (see [`crate::names`]), so nothing
//! outside of it is ever touched. [`OsDisk`] is the real file system, [`MemDisk`] lives in memory, and
//! `SimDisk` (feature `sim`) is a disk that can crash at any call.

use crate::error::{Error, Result};
use crate::map::{Map, Mapping};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

mod mem;
mod os;
#[cfg(feature = "sim")]
mod sim;

pub use mem::MemDisk;
pub(crate) use mem::anonymous_file;
pub use os::OsDisk;
pub(crate) use os::OsFile;
#[cfg(feature = "sim")]
pub use sim::{CrashMode, SimDisk};

/// A directory tree that a store lives in.
///
/// Durability: a file's content is durable once [`DiskFile::sync`] returned; its *name* is durable once
/// [`Disk::sync_dir`] of its directory returned after the call that made, renamed or removed it.
pub trait Disk: Send + Sync + Debug + 'static {
    /// Makes a new, empty file, private to the user, open for reading and writing.
    ///
    /// # Errors
    /// If the name exists already.
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>>;

    /// Opens an existing regular file for reading and writing. Links, directories and devices are refused.
    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>>;

    /// Renames a file, replacing the target if it exists.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a file.
    fn remove(&self, path: &str) -> Result<()>;

    /// The names in a directory (`""` is the store's own), sorted, without `.` and `..`.
    fn list(&self, dir: &str) -> Result<Vec<String>>;

    /// Makes a directory, private to the user. An existing one is fine.
    fn create_dir(&self, path: &str) -> Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &str) -> Result<()>;

    /// Makes the directory's entries durable.
    fn sync_dir(&self, dir: &str) -> Result<()>;

    /// Locks `path` (made if missing, never removed) until the guard is dropped, and writes `holder` into it. A file of a
    /// real file system is empty again afterwards, unless the process was killed.
    ///
    /// # Errors
    /// [`Error::Locked`] with the present holder's text.
    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn DiskLock>>;

    /// Locks `path` against [`lock`](Self::lock), and writes nothing, until the guard is dropped: for disks that cannot be
    /// written to.
    ///
    /// # Errors
    /// [`Error::Locked`]; that there is no such file.
    fn lock_shared(&self, path: &str) -> Result<Box<dyn DiskLock>> {
        Err(Error::ReadOnly { path: path.to_owned() })
    }

    /// Whether what is written outlives the process. A store on a disk that does not needs no log.
    fn is_persistent(&self) -> bool {
        true
    }
}

/// Keeps a [`Disk::lock`] until dropped.
pub trait DiskLock: Send + Sync + Debug {}

/// An open file. All calls may be made from several threads at once.
pub trait DiskFile: Send + Sync + Debug + 'static {
    /// Its path, for messages.
    fn path(&self) -> &str;

    /// Length in bytes.
    fn len(&self) -> Result<u64>;

    /// Whether the file holds no byte.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` from `offset`. Retries short reads and interrupts.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file where needed. Retries short writes and interrupts.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Grows the file to at least `len` bytes of zeros and reserves the space, so that later writes below `len` do
    /// not run out of it. Never shrinks.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; the file keeps its length then.
    fn allocate(&self, len: u64) -> Result<()>;

    /// Sets the length, growing with zeros or cutting. Never on a mapped file with a smaller length.
    fn set_len(&self, len: u64) -> Result<()>;

    /// Makes content and length durable.
    ///
    /// # Errors
    /// After one failure nothing is known about what reached the disk, and a second call proves nothing.
    fn sync(&self) -> Result<()>;

    /// Drops cached clean pages, so that the next read tells what the disk holds.
    fn evict(&self) -> Result<()>;

    /// As [`read_at`](Self::read_at) if that takes no look at the disk. Says whether it did, or `None` if the system does
    /// not tell; if not, `buf` holds anything.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn read_cached(&self, offset: u64, buf: &mut [u8]) -> Result<Option<bool>> {
        self.read_at(offset, buf).map(|()| Some(true))
    }

    /// Asks for bytes that will soon be read, and does not wait for them. A refusal costs speed only.
    fn request(&self, _offset: u64, _len: u64) {}

    /// Says that reads will be here and there, so that nothing around them is worth reading.
    fn expect_random(&self) {}

    /// Maps `len` bytes from `offset` (a multiple of 4096). The range may lie beyond the end of the file; it may be
    /// touched once the file has grown over it.
    ///
    /// A [`Mapping::Shared`] map is read-only and shows what [`write_at`](Self::write_at) wrote; a
    /// [`Mapping::Private`] map is writable and its changes never reach the file.
    fn map(&self, offset: u64, len: usize, mapping: Mapping) -> Result<Map>;
}

/// Bytes looked at together by [`nonzero`].
const BLOCK: usize = 256 << 10;

/// The first byte of a range that is not zero, and how many are not; what lies behind the end of the file does not count.
///
/// # Errors
/// Of the disk.
pub fn nonzero(file: &dyn DiskFile, range: Range<u64>) -> Result<Option<(u64, u64)>> {
    let end = range.end.min(file.len()?);
    let (mut at, mut found) = (range.start, None);
    let mut block = vec![0; end.saturating_sub(at).min(BLOCK as u64) as usize];
    while at < end {
        let bytes = &mut block[..(end - at).min(BLOCK as u64) as usize];
        file.read_at(at, bytes)?;
        let odd = bytes.iter().filter(|&&byte| byte != 0).count() as u64;
        if odd > 0 {
            let first = at + bytes.iter().position(|&byte| byte != 0).unwrap_or(0) as u64;
            found = Some(found.map_or((first, odd), |(first, before)| (first, before + odd)));
        }
        at += bytes.len() as u64;
    }
    Ok(found)
}
