//! Records that have their LSN and wait to be written.

use super::format::{FILE_HEADER, GROUP_HEADER, MAX_GROUP, RECORD_HEADER, align_up, put_record};
use super::space::Space;
use crate::error::{Error, Result};
use std::collections::VecDeque;

/// A group takes in further calls until it has this size: large enough for one write to be worth a system call,
/// small enough for a reader's buffer. A single call may make a larger one, up to [`MAX_GROUP`].
const JOIN_LIMIT: usize = 1 << 20;

/// A group that is not written yet. The first [`GROUP_HEADER`] bytes are kept free for its header.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) bytes: Vec<u8>,
    pub(super) first_lsn: u64,
    pub(super) records: u32,
}

impl Pending {
    pub(super) fn new(mut bytes: Vec<u8>, first_lsn: u64) -> Pending {
        bytes.clear();
        bytes.resize(GROUP_HEADER, 0);
        Pending { bytes, first_lsn, records: 0 }
    }

    /// The LSN after its last record.
    pub(super) fn next_lsn(&self) -> u64 {
        self.first_lsn + u64::from(self.records)
    }
}

/// Gives out LSNs, keeps the groups in the making, and sees to it that the file has room for them.
#[derive(Debug)]
pub(super) struct Sequencer {
    next_lsn: u64,
    groups: VecDeque<Pending>,
    /// `None`: the log keeps nothing.
    space: Option<Space>,
    /// No byte of what is sequenced will lie at or behind this offset, however the groups end up being synced.
    bound: u64,
    /// A used buffer, so that a steady stream of small groups allocates nothing.
    spare: Vec<u8>,
}

impl Sequencer {
    pub(super) fn new(next_lsn: u64, space: Option<Space>) -> Sequencer {
        Sequencer { next_lsn, groups: VecDeque::new(), space, bound: FILE_HEADER as u64, spare: Vec::new() }
    }

    /// Goes on at `at` in a file that has records already.
    pub(super) fn after(next_lsn: u64, space: Space, at: u64) -> Sequencer {
        Sequencer { bound: at, ..Sequencer::new(next_lsn, Some(space)) }
    }

    /// Bytes of the current file behind its header, written or to be written.
    pub(super) fn used(&self) -> u64 {
        self.bound - FILE_HEADER as u64
    }

    /// Length of the current file.
    pub(super) fn allocated(&self) -> u64 {
        self.space.as_ref().map_or(0, Space::allocated)
    }

    /// Bytes of the groups in the making.
    pub(super) fn waiting(&self) -> u64 {
        self.groups.iter().map(|group| group.bytes.len() as u64).sum()
    }

    /// Reserves room for a call's records, so that appending them cannot fail.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::NoSpace`]; nothing has changed then.
    pub(super) fn admit(&mut self, records: usize, bytes: usize) -> Result<Appender<'_>> {
        let size = records.saturating_mul(RECORD_HEADER).saturating_add(bytes);
        if size > MAX_GROUP - GROUP_HEADER {
            let got = (size as u64).saturating_add(GROUP_HEADER as u64);
            return Err(Error::TooLarge { got, limit: MAX_GROUP as u64 });
        }
        if self.space.is_some() {
            let joins = self.groups.back().is_some_and(|group| group.bytes.len() + size <= JOIN_LIMIT);
            self.reserve(joins, size)?;
            if !joins {
                let spare = std::mem::take(&mut self.spare);
                self.groups.push_back(Pending::new(spare, self.next_lsn));
            }
        }
        Ok(Appender::new(self, records, bytes))
    }

    /// Reserves room for a group without records.
    pub(super) fn admit_seal(&mut self) -> Result<()> {
        self.reserve(false, 0)
    }

    /// Takes the groups in the making, oldest first.
    pub(super) fn take(&mut self) -> VecDeque<Pending> {
        std::mem::take(&mut self.groups)
    }

    /// All groups taken are written; those made meanwhile follow each other from `at` on, as they will be taken
    /// together.
    pub(super) fn settle(&mut self, at: u64, spare: Option<Vec<u8>>) {
        let reserved = align_up(self.bound);
        self.bound = at + self.waiting();
        debug_assert!(self.bound <= reserved, "written where no room was reserved");
        if let Some(bytes) = spare.filter(|bytes| bytes.capacity() <= JOIN_LIMIT) {
            self.spare = bytes;
        }
    }

    /// Goes on in a new file. Returns the length of the old one.
    pub(super) fn move_to(&mut self, space: Space) -> u64 {
        let old = self.allocated();
        self.space = Some(space);
        self.settle(FILE_HEADER as u64, None);
        old
    }

    fn reserve(&mut self, joins: bool, size: usize) -> Result<()> {
        let Some(space) = &mut self.space else { return Ok(()) };
        // What lies before may be being synced just now, and then this group starts a block of its own.
        let start = if joins { self.bound } else { align_up(self.bound) + GROUP_HEADER as u64 };
        let end = start + size as u64;
        space.ensure(end)?;
        self.bound = end;
        Ok(())
    }
}

/// Appends the records of one call of [`Log::sequence`](super::Log::sequence).
#[derive(Debug)]
pub struct Appender<'a> {
    seq: &'a mut Sequencer,
    records: usize,
    bytes: usize,
    /// The state to go back to if the call does not come to its end.
    start_lsn: u64,
    start_len: usize,
    done: bool,
}

impl<'a> Appender<'a> {
    fn new(seq: &'a mut Sequencer, records: usize, bytes: usize) -> Appender<'a> {
        let start_lsn = seq.next_lsn;
        let start_len = seq.groups.back().map_or(0, |group| group.bytes.len());
        Appender { seq, records, bytes, start_lsn, start_len, done: false }
    }

    /// The LSN of the next record appended.
    pub fn next_lsn(&self) -> u64 {
        self.seq.next_lsn
    }

    /// Appends a record whose body is `body`, one part after the other, and returns its LSN.
    ///
    /// # Panics
    /// If the call asked for fewer records or bytes than it appends.
    pub fn append(&mut self, kind: u8, flags: u8, body: &[&[u8]]) -> u64 {
        let size = body.iter().map(|part| part.len()).sum();
        assert!(self.records > 0 && size <= self.bytes, "more was appended than asked for");
        self.records -= 1;
        self.bytes -= size;
        let lsn = self.seq.next_lsn;
        self.seq.next_lsn += 1;
        if self.seq.space.is_some()
            && let Some(group) = self.seq.groups.back_mut()
        {
            put_record(&mut group.bytes, kind, flags, size, body);
            group.records += 1;
        }
        lsn
    }

    /// The call has come to its end: what it appended stays.
    pub(super) fn finish(mut self) -> u64 {
        self.done = true;
        self.seq.next_lsn
    }
}

impl Drop for Appender<'_> {
    fn drop(&mut self) {
        if !self.done {
            // The caller's code panicked: half a batch must not be written.
            let appended = self.seq.next_lsn - self.start_lsn;
            self.seq.next_lsn = self.start_lsn;
            if let Some(group) = self.seq.groups.back_mut() {
                group.bytes.truncate(self.start_len);
                group.records -= u32::try_from(appended).expect("a group holds fewer records");
            }
        }
        // A group without a record would look like a seal.
        if self.seq.groups.back().is_some_and(|group| group.records == 0) {
            self.seq.groups.pop_back();
        }
    }
}
