//! Any bytes as SUPER: opening it must end in a state or in an error, and a state must be written and read again.
#![cfg_attr(fuzzing, no_main)]

use lodestore_engine::{Super, Superblock};
use lodestore_fuzz::{PAGE, UUID, disk_with, get, reseal, switch, with_switch};
use lodestore_wal::{MemDisk, names};

lodestore_fuzz::target!(open, seeds);

fn open(input: &[u8]) {
    let Some((reseal, mut bytes)) = switch(input) else { return };
    if reseal {
        reseal::block(&mut bytes, 0, PAGE);
        reseal::block(&mut bytes, PAGE, PAGE);
    }
    let disk = disk_with(names::SUPER, &bytes);
    let Ok((superblock, mut state)) = Superblock::open(&*disk) else { return };
    if state.seq == u64::MAX {
        // Nobody writes that often; there is no next number.
        return;
    }
    superblock.write(&mut state).expect("memory does not fail");
    assert_eq!(Superblock::open(&*disk).expect("it was just written").1, state);
}

fn seeds() -> Vec<Vec<u8>> {
    let disk = MemDisk::new();
    let first = Super { uuid: UUID, seq: 1, ckpt_lsn: 5, pending: 0, done: 2, pending_len: 0, clean: true };
    Superblock::create(&disk, &first).expect("memory does not fail");
    let (superblock, mut state) = Superblock::open(&disk).expect("it was just made");
    state.pending = 3;
    superblock.write(&mut state).expect("memory does not fail");
    let bytes = get(&disk, names::SUPER);
    vec![with_switch(true, &bytes), with_switch(false, &bytes)]
}
