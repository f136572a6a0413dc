//! How a store is opened.

use crate::budget::Budget;
use lodestore_engine::{Metrics, UserMetric};
use std::sync::Arc;
use std::time::Duration;

/// Memory for pages of the catalogue, if nothing else is said.
pub(crate) const CATALOG_CACHE_BYTES: usize = 64 << 20;

/// What a write that returned `Ok` survives. At every level what is left after a crash is a prefix of the writes, in
/// their order, with every batch whole; the levels differ in how long that prefix is.
///
/// | level | end of the process | power loss | cost |
/// |---|---|---|---|
/// | `Sync` | nothing lost | nothing lost | a sync, shared by all who write at that time |
/// | `Every(d)` | nothing lost | at most the writes of the last `d` | a sync every `d` |
/// | `Buffered` | nothing lost | writes since the last [`Store::sync`](crate::Store::sync) or checkpoint | none |
///
/// ```
/// use lodestore::{Durability, Store};
/// use std::time::Duration;
/// let dir = tempfile::tempdir()?;
/// let store = Store::options().durability(Durability::Every(Duration::from_millis(50))).open(dir.path())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Every write is on the disk before its call returns.
    #[default]
    Sync,
    /// Writes are handed to the system at once and synced this often.
    Every(Duration),
    /// Writes are handed to the system at once.
    Buffered,
}

/// Where what searches walk through is: links, and codes (without codes, vectors).
///
/// ```
/// use lodestore::{Residency, Store};
/// let dir = tempfile::tempdir()?;
/// let store = Store::options().residency(Residency::Resident).open(dir.path())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Residency {
    /// In the files, mapped: opening reads nothing, and the system keeps in memory what is used.
    #[default]
    Mapped,
    /// As `Mapped`, but read into memory when a collection is opened, in huge pages where the system grants them, which
    /// [`Collection::huge_bytes`](crate::Collection::huge_bytes) tells (Linux does on file systems with large folios).
    /// Opening takes as long as reading takes, searches of large collections are faster (of 1,000,000 vectors by a
    /// fifth), and where memory is short a walk reads 2 MiB where it would read 4 KiB.
    Resident,
    /// As `Resident`, and for each record what estimates the distances of all its neighbours lies together in memory, so
    /// that a search fetches the codes of a third of them: of 1,000,000 vectors of 128 dimensions it takes three quarters
    /// of the time for the same recall at the same `ef`. Collections that are not much larger than the CPU's caches gain
    /// little or nothing.
    ///
    /// That takes memory beyond the files, 8 bytes and a bit for each coded component for each link: with M 16 and 128
    /// dimensions 768 bytes a record, which [`Collection::packed_bytes`](crate::Collection::packed_bytes) counts. It is
    /// made when a collection is opened, by all cores (of 1,000,000 records in about 6 seconds by two), and writes keep it
    /// up to date from then on; nothing of it is in a file. Collections without [codes](crate::Codes), or with more than
    /// 256 coded components, have none and are searched as with `Resident`.
    Packed,
}

/// How a store is opened; see [`Store::options`](crate::Store::options).
///
/// ```
/// use lodestore::{Durability, Store};
/// let dir = tempfile::tempdir()?;
/// let store = Store::options().durability(Durability::Buffered).threads(1).open(dir.path().join("store"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub(crate) durability: Durability,
    pub(crate) create: bool,
    pub(crate) threads: usize,
    pub(crate) background: bool,
    pub(crate) maintenance: bool,
    pub(crate) residency: Residency,
    pub(crate) checkpoint_log_bytes: u64,
    pub(crate) checkpoint_dirty_bytes: u64,
    pub(crate) catalog_cache: usize,
    pub(crate) memory: Option<Budget>,
    pub(crate) scrub: Option<Duration>,
    pub(crate) patience: Duration,
    pub(crate) metrics: Metrics,
    /// What is wrong with a metric.
    pub(crate) wrong_metric: Option<String>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            create: true,
            threads: 0,
            background: true,
            maintenance: true,
            residency: Residency::Mapped,
            checkpoint_log_bytes: 64 << 20,
            checkpoint_dirty_bytes: 1 << 30,
            catalog_cache: CATALOG_CACHE_BYTES,
            memory: None,
            scrub: None,
            patience: Duration::from_secs(20),
            metrics: Metrics::default(),
            wrong_metric: None,
        }
    }
}

impl StoreOptions {
    /// Registers a metric of the program's own, which collections can then [have](crate::CollectionBuilder::user_metric).
    /// A name that cannot be one, or is there already, is an error when the store is opened.
    ///
    /// ```
    /// use lodestore::{Error, Store, UserMetric};
    /// struct Manhattan;
    /// impl UserMetric for Manhattan {
    ///     fn name(&self) -> &str {
    ///         "manhattan"
    ///     }
    ///     fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
    ///         a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum()
    ///     }
    /// }
    /// let dir = tempfile::tempdir()?;
    /// let store = Store::options().metric(Manhattan).open(dir.path())?;
    /// let docs = store.collection::<u64>("docs").dim(2).user_metric("manhattan").create()?;
    /// docs.put(1, &[1.0, 5.0], b"")?;
    /// assert_eq!(docs.search(&[0.0, 3.0]).run()?[0].distance, 3.0);
    /// store.close()?;
    /// let other = Store::open(dir.path())?; // without it
    /// assert!(matches!(other.collection::<u64>("docs").open(), Err(Error::UnknownMetric { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn metric(mut self, metric: impl UserMetric) -> Self {
        if let Err(what) = self.metrics.add(Arc::new(metric)) {
            self.wrong_metric = Some(what);
        }
        self
    }

    /// What writes survive. Default: [`Durability::Sync`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Whether to make the store if the directory holds none. Default: true.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Threads that link the rows of one large write, and the records found in the log after a crash. Default: 0,
    /// which is as many as there are cores. The same writes, one after the other, make the same graph with any number
    /// of threads.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Whether threads of the store take care of checkpoints and periodic syncs. Default: true. Without them they
    /// happen within the write that makes them due.
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// Whether checkpoints also unlink records that were removed or replaced, once they are more than one in 48, and one
    /// becomes due when they are more than one in 24. Default: true. Unlinking takes about half as long as putting a record
    /// does; until then searches pass through it, and its place in the files is not used again. Without it, the files
    /// grow with every record replaced.
    pub fn maintenance(mut self, maintenance: bool) -> Self {
        self.maintenance = maintenance;
        self
    }

    /// Whether collections are read into memory when they are opened. Default: [`Residency::Mapped`].
    pub fn residency(mut self, residency: Residency) -> Self {
        self.residency = residency;
        self
    }

    /// Log bytes after which a checkpoint is due. Default: 64 MiB. More makes bulk loads write less and reopening
    /// after a crash replay more. A checkpoint also waits until the log has as many bytes as there are in changed
    /// pages, since every checkpoint writes those twice.
    pub fn checkpoint_log_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_log_bytes = bytes;
        self
    }

    /// Bytes of changed pages, which are kept in memory, after which a checkpoint is due in any case.
    /// Default: 1 GiB.
    pub fn checkpoint_dirty_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_dirty_bytes = bytes;
        self
    }

    /// Looks for damage in the background: `period` after the store was opened, and then after the last time it was done, all
    /// that is in use is read once, as [`Store::scrub`](crate::Store::scrub) does, for a twentieth of the time. What it finds is in
    /// [`StoreStats::scrub`](crate::StoreStats). Default: never. Needs [`background`](Self::background).
    pub fn scrub(mut self, period: Duration) -> Self {
        self.scrub = Some(period);
        self
    }

    /// Bytes of memory for pages of the catalogue: keys with their places, and payloads. Default: 64 MiB. Pages beyond are
    /// read, from the system's cache if they are there, each time they are needed.
    pub fn catalog_cache_bytes(mut self, bytes: usize) -> Self {
        self.catalog_cache = bytes;
        self
    }

    /// How much memory the store may take for itself, for data that is larger: at least 32 MiB. Default: no budget.
    ///
    /// A quarter of it is for changed pages: a checkpoint becomes due at half of that, whatever the other settings say, and
    /// at all of it writers wait for one. A half is for what every search reads (links, codes, ids): where that is enough it
    /// is kept in memory, and where not even vectors fit in beside it, they are read by calls, all that a search needs at
    /// once, and do not become part of the process. [`Residency::Resident`] and [`Residency::Packed`] hold as far as there
    /// is room. A sixteenth is the most for the catalogue's pages. What the parts take is in
    /// [`StoreStats::memory`](crate::StoreStats). Not counted are the system's own copies of pages that nobody maps, and the
    /// rows of one call; `docs/memory.md` in the repository has figures.
    ///
    /// # Errors
    /// Opening fails with [`Error::Setting`](crate::Error::Setting) if it is less than 32 MiB.
    ///
    /// ```
    /// use lodestore::Store;
    /// let dir = tempfile::tempdir()?;
    /// let store = Store::options().memory(256 << 20).open(dir.path())?;
    /// assert_eq!(store.stats()?.memory.budget, Some(256 << 20));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(Budget(bytes));
        self
    }

    /// Bytes for pages of the catalogue: as many as were asked for, if the budget has them.
    pub(crate) fn catalog_bytes(&self) -> usize {
        let most = self.memory.map_or(u64::MAX, Budget::catalog);
        self.catalog_cache.min(usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// How long [opening for reading](crate::Store::open_read_only) waits for the end of a checkpoint that a writer is taking.
    /// Default: 20 seconds, several times what a checkpoint of a million records takes.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}
