//! Packed neighbourhoods against plain walks, and kept up to date whatever is written. Real vectors.

use crate::support::data::{Data, TRUTH};
use crate::support::model::{Model, Rng};
use lodestore::{Codes, Collection, Durability, Metric, Residency, Store};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];
const EFS: [usize; 3] = [16, 64, 200];

fn open(path: &Path, residency: Residency) -> (Store, Collection<u64>) {
    let store = Store::options().residency(residency).durability(Durability::Buffered).open(path).unwrap();
    let docs = store.collection::<u64>("docs").open().unwrap();
    (store, docs)
}

/// What is asked, and how far the nearest of all records are.
struct Asked {
    queries: Vec<Vec<f32>>,
    truth: Vec<Vec<f64>>,
}

impl Asked {
    fn new(data: &Data, dim: usize, metric: Metric, k: usize, there: impl Fn(usize) -> bool) -> Self {
        let mut model = Model::default();
        let rows = (0..data.glosses.len()).filter(|&row| there(row));
        rows.for_each(|row| model.put(row as u64, &part(data.glosses.vector(row), dim), b""));
        let queries: Vec<Vec<f32>> = (0..data.queries.len()).map(|row| part(data.queries.vector(row), dim)).collect();
        let truth = queries.iter().map(|query| model.nearest(metric, query, k)).collect();
        Self { queries, truth }
    }

    /// The share of the `k` nearest that are found, and how many distances a query took.
    fn recall(&self, docs: &Collection<u64>, k: usize, ef: usize) -> (f64, u64) {
        let (mut found, mut distances) = (0, 0);
        for (query, truth) in self.queries.iter().zip(&self.truth) {
            let hits = docs.search(query).k(k).ef(ef).run().unwrap();
            assert_eq!(hits.len(), k);
            assert!(hits.iter().is_sorted_by_key(|hit| hit.distance));
            found += hits.iter().filter(|hit| f64::from(hit.distance) <= truth[k - 1] + 1e-5).count();
            distances += hits.stats().distances;
        }
        (found as f64 / (k * self.queries.len()) as f64, distances / self.queries.len() as u64)
    }
}

/// So many components; where a vector has fewer, the first ones again.
fn part(vector: &[f32], dim: usize) -> Vec<f32> {
    vector.iter().copied().cycle().take(dim).collect()
}

/// The demo's vectors under keys from 0, of which every fifth is removed again if so told.
fn build(path: &Path, data: &Data, (dim, metric, m): (usize, Metric, usize), codes: Codes, removing: bool) {
    // All that is removed is unlinked at once: when that is must not be a matter of chance, or the graph is one.
    let options = Store::options().durability(Durability::Buffered).background(false);
    let store = options.clone().maintenance(false).open(path).unwrap();
    let docs = store.collection::<u64>("docs").dim(dim).metric(metric).m(m).codes(codes).create().unwrap();
    let rows: Vec<f32> = (0..data.glosses.len()).flat_map(|row| part(data.glosses.vector(row), dim)).collect();
    docs.put_many(&(0..data.glosses.len() as u64).collect::<Vec<_>>(), &rows, None).unwrap();
    if removing {
        (0..data.glosses.len() as u64).step_by(5).for_each(|key| assert!(docs.remove(key).unwrap()));
    }
    store.close().unwrap();
    let store = options.open(path).unwrap();
    let docs = store.collection::<u64>("docs").open().unwrap();
    store.checkpoint().unwrap();
    assert_eq!(docs.info().dead, 0);
    store.close().unwrap();
}

fn compare(data: &Data, shape: (usize, Metric, usize), codes: Codes, removing: bool) {
    let (dim, metric, m) = shape;
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), data, shape, codes, removing);
    let k = if m == 16 { TRUTH } else { 50 };
    let asked = Asked::new(data, dim, metric, k, |row| !(removing && row % 5 == 0));
    let [plain, packed] = [Residency::Resident, Residency::Packed].map(|residency| {
        let (store, docs) = open(dir.path(), residency);
        assert_eq!(docs.packed_bytes() > 0, residency == Residency::Packed);
        let found = EFS.map(|ef| asked.recall(&docs, k, ef));
        let report = store.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
        store.close().unwrap();
        found
    });
    println!("{metric}, {dim} dimensions, m {m}, {codes}, removing {removing}: {plain:?}, packed {packed:?}");
    for (n, (plain, packed)) in plain.iter().zip(packed).enumerate() {
        // Two hundred queries add a little of chance, most where least is found.
        assert!(packed.0 >= plain.0 - [0.02, 0.01, 0.007][n], "ef {}: {packed:?}, without {plain:?}", EFS[n]);
        assert!(packed.1 < plain.1, "ef {}: {packed:?}, without {plain:?}", EFS[n]);
    }
}

#[test]
fn packed_neighbourhoods_find_what_walks_find() {
    let data = Data::load();
    for metric in METRICS {
        compare(&data, (100, metric, 16), Codes::Eight, false);
        compare(&data, (200, metric, 16), Codes::Four, true);
    }
    compare(&data, (33, Metric::L2, 5), Codes::Eight, true);
    compare(&data, (128, Metric::Cosine, 48), Codes::Eight, true);
}

#[test]
fn what_cannot_be_packed_is_searched_all_the_same() {
    let data = Data::load();
    for (dim, codes) in [(64, Codes::None), (data.glosses.dim, Codes::Four)] {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path(), &data, (dim, Metric::Cosine, 16), codes, false);
        let asked = Asked::new(&data, dim, Metric::Cosine, TRUTH, |_| true);
        let found = [Residency::Mapped, Residency::Packed].map(|residency| {
            let (store, docs) = open(dir.path(), residency);
            assert_eq!(docs.packed_bytes(), 0);
            let found = asked.recall(&docs, TRUTH, 64);
            store.close().unwrap();
            found
        });
        assert_eq!(found[0], found[1]);
    }
}

#[test]
fn packed_neighbourhoods_follow_what_is_written() {
    const KEYS: usize = 1500;
    const DIM: usize = 48;
    let data = Data::load();
    let store = Store::options().residency(Residency::Packed).durability(Durability::Buffered);
    let store = store.open_on(std::sync::Arc::new(lodestore::disk::MemDisk::new()), "memory").unwrap();
    for (m, metric) in [(5, Metric::L2), (16, Metric::Cosine), (24, Metric::InnerProduct)] {
        let docs = store.collection::<u64>(&format!("docs{m}")).dim(DIM).metric(metric).m(m);
        let docs = docs.codes(Codes::Eight).create().unwrap();
        let vector =
            |key: u64, turn: usize| &data.glosses.vector((key as usize * 3 + turn * 7) % data.glosses.len())[..DIM];
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3u64)
                .map(|writer| {
                    let docs = &docs;
                    scope.spawn(move || {
                        let mut rng = Rng::new(writer + 1);
                        for turn in 0..40 {
                            let keys: Vec<u64> = (0..40).map(|_| rng.below(KEYS) as u64 * 3 + writer).collect();
                            let rows: Vec<f32> = keys.iter().flat_map(|&key| vector(key, turn)).copied().collect();
                            docs.put_many(&keys, &rows, None).unwrap();
                            keys.iter().take(6).for_each(|&key| assert!(docs.remove(key).is_ok()));
                            let hits = docs.search(vector(keys[39], turn)).k(1).ef(100).run().unwrap();
                            assert!(!hits.is_empty());
                        }
                    })
                })
                .collect();
            let reader = scope.spawn(|| {
                let mut rng = Rng::new(99);
                while !done.load(Ordering::Relaxed) {
                    let hits = docs.search(vector(rng.below(KEYS) as u64, 0)).k(40).ef(60).run().unwrap();
                    assert!(hits.iter().is_sorted_by_key(|hit| hit.distance));
                }
            });
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        assert!(docs.packed_bytes() > 0);
    }
    // Compares every block with what its links and codes make it.
    let report = store.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
}

#[test]
fn records_of_the_log_are_packed_when_they_are_linked() {
    let data = Data::load();
    let dir = tempfile::tempdir().unwrap();
    let dim = 64;
    let store = Store::options().background(false).checkpoint_log_bytes(1 << 30).open(dir.path()).unwrap();
    let docs = store.collection::<u64>("docs").dim(dim).codes(Codes::Eight).create().unwrap();
    let rows: Vec<f32> = (0..3000).flat_map(|row| &data.glosses.vector(row)[..dim]).copied().collect();
    let keys: Vec<u64> = (0..3000).collect();
    docs.put_many(&keys[..1000], &rows[..1000 * dim], None).unwrap();
    store.checkpoint().unwrap();
    docs.put_many(&keys[1000..], &rows[1000 * dim..], None).unwrap();
    // As after the end of the process: what the last checkpoint holds, and the log.
    let copy = tempfile::tempdir().unwrap();
    crate::support::files::copy(dir.path(), copy.path());
    drop((docs, store));
    let (store, docs) = open(copy.path(), Residency::Packed);
    for row in (0..3000).step_by(7) {
        let hits = docs.search(&data.glosses.vector(row)[..dim]).k(1).ef(100).run().unwrap();
        assert!(hits[0].distance < 1e-4, "{row}: {hits:?}");
    }
    store.checkpoint().unwrap();
    let report = store.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
    assert_eq!(report.collections[0].unreachable, 0);
    store.close().unwrap();
}
