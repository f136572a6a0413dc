//! Compacting: less bytes, the same records, as much found; while others read; and nothing left when it erases.

use crate::support::data::{Data, TRUTH};
use crate::support::model::{Model, Rng, seed};
use lodestore::disk::MemDisk;
use lodestore::{Collection, Durability, Error, Metric, Residency, Store, StoreOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Every record is as the model has it, each finds itself, and the store is sound, with all within reach.
fn check(store: &Store, docs: &Collection<u64>, model: &Model, keys: u64) {
    assert_eq!(model.difference(docs, keys), None);
    let report = store.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
    for collection in &report.collections {
        assert_eq!((collection.unreachable, collection.no_in_links), (0, 0), "{collection:?}");
    }
}

fn collection_bytes(store: &Store) -> u64 {
    store.stats().unwrap().files.iter().filter(|(name, _)| name.starts_with("c/")).map(|(_, bytes)| bytes).sum()
}

/// Shares of the true ten nearest found at ef 16, 64 and 200.
fn recalls(docs: &Collection<u64>, data: &Data, truth: &[f64]) -> [f64; 3] {
    [16, 64, 200].map(|ef| {
        let mut found = 0;
        for (row, farthest) in truth.iter().enumerate() {
            let hits = docs.search(data.queries.vector(row)).k(TRUTH).ef(ef).run().unwrap();
            found += hits.iter().filter(|hit| f64::from(hit.distance) <= farthest + 1e-5).count();
        }
        found as f64 / (truth.len() * TRUTH) as f64
    })
}

/// Reads and searches until `done`; returns how often.
fn read_all_along(docs: &Collection<u64>, model: &Model, keys: u64, seed: u64, done: &AtomicBool) -> u64 {
    let mut rng = Rng::new(seed);
    let mut rounds = 0;
    while !done.load(Ordering::Acquire) {
        let key = rng.within(0..keys);
        let found = docs.get(key).unwrap().map(|record| (record.vector, record.payload));
        assert_eq!(found.as_ref(), model.0.get(&key), "key {key}");
        if let Some((vector, payload)) = model.0.get(&key) {
            let hits = docs.search(vector).k(3).ef(200).with_payloads().run().unwrap();
            assert!(hits.iter().any(|hit| hit.key == key && hit.payload.as_ref() == Some(payload)), "{key}: {hits:?}");
            assert!(hits.iter().all(|hit| model.0.contains_key(&hit.key)), "{hits:?}");
        }
        rounds += 1;
    }
    rounds
}

#[test]
fn less_bytes_and_as_much_is_found_while_others_read() {
    let data = Data::load();
    // One that is always the same: recall is a matter of chance, too.
    let seed = 7;
    let (dim, count) = (data.glosses.dim, data.glosses.len() as u64);
    let mut worse = Vec::new();
    // Removed of a hundred; of 1, most lists lose nothing.
    for removed in [1, 60, 80] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let make = |store: &Store| store.collection::<u64>("docs").dim(dim).metric(Metric::Cosine).create().unwrap();
        let docs = make(&store);
        let mut model = Model::default();
        let keys: Vec<u64> = (0..count).collect();
        let payloads: Vec<&[u8]> = data.glosses.texts.iter().map(|text| text.as_bytes()).collect();
        docs.put_many(&keys, data.glosses.vectors(), Some(&payloads)).unwrap();
        let mut rng = Rng::new(seed);
        for key in 0..count {
            if rng.within(0..100) < removed {
                docs.remove(key).unwrap();
            } else {
                model.put(key, data.glosses.vector(key as usize), payloads[key as usize]);
            }
        }
        store.checkpoint().unwrap();
        let truth: Vec<f64> = (0..data.queries.len())
            .map(|row| model.nearest(Metric::Cosine, data.queries.vector(row), TRUTH)[TRUTH - 1])
            .collect();
        let (before, bytes) = (recalls(&docs, &data, &truth), collection_bytes(&store));
        let (done, steps) = (AtomicBool::new(false), AtomicU64::new(0));
        let report = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|n| {
                    let (docs, model, done) = (&docs, &model, &done);
                    scope.spawn(move || read_all_along(docs, model, count, seed + n, done))
                })
                .collect();
            let report = docs.compact().samples(50).progress(|at, all| {
                assert!(steps.swap(at, Ordering::Relaxed) <= at && at <= all);
            });
            let report = report.run();
            std::thread::sleep(std::time::Duration::from_millis(50));
            done.store(true, Ordering::Release);
            let rounds: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
            assert!(rounds > 0);
            report.unwrap()
        });
        assert_eq!(steps.load(Ordering::Relaxed), 2 * model.0.len() as u64);
        let row = &report.collections[0];
        assert_eq!((row.slots_before, row.slots_after, row.records), (count, docs.len(), model.0.len() as u64));
        assert!(row.recall_after.unwrap() > 0.9);
        let (left, share) = (collection_bytes(&store), model.0.len() as f64 / count as f64);
        assert!((left as f64) < bytes as f64 * share * 1.02 + 100e3, "{bytes} bytes, {left} left of {share}");
        assert!(left < bytes, "{bytes} bytes, {left} left of {share}");
        // The catalogue holds old and new rows for a moment, which may take more than one record of a hundred gives.
        assert!(removed == 1 || report.bytes_after < report.bytes_before);
        check(&store, &docs, &model, count);

        let fresh = Store::in_memory().unwrap();
        let built = make(&fresh);
        let (keys, rows): (Vec<u64>, Vec<&[f32]>) =
            model.0.iter().map(|(key, (vector, _))| (*key, &vector[..])).unzip();
        built.put_many(&keys, &rows.concat(), None).unwrap();
        let (after, fresh) = (recalls(&docs, &data, &truth), recalls(&built, &data, &truth));
        let work = |docs: &Collection<u64>| {
            let rows = (0..data.queries.len()).map(|row| docs.search(data.queries.vector(row)).ef(64).run().unwrap());
            rows.map(|hits| hits.stats().distances).sum::<u64>() / data.queries.len() as u64
        };
        println!(
            "{removed} % removed: recall at ef 16, 64, 200 before {before:?}, compacted {after:?}, built {fresh:?}; \
             distances at ef 64 {} and {}; {bytes} bytes, {left} left",
            work(&docs),
            work(&built)
        );
        // At the lowest ef two builds of the same records differ by half of that.
        if after.iter().zip(fresh).zip([0.02, 0.01, 0.01]).any(|((after, fresh), less)| *after < fresh - less) {
            worse.push((removed, after, fresh));
        }

        // And it goes on: after reopening, with new, newer and removed records, and once more.
        drop(docs);
        store.close().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let docs = store.collection::<u64>("docs").open().unwrap();
        check(&store, &docs, &model, count);
        for key in 0..200 {
            if key % 3 == 0 {
                docs.remove(key).unwrap();
                model.remove(key);
            } else {
                docs.put(key, data.glosses.vector(key as usize), b"again").unwrap();
                model.put(key, data.glosses.vector(key as usize), b"again");
            }
        }
        assert_eq!(model.difference(&docs, count), None);
        let report = store.compact().run().unwrap();
        assert_eq!(report.collections[0].slots_after, model.0.len() as u64);
        check(&store, &docs, &model, count);
        drop(docs);
        store.close().unwrap();
        let store = Store::open(dir.path()).unwrap();
        check(&store, &store.collection::<u64>("docs").open().unwrap(), &model, count);
    }
    assert!(worse.is_empty(), "{worse:?}");
}

/// Writers only wait: whatever they write before, between and after compactions is there in the end.
#[test]
fn writers_go_on_between_compactions() {
    let data = &Data::load();
    let (dim, writers) = (64, 2);
    let seed = seed("writers_go_on_between_compactions");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().durability(Durability::Buffered).open(dir.path()).unwrap();
    let docs = store.collection::<u64>("docs").dim(dim).create().unwrap();
    let done = AtomicBool::new(false);
    let vector = |row: usize| &data.glosses.vector(row)[..dim];
    let models: Vec<Model> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                let (docs, store, done) = (&docs, &store, &done);
                scope.spawn(move || {
                    let (mut rng, mut model) = (Rng::new(seed + writer), Model::default());
                    let mut rounds = 0;
                    while !done.load(Ordering::Acquire) || rounds < 50 {
                        rounds += 1;
                        // Its own keys.
                        let key = rng.within(0..300) * writers + writer;
                        let row = rng.below(data.glosses.len());
                        match rng.below(4) {
                            0 => {
                                docs.remove(key).unwrap();
                                model.remove(key);
                            }
                            1 => {
                                let keys: Vec<u64> = (0..20).map(|n| (key + n * writers) % 600).collect();
                                let mut batch = store.batch();
                                for &key in &keys {
                                    batch.put(docs, key, vector(row), b"batch").unwrap();
                                    model.put(key, vector(row), b"batch");
                                }
                                batch.commit().unwrap();
                            }
                            _ => {
                                docs.put(key, vector(row), b"put").unwrap();
                                model.put(key, vector(row), b"put");
                            }
                        }
                        let found = docs.get(key).unwrap().map(|record| (record.vector, record.payload));
                        assert_eq!(found.as_ref(), model.0.get(&key), "key {key}");
                    }
                    model
                })
            })
            .collect();
        for round in 0..6 {
            std::thread::sleep(std::time::Duration::from_millis(30));
            docs.compact().erase(round % 3 == 2).run().unwrap();
        }
        done.store(true, Ordering::Release);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let model = Model(models.into_iter().flat_map(|model| model.0).collect());
    assert_eq!(model.difference(&docs, 600), None);
    assert!(store.verify().unwrap().ok());
    drop(docs);
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(model.difference(&store.collection::<u64>("docs").open().unwrap(), 600), None);
    assert!(store.verify().unwrap().ok());
}

/// Empty, emptied, of one record, of copies; on a disk and in memory; whatever is kept in memory; again and again.
#[test]
fn collections_of_any_shape() {
    let data = Data::load();
    for residency in [Residency::Mapped, Residency::Resident, Residency::Packed] {
        for on_disk in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let open = || {
                let options: StoreOptions = Store::options().residency(residency);
                if on_disk { options.open(dir.path()) } else { options.open_on(Arc::new(MemDisk::new()), "memory") }
                    .unwrap()
            };
            let mut store = open();
            let names = ["empty", "emptied", "one", "copies", "many"];
            let mut models = names.map(|_| Model::default());
            let make = |store: &Store, name| store.collection::<u64>(name).dim(40).open_or_create().unwrap();
            for (name, model) in names.iter().zip(&mut models) {
                let docs = make(&store, name);
                for key in 0..if *name == "empty" { 0 } else { 300 } {
                    let row = if *name == "copies" { key % 3 } else { key };
                    let vector = &data.glosses.vector(row as usize)[..40];
                    docs.put(key, vector, name.as_bytes()).unwrap();
                    model.put(key, vector, name.as_bytes());
                }
                let keep = |key: &u64| match *name {
                    "emptied" => false,
                    "one" => *key == 77,
                    _ => !key.is_multiple_of(4),
                };
                for key in (0..300).filter(|key| !keep(key)) {
                    docs.remove(key).unwrap();
                    model.remove(key);
                }
            }
            for round in 0..3 {
                let report = if round == 1 { store.compact().erase(true).run() } else { store.compact().run() };
                for (name, model) in names.iter().zip(&mut models) {
                    let row = report.as_ref().unwrap().collections.iter().find(|row| row.name == *name).unwrap();
                    assert_eq!((row.records, row.slots_after), (model.0.len() as u64, model.0.len() as u64));
                    let docs = make(&store, name);
                    check(&store, &docs, model, 300);
                    assert_eq!(model.search_difference(&docs, 5, 400), None, "{name}");
                }
                if on_disk && round != 1 {
                    store.close().unwrap();
                    store = open();
                }
                for (name, model) in names.iter().zip(&mut models) {
                    let docs = make(&store, name);
                    check(&store, &docs, model, 300);
                    for key in [5, 6, 400 + round] {
                        let vector = &data.glosses.vector((key + 900) as usize)[..40];
                        docs.put(key, vector, b"new").unwrap();
                        model.put(key, vector, b"new");
                    }
                    docs.remove(6).unwrap();
                    model.remove(6);
                    assert_eq!(model.search_difference(&docs, 5, 400), None, "{name}");
                }
            }
        }
    }
}

/// The files in a directory, and in those below, that hold these bytes.
fn holding(dir: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else if std::fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn nothing_is_left_of_what_was_erased() {
    let data = Data::load();
    let dim = data.glosses.dim;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let docs = store.collection::<u64>("docs").dim(dim).create().unwrap();
    let other = store.collection::<u64>("other").dim(dim).create().unwrap();
    let (removed, replaced) = (0xFEED_0123_4567_89AB_u64, 0xFACE_9876_5432_10BA_u64);
    let mut model = Model::default();
    for key in 0..500 {
        let vector = data.glosses.vector(key as usize);
        docs.put(key, vector, format!("kept {key}").as_bytes()).unwrap();
        other.put(key, vector, b"other").unwrap();
        model.put(key, vector, format!("kept {key}").as_bytes());
        match key {
            100 => {
                docs.put(removed, data.glosses.vector(1000), b"a secret that was removed").unwrap();
                docs.put(replaced, data.glosses.vector(1001), b"a secret that was replaced").unwrap();
            }
            200 => store.checkpoint().unwrap(),
            300 => drop(docs.remove(removed).unwrap()),
            400 => docs.put(replaced, data.glosses.vector(1002), b"what came after").unwrap(),
            _ => {}
        }
    }
    model.put(replaced, data.glosses.vector(1002), b"what came after");
    let stored = |row| data.glosses.vector(row).iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let secrets = [
        stored(1000),
        stored(1001),
        b"a secret that was removed".to_vec(),
        b"a secret that was replaced".to_vec(),
        removed.to_le_bytes().to_vec(),
        removed.to_be_bytes().to_vec(),
    ];
    assert!(secrets.iter().all(|secret| !holding(dir.path(), secret).is_empty()), "they are there before");
    assert!(!store.verify_absent(removed, None).unwrap().absent());
    assert!(store.verify_absent(removed, Some("other")).unwrap().absent());
    assert!(matches!(store.verify_absent(removed, Some("none")), Err(Error::NoCollection { .. })));

    docs.compact().erase(true).run().unwrap();
    let check_all = |store: &Store, docs: &Collection<u64>| {
        for secret in &secrets {
            assert_eq!(holding(dir.path(), secret), [""; 0], "{}", String::from_utf8_lossy(secret));
        }
        assert!(!holding(dir.path(), b"what came after").is_empty() && !holding(dir.path(), &stored(1002)).is_empty());
        let report = store.verify_absent(removed, None).unwrap();
        assert!(report.absent(), "{:?}", report.found);
        assert!(!store.verify_absent(replaced, None).unwrap().absent());
        check(store, docs, &model, 600);
    };
    check_all(&store, &docs);
    assert_eq!(other.len(), 500);
    drop((docs, other));
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    check_all(&store, &store.collection::<u64>("docs").open().unwrap());
}

/// Compacting reads all that it writes; what is damaged must not get fresh, valid checksums.
#[test]
fn damage_is_not_carried_over() {
    let data = Data::load();
    for part in ["vectors", "ids", "links"] {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        {
            let store = Store::open(dir.path()).unwrap();
            let docs = store.collection::<u64>("docs").dim(40).create().unwrap();
            for key in 0..300 {
                docs.put(key, &data.glosses.vector(key as usize)[..40], b"").unwrap();
                model.put(key, &data.glosses.vector(key as usize)[..40], b"");
            }
            store.close().unwrap();
        }
        let path = dir.path().join("c/0").join(part);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2000] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        let store = Store::open(dir.path()).unwrap();
        let docs = store.collection::<u64>("docs").open().unwrap();
        let error = docs.compact().run().unwrap_err();
        let named = |file: &str| file == format!("c/0/{part}");
        assert!(matches!(&error, Error::Corrupt { file, .. } if named(file)), "{part}: {error}");
        assert!(!dir.path().join("c/0.1").exists());
        assert!(dir.path().join("c/0").exists());
        // All goes on as before, and so does the damage's being told.
        assert_eq!(docs.search(&data.glosses.vector(250)[..40]).k(1).run().unwrap()[0].key, 250);
        assert_eq!(docs.len(), model.0.len() as u64);
        if part != "links" {
            docs.put(301, &data.glosses.vector(301)[..40], b"").unwrap();
        }
        assert!(!store.verify().unwrap().ok());
    }
}
