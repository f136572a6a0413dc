//! The real file system.

use super::{Disk, DiskFile, DiskLock};
use crate::error::{Error, Result};
use crate::map::{Map, Mapping, PAGE};
use parking_lot::RwLock;
use rustix::fs::OFlags;
use std::fs::{DirBuilder, File, FileType, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Nobody but the user reads or writes a store's files.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// How much of a lock file is read for a message. Anybody may have written it.
const HOLDER_MAX: usize = 512;

/// A store's directory on the real file system.
#[derive(Debug)]
pub struct OsDisk {
    root: PathBuf,
    /// Whether files that are there are opened for writing, too.
    writes: bool,
}

impl OsDisk {
    /// The disk below the existing directory `root`.
    ///
    /// # Errors
    /// If `root` does not exist or is no directory.
    pub fn new(root: impl AsRef<Path>) -> Result<OsDisk> {
        let given = root.as_ref();
        let shown = || given.display().to_string();
        let root = given.canonicalize().map_err(|e| Error::io("open", shown(), e))?;
        let kind = root.metadata().map_err(|e| Error::io("open", shown(), e))?.file_type();
        if !kind.is_dir() {
            let what = format!("{}, not a directory", kind_name(kind));
            return Err(Error::io("open", shown(), io::Error::new(io::ErrorKind::NotADirectory, what)));
        }
        Ok(OsDisk { root, writes: true })
    }

    /// As [`new`](Self::new); files that are there are opened for reading only, so nobody needs to be allowed more.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn read_only(root: impl AsRef<Path>) -> Result<OsDisk> {
        Ok(OsDisk { writes: false, ..Self::new(root)? })
    }

    /// As [`new`](Self::new), but makes the directory first if it is missing. Its parent must exist.
    pub fn create_root(path: impl AsRef<Path>) -> Result<OsDisk> {
        let path = path.as_ref();
        let made = match DirBuilder::new().mode(DIR_MODE).create(path) {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            Err(e) => return Err(Error::io("create directory", path.display().to_string(), e)),
        };
        let disk = Self::new(path)?;
        // Also for a directory found there: whoever made it may have died before this sync.
        if let Some(parent) = disk.root.parent() {
            match sync_directory(parent) {
                // An old directory may well lie in one that this user cannot read.
                Err(e) if !made && e.kind() == io::ErrorKind::PermissionDenied => {}
                result => result.map_err(|e| Error::io("sync directory", parent.display().to_string(), e))?,
            }
        }
        Ok(disk)
    }

    /// The store's directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The full path of a file. No directory on the way may be a link, or the file could lie outside of the store.
    fn file(&self, op: &'static str, path: &str) -> Result<PathBuf> {
        check_path(path).map_err(|e| Error::io(op, path, e))?;
        Ok(match path.rsplit_once('/') {
            Some((dir, name)) => self.dir(op, dir)?.join(name),
            None => self.root.join(path),
        })
    }

    /// What the superuser makes in somebody's store is to be theirs, or they could not open it any more.
    fn hand_over(&self, made: &Path) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        if let Ok(root) = self.root.metadata()
            && root.uid() != 0
        {
            // Refused where the file system knows no owners.
            let _ = std::os::unix::fs::lchown(made, Some(root.uid()), Some(root.gid()));
        }
    }

    /// The full path of a directory.
    fn dir(&self, op: &'static str, dir: &str) -> Result<PathBuf> {
        let mut full = self.root.clone();
        if dir.is_empty() {
            return Ok(full);
        }
        check_path(dir).map_err(|e| Error::io(op, dir, e))?;
        for part in dir.split('/') {
            full.push(part);
            let kind = full.symlink_metadata().map_err(|e| Error::io(op, dir, e))?.file_type();
            if !kind.is_dir() {
                let what = format!("`{part}` is {}, not a directory", kind_name(kind));
                return Err(Error::io(op, dir, io::Error::new(io::ErrorKind::NotADirectory, what)));
            }
        }
        Ok(full)
    }
}

impl Disk for OsDisk {
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        let full = self.file("create", path)?;
        let file = options().create_new(true).open(&full).map_err(|e| failed("create", path, 0, e))?;
        self.hand_over(&full);
        Ok(Arc::new(OsFile::new(file, path)))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        let full = self.file("open", path)?;
        // Asked before opening, because opening a device can already do something.
        let kind = full.symlink_metadata().map_err(|e| Error::io("open", path, e))?.file_type();
        regular(path, kind)?;
        let file = options().write(self.writes).open(full).map_err(|e| Error::io("open", path, e))?;
        // Asked again of the file that was really opened.
        regular(path, file.metadata().map_err(|e| Error::io("open", path, e))?.file_type())?;
        Ok(Arc::new(OsFile::new(file, path)))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (old, new) = (self.file("rename", from)?, self.file("rename", to)?);
        std::fs::rename(old, new).map_err(|e| failed("rename", from, 0, e))
    }

    fn remove(&self, path: &str) -> Result<()> {
        std::fs::remove_file(self.file("remove", path)?).map_err(|e| Error::io("remove", path, e))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        let entries = self.dir("list", dir)?.read_dir().map_err(|e| Error::io("list", dir, e))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Error::io("list", dir, e))?;
            // A store's own names are ASCII; a foreign one is only ever shown.
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        let full = self.file("create directory", path)?;
        match DirBuilder::new().mode(DIR_MODE).create(&full) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.dir("create directory", path).map(drop),
            result => result.map(|()| self.hand_over(&full)).map_err(|e| failed("create directory", path, 0, e)),
        }
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        let full = self.file("remove directory", path)?;
        std::fs::remove_dir(full).map_err(|e| Error::io("remove directory", path, e))
    }

    fn sync_dir(&self, dir: &str) -> Result<()> {
        sync_directory(&self.dir("sync directory", dir)?).map_err(|e| failed("sync directory", dir, 0, e))
    }

    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn DiskLock>> {
        let full = self.file("lock", path)?;
        let new = match full.symlink_metadata() {
            Ok(found) => regular(path, found.file_type()).map(|()| false)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => true,
            Err(e) => return Err(Error::io("lock", path, e)),
        };
        let file = options().create(true).truncate(false).open(&full).map_err(|e| failed("lock", path, 0, e))?;
        if new {
            self.hand_over(&full);
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: full, holder: read_holder(&file) }),
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", path, e)),
        }
        match file.set_len(0).and_then(|()| file.write_all_at(holder.as_bytes(), 0)) {
            // The lock holds without the text; a full disk must not keep its owner from opening the store.
            Err(e) if !is_full(&e) => Err(Error::io("lock", path, e)),
            _ => Ok(Box::new(OsLock { file, process: std::process::id() })),
        }
    }

    fn lock_shared(&self, path: &str) -> Result<Box<dyn DiskLock>> {
        let full = self.file("lock", path)?;
        regular(path, full.symlink_metadata().map_err(|e| Error::io("lock", path, e))?.file_type())?;
        let file = options().write(false).open(&full).map_err(|e| Error::io("lock", path, e))?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Box::new(SharedLock(file))),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: full, holder: read_holder(&file) }),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", path, e)),
        }
    }
}

/// Of one of many; ends with the file.
#[derive(Debug)]
struct SharedLock(File);

impl DiskLock for SharedLock {}

impl Drop for SharedLock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// The lock ends with it, or with the process.
#[derive(Debug)]
struct OsLock {
    file: File,
    process: u32,
}

impl DiskLock for OsLock {}

impl Drop for OsLock {
    fn drop(&mut self) {
        // A forked child has the same open file: it must not take away what says who holds the lock.
        if self.process == std::process::id() {
            // What is left otherwise says who held it last, which harms nobody.
            let _ = self.file.set_len(0);
            // Closing the file is not enough: a process that is just being started has it, too, until it runs its own program.
            let _ = self.file.unlock();
        }
    }
}

/// An open file of the operating system.
#[derive(Debug)]
pub(crate) struct OsFile {
    file: File,
    path: String,
    /// Held for reading by writes and for writing by whoever sets the length, so that a growth that fails half-way
    /// can be undone without cutting off what another thread has just appended.
    length: RwLock<()>,
}

impl OsFile {
    /// `path` is for messages.
    pub(crate) fn new(file: File, path: impl Into<String>) -> OsFile {
        OsFile { file, path: path.into(), length: RwLock::new(()) }
    }

    /// Grows the file to at least `len` bytes without reserving space.
    pub(crate) fn extend(&self, len: u64) -> Result<()> {
        let _alone = self.length.write();
        let now = self.len()?;
        if len <= now {
            return Ok(());
        }
        self.file.set_len(len).map_err(|e| failed("grow", &self.path, len - now, e))
    }
}

impl DiskFile for OsFile {
    fn path(&self) -> &str {
        &self.path
    }

    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|e| Error::io("stat", &self.path, e))?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buf, offset).map_err(|e| Error::io("read", &self.path, e))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let _length = self.length.read();
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            match self.file.write_at(rest, offset + done as u64) {
                Ok(0) => return Err(Error::io("write", &self.path, io::ErrorKind::WriteZero.into())),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed("write", &self.path, rest.len() as u64, e)),
            }
        }
        Ok(())
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn allocate(&self, len: u64) -> Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;

        let alone = self.length.write();
        let now = self.len()?;
        if len <= now {
            return Ok(());
        }
        // From the start, so that holes below the present end are filled too.
        match rustix::io::retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), 0, len)) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                drop(alone);
                self.extend(len)
            }
            Err(e) => {
                // The system may have got part of the way. What it took belongs to the others on a full disk. Should
                // this fail as well, the file stays longer by zeros, and the first error is still the one to tell.
                let _ = self.file.set_len(now);
                Err(failed("allocate", &self.path, len - now, e.into()))
            }
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn allocate(&self, len: u64) -> Result<()> {
        self.extend(len)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let _alone = self.length.write();
        let now = self.len()?;
        self.file.set_len(len).map_err(|e| failed("set length", &self.path, len.saturating_sub(now), e))
    }

    fn sync(&self) -> Result<()> {
        // On macOS only a full sync passes the drive's own cache.
        let result = if cfg!(target_os = "macos") { self.file.sync_all() } else { self.file.sync_data() };
        result.map_err(|e| failed("sync", &self.path, 0, e))
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn evict(&self) -> Result<()> {
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)
            .map_err(|e| Error::io("evict", &self.path, e.into()))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn evict(&self) -> Result<()> {
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn read_cached(&self, offset: u64, buf: &mut [u8]) -> Result<Option<bool>> {
        use rustix::io::{Errno, IoSliceMut, ReadWriteFlags, preadv2};

        let len = buf.len();
        match preadv2(&self.file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(Some(read == len)),
            Err(Errno::AGAIN) => Ok(Some(false)),
            // No file system or kernel that could say so.
            Err(Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
            Err(e) => Err(Error::io("read", &self.path, e.into())),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn read_cached(&self, _offset: u64, _buf: &mut [u8]) -> Result<Option<bool>> {
        Ok(None)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn request(&self, offset: u64, len: u64) {
        let _ = rustix::fs::fadvise(&self.file, offset, std::num::NonZeroU64::new(len), rustix::fs::Advice::WillNeed);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn expect_random(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Random);
    }

    fn map(&self, offset: u64, len: usize, mapping: Mapping) -> Result<Map> {
        check_map(&self.path, offset)?;
        Map::file(&self.file, offset, len, mapping).map_err(|e| Error::io("map", &self.path, e))
    }
}

/// Read and write, private, following no link, and not waiting should the name have become a pipe.
/// The standard library adds close-on-exec.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    options.read(true).write(true).mode(FILE_MODE).custom_flags(flags.bits().cast_signed());
    options
}

/// Refuses a path that could lead out of the store.
pub(super) fn check_path(path: &str) -> io::Result<()> {
    if path.split('/').all(|part| !matches!(part, "" | "." | "..")) {
        return Ok(());
    }
    let what = format!("`{path}` is not a path within the store");
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// Refuses a map that does not start at a page.
pub(super) fn check_map(path: &str, offset: u64) -> Result<()> {
    if offset.is_multiple_of(PAGE as u64) {
        return Ok(());
    }
    let what = format!("offset {offset} is not a multiple of {PAGE}");
    Err(Error::io("map", path, io::Error::new(io::ErrorKind::InvalidInput, what)))
}

/// What a lock file says, made fit for one line of a message.
pub(super) fn holder_text(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect();
    match text.trim() {
        "" => "it does not say by whom".to_owned(),
        text => text.to_owned(),
    }
}

fn read_holder(file: &File) -> String {
    let mut buf = [0; HOLDER_MAX];
    let mut got = 0;
    while got < buf.len() {
        match file.read_at(&mut buf[got..], got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // The text is a courtesy: that the store is locked is known without it.
            Err(_) => break,
        }
    }
    holder_text(&buf[..got])
}

fn regular(path: &str, kind: FileType) -> Result<()> {
    if kind.is_file() {
        return Ok(());
    }
    let error = if kind.is_dir() { io::ErrorKind::IsADirectory } else { io::ErrorKind::InvalidInput };
    let what = format!("{}, not a regular file", kind_name(kind));
    Err(Error::io("open", path, io::Error::new(error, what)))
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_file() => "a regular file",
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a symbolic link",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "an unknown kind of file",
    }
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An I/O error, or [`Error::NoSpace`] if that is what it says.
fn failed(op: &'static str, path: &str, needed: u64, error: io::Error) -> Error {
    if is_full(&error) { Error::NoSpace { path: path.to_owned(), needed } } else { Error::io(op, path, error) }
}

#[cfg(test)]
#[path = "suite.rs"]
pub(super) mod suite;

#[cfg(test)]
mod tests;
