//! Looking for damage while the store is in use: piece by piece, so that nobody waits for more than one.
//!
//! [`verify`](crate::Store::verify) keeps writers out until it has seen everything. A scrub reads the same checksums, and
//! what has been written meanwhile it may miss; the next one sees it. Not looked at: links as such, what lies between the
//! things that are in use, and the log, of which nothing gets old. All is read through the system's cache, as searches do.

use crate::background::spawn;
use crate::catalog;
use crate::error::{Error, Result};
use crate::findings::problem;
use crate::observe::{self, Work};
use crate::scrub_report::ScrubReport;
use crate::shared::{Open, Shared};
use lodestore_engine::{Findings, Super};
use lodestore_wal::{Poison, names};
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

/// Slots looked at while writers wait, pages while checkpoints do, rows at once.
const SLOTS: u32 = 128;
const PAGES: u64 = 256;
const ROWS: usize = 512;
/// In the background, so many times as long as a piece took nothing is done after it.
const REST: u32 = 19;
/// And no longer than this: most of it was waiting for others then.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Asked after each piece, with the time it took, whether to go on.
/// Who waits for another scrub is asked so often whether to go on.
const ASKED: Duration = Duration::from_millis(30);

type GoOn<'a> = &'a mut dyn FnMut(Duration) -> bool;

struct Pass<'a> {
    shared: &'a Shared,
    go_on: GoOn<'a>,
    findings: Findings,
    rows: u64,
}

impl Shared {
    /// Reads everything once. What was found is also in the store's stats.
    pub(crate) fn scrub(&self, go_on: GoOn<'_>) -> Result<ScrubReport> {
        self.check_open()?;
        self.check_writes()?;
        // One at a time: what is kept for it is kept for one.
        let _alone = loop {
            match self.scrub_alone.try_lock_for(ASKED) {
                Some(alone) => break alone,
                // One in the background may rest for long.
                None if !go_on(Duration::ZERO) => return Err(Error::Cancelled),
                None => self.check_open()?,
            }
        };
        let _work = observe::begin(Work::Scrub, &self.path);
        let pass = Pass { shared: self, go_on, findings: Findings::default(), rows: 0 };
        let report = pass.run()?;
        report.problems.iter().for_each(|problem| observe::damaged(&self.path, problem));
        *self.scrubbed.lock() = Some(report.clone());
        Ok(report)
    }
}

impl<'a> Pass<'a> {
    fn run(mut self) -> Result<ScrubReport> {
        if self.shared.disk.is_persistent() {
            self.step(heads)?;
            for name in self.shared.catalog.names().keys() {
                match self.shared.open_collection(name) {
                    Ok(open) => self.collection(&open)?,
                    Err(error) => problem(&mut self.findings, error),
                }
            }
            self.catalog()?;
        }
        let Findings { slots, pages, problems, problem_count, .. } = self.findings;
        Ok(ScrubReport { ended: SystemTime::now(), slots, pages, rows: self.rows, problems, problem_count })
    }

    /// One piece.
    fn step<T>(&mut self, piece: impl FnOnce(&'a Shared, &mut Findings) -> Result<T>) -> Result<T> {
        // What has stopped half-way is half written.
        self.shared.poison.check()?;
        let began = Instant::now();
        let done = piece(self.shared, &mut self.findings)?;
        if (self.go_on)(began.elapsed()) { Ok(done) } else { Err(Error::Cancelled) }
    }

    fn collection(&mut self, open: &Arc<Open>) -> Result<()> {
        let generation = open.index().generation();
        let mut page = 0;
        loop {
            let looked = self.step(|shared, findings| {
                let _checkpointing = shared.checkpointing.lock();
                shared.check_open()?;
                let index = open.index();
                // What compacting has just written waits for the next time.
                let same = index.generation() == generation;
                Ok(if same { index.scrub_pages(page, PAGES, findings) } else { 0 })
            })?;
            page += looked;
            if looked < PAGES {
                break;
            }
        }
        let mut slot = 0;
        loop {
            let looked = self.step(|shared, findings| {
                let _gate = shared.gate.write();
                shared.check_open()?;
                let index = open.index();
                let same = index.generation() == generation;
                Ok(if same { index.scrub_slots(slot, SLOTS, findings) } else { 0 })
            })?;
            slot += looked;
            if looked < SLOTS {
                return Ok(());
            }
        }
    }

    /// Every row, through every page that leads to it, as the last checkpoint has made them durable. As for a reader in another
    /// process they are kept meanwhile.
    fn catalog(&mut self) -> Result<()> {
        let opened = self.step(|shared, findings| {
            let checkpointing = shared.checkpointing.lock();
            shared.check_open()?;
            // What it is now, whatever a crash might leave.
            let state = Super { clean: true, ..shared.superblock.lock().1 };
            let kept = Scrubbing::of(shared, state.done);
            let file = shared.disk.open(names::CATALOG)?;
            let catalog = catalog::open(&file, &Poison::new(), &state, (true, 0));
            drop(checkpointing);
            Ok(match catalog {
                Ok((mut catalog, _)) => {
                    catalog.set_fleeting();
                    Some((kept, catalog))
                }
                Err(error) => {
                    problem(findings, error);
                    None
                }
            })
        })?;
        let Some((_kept, catalog)) = opened else { return Ok(()) };
        let mut rows = match catalog.walk() {
            Ok(rows) => rows,
            Err(error) => {
                problem(&mut self.findings, error);
                return Ok(());
            }
        };
        loop {
            let looked = self.step(|shared, findings| {
                shared.check_open()?;
                Ok(rows.some(ROWS).unwrap_or_else(|error| {
                    problem(findings, error);
                    0
                }))
            })?;
            self.rows += looked as u64;
            if looked < ROWS {
                break;
            }
        }
        drop(rows);
        Ok(())
    }
}

/// Keeps a checkpoint's catalogue as it is.
struct Scrubbing<'a>(&'a Shared);

impl<'a> Scrubbing<'a> {
    fn of(shared: &'a Shared, checkpoint: u64) -> Self {
        *shared.scrubbing.lock() = Some(checkpoint);
        Self(shared)
    }
}

impl Drop for Scrubbing<'_> {
    fn drop(&mut self) {
        *self.0.scrubbing.lock() = None;
    }
}

/// SUPER, the counters, and the lengths of all files.
fn heads(shared: &Shared, findings: &mut Findings) -> Result<()> {
    let _checkpointing = shared.checkpointing.lock();
    shared.check_open()?;
    {
        let superblock = shared.superblock.lock();
        superblock.0.check(&superblock.1, findings);
    }
    let ids: HashSet<u32> = shared.catalog.names().values().map(|entry| entry.id).collect();
    shared.heads.check(|id| ids.contains(&id), findings);
    let _gate = shared.gate.write();
    let open: Vec<_> = shared.open.read().values().map(|open| open.index()).collect();
    open.iter().for_each(|index| index.check_files(&*shared.disk, shared.uuid, findings));
    Ok(())
}

/// Starts the thread that scrubs, if it was asked for.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    let Some(period) = shared.options.scrub.filter(|_| shared.disk.is_persistent()) else { return Ok(()) };
    let (bell, weak) = (shared.scrub_bell.clone(), Arc::downgrade(shared));
    spawn("lodestore-scrub", move || {
        while !bell.wait(Some(period)).stop {
            let Some(shared) = Weak::upgrade(&weak) else { return };
            // What cannot be looked at now is looked at the next time; who closes the store rings.
            let _ = shared.scrub(&mut |took| !bell.wait(Some((REST * took).min(LONGEST_REST))).stop);
        }
    })
}
