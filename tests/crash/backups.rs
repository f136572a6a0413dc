//! Backups in a directory of the simulated disk: what each must hold, and whether it does.

use super::machine::{Live, Machine, Setup, Wrong, check_report, difference};
use super::model::State;
use lodestore::disk::{Disk, DiskFile, DiskLock};
use lodestore::{Backups, Error, Store};
use lodestore_wal::Result;
use lodestore_wal::disk::{CrashMode, SimDisk};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where they are: beside the store's own files, so that one power cut meets both.
pub(super) const DIR: &str = "backups";

/// That directory as a disk.
#[derive(Debug)]
struct Below(Arc<dyn Disk>);

fn below(path: &str) -> String {
    if path.is_empty() { DIR.into() } else { format!("{DIR}/{path}") }
}

impl Disk for Below {
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        self.0.create(&below(path))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        self.0.open(&below(path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.0.rename(&below(from), &below(to))
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.0.remove(&below(path))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        self.0.list(&below(dir))
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        self.0.create_dir(&below(path))
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        self.0.remove_dir(&below(path))
    }

    fn sync_dir(&self, dir: &str) -> Result<()> {
        self.0.sync_dir(&below(dir))
    }

    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn DiskLock>> {
        self.0.lock(&below(path), holder)
    }
}

/// Makes a backup of a store on the same disk; its number.
pub(super) fn take(store: &Store, disk: Arc<dyn Disk>) -> std::result::Result<u64, Error> {
    disk.create_dir(DIR)?;
    disk.sync_dir("")?;
    Ok(store.backup(DIR).run_on(Arc::new(Below(disk)))?.number)
}

/// What backups there must be, and of which states.
#[derive(Clone, Default)]
pub(super) struct Kept {
    /// Those that were acknowledged, by number. One that a write fell into may be of the state before or after it.
    committed: BTreeMap<u64, Vec<State>>,
    /// States of those that failed or were cut short. They may be there all the same, whole.
    unsure: Vec<State>,
}

impl Kept {
    /// Notes a backup of one of these states, with its number if it was acknowledged.
    pub(super) fn note(&mut self, number: Option<u64>, states: Vec<State>) {
        match number {
            Some(number) => drop(self.committed.insert(number, states)),
            None => self.unsure.extend(states),
        }
    }

    /// Every backup that was acknowledged is listed and whole, no other is listed that is not; one of them, or all, are
    /// restored and compared. Returns how many were.
    pub(super) fn check(&self, setup: Setup, sim: &Arc<SimDisk>, one: Option<u64>) -> std::result::Result<u64, Wrong> {
        if self.committed.is_empty() && self.unsure.is_empty() {
            return Ok(0);
        }
        let listed = match sim.list(DIR) {
            Err(error) if error.is_not_found() => Vec::new(),
            Err(error) => return Err(format!("the backups: {error}")),
            Ok(_) => {
                let backups = Backups::open_on(Arc::new(Below(sim.clone())), DIR);
                let backups = backups.map_err(|error| format!("the backups: {error}"))?;
                if !backups.damaged().is_empty() {
                    return Err(format!("damaged backups: {:?}", backups.damaged()));
                }
                let numbers: Vec<u64> = backups.list().iter().map(|info| info.number).collect();
                for (place, &number) in numbers.iter().enumerate() {
                    backups.verify(number).map_err(|error| format!("backup {number} of {numbers:?}: {error}"))?;
                    if one.is_none_or(|one| one % numbers.len() as u64 == place as u64) {
                        let states = self.committed.get(&number).unwrap_or(&self.unsure);
                        let seed = one.unwrap_or(0) ^ number;
                        restore(&backups, number, states, (setup, seed))
                            .map_err(|wrong| format!("backup {number} of {numbers:?}: {wrong}"))?;
                    }
                }
                numbers
            }
        };
        if let Some(gone) = self.committed.keys().find(|number| !listed.contains(number)) {
            return Err(format!("backup {gone} was acknowledged, {listed:?} are there"));
        }
        Ok(one.map_or(listed.len() as u64, |_| listed.len().min(1) as u64))
    }
}

/// Restores it, mostly until the power fails first, and compares what is there then.
fn restore(
    backups: &Backups,
    number: u64,
    states: &[State],
    (setup, seed): (Setup, u64),
) -> std::result::Result<(), Wrong> {
    let mut disk = SimDisk::new(seed);
    // A restore of a small store takes some hundred steps.
    disk.crash_at(1 + seed % 128);
    let result = backups.restore_on(number, disk.clone(), "restored");
    if disk.is_crashed() {
        let mode = CrashMode::ALL[(seed / 128 % 5) as usize];
        disk = disk.reboot(mode, seed);
        let mut machine = Machine::restored(setup, disk.clone());
        match machine.open() {
            Err(Error::NotAStore { .. }) => {}
            // Its last step may have been the one that makes it a store.
            Ok(live) => compare(&live, states)?,
            Err(error) => return Err(format!("a restore cut short, {mode:?}, leaves what says: {error}")),
        }
        clear(&*disk, "").map_err(|error| error.to_string())?;
        backups.restore_on(number, disk.clone(), "restored").map_err(|error| format!("once more: {error}"))?;
    } else {
        result.map_err(|error| error.to_string())?;
    }
    // What was restored is on the platter.
    let mut machine = Machine::restored(setup, disk.reboot(CrashMode::KeepNothing, 1));
    let live = machine.open().map_err(|error| format!("what was restored does not open: {error}"))?;
    compare(&live, states)
}

/// The store holds one of the states, and all is right with it.
fn compare(live: &Live, states: &[State]) -> std::result::Result<(), Wrong> {
    let found = live.state().map_err(Wrong::from)?;
    if !states.contains(&found) {
        let expected = states.first().map(|state| difference(&found, state));
        return Err(format!("what was restored is none of {} states: {expected:?}", states.len()));
    }
    let missing = live.check_searches(&found).map_err(Wrong::from)?;
    let report = live.store.verify().map_err(|error| format!("verify: {error}"))?;
    check_report(&report, missing)
}

/// Removes all files below a directory, durably: to the simulated disk a directory made anew is the one it was.
fn clear(disk: &dyn Disk, dir: &str) -> Result<()> {
    for name in disk.list(dir)? {
        let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
        match disk.list(&path) {
            Ok(_) => {
                clear(disk, &path)?;
                disk.remove_dir(&path)?;
            }
            Err(_) => disk.remove(&path)?,
        }
    }
    disk.sync_dir(dir)
}
