//! The crash tests against the code with deliberate bugs: a test that cannot fail proves nothing.
//!
//! Each mutant of `lodestore_wal::mutant` is switched on in a process of its own, this test binary started again, which
//! runs random programs until one goes wrong. `LODESTORE_MUTANTS=all` also runs those that other measures make up for,
//! and `LODESTORE_MUTANT_POINTS` says how many crash points each is given.

use lodestore::Store;
use lodestore_wal::disk::{CrashMode, SimDisk};
use lodestore_wal::mutant::{Mutant, VARIABLE};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is known of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// The tests notice it.
    Caught,
    /// No test can, because of what else is done.
    Redundant(&'static str),
}

fn known(mutant: Mutant) -> Known {
    match mutant {
        Mutant::LogRemovedEarly | Mutant::AppliedEarly => {
            Known::Redundant("R3: a whole checkpoint file counts, whether SUPER names it or not")
        }
        Mutant::ContinuationUnchecked => Known::Redundant("chain and salt of the groups, and LSNs without a gap"),
        Mutant::OldTailAppended => Known::Redundant("the chain, the salt and blocks of their own"),
        Mutant::CompactionUnsynced => {
            Known::Redundant("S0 of the checkpoint that follows, before anything durable relies on it")
        }
        _ => Known::Caught,
    }
}

/// Crash points that a mutant may survive before it counts as not caught.
const POINTS: &str = "60000";
const POINTS_VARIABLE: &str = "LODESTORE_MUTANT_POINTS";
/// And those that the code without a deliberate bug is given.
const CONTROL_POINTS: &str = "3000";
/// Says to a child that it is one.
const CHILD_VARIABLE: &str = "LODESTORE_MUTANT_CHILD";

/// A write that the power ends, and that leaves garbage in the sectors which it touched, must not reach what was
/// acknowledged before: a case that random programs come to rarely. Says what is wrong.
fn torn_write() -> Option<String> {
    for steps in 1..4 {
        let disk = SimDisk::new(1);
        let options = Store::options().background(false).threads(1);
        let store = options.open_on(disk.clone(), "sim").unwrap();
        let docs = store.collection::<u64>("docs").dim(2).create().unwrap();
        docs.put(1, &[1.0, 2.0], b"acknowledged").unwrap();
        disk.crash_at(disk.steps() + steps);
        let _ = docs.put(2, &[3.0, 4.0], b"under way");
        for seed in 0..100 {
            let left = disk.reboot(CrashMode::Garbage, seed);
            let there = Store::options().background(false).open_on(left, "sim").and_then(|store| {
                let docs = store.collection::<u64>("docs").open()?;
                Ok(docs.get(1)?.is_some_and(|record| record.payload == b"acknowledged"))
            });
            if !matches!(there, Ok(true)) {
                return Some(format!("seed {seed}, {steps} steps after the first put: {there:?}"));
            }
        }
    }
    None
}

#[test]
fn a_torn_write_reaches_nothing_that_was_acknowledged() {
    assert_eq!(torn_write(), None);
}

/// Does nothing unless the test below started it.
#[test]
fn child() {
    if std::env::var_os(CHILD_VARIABLE).is_none() {
        return;
    }
    if let Some(wrong) = torn_write() {
        println!("\ncaught by a torn write: {wrong:.160}");
        return;
    }
    let points = std::env::var(POINTS_VARIABLE).expect("set by who started it");
    let (met, programs, wrong) = crate::crash::hunt(points.parse().expect("a number"));
    match wrong {
        Some(wrong) => println!("\ncaught after {met} crash points, {programs} programs: {wrong:.160}"),
        None => println!("\nnot caught in {met} crash points, {programs} programs"),
    }
}

/// What the child says, or that it died without a word.
fn hunt(mutant: Option<Mutant>, points: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["mutants::child", "--exact", "--nocapture"]).env_remove(VARIABLE);
    command.envs(mutant.map(|mutant| (VARIABLE, format!("{mutant:?}"))));
    command.envs([(CHILD_VARIABLE, "1"), (POINTS_VARIABLE, points)]);
    let child = command.stderr(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let line = said.lines().find(|line| line.starts_with("caught") || line.starts_with("not caught"));
    // One that has run nothing ends well and says nothing.
    assert!(line.is_some() || !child.status.success(), "{mutant:?}: the child ended well and said: {said}");
    line.map_or_else(|| format!("caught: the process ended with {}", child.status), str::to_owned)
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "deliberate bugs need debug assertions")]
fn every_mutant_is_caught() {
    // Without a deliberate bug nothing is caught, or it would say nothing of those with one.
    let control = hunt(None, CONTROL_POINTS);
    println!("none: {control}");
    assert!(control.starts_with("not caught in "), "{control}");
    let points = std::env::var(POINTS_VARIABLE).unwrap_or_else(|_| POINTS.into());
    let all = std::env::var("LODESTORE_MUTANTS").is_ok_and(|which| which == "all");
    let mutants: Vec<Mutant> =
        Mutant::ALL.iter().copied().filter(|&mutant| all || known(mutant) == Known::Caught).collect();
    let (next, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let work = || {
            while let Some(&mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                let said = hunt(Some(mutant), &points);
                let expected = match known(mutant) {
                    Known::Caught => String::new(),
                    Known::Redundant(with) => format!(" (made up for by {with})"),
                };
                println!("{mutant:?}: {}: {said}{expected}", mutant.what());
                if known(mutant) == Known::Caught && !said.starts_with("caught") {
                    missed.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        scope.spawn(work);
        scope.spawn(work);
    });
    assert_eq!(missed.into_inner(), 0, "mutants were not caught");
}
