//! Every system call that changes a store, killed, failed and starved in turn: a fixed piece of work runs under `strace`,
//! which lets the n-th call of a kind end the process, or answer with an error.
//!
//! Only if `LODESTORE_STRACE` is set, and then at every so many-th call: `LODESTORE_STRACE=1` takes all.

use super::{SIGKILL, lines, say, start_under};
use crate::support::model::{Model, Rng};
use lodestore::{Collection, Store};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

/// Calls, and the errors that each may answer with.
const CALLS: [(&str, &[&str]); 8] = [
    ("pwrite64", &["EIO", "ENOSPC", "EINTR"]),
    ("fdatasync", &["EIO", "ENOSPC", "EINTR"]),
    ("fsync", &["EIO", "ENOSPC", "EINTR"]),
    ("rename,renameat,renameat2", &["EIO", "ENOSPC"]),
    ("unlink,unlinkat", &["EIO"]),
    ("ftruncate", &["EIO", "ENOSPC"]),
    ("fallocate", &["EIO", "ENOSPC", "EINTR", "EOPNOTSUPP"]),
    ("madvise", &["EINVAL", "ENOMEM"]),
];
const DIM: usize = 6;
const OPS: usize = 70;
const KEYS: u64 = 20;

fn open(path: &Path) -> lodestore::Result<(Store, Collection<u64>)> {
    let store = Store::options().background(false).threads(1).open(path)?;
    let docs = store.collection::<u64>("docs").dim(DIM).m(3).ef_construction(16).open_or_create()?;
    Ok((store, docs))
}

/// What operation `n` changes: each key with a payload, or none if it is removed.
fn changes(n: usize) -> Vec<(u64, Vec<f32>, Option<Vec<u8>>)> {
    let mut rng = Rng::new(n as u64 + 1);
    let keys = if n % 5 == 4 { 4 } else { 1 };
    let change = |_| {
        let (key, vector) = (rng.within(0..KEYS), rng.vector(DIM));
        let payload = (!rng.one_in(5)).then(|| format!("operation {n}").into_bytes());
        (key, vector, payload)
    };
    (0..keys).map(change).collect()
}

fn expected(done: usize) -> Model {
    let mut model = Model::default();
    for (key, vector, payload) in (0..done).flat_map(changes) {
        match payload {
            Some(payload) => model.put(key, &vector, &payload),
            None => model.remove(key),
        }
    }
    model
}

fn carry_out(store: &Store, docs: &Collection<u64>, n: usize) -> lodestore::Result<()> {
    let mut batch = store.batch();
    for (key, vector, payload) in changes(n) {
        match payload {
            Some(payload) => batch.put(docs, key, &vector, &payload)?,
            None => batch.remove(docs, key)?,
        }
    }
    batch.commit()
}

/// The piece of work: writes, checkpoints, compactions, a reopening. A failure must leave what was there to read.
pub(super) fn work(path: &Path) {
    let failed = |what: &str, error: &lodestore::Error| say(&format!("failed {what}: {error:.200}"));
    let (mut store, mut docs) = match open(path) {
        Ok(opened) => opened,
        Err(error) => return failed("opening", &error),
    };
    for n in 0..OPS {
        let other = match n {
            20 | 60 => store.checkpoint(),
            30 => docs.compact().run().map(drop),
            45 => docs.compact().erase(true).run().map(drop),
            50 => {
                if let Err(error) = store.clone().close() {
                    return failed("closing", &error);
                }
                match open(path) {
                    Ok(opened) => (store, docs) = opened,
                    Err(error) => return failed("opening again", &error),
                }
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(error) = other {
            failed("maintenance", &error);
        }
        say(&format!("begin {}", n + 1));
        if let Err(error) = carry_out(&store, &docs, n) {
            failed("writing", &error);
            let whole = [n, n + 1].iter().any(|&done| expected(done).difference(&docs, KEYS).is_none());
            assert!(whole, "after {error} what can be read is in neither state");
            if let Err(error) = carry_out(&store, &docs, n) {
                return failed("writing again", &error);
            }
            assert!(!matches!(error, lodestore::Error::Poisoned { .. }), "a poisoned store has written");
        }
        say(&format!("done {}", n + 1));
    }
    if let Err(error) = store.close() {
        failed("closing", &error);
    }
}

/// Runs the work under strace with some injection. What it said, and how it ended: strace ends as what it runs does.
fn run(path: &Path, options: &[&str]) -> (Vec<String>, ExitStatus) {
    // Without seccomp's filter, under which strace 6.1 lets no signal through but the first.
    let strace = ["strace", "-f", "-qq"].iter().chain(options).map(ToString::to_string);
    let mut child = start_under(&strace.collect::<Vec<_>>(), "fixed", path, "");
    let said: Vec<String> = lines(&mut child).collect();
    (said, child.wait().unwrap())
}

/// How often one thread makes these calls during the work.
fn count(calls: &str) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let log_name = log.to_str().unwrap();
    let (said, status) = run(&dir.path().join("store"), &["-o", log_name, "-e", &format!("trace={calls}")]);
    let whole = status.success() && said.iter().any(|line| *line == format!("done {OPS}"));
    assert!(whole && !said.iter().any(|line| line.starts_with("failed")), "nothing injected, {status}: {said:?}");
    let log = std::fs::read_to_string(log).unwrap();
    let mut threads = std::collections::HashMap::new();
    for line in log.lines().filter(|line| line.contains('(') && !line.contains("resumed")) {
        *threads.entry(line.split(' ').next().unwrap().to_owned()).or_insert(0usize) += 1;
    }
    threads.into_values().max().unwrap_or_else(|| panic!("the work makes none of these calls: {calls}"))
}

/// Opens what a run has left, twice, and compares it.
fn check(path: &Path, said: &[String], status: ExitStatus, killed: bool) -> Result<(), String> {
    let ended_well = status.success() || (killed && status.signal() == Some(SIGKILL));
    if !ended_well {
        return Err(format!("it ended with {status}: {said:?}"));
    }
    // Neither killed nor told of an error, it comes to its end.
    let finished = said.iter().any(|line| *line == format!("done {OPS}"));
    if status.success() && !finished && !said.iter().any(|line| line.starts_with("failed")) {
        return Err(format!("it ended before its end: {said:?}"));
    }
    let number = |what: &str| {
        let last = said.iter().rev().find_map(|line| line.strip_prefix(what));
        last.map_or(0, |n| n.parse::<usize>().unwrap())
    };
    let (begun, done) = (number("begin "), number("done "));
    let mut first = None;
    for time in 0..2 {
        let (store, docs) = open(path).map_err(|error| format!("time {time}: {error}"))?;
        let differs: Vec<_> = (done..=begun).map(|n| expected(n).difference(&docs, KEYS)).collect();
        let Some(n) = differs.iter().position(Option::is_none) else {
            return Err(format!("after {done} of {begun}: {differs:?}"));
        };
        if *first.get_or_insert(n) != n {
            return Err(format!("opened again it holds {} operations, not {first:?}", done + n));
        }
        if let Some(wrong) = expected(done + n).search_difference(&docs, 3, 200) {
            return Err(wrong);
        }
        let report = store.verify().map_err(|error| error.to_string())?;
        if !report.ok() {
            return Err(format!("verify: {:?}", report.problems));
        }
        store.close().map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[test]
fn every_call_killed_failed_and_starved() {
    let Ok(step) = std::env::var("LODESTORE_STRACE") else {
        println!("not run: LODESTORE_STRACE is not set");
        return;
    };
    let step: usize = step.parse().expect("LODESTORE_STRACE is a number");
    assert!(Command::new("strace").arg("-V").output().is_ok_and(|o| o.status.success()), "strace does not run here");
    let mut wrong = Vec::new();
    for (calls, errors) in CALLS {
        let there = count(calls);
        let (mut runs, mut hit) = (0, 0);
        for n in (1..=there).step_by(step.max(1)) {
            let ways = std::iter::once("signal=KILL".to_owned()).chain(errors.iter().map(|e| format!("error={e}")));
            for way in ways {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("store");
                let injection = format!("inject={calls}:{way}:when={n}");
                let log = dir.path().join("log");
                let output = ["-o", log.to_str().unwrap(), "-e", &format!("trace={calls}"), "-e", &injection];
                let (said, status) = run(&path, &output);
                runs += 1;
                let injected = std::fs::read_to_string(log).unwrap().contains("(INJECTED)");
                hit += usize::from(status.signal() == Some(SIGKILL) || injected);
                if let Err(what) = check(&path, &said, status, way == "signal=KILL") {
                    println!("{injection}: {what}");
                    wrong.push(injection);
                }
            }
        }
        println!("{calls}: {there} calls in the work, {runs} runs, {hit} of them hit");
        // How often memory is given back depends on the allocator.
        assert!(hit == runs || calls == "madvise", "{calls}: {hit} of {runs} were hit");
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
