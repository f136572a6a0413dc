//! Any bytes as a checkpoint file, found by a recovery that expects it or does not: all of it is applied, or an error
//! says why not.
#![cfg_attr(fuzzing, no_main)]

use lodestore_engine::{Super, Superblock, recover_segments};
use lodestore_fuzz::{PAGE, UUID, put, reseal, switch, with_switch};
use lodestore_wal::names::{self, Part};
use lodestore_wal::{Disk, MemDisk};

lodestore_fuzz::target!(recover, seeds);

const NO: u64 = 1;
const LSN: u64 = 9;

thread_local! {
    /// Of two collections, all of whose files are there. Making them takes longer than all the rest.
    static DISK: MemDisk = {
        let disk = MemDisk::new();
        disk.create_dir(names::CKPT_DIR).expect("a directory in memory");
        disk.create_dir(names::COLLECTIONS_DIR).expect("a directory in memory");
        put(&disk, names::HEADS, b"");
        for id in 0..2 {
            for part in Part::SEGMENTS {
                put(&disk, &names::part(id, 0, part), b"");
            }
        }
        disk
    };
}

fn recover(input: &[u8]) {
    let Some((reseal, mut bytes)) = switch(input) else { return };
    if reseal {
        reseal::images(&mut bytes);
    }
    DISK.with(|disk| [0, NO].into_iter().for_each(|pending| recover_on(disk, &bytes, pending)));
}

fn recover_on(disk: &MemDisk, bytes: &[u8], pending: u64) {
    for path in [names::ckpt(NO), names::SUPER.to_owned()] {
        let _ = disk.remove(&path);
    }
    put(disk, &names::ckpt(NO), bytes);
    let pending_len = if pending == 0 { 0 } else { bytes.len() as u64 };
    let ckpt_lsn = if pending == 0 { 0 } else { LSN };
    let first = Super { uuid: UUID, seq: 1, ckpt_lsn, pending, done: 0, pending_len, clean: true };
    Superblock::create(disk, &first).expect("memory does not fail");
    let (superblock, mut state) = Superblock::open(disk).expect("it was just made");
    match recover_segments(disk, &superblock, &mut state) {
        Ok(last) => {
            assert_eq!((last, state.pending), (NO, 0));
            assert!(disk.list(names::CKPT_DIR).expect("a directory").is_empty(), "it is not needed any more");
            assert_eq!(Superblock::open(disk).expect("it holds").1, state);
        }
        // What was promised stays until somebody has looked at it.
        Err(_) => assert_eq!(disk.list(names::CKPT_DIR).expect("a directory").len(), 1),
    }
}

/// Two images, of the heads and of a collection's links.
fn seeds() -> Vec<Vec<u8>> {
    let rows: [(u64, u32, u32); 2] = [(0, 0, 5), (2, 1, 1)];
    let mut bytes = vec![0; 5 * PAGE];
    bytes[..10].copy_from_slice(b"LODEPAGE\x01\0");
    bytes[16..32].copy_from_slice(&UUID);
    bytes[32..40].copy_from_slice(&NO.to_le_bytes());
    bytes[40..48].copy_from_slice(&LSN.to_le_bytes());
    for (n, (page, collection, kind)) in rows.into_iter().enumerate() {
        bytes[(n + 1) * PAGE..(n + 2) * PAGE].fill(n as u8 + 1);
        let at = 3 * PAGE + n * 24;
        bytes[at..at + 8].copy_from_slice(&page.to_le_bytes());
        bytes[at + 8..at + 12].copy_from_slice(&collection.to_le_bytes());
        bytes[at + 12..at + 16].copy_from_slice(&kind.to_le_bytes());
    }
    let footer = 4 * PAGE;
    bytes[footer..footer + 8].copy_from_slice(b"LODEDONE");
    bytes[footer + 8..footer + 16].copy_from_slice(&NO.to_le_bytes());
    bytes[footer + 16..footer + 24].copy_from_slice(&2u64.to_le_bytes());
    reseal::images(&mut bytes);
    vec![with_switch(true, &bytes), with_switch(false, &bytes)]
}

#[test]
fn the_seeds_are_applied() {
    for input in seeds() {
        let (_, bytes) = switch(&input).unwrap();
        let disk = MemDisk::new();
        put(&disk, &names::ckpt(NO), &bytes);
        put(&disk, names::HEADS, b"");
        put(&disk, &names::part(1, 0, Part::Links), b"");
        let first = Super { uuid: UUID, seq: 1, ckpt_lsn: 0, pending: 0, done: 0, pending_len: 0, clean: true };
        Superblock::create(&disk, &first).unwrap();
        let (superblock, mut state) = Superblock::open(&disk).unwrap();
        recover_segments(&disk, &superblock, &mut state).unwrap();
        assert_eq!((state.ckpt_lsn, state.done), (LSN, NO));
        assert_eq!(lodestore_fuzz::get(&disk, &names::part(1, 0, Part::Links))[2 * PAGE], 2);
    }
}
