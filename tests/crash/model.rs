//! What the store must hold: operations, and a plain map that they act upon.

use crate::support::model::Rng;
use lodestore::{Element, KeyType, TagFilter, Tags};
use std::collections::BTreeMap;
use std::ops::Range;

pub(super) const DIM: usize = 8;
/// Keys are below this, so that most writes meet a record that is there.
pub(super) const KEYS: u64 = 24;
/// Names, elements, metrics by name, of which one is the program's own, and types of keys.
pub(super) const COLLECTIONS: [(&str, Element, &str, KeyType); 4] = [
    ("plain", Element::F32, "l2", KeyType::U64),
    ("angles", Element::F16, "cosine", KeyType::Str),
    ("late", Element::I8, "l2", KeyType::Bytes),
    ("own", Element::Bf16, "manhattan", KeyType::U64),
];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) vector: Vec<f32>,
    pub(super) payload: Vec<u8>,
    pub(super) tags: Tags,
    /// As deleted.
    pub(super) marked: bool,
}

/// One change of a batch: collection, key, and the new value or none.
pub(super) type Change = (usize, u64, Option<Value>);

#[derive(Clone, Debug)]
pub(super) enum Op {
    Create(usize),
    /// A put or a remove, or several as one batch.
    Write(Vec<Change>),
    PutMany(usize, Vec<(u64, Value)>),
    /// Marks a key's record as deleted, or brings it back: alone, and as many in a batch.
    Mark(usize, Vec<(u64, bool)>),
    /// Of a record that may not be there.
    SetPayload(usize, u64, Vec<u8>),
    SetTags(usize, u64, Tags),
    Sync,
    Checkpoint,
    /// A write in the middle of a checkpoint: after so many of its calls to the disk.
    Meanwhile(u64, Box<Op>),
    /// A backup, and perhaps a write in its middle: after so many of its calls to the disk.
    Backup(Option<(u64, Box<Op>)>),
    /// All collections.
    CompactAll,
    /// A collection, and whether to erase.
    Compact(usize, bool),
    Reopen,
}

/// The collections that exist, and their records.
pub(super) type State = BTreeMap<usize, BTreeMap<u64, Value>>;

impl Op {
    /// What the operation makes of a state; `None` if it changes nothing in any.
    pub(super) fn act(&self, state: &State) -> Option<State> {
        let mut state = state.clone();
        match self {
            Op::Create(collection) => drop(state.insert(*collection, BTreeMap::new())),
            Op::Write(changes) => {
                for (collection, key, value) in changes {
                    let records = state.get_mut(collection).expect("only written to once it exists");
                    match value {
                        Some(value) => drop(records.insert(*key, value.clone())),
                        None => drop(records.remove(key)),
                    }
                }
            }
            Op::PutMany(collection, rows) => {
                state.get_mut(collection).expect("only written to once it exists").extend(rows.iter().cloned());
            }
            Op::SetPayload(collection, key, payload) => {
                let record = state.get_mut(collection).and_then(|records| records.get_mut(key));
                record.filter(|record| !record.marked)?.payload.clone_from(payload);
            }
            Op::SetTags(collection, key, tags) => {
                let record = state.get_mut(collection).and_then(|records| records.get_mut(key));
                record.filter(|record| !record.marked)?.tags.clone_from(tags);
            }
            Op::Mark(collection, keys) => {
                let records = state.get_mut(collection).expect("only written to once it exists");
                for (key, mark) in keys {
                    records.entry(*key).and_modify(|value| value.marked = *mark);
                }
            }
            Op::Meanwhile(_, write) | Op::Backup(Some((_, write))) => return write.act(&state),
            Op::Backup(None) | Op::Sync | Op::Checkpoint | Op::CompactAll | Op::Compact(..) | Op::Reopen => {
                return None;
            }
        }
        Some(state)
    }
}

/// Every state that a crash may lead back to, and which of them are ruled out by what was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// The state after each operation begun so far.
    pub(super) states: Vec<State>,
    /// The state that the end of the process must not fall behind.
    pub(super) written: usize,
    /// The state that a power loss must not fall behind.
    pub(super) synced: usize,
}

impl History {
    pub(super) fn from(state: State) -> Self {
        Self { states: vec![state], written: 0, synced: 0 }
    }

    pub(super) fn now(&self) -> &State {
        self.states.last().expect("there is always a first one")
    }

    pub(super) fn last(&self) -> usize {
        self.states.len() - 1
    }
}

/// Makes operations. No two values it makes have the same vector.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    pub(super) rng: Rng,
    /// Whether [`any`](Self::any) changes payloads and tags alone, too, and values have tags.
    pub(super) payloads: bool,
    /// And makes backups.
    pub(super) backups: bool,
}

impl Maker {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), payloads: false, backups: false }
    }

    pub(super) fn value(&mut self) -> Value {
        // Numbers that every type has.
        let vector = (0..DIM).map(|_| f32::from(self.rng.next() as i8)).collect();
        let length = if self.rng.one_in(3) { 0 } else { self.rng.within(0..40) };
        let payload = (0..length).map(|_| self.rng.next() as u8).collect();
        let tags = if self.payloads { self.tags() } else { Tags::new() };
        Value { vector, payload, tags, marked: false }
    }

    /// Few different ones, so that many records have each.
    fn tags(&mut self) -> Tags {
        let mut tags = Tags::new();
        for _ in 0..self.rng.within(0..4) {
            let added = match self.rng.one_in(2) {
                true => tags.add("number", self.rng.within(0..4) as i64 - 1),
                false => tags.add("text", ["", "a", "ab", "b\0"][self.rng.within(0..4) as usize]),
            };
            added.expect("they are short");
        }
        tags
    }

    pub(super) fn set_tags(&mut self, collection: usize, key: u64) -> Op {
        Op::SetTags(collection, key, self.tags())
    }

    pub(super) fn put(&mut self, collection: usize, key: u64) -> Op {
        Op::Write(vec![(collection, key, Some(self.value()))])
    }

    pub(super) fn set_payload(&mut self, collection: usize, key: u64) -> Op {
        Op::SetPayload(collection, key, self.value().payload)
    }

    pub(super) fn remove(&mut self, collection: usize, key: u64) -> Op {
        Op::Write(vec![(collection, key, None)])
    }

    pub(super) fn put_many(&mut self, collection: usize, keys: Range<u64>) -> Op {
        Op::PutMany(collection, keys.map(|key| (key, self.value())).collect())
    }

    /// Puts, and every fourth time a removal.
    pub(super) fn batch(&mut self, places: &[(usize, u64)]) -> Op {
        let change =
            |(at, &(collection, key)): (usize, &(usize, u64))| (collection, key, (at % 4 != 3).then(|| self.value()));
        Op::Write(places.iter().enumerate().map(change).collect())
    }

    /// Any operation that is possible in `state`.
    pub(super) fn any(&mut self, state: &State) -> Op {
        let missing: Vec<usize> = (0..COLLECTIONS.len()).filter(|c| !state.contains_key(c)).collect();
        let present: Vec<usize> = state.keys().copied().collect();
        if present.is_empty() || (!missing.is_empty() && self.rng.one_in(12)) {
            return Op::Create(missing[self.rng.within(0..missing.len() as u64) as usize]);
        }
        let collection = present[self.rng.within(0..present.len() as u64) as usize];
        let key = self.rng.within(0..KEYS);
        if self.payloads && self.rng.one_in(8) {
            return if self.rng.one_in(2) { self.set_payload(collection, key) } else { self.set_tags(collection, key) };
        }
        if self.backups && self.rng.one_in(12) {
            // A backup of a small store makes some sixty calls, those of its checkpoint included.
            let write = [self.put(collection, key), self.batch(&[(collection, key), (present[0], key / 2)])];
            let [one, more] = write;
            return match self.rng.within(0..4) {
                0 => Op::Backup(Some((self.rng.within(0..64), Box::new(one)))),
                1 => Op::Backup(Some((self.rng.within(0..64), Box::new(more)))),
                _ => Op::Backup(None),
            };
        }
        match self.rng.within(0..30) {
            0..8 => self.put(collection, key),
            8..11 => self.remove(collection, key),
            11..14 => {
                let changes = self.rng.within(2..9);
                let places: Vec<_> = (0..changes)
                    .map(|_| {
                        let collection = present[self.rng.within(0..present.len() as u64) as usize];
                        // Few keys, so that one batch changes a key more than once.
                        (collection, self.rng.within(0..KEYS / 2))
                    })
                    .collect();
                self.batch(&places)
            }
            14..16 => {
                let from = self.rng.within(0..KEYS);
                let upto = self.rng.within(from..KEYS) + 1;
                self.put_many(collection, from..upto)
            }
            16 => Op::Sync,
            17 | 18 => Op::Checkpoint,
            19 | 20 => Op::Compact(collection, self.rng.one_in(3)),
            22 | 23 => Op::Mark(collection, vec![(key, self.rng.one_in(2))]),
            24 => {
                let changes = self.rng.within(2..6);
                Op::Mark(collection, (0..changes).map(|_| (self.rng.within(0..KEYS / 2), self.rng.one_in(2))).collect())
            }
            25 => Op::CompactAll,
            26..29 => {
                // A checkpoint of a small store makes some thirty calls.
                let calls = self.rng.within(0..32);
                let write = match self.rng.within(0..3) {
                    0 => self.put(collection, key),
                    1 => self.remove(collection, key),
                    _ => self.batch(&[(collection, key), (collection, key / 2), (present[0], key / 3)]),
                };
                Op::Meanwhile(calls, Box::new(write))
            }
            _ => Op::Reopen,
        }
    }
}

/// A short life that meets everything once: both metrics, updates, removals, batches, a late collection, two
/// checkpoints, a reopening, compactions with and without changes since the last checkpoint, two backups.
pub(super) fn script() -> Vec<Op> {
    let make = &mut Maker::new(1);
    let mut ops = vec![Op::Create(0)];
    ops.extend((0..5).map(|key| make.put(0, key)));
    ops.extend([make.put(0, 2), make.remove(0, 1), make.put_many(0, 8..18)]);
    ops.extend([Op::Checkpoint, Op::Create(1)]);
    ops.extend((0..3).map(|key| make.put(1, key)));
    ops.extend([make.batch(&[(0, 3), (1, 7), (1, 7), (0, 4), (1, 1)]), make.remove(1, 0), Op::Sync]);
    ops.extend([Op::Mark(0, vec![(3, true)]), Op::Mark(1, vec![(7, true), (2, true), (7, false)])]);
    ops.extend([make.put(0, 20), Op::Reopen, make.put(1, 9), make.put(0, 20), make.put_many(1, 10..16)]);
    ops.extend([make.batch(&[(0, 0), (1, 0), (0, 0), (1, 9)]), Op::Checkpoint, Op::Create(2)]);
    ops.extend([Op::Mark(0, vec![(9, true), (10, true)]), make.put(0, 10)]);
    ops.extend([make.put(1, 3), make.remove(0, 8), Op::Compact(0, false), make.put(0, 21), make.remove(0, 9)]);
    ops.extend([Op::Mark(1, vec![(10, true)]), Op::Compact(0, true), make.set_payload(1, 3), Op::Compact(1, false)]);
    ops.extend([
        make.put(1, 4),
        Op::Mark(0, vec![(3, false)]),
        make.put(0, 5),
        make.set_payload(0, 5),
        make.remove(1, 2),
    ]);
    ops.extend([Op::Create(3), make.put(3, 1), make.put_many(3, 2..6), make.remove(3, 4), make.set_payload(3, 5)]);
    ops.push(make.put(3, 1));
    // While the checkpoint file is written, before the commit point, while pages are applied.
    for (calls, key) in [(1, 3), (12, 9), (20, 11)] {
        ops.push(make.put(0, key));
        let write = make.batch(&[(0, key), (1, key), (0, key + 1)]);
        ops.push(Op::Meanwhile(calls, Box::new(write)));
    }
    ops.extend([make.put(1, 9), Op::Meanwhile(12, Box::new(make.set_payload(1, 9)))]);
    ops.extend([Op::Backup(None), make.put(0, 2), make.remove(1, 9), make.set_payload(0, 5)]);
    // While the blocks are written.
    let write = make.batch(&[(0, 2), (1, 9), (3, 1)]);
    ops.push(Op::Backup(Some((40, Box::new(write)))));
    make.payloads = true;
    ops.extend([make.put(0, 2), make.put_many(1, 4..9), make.batch(&[(0, 3), (1, 4), (3, 1), (0, 3)])]);
    ops.extend((0..6).map(|key| make.set_tags(0, key)));
    ops.extend([make.set_payload(1, 5), make.remove(1, 6), Op::Compact(1, false), Op::Reopen, make.set_tags(1, 5)]);
    ops
}

/// Conditions that some tags of those fulfil, and some do not.
pub(super) fn conditions() -> [TagFilter; 5] {
    let made = || -> lodestore::Result<_> {
        let one = TagFilter::eq("number", 1)?;
        let text = TagFilter::starts_with("text", "a")?;
        Ok([
            TagFilter::range("number", 0..2)?,
            TagFilter::has("text")?,
            !&text,
            one & text,
            TagFilter::eq("text", "b\0")?,
        ])
    };
    made().expect("they are short")
}
