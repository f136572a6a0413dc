//! Removing and replacing leave everything that is left within reach.

use super::{EF, Reach, Rows, model, put_many, recall, store};
use crate::support::data::Data;
use crate::support::files;
use crate::support::model::{Model, Rng, distance};
use lodestore::{Codes, Collection, Durability, Metric, Store};
use lodestore_engine::Geometry;
use lodestore_wal::disk::{CrashMode, SimDisk};
use std::sync::Arc;

/// What a search at [`EF`] finds at least, measured on fresh collections less a margin.
const RECALL: f64 = 0.98;

/// A collection, what it must hold, and changes of both.
struct Live {
    store: Store,
    docs: Collection<u64>,
    model: Model,
}

impl Live {
    fn new(metric: Metric, codes: Codes, rows: &Rows<'_>) -> Self {
        let store = store(1);
        let docs = store.collection::<u64>("docs").dim(rows[0].len()).metric(metric).codes(codes).create().unwrap();
        put_many(&docs, rows);
        Self { store, docs, model: model(rows) }
    }

    fn put(&mut self, key: u64, vector: &[f32]) {
        self.docs.put(key, vector, b"").unwrap();
        self.model.put(key, vector, b"");
    }

    fn remove(&mut self, key: u64) {
        assert!(self.docs.remove(key).unwrap(), "{key} was there");
        self.model.remove(key);
    }

    fn keys(&self) -> Vec<u64> {
        self.model.0.keys().copied().collect()
    }

    fn reach(&self) -> Reach {
        Reach::of(&self.store, &self.docs, &self.model)
    }

    fn recall(&self, data: &Data) -> f64 {
        recall(&self.docs, &self.model, data.queries.vectors().chunks_exact(data.queries.dim), EF)
    }

    /// Everything is found, and queries find their neighbours.
    #[track_caller]
    fn check(&self, what: &str, data: &Data) {
        let (reach, recall) = (self.reach(), self.recall(data));
        println!("{what}: {} records, recall {recall:.4}", self.docs.len());
        reach.check(what);
        assert!(recall >= RECALL, "{what}: recall {recall}");
    }
}

/// What happens to a collection, one call at a time.
enum Change {
    Put(u64, usize),
    Remove(u64),
}

const INSERTS: usize = 4000;

/// 4,000 records are put, half of them removed, and 30 % of the rest replaced by vectors that were not there.
fn churn(seed: u64) -> Vec<Change> {
    let mut rng = Rng::new(seed);
    let mut keys: Vec<u64> = (0..INSERTS as u64).collect();
    let mut changes: Vec<Change> = keys.iter().map(|&key| Change::Put(key, key as usize)).collect();
    let mut draw = |keys: &mut Vec<u64>| keys.swap_remove(rng.below(keys.len()));
    changes.extend((0..INSERTS / 2).map(|_| Change::Remove(draw(&mut keys))));
    changes.extend((INSERTS..INSERTS + keys.len() * 3 / 10).map(|row| Change::Put(draw(&mut keys), row)));
    changes
}

fn apply(docs: &Collection<u64>, model: &mut Model, data: &Data, changes: &[Change]) {
    for change in changes {
        match *change {
            Change::Put(key, row) => {
                docs.put(key, data.glosses.vector(row), b"").unwrap();
                model.put(key, data.glosses.vector(row), b"");
            }
            Change::Remove(key) => {
                docs.remove(key).unwrap();
                model.remove(key);
            }
        }
    }
}

fn collection(store: &Store, dim: usize, metric: Metric) -> Collection<u64> {
    store.collection::<u64>("docs").dim(dim).metric(metric).open_or_create().unwrap()
}

#[test]
fn what_is_left_after_removals_and_updates_is_found() {
    let data = Data::load();
    let dim = data.glosses.dim;
    let mut wrong = Vec::new();
    for seed in 1..=3 {
        for metric in [Metric::L2, Metric::Cosine] {
            let store = store(1);
            let docs = collection(&store, dim, metric);
            let mut model = Model::default();
            apply(&docs, &mut model, &data, &churn(seed));
            let reach = Reach::of(&store, &docs, &model);
            println!("seed {seed}, {metric}: {} records, {reach:?}", model.0.len());
            if reach != Reach::default() {
                wrong.push((seed, metric, reach));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The same, ten times over: what was removed comes back, and goes again.
#[test]
fn what_is_left_after_ten_rounds_of_removals_and_updates_is_found() {
    let data = Data::load();
    let rows: Rows<'_> = data.glosses.vectors().chunks_exact(data.glosses.dim).collect();
    let mut live = Live::new(Metric::L2, Codes::Auto, &rows[..INSERTS].to_vec());
    let mut rng = Rng::new(5);
    let mut wrong = Vec::new();
    for round in 1..=10 {
        let mut keys = live.keys();
        for _ in 0..keys.len() / 2 {
            let key = keys.swap_remove(rng.below(keys.len()));
            live.remove(key);
        }
        for _ in 0..keys.len() * 3 / 10 {
            let key = keys[rng.below(keys.len())];
            live.put(key, rows[rng.below(rows.len())]);
        }
        let left = (live.reach(), live.recall(&data));
        for key in 0..INSERTS as u64 {
            if !live.model.0.contains_key(&key) {
                live.put(key, rows[rng.below(rows.len())]);
            }
        }
        let full = (live.reach(), live.recall(&data));
        println!("round {round}: half {left:?}; full again {full:?}");
        for (reach, recall) in [left, full] {
            if reach != Reach::default() || recall < RECALL {
                wrong.push((round, reach, recall));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The same, the process killed in the middle of each part: what it leaves is opened and linked, and writing goes on.
#[test]
fn what_is_left_after_kills_is_found() {
    let data = Data::load();
    let changes = churn(4);
    for checkpoint in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        // A copy is what a kill leaves only if nothing is written while it is made.
        let options = || Store::options().durability(Durability::Buffered).background(false);
        let mut store = options().open(dir.path().join("0")).unwrap();
        let mut docs = collection(&store, data.glosses.dim, Metric::L2);
        let mut model = Model::default();
        let mut done = 0;
        for (kill, until) in [INSERTS / 2, INSERTS + INSERTS / 4, 6300].into_iter().enumerate() {
            let half = (done + until) / 2;
            apply(&docs, &mut model, &data, &changes[done..half]);
            if checkpoint {
                store.checkpoint().unwrap();
            }
            apply(&docs, &mut model, &data, &changes[half..until]);
            done = until;
            // What a kill leaves: the files as they are, without a close.
            let next = dir.path().join((kill + 1).to_string());
            files::copy(&dir.path().join(kill.to_string()), &next);
            store = options().open(&next).unwrap();
            docs = collection(&store, data.glosses.dim, Metric::L2);
        }
        apply(&docs, &mut model, &data, &changes[done..]);
        let what = format!("checkpoints {checkpoint}");
        Reach::of(&store, &docs, &model).check(&what);
        store.close().unwrap();
        let store = options().open(dir.path().join("3")).unwrap();
        Reach::of(&store, &collection(&store, data.glosses.dim, Metric::L2), &model)
            .check(&format!("{what}, reopened"));
    }
}

/// The same on a disk that loses power; each write was acknowledged, so each must be there.
#[test]
fn what_is_left_after_power_losses_is_found() {
    let data = Data::load();
    let changes = churn(6);
    let mut sim = SimDisk::new(6);
    let mut model = Model::default();
    let mut done = 0;
    for (until, mode) in [
        (INSERTS / 2, CrashMode::PowerLoss),
        (INSERTS + INSERTS / 4, CrashMode::KeepNothing),
        (6300, CrashMode::PowerLoss),
        (changes.len(), CrashMode::KeepAll),
    ] {
        let store = Store::options().background(false).threads(1).open_on(sim.clone(), "sim").unwrap();
        let docs = collection(&store, data.glosses.dim, Metric::L2);
        apply(&docs, &mut model, &data, &changes[done..until]);
        done = until;
        // Nothing that the store does from here on reaches the disk.
        let crashed = sim.reboot(mode, until as u64);
        drop(docs);
        drop(store);
        sim = crashed;
    }
    let store = Store::options().threads(1).open_on(sim as Arc<_>, "sim").unwrap();
    let docs = collection(&store, data.glosses.dim, Metric::L2);
    Reach::of(&store, &docs, &model).check("after power losses");
}

/// Slots are given out in order, so in a collection whose keys count its puts a key is a slot.
fn levels(docs: &Collection<u64>) -> impl Fn(u64) -> u8 + use<> {
    let info = docs.info();
    let geometry = Geometry {
        dim: info.dim,
        metric: info.metric,
        element: info.element,
        m: info.m,
        ef_construction: info.ef_construction,
        seed: info.seed,
        codes: 0,
        key: info.key,
    };
    move |key| geometry.level(key as u32)
}

/// The records of the upper levels go from the top: each in turn is the entry point, or was about to become it.
fn remove_the_top(codes: Codes) {
    let data = Data::load();
    let rows: Rows<'_> = data.glosses.vectors().chunks_exact(data.glosses.dim).collect();
    let mut live = Live::new(Metric::Cosine, codes, &rows[..3000].to_vec());
    live.check("at first", &data);
    let level = levels(&live.docs);
    let mut order: Vec<u64> = live.keys();
    // As they became entry points: the highest, of one level the first.
    order.sort_by_key(|&key| (std::cmp::Reverse(level(key)), key));
    for &key in &order[..10] {
        live.remove(key);
        live.check(&format!("without {key} of level {}", level(key)), &data);
    }
    let upper = order.iter().take_while(|&&key| level(key) > 0).count();
    assert!(upper > 100, "{upper} on upper levels");
    for &key in &order[10..upper] {
        live.remove(key);
    }
    live.check("without all of the upper levels", &data);
    for &key in &order[..upper] {
        live.put(key, rows[key as usize]);
    }
    live.check("put again", &data);
}

#[test]
fn the_entry_point_can_be_removed() {
    remove_the_top(Codes::Auto);
}

#[test]
fn the_entry_point_can_be_removed_without_codes() {
    remove_the_top(Codes::None);
}

#[test]
fn everything_can_be_removed_and_put_again() {
    let data = Data::load();
    let rows: Rows<'_> = data.glosses.vectors().chunks_exact(data.glosses.dim).collect();
    let mut live = Live::new(Metric::Cosine, Codes::Auto, &rows[..1500].to_vec());
    for round in 1..=3 {
        for key in live.keys() {
            live.remove(key);
        }
        let hits = live.docs.search(data.queries.vector(0)).k(10).ef(EF).run().unwrap();
        assert_eq!((hits.len(), live.docs.len()), (0, 0), "round {round}");
        live.reach().check(&format!("round {round}, empty"));
        // Others than those that went.
        let from = 1000 * round;
        live.put(7, rows[from]);
        live.reach().check(&format!("round {round}, one record"));
        for (row, vector) in rows.iter().enumerate().take(from + 1500).skip(from + 1) {
            live.put(row as u64, vector);
        }
        live.check(&format!("round {round}, put again"), &data);
    }
}

/// All that is nearest to one place goes; queries for that place find what is left; and what went comes back.
#[test]
fn a_whole_cluster_can_be_removed_and_put_again() {
    let data = Data::load();
    let rows: Rows<'_> = data.glosses.vectors().chunks_exact(data.glosses.dim).collect();
    for (metric, codes) in [(Metric::Cosine, Codes::Auto), (Metric::L2, Codes::None)] {
        let mut live = Live::new(metric, codes, &rows);
        for (place, share) in [(17, 10), (2500, 5), (4321, 2)] {
            let mut keys = live.keys();
            let to = |key: u64| distance(metric, rows[place], rows[key as usize]);
            keys.sort_by(|&a, &b| to(a).total_cmp(&to(b)));
            keys.truncate(rows.len() / share);
            for &key in &keys {
                live.remove(key);
            }
            let what = format!("{metric}, {} around {place}", keys.len());
            // What was removed asks for what is left of its surroundings.
            let hole = recall(&live.docs, &live.model, keys.iter().step_by(5).map(|&key| rows[key as usize]), EF);
            println!("{what}: recall {hole:.4} where they were");
            assert!(hole >= RECALL, "{what}: recall {hole} where they were");
            live.check(&format!("{what} removed"), &data);
            for &key in &keys {
                live.put(key, rows[key as usize]);
            }
            live.check(&format!("{what} put again"), &data);
        }
    }
}
