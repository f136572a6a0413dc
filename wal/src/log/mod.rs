//! The log: an endless row of records, each with a number (LSN), kept in files that are thrown away from the front.
//!
//! A record's body means nothing here. What one call of [`Log::sequence`] appends is found again whole or not at
//! all. [`Log::commit`] makes it last; [`LogScan`] reads it back when the store is opened, and only from there does
//! an existing log become a [`Log`] to append to.
//!
//! Invariants:
//! 1. LSNs are dense; group follows group by checksum (`chain`), file follows file by `prev_*`.
//! 2. A byte that was promised to last is never in a block of 4096 that is written again.
//! 3. Nobody appends to a file found at opening; a new one starts where the readable part ends.
//! 4. After a failed write or sync nothing more is written ([`Poison`]).
//! 5. A file is part of the log once its header is whole, and gets its first group after header and name are
//!    durable. So a damaged header before a whole group is damage, never a crash.
//!
//! | file | what it does |
//! |---|---|
//! | `format` | every byte of a log file |
//! | `space` | room on the disk, taken ahead |
//! | `pending` | records with an LSN that wait to be written |
//! | `files` | making and removing log files |
//! | `commit` | one writes for all who wait |
//! | `read` | groups of one file |
//! | `salvage` | what is whole in a damaged log |
//! | `scan` | recovery: which files, up to where, damage or torn end |

mod commit;
mod files;
mod format;
mod pending;
mod read;
mod salvage;
mod scan;
mod space;
#[cfg(test)]
mod tests;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::mutant::{self, Mutant};
use crate::names;
use crate::poison::Poison;
use crate::sync::{AtomicU64, Mutex, Ordering};
use commit::{Seat, Turn, Writer};
use files::Files;
use format::{FileHeader, Head, align_up};
use pending::{Pending, Sequencer};
use space::Space;
use std::sync::Arc;

#[cfg(any(test, feature = "sim"))]
pub use files::fix_salt;
pub use format::{IGNORABLE, MAX_GROUP};
pub use pending::Appender;
pub use salvage::{Salvaged, salvage, uuid_of};
pub use scan::{LogScan, Record};

/// How much a committed record survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Handed to the system: survives the end of the process.
    Written,
    /// Synced: survives a power loss.
    Synced,
}

/// What the log is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// Files on the disk.
    pub files: u64,
    /// Their length, room taken ahead included.
    pub bytes: u64,
    /// Bytes sequenced and not written yet.
    pub waiting: u64,
    /// Groups written since the log was opened.
    pub groups: u64,
    /// Syncs since the log was opened.
    pub syncs: u64,
}

/// A log to append to. Shared by all threads. Dropping it writes nothing: commit before.
#[derive(Debug)]
pub struct Log {
    seq: Mutex<Sequencer>,
    last: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    /// `None`: the log keeps nothing.
    kept: Option<Kept>,
}

/// What only a log on a disk has.
///
/// Locks, in this order: seat, then one of `seq` and `files`. None is held over a write or sync; `seq` is held
/// while the file is given more room.
#[derive(Debug)]
struct Kept {
    disk: Arc<dyn Disk>,
    uuid: [u8; 16],
    poison: Poison,
    seat: Seat,
    files: Mutex<Files>,
    groups: AtomicU64,
    syncs: AtomicU64,
}

impl Kept {
    fn new(disk: Arc<dyn Disk>, uuid: [u8; 16], poison: Poison, writer: Writer, files: Files) -> Kept {
        Kept {
            disk,
            uuid,
            seat: Seat::new(writer, poison.clone()),
            poison,
            files: Mutex::new(files),
            groups: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
        }
    }
}

/// Where a log ends, for the file that goes on from there.
#[derive(Clone, Copy, Debug)]
struct Tail {
    file: u64,
    end: u64,
    chain: u32,
    next_lsn: u64,
}

impl Log {
    /// Makes the log of a new store: file 1, first LSN 1, durable on return. Log files found are what is left of a
    /// creation that did not finish, and removed: only for a directory known to hold no store.
    pub fn create(disk: Arc<dyn Disk>, uuid: [u8; 16], poison: Poison) -> Result<Log> {
        Self::create_from(disk, uuid, poison, 1)
    }

    /// As [`create`](Self::create), for a store whose segments and catalogue hold all before `next_lsn`.
    pub fn create_from(disk: Arc<dyn Disk>, uuid: [u8; 16], poison: Poison, next_lsn: u64) -> Result<Log> {
        disk.create_dir(names::WAL_DIR)?;
        disk.sync_dir("")?;
        for name in disk.list(names::WAL_DIR)? {
            if let Some(no) = names::parse_wal(&name) {
                disk.remove(&names::wal(no))?;
            }
        }
        let files = Files { entries: Vec::new(), next_no: 1 };
        Log::start(disk, uuid, poison, files, Tail { file: 0, end: 0, chain: 0, next_lsn })
    }

    /// A log that gives out LSNs and keeps nothing, for a disk that does not outlive the process.
    pub fn volatile() -> Log {
        Log::new(Sequencer::new(1, None), 1, None)
    }

    /// Goes on behind `tail` in a new file, durable on return.
    fn start(disk: Arc<dyn Disk>, uuid: [u8; 16], poison: Poison, mut files: Files, tail: Tail) -> Result<Log> {
        poison.check()?;
        if mutant::on(Mutant::OldTailAppended) && tail.file != 0 {
            return Log::resume(disk, uuid, poison, files, tail);
        }
        let no = files.reserve_no();
        let (writer, space) = next_file(&*disk, uuid, &poison, no, tail)?;
        files.push(no, tail.next_lsn);
        let kept = Kept::new(disk, uuid, poison, writer, files);
        Ok(Log::new(Sequencer::new(tail.next_lsn, Some(space)), tail.next_lsn, Some(kept)))
    }

    /// What only a [mutant](Mutant::OldTailAppended) does: goes on in the file that `tail` is of.
    fn resume(disk: Arc<dyn Disk>, uuid: [u8; 16], poison: Poison, files: Files, tail: Tail) -> Result<Log> {
        let file = disk.open(&names::wal(tail.file))?;
        let Head::Whole(header, _) = read::head(&file)? else {
            return Err(Error::corrupt(file.path(), 0, "no header"));
        };
        let mut space = Space::new(Arc::clone(&file))?;
        space.ensure(align_up(tail.end))?;
        let mut writer = Writer::new(file, tail.file, header.salt, header.first_lsn, tail.chain);
        (writer.at, writer.end) = (align_up(tail.end), tail.end);
        let seq = Sequencer::after(tail.next_lsn, space, writer.at);
        Ok(Log::new(seq, tail.next_lsn, Some(Kept::new(disk, uuid, poison, writer, files))))
    }

    fn new(seq: Sequencer, next_lsn: u64, kept: Option<Kept>) -> Log {
        let last = || AtomicU64::new(next_lsn - 1);
        Log { seq: Mutex::new(seq), last: last(), written: last(), durable: last(), kept }
    }

    /// Calls `f` to append at most `records` records with at most `bytes` bytes of bodies, which become one
    /// indivisible whole. LSNs are given out in the order of these calls. Other calls wait meanwhile, so `f` does
    /// little, and calls nothing of the log itself.
    ///
    /// Nothing is written yet: see [`commit`](Self::commit). Who never commits fills the memory.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::NoSpace`] and [`Error::Poisoned`]; `f` was not called then, and nothing has
    /// changed.
    ///
    /// # Panics
    /// If `f` does, or appends more than it said; then none of its records is kept.
    pub fn sequence<T>(&self, records: usize, bytes: usize, f: impl FnOnce(&mut Appender<'_>) -> T) -> Result<T> {
        let mut seq = self.seq.lock();
        if let Some(kept) = &self.kept {
            kept.poison.check()?;
        }
        let mut appender = seq.admit(records, bytes).inspect_err(|error| self.growth_failed(error))?;
        let value = f(&mut appender);
        let next_lsn = appender.finish();
        self.last.store(next_lsn - 1, Ordering::Release);
        Ok(value)
    }

    /// Runs `f` between two calls of [`sequence`](Self::sequence): what one of them does is done whole, or not begun.
    pub fn between<T>(&self, f: impl FnOnce() -> T) -> T {
        let _seq = self.seq.lock();
        f()
    }

    /// The last LSN given out.
    pub fn last_lsn(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// The last LSN that survives the end of the process.
    pub fn written_lsn(&self) -> u64 {
        if self.kept.is_some() { self.written.load(Ordering::Acquire) } else { self.last_lsn() }
    }

    /// The last LSN that survives a power loss.
    pub fn durable_lsn(&self) -> u64 {
        if self.kept.is_some() { self.durable.load(Ordering::Acquire) } else { self.last_lsn() }
    }

    /// Returns once everything up to `lsn` is as safe as `how` says. The first to come writes, and syncs, for all
    /// who wait.
    ///
    /// # Errors
    /// A failed write or sync poisons the store: who wrote gets the failure itself, who waited or comes later
    /// [`Error::Poisoned`]. What was synced before stays committed.
    pub fn commit(&self, lsn: u64, how: Commit) -> Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let lsn = lsn.min(self.last_lsn());
        // Of bytes that were written and could not be synced, nothing is certain any more.
        let written = || how == Commit::Written && self.written_lsn() >= lsn && kept.poison.reason().is_none();
        let reached = || self.durable_lsn() >= lsn || written();
        if reached() {
            return Ok(());
        }
        match kept.seat.take_unless(reached) {
            Some(mut turn) => self.drain(kept, &mut turn, how == Commit::Synced),
            None => Ok(()),
        }
    }

    /// Makes it certain that damage to what is synced now will be seen: a damaged last group is otherwise taken
    /// for one that a crash cut short. Costs a sync, unless done before.
    pub fn seal(&self) -> Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let last = self.last_lsn();
        let mut turn = kept.seat.take();
        self.drain(kept, &mut turn, true)?;
        if turn.writer().witnessed >= last {
            return Ok(());
        }
        self.seq.lock().admit_seal().inspect_err(|error| self.growth_failed(error))?;
        let mut seal = Pending::new(Vec::new(), self.written_lsn() + 1);
        self.guarded(kept, &mut turn, |writer| self.write(kept, writer, &mut seal))?;
        self.drain(kept, &mut turn, true)
    }

    /// Syncs everything and goes on in a new file, durable on return, unless the current one holds no record.
    /// Returns the last LSN of the files before the current one.
    ///
    /// Records sequenced meanwhile go to the new file without room reserved for them: better have none.
    ///
    /// # Errors
    /// A failure to make the file, with a full disk as the likely one, leaves the log as it was. Any other poisons.
    pub fn rotate(&self) -> Result<u64> {
        let Some(kept) = &self.kept else { return Ok(self.last_lsn()) };
        let mut turn = kept.seat.take();
        self.drain(kept, &mut turn, true)?;
        let last = self.durable_lsn();
        let writer = turn.writer();
        if writer.first_lsn == last + 1 {
            return Ok(last);
        }
        let tail = Tail { file: writer.no, end: writer.end, chain: writer.chain, next_lsn: last + 1 };
        let no = kept.files.lock().reserve_no();
        let (next, space) = next_file(&*kept.disk, kept.uuid, &kept.poison, no, tail)?;
        *writer = next;
        let old_len = self.seq.lock().move_to(space);
        let mut files = kept.files.lock();
        if let Some(old) = files.entries.last_mut() {
            old.len = old_len;
        }
        files.push(no, tail.next_lsn);
        Ok(last)
    }

    /// Removes files whose records all have an LSN up to `lsn`, oldest first; never the current one.
    pub fn remove_through(&self, lsn: u64) -> Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        kept.poison.check()?;
        kept.files.lock().remove_through(&*kept.disk, lsn)
    }

    /// Bytes of the current file used up, what is not written yet included.
    pub fn bytes_since_rotate(&self) -> u64 {
        self.seq.lock().used()
    }

    /// What the log is doing.
    pub fn stats(&self) -> LogStats {
        let Some(kept) = &self.kept else { return LogStats::default() };
        let (current, waiting) = {
            let seq = self.seq.lock();
            (seq.allocated(), seq.waiting())
        };
        let files = kept.files.lock();
        let old: u64 = files.entries.iter().rev().skip(1).map(|entry| entry.len).sum();
        LogStats {
            files: files.entries.len() as u64,
            bytes: old + current,
            waiting,
            groups: kept.groups.load(Ordering::Relaxed),
            syncs: kept.syncs.load(Ordering::Relaxed),
        }
    }

    /// Writes all groups in the making and, if asked, syncs.
    fn drain(&self, kept: &Kept, turn: &mut Turn<'_>, sync: bool) -> Result<()> {
        self.guarded(kept, turn, |writer| {
            let mut spare = None;
            let groups = self.seq.lock().take();
            for mut group in groups {
                self.write(kept, writer, &mut group)?;
                spare = Some(group.bytes);
            }
            if sync && writer.unsynced {
                writer.sync()?;
                kept.syncs.fetch_add(1, Ordering::Relaxed);
                self.durable.store(self.written_lsn(), Ordering::Release);
            }
            self.seq.lock().settle(writer.at, spare);
            Ok(())
        })
    }

    fn write(&self, kept: &Kept, writer: &mut Writer, group: &mut Pending) -> Result<()> {
        writer.write(group, self.durable_lsn())?;
        kept.groups.fetch_add(1, Ordering::Relaxed);
        self.written.store(group.next_lsn() - 1, Ordering::Release);
        Ok(())
    }

    /// Runs `f`, whose failure, by error or panic, is final.
    fn guarded(&self, kept: &Kept, turn: &mut Turn<'_>, f: impl FnOnce(&mut Writer) -> Result<()>) -> Result<()> {
        kept.poison.check()?;
        turn.begin();
        let done = f(turn.writer());
        if mutant::on(Mutant::FailedSyncForgotten) && done.is_err() {
            turn.end();
            return done;
        }
        kept.poison.guard(done)?;
        turn.end();
        Ok(())
    }

    /// A full disk is no reason to stop; anything else that keeps a file from growing is.
    fn growth_failed(&self, error: &Error) {
        if let (Some(kept), Error::Io { .. }) = (&self.kept, error) {
            kept.poison.set(error);
        }
    }
}

/// Makes file `no`, which goes on behind `tail`.
fn next_file(disk: &dyn Disk, uuid: [u8; 16], poison: &Poison, no: u64, tail: Tail) -> Result<(Writer, Space)> {
    let space = files::prepare(disk, no)?;
    let salt = files::salt(&uuid, no, tail.next_lsn);
    let header = FileHeader {
        uuid,
        no,
        first_lsn: tail.next_lsn,
        prev_file: tail.file,
        prev_end: tail.end,
        prev_chain: tail.chain,
        salt,
    };
    let chain = poison.guard(files::begin(disk, &space, &header))?;
    Ok((Writer::new(Arc::clone(space.file()), no, salt, tail.next_lsn, chain), space))
}
