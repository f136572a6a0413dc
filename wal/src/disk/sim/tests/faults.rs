//! Faults on demand: any call fails, reads fail, a full disk takes what fits, writes in pieces, garbage, hooks.

use super::*;
use crate::names::{self, Part};

#[test]
fn any_call_fails_once_and_work_done_again_succeeds() {
    let calls = {
        let disk = SimDisk::new(1);
        work(&*disk).unwrap();
        disk.calls()
    };
    assert!(calls > 20);
    for n in 1..=calls {
        let disk = SimDisk::new(1);
        disk.set_tracing(true);
        disk.fail_call_at(n);
        let error = expect_err(work(&*disk));
        assert!(error.contains("os error 5"), "{error}");
        assert_eq!(disk.trace().iter().filter(|step| step.ends_with("!eio")).count(), 1, "call {n}");
        disk.list("").unwrap();
    }
}

#[test]
fn a_chosen_read_fails_once() {
    let (disk, file) = with_synced_file(100);
    disk.fail_read_at(disk.reads() + 2);
    let mut bytes = [0; 10];
    file.read_at(0, &mut bytes).unwrap();
    expect_err(file.read_at(0, &mut bytes));
    file.read_at(90, &mut bytes).unwrap();
    assert_eq!(bytes, [1; 10]);
}

#[test]
fn a_full_disk_takes_what_fits_of_a_write() {
    for room in 0..20 {
        let (disk, file) = with_synced_file(100);
        disk.no_space_after(room);
        let error = file.write_at(90, &[2; 30]).unwrap_err();
        assert!(error.is_no_space(), "{error}");
        let found = content(&*file);
        assert_eq!(found.len() as u64, 100 + room);
        assert!(found[90..].iter().all(|&byte| byte == 2));
        // What is there may be written over.
        file.write_at(50, &[3; 50]).unwrap();
        expect_err(file.write_at(100 + room, &[4]));
    }
}

#[test]
fn a_write_in_pieces_can_be_cut_between_any_two() {
    let mut lengths = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        disk.set_short_writes(true);
        let file = disk.create("a").unwrap();
        disk.sync_dir("").unwrap();
        let before = disk.steps();
        file.write_at(0, &[7; 4000]).unwrap();
        assert_eq!(content(&*file), [7; 4000]);
        lengths.insert(disk.steps() - before);
    }
    assert!(lengths.len() > 3, "writes of {lengths:?} pieces");
}

#[test]
fn a_torn_sector_is_garbage_where_writes_do_not_share_it() {
    let torn = |part: Part| {
        let (dir, path) = (names::collection_dir(0, 0), names::part(0, 0, part));
        let disk = SimDisk::new(1);
        disk.create_dir(names::COLLECTIONS_DIR).unwrap();
        disk.create_dir(&dir).unwrap();
        let file = disk.create(&path).unwrap();
        file.write_at(0, &[1; 512]).unwrap();
        file.sync().unwrap();
        disk.sync_dir("").unwrap();
        disk.sync_dir(names::COLLECTIONS_DIR).unwrap();
        disk.sync_dir(&dir).unwrap();
        file.write_at(64, &[2; 64]).unwrap();
        (0..400).filter_map(|seed| read(&*disk.reboot(CrashMode::Garbage, seed), &path)).collect::<BTreeSet<_>>()
    };
    let alone = torn(Part::Links);
    assert!(alone.iter().any(|sector| sector[..64] != [1; 64] && sector[128..] != [1; 384]), "no garbage");
    let shared = torn(Part::Vectors);
    assert!(shared.len() > 2, "no garbage");
    assert!(shared.iter().all(|sector| sector[..64] == [1; 64] && sector[128..] == [1; 384]), "others are changed");
}

#[test]
fn the_power_fails_in_the_chosen_sync() {
    let disk = SimDisk::new(1);
    disk.set_tracing(true);
    disk.crash_at_sync(disk.syncs() + 2);
    expect_err(work(&*disk));
    assert!(disk.is_crashed());
    let trace = disk.trace();
    assert!(trace.last().is_some_and(|step| step.contains(" sync") && step.ends_with("!crash")), "{trace:?}");
    assert_eq!(trace.iter().filter(|step| step.contains(" sync")).count(), 2);
}

#[test]
fn a_hook_is_told_of_every_step_until_it_has_enough_and_may_use_the_disk() {
    let disk = SimDisk::new(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let (inner, told_inner) = (disk.clone(), told.clone());
    disk.set_hook(Some(move |call: &str, path: &str| {
        told_inner.lock().push(format!("{call} {path}"));
        if call == "sync" {
            inner.create("between").unwrap();
        }
        call != "sync"
    }));
    let file = disk.create("a").unwrap();
    file.write_at(0, b"x").unwrap();
    file.sync().unwrap();
    file.write_at(0, b"y").unwrap();
    assert_eq!(*told.lock(), ["create a", "write a", "sync a"]);
    assert!(disk.open("between").is_ok());
}
