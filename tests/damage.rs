//! Files that are not what was written: flipped bits, cut, missing, replaced, of a newer version. Whatever it is, the
//! store must refuse with a typed error, or `verify` must call it damaged, or it must answer like the undamaged one.
//! Never a panic, an abort, an endless loop, or a wrong answer from a store that passes `verify`.

mod bytes;
mod files;
mod large;
mod log;
mod replaced;

use crate::support::keyed::{Docs, Numbered};
use crate::support::model::{Model, Rng, seed};
use files::{Files, Outcome, Table, Watch};
use lodestore::{Codes, Error, Metric, Store, StoreOptions};
use std::path::Path;

/// Keys that were ever used in a collection, and a few more.
const KEYS: u64 = 60;
/// Flips tried in a file; small files are tried byte by byte.
const FLIPS: usize = 400;

/// The store that is damaged: what each of its collections must hold.
#[derive(Clone, Debug, Default)]
struct Models {
    plain: Model,
    angles: Model,
}

fn options() -> StoreOptions {
    Store::options().background(false).threads(1)
}

/// Two collections of a few dozen records with updates and removals, in several log groups.
fn fill(store: &Store, seed: u64) -> Models {
    let mut rng = Rng::new(seed);
    let mut models = Models::default();
    let plain =
        store.collection::<u64>("plain").dim(6).m(4).codes(Codes::Eight).ef_construction(32).open_or_create().unwrap();
    let angles = store.collection::<str>("angles").dim(5).metric(Metric::Cosine).m(3).open_or_create().unwrap();
    for key in 0..45 {
        let (vector, payload) = (rng.vector(6), format!("plain {key}").into_bytes());
        plain.put(key, &vector, &payload).unwrap();
        models.plain.put(key, &vector, &payload);
    }
    for round in 0..40 {
        let key = rng.below(30) as u64;
        if round % 4 == 3 {
            angles.remove(str::key(key)).unwrap();
            models.angles.remove(key);
        } else {
            let (vector, payload) = (rng.vector(5), vec![round as u8; rng.below(40)]);
            angles.put(str::key(key), &vector, &payload).unwrap();
            models.angles.put(key, &vector, &payload);
        }
    }
    for key in [3, 9, 27] {
        plain.remove(key).unwrap();
        models.plain.remove(key);
    }
    models
}

/// Opens what lies at `path` and asks it everything.
fn examine(path: &Path, models: &Models) -> Outcome {
    ask(options().open(path), std::slice::from_ref(models))
}

/// `states`: what the store may hold, the last of them being what it should.
fn ask(opened: lodestore::Result<Store>, states: &[Models]) -> Outcome {
    let store = match opened {
        Ok(store) => store,
        Err(error) => return Outcome::refused("open", &error),
    };
    let report = match store.verify() {
        Ok(report) => report,
        Err(error) => return Outcome::refused("verify", &error),
    };
    let mut found: Vec<_> = states.iter().enumerate().rev().map(|(n, models)| (n, compare(&store, models))).collect();
    if !report.ok() {
        // Damage must not bring down a writer either. What it says is its own business.
        for docs in ["plain", "angles"].into_iter().filter_map(|name| Docs::open(&store, name).ok()) {
            let _ = docs.put(7, &vec![0.5; docs.info().dim], b"on damaged ground");
            let _ = docs.remove(8);
        }
        let _ = store.close();
        return Outcome::Damaged;
    }
    if let Err(error) = store.close() {
        return Outcome::Wrong(format!("verified, but close failed: {error}"));
    }
    match found.iter().position(|(_, difference)| difference.is_none()) {
        Some(0) => Outcome::Equal,
        Some(at) => Outcome::Prefix(found[at].0),
        None => Outcome::Wrong(format!("verified, but {}", found.swap_remove(0).1.unwrap_or_default())),
    }
}

fn compare(store: &Store, models: &Models) -> Option<String> {
    let plain = differs::<u64>(store, "plain", &models.plain);
    plain.or_else(|| differs::<str>(store, "angles", &models.angles))
}

fn differs<K: Numbered + ?Sized>(store: &Store, name: &str, model: &Model) -> Option<String> {
    let difference = match store.collection::<K>(name).open() {
        Ok(docs) => model.difference(&docs, KEYS).or_else(|| model.search_difference(&docs, 5, 64)),
        Err(Error::NoCollection { .. }) if model.0.is_empty() => None,
        Err(error) => Some(error.to_string()),
    };
    difference.map(|what| format!("{name}: {what}"))
}

fn closed_store(seed: u64) -> (Files, Models) {
    let dir = files::directory();
    let store = options().open(dir.path()).unwrap();
    let models = fill(&store, seed);
    store.close().unwrap();
    // A second session, so that files also hold what a checkpoint has overwritten.
    let store = options().open(dir.path()).unwrap();
    let plain = store.collection::<u64>("plain").open().unwrap();
    let mut models = models;
    plain.put(50, &[0.25; 6], b"late").unwrap();
    models.plain.put(50, &[0.25; 6], b"late");
    store.close().unwrap();
    (Files::read(dir.path()), models)
}

#[test]
fn flipped_bits_in_a_closed_store() {
    let mut rng = Rng::new(seed("flips"));
    let (files, models) = closed_store(1);
    let watch = Watch::start();
    let mut table = Table::default();
    let budget = std::env::var("LODESTORE_FLIPS").map_or(FLIPS, |n| n.parse().unwrap());
    for (name, bytes) in files.each() {
        // The one file whose format is not ours gets more.
        let budget = if name == "catalog.redb" { 4 * budget } else { budget };
        for at in files::places(bytes, budget, &mut rng) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << rng.below(8);
            let path = files.write_with(name, &damaged);
            table.note(name, "flip", watch.run(&format!("{name} byte {at}"), || examine(path, &models)));
        }
    }
    table.finish();
}

#[test]
fn directories_of_a_store_that_are_missing_or_links() {
    let (files, models) = closed_store(1);
    let watch = Watch::start();
    let mut table = Table::default();
    for name in ["wal", "ckpt", "c", "c/0", "c/1"] {
        let path = files.write();
        std::fs::rename(path.join(name), path.join("elsewhere")).unwrap();
        table.note(name, "missing", watch.run(&format!("{name} missing"), || examine(path, &models)));
        let path = files.write();
        std::fs::rename(path.join(name), path.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(path.join("elsewhere"), path.join(name)).unwrap();
        table.note(name, "link", watch.run(&format!("{name} a link"), || examine(path, &models)));
    }
    table.finish();
}

/// Files with a version number and a checksum: where the number is, and where the checksum of all before it.
#[test]
fn newer_formats_are_refused_by_number() {
    let (files, _) = closed_store(1);
    let log = files.each().find(|(name, _)| name.starts_with("wal/")).unwrap().0.clone();
    for (name, version_at, slots) in
        [("SUPER", 8, vec![(0, 4092), (4096, 4092)]), ("c/0/meta", 8, vec![(0, 124)]), (&log, 8, vec![(0, 4092)])]
    {
        let mut newer = files.get(name).unwrap().clone();
        slots.into_iter().for_each(|(start, crc_at)| files::set_version(&mut newer[start..], version_at, crc_at));
        let path = files.write_with(name, &newer);
        let error = match options().open(path) {
            Err(error) => error,
            Ok(store) => store.collection::<u64>("plain").open().unwrap_err(),
        };
        match &error {
            Error::FormatTooNew { file, found: 9, supported: 1 } => assert_eq!(file, name),
            other => panic!("{name}: {other:?}"),
        }
        assert!(error.to_string().contains("version 9"), "{error}");
        assert_eq!(Files::read(path).get(name), Some(&newer), "{name} is left as it was");
    }
}

/// Files that say their version otherwise, or that nothing depends on.
#[test]
fn newer_catalogues_recalls_and_backups() {
    let dir = files::directory();
    let store = options().open(dir.path().join("store")).unwrap();
    let models = fill(&store, 1);
    let plain = store.collection::<u64>("plain").open().unwrap();
    plain.measure_recall(20).run().unwrap();
    store.backup(dir.path().join("backups")).run().unwrap();
    drop(plain);
    store.close().unwrap();
    let files = Files::read(&dir.path().join("store"));

    let mut newer = files.get("catalog.redb").unwrap().clone();
    [0, 4096].into_iter().for_each(|copy| files::set_version(&mut newer[copy..], 7, 4092));
    let outcome = examine(files.write_with("catalog.redb", &newer), &models);
    assert_eq!(outcome, Outcome::Refused("open"));

    // What was measured is not known, and can be measured again.
    let mut newer = files.get("c/0.recall").unwrap().clone();
    let crc_at = newer.len() - 4;
    files::set_version(&mut newer, 8, crc_at);
    let path = files.write_with("c/0.recall", &newer);
    assert_eq!(examine(path, &models), Outcome::Equal);
    let store = options().open(path).unwrap();
    assert_eq!(store.collection::<u64>("plain").open().unwrap().recall_report().unwrap(), None);

    let backup = dir.path().join("backups/00000001.backup");
    let mut newer = std::fs::read(&backup).unwrap();
    newer[8] = 9;
    std::fs::write(&backup, newer).unwrap();
    match lodestore::Backups::open(dir.path().join("backups")) {
        Err(Error::FormatTooNew { file, found: 9, supported: 1 }) => assert_eq!(file, "00000001.backup"),
        other => panic!("{other:?}"),
    }
}

/// What `verify` reads beyond its checksums: the number that cosine distances are scaled by.
#[test]
fn a_changed_scale_of_a_vector_is_damage() {
    let (files, models) = closed_store(1);
    let mut vectors = files.get("c/1/vectors").unwrap().clone();
    // Slot 0: five components, then the scale.
    let scale = f32::from_le_bytes(vectors[20..24].try_into().unwrap());
    vectors[20..24].copy_from_slice(&(scale * 1.5).to_le_bytes());
    let path = files.write_with("c/1/vectors", &vectors);
    assert_eq!(examine(path, &models), Outcome::Damaged);
}

/// However much is wrong, all is counted, and of each collection and file only so much is told.
#[test]
fn what_is_told_is_bounded_and_all_is_counted() {
    const DAMAGED: u64 = 300;
    let dir = files::directory();
    let store = options().open(dir.path()).unwrap();
    for name in ["one", "two"] {
        let docs = store.collection::<u64>(name).dim(16).create().unwrap();
        let mut rng = Rng::new(9);
        let rows: Vec<f32> = (0..DAMAGED + 50).flat_map(|_| rng.vector(16)).collect();
        docs.put_many(&(0..DAMAGED + 50).collect::<Vec<u64>>(), &rows, None).unwrap();
    }
    store.close().unwrap();
    let all = Files::read(dir.path());
    for files in [&["c/0/vectors"][..], &["c/0/vectors", "c/1/vectors"]] {
        let path = all.write();
        for file in files {
            let mut bytes = all.get(file).unwrap().clone();
            (0..DAMAGED as usize).for_each(|slot| bytes[slot * 64 + 5] ^= 0x10);
            std::fs::write(path.join(file), bytes).unwrap();
        }
        let report = options().open(path).unwrap().verify().unwrap();
        assert_eq!((report.problem_count, report.problems.len()), (DAMAGED * files.len() as u64, 100 * files.len()));
        for file in files {
            let of = report.files.iter().find(|found| found.name == *file).unwrap();
            assert_eq!((of.damage_count, of.damage.len()), (DAMAGED, 100), "{file}");
            // The first hundred.
            assert!(of.damage.iter().zip(0..).all(|(damage, slot)| damage.offset / 64 == slot), "{:?}", of.damage);
        }
    }
}
