//! Real processes: writers killed in the middle of their work, and two that want the same store.
//!
//! The writer is this test binary, started again to run [`child`] alone. It prints a line after each call that
//! returned; whatever has a line must be in the store afterwards.

mod beside;
mod script;
mod strace;

use crate::support::data::{Data, Set};
use crate::support::files;
use crate::support::model::{Model, Rng, seed};
use lodestore::{Collection, Error, Metric, Store};
use script::{BATCH, BATCHES, BLOCK, BLOCKS, EDITS, Progress, block_rows, collections, expected, options};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const JOB: &str = "LODESTORE_TEST_JOB";
const STORE: &str = "LODESTORE_TEST_STORE";
const FROM: &str = "LODESTORE_TEST_FROM";
/// How a child ends that panics.
const PANICKED: i32 = 101;
/// The number of the signal that kills.
const SIGKILL: i32 = 9;

fn start(job: &str, store: &Path, from: &str) -> Child {
    start_under(&[], job, store, from)
}

/// Starts it as the argument of another command.
fn start_under(command: &[String], job: &str, store: &Path, from: &str) -> Child {
    let this = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let words = [command, &[this]].concat();
    Command::new(&words[0])
        .args(&words[1..])
        .args(["process::child", "--exact", "--nocapture"])
        .envs([(JOB, job), (FROM, from)])
        .env(STORE, store)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The lines that a child prints, whole ones only: a line cut by the kill acknowledges nothing.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    std::iter::from_fn(move || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.ends_with('\n').then(|| line.trim_end().to_owned())
    })
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // One write for the line: a kill leaves all of it or a part without its end.
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Does nothing unless a test of this file started it.
#[test]
fn child() {
    let Ok(job) = std::env::var(JOB) else { return };
    let store = std::env::var_os(STORE).unwrap();
    // Whichever thread panics: who started this hears of it, by the status, and at once.
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::exit(PANICKED);
    }));
    // The test harness has begun a line.
    say("");
    match job.as_str() {
        "open" => match Store::open(&store) {
            Ok(_) => say("opened"),
            Err(error) => say(&format!("refused: {error}")),
        },
        "fixed" => strace::work(store.as_ref()),
        "rounds" => beside::write_rounds(store.as_ref()),
        "hold" => {
            let _store = Store::open(&store).unwrap();
            say("holding");
            std::thread::sleep(Duration::from_secs(60));
        }
        job => script::write_until_killed(job, store.as_ref(), Progress::from_text(&std::env::var(FROM).unwrap())),
    }
}

/// Which of the calls under way at the kill have happened: each may have, whole.
fn settle(glosses: &Set, store: &Store, acked: Progress) -> (Model, Model) {
    let (docs, notes) = collections(store, glosses.dim);
    let mut wrong = String::new();
    for more in 0..4 {
        let mut done = acked;
        for thread in 0..2 {
            // The first record of the block that was under way says whether it is there.
            let next = block_rows(thread, acked.blocks[thread]).start as u64;
            done.blocks[thread] += usize::from(acked.blocks[thread] < BLOCKS && docs.contains(next).unwrap());
        }
        done.edits += more & 1;
        done.batches += more >> 1 & 1;
        let (some_docs, some_notes) = expected(glosses, done);
        let difference = some_docs.difference(&docs, 0).or_else(|| some_notes.difference(&notes, 0));
        match difference.or_else(|| unexpected(&some_docs, &docs)) {
            None => return (some_docs, some_notes),
            Some(what) => wrong.push_str(&format!("\n  as after {done:?}: {what:.300}")),
        }
    }
    panic!("after {acked:?} the store is in none of the states it may be in:{wrong}");
}

/// A key that should not be there. Equal counts make one unlikely to be missed, but not impossible.
fn unexpected(model: &Model, docs: &Collection<u64>) -> Option<String> {
    let keys = (0..2 * (BLOCKS * BLOCK) as u64).chain(EDITS..EDITS + 40).chain(BATCHES..BATCHES + 16 * BATCH);
    let mut absent = keys.filter(|key| !model.0.contains_key(key));
    absent.find(|key| docs.contains(key).unwrap()).map(|key| format!("{key} is there"))
}

/// The share of the true ten nearest that searches find, over 50 queries. Copies of a vector count as one another.
fn recall(docs: &Collection<u64>, model: &Model, queries: &Set) -> f64 {
    let mut found = 0;
    for query in (0..50).map(|n| queries.vector(n * 4)) {
        let exact = model.nearest(Metric::Cosine, query, 10);
        let hits = docs.search(query).k(10).ef(64).run().unwrap();
        found += hits.iter().filter(|hit| f64::from(hit.distance) <= exact.last().unwrap() + 1e-6).count();
    }
    found as f64 / 500.0
}

fn fresh(model: &Model, dim: usize) -> Store {
    let store = Store::in_memory().unwrap();
    let (docs, _) = collections(&store, dim);
    let keys: Vec<u64> = model.0.keys().copied().collect();
    let vectors: Vec<f32> = model.0.values().flat_map(|(vector, _)| vector).copied().collect();
    docs.put_many(&keys, &vectors, None).unwrap();
    store
}

/// Starts a writer, kills it at a random moment, and counts what it had said by then.
fn kill_a_writer(job: &str, path: &Path, acked: &mut Progress, rng: &mut Rng) -> Duration {
    let began = Instant::now();
    let mut child = start(job, path, &acked.to_text());
    let lines = lines(&mut child);
    let (tell, ready) = mpsc::channel();
    let told = move |line: &String| {
        if line == "ready" {
            let _ = tell.send(());
        }
    };
    let reader = std::thread::spawn(move || lines.inspect(told).collect::<Vec<_>>());
    // One in five dies while it opens the store, the others while they write, however long it takes to come to that.
    let micros = match rng.below(5) {
        0 => 5_000 + rng.below(60_000),
        _ => {
            let _ = ready.recv_timeout(Duration::from_secs(60));
            rng.below(300_000)
        }
    };
    std::thread::sleep(Duration::from_micros(micros as u64));
    child.kill().unwrap();
    let status = child.wait().unwrap();
    for line in reader.join().unwrap() {
        match line.as_str() {
            "block 0" => acked.blocks[0] += 1,
            "block 1" => acked.blocks[1] += 1,
            "edit" => acked.edits += 1,
            "batch" => acked.batches += 1,
            // And what the harness says.
            _ => {}
        }
    }
    // It never ends by itself, unless something goes wrong.
    assert_eq!(status.signal(), Some(SIGKILL), "{job}: the writer ended by itself, {status}, after {acked:?}");
    began.elapsed()
}

fn kill_writers(job: &str) {
    let kills = std::env::var("LODESTORE_KILLS").map_or(200, |n| n.parse::<usize>().unwrap()).div_ceil(3);
    let mut rng = Rng::new(seed(job));
    let Data { glosses, queries, .. } = Data::load();
    let dir = tempfile::tempdir().unwrap();
    let mut path = dir.path().join("store-0");
    let mut acked = Progress::default();
    let mut most = Progress::default();
    for kill in 0..kills {
        // A new store now and then, or all kills but the first few would hit a writer that only edits.
        if kill % 5 == 4 {
            path = dir.path().join(format!("store-{kill}"));
            acked = Progress::default();
        }
        let ran = kill_a_writer(job, &path, &mut acked, &mut rng);
        most.blocks = std::array::from_fn(|thread| most.blocks[thread].max(acked.blocks[thread]));
        (most.edits, most.batches) = (most.edits.max(acked.edits), most.batches.max(acked.batches));
        // Half of the time the next writer finds what recovery left and a clean end, half of the time what the kill
        // left: then a copy is looked at.
        let looked_at = if rng.below(2) == 0 { path.clone() } else { dir.path().join(format!("copy-{kill}")) };
        if looked_at != path {
            files::copy(&path, &looked_at);
        }
        let began = Instant::now();
        let store = options(job).open(&looked_at).unwrap();
        let opened = began.elapsed();
        let (docs, _) = collections(&store, glosses.dim);
        let unlinked = docs.info().unlinked;
        let (model, notes) = settle(&glosses, &store, acked);
        // Before verify, which waits for the linking: what was in the log is found from the first moment.
        for (key, (vector, _)) in model.0.iter().step_by(37) {
            let hits = docs.search(vector).k(1).run().unwrap();
            assert!(hits[0].distance.abs() < 1e-5, "kill {kill}: the vector of {key} finds {hits:?}");
        }
        let report = store.verify().unwrap();
        assert!(report.ok(), "kill {kill}: {:?}", report.problems);
        println!(
            "{job}: kill {kill} after {ran:.0?}, {acked:?}, {} + {} records, opened in {opened:.0?}, {unlinked} unlinked, {} unreachable",
            model.0.len(),
            notes.0.len(),
            report.collections.iter().map(|c| c.unreachable).sum::<u64>(),
        );
        if model.0.len() > 100 && (kill % 25 == 23 || kill + 1 == kills) {
            let built = fresh(&model, glosses.dim);
            let (now, then) =
                (recall(&docs, &model, &queries), recall(&collections(&built, glosses.dim).0, &model, &queries));
            println!("{job}: recall {now:.3}, of a fresh build {then:.3}");
            assert!(now >= then - 0.02, "kill {kill}: recall {now}, of a fresh build {then}");
        }
        store.close().unwrap();
    }
    // Each writer is killed at a moment of its own: with a few it may be that none has got far.
    let least = most.blocks[0].min(most.blocks[1]).min(most.edits).min(most.batches);
    assert!(least > 0 || kills < 20, "{job}: no more than {most:?}");
}

#[test]
fn a_killed_writer_loses_nothing_acknowledged_with_sync() {
    kill_writers("sync");
}

#[test]
fn a_killed_writer_loses_nothing_acknowledged_with_every() {
    kill_writers("every");
}

#[test]
fn a_killed_writer_loses_nothing_acknowledged_with_buffered() {
    kill_writers("buffered");
}

fn expect_locked(result: lodestore::Result<Store>, pid: u32) {
    match result {
        Err(Error::Locked { path, holder }) => {
            assert!(path.ends_with("LOCK"), "{path:?}");
            assert!(holder.contains(&format!("process {pid} ")), "{holder}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_second_process_is_told_who_holds_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::open(&path).unwrap();
    let mut second = start("open", &path, "");
    let said: Vec<String> = lines(&mut second).filter(|line| line.contains(": ") || line == "opened").collect();
    assert!(second.wait().unwrap().success());
    let pid = format!("process {} ", std::process::id());
    assert!(said.iter().any(|line| line.starts_with("refused: ") && line.contains(&pid)), "{said:?}");
    store.close().unwrap();
    let mut third = start("open", &path, "");
    let said: Vec<String> = lines(&mut third).collect();
    assert!(third.wait().unwrap().success() && said.iter().any(|line| line == "opened"), "{said:?}");
}

#[test]
fn the_lock_of_a_killed_process_does_not_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut holder = start("hold", &path, "");
    assert!(lines(&mut holder).any(|line| line == "holding"));
    expect_locked(Store::open(&path), holder.id());
    holder.kill().unwrap();
    holder.wait().unwrap();
    let left = std::fs::read_to_string(path.join("LOCK")).unwrap();
    assert!(left.contains(&format!("process {} ", holder.id())), "{left}");
    let store = Store::open(&path).unwrap();
    expect_locked(Store::open(&path), std::process::id());
    drop(store);
}

#[test]
fn a_store_is_locked_by_whatever_path_it_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let link = dir.path().join("link");
    let store = Store::open(&path).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let roundabout = dir.path().join("link/../store/.");
    for other in [&path, &link, &roundabout] {
        expect_locked(Store::open(other), std::process::id());
        expect_locked(Store::options().create(false).open(other), std::process::id());
    }
    // A refused second opening leaves the first as it was.
    let docs = store.collection::<u64>("docs").dim(2).open_or_create().unwrap();
    docs.put(1, &[1.0, 2.0], b"").unwrap();
    drop((docs, store));
    let store = Store::open(&link).unwrap();
    expect_locked(Store::open(&path), std::process::id());
    assert_eq!(store.collection::<u64>("docs").open().unwrap().len(), 1);
}

#[test]
fn a_closed_store_can_be_opened_while_old_handles_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let old = first.collection::<u64>("docs").dim(2).open_or_create().unwrap();
    old.put(1, &[1.0, 2.0], b"old").unwrap();
    let clone = first.clone();
    first.close().unwrap();
    clone.clone().close().expect("closing twice is closing");

    let second = Store::open(dir.path()).unwrap();
    let docs = second.collection::<u64>("docs").open().unwrap();
    docs.put(2, &[2.0, 2.0], b"new").unwrap();
    assert!(matches!(old.put(3, &[0.0, 1.0], b""), Err(Error::Closed)));
    assert!(matches!(old.put_many(&[3], &[0.0, 1.0], None), Err(Error::Closed)));
    assert!(matches!(old.remove(1), Err(Error::Closed)));
    assert!(matches!(old.get(1), Err(Error::Closed)));
    assert!(matches!(old.contains(1), Err(Error::Closed)));
    assert!(matches!(old.payload(1), Err(Error::Closed)));
    assert!(matches!(old.search(&[0.0, 1.0]).run(), Err(Error::Closed)));
    assert!(matches!(old.search_many(&[0.0, 1.0]).run(), Err(Error::Closed)));
    assert!(matches!(clone.checkpoint(), Err(Error::Closed)));
    assert!(matches!(clone.sync(), Err(Error::Closed)));
    assert!(matches!(clone.stats(), Err(Error::Closed)));
    assert!(matches!(clone.verify(), Err(Error::Closed)));
    assert!(matches!(clone.collections(), Err(Error::Closed)));
    assert!(matches!(clone.collection::<u64>("docs").open(), Err(Error::Closed)));
    assert!(matches!(clone.collection::<u64>("more").dim(2).create(), Err(Error::Closed)));
    let mut batch = clone.batch();
    batch.put(&old, 4, &[1.0, 1.0], b"").unwrap();
    assert!(matches!(batch.commit(), Err(Error::Closed)));
    // Dropping the old handles must not close, unlock or change the new store.
    drop((old, clone));
    expect_locked(Store::open(dir.path()), std::process::id());
    docs.put(5, &[3.0, 3.0], b"").unwrap();
    drop((docs, second));
    let third = Store::open(dir.path()).unwrap();
    assert_eq!(third.collection::<u64>("docs").open().unwrap().len(), 3);
    assert!(third.verify().unwrap().ok());
}
