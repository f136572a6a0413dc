//! redb on the storage seam, so that the catalogue's bytes pass where all others do, and stop when they stop.
//!
//! redb answers nothing more, reads included, once its file has failed it. A store whose writing has stopped must go
//! on answering; so from then on what redb writes is put aside in memory, and redb is told that all is well. The
//! store itself is poisoned, which whoever wrote through redb has to look for.

use lodestore_wal::{DiskFile, Poison};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The catalogue's file, for redb.
#[derive(Debug)]
pub(crate) struct Backend {
    file: Arc<dyn DiskFile>,
    poison: Poison,
    hides_failures: Arc<AtomicBool>,
    aside: Mutex<Aside>,
}

/// What redb has written since the store stopped writing. Little: no further write of the store gets this far.
#[derive(Debug, Default)]
struct Aside {
    /// Oldest first; a later one covers an earlier one.
    writes: Vec<(u64, Vec<u8>)>,
    len: Option<u64>,
}

impl Backend {
    pub(crate) fn new(file: Arc<dyn DiskFile>, poison: Poison) -> Self {
        Self { file, poison, hides_failures: Arc::default(), aside: Mutex::default() }
    }

    pub(crate) fn poison(&self) -> &Poison {
        &self.poison
    }

    /// To be set once the store is open: before, a failure must be one of the opening.
    pub(crate) fn hides_failures(&self) -> Arc<AtomicBool> {
        self.hides_failures.clone()
    }

    /// A poisoned store writes nothing more, not even what redb saves for its closing; and what fails here poisons.
    fn writing(
        &self,
        call: impl FnOnce() -> lodestore_wal::Result<()>,
        put_aside: impl FnOnce(&mut Aside),
    ) -> io::Result<()> {
        match self.poison.check().and_then(|()| self.poison.guard(call())) {
            Err(_) if self.hides_failures.load(Ordering::Acquire) => {
                put_aside(&mut self.aside.lock());
                Ok(())
            }
            result => result.map_err(to_io),
        }
    }
}

impl Aside {
    fn read(&self, file: &dyn DiskFile, offset: u64, out: &mut [u8]) -> lodestore_wal::Result<()> {
        let there = file.len()?.saturating_sub(offset).min(out.len() as u64) as usize;
        file.read_at(offset, &mut out[..there])?;
        out[there..].fill(0);
        for (at, bytes) in &self.writes {
            let (from, to) = (offset.max(*at), (offset + out.len() as u64).min(at + bytes.len() as u64));
            if from < to {
                let source = &bytes[(from - at) as usize..(to - at) as usize];
                out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            }
        }
        Ok(())
    }
}

fn to_io(error: lodestore_wal::Error) -> io::Error {
    match error {
        lodestore_wal::Error::Io { source, .. } => source,
        lodestore_wal::Error::NoSpace { .. } => io::Error::new(io::ErrorKind::StorageFull, error),
        other => io::Error::other(other),
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        let aside = self.poison.reason().and_then(|_| self.aside.lock().len);
        aside.map_or_else(|| self.file.len().map_err(to_io), Ok)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.poison.reason().is_none() {
            return self.file.read_at(offset, out).map_err(to_io);
        }
        self.aside.lock().read(&*self.file, offset, out).map_err(to_io)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writing(|| self.file.set_len(len), |aside| aside.len = Some(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.writing(|| self.file.sync(), |_| {})
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writing(|| self.file.write_at(offset, data), |aside| aside.writes.push((offset, data.to_vec())))
    }
}
