//! Looking for damage while the store is in use.

use crate::support::keyed::Numbered;
use crate::support::model::{Rng, seed};
use lodestore::{Collection, Durability, Error, Metric, ScrubReport, Store, StoreOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DIM: usize = 40;

fn options() -> StoreOptions {
    Store::options().durability(Durability::Buffered).threads(1)
}

fn filled(path: &Path, options: StoreOptions) -> (Store, Collection<str>) {
    let store = options.open(path).unwrap();
    let docs = store.collection::<str>("docs").dim(DIM).metric(Metric::Cosine).m(4).open_or_create().unwrap();
    let mut rng = Rng::new(5);
    for key in 0..600 {
        docs.put(str::key(key), &rng.vector(DIM), &vec![key as u8; rng.below(300)]).unwrap();
    }
    (0..40).for_each(|key| assert!(docs.remove(str::key(key * 3)).unwrap()));
    docs.mark_deleted(str::key(1)).unwrap();
    store.checkpoint().unwrap();
    (store, docs)
}

#[test]
fn a_store_in_use_has_no_damage() {
    let seed = seed("scrub in use");
    let dir = tempfile::tempdir().unwrap();
    let (store, docs) = filled(dir.path(), options().scrub(Duration::from_millis(1)));
    let done = AtomicBool::new(false);
    let reports: Vec<ScrubReport> = std::thread::scope(|scope| {
        for thread in 0..2 {
            let (docs, store, done) = (&docs, &store, &done);
            scope.spawn(move || {
                let mut rng = Rng::new(seed + thread);
                while !done.load(Ordering::Acquire) {
                    let key = rng.within(0..700);
                    match rng.below(20) {
                        0..5 => {
                            docs.remove(str::key(key)).unwrap();
                        }
                        5 => store.checkpoint().unwrap(),
                        6 => drop(docs.compact().erase(rng.one_in(4)).run().unwrap()),
                        _ => docs.put(str::key(key), &rng.vector(DIM), &vec![1; rng.below(3000)]).unwrap(),
                    }
                }
            });
        }
        let until = Instant::now() + Duration::from_secs(2);
        let mut reports = Vec::new();
        while Instant::now() < until {
            reports.push(store.scrub().unwrap());
        }
        done.store(true, Ordering::Release);
        reports
    });
    for report in &reports {
        assert!(report.ok(), "{:?}", report.problems);
    }
    println!("{} scrubs, the last: {:?}", reports.len(), reports.last().unwrap());
    let last = store.scrub().unwrap();
    assert!(last.slots >= docs.len() && last.rows > 0 && last.pages > 0);
    assert!(store.verify().unwrap().ok());
    store.close().unwrap();
}

/// Changes one bit of a file under the open store.
fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn damage_is_found_wherever_it_is() {
    let mut rng = Rng::new(seed("scrub of damage"));
    let dir = tempfile::tempdir().unwrap();
    let (store, docs) = filled(dir.path(), options().background(false));
    let clean = store.scrub().unwrap();
    assert!(clean.ok(), "{:?}", clean.problems);
    assert_eq!(clean.slots, 560, "those of removed records are free");
    for file in ["vectors", "codes", "ids", "keys", "links", "upper", "tombs", "sums"] {
        let path = dir.path().join("c/0").join(file);
        // Somewhere in what is in use: only slots below 120 are free.
        let slots = 130..600;
        let at = match file {
            "tombs" => rng.within(0..600 / 8),
            "sums" => rng.within(0..8),
            "upper" => rng.within(0..256),
            "vectors" => rng.within(slots) * 192 + rng.within(0..192),
            "codes" | "links" => rng.within(slots) * 64 + rng.within(0..32),
            // Those of removed records are before.
            "keys" => rng.within(500..1000) * 16,
            _ => rng.within(slots) * 32 + rng.within(0..8),
        };
        // What is left of a unit behind the end of a key says nothing.
        let bytes = if file == "keys" { 16 } else { 1 };
        (0..bytes).for_each(|byte| flip(&path, at + byte));
        let report = store.scrub().unwrap();
        assert!(report.problems.iter().any(|what| what.contains("c/0/")), "{file} byte {at}: {:?}", report.problems);
        assert_eq!(store.stats().unwrap().scrub.as_ref(), Some(&report));
        (0..bytes).for_each(|byte| flip(&path, at + byte));
        assert!(store.scrub().unwrap().ok(), "{file} is as it was");
    }
    for (file, at) in [("SUPER", 100), ("SUPER", 4196), ("heads", 20), ("c/0/meta", 30)] {
        flip(&dir.path().join(file), at);
        let report = store.scrub().unwrap();
        // Of the two slots of SUPER one does not hold, which is no problem.
        assert!(file == "SUPER" || !report.ok(), "{file} byte {at}");
        flip(&dir.path().join(file), at);
    }
    // Every page of the catalogue that leads to a row; redb's cache does not hide them.
    let path = dir.path().join("catalog.redb");
    let (mut found, mut tried) = (0, 0);
    for at in (3 * 4096 + 50..std::fs::metadata(&path).unwrap().len()).step_by(4096) {
        flip(&path, at);
        tried += 1;
        found += usize::from(!store.scrub().unwrap().ok());
        flip(&path, at);
    }
    println!("{found} of {tried} pages of the catalogue are in use");
    assert!(found > 20 && found < tried);
    assert!(store.scrub().unwrap().ok());
    assert_eq!(docs.len(), 559);
}

#[test]
fn the_background_finds_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let (store, docs) = filled(dir.path(), options().scrub(Duration::from_millis(1)));
    flip(&dir.path().join("c/0/vectors"), 192 + 9);
    let began = Instant::now();
    let found = loop {
        match store.stats().unwrap().scrub {
            Some(report) if !report.ok() => break report,
            _ => assert!(began.elapsed() < Duration::from_secs(60), "never found"),
        }
        docs.put("more", &[1.0; DIM], b"").unwrap();
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(found.problems[0].starts_with("c/0/vectors is damaged at byte 192"), "{:?}", found.problems);
    // It ends with the store, at once.
    let began = Instant::now();
    store.close().unwrap();
    assert!(docs.len() >= 559);
    drop(docs);
    assert!(began.elapsed() < Duration::from_secs(30));
    let reader = Store::open_read_only(dir.path()).unwrap();
    assert!(matches!(reader.scrub(), Err(Error::ReadOnly)));
    assert!(Store::in_memory().unwrap().scrub().unwrap().ok());
}
