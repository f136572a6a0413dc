//! Writers, readers and checkpoints at the same time.
//!
//! `LODESTORE_STRESS_THREADS` (6) and `LODESTORE_STRESS_SECONDS` (3 or 5) make it a longer, wilder one.

use crate::support::model::{Model, Rng, distance, same_distance, seed};
use lodestore::{Codes, Collection, Durability, Metric, Residency, Store, StoreOptions};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Keys that a writer owns.
const KEYS: usize = 250;
const DIM: usize = 16;
/// Part of a version: the key was removed.
const REMOVED: u64 = 1 << 63;
/// Writes of a thread between its checkpoints.
const CHECKPOINT: u64 = 500;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Threads that write and threads that search.
fn threads() -> (usize, usize) {
    let threads = setting("LODESTORE_STRESS_THREADS", 6).max(2) as usize;
    (threads - threads.div_ceil(3), threads.div_ceil(3))
}

/// What each key's owner began last, and what it finished last: equal while it leaves the key alone.
struct Versions {
    begun: Vec<AtomicU64>,
    finished: Vec<AtomicU64>,
}

impl Versions {
    fn new(keys: usize) -> Self {
        let all = || (0..keys).map(|_| AtomicU64::new(REMOVED)).collect();
        Self { begun: all(), finished: all() }
    }

    fn begin(&self, keys: &[(u64, u64)]) {
        keys.iter().for_each(|&(key, version)| self.begun[key as usize].store(version, Ordering::SeqCst));
    }

    fn finish(&self, keys: &[(u64, u64)]) {
        keys.iter().for_each(|&(key, version)| self.finished[key as usize].store(version, Ordering::SeqCst));
    }
}

/// The vector that a version of a key has.
fn vector(key: u64, version: u64) -> Vec<f32> {
    Rng::new(key << 32 | version).vector(DIM)
}

fn options() -> StoreOptions {
    // A checkpoint every few hundred writes.
    Store::options().checkpoint_log_bytes(64 << 10).checkpoint_dirty_bytes(64 << 10)
}

/// Changes its own keys in every way there is, and checks what it has just done.
fn write(
    thread: usize,
    store: &Store,
    docs: &Collection<u64>,
    versions: &Versions,
    until: Instant,
    seed: u64,
) -> Model {
    let mut rng = Rng::new(seed + thread as u64);
    let mut model = Model::default();
    let mut version = 0;
    while Instant::now() < until {
        version += 1;
        let key = |rng: &mut Rng| (thread * KEYS + rng.below(KEYS)) as u64;
        let mut changes = vec![(key(&mut rng), version)];
        match rng.below(10) {
            0..=3 => {
                versions.begin(&changes);
                let key = changes[0].0;
                docs.put(key, &vector(key, version), &version.to_le_bytes()).unwrap();
            }
            4 | 5 => {
                changes[0].1 |= REMOVED;
                versions.begin(&changes);
                let key = changes[0].0;
                assert_eq!(docs.remove(key).unwrap(), model.0.contains_key(&key), "key {key}");
                if let Some((old, _)) = model.0.get(&key) {
                    let hits = docs.search(old).k(10).run().unwrap();
                    assert!(hits.iter().all(|hit| hit.key != key), "{key} is found after its removal");
                }
            }
            6 | 7 => {
                changes = (0..1 + rng.below(60)).map(|_| (key(&mut rng), version)).collect();
                versions.begin(&changes);
                let keys: Vec<u64> = changes.iter().map(|change| change.0).collect();
                let vectors: Vec<f32> = keys.iter().flat_map(|&key| vector(key, version)).collect();
                let payload = version.to_le_bytes();
                docs.put_many(&keys, &vectors, Some(&vec![&payload[..]; keys.len()])).unwrap();
            }
            _ => {
                let mut batch = store.batch();
                changes = (0..1 + rng.below(12)).map(|_| (key(&mut rng), version)).collect();
                for (n, (key, version)) in changes.iter_mut().enumerate() {
                    if n % 4 == 3 {
                        *version |= REMOVED;
                        batch.remove(docs, *key).unwrap();
                    } else {
                        batch.put(docs, *key, &vector(*key, *version), &version.to_le_bytes()).unwrap();
                    }
                }
                // Of one key's changes in a batch the last one holds.
                let last = |&(key, _): &(u64, u64)| *changes.iter().rfind(|change| change.0 == key).unwrap();
                changes = changes.iter().map(last).collect();
                versions.begin(&changes);
                batch.commit().unwrap();
            }
        }
        versions.finish(&changes);
        if version % CHECKPOINT == 0 {
            store.checkpoint().unwrap();
        }
        for &(key, version) in &changes {
            if version & REMOVED == 0 {
                model.put(key, &vector(key, version), &version.to_le_bytes());
            } else {
                model.remove(key);
            }
        }
        let (key, version) = changes[rng.below(changes.len())];
        assert_eq!(docs.get(key).unwrap().map(|record| record.vector), model.0.get(&key).map(|r| r.0.clone()));
        if version & REMOVED == 0 {
            let hits = docs.search(&vector(key, version)).k(1).ef(200).run().unwrap();
            assert!(hits[0].key == key && hits[0].distance == 0.0, "{key} is not found after its put: {hits:?}");
        }
    }
    model
}

/// Searches, and compares what it finds with what the keys had before, or got meanwhile. Says how many searches, hits of
/// keys that nobody changed meanwhile and of others there were.
fn read(docs: &Collection<u64>, versions: &Versions, done: &AtomicBool, seed: u64) -> [u64; 3] {
    let mut rng = Rng::new(seed);
    let (mut searches, mut compared, mut moving) = (0, 0, 0);
    while !done.load(Ordering::Relaxed) {
        let before: Vec<u64> = versions.finished.iter().map(|version| version.load(Ordering::SeqCst)).collect();
        let query = rng.vector(DIM);
        let hits = docs.search(&query).k(20).with_payloads().run().unwrap();
        searches += 1;
        let mut keys: Vec<u64> = hits.iter().map(|hit| hit.key).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "a key is found twice: {hits:?}");
        assert!(hits.iter().is_sorted_by_key(|hit| hit.distance));
        for hit in &hits {
            let version = before[hit.key as usize];
            let now = versions.begun[hit.key as usize].load(Ordering::SeqCst);
            if now != version {
                // It was there at some moment of the search, so its distance is of one of these.
                moving += 1;
                let first = (version & !REMOVED) + u64::from(version & REMOVED != 0);
                let of = |version| distance(Metric::L2, &query, &vector(hit.key, version));
                let mut possible = first..=now & !REMOVED;
                assert!(
                    possible.any(|version| same_distance(hit.distance, of(version))),
                    "{hit:?}: {version} to {now}"
                );
                continue;
            }
            compared += 1;
            assert_eq!(version & REMOVED, 0, "{hit:?} was removed before the search began");
            let exact = distance(Metric::L2, &query, &vector(hit.key, version));
            assert!(same_distance(hit.distance, exact), "{hit:?}: the distance is {exact}");
            assert_eq!(hit.payload.as_deref(), Some(&version.to_le_bytes()[..]), "{hit:?}");
        }
    }
    [searches, compared, moving]
}

fn run(durability: Durability, residency: Residency, seconds: u64) {
    let time = Duration::from_secs(setting("LODESTORE_STRESS_SECONDS", seconds));
    let (writers, readers) = threads();
    let keys = (writers * KEYS) as u64;
    let seed = seed("concurrency");
    let dir = tempfile::tempdir().unwrap();
    let store = options().durability(durability).residency(residency).open(dir.path()).unwrap();
    // Neighbourhoods are packed of codes only.
    let codes = if residency == Residency::Packed { Codes::Eight } else { Codes::Auto };
    let docs = store.collection::<u64>("docs").dim(DIM).ef_construction(100).codes(codes).create().unwrap();
    let (versions, done) = (Versions::new(keys as usize), AtomicBool::new(false));
    let until = Instant::now() + time;
    let mut model = Model::default();
    std::thread::scope(|scope| {
        let (store, docs, versions, done) = (&store, &docs, &versions, &done);
        let writers: Vec<_> =
            (0..writers).map(|n| scope.spawn(move || write(n, store, docs, versions, until, seed))).collect();
        let readers: Vec<_> =
            (0..readers as u64).map(|n| scope.spawn(move || read(docs, versions, done, seed + 1000 + n))).collect();
        for writer in writers {
            let written = writer.join();
            // Readers must end in any case, or a failure would not be told.
            done.store(written.is_err(), Ordering::Relaxed);
            model.0.extend(written.expect("a writer failed").0);
        }
        done.store(true, Ordering::Relaxed);
        let counts = readers.into_iter().map(|reader| reader.join().unwrap());
        let [searches, compared, moving] = counts.fold([0; 3], |a, b| std::array::from_fn(|n| a[n] + b[n]));
        println!("{durability:?}: {searches} searches, {compared} hits compared, {moving} of keys being changed");
        assert!(compared > 100);
    });
    let stats = store.stats().unwrap();
    println!("{durability:?}: {} records written, {} checkpoints", stats.last_lsn, stats.checkpoints);
    assert!(stats.checkpoints >= 2, "{}", stats.checkpoints);
    assert_eq!(model.difference(&docs, keys), None);
    let report = store.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
    println!("{durability:?}: {:?}", report.collections);
    let info = docs.info();
    assert!(info.slots < 4 * keys + 4096, "slots are used again: {info:?}");
    store.close().unwrap();
    let store = options().residency(residency).open(dir.path()).unwrap();
    let docs = store.collection::<u64>("docs").open().unwrap();
    assert_eq!(docs.packed_bytes() > 0, residency == Residency::Packed);
    assert_eq!(model.difference(&docs, keys), None);
    let report = store.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
}

#[test]
fn writers_readers_and_checkpoints_do_not_disturb_each_other() {
    run(Durability::Buffered, Residency::Mapped, 5);
}

#[test]
fn packed_neighbourhoods_change_under_searches() {
    run(Durability::Buffered, Residency::Packed, 3);
}

#[test]
fn writers_that_wait_for_the_disk_do_not_disturb_each_other() {
    run(Durability::Sync, Residency::Mapped, 3);
}

/// A write shows in `get` before it is linked; who changes the same key then must not return before what the key had
/// earlier is gone.
#[test]
fn a_removed_key_is_not_found_though_another_thread_was_just_replacing_it() {
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("docs").dim(DIM).create().unwrap();
    for round in 0..6 {
        let (old, new) = (vector(round, 1), vector(round, 2));
        docs.put(round, &old, b"").unwrap();
        // The replacement is the first of many rows, so that linking them takes a while.
        let keys: Vec<u64> = std::iter::once(round).chain((0..500).map(|n| 1000 + round * 500 + n)).collect();
        let mut vectors = new.clone();
        keys[1..].iter().for_each(|&key| vectors.extend(vector(key, 1)));
        std::thread::scope(|scope| {
            scope.spawn(|| docs.put_many(&keys, &vectors, None).unwrap());
            while docs.get(round).unwrap().unwrap().vector == old {
                std::thread::yield_now();
            }
            if round % 2 == 0 {
                assert!(docs.remove(round).unwrap());
                for query in [&old, &new] {
                    let hits = docs.search(query).k(5).run().unwrap();
                    assert!(hits.iter().all(|hit| hit.key != round), "{round}: {hits:?}");
                }
            } else {
                let newest = vector(round, 3);
                docs.put(round, &newest, b"").unwrap();
                let hits = docs.search(&old).k(5).run().unwrap();
                let hit = hits.iter().find(|hit| hit.key == round);
                assert!(hit.is_none_or(|hit| hit.distance > 0.0), "{round} is found where it no longer is: {hits:?}");
                assert_eq!(docs.search(&newest).k(1).run().unwrap()[0].key, round);
            }
        });
    }
    assert!(store.verify().unwrap().ok());
}

/// While a record is replaced its old and its new vector lie in the graph side by side; both may be among the nearest,
/// and are one record.
#[test]
fn searches_find_as_many_as_they_ask_for_while_records_are_replaced() {
    let (rows, dim) = (300u64, 48);
    let vector = |key: u64| (0..dim).map(|n| ((key * 31 + n * n * 7) % 97) as f32).collect::<Vec<f32>>();
    for codes in [Codes::Eight, Codes::None] {
        let store = Store::in_memory().unwrap();
        let docs = store.collection::<u64>("docs").dim(dim as usize).codes(codes).create().unwrap();
        (0..rows).for_each(|key| docs.put(key, &vector(key), b"").unwrap());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..3 {
                let (docs, stop, vector) = (&docs, &stop, &vector);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        for key in (writer..rows).step_by(3) {
                            docs.put(key, &vector(key), b"").unwrap();
                        }
                    }
                });
            }
            for search in 0..3000 {
                let query = vector(search % rows);
                for k in [1, 10] {
                    let hits = docs.search(&query).k(k).ef(k).run().unwrap();
                    if hits.len() != k {
                        stop.store(true, Ordering::Relaxed);
                        panic!("search {search} for {k} found {}", hits.len());
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
