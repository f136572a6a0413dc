//! A small store of which one file is replaced by any bytes: opening, searching, writing and closing must end in errors
//! or in order, and never in a panic.
//!
//! The catalogue is left out: redb's own panics are caught there, which libFuzzer would take for crashes.
#![cfg_attr(fuzzing, no_main)]

use lodestore::{Bits, Element, Metric, Store, StoreOptions};
use lodestore_fuzz::{PAGE, files_of, put, reseal, switch, with_switch};
use lodestore_wal::disk::{CrashMode, SimDisk};
use lodestore_wal::{Disk, names};
use std::sync::{Arc, OnceLock};

lodestore_fuzz::target!(open, seeds);

const DIM: usize = 3;

fn options() -> StoreOptions {
    Store::options().background(false).threads(1)
}

/// The files of a store that was killed with a log to replay.
fn files() -> &'static [(String, Vec<u8>)] {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let sim = SimDisk::new(1);
        let store = options().open_on(sim.clone(), "sim").expect("a new store");
        let docs =
            store.collection::<u64>("docs").dim(DIM).metric(Metric::Cosine).m(2).create().expect("a new collection");
        let vector = |n: u64| [n as f32 + 1.0, 2.0, (n % 5) as f32];
        for n in 0..20 {
            docs.put(n % 15, &vector(n), b"payload").expect("room on the disk");
        }
        store.checkpoint().expect("room on the disk");
        for n in 20..30 {
            docs.put(n, &vector(n), b"").expect("room on the disk");
        }
        docs.remove(3).expect("room on the disk");
        let more = store.collection::<u64>("more").dim(9).element(Element::Bits).create().expect("a new collection");
        for n in 0..3 {
            more.put(n, Bits(&[n as u8, 1]), b"").expect("room on the disk");
        }
        let sim = sim.reboot(CrashMode::KeepAll, 1);
        files_of(&*sim)
    })
}

/// Files that an input may replace.
fn replaceable() -> impl Iterator<Item = &'static (String, Vec<u8>)> {
    files().iter().filter(|(path, _)| path != names::CATALOG)
}

fn open(input: &[u8]) {
    let Some((reseal, bytes)) = switch(input) else { return };
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let count = replaceable().count();
    let (target, good) = replaceable().nth(usize::from(which) % count).expect("fewer than there are");
    let mut bytes = bytes.to_vec();
    // Cut at their last byte that is not zero in the seeds, to keep inputs small.
    bytes.resize(good.len().max(bytes.len()), 0);
    if reseal {
        match target.as_str() {
            names::SUPER => (0..2).for_each(|page| reseal::block(&mut bytes, page * PAGE, PAGE)),
            names::HEADS => (0..bytes.len() / 128).for_each(|n| reseal::block(&mut bytes, n * 128, 128)),
            path if path.starts_with(names::WAL_DIR) => reseal::log(&mut bytes),
            path if path.ends_with("/meta") => reseal::block(&mut bytes, 0, 128),
            path if path.ends_with("/ids") => (0..bytes.len() / 32).for_each(|n| reseal::block(&mut bytes, n * 32, 32)),
            path if path.ends_with("/sums") => {
                (0..bytes.len() / PAGE).for_each(|n| reseal::block(&mut bytes, n * PAGE, PAGE));
            }
            _ => {}
        }
    }
    let sim = SimDisk::new(1);
    sim.create_dir(names::CKPT_DIR).expect("a directory");
    for (path, good) in files() {
        put(&*sim, path, if path == target { &bytes } else { good });
    }
    use_it(sim);
}

/// Errors are answers here, so none is looked at.
fn use_it(sim: Arc<SimDisk>) {
    let Ok(store) = options().open_on(sim, "sim") else { return };
    if let Ok(docs) = store.collection::<u64>("docs").open() {
        let query = vec![1.0; docs.dim()];
        let _ = docs.search(&query).k(5).run();
        let _ = docs.get(7);
        let _ = docs.put(8, &query, b"new");
        let _ = docs.remove(9);
        let _ = docs.search(&query).k(5).with_payloads().run();
    }
    if let Ok(more) = store.collection::<u64>("more").open() {
        let _ = more.search(&vec![1.0; more.dim()]).run();
        let _ = more.put(8, &vec![1.0; more.dim()], b"");
    }
    let _ = store.stats();
    let _ = store.verify();
    let _ = store.close();
}

fn seeds() -> Vec<Vec<u8>> {
    let whole = replaceable().enumerate().flat_map(|(which, (_, bytes))| {
        let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
        let input = [&[which as u8], &bytes[..end]].concat();
        [with_switch(true, &input), with_switch(false, &input)]
    });
    whole.collect()
}

#[test]
fn the_store_is_whole() {
    let sim = SimDisk::new(1);
    sim.create_dir(names::CKPT_DIR).unwrap();
    files().iter().for_each(|(path, bytes)| put(&*sim, path, bytes));
    let store = options().open_on(sim, "sim").unwrap();
    assert_eq!(store.collection::<u64>("docs").open().unwrap().len(), 24);
    assert!(store.verify().unwrap().ok());
}
