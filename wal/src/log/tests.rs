//! Tests of the log as a whole.

use super::*;
use crate::disk::{DiskFile, MemDisk};

mod append;
#[cfg(feature = "sim")]
mod crash;
mod damage;
#[cfg(feature = "sim")]
mod faults;
mod files;
mod golden;

const UUID: [u8; 16] = *b"a store for test";

/// A record read back, with its own copy of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    lsn: u64,
    kind: u8,
    flags: u8,
    body: Vec<u8>,
    ends_group: bool,
}

fn mem() -> Arc<dyn Disk> {
    Arc::new(MemDisk::new())
}

fn create(disk: &Arc<dyn Disk>) -> Log {
    Log::create(Arc::clone(disk), UUID, Poison::new()).unwrap()
}

fn scan(disk: &Arc<dyn Disk>, from_lsn: u64) -> Result<LogScan> {
    LogScan::open(Arc::clone(disk), UUID, from_lsn)
}

fn reopen(disk: &Arc<dyn Disk>) -> Log {
    scan(disk, 1).unwrap().into_log(Poison::new()).unwrap()
}

fn read(disk: &Arc<dyn Disk>, from_lsn: u64) -> Result<Vec<Read>> {
    let mut records = Vec::new();
    let mut scan = scan(disk, from_lsn)?;
    scan.replay::<Error>(|Record { lsn, kind, flags, body, ends_group, .. }| {
        records.push(Read { lsn, kind, flags, body: body.to_vec(), ends_group });
        Ok(())
    })?;
    assert_eq!(scan.next_lsn(), records.last().map_or(from_lsn, |record| record.lsn + 1));
    Ok(records)
}

/// The body of record `lsn` in these tests: length and content depend on the number alone.
fn body(lsn: u64) -> Vec<u8> {
    (0..lsn * 37 % 101).map(|at| (at * 7 + lsn) as u8).collect()
}

/// Appends a batch of `count` records with the bodies and kinds that go with their LSNs. Returns the last LSN.
fn append(log: &Log, count: usize) -> Result<u64> {
    log.sequence(count, count * 101, |appender| {
        for _ in 0..count {
            let lsn = appender.next_lsn();
            let body = body(lsn);
            let (front, back) = body.split_at(body.len() / 3);
            assert_eq!(appender.append(lsn as u8, (lsn % 2) as u8, &[front, &[], back]), lsn);
        }
        appender.next_lsn() - 1
    })
}

/// Checks that `records` are those with LSNs from `first` on, as [`append`] wrote them.
fn check(records: &[Read], first: u64) {
    for (record, lsn) in records.iter().zip(first..) {
        assert_eq!(record.lsn, lsn);
        assert_eq!((record.kind, record.flags), (lsn as u8, (lsn % 2) as u8));
        assert_eq!(record.body, body(lsn), "record {lsn}");
    }
}

fn open_file(disk: &Arc<dyn Disk>, no: u64) -> Arc<dyn DiskFile> {
    disk.open(&names::wal(no)).unwrap()
}

fn content(file: &Arc<dyn DiskFile>) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn wal_files(disk: &Arc<dyn Disk>) -> Vec<u64> {
    disk.list(names::WAL_DIR).unwrap().iter().filter_map(|name| names::parse_wal(name)).collect()
}

fn corruption(result: Result<impl std::fmt::Debug>) -> String {
    match result {
        Err(error @ Error::Corrupt { .. }) => error.to_string(),
        other => panic!("expected damage to be seen, got {other:?}"),
    }
}
