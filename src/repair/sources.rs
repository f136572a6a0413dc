//! Everything that a damaged store still says: its log, its catalogue, its segments, and how far each has got.

use super::{Loss, LossKind};
use crate::catalog::{RawKey, Row, SalvagedRows, collection_of};
use crate::error::{Error, Result};
use crate::key::RowKey;
use crate::op::{Op, Put};
use lodestore_engine::{Head, Id, Overlay, Salvage, SlotId, StoredKey, Super, Superblock};
use lodestore_wal::log::Salvaged;
use lodestore_wal::{Disk, log, names};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

/// The last that the log says of a key.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) lsn: u64,
    /// `None`: it was removed.
    pub(super) put: Option<Logged>,
}

/// A record as the log has it.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) slot: u32,
    pub(super) vector: Box<[u8]>,
    pub(super) payload: Box<[u8]>,
}

/// A damaged store.
pub(super) struct Sources {
    pub(super) disk: std::sync::Arc<dyn Disk>,
    pub(super) uuid: Option<[u8; 16]>,
    pub(super) overlay: Overlay,
    /// What the segments hold, if it is known.
    pub(super) ckpt_lsn: Option<u64>,
    pub(super) rows: SalvagedRows,
    pub(super) log: Salvaged,
    pub(super) events: HashMap<RawKey, Event>,
    /// Payloads that the log has given to records of their own, the last of each key since it was put, with their LSNs.
    pub(super) payloads: HashMap<RawKey, (u64, Box<[u8]>)>,
    /// The same of tags.
    pub(super) tags: HashMap<RawKey, (u64, Box<[u8]>)>,
    /// Slots that the log has a record for.
    pub(super) logged_slots: HashSet<(u32, u32)>,
    /// The newest generation of a collection that the log names, and the LSN.
    pub(super) compacted: HashMap<u32, (u64, u32)>,
    /// Up to which LSN the slots of a collection are records with empty payloads, taken over from elsewhere.
    pub(super) loaded: HashMap<u32, u64>,
    /// Collection and slot of the records that are marked as deleted.
    marks: HashSet<(u32, u32)>,
    /// Keys of those that were marked before the slots of their collection got other numbers, and collection and slot of
    /// marks that were taken off since.
    marked_before: HashSet<RawKey>,
    unmarked: HashSet<(u32, u32)>,
    /// Names of collections.
    pub(super) names: BTreeMap<u32, String>,
    pub(super) losses: Vec<Loss>,
    /// LSNs whose records are gone.
    pub(super) missing: Vec<Range<u64>>,
}

/// A collection's segments, and which of its slots count.
pub(super) struct Segments {
    pub(super) salvage: Salvage,
    /// The slots with an id that is whole, by key; newest first.
    pub(super) slots: HashMap<RawKey, Vec<(Id, u32)>>,
    pub(super) ids: HashMap<u32, Id>,
    /// Slots whose id is not.
    pub(super) damaged: Vec<u32>,
}

/// A key as the catalogue has it.
fn raw_key(collection: u32, key: StoredKey<'_>) -> RawKey {
    RowKey::new(collection, key).row().into()
}

impl Sources {
    pub(super) fn read(disk: std::sync::Arc<dyn Disk>) -> Result<Self> {
        let mut losses = Vec::new();
        let mut found = |error: Error| losses.push(Loss::of_file(error));
        let state: Option<Super> = Superblock::peek(&*disk).map_err(|error| found(error.into())).ok();
        let logged = log::uuid_of(&*disk)?;
        let known = state.map(|state| state.uuid).or(logged);
        let rows = match disk.open(names::CATALOG) {
            Ok(file) => SalvagedRows::read(&*file, known, &mut found)?,
            Err(error) => {
                found(error.into());
                SalvagedRows::default()
            }
        };
        let uuid = known.or(rows.uuid);
        let overlay = match uuid {
            Some(uuid) => Overlay::read(&*disk, uuid, state.as_ref(), |error| found(error.into()))?,
            None => Overlay::default(),
        };
        let ckpt_lsn = overlay.ckpt_lsn.or(state.map(|state| state.ckpt_lsn));
        let names = rows.names.iter().map(|(name, entry)| (entry.id, name.clone())).collect();
        let mut sources = Self {
            disk: disk.clone(),
            uuid,
            overlay,
            ckpt_lsn,
            rows,
            log: Salvaged::default(),
            events: HashMap::new(),
            payloads: HashMap::new(),
            tags: HashMap::new(),
            logged_slots: HashSet::new(),
            compacted: HashMap::new(),
            loaded: HashMap::new(),
            marks: HashSet::new(),
            marked_before: HashSet::new(),
            unmarked: HashSet::new(),
            names,
            losses,
            missing: Vec::new(),
        };
        sources.read_log()?;
        Ok(sources)
    }

    /// Whether the record of a key, which is in that slot of its collection, is marked as deleted.
    pub(super) fn is_marked(&self, of: (u32, u32), key: &RawKey) -> bool {
        self.marks.contains(&of) || (self.marked_before.contains(key) && !self.unmarked.contains(&of))
    }

    /// A key has another record, or none, in these slots.
    fn unmark(&mut self, key: &RawKey, collection: u32, slots: impl IntoIterator<Item = u32>) {
        self.marked_before.remove(key);
        for slot in slots {
            self.marks.remove(&(collection, slot));
            self.unmarked.remove(&(collection, slot));
        }
    }

    /// The slots of a collection get other numbers: what is marked is known by its key from here on.
    fn renumber(&mut self, collection: u32) {
        let is_marked = |slot: u32| self.marks.contains(&(collection, slot));
        let is_of = |key: &RawKey| key.starts_with(&collection.to_be_bytes());
        let rows = self.rows.of.iter().filter(|(key, of)| is_of(key) && of.iter().any(|row| is_marked(row.slot)));
        let put = |event: &Event| event.put.as_ref().is_some_and(|put| is_marked(put.slot));
        let logged = self.events.iter().filter(|(key, event)| is_of(key) && put(event));
        let keys: Vec<RawKey> = rows.map(|(key, _)| key).chain(logged.map(|(key, _)| key)).cloned().collect();
        self.marked_before.extend(keys);
        self.marks.retain(|(of, _)| *of != collection);
        self.unmarked.retain(|(of, _)| *of != collection);
    }

    fn read_log(&mut self) -> Result<()> {
        let disk = self.disk.clone();
        self.marks = std::mem::take(&mut self.rows.marks);
        let applied = self.rows.complete.unwrap_or(0);
        self.log = log::salvage(&*disk, self.uuid, |record| -> Result<()> {
            let lsn = record.lsn;
            match Op::decode(&record) {
                Ok(Some(Op::Create { collection, name })) => {
                    self.names.entry(collection).or_insert_with(|| name.to_owned());
                }
                Ok(Some(Op::Put(Put { collection, key, place, old, vector, payload, .. }))) => {
                    let raw = raw_key(collection, key.stored());
                    if lsn > applied {
                        self.unmark(&raw, collection, old.into_iter().chain([place.slot]));
                    }
                    let put = Logged { slot: place.slot, vector: vector.into(), payload: payload.into() };
                    self.logged_slots.insert((collection, place.slot));
                    self.payloads.remove(&raw);
                    self.tags.remove(&raw);
                    self.events.insert(raw, Event { lsn, put: Some(put) });
                }
                Ok(Some(Op::Remove { collection, key, slot })) => {
                    let raw = raw_key(collection, key.stored());
                    if lsn > applied {
                        self.unmark(&raw, collection, [slot]);
                    }
                    self.payloads.remove(&raw);
                    self.tags.remove(&raw);
                    self.events.insert(raw, Event { lsn, put: None });
                }
                Ok(Some(Op::SetPayload { collection, key, payload, .. })) => {
                    self.payloads.insert(raw_key(collection, key.stored()), (lsn, payload.into()));
                }
                Ok(Some(Op::SetTags { collection, key, tags, .. })) => {
                    self.tags.insert(raw_key(collection, key.stored()), (lsn, tags.into()));
                }
                Ok(Some(Op::Mark { collection, slot, marked })) if lsn > applied => {
                    let (to, from) = match marked {
                        true => (&mut self.marks, &mut self.unmarked),
                        false => (&mut self.unmarked, &mut self.marks),
                    };
                    to.insert((collection, slot));
                    from.remove(&(collection, slot));
                }
                Ok(Some(Op::Mark { .. })) => {}
                Ok(Some(Op::Compact { collection, head, loaded })) => {
                    self.logged_slots.retain(|(of, _)| *of != collection);
                    if lsn > applied {
                        self.renumber(collection);
                    }
                    if loaded {
                        self.loaded.insert(collection, lsn);
                    }
                    self.compacted.insert(collection, (lsn, head.generation));
                }
                Ok(None) => {}
                Err(error) => self.losses.push(Loss::of_file(error)),
            }
            Ok(())
        })?;
        for (file, offset, what) in self.log.damage.clone() {
            self.losses.push(Loss::of_file(Error::Corrupt { file, offset, what }));
        }
        // Of what both have, the log is not needed.
        let needed = match (self.ckpt_lsn, self.rows.complete) {
            (Some(segments), Some(catalogue)) => segments.min(catalogue),
            (Some(segments), None) => segments,
            // Nothing says how far the segments have got; the log was kept from there on.
            (None, _) => self.log.lsns.first().map_or(0, |range| range.start.saturating_sub(1)),
        };
        let reached = self.ckpt_lsn.unwrap_or(0).max(self.rows.complete.unwrap_or(0));
        self.missing = self.log.missing(needed + 1, reached.max(self.log.last_lsn()));
        for range in &self.missing {
            let (first, last) = (range.start, range.end - 1);
            self.losses.push(Loss {
                file: names::WAL_DIR.into(),
                why: format!(
                    "log records {first} to {last} cannot be read: what they put is lost unless it is found elsewhere, \
                     and what they removed may be here"
                ),
                ..Loss::new(LossKind::Unknown)
            });
        }
        Ok(())
    }

    /// The payload that a record got alone, after LSN `put`.
    pub(super) fn payload_since(&self, key: &[u8], put: u64) -> Option<&[u8]> {
        self.payloads.get(key).filter(|(lsn, _)| *lsn > put).map(|(_, payload)| &**payload)
    }

    /// The tags that it got, after LSN `put`.
    pub(super) fn tags_since(&self, key: &[u8], put: u64) -> Option<&[u8]> {
        self.tags.get(key).filter(|(lsn, _)| *lsn > put).map(|(_, tags)| &**tags)
    }

    /// Whether a log record is gone.
    pub(super) fn is_missing(&self, lsn: u64) -> bool {
        self.missing.iter().any(|range| range.contains(&lsn))
    }

    /// The collections: those that have a name, those that have files, those that the log knows.
    pub(super) fn collections(&mut self) -> Result<Vec<(u32, Vec<u32>)>> {
        let mut all: BTreeMap<u32, Vec<u32>> = self.names.keys().map(|&id| (id, Vec::new())).collect();
        for id in self.events.keys().filter_map(|key| collection_of(key)) {
            all.entry(id).or_default();
        }
        match self.disk.list(names::COLLECTIONS_DIR) {
            Ok(listed) => {
                for name in listed {
                    if let Some((id, generation)) =
                        names::parse_collection_dir(&format!("{}/{name}", names::COLLECTIONS_DIR))
                    {
                        all.entry(id).or_default().push(generation);
                    }
                }
            }
            Err(error) => self.losses.push(Loss::of_file(error)),
        }
        Ok(all.into_iter().collect())
    }

    /// The head of a collection, if it is known.
    pub(super) fn head(&mut self, id: u32) -> Option<Head> {
        match self.overlay.head(&*self.disk, id) {
            Ok(head) => head,
            Err(error) => {
                self.losses.push(Loss::of_file(error));
                None
            }
        }
    }

    /// The files of a collection that count: those of the generation that the log or `heads` names, or else of the one
    /// that has the most slots.
    pub(super) fn segments(&mut self, id: u32, generations: &[u32], head: Option<Head>) -> Result<Option<Segments>> {
        let named = self.compacted.get(&id).map(|compacted| compacted.1).or(head.map(|head| head.generation));
        let mut best: Option<((usize, usize), Segments)> = None;
        for &generation in generations.iter().filter(|&&generation| named.is_none_or(|named| named == generation)) {
            match Salvage::open(&*self.disk, self.uuid, id, generation) {
                Ok(salvage) => {
                    let found = Segments::read(salvage, id, head)?;
                    // Without a head, a crash between a compaction and the removal of the old files leaves it to the
                    // catalogue to say which of the two its slots are of.
                    let rank = (if named.is_none() { self.rows_in(id, &found) } else { 0 }, found.ids.len());
                    if best.as_ref().is_none_or(|(best, _)| rank > *best) {
                        best = Some((rank, found));
                    }
                }
                Err(error) => self.losses.push(Loss::of_file(error)),
            }
        }
        let best = best.map(|(_, best)| best);
        for (file, why) in best.iter().flat_map(|best| best.salvage.damage()) {
            self.losses.push(Loss { file, why, ..Loss::new(LossKind::Unknown) });
        }
        Ok(best)
    }

    /// How many of the catalogue's rows of a collection are in the slots that they name.
    fn rows_in(&self, id: u32, segments: &Segments) -> usize {
        let is_in = |(key, of): &(&RawKey, &Vec<Row>)| {
            let slots = key.starts_with(&id.to_be_bytes()).then(|| segments.slots.get(*key)).flatten();
            slots.is_some_and(|slots| slots.iter().any(|(_, slot)| of.iter().any(|row| row.slot == *slot)))
        };
        self.rows.of.iter().filter(is_in).count()
    }
}

impl Segments {
    fn read(salvage: Salvage, id: u32, head: Option<Head>) -> Result<Self> {
        let mut slots: HashMap<RawKey, Vec<(Id, u32)>> = HashMap::new();
        let (mut ids, mut damaged) = (HashMap::new(), Vec::new());
        salvage.each_id(|slot, found| -> Result<()> {
            match found {
                SlotId::Empty => {}
                SlotId::Damaged if head.is_none_or(|head| slot < head.next_slot) => damaged.push(slot),
                SlotId::Damaged => {}
                SlotId::Whole(found) => {
                    ids.insert(slot, found);
                    match salvage.key(&found) {
                        Ok(key) => slots.entry(raw_key(id, key.as_stored())).or_default().push((found, slot)),
                        // Perhaps the catalogue or the log knows it.
                        Err(_) => damaged.push(slot),
                    }
                }
            }
            Ok(())
        })?;
        slots.values_mut().for_each(|of| of.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(id.lsn)));
        Ok(Self { salvage, slots, ids, damaged })
    }
}
