//! What each level of durability costs and what it may lose. Run with
//! `cargo run --release --example durability_modes [DIRECTORY]`; the directory decides which disk is measured.

use lodestore::{Durability, Store};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const DIM: usize = 32;
/// How long each level writes.
const TIME: Duration = Duration::from_millis(700);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = match std::env::args_os().nth(1) {
        Some(given) => tempfile::tempdir_in(PathBuf::from(given))?,
        None => tempfile::tempdir()?,
    };
    let levels = [
        (Durability::Sync, "nothing"),
        (Durability::Every(Duration::from_millis(100)), "the writes of the last 100 ms"),
        (Durability::Buffered, "the writes since the last sync"),
    ];
    println!("{:14} {:>9}  {:>6}  a power loss may take (the end of the process: nothing)", "level", "puts/s", "syncs");
    for (number, (level, loses)) in levels.into_iter().enumerate() {
        let path = dir.path().join(number.to_string());
        let store = Store::options().durability(level).open(&path)?;
        let docs = store.collection::<u64>("docs").dim(DIM).ef_construction(40).open_or_create()?;
        let before = store.stats()?.log_syncs;

        let start = Instant::now();
        let mut written = 0;
        while start.elapsed() < TIME {
            docs.put(written, &vector(written), b"")?;
            written += 1;
        }
        let rate = written as f64 / start.elapsed().as_secs_f64();
        let stats = store.stats()?;
        let syncs = stats.log_syncs - before;
        println!("{:14} {rate:>9.0}  {syncs:>6}  {loses}", name(level));
        match level {
            // One writer cannot share its syncs.
            Durability::Sync => assert!(syncs >= written && stats.durable_lsn == stats.last_lsn),
            Durability::Buffered => assert!(stats.durable_lsn < stats.last_lsn),
            _ => assert!(syncs < written),
        }

        // Whatever the level: from here on nothing can take these records.
        store.sync()?;
        let stats = store.stats()?;
        assert_eq!(stats.durable_lsn, stats.last_lsn);
        drop(docs);
        store.close()?;
        let docs = Store::open(&path)?.collection::<u64>("docs").open()?;
        assert_eq!(docs.len(), written);
    }
    Ok(())
}

fn name(level: Durability) -> String {
    match level {
        Durability::Every(period) => format!("Every({period:?})"),
        other => format!("{other:?}"),
    }
}

fn vector(key: u64) -> Vec<f32> {
    (1..=DIM as u64).map(|i| (key * 7919 * i % 1_000_003) as f32 / 1_000_003.0).collect()
}
