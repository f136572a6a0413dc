//! A full disk: a typed error, reads go on, and what was acknowledged is there when there is room again.

use crate::support::model::{Model, Rng};
use lodestore::{Error, Store, StoreOptions};
use lodestore_wal::disk::{CrashMode, SimDisk};
use std::process::Command;
use std::sync::Arc;

const DIM: usize = 24;

fn options() -> StoreOptions {
    Store::options().background(false).threads(1).checkpoint_log_bytes(256 << 10)
}

/// Writes until the disk is full, then some more. Everything acknowledged goes into the model. Says what the failures were.
fn fill(store: &Store, model: &mut Model, rng: &mut Rng) -> Vec<Error> {
    let mut errors = Vec::new();
    let docs = match store.collection::<u64>("docs").dim(DIM).ef_construction(60).open_or_create() {
        Ok(docs) => docs,
        Err(error) => return vec![error],
    };
    let mut next = model.0.keys().next_back().map_or(0, |key| key + 1);
    while errors.len() < 6 && next < 1_000_000 {
        let rows = 1 + rng.below(40) as u64;
        let keys: Vec<u64> = (next..next + rows).collect();
        let vectors = rng.vector(DIM * rows as usize);
        let payloads: Vec<Vec<u8>> = keys.iter().map(|key| vec![*key as u8; 1 + rng.below(1500)]).collect();
        let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        match docs.put_many(&keys, &vectors, Some(&slices)) {
            Ok(()) => {
                let pairs = vectors.chunks_exact(DIM).zip(&payloads);
                keys.iter().zip(pairs).for_each(|(&key, (vector, payload))| model.put(key, vector, payload));
            }
            Err(error) => errors.push(error),
        }
        // After a failure too: the write may turn out to have happened.
        next += rows;
    }
    // Reading goes on, of old and new records alike, and finds what was acknowledged.
    for (key, (vector, payload)) in model.0.iter().step_by(17) {
        let record = docs.get(*key).unwrap_or_else(|error| panic!("after {errors:?}, get({key}): {error}"));
        let record = record.unwrap_or_else(|| panic!("after {errors:?}, {key} is not there"));
        assert!(record.vector == *vector && record.payload == *payload, "{key}");
        // Vectors at random have no structure that a graph could follow: it takes many candidates.
        let hits = docs.search(vector).k(1).ef(1000).with_payloads().run().unwrap();
        assert!(hits[0].distance == 0.0, "{key}: {hits:?}");
    }
    errors
}

fn check_errors(errors: &[Error], label: &str) {
    assert!(!errors.is_empty(), "{label}: the disk was not filled");
    for error in errors {
        match error {
            Error::NoSpace { path, .. } => assert!(!path.is_empty(), "{label}: {error:?}"),
            // The catalogue found no room, between two writes: nothing can be written any more, and it says why.
            Error::Poisoned { first } => assert!(first.contains("no space left"), "{label}: {error:?}"),
            other => panic!("{label}: {other:?}"),
        }
    }
}

/// With room again, all that was acknowledged is there; of what failed, whole writes at most.
fn check_reopened(opened: lodestore::Result<Store>, model: &Model, label: &str) -> Store {
    let store = opened.unwrap_or_else(|error| panic!("{label}: reopening: {error}"));
    if !model.0.is_empty() {
        let docs = store.collection::<u64>("docs").open().unwrap();
        for (key, (vector, payload)) in &model.0 {
            let record = docs.get(*key).unwrap().unwrap_or_else(|| panic!("{label}: {key} is lost"));
            assert!(record.vector == *vector && record.payload == *payload, "{label}: {key}");
        }
    }
    let report = store.verify().unwrap();
    assert!(report.ok(), "{label}: {:?}", report.problems);
    store
}

/// Nothing was there before: whoever is told to reopen the store would look for it in vain.
#[test]
fn making_a_store_on_a_full_disk_says_that_it_is_full() {
    let mut full = 0;
    let mut make = |disk: Arc<SimDisk>, label: String| {
        match options().open_on(disk.clone(), "sim") {
            Ok(_) => return true,
            Err(Error::NoSpace { path, .. }) => assert!(!path.is_empty(), "{label}"),
            Err(other) => panic!("{label}: {other:?}"),
        }
        full += 1;
        disk.no_space_after(u64::MAX);
        disk.no_space_at_write(u64::MAX);
        options().open_on(disk, "sim").unwrap_or_else(|error| panic!("{label}, then more room: {error}"));
        false
    };
    for room in (0..1 << 20).step_by(1024) {
        let disk = SimDisk::new(room);
        disk.no_space_after(room);
        if make(disk, format!("room for {room} bytes")) {
            break;
        }
    }
    // A file whose length is set has its room only once it is written to, on many file systems.
    for write in 1.. {
        let disk = SimDisk::new(write);
        disk.no_space_at_write(write);
        if make(disk, format!("none at write {write}")) {
            break;
        }
    }
    assert!(full > 50, "{full}");
}

#[test]
fn a_simulated_disk_that_fills_up_at_many_levels() {
    let mut poisoned = 0;
    // The levels fall into the creation, the growth of every file, the log, the catalogue and checkpoints.
    for level in (0..24).map(|n| (n + 1) * 150_000 + n * n * 777) {
        let label = format!("{level} bytes");
        let disk = SimDisk::new(level);
        disk.no_space_after(level);
        let mut model = Model::default();
        let mut rng = Rng::new(level);
        match options().open_on(disk.clone(), "sim") {
            Err(error) => {
                assert!(matches!(error, Error::NoSpace { .. }), "{label}: {error:?}");
                println!("{label}: no room for an empty store");
            }
            Ok(store) => {
                let errors = fill(&store, &mut model, &mut rng);
                check_errors(&errors, &label);
                if store.stats().unwrap().poisoned.is_some() {
                    poisoned += 1;
                } else {
                    // Room again, and it goes on without being reopened.
                    disk.no_space_after(50_000_000);
                    let docs = store.collection::<u64>("docs").dim(DIM).open_or_create().unwrap();
                    let (key, vector) = (u64::MAX, rng.vector(DIM));
                    docs.put(key, &vector, b"after").unwrap_or_else(|error| panic!("{label}: {error}"));
                    model.put(key, &vector, b"after");
                    disk.no_space_after(0);
                }
                println!("{label}: {} records, {}", model.0.len(), errors[0]);
                // Closing has no room for a checkpoint; what it cannot do may not be lost.
                let _ = store.close();
            }
        }
        disk.no_space_after(u64::MAX);
        let store = check_reopened(options().open_on(disk.clone() as Arc<_>, "sim"), &model, &label);
        let docs = store.collection::<u64>("docs").dim(DIM).open_or_create().unwrap();
        docs.put(1, &[0.5; DIM], b"room again").unwrap();
        store.close().unwrap();
    }
    println!("{poisoned} of the stores had stopped writing");
}

/// Wherever a write or sync fails, also in redb, which would take it as its own end: what is there can be read, from a
/// cache that is cold.
#[test]
fn reads_go_on_after_any_write_or_sync_has_failed() {
    let (mut stopped, mut model) = (0, Model::default());
    let disk = SimDisk::new(7);
    let store = options().open_on(disk.clone(), "sim").unwrap();
    let docs = store.collection::<u64>("docs").dim(DIM).create().unwrap();
    let mut rng = Rng::new(7);
    for key in 0..400 {
        let (vector, payload) = (rng.vector(DIM), vec![key as u8; 500]);
        docs.put(key, &vector, &payload).unwrap();
        model.put(key, &vector, &payload);
    }
    drop(docs);
    store.close().unwrap();
    for fault in 1..=60 {
        let disk = disk.reboot(CrashMode::KeepAll, 1);
        let store = options().open_on(disk.clone(), "sim").unwrap();
        let docs = store.collection::<u64>("docs").open().unwrap();
        let lsn = store.stats().unwrap().last_lsn;
        match fault % 2 {
            0 => disk.fail_sync_at(disk.syncs() + fault / 2),
            _ => disk.fail_write_at(disk.writes() + fault),
        }
        let mut model = model.clone();
        for key in 1000..1040 {
            let vector = rng.vector(DIM);
            if docs.put(key, &vector, b"while failing").is_err() {
                break;
            }
            model.put(key, &vector, b"while failing");
            if key % 10 == 9 {
                let _ = store.checkpoint();
            }
        }
        let first = store.stats().unwrap().poisoned;
        stopped += usize::from(first.is_some());
        for (key, (vector, payload)) in &model.0 {
            let record = docs.get(*key).unwrap_or_else(|error| panic!("fault {fault}, {first:?}: get({key}): {error}"));
            let record = record.unwrap_or_else(|| panic!("fault {fault}, {first:?}: {key} is gone"));
            assert!(record.vector == *vector && record.payload == *payload, "fault {fault}, {first:?}: {key}");
            assert_eq!(docs.search(vector).k(1).ef(400).run().unwrap()[0].key, *key, "fault {fault}, {first:?}");
        }
        if first.is_some() {
            assert!(matches!(docs.put(1, &[1.0; DIM], b""), Err(Error::Poisoned { .. })));
            // Without a record since the opening there is nothing that it would have to write.
            let written = store.stats().unwrap().last_lsn > lsn;
            assert!(!written || matches!(store.checkpoint(), Err(Error::Poisoned { .. })));
        }
        drop((docs, store));
        check_reopened(options().open_on(disk, "sim"), &model, &format!("fault {fault}, {first:?}"));
    }
    println!("{stopped} of 60 stores stopped writing");
    assert!(stopped > 20);
}

/// A small file system in memory, gone with the guard.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(mib: usize) -> Option<Tmpfs> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "lodestore-test"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Tmpfs(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_real_disk_that_fills_up_at_many_levels() {
    let Some(disk) = Tmpfs::mount(24) else {
        println!("skipped: no right to mount a small file system");
        return;
    };
    let root = disk.0.path();
    let ballast = root.join("ballast");
    for (round, background) in (0..8).map(|n| (n, n % 2 == 0)) {
        let label = format!("round {round}");
        let path = root.join(format!("store-{round}"));
        std::fs::write(&ballast, vec![1; (round * 2 + 6) << 20]).unwrap();
        let mut model = Model::default();
        let mut rng = Rng::new(round as u64);
        let open = || options().background(background).open(&path);
        match open() {
            Err(error) => assert!(matches!(error, Error::NoSpace { .. }), "{label}: {error:?}"),
            Ok(store) => {
                let errors = fill(&store, &mut model, &mut rng);
                check_errors(&errors, &label);
                println!("{label}: {} records, {}", model.0.len(), errors[0]);
                drop(store);
            }
        }
        std::fs::remove_file(&ballast).unwrap();
        check_reopened(open(), &model, &label).close().unwrap_or_else(|error| panic!("{label}: {error}"));
        std::fs::remove_dir_all(&path).unwrap();
    }
}
