//! Every byte of every file of a closed store, flipped: each is told, by opening or by a full verification.

use super::files::{Outcome, Table, Watch};
use super::{closed_store, compare, options};
use crate::support::model::{Rng, seed};
use lodestore::{Store, VerifyLevel, VerifyOptions};
use std::path::Path;

/// About so many bytes of each file are tried unless `LODESTORE_EVERY_BYTE` is set.
const SAMPLE: usize = 220;

/// Files of which every byte means something, or is zero: what changes there is damage, never only a note.
const NO_NOTES: [&str; 6] = ["links", "upper", "tombs", "sums", "meta", "heads"];

/// What came of a changed byte. `Equal` is one that no answer depends on and that a note tells of.
pub(super) fn told(path: &Path, difference: impl FnOnce(&Store) -> Option<String>) -> (Outcome, &'static str) {
    let store = match options().open(path) {
        Ok(store) => store,
        Err(error) => return (Outcome::refused("open", &error), "open"),
    };
    let report = match store.verify() {
        Ok(report) => report,
        Err(error) => return (Outcome::refused("verify", &error), "verify"),
    };
    if report.problem_count > 0 {
        let by_file = report.files.iter().any(|file| file.damage_count > 0);
        return (Outcome::Damaged, if by_file { "problem" } else { "problem, of no file" });
    }
    match difference(&store) {
        Some(what) => (Outcome::Wrong(format!("verified, but {what}")), ""),
        None if report.note_count > 0 => (Outcome::Equal, "note"),
        None => (Outcome::Wrong("nobody has noticed".into()), ""),
    }
}

#[test]
fn every_flipped_byte_is_told() {
    let mut rng = Rng::new(seed("every byte"));
    let (files, models) = closed_store(1);
    let every = std::env::var_os("LODESTORE_EVERY_BYTE").is_some();
    let (watch, mut table) = (Watch::start(), Table::default());
    let (mut tried, mut all) = (0, 0);
    for (name, bytes) in files.with_lock() {
        all += bytes.len();
        // One in so many, from a place of its own on.
        let step = if every { 1 } else { bytes.len().div_ceil(SAMPLE).max(1) };
        let from = if step > 1 { rng.below(step) } else { 0 };
        for at in (from..bytes.len()).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << rng.below(8);
            let path = files.write_with(name, &damaged);
            let mut kind = "";
            let case = watch.run(&format!("{name} byte {at}"), || {
                let (outcome, by) = told(path, |store| compare(store, &models));
                kind = by;
                match outcome {
                    Outcome::Equal if NO_NOTES.iter().any(|file| name.ends_with(file)) => {
                        Outcome::Wrong("a note, of what means something".into())
                    }
                    outcome => outcome,
                }
            });
            table.note(name, kind, case);
            tried += 1;
        }
    }
    println!("{tried} of {all} bytes");
    table.finish();
}

/// The same report for the undamaged store, at every level: nothing wrong, nothing noted, every byte of every file seen.
#[test]
fn an_undamaged_store_has_no_notes_and_every_byte_is_covered() {
    let (files, models) = closed_store(1);
    for level in VerifyLevel::ALL {
        let store = options().open(files.write()).unwrap();
        let (mut last, mut calls) = ((0, 0), 0);
        let tell = |done, all| {
            assert!(done >= last.0 && done <= all, "{last:?}, then {done} of {all}");
            (last, calls) = ((done, all), calls + 1);
            true
        };
        let report = store.verify_with(VerifyOptions::new().level(level).progress(tell)).unwrap();
        assert!(report.ok() && report.notes.is_empty(), "{level}: {:?} {:?}", report.problems, report.notes);
        assert!(calls > 0, "{level}");
        assert_eq!(report.level, level);
        if matches!(level, VerifyLevel::Checksums | VerifyLevel::Full) {
            for (name, bytes) in files.each() {
                let file = report.files.iter().find(|file| file.name == *name);
                let file = file.unwrap_or_else(|| panic!("{level}: {name} was not looked at"));
                assert_eq!((file.bytes, file.checked), (bytes.len() as u64, bytes.len() as u64), "{level}: {name}");
            }
            assert_eq!(last.0, last.1, "{level}: the steps that were announced");
        }
        if matches!(level, VerifyLevel::Graph | VerifyLevel::Full) {
            let records: Vec<_> = report.collections.iter().map(|c| (&*c.name, c.records)).collect();
            let due = [("angles", models.angles.0.len() as u64), ("plain", models.plain.0.len() as u64)];
            assert_eq!(records, due, "{level}");
        }
    }
}

#[test]
fn a_stopped_verification_says_so() {
    let (files, _) = closed_store(1);
    let store = options().open(files.write()).unwrap();
    for stop_at in 0..2 {
        let mut calls = 0;
        let tell = |_, _| {
            calls += 1;
            calls <= stop_at
        };
        let report = store.verify_with(VerifyOptions::new().progress(tell)).unwrap();
        assert_eq!((report.complete, report.ok()), (false, false), "after {stop_at} calls");
        assert_eq!(report.problem_count, 0);
    }
    assert!(store.verify().unwrap().ok());
}

/// Each level sees what it says it does.
#[test]
fn levels_see_what_they_say() {
    let (files, _) = closed_store(1);
    let flip = |name: &str, at: usize| {
        let mut bytes = files.get(name).unwrap().clone();
        bytes[at] ^= 0x40;
        bytes
    };
    // A vector's component, a link to what is no slot, the spare bytes of a meta file.
    for (name, at, seen) in [
        ("c/0/vectors", 3, [false, true, false, true]),
        ("c/0/links", 2, [false, true, true, true]),
        ("c/0/meta", 60, [true; 4]),
    ] {
        let damaged = flip(name, at);
        for (level, seen) in VerifyLevel::ALL.into_iter().zip(seen) {
            let store = options().open(files.write_with(name, &damaged)).unwrap();
            let report = store.verify_with(VerifyOptions::new().level(level)).unwrap();
            assert_eq!(report.problem_count > 0, seen, "{name} at level {level}: {:?}", report.problems);
        }
    }
}
