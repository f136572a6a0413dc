//! Reading backups: which there are, whether they are whole, and restoring one.

use super::BackupInfo;
use super::format::{Entry, Listed, Manifest, ZEROS, hash, rows};
use crate::backend::Backend;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use lodestore_engine::{Super, Superblock};
use lodestore_wal::{Disk, DiskFile, Log, OsDisk, Poison, names};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory of backups, made by [`Store::backup`](crate::Store::backup).
///
/// ```
/// let dir = tempfile::tempdir()?;
/// let store = lodestore::Store::open(dir.path().join("store"))?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// docs.put(1, &[1.0, 2.0], b"one")?;
/// let report = store.backup(dir.path().join("backups")).run()?;
/// docs.remove(1)?;
///
/// let backups = lodestore::Backups::open(dir.path().join("backups"))?;
/// assert_eq!(backups.list().len(), 1);
/// backups.restore(report.number, dir.path().join("restored"))?;
/// let restored = lodestore::Store::open(dir.path().join("restored"))?;
/// assert_eq!(restored.stats()?.records, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Backups {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Oldest first.
    whole: Vec<Manifest>,
    /// Those whose own file is damaged.
    damaged: Vec<(u64, String)>,
    /// The highest number that any file has.
    highest: u64,
}

impl Backups {
    /// Looks at the backups in a directory.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::open_on(Arc::new(OsDisk::new(path)?), path)
    }

    /// As [`open`](Self::open), on any [`Disk`]; `path` is for messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(disk: Arc<dyn Disk>, path: impl AsRef<Path>) -> Result<Self> {
        let (mut whole, mut damaged, mut highest) = (Vec::new(), Vec::new(), 0);
        for name in disk.list("")? {
            let number = names::parse_backup(&name).or(names::parse_blocks(&name));
            highest = highest.max(number.unwrap_or(0));
            let Some(number) = names::parse_backup(&name) else { continue };
            match Manifest::open(disk.open(&name)?, number) {
                Ok(manifest) => whole.push(manifest),
                Err(error @ Error::Corrupt { .. }) => damaged.push((number, error.to_string())),
                Err(error) => return Err(error),
            }
        }
        whole.sort_by_key(|manifest| manifest.header.number.get());
        Ok(Self { disk, path: path.as_ref().to_owned(), whole, damaged, highest })
    }

    pub(super) fn last(&self) -> Option<&Manifest> {
        self.whole.last()
    }

    /// The number of the next backup. Removes what is left of those that were not finished.
    pub(super) fn next_number(&self) -> Result<u64> {
        for name in self.disk.list("")? {
            let number = names::parse_blocks(&name);
            let finished = |number: u64| self.whole.iter().any(|manifest| manifest.header.number.get() == number);
            let is_tmp = name.strip_suffix(names::TMP).and_then(names::parse_backup).is_some();
            let damaged = |number: u64| self.damaged.iter().any(|(damaged, _)| *damaged == number);
            if is_tmp || number.is_some_and(|number| !finished(number) && !damaged(number)) {
                self.disk.remove(&name)?;
            }
        }
        Ok(self.highest + 1)
    }

    /// The backups, oldest first.
    pub fn list(&self) -> Vec<BackupInfo> {
        self.whole.iter().map(info).collect()
    }

    /// Backups whose own file is damaged, by number, with what is wrong.
    pub fn damaged(&self) -> &[(u64, String)] {
        &self.damaged
    }

    fn manifest(&self, number: u64) -> Result<&Manifest> {
        let found = self.whole.iter().find(|manifest| manifest.header.number.get() == number);
        found.ok_or_else(|| {
            if let Some((_, what)) = self.damaged.iter().find(|(damaged, _)| *damaged == number) {
                return Error::Corrupt { file: names::backup(number), offset: 0, what: what.clone() };
            }
            let present: Vec<String> = self.whole.iter().map(|m| m.header.number.get().to_string()).collect();
            Error::NoBackup { number, path: self.path.clone(), present: present.join(", ") }
        })
    }

    /// Reads every block of a backup and compares it with its hash.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the first one that differs; [`Error::NoBackup`].
    pub fn verify(&self, number: u64) -> Result<BackupInfo> {
        let manifest = self.manifest(number)?;
        let mut reader = BlockReader::new(&*self.disk, true);
        for listed in &manifest.files {
            manifest.entries(listed, |_, entry| reader.read(&entry).map(drop))?;
        }
        Ok(info(manifest))
    }

    /// Makes a store of a backup in directory `to`, which must be empty, or not be there. Every block is compared with its
    /// hash. The store is there once this has succeeded, and not before.
    ///
    /// # Errors
    /// [`Error::NoBackup`], [`Error::NotEmpty`], [`Error::Corrupt`] if a block is damaged, and of the disk. What was
    /// written is left; it is no store.
    pub fn restore(&self, number: u64, to: impl AsRef<Path>) -> Result<BackupInfo> {
        let to = to.as_ref();
        self.restore_on(number, Arc::new(OsDisk::create_root(to)?), to)
    }

    /// As [`restore`](Self::restore), on any [`Disk`]; `path` is for messages.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn restore_on(&self, number: u64, to: Arc<dyn Disk>, path: impl AsRef<Path>) -> Result<BackupInfo> {
        let manifest = self.manifest(number)?;
        if to.list("")?.iter().any(|name| name != names::LOCK) {
            return Err(Error::NotEmpty { path: path.as_ref().to_owned() });
        }
        let _lock = to.lock(names::LOCK, &format!("process {}, restoring", std::process::id()))?;
        for dir in [names::CKPT_DIR, names::COLLECTIONS_DIR, names::WAL_DIR] {
            to.create_dir(dir)?;
        }
        let header = &manifest.header;
        let mut reader = BlockReader::new(&*self.disk, false);
        let mut dirs: Vec<&str> = Vec::new();
        for listed in &manifest.files {
            let dir = names::parent(&listed.name);
            if !dir.is_empty() && dirs.last() != Some(&dir) {
                to.create_dir(dir)?;
                dirs.push(dir);
            }
            let file = to.create(&listed.name)?;
            if listed.name == names::CATALOG {
                let backend = Backend::new(file.clone(), Poison::new())?;
                Catalog::create_of(backend, |sink| {
                    manifest.entries(listed, |at, entry| {
                        let block = reader.read(&entry)?;
                        let whole = rows(block, sink)?;
                        let what = || format!("the rows of the block at byte {at} end in the middle");
                        let file = || names::backup(number);
                        if whole { Ok(()) } else { Err(Error::Corrupt { file: file(), offset: at, what: what() }) }
                    })
                })?;
            } else {
                restore_file(manifest, listed, &mut reader, &*file)?;
            }
            file.sync()?;
        }
        dirs.iter().try_for_each(|dir| to.sync_dir(dir))?;
        to.sync_dir(names::COLLECTIONS_DIR)?;
        drop(Log::create_from(to.clone(), header.uuid, Poison::new(), header.lsn.get() + 1)?);
        to.sync_dir("")?;
        let state = Super {
            uuid: header.uuid,
            seq: 1,
            ckpt_lsn: header.lsn.get(),
            pending: 0,
            done: header.checkpoint.get(),
            pending_len: 0,
            clean: true,
        };
        Superblock::create(&*to, &state)?;
        Ok(info(manifest))
    }
}

fn restore_file(manifest: &Manifest, listed: &Listed, reader: &mut BlockReader<'_>, file: &dyn DiskFile) -> Result<()> {
    /// Bytes written at once.
    const AT_ONCE: usize = 1 << 20;
    if listed.length > 0 {
        file.allocate(listed.length)?;
    }
    let (mut start, mut bytes) = (0, Vec::with_capacity(AT_ONCE));
    manifest.entries(listed, |at, entry| {
        if entry.from.get() == ZEROS || bytes.len() >= AT_ONCE {
            file.write_at(start, &bytes)?;
            bytes.clear();
        }
        if entry.from.get() == ZEROS {
            return Ok(());
        }
        if bytes.is_empty() {
            start = at;
        }
        bytes.extend_from_slice(reader.read(&entry)?);
        Ok(())
    })?;
    file.write_at(start, &bytes)?;
    // Space is reserved in steps, the length is exact.
    if file.len()? != listed.length {
        file.set_len(listed.length)?;
    }
    Ok(())
}

fn info(manifest: &Manifest) -> BackupInfo {
    let header = &manifest.header;
    BackupInfo {
        number: header.number.get(),
        lsn: header.lsn.get(),
        made: header.made.get(),
        bytes: manifest.files.iter().map(|listed| listed.length).sum(),
    }
}

/// Reads blocks from the files that hold them.
struct BlockReader<'a> {
    disk: &'a dyn Disk,
    files: HashMap<u32, Blocks>,
    block: Vec<u8>,
    /// Whether what is in memory is dropped before it is read.
    fresh: bool,
}

impl<'a> BlockReader<'a> {
    fn new(disk: &'a dyn Disk, fresh: bool) -> Self {
        Self { disk, files: HashMap::new(), block: Vec::new(), fresh }
    }

    fn read(&mut self, entry: &Entry) -> Result<&[u8]> {
        let from = entry.from.get();
        if from == ZEROS {
            self.block.clear();
            self.block.resize(entry.len.get() as usize, 0);
            return Ok(&self.block);
        }
        if !self.files.contains_key(&from) {
            let file = self.disk.open(&names::blocks(from.into()))?;
            if self.fresh {
                file.evict()?;
            }
            self.files.insert(from, Blocks::of(file, from.into())?);
        }
        self.files[&from].read(entry, &mut self.block)?;
        Ok(&self.block)
    }
}

/// The blocks that a backup has added.
#[derive(Debug)]
pub(super) struct Blocks {
    file: Arc<dyn DiskFile>,
    number: u64,
    length: u64,
}

impl Blocks {
    pub(super) fn of(file: Arc<dyn DiskFile>, number: u64) -> Result<Self> {
        let length = file.len()?;
        Ok(Self { file, number, length })
    }

    /// Reads a block, and compares it with its hash.
    pub(super) fn read(&self, entry: &Entry, block: &mut Vec<u8>) -> Result<()> {
        let (at, len) = (entry.at.get(), u64::from(entry.len.get()));
        let corrupt = |what: String| Error::Corrupt { file: names::blocks(self.number), offset: at, what };
        if at.checked_add(len).is_none_or(|end| end > self.length) {
            return Err(corrupt(format!("a block of {len} bytes, the file has {}", self.length)));
        }
        block.clear();
        block.resize(len as usize, 0);
        self.file.read_at(at, block)?;
        if hash(block) != entry.hash {
            return Err(corrupt(format!("the hash of the block of {len} bytes differs")));
        }
        Ok(())
    }
}
