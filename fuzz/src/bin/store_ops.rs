//! Any sequence of calls of the API, with reopenings, crashes and power losses in between, against a map. The store
//! syncs every write, so that after a crash it must hold exactly what the map holds.
#![cfg_attr(fuzzing, no_main)]

use lodestore::{Collection, Durability, Element, Metric, Store, UserMetric};
use lodestore_fuzz::Rng;
use lodestore_wal::disk::{CrashMode, SimDisk};
use std::collections::BTreeMap;
use std::sync::Arc;

lodestore_fuzz::target!(live, seeds);

const DIM: usize = 3;
const KEYS: u64 = 24;
/// Collections: name, element, and the metric's name.
const NAMES: [(&str, Element, &str); 8] = [
    ("l2", Element::F32, "l2"),
    ("ip", Element::F32, "ip"),
    ("cosine", Element::F32, "cosine"),
    ("f16", Element::F16, "l2"),
    ("bf16", Element::Bf16, "cosine"),
    ("i8", Element::I8, "ip"),
    ("bits", Element::Bits, "hamming"),
    ("own", Element::Bf16, "manhattan"),
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
        let (_, element, _) = NAMES[at];
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

struct World {
    sim: Arc<SimDisk>,
    store: Option<Store>,
    docs: Vec<Collection<u64>>,
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
            .map(|&(name, element, metric)| {
                let docs = store.collection::<u64>(name).dim(DIM).element(element);
                let docs = match Metric::from_name(metric) {
                    Some(metric) => docs.metric(metric),
                    None => docs.user_metric(metric),
                };
                let docs = docs.m(3).ef_construction(16);
                docs.open_or_create().expect("the same settings as before")
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
            assert_eq!(docs.len(), model.len() as u64);
            for key in (0..KEYS).chain(model.range(KEYS..).map(|(&key, _)| key)) {
                let found = docs.get(key).expect("the catalogue is whole").map(|r| (r.vector, r.payload));
                assert_eq!(found.as_ref(), model.get(&key), "{}: key {key}", docs.name());
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
        let hits = docs.search(query).k(k).ef(64).with_payloads().run().expect("a good query");
        assert!(hits.len() <= k.min(model.len()));
        let mut last = f32::NEG_INFINITY;
        let mut seen = Vec::new();
        for hit in &hits {
            let (vector, payload) = &model[&hit.key];
            assert!(near(hit.distance, distance(docs.metric(), query, vector)), "{hit:?} of {vector:?} to {query:?}");
            assert_eq!(hit.payload.as_ref(), Some(payload));
            assert!(hit.distance >= last && !seen.contains(&hit.key), "{hits:?}");
            last = hit.distance;
            seen.push(hit.key);
        }
        if docs.info().slots <= 3 {
            let mut exact: Vec<f64> = model.values().map(|(v, _)| distance(docs.metric(), query, v)).collect();
            exact.sort_unstable_by(f64::total_cmp);
            exact.truncate(k);
            assert_eq!(hits.len(), exact.len());
            assert!(hits.iter().zip(exact).all(|(hit, exact)| near(hit.distance, exact)), "{hits:?}");
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
                self.docs[at].compact().erase(erase).run().expect("room on the disk");
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
            29 => self.crash(CrashMode::PowerLoss, u64::from(script.byte())),
            30 => self.check(),
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
                batch.remove(&self.docs[at], key).expect("a collection of this store");
                model[at].remove(&key);
                marked[at].remove(&key);
            } else if kind % 8 == 1 {
                batch.mark_deleted(&self.docs[at], key).expect("a collection of this store");
                marked[at].extend(model[at].remove_entry(&key));
            } else if kind % 8 == 2 {
                batch.unmark_deleted(&self.docs[at], key).expect("a collection of this store");
                model[at].extend(marked[at].remove_entry(&key));
            } else {
                let (vector, payload) = (script.vector(at), script.payload());
                batch.put(&self.docs[at], key, &vector, &payload).expect("a good vector");
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
        if docs.element() == Element::I8 || docs.element() == Element::Bits {
            docs.put(key, &[1.0, 0.5, 1.0], b"").expect_err("not a whole number");
        }
        if docs.metric() == Metric::Cosine {
            docs.put(key, &[0.0; DIM], b"").expect_err("no direction");
        }
        self.store().collection::<u64>(docs.name()).dim(DIM + 1).open().expect_err("another dimension");
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
