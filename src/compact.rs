//! Compacting: the live records of a collection in new files, and nothing else (docs/durability.md, steps C1 to C7).

use crate::catalog::Move;
use crate::error::{Error, Result};
use crate::files;
use crate::generation::slots_of;
use crate::measure::sampled_recall;
use crate::observe::{self, Work};
use crate::op;
use crate::open::reside;
use crate::shared::{Open, Shared};
use lodestore_engine::{Head, Index, remove_generation};
use lodestore_wal::log::{Appender, Commit};
use lodestore_wal::mutant::{self, Mutant};
use lodestore_wal::names;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Called with the steps done and those there are.
type Progress<'a> = Box<dyn FnMut(u64, u64) + 'a>;

/// A compaction to be set up and [run](Self::run): of one [collection](crate::Collection::compact) or of
/// [all](crate::Store::compact).
///
/// Removed and replaced records keep their slots and their place in the graph until then. Compacting writes the others
/// (those marked as deleted, too) into new files, near each other where the graph links them, mends the graph where it led through removed ones,
/// and removes the old files. It reads and writes what the live records take once, which is far less than building the
/// graph anew. Searches and reads go on meanwhile; writes wait. After a crash the store holds the old files or the new
/// ones, with the same records.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// let store = lodestore::Store::open(dir.path())?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// docs.put_many(&[1, 2, 3], &[0.0, 0.0, 5.0, 5.0, 9.0, 9.0], None)?;
/// docs.remove(2)?;
/// let report = docs.compact().erase(true).run()?;
/// assert_eq!((report.collections[0].slots_before, report.collections[0].slots_after), (3, 2));
/// assert!(store.verify_absent(2, None)?.absent());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is compacted until it is run"]
pub struct Compact<'a> {
    shared: &'a Shared,
    /// `None` = all.
    only: Option<Arc<Open>>,
    erase: bool,
    samples: usize,
    progress: Progress<'a>,
}

impl fmt::Debug for Compact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only = self.only.as_ref().map(|open| &open.name);
        let mut debug = f.debug_struct("Compact");
        debug.field("only", &only).field("erase", &self.erase).field("samples", &self.samples).finish_non_exhaustive()
    }
}

/// What a compaction did. See [`Compact`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CompactReport {
    /// The collections compacted, by name.
    pub collections: Vec<CompactedCollection>,
    /// Length of all files of the store before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
}

/// What a compaction did to one collection. See [`Compact`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CompactedCollection {
    /// Its name.
    pub name: String,
    /// Records, as before.
    pub records: u64,
    /// Slots given out before, those of replaced and removed records included.
    pub slots_before: u64,
    /// And after: as many as records, unless some were written since.
    pub slots_after: u64,
    /// Recall@10 at ef 64 before, if [asked for](Compact::samples) and there were two records.
    pub recall_before: Option<f64>,
    /// And after.
    pub recall_after: Option<f64>,
}

impl<'a> Compact<'a> {
    pub(crate) fn new(shared: &'a Shared, only: Option<Arc<Open>>) -> Self {
        Self { shared, only, erase: false, samples: 0, progress: Box::new(|_, _| {}) }
    }

    /// Leaves nothing of what was removed or replaced in the collections compacted, in any file of the store: neither
    /// vectors nor payloads nor keys. Keys and payloads of all collections are written into a new file for that, and the
    /// log begins anew. What the disk itself keeps of removed files, and copies made elsewhere, are out of reach.
    /// Default: false, which leaves such bytes in free pages of `catalog.redb` until others take their place.
    pub fn erase(mut self, erase: bool) -> Self {
        self.erase = erase;
        self
    }

    /// Measures recall before and after, with so many stored vectors as queries. Costs a distance for each of them and
    /// each record, twice. Default: 0, which measures nothing.
    pub fn samples(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    /// Calls `progress` now and then with the steps done and those there are, two for each record.
    pub fn progress(mut self, progress: impl FnMut(u64, u64) + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Compacts, one collection after the other.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: there must be room for old and new files together. [`Error::Corrupt`] if what is to be
    /// written anew is damaged. Both leave the collection as it was. Failures of the log, the catalogue or a checkpoint
    /// end writing, and after reopening the collection is compacted or not.
    pub fn run(mut self) -> Result<CompactReport> {
        let shared = self.shared;
        shared.check_open()?;
        let _work = observe::begin(Work::Compact, &shared.path);
        let bytes_before = files::bytes(&*shared.disk)?;
        let opens = match self.only.take() {
            Some(open) => vec![open],
            None => shared.catalog.names().keys().map(|name| shared.open_collection(name)).collect::<Result<_>>()?,
        };
        let steps = |open: &Arc<Open>| 2 * open.records.load(Ordering::Acquire);
        let mut left: u64 = opens.iter().map(steps).sum();
        let mut before = 0;
        let mut collections = Vec::with_capacity(opens.len());
        for open in &opens {
            let recall_before = sampled_recall(shared, open, self.samples)?;
            let slots_before = u64::from(open.index().next_slot());
            left -= steps(open).min(left);
            let mut of_this = 0;
            shared.compact(open, &mut |done, all| {
                of_this = all;
                (self.progress)(before + done, before + all + left);
            })?;
            before += of_this;
            collections.push(CompactedCollection {
                name: open.name.clone(),
                records: open.records.load(Ordering::Acquire),
                slots_before,
                slots_after: u64::from(open.index().next_slot()),
                recall_before,
                recall_after: sampled_recall(shared, open, self.samples)?,
            });
        }
        if self.erase {
            shared.erase()?;
        }
        Ok(CompactReport { collections, bytes_before, bytes_after: files::bytes(&*shared.disk)? })
    }
}

/// A generation that nothing names yet, and the catalogue ready to go over to it.
pub(crate) struct Next<'a> {
    pub(crate) index: Index,
    pub(crate) moving: Move<'a>,
}

impl Shared {
    fn compact(&self, open: &Open, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let make = |old: &Index| Ok((self.next_generation(old, progress)?, ()));
        self.replace_generation(open, make, op::append_compact).map(drop)
    }

    /// Steps C1 to C6: the collection goes over to the next generation of its files, which `make` writes (C2), by a log
    /// record that `append` makes. Returns the record's LSN, and what else `make` returns.
    pub(crate) fn replace_generation<'s, T>(
        &'s self,
        open: &Open,
        make: impl FnOnce(&Index) -> Result<(Next<'s>, T)>,
        append: impl FnOnce(&mut Appender<'_>, u32, &Head) -> u64,
    ) -> Result<(u64, T)> {
        let mut number = self.checkpointing.lock();
        self.check_open()?;
        let log = self.log()?;
        self.link_pending()?;
        let done = {
            // C1: the files hold all there is. Writers wait from here to C5.
            let _gate = self.gate.write();
            // What a failed write has left is not linked.
            self.poison.check()?;
            if self.disk.is_persistent() {
                let begun = self.freeze(log)?;
                self.write_frozen(&mut number, log, begun)?;
            }
            let old = open.index();
            let undo = |error: Error| {
                if let Some(next) = old.generation().checked_add(1) {
                    // Nothing names it; should this fail, opening removes it.
                    let _ = remove_generation(&*self.disk, open.id, next);
                }
                error
            };
            // C2
            let (next, made) = make(&old).map_err(undo)?;
            (self.go_over(open, &old, next, |log, head| append(log, open.id, head), undo)?, made)
        };
        // C5, C6
        self.checkpoint_locked(&mut number)?;
        if !self.disk.is_persistent() {
            self.remove_retired()?;
        }
        Ok(done)
    }

    /// C3 and C4, by who holds the gate: the collection is the next generation from here on. `append` makes the record
    /// that says so; if it cannot be made, `undo` is called with why. Returns its LSN.
    fn go_over(
        &self,
        open: &Open,
        old: &Index,
        Next { index, moving }: Next<'_>,
        append: impl FnOnce(&mut Appender<'_>, &Head) -> u64,
        undo: impl FnOnce(Error) -> Error,
    ) -> Result<u64> {
        // C3: the commit point.
        let (log, head) = (self.log()?, index.head());
        let lsn = log.sequence(1, op::COMPACT_LEN, |log| append(log, &head));
        let lsn = lsn.map_err(|error| undo(error.into()))?;
        mutant::unless(Mutant::CompactionUnsynced, || log.commit(lsn, Commit::Synced))?;
        // C4
        let replaced = open.replace(Arc::new(index), || moving.commit(lsn));
        replaced.inspect_err(|error| self.poison.set(error))?;
        open.records.store(head.live, Ordering::Release);
        self.retired.lock().push((open.id, old.generation()));
        Ok(lsn)
    }

    /// The next generation of a collection, as those are that were opened, and the catalogue ready to go over to it.
    fn next_generation(&self, old: &Index, progress: &mut dyn FnMut(u64, u64)) -> Result<Next<'_>> {
        let next = old.compact(&*self.disk, self.uuid, progress)?;
        reside(&next, &self.options)?;
        let moving = self.catalog.begin_move(old.id(), slots_of(&next, next.next_slot())?)?;
        let (rows, live) = (moving.rows(), next.live() + next.marked());
        // Every slot has a record of its own, or the two do not go together.
        if rows != live || self.catalog.records_of(old.id())? != live {
            let what =
                format!("{rows} records of collection {} are in one of its {live} live or marked slots", old.id());
            return Err(Error::Corrupt { file: names::CATALOG.into(), offset: 0, what });
        }
        Ok(Next { index: next, moving })
    }

    /// C7: what was once in the catalogue and in the log goes, too.
    fn erase(&self) -> Result<()> {
        let mut number = self.checkpointing.lock();
        self.check_open()?;
        self.poison.check()?;
        let log = self.log()?;
        {
            let _gate = self.gate.write();
            self.catalog.apply().inspect_err(|error| self.poison.set(error))?;
            log.commit(log.last_lsn(), Commit::Synced)?;
            self.catalog.copy_beside(&*self.disk)?;
            self.catalog.take_over(&*self.disk).inspect_err(|error| self.poison.set(error))?;
            self.poison.check()?;
        }
        self.checkpoint_locked(&mut number)?;
        if self.disk.is_persistent() {
            // If there was nothing to write, leftovers of an earlier failure may still be there.
            let checkpoint = self.superblock.lock().1.ckpt_lsn;
            log.remove_through(checkpoint.min(self.catalog.durable()))?;
            self.remove_retired()?;
            for dir in [names::WAL_DIR, names::CKPT_DIR, names::COLLECTIONS_DIR] {
                self.disk.sync_dir(dir)?;
            }
        }
        Ok(())
    }
}
