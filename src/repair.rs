//! A new store from what is whole in a damaged one.
//!
//! Nothing of the damaged store is changed, but for its `LOCK`, which is held meanwhile. Of each record the last version
//! that its log, its catalogue or its slots have is put into the new store, whose links are made anew (`repair/choose.rs`
//! says which version that is). Lists, codes and checksums of pages are not read, so damage to them costs nothing.

mod choose;
mod sources;

use crate::batch_rows::{NewRow, NewRows};
use crate::catalog::Beside;
use crate::codes::Codes;
use crate::error::{Error, Result};
use crate::key::RowKey;
use crate::options::{Durability, StoreOptions};
use crate::store::Store;
use choose::Choice;
use lodestore_engine::{Geometry, UserMetric};
use lodestore_wal::names::{self, Part};
use lodestore_wal::{Disk, OsDisk};
use sources::{Segments, Sources};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What became of something that the damaged store held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LossKind {
    /// A record is not in the new store.
    Record,
    /// A record is there, with an empty payload: nothing tells what it was.
    Payload,
    /// A record is there, without tags: it cannot be told which of several it had.
    Tags,
    /// A record is there, and may have been removed or replaced: what would tell is damaged.
    Removal,
    /// A part of a file cannot be read; whether anything was lost by that cannot be known, or other losses say it.
    Unknown,
}

impl LossKind {
    /// As it is written: `record`, `payload`, `tags`, `removal`, `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            LossKind::Record => "record",
            LossKind::Payload => "payload",
            LossKind::Tags => "tags",
            LossKind::Removal => "removal",
            LossKind::Unknown => "unknown",
        }
    }
}

/// Something that was lost, or may have been.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// What became of it.
    pub kind: LossKind,
    /// The collection, if it is of one.
    pub collection: Option<String>,
    /// The record's key, if it is known.
    pub key: Option<String>,
    /// Its slot, if it is known.
    pub slot: Option<u32>,
    /// The file that is not what it was.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// Why.
    pub why: String,
}

impl Loss {
    fn new(kind: LossKind) -> Self {
        Self { kind, collection: None, key: None, slot: None, file: String::new(), offset: 0, why: String::new() }
    }

    /// Damage to a file, whatever it means.
    fn of_file(error: impl Into<Error>) -> Self {
        let (file, offset, why) = match error.into() {
            Error::Corrupt { file, offset, what } => (file, offset, what),
            Error::Io { path, source, op } => (path, 0, format!("{op}: {source}")),
            Error::FormatTooNew { file, found, supported } => {
                (file, 0, format!("format version {found}; this build reads up to {supported}"))
            }
            other => (String::new(), 0, other.to_string()),
        };
        Self { file, offset, why, ..Self::new(LossKind::Unknown) }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(collection) = &self.collection {
            write!(f, "collection '{collection}': ")?;
        }
        match (&self.key, self.slot) {
            (Some(key), Some(slot)) => write!(f, "key {key} (slot {slot}): ")?,
            (Some(key), None) => write!(f, "key {key}: ")?,
            (None, Some(slot)) => write!(f, "the record in slot {slot}: ")?,
            (None, None) => {}
        }
        f.write_str(match self.kind {
            LossKind::Record => "lost: ",
            LossKind::Payload => "kept without its payload: ",
            LossKind::Tags => "kept without its tags: ",
            LossKind::Removal => "kept, it may have been removed or replaced: ",
            LossKind::Unknown => "",
        })?;
        if self.file.is_empty() {
            return f.write_str(&self.why);
        }
        write!(f, "{}, byte {}: {}", self.file, self.offset, self.why)
    }
}

/// What became of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairedCollection {
    /// Its name, or what stands for one that is lost.
    pub name: String,
    /// Records that are in the new store, those that are marked as deleted included.
    pub records: u64,
    /// Records that are known to be lost.
    pub lost: u64,
    /// Records of which the payload is lost.
    pub payloads_lost: u64,
    /// Records of which the tags are lost.
    pub tags_lost: u64,
    /// Records that may have been removed or replaced.
    pub uncertain: u64,
}

/// What [`repair`] has saved and what not.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RepairReport {
    /// The collections, by name.
    pub collections: Vec<RepairedCollection>,
    /// Everything that was lost, may have been, or cannot be read.
    pub losses: Vec<Loss>,
    /// Whether it came to its end. If it was stopped, the new store holds a part of the records.
    pub complete: bool,
}

impl RepairReport {
    /// Whether everything is in the new store, as far as it can be known.
    pub fn lossless(&self) -> bool {
        self.complete && self.losses.is_empty()
    }

    /// Records in the new store.
    pub fn records(&self) -> u64 {
        self.collections.iter().map(|collection| collection.records).sum()
    }
}

/// How a store is repaired.
///
/// ```
/// let options = lodestore::RepairOptions::new().progress(|done, all| {
///     println!("{done} of {all} records");
///     true // false stops
/// });
/// # drop(options);
/// ```
pub struct RepairOptions<'a> {
    progress: Box<dyn FnMut(u64, u64) -> bool + 'a>,
    /// Of the new store.
    store: StoreOptions,
}

impl Default for RepairOptions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RepairOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepairOptions").finish_non_exhaustive()
    }
}

impl<'a> RepairOptions<'a> {
    /// Without progress.
    pub fn new() -> Self {
        Self { progress: Box::new(|_, _| true), store: Store::options().durability(Durability::Buffered) }
    }

    /// Registers a metric of the program's own, as [`StoreOptions::metric`] does: collections of one that is not
    /// registered are lost.
    pub fn metric(mut self, metric: impl UserMetric) -> Self {
        self.store = self.store.metric(metric);
        self
    }

    /// Calls `progress` now and then with the records written and those found in the collections looked at so far. If it
    /// says `false`, the repair ends.
    pub fn progress(mut self, progress: impl FnMut(u64, u64) -> bool + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }
}

/// Writes what is whole in the damaged store at `path` into a new one at `to`, which must not exist, or be an empty
/// directory. The damaged one is left as it is. Every record that still checks is in the new store, with its links made
/// anew; what is not is in the report, with its key if that is known.
///
/// It works without `SUPER`, `heads`, links, codes and tombstones; without the catalogue, whose payloads are lost then
/// unless single pages of it are whole or the log has them; and without parts of the log. It does not work without a
/// collection's `meta`: nothing else says what its vectors are. Where a damaged catalogue is all that knows a payload
/// which was [changed alone](crate::Collection::set_payload), it may be one that the record had before. Keys and payloads,
/// and the records of the log, are held in memory meanwhile. Takes as long as putting the records.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// let store = lodestore::Store::open(dir.path().join("old"))?;
/// store.collection::<u64>("docs").dim(2).create()?.put(1, &[1.0, 2.0], b"one")?;
/// store.close()?;
/// std::fs::write(dir.path().join("old/SUPER"), b"spoilt")?;
///
/// let report = lodestore::repair(dir.path().join("old"), dir.path().join("new"), lodestore::RepairOptions::new())?;
/// assert_eq!((report.records(), &*report.losses[0].file), (1, "SUPER"));
/// let store = lodestore::Store::open(dir.path().join("new"))?;
/// assert_eq!(store.collection::<u64>("docs").open()?.get(1)?.unwrap().payload, b"one");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Locked`] if the damaged store is open, [`Error::NotAStore`] if there is nothing of a store in `path`, and what
/// comes of writing the new one. Damage is no error.
pub fn repair(path: impl AsRef<Path>, to: impl AsRef<Path>, options: RepairOptions<'_>) -> Result<RepairReport> {
    let (path, to) = (path.as_ref(), to.as_ref());
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(path).map_err(|error| {
        if error.is_not_found() { Error::NotAStore { path: path.to_owned() } } else { error.into() }
    })?);
    let there = disk.list("")?;
    let ours = [names::SUPER, names::CATALOG, names::WAL_DIR, names::COLLECTIONS_DIR];
    if !there.iter().any(|name| ours.contains(&name.as_str())) {
        return Err(Error::NotAStore { path: path.to_owned() });
    }
    // The lock's file may be damaged, too; then nobody else can have it either.
    let _lock = match disk.lock(names::LOCK, "a repair") {
        Err(error @ lodestore_wal::Error::Locked { .. }) => return Err(error.into()),
        lock => lock.ok(),
    };
    if std::fs::read_dir(to).is_ok_and(|mut found| found.next().is_some()) {
        return Err(Error::NotEmpty { path: to.to_owned() });
    }
    let store = options.store.open(to)?;
    let mut repair = Repair {
        sources: Sources::read(disk)?,
        store,
        progress: options.progress,
        done: 0,
        total: 0,
        report: RepairReport { complete: true, ..RepairReport::default() },
    };
    for (id, generations) in repair.sources.collections()? {
        repair.collection(id, &generations)?;
        if !repair.report.complete {
            break;
        }
    }
    let Repair { sources, store, mut report, .. } = repair;
    store.close()?;
    let mut losses = sources.losses;
    losses.append(&mut report.losses);
    report.losses = losses;
    report.collections.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(report)
}

struct Repair<'a> {
    sources: Sources,
    store: Store,
    progress: Box<dyn FnMut(u64, u64) -> bool + 'a>,
    done: u64,
    total: u64,
    report: RepairReport,
}

impl Repair<'_> {
    fn collection(&mut self, id: u32, generations: &[u32]) -> Result<()> {
        let name = self.sources.names.get(&id).cloned().unwrap_or_else(|| self.name_for(id));
        let head = self.sources.head(id);
        // Of other files than those that the log has gone over to, the counters say nothing.
        let moved = self.sources.compacted.get(&id).map(|compacted| compacted.1);
        let head = head.filter(|head| moved.is_none_or(|generation| generation == head.generation));
        let segments = self.sources.segments(id, generations, head)?;
        let mut of = RepairedCollection {
            name: name.clone(),
            records: 0,
            lost: 0,
            payloads_lost: 0,
            tags_lost: 0,
            uncertain: 0,
        };
        let chosen = choose::choose(&self.sources, segments.as_ref(), id, head);
        let Some(geometry) = segments.as_ref().map(|segments| *segments.salvage.geometry()) else {
            // A collection that was only about to be made has neither a name nor records.
            if self.sources.names.contains_key(&id) || !chosen.is_empty() {
                let why = "without this file nothing says what the vectors are";
                self.lost_whole(id, chosen.len() as u64, why, of);
            }
            return Ok(());
        };
        if !self.sources.names.contains_key(&id) {
            if chosen.is_empty() {
                return Ok(());
            }
            let why = format!("the name of collection {id} is lost; it is called '{name}' now");
            let file = names::CATALOG.into();
            self.report.losses.push(Loss { collection: Some(name.clone()), file, why, ..Loss::new(LossKind::Unknown) });
        }
        self.damaged_slots(segments.as_ref(), &name, head.is_some(), &mut of);
        self.total += chosen.len() as u64;
        let mut rows = match NewRows::new(&self.store, &name, &geometry, Codes::of_bits(geometry.codes)) {
            Err(error @ (Error::UnknownMetric { .. } | Error::Setting(_))) => {
                self.lost_whole(id, chosen.len() as u64, &error.to_string(), of);
                return Ok(());
            }
            rows => rows?,
        };
        for (key, choice) in chosen {
            let slot = match choice {
                Choice::Logged => self.sources.events.get(&key).and_then(|event| Some(event.put.as_ref()?.slot)),
                Choice::Slot { slot, .. } | Choice::Lost { slot } => Some(slot),
            };
            let marked = slot.is_some_and(|slot| self.sources.is_marked((id, slot), &key));
            if let Some(row) = self.take(&key, choice, segments.as_ref(), &geometry, &name, &mut of) {
                of.records += 1;
                rows.put(&key[4..], row, marked)?;
            }
            self.done += 1;
            if self.done.is_multiple_of(256) && !(self.progress)(self.done, self.total) {
                self.report.complete = false;
                break;
            }
        }
        rows.finish()?;
        self.report.complete &= (self.progress)(self.done, self.total);
        self.report.collections.push(of);
        Ok(())
    }

    /// One that no other collection has.
    fn name_for(&self, id: u32) -> String {
        let mut name = format!("collection-{id}");
        while self.sources.names.values().any(|other| *other == name) {
            name.push('\'');
        }
        name
    }

    /// Nothing of a collection can be put anywhere.
    fn lost_whole(&mut self, id: u32, records: u64, why: &str, mut of: RepairedCollection) {
        of.lost = records;
        self.report.losses.push(Loss {
            collection: Some(of.name.clone()),
            file: names::part(id, 0, Part::Meta),
            why: format!("{records} records or more: {why}"),
            ..Loss::new(LossKind::Record)
        });
        self.report.collections.push(of);
    }

    /// Slots that may hold a record of which not even the key is known.
    fn damaged_slots(&mut self, segments: Option<&Segments>, name: &str, bounded: bool, of: &mut RepairedCollection) {
        // A whole catalogue names the keys whose slots these are.
        if self.sources.rows.complete.is_some() {
            return;
        }
        let Some(segments) = segments else { return };
        for &slot in &segments.damaged {
            let (file, offset) = segments.salvage.place(Part::Ids, slot);
            let dead = segments.salvage.is_dead(&self.sources.overlay, slot);
            if dead == Some(true) || self.sources.logged_slots.contains(&(segments.salvage.id(), slot)) {
                continue;
            }
            let mut why = "its id is not what was written, and nothing else says what its key was".to_owned();
            if dead.is_none() || !bounded {
                why += "; it may have been removed, or never have been a record";
            }
            of.lost += 1;
            let collection = Some(name.to_owned());
            self.report.losses.push(Loss {
                collection,
                slot: Some(slot),
                file,
                offset,
                why,
                ..Loss::new(LossKind::Record)
            });
        }
    }

    /// A record, and what of it is lost.
    fn take(
        &mut self,
        key: &[u8],
        choice: Choice,
        segments: Option<&Segments>,
        geometry: &Geometry,
        name: &str,
        of: &mut RepairedCollection,
    ) -> Option<NewRow> {
        let shown = RowKey::from_row(key).map_or_else(String::new, |key| key.shown(geometry.key));
        let mut lost = |kind, slot, (file, offset): (String, u64), why: String| {
            *match kind {
                LossKind::Payload => &mut of.payloads_lost,
                LossKind::Tags => &mut of.tags_lost,
                LossKind::Removal => &mut of.uncertain,
                _ => &mut of.lost,
            } += 1;
            let (collection, key) = (Some(name.to_owned()), Some(shown.clone()));
            self.report.losses.push(Loss { kind, collection, key, slot, file, offset, why });
        };
        match choice {
            Choice::Logged => {
                let event = self.sources.events.get(key)?;
                let put = event.put.as_ref()?;
                if put.vector.len() != geometry.vector_bytes() {
                    let what = format!("{} bytes of vector, {} expected", put.vector.len(), geometry.vector_bytes());
                    lost(LossKind::Record, Some(put.slot), (names::WAL_DIR.into(), 0), what);
                    return None;
                }
                let payload = self.sources.payload_since(key, event.lsn).unwrap_or(&put.payload);
                let tags = self.sources.tags_since(key, event.lsn).unwrap_or_default();
                Some(NewRow { vector: put.vector.to_vec(), tags: tags.to_vec(), payload: payload.to_vec() })
            }
            Choice::Slot { slot, id, beside, certain } => {
                let salvage = &segments?.salvage;
                let logged = self.sources.events.get(key).filter(|event| event.lsn == id.lsn);
                let logged = logged.and_then(|event| event.put.as_ref());
                let vector = match salvage.vector(slot, &id) {
                    Ok(vector) => vector,
                    Err(error) => match logged {
                        Some(put) if put.vector.len() == geometry.vector_bytes() => put.vector.to_vec(),
                        _ => {
                            let (file, offset) = salvage.place(Part::Vectors, slot);
                            let what = match error {
                                lodestore_wal::Error::Corrupt { what, .. } => what,
                                other => other.to_string(),
                            };
                            lost(LossKind::Record, Some(slot), (file, offset), what);
                            return None;
                        }
                    },
                };
                if !certain {
                    let place = (names::part(salvage.id(), salvage.generation(), Part::Tombs), u64::from(slot) / 8);
                    lost(LossKind::Removal, Some(slot), place, "the tombstones here cannot be read".into());
                }
                // A row of a whole catalogue knows all that the log said by then.
                let known = id.lsn.max(beside.as_ref().and(self.sources.rows.complete).unwrap_or(0));
                let tags = self.sources.tags_since(key, known).map(<[u8]>::to_vec);
                let tags = match (tags, &beside) {
                    (Some(tags), _) => tags,
                    (None, Some(Beside { tags: Some(tags), .. })) => tags.to_vec(),
                    (None, Some(Beside { tags: None, .. })) => {
                        let place = (names::CATALOG.to_owned(), 0);
                        lost(LossKind::Tags, Some(slot), place, "several rows of it, whose tags differ".into());
                        Vec::new()
                    }
                    // Without a row, the log has it, or its payload is lost, too.
                    (None, None) => Vec::new(),
                };
                let payload = match self.sources.payload_since(key, known) {
                    Some(since) => Some(since.to_vec()),
                    None => beside.and_then(|beside| beside.payload).map(|payload| payload.to_vec()),
                };
                let payload = payload.or_else(|| logged.map(|put| put.payload.to_vec())).unwrap_or_else(|| {
                    let place = (names::CATALOG.to_owned(), 0);
                    lost(LossKind::Payload, Some(slot), place, "no whole row of it, or several that differ".into());
                    Vec::new()
                });
                Some(NewRow { vector, tags, payload })
            }
            Choice::Lost { slot } => {
                let place = match segments {
                    Some(segments) => segments.salvage.place(Part::Ids, slot),
                    None => (String::new(), 0),
                };
                let found = segments.and_then(|segments| segments.ids.get(&slot));
                let what = match found {
                    Some(id) => format!("the slot holds another record, of LSN {}", id.lsn),
                    None => "its id is not what was written".to_owned(),
                };
                lost(LossKind::Record, Some(slot), place, what);
                None
            }
        }
    }
}
