//! Counts and sizes of a store.

use crate::error::Result;
use crate::files;
use crate::info::CollectionInfo;
use crate::memory::MemoryStats;
use crate::scrub_report::ScrubReport;
use crate::shared::Shared;
use lodestore_wal::names;
use std::sync::atomic::Ordering;

/// What [`Store::stats`](crate::Store::stats) tells. Sizes are in bytes.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let stats = store.stats()?;
/// println!("{} records in {} bytes, kernel {}", stats.records, stats.bytes, stats.kernel);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoreStats {
    /// The collections, by name.
    pub collections: Vec<CollectionInfo>,
    /// Records of all collections.
    pub records: u64,
    /// The files of the store: name, relative to its directory, and length.
    pub files: Vec<(String, u64)>,
    /// Length of all files together.
    pub bytes: u64,
    /// The number of the last log record.
    pub last_lsn: u64,
    /// Log records up to this one survive a power loss.
    pub durable_lsn: u64,
    /// Log records up to this one are in the last checkpoint.
    pub checkpoint_lsn: u64,
    /// Bytes of log files.
    pub log_bytes: u64,
    /// Syncs of the log since the store was opened.
    pub log_syncs: u64,
    /// Checkpoints since the store was opened.
    pub checkpoints: u64,
    /// Bytes of changed pages that are in memory until the next checkpoint.
    pub dirty_bytes: u64,
    /// What is in memory, and the budget for it.
    pub memory: MemoryStats,
    /// Stores opened [for reading](crate::Store::open_read_only), in this process or others, at this moment.
    pub readers: u64,
    /// What the last [scrub](crate::Store::scrub) has found, if there was one since the store was opened.
    pub scrub: Option<ScrubReport>,
    /// Why the store takes no more writes, if it does not.
    pub poisoned: Option<String>,
    /// The kernel that computes distances: `avx512`, `avx2`, `neon` or `scalar`.
    pub kernel: &'static str,
}

impl StoreStats {
    pub(crate) fn of(shared: &Shared) -> Result<Self> {
        shared.check_open()?;
        let names = shared.catalog.names();
        let infos = names.keys().map(|name| Ok(CollectionInfo::of(&*shared.open_collection(name)?)));
        let collections = infos.collect::<Result<Vec<_>>>()?;
        let files = files::list(&*shared.disk)?;
        let checkpoint_lsn = shared.superblock.lock().1.ckpt_lsn;
        let log = shared.log_if_any();
        let log_stats = log.map(|log| log.stats()).unwrap_or_default();
        Ok(Self {
            records: collections.iter().map(|c| c.len).sum(),
            collections,
            bytes: files.iter().map(|f| f.1).sum(),
            log_bytes: files.iter().filter(|f| names::parent(&f.0) == names::WAL_DIR).map(|f| f.1).sum(),
            files,
            last_lsn: shared.last_lsn(),
            durable_lsn: log.map_or(checkpoint_lsn, |log| log.durable_lsn()),
            checkpoint_lsn,
            log_syncs: log_stats.syncs,
            checkpoints: shared.checkpoints.load(Ordering::Relaxed),
            dirty_bytes: shared.dirty_bytes(),
            memory: MemoryStats::of(shared),
            readers: shared.seats()?.len() as u64,
            scrub: shared.scrubbed.lock().clone(),
            poisoned: shared.poison.reason().map(str::to_owned),
            kernel: lodestore_engine::kernel::Kernel::detect().tier().name(),
        })
    }
}
