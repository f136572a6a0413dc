//! Any bytes as the catalogue of a small store: opening, reading, writing and checking must end in errors or in order.
//!
//! redb panics at some of what it reads, which the store catches. So only a panic that gets out of the store ends the run.
#![cfg_attr(fuzzing, no_main)]

use lodestore::{Collection, Store, StoreOptions};
use lodestore_fuzz::{files_of, put, reseal, switch, with_switch};
use lodestore_wal::disk::SimDisk;
use lodestore_wal::{Disk, names};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook};
use std::sync::{Arc, Once, OnceLock};

lodestore_fuzz::target!(open, seeds);

fn options() -> StoreOptions {
    Store::options().background(false).threads(1)
}

/// The files of a closed store.
fn files() -> &'static [(String, Vec<u8>)] {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let disk = SimDisk::new(1);
        let store = options().open_on(disk.clone(), "sim").expect("a new store");
        for (name, records) in [("docs", 40u64), ("more", 3)] {
            let docs = store.collection::<u64>(name).dim(2).m(2).create().expect("a new collection");
            for n in 0..records {
                let payload = vec![n as u8; (n * 37 % 900) as usize];
                docs.put(n, &[n as f32, 1.0], &payload).expect("room in memory");
            }
            docs.remove(1).expect("room in memory");
        }
        store.close().expect("memory does not fail");
        files_of(&*disk)
    })
}

fn good() -> &'static [u8] {
    let (_, bytes) = files().iter().find(|(path, _)| path == names::CATALOG).expect("every store has one");
    bytes
}

/// An input is a list of changes to the good file: where (u32), how many bytes (u8), the bytes. A length of 0 cuts the
/// file there. Whole files would be a megabyte each, nearly all of it of no interest.
fn changed(mut changes: &[u8]) -> Vec<u8> {
    let mut bytes = good().to_vec();
    while let Some((&[a, b, c, d, length], rest)) = changes.split_first_chunk::<5>() {
        let at = u32::from_le_bytes([a, b, c, d]) as usize % (bytes.len() + 1);
        let (new, rest) = rest.split_at(usize::from(length).min(rest.len()));
        changes = rest;
        if length == 0 {
            bytes.truncate(at);
            continue;
        }
        let end = (at + new.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&new[..end - at]);
    }
    bytes
}

fn open(input: &[u8]) {
    static QUIET: Once = Once::new();
    // libFuzzer's own hook takes every panic for a crash.
    QUIET.call_once(|| set_hook(Box::new(|_| {})));
    let Some((reseal, changes)) = switch(input) else { return };
    let mut bytes = changed(&changes);
    if reseal {
        reseal::catalogue(&mut bytes);
    }
    let disk = SimDisk::new(1);
    disk.create_dir(names::CKPT_DIR).expect("a directory in memory");
    for (path, good) in files() {
        put(&*disk, path, if path == names::CATALOG { &bytes } else { good });
    }
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| use_it(disk))) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        eprintln!("a panic got out of the store: {:?}", text.or_else(|| panic.downcast_ref::<&str>().copied()));
        // Whoever runs this says how to see it again.
        resume_unwind(panic);
    }
}

/// Errors are answers here, so none is looked at.
fn use_it(disk: Arc<SimDisk>) {
    let Ok(store) = options().create(false).open_on(disk, "sim") else { return };
    let _ = store.collections();
    for name in ["docs", "more"] {
        let Ok(docs) = store.collection::<u64>(name).open() else { continue };
        use_collection(&docs);
    }
    let _ = store.verify();
    let _ = store.close();
}

fn use_collection(docs: &Collection<u64>) {
    if docs.dim() != 2 {
        return;
    }
    for key in [0, 7, 39, 1000] {
        let _ = docs.get(key);
    }
    let _ = docs.search(&[1.0, 1.0]).k(5).with_payloads().run();
    let _ = docs.put(5, &[2.0, 2.0], b"new");
    let _ = docs.remove(6);
    let _ = docs.get(5);
}

/// No change, and changes at the beginning of every page that holds something.
fn seeds() -> Vec<Vec<u8>> {
    let mut inputs = vec![with_switch(false, b""), with_switch(true, b"")];
    for at in (0..good().len()).step_by(4096) {
        if good()[at..].iter().take(4096).any(|&byte| byte != 0) {
            let change = [&(at as u32 + 4).to_le_bytes()[..], &[4, 0, 1, 2, 3]].concat();
            inputs.push(with_switch(true, &change));
        }
    }
    inputs
}

#[test]
fn the_store_is_whole() {
    let disk = SimDisk::new(1);
    disk.create_dir(names::CKPT_DIR).unwrap();
    files().iter().for_each(|(path, bytes)| put(&*disk, path, bytes));
    let store = options().create(false).open_on(disk, "sim").unwrap();
    assert_eq!(store.collection::<u64>("docs").open().unwrap().payload(3).unwrap().unwrap().len(), 111);
    assert!(store.verify().unwrap().ok());
    // Put right, what is right stays so.
    let mut again = good().to_vec();
    reseal::catalogue(&mut again);
    assert!(again == good());
}
