//! Checkpoints: the segments and the catalogue catch up with the log (docs/durability.md, steps S0 to S8).

use crate::catalog::Hold;
use crate::error::Result;
use crate::observe::{self, Work};
use crate::shared::{Shared, Task};
use lodestore_engine::{Frozen, Index, remove_generation};
use lodestore_wal::log::Commit;
use lodestore_wal::mutant::{self, Mutant};
use lodestore_wal::seats::oldest;
use lodestore_wal::{Log, names};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A checkpoint that has passed S0.
#[derive(Debug)]
pub(crate) struct Begun<'a> {
    pub(crate) frozen: Frozen,
    /// It goes up to here,
    pub(crate) lsn: u64,
    /// and so does the catalogue.
    hold: Hold<'a>,
}

impl Shared {
    /// Takes a checkpoint, if anything has changed since the last one. Writers wait only for its first step.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let mut number = self.checkpointing.lock();
        // Whoever waited here for `close` must not write: another process may have opened the store by now.
        self.check_open()?;
        if self.options.maintenance && self.reader.is_none() {
            self.sweep()?;
        }
        self.checkpoint_locked(&mut number)
    }

    pub(crate) fn checkpoint_locked(&self, number: &mut u64) -> Result<()> {
        if !self.disk.is_persistent() {
            // Inserts that have met what was unlinked are waited for; otherwise S0 does that.
            drop(self.gate.write());
            self.open.read().values().for_each(|open| open.index().settle_free(0, u64::MAX));
            return self.catalog.apply().map(|_| ()).inspect_err(|error| self.poison.set(error));
        }
        let Some(log) = self.log_if_any() else { return Ok(()) };
        self.poison.check()?;
        // A slot that is in a segment and not in the graph would be lost once the log is gone.
        self.link_pending()?;

        let begun = {
            let _gate = self.gate.write();
            self.freeze(log)?
        };
        self.write_frozen(number, log, begun)
    }

    /// S0, by who holds the gate.
    pub(crate) fn freeze(&self, log: &Log) -> Result<Begun<'_>> {
        let lsn = log.rotate()?;
        let mut indexes: Vec<Arc<Index>> = self.open.read().values().map(|open| open.index()).collect();
        // Always the same order, so that the same writes leave the same files.
        indexes.sort_unstable_by_key(|index| index.id());
        Ok(Begun { frozen: Frozen::freeze(&indexes), lsn, hold: self.catalog.hold_at(lsn) })
    }

    /// S1 to S8.
    pub(crate) fn write_frozen(&self, number: &mut u64, log: &Log, begun: Begun<'_>) -> Result<()> {
        let Begun { frozen, lsn, hold } = begun;
        let known = self.superblock.lock().1.ckpt_lsn;
        if frozen.is_empty() && lsn == known && self.catalog.durable() >= lsn {
            return Ok(());
        }
        let _work = observe::begin(Work::Checkpoint, &self.path);
        let no = *number;
        *number += 1;

        // S1: a failed sync may have lost what was written, and a second one would not say so.
        self.poison.guard(frozen.sync_slots())?;

        // S2
        let length = match frozen.write(&*self.disk, self.uuid, no, lsn, &self.heads) {
            Ok(length) => length,
            Err(error) => {
                frozen.unfreeze();
                let _ = self.disk.remove(&names::ckpt(no));
                return Err(error.into());
            }
        };

        // S3
        let durable = self.catalog.apply().and_then(|applied| {
            mutant::unless(Mutant::CatalogueFirst, || log.commit(applied, Commit::Synced))?;
            self.catalog.commit_durably(no)
        });
        drop(hold);
        durable.inspect_err(|error| self.poison.set(error))?;
        // The catalogue's own failures show here only.
        self.poison.check()?;

        if mutant::on(Mutant::AppliedEarly) {
            self.poison.guard(frozen.apply(&*self.disk, self.uuid, no, &self.heads))?;
        }

        // S4: the commit point.
        {
            let mut superblock = self.superblock.lock();
            let (file, state) = &mut *superblock;
            state.ckpt_lsn = lsn;
            state.pending = no;
            state.pending_len = length;
            if mutant::on(Mutant::NeverPending) {
                (state.pending, state.pending_len, state.done) = (0, 0, no);
            }
            self.poison.guard(file.write(state))?;
        }
        if mutant::on(Mutant::LogRemovedEarly) {
            log.remove_through(lsn.min(self.catalog.durable()))?;
        }

        // S5
        self.poison.guard(frozen.apply(&*self.disk, self.uuid, no, &self.heads))?;

        // S6
        {
            let mut superblock = self.superblock.lock();
            let (file, state) = &mut *superblock;
            state.done = no;
            state.pending = 0;
            state.pending_len = 0;
            self.poison.guard(file.write(state))?;
        }

        // S7. Readers that come from now on look at this checkpoint.
        let seats = self.readers();
        frozen.release(no, oldest(&seats));
        // What is being scrubbed is kept, too.
        let scrubbed = self.scrubbing.lock().map(Some);
        self.catalog.unpin(&seats.into_iter().chain(scrubbed).collect::<Vec<_>>());
        self.checkpoints.fetch_add(1, Ordering::Relaxed);

        // S8: leftovers are removed at the next open if this fails.
        self.disk.remove(&names::ckpt(no))?;
        log.remove_through(lsn.min(self.catalog.durable()))?;
        self.review_budget();
        self.remove_retired()
    }

    /// What readers in other processes look at. One that cannot be asked may look at anything.
    fn readers(&self) -> Vec<Option<u64>> {
        let seats = self.seats().unwrap_or_else(|_| vec![None]);
        self.oldest_reader.store(oldest(&seats), Ordering::Release);
        seats
    }

    /// Removes the generations that nothing names any more, once a checkpoint has named the ones that followed.
    pub(crate) fn remove_retired(&self) -> Result<()> {
        let mut retired = self.retired.lock();
        while let Some(&(id, generation)) = retired.last() {
            remove_generation(&*self.disk, id, generation)?;
            retired.pop();
        }
        Ok(())
    }

    /// Links what recovery has put in place.
    pub(crate) fn link_pending(&self) -> Result<()> {
        let _linking = self.linking.lock();
        let open: Vec<_> = self.open.read().values().cloned().collect();
        for open in open {
            let index = open.index();
            let writes = index.unlinked_writes();
            if writes.is_empty() {
                continue;
            }
            // As they were linked, or would have been.
            let link = |(slots, before): &(Vec<u32>, u32)| self.link_slots(&[(&index, slots, *before)]);
            let linked = writes.iter().try_for_each(link);
            linked.inspect_err(|error| self.poison.set(error))?;
        }
        Ok(())
    }

    /// Takes the last checkpoint, closes the catalogue, marks the store cleanly closed and lets go of its lock.
    pub(crate) fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.bell.ring(Task::Stop);
        self.sync_bell.ring(Task::Stop);
        self.scrub_bell.ring(Task::Stop);
        self.keeper_bell.ring(Task::Stop);
        drop(self.syncing.lock());
        let mut number = self.checkpointing.lock();
        // Writes that passed the check of `closed` are waited for.
        drop(self.gate.write());
        let result = if self.poison.reason().is_some() {
            Ok(())
        } else {
            let mended = if self.any_doubted() { self.mend() } else { Ok(()) };
            mended.and_then(|()| self.checkpoint_locked(&mut number))
        };
        self.catalog.close();
        if let Some(reader) = &self.reader {
            reader.leave();
        }
        let mut superblock = self.superblock.lock();
        let (file, state) = &mut *superblock;
        let result = result.and_then(|()| {
            let at_rest = self.log_if_any().is_some_and(|log| log.last_lsn() == state.ckpt_lsn);
            if self.disk.is_persistent() && at_rest && self.poison.reason().is_none() {
                state.clean = true;
                file.write(state)?;
            }
            Ok(())
        });
        self.unlock();
        result
    }
}
