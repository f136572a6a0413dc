//! Small file systems, full at every phase of a store's life.

use crate::Result;
use crate::mounts::{Mount, run};
use crate::program::{State, carry_out, check, open, ops, state, states};
use lodestore::Error;
use std::fs::create_dir;
use std::path::Path;
use std::time::Instant;

/// Sizes that are tried, in KiB: from what an empty store does not fit in to what all of it does.
const SIZES: std::ops::Range<u64> = 16..2600;
const STEP: usize = 28;

/// Runs the operations on a `tmpfs` of each size until it is full, gives it room, and goes on.
pub(crate) fn every_size(seed: u64) -> Result<()> {
    let root = tempfile::tempdir()?;
    let at = root.path().join("mounted");
    create_dir(&at)?;
    let ops = ops(seed);
    let states = states(&ops);
    let (began, mut sizes, mut full, mut poisoned) = (Instant::now(), 0, 0, 0);
    for size in SIZES.step_by(STEP) {
        let mount = Mount::with(&["-t", "tmpfs", "-o", &format!("size={size}k")], "tmpfs", &at)?;
        let (was_full, was_poisoned) =
            one_size(&mount.0.join("store"), &ops, &states, &at).map_err(|error| format!("{size} KiB: {error}"))?;
        sizes += 1;
        full += u64::from(was_full);
        poisoned += u64::from(was_poisoned);
    }
    println!(
        "{sizes} sizes in {:.0?}: {full} were full at some point, {poisoned} of them ended writing until reopened; nothing lost",
        began.elapsed()
    );
    Ok(())
}

/// Whether the disk was full, and whether the store had to be opened again.
fn one_size(store_at: &Path, ops: &[crate::program::Op], states: &[State], mounted: &Path) -> Result<(bool, bool)> {
    let more_room = || run("mount", &["-o", "remount,size=64m", &mounted.to_string_lossy()]);
    let (mut was_full, mut was_poisoned) = (false, false);
    let is_full = |error: &Error| matches!(error, Error::NoSpace { .. });
    let (mut store, mut docs) = match open(store_at) {
        Ok(opened) => opened,
        Err(error) if is_full(&error) => {
            was_full = true;
            more_room()?;
            open(store_at).map_err(|error| format!("with room again: {error}"))?
        }
        Err(error) => return Err(format!("opening: {error}").into()),
    };
    let mut n = 0;
    while n < ops.len() {
        match carry_out(&store, &docs, &ops[n]) {
            Ok(()) => n += 1,
            Err(error @ (Error::NoSpace { .. } | Error::Poisoned { .. } | Error::Io { .. } | Error::Catalog(_))) => {
                was_full = true;
                let found = state(&docs)?;
                if found != states[n] && found != states[n + 1] {
                    return Err(format!("operation {}: {error}; and what can be read has changed", n + 1).into());
                }
                // It says the same again, or goes on where the room suffices.
                let again = carry_out(&store, &docs, &ops[n]);
                more_room()?;
                match again {
                    Ok(()) => n += 1,
                    Err(Error::Poisoned { .. }) => {
                        was_poisoned = true;
                        drop((store, docs));
                        n = check(store_at, states, n, n + 1)?;
                        (store, docs) = open(store_at)?;
                    }
                    Err(_) if found == states[n] => {}
                    Err(again) => return Err(format!("operation {}: {error}, then {again}", n + 1).into()),
                }
            }
            Err(error) => return Err(format!("operation {}: {error}", n + 1).into()),
        }
    }
    store.close()?;
    drop(docs);
    check(store_at, states, ops.len(), ops.len())?;
    Ok((was_full, was_poisoned))
}
