//! Any bytes as the files of a log: reading them back must end in records or in an error, and what was read once must be
//! read again after the log went on.
#![cfg_attr(fuzzing, no_main)]

use lodestore_fuzz::{UUID, get, put, reseal, switch, with_switch};
use lodestore_wal::{Commit, Disk, Error, Log, LogScan, MemDisk, Poison, names};
use std::sync::Arc;

lodestore_fuzz::target!(replay, seeds);

/// What a record is known by.
type Seen = (u64, u8, Vec<u8>);

fn replay(input: &[u8]) {
    let Some((reseal, mut bytes)) = switch(input) else { return };
    let Some((cut, files)) = bytes.split_first_chunk_mut::<4>() else { return };
    let cut = (u32::from_le_bytes(*cut) as usize).min(files.len());
    let (first, second) = files.split_at_mut(cut);
    let disk = Arc::new(MemDisk::new());
    for (no, file) in [(1, first), (2, second)] {
        if reseal {
            reseal::log(file);
        }
        put(&*disk, &names::wal(no), file);
    }
    for from in [1, 3] {
        let Ok((records, scan)) = read(disk.clone(), from) else { continue };
        let Ok(log) = scan.into_log(Poison::new()) else { continue };
        let appended = log.sequence(1, 3, |log| log.append(9, 0, &[b"new"])).expect("there is room in memory");
        log.commit(appended, Commit::Synced).expect("memory does not fail");
        let (again, _) = read(disk.clone(), from).expect("what was read once, and one record more");
        assert_eq!(again[..records.len()], records);
        assert_eq!(again[records.len()..], [(appended, 9, b"new".to_vec())]);
        return;
    }
}

fn read(disk: Arc<MemDisk>, from: u64) -> Result<(Vec<Seen>, LogScan), Error> {
    let mut scan = LogScan::open(disk, UUID, from)?;
    let mut records = Vec::new();
    scan.replay(|record| {
        assert_eq!(record.lsn, from + records.len() as u64, "LSNs are dense");
        records.push((record.lsn, record.kind, record.body.to_vec()));
        Ok::<(), Error>(())
    })?;
    assert_eq!(scan.next_lsn(), from + records.len() as u64);
    Ok((records, scan))
}

/// A log of two files, in several groups, some synced and one sealed.
fn seeds() -> Vec<Vec<u8>> {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let log = Log::create(disk.clone(), UUID, Poison::new()).expect("a log in memory");
    for n in 0..12u8 {
        let body = vec![n; usize::from(n) * 5];
        log.sequence(2, 2 * body.len(), |log| {
            log.append(n % 3, 0, &[&body]);
            log.append(n % 5, 1, &[&body]);
        })
        .expect("room in memory");
        let how = if n % 4 == 0 { Commit::Synced } else { Commit::Written };
        log.commit(log.last_lsn(), how).expect("memory does not fail");
        match n {
            3 => log.seal().expect("memory does not fail"),
            7 => drop(log.rotate().expect("memory does not fail")),
            _ => {}
        }
    }
    let files = [1, 2].map(|no| {
        let mut file = get(&*disk, &names::wal(no));
        // Room taken ahead.
        file.truncate(file.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1));
        file
    });
    let input = [&(files[0].len() as u32).to_le_bytes()[..], &files[0], &files[1]].concat();
    vec![with_switch(true, &input), with_switch(false, &input)]
}

#[test]
fn the_seeds_are_whole() {
    for (input, changed) in seeds().into_iter().zip([true, false]) {
        let (reseal, bytes) = switch(&input).unwrap();
        assert_eq!(reseal, changed);
        let (cut, files) = bytes.split_first_chunk::<4>().unwrap();
        let (first, second) = files.split_at(u32::from_le_bytes(*cut) as usize);
        let disk = Arc::new(MemDisk::new());
        put(&*disk, &names::wal(1), first);
        put(&*disk, &names::wal(2), second);
        assert_eq!(read(disk, 1).unwrap().0.len(), 24);
        // Sealing what is whole changes nothing but what a seal covers: nothing.
        let mut again = first.to_vec();
        reseal::log(&mut again);
        assert!(again == first);
        replay(&input);
    }
}
