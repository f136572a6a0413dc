//! Opening a store: new, cleanly closed, or after a crash (docs/durability.md, steps R0 to R8).

use crate::backend::Backend;
use crate::background;
use crate::budget::Budget;
use crate::catalog::{self, Catalog, Row, Staging};
use crate::clock;
use crate::error::{Error, Result};
use crate::generation;
use crate::keeper;
use crate::key::RowKey;
use crate::observe::{self, Work};
use crate::op::{LoggedKey, Op, Put};
use crate::open::{open_collection, reside};
use crate::options::StoreOptions;
use crate::pages::Pages;
use crate::scrub;
use crate::shared::{Handle, LazyLog, Open, Parts, Shared, Task};
use crate::syncer;
use lodestore_engine::{
    Head, Heads, Id, Index, Metrics, NewKeys, Place, Replayed, SlotBytes, StoredKey, Super, Superblock,
    recover_segments, vector_crc,
};
use lodestore_wal::log::Record;
use lodestore_wal::mutant::{self, Mutant};
use lodestore_wal::seats::{self, Session};
use lodestore_wal::{Disk, Log, LogScan, Poison, names};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// Opens or makes the store on `disk`.
pub(crate) fn open(disk: Arc<dyn Disk>, path: &Path, options: StoreOptions) -> Result<Handle> {
    let _work = observe::begin(Work::Open, path);
    // R0. Looking first keeps a directory that holds no store free of a LOCK file.
    if let Some(what) = &options.wrong_metric {
        return Err(Error::Setting(what.clone()));
    }
    options.memory.map_or(Ok(()), Budget::check)?;
    let exists = exists(&*disk)?;
    if !exists && !options.create {
        return Err(Error::NotAStore { path: path.to_owned() });
    }
    let lock = disk.lock(names::LOCK, &clock::holder())?;
    let (superblock, mut state) = match Superblock::open(&*disk) {
        Err(error) if error.is_not_found() => {
            create(&disk, path)?;
            Superblock::open(&*disk)?
        }
        found => found?,
    };
    let poison = Poison::new();

    // R1 to R4, R8. Whoever made the store may have ended before SUPER's name was durable; making a collection sees
    // to that, too.
    if state.ckpt_lsn == 0 {
        disk.sync_dir("")?;
    }
    // Whoever reads what an earlier writer left is told before anything of it changes.
    let oldest_reader = if disk.is_persistent() { oldest_reader(&*disk, &state)? } else { u64::MAX };
    let last_checkpoint = recover_segments(&*disk, &superblock, &mut state)?;
    // Until then somebody may have sat down at the checkpoint before.
    let oldest_reader = match disk.is_persistent() {
        true => oldest_reader.min(seats::oldest(&seats::taken(&*disk)?)),
        false => oldest_reader,
    };
    let heads = Heads::new(disk.open(names::HEADS)?);
    let file = disk.open(names::CATALOG)?;
    if !state.clean {
        mutant::unless(Mutant::OldCatalogueUnsynced, || file.sync())?;
        if !mutant::on(Mutant::OldCatalogueUnsynced) {
            mutant::unless(Mutant::NoEviction, || file.evict())?;
        }
    }
    let rests = state.clean && disk.is_persistent();
    let (catalog, hides_failures) = catalog::open(&file, &poison, &state, (rests, options.catalog_bytes()))?;

    // R5, R6
    let mut replay = Replay {
        disk: &disk,
        metrics: &options.metrics,
        state: &state,
        heads: &heads,
        catalog: &catalog,
        open: HashMap::new(),
        retired: Vec::new(),
    };
    if disk.is_persistent() {
        replay.catalog.pin(state.done)?;
    }
    let log = if disk.is_persistent() { replay.run(&poison)? } else { LazyLog::ready(Log::volatile()) };
    hides_failures.store(true, Ordering::Release);
    if log.is_ready() {
        catalog.end_rest()?;
    }
    let Replay { open, retired, .. } = replay;
    generation::sweep(&*disk, &state, &heads, &catalog, &open)?;
    open.values().for_each(|open| open.index().opened_at(state.done, oldest_reader));
    let pending = open.values().any(|open| !open.index().unlinked().is_empty());
    open.values().try_for_each(|open| reside(&open.index(), &options))?;
    let background = options.background;
    let shared = Arc::new(Shared::new(Parts {
        path: path.to_owned(),
        disk,
        options,
        poison,
        catalog,
        heads,
        superblock,
        state,
        log,
        lock: Some(lock),
        next_checkpoint: last_checkpoint + 1,
        open,
        retired,
        oldest_reader,
        reader: None,
    }));

    shared.review_budget();

    // R7: what was replayed is linked and checkpointed, in the background if there is one.
    if background {
        background::start(&shared)?;
        // Nobody else would tell the other threads to end.
        syncer::start(&shared).and_then(|()| scrub::start(&shared)).and_then(|()| keeper::start(&shared)).inspect_err(
            |_| {
                shared.bell.ring(Task::Stop);
                shared.sync_bell.ring(Task::Stop);
                shared.scrub_bell.ring(Task::Stop);
            },
        )?;
        if pending {
            shared.bell.ring(Task::Link);
        }
    } else if pending {
        shared.checkpoint()?;
    }
    Ok(Handle(shared))
}

/// The oldest checkpoint that a reader in another process may look at.
fn oldest_reader(disk: &dyn Disk, state: &Super) -> Result<u64> {
    let taken = seats::taken(disk)?;
    // The last checkpoint's catalogue is kept from here on as if the writer before had gone on.
    let is_kept = |at: &Option<u64>| state.clean && *at == Some(state.done);
    if !taken.iter().all(is_kept) {
        Session::end(disk)?;
    }
    Ok(seats::oldest(&taken))
}

pub(crate) fn exists(disk: &dyn Disk) -> Result<bool> {
    match disk.open(names::SUPER) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes an empty store. SUPER comes last, so that an interrupted creation leaves no store.
fn create(disk: &Arc<dyn Disk>, path: &Path) -> Result<()> {
    // What an interrupted creation leaves holds nothing yet. Anything else is somebody's: of a store that has lost its
    // SUPER, or of another program.
    let refuse = |file: &str, what: String| {
        let what = format!("{what}, but {} holds no {}", path.display(), names::SUPER);
        Err(Error::Corrupt { file: file.into(), offset: 0, what })
    };
    match disk.list(names::COLLECTIONS_DIR) {
        Ok(found) => {
            let mut paths = found.iter().map(|name| format!("{}/{name}", names::COLLECTIONS_DIR));
            if let Some(dir) = paths.find(|path| names::parse_collection_dir(path).is_some()) {
                return refuse(&dir, "there is a collection".into());
            }
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    for leftover in [names::HEADS, names::CATALOG, &names::tmp(names::CATALOG), &names::tmp(names::SUPER)] {
        let file = match disk.open(leftover) {
            Err(error) if error.is_not_found() => continue,
            file => file?,
        };
        let length = file.len()?;
        let ours = match leftover {
            names::HEADS => length == 0,
            names::CATALOG => Pages::may_be_new(&*file)?,
            _ => true,
        };
        if !ours {
            return refuse(leftover, format!("there is a file of {length} bytes"));
        }
        disk.remove(leftover)?;
    }
    let uuid = new_uuid(disk.is_persistent());
    disk.create_dir(names::CKPT_DIR)?;
    disk.create_dir(names::COLLECTIONS_DIR)?;
    disk.create_dir(names::WAL_DIR)?;
    disk.create(names::HEADS)?.sync()?;
    // It has its name only once it is whole: what an interrupted creation leaves can be told from somebody's records.
    let catalog = disk.create(&names::tmp(names::CATALOG))?;
    Catalog::create(Backend::new(catalog.clone(), Poison::new())?, uuid)?;
    catalog.sync()?;
    disk.rename(&names::tmp(names::CATALOG), names::CATALOG)?;
    if disk.is_persistent() {
        drop(Log::create(disk.clone(), uuid, Poison::new())?);
    }
    disk.sync_dir("")?;
    let first = Super { uuid, seq: 1, ckpt_lsn: 0, pending: 0, done: 0, pending_len: 0, clean: true };
    Superblock::create(&**disk, &first)?;
    Ok(())
}

/// A random identity: two stores' files must not be taken for each other's.
fn new_uuid(random: bool) -> [u8; 16] {
    let mut uuid = [0; 16];
    for half in uuid.chunks_exact_mut(8) {
        // The standard library seeds each of these from the system's randomness.
        let mut hasher = std::hash::RandomState::new().build_hasher();
        if random {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
            hasher.write_u64(now);
        }
        half.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    uuid
}

struct Replay<'a> {
    disk: &'a Arc<dyn Disk>,
    metrics: &'a Metrics,
    state: &'a Super,
    heads: &'a Heads,
    catalog: &'a Catalog,
    open: HashMap<u32, Arc<Open>>,
    /// Generations that compactions in the log have replaced.
    retired: Vec<(u32, u32)>,
}

/// What replay has changed in a collection.
#[derive(Default)]
struct Changed {
    replayed: Replayed,
    /// How many of those buried are not of the batch being read. A batch buries after it has linked all of its own.
    settled: usize,
    /// The slots that had been given out before the batch being read.
    before: u32,
}

impl Changed {
    /// Nothing yet, after so many slots given out.
    fn after(before: u32) -> Self {
        Self { before, ..Self::default() }
    }
}

/// Slots whose vectors wait to be written together.
#[derive(Default)]
struct Run {
    collection: u32,
    slots: Vec<u32>,
    /// As stored.
    vectors: Vec<u8>,
    ids: Vec<Id>,
    keys: NewKeys,
}

/// Bytes of a run that are written at once.
const RUN_BYTES: usize = 1 << 20;

impl Replay<'_> {
    /// Brings segments and catalogue up to the end of the log; each goes on from where it says it is.
    fn run(&mut self, poison: &Poison) -> Result<LazyLog> {
        let (segments, catalogue) = (self.state.ckpt_lsn, self.catalog.applied());
        let from = segments.min(catalogue) + 1;
        let open = if self.state.clean { LogScan::open_at_rest } else { LogScan::open };
        let mut scan = open(self.disk.clone(), self.state.uuid, from)?;
        let mut changed: HashMap<u32, Changed> = HashMap::new();
        let mut run = Run::default();
        scan.replay(|record| self.record(&record, &mut changed, &mut run))?;
        self.flush(&mut run)?;
        let last = scan.next_lsn() - 1;
        let reached = segments.max(catalogue);
        if last < reached {
            let what = format!("the log ends with record {last}, the store has got to {reached}");
            return Err(Error::Corrupt { file: names::WAL_DIR.into(), offset: 0, what });
        }
        self.catalog.apply()?;
        for open in self.open.values() {
            open.index().load_marks(&self.catalog.marks(open.id)?)?;
        }
        for (id, changed) in changed {
            if !changed.replayed.slots.is_empty() {
                self.open[&id].index().set_pending(changed.replayed);
            }
        }
        if self.state.clean && last == segments {
            return Ok(LazyLog::later(scan));
        }
        Ok(LazyLog::ready(scan.into_log(poison.clone())?))
    }

    fn record(&mut self, record: &Record<'_>, changed: &mut HashMap<u32, Changed>, run: &mut Run) -> Result<()> {
        let lsn = record.lsn;
        let (segments, catalogue) = (lsn > self.state.ckpt_lsn, lsn > self.catalog.applied());
        let corrupt = |what: String| Error::Corrupt { file: record.file.into(), offset: record.offset, what };
        let op = Op::decode(record)?;
        match op {
            Some(Op::Create { collection, name }) => {
                if catalogue {
                    self.catalog.stage_name(lsn, name, collection);
                }
                if segments {
                    // Open, though perhaps empty, so that the next checkpoint gives it a head.
                    self.collection(collection).map_err(|e| missing(e, &corrupt, collection))?;
                }
            }
            Some(Op::Put(Put { collection, key, place, old, element, dim, vector, payload })) => {
                if segments {
                    let open = self.collection(collection).map_err(|e| missing(e, &corrupt, collection))?;
                    let index = open.index();
                    let geometry = index.geometry();
                    let (slot, upper) = (index.next_slot(), index.next_upper());
                    let new = Place { slot, upper, level: geometry.level(slot) };
                    let expected = index.free_place(place.slot).unwrap_or(new);
                    if place != expected
                        || (element, dim) != (geometry.element, geometry.dim)
                        || old.is_some_and(|old| old >= slot || old == place.slot)
                    {
                        let what = format!("{place:?}, {dim} components of {element}, where {expected:?} was due");
                        return Err(corrupt(what));
                    }
                    if place == new {
                        index.reserve(u64::from(slot) + 1, u64::from(upper) + u64::from(place.level))?;
                    } else {
                        index.announce(place.slot)?;
                    }
                    let changed = changed.entry(collection).or_insert_with(|| Changed::after(slot));
                    changed.replayed.slots.push(place.slot);
                    changed.replayed.buried.extend(old.map(|old| (old, 0)));
                    if run.collection != collection || run.vectors.len() >= RUN_BYTES {
                        self.flush(run)?;
                    }
                    if run.ids.is_empty() {
                        run.keys = NewKeys::after(index.next_key());
                    }
                    run.collection = collection;
                    let key = self.key(run, &index, key, &corrupt)?;
                    run.slots.push(place.slot);
                    let vector_crc = vector_crc(vector);
                    run.ids.push(Id { key, lsn, vector_crc, upper: place.upper, level: place.level });
                    run.vectors.extend_from_slice(vector);
                    index.advance(place);
                    // One that is tombstoned already was marked, and did not count.
                    if !old.map_or(Ok(false), |old| index.bury(old))? {
                        open.records.fetch_add(1, Ordering::AcqRel);
                    }
                }
                if catalogue {
                    // Of a compaction that the segments have and the catalogue has not, a slot may have been marked by
                    // the record that was in it before.
                    let row = Row::new(place.slot, payload);
                    let unmarked = [old, Some(place.slot)];
                    let key = RowKey::new(collection, key.stored());
                    self.catalog.stage([Staging::Row { lsn, key, row: Some(row), unmarked }], || {});
                }
            }
            Some(Op::Remove { collection, key, slot }) => {
                if segments {
                    let open = self.collection(collection).map_err(|e| missing(e, &corrupt, collection))?;
                    let index = open.index();
                    if slot >= index.next_slot() {
                        return Err(corrupt(format!("removes slot {slot} of {}", index.next_slot())));
                    }
                    let changed = changed.entry(collection);
                    let changed = changed.or_insert_with(|| Changed::after(index.next_slot()));
                    changed.replayed.buried.push((slot, 0));
                    if index.bury(slot)? {
                        open.records.fetch_sub(1, Ordering::AcqRel);
                    }
                }
                if catalogue {
                    let (key, unmarked) = (RowKey::new(collection, key.stored()), [Some(slot), None]);
                    self.catalog.stage([Staging::Row { lsn, key, row: None, unmarked }], || {});
                }
            }
            Some(Op::SetPayload { collection, key, slot, .. } | Op::SetTags { collection, key, slot, .. }) => {
                if segments {
                    let open = self.collection(collection).map_err(|e| missing(e, &corrupt, collection))?;
                    let index = open.index();
                    if slot >= index.next_slot() || index.free_place(slot).is_some() {
                        let what = format!("a payload or tags for slot {slot} of {}, or a free one", index.next_slot());
                        return Err(corrupt(what));
                    }
                }
                if catalogue {
                    let (key, unmarked) = (RowKey::new(collection, key.stored()), [None, None]);
                    let row = self.catalog.get(&key)?.unwrap_or_else(|| Row::new(slot, &[]));
                    let row = Some(match op {
                        Some(Op::SetTags { tags, .. }) => {
                            Row { slot, tags: (!tags.is_empty()).then(|| tags.into()), ..row }
                        }
                        Some(Op::SetPayload { payload, .. }) => Row { slot, payload: payload.into(), ..row },
                        _ => row,
                    });
                    self.catalog.stage([Staging::Row { lsn, key, row, unmarked }], || {});
                }
            }
            Some(Op::Mark { collection, slot, marked }) => {
                if segments {
                    let open = self.collection(collection).map_err(|e| missing(e, &corrupt, collection))?;
                    let index = open.index();
                    if slot >= index.next_slot() || index.free_place(slot).is_some() {
                        return Err(corrupt(format!("marks slot {slot} of {}, or a free one", index.next_slot())));
                    }
                    changed.entry(collection).or_insert_with(|| Changed::after(index.next_slot()));
                    let was = if marked { index.bury(slot)? } else { index.exhume(slot)? };
                    if !was {
                        return Err(corrupt(format!("slot {slot} is marked, {marked}, and was so before")));
                    }
                    match marked {
                        true => open.records.fetch_sub(1, Ordering::AcqRel),
                        false => open.records.fetch_add(1, Ordering::AcqRel),
                    };
                }
                if catalogue {
                    self.catalog.stage([Staging::Mark { lsn, collection, slot, marked }], || {});
                }
            }
            Some(Op::Compact { collection, head, loaded }) => {
                let mut index = self.collection(collection).map_err(|e| missing(e, &corrupt, collection))?.index();
                let due = index.generation().saturating_add(segments.into());
                if head.generation != due {
                    return Err(corrupt(format!("generation {} where {due} was due", head.generation)));
                }
                if segments {
                    // What was replayed into the old generation is in the new one, too.
                    self.flush(run)?;
                    changed.remove(&collection);
                    self.retired.push((collection, index.generation()));
                    let head = Head { created: index.head().created, ..head };
                    let next = generation::open_unnamed(&**self.disk, self.state.uuid, collection, head, self.metrics)?;
                    let open = Arc::new(Open::new(self.open[&collection].name.clone(), next));
                    index = open.index();
                    self.open.insert(collection, open);
                }
                if catalogue {
                    let moving = if loaded {
                        let (records, marked) = generation::loaded_records(&index, head.next_slot)?;
                        self.catalog.begin_load(collection, records, marked)?
                    } else {
                        self.catalog.begin_move(collection, generation::slots_of(&index, head.next_slot)?)?
                    };
                    moving.commit(lsn)?;
                }
            }
            None => {}
        }
        if segments && record.ends_group {
            for (id, changed) in &mut *changed {
                let Replayed { slots, buried, writes } = &mut changed.replayed;
                let by_then = slots.len() as u32;
                buried[changed.settled..].iter_mut().for_each(|(_, slots)| *slots = by_then);
                changed.settled = buried.len();
                if writes.last().map_or(0, |last| last.0) != by_then {
                    writes.push((by_then, changed.before));
                }
                changed.before = self.open[id].index().next_slot();
            }
        }
        if catalogue {
            self.catalog.stage_nothing(lsn);
            // Between batches only: a catalogue that holds half of one could not be told from a whole one.
            if record.ends_group && self.catalog.is_full() {
                self.catalog.apply()?;
            }
        }
        Ok(())
    }

    /// What a put slot's id has for its key, which is in the segment by then or in the run.
    fn key(
        &mut self,
        run: &mut Run,
        index: &Index,
        key: LoggedKey<'_>,
        corrupt: &impl Fn(String) -> Error,
    ) -> Result<u64> {
        match key {
            LoggedKey::Number(number) if index.geometry().key.in_id() => Ok(number),
            LoggedKey::Bytes(reference, bytes) if !index.geometry().key.in_id() => {
                let unit = reference as u32;
                if unit >= run.keys.end() {
                    let due = run.keys.add(bytes)?;
                    if reference != due {
                        return Err(corrupt(format!("key reference {reference:x} where {due:x} was due")));
                    }
                    return Ok(reference);
                }
                // One that the record which is replaced has, too.
                if unit >= index.next_key() {
                    self.flush(run)?;
                }
                if index.key(reference)? != StoredKey::Bytes(bytes) {
                    return Err(corrupt(format!("key reference {reference:x} is to another key")));
                }
                Ok(reference)
            }
            _ => Err(corrupt(format!("a key that is not a {}", index.geometry().key))),
        }
    }

    fn flush(&mut self, run: &mut Run) -> Result<()> {
        if run.ids.is_empty() {
            return Ok(());
        }
        let index = self.open[&run.collection].index();
        index.write_keys(&run.keys)?;
        index.advance_keys(run.keys.end());
        run.keys = NewKeys::after(run.keys.end());
        let mut bytes = SlotBytes::default();
        index.encode(&run.vectors, &mut bytes);
        index.write_slots(&run.slots, &bytes, &run.ids)?;
        run.slots.clear();
        run.vectors.clear();
        run.ids.clear();
        Ok(())
    }

    /// The collection of that number, opened as the last checkpoint left it.
    fn collection(&mut self, id: u32) -> Result<Arc<Open>> {
        if let Some(open) = self.open.get(&id) {
            return Ok(open.clone());
        }
        let (name, entry) = self.catalog.names().into_iter().find(|(_, entry)| entry.id == id).ok_or_else(|| {
            Error::NoCollection { name: id.to_string(), store: String::new(), present: String::new() }
        })?;
        let open = open_collection(&**self.disk, self.state, self.heads, (&name, entry), self.metrics)?;
        self.open.insert(id, open.clone());
        Ok(open)
    }
}

fn missing(error: Error, corrupt: &impl Fn(String) -> Error, collection: u32) -> Error {
    match error {
        Error::NoCollection { .. } => corrupt(format!("names collection {collection}, which was never made")),
        other => other,
    }
}
