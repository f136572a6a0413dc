//! The store: a directory of collections.

use crate::absent::AbsentReport;
use crate::backup::Backup;
use crate::batch::WriteBatch;
use crate::builder::CollectionBuilder;
use crate::compact::Compact;
use crate::error::{Error, Result};
use crate::info::CollectionInfo;
use crate::key::Key;
use crate::options::StoreOptions;
use crate::read_only;
use crate::reader::Place;
use crate::recover;
use crate::scrub_report::ScrubReport;
use crate::shared::{Handle, Shared};
use crate::stats::StoreStats;
use crate::verify::{VerifyOptions, VerifyReport};
use lodestore_engine::StoredKey;
use lodestore_wal::{Disk, MemDisk, OsDisk};
use std::path::Path;
use std::sync::Arc;

/// A store: a directory that holds named collections of records, each a key with a vector and a payload.
///
/// A handle is cheap to clone and may be used from any thread. The store stays open until
/// [`close`](Self::close) or until the last handle, of the store or of a collection, is dropped.
///
/// ```
/// use lodestore::{Metric, Store};
/// let dir = tempfile::tempdir()?;
/// let store = Store::open(dir.path().join("store"))?;
/// let docs = store.collection::<u64>("docs").dim(2).metric(Metric::L2).open_or_create()?;
/// docs.put(7, &[1.0, 0.0], b"seven")?;
/// let hits = docs.search(&[0.9, 0.1]).k(1).run()?;
/// assert_eq!(hits[0].key, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    handle: Arc<Handle>,
}

impl Store {
    /// Opens the store in directory `path`, or makes one there, with the [default options](StoreOptions).
    ///
    /// # Errors
    /// See [`StoreOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        StoreOptions::default().open(path)
    }

    /// Opens the store in directory `path` for reading only, while another process may have it open for writing.
    ///
    /// What is seen is the last checkpoint, whole, whatever the writer does meanwhile: to see later ones,
    /// [`refresh`](Self::refresh). Writers take one when [told to](Self::checkpoint), when the log has grown, and when they
    /// close the store. No reader keeps a writer waiting; but slots and pages of the catalogue that a reader may look at are
    /// not used again before it goes on to a later checkpoint, or ends.
    ///
    /// Opening copies links, tombstones and their checksums into memory (for M 16 some 150 bytes a record), and reads
    /// nothing else; all files of all collections are opened, up to ten each. The user must be allowed to make files in the
    /// directory `readers` of the store. On a file system that is read-only, readers keep writers out instead.
    ///
    /// ```
    /// use lodestore::{Error, Store};
    /// let dir = tempfile::tempdir()?;
    /// let store = Store::open(dir.path())?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"one")?;
    /// store.checkpoint()?;
    /// let mut reader = Store::open_read_only(dir.path())?; // here or in another process
    /// docs.put(2, &[3.0, 4.0], b"two")?;
    /// let seen = reader.collection::<u64>("docs").open()?;
    /// assert_eq!((seen.len(), seen.payload(1)?.unwrap().to_vec()), (1, b"one".to_vec()));
    /// assert!(matches!(seen.put(3, &[0.0, 0.0], b""), Err(Error::ReadOnly)));
    /// store.checkpoint()?;
    /// assert!(reader.refresh()?);
    /// assert_eq!(reader.collection::<u64>("docs").open()?.len(), 2);
    /// assert_eq!(seen.len(), 1); // what was opened before stays as it was
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotAStore`], [`Error::TooManyReaders`], [`Error::Corrupt`]; on a read-only file system [`Error::Locked`] if there
    /// is a writer; [`Error::Unsettled`] if a writer has crashed in the
    /// middle of a checkpoint, so that the store has to be opened for writing first.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Store> {
        StoreOptions::default().open_read_only(path)
    }

    /// Goes on to the last checkpoint, if there is a later one than this store was opened at, or if what it looks at is not
    /// kept any more; says whether it was opened anew. Of a store that was opened [for reading](Self::open_read_only); one that writes always sees all. Collections that were
    /// opened before stay as they were, and keep what they look at.
    ///
    /// # Errors
    /// As [`open_read_only`](Self::open_read_only). The store is as it was then.
    pub fn refresh(&mut self) -> Result<bool> {
        let shared = self.shared();
        shared.check_open()?;
        let Some(reader) = &shared.reader else { return Ok(false) };
        if reader.is_current()? {
            return Ok(false);
        }
        self.handle = Arc::new(read_only::open(reader.place().clone(), shared.options.clone())?);
        Ok(true)
    }

    /// Whether this store was opened [for reading only](Self::open_read_only).
    pub fn is_read_only(&self) -> bool {
        self.shared().reader.is_some()
    }

    /// How to open a store otherwise than by default.
    ///
    /// ```
    /// use lodestore::{Durability, Store};
    /// let dir = tempfile::tempdir()?;
    /// let store = Store::options().durability(Durability::Buffered).open(dir.path())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> StoreOptions {
        StoreOptions::default()
    }

    /// A store that lives in memory and goes with its last handle.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let words = store.collection::<u64>("words").dim(3).open_or_create()?;
    /// words.put(1, &[0.0, 1.0, 0.0], b"")?;
    /// assert_eq!(words.len(), 1);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the system gives no memory.
    pub fn in_memory() -> Result<Store> {
        StoreOptions::default().open_on(Arc::new(MemDisk::new()), "memory")
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }

    /// A collection to be opened or made: see [`CollectionBuilder`]. `K` is the type of its keys.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).metric(lodestore::Metric::Cosine).open_or_create()?;
    /// assert_eq!((docs.name(), docs.dim()), ("docs", 2));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn collection<K: Key + ?Sized>(&self, name: &str) -> CollectionBuilder<K> {
        CollectionBuilder::new(self.handle.clone(), name)
    }

    /// The collections, by name.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// assert_eq!(store.collections()?[0].name, "docs");
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a collection's files cannot be opened.
    pub fn collections(&self) -> Result<Vec<CollectionInfo>> {
        self.shared().check_open()?;
        let names = self.shared().catalog.names();
        names.keys().map(|name| Ok(CollectionInfo::of(&*self.shared().open_collection(name)?))).collect()
    }

    /// A batch: changes to any collections of this store that happen all or not at all.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// let mut batch = store.batch();
    /// batch.put(&docs, 1, &[1.0, 2.0], b"one")?;
    /// batch.put(&docs, 2, &[3.0, 4.0], b"two")?;
    /// batch.remove(&docs, 3)?;
    /// batch.commit()?;
    /// assert_eq!(docs.len(), 2);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn batch(&self) -> WriteBatch {
        WriteBatch::new(self.handle.clone())
    }

    /// Makes every write so far durable, whatever the store's [`Durability`](crate::Durability).
    ///
    /// ```
    /// use lodestore::{Durability, Store};
    /// let dir = tempfile::tempdir()?;
    /// let store = Store::options().durability(Durability::Buffered).open(dir.path())?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"")?; // survives the end of the process
    /// store.sync()?; // and now a power loss
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the disk fails; the store takes no more writes then.
    pub fn sync(&self) -> Result<()> {
        self.shared().check_open()?;
        self.shared().sync()
    }

    /// Brings the segments up to date with the log and shortens it, so that the next opening has nothing to replay.
    /// Writes and searches go on meanwhile. Happens by itself as the log grows, and at [`close`](Self::close).
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let store = lodestore::Store::open(dir.path())?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"")?;
    /// store.checkpoint()?;
    /// assert_eq!(store.stats()?.checkpoint_lsn, store.stats()?.last_lsn);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A full disk leaves everything as it was; other failures end writing.
    pub fn checkpoint(&self) -> Result<()> {
        self.shared().check_open()?;
        self.shared().checkpoint()
    }

    /// Compacting all collections, to be set up and run: see [`Compact`].
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put_many(&[1, 2], &[0.0, 1.0, 2.0, 3.0], None)?;
    /// docs.remove(1)?;
    /// assert_eq!(store.compact().run()?.collections[0].slots_after, 1);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn compact(&self) -> Compact<'_> {
        Compact::new(self.shared(), None)
    }

    /// Looks for anything that is left of a `u64` key: in the catalogue, in slots, those of removed records included, and
    /// in the log. Of one collection, or of all with such keys; for other keys see
    /// [`Collection::verify_absent`](crate::Collection::verify_absent). A removed key is left in its slot until the collection is
    /// [compacted](Self::compact); so is a key that was put again. Reads the ids of all slots and the log; writes wait
    /// meanwhile.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"")?;
    /// docs.remove(1)?;
    /// assert!(!store.verify_absent(1, Some("docs"))?.absent());
    /// docs.compact().erase(true).run()?;
    /// assert!(store.verify_absent(1, Some("docs"))?.absent());
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoCollection`]; if something cannot be read.
    pub fn verify_absent(&self, key: u64, collection: Option<&str>) -> Result<AbsentReport> {
        let shared = self.shared();
        shared.check_open()?;
        let names = match collection {
            Some(name) => vec![name.to_owned()],
            None => shared.catalog.names().into_keys().collect(),
        };
        let opens = names.iter().map(|name| shared.open_collection(name)).collect::<Result<Vec<_>>>()?;
        AbsentReport::of(shared, StoredKey::Number(key), opens)
    }

    /// Counts and sizes.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"")?;
    /// assert_eq!(store.stats()?.records, 1);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a collection's files cannot be opened.
    pub fn stats(&self) -> Result<StoreStats> {
        StoreStats::of(self.shared())
    }

    /// Checks every checksum, every link and every key, and reports what is not as it must be. Reads all of the
    /// store; writes wait meanwhile, searches do not.
    ///
    /// ```
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"")?;
    /// let report = store.verify()?;
    /// assert!(report.ok(), "{:?}", report.problems);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// If it could not be carried out; damage is in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(VerifyOptions::new())
    }

    /// As [`verify`](Self::verify), to a [level](crate::VerifyLevel) and with progress; may be stopped.
    ///
    /// ```
    /// use lodestore::{VerifyLevel, VerifyOptions};
    /// let store = lodestore::Store::in_memory()?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"")?;
    /// let report = store.verify_with(VerifyOptions::new().level(VerifyLevel::Checksums))?;
    /// assert!(report.ok() && report.collections[0].slots == 1);
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(&self, options: VerifyOptions<'_>) -> Result<VerifyReport> {
        VerifyReport::of(self.shared(), options)
    }

    /// Looks for damage while the store is in use, as fast as it can: reads every page, vector, code, id, key and row that is in
    /// use, and compares it with its checksum. Unlike [`verify`](Self::verify) it keeps nobody waiting for more than a moment, and does
    /// not look at links as such, the log, and what is not in use. Opens all collections. [`StoreOptions::scrub`] does it again and again.
    ///
    /// # Errors
    /// If it could not be carried out; damage is in the report.
    pub fn scrub(&self) -> Result<ScrubReport> {
        self.scrub_while(|| true)
    }

    /// As [`scrub`](Self::scrub), and after each piece, of a millisecond or so, `go_on` is asked.
    ///
    /// ```
    /// use lodestore::{Error, Store};
    /// let dir = tempfile::tempdir()?;
    /// let store = Store::open(dir.path())?;
    /// assert!(matches!(store.scrub_while(|| false), Err(Error::Cancelled)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`scrub`](Self::scrub); [`Error::Cancelled`] if it is not to go on.
    pub fn scrub_while(&self, mut go_on: impl FnMut() -> bool) -> Result<ScrubReport> {
        self.shared().scrub(&mut |_| go_on())
    }

    /// A backup into directory `to`, to be set up and run: see [`Backup`]. Searches and writes go on meanwhile, except for
    /// a moment at its beginning; it takes a checkpoint, and none else is taken until it is done, so that writers wait if
    /// the log grows to four times the size at which one is due, or if more than a twelfth of a collection's records have
    /// been removed or replaced and not unlinked yet.
    ///
    /// The first backup in a directory is a full one. Those that follow write the blocks of 4,096 bytes that have changed
    /// since; each can be restored by itself, with [`Backups`](crate::Backups). What was written is read again and
    /// compared before the backup counts. After a crash the directory holds the backups that were finished.
    ///
    /// A directory of a store that is closed may also be copied by any other means.
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let store = lodestore::Store::open(dir.path().join("store"))?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// docs.put(1, &[1.0, 2.0], b"")?;
    /// let first = store.backup(dir.path().join("backups")).run()?;
    /// docs.put(2, &[3.0, 4.0], b"")?;
    /// let second = store.backup(dir.path().join("backups")).run()?;
    /// assert!(second.incremental && second.number == first.number + 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn backup(&self, to: impl AsRef<Path>) -> Backup<'_> {
        Backup::new(self.shared(), to.as_ref())
    }

    /// Takes a checkpoint and closes the store; other handles get [`Error::Closed`] from then on. Dropping the last
    /// handle does the same, but tells of no failure.
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let store = lodestore::Store::open(dir.path())?;
    /// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
    /// store.close()?;
    /// assert!(matches!(docs.put(1, &[1.0, 2.0], b""), Err(lodestore::Error::Closed)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the checkpoint fails. Nothing acknowledged is lost: it is in the log.
    pub fn close(self) -> Result<()> {
        self.shared().close()
    }
}

impl StoreOptions {
    /// Opens the store in directory `path`, making both if there is none (see [`create`](Self::create)).
    ///
    /// After a crash it brings back every write that had been acknowledged. It answers at once; linking the records
    /// that were found in the log goes on in the background, and until it is done they are found by comparing.
    ///
    /// # Errors
    /// [`Error::Locked`] if it is open elsewhere, [`Error::NotAStore`], [`Error::Corrupt`] with file and offset,
    /// [`Error::FormatTooNew`], and what the file system says. Nothing is changed then.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        let disk = if self.create {
            OsDisk::create_root(path)?
        } else {
            OsDisk::new(path).map_err(|error| {
                if error.is_not_found() { Error::NotAStore { path: path.to_owned() } } else { error.into() }
            })?
        };
        self.open_on(Arc::new(disk), path)
    }

    /// As [`Store::open_read_only`]. What concerns writing is ignored.
    ///
    /// # Errors
    /// As [`Store::open_read_only`].
    pub fn open_read_only(self, path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        let missing = |error: lodestore_wal::Error| {
            if error.is_not_found() { Error::NotAStore { path: path.to_owned() } } else { error.into() }
        };
        let disk = Arc::new(OsDisk::read_only(path).map_err(missing)?);
        let seats = Arc::new(OsDisk::new(path).map_err(missing)?);
        self.read_on(Place { disk, seats, path: path.to_owned() })
    }

    /// As [`open_read_only`](Self::open_read_only), on any [`Disk`].
    ///
    /// # Errors
    /// As [`Store::open_read_only`].
    pub fn open_read_only_on(self, disk: Arc<dyn Disk>, path: impl AsRef<Path>) -> Result<Store> {
        self.read_on(Place { disk: disk.clone(), seats: disk, path: path.as_ref().to_owned() })
    }

    fn read_on(self, from: Place) -> Result<Store> {
        Ok(Store { handle: Arc::new(read_only::open(from, self)?) })
    }

    /// Opens the store on any [`Disk`]; `path` is for messages. For tests on a simulated disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(self, disk: Arc<dyn Disk>, path: impl AsRef<Path>) -> Result<Store> {
        let handle = recover::open(disk, path.as_ref(), self)?;
        Ok(Store { handle: Arc::new(handle) })
    }
}
