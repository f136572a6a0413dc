//! redb on the storage seam, so that the catalogue's bytes pass where all others do, and stop when they stop.
//!
//! redb answers nothing more, reads included, once its file has failed it. A store whose writing has stopped must go
//! on answering; so from then on what redb writes is put aside in memory, and redb is told that all is well. The
//! store itself is poisoned, which whoever wrote through redb has to look for.
//!
//! redb also writes when it is opened. A store that was closed cleanly believes its catalogue as the system's cache shows
//! it, so nothing may be there that is not on the disk: what redb writes before the store's first own write is put aside,
//! too, until SUPER says that the store is not cleanly closed any more.

use crate::options::CATALOG_CACHE_BYTES;
use crate::pages::Pages;
use lodestore_wal::{DiskFile, Error, Poison};
use parking_lot::Mutex;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// How often a read that failed is tried again: redb answers nothing more once one has.
const RETRIES: usize = 2;

/// The catalogue's file, for redb.
#[derive(Debug)]
pub(crate) struct Backend {
    inner: Arc<Inner>,
    /// How many bytes of pages redb may keep.
    pub(crate) cache: usize,
}

#[derive(Debug)]
struct Inner {
    pages: Pages,
    poison: Poison,
    hides_failures: Arc<AtomicBool>,
    /// Nothing is to be read any more.
    refuses: AtomicBool,
    /// The store has not written yet.
    resting: AtomicBool,
    aside: Mutex<Aside>,
}

/// Ends a backend's [rest](Backend::rest).
#[derive(Debug)]
pub(crate) struct Rest(Weak<Inner>);

/// What redb has written since the store stopped writing, or before it began. Little: no write of the store gets here.
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
        let (hides_failures, resting) = (Arc::default(), AtomicBool::new(false));
        let refuses = AtomicBool::new(false);
        let inner = Inner { pages, poison, hides_failures, refuses, resting, aside: Mutex::default() };
        Ok(Self { inner: Arc::new(inner), cache: CATALOG_CACHE_BYTES })
    }

    /// Lets redb keep so many bytes of pages.
    pub(crate) fn with_cache(self, cache: usize) -> Self {
        Self { cache, ..self }
    }

    pub(crate) fn poison(&self) -> &Poison {
        &self.inner.poison
    }

    /// From now on writes are put aside, until the rest ends.
    pub(crate) fn rest(&self) {
        self.inner.resting.store(true, Ordering::Release);
    }

    /// What ends it.
    pub(crate) fn resting(&self) -> Rest {
        Rest(Arc::downgrade(&self.inner))
    }

    /// To be set once the store is open: before, a failure must be one of the opening.
    pub(crate) fn hides_failures(&self) -> Arc<AtomicBool> {
        self.inner.hides_failures.clone()
    }

    /// To be set while a database is opened that was not closed: [`Pages::torn_may_be`].
    pub(crate) fn torn_may_be(&self) -> Arc<AtomicBool> {
        self.inner.pages.torn_may_be()
    }

    /// See [`Pages::spoilt`].
    pub(crate) fn spoilt(&self) -> Option<usize> {
        self.inner.pages.spoilt()
    }

    /// A poisoned store writes nothing more, not even what redb saves for its closing; and what fails here poisons.
    fn writing(
        &self,
        call: impl FnOnce(&Pages) -> lodestore_wal::Result<()>,
        put_aside: impl FnOnce(&mut Aside),
    ) -> io::Result<()> {
        let Inner { pages, poison, hides_failures, resting, aside, .. } = &*self.inner;
        if resting.load(Ordering::Acquire) {
            put_aside(&mut aside.lock());
            return Ok(());
        }
        match poison.check().and_then(|()| poison.guard(call(pages))) {
            Err(_) if hides_failures.load(Ordering::Acquire) => {
                put_aside(&mut aside.lock());
                Ok(())
            }
            result => result.map_err(to_io),
        }
    }
}

impl Inner {
    /// Whether what redb has written is to be looked for aside.
    fn has_aside(&self) -> bool {
        self.resting.load(Ordering::Acquire) || self.poison.reason().is_some()
    }
}

impl Rest {
    /// From now on every read fails.
    pub(crate) fn refuse(&self) {
        if let Some(inner) = self.0.upgrade() {
            inner.refuses.store(true, Ordering::Release);
        }
    }

    /// Writes what was put aside. SUPER says, durably, that the store is not cleanly closed any more.
    ///
    /// # Errors
    /// Of the disk; the store is poisoned then.
    pub(crate) fn end(&self) -> lodestore_wal::Result<()> {
        let Some(inner) = self.0.upgrade() else { return Ok(()) };
        let mut aside = inner.aside.lock();
        if !inner.resting.load(Ordering::Acquire) {
            return Ok(());
        }
        let write = || {
            aside.len.map_or(Ok(()), |len| inner.pages.set_len(len))?;
            aside.writes.iter().try_for_each(|(at, bytes)| inner.pages.write(*at, bytes))
        };
        inner.poison.guard(write())?;
        *aside = Aside::default();
        inner.resting.store(false, Ordering::Release);
        Ok(())
    }
}

impl Aside {
    fn touches(&self, offset: u64, length: usize) -> bool {
        let end = offset + length as u64;
        self.writes.iter().any(|(at, bytes)| *at < end && offset < at + bytes.len() as u64)
    }

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
        let aside = if self.inner.has_aside() { self.inner.aside.lock().len } else { None };
        aside.map_or_else(|| self.inner.pages.len().map_err(to_io), Ok)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let Inner { pages, aside, .. } = &*self.inner;
        let mut failures = 0;
        if self.inner.refuses.load(Ordering::Acquire) {
            return Err(io::Error::other("closed"));
        }
        loop {
            let read = 'read: {
                if self.inner.has_aside() {
                    let aside = aside.lock();
                    if aside.touches(offset, out.len()) {
                        break 'read aside.read(pages, offset, out);
                    }
                }
                // Without the lock: as long as a store is only read, all reads come by here.
                pages.read(offset, out)
            };
            match read {
                Err(Error::Io { .. }) if failures < RETRIES => failures += 1,
                read => return read.map_err(to_io),
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writing(|pages| pages.set_len(len), |aside| aside.len = Some(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.writing(Pages::sync, |_| {})
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writing(|pages| pages.write(offset, data), |aside| aside.writes.push((offset, data.to_vec())))
    }

    fn close(&self) -> io::Result<()> {
        // Also the copy of the first page that followed the last sync.
        self.writing(Pages::sync, |_| {})
    }
}
