//! Some files of another disk as they were at one moment, while a writer in another process goes on.
//!
//! A file that changes in place is copied into memory. One whose bytes in use stay as they are is read, and mapped, where
//! it is. One of which only the beginning changes is both; what is read from the rest of it counts only if the writer
//! still keeps it, which the [`Session`] tells. Nothing is ever written to the disk.

use crate::disk::{Disk, DiskFile, DiskLock, OsFile, anonymous_file};
use crate::error::{Error, Result};
use crate::map::{Map, Mapping};
use crate::seats::Session;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes copied at once.
const BLOCK: usize = 1 << 20;

/// A disk that cannot be written to: files are added while it is made.
#[derive(Debug, Default)]
pub struct Snapshot {
    files: BTreeMap<String, Arc<dyn DiskFile>>,
    /// Those that there are without files in them.
    directories: Vec<String>,
}

impl Snapshot {
    /// Without files, and with directories that may stay empty.
    pub fn new(directories: &[&str]) -> Self {
        Self { files: BTreeMap::new(), directories: directories.iter().map(|&dir| dir.to_owned()).collect() }
    }

    /// Adds a file as it is now, and gives it back. What is written to it stays in memory.
    ///
    /// # Errors
    /// Of the disk; if the system gives no memory.
    pub fn copy(&mut self, path: &str, file: &dyn DiskFile) -> Result<Arc<dyn DiskFile>> {
        let copy = OsFile::new(anonymous_file().map_err(|error| Error::io("copy", path, error))?, path);
        let length = file.len()?;
        copy.extend(length)?;
        let mut block = vec![0; length.min(BLOCK as u64) as usize];
        let mut at = 0;
        while at < length {
            let bytes = &mut block[..(length - at).min(BLOCK as u64) as usize];
            file.read_at(at, bytes)?;
            // What was never written to takes no memory.
            if bytes.iter().any(|&byte| byte != 0) {
                copy.write_at(at, bytes)?;
            }
            at += bytes.len() as u64;
        }
        let copy: Arc<dyn DiskFile> = Arc::new(copy);
        self.files.insert(path.to_owned(), copy.clone());
        Ok(copy)
    }

    /// Adds a file, whose bytes in use stay as they are.
    pub fn share(&mut self, path: &str, file: Arc<dyn DiskFile>) {
        self.files.insert(path.to_owned(), Arc::new(Below { file, view: None }));
    }

    /// Adds a file whose first bytes are to be `head`, and whose others are to be read for as long as the session lasts.
    ///
    /// # Errors
    /// Of the disk.
    pub fn view(&mut self, path: &str, file: Arc<dyn DiskFile>, head: Vec<u8>, session: Session) -> Result<()> {
        let view = Some(View { head, length: file.len()?, session });
        self.files.insert(path.to_owned(), Arc::new(Below { file, view }));
        Ok(())
    }
}

fn refused<T>(path: &str) -> Result<T> {
    Err(Error::ReadOnly { path: path.to_owned() })
}

fn missing(op: &'static str, path: &str) -> Error {
    Error::io(op, path, io::ErrorKind::NotFound.into())
}

impl Disk for Snapshot {
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        refused(path)
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        self.files.get(path).cloned().ok_or_else(|| missing("open", path))
    }

    fn rename(&self, from: &str, _: &str) -> Result<()> {
        refused(from)
    }

    fn remove(&self, path: &str) -> Result<()> {
        if self.files.contains_key(path) { refused(path) } else { Err(missing("remove", path)) }
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        let below = |path: &str| match dir {
            "" => Some(path.split('/').next().unwrap_or(path).to_owned()),
            _ => path.strip_prefix(dir)?.strip_prefix('/')?.split('/').next().map(str::to_owned),
        };
        let paths = self.files.keys().chain(&self.directories);
        let mut found: Vec<String> = paths.filter_map(|path| below(path)).collect();
        found.sort_unstable();
        found.dedup();
        if found.is_empty() && !dir.is_empty() && !self.directories.iter().any(|known| known == dir) {
            return Err(missing("list", dir));
        }
        Ok(found)
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        refused(path)
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        refused(path)
    }

    fn sync_dir(&self, _: &str) -> Result<()> {
        Ok(())
    }

    /// Whoever reads needs no lock; a writer does not come here.
    fn lock(&self, path: &str, _: &str) -> Result<Box<dyn DiskLock>> {
        refused(path)
    }
}

/// A file of the disk, which is not written to.
#[derive(Debug)]
struct Below {
    file: Arc<dyn DiskFile>,
    view: Option<View>,
}

/// What is known of a file whose beginning changes.
#[derive(Debug)]
struct View {
    /// The beginning as it was.
    head: Vec<u8>,
    length: u64,
    /// How long the rest is kept.
    session: Session,
}

impl DiskFile for Below {
    fn path(&self) -> &str {
        self.file.path()
    }

    fn len(&self) -> Result<u64> {
        self.view.as_ref().map_or_else(|| self.file.len(), |view| Ok(view.length))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let Some(View { head, length, session }) = &self.view else { return self.file.read_at(offset, buf) };
        if offset.saturating_add(buf.len() as u64) > *length {
            return Err(Error::io("read", self.path(), io::ErrorKind::UnexpectedEof.into()));
        }
        let head = head.get(offset as usize..).unwrap_or_default();
        let (from_head, rest) = buf.split_at_mut(head.len().min(buf.len()));
        from_head.copy_from_slice(&head[..from_head.len()]);
        if rest.is_empty() {
            return Ok(());
        }
        let read = self.file.read_at(offset + from_head.len() as u64, rest);
        // Asked afterwards: a writer says so before it changes anything.
        session.check(self.path())?;
        read
    }

    fn write_at(&self, _: u64, _: &[u8]) -> Result<()> {
        refused(self.path())
    }

    /// There is room for all that is in use; who asks for more room ahead goes without.
    fn allocate(&self, len: u64) -> Result<()> {
        if self.view.as_ref().is_some_and(|view| len > view.length) { refused(self.path()) } else { Ok(()) }
    }

    fn set_len(&self, _: u64) -> Result<()> {
        refused(self.path())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn evict(&self) -> Result<()> {
        self.file.evict()
    }

    fn read_cached(&self, offset: u64, buf: &mut [u8]) -> Result<Option<bool>> {
        match self.view {
            None => self.file.read_cached(offset, buf),
            Some(_) => self.read_at(offset, buf).map(|()| Some(true)),
        }
    }

    fn request(&self, offset: u64, len: u64) {
        self.file.request(offset, len);
    }

    fn expect_random(&self) {
        self.file.expect_random();
    }

    fn map(&self, offset: u64, len: usize, mapping: Mapping) -> Result<Map> {
        match self.view {
            None => self.file.map(offset, len, mapping),
            // What it shows could not be checked.
            Some(_) => Err(Error::io("map", self.path(), io::ErrorKind::Unsupported.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    #[test]
    fn copies_stay_and_the_rest_is_seen_while_the_session_lasts() {
        let below: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let file = below.create("a").unwrap();
        file.write_at(0, b"0123456789").unwrap();
        let session = Session::now(&*below).unwrap();
        let mut snapshot = Snapshot::new(&["empty"]);
        snapshot.copy("copied", &*file).unwrap();
        snapshot.share("dir/shared", file.clone());
        snapshot.view("viewed", file.clone(), b"01234".to_vec(), session).unwrap();
        file.write_at(0, b"abcdefghijkl").unwrap();
        let read = |path: &str, at: u64, len: usize| {
            let mut bytes = vec![0; len];
            snapshot.open(path).unwrap().read_at(at, &mut bytes).map(|()| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(read("copied", 0, 10).unwrap(), "0123456789");
        assert_eq!(read("dir/shared", 0, 10).unwrap(), "abcdefghij");
        assert_eq!(
            (read("viewed", 0, 10).unwrap(), read("viewed", 1, 3).unwrap()),
            ("01234fghij".into(), "123".into())
        );
        assert_eq!((read("viewed", 3, 4).unwrap(), read("viewed", 6, 4).unwrap()), ("34fg".into(), "ghij".into()));
        assert!(read("viewed", 6, 5).is_err(), "behind the end as it was");
        Session::end(&*below).unwrap();
        assert!(matches!(read("viewed", 3, 4), Err(Error::Stale { .. })));
        assert_eq!(read("viewed", 0, 5).unwrap(), "01234");
        assert_eq!(snapshot.list("").unwrap(), ["copied", "dir", "empty", "viewed"]);
        assert_eq!((snapshot.list("dir").unwrap(), snapshot.list("empty").unwrap()), (vec!["shared".into()], vec![]));
        assert!(snapshot.list("other").unwrap_err().is_not_found());
        assert!(matches!(snapshot.create("x"), Err(Error::ReadOnly { .. })));
        assert!(matches!(snapshot.remove("copied"), Err(Error::ReadOnly { .. })));
        assert!(snapshot.open("dir").unwrap_err().is_not_found());
        for path in ["dir/shared", "viewed"] {
            let file = snapshot.open(path).unwrap();
            assert!(matches!(file.write_at(0, b"x"), Err(Error::ReadOnly { .. })));
        }
    }
}
