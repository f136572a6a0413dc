//! A process is killed in the middle of writing; another opens its store and finds all that was acknowledged. Run with
//! `cargo run --release --example reopen_after_kill`.

use lodestore::{Collection, Store};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const DIM: usize = 64;
/// Records after which the writer is killed.
const ENOUGH: u64 = 500;

fn main() -> Result<(), Box<dyn Error>> {
    // Started a second time, by the code below, this program is the victim.
    if let Some(path) = std::env::args_os().nth(1) {
        return write_until_killed(path.as_ref());
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("killed.store");

    let mut writer = Command::new(std::env::current_exe()?).arg(&path).stdout(Stdio::piped()).spawn()?;
    let acknowledgements = BufReader::new(writer.stdout.take().ok_or("the writer says nothing")?);
    let mut acknowledged = 0;
    for line in acknowledgements.lines() {
        acknowledged = line?.parse()?;
        if acknowledged == ENOUGH {
            // On Unix this is SIGKILL: the writer cannot save anything any more. What it had said by then is read
            // until its end of the pipe is closed.
            writer.kill()?;
        }
    }
    writer.wait()?;
    println!("killed after {acknowledged} acknowledged records");
    assert!(acknowledged >= ENOUGH);

    let start = Instant::now();
    let store = Store::open(&path)?;
    let docs = open(&store)?;
    let hits = docs.search(&vector(17)).k(1).run()?;
    println!("first answer {:.1?} after opening began", start.elapsed());
    assert_eq!((hits[0].key, hits[0].distance), (17, 0.0));

    for key in 0..acknowledged {
        let record = docs.get(key)?.unwrap_or_else(|| panic!("record {key} was acknowledged and is lost"));
        assert_eq!((record.vector, record.payload), (vector(key), payload(key)));
    }
    // A record may have reached the log without its acknowledgement having been read: that one is there whole.
    assert!(docs.len() <= acknowledged + 1);
    let report = store.verify()?;
    assert!(report.ok(), "{:?}", report.problems);
    println!("all {acknowledged} are there, bit for bit, and verify finds nothing wrong");
    Ok(())
}

fn write_until_killed(path: &Path) -> Result<(), Box<dyn Error>> {
    let docs = open(&Store::open(path)?)?; // a collection keeps its store open
    let mut out = std::io::stdout().lock();
    for key in 0.. {
        docs.put(key, &vector(key), &payload(key))?;
        // The record is on the disk now, so it may be said.
        writeln!(out, "{}", key + 1)?;
        out.flush()?;
    }
    Ok(())
}

fn open(store: &Store) -> lodestore::Result<Collection<u64>> {
    store.collection::<u64>("docs").dim(DIM).ef_construction(40).open_or_create()
}

/// Made from the key, so that both processes know what must be there.
fn vector(key: u64) -> Vec<f32> {
    (1..=DIM as u64).map(|i| (key * 7919 * i % 1_000_003) as f32 / 1_000_003.0).collect()
}

fn payload(key: u64) -> Vec<u8> {
    format!("record {key}").into_bytes()
}
