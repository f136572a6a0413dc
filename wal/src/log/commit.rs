//! Group commit: whoever waits first writes for all.

use super::format::{FILE_HEADER, GroupHeader, align_up};
use super::pending::Pending;
use crate::disk::DiskFile;
use crate::error::Result;
use crate::mutant::{self, Mutant};
use crate::poison::Poison;
use crate::sync::{Condvar, Mutex};
use std::sync::Arc;

/// The writing end of the current file. One thread at a time has it.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) no: u64,
    pub(super) salt: u32,
    /// LSN of the file's first record, there already or not.
    pub(super) first_lsn: u64,
    /// Where the next group goes.
    pub(super) at: u64,
    /// Where the last group ends.
    pub(super) end: u64,
    /// Checksum of the last group, or of the file header.
    pub(super) chain: u32,
    /// Whether bytes were written since the last sync.
    pub(super) unsynced: bool,
    /// Up to here, a synced group or file header bears witness that the records were synced before it was written.
    pub(super) witnessed: u64,
    /// What [`witnessed`](Self::witnessed) becomes at the next sync.
    claim: u64,
}

impl Writer {
    /// Starts behind the header of a new file; `chain` is its checksum.
    pub(super) fn new(file: Arc<dyn DiskFile>, no: u64, salt: u32, first_lsn: u64, chain: u32) -> Writer {
        let at = FILE_HEADER as u64;
        let witnessed = first_lsn - 1;
        Writer { file, no, salt, first_lsn, at, end: at, chain, unsynced: false, witnessed, claim: witnessed }
    }

    /// Writes one group; `durable_lsn` is what is known to be synced now.
    pub(super) fn write(&mut self, group: &mut Pending, durable_lsn: u64) -> Result<()> {
        let header = GroupHeader {
            crc: 0,
            len: 0,
            records: group.records,
            first_lsn: group.first_lsn,
            durable_lsn,
            chain: self.chain,
            salt: self.salt,
            file_no: self.no,
        };
        let crc = header.seal_into(&mut group.bytes);
        self.unsynced = true;
        self.file.write_at(self.at, &group.bytes)?;
        self.at += group.bytes.len() as u64;
        self.end = self.at;
        self.chain = crc;
        self.claim = durable_lsn;
        Ok(())
    }

    /// Makes all written groups durable. The next one starts a block of its own, so that a torn write cannot reach
    /// what was promised.
    pub(super) fn sync(&mut self) -> Result<()> {
        mutant::unless(Mutant::LogUnsynced, || self.file.sync())?;
        self.unsynced = false;
        self.witnessed = self.claim;
        if !mutant::on(Mutant::SharedBlock) {
            self.at = align_up(self.at);
        }
        Ok(())
    }
}

/// Holds the [`Writer`] while nobody uses it.
#[derive(Debug)]
pub(super) struct Seat {
    writer: Mutex<Option<Writer>>,
    freed: Condvar,
    poison: Poison,
}

impl Seat {
    pub(super) fn new(writer: Writer, poison: Poison) -> Seat {
        Seat { writer: Mutex::new(Some(writer)), freed: Condvar::new(), poison }
    }

    /// Waits for the writer, or until `done`, which is asked each time a holder gives it back.
    pub(super) fn take_unless(&self, done: impl Fn() -> bool) -> Option<Turn<'_>> {
        let mut seat = self.writer.lock();
        loop {
            if done() {
                return None;
            }
            if let Some(writer) = seat.take() {
                return Some(Turn { seat: self, writer: Some(writer), busy: false });
            }
            self.freed.wait(&mut seat);
        }
    }

    /// Waits for the writer.
    pub(super) fn take(&self) -> Turn<'_> {
        self.take_unless(|| false).expect("waits until it has the writer")
    }
}

/// Possession of the [`Writer`]; dropping it wakes all who wait.
pub(super) struct Turn<'a> {
    seat: &'a Seat,
    writer: Option<Writer>,
    busy: bool,
}

impl Turn<'_> {
    /// From here to [`end`](Self::end) the writer's state and the file may disagree.
    pub(super) fn begin(&mut self) {
        self.busy = true;
    }

    pub(super) fn end(&mut self) {
        self.busy = false;
    }

    pub(super) fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("held until dropped")
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.busy {
            // After an error the reason is known already, and stays; this is for a panic.
            self.seat.poison.set(&"a thread panicked while it wrote the log");
        }
        *self.seat.writer.lock() = self.writer.take();
        self.seat.freed.notify_all();
    }
}
