//! Maintenance: removed and replaced records are unlinked, so that searches need not pass through them and their slots
//! are used again.
//!
//! A sweep looks at every list of a collection, so it is worth its time when there is enough to unlink. It runs before a
//! checkpoint, which makes it durable; readers never wait for it, writers for moments.

use crate::error::Result;
use crate::observe::{self, Work};
use crate::shared::Shared;
use lodestore_engine::Index;
use lodestore_engine::sweep::Sweep;

/// A checkpoint sweeps when more than one in so many slots are removed or replaced ones.
const ONE_IN: u64 = 48;
/// Such a checkpoint is due when more than one in so many are,
const DUE_ONE_IN: u64 = 24;
/// and more than these.
const DUE: u64 = 256;
/// With more than one in so many, whoever writes sees to it, or the collection grows faster than slots come free.
const HELP_ONE_IN: u64 = 12;
/// Slots whose lists are swept while a checkpoint's first step, or another holder of the gate, waits.
const SLOTS: u32 = 2048;
/// Records that are linked anew while writers wait.
const RELINKED: usize = 16;

impl Shared {
    /// Whether so many records of a collection were removed or replaced that unlinking them is worth a checkpoint.
    pub(crate) fn sweep_due(&self, index: &Index) -> bool {
        self.options.maintenance && index.dead() > DUE.max(u64::from(index.next_slot()) / DUE_ONE_IN)
    }

    /// Whether so many were that the store's thread has fallen behind: waits for it, or does its work.
    pub(crate) fn help_sweeping(&self, index: &Index) -> Result<()> {
        let is_behind = || index.dead() > (2 * DUE).max(u64::from(index.next_slot()) / HELP_ONE_IN);
        if !self.options.maintenance || !is_behind() {
            return Ok(());
        }
        let mut number = self.checkpointing.lock();
        if is_behind() {
            self.check_open()?;
            self.sweep()?;
            self.checkpoint_locked(&mut number)?;
        }
        Ok(())
    }

    /// Whether that is so of any collection.
    pub(crate) fn any_sweep_due(&self) -> bool {
        self.open.read().values().any(|open| self.sweep_due(&open.index()))
    }

    /// Unlinks what was removed and replaced, where it is enough to be worth it, and mends what writers have left. Called by
    /// a checkpoint, before its first step.
    pub(crate) fn sweep(&self) -> Result<()> {
        let is_worth_it = |index: &Index| index.dead() * ONE_IN > u64::from(index.next_slot());
        let all: Vec<_> = self.open.read().values().map(|open| open.index()).collect();
        for index in all.iter().filter(|index| is_worth_it(index)) {
            // What recovery has not linked yet would be linked to what is being unlinked.
            self.link_pending()?;
            self.sweep_one(index)?;
        }
        self.mend()
    }

    /// Links what writers that did not see each other's changes have put out of reach, where there may be such records.
    /// Writers wait for moments. The caller holds `checkpointing`.
    pub(crate) fn mend(&self) -> Result<()> {
        let all: Vec<_> = self.open.read().values().map(|open| open.index()).collect();
        // Recovery links what it has put in place, and is not done with it.
        for index in all.iter().filter(|index| index.doubted() > 0 && index.unlinked().is_empty()) {
            let lsn = {
                let _gate = self.gate.write();
                self.poison.check()?;
                self.last_lsn()
            };
            let lost = {
                let _gate = self.gate.read();
                index.lost(lsn)
            };
            self.relink(index, &lost).inspect_err(|error| self.poison.set(error))?;
        }
        Ok(())
    }

    /// Whether there may be something to [mend](Self::mend).
    pub(crate) fn any_doubted(&self) -> bool {
        self.options.maintenance && self.open.read().values().any(|open| open.index().doubted() > 0)
    }

    fn relink(&self, index: &Index, lost: &[u32]) -> lodestore_wal::Result<()> {
        for some in lost.chunks(RELINKED) {
            let _gate = self.gate.write();
            index.relink(some)?;
        }
        Ok(())
    }

    pub(crate) fn sweep_one(&self, index: &Index) -> Result<()> {
        let _work = observe::begin(Work::Sweep, &self.path);
        let sweep = {
            let _gate = self.gate.write();
            // What a failed write has left is not linked.
            self.poison.check()?;
            index.begin_sweep(self.last_lsn())
        };
        Ok(self.unlink(index, sweep).inspect_err(|error| self.poison.set(error))?)
    }

    fn unlink(&self, index: &Index, mut sweep: Sweep) -> lodestore_wal::Result<()> {
        let mut more = true;
        while more {
            let _gate = self.gate.read();
            more = index.sweep(&mut sweep, SLOTS)?;
        }
        let lost = {
            let _gate = self.gate.read();
            index.end_sweep(sweep)?
        };
        self.relink(index, &lost)
    }
}
