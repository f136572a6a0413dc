//! Crashes at every step: what was committed is there, what is there is a prefix, and the log goes on.

use super::*;
use crate::disk::{CrashMode, SimDisk};

/// What a run has been promised, and how far it may have got.
#[derive(Clone, Copy, Debug, Default)]
struct Promised {
    created: bool,
    written: u64,
    synced: u64,
    appended: u64,
    /// Everything before this may have been removed.
    removed: u64,
}

/// Runs until the disk fails.
fn run(disk: &Arc<dyn Disk>, seed: u64, now: &mut Promised) -> Result<()> {
    let log = if now.created {
        let mut scan = scan(disk, now.removed + 1)?;
        scan.replay::<Error>(|_| Ok(()))?;
        let found = scan.next_lsn() - 1;
        assert!(found >= now.synced, "record {} was promised, the log ends at {found}", now.synced);
        assert!(found <= now.appended, "record {found} was never appended");
        now.appended = found;
        scan.into_log(Poison::new())?
    } else {
        Log::create(Arc::clone(disk), UUID, Poison::new())?
    };
    now.created = true;
    // Opening made what it found durable.
    (now.written, now.synced) = (log.durable_lsn(), log.durable_lsn());
    for round in seed..seed + 12 {
        now.appended = append(&log, 1 + round as usize % 3).inspect(|lsn| now.appended = *lsn)?;
        match round % 7 {
            0 | 3 => {
                log.commit(now.appended, Commit::Written)?;
                now.written = now.appended;
            }
            1 | 5 => log.commit(now.appended, Commit::Synced)?,
            2 => log.seal()?,
            4 => {
                let last = log.rotate()?;
                if round % 2 == 0 {
                    now.removed = last;
                    log.remove_through(last)?;
                }
            }
            _ => {}
        }
        now.synced = log.durable_lsn();
        now.written = now.written.max(now.synced);
    }
    Ok(())
}

/// Reads all there is, and checks it against what was promised.
fn verify(disk: &Arc<dyn Disk>, promised: Promised, context: &str) {
    if !promised.created {
        return;
    }
    let first = promised.removed + 1;
    let records = read(disk, first).unwrap_or_else(|error| panic!("{context}: {error}"));
    check(&records, first);
    let last = promised.removed + records.len() as u64;
    assert!((promised.written..=promised.appended).contains(&last), "{context}: {last} records of {promised:?}");
}

/// The disk after a crash. Only the end of the process leaves what was not synced.
fn reboot(sim: &SimDisk, mode: CrashMode, seed: u64, promised: &mut Promised) -> Arc<SimDisk> {
    if mode != CrashMode::ProcessKill {
        promised.written = promised.synced;
    }
    sim.reboot(mode, seed)
}

#[test]
fn a_crash_at_any_step_loses_nothing_promised() {
    fix_salt(0);
    let mut points = 0;
    for seed in 0..28 {
        let mut step = 1;
        loop {
            let sim = SimDisk::new(seed);
            sim.crash_at(step);
            let mut promised = Promised::default();
            let disk: Arc<dyn Disk> = Arc::clone(&sim) as _;
            let finished = run(&disk, seed, &mut promised).is_ok();
            for (mode, pick) in CrashMode::ALL.into_iter().flat_map(|mode| (0..3).map(move |pick| (mode, pick))) {
                let context = format!("seed {seed}, step {step}, {mode:?} {pick}");
                let mut promised = promised;
                let sim = reboot(&sim, mode, pick, &mut promised);
                points += crash_again(sim, seed + step + pick, promised, &context);
            }
            if finished {
                break;
            }
            step += 1;
        }
    }
    assert!(points > 10_000, "{points}");
}

/// Goes on after a crash and crashes again, a few times, also while opening. Returns how many crashes there were.
fn crash_again(mut sim: Arc<SimDisk>, seed: u64, mut promised: Promised, context: &str) -> u64 {
    for again in 0..3 {
        let disk: Arc<dyn Disk> = Arc::clone(&sim) as _;
        if (seed + again).is_multiple_of(2) {
            // Reading syncs what it finds, and then it is there to stay; the other times the next run has to do it.
            verify(&disk, promised, context);
        }
        sim.crash_at(sim.steps() + 1 + (seed * 5 + again * 3) % 17);
        if seed % 5 == again {
            sim.fail_sync_at(sim.syncs() + 1 + seed % 11);
        }
        if run(&disk, seed + again, &mut promised).is_err() && !sim.is_crashed() {
            // What a failing sync touched may be gone even if only the process ends.
            promised.written = promised.synced;
        }
        sim = reboot(
            &sim,
            CrashMode::ALL[((seed + again) / 2) as usize % CrashMode::ALL.len()],
            seed + again,
            &mut promised,
        );
    }
    verify(&(sim as _), promised, context);
    4
}
