//! Records that come and go for a long time: the graph stays whole, the files stay small, and nothing is lost.

use crate::recall::recall;
use crate::support::data::{Data, TRUTH};
use crate::support::files;
use crate::support::model::{Model, Rng, seed};
use lodestore::{Collection, Durability, Metric, Residency, Store, StoreOptions};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn options() -> StoreOptions {
    Store::options().durability(Durability::Buffered).background(false)
}

/// A collection, its model, and what comes next of the data, round and round.
struct Churn<'a> {
    data: &'a Data,
    docs: Collection<u64>,
    model: Model,
    next: usize,
    new_key: u64,
    rng: Rng,
}

impl<'a> Churn<'a> {
    fn start(data: &'a Data, store: &Store, rows: usize, seed: u64) -> Self {
        let docs = store.collection::<u64>("docs").dim(data.glosses.dim).metric(Metric::Cosine).create().unwrap();
        let new_key = rows as u64;
        let mut churn = Self { data, docs, model: Model::default(), next: 0, new_key, rng: Rng::new(seed) };
        churn.put_many(0..rows as u64);
        churn
    }

    fn vector(&mut self) -> &'a [f32] {
        self.next += 1;
        self.data.glosses.vector((self.next - 1) % self.data.glosses.len())
    }

    fn put_many(&mut self, keys: impl Iterator<Item = u64>) {
        let keys: Vec<u64> = keys.collect();
        let mut rows = Vec::new();
        for &key in &keys {
            let vector = self.vector();
            rows.extend_from_slice(vector);
            self.model.put(key, vector, b"");
        }
        self.docs.put_many(&keys, &rows[..], None).unwrap();
    }

    fn any_key(&mut self) -> u64 {
        let at = self.rng.below(self.model.0.len());
        *self.model.0.keys().nth(at).expect("there are as many")
    }

    /// Removes a part of the records, puts as many new ones, and replaces as many.
    fn step(&mut self, part: usize) {
        let count = self.model.0.len() / part;
        let pivot = self.any_key();
        for at in 0..count {
            // By turns at random and next to each other, which leaves a hole.
            let key = if at % 2 == 0 { self.any_key() } else { self.near(pivot) };
            assert!(self.docs.remove(key).unwrap());
            self.model.remove(key);
        }
        let keys = self.new_key..self.new_key + count as u64;
        self.new_key = keys.end;
        self.put_many(keys);
        for _ in 0..count {
            let (key, vector) = (self.any_key(), self.vector());
            self.docs.put(key, vector, b"").unwrap();
            self.model.put(key, vector, b"");
        }
    }

    /// The record nearest to that of a key, or to where it was.
    fn near(&self, key: u64) -> u64 {
        let query = self.model.0.get(&key).map_or(self.data.glosses.vector(key as usize % 1000), |(v, _)| &v[..]);
        self.docs.search(query).k(1).run().unwrap()[0].key
    }

    fn check(&self, store: &Store) {
        let report = store.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
        let found = &report.collections[0];
        assert_eq!((found.unreachable, found.no_in_links), (0, 0), "{found:?}");
        assert_eq!(found.records, self.model.0.len() as u64);
        assert_eq!(self.docs.info().slots, found.records + found.dead + found.free, "{found:?}");
        if let Some(difference) = self.model.difference(&self.docs, 0) {
            panic!("{difference}");
        }
        for (key, (vector, _)) in &self.model.0 {
            let hits = self.docs.search(vector).k(1).run().unwrap();
            assert!(hits[0].distance.abs() < 1e-5, "key {key} is not found by its own vector");
        }
    }

    /// Recall at an `ef` at which much is missed, and that of a fresh build of the same records.
    fn recalls(&self) -> [f64; 2] {
        let queries: Vec<Vec<f32>> =
            (0..self.data.queries.len()).map(|q| self.data.queries.vector(q).to_vec()).collect();
        let farthest = |query: &Vec<f32>| self.model.nearest(Metric::Cosine, query, TRUTH)[TRUTH - 1];
        let truth: Vec<f64> = queries.iter().map(farthest).collect();
        let fresh = Store::in_memory().unwrap();
        let docs = fresh.collection::<u64>("docs").dim(self.data.glosses.dim).metric(Metric::Cosine).create().unwrap();
        let keys: Vec<u64> = self.model.0.keys().copied().collect();
        let rows: Vec<f32> = self.model.0.values().flat_map(|(vector, _)| vector.clone()).collect();
        docs.put_many(&keys, &rows[..], None).unwrap();
        [&self.docs, &docs].map(|docs| recall(docs, &queries, &truth, 16))
    }
}

/// Bytes of the files of all collections.
fn bytes(dir: &Path) -> u64 {
    let entries = |dir: &Path| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let files = entries(&dir.join("c")).into_iter().flat_map(|collection| entries(&collection));
    files.map(|file| file.metadata().unwrap().len()).sum()
}

/// Three turnovers of the records.
#[test]
fn a_store_stays_as_good_as_a_fresh_one() {
    let (data, seed) = (Data::load(), seed("churn"));
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    let mut churn = Churn::start(&data, &store, 2500, seed);
    store.checkpoint().unwrap();
    let before = churn.docs.info().slots;
    let files = bytes(dir.path());
    for step in 0..60 {
        churn.step(20);
        store.checkpoint().unwrap();
        if step % 15 == 14 {
            churn.check(&store);
        }
        let info = churn.docs.info();
        assert!(info.slots <= before * 13 / 10, "step {step}: {info:?}");
        assert!(info.dead * 32 <= info.slots, "step {step}: {info:?}");
    }
    let [now, fresh] = churn.recalls();
    let grown = bytes(dir.path()) as f64 / files as f64;
    println!("recall {now:.4}, of a fresh build {fresh:.4}; files {grown:.2} times as large; {:?}", churn.docs.info());
    assert!(now >= fresh - 0.02 && grown <= 1.3);
    // And as it was after it was closed.
    drop(store);
    let docs = churn.docs;
    let info = docs.info();
    drop(docs);
    let store = options().open(dir.path()).unwrap();
    let docs = store.collection::<u64>("docs").open().unwrap();
    let mut again = docs.info();
    // Room that was made ahead is not there any more.
    assert!(again.hot_bytes <= info.hot_bytes && again.vector_bytes <= info.vector_bytes);
    (again.hot_bytes, again.vector_bytes) = (info.hot_bytes, info.vector_bytes);
    assert_eq!(again, info);
    let mut churn = Churn { docs, ..churn };
    churn.check(&store);
    churn.step(20);
    assert_eq!(churn.docs.info().slots, info.slots, "free slots of before are used");
    churn.check(&store);
}

/// A kill between a sweep and the use of the slots that it freed, and after that use.
#[test]
fn slots_that_were_used_again_outlive_a_crash() {
    let (data, seed) = (Data::load(), seed("churn and crash"));
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path().join("live")).unwrap();
    let mut churn = Churn::start(&data, &store, 1000, seed);
    for round in 0..6 {
        churn.step(8);
        store.checkpoint().unwrap();
        churn.step(10);
        // What a kill leaves: the files as they are, without a close.
        let copy = dir.path().join(format!("copy {round}"));
        files::copy(&dir.path().join("live"), &copy);
        let crashed = options().open(&copy).unwrap();
        let docs = crashed.collection::<u64>("docs").open().unwrap();
        let mut after = Churn { docs, model: churn.model.clone(), rng: churn.rng.clone(), ..churn };
        after.check(&crashed);
        after.step(10);
        crashed.checkpoint().unwrap();
        after.check(&crashed);
    }
}

/// Nobody who is reading meets a slot's next vector: distances are those of the key's own, present or past.
#[test]
fn searches_beside_churn_tell_the_truth() {
    let (data, seed) = (Data::load(), seed("churn and search"));
    for residency in [Residency::Mapped, Residency::Packed] {
        let dir = tempfile::tempdir().unwrap();
        // Sweeps and checkpoints whenever they are due, by the store's own thread.
        let options = Store::options().durability(Durability::Buffered).residency(residency);
        let store = options.checkpoint_log_bytes(1 << 20).open(dir.path()).unwrap();
        let mut churn = Churn::start(&data, &store, 1500, seed);
        // A key has one vector for ever here, told by its number.
        let row = |key: u64| data.glosses.vector(key as usize % data.glosses.len());
        let row = &row;
        let (docs, done) = (churn.docs.clone(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for reader in 0..2 {
                let (docs, done, mut rng, data) = (docs.clone(), &done, Rng::new(seed + reader), &data);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let query = data.queries.vector(rng.below(data.queries.len()));
                        for hit in &docs.search(query).k(20).run().unwrap() {
                            let own = crate::support::model::distance(Metric::Cosine, query, row(hit.key));
                            assert!((own - f64::from(hit.distance)).abs() < 1e-4, "{hit:?}, {own} expected");
                            if let Some(record) = docs.get(hit.key).unwrap() {
                                assert_eq!(record.vector, row(hit.key));
                            }
                        }
                    }
                });
            }
            for key in 1500..9500 {
                let old = churn.any_key();
                docs.remove(old).unwrap();
                churn.model.remove(old);
                docs.put(key, row(key), b"").unwrap();
                churn.model.put(key, row(key), b"");
            }
            done.store(true, Ordering::Relaxed);
        });
        let info = docs.info();
        println!("{info:?}, {} checkpoints", store.stats().unwrap().checkpoints);
        assert!(info.slots < 5000, "slots are used again: {info:?}");
        churn.check(&store);
    }
}

/// All gone, the entry point first; and back again.
#[test]
fn everything_can_go_and_come_back() {
    let data = Data::load();
    for kept in [0, 1, 3] {
        let store = options().open_on(std::sync::Arc::new(lodestore::disk::MemDisk::new()), "memory").unwrap();
        let mut churn = Churn::start(&data, &store, 800, 7);
        for round in 0..3 {
            let keys: Vec<u64> = churn.model.0.keys().copied().skip(kept).collect();
            for key in keys {
                churn.docs.remove(key).unwrap();
                churn.model.remove(key);
            }
            store.checkpoint().unwrap();
            assert_eq!(churn.docs.info().dead, 0);
            assert_eq!(churn.docs.search(data.queries.vector(0)).k(5).run().unwrap().len(), kept);
            churn.check(&store);
            let keys = churn.new_key..churn.new_key + 800 - kept as u64;
            churn.new_key = keys.end;
            churn.put_many(keys);
            churn.check(&store);
            assert_eq!(churn.docs.info().slots, 800, "round {round}");
        }
    }
}
