//! What all handles of one open store share.

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::flight::InFlight;
use crate::options::{Durability, StoreOptions};
use crate::reader::Reader;
use crate::recall::RecallReport;
use crate::scrub_report::ScrubReport;
use crate::tagged::TagState;
use lodestore_engine::{Heads, Index, Progress, Super, Superblock};
use lodestore_wal::log::Commit;
use lodestore_wal::seats;
use lodestore_wal::{Disk, DiskLock, Log, LogScan, Poison};
use parking_lot::{Condvar, Mutex, RwLock};
use rayon::ThreadPool;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// An open collection.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) name: String,
    /// Its number.
    pub(crate) id: u32,
    /// Compacting puts another one in its place. Who needs more than one answer from it takes it once.
    index: RwLock<Arc<Index>>,
    /// Records, counted in the order of the log.
    pub(crate) records: AtomicU64,
    /// What the last measurement found, if any; `None` until the file is looked at that may hold it.
    pub(crate) recall: Mutex<Option<Option<Arc<RecallReport>>>>,
    pub(crate) tagged: TagState,
}

impl Open {
    pub(crate) fn new(name: String, index: Index) -> Self {
        let (id, records) = (index.id(), AtomicU64::new(index.live()));
        let (recall, tagged) = (Mutex::default(), TagState::default());
        Self { name, id, index: RwLock::new(Arc::new(index)), records, recall, tagged }
    }

    /// The segments and the graph as they are now. Who holds the gate keeps them so.
    pub(crate) fn index(&self) -> Arc<Index> {
        self.index.read().clone()
    }

    /// What `f` makes of the index. What the catalogue tells it of slots meanwhile is of the same generation, and they
    /// keep what they hold.
    pub(crate) fn reading<T>(&self, f: impl FnOnce(&Index) -> Result<T>) -> Result<T> {
        let index = self.index.read();
        let _reading = index.reading();
        f(&index)
    }

    /// What `f` makes of the index, which stays that of the catalogue until `f` returns.
    pub(crate) fn with_index<T>(&self, f: impl FnOnce(&Arc<Index>) -> Result<T>) -> Result<T> {
        f(&self.index.read())
    }

    /// Puts the next generation in the place of the index, if `move_slots` has made the catalogue name its slots.
    /// Nobody can look a slot up meanwhile.
    pub(crate) fn replace(&self, next: Arc<Index>, move_slots: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut index = self.index.write();
        move_slots()?;
        *index = next;
        Ok(())
    }
}

/// An open store. Lock order: `checkpointing`, `linking`, `gate`, the log's own, the catalogue's own.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: StoreOptions,
    pub(crate) uuid: [u8; 16],
    pub(crate) poison: Poison,
    pub(crate) catalog: Catalog,
    pub(crate) heads: Heads,
    log: LazyLog,
    pub(crate) superblock: Mutex<(Superblock, Super)>,
    pub(crate) open: RwLock<HashMap<u32, Arc<Open>>>,
    /// Read: a write is under way. Written: a checkpoint notes what has changed.
    pub(crate) gate: RwLock<()>,
    /// One checkpoint at a time; the number of the next one.
    pub(crate) checkpointing: Mutex<u64>,
    /// One creation of a collection at a time.
    pub(crate) creating: Mutex<()>,
    /// Held while slots found in the log are being linked.
    pub(crate) linking: Mutex<()>,
    pub(crate) in_flight: InFlight,
    /// Generations of collections that the last checkpoint may still name, and the next one will not.
    pub(crate) retired: Mutex<Vec<(u32, u32)>>,
    pub(crate) bell: Bell,
    pub(crate) sync_bell: Bell,
    pub(crate) scrub_bell: Bell,
    pub(crate) keeper_bell: Bell,
    /// Whether the thread that it wakes is awake.
    pub(crate) keeping: AtomicBool,
    /// What is known of damage, if anybody has looked for it.
    pub(crate) scrubbed: Mutex<Option<ScrubReport>>,
    /// The checkpoint whose catalogue somebody looks for damage in.
    pub(crate) scrubbing: Mutex<Option<u64>>,
    pub(crate) scrub_alone: Mutex<()>,
    /// Held by the thread that syncs while it does.
    pub(crate) syncing: Mutex<()>,
    pub(crate) closed: AtomicBool,
    /// The oldest checkpoint that a process which only reads looked at after the last one.
    pub(crate) oldest_reader: AtomicU64,
    /// What a store that is only read is of.
    pub(crate) reader: Option<Reader>,
    pub(crate) checkpoints: AtomicU64,
    last_sync: Mutex<Instant>,
    pool: OnceLock<ThreadPool>,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

/// Keeps a store open; when the last one goes, the store is closed.
#[derive(Debug)]
pub(crate) struct Handle(pub(crate) Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure. What was acknowledged is in the log.
        let _ = self.0.close();
    }
}

/// What recovery hands over.
pub(crate) struct Parts {
    pub(crate) path: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: StoreOptions,
    pub(crate) poison: Poison,
    pub(crate) catalog: Catalog,
    pub(crate) heads: Heads,
    pub(crate) superblock: Superblock,
    pub(crate) state: Super,
    pub(crate) log: LazyLog,
    /// None of a store that is only read.
    pub(crate) lock: Option<Box<dyn DiskLock>>,
    pub(crate) next_checkpoint: u64,
    pub(crate) open: HashMap<u32, Arc<Open>>,
    pub(crate) retired: Vec<(u32, u32)>,
    pub(crate) oldest_reader: u64,
    pub(crate) reader: Option<Reader>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            path: parts.path,
            disk: parts.disk,
            options: parts.options,
            uuid: parts.state.uuid,
            poison: parts.poison,
            catalog: parts.catalog,
            heads: parts.heads,
            log: parts.log,
            superblock: Mutex::new((parts.superblock, parts.state)),
            open: RwLock::new(parts.open),
            gate: RwLock::new(()),
            checkpointing: Mutex::new(parts.next_checkpoint),
            creating: Mutex::new(()),
            linking: Mutex::new(()),
            in_flight: InFlight::default(),
            retired: Mutex::new(parts.retired),
            bell: Bell::default(),
            sync_bell: Bell::default(),
            scrub_bell: Bell::default(),
            keeper_bell: Bell::default(),
            keeping: AtomicBool::new(false),
            scrubbed: Mutex::default(),
            scrubbing: Mutex::default(),
            scrub_alone: Mutex::default(),
            syncing: Mutex::new(()),
            closed: AtomicBool::new(false),
            oldest_reader: AtomicU64::new(parts.oldest_reader),
            reader: parts.reader,
            checkpoints: AtomicU64::new(0),
            last_sync: Mutex::new(Instant::now()),
            pool: OnceLock::new(),
            lock: Mutex::new(parts.lock),
        }
    }

    /// # Errors
    /// [`Error::Closed`].
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// # Errors
    /// [`Error::ReadOnly`].
    pub(crate) fn check_writes(&self) -> Result<()> {
        if self.reader.is_some() { Err(Error::ReadOnly) } else { Ok(()) }
    }

    /// The log, if anything was written since the store was opened, or is to be.
    pub(crate) fn log_if_any(&self) -> Option<&Log> {
        self.log.log.get()
    }

    /// The log, ready to append to. The first write after opening a cleanly closed store makes the log file, and
    /// tells SUPER before that the store is not cleanly closed any more.
    pub(crate) fn log(&self) -> Result<&Log> {
        if let Some(log) = self.log.log.get() {
            return Ok(log);
        }
        self.check_writes()?;
        self.poison.check()?;
        let mut scan = self.log.scan.lock();
        if let Some(found) = scan.as_ref() {
            let mut superblock = self.superblock.lock();
            let (file, state) = &mut *superblock;
            if state.clean {
                state.clean = false;
                self.poison.guard(file.write(state))?;
            }
            self.catalog.end_rest()?;
            // A full disk, the likely failure, leaves all as it was.
            let log = found.clone().into_log(self.poison.clone())?;
            let _ = self.log.log.set(log);
            *scan = None;
        }
        self.log.log.get().ok_or(Error::Closed)
    }

    /// The last LSN given out.
    pub(crate) fn last_lsn(&self) -> u64 {
        self.log_if_any().map_or_else(|| self.superblock.lock().1.ckpt_lsn, Log::last_lsn)
    }

    /// How far an index has got, with the catalogue naming every slot that was given out by then.
    pub(crate) fn progress(&self, index: &Index) -> Progress {
        // Without a log nothing has been given out since the store was opened, as of before that was found.
        let progress = index.progress();
        self.log_if_any().map_or(progress, |log| log.between(|| index.progress()))
    }

    /// Makes `lsn` as safe as the store's durability asks for before a write is acknowledged.
    pub(crate) fn acknowledge(&self, lsn: u64) -> Result<()> {
        let log = self.log()?;
        match self.options.durability {
            Durability::Sync => {
                log.commit(lsn, Commit::Synced)?;
                if self.options.background {
                    self.sync_bell.ring(Task::Sync);
                }
            }
            Durability::Buffered => log.commit(lsn, Commit::Written)?,
            Durability::Every(period) => {
                log.commit(lsn, Commit::Written)?;
                if self.options.background {
                    self.sync_bell.ring(Task::Sync);
                } else {
                    let due = {
                        let mut last = self.last_sync.lock();
                        let due = last.elapsed() >= period;
                        if due {
                            *last = Instant::now();
                        }
                        due
                    };
                    if due {
                        log.commit(lsn, Commit::Synced)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Syncs all that was written.
    pub(crate) fn sync(&self) -> Result<()> {
        match self.log_if_any() {
            Some(log) => Ok(log.commit(log.last_lsn(), Commit::Synced)?),
            None => Ok(()),
        }
    }

    /// The threads that link.
    pub(crate) fn pool(&self) -> Result<&ThreadPool> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let threads = match self.options.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            given => given,
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("lodestore-link-{i}"))
            .build()
            .map_err(|error| Error::Io {
                op: "start",
                path: "threads".into(),
                source: std::io::Error::other(error.to_string()),
            })?;
        let _ = self.pool.set(pool);
        Ok(self.pool.get().expect("set above"))
    }

    pub(crate) fn threads(&self) -> Result<usize> {
        if self.options.threads == 1 { Ok(1) } else { Ok(self.pool()?.current_num_threads()) }
    }

    /// Changed pages of the open collections, in bytes.
    pub(crate) fn dirty_bytes(&self) -> u64 {
        let pages: u64 = self.open.read().values().map(|o| o.index().dirty_pages()).sum();
        pages * lodestore_wal::PAGE as u64
    }

    /// Whether a checkpoint is due.
    pub(crate) fn checkpoint_due(&self) -> bool {
        if !self.disk.is_persistent() {
            return false;
        }
        let Some(log) = self.log_if_any() else { return false };
        let (bytes, dirty) = (log.bytes_since_rotate(), self.dirty_bytes());
        if self.options.memory.is_some_and(|budget| dirty >= budget.changed() / 2) {
            return true;
        }
        if bytes < self.options.checkpoint_log_bytes.min(1 << 20) {
            return false;
        }
        bytes >= self.options.checkpoint_log_bytes.max(dirty) || dirty >= self.options.checkpoint_dirty_bytes
    }

    /// What readers look at now.
    pub(crate) fn seats(&self) -> Result<Vec<Option<u64>>> {
        if !self.disk.is_persistent() {
            return Ok(Vec::new());
        }
        let disk = self.reader.as_ref().map_or(&self.disk, |reader| &reader.place().seats);
        Ok(seats::taken(&**disk)?)
    }

    /// Lets others open the store.
    pub(crate) fn unlock(&self) {
        drop(self.lock.lock().take());
    }
}

/// A log that is made when it is first needed: opening a store only to read writes nothing.
#[derive(Debug)]
pub(crate) struct LazyLog {
    log: OnceLock<Log>,
    scan: Mutex<Option<LogScan>>,
}

impl LazyLog {
    pub(crate) fn later(scan: LogScan) -> Self {
        Self { log: OnceLock::new(), scan: Mutex::new(Some(scan)) }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.log.get().is_some()
    }

    /// Of a store that is only read.
    pub(crate) fn never() -> Self {
        Self { log: OnceLock::new(), scan: Mutex::new(None) }
    }

    pub(crate) fn ready(log: Log) -> Self {
        Self { log: OnceLock::from(log), scan: Mutex::new(None) }
    }
}

/// What the store's threads are asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Sync,
    Checkpoint,
    Link,
    Mend,
    Keep,
    Stop,
}

/// Wakes one of the store's threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bell(Arc<(Mutex<Wanted>, Condvar)>);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) sync: bool,
    pub(crate) checkpoint: bool,
    pub(crate) link: bool,
    pub(crate) mend: bool,
    pub(crate) keep: bool,
    pub(crate) stop: bool,
}

impl Bell {
    pub(crate) fn ring(&self, task: Task) {
        let (wanted, condvar) = &*self.0;
        let mut wanted = wanted.lock();
        let flag = match task {
            Task::Sync => &mut wanted.sync,
            Task::Checkpoint => &mut wanted.checkpoint,
            Task::Link => &mut wanted.link,
            Task::Mend => &mut wanted.mend,
            Task::Keep => &mut wanted.keep,
            Task::Stop => &mut wanted.stop,
        };
        if !*flag {
            *flag = true;
            condvar.notify_all();
        }
    }

    /// Waits for a task, for at most `limit`.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Wanted {
        let (wanted, condvar) = &*self.0;
        let mut wanted = wanted.lock();
        let Wanted { sync, checkpoint, link, mend, keep, stop } = *wanted;
        if !(sync || checkpoint || link || mend || keep || stop) {
            match limit {
                Some(limit) => {
                    condvar.wait_for(&mut wanted, limit);
                }
                None => condvar.wait(&mut wanted),
            }
        }
        let stop = wanted.stop;
        std::mem::replace(&mut *wanted, Wanted { stop, ..Wanted::default() })
    }
}
