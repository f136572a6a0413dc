//! Backups: the state of one moment, whatever goes on meanwhile; each restorable by itself; damage is said; a crash
//! while one is made leaves those before.

use crate::support::data::Data;
use crate::support::model::{Model, Rng, seed};
use lodestore::disk::{Disk, MemDisk};
use lodestore::{Backups, Codes, Collection, Durability, Error, Metric, Store};
use lodestore_wal::disk::{CrashMode, SimDisk};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn open(path: &Path) -> Store {
    Store::options().durability(Durability::Buffered).open(path).unwrap()
}

fn collection(store: &Store, name: &str, dim: usize) -> Collection<u64> {
    store.collection::<u64>(name).dim(dim).metric(Metric::L2).codes(Codes::None).open_or_create().unwrap()
}

fn check(store: &Store, docs: &Collection<u64>, model: &Model, keys: u64) {
    assert_eq!(model.difference(docs, keys), None);
    let report = store.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
}

/// Real vectors; removals, updates, sweeps and a compaction between the backups. Each is restored, searched, written to.
#[test]
fn every_backup_is_the_state_of_its_moment() {
    let seed = seed("every_backup_is_the_state_of_its_moment");
    let mut rng = Rng::new(seed);
    let (data, dir) = (Data::load(), tempfile::tempdir().unwrap());
    let (dim, count) = (data.glosses.dim, data.glosses.len() as u64);
    let store = open(&dir.path().join("store"));
    let docs = store.collection::<u64>("docs").dim(dim).metric(Metric::Cosine).open_or_create().unwrap();
    let mut model = Model::default();
    for first in (0..count).step_by(1000) {
        let keys: Vec<u64> = (first..(first + 1000).min(count)).collect();
        let vectors: Vec<f32> = keys.iter().flat_map(|&key| data.glosses.vector(key as usize)).copied().collect();
        let payloads: Vec<Vec<u8>> = keys.iter().map(|key| format!("gloss {key}").into_bytes()).collect();
        let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        docs.put_many(&keys, &vectors, Some(&slices)).unwrap();
        for (key, payload) in keys.iter().zip(&payloads) {
            model.put(*key, data.glosses.vector(*key as usize), payload);
        }
    }
    let backups = dir.path().join("backups");
    let mut expected: BTreeMap<u64, Model> = BTreeMap::new();
    let mut reports = Vec::new();
    for step in 0..4 {
        match step {
            0 => {}
            // One in a hundred is replaced.
            1 => {
                for _ in 0..count / 100 {
                    let (key, row) = (rng.within(0..count), rng.below(count as usize));
                    docs.put(key, data.glosses.vector(row), b"again").unwrap();
                    model.put(key, data.glosses.vector(row), b"again");
                }
            }
            2 => {
                for key in (0..count).filter(|key| key % 5 == 0) {
                    docs.remove(key).unwrap();
                    model.remove(key);
                }
                store.checkpoint().unwrap();
            }
            _ => {
                docs.compact().erase(true).run().unwrap();
                docs.put(count, data.glosses.vector(0), b"new").unwrap();
                model.put(count, data.glosses.vector(0), b"new");
            }
        }
        let report = store.backup(&backups).run().unwrap();
        assert_eq!((report.number, report.incremental), (step + 1, step > 0));
        expected.insert(report.number, model.clone());
        reports.push(report);
    }
    assert!(reports[1].written * 4 < reports[0].written, "{reports:?}");
    store.close().unwrap();

    let found = Backups::open(&backups).unwrap();
    assert_eq!(
        found.list().iter().map(|info| info.lsn).collect::<Vec<_>>(),
        reports.iter().map(|r| r.lsn).collect::<Vec<_>>()
    );
    for (number, model) in expected {
        assert_eq!(found.verify(number).unwrap().number, number);
        let to = dir.path().join(format!("restored{number}"));
        found.restore(number, &to).unwrap();
        for round in 0..2 {
            let store = open(&to);
            let docs = store.collection::<u64>("docs").open().unwrap();
            let mut model = model.clone();
            if round == 1 {
                model.put(7, data.glosses.vector(9), b"after");
            }
            check(&store, &docs, &model, count + 2);
            for key in (0..count).step_by(97).filter(|key| model.0.contains_key(key)) {
                let hits = docs.search(&model.0[&key].0).k(5).ef(200).run().unwrap();
                assert!(hits[0].distance < 1e-5, "backup {number}, key {key}: {hits:?}");
            }
            docs.put(7, data.glosses.vector(9), b"after").unwrap();
            store.close().unwrap();
        }
    }
}

/// A writer puts the same into two collections, in order. Whatever moment a backup has caught, it is a moment.
#[test]
fn a_backup_beside_writers_is_one_moment() {
    const KEYS: u64 = 300;
    let seed = seed("a_backup_beside_writers_is_one_moment");
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let pair = [collection(&store, "a", 4), collection(&store, "b", 4)];
    let done = AtomicBool::new(false);
    let vector = |n: u64| -> Vec<f32> { Rng::new(n ^ seed).vector(4) };
    let numbers = std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let (store, pair, done) = (&store, &pair, &done);
        scope.spawn(move || {
            let mut n = 0;
            while !done.load(Ordering::Acquire) {
                let mut batch = store.batch();
                for docs in pair {
                    batch.put(docs, n % KEYS, &vector(n), &n.to_le_bytes()).unwrap();
                }
                batch.commit().unwrap();
                n += 1;
                let _ = tell.send(());
            }
        });
        told.recv().unwrap();
        let backups: Vec<u64> =
            (0..5).map(|_| store.backup(dir.path().join("backups")).run().unwrap().number).collect();
        done.store(true, Ordering::Release);
        backups
    });
    let found = Backups::open(dir.path().join("backups")).unwrap();
    let mut newest = 0;
    for number in numbers {
        let to = dir.path().join(format!("restored{number}"));
        found.restore(number, &to).unwrap();
        let store = open(&to);
        let records: Vec<_> = ["a", "b"]
            .map(|name| store.collection::<u64>(name).open().unwrap())
            .iter()
            .map(|docs| (0..KEYS).filter_map(|key| docs.get(key).unwrap()).collect::<Vec<_>>())
            .collect();
        assert_eq!(records[0], records[1], "backup {number}");
        let of = |payload: &[u8]| u64::from_le_bytes(payload.try_into().unwrap());
        let last = records[0].iter().map(|record| of(&record.payload)).max();
        let mut model = Model::default();
        (0..last.map_or(0, |last| last + 1)).for_each(|n| model.put(n % KEYS, &vector(n), &n.to_le_bytes()));
        check(&store, &store.collection::<u64>("a").open().unwrap(), &model, KEYS);
        assert!(last.unwrap_or(0) >= newest, "backup {number} is older than the one before");
        newest = last.unwrap_or(0);
    }
    assert!(newest > 0);
}

fn small_store(disk: Arc<dyn Disk>) -> (Store, Collection<u64>, Model) {
    let store = Store::options().background(false).threads(1).open_on(disk, "small").unwrap();
    let (docs, mut model) = (collection(&store, "docs", 3), Model::default());
    for key in 0..40 {
        let vector = Rng::new(key).vector(3);
        docs.put(key, &vector, &[key as u8; 30]).unwrap();
        model.put(key, &vector, &[key as u8; 30]);
    }
    (store, docs, model)
}

fn read(disk: &dyn Disk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Any byte of any file, and any length.
#[test]
fn damage_is_said() {
    let seed = seed("damage_is_said");
    let mut rng = Rng::new(seed);
    let (store, docs, mut model) = small_store(SimDisk::new(1));
    let to: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let first = model.clone();
    store.backup("").run_on(to.clone()).unwrap();
    docs.remove(3).unwrap();
    model.remove(3);
    store.backup("").run_on(to.clone()).unwrap();
    let names: Vec<String> = to.list("").unwrap().into_iter().filter(|name| name != "LOCK").collect();
    assert_eq!(names, ["00000001.backup", "00000001.blocks", "00000002.backup", "00000002.blocks"]);
    for name in &names {
        let whole = read(&*to, name);
        let file = to.open(name).unwrap();
        let mut places: Vec<usize> = (0..60).map(|_| rng.below(whole.len())).collect();
        places.extend([0, 8, 16, 33, 64, whole.len() - 1, whole.len() - 33]);
        for at in places {
            file.write_at(at as u64, &[whole[at] ^ 1 << rng.below(8)]).unwrap();
            let backups = Backups::open_on(to.clone(), "to");
            let result = backups.and_then(|backups| {
                for (number, model) in [(1, &first), (2, &model)] {
                    let new: Arc<dyn Disk> = SimDisk::new(2);
                    backups.verify(number)?;
                    backups.restore_on(number, new.clone(), "new")?;
                    let store = Store::options().background(false).open_on(new, "new")?;
                    check(&store, &store.collection::<u64>("docs").open()?, model, 50);
                }
                Ok(())
            });
            // Every byte of a backup's files means something.
            let said =
                matches!(result, Err(Error::Corrupt { .. } | Error::FormatTooNew { .. } | Error::NoBackup { .. }));
            assert!(said, "byte {at} of {name}: {result:?}");
            file.write_at(at as u64, &[whole[at]]).unwrap();
        }
        for length in [0, 1, 63, 64, whole.len() / 2, whole.len() - 1] {
            file.set_len(length as u64).unwrap();
            let backups = Backups::open_on(to.clone(), "to").unwrap();
            let damaged = (1..=2).any(|number| matches!(backups.verify(number), Err(Error::Corrupt { .. })));
            assert!(damaged, "{name} of {length} bytes");
            file.set_len(whole.len() as u64).unwrap();
            file.write_at(0, &whole).unwrap();
        }
    }
    let backups = Backups::open_on(to, "to").unwrap();
    assert!(backups.verify(1).is_ok() && backups.verify(2).is_ok() && backups.damaged().is_empty());
}

/// The disk with the backups loses power at any call of the second one.
#[test]
fn a_crash_leaves_the_backups_before() {
    let seed = seed("a_crash_leaves_the_backups_before");
    let mut rng = Rng::new(seed);
    let mut crashes = 0;
    for step in 1.. {
        let (store, docs, mut model) = small_store(SimDisk::new(1));
        let to = SimDisk::new(rng.next());
        store.backup("").run_on(to.clone()).unwrap();
        let first = model.clone();
        docs.put(99, &[9.0, 9.0, 9.0], b"new").unwrap();
        model.put(99, &[9.0, 9.0, 9.0], b"new");
        to.crash_at(to.steps() + step);
        let result = store.backup("").run_on(to.clone());
        // The store itself has nothing to do with it.
        check(&store, &docs, &model, 100);
        docs.put(100, &[1.0, 0.0, 0.0], b"").unwrap();
        if !to.is_crashed() {
            assert!(result.is_ok());
            break;
        }
        crashes += 1;
        for mode in CrashMode::ALL {
            let left = to.reboot(mode, rng.next());
            let backups = Backups::open_on(left.clone(), "left").unwrap();
            assert!(backups.damaged().is_empty(), "step {step}, {mode:?}: {:?}", backups.damaged());
            let there = backups.list().len() as u64;
            assert!((1..=2).contains(&there) && (result.is_err() || there == 2), "step {step}, {mode:?}: {there}");
            for number in 1..=there {
                backups.verify(number).unwrap();
                let new = SimDisk::new(3);
                backups.restore_on(number, new.clone(), "new").unwrap();
                // What was restored is on the platter.
                let new = new.reboot(CrashMode::KeepNothing, 1);
                let store = Store::options().background(false).open_on(new, "new").unwrap();
                let docs = store.collection::<u64>("docs").open().unwrap();
                check(&store, &docs, if number == 1 { &first } else { &model }, 100);
            }
            let third = store.backup("").run_on(left.clone()).unwrap();
            let backups = Backups::open_on(left, "left").unwrap();
            assert_eq!(backups.list().len() as u64, there + 1);
            backups.verify(third.number).unwrap();
        }
    }
    assert!(crashes > 8, "{crashes}");
}

/// The disk with the backups fails once, at any call of the second one: what is listed then can be restored, and so can
/// the one that is made next.
#[test]
fn a_failed_backup_spoils_no_other() {
    for call in 1.. {
        let (store, docs, mut model) = small_store(SimDisk::new(1));
        let to = SimDisk::new(call);
        let mut models = vec![model.clone()];
        store.backup("").run_on(to.clone()).unwrap();
        for key in [98, 99] {
            docs.put(key, &[9.0, 9.0, key as f32], b"new").unwrap();
            model.put(key, &[9.0, 9.0, key as f32], b"new");
            models.push(model.clone());
        }
        docs.remove(99).unwrap();
        to.fail_call_at(to.calls() + call);
        let result = store.backup("").run_on(to.clone());
        if result.is_ok() {
            assert!(call > 20, "only {call} calls");
            break;
        }
        assert!(matches!(result, Err(Error::Io { .. })), "call {call}: {result:?}");
        docs.put(99, &[9.0, 9.0, 99.0], b"new").unwrap();
        for more in [false, true] {
            let last = if more { Some(store.backup("").run_on(to.clone()).unwrap().number) } else { None };
            let backups = Backups::open_on(to.clone(), "to").unwrap();
            let listed = backups.list();
            assert!(backups.damaged().is_empty() && !listed.is_empty(), "call {call}: {:?}", backups.damaged());
            for info in listed {
                backups.verify(info.number).unwrap_or_else(|error| panic!("call {call}: {error}"));
                let new: Arc<dyn Disk> = SimDisk::new(3);
                backups.restore_on(info.number, new.clone(), "new").unwrap();
                let store = Store::options().background(false).open_on(new, "new").unwrap();
                let which = if info.number == 1 { 0 } else { 1 + usize::from(Some(info.number) == last) };
                check(&store, &store.collection::<u64>("docs").open().unwrap(), &models[which], 100);
            }
        }
    }
}

/// The store's own disk fails once, at any call of a backup: it says so, or the backup is whole.
#[test]
fn a_disk_that_fails_beneath_a_backup_leaves_nothing_out() {
    let (mut told, mut whole) = (0, 0);
    for call in 1.. {
        let disk = SimDisk::new(call);
        let (store, docs, mut model) = small_store(disk.clone());
        store.checkpoint().unwrap();
        docs.put(50, &[5.0, 5.0, 5.0], b"new").unwrap();
        model.put(50, &[5.0, 5.0, 5.0], b"new");
        let last = disk.calls() + call;
        disk.fail_call_at(last);
        let to: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let result = store.backup("").run_on(to.clone());
        let met = disk.calls() >= last;
        disk.fail_call_at(u64::MAX);
        let backups = Backups::open_on(to, "to").unwrap();
        match result {
            Ok(report) => {
                let new: Arc<dyn Disk> = SimDisk::new(3);
                backups.restore_on(report.number, new.clone(), "new").unwrap();
                let store = Store::options().background(false).open_on(new, "new").unwrap();
                let docs = store.collection::<u64>("docs").open();
                check(&store, &docs.unwrap_or_else(|error| panic!("call {call}: {error}")), &model, 100);
                whole += 1;
            }
            Err(error) => {
                assert!(matches!(error, Error::Io { .. } | Error::Poisoned { .. } | Error::Catalog(_)), "{error:?}");
                assert!(backups.list().is_empty() && backups.damaged().is_empty(), "call {call}");
                told += 1;
            }
        }
        if !met {
            break;
        }
    }
    assert!(told > 50 && whole > 0, "{told} failures were told, {whole} backups are whole");
}

/// A restore that loses power at any step leaves no store, and can be done again once what it left is removed.
#[test]
fn a_restore_cut_short_leaves_no_store() {
    let seed = seed("a_restore_cut_short_leaves_no_store");
    let mut rng = Rng::new(seed);
    let (store, docs, mut model) = small_store(SimDisk::new(1));
    let to: Arc<dyn Disk> = Arc::new(MemDisk::new());
    store.backup("").run_on(to.clone()).unwrap();
    docs.remove(3).unwrap();
    model.remove(3);
    let number = store.backup("").run_on(to.clone()).unwrap().number;
    let backups = Backups::open_on(to, "to").unwrap();
    let mut crashes = 0;
    for step in 1.. {
        let new = SimDisk::new(rng.next());
        new.crash_at(step);
        let result = backups.restore_on(number, new.clone(), "new");
        if !new.is_crashed() {
            result.unwrap();
            break;
        }
        crashes += 1;
        for mode in CrashMode::ALL {
            let left = new.reboot(mode, rng.next());
            let open = |create| Store::options().background(false).create(create).open_on(left.clone(), "left");
            match open(false) {
                Err(Error::NotAStore { .. }) => {}
                // All but the last sync was done: then it is whole.
                Ok(store) => check(&store, &store.collection::<u64>("docs").open().unwrap(), &model, 50),
                Err(error) => panic!("step {step}, {mode:?}: {error}"),
            }
            let empty = left.list("").unwrap().iter().all(|name| name == "LOCK");
            let again = backups.restore_on(number, left.clone(), "left");
            assert!(empty == again.is_ok(), "step {step}, {mode:?}: {again:?}");
            if !empty {
                assert!(matches!(again, Err(Error::NotEmpty { .. })), "step {step}, {mode:?}: {again:?}");
            }
        }
    }
    assert!(crashes > 20, "{crashes}");
}

#[test]
fn what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let docs = collection(&store, "docs", 2);
    docs.put(1, &[1.0, 2.0], b"").unwrap();
    let backups = dir.path().join("backups");
    let mut told = Vec::new();
    let tell = |done, all| {
        told.push((done, all));
        true
    };
    store.backup(&backups).progress(tell).run().unwrap();
    assert!(told.is_sorted() && told.iter().all(|(done, all)| done <= all), "{told:?}");
    assert_eq!(told.last().map(|(done, all)| done == all), Some(true), "{told:?}");

    let other = open(&dir.path().join("other"));
    let refused = other.backup(&backups).run();
    assert!(matches!(&refused, Err(Error::OtherBackup { path, .. }) if *path == backups), "{refused:?}");
    let stopped = store.backup(&backups).progress(|_, _| false).run();
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    let found = Backups::open(&backups).unwrap();
    assert_eq!(found.list().len(), 1);
    assert!(matches!(found.verify(2), Err(Error::NoBackup { number: 2, .. })));
    assert!(matches!(found.restore(2, dir.path().join("new")), Err(Error::NoBackup { .. })));
    let occupied = found.restore(1, dir.path().join("store"));
    assert!(matches!(occupied, Err(Error::NotEmpty { .. })), "{occupied:?}");
    assert!(matches!(Store::in_memory().unwrap().backup(&backups).run(), Err(Error::Setting(_))));
    // A number that was given up is not left as a hole that looks like damage.
    docs.put(2, &[1.0, 2.0], b"").unwrap();
    store.backup(&backups).run().unwrap();
    let found = Backups::open(&backups).unwrap();
    assert!(found.damaged().is_empty());
    assert_eq!(found.list().len(), 2);
}

/// A backup, or a checkpoint, that takes its time keeps nothing of what was written from becoming durable in its time.
#[test]
fn a_long_backup_does_not_keep_writes_from_being_synced() {
    let dir = tempfile::tempdir().unwrap();
    let period = Duration::from_millis(10);
    let options = Store::options().durability(Durability::Every(period)).checkpoint_log_bytes(256 << 10);
    let store = options.open(dir.path().join("store")).unwrap();
    let docs = collection(&store, "docs", 4);
    docs.put(0, &[0.0; 4], b"").unwrap();
    let mut durable = None;
    let tell = |_, _| {
        durable.get_or_insert_with(|| {
            // More than after which a checkpoint is due.
            let payload = vec![7; 64 << 10];
            (1..8).for_each(|key| docs.put(key, &[key as f32; 4], &payload).unwrap());
            std::thread::sleep(10 * period);
            docs.put(8, &[8.0; 4], b"").unwrap();
            let lsn = store.stats().unwrap().last_lsn;
            let until = Instant::now() + Duration::from_secs(20);
            while Instant::now() < until && store.stats().unwrap().durable_lsn < lsn {
                std::thread::sleep(period);
            }
            store.stats().unwrap().durable_lsn >= lsn
        });
        true
    };
    store.backup(dir.path().join("backups")).progress(tell).run().unwrap();
    assert_eq!(durable, Some(true));
}

/// What was measured of recall is part of the moment.
#[test]
fn what_recall_knows_is_restored() {
    let (data, dir) = (Data::load(), tempfile::tempdir().unwrap());
    let (store, backups) = (open(&dir.path().join("store")), dir.path().join("backups"));
    let docs = collection(&store, "docs", data.glosses.dim);
    collection(&store, "never measured", 2).put(1, &[1.0, 2.0], b"").unwrap();
    let rows: Vec<f32> = (0..600).flat_map(|row| data.glosses.vector(row)).copied().collect();
    docs.put_many(&(0..600).collect::<Vec<u64>>(), &rows, None).unwrap();
    let first = docs.measure_recall(30).k(5).run().unwrap();
    store.backup(&backups).run().unwrap();
    docs.remove(3).unwrap();
    let second = docs.measure_recall(40).k(7).run().unwrap();
    assert_ne!(first, second);
    store.backup(&backups).run().unwrap();
    let all = Backups::open(&backups).unwrap();
    for (number, measured) in [(1, &first), (2, &second)] {
        let path = dir.path().join(format!("restored-{number}"));
        all.verify(number).unwrap();
        all.restore(number, &path).unwrap();
        let back = open(&path);
        let docs = back.collection::<u64>("docs").open().unwrap();
        assert_eq!(docs.recall_report().unwrap().as_ref(), Some(measured), "backup {number}");
        let found = docs.search(data.queries.vector(0)).k(measured.k).recall(0.5).run().unwrap();
        assert_eq!(found.len(), measured.k);
        assert_eq!(back.collection::<u64>("never measured").open().unwrap().recall_report().unwrap(), None);
        assert!(back.verify().unwrap().ok());
    }
}
