//! Files: rotation, removal, and what is found at opening.

use super::format::Head;
use super::*;

/// Three files: records 1–4, 5–9, 10–12.
fn three_files(disk: &Arc<dyn Disk>) -> Log {
    let log = create(disk);
    append(&log, 4).unwrap();
    assert_eq!(log.rotate().unwrap(), 4);
    append(&log, 5).unwrap();
    assert_eq!(log.rotate().unwrap(), 9);
    let lsn = append(&log, 3).unwrap();
    log.commit(lsn, Commit::Synced).unwrap();
    log
}

#[test]
fn records_are_read_across_files() {
    let disk = mem();
    let log = three_files(&disk);
    assert_eq!(wal_files(&disk), [1, 2, 3]);
    assert_eq!(log.stats().files, 3);
    assert_eq!(log.stats().bytes, 3 * (64 << 10));
    for from in 1..=13 {
        let records = read(&disk, from).unwrap();
        assert_eq!(records.len() as u64, 13 - from);
        check(&records, from);
    }
}

#[test]
fn rotating_without_a_new_record_keeps_the_file() {
    let disk = mem();
    let log = three_files(&disk);
    assert_eq!(log.rotate().unwrap(), 12);
    assert_eq!(log.bytes_since_rotate(), 0);
    log.seal().unwrap();
    assert_eq!(log.rotate().unwrap(), 12);
    assert_eq!(wal_files(&disk), [1, 2, 3, 4]);
}

#[test]
fn only_files_whose_every_record_is_covered_are_removed() {
    let disk = mem();
    let log = three_files(&disk);
    for (lsn, left) in [(3, vec![1, 2, 3]), (4, vec![2, 3]), (8, vec![2, 3]), (100, vec![3])] {
        log.remove_through(lsn).unwrap();
        assert_eq!(wal_files(&disk), left);
    }
    assert_eq!(log.stats().files, 1);
    check(&read(&disk, 10).unwrap(), 10);
    let said = corruption(read(&disk, 9));
    assert!(said.contains("begins with record 10") && said.contains("00000002.wal is missing"), "{said}");
}

#[test]
fn files_left_over_from_before_are_removed_too() {
    let disk = mem();
    drop(three_files(&disk));
    let log = scan(&disk, 10).unwrap().into_log(Poison::new()).unwrap();
    assert_eq!(wal_files(&disk), [1, 2, 3, 4]);
    assert_eq!((log.last_lsn(), log.durable_lsn()), (12, 12));
    log.remove_through(12).unwrap();
    assert_eq!(wal_files(&disk), [4]);
}

#[test]
fn a_missing_file_is_a_gap_unless_nobody_needs_it() {
    let disk = mem();
    drop(three_files(&disk));
    disk.remove(&names::wal(2)).unwrap();
    let said = corruption(read(&disk, 4));
    assert!(said.contains("wal/00000003.wal") && said.contains("00000002.wal is missing"), "{said}");
    check(&read(&disk, 10).unwrap(), 10);
}

#[test]
fn a_log_that_ends_before_the_rest_of_the_store_is_refused() {
    let disk = mem();
    drop(three_files(&disk));
    assert_eq!(read(&disk, 13).unwrap(), []);
    let said = corruption(read(&disk, 14));
    assert!(said.contains("ends with record 12") && said.contains("got to 13"), "{said}");
    corruption(scan(&disk, 14).unwrap().into_log(Poison::new()));
    corruption(read(&disk, u64::MAX));
}

#[test]
fn a_file_swapped_for_an_older_copy_of_itself_is_seen() {
    let disk = mem();
    let log = create(&disk);
    append(&log, 4).unwrap();
    log.rotate().unwrap();
    append(&log, 1).unwrap();
    log.commit(5, Commit::Synced).unwrap();
    let older = content(&open_file(&disk, 2));
    append(&log, 1).unwrap();
    log.rotate().unwrap();
    assert_eq!(read(&disk, 1).unwrap().len(), 6);
    open_file(&disk, 2).write_at(0, &older).unwrap();
    let said = corruption(read(&disk, 1));
    assert!(said.contains("record 6 cannot be read here"), "{said}");
}

#[test]
fn a_file_of_another_store_is_refused() {
    let (disk, other) = (mem(), mem());
    drop(three_files(&disk));
    Log::create(Arc::clone(&other), [9; 16], Poison::new()).unwrap();
    open_file(&disk, 2).write_at(0, &content(&open_file(&other, 1))[..4096]).unwrap();
    let said = corruption(read(&disk, 1));
    assert!(said.contains("belongs to store 0909"), "{said}");
}

#[test]
fn a_file_that_continues_from_another_place_is_refused() {
    type Change = fn(&mut FileHeader);
    let changes: [Change; 4] = [|h| h.prev_end += 1, |h| h.prev_chain ^= 1, |h| h.first_lsn += 1, |h| h.prev_file -= 1];
    for change in changes {
        let disk = mem();
        three_files(&disk).rotate().unwrap();
        // Without groups, whose chain would break as well.
        let file = open_file(&disk, 4);
        let Head::Whole(mut header, _) = FileHeader::decode(content(&file)[..4096].try_into().unwrap()) else {
            panic!()
        };
        change(&mut header);
        file.write_at(0, &header.encode().0).unwrap();
        corruption(read(&disk, 1));
    }
}

#[test]
fn a_renamed_file_is_refused() {
    let disk = mem();
    drop(three_files(&disk));
    disk.rename(&names::wal(3), &names::wal(7)).unwrap();
    assert!(corruption(read(&disk, 1)).contains("was written as wal/00000003.wal"));
}

#[test]
fn a_newer_format_is_named_and_refused() {
    let disk = mem();
    drop(three_files(&disk));
    open_file(&disk, 3).write_at(8, &2u16.to_le_bytes()).unwrap();
    match read(&disk, 1) {
        Err(Error::FormatTooNew { file, found: 2, supported: 1 }) => assert_eq!(file, "wal/00000003.wal"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_that_are_no_log_files_are_left_alone() {
    let disk = mem();
    drop(three_files(&disk));
    for name in ["wal/.DS_Store", "wal/00000009.wal.tmp", "wal/9.wal", "wal/old.wal"] {
        disk.create(name).unwrap();
    }
    assert_eq!(reopen(&disk).last_lsn(), 12);
    assert!(disk.open("wal/.DS_Store").is_ok());
}

#[test]
fn a_file_that_never_got_a_header_is_passed_over_and_its_number_not_used_again() {
    let whole = FileHeader { uuid: UUID, no: 4, first_lsn: 13, prev_file: 3, prev_end: 0, prev_chain: 0, salt: 0 };
    let torn = [&[][..], &[0; 70_000], &whole.encode().0[..100], &whole.encode().0[..4095]];
    for bytes in torn {
        let disk = mem();
        drop(three_files(&disk));
        disk.create(&names::wal(4)).unwrap().write_at(0, bytes).unwrap();
        let log = reopen(&disk);
        assert_eq!(wal_files(&disk), [1, 2, 3, 5]);
        append(&log, 1).unwrap();
        log.commit(13, Commit::Synced).unwrap();
        // As if its removal had not reached the disk.
        disk.create(&names::wal(4)).unwrap();
        let records = read(&disk, 1).unwrap();
        assert_eq!(records.len(), 13);
        check(&records, 1);
    }
}

#[test]
fn a_damaged_header_is_seen_if_records_depend_on_it() {
    for no in 1..=3 {
        let disk = mem();
        drop(three_files(&disk));
        open_file(&disk, no).write_at(20, b"!").unwrap();
        let said = corruption(read(&disk, 1));
        assert!(said.contains(&format!("{:08}.wal", no)), "{said}");
        assert_eq!(read(&disk, 10).is_ok(), no != 3);
    }
}

#[test]
fn a_store_without_a_log_is_refused_and_creating_it_again_works() {
    let disk = mem();
    assert!(scan(&disk, 1).is_err());
    disk.create_dir("wal").unwrap();
    assert!(corruption(read(&disk, 1)).contains("no log file"));
    disk.create(&names::wal(1)).unwrap().write_at(0, b"half").unwrap();
    disk.create(&names::wal(2)).unwrap();
    let log = create(&disk);
    assert_eq!(wal_files(&disk), [1]);
    append(&log, 1).unwrap();
    log.commit(1, Commit::Synced).unwrap();
    check(&read(&disk, 1).unwrap(), 1);
}

#[test]
fn the_last_number_a_file_can_have_is_refused_without_a_panic() {
    for no in [u64::MAX, u64::MAX - 1] {
        let disk = mem();
        drop(create(&disk));
        disk.create(&names::wal(no)).unwrap();
        corruption(scan(&disk, 1));
    }
}

#[test]
fn replay_starts_over_and_stops_at_the_callers_error() {
    #[derive(Debug)]
    enum Mine {
        Enough(u64),
        Log(#[expect(dead_code, reason = "shown if the test fails")] Error),
    }
    impl From<Error> for Mine {
        fn from(error: Error) -> Self {
            Mine::Log(error)
        }
    }
    let disk = mem();
    drop(three_files(&disk));
    let mut scan = scan(&disk, 2).unwrap();
    for stop in [5, 11] {
        let stopped = scan.replay(|record| if record.lsn == stop { Err(Mine::Enough(stop)) } else { Ok(()) });
        assert!(matches!(stopped, Err(Mine::Enough(at)) if at == stop), "{stopped:?}");
        assert_eq!(scan.next_lsn(), 2);
    }
    let mut seen = 0;
    scan.replay::<Error>(|record| {
        seen += 1;
        let mut head = [0; 8];
        disk.open(record.file)?.read_at(record.offset, &mut head)?;
        assert_eq!((head[0] as usize, head[4]), (record.body.len(), record.kind));
        Ok(())
    })
    .unwrap();
    assert_eq!((seen, scan.next_lsn()), (11, 13));
}
