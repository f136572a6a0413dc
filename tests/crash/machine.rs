//! Runs operations on a store on a simulated disk, beside the model, and compares the two.

use super::backups::{self, Kept};
use super::faulty::Mutant;
use super::model::{COLLECTIONS, DIM, History, KEYS, Op, State, Value, conditions};
use crate::metric::examples::Manhattan;
use crate::support::keyed::{Docs, Valued};
use lodestore::{Codes, Collection, Durability, Error, Key, KeyType, Metric, Record, Store, Tags, VerifyReport};
use lodestore_wal::Disk;
use lodestore_wal::disk::{CrashMode, SimDisk};
use lodestore_wal::names::{self, Part};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was found wrong.
pub(super) type Wrong = String;

/// Why a store could not be compared with the model, or was not as it should be.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A call failed, which a failing disk excuses.
    Failed(Error),
    /// What was read is wrong, which nothing excuses.
    Wrong(Wrong),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Wrong> for Trouble {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<Trouble> for Wrong {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failed(error) => format!("reading: {error}"),
            Trouble::Wrong(wrong) => wrong,
        }
    }
}

/// How a store is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) durability: Durability,
    /// Log bytes after which a write takes a checkpoint.
    pub(super) log_bytes: u64,
    pub(super) mutant: Mutant,
    /// Whether checkpoints unlink what was removed.
    pub(super) maintenance: bool,
    /// Whether random programs change payloads alone, too. What hunts for mutants is spent on what they break.
    pub(super) payloads: bool,
    /// And whether they make backups.
    pub(super) backups: bool,
}

impl Setup {
    pub(super) fn new(durability: Durability) -> Self {
        Self {
            durability,
            log_bytes: 64 << 20,
            mutant: Mutant::None,
            maintenance: true,
            payloads: false,
            backups: false,
        }
    }
}

/// An open store and its open collections.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) store: Store,
    collections: BTreeMap<usize, Docs>,
}

/// A disk, what has happened on it, and what must be there.
pub(super) struct Machine {
    pub(super) setup: Setup,
    pub(super) sim: Arc<SimDisk>,
    pub(super) history: History,
    /// A store has been opened here, so there must be one from now on.
    pub(super) created: bool,
    kept: Kept,
}

impl Machine {
    pub(super) fn new(setup: Setup, seed: u64) -> Self {
        let history = History::from(State::new());
        Self { setup, sim: SimDisk::new(seed), history, created: false, kept: Kept::default() }
    }

    /// One whose disk holds a store already, or ought to.
    pub(super) fn restored(setup: Setup, sim: Arc<SimDisk>) -> Self {
        Self { sim, created: true, ..Self::new(setup, 0) }
    }

    pub(super) fn open(&mut self) -> Result<Live, Error> {
        let disk = self.setup.mutant.mount(self.sim.clone());
        let options = Store::options().metric(Manhattan).background(false).threads(1);
        let options = options.durability(self.setup.durability);
        let options = options.checkpoint_log_bytes(self.setup.log_bytes).maintenance(self.setup.maintenance);
        let options = options.create(!self.created);
        let store = options.open_on(disk, "sim")?;
        self.created = true;
        Ok(Live { store, collections: BTreeMap::new() })
    }

    /// Opens the store and carries out the operations, up to the first that fails.
    pub(super) fn run(&mut self, ops: &[Op]) -> Result<(), Error> {
        let mut live = self.open()?;
        for op in ops {
            live = self.carry_out(live, op).map_err(|(_, error)| error)?;
        }
        live.store.close()?;
        self.closed();
        Ok(())
    }

    /// Closing has made all durable.
    pub(super) fn closed(&mut self) {
        self.history.written = self.history.last();
        self.history.synced = self.history.written;
    }

    /// Carries out one operation; the store is still there if it failed, unless it was to be reopened.
    pub(super) fn carry_out(&mut self, mut live: Live, op: &Op) -> Result<Live, (Option<Live>, Error)> {
        if let Some(next) = op.act(self.history.now()) {
            self.history.states.push(next);
        }
        let durable = match op {
            Op::Meanwhile(calls, write) => {
                return self.meanwhile(live, (*calls, write), |live| live.store.checkpoint());
            }
            Op::Backup(meanwhile) => return self.back_up(live, meanwhile.as_ref()),
            Op::Reopen => {
                live.store.close().map_err(|error| (None, error))?;
                self.closed();
                live = self.open().map_err(|error| (None, error))?;
                true
            }
            _ => match live.carry_out(op) {
                Ok(()) => {
                    matches!(op, Op::Sync | Op::Checkpoint | Op::CompactAll | Op::Compact(..))
                        || self.setup.durability == Durability::Sync
                }
                Err(error) => return Err((Some(live), error)),
            },
        };
        self.history.written = self.history.last();
        if durable {
            self.history.synced = self.history.written;
        }
        Ok(live)
    }

    /// Makes a backup, which begins with a checkpoint, perhaps with a write in its middle.
    fn back_up(&mut self, live: Live, write: Option<&(u64, Box<Op>)>) -> Result<Live, (Option<Live>, Error)> {
        let last = self.history.last();
        let states = self.history.states[last - usize::from(write.is_some())..].to_vec();
        let disk = self.setup.mutant.mount(self.sim.clone());
        let mut number = None;
        let mut take = |live: &Live| backups::take(&live.store, disk.clone()).map(|taken| number = Some(taken));
        let done = match write {
            Some((calls, write)) => self.meanwhile(live, (*calls, write), take),
            None => match take(&live) {
                Ok(()) => {
                    (self.history.written, self.history.synced) = (last, last);
                    Ok(live)
                }
                Err(error) => Err((Some(live), error)),
            },
        };
        self.kept.note(number, states);
        done
    }

    /// Takes a checkpoint, or what begins with one, and carries out a write, whose state is the history's last, once that
    /// has made so many calls behind its first step. One that makes fewer is followed by the write.
    fn meanwhile(
        &mut self,
        live: Live,
        (calls, write): (u64, &Op),
        take: impl FnOnce(&Live) -> Result<(), Error>,
    ) -> Result<Live, (Option<Live>, Error)> {
        let (mut live, last) = (live, self.history.last());
        let before = last - 1;
        if let Op::Write(changes) = write {
            // Opening one waits for a checkpoint that writes SUPER.
            let opened = changes.iter().try_for_each(|(collection, ..)| live.collection(*collection).map(drop));
            if let Err(error) = opened {
                self.history.states.truncate(before + 1);
                return Err((Some(live), error));
            }
        }
        let written = Arc::new(Mutex::new(None));
        {
            let (mut live, write, written) = (live.clone(), write.clone(), written.clone());
            let mut left = None;
            self.sim.set_hook(Some(move |call: &str, path: &str| {
                let first = path.starts_with("ckpt/") || path.starts_with(backups::DIR);
                if left.is_none() && call == "create" && first {
                    left = Some(calls);
                }
                match &mut left {
                    None => true,
                    // redb waits for nobody while it writes; a thread of its own would wait for it.
                    Some(0) if path.starts_with(names::CATALOG) => true,
                    Some(0) => {
                        *written.lock() = Some(live.carry_out(&write));
                        false
                    }
                    Some(left) => {
                        *left -= 1;
                        true
                    }
                }
            }));
        }
        let taken = take(&live);
        self.sim.set_hook(None::<fn(&str, &str) -> bool>);
        if taken.is_ok() {
            // All that there was before it is in it.
            (self.history.written, self.history.synced) = (before, before);
        }
        let written = written.lock().take();
        let written = match (written, &taken) {
            (None, Ok(())) => live.carry_out(write),
            (None, Err(_)) => {
                self.history.states.truncate(before + 1);
                Ok(())
            }
            (Some(written), _) => written,
        };
        if written.is_ok() && self.history.last() == last {
            self.history.written = last;
            if self.setup.durability == Durability::Sync {
                self.history.synced = last;
            }
        }
        match written.and(taken) {
            Ok(()) => Ok(live),
            Err(error) => Err((Some(live), error)),
        }
    }

    /// Crashes the disk and turns it on again.
    pub(super) fn reboot(&mut self, mode: CrashMode, seed: u64) {
        if mode != CrashMode::ProcessKill {
            self.history.written = self.history.synced;
        }
        self.sim = self.sim.reboot(mode, seed);
    }

    /// The same machine after a crash, while this one stays as it is.
    pub(super) fn rebooted(&self, mode: CrashMode, seed: u64) -> Machine {
        let (setup, created, kept) = (self.setup, self.created, self.kept.clone());
        let mut machine = Machine { setup, created, sim: self.sim.clone(), history: self.history.clone(), kept };
        machine.reboot(mode, seed);
        machine
    }

    /// Opens the store after a crash, compares all of it with the model, and once more after closing it. Returns how many
    /// backups were restored.
    pub(super) fn recover(&mut self) -> Result<u64, Wrong> {
        let live = self.open().map_err(|error| format!("it does not open: {error}"))?;
        self.check(&live)?;
        live.store.close().map_err(|error| format!("it does not close: {error}"))?;
        let live = self.open().map_err(|error| format!("it does not open again: {error}"))?;
        self.check(&live).map_err(|wrong| format!("opened again: {wrong}"))?;
        live.store.close().map_err(|error| format!("it does not close again: {error}"))?;
        self.check_backups(Some(self.sim.calls()))
    }

    /// As [`recover`](Self::recover), without closing and opening again.
    pub(super) fn glance(&mut self) -> Result<u64, Wrong> {
        let live = self.open().map_err(|error| format!("it does not open: {error}"))?;
        self.check(&live)?;
        let restored = self.check_backups(Some(self.sim.calls()))?;
        self.sim.crash_at(0);
        Ok(restored)
    }

    /// See [`Kept::check`].
    pub(super) fn check_backups(&self, one: Option<u64>) -> Result<u64, Wrong> {
        self.kept.check(self.setup, &self.sim, one)
    }

    /// Compares all of an open store with the model.
    pub(super) fn check(&mut self, live: &Live) -> Result<(), Wrong> {
        let missing = self.settle(live)?;
        let report = live.store.verify().map_err(|error| format!("verify: {error}"))?;
        check_report(&report, missing)
    }

    /// What the last checkpoint left of the graphs: each file up to where the counters in `heads` say that it is used.
    pub(super) fn graphs(&self) -> Vec<(String, Vec<u8>)> {
        let read = |path: &str, at: usize, len: usize| {
            let mut bytes = vec![0; len];
            self.sim.open(path).and_then(|file| file.read_at(at as u64, &mut bytes)).map(|()| bytes)
        };
        let mut graphs = Vec::new();
        for id in 0..COLLECTIONS.len() {
            // After magic and number come the next slot and the next upper list; both kinds of lists have 64 bytes.
            let Ok(head) = read(names::HEADS, id * 128, 128) else { continue };
            let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes")) as usize;
            let (slots, uppers, generation, keys) = (word(8), word(12), word(44) as u32, word(48));
            graphs.push((format!("head {id}"), head[..24].to_vec()));
            for (part, len) in [
                (Part::Links, slots * 64),
                (Part::Upper, uppers * 64),
                (Part::Tombs, slots.div_ceil(32) * 4),
                (Part::Vectors, slots * 64),
                (Part::Codes, if id % 2 == 0 { slots * 64 } else { 0 }),
                (Part::Keys, keys * 16),
            ] {
                let path = names::part(id as u32, generation, part);
                let bytes = if len == 0 { Vec::new() } else { read(&path, 0, len).expect("as long as its head says") };
                graphs.push((path, bytes));
            }
        }
        graphs
    }

    /// Finds the state that a store has come back to. What was found after opening is there to stay.
    /// Returns how many of its records searches do not find.
    pub(super) fn settle(&mut self, live: &Live) -> Result<u64, Trouble> {
        let found = live.state()?;
        let history = &self.history;
        let Some(n) = (history.written..=history.last()).rev().find(|&n| history.states[n] == found) else {
            let earlier = history.states.iter().rposition(|state| *state == found);
            let wrong = format!(
                "operations 1 to {} were acknowledged, {} begun; the store is as after {earlier:?}: {}",
                history.written,
                history.last(),
                difference(&found, &history.states[history.written])
            );
            return Err(wrong.into());
        };
        let missing = live.check_searches(&found)?;
        self.history = History::from(self.history.states.swap_remove(n));
        Ok(missing)
    }
}

impl Live {
    fn collection(&mut self, collection: usize) -> Result<&Docs, Error> {
        let (name, ..) = COLLECTIONS[collection];
        if !self.collections.contains_key(&collection) {
            self.collections.insert(collection, Docs::open(&self.store, name)?);
        }
        Ok(&self.collections[&collection])
    }

    fn create<K: Key + ?Sized>(&self, collection: usize) -> Result<Collection<K>, Error> {
        let (name, element, metric, _) = COLLECTIONS[collection];
        // One walks on codes, one on vectors.
        let codes = [Codes::Eight, Codes::None][collection % 2];
        let builder = self.store.collection(name).dim(DIM).element(element).codes(codes).m(4).ef_construction(24);
        match Metric::from_name(metric) {
            Some(metric) => builder.metric(metric).create(),
            None => builder.user_metric(metric).create(),
        }
    }

    fn carry_out(&mut self, op: &Op) -> Result<(), Error> {
        match op {
            Op::Create(collection) => {
                let docs = match COLLECTIONS[*collection].3 {
                    KeyType::Str => Docs::Str(self.create(*collection)?),
                    KeyType::Bytes => Docs::Bytes(self.create(*collection)?),
                    _ => Docs::Number(self.create(*collection)?),
                };
                self.collections.insert(*collection, docs);
                Ok(())
            }
            Op::Write(changes) => match &changes[..] {
                [(collection, key, Some(value))] if value.tags.is_empty() => {
                    self.collection(*collection)?.put(*key, &value.vector, &value.payload)
                }
                [(collection, key, Some(value))] => self.collection(*collection)?.put_tagged(*key, value_of(value)),
                [(collection, key, None)] => self.collection(*collection)?.remove(*key).map(|_| ()),
                changes => {
                    let mut batch = self.store.batch();
                    for (collection, key, value) in changes {
                        let target = self.collection(*collection)?;
                        match value {
                            Some(value) if value.tags.is_empty() => {
                                target.batch_put(&mut batch, *key, &value.vector, &value.payload)?;
                            }
                            Some(value) => target.batch_put_tagged(&mut batch, *key, value_of(value))?,
                            None => target.batch_remove(&mut batch, *key)?,
                        }
                    }
                    batch.commit()
                }
            },
            Op::PutMany(collection, rows) => {
                let keys: Vec<u64> = rows.iter().map(|(key, _)| *key).collect();
                let vectors: Vec<f32> = rows.iter().flat_map(|(_, value)| &value.vector).copied().collect();
                let payloads: Vec<&[u8]> = rows.iter().map(|(_, value)| &value.payload[..]).collect();
                let tags: Vec<Tags> = rows.iter().map(|(_, value)| value.tags.clone()).collect();
                match tags.iter().all(Tags::is_empty) {
                    true => self.collection(*collection)?.put_many(&keys, &vectors, Some(&payloads)),
                    false => self.collection(*collection)?.put_many_tagged(&keys, &vectors, &payloads, &tags),
                }
            }
            Op::Mark(collection, keys) => {
                let target = self.collection(*collection)?.clone();
                match keys[..] {
                    [(key, true)] => target.mark_deleted(key).map(drop),
                    [(key, false)] => target.unmark_deleted(key).map(drop),
                    _ => {
                        let mut batch = self.store.batch();
                        for &(key, mark) in keys {
                            match mark {
                                true => target.batch_mark(&mut batch, key)?,
                                false => target.batch_unmark(&mut batch, key)?,
                            }
                        }
                        batch.commit()
                    }
                }
            }
            Op::SetPayload(collection, key, payload) if payload.len().is_multiple_of(2) => {
                self.collection(*collection)?.set_payload(*key, payload).map(drop)
            }
            // The last of a batch counts.
            Op::SetPayload(collection, key, payload) => {
                let target = self.collection(*collection)?.clone();
                let mut batch = self.store.batch();
                target.batch_set_payload(&mut batch, *key, b"of no account")?;
                target.batch_set_payload(&mut batch, *key, payload)?;
                batch.commit()
            }
            Op::SetTags(collection, key, tags) => self.collection(*collection)?.set_tags(*key, tags).map(drop),
            Op::Sync => self.store.sync(),
            Op::Checkpoint => self.store.checkpoint(),
            Op::Compact(collection, erase) => self.collection(*collection)?.compact(*erase),
            Op::CompactAll => self.store.compact().run().map(drop),
            Op::Meanwhile(..) | Op::Backup(_) | Op::Reopen => unreachable!("the machine does that"),
        }
    }

    /// Everything that the store holds, asked for key by key.
    pub(super) fn state(&self) -> Result<State, Trouble> {
        let mut state = State::new();
        for info in self.store.collections()? {
            let known = COLLECTIONS.iter().position(|(name, ..)| *name == info.name);
            let collection = known.ok_or_else(|| format!("a collection '{}'", info.name))?;
            let records = Docs::open(&self.store, &info.name)?;
            let mut found = BTreeMap::new();
            for key in 0..KEYS {
                let record = records.get(key)?;
                if records.contains(key)? != record.is_some() {
                    return Err(format!("contains({key}) and get({key}) disagree in '{}'", info.name).into());
                }
                let hidden = records.get_marked(key)?;
                let marked = records.is_marked_deleted(key)?;
                if marked != hidden.is_some() || (marked && record.is_some()) {
                    return Err(format!("{key} of '{}' is marked as deleted, {marked}, or there", info.name).into());
                }
                let value = |r: Record| Value { vector: r.vector, payload: r.payload, tags: r.tags, marked };
                found.extend(record.or(hidden).map(|record| (key, value(record))));
            }
            let marked = found.values().filter(|value| value.marked).count() as u64;
            let counted = records.info();
            if (counted.len + marked, info.marked) != (found.len() as u64, marked) {
                return Err(
                    format!("'{}' has {} records and a length of {}", info.name, found.len(), counted.len).into()
                );
            }
            let listed = records.numbers()?;
            let live = found.iter().filter(|(_, value)| !value.marked).map(|(key, _)| key);
            if !listed.iter().eq(live) {
                return Err(format!("'{}' lists {listed:?}, it has {:?}", info.name, found.keys()).into());
            }
            state.insert(collection, found);
        }
        Ok(state)
    }

    /// Every record finds itself, and a search for all finds each once and nothing else. Returns how many records are
    /// not found at all: it is for `verify` to say the same.
    pub(super) fn check_searches(&self, state: &State) -> Result<u64, Trouble> {
        let mut missing = 0;
        for (&collection, records) in state {
            let records: BTreeMap<u64, &Value> =
                records.iter().filter(|(_, value)| !value.marked).map(|(&key, value)| (key, value)).collect();
            let (name, _, metric, _) = COLLECTIONS[collection];
            let open = Docs::open(&self.store, name)?;
            let search = |vector: &[f32], k| {
                // More candidates than there are slots: whatever links lead to is found.
                let hits = open.search(vector, k, 5000)?;
                for (key, _, payload) in &hits {
                    if records.get(key).is_some_and(|value| Some(&value.payload) != payload.as_ref()) {
                        return Err(format!("a search finds {key} with the payload {payload:?}").into());
                    }
                }
                Ok::<_, Trouble>(hits.into_iter().map(|(key, distance, _)| (key, distance)).collect::<Vec<_>>())
            };
            let all = search(&[1.0; DIM], 2 * KEYS as usize)?;
            let keys: BTreeSet<u64> = all.iter().map(|(key, _)| *key).collect();
            if all.len() != keys.len() || !keys.iter().all(|key| records.contains_key(key)) {
                return Err(format!("a search of all of '{name}' finds {all:?} of {:?}", records.keys()).into());
            }
            for condition in conditions() {
                let found = open.tagged(&[1.0; DIM], 2 * KEYS as usize, &condition)?;
                let fulfils = |(_, value): &(&u64, &&Value)| condition.matches(&value.tags);
                let due: Vec<u64> = records.iter().filter(fulfils).map(|(&key, _)| key).collect();
                if found != due {
                    return Err(
                        format!("a search of '{name}' for {condition} finds {found:?}, there are {due:?}").into()
                    );
                }
            }
            missing += (records.len() - keys.len()) as u64;
            let limit = if metric == "cosine" { 1e-5 } else { 0.0 };
            for (&key, &value) in records.iter().filter(|(key, _)| keys.contains(key)) {
                let hits = search(&value.vector, 1)?;
                if !matches!(hits[..], [(found, distance)] if found == key && distance.abs() <= limit) {
                    return Err(format!("{name} {key} is not its own nearest neighbour: {hits:?}").into());
                }
            }
        }
        Ok(missing)
    }
}

fn value_of(value: &Value) -> Valued<'_> {
    (&value.vector, &value.payload, &value.tags)
}

/// A report must be clean. Searches may miss more than it says, since they see less of the upper levels, but not less.
pub(super) fn check_report(report: &VerifyReport, missing: u64) -> Result<(), Wrong> {
    let unreachable: u64 = report.collections.iter().map(|c| c.unreachable).sum();
    if !report.ok() {
        return Err(format!("verify: {:?}", report.problems));
    }
    if missing < unreachable {
        return Err(format!("{missing} records are not found, verify counts {unreachable}"));
    }
    Ok(())
}

/// The first place where two states differ.
pub(super) fn difference(found: &State, expected: &State) -> String {
    for (collection, (name, ..)) in COLLECTIONS.iter().enumerate() {
        match (found.get(&collection), expected.get(&collection)) {
            (Some(found), Some(expected)) => {
                let differs = (0..KEYS).find(|key| found.get(key) != expected.get(key));
                if let Some(key) = differs {
                    return format!("{name} {key} is {:?}, not {:?}", found.get(&key), expected.get(&key));
                }
            }
            (None, None) => {}
            (found, _) => return format!("{name} is {}", if found.is_some() { "there" } else { "not there" }),
        }
    }
    "no difference".into()
}
