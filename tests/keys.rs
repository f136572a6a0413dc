//! Keys of every type: the same life for each, their order, their limits, and what becomes of damaged ones.

use crate::support::files;
use crate::support::keyed::Numbered;
use crate::support::model::{Model, Rng, seed};
use lodestore::{Collection, Error, Key, KeyType, MAX_KEY, Metric, Store, StoreOptions};
use std::path::Path;

const DIM: usize = 6;

fn options() -> StoreOptions {
    Store::options().background(false).threads(1)
}

fn create<K: Key + ?Sized>(store: &Store) -> Collection<K> {
    store.collection::<K>("docs").dim(DIM).m(4).ef_construction(32).create().unwrap()
}

/// Puts, replacements, removals and batches at random, with checkpoints, compactions and reopenings.
fn life<K: Numbered + ?Sized>(rounds: usize) {
    const KEYS: usize = 40;
    let mut rng = Rng::new(seed("keys::life"));
    let dir = tempfile::tempdir().unwrap();
    let mut store = options().open(dir.path()).unwrap();
    let mut docs = create::<K>(&store);
    let mut model = Model::default();
    for round in 0..rounds {
        let number = rng.below(KEYS) as u64;
        match rng.below(12) {
            0..5 => {
                let (vector, payload) = (rng.vector(DIM), vec![round as u8; rng.below(30)]);
                docs.put(K::key(number), &vector, &payload).unwrap();
                model.put(number, &vector, &payload);
            }
            5..7 => {
                assert_eq!(docs.remove(K::key(number)).unwrap(), model.0.contains_key(&number));
                model.remove(number);
            }
            7 => {
                let numbers: Vec<u64> = (0..rng.below(9)).map(|_| rng.below(KEYS) as u64).collect();
                let keys: Vec<K::Owned> = numbers.iter().map(|&number| K::key(number)).collect();
                let vectors: Vec<Vec<f32>> = keys.iter().map(|_| rng.vector(DIM)).collect();
                docs.put_many(&keys, &vectors.concat(), None).unwrap();
                numbers.iter().zip(&vectors).for_each(|(&number, vector)| model.put(number, vector, b""));
            }
            8 => {
                // A key that is removed and put again in one batch gets another place.
                let mut batch = store.batch();
                for _ in 0..4 {
                    let (number, vector) = (rng.below(KEYS / 4) as u64, rng.vector(DIM));
                    batch.remove(&docs, K::key(number)).unwrap();
                    model.remove(number);
                    if rng.below(3) > 0 {
                        batch.put(&docs, K::key(number), &vector, b"batch").unwrap();
                        model.put(number, &vector, b"batch");
                    }
                }
                batch.commit().unwrap();
            }
            9 => store.checkpoint().unwrap(),
            10 if round % 3 == 0 => drop(docs.compact().erase(round % 2 == 0).run().unwrap()),
            11 if round % 3 == 0 => {
                store.close().unwrap();
                store = options().open(dir.path()).unwrap();
                docs = store.collection::<K>("docs").open().unwrap();
            }
            _ => {}
        }
        if round % 20 == 0 {
            assert_eq!(model.difference(&docs, KEYS as u64), None, "round {round}");
            assert_eq!(model.search_difference(&docs, 5, 500), None, "round {round}");
        }
    }
    // What has not been checkpointed is replayed.
    let crashed = tempfile::tempdir().unwrap();
    files::copy(dir.path(), crashed.path());
    for path in [crashed.path(), dir.path()] {
        if path == dir.path() {
            store.clone().close().unwrap();
        }
        let store = options().open(path).unwrap();
        let docs = store.collection::<K>("docs").open().unwrap();
        assert_eq!(docs.info().key, K::TYPE);
        assert_eq!(model.difference(&docs, KEYS as u64), None);
        assert_eq!(model.search_difference(&docs, 5, 500), None);
        let report = store.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
    }
}

#[test]
fn lives_with_every_type_of_key() {
    life::<u64>(150);
    life::<u128>(150);
    life::<str>(400);
    life::<[u8]>(400);
}

#[cfg(feature = "uuid")]
#[test]
fn uuids_are_keys() {
    let store = Store::in_memory().unwrap();
    let docs = create::<uuid::Uuid>(&store);
    let keys = [3, 1, 2].map(uuid::Uuid::from_u128);
    docs.put_many(&keys, &[0.5; 3 * DIM], None).unwrap();
    assert!(docs.contains(keys[1]).unwrap() && !docs.contains(uuid::Uuid::nil()).unwrap());
    assert_eq!(docs.search(&[0.5; DIM]).run().unwrap().len(), 3);
}

/// Links, filters, batches of queries and exact searches speak of keys, too.
fn all_that_names_keys<K: Numbered + ?Sized>() {
    let store = Store::in_memory().unwrap();
    let docs = create::<K>(&store);
    let numbers: Vec<u64> = (0..30).collect();
    let keys: Vec<K::Owned> = numbers.iter().map(|&number| K::key(number)).collect();
    let vectors: Vec<f32> = numbers.iter().flat_map(|&number| [number as f32; DIM]).collect();
    docs.put_many(&keys, &vectors, None).unwrap();
    let links = docs.links(K::key(7)).unwrap().unwrap();
    assert!(!links[0].is_empty() && links[0].iter().all(|key| K::number(key) < 30 && K::number(key) != 7));
    let even = |key: K::Ref<'_>| K::number(&K::owned(key)).is_multiple_of(2);
    for exact in [false, true] {
        let search = docs.search(&[7.2; DIM]).k(3).ef(60).filter(&even);
        let hits = if exact { search.exact() } else { search }.run().unwrap();
        assert_eq!(hits.iter().map(|hit| K::number(&hit.key)).collect::<Vec<_>>(), [8, 6, 10]);
    }
    let hits = docs.search_many(&[[3.1; DIM], [12.9; DIM]].concat()).k(2).ef(60).threads(2).run().unwrap();
    let found = |row| hits.keys(row).iter().map(K::number).collect::<Vec<_>>();
    assert_eq!((found(0), found(1)), (vec![3, 4], vec![13, 12]));
    assert_eq!(docs.measure_recall(10).run().unwrap().samples, 10);
}

#[test]
fn whatever_names_keys_names_those_of_every_type() {
    all_that_names_keys::<u64>();
    all_that_names_keys::<u128>();
    all_that_names_keys::<str>();
    all_that_names_keys::<[u8]>();
}

#[test]
fn another_type_than_the_stored_one_is_refused_by_name() {
    let store = Store::in_memory().unwrap();
    create::<str>(&store);
    store.collection::<u64>("numbers").dim(2).create().unwrap();
    let refused = [
        store.collection::<u64>("docs").open().unwrap_err(),
        store.collection::<[u8]>("docs").open_or_create().unwrap_err(),
        store.collection::<u128>("docs").dim(DIM).open().unwrap_err(),
        store.collection::<str>("numbers").open().unwrap_err(),
    ];
    for (error, (has, not)) in refused.iter().zip([("str", "u64"), ("str", "bytes"), ("str", "u128"), ("u64", "str")]) {
        assert!(matches!(error, Error::SettingDiffers { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("keys of type {has}, not {not}")), "{text}");
    }
    let keys: Vec<KeyType> = store.collections().unwrap().iter().map(|info| info.key).collect();
    assert_eq!(keys, [KeyType::Str, KeyType::U64]);
}

#[test]
fn keys_that_are_too_long_change_nothing() {
    let store = Store::in_memory().unwrap();
    let docs = create::<[u8]>(&store);
    let (longest, longer) = (vec![9; MAX_KEY], vec![9; MAX_KEY + 1]);
    docs.put(&longest, &[1.0; DIM], b"longest").unwrap();
    docs.put(b"", &[2.0; DIM], b"shortest").unwrap();
    let too_long = |result: lodestore::Result<()>, at| match result {
        Err(Error::KeyTooLong { row, got, limit }) => assert_eq!((row, got, limit), (at, MAX_KEY + 1, MAX_KEY)),
        other => panic!("{other:?}"),
    };
    too_long(docs.put(&longer, &[1.0; DIM], b""), 0);
    too_long(docs.remove(&longer).map(drop), 0);
    too_long(docs.put_many(&[b"new", &longer[..]], &[1.0; 2 * DIM], None), 1);
    let mut batch = store.batch();
    batch.put(&docs, b"new", &[1.0; DIM], b"").unwrap();
    too_long(batch.put(&docs, &longer, &[1.0; DIM], b""), 1);
    too_long(batch.remove(&docs, &longer), 1);
    assert_eq!((batch.len(), docs.len(), docs.contains(b"new").unwrap()), (1, 2, false));
    assert!(docs.get(&longer).unwrap().is_none() && !docs.contains(&longer).unwrap());
    assert_eq!(docs.get(&longest).unwrap().unwrap().payload, b"longest");
    assert_eq!(docs.get(b"").unwrap().unwrap().payload, b"shortest");
}

/// A record that is replaced keeps the place of its key.
#[test]
fn replacing_takes_no_room_for_keys() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    let docs = create::<str>(&store);
    let keys: Vec<String> = (0..100).map(|n| format!("{n:050}")).collect();
    let mut rng = Rng::new(1);
    for _ in 0..30 {
        let vectors: Vec<f32> = keys.iter().flat_map(|_| rng.vector(DIM)).collect();
        docs.put_many(&keys, &vectors, None).unwrap();
    }
    let bytes = std::fs::metadata(dir.path().join("c/0/keys")).unwrap().len();
    assert!(bytes < 3 * 100 * 64, "{bytes} bytes for 100 keys");
}

fn contains(path: &Path, what: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contains(&path, what));
        } else if std::fs::read(&path).unwrap().windows(what.len()).any(|bytes| bytes == what) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn erasing_leaves_nothing_of_a_removed_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    let docs = create::<str>(&store);
    let gone = "the name of somebody who wishes to be forgotten";
    for (number, key) in ["one", gone, "two"].into_iter().enumerate() {
        docs.put(key, &[number as f32 + 1.0; DIM], b"").unwrap();
    }
    store.checkpoint().unwrap();
    docs.remove(gone).unwrap();
    store.checkpoint().unwrap();
    let report = docs.verify_absent(gone).unwrap();
    let tells = |what: &str| report.found.iter().any(|found| found.contains(what));
    assert!(tells("of its keys") && tells("slot 1, a removed one") && tells(gone), "{:?}", report.found);
    assert!(!contains(dir.path(), gone.as_bytes()).is_empty());
    docs.compact().erase(true).run().unwrap();
    assert!(docs.verify_absent(gone).unwrap().absent());
    assert_eq!(contains(dir.path(), gone.as_bytes()), [""; 0]);
    assert!(!docs.verify_absent("one").unwrap().absent());
    // There are no numbers here to be found.
    assert!(store.verify_absent(1, None).unwrap().absent());
    let report = store.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
}

/// A damaged key is an error of those who meet it, and of nobody else.
#[test]
fn damaged_keys_are_told_and_never_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    let docs = store.collection::<str>("docs").dim(2).metric(Metric::L2).create().unwrap();
    for number in 0..20u8 {
        docs.put(format!("key number {number}"), &[f32::from(number), 0.0], &[number]).unwrap();
    }
    store.close().unwrap();
    let path = dir.path().join("c/0/keys");
    let good = std::fs::read(&path).unwrap();
    let place = good.windows(14).position(|bytes| bytes == b"key number 7\0\0").unwrap();
    let mut bad = good.clone();
    bad[place + 11] = b'8';
    std::fs::write(&path, &bad).unwrap();
    let store = options().open(dir.path()).unwrap();
    let docs = store.collection::<str>("docs").open().unwrap();
    let damaged = |error: Error| match error {
        Error::Corrupt { file, offset, .. } => assert_eq!((&file[..], offset), ("c/0/keys", place as u64 - 8)),
        other => panic!("{other}"),
    };
    damaged(docs.search(&[7.1, 0.0]).k(2).run().unwrap_err());
    damaged(docs.search(&[7.1, 0.0]).k(2).filter(&|key| key.ends_with('6')).run().unwrap_err());
    damaged(docs.search_many(&[7.1, 0.0]).run().unwrap_err());
    damaged(docs.compact().run().unwrap_err());
    assert_eq!(docs.search(&[15.1, 0.0]).k(3).run().unwrap()[0].key, "key number 15");
    assert_eq!(docs.get("key number 7").unwrap().unwrap().payload, [7]);
    let report = store.verify().unwrap();
    assert!(report.problem_count == 1 && report.problems[0].contains("c/0/keys"), "{:?}", report.problems);
    // Putting it again mends it.
    docs.put("key number 7", &[7.0, 0.0], b"again").unwrap();
    assert_eq!(docs.search(&[7.1, 0.0]).k(1).run().unwrap()[0].key, "key number 7");
}
