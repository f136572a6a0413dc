//! Whoever waits first writes for all: the real `wal/src/log`, on the simulated disk.
//!
//! Left out: rotation, which has the gate; records larger than a group.

use crate::log::{Commit, Log, LogScan, Record};
use crate::model::check;
use lodestore_wal::disk::{CrashMode, SimDisk};
use lodestore_wal::{Disk, Error, Poison};
use loom::thread;
use std::sync::Arc;

const UUID: [u8; 16] = *b"a store to model";

/// The records that a power loss leaves, in order.
fn survivors(disk: &SimDisk) -> Vec<u64> {
    let disk: Arc<dyn Disk> = disk.reboot(CrashMode::KeepNothing, 1);
    let mut lsns = Vec::new();
    let mut scan = LogScan::open(disk, UUID, 1).expect("a prefix of the log");
    let noted = scan.replay::<Error>(|Record { lsn, body, .. }| {
        assert_eq!(body, [lsn as u8; 3]);
        lsns.push(lsn);
        Ok(())
    });
    noted.expect("a prefix of the log");
    lsns
}

/// What happens beside the writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// The power fails when the first record is acknowledged.
    PowerLoss,
    /// And before that the first sync does.
    FailedSync,
}

/// Two writers and a sealing beside them. What is acknowledged survives a power loss at that moment, and all if there is
/// none; who is not acknowledged is told.
pub fn commit(beside: Beside) {
    check(move || {
        let disk = SimDisk::new(1);
        let log = Log::create(disk.clone(), UUID, Poison::new()).expect("an empty disk");
        if beside == Beside::FailedSync {
            disk.fail_sync_at(disk.syncs() + 1);
        }
        let store = Arc::new((disk, log));
        let write = || {
            let store = store.clone();
            move || {
                let (disk, log) = &*store;
                let sequenced = log.sequence(1, 3, |log| log.append(1, 0, &[&[log.next_lsn() as u8; 3]]));
                let acknowledged = sequenced.and_then(|lsn| log.commit(lsn, Commit::Synced).map(|()| lsn));
                if beside == Beside::Nothing {
                    acknowledged.expect("nothing fails");
                } else if let Ok(lsn) = acknowledged {
                    assert!(survivors(disk).contains(&lsn), "{lsn} was acknowledged");
                }
            }
        };
        let threads = [thread::spawn(write()), thread::spawn(write())];
        assert!(store.1.seal().is_ok() || beside != Beside::Nothing);
        threads.into_iter().for_each(|thread| thread.join().expect("a writer failed"));
        assert!(beside != Beside::Nothing || survivors(&store.0) == [1, 2]);
    });
}
