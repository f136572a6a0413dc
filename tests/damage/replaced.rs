//! Files of a store that are something else: shorter, of another time, of another store, no file at all, or not ours to read.

use super::files::{self, Files, Outcome, Table, Watch};
use super::{Models, closed_store, examine, options};
use crate::input::places;
use crate::support::keyed::Numbered;
use crate::support::model::{Rng, seed};
use lodestore::{Codes, Metric};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// About so many lengths of each file are tried unless `LODESTORE_EVERY_BYTE` is set.
const LENGTHS: usize = 60;

#[test]
fn every_length_of_every_file() {
    let mut rng = Rng::new(seed("every length"));
    let (files, models) = closed_store(1);
    let every = std::env::var_os("LODESTORE_EVERY_BYTE").is_some();
    let (watch, mut table) = (Watch::start(), Table::default());
    let (mut tried, mut all) = (0, 0);
    for (name, bytes) in files.each() {
        all += bytes.len();
        let step = if every { 1 } else { bytes.len().div_ceil(LENGTHS).max(1) };
        let mut lengths: Vec<usize> = (if step > 1 { rng.below(step) } else { 0 }..bytes.len()).step_by(step).collect();
        // None, all but one, and the borders of pages.
        lengths.extend([0, bytes.len().saturating_sub(1)]);
        lengths.extend((0..bytes.len()).step_by(4096).take(LENGTHS));
        lengths.sort_unstable();
        lengths.dedup();
        for length in lengths.into_iter().filter(|&length| length < bytes.len()) {
            let path = files.write_with(name, &bytes[..length]);
            table.note(name, "cut", watch.run(&format!("{name} cut to {length}"), || examine(path, &models)));
            tried += 1;
        }
    }
    println!("{tried} of {all} lengths");
    table.finish();
}

/// Something in the place of a file; `outside` is where there is room for what it leads to.
fn put_in_place(kind: &str, at: &Path, content: &[u8], outside: &Path) {
    let _ = std::fs::remove_file(outside);
    match kind {
        "missing" => {}
        "empty" => std::fs::write(at, b"").unwrap(),
        "directory" => std::fs::create_dir(at).unwrap(),
        "link" => {
            std::fs::write(outside, content).unwrap();
            symlink(outside, at).unwrap();
        }
        "dangling" => symlink(outside, at).unwrap(),
        "loop" => symlink(at, at).unwrap(),
        "pipe" => assert!(Command::new("mkfifo").arg(at).status().unwrap().success()),
        "socket" => drop(UnixListener::bind(at).unwrap()),
        "device" => symlink("/dev/zero", at).unwrap(),
        "longer" => std::fs::write(at, [content, &[0xA5; 5000]].concat()).unwrap(),
        "zeros" => std::fs::write(at, vec![0; content.len()]).unwrap(),
        other => unreachable!("{other}"),
    }
}

#[test]
fn every_file_replaced_by_something_else() {
    const KINDS: [&str; 11] =
        ["missing", "empty", "directory", "link", "dangling", "loop", "pipe", "socket", "device", "longer", "zeros"];
    let (files, models) = closed_store(1);
    let (watch, mut table) = (Watch::start(), Table::default());
    for (name, bytes) in files.with_lock() {
        for kind in KINDS {
            let path = files.write_without(name);
            let outside = path.with_file_name("outside");
            put_in_place(kind, &path.join(name), bytes, &outside);
            table.note(name, kind, watch.run(&format!("{name}: {kind}"), || examine(path, &models)));
            let kept = std::fs::read(&outside).ok();
            assert_eq!(
                kept.as_ref(),
                (kind == "link").then_some(bytes),
                "{name}: {kind}: what it leads to has changed"
            );
        }
    }
    table.finish();
}

const ROLE: &str = "LODESTORE_TEST_NO_PERMISSION";

/// Run again as a user whom modes bind; does nothing otherwise.
#[test]
fn as_another_user() {
    let Some(root) = std::env::var_os(ROLE) else { return };
    let (watch, mut table) = (Watch::start(), Table::default());
    for entry in std::fs::read_dir(&root).unwrap() {
        let store = entry.unwrap().path();
        let name = store.file_name().unwrap().to_str().unwrap().to_owned();
        let case = watch.run(&name, || match options().open(&store).and_then(|store| store.verify()) {
            Err(error) => Outcome::refused("open or verify", &error),
            Ok(report) if !report.ok() => Outcome::Damaged,
            Ok(_) => Outcome::Wrong("nobody has noticed".into()),
        });
        table.note(&name, "closed", case);
    }
    table.finish();
}

#[test]
fn every_file_without_permission() {
    if !places::can_be_somebody_else() {
        return;
    }
    let (files, _) = closed_store(1);
    let dir = tempfile::tempdir().unwrap();
    for (name, _) in files.with_lock() {
        let store = dir.path().join(name.replace('/', "-"));
        crate::support::files::copy(files.write(), &store);
        std::fs::set_permissions(store.join(name), std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    if places::is_root() {
        give_away(dir.path());
    }
    let (passed, text) = places::as_somebody_else("damage::replaced::as_another_user", (ROLE, dir.path()));
    println!("{text}");
    assert!(passed);
}

fn give_away(path: &Path) {
    chown(path, Some(places::SOMEBODY), Some(places::SOMEBODY)).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

/// What a second session does.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Payloads, which the catalogue alone has.
    Payloads,
    Puts,
    Removals,
    /// A compaction, and puts.
    Compacts,
}

fn sessions(then: Then) -> (Files, Files, Models) {
    let dir = files::directory();
    let store = options().open(dir.path()).unwrap();
    let mut models = super::fill(&store, 4);
    store.close().unwrap();
    let older = Files::read(dir.path());
    let store = options().open(dir.path()).unwrap();
    let plain = store.collection::<u64>("plain").open().unwrap();
    let live: Vec<u64> = models.plain.0.keys().copied().collect();
    match then {
        Then::Payloads => {
            for &key in &live {
                plain.set_payload(key, b"changed").unwrap();
                models.plain.0.get_mut(&key).unwrap().1 = b"changed".to_vec();
            }
        }
        Then::Puts | Then::Compacts => {
            if matches!(then, Then::Compacts) {
                plain.compact().run().unwrap();
            }
            for &key in &live[..9] {
                plain.put(key, &[key as f32, 1.0, 2.0, 3.0, 4.0, 5.0], b"again").unwrap();
                models.plain.put(key, &[key as f32, 1.0, 2.0, 3.0, 4.0, 5.0], b"again");
            }
        }
        Then::Removals => {
            for &key in &live[..9] {
                plain.remove(key).unwrap();
                models.plain.remove(key);
            }
        }
    }
    store.close().unwrap();
    (older, Files::read(dir.path()), models)
}

/// Each file as it was an hour ago, whole by itself: as after a restore of one file from somewhere.
#[test]
fn every_file_as_it_was_before() {
    let (watch, mut table) = (Watch::start(), Table::default());
    let mut changed = 0;
    for then in [Then::Payloads, Then::Puts, Then::Removals, Then::Compacts] {
        let (older, newer, models) = sessions(then);
        for (name, bytes) in older.each().filter(|(name, bytes)| newer.get(name) != Some(bytes)) {
            let path = newer.write_with(name, bytes);
            if newer.get(name).is_none() {
                std::fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
                std::fs::write(path.join(name), bytes).unwrap();
            }
            table.note(name, "older", watch.run(&format!("{name} before {then:?}"), || examine(path, &models)));
            changed += 1;
        }
    }
    assert!(changed > 20, "{changed}");
    table.finish();
}

/// A store made by the same operations with other vectors, or other payloads.
fn twin(vectors: u64, payloads: u8) -> (Files, Models) {
    let dir = files::directory();
    let store = options().open(dir.path()).unwrap();
    let (mut rng, mut models) = (Rng::new(vectors), Models::default());
    let plain = store.collection::<u64>("plain").dim(6).m(4).codes(Codes::Eight).create().unwrap();
    let angles = store.collection::<str>("angles").dim(5).metric(Metric::Cosine).m(3).create().unwrap();
    for key in 0..30u64 {
        let (one, two) = (rng.vector(6), rng.vector(5));
        plain.put(key, &one, &[payloads; 20]).unwrap();
        models.plain.put(key, &one, &[payloads; 20]);
        let name = str::key(key);
        angles.put(&name, &two, &[payloads]).unwrap();
        models.angles.put(key, &two, &[payloads]);
    }
    for key in [4, 9, 11] {
        plain.remove(key).unwrap();
        models.plain.remove(key);
    }
    store.close().unwrap();
    (Files::read(dir.path()), models)
}

/// Of a store with the same keys in the same slots by the same records of the log, the file fits wherever a number is
/// compared: only what says whose it is, or what is in it, can tell.
#[test]
fn every_file_of_another_store() {
    let (watch, mut table) = (Watch::start(), Table::default());
    let (files, models) = twin(1, 1);
    let (other_store, _) = closed_store(2);
    let others = [twin(1, 1).0, twin(1, 2).0, twin(2, 1).0, other_store];
    for (other, kind) in others.iter().zip(["twin", "payloads", "vectors", "foreign"]) {
        for (name, theirs) in other.each() {
            let path = files.write_with(name, theirs);
            if files.get(name).is_none() {
                std::fs::write(path.join(name), theirs).unwrap();
            }
            table.note(name, kind, watch.run(&format!("{name}: {kind}"), || examine(path, &models)));
        }
    }
    table.finish();
}
