//! The way of every write: check, sequence, link, acknowledge.
//!
//! 1. Everything that can be wrong with the input is looked for before anything is changed.
//! 2. Under the log's lock, in this order: find the slots that the rows replace, make room, write vectors and ids
//!    into slots nobody knows of, then (nothing can fail any more) give out slots and LSNs, append to the log, stage
//!    the catalogue's rows.
//! 3. Link the new slots, in parallel when there are many; bury the old ones.
//! 4. Wait for the log as the durability asks. Searches may see a write before that.

mod existing;

use crate::catalog::{Row, Staging};
use crate::check::{check_payload, check_vector};
use crate::error::{Error, Result};
use crate::flight::Flight;
use crate::key::RowKey;
use crate::observe::Call;
use crate::op::{self, LoggedKey};
use crate::options::Durability;
use crate::shared::{Open, Shared, Task};
use existing::{Existing, Record};
use lodestore_engine::{Id, Index, NewKeys, Place, SlotBytes, StoredKey, vector_crc};
use lodestore_wal::log::{Appender, Commit};
use rayon::ThreadPool;
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// New slots in one write that are worth several threads.
const PARALLEL_ROWS: usize = 8;
/// New slots that a thread encodes at a time.
const ENCODED_ROWS: usize = 64;
/// Bytes of payloads that stay as they are while the tags beside them change, of one write.
const MAX_KEPT: usize = 64 << 20;
/// New slots in one write that are worth syncing the log while they are linked.
const OVERLAP_ROWS: usize = 64;

/// One change to one key.
#[derive(Clone, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) target: &'a Arc<Open>,
    pub(crate) key: RowKey,
    pub(crate) action: Action<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Action<'a> {
    /// The vector as it is to be stored.
    Put {
        vector: &'a [u8],
        payload: &'a [u8],
    },
    Remove,
    SetPayload {
        payload: &'a [u8],
    },
    /// Encoded.
    SetTags {
        tags: &'a [u8],
    },
    /// Marks the record as deleted.
    Mark,
    Unmark,
}

/// What a write has given out under the log's lock.
struct Sequenced<'a> {
    /// Until its slots are linked and the old ones buried.
    flight: Option<Flight<'a>>,
    /// Collection (as its place in `targets`) and slot.
    linked: Vec<(usize, u32)>,
    /// For each collection, the slots given out before.
    before: Vec<u32>,
    buried: Vec<(usize, u32)>,
    /// Slots that are marked as deleted.
    marked: Vec<(usize, u32)>,
    /// For each change, whether there was something to change: see [`Shared::write`].
    changed: Vec<bool>,
    last_lsn: u64,
}

impl Shared {
    /// Carries out the changes in their order, all or none. Says of each put and removal whether its key had a record
    /// before, marked or not, and of each other change whether it changed something.
    pub(crate) fn write(&self, changes: &[Change<'_>]) -> Result<Vec<bool>> {
        self.check_open()?;
        for (row, change) in changes.iter().enumerate() {
            change.key.check(row)?;
            match change.action {
                Action::Put { vector, payload } => {
                    check_vector(change.target, vector, row)?;
                    check_payload(payload, row)?;
                }
                Action::SetPayload { payload } => check_payload(payload, row)?,
                Action::Remove | Action::SetTags { .. } | Action::Mark | Action::Unmark => {}
            }
        }
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let call = Call::begin();
        let large = changes.len() >= PARALLEL_ROWS;
        // Threads that cannot be had must not be missed once the log has the records.
        let pool = if large && self.threads()? > 1 { Some(self.pool()?) } else { None };
        let mut batch = Batch::new(changes, pool);
        let sequenced = {
            let _gate = self.gate.read();
            self.check_open()?;
            // Here: whoever closes the store passes the gate, and another process may make the log afterwards.
            let log = self.log()?;
            batch.catch_up();
            let mut sequenced = log.sequence(changes.len(), batch.log_bytes(), |log| batch.sequence(self, log))??;
            // From here on the log says that it happened; if it cannot, the store must not go on.
            let overlap = sequenced.linked.len() >= OVERLAP_ROWS
                && self.options.durability == Durability::Sync
                && self.options.background;
            let applied = if overlap {
                std::thread::scope(|scope| {
                    // If there is no thread for it, the log is synced afterwards, as for a small write.
                    let sync = || log.commit(sequenced.last_lsn, Commit::Synced);
                    let syncing = std::thread::Builder::new().spawn_scoped(scope, sync).ok();
                    let applied = self.apply_to_graph(&batch, &sequenced);
                    let synced = syncing.map_or(Ok(()), |thread| thread.join().expect("the log does not panic"));
                    synced.map_err(Error::from).and(applied)
                })
            } else {
                self.apply_to_graph(&batch, &sequenced)
            };
            applied.inspect_err(|error| self.poison.set(error))?;
            sequenced.flight = None;
            batch.targets.iter().for_each(|target| target.open.tagged.landed());
            sequenced
        };
        if self.catalog.is_full() {
            self.catalog.apply().inspect_err(|error| self.poison.set(error))?;
        }
        self.acknowledge(sequenced.last_lsn)?;
        call.wrote(changes.len());
        self.keep_up(&batch);
        Ok(sequenced.changed)
    }

    /// Links the slots of one write, which are each collection's own; with the slots that it had given out before.
    pub(crate) fn link_slots(&self, writes: &[(&Index, &[u32], u32)]) -> Result<()> {
        let rows: usize = writes.iter().map(|(_, slots, _)| slots.len()).sum();
        if rows >= PARALLEL_ROWS && self.threads()? > 1 {
            // Collections do not see each other, so their order does not matter.
            let link = |&(index, slots, before): &(&Index, &[u32], u32)| index.link_many(slots, before, true);
            self.pool()?.install(|| writes.par_iter().try_for_each(link))?;
        } else {
            writes.iter().try_for_each(|(index, slots, before)| index.link_many(slots, *before, false))?;
        }
        Ok(())
    }

    fn apply_to_graph(&self, batch: &Batch<'_>, sequenced: &Sequenced<'_>) -> Result<()> {
        let mut slots = vec![Vec::new(); batch.targets.len()];
        sequenced.linked.iter().for_each(|&(target, slot)| slots[target].push(slot));
        let targets = batch.targets.iter().zip(&slots).zip(&sequenced.before);
        let writes = targets.map(|((target, slots), &before)| (&*target.index, &slots[..], before));
        self.link_slots(&writes.collect::<Vec<_>>())?;
        for &(target, slot) in &sequenced.buried {
            let index = &batch.targets[target].index;
            // Another thread may have put that slot a moment ago, and not yet buried the one that it replaced.
            if let Some(flight) = &sequenced.flight {
                flight.wait_for(index.id_of(slot).lsn);
            }
            index.bury(slot)?;
        }
        // As above: what the record has replaced is not to be found in its stead.
        for &(target, slot) in &sequenced.marked {
            if let Some(flight) = &sequenced.flight {
                flight.wait_for(batch.targets[target].index.id_of(slot).lsn);
            }
        }
        Ok(())
    }

    /// Starts, or without a thread of our own carries out, the checkpoint that has become due.
    fn keep_up(&self, batch: &Batch<'_>) {
        let doubted = batch.targets.iter().any(|target| target.index.doubted() > 0);
        if doubted && self.options.maintenance && self.options.background {
            self.bell.ring(Task::Mend);
        }
        let sweep_due = batch.targets.iter().any(|target| self.sweep_due(&target.index));
        if !sweep_due && !self.checkpoint_due() {
            return;
        }
        if !self.options.background {
            // The write has succeeded, whatever becomes of this: a full disk is met again by the next write, and any
            // other failure poisons the store.
            let _ = self.checkpoint();
            return;
        }
        self.bell.ring(Task::Checkpoint);
        for target in &batch.targets {
            // As above.
            let _ = self.help_sweeping(&target.index);
        }
        // If the log grows faster than checkpoints are taken, writers wait, or it would grow without end.
        self.write_changed();
        let limit = self.options.checkpoint_log_bytes.max(self.dirty_bytes()).saturating_mul(4);
        if self.log_if_any().is_some_and(|log| log.bytes_since_rotate() > limit) {
            drop(self.checkpointing.lock());
        }
    }
}

struct Target<'a> {
    open: &'a Arc<Open>,
    index: Arc<Index>,
    /// Changes of this collection that put a vector, in order.
    puts: Vec<(usize, &'a [u8])>,
    /// Their vectors, as they go into the slots.
    bytes: SlotBytes,
    checksums: Vec<u32>,
}

struct Batch<'a> {
    changes: &'a [Change<'a>],
    targets: Vec<Target<'a>>,
    /// For each change, its place in `targets`.
    target_of: Vec<usize>,
}

impl Target<'_> {
    fn encode(&mut self, pool: Option<&ThreadPool>) {
        let index = &self.index;
        let encode = |puts: &[(usize, &[u8])]| {
            let (mut bytes, mut checksums) = (SlotBytes::default(), Vec::with_capacity(puts.len()));
            for (_, vector) in puts {
                index.encode(vector, &mut bytes);
                checksums.push(vector_crc(vector));
            }
            (bytes, checksums)
        };
        let Some(pool) = pool else {
            (self.bytes, self.checksums) = encode(&self.puts);
            return;
        };
        let parts: Vec<_> = pool.install(|| self.puts.par_chunks(ENCODED_ROWS).map(encode).collect());
        for (bytes, checksums) in parts {
            self.bytes.append(&bytes);
            self.checksums.extend(checksums);
        }
    }
}

impl<'a> Batch<'a> {
    /// Large ones are encoded by the threads of `pool`.
    fn new(changes: &'a [Change<'a>], pool: Option<&ThreadPool>) -> Self {
        let mut targets: Vec<Target<'a>> = Vec::new();
        let mut target_of = Vec::with_capacity(changes.len());
        for (at, change) in changes.iter().enumerate() {
            let target = targets.iter().position(|t| Arc::ptr_eq(t.open, change.target)).unwrap_or_else(|| {
                targets.push(Target {
                    open: change.target,
                    index: change.target.index(),
                    puts: Vec::new(),
                    bytes: SlotBytes::default(),
                    checksums: Vec::new(),
                });
                targets.len() - 1
            });
            target_of.push(target);
            if let Action::Put { vector, .. } = change.action {
                targets[target].puts.push((at, vector));
            }
        }
        for target in &mut targets {
            target.encode(pool);
        }
        Self { changes, targets, target_of }
    }

    /// The collection may have been compacted until the gate was passed. What was encoded holds for all generations.
    fn catch_up(&mut self) {
        self.targets.iter_mut().for_each(|target| target.index = target.open.index());
    }

    fn log_bytes(&self) -> usize {
        self.changes
            .iter()
            .map(|change| match change.action {
                Action::Put { vector, payload } => op::put_len(change.key.bytes().len(), vector.len(), payload.len()),
                Action::Remove => op::remove_len(change.key.bytes().len()),
                Action::Mark | Action::Unmark => op::MARK_LEN,
                Action::SetPayload { payload: beside } | Action::SetTags { tags: beside } => {
                    op::payload_len(change.key.bytes().len(), beside.len())
                }
            })
            .sum()
    }

    /// Runs under the log's lock. An error means that nothing has changed.
    fn sequence<'s>(&self, shared: &'s Shared, log: &mut Appender<'_>) -> Result<Sequenced<'s>> {
        let existing = self.existing_slots(shared)?;
        let mut partly = self.partly_changed(shared, &existing)?;
        let Chosen { places, key_ends } = self.write_slots(log.next_lsn(), &existing)?;
        // The slot as of each change: an earlier one of this batch may have given the key another one.
        let slot_of = |at: usize| match existing[at].record {
            Record::Slot(slot) => Some(slot),
            Record::PutBy(earlier) => Some(places[earlier].expect("a put has a place").0.slot),
            Record::None => None,
        };
        for (at, change) in self.changes.iter().enumerate() {
            if let (Action::Mark | Action::Unmark, Some(slot)) = (change.action, slot_of(at)) {
                self.targets[self.target_of[at]].index.announce_mark(slot)?;
            }
        }
        let first_lsn = log.next_lsn();
        let mut done = Sequenced {
            flight: None,
            linked: Vec::with_capacity(self.changes.len()),
            before: self.targets.iter().map(|target| target.index.next_slot()).collect(),
            buried: Vec::new(),
            marked: Vec::new(),
            changed: Vec::with_capacity(self.changes.len()),
            last_lsn: log.next_lsn() - 1,
        };
        let mut staged = Vec::with_capacity(self.changes.len());
        let (mut flips, mut tagged) = (Vec::new(), Vec::with_capacity(self.changes.len()));
        self.targets.iter().for_each(|target| target.open.tagged.begin());
        for (target, end) in self.targets.iter().zip(key_ends) {
            end.into_iter().for_each(|end| target.index.advance_keys(end));
        }
        for (at, change) in self.changes.iter().enumerate() {
            let target = self.target_of[at];
            let (open, index) = (change.target, &self.targets[target].index);
            let collection = open.id;
            let (old, marked) = (slot_of(at), existing[at].marked);
            done.changed.push(existing[at].is_changed_by(change.action));
            let unmarked = [old.filter(|_| marked), None];
            if let (Action::Put { .. } | Action::Remove, Some(slot)) = (change.action, old) {
                done.buried.push((target, slot));
                if marked {
                    flips.push((at, slot));
                    open.records.fetch_add(1, Ordering::AcqRel);
                }
            }
            match change.action {
                Action::Put { vector, payload } => {
                    let (place, raw) = places[at].expect("a put has a place");
                    index.advance(place);
                    let (key, geometry) = (change.logged(raw, index), index.geometry());
                    let (element, dim) = (geometry.element, geometry.dim);
                    let put = op::Put { collection, key, place, old, element, dim, vector, payload };
                    done.last_lsn = op::append_put(log, &put);
                    let row = Row::new(place.slot, payload);
                    if let Some(rows) = &mut partly {
                        rows.insert(&change.key, row.clone());
                    }
                    tagged.push((target, place.slot, None));
                    let (key, row) = (change.key.clone(), Some(row));
                    staged.push(Staging::Row { lsn: done.last_lsn, key, row, unmarked });
                    done.linked.push((target, place.slot));
                    if old.is_none() {
                        open.records.fetch_add(1, Ordering::AcqRel);
                    }
                }
                Action::Remove => {
                    let Some(slot) = old else { continue };
                    let key = change.logged(index.id_of(slot).key, index);
                    done.last_lsn = op::append_remove(log, collection, key, slot);
                    let key = change.key.clone();
                    staged.push(Staging::Row { lsn: done.last_lsn, key, row: None, unmarked });
                    open.records.fetch_sub(1, Ordering::AcqRel);
                }
                Action::SetPayload { payload } => {
                    let Some(slot) = old.filter(|_| existing[at].is_changed_by(change.action)) else { continue };
                    let key = change.logged(index.id_of(slot).key, index);
                    done.last_lsn = op::append_payload(log, collection, key, slot, payload);
                    let row = partly.as_mut().and_then(|rows| rows.get_mut(&change.key)).expect("looked up before");
                    (row.slot, row.payload) = (slot, payload.into());
                    let (key, row) = (change.key.clone(), Some(row.clone()));
                    staged.push(Staging::Row { lsn: done.last_lsn, key, row, unmarked: [None; 2] });
                }
                Action::SetTags { tags } => {
                    let Some(slot) = old.filter(|_| existing[at].is_changed_by(change.action)) else { continue };
                    let key = change.logged(index.id_of(slot).key, index);
                    done.last_lsn = op::append_tags(log, collection, key, slot, tags);
                    let row = partly.as_mut().and_then(|rows| rows.get_mut(&change.key)).expect("looked up before");
                    (row.slot, row.tags) = (slot, (!tags.is_empty()).then(|| tags.into()));
                    tagged.push((target, slot, row.tags.clone()));
                    let (key, row) = (change.key.clone(), Some(row.clone()));
                    staged.push(Staging::Row { lsn: done.last_lsn, key, row, unmarked: [None; 2] });
                }
                Action::Mark | Action::Unmark => {
                    let Some(slot) = old.filter(|_| existing[at].is_changed_by(change.action)) else { continue };
                    let marked = matches!(change.action, Action::Mark);
                    flips.push((at, slot));
                    if marked {
                        done.marked.push((target, slot));
                        open.records.fetch_sub(1, Ordering::AcqRel);
                    } else {
                        open.records.fetch_add(1, Ordering::AcqRel);
                    }
                    done.last_lsn = op::append_mark(log, collection, slot, marked);
                    staged.push(Staging::Mark { lsn: done.last_lsn, collection, slot, marked });
                }
            }
        }
        // At once: who looks at several keys sees all of a write or nothing. And here, not with the graph: in the order of
        // the log, or two at once could leave a record marked.
        shared.catalog.stage(staged, || {
            flips.iter().for_each(|&(at, slot)| self.flip(at, slot));
            for (number, target) in self.targets.iter().enumerate() {
                let of = tagged.iter().filter(|(target, ..)| *target == number);
                target.open.tagged.staged(of.map(|(_, slot, tags)| (*slot, tags.clone())));
            }
        });
        done.flight = Some(shared.in_flight.begin(first_lsn, done.last_lsn));
        Ok(done)
    }

    /// What a change does to the mark of its key's slot.
    fn flip(&self, at: usize, slot: u32) {
        let index = &self.targets[self.target_of[at]].index;
        match self.changes[at].action {
            Action::Mark => index.mark(slot),
            Action::Unmark => index.unmark(slot),
            Action::Put { .. } | Action::Remove => index.give_up_mark(slot),
            Action::SetPayload { .. } | Action::SetTags { .. } => {}
        }
    }

    /// If a part of a record changes: the rows of those keys, as earlier changes leave them; and what that part does not matter
    /// for is missing. Rows that are put are added to them.
    fn partly_changed(&self, shared: &Shared, existing: &[Existing]) -> Result<Option<HashMap<&RowKey, Row>>> {
        let is_part = |change: &Change<'_>| matches!(change.action, Action::SetPayload { .. } | Action::SetTags { .. });
        if !self.changes.iter().any(is_part) {
            return Ok(None);
        }
        let (mut rows, mut bytes) = (HashMap::new(), 0);
        for (change, existing) in self.changes.iter().zip(existing) {
            let Record::Slot(slot) = existing.record else { continue };
            if !is_part(change) || !existing.is_changed_by(change.action) || rows.contains_key(&change.key) {
                continue;
            }
            let row = match change.action {
                Action::SetPayload { .. } => {
                    let tags = shared.catalog.tags(&change.key)?.flatten();
                    Row { tags, ..Row::new(slot, &[]) }
                }
                _ => shared.catalog.get(&change.key)?.unwrap_or_else(|| Row::new(slot, &[])),
            };
            bytes += row.payload.len();
            if bytes > MAX_KEPT {
                let (got, limit) = (bytes as u64, MAX_KEPT as u64);
                return Err(lodestore_wal::Error::TooLarge { got, limit }.into());
            }
            rows.insert(&change.key, row);
        }
        Ok(Some(rows))
    }

    /// For each change, what there is of its key's record before it.
    fn existing_slots(&self, shared: &Shared) -> Result<Vec<Existing>> {
        let mut latest: HashMap<&RowKey, Existing> = HashMap::new();
        let mut existing = Vec::with_capacity(self.changes.len());
        for (at, change) in self.changes.iter().enumerate() {
            let key = &change.key;
            let before = match latest.get(key) {
                Some(&before) => before,
                None => match shared.catalog.slot(key)? {
                    Some(slot) => {
                        let marked = self.targets[self.target_of[at]].index.is_marked(slot);
                        Existing { record: Record::Slot(slot), marked }
                    }
                    None => Existing::NONE,
                },
            };
            existing.push(before);
            if self.changes.len() > 1 {
                latest.insert(key, before.after(change.action, at));
            }
        }
        Ok(existing)
    }

    /// Chooses places for all puts and writes their keys, vectors and ids there.
    fn write_slots(&self, first_lsn: u64, existing: &[Existing]) -> Result<Chosen> {
        let mut lsns = Vec::with_capacity(self.changes.len());
        let mut next = first_lsn;
        for (change, existing) in self.changes.iter().zip(existing) {
            lsns.push(next);
            // What changes nothing leaves no record.
            next += u64::from(matches!(change.action, Action::Put { .. }) || existing.is_changed_by(change.action));
        }
        let mut places: Vec<Option<(Place, u64)>> = vec![None; self.changes.len()];
        let mut key_ends = vec![None; self.targets.len()];
        for (target, key_end) in self.targets.iter().zip(&mut key_ends).filter(|(t, _)| !t.puts.is_empty()) {
            let index = &target.index;
            let chosen = index.places(target.puts.len() as u32);
            let slots = chosen.iter().map(|place| place.slot).collect::<Vec<_>>();
            let next = |place: &Place| (u64::from(place.slot) + 1, u64::from(place.upper) + u64::from(place.level));
            let (slots_then, uppers_then) = next(chosen.last().expect("at least one put"));
            index.reserve(slots_then, uppers_then)?;
            slots.iter().filter(|&&slot| slot < index.next_slot()).try_for_each(|&slot| index.announce(slot))?;
            let mut new_keys = NewKeys::after(index.next_key());
            for (&(at, _), &place) in target.puts.iter().zip(&chosen) {
                let raw = match existing[at].record {
                    Record::PutBy(earlier) => places[earlier].expect("an earlier put").1,
                    Record::Slot(slot) => self.changes[at].key_in(index, Some(slot), &mut new_keys)?,
                    Record::None => self.changes[at].key_in(index, None, &mut new_keys)?,
                };
                places[at] = Some((place, raw));
            }
            index.write_keys(&new_keys)?;
            *key_end = (!new_keys.is_empty()).then_some(new_keys.end());
            let ids: Vec<Id> = target
                .puts
                .iter()
                .zip(&chosen)
                .zip(&target.checksums)
                .map(|((&(at, _), place), &vector_crc)| Id {
                    key: places[at].expect("chosen above").1,
                    lsn: lsns[at],
                    vector_crc,
                    upper: place.upper,
                    level: place.level,
                })
                .collect();
            index.write_slots(&slots, &target.bytes, &ids)?;
        }
        Ok(Chosen { places, key_ends })
    }
}

/// What [`Batch::write_slots`] has chosen.
struct Chosen {
    /// For each put, where it goes, and what its id has for its key.
    places: Vec<Option<(Place, u64)>>,
    /// For each collection, where its new keys end, if there are any.
    key_ends: Vec<Option<u32>>,
}

impl Change<'_> {
    /// What an id has for the key: if the record in `old` has it, too, its place is used again.
    fn key_in(&self, index: &Index, old: Option<u32>, new: &mut NewKeys) -> Result<u64> {
        if index.geometry().key.in_id() {
            return Ok(self.key.number().expect("keys are of the collection's type"));
        }
        let bytes = self.key.bytes();
        if let Some(slot) = old.filter(|&slot| slot < index.next_slot()) {
            let raw = index.id_of(slot).key;
            // A damaged key must not be kept on.
            if index.key(raw).is_ok_and(|kept| kept == StoredKey::Bytes(bytes)) {
                return Ok(raw);
            }
        }
        Ok(new.add(bytes)?)
    }

    fn logged(&self, raw: u64, index: &Index) -> LoggedKey<'_> {
        match self.key.number().filter(|_| index.geometry().key.in_id()) {
            Some(number) => LoggedKey::Number(number),
            None => LoggedKey::Bytes(raw, self.key.bytes()),
        }
    }
}
