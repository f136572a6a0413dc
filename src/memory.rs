//! What a store has in memory, and how it keeps to its budget.

use crate::shared::Shared;
use std::time::Duration;

/// What a store has in memory: part of [`StoreStats`](crate::StoreStats). In bytes; `None` is said where the system does
/// not tell, and of limits without a budget. Asking takes the longer the larger the files are, some 10 ms a GiB.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// assert_eq!(store.stats()?.memory.changed, 0);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// The [budget](crate::StoreOptions::memory), if there is one.
    pub budget: Option<u64>,
    /// Changed pages, which the store keeps until the next checkpoint.
    pub changed: u64,
    /// Writers wait for a checkpoint when there are more of those.
    pub changed_limit: Option<u64>,
    /// The most that pages of the catalogue take.
    pub catalog_limit: u64,
    /// What every search reads, of all collections: links, codes (without them vectors), ids.
    pub hot: u64,
    /// What of that is in memory, the system's copies included.
    pub hot_in_memory: Option<u64>,
    /// What is more than this is not kept in memory.
    pub hot_limit: Option<u64>,
    /// The other vectors: those of collections with codes.
    pub vectors: u64,
    /// What of them is in memory, the system's copies included.
    pub vectors_in_memory: Option<u64>,
    /// [Packed neighbourhoods](crate::Residency::Packed).
    pub packed: u64,
    /// Memory of the whole process: its own, and what it has mapped.
    pub process: Option<u64>,
}

impl MemoryStats {
    pub(crate) fn of(shared: &Shared) -> Self {
        let open: Vec<_> = shared.open.read().values().map(|open| open.index()).collect();
        let (hot, vectors) = shared.mapped_bytes();
        let in_memory = open.iter().map(|index| index.bytes_in_memory()).collect::<Option<Vec<_>>>();
        let budget = shared.options.memory;
        Self {
            budget: budget.map(|budget| budget.0),
            changed: shared.dirty_bytes(),
            changed_limit: budget.map(|budget| budget.changed()),
            catalog_limit: shared.options.catalog_bytes() as u64,
            hot,
            hot_in_memory: in_memory.as_ref().map(|all| all.iter().map(|of| of.0).sum()),
            hot_limit: budget.map(|budget| budget.hot()),
            vectors,
            vectors_in_memory: in_memory.as_ref().map(|all| all.iter().map(|of| of.1).sum()),
            packed: open.iter().map(|index| index.packed_bytes()).sum(),
            process: process_bytes(),
        }
    }
}

/// As Linux tells.
fn process_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// A write waits so long for others to be done that keep checkpoints off.
const PATIENCE: Duration = Duration::from_secs(2);

impl Shared {
    /// Bytes that every search reads, and of vectors beyond, of all open collections.
    pub(crate) fn mapped_bytes(&self) -> (u64, u64) {
        let open: Vec<_> = self.open.read().values().map(|open| open.index()).collect();
        open.iter().fold((0, 0), |(hot, cold), index| (hot + index.hot_bytes(), cold + index.cold_bytes()))
    }

    /// Whether what every search reads may be kept in memory.
    pub(crate) fn keeps_hot(&self) -> bool {
        self.options.memory.is_none_or(|budget| self.mapped_bytes().0 <= budget.hot())
    }

    /// Whether the process has more memory than the store's budget.
    pub(crate) fn is_over_budget(&self) -> bool {
        self.options.memory.is_some_and(|budget| process_bytes().is_some_and(|bytes| bytes > budget.0))
    }

    /// Looks again whether all collections together fit into the budget. If they do not, vectors are read by calls.
    pub(crate) fn review_budget(&self) {
        let Some(budget) = self.options.memory else { return };
        let (hot, cold) = self.mapped_bytes();
        let fits = hot + cold <= budget.hot();
        self.open.read().values().for_each(|open| open.index().set_cold(!fits));
    }

    /// Waits until changed pages are written, if there are too many.
    pub(crate) fn write_changed(&self) {
        let is_over = || self.options.memory.is_some_and(|budget| self.dirty_bytes() > budget.changed());
        if !self.disk.is_persistent() || !is_over() {
            return;
        }
        // One may be under way that has them all. But a backup keeps others off for as long as it takes, and who writes
        // may be what it waits for.
        let Some(mut number) = self.checkpointing.try_lock_for(PATIENCE) else { return };
        if is_over() && self.check_open().is_ok() {
            // The write has succeeded, whatever becomes of this: what is wrong is met again by the next one.
            let _ = self.checkpoint_locked(&mut number);
        }
    }
}
