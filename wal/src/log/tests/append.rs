//! Appending and committing while all goes well.

use super::*;
use crate::disk::OsDisk;

#[test]
fn what_is_committed_is_read_back() {
    let disk = mem();
    let log = create(&disk);
    for count in [1, 3, 1, 20] {
        let lsn = append(&log, count).unwrap();
        log.commit(lsn, Commit::Synced).unwrap();
        assert_eq!((log.last_lsn(), log.written_lsn(), log.durable_lsn()), (lsn, lsn, lsn));
    }
    let records = read(&disk, 1).unwrap();
    assert_eq!(records.len(), 25);
    check(&records, 1);
    let ends: Vec<u64> = records.iter().filter(|record| record.ends_group).map(|record| record.lsn).collect();
    assert_eq!(ends, [1, 4, 5, 25]);

    check(&read(&disk, 12).unwrap(), 12);
    assert_eq!(read(&disk, 26).unwrap(), []);
}

#[test]
fn an_empty_log_is_small_and_reads_as_empty() {
    let disk = mem();
    let log = create(&disk);
    assert!(log.stats().bytes <= 64 << 10);
    assert_eq!(log.stats().bytes, open_file(&disk, 1).len().unwrap());
    assert_eq!((log.last_lsn(), log.durable_lsn(), log.bytes_since_rotate()), (0, 0, 0));
    log.commit(0, Commit::Synced).unwrap();
    assert_eq!(log.stats().syncs, 0);
    assert_eq!(read(&disk, 1).unwrap(), []);
    assert_eq!(log.rotate().unwrap(), 0);
    assert_eq!(wal_files(&disk), [1]);
}

#[test]
fn written_is_not_synced() {
    let disk = mem();
    let log = create(&disk);
    let lsn = append(&log, 2).unwrap();
    assert_eq!(log.written_lsn(), 0);
    assert!(log.stats().waiting > 0);
    log.commit(lsn, Commit::Written).unwrap();
    assert_eq!((log.written_lsn(), log.durable_lsn(), log.stats().syncs), (2, 0, 0));
    assert_eq!(read(&disk, 1).unwrap().len(), 2);
    log.commit(1, Commit::Synced).unwrap();
    assert_eq!((log.durable_lsn(), log.stats().syncs, log.stats().groups), (2, 1, 1));
}

#[test]
fn groups_are_dense_unless_synced_between() {
    let disk = mem();
    let log = create(&disk);
    let used = |how| {
        log.commit(append(&log, 1).unwrap(), how).unwrap();
        log.bytes_since_rotate()
    };
    let first = used(Commit::Written);
    assert!(first < 300);
    assert!(used(Commit::Written) < 600);
    assert_eq!(used(Commit::Synced), 4096);
    assert!(used(Commit::Written) > 4096);
    check(&read(&disk, 1).unwrap(), 1);
    assert_eq!(read(&disk, 1).unwrap().len(), 4);
}

#[test]
fn calls_share_a_group_and_a_batch_is_never_split() {
    let disk = mem();
    let log = create(&disk);
    append(&log, 2).unwrap();
    let lsn = append(&log, 3).unwrap();
    log.commit(lsn, Commit::Synced).unwrap();
    assert_eq!(log.stats().groups, 1);

    // Far more than calls share: still one group each.
    let large = vec![7; 3 << 20];
    for _ in 0..2 {
        log.sequence(2, 6 << 20, |appender| {
            appender.append(9, 0, &[&large]);
            appender.append(9, 0, &[&large]);
        })
        .unwrap();
    }
    log.commit(log.last_lsn(), Commit::Synced).unwrap();
    assert_eq!((log.stats().groups, log.stats().syncs), (3, 2));
    let records = read(&disk, 6).unwrap();
    assert_eq!(records.iter().map(|record| record.ends_group).collect::<Vec<_>>(), [false, true, false, true]);
    assert!(records.iter().all(|record| record.body == large));
}

#[test]
fn the_largest_group_fits_and_one_more_byte_does_not() {
    let disk = mem();
    let log = create(&disk);
    let most = MAX_GROUP - 64 - 8;
    for (records, bytes) in [(1, most + 1), (2, most), (usize::MAX, 0), (0, usize::MAX)] {
        let refused = log.sequence(records, bytes, |_| unreachable!());
        assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    }
    let body = vec![1; most];
    log.sequence(1, most, |appender| appender.append(1, 0, &[&body])).unwrap();
    log.commit(1, Commit::Synced).unwrap();
    assert_eq!(read(&disk, 1).unwrap()[0].body, body);
}

#[test]
fn a_panic_while_appending_leaves_nothing_of_the_batch() {
    let disk = mem();
    let log = create(&disk);
    append(&log, 2).unwrap();
    for asked in [1, 9] {
        let attempt = std::panic::AssertUnwindSafe(|| {
            log.sequence(asked, 4, |appender| {
                appender.append(1, 0, &[b"half"]);
                appender.append(1, 0, &[b"too much"]);
            })
        });
        assert!(std::panic::catch_unwind(attempt).is_err());
    }
    log.sequence(3, 100, |_| ()).unwrap();
    assert_eq!(append(&log, 1).unwrap(), 3);
    log.commit(3, Commit::Synced).unwrap();
    let records = read(&disk, 1).unwrap();
    assert_eq!(records.len(), 3);
    check(&records, 1);
}

#[test]
fn a_volatile_log_only_counts() {
    let log = Log::volatile();
    assert_eq!(append(&log, 3).unwrap(), 3);
    log.commit(3, Commit::Synced).unwrap();
    log.seal().unwrap();
    assert_eq!((log.last_lsn(), log.written_lsn(), log.durable_lsn()), (3, 3, 3));
    assert_eq!(log.rotate().unwrap(), 3);
    log.remove_through(3).unwrap();
    assert_eq!(log.stats(), LogStats::default());
    let refused = log.sequence(1, MAX_GROUP, |_| ());
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
}

#[test]
fn threads_that_commit_together_share_syncs_and_all_find_their_records() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(dir.path()).unwrap());
    let log = create(&disk);
    let (threads, rounds) = (8, 150);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let log = &log;
            scope.spawn(move || {
                for round in 0..rounds {
                    let lsn = append(log, 1 + (thread + round) % 3).unwrap();
                    let how = if round % 5 == 0 { Commit::Written } else { Commit::Synced };
                    log.commit(lsn, how).unwrap();
                    assert!(log.written_lsn() >= lsn);
                    assert!(how == Commit::Written || log.durable_lsn() >= lsn);
                }
            });
        }
    });
    let last = log.last_lsn();
    log.commit(last, Commit::Synced).unwrap();
    let stats = log.stats();
    assert!(stats.syncs <= (threads * rounds) as u64 && stats.groups >= stats.syncs, "{stats:?}");
    assert_eq!(stats.waiting, 0);
    drop(log);

    let records = read(&disk, 1).unwrap();
    assert_eq!(records.len() as u64, last);
    check(&records, 1);
}

#[test]
fn one_sync_serves_all_who_wait_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(dir.path()).unwrap());
    let log = create(&disk);
    let (threads, rounds) = (8, 20);
    let together = std::sync::Barrier::new(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let lsn = append(&log, 1).unwrap();
                    together.wait();
                    log.commit(lsn, Commit::Synced).unwrap();
                    together.wait();
                }
            });
        }
    });
    assert_eq!((log.stats().syncs, log.stats().groups), (rounds, rounds));
}

#[test]
fn room_taken_ahead_stays_close_to_what_is_used() {
    let disk = mem();
    let log = create(&disk);
    let body = [3; 1000];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let lsn = log.sequence(1, 1000, |appender| appender.append(1, 0, &[&body])).unwrap();
                    log.commit(lsn, Commit::Written).unwrap();
                }
            });
        }
    });
    let (stats, used) = (log.stats(), log.bytes_since_rotate());
    assert!(used < 8000 * 1100, "{used}");
    assert!(stats.bytes <= used * 2 + (64 << 10), "{stats:?} for {used} bytes");
}
