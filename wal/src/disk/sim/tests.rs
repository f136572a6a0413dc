use super::super::os::suite::{self, disk_suite, expect_err, mapped};
use super::*;
use crate::map::Mapping;

mod faults;

fn with_disk(test: impl FnOnce(&dyn Disk)) {
    test(&*SimDisk::new(1));
}

disk_suite!(with_disk);

#[test]
fn dropping_private_pages_shows_the_file_again() {
    with_disk(suite::dropping_private_pages_shows_the_file_again);
}

/// Everything on a disk, by path; `None` for a directory.
fn image(disk: &dyn Disk) -> BTreeMap<String, Option<Vec<u8>>> {
    let (mut image, mut dirs) = (BTreeMap::new(), vec![String::new()]);
    while let Some(dir) = dirs.pop() {
        for name in disk.list(&dir).unwrap() {
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            match disk.open(&path) {
                Ok(file) => image.insert(path, Some(content(&*file))),
                Err(_) => {
                    dirs.push(path.clone());
                    image.insert(path, None)
                }
            };
        }
    }
    image
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn read(disk: &dyn Disk, path: &str) -> Option<Vec<u8>> {
    disk.open(path).ok().map(|file| content(&*file))
}

/// A synced file `a` of `len` bytes of 1.
fn with_synced_file(len: usize) -> (Arc<SimDisk>, Arc<dyn DiskFile>) {
    let disk = SimDisk::new(1);
    let file = disk.create("a").unwrap();
    file.write_at(0, &vec![1; len]).unwrap();
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
    (disk, file)
}

/// What power cuts leave of the file `a`.
fn outcomes(disk: &SimDisk) -> BTreeSet<Option<Vec<u8>>> {
    (0..400).map(|seed| read(&*disk.reboot(CrashMode::PowerLoss, seed), "a")).collect()
}

/// A bit of everything, as a store does it. Errors are what a crash looks like from within.
fn work(disk: &dyn Disk) -> Result<()> {
    disk.create_dir("wal")?;
    disk.sync_dir("")?;
    let log = disk.create("wal/1")?;
    log.allocate(8192)?;
    for round in 0..6_u8 {
        log.write_at(u64::from(round) * 700, &[round + 1; 700])?;
        if round % 2 == 1 {
            log.sync()?;
        }
    }
    disk.sync_dir("wal")?;
    let tmp = disk.create("SUPER.tmp")?;
    tmp.write_at(0, &[9; 3000])?;
    tmp.sync()?;
    disk.rename("SUPER.tmp", "SUPER")?;
    disk.sync_dir("")?;
    tmp.set_len(1000)?;
    tmp.set_len(2000)?;
    tmp.write_at(100, &[8; 10])?;
    disk.remove("wal/1")
}

#[test]
fn what_is_synced_survives_every_crash() {
    let disk = SimDisk::new(1);
    disk.create_dir("c").unwrap();
    disk.create_dir("c/1").unwrap();
    let file = disk.create("c/1/links").unwrap();
    file.allocate(5000).unwrap();
    file.write_at(600, &[3; 3000]).unwrap();
    file.sync().unwrap();
    for dir in ["", "c", "c/1"] {
        disk.sync_dir(dir).unwrap();
    }
    let before = image(&*disk);
    for mode in CrashMode::ALL {
        for seed in 0..50 {
            assert_eq!(image(&*disk.reboot(mode, seed)), before, "{mode:?} {seed}");
        }
    }
}

#[test]
fn sectors_that_are_not_synced_may_each_be_old_new_or_torn() {
    let (disk, file) = with_synced_file(1536);
    file.write_at(512, &[2; 512]).unwrap();
    file.write_at(0, &[3; 1536]).unwrap();
    let outcomes: Vec<_> = outcomes(&disk).into_iter().map(Option::unwrap).collect();
    let has = |bytes: [u8; 3]| outcomes.iter().any(|o| o.chunks(512).zip(bytes).all(|(s, byte)| s == [byte; 512]));
    for possible in [[1, 1, 1], [3, 3, 3], [1, 2, 1], [3, 1, 1], [1, 1, 3], [3, 2, 3]] {
        assert!(has(possible), "{possible:?}");
    }
    assert!(outcomes.iter().all(|o| o.len() == 1536 && !o[..512].contains(&2) && !o[1024..].contains(&2)));
    assert!(outcomes.iter().any(|o| o.chunks(512).any(|sector| sector[0] != sector[511])), "no torn sector");
    assert_eq!(read(&*disk.reboot(CrashMode::KeepNothing, 0), "a").unwrap(), [1; 1536]);
    assert_eq!(read(&*disk.reboot(CrashMode::KeepAll, 0), "a").unwrap(), [3; 1536]);
    assert_eq!(read(&*disk.reboot(CrashMode::ProcessKill, 0), "a").unwrap(), [3; 1536]);
}

#[test]
fn a_length_that_is_not_synced_may_be_any_since_the_sync() {
    let (disk, file) = with_synced_file(100);
    file.allocate(1000).unwrap();
    file.write_at(1000, &[2; 500]).unwrap();
    let outcomes = outcomes(&disk);
    let lengths: BTreeSet<_> = outcomes.iter().flatten().map(Vec::len).collect();
    assert_eq!(lengths, BTreeSet::from([100, 1000, 1500]));
    // Wherever the data did not make it, what the file grew by is zeros.
    assert!(outcomes.iter().flatten().any(|o| o.len() == 1500 && o[1000..].iter().all(|&byte| byte == 0)));
    assert!(outcomes.iter().flatten().all(|o| o[..100] == [1; 100]));
}

#[test]
fn what_was_cut_off_never_comes_back_by_growing_again() {
    let (disk, file) = with_synced_file(2000);
    file.write_at(1200, &[2; 800]).unwrap();
    file.set_len(300).unwrap();
    file.set_len(2000).unwrap();
    for o in outcomes(&disk).into_iter().flatten() {
        let cut = o.len() == 300 || o[300..].iter().all(|&byte| byte == 0);
        let uncut = o.len() == 2000 && o[300..1000] == [1; 700];
        assert!(cut || uncut, "{o:?}");
    }
    let mut expected = vec![0; 2000];
    expected[..300].fill(1);
    assert_eq!(read(&*disk.reboot(CrashMode::KeepAll, 0), "a").unwrap(), expected);
    assert_eq!(content(&*SimDisk::reboot(&disk, CrashMode::ProcessKill, 0).open("a").unwrap()), expected);
}

#[test]
fn a_synced_cut_and_regrowth_is_zeros_on_the_platter() {
    let (disk, file) = with_synced_file(2000);
    file.set_len(300).unwrap();
    file.set_len(2000).unwrap();
    file.sync().unwrap();
    let mut expected = vec![0; 2000];
    expected[..300].fill(1);
    assert_eq!(read(&*disk.reboot(CrashMode::KeepNothing, 0), "a").unwrap(), expected);
}

#[test]
fn a_name_is_lost_until_its_own_directory_is_synced() {
    let disk = SimDisk::new(1);
    disk.create_dir("d").unwrap();
    let file = disk.create("d/a").unwrap();
    file.write_at(0, b"data").unwrap();
    file.sync().unwrap();
    let may_vanish = |disk: &SimDisk| {
        assert_eq!(read(&*disk.reboot(CrashMode::KeepNothing, 0), "d/a"), None);
        let left = (0..50).filter(|&seed| read(&*disk.reboot(CrashMode::PowerLoss, seed), "d/a").is_some()).count();
        assert!(0 < left && left < 50);
    };
    // On a disk of its own each time, because a reboot cuts the power.
    let again = || disk.reboot(CrashMode::ProcessKill, 0);
    may_vanish(&again());
    let synced = again();
    synced.sync_dir("").unwrap();
    may_vanish(&synced);
    let synced = again();
    synced.sync_dir("d").unwrap();
    may_vanish(&synced);
    let left = synced.reboot(CrashMode::KeepNothing, 0);
    left.create_dir("d").unwrap();
    assert_eq!(left.list("d").unwrap(), [""; 0], "a new directory of that name is another one");
    let synced = again();
    synced.sync_dir("d").unwrap();
    synced.sync_dir("").unwrap();
    assert_eq!(read(&*synced.reboot(CrashMode::KeepNothing, 0), "d/a").unwrap(), b"data");
}

#[test]
fn a_rename_shows_the_old_file_or_the_new_one_and_never_none() {
    let (disk, _) = with_synced_file(4);
    let new = disk.create("a.tmp").unwrap();
    new.write_at(0, b"new!").unwrap();
    new.sync().unwrap();
    disk.rename("a.tmp", "a").unwrap();
    assert_eq!(outcomes(&disk), BTreeSet::from([Some(vec![1; 4]), Some(b"new!".to_vec())]));

    // Renaming a file that is not synced is the classic mistake; the disk must let it show.
    let (disk, _) = with_synced_file(4);
    disk.create("a.tmp").unwrap().write_at(0, b"new!").unwrap();
    disk.rename("a.tmp", "a").unwrap();
    disk.sync_dir("").unwrap();
    assert!(outcomes(&disk).contains(&Some(Vec::new())));
}

#[test]
fn a_removal_that_is_not_synced_may_be_undone() {
    let (disk, _) = with_synced_file(4);
    disk.remove("a").unwrap();
    assert_eq!(outcomes(&disk), BTreeSet::from([None, Some(vec![1; 4])]));
    assert_eq!(read(&*disk.reboot(CrashMode::KeepAll, 0), "a"), None);
}

#[test]
fn a_rename_between_directories_needs_both_synced() {
    let (disk, _) = with_synced_file(4);
    disk.create_dir("d").unwrap();
    disk.sync_dir("").unwrap();
    disk.rename("a", "d/b").unwrap();
    disk.sync_dir("d").unwrap();
    let half = disk.reboot(CrashMode::KeepNothing, 0);
    assert_eq!((read(&*half, "a"), read(&*half, "d/b")), (Some(vec![1; 4]), Some(vec![1; 4])));
    // Two names of one file.
    half.open("a").unwrap().write_at(0, &[7]).unwrap();
    assert_eq!(read(&*half, "d/b").unwrap(), [7, 1, 1, 1]);
}

#[test]
fn a_killed_process_leaves_what_is_unsynced_unsynced() {
    let (disk, file) = with_synced_file(4);
    file.write_at(0, &[2; 4]).unwrap();
    disk.create("b").unwrap();
    let next = disk.reboot(CrashMode::ProcessKill, 0);
    assert_eq!(image(&*next), BTreeMap::from([("a".into(), Some(vec![2; 4])), ("b".into(), Some(Vec::new()))]));
    assert_eq!(outcomes(&next).len(), 5, "the old bytes, the new, and each tear between them");
    assert_eq!(image(&*next.reboot(CrashMode::KeepNothing, 0)), BTreeMap::from([("a".into(), Some(vec![1; 4]))]));
    // Synced by the next process, it is safe.
    let next = disk.reboot(CrashMode::ProcessKill, 0);
    next.open("a").unwrap().sync().unwrap();
    next.sync_dir("").unwrap();
    let left = image(&*next.reboot(CrashMode::KeepNothing, 0));
    assert_eq!(left, BTreeMap::from([("a".into(), Some(vec![2; 4])), ("b".into(), Some(Vec::new()))]));
}

#[test]
fn a_failed_sync_loses_sectors_and_hides_it() {
    let mut some_kept = false;
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let file = disk.create("a").unwrap();
        file.write_at(0, &[1; 4096]).unwrap();
        file.sync().unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(0, &[2; 4096]).unwrap();
        disk.fail_sync_at(disk.syncs() + 1);
        assert!(!expect_err(file.sync()).contains("simulated crash"));
        // The lie: the second sync succeeds and reads show the new bytes, in a new handle too.
        file.sync().unwrap();
        assert_eq!(read(&*disk, "a").unwrap(), [2; 4096]);
        let map = file.map(0, 4096, Mapping::Shared).unwrap();
        file.evict().unwrap();
        let truth = content(&*file);
        assert!(truth.contains(&1) && truth.chunks(512).all(|s| s == [1; 512] || s == [2; 512]));
        assert_eq!(mapped(&map, 0, 4096), truth);
        some_kept |= truth.contains(&2);
        for mode in CrashMode::ALL {
            assert_eq!(read(&*disk.reboot(mode, seed), "a").unwrap(), truth, "{mode:?}");
        }
    }
    assert!(some_kept);
}

#[test]
fn after_a_failed_sync_power_loss_tells_the_truth_and_a_kill_keeps_the_lie() {
    let (disk, file) = with_synced_file(512);
    file.write_at(0, &[2; 512]).unwrap();
    disk.fail_sync_at(disk.syncs() + 1);
    file.sync().unwrap_err();
    assert_eq!(outcomes(&disk), BTreeSet::from([Some(vec![1; 512])]));
    assert_eq!(read(&*disk.reboot(CrashMode::KeepAll, 0), "a").unwrap(), [1; 512]);
    let killed = disk.reboot(CrashMode::ProcessKill, 0);
    assert_eq!(read(&*killed, "a").unwrap(), [2; 512]);
    let file = killed.open("a").unwrap();
    file.evict().unwrap();
    assert_eq!(content(&*file), [1; 512]);
}

#[test]
fn a_lost_sector_that_is_written_again_is_synced_as_a_whole() {
    let (disk, file) = with_synced_file(512);
    file.write_at(0, &[2; 512]).unwrap();
    disk.fail_sync_at(disk.syncs() + 1);
    file.sync().unwrap_err();
    file.write_at(0, &[3]).unwrap();
    file.evict().unwrap();
    let mut expected = [2; 512];
    expected[0] = 3;
    assert_eq!(content(&*file), expected, "what is still to be written is never evicted");
    file.sync().unwrap();
    assert_eq!(read(&*disk.reboot(CrashMode::KeepNothing, 0), "a").unwrap(), expected);
}

#[test]
fn a_failed_sync_of_a_directory_keeps_its_changes_unsynced() {
    let disk = SimDisk::new(1);
    disk.create("a").unwrap();
    disk.fail_sync_at(1);
    disk.sync_dir("").unwrap_err();
    assert_eq!(outcomes(&disk), BTreeSet::from([None, Some(Vec::new())]));
}

#[test]
fn after_a_crash_every_call_fails_and_dropping_is_quiet() {
    let (disk, file) = with_synced_file(10);
    let lock = disk.lock("LOCK", "me").unwrap();
    disk.crash_at(disk.steps() + 1);
    assert_eq!(content(&*file), [1; 10], "the power fails in the next step, not before");
    let crashed = |result: Result<()>| assert!(expect_err(result).contains("simulated crash"));
    crashed(disk.remove("a"));
    assert!(disk.is_crashed());
    let steps = disk.steps();
    crashed(disk.create("b").map(drop));
    crashed(disk.open("a").map(drop));
    crashed(disk.rename("a", "b"));
    crashed(disk.remove("a"));
    crashed(disk.list("").map(drop));
    crashed(disk.create_dir("d"));
    crashed(disk.sync_dir(""));
    crashed(disk.lock("OTHER", "me").map(drop));
    crashed(file.len().map(drop));
    crashed(file.is_empty().map(drop));
    crashed(file.read_at(0, &mut [0]));
    crashed(file.write_at(0, &[0]));
    crashed(file.allocate(100));
    crashed(file.set_len(0));
    crashed(file.sync());
    crashed(file.evict());
    crashed(file.map(0, 4096, Mapping::Shared).map(drop));
    assert_eq!(disk.steps(), steps);
    let next = disk.reboot(CrashMode::ProcessKill, 0);
    assert_eq!(read(&*next, "a").unwrap(), [1; 10], "the step that crashed was not done");
    let _free_again = next.lock("LOCK", "me").unwrap();
    drop((lock, file, disk));
}

#[test]
fn a_reboot_cuts_the_power_of_the_old_disk() {
    let (disk, file) = with_synced_file(10);
    disk.reboot(CrashMode::KeepAll, 0);
    assert!(disk.is_crashed());
    assert!(expect_err(file.write_at(0, b"x")).contains("simulated crash"));
    assert_eq!(read(&*disk.reboot(CrashMode::KeepAll, 0), "a").unwrap(), [1; 10]);
}

#[test]
fn the_write_that_crashes_may_be_partly_done() {
    let mut lengths = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let file = disk.create("a").unwrap();
        disk.sync_dir("").unwrap();
        disk.crash_at(3);
        file.write_at(0, &[5; 2000]).unwrap_err();
        assert_eq!(disk.steps(), 3);
        assert_eq!(read(&*disk.reboot(CrashMode::KeepNothing, 0), "a").unwrap(), [0; 0]);
        let left = read(&*disk.reboot(CrashMode::ProcessKill, 0), "a").unwrap();
        assert!(left.iter().all(|&byte| byte == 5));
        lengths.insert(left.len());
    }
    assert!(lengths.contains(&0) && lengths.contains(&2000) && lengths.len() > 20);
}

#[test]
fn every_step_of_a_piece_of_work_can_be_crashed_at() {
    let disk = SimDisk::new(1);
    work(&*disk).unwrap();
    let steps = disk.steps();
    assert_eq!(steps, 23);
    for step in 1..=steps {
        for seed in 0..10 {
            let disk = SimDisk::new(seed);
            disk.crash_at(step);
            work(&*disk).unwrap_err();
            assert_eq!(disk.steps(), step);
            for mode in CrashMode::ALL {
                let next = disk.reboot(mode, seed);
                assert_eq!(next.steps(), 0);
                // SUPER gets its name only after it was synced, and is cut only after that name was.
                if let Some(super_block) = read(&*next, "SUPER") {
                    let len = super_block.len();
                    assert!([1000, 2000, 3000].contains(&len), "{mode:?} {step}");
                    assert_eq!(super_block[512..1000], [9; 488], "{mode:?} {step}");
                    // The last write may leave nothing of its sector in that mode.
                    if mode != CrashMode::Garbage || step < steps - 1 {
                        assert_eq!(super_block[..100], [9; 100], "{mode:?} {step}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_same_seeds_give_the_same_trace_and_image() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        disk.set_tracing(true);
        disk.fail_sync_at(3);
        disk.crash_at(20);
        let _ = work(&*disk);
        let images: Vec<_> =
            (0..20).flat_map(|seed| CrashMode::ALL.map(|mode| image(&*disk.reboot(mode, seed)))).collect();
        (disk.trace(), images)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
}

#[test]
fn a_trace_tells_every_step_and_fault() {
    let disk = SimDisk::new(1);
    disk.create_dir("wal").unwrap();
    disk.set_tracing(true);
    let file = disk.create("wal/1").unwrap();
    disk.sync_dir("").unwrap();
    disk.fail_write_at(2);
    file.write_at(4096, &[1; 120]).unwrap();
    file.write_at(0, &[1; 8]).unwrap_err();
    disk.no_space_after(10);
    file.allocate(9999).unwrap_err();
    disk.rename("wal/1", "wal/2").unwrap();
    disk.crash_at(8);
    file.sync().unwrap_err();
    let expected = [
        "2 create wal/1",
        "3 sync_dir .",
        "4 write wal/1 4096+120",
        "5 write wal/1 0+8 !eio",
        "6 allocate wal/1 9999 !full",
        "7 rename wal/1 wal/2",
        "8 sync wal/1 !crash",
    ];
    assert_eq!(disk.trace(), expected);
    disk.set_tracing(false);
    assert!(disk.trace().is_empty());
}

#[test]
fn a_full_disk_changes_nothing_and_removing_makes_room() {
    let (disk, file) = with_synced_file(1000);
    disk.create("b").unwrap().write_at(0, &[3; 50]).unwrap();
    disk.no_space_after(100);
    let full = |result: Result<()>, bytes| match result {
        Err(Error::NoSpace { path, needed }) => assert_eq!((path.as_str(), needed), ("a", bytes)),
        other => panic!("{other:?}"),
    };
    full(file.allocate(1101), 101);
    full(file.set_len(1200), 200);
    full(file.write_at(900, &[2; 300]), 200);
    // A write goes as far as there is room.
    assert_eq!(content(&*file), [&[1; 900][..], &[2; 200]].concat());
    file.write_at(0, &[1; 1000]).unwrap();
    file.allocate(1100).unwrap();
    full(file.allocate(1101), 1);
    disk.remove("b").unwrap();
    file.allocate(1150).unwrap();
    file.set_len(1000).unwrap();
    file.write_at(1000, &[2; 150]).unwrap();
    full(file.write_at(1150, &[2; 1]), 1);
    disk.no_space_after(u64::MAX);
    file.write_at(1150, &[2; 5000]).unwrap();
}

#[test]
fn a_chosen_write_fails_once() {
    let (disk, file) = with_synced_file(10);
    disk.no_space_at_write(disk.writes() + 1);
    disk.fail_write_at(disk.writes() + 2);
    assert!(file.write_at(0, &[2; 20]).unwrap_err().is_no_space());
    assert_eq!(content(&*file), [1; 10]);
    assert!(!file.write_at(0, &[2; 10]).unwrap_err().is_no_space());
    let left = content(&*file);
    let done = left.iter().take_while(|&&byte| byte == 2).count();
    assert!(left[done..].iter().all(|&byte| byte == 1));
    file.write_at(0, &[3; 10]).unwrap();
    assert_eq!(content(&*file), [3; 10]);
}

#[test]
fn two_threads_may_write_while_the_power_fails() {
    let (disk, file) = with_synced_file(10);
    disk.crash_at(disk.steps() + 200);
    std::thread::scope(|scope| {
        for at in [0, 100_000] {
            let file = &file;
            scope.spawn(move || while file.write_at(at, &[at as u8; 600]).and_then(|()| file.sync()).is_ok() {});
        }
    });
    assert!(disk.is_crashed());
    assert!(read(&*disk.reboot(CrashMode::PowerLoss, 0), "a").is_some());
}
