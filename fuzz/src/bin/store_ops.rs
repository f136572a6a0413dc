//! Any sequence of calls of the API, with reopenings, crashes and power losses in between, against a map. The store
//! syncs every write, so that after a crash it must hold exactly what the map holds.
#![cfg_attr(fuzzing, no_main)]

use keyed::Docs;
use lodestore::{Collection, Durability, Element, Key, KeyType, Metric, Store, UserMetric};
use lodestore_fuzz::Rng;
use lodestore_wal::disk::{CrashMode, SimDisk};
use std::collections::BTreeMap;
use std::sync::Arc;

#[path = "../../../tests/support/keyed.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod keyed;

lodestore_fuzz::target!(live, seeds);

const DIM: usize = 3;
const KEYS: u64 = 24;
/// Collections: name, element, the metric's name, and the type of keys.
const NAMES: [(&str, Element, &str, KeyType); 8] = [
    ("l2", Element::F32, "l2", KeyType::U64),
    ("ip", Element::F32, "ip", KeyType::Str),
    ("cosine", Element::F32, "cosine", KeyType::U64),
    ("f16", Element::F16, "l2", KeyType::Bytes),
    ("bf16", Element::Bf16, "cosine", KeyType::U64),
    ("i8", Element::I8, "ip", KeyType::Str),
    ("bits", Element::Bits, "hamming", KeyType::U64),
    ("own", Element::Bf16, "manhattan", KeyType::U64),
];

/// A metric of the program's own.
struct Manhattan;

impl UserMetric for Manhattan {
    fn name(&self) -> &str {
        "manhattan"
    }

    fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum()
    }
}

type Records = BTreeMap<u64, (Vec<f32>, Vec<u8>)>;

/// Calls that an input makes: so many bytes are read as so many calls.
struct Script<'a>(std::slice::Iter<'a, u8>);

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        self.0.next().copied()
    }

    /// Zero behind the end, so that the last call is whole.
    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn key(&mut self) -> u64 {
        let byte = u64::from(self.byte());
        // Now and then one from the other end of the range.
        if byte >= 250 { u64::MAX - byte } else { byte % KEYS }
    }

    /// Few values, so that vectors repeat, and never zero except of bits; of those that the collection has.
    fn vector(&mut self, at: usize) -> Vec<f32> {
        let byte = self.byte();
        let quarters = (0..DIM as u8).map(|i| f32::from((byte >> (2 * i)) & 3) - 1.25 + f32::from(byte >> 6));
        let (_, element, ..) = NAMES[at];
        match element {
            Element::I8 => quarters.map(|x| 4.0 * x).collect(),
            Element::Bits => quarters.map(|x| f32::from(u8::from(x > 0.0))).collect(),
            _ => quarters.collect(),
        }
    }

    fn payload(&mut self) -> Vec<u8> {
        let byte = self.byte();
        vec![byte; usize::from(byte % 40)]
    }
}

fn collection<K: Key + ?Sized>(store: &Store, name: &str, element: Element, metric: &str) -> Collection<K> {
    let docs = store.collection::<K>(name).dim(DIM).element(element);
    let docs = match Metric::from_name(metric) {
        Some(metric) => docs.metric(metric),
        None => docs.user_metric(metric),
    };
    docs.m(3).ef_construction(16).open_or_create().expect("the same settings as before")
}

struct World {
    sim: Arc<SimDisk>,
    store: Option<Store>,
    docs: Vec<Docs>,
    model: Vec<Records>,
    /// What is marked as deleted.
    marked: Vec<Records>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world =
            Self { sim: SimDisk::new(seed), store: None, docs: Vec::new(), model: Vec::new(), marked: Vec::new() };
        world.model.resize(NAMES.len(), Records::new());
        world.marked.resize(NAMES.len(), Records::new());
        world.open();
        world
    }

    fn open(&mut self) {
        let options = Store::options().metric(Manhattan).background(false).threads(1).durability(Durability::Sync);
        let store =
            options.checkpoint_log_bytes(8 << 10).open_on(self.sim.clone(), "sim").expect("a store that is whole");
        self.docs = NAMES
            .iter()
            .map(|&(name, element, metric, key)| match key {
                KeyType::Str => Docs::Str(collection(&store, name, element, metric)),
                KeyType::Bytes => Docs::Bytes(collection(&store, name, element, metric)),
                _ => Docs::Number(collection(&store, name, element, metric)),
            })
            .collect();
        self.store = Some(store);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open but for a moment")
    }

    fn crash(&mut self, mode: CrashMode, seed: u64) {
        // The disk is off before the store is dropped, or dropping would close it.
        let next = self.sim.reboot(mode, seed);
        self.docs.clear();
        self.store = None;
        self.sim = next;
        self.open();
    }

    fn check(&self) {
        for (docs, model) in self.docs.iter().zip(&self.model) {
            assert_eq!(docs.info().len, model.len() as u64);
            assert!(docs.numbers().expect("the catalogue is whole").iter().eq(model.keys()), "{}", docs.info().name);
            for key in (0..KEYS).chain(model.range(KEYS..).map(|(&key, _)| key)) {
                let found = docs.get(key).expect("the catalogue is whole").map(|r| (r.vector, r.payload));
                assert_eq!(found.as_ref(), model.get(&key), "{}: key {key}", docs.info().name);
            }
        }
        for (docs, marked) in self.docs.iter().zip(&self.marked) {
            assert_eq!(docs.info().marked, marked.len() as u64);
            assert!(marked.keys().all(|&key| docs.is_marked_deleted(key).expect("the catalogue is whole")));
        }
        let report = self.store().verify().expect("it can be looked at");
        assert_eq!(report.problems, [""; 0]);
    }

    /// Every hit is a record with its distance, nearest first, none twice; and the k nearest while the graph is so small
    /// that its lists hold everything.
    fn search(&self, at: usize, query: &[f32], k: usize) {
        let (docs, model) = (&self.docs[at], &self.model[at]);
        let hits = docs.search(query, k, 64).expect("a good query");
        let metric = docs.info().metric;
        assert!(hits.len() <= k.min(model.len()));
        let mut last = f32::NEG_INFINITY;
        let mut seen = Vec::new();
        for (key, found, with) in &hits {
            let (vector, payload) = &model[key];
            assert!(near(*found, distance(metric, query, vector)), "{key} at {found} of {vector:?} to {query:?}");
            assert_eq!(with.as_ref(), Some(payload));
            assert!(*found >= last && !seen.contains(key), "{hits:?}");
            last = *found;
            seen.push(*key);
        }
        if docs.info().slots <= 3 {
            let mut exact: Vec<f64> = model.values().map(|(v, _)| distance(metric, query, v)).collect();
            exact.sort_unstable_by(f64::total_cmp);
            exact.truncate(k);
            assert_eq!(hits.len(), exact.len());
            assert!(hits.iter().zip(exact).all(|((_, found, _), exact)| near(*found, exact)), "{hits:?}");
        }
    }

    fn call(&mut self, op: u8, script: &mut Script<'_>) {
        let at = usize::from(op >> 5) % NAMES.len();
        // Opening costs a hundred times as much as a put, so it is rare.
        match op & 31 {
            0..=9 => {
                let (key, vector, payload) = (script.key(), script.vector(at), script.payload());
                self.docs[at].put(key, &vector, &payload).expect("room on the disk");
                self.marked[at].remove(&key);
                self.model[at].insert(key, (vector, payload));
            }
            10 | 11 => {
                let key = script.key();
                let existed = self.docs[at].remove(key).expect("room on the disk");
                let (live, marked) = (self.model[at].remove(&key), self.marked[at].remove(&key));
                assert_eq!(existed, live.or(marked).is_some());
            }
            12 => {
                let count = usize::from(script.byte() % 12);
                let keys: Vec<u64> = (0..count).map(|_| script.key()).collect();
                let vectors: Vec<Vec<f32>> = (0..count).map(|_| script.vector(at)).collect();
                self.docs[at].put_many(&keys, &vectors.concat(), None).expect("room on the disk");
                keys.iter().for_each(|key| drop(self.marked[at].remove(key)));
                self.model[at].extend(keys.into_iter().zip(vectors).map(|(key, vector)| (key, (vector, Vec::new()))));
            }
            13 | 14 => self.batch(script),
            15 => {
                let erase = script.byte().is_multiple_of(2);
                self.docs[at].compact(erase).expect("room on the disk");
            }
            16..=23 => self.search(at, &script.vector(at), usize::from(script.byte() % 12)),
            24 => self.store().checkpoint().expect("room on the disk"),
            25 => self.refused(at, script),
            26 => self.mark(at, script),
            27 => {
                self.docs.clear();
                self.store.take().expect("open").close().expect("room on the disk");
                self.open();
            }
            28 => self.crash(CrashMode::ProcessKill, u64::from(script.byte())),
            29 => {
                let byte = script.byte();
                self.crash(CrashMode::ALL[usize::from(byte) % CrashMode::ALL.len()], u64::from(byte));
            }
            30 => self.check(),
            31 if script.byte().is_multiple_of(2) => {
                let (key, payload) = (script.key(), script.payload());
                let is_there = self.docs[at].set_payload(key, &payload).expect("room on the disk");
                let record = self.model[at].get_mut(&key);
                assert_eq!(is_there, record.is_some());
                record.into_iter().for_each(|record| record.1.clone_from(&payload));
            }
            _ => self.search(at, &script.vector(at), 1),
        }
    }

    fn batch(&mut self, script: &mut Script<'_>) {
        let mut batch = self.store().batch();
        let (mut model, mut marked) = (self.model.clone(), self.marked.clone());
        for _ in 0..script.byte() % 8 {
            let at = usize::from(script.byte()) % NAMES.len();
            let key = script.key();
            let kind = script.byte();
            if kind.is_multiple_of(4) {
                self.docs[at].batch_remove(&mut batch, key).expect("a collection of this store");
                model[at].remove(&key);
                marked[at].remove(&key);
            } else if kind % 8 == 1 {
                self.docs[at].batch_mark(&mut batch, key).expect("a collection of this store");
                marked[at].extend(model[at].remove_entry(&key));
            } else if kind % 8 == 2 {
                self.docs[at].batch_unmark(&mut batch, key).expect("a collection of this store");
                model[at].extend(marked[at].remove_entry(&key));
            } else if kind % 8 == 3 {
                let payload = script.payload();
                self.docs[at].batch_set_payload(&mut batch, key, &payload).expect("a collection of this store");
                model[at].entry(key).and_modify(|record| record.1 = payload);
            } else {
                let (vector, payload) = (script.vector(at), script.payload());
                self.docs[at].batch_put(&mut batch, key, &vector, &payload).expect("a good vector");
                marked[at].remove(&key);
                model[at].insert(key, (vector, payload));
            }
        }
        if script.byte() < 200 {
            batch.commit().expect("room on the disk");
            (self.model, self.marked) = (model, marked);
        }
    }

    /// Marks a record as deleted, or brings one back.
    fn mark(&mut self, at: usize, script: &mut Script<'_>) {
        let (key, mark) = (script.key(), script.byte().is_multiple_of(2));
        let (docs, live, marked) = (&self.docs[at], &mut self.model[at], &mut self.marked[at]);
        let (changed, from, to) = match mark {
            true => (docs.mark_deleted(key), live, marked),
            false => (docs.unmark_deleted(key), marked, live),
        };
        let moved = from.remove_entry(&key);
        assert_eq!(changed.expect("room on the disk"), moved.is_some());
        to.extend(moved);
        assert_eq!(docs.is_marked_deleted(key).expect("the catalogue is whole"), self.marked[at].contains_key(&key));
    }

    /// What must be refused, and change nothing.
    fn refused(&self, at: usize, script: &mut Script<'_>) {
        let (docs, key) = (&self.docs[at], script.key());
        docs.put(key, &[1.0; DIM + 1], b"").expect_err("too long");
        docs.put(key, &[1.0, f32::NAN, 1.0], b"").expect_err("not a number");
        docs.put_many(&[key, key], &[1.0; 2 * DIM - 1], None).expect_err("not whole");
        let info = docs.info();
        if info.element == Element::I8 || info.element == Element::Bits {
            docs.put(key, &[1.0, 0.5, 1.0], b"").expect_err("not a whole number");
        }
        if info.metric == Metric::Cosine {
            docs.put(key, &[0.0; DIM], b"").expect_err("no direction");
        }
        self.store().collection::<u64>(&info.name).dim(DIM + 1).open().expect_err("another dimension");
        self.store().collection::<u64>("no\nname").dim(1).create().expect_err("a control character");
    }
}

fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let sum = |f: fn(f64, f64) -> f64, a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&x, &y)| f(x.into(), y.into())).sum()
    };
    let dot = |a, b| sum(|x, y| x * y, a, b);
    match metric {
        // Of zeros and ones, what differs counts 1.
        Metric::L2 | Metric::Hamming => sum(|x, y| (x - y) * (x - y), a, b),
        Metric::InnerProduct => 1.0 - dot(a, b),
        Metric::User(_) => sum(|x, y| (x - y).abs(), a, b),
        _ => 1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
    }
}

fn near(got: f32, exact: f64) -> bool {
    (f64::from(got) - exact).abs() <= 1e-4 * exact.abs().max(1.0)
}

fn live(input: &[u8]) {
    // Slower than they are long: what can go wrong does so within a few hundred calls.
    let mut script = Script(input[..input.len().min(1000)].iter());
    let mut world = World::new(u64::from(script.byte()));
    while let Some(op) = script.next() {
        world.call(op, &mut script);
    }
    world.check();
    world.crash(CrashMode::PowerLoss, 1);
    world.check();
}

fn seeds() -> Vec<Vec<u8>> {
    (0..12)
        .map(|seed| {
            let mut rng = Rng(seed);
            (0..20 * seed + 8).map(|_| rng.number() as u8).collect()
        })
        .collect()
}
