//! Two threads import while a third searches. Run with `cargo run --release --example parallel_import`.

use lodestore::{Collection, Durability, Store};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const DIM: usize = 48;
const RECORDS: u64 = 20_000;
const IMPORTERS: u64 = 2;
const BLOCK: u64 = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    // A bulk load that could be repeated need not be synced step by step.
    let store = Store::options().durability(Durability::Buffered).open(dir.path().join("import.store"))?;
    let docs = store.collection::<u64>("docs").dim(DIM).ef_construction(60).open_or_create()?;

    let (stored, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let searches = std::thread::scope(|scope| {
        let (docs, stored) = (&docs, &stored);
        let importers: Vec<_> = (0..IMPORTERS).map(|n| scope.spawn(move || import(docs, n, stored))).collect();
        let searcher = scope.spawn(|| search(docs, stored, &done));
        let results: Vec<_> = importers.into_iter().map(|importer| importer.join().expect("no panic")).collect();
        done.store(true, Ordering::Release);
        let searches = searcher.join().expect("no panic");
        results.into_iter().collect::<lodestore::Result<()>>()?;
        searches
    })?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{RECORDS} records in {seconds:.1} s ({:.0}/s), {searches} searches meanwhile ({:.0}/s)",
        RECORDS as f64 / seconds,
        searches as f64 / seconds
    );
    assert_eq!(docs.len(), RECORDS);
    assert!(searches > 0);

    // From here on a power loss takes nothing either.
    store.sync()?;
    let queries: Vec<f32> = (0..RECORDS).step_by(40).flat_map(vector).collect();
    let found = docs.search_many(&queries).k(1).threads(2).run()?;
    let itself = (0..found.rows()).filter(|&row| found.keys(row) == [row as u64 * 40]).count();
    println!("{itself} of {} records find themselves", found.rows());
    assert!(itself * 100 >= found.rows() * 99);
    Ok(())
}

/// Imports every other block.
fn import(docs: &Collection<u64>, importer: u64, stored: &AtomicU64) -> lodestore::Result<()> {
    for first in (importer * BLOCK..RECORDS).step_by((IMPORTERS * BLOCK) as usize) {
        let keys: Vec<u64> = (first..first + BLOCK).collect();
        let vectors: Vec<f32> = keys.iter().copied().flat_map(vector).collect();
        docs.put_many(&keys, &vectors, None)?;
        if importer == 0 {
            // From now on every search must be able to find these.
            stored.store(first + 1, Ordering::Release);
        }
    }
    Ok(())
}

/// Searches until the import is done; counts the searches.
fn search(docs: &Collection<u64>, stored: &AtomicU64, done: &AtomicBool) -> lodestore::Result<u64> {
    let mut searches = 0;
    while !done.load(Ordering::Acquire) {
        let Some(key) = stored.load(Ordering::Acquire).checked_sub(1) else { continue };
        let hits = docs.search(&vector(key).collect::<Vec<_>>()).k(10).run()?;
        assert!(hits.iter().is_sorted_by(|a, b| a.distance <= b.distance));
        assert_eq!(hits.len(), 10, "a record that was put, and its neighbours");
        searches += 1;
    }
    Ok(searches)
}

/// Random components, made from the key.
fn vector(key: u64) -> impl Iterator<Item = f32> {
    (0..DIM as u64).map(move |i| {
        let mut x = (key * DIM as u64 + i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        // A few directions count for more than the others, as in real vectors.
        (x >> 40) as f32 / (1u64 << 24) as f32 / (1 + i / 8) as f32
    })
}
