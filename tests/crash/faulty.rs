//! Disks that do not do what they were told: a crash test that does not notice proves nothing.

use lodestore::disk::{Disk, DiskFile, DiskLock};
use lodestore_wal::disk::SimDisk;
use lodestore_wal::{Map, Mapping, Result};
use std::sync::Arc;

/// One duty that is left undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    None,
    /// Files whose path contains the first and ends like the second are never synced.
    Sync(&'static str, &'static str),
    /// A directory that is never synced.
    SyncDir(&'static str),
}

impl Mutant {
    pub(super) fn mount(self, sim: Arc<SimDisk>) -> Arc<dyn Disk> {
        if self == Mutant::None { sim } else { Arc::new(Faulty { sim, mutant: self }) }
    }
}

#[derive(Debug)]
struct Faulty {
    sim: Arc<SimDisk>,
    mutant: Mutant,
}

impl Faulty {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        match self.mutant {
            Mutant::Sync(part, end) if file.path().contains(part) && file.path().ends_with(end) => {
                Arc::new(Unsynced(file))
            }
            _ => file,
        }
    }
}

impl Disk for Faulty {
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        self.sim.create(path).map(|file| self.file(file))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        self.sim.open(path).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.sim.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.sim.remove(path)
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        self.sim.list(dir)
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        self.sim.create_dir(path)
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        self.sim.remove_dir(path)
    }

    fn sync_dir(&self, dir: &str) -> Result<()> {
        if self.mutant == Mutant::SyncDir(dir_name(dir)) { Ok(()) } else { self.sim.sync_dir(dir) }
    }

    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn DiskLock>> {
        self.sim.lock(path, holder)
    }
}

/// The known directory of that name, for comparing with a constant.
fn dir_name(dir: &str) -> &'static str {
    ["wal", "ckpt", "c", "backups"].into_iter().find(|known| *known == dir).unwrap_or_default()
}

#[derive(Debug)]
struct Unsynced(Arc<dyn DiskFile>);

impl DiskFile for Unsynced {
    fn path(&self) -> &str {
        self.0.path()
    }

    fn len(&self) -> Result<u64> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.0.allocate(len)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn evict(&self) -> Result<()> {
        self.0.evict()
    }

    fn map(&self, offset: u64, len: usize, mapping: Mapping) -> Result<Map> {
        self.0.map(offset, len, mapping)
    }
}
