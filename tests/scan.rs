//! Records in the order of their keys, from both ends, as of one moment; and payloads alone.

use crate::support::keyed::Numbered;
use crate::support::model::{Rng, seed};
use lodestore::{Collection, Durability, Error, Key, MAX_PAYLOAD, Result, Store};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};

const DIM: usize = 3;

fn create<K: Key + ?Sized>(store: &Store) -> Collection<K> {
    store.collection::<K>("docs").dim(DIM).m(4).ef_construction(16).create().unwrap()
}

fn all<T>(items: impl Iterator<Item = Result<T>>) -> Vec<T> {
    items.collect::<Result<_>>().unwrap()
}

/// What a record is: its vector's component, its payload, and whether it is marked as deleted.
type Model<T> = BTreeMap<T, (f32, Vec<u8>, bool)>;

/// A random life of one collection between two others, with scans and ranges from either end now and then: of rows that are
/// in redb and such as are not yet, after reopening and after a crash.
fn scans_are_those_of_a_map<K: Numbered + ?Sized>() {
    let mut rng = Rng::new(seed("scans_are_those_of_a_map"));
    let options = || Store::options().background(false).threads(1).durability(Durability::Buffered);
    let (mut dir, mut store);
    dir = tempfile::tempdir().unwrap();
    store = options().open(dir.path()).unwrap();
    // Neighbours in the catalogue, which must not be seen.
    for name in ["before", "docs", "after"] {
        let other = store.collection::<K>(name).dim(DIM).m(4).ef_construction(16).create().unwrap();
        if name != "docs" {
            other.put(K::key(1), &[9.0; DIM], b"not this").unwrap();
        }
    }
    let mut docs = store.collection::<K>("docs").open().unwrap();
    let mut model: Model<K::Owned> = BTreeMap::new();
    for round in 0..480u32 {
        let key = K::key(rng.below(120) as u64);
        let payload = round.to_le_bytes().to_vec();
        let there = model.get(&key).is_some_and(|record| !record.2);
        match rng.below(12) {
            0..5 => {
                docs.put(key.clone(), &[round as f32; DIM], &payload).unwrap();
                model.insert(key, (round as f32, payload, false));
            }
            5 => assert_eq!(docs.remove(key.clone()).unwrap(), model.remove(&key).is_some()),
            6 | 7 => {
                assert_eq!(docs.set_payload(key.clone(), &payload).unwrap(), there);
                model.entry(key).and_modify(|record| {
                    if there {
                        record.1 = payload;
                    }
                });
            }
            8 => {
                assert_eq!(docs.mark_deleted(key.clone()).unwrap(), there);
                model.entry(key).and_modify(|record| record.2 = true);
            }
            9 => {
                let marked = model.get(&key).is_some_and(|record| record.2);
                assert_eq!(docs.unmark_deleted(key.clone()).unwrap(), marked);
                model.entry(key).and_modify(|record| record.2 = false);
            }
            _ => batch(&mut rng, &store, &docs, &mut model, round),
        }
        match round % 60 {
            9 => store.checkpoint().unwrap(),
            19 => drop(docs.compact().erase(round % 120 == 19).run().unwrap()),
            29 => {
                store.close().unwrap();
                store = options().open(dir.path()).unwrap();
                docs = store.collection::<K>("docs").open().unwrap();
            }
            49 => {
                // As a kill leaves it.
                let crashed = tempfile::tempdir().unwrap();
                crate::support::files::copy(dir.path(), crashed.path());
                drop((docs, store));
                dir = crashed;
                store = options().open(dir.path()).unwrap();
                docs = store.collection::<K>("docs").open().unwrap();
            }
            _ => {}
        }
        if round % 20 == 19 || matches!(round % 60, 29 | 49) {
            check(&mut rng, &docs, &model);
        }
    }
    let report = store.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
}

/// Several changes at once, some of them to one key.
fn batch<K: Numbered + ?Sized>(
    rng: &mut Rng,
    store: &Store,
    docs: &Collection<K>,
    model: &mut Model<K::Owned>,
    round: u32,
) {
    let mut batch = store.batch();
    for nth in 0..rng.below(9) as u8 {
        let key = K::key(rng.below(30) as u64);
        let payload = vec![nth; rng.below(40)];
        match rng.below(5) {
            0 => {
                batch.remove(docs, key.clone()).unwrap();
                model.remove(&key);
            }
            1 | 2 => {
                batch.put(docs, key.clone(), &[round as f32; DIM], &payload).unwrap();
                model.insert(key, (round as f32, payload, false));
            }
            3 => {
                batch.set_payload(docs, key.clone(), &payload).unwrap();
                model
                    .get_mut(&key)
                    .filter(|record| !record.2)
                    .into_iter()
                    .for_each(|record| record.1 = payload.clone());
            }
            _ if nth % 2 == 0 => {
                batch.mark_deleted(docs, key.clone()).unwrap();
                model.entry(key).and_modify(|record| record.2 = true);
            }
            _ => {
                batch.unmark_deleted(docs, key.clone()).unwrap();
                model.entry(key).and_modify(|record| record.2 = false);
            }
        }
    }
    batch.commit().unwrap();
}

fn check<K: Numbered + ?Sized>(rng: &mut Rng, docs: &Collection<K>, model: &Model<K::Owned>) {
    let live = || model.iter().filter(|(_, record)| !record.2);
    let keys: Vec<K::Owned> = live().map(|(key, _)| key.clone()).collect();
    assert_eq!(docs.len(), keys.len() as u64);
    assert_eq!(all(docs.iter()), keys);
    assert_eq!(all(docs.iter().rev()), keys.iter().rev().cloned().collect::<Vec<_>>());
    let payloads: Vec<_> = live().map(|(key, (_, payload, _))| (key.clone(), payload.clone())).collect();
    assert_eq!(all(docs.iter().with_payloads()), payloads);
    for (key, record) in all(docs.iter().with_records()) {
        let (component, payload, _) = &model[&key];
        assert_eq!((&record.vector, &record.payload), (&vec![*component; DIM], payload));
        assert_eq!(docs.get(key.clone()).unwrap(), Some(record));
    }
    // From both ends by turns.
    let mut scan = docs.iter();
    let (mut front, mut back) = (Vec::new(), Vec::new());
    loop {
        let (end, next) = if rng.below(2) == 0 { (&mut front, scan.next()) } else { (&mut back, scan.next_back()) };
        match next {
            Some(key) => end.push(key.unwrap()),
            None => break,
        }
    }
    assert!(scan.next().is_none() && scan.next_back().is_none());
    front.extend(back.into_iter().rev());
    assert_eq!(front, keys);
    for _ in 0..20 {
        let (from, to) = (K::key(rng.below(130) as u64), K::key(rng.below(130) as u64));
        let bound = |kind, key: &K::Owned| match kind {
            0 => Bound::Included(key.clone()),
            1 => Bound::Excluded(key.clone()),
            _ => Bound::Unbounded,
        };
        let bounds = (bound(rng.below(3), &from), bound(rng.below(3), &to));
        let within = |key: &&K::Owned| {
            let after = match &bounds.0 {
                Bound::Included(from) => *key >= from,
                Bound::Excluded(from) => *key > from,
                Bound::Unbounded => true,
            };
            let before = match &bounds.1 {
                Bound::Included(to) => *key <= to,
                Bound::Excluded(to) => *key < to,
                Bound::Unbounded => true,
            };
            after && before
        };
        let expected: Vec<K::Owned> = keys.iter().filter(within).cloned().collect();
        assert_eq!(all(docs.range(bounds.clone())), expected, "{bounds:?}");
        assert_eq!(all(docs.range(bounds.clone()).rev()), expected.into_iter().rev().collect::<Vec<_>>());
    }
}

#[test]
fn scans_of_every_type_of_key() {
    scans_are_those_of_a_map::<u64>();
    scans_are_those_of_a_map::<u128>();
    scans_are_those_of_a_map::<str>();
    scans_are_those_of_a_map::<[u8]>();
}

#[test]
fn prefixes() {
    let store = Store::in_memory().unwrap();
    let docs = create::<[u8]>(&store);
    let keys: [&[u8]; 7] = [b"", b"a", b"ab", b"ab\xff", b"ac", b"\xff", b"\xff\xff"];
    docs.put_many(&keys, &[1.0; 7 * DIM], None).unwrap();
    for checkpointed in [false, true] {
        for prefix in [&b""[..], b"a", b"ab", b"ab\xff", b"b", b"\xff", b"\xff\xff", b"\xff\xff\xff"] {
            let expected: Vec<&[u8]> = keys.into_iter().filter(|key| key.starts_with(prefix)).collect();
            assert_eq!(all(docs.prefix(prefix)), expected, "{prefix:?}, {checkpointed}");
            assert_eq!(all(docs.prefix(prefix).rev()).len(), expected.len());
        }
        store.checkpoint().unwrap();
    }
    let words = store.collection::<str>("words").dim(DIM).create().unwrap();
    words.put_many(&["é", "éa", "ê"], &[1.0; 3 * DIM], None).unwrap();
    assert_eq!(all(words.prefix("é")), ["é", "éa"]);
}

/// What a scan has begun with it ends with, through puts, removals, sweeps, checkpoints, compactions and erasing.
#[test]
fn a_scan_sees_what_there_was_when_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().background(false).durability(Durability::Buffered).open(dir.path()).unwrap();
    let docs = create::<str>(&store);
    let keys: Vec<String> = (0..600).map(|n| format!("{n:04}")).collect();
    let rows = |by: f32| (0..600 * DIM).map(|n| n as f32 + by).collect::<Vec<f32>>();
    docs.put_many(&keys, &rows(0.0), None).unwrap();
    docs.put("0000 marked", &[1.0; DIM], b"").unwrap();
    docs.mark_deleted("0000 marked").unwrap();
    let mut scan = docs.iter().with_records();
    assert!(docs.unmark_deleted("0000 marked").unwrap() && docs.mark_deleted("0500").unwrap());
    let check = |at: usize, item: Option<Result<(String, lodestore::Record)>>| {
        let (key, record) = item.unwrap().unwrap();
        assert_eq!((key, record.vector[0]), (keys[at].clone(), (at * DIM) as f32));
    };
    (0..100).for_each(|at| check(at, scan.next()));
    // Every slot would be used again twice over.
    for by in [0.25, 0.5, 0.75] {
        docs.put_many(&keys, &rows(by), None).unwrap();
        store.checkpoint().unwrap();
    }
    (100..200).for_each(|at| check(at, scan.next()));
    keys[..300].iter().for_each(|key| assert!(docs.remove(key).unwrap()));
    docs.put("new", &[1.0; DIM], b"").unwrap();
    docs.compact().erase(true).run().unwrap();
    (200..400).for_each(|at| check(at, scan.next()));
    docs.compact().erase(true).run().unwrap();
    let report = store.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
    docs.put("newer", &[1.0; DIM], b"").unwrap();
    (400..600).for_each(|at| check(at, scan.next()));
    assert!(scan.next().is_none());
    drop(scan);
    assert_eq!(all(docs.iter()).len(), 303);
    let report = store.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);

    let mut cut_short = docs.iter();
    cut_short.next().unwrap().unwrap();
    store.close().unwrap();
    assert!(matches!(cut_short.next(), Some(Err(Error::Closed))));
    assert!(cut_short.next().is_none());
    assert!(matches!(docs.iter().next(), Some(Err(Error::Closed))));
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(all(store.collection::<str>("docs").open().unwrap().iter()).len(), 303);
}

/// A batch moves a record from key to key, one way or the other; a scan finds it once, never twice or not at all.
#[test]
fn scans_see_whole_batches() {
    let store = Store::in_memory().unwrap();
    let docs = create::<u64>(&store);
    docs.put(0, &[1.0; DIM], b"").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let scanner = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Acquire) || rounds == 0 {
                assert_eq!(all(docs.iter()).len(), 1);
                rounds += 1;
            }
            rounds
        });
        for n in 0..800u64 {
            let mut batch = store.batch();
            match n % 3 {
                0 => batch.mark_deleted(&docs, n % 7).unwrap(),
                _ => batch.remove(&docs, n % 7).unwrap(),
            }
            match n % 14 {
                // Back from where it is marked.
                6 if docs.is_marked_deleted((n + 1) % 7).unwrap() => batch.unmark_deleted(&docs, (n + 1) % 7).unwrap(),
                _ => batch.put(&docs, (n + 1) % 7, &[n as f32; DIM], b"").unwrap(),
            }
            batch.commit().unwrap();
            if n % 100 == 0 {
                store.checkpoint().unwrap();
            }
        }
        done.store(true, Ordering::Release);
        println!("{} scans", scanner.join().unwrap());
    });
}

#[test]
fn payloads_change_without_the_graph() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::options().background(false).open(dir.path()).unwrap();
    let store = open();
    let docs = create::<str>(&store);
    docs.put_many(&["a", "b"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], None).unwrap();
    let before = docs.info();
    assert!(docs.set_payload("a", b"first").unwrap());
    assert!(!docs.set_payload("c", b"nobody's").unwrap());
    assert_eq!((docs.info(), store.stats().unwrap().last_lsn), (before, 4));
    // In a batch it acts on what the batch has made of the record so far.
    let mut batch = store.batch();
    batch.set_payload(&docs, "b", b"lost").unwrap();
    batch.put(&docs, "b", &[7.0; DIM], b"put").unwrap();
    batch.set_payload(&docs, "b", b"set").unwrap();
    batch.put(&docs, "d", &[8.0; DIM], b"put").unwrap();
    batch.set_payload(&docs, "d", b"new and set").unwrap();
    batch.remove(&docs, "a").unwrap();
    batch.set_payload(&docs, "a", b"too late").unwrap();
    batch.commit().unwrap();
    let too_large = docs.set_payload("b", &vec![0; MAX_PAYLOAD + 1]);
    assert!(matches!(too_large, Err(Error::PayloadTooLarge { .. })));
    let check = |docs: &Collection<str>| {
        let found = all(docs.iter().with_records());
        let found: Vec<_> = found.iter().map(|(key, r)| (&key[..], r.vector[0], &r.payload[..])).collect();
        assert_eq!(found, [("b", 7.0, &b"set"[..]), ("d", 8.0, b"new and set")]);
        let hits = docs.search(&[7.0; DIM]).k(1).with_payloads().run().unwrap();
        assert_eq!(hits[0].payload.as_deref(), Some(&b"set"[..]));
    };
    check(&docs);
    // From the log alone, then from what a checkpoint has left.
    let crashed = tempfile::tempdir().unwrap();
    crate::support::files::copy(dir.path(), crashed.path());
    let replayed = Store::open(crashed.path()).unwrap();
    check(&replayed.collection::<str>("docs").open().unwrap());
    assert!(replayed.verify().unwrap().ok());
    store.close().unwrap();
    let store = open();
    check(&store.collection::<str>("docs").open().unwrap());
    assert!(store.verify().unwrap().ok());
}
