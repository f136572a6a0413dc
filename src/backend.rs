//! redb on the storage seam, so that the catalogue's bytes pass where all others do, and stop when they stop.

use lodestore_wal::{DiskFile, Poison};
use std::io;
use std::sync::Arc;

/// The catalogue's file, for redb.
#[derive(Debug)]
pub(crate) struct Backend {
    file: Arc<dyn DiskFile>,
    poison: Poison,
}

impl Backend {
    pub(crate) fn new(file: Arc<dyn DiskFile>, poison: Poison) -> Self {
        Self { file, poison }
    }

    /// A poisoned store writes nothing more, not even what redb saves for its closing; and what fails here poisons.
    fn writing(&self, call: impl FnOnce() -> lodestore_wal::Result<()>) -> io::Result<()> {
        self.poison.check().and_then(|()| self.poison.guard(call())).map_err(to_io)
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
        self.file.len().map_err(to_io)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out).map_err(to_io)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writing(|| self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.writing(|| self.file.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writing(|| self.file.write_at(offset, data))
    }
}
