//! Damage to the log of a store that was not closed, and to checkpoint files that recovery needs.

use super::files::{self, Files, Outcome, Table, Watch};
use super::{Models, ask, fill, options};
use crate::support::keyed::Numbered;
use crate::support::model::{Rng, seed};
use lodestore::disk::Disk;
use lodestore::{Codes, Durability, Error, Metric, Store};
use lodestore_wal::disk::{CrashMode, SimDisk};
use std::sync::Arc;

/// Writes one by one, each a log group, and what the store holds after each; then the files as a kill leaves them.
fn unclosed_store(durability: Durability) -> (Files, Vec<Models>) {
    let dir = files::directory();
    let store = options().durability(durability).open(dir.path()).unwrap();
    let mut rng = Rng::new(5);
    let mut states = vec![Models::default()];
    let plain = store.collection::<u64>("plain").dim(6).m(4).codes(Codes::Four).open_or_create().unwrap();
    let angles = store.collection::<str>("angles").dim(5).metric(Metric::Cosine).m(3).open_or_create().unwrap();
    for n in 0..40u64 {
        let mut now = states[states.len() - 1].clone();
        let key = rng.below(25) as u64;
        match n % 5 {
            0 | 1 => {
                let (vector, payload) = (rng.vector(6), vec![n as u8; rng.below(700)]);
                plain.put(key, &vector, &payload).unwrap();
                now.plain.put(key, &vector, &payload);
            }
            2 => {
                let vector = rng.vector(5);
                angles.put(str::key(key), &vector, b"").unwrap();
                now.angles.put(key, &vector, b"");
            }
            3 => {
                let (one, two) = (rng.vector(6), rng.vector(5));
                let mut batch = store.batch();
                batch.put(&plain, key, &one, b"both").unwrap();
                batch.put(&angles, str::key(key + 1), &two, b"both").unwrap();
                batch.remove(&plain, key + 2).unwrap();
                batch.commit().unwrap();
                now.plain.put(key, &one, b"both");
                now.angles.put(key + 1, &two, b"both");
                now.plain.remove(key + 2);
            }
            _ => {
                plain.remove(key).unwrap();
                now.plain.remove(key);
            }
        }
        states.push(now);
        if n == 15 {
            store.checkpoint().unwrap();
        }
    }
    let files = Files::read(dir.path());
    (files, states)
}

/// Where the groups of a log file start: this store syncs after each, so that all start a block.
fn groups(log: &[u8]) -> Vec<usize> {
    (4096..log.len()).step_by(4096).filter(|&at| log[at..].starts_with(b"GRP1")).collect()
}

fn log_file(files: &Files) -> (String, Vec<u8>) {
    let (name, bytes) = files.each().filter(|(name, _)| name.starts_with("wal/")).last().unwrap();
    (name.clone(), bytes.clone())
}

#[test]
fn flipped_bits_in_the_log_of_a_store_that_was_not_closed() {
    let mut rng = Rng::new(seed("log flips"));
    let (files, states) = unclosed_store(Durability::Sync);
    let (name, log) = log_file(&files);
    let last = *groups(&log).last().unwrap();
    let watch = Watch::start();
    let mut table = Table::default();
    for at in files::places(&log, 1500, &mut rng) {
        let mut damaged = log.clone();
        damaged[at] ^= 1 << rng.below(8);
        let path = files.write_with(&name, &damaged);
        let (case, outcome) = watch.run(&format!("{name} byte {at}"), || ask(options().open(path), &states));
        // A later group proves that this one was promised. Of the last, nothing does: it looks like a write cut short.
        let allowed = match outcome {
            Outcome::Prefix(n) => at >= last && n + 2 == states.len(),
            _ => true,
        };
        let outcome =
            if allowed { outcome } else { Outcome::Wrong(format!("{outcome:?}, the last group is at {last}")) };
        table.note(if at >= last { "last group" } else { "earlier" }, "flip", (case, outcome));
    }
    // All the other files are those of the checkpoint and of what was written since.
    for (name, bytes) in files.each().filter(|(other, _)| **other != name) {
        // redb's pages are changed by the replay: damage must not get a valid checksum that way.
        let budget = if name == "catalog.redb" { 500 } else { 60 };
        for at in files::places(bytes, budget, &mut rng) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << rng.below(8);
            let path = files.write_with(name, &damaged);
            table.note(name, "flip", watch.run(&format!("{name} byte {at}"), || ask(options().open(path), &states)));
        }
    }
    table.finish();
}

#[test]
fn a_torn_end_of_the_log_leaves_the_writes_before_it() {
    let mut rng = Rng::new(seed("torn"));
    for durability in [Durability::Sync, Durability::Buffered] {
        let (files, states) = unclosed_store(durability);
        let (name, log) = log_file(&files);
        let starts = groups(&log);
        let watch = Watch::start();
        let mut table = Table::default();
        for cut in (0..log.len()).step_by(512) {
            let mut torn = log[..cut].to_vec();
            // What lies behind the cut: nothing, zeros as room taken ahead, or whatever was there before.
            match cut / 512 % 3 {
                0 => {}
                1 => torn.resize(log.len(), 0),
                _ => torn.extend((cut..log.len()).map(|_| rng.next() as u8)),
            }
            let path = files.write_with(&name, &torn);
            let (case, outcome) = watch.run(&format!("cut at {cut}"), || ask(options().open(path), &states));
            let whole = starts.iter().filter(|&&at| at < cut).count();
            let outcome = match outcome {
                // At least what lies whole before the cut; the one that it goes through may have ended before.
                Outcome::Prefix(n) if durability == Durability::Sync && n + 1 < whole => {
                    Outcome::Wrong(format!("{n} writes, {whole} groups before the cut"))
                }
                other => other,
            };
            table.note(&format!("{durability:?}"), "torn", (case, outcome));
        }
        table.finish();
    }
}

#[test]
fn flipped_bits_in_a_log_that_was_never_synced_leave_a_prefix() {
    let mut rng = Rng::new(seed("buffered flips"));
    let (files, states) = unclosed_store(Durability::Buffered);
    let (name, log) = log_file(&files);
    let watch = Watch::start();
    let mut table = Table::default();
    for at in files::places(&log, 800, &mut rng) {
        let mut damaged = log.clone();
        damaged[at] ^= 1 << rng.below(8);
        let path = files.write_with(&name, &damaged);
        table.note(&name, "flip", watch.run(&format!("byte {at}"), || ask(options().open(path), &states)));
    }
    table.finish();
}

fn open_on(disk: Arc<SimDisk>) -> lodestore::Result<Store> {
    options().open_on(disk, "sim")
}

/// Disks whose power failed at each step of a checkpoint, with a checkpoint file left on them.
fn interrupted_checkpoints() -> (Vec<Arc<SimDisk>>, Models) {
    let (mut disks, mut models) = (Vec::new(), Models::default());
    for step in 1.. {
        let disk = SimDisk::new(1);
        let store = open_on(disk.clone()).unwrap();
        models = fill(&store, 3);
        disk.crash_at(disk.steps() + step);
        let taken = store.checkpoint();
        drop(store);
        if taken.is_ok() {
            break;
        }
        if !disk.reboot(CrashMode::KeepAll, 1).list("ckpt").unwrap().is_empty() {
            disks.push(disk);
        }
    }
    (disks, models)
}

#[test]
fn damage_to_a_checkpoint_file_that_recovery_finds() {
    let mut rng = Rng::new(seed("checkpoint files"));
    let (disks, models) = interrupted_checkpoints();
    assert!(disks.len() > 5, "{} steps leave a checkpoint file", disks.len());
    let watch = Watch::start();
    let mut table = Table::default();
    let mut too_new = 0;
    for (n, disk) in disks.iter().enumerate() {
        let fresh = || disk.reboot(CrashMode::KeepAll, 1);
        let name = format!("ckpt/{}", fresh().list("ckpt").unwrap()[0]);
        let file = fresh().open(&name).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        let mut damages: Vec<(&'static str, Vec<u8>)> = Vec::new();
        for at in files::places(&bytes, 25, &mut rng) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << rng.below(8);
            damages.push(("flip", damaged));
        }
        let cuts = [0, 1, 4096, bytes.len() / 2, bytes.len().saturating_sub(1)];
        damages.extend(cuts.into_iter().filter(|&cut| cut < bytes.len()).map(|cut| ("cut", bytes[..cut].to_vec())));
        if bytes.len() >= 4096 {
            let mut newer = bytes.clone();
            files::set_version(&mut newer, 8, 4092);
            damages.push(("version", newer));
        }
        for (kind, damaged) in damages {
            let disk = fresh();
            let file = disk.open(&name).unwrap();
            file.set_len(damaged.len() as u64).unwrap();
            file.write_at(0, &damaged).unwrap();
            let opened = open_on(disk);
            too_new += usize::from(matches!(&opened, Err(Error::FormatTooNew { file, found: 9, .. }) if *file == name));
            let case = format!("crash {n}, {kind}");
            table.note("*.pgs", kind, watch.run(&case, || ask(opened, std::slice::from_ref(&models))));
        }
        let gone = fresh();
        gone.remove(&name).unwrap();
        table.note("*.pgs", "missing", watch.run("missing", || ask(open_on(gone), std::slice::from_ref(&models))));
    }
    table.finish();
    assert!(too_new > 0, "a checkpoint file that is needed and newer is refused by its version");
}

/// Of the two slots of SUPER the newer one is damaged, so that a checkpoint file may be all that says how far the store
/// has got. A call that fails once while it is opened makes nothing worse: the next opening answers as it would have.
#[test]
fn a_failing_call_costs_a_damaged_store_nothing() {
    let (disks, models) = interrupted_checkpoints();
    let watch = Watch::start();
    let mut table = Table::default();
    for (n, disk) in disks.iter().enumerate().step_by(12) {
        let damaged = || {
            let disk = disk.reboot(CrashMode::KeepAll, 1);
            let file = disk.open("SUPER").unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_at(0, &mut bytes).unwrap();
            // Each slot has a number behind its magic and version; the higher one counts.
            let number = |at: usize| u64::from_le_bytes(bytes[at + 32..at + 40].try_into().unwrap());
            let newer = if number(0) > number(4096) { 0 } else { 4096 };
            file.write_at(newer + 50, &[!bytes[newer as usize + 50]]).unwrap();
            disk
        };
        let expected = ask(open_on(damaged()), std::slice::from_ref(&models));
        for call in 1.. {
            let disk = damaged();
            let first = disk.calls();
            disk.fail_call_at(first + call);
            drop(open_on(disk.clone()));
            let met = disk.calls() >= first + call;
            disk.fail_call_at(u64::MAX);
            let case = watch.run(&format!("crash {n}, call {call}"), || {
                let found = ask(open_on(disk), std::slice::from_ref(&models));
                if found == expected { found } else { Outcome::Wrong(format!("{found:?}, not {expected:?}")) }
            });
            table.note("SUPER", "and a call", case);
            if !met {
                break;
            }
        }
    }
    table.finish();
}
