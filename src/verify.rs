//! Whether a store is what it must be.

mod files;

use crate::error::{Error, Result};
use crate::findings;
use crate::key::{RowKey, shown};
use crate::observe::{self, Work};
use crate::pages;
use crate::shared::{Open, Shared};
use lodestore_engine::{Checks, Findings, Index, Steps};
use lodestore_wal::names;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How much [`Store::verify_with`](crate::Store::verify_with) looks at.
///
/// | level | looks at | takes |
/// |---|---|---|
/// | `Headers` | `SUPER`, `heads`, every `meta`, the headers of the log's files, the catalogue's first page; lengths | milliseconds |
/// | `Checksums` | the same, and every byte of every file: pages, slots, codes, the log, the catalogue | reading the store, and the codes made again |
/// | `Graph` | headers, every link, level and counter; each key and its slot say the same | reading links, ids and catalogue |
/// | `Full`, the default | all of it | the sum |
///
/// ```
/// assert_eq!("checksums".parse(), Ok(lodestore::VerifyLevel::Checksums));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum VerifyLevel {
    /// What opening needs.
    Headers,
    /// And every byte.
    Checksums,
    /// Headers, and what the links, keys and counters say of one another.
    Graph,
    /// Everything.
    #[default]
    Full,
}

impl VerifyLevel {
    /// All of them, the quickest first.
    pub const ALL: [VerifyLevel; 4] =
        [VerifyLevel::Headers, VerifyLevel::Checksums, VerifyLevel::Graph, VerifyLevel::Full];

    /// As it is written: `headers`, `checksums`, `graph`, `full`.
    pub fn name(self) -> &'static str {
        match self {
            VerifyLevel::Headers => "headers",
            VerifyLevel::Checksums => "checksums",
            VerifyLevel::Graph => "graph",
            VerifyLevel::Full => "full",
        }
    }

    fn checks(self) -> Checks {
        Checks {
            bytes: matches!(self, VerifyLevel::Checksums | VerifyLevel::Full),
            graph: matches!(self, VerifyLevel::Graph | VerifyLevel::Full),
        }
    }
}

impl fmt::Display for VerifyLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for VerifyLevel {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|level| level.name() == text);
        found.ok_or_else(|| format!("'{text}' is none of headers, checksums, graph, full"))
    }
}

/// What [`Store::verify_with`](crate::Store::verify_with) is to look at.
///
/// ```
/// use lodestore::{VerifyLevel, VerifyOptions};
/// let store = lodestore::Store::in_memory()?;
/// let tell = |done, all| {
///     println!("{done} of {all}");
///     true // false stops
/// };
/// let report = store.verify_with(VerifyOptions::new().level(VerifyLevel::Graph).progress(tell))?;
/// assert!(report.ok());
/// # Ok::<(), lodestore::Error>(())
/// ```
pub struct VerifyOptions<'a> {
    level: VerifyLevel,
    progress: Box<dyn FnMut(u64, u64) -> bool + 'a>,
}

impl Default for VerifyOptions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for VerifyOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyOptions").field("level", &self.level).finish_non_exhaustive()
    }
}

impl<'a> VerifyOptions<'a> {
    /// Everything.
    pub fn new() -> Self {
        Self { level: VerifyLevel::Full, progress: Box::new(|_, _| true) }
    }

    /// How much is looked at. Default: [`VerifyLevel::Full`].
    pub fn level(mut self, level: VerifyLevel) -> Self {
        self.level = level;
        self
    }

    /// Calls `progress` now and then with the steps done and those there are, about: one for each page, slot and list.
    /// If it says `false`, the check ends, and the report is of what was looked at until then.
    pub fn progress(mut self, progress: impl FnMut(u64, u64) -> bool + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }
}

/// What [`Store::verify`](crate::Store::verify) found.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let report = store.verify()?;
/// for problem in &report.problems {
///     eprintln!("{problem}");
/// }
/// assert!(report.ok());
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifyReport {
    /// What was to be looked at.
    pub level: VerifyLevel,
    /// Whether all of that was looked at; not if it was stopped.
    pub complete: bool,
    /// What was looked at in each collection.
    pub collections: Vec<CollectionReport>,
    /// What was looked at in each file, by name.
    pub files: Vec<FileReport>,
    /// Everything that is wrong, one sentence each; the first hundred of each collection.
    pub problems: Vec<String>,
    /// How many things are wrong.
    pub problem_count: u64,
    /// Bytes that hold nothing and are not as they were left, as after a write that a crash has cut short, or because
    /// they were changed; the slot of `SUPER` and the copy of the catalogue's first page that do not hold among them. No
    /// answer depends on them. The first hundred of each collection.
    pub notes: Vec<String>,
    /// How many of those there are.
    pub note_count: u64,
}

/// What was looked at in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileReport {
    /// Its name, relative to the store's directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Bytes that were compared with what says what they must be: a checksum, what they were made of, or zero.
    pub checked: u64,
    /// Where it is not as it was written; the first hundred places.
    pub damage: Vec<Damage>,
    /// How many such places were found.
    pub damage_count: u64,
}

pub use lodestore_engine::Damage;

/// What was looked at in one collection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CollectionReport {
    /// Its name.
    pub name: String,
    /// Records. Not counted at [`VerifyLevel::Headers`] and [`VerifyLevel::Checksums`], nor are links and dead and free
    /// slots.
    pub records: u64,
    /// Slots whose checksums were compared.
    pub slots: u64,
    /// Pages whose checksums were compared.
    pub pages: u64,
    /// Links that were looked at.
    pub links: u64,
    /// Records that no path of links leads to from the entry point, so that searches do not find them. Only writers that
    /// write at once leave any, rarely and not for long.
    pub unreachable: u64,
    /// The same for each level of the graph, from 0 up: records on it that no path of its links leads to from what is
    /// reached on the level above.
    pub unreachable_by_level: Vec<u64>,
    /// Records that no link points at.
    pub no_in_links: u64,
    /// Links that a record has on the lowest level, on average.
    pub mean_degree: f64,
    /// Slots of replaced and removed records that are still linked.
    pub dead: u64,
    /// Records that are [marked as deleted](crate::Collection::mark_deleted); `records` counts them, too.
    pub marked: u64,
    /// Slots that wait to be used again.
    pub free: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong, and everything that was to be looked at was. [Notes](Self::notes) do not count.
    pub fn ok(&self) -> bool {
        self.problem_count == 0 && self.complete
    }

    pub(crate) fn of(shared: &Shared, options: VerifyOptions<'_>) -> Result<Self> {
        shared.check_open()?;
        let _work = observe::begin(Work::Verify, &shared.path);
        let VerifyOptions { level, mut progress } = options;
        let checks = level.checks();
        if checks.bytes && shared.reader.is_some() {
            let what = "a store opened for reading is verified to the levels headers and graph only: a writer may be at its files";
            return Err(Error::Setting(what.into()));
        }
        let mut report = Self {
            level,
            complete: true,
            collections: Vec::new(),
            files: Vec::new(),
            problems: Vec::new(),
            problem_count: 0,
            notes: Vec::new(),
            note_count: 0,
        };
        let mut all = Findings::default();
        for name in shared.catalog.names().keys() {
            if let Err(error) = shared.open_collection(name) {
                all.problem(format!("collection '{name}': {error}"));
            }
        }
        // Pages are compared with what the last checkpoint wrote, so none may run; and nobody may change the graph.
        let mut checkpointing = shared.checkpointing.lock();
        // Whoever waited here for `close` must not write.
        shared.check_open()?;
        if checks.bytes || checks.graph {
            shared.link_pending()?;
        }
        let gate = shared.gate.write();
        if checks.bytes
            && let (Some(log), None) = (shared.log_if_any(), shared.poison.reason())
            && shared.seats().is_ok_and(|seats| !seats.is_empty())
        {
            // So that those who come in the meantime find segments and catalogue at one.
            let begun = shared.freeze(log)?;
            shared.write_frozen(&mut checkpointing, log, begun)?;
        }
        let mut open: Vec<_> = shared.open.read().values().cloned().collect();
        open.sort_unstable_by(|a, b| a.name.cmp(&b.name));

        let mut total: u64 = open.iter().map(|open| open.index().verify_steps(checks)).sum();
        if checks.bytes && shared.disk.is_persistent() {
            total += pages::pages_in(shared.disk.open(names::CATALOG)?.len()?);
        }
        if checks.graph {
            total += open.iter().map(|open| open.index().live()).sum::<u64>();
        }
        let mut done = 0;
        let mut tell = |steps: u64| {
            done += steps;
            progress(done.min(total), total)
        };
        let mut steps = Steps::new(&mut tell);
        if steps.told() {
            files::check(shared, checks, &open, &mut all, &mut steps);
        }
        report.check_collections(shared, checks, &open, &mut all, &mut steps);
        report.complete = !steps.stopped() && steps.told();
        report.take(all);
        drop(gate);
        // Checking may have made durable what no checkpoint has, and readers wait for the two to be at one.
        let known = shared.superblock.lock().1.ckpt_lsn;
        if checks.bytes && shared.catalog.applied() > known && shared.poison.reason().is_none() {
            // A failure that matters has poisoned the store; the others wait for the next one.
            let _ = shared.checkpoint_locked(&mut checkpointing);
        }
        Ok(report)
    }

    fn check_collections(
        &mut self,
        shared: &Shared,
        checks: Checks,
        open: &[Arc<Open>],
        all: &mut Findings,
        steps: &mut Steps<'_>,
    ) {
        let mut slots: HashMap<u32, Vec<(RowKey, u32)>> = HashMap::new();
        let listed = checks.graph && !steps.stopped() && {
            let listed = shared.catalog.for_each(|key, slot| {
                slots.entry(key.collection()).or_default().push((key, slot));
                steps.made(1);
            });
            listed.map_err(|error| findings::problem(all, error)).is_ok()
        };
        if listed && let Err(error) = shared.catalog.check_postings() {
            findings::problem(all, error);
        }
        for open in open {
            if steps.stopped() {
                return;
            }
            let index = open.index();
            let mut findings = index.verify_with(checks, steps);
            let rows = slots.remove(&open.id).unwrap_or_default();
            if listed && !steps.stopped() {
                check_keys(&index, &rows, &mut findings);
            }
            self.collections.push(CollectionReport {
                name: open.name.clone(),
                records: rows.len() as u64,
                slots: findings.slots,
                pages: findings.pages,
                links: findings.links,
                unreachable: findings.unreachable.first().copied().unwrap_or(0),
                unreachable_by_level: std::mem::take(&mut findings.unreachable),
                no_in_links: findings.no_in_links,
                mean_degree: findings.degrees as f64 / (findings.live + findings.marked).max(1) as f64,
                marked: findings.marked,
                dead: findings.dead,
                free: findings.free,
            });
            for what in findings.problems.iter_mut().chain(&mut findings.notes) {
                *what = format!("collection '{}': {what}", open.name);
            }
            all.append(findings);
        }
    }

    fn take(&mut self, all: Findings) {
        (self.problems, self.problem_count) = (all.problems, all.problem_count);
        (self.notes, self.note_count) = (all.notes, all.note_count);
        let file = |(name, found): (String, lodestore_engine::FileFindings)| FileReport {
            name,
            bytes: found.bytes,
            checked: found.checked,
            damage: found.damage,
            damage_count: found.damage_count,
        };
        self.files = all.files.into_iter().map(file).collect();
    }
}

/// The catalogue and the slots say the same: each key's slot is live, or marked as deleted, and names the key, and no
/// other slot is.
fn check_keys(index: &Index, rows: &[(RowKey, u32)], findings: &mut Findings) {
    for (key, slot) in rows {
        let (slot, key_type) = (*slot, index.geometry().key);
        let named = || key.shown(key_type);
        if slot >= index.next_slot() {
            findings.problem(format!("key {} is in slot {slot} of {}", named(), index.next_slot()));
        } else if index.is_gone(slot) {
            findings.problem(format!("key {} is in slot {slot}, which is a removed one", named()));
        } else {
            match index.key(index.id_of(slot).key) {
                Ok(kept) if key.is(kept) => {}
                Ok(kept) => findings.problem(format!("key {} is in slot {slot}, which says {}", named(), shown(kept))),
                // What is damaged has been told if bytes were checked.
                Err(_) if findings.slots > 0 && findings.problem_count > 0 => {}
                Err(error) => findings.problem(format!("key {}, in slot {slot}: {error}", named())),
            }
        }
    }
    let kept = findings.live + findings.marked;
    if rows.len() as u64 != kept {
        findings.problem(format!("{} keys, {kept} live or marked slots", rows.len()));
    }
}
