//! redb on the storage seam, so that the catalogue's bytes pass where all others do, and stop when they stop.
//!
//! redb answers nothing more, reads included, once its file has failed it. A store whose writing has stopped must go
//! on answering; so from then on what redb writes is put aside in memory, and redb is told that all is well. The
//! store itself is poisoned, which whoever wrote through redb has to look for.

use crate::pages::Pages;
use lodestore_wal::{DiskFile, Error, Poison};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The catalogue's file, for redb.
#[derive(Debug)]
pub(crate) struct Backend {
    pages: Pages,
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
    /// # Errors
    /// [`Error::Corrupt`] if the file is not redb's.
    pub(crate) fn new(file: Arc<dyn DiskFile>, poison: Poison) -> lodestore_wal::Result<Self> {
        let pages = Pages::open(file)?;
        Ok(Self { pages, poison, hides_failures: Arc::default(), aside: Mutex::default() })
    }

    pub(crate) fn poison(&self) -> &Poison {
        &self.poison
    }

    /// To be set once the store is open: before, a failure must be one of the opening.
    pub(crate) fn hides_failures(&self) -> Arc<AtomicBool> {
        self.hides_failures.clone()
    }

    /// To be set while a database is opened that was not closed: [`Pages::torn_may_be`].
    pub(crate) fn torn_may_be(&self) -> Arc<AtomicBool> {
        self.pages.torn_may_be()
    }

    /// See [`Pages::spoilt`].
    pub(crate) fn spoilt(&self) -> Option<usize> {
        self.pages.spoilt()
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
    fn read(&self, pages: &Pages, offset: u64, out: &mut [u8]) -> lodestore_wal::Result<()> {
        let end = offset + out.len() as u64;
        if !self.writes.iter().any(|(at, bytes)| *at <= offset && end <= at + bytes.len() as u64) {
            pages.read(offset, out)?;
        }
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

fn to_io(error: Error) -> io::Error {
    match error {
        Error::Io { source, .. } => source,
        Error::NoSpace { .. } => io::Error::new(io::ErrorKind::StorageFull, error),
        other => io::Error::other(other),
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        let aside = self.poison.reason().and_then(|_| self.aside.lock().len);
        aside.map_or_else(|| self.pages.len().map_err(to_io), Ok)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.poison.reason().is_none() {
            return self.pages.read(offset, out).map_err(to_io);
        }
        self.aside.lock().read(&self.pages, offset, out).map_err(to_io)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writing(|| self.pages.set_len(len), |aside| aside.len = Some(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.writing(|| self.pages.sync(), |_| {})
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writing(|| self.pages.write(offset, data), |aside| aside.writes.push((offset, data.to_vec())))
    }

    fn close(&self) -> io::Result<()> {
        // Also the copy of the first page that followed the last sync.
        self.writing(|| self.pages.sync(), |_| {})
    }
}
