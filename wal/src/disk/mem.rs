//! A disk in memory, for stores that end with the process.

use super::os::{OsFile, check_map, check_path, holder_text};
use super::{Disk, DiskFile, DiskLock};
use crate::error::{Error, Result};
use crate::map::{Map, Mapping};
use crate::names;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A directory tree of nameless files. Gone when the last handle is.
#[derive(Debug, Default)]
pub struct MemDisk {
    tree: Mutex<Tree<Arc<MemFile>>>,
    locks: Arc<Locks>,
}

impl MemDisk {
    /// An empty disk.
    pub fn new() -> MemDisk {
        MemDisk::default()
    }
}

impl Disk for MemDisk {
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        let mut tree = self.tree.lock();
        let new = || Ok(Arc::new(MemFile { file: OsFile::new(anonymous_file()?, path) }));
        Ok(tree.create(path, new).map_err(|e| Error::io("create", path, e))?)
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        Ok(self.tree.lock().open(path).map_err(|e| Error::io("open", path, e))?)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.tree.lock().rename(from, to).map(drop).map_err(|e| Error::io("rename", from, e))
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.tree.lock().remove(path).map(drop).map_err(|e| Error::io("remove", path, e))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        self.tree.lock().list(dir).map_err(|e| Error::io("list", dir, e))
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        self.tree.lock().create_dir(path).map(drop).map_err(|e| Error::io("create directory", path, e))
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        self.tree.lock().remove_dir(path).map_err(|e| Error::io("remove directory", path, e))
    }

    fn sync_dir(&self, dir: &str) -> Result<()> {
        self.tree.lock().check_dir(dir).map_err(|e| Error::io("sync directory", dir, e))
    }

    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn DiskLock>> {
        let guard = self.locks.take(path, holder)?;
        let file = match self.create(path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => self.open(path)?,
            result => result?,
        };
        file.set_len(0)?;
        file.write_at(0, holder.as_bytes())?;
        Ok(Box::new(MemLock { file, _guard: guard }))
    }

    fn is_persistent(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct MemFile {
    file: OsFile,
}

impl DiskFile for MemFile {
    fn path(&self) -> &str {
        self.file.path()
    }

    fn len(&self) -> Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        // Reserving would cost the memory at once; pages come when they are touched.
        self.file.extend(len)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn evict(&self) -> Result<()> {
        Ok(())
    }

    /// A private map is plain zeroed memory: nothing is ever written back to a file that lives in memory, so there
    /// is nothing in the file for it to show.
    fn map(&self, offset: u64, len: usize, mapping: Mapping) -> Result<Map> {
        match mapping {
            Mapping::Shared => self.file.map(offset, len, mapping),
            Mapping::Private => {
                check_map(self.path(), offset)?;
                Map::anonymous(len).map_err(|e| Error::io("map", self.path(), e))
            }
        }
    }
}

/// A file without a name, in memory where the system can do that.
pub(crate) fn anonymous_file() -> io::Result<File> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Ok(rustix::fs::memfd_create("lodestore", rustix::fs::MemfdFlags::CLOEXEC)?.into());
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    tempfile::tempfile()
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Entry<T> {
    Dir,
    File(T),
}

/// The names of a disk, by full path. The root, `""`, always exists.
#[derive(Clone, Debug)]
pub(super) struct Tree<T> {
    pub(super) entries: BTreeMap<String, Entry<T>>,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Tree { entries: BTreeMap::new() }
    }
}

impl<T: Clone> Tree<T> {
    /// Adds a file that `new` makes once the name is known to be free.
    pub(super) fn create(&mut self, path: &str, new: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.check_parent(path)?;
        if self.entries.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = new()?;
        self.entries.insert(path.to_owned(), Entry::File(file.clone()));
        Ok(file)
    }

    pub(super) fn open(&self, path: &str) -> io::Result<T> {
        self.check_parent(path)?;
        match self.entries.get(path) {
            Some(Entry::File(file)) => Ok(file.clone()),
            Some(Entry::Dir) => Err(is_dir()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The file renamed and the one it replaced.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<(T, Option<T>)> {
        let file = self.open(from)?;
        self.check_parent(to)?;
        if from == to {
            return Ok((file, None));
        }
        let replaced = match self.entries.get(to) {
            Some(Entry::Dir) => return Err(is_dir()),
            Some(Entry::File(old)) => Some(old.clone()),
            None => None,
        };
        self.entries.remove(from);
        self.entries.insert(to.to_owned(), Entry::File(file.clone()));
        Ok((file, replaced))
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<T> {
        let file = self.open(path)?;
        self.entries.remove(path);
        Ok(file)
    }

    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.check_dir(dir)?;
        // Sorted by full path, and the paths of one directory differ in the last part only.
        let here = self.entries.keys().filter(|path| names::parent(path) == dir);
        Ok(here.map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()).collect())
    }

    /// Whether the directory is new.
    pub(super) fn create_dir(&mut self, path: &str) -> io::Result<bool> {
        self.check_parent(path)?;
        match self.entries.get(path) {
            Some(Entry::Dir) => Ok(false),
            Some(Entry::File(_)) => Err(not_a_dir()),
            None => {
                self.entries.insert(path.to_owned(), Entry::Dir);
                Ok(true)
            }
        }
    }

    pub(super) fn remove_dir(&mut self, path: &str) -> io::Result<()> {
        if path.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.check_dir(path)?;
        if self.entries.keys().any(|other| names::parent(other) == path) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.entries.remove(path);
        Ok(())
    }

    pub(super) fn check_dir(&self, dir: &str) -> io::Result<()> {
        if dir.is_empty() {
            return Ok(());
        }
        self.check_parent(dir)?;
        match self.entries.get(dir) {
            Some(Entry::Dir) => Ok(()),
            Some(Entry::File(_)) => Err(not_a_dir()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn check_parent(&self, path: &str) -> io::Result<()> {
        check_path(path)?;
        self.check_dir(names::parent(path))
    }
}

fn is_dir() -> io::Error {
    io::Error::new(io::ErrorKind::IsADirectory, "a directory, not a regular file")
}

fn not_a_dir() -> io::Error {
    io::Error::new(io::ErrorKind::NotADirectory, "a regular file, not a directory")
}

/// The locks of a disk that only this process can see.
#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<BTreeMap<String, String>>);

impl Locks {
    pub(super) fn take(self: &Arc<Self>, path: &str, holder: &str) -> Result<LocksGuard> {
        let mut held = self.0.lock();
        if let Some(holder) = held.get(path) {
            return Err(Error::Locked { path: PathBuf::from(path), holder: holder_text(holder.as_bytes()) });
        }
        held.insert(path.to_owned(), holder.to_owned());
        Ok(LocksGuard { locks: Arc::clone(self), path: path.to_owned() })
    }
}

#[derive(Debug)]
pub(super) struct LocksGuard {
    locks: Arc<Locks>,
    path: String,
}

#[derive(Debug)]
struct MemLock {
    file: Arc<dyn DiskFile>,
    _guard: LocksGuard,
}

impl DiskLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        // As on the real disk.
        let _ = self.file.set_len(0);
    }
}

impl Drop for LocksGuard {
    fn drop(&mut self) {
        self.locks.0.lock().remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::os::suite::disk_suite;
    use super::*;

    fn with_disk(test: impl FnOnce(&dyn Disk)) {
        test(&MemDisk::new());
    }

    disk_suite!(with_disk);

    #[test]
    fn nothing_outlives_the_process() {
        assert!(!MemDisk::new().is_persistent());
    }

    #[test]
    fn growing_takes_no_memory() {
        let file = MemDisk::new().create("a").unwrap();
        file.allocate(1 << 40).unwrap();
        assert_eq!(file.len().unwrap(), 1 << 40);
        assert!(!file.map(0, 1 << 40, Mapping::Private).unwrap().is_empty());
    }
}
