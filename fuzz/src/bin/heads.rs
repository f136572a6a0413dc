//! Any bytes as `heads`: reading a collection's counters must end in counters, in nothing, or in an error.
#![cfg_attr(fuzzing, no_main)]

use lodestore_engine::Heads;
use lodestore_fuzz::{disk_with, reseal, switch, with_switch};
use lodestore_wal::{Disk, names};

lodestore_fuzz::target!(read, seeds);

const RECORD: usize = 128;

fn read(input: &[u8]) {
    let Some((reseal, mut bytes)) = switch(input) else { return };
    if reseal {
        for start in (0..bytes.len() / RECORD * RECORD).step_by(RECORD) {
            reseal::block(&mut bytes, start, RECORD);
        }
    }
    let disk = disk_with(names::HEADS, &bytes);
    let heads = Heads::new(disk.open(names::HEADS).expect("it was just made"));
    let within = (bytes.len() / RECORD) as u32;
    for id in (0..within.min(70)).chain([within, u32::MAX]) {
        let found = heads.read(id);
        assert!(id < within || matches!(found, Ok(None)), "there is no record {id}: {found:?}");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut bytes = vec![0; 32 * RECORD];
    for id in [0u32, 2, 31] {
        let at = id as usize * RECORD;
        bytes[at..at + 4].copy_from_slice(b"HEAD");
        bytes[at + 4..at + 8].copy_from_slice(&id.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&[9, 0, 0, 0, 1, 0, 0, 0]);
        reseal::block(&mut bytes, at, RECORD);
    }
    vec![with_switch(true, &bytes), with_switch(false, &bytes)]
}

#[test]
fn the_seeds_are_read() {
    for input in seeds() {
        let disk = disk_with(names::HEADS, &switch(&input).unwrap().1);
        let heads = Heads::new(disk.open(names::HEADS).unwrap());
        assert_eq!(heads.read(2).unwrap().unwrap().next_slot, 9);
        assert_eq!(heads.read(3).unwrap(), None);
        read(&input);
    }
}
