//! Random lives of a store: operations, faults, crashes, crashes while it recovers from crashes.

use super::machine::{Live, Machine, Setup, Trouble, Wrong, check_report};
use super::model::{Maker, Op};
use lodestore::{Durability, Error, VerifyReport};
use lodestore_wal::disk::CrashMode;

/// Crash points met: moments at which the power, or the process, ended, and what was left was opened and compared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) crashes: u64,
    /// Of which while a store was being opened, or recovered from the crash before.
    pub(super) in_recovery: u64,
    /// Failed calls, full disks.
    pub(super) faults: u64,
    /// Operations carried out.
    pub(super) ops: u64,
    /// Backups that were restored after a crash and compared.
    pub(super) restored: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.crashes += other.crashes;
        self.in_recovery += other.in_recovery;
        self.faults += other.faults;
        self.ops += other.ops;
        self.restored += other.restored;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { crashes, in_recovery, faults, ops, restored } = self;
        write!(f, "{crashes} crash points, {in_recovery} of them in recovery, {faults} faults, {ops} operations")?;
        write!(f, ", {restored} backups restored")
    }
}

/// What is to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The power fails at a step.
    Crash,
    /// The power fails in a sync.
    CrashInSync,
    /// The process ends between two operations.
    Kill,
    Sync,
    Write,
    Read,
    /// Any call at all.
    Call,
    FullOnce,
    Full,
    None,
}

/// Further ways in which each crash of a program might have ended, which are opened and compared beside it.
const IMAGES: u64 = 3;

pub(super) struct Program {
    machine: Machine,
    maker: Maker,
    pub(super) counts: Counts,
    /// What happened, for a report.
    pub(super) story: Vec<String>,
    /// Whether that is also said at once, for a program that does not end.
    aloud: bool,
}

impl Program {
    pub(super) fn new(seed: u64, setup: Setup) -> Self {
        Self {
            machine: Machine::new(setup, seed),
            maker: Maker { payloads: setup.payloads, backups: setup.backups, ..Maker::new(seed) },
            counts: Counts::default(),
            story: Vec::new(),
            aloud: std::env::var_os("LODESTORE_CRASH_ALOUD").is_some(),
        }
    }

    /// A setup that the seed picks.
    pub(super) fn setup(seed: u64) -> Setup {
        let durability = if seed.is_multiple_of(2) { Durability::Sync } else { Durability::Buffered };
        let mut setup = Setup::new(durability);
        if seed.is_multiple_of(3) {
            // A checkpoint every few dozen writes, within the write that makes it due.
            setup.log_bytes = 16 << 10;
        }
        setup
    }

    /// Opens, works, fails and recovers, a few times.
    pub(super) fn run(&mut self) -> Result<(), Wrong> {
        for _ in 0..self.maker.rng.within(3..7) {
            self.life()?;
        }
        self.counts.restored += self.machine.check_backups(None)? + self.machine.recover()?;
        Ok(())
    }

    fn tell(&mut self, what: impl Into<String>) {
        let what = what.into();
        if self.aloud {
            println!("{what}");
        }
        self.story.push(what);
    }

    fn below(&mut self, n: u64) -> u64 {
        self.maker.rng.within(0..n)
    }

    fn life(&mut self) -> Result<(), Wrong> {
        let fault = match self.below(16) {
            0..4 => Fault::Crash,
            4 | 5 => Fault::CrashInSync,
            6 | 7 => Fault::Kill,
            8 | 9 => Fault::Sync,
            10 => Fault::Write,
            11 => Fault::Read,
            12 => Fault::Call,
            13 => Fault::FullOnce,
            14 => Fault::Full,
            _ => Fault::None,
        };
        // Half of the time within the opening.
        let early = self.maker.rng.one_in(2);
        let sim = self.machine.sim.clone();
        sim.set_tracing(true);
        sim.set_short_writes(self.maker.rng.one_in(4));
        let soon =
            |program: &mut Self, opening: u64, working: u64| 1 + program.below(if early { opening } else { working });
        match fault {
            Fault::Crash => sim.crash_at(sim.steps() + soon(self, 60, 300)),
            Fault::CrashInSync => sim.crash_at_sync(sim.syncs() + soon(self, 20, 80)),
            Fault::Sync => sim.fail_sync_at(sim.syncs() + soon(self, 20, 80)),
            Fault::Write => sim.fail_write_at(sim.writes() + soon(self, 20, 150)),
            Fault::Read => sim.fail_read_at(sim.reads() + soon(self, 60, 300)),
            Fault::Call => sim.fail_call_at(sim.calls() + soon(self, 150, 600)),
            Fault::FullOnce => sim.no_space_at_write(sim.writes() + soon(self, 20, 150)),
            Fault::Full => {
                let room = soon(self, 20 << 10, 200 << 10);
                sim.no_space_after(room);
            }
            Fault::Kill | Fault::None => {}
        }
        self.tell(format!("-- {fault:?}, early: {early}, from step {}", sim.steps()));
        let live = match self.machine.open() {
            Ok(live) => live,
            Err(error) => {
                self.tell(format!("opening: {error}"));
                return self.ended(None, error, false, true);
            }
        };
        // Opening a collection makes room in its files, and looking reads.
        let missing = match self.machine.settle(&live) {
            Err(Trouble::Failed(error)) if sim.is_crashed() => {
                return self.ended(Some(live), error, false, false);
            }
            Err(Trouble::Failed(error)) if self.faulted() => {
                self.tell(format!("looking: {error}"));
                // What failed was reading: all is there as soon as the disk lets it be read.
                self.lift();
                self.machine.settle(&live)?;
                return self.ended(Some(live), error, false, false);
            }
            settled => settled?,
        };
        if self.maker.rng.one_in(2) {
            match live.store.verify() {
                // A fault while it looks at the disk is in its report.
                Ok(report) if self.faulted() && of_the_disk(&report) => {
                    let error = Error::Poisoned { first: report.problems.join("; ") };
                    return self.ended(Some(live), error, false, false);
                }
                Ok(report) => check_report(&report, missing)?,
                Err(error) => return self.ended(Some(live), error, false, false),
            }
        }
        self.work(live, fault)
    }

    /// Carries out operations until something fails or the life is over.
    fn work(&mut self, mut live: Live, fault: Fault) -> Result<(), Wrong> {
        for _ in 0..self.below(40) {
            let op = self.maker.any(self.machine.history.now());
            self.tell(format!("{} {}", self.machine.sim.steps(), brief(&op)));
            let before = self.machine.history.last();
            self.counts.ops += 1;
            live = match self.machine.carry_out(live, &op) {
                Ok(live) => live,
                Err((live, error)) => {
                    let history = &self.machine.history;
                    let begun = history.last() > before.max(history.written);
                    self.tell(format!("failed: {error}"));
                    return self.ended(live, error, begun, false);
                }
            };
        }
        match fault {
            Fault::Kill => self.lights_out(Some(live), CrashMode::ProcessKill),
            Fault::Crash | Fault::CrashInSync => {
                let mode = self.mode();
                self.lights_out(Some(live), mode)
            }
            _ => match live.store.close() {
                Ok(()) => {
                    self.machine.closed();
                    self.lift();
                    Ok(())
                }
                Err(error) => {
                    self.tell(format!("closing: {error}"));
                    self.ended(None, error, false, false)
                }
            },
        }
    }

    /// Any; power losses more often, which can end in more ways.
    fn mode(&mut self) -> CrashMode {
        let n = self.below(8) as usize;
        CrashMode::ALL.get(n).copied().unwrap_or(CrashMode::PowerLoss)
    }

    fn faulted(&self) -> bool {
        self.machine.sim.trace().iter().any(|step| step.contains(" !"))
    }

    /// No more faults on this disk.
    fn lift(&mut self) {
        let sim = &self.machine.sim;
        sim.crash_at(u64::MAX);
        sim.crash_at_sync(u64::MAX);
        sim.fail_sync_at(u64::MAX);
        sim.fail_write_at(u64::MAX);
        sim.fail_read_at(u64::MAX);
        sim.fail_call_at(u64::MAX);
        sim.no_space_at_write(u64::MAX);
        sim.no_space_after(u64::MAX);
    }

    fn lights_out(&mut self, live: Option<Live>, mode: CrashMode) -> Result<(), Wrong> {
        for _ in 0..IMAGES {
            let (mode, seed) = (self.mode(), self.maker.rng.next());
            self.counts.crashes += 1;
            let mut image = self.machine.rebooted(mode, seed);
            let mut what = format!("as it might have been, {mode:?} {seed}");
            let opened = self.crash_again(&mut image, &mut what).and_then(|()| image.glance());
            self.counts.restored += opened.map_err(|wrong| format!("{what}: {wrong}"))?;
        }
        self.counts.crashes += 1;
        let seed = self.maker.rng.next();
        self.machine.reboot(mode, seed);
        drop(live);
        let mut what = format!("{mode:?} {seed}");
        let nothing = Machine::new(self.machine.setup, 0);
        let mut machine = std::mem::replace(&mut self.machine, nothing);
        let again = self.crash_again(&mut machine, &mut what);
        self.tell(what);
        self.machine = machine;
        again
    }

    /// Crashes recoveries, none to four of them, one after the other.
    fn crash_again(&mut self, machine: &mut Machine, what: &mut String) -> Result<(), Wrong> {
        for _ in 0..self.below(4) + self.below(2) {
            let sim = machine.sim.clone();
            // Recovery takes some seventy steps or, with nothing to replay, a dozen.
            let soon = 1 + [8, 16, 60][self.below(3) as usize] * self.below(1 << 16) / (1 << 16);
            if self.maker.rng.one_in(3) {
                sim.crash_at_sync(sim.syncs() + 1 + soon / 3);
            } else {
                sim.crash_at(sim.steps() + soon);
            }
            sim.set_tracing(self.aloud);
            let live = machine.open();
            if self.aloud {
                println!("{what}\n  {}", sim.trace().join("\n  "));
            }
            self.counts.crashes += 1;
            if sim.is_crashed() {
                self.counts.in_recovery += 1;
            } else {
                // Open before it got so far: a moment later it is killed.
                sim.crash_at(u64::MAX);
                sim.crash_at_sync(u64::MAX);
                let live = live.map_err(|error| format!("it does not open: {error}"))?;
                machine.settle(&live)?;
                // Dropping it closes it no more.
                sim.crash_at(0);
            }
            let (mode, seed) = (self.mode(), self.maker.rng.next());
            *what += &format!("; while opening, at step {}, {mode:?} {seed}", sim.steps());
            machine.reboot(mode, seed);
        }
        Ok(())
    }

    /// Something failed: by the crash that was set, or by a fault that the store has to live with.
    /// `begun` says that the model is ahead by an operation of which it is open whether it happened.
    fn ended(&mut self, live: Option<Live>, error: Error, begun: bool, opening: bool) -> Result<(), Wrong> {
        if self.machine.sim.is_crashed() {
            self.counts.in_recovery += u64::from(opening);
            let mode = self.mode();
            return self.lights_out(live, mode);
        }
        if !self.faulted() {
            return Err(format!("nothing was wrong with the disk: {error}"));
        }
        self.counts.faults += 1;
        self.tell(format!("{error}"));
        if !matches!(error, Error::Io { .. } | Error::NoSpace { .. } | Error::Poisoned { .. } | Error::Catalog(_)) {
            return Err(format!("an unfitting error: {error}"));
        }
        // A failed sync of the log may have lost what only the system's cache had.
        let log_lost = |step: &String| step.contains(" sync wal/") && step.contains("!eio");
        if self.machine.sim.trace().iter().any(log_lost) {
            self.machine.history.written = self.machine.history.synced;
        }
        self.lift();
        if let Some(live) = live {
            self.live_on(live, &error, begun)?;
        }
        // Some go on with the same system, some lose power.
        if self.maker.rng.one_in(2) {
            let mode = self.mode();
            return self.lights_out(None, mode);
        }
        Ok(())
    }

    /// After a fault reads go on; writes too, unless the store is poisoned.
    fn live_on(&mut self, live: Live, error: &Error, begun: bool) -> Result<(), Wrong> {
        let after = |wrong: Wrong| format!("after {error}: {wrong}");
        let found = live.state().map_err(|trouble| after(trouble.into()))?;
        live.check_searches(&found).map_err(|trouble| after(trouble.into()))?;
        let history = &self.machine.history;
        let (last, before) = (history.last(), history.last() - usize::from(begun));
        if !history.states[before..=last].contains(&found) {
            return Err(after("the open store holds what it never held".into()));
        }
        let unchanged = history.states[before] == found;
        let Some(&collection) = history.states[before].keys().next() else { return Ok(()) };
        let key = self.below(super::model::KEYS);
        let op = self.maker.put(collection, key);
        self.tell(format!("{} {}", self.machine.sim.steps(), brief(&op)));
        let history = self.machine.history.clone();
        // What failed must not have happened if the store goes on.
        self.machine.history.states.truncate(before + 1);
        match self.machine.carry_out(live, &op) {
            Ok(live) => {
                self.tell("went on");
                if !unchanged {
                    return Err(after("the operation was carried out, and the store goes on".into()));
                }
                self.machine.check(&live)
            }
            Err((_, Error::Poisoned { .. })) => {
                self.tell("poisoned");
                self.machine.history = history;
                Ok(())
            }
            Err((_, error)) => Err(format!("a store that failed before says: {error}")),
        }
    }
}

/// Whether a report tells of errors of the disk, and of nothing else: no fault excuses a word of damage.
fn of_the_disk(report: &VerifyReport) -> bool {
    // The last is redb's, after one of the others.
    const SAID: [&str; 4] =
        ["simulated crash", "Input/output error", "no space left on the disk", "Previous I/O error occurred"];
    let excused = |problem: &String| SAID.iter().any(|said| problem.contains(said));
    let damaged = report.files.iter().any(|file| file.damage_count > 0);
    !report.ok() && !damaged && report.problems.iter().all(excused)
}

/// An operation without its vectors.
fn brief(op: &Op) -> String {
    match op {
        Op::Write(changes) => {
            let brief = |(c, k, v): &super::model::Change| format!("{c}/{k}{}", if v.is_some() { "" } else { "-" });
            let changes: Vec<_> = changes.iter().map(brief).collect();
            format!("write {}", changes.join(" "))
        }
        Op::PutMany(collection, rows) => {
            format!("put many {collection}/{}..={}", rows[0].0, rows[rows.len() - 1].0)
        }
        Op::Backup(Some((calls, write))) => format!("backup, after {calls} calls {}", brief(write)),
        other => format!("{other:?}"),
    }
}
