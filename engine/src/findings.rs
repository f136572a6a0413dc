//! What a check has found: counts, what is wrong, and in which file.

use lodestore_wal::{DiskFile, Error, Result};
use std::collections::BTreeMap;
use std::ops::Range;

/// Sentences kept of each kind, and places kept of each file.
pub const MAX_PROBLEMS: usize = 100;

/// A place in a file that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where, in bytes.
    pub offset: u64,
    /// Expected and found.
    pub what: String,
}

/// What was found in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFindings {
    /// Its length.
    pub bytes: u64,
    /// Bytes that were compared with a checksum, or with what else says what they must be.
    pub checked: u64,
    /// What is wrong, at most [`MAX_PROBLEMS`].
    pub damage: Vec<Damage>,
    /// How much is wrong, in all.
    pub damage_count: u64,
}

/// What was looked at, and what was wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Slots whose id and vector checksums were compared.
    pub slots: u64,
    /// Pages whose checksums were compared.
    pub pages: u64,
    /// Links followed.
    pub links: u64,
    /// Live slots.
    pub live: u64,
    /// Slots that are tombstoned for good and still linked.
    pub dead: u64,
    /// Slots that are tombstoned and may come back.
    pub marked: u64,
    /// Slots that are neither live nor linked.
    pub free: u64,
    /// Live and marked slots that links do not lead to from the entry point, of each level from 0 up: on a level, those that its
    /// links do not lead to from what is reached on the level above.
    pub unreachable: Vec<u64>,
    /// Live slots that no level-0 link points at.
    pub no_in_links: u64,
    /// Level-0 links of live slots, in all.
    pub degrees: u64,
    /// What is wrong, one sentence each, at most [`MAX_PROBLEMS`].
    pub problems: Vec<String>,
    /// Problems in all.
    pub problem_count: u64,
    /// Bytes that hold nothing and are not as they were left, or that a crash explains as well as damage does; at most
    /// [`MAX_PROBLEMS`].
    pub notes: Vec<String>,
    /// Notes in all.
    pub note_count: u64,
    /// By name, relative to the store.
    pub files: BTreeMap<String, FileFindings>,
}

impl Findings {
    /// Notes a problem.
    pub fn problem(&mut self, what: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(what.into());
        }
    }

    /// Notes what harms nothing.
    pub fn note(&mut self, what: impl Into<String>) {
        self.note_count += 1;
        if self.notes.len() < MAX_PROBLEMS {
            self.notes.push(what.into());
        }
    }

    /// Notes a problem at a place of a file.
    pub fn damage(&mut self, file: &str, offset: u64, what: impl Into<String>) {
        let what = what.into();
        let found = self.files.entry(file.to_owned()).or_default();
        found.damage_count += 1;
        if found.damage.len() < MAX_PROBLEMS {
            found.damage.push(Damage { offset, what: what.clone() });
        }
        self.problem(format!("{file} is damaged at byte {offset}: {what}"));
    }

    /// The result, or a problem, which is of a file if it says so.
    pub fn check<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => return Some(value),
            Err(Error::Corrupt { file, offset, what }) => self.damage(&file, offset, what),
            Err(error) => self.problem(error.to_string()),
        }
        None
    }

    /// Says that so many bytes of a file have been checked, of those it has.
    pub fn checked(&mut self, file: &dyn DiskFile, bytes: u64) {
        let length = file.len().unwrap_or(0);
        let found = self.files.entry(file.path().to_owned()).or_default();
        found.bytes = length;
        found.checked = bytes.min(length);
    }

    /// Whether a range of a file is zero, as far as it goes; what is not is noted, or a problem.
    pub fn zeros(&mut self, file: &dyn DiskFile, range: Range<u64>, must: bool, why: &str) {
        let Some(Some((first, count))) = self.check(lodestore_wal::disk::nonzero(file, range)) else { return };
        let what = format!("{count} bytes from here on are not zero, {why}");
        if must {
            self.damage(file.path(), first, what);
        } else {
            self.note(format!("{}, byte {first}: {what}", file.path()));
        }
    }

    /// Adds what was found elsewhere.
    pub fn append(&mut self, other: Findings) {
        self.problem_count += other.problem_count;
        self.note_count += other.note_count;
        self.problems.extend(other.problems);
        self.notes.extend(other.notes);
        for (name, found) in other.files {
            let here = self.files.entry(name).or_default();
            here.bytes = here.bytes.max(found.bytes);
            here.checked = here.checked.max(found.checked);
            here.damage.extend(found.damage);
            here.damage.truncate(MAX_PROBLEMS);
            here.damage_count += found.damage_count;
        }
    }
}

/// Tells whoever waits how far a check is, and whether to go on.
pub struct Steps<'a> {
    tell: &'a mut dyn FnMut(u64) -> bool,
    since: u64,
    stopped: bool,
}

/// Steps that are told together.
const AT_ONCE: u64 = 1024;

impl<'a> Steps<'a> {
    /// `tell` is called with the steps made since it was called before; if it says no, the check ends.
    pub fn new(tell: &'a mut dyn FnMut(u64) -> bool) -> Self {
        Self { tell, since: 0, stopped: false }
    }

    /// Counts steps; says whether to go on.
    pub fn made(&mut self, steps: u64) -> bool {
        self.since += steps;
        if self.since >= AT_ONCE { self.told() } else { !self.stopped }
    }

    /// Tells what was counted; says whether to go on.
    pub fn told(&mut self) -> bool {
        let since = std::mem::take(&mut self.since);
        self.stopped = self.stopped || !(self.tell)(since);
        !self.stopped
    }

    /// Whether the check was stopped.
    pub fn stopped(&self) -> bool {
        self.stopped
    }
}
