//! A disk that fails: what the log promises, and that it stops.

use super::*;
use crate::disk::{CrashMode, SimDisk};

fn sim() -> (Arc<SimDisk>, Arc<dyn Disk>) {
    let disk = SimDisk::new(1);
    (Arc::clone(&disk), disk)
}

fn poisoned(result: Result<impl std::fmt::Debug>) -> bool {
    matches!(result, Err(Error::Poisoned { .. }))
}

#[test]
fn a_full_disk_shows_before_anything_has_changed() {
    let (sim, disk) = sim();
    let log = create(&disk);
    let lsn = append(&log, 3).unwrap();
    sim.no_space_after(8192);
    let stats = log.stats();
    for _ in 0..2 {
        let refused = log.sequence(1, 200_000, |_| panic!("nothing may be appended"));
        assert!(matches!(refused, Err::<(), _>(Error::NoSpace { .. })), "{refused:?}");
    }
    assert_eq!((log.last_lsn(), log.stats()), (3, stats));
    log.commit(lsn, Commit::Synced).unwrap();

    // What is left can still be used to the last block.
    let body = [1; 30_000];
    let room = |log: &Log| {
        let mut count = 0;
        while log.sequence(1, body.len(), |appender| appender.append(1, 0, &[&body])).is_ok() {
            log.commit(log.last_lsn(), Commit::Synced).unwrap();
            count += 1;
        }
        count
    };
    assert_eq!(room(&log), 2);
    assert_eq!(log.stats().bytes, 72 << 10);

    sim.no_space_after(u64::MAX);
    let lsn = append(&log, 1).unwrap();
    log.commit(lsn, Commit::Synced).unwrap();
    assert_eq!(read(&disk, 1).unwrap().len(), 6);
}

#[test]
fn rotating_and_sealing_on_a_full_disk_change_nothing() {
    let (sim, disk) = sim();
    let log = create(&disk);
    append(&log, 3).unwrap();
    sim.no_space_after(0);
    for _ in 0..2 {
        assert!(matches!(log.rotate(), Err(Error::NoSpace { .. })));
        assert_eq!(wal_files(&disk), [1]);
    }
    while append(&log, 1).is_ok() {
        log.commit(log.last_lsn(), Commit::Synced).unwrap();
    }
    assert!(matches!(log.seal(), Err(Error::NoSpace { .. })));
    let last = log.last_lsn();
    assert_eq!(read(&disk, 1).unwrap().len() as u64, last);

    sim.no_space_after(u64::MAX);
    log.seal().unwrap();
    assert_eq!(log.rotate().unwrap(), last);
    append(&log, 1).unwrap();
    log.commit(last + 1, Commit::Synced).unwrap();
    check(&read(&disk, 1).unwrap(), 1);
    assert_eq!(reopen(&disk).last_lsn(), last + 1);
}

#[test]
fn a_failed_sync_is_final() {
    let (sim, disk) = sim();
    let log = create(&disk);
    let kept = append(&log, 2).unwrap();
    log.commit(kept, Commit::Synced).unwrap();
    sim.fail_sync_at(sim.syncs() + 1);
    let lost = append(&log, 2).unwrap();
    assert!(matches!(log.commit(lost, Commit::Synced), Err(Error::Io { .. })));

    log.commit(kept, Commit::Synced).unwrap();
    let steps = sim.steps();
    for how in [Commit::Written, Commit::Synced] {
        let refused = log.commit(lost, how).unwrap_err().to_string();
        assert!(refused.contains("sync wal/00000001.wal"), "it names the first failure: {refused}");
    }
    assert!(poisoned(append(&log, 1)) && poisoned(log.seal()) && poisoned(log.rotate()));
    assert!(poisoned(log.remove_through(1)));
    assert_eq!(sim.steps(), steps, "nothing was written or synced any more");
    assert_eq!(log.durable_lsn(), kept);
    let records = read(&disk, 1).unwrap();
    assert!([2, 4].contains(&records.len()));
    check(&records, 1);
}

#[test]
fn what_a_failed_sync_lost_is_not_built_upon() {
    for seed in 0..40 {
        let sim = SimDisk::new(seed);
        let disk: Arc<dyn Disk> = Arc::clone(&sim) as _;
        let log = create(&disk);
        sim.fail_sync_at(sim.syncs() + 1);
        assert!(log.commit(append(&log, 30).unwrap(), Commit::Synced).is_err());
        // The system's cache still shows the record, for as long as it likes.
        let sim = sim.reboot(CrashMode::ProcessKill, seed);
        let disk: Arc<dyn Disk> = Arc::clone(&sim) as _;
        let log = reopen(&disk);
        let last = append(&log, 1).unwrap();
        log.commit(last, Commit::Synced).unwrap();
        let disk: Arc<dyn Disk> = sim.reboot(CrashMode::PowerLoss, seed);
        let records = read(&disk, 1).unwrap();
        assert_eq!(records.len() as u64, last);
        check(&records, 1);
    }
}

#[test]
fn a_panic_while_writing_is_final() {
    let poison = Poison::new();
    let file = mem().create("f").unwrap();
    let seat = Seat::new(Writer::new(file, 1, 0, 1, 0), poison.clone());
    let mut turn = seat.take();
    turn.begin();
    turn.end();
    drop(turn);
    assert_eq!(poison.reason(), None);
    let mut turn = seat.take();
    turn.begin();
    drop(turn);
    assert!(poison.reason().is_some_and(|why| why.contains("panicked")));
}

#[test]
fn a_failed_write_is_final_and_all_who_wait_hear_of_it() {
    let (sim, disk) = sim();
    let log = create(&disk);
    sim.fail_write_at(sim.writes() + 1);
    let results = std::thread::scope(|scope| {
        let wait = |_| scope.spawn(|| log.commit(append(&log, 1)?, Commit::Synced));
        let threads: Vec<_> = (0..6).map(wait).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(results.iter().all(Result::is_err), "{results:?}");
    assert_eq!(results.into_iter().filter(|result| matches!(result, Err(Error::Io { .. }))).count(), 1);
    assert_eq!(log.durable_lsn(), 0);
    // The write that failed may have got anywhere.
    check(&read(&disk, 1).unwrap(), 1);
}

#[test]
fn a_failure_elsewhere_in_the_store_stops_the_log() {
    let disk = mem();
    let poison = Poison::new();
    let log = Log::create(disk, UUID, poison.clone()).unwrap();
    append(&log, 1).unwrap();
    poison.set(&"the checkpoint failed");
    assert!(poisoned(log.commit(1, Commit::Written)) && poisoned(append(&log, 1)));
    assert_eq!(log.written_lsn(), 0);
}

#[test]
fn a_rotation_that_fails_half_way_is_final_and_can_be_reopened() {
    // The old file is synced already; then come the header's write, its sync, and the directory's.
    for fault in 0..3 {
        let (sim, disk) = sim();
        let log = create(&disk);
        let last = append(&log, 2).unwrap();
        log.commit(last, Commit::Synced).unwrap();
        match fault {
            0 => sim.fail_write_at(sim.writes() + 1),
            1 => sim.fail_sync_at(sim.syncs() + 1),
            _ => sim.fail_sync_at(sim.syncs() + 2),
        }
        assert!(matches!(log.rotate(), Err(Error::Io { .. })));
        assert!(poisoned(append(&log, 1)));
        for seed in 0..20 {
            let mode = if seed == 0 { CrashMode::ProcessKill } else { CrashMode::PowerLoss };
            let disk: Arc<dyn Disk> = sim.reboot(mode, seed);
            let log = reopen(&disk);
            assert_eq!(log.last_lsn(), 2);
            append(&log, 1).unwrap();
            log.commit(3, Commit::Synced).unwrap();
            check(&read(&disk, 1).unwrap(), 1);
        }
    }
}
