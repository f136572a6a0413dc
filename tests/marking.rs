//! Records that are marked as deleted: nobody finds them, they outlast everything, and they come back as they were.

use crate::support::data::Data;
use crate::support::files;
use crate::support::model::{Model, Rng, seed};
use lodestore::{Collection, Durability, Metric, Store, StoreOptions};
use std::sync::Arc;

fn options() -> StoreOptions {
    Store::options().durability(Durability::Buffered).background(false)
}

/// A collection, what is there, and what is marked.
struct Marking<'a> {
    data: &'a Data,
    docs: Collection<u64>,
    live: Model,
    marked: Model,
}

impl<'a> Marking<'a> {
    fn start(data: &'a Data, store: &Store, rows: usize) -> Self {
        let docs = store.collection::<u64>("docs").dim(data.glosses.dim).metric(Metric::Cosine).create().unwrap();
        let keys: Vec<u64> = (0..rows as u64).collect();
        let payloads: Vec<Vec<u8>> = keys.iter().map(|key| key.to_string().into_bytes()).collect();
        let refs: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        docs.put_many(&keys, &data.glosses.vectors()[..rows * data.glosses.dim], Some(&refs)).unwrap();
        let mut live = Model::default();
        for (&key, payload) in keys.iter().zip(&payloads) {
            live.put(key, data.glosses.vector(key as usize), payload);
        }
        Self { data, docs, live, marked: Model::default() }
    }

    fn mark(&mut self, key: u64) {
        assert_eq!(self.docs.mark_deleted(key).unwrap(), self.live.0.contains_key(&key), "{key}");
        self.marked.0.extend(self.live.0.remove_entry(&key));
    }

    fn unmark(&mut self, key: u64) {
        assert_eq!(self.docs.unmark_deleted(key).unwrap(), self.marked.0.contains_key(&key), "{key}");
        self.live.0.extend(self.marked.0.remove_entry(&key));
    }

    fn put(&mut self, key: u64, row: usize) {
        self.docs.put(key, self.data.glosses.vector(row), b"new").unwrap();
        self.marked.remove(key);
        self.live.put(key, self.data.glosses.vector(row), b"new");
    }

    fn remove(&mut self, key: u64) {
        let was = self.live.0.remove(&key).or(self.marked.0.remove(&key));
        assert_eq!(self.docs.remove(key).unwrap(), was.is_some(), "{key}");
    }

    /// What is there is found, what is marked is not and has kept everything, and both are within reach.
    #[track_caller]
    fn check(&self, store: &Store) {
        let report = store.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
        let (found, marked) = (&report.collections[0], self.marked.0.len() as u64);
        assert_eq!((found.unreachable, found.no_in_links, found.marked), (0, 0, marked), "{found:?}");
        assert_eq!(found.records, self.live.0.len() as u64 + marked);
        let info = self.docs.info();
        assert_eq!((info.len, info.marked, info.dead), (self.live.0.len() as u64, marked, found.dead));
        assert_eq!(info.slots, info.len + info.marked + info.dead + info.free);
        if let Some(difference) = self.live.difference(&self.docs, 0) {
            panic!("{difference}");
        }
        for (key, (vector, payload)) in &self.marked.0 {
            assert!(self.docs.is_marked_deleted(key).unwrap() && !self.docs.contains(key).unwrap());
            assert_eq!((self.docs.get(key).unwrap(), self.docs.payload(key).unwrap()), (None, None));
            assert_eq!(self.docs.links(key).unwrap(), None);
            let record = self.docs.get_marked(key).unwrap().expect("marked");
            assert_eq!((&record.vector, &record.payload), (vector, payload));
            let search = || self.docs.search(vector).k(5);
            for hits in [search().run(), search().exact().run(), search().filter(&|_| true).run()] {
                let hits = hits.unwrap();
                assert_eq!(hits.len(), self.live.0.len().min(5));
                assert!(hits.iter().all(|hit| self.live.0.contains_key(&hit.key)), "{key}: {hits:?}");
            }
        }
        for (key, (vector, _)) in &self.live.0 {
            assert!(!self.docs.is_marked_deleted(key).unwrap() && self.docs.get_marked(key).unwrap().is_none());
            let hits = self.docs.search(vector).k(1).run().unwrap();
            assert!(hits[0].distance.abs() < 1e-5, "key {key} is not found by its own vector");
        }
    }
}

#[test]
fn marked_records_come_back_as_they_were() {
    let data = Data::load();
    let store = options().open_on(Arc::new(lodestore::disk::MemDisk::new()), "memory").unwrap();
    let mut world = Marking::start(&data, &store, 900);
    (0..300).for_each(|key| world.mark(key * 3));
    // There is none, it is marked already, it is not marked.
    world.mark(5000);
    world.mark(3);
    world.unmark(5000);
    world.unmark(4);
    world.check(&store);
    // Replaced and removed for good.
    world.put(6, 950);
    world.remove(9);
    world.remove(9);
    (10..100).for_each(|key| world.unmark(key * 3));
    world.check(&store);
    // A sweep takes what is dead and leaves what is marked; what is put then takes its place.
    (200..600).for_each(|key| world.remove(key));
    store.checkpoint().unwrap();
    assert_eq!(world.docs.info().dead, 0);
    (2000..2300).for_each(|key| world.put(key, key as usize));
    world.check(&store);
    (0..900).for_each(|key| world.unmark(key));
    assert_eq!(world.docs.info().marked, 0);
    world.check(&store);
}

/// Everything marked: nothing is found, and what is put meanwhile is linked to it, so that all is there again at once.
#[test]
fn everything_can_be_marked() {
    let data = Data::load();
    let store = options().open_on(Arc::new(lodestore::disk::MemDisk::new()), "memory").unwrap();
    let mut world = Marking::start(&data, &store, 600);
    (0..600).for_each(|key| world.mark(key));
    store.checkpoint().unwrap();
    assert!(world.docs.is_empty() && world.docs.search(data.queries.vector(0)).run().unwrap().is_empty());
    world.check(&store);
    (600..700).for_each(|key| world.put(key, key as usize));
    world.check(&store);
    (0..600).for_each(|key| world.unmark(key));
    world.check(&store);
}

/// In batches the changes of one key follow each other, whatever they are.
#[test]
fn batches_mark_in_their_order() {
    let data = Data::load();
    let store = options().open_on(Arc::new(lodestore::disk::MemDisk::new()), "memory").unwrap();
    let mut world = Marking::start(&data, &store, 40);
    let (docs, vector) = (world.docs.clone(), data.glosses.vector(50).to_vec());
    let mut batch = store.batch();
    // Marked twice, and back; put and marked at once; marked and put anew; marked and removed; removed and marked.
    for key in [1, 1, 2] {
        batch.mark_deleted(&docs, key).unwrap();
    }
    batch.unmark_deleted(&docs, 2).unwrap();
    batch.put(&docs, 100, &vector, b"new").unwrap();
    batch.mark_deleted(&docs, 100).unwrap();
    batch.mark_deleted(&docs, 3).unwrap();
    batch.put(&docs, 3, &vector, b"new").unwrap();
    batch.mark_deleted(&docs, 4).unwrap();
    batch.remove(&docs, 4).unwrap();
    batch.remove(&docs, 5).unwrap();
    batch.mark_deleted(&docs, 5).unwrap();
    batch.unmark_deleted(&docs, 6).unwrap();
    batch.commit().unwrap();
    world.marked.0.extend(world.live.0.remove_entry(&1));
    world.marked.put(100, &vector, b"new");
    world.live.put(3, &vector, b"new");
    world.live.remove(4);
    world.live.remove(5);
    world.check(&store);
    world.unmark(100);
    world.check(&store);
}

/// After a close, after a kill, after a compaction and after both, whether the log or a checkpoint has the marks.
#[test]
fn marks_outlive_closing_kills_and_compactions() {
    let (data, seed) = (Data::load(), seed("marks"));
    let mut rng = Rng::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut store = options().open(dir.path().join("0")).unwrap();
    let mut world = Marking::start(&data, &store, 700);
    for round in 0..8 {
        for _ in 0..60 {
            let key = rng.within(0..800);
            match rng.below(5) {
                0 | 1 => world.mark(key),
                2 => world.unmark(key),
                3 => world.put(key, 1000 + rng.below(1000)),
                _ => world.remove(key),
            }
        }
        if rng.one_in(2) {
            store.checkpoint().unwrap();
            world.mark(rng.within(0..800));
        }
        if round % 3 == 1 {
            let before = world.docs.info();
            world.docs.compact().erase(round == 4).run().unwrap();
            let after = world.docs.info();
            assert_eq!((after.marked, after.len, after.dead), (before.marked, before.len, 0));
            world.mark(rng.within(0..800));
        }
        let next = dir.path().join((round + 1).to_string());
        if rng.one_in(2) {
            store.close().unwrap();
        }
        files::copy(&dir.path().join(round.to_string()), &next);
        let opened = options().open(&next).unwrap();
        world.docs = opened.collection::<u64>("docs").open().unwrap();
        store = opened;
        world.check(&store);
    }
    world.marked.0.keys().copied().collect::<Vec<_>>().into_iter().for_each(|key| world.unmark(key));
    world.check(&store);
}

/// Threads that mark, unmark, put and remove the same keys: what a call said is what happened.
#[test]
fn marks_of_many_threads_agree() {
    let data = Data::load();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().durability(Durability::Buffered).checkpoint_log_bytes(256 << 10);
    let store = store.open(dir.path()).unwrap();
    let world = Marking::start(&data, &store, 300);
    const KEYS: u64 = 40;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (docs, data, mut rng) = (world.docs.clone(), &data, Rng::new(thread));
            scope.spawn(move || {
                for _ in 0..400 {
                    let key = rng.within(0..KEYS);
                    match rng.below(6) {
                        0 | 1 => drop(docs.mark_deleted(key).unwrap()),
                        2 | 3 => drop(docs.unmark_deleted(key).unwrap()),
                        4 => docs.put(key, data.glosses.vector(rng.below(2000)), b"").unwrap(),
                        _ => drop(docs.remove(key).unwrap()),
                    }
                    let hits = docs.search(data.glosses.vector(rng.below(300))).k(3).run().unwrap();
                    assert_eq!(hits.len(), 3);
                }
            });
        }
    });
    let report = store.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
    for key in 0..KEYS {
        let (there, marked) = (world.docs.get(key).unwrap(), world.docs.get_marked(key).unwrap());
        assert!(there.is_none() || marked.is_none());
        assert_eq!(world.docs.unmark_deleted(key).unwrap(), marked.is_some());
        if let Some(record) = there.or(marked) {
            let hits = world.docs.search(&record.vector).k(1).run().unwrap();
            assert!(hits[0].distance.abs() < 1e-5, "{key}");
        }
    }
    assert_eq!(world.docs.info().marked, 0);
    assert!(store.verify().unwrap().ok());
}
