//! `lodestore verify`: whether a store is what it must be, or what is left of a key.

use std::{process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use lodestore::{AbsentReport, Collection, CollectionReport, FileReport, VerifyLevel, VerifyOptions, VerifyReport};
use serde::Serialize;

use crate::{
    args::VerifyArgs,
    keys::{self, TextKey, with_any},
    open,
    output::{count, records, say, say_json, took},
    progress::Progress,
    stop::{INTERRUPTED, Stop},
};

#[derive(Debug, Serialize)]
struct Verified {
    ok: bool,
    level: &'static str,
    /// False if it was stopped: the rest is of what was looked at until then.
    complete: bool,
    problem_count: u64,
    /// The first hundred of each collection.
    problems: Vec<String>,
    /// Bytes that hold nothing and are not as they were left: no damage to anything that is kept.
    note_count: u64,
    notes: Vec<String>,
    seconds: f64,
    collections: Vec<CheckedRow>,
    files: Vec<FileRow>,
}

#[derive(Debug, Serialize)]
struct CheckedRow {
    name: String,
    /// Those marked as deleted included.
    records: u64,
    marked: u64,
    slots: u64,
    pages: u64,
    links: u64,
    unreachable: u64,
}

#[derive(Debug, Serialize)]
struct FileRow {
    name: String,
    bytes: u64,
    /// Bytes that were compared with what says what they must be.
    checked: u64,
    damage_count: u64,
    /// The first hundred places.
    damage: Vec<Place>,
}

#[derive(Debug, Serialize)]
struct Place {
    offset: u64,
    what: String,
}

#[derive(Debug, Serialize)]
struct Absent {
    absent: bool,
    slots: u64,
    log_records: u64,
    found: Vec<String>,
}

/// What is left of a key.
fn absent(args: &VerifyArgs, key: &str) -> Result<ExitCode> {
    let store = open::store(&args.store)?;
    let report = match &args.collection {
        Some(name) => with_any!(keys::open(&store, name)?.0, collection => absent_from(&collection, key))?,
        None => store.verify_absent(<u64 as TextKey>::parse(key).context("without --collection")?, None)?,
    };
    let (absent, slots, log_records) = (report.absent(), report.slots, report.log_records);
    let places = report.found.len();
    if args.json {
        say_json(&Absent { absent, slots, log_records, found: report.found })?;
    } else {
        report.found.iter().try_for_each(say)?;
        if absent {
            let (slots, log) = (count(slots), count(log_records));
            say(format!("nothing is left of key {key} in the catalogue, {slots} slots and {log} log records"))?;
        }
    }
    store.close()?;
    if absent {
        return Ok(ExitCode::SUCCESS);
    }
    let places = if places == 1 { "1 place".to_owned() } else { format!("{places} places") };
    eprintln!("error: key {key} is found in {places}; what is left of a removed key goes with `compact --erase`");
    Ok(ExitCode::FAILURE)
}

fn absent_from<K: TextKey + ?Sized>(collection: &Collection<K>, key: &str) -> Result<AbsentReport> {
    Ok(collection.verify_absent(K::parse(key)?)?)
}

impl From<FileReport> for FileRow {
    fn from(file: FileReport) -> Self {
        let damage = file.damage.into_iter().map(|at| Place { offset: at.offset, what: at.what }).collect();
        let (bytes, checked, damage_count) = (file.bytes, file.checked, file.damage_count);
        FileRow { name: file.name, bytes, checked, damage_count, damage }
    }
}

impl From<CollectionReport> for CheckedRow {
    fn from(c: CollectionReport) -> Self {
        let (records, slots, pages, links) = (c.records, c.slots, c.pages, c.links);
        CheckedRow { name: c.name, records, marked: c.marked, slots, pages, links, unreachable: c.unreachable }
    }
}

pub(crate) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    if let Some(key) = &args.absent {
        return absent(args, key);
    }
    let stop = Stop::on_ctrl_c()?;
    let store = open::store(&args.store)?;
    let started = Instant::now();
    let mut progress: Option<Progress> = None;
    let tell = |done: u64, all: u64| {
        progress.get_or_insert_with(|| Progress::of(all, "steps")).at(done);
        !stop.asked()
    };
    let report = store.verify_with(VerifyOptions::new().level(args.level).progress(tell));
    if let Some(progress) = progress {
        progress.finish();
    }
    let (report, elapsed) = (report?, started.elapsed());
    let (ok, complete, problem_count) = (report.ok(), report.complete, report.problem_count);
    if args.json {
        say_json(&Verified {
            ok,
            level: report.level.name(),
            complete,
            problem_count,
            problems: report.problems,
            note_count: report.note_count,
            notes: report.notes,
            seconds: elapsed.as_secs_f64(),
            collections: report.collections.into_iter().map(CheckedRow::from).collect(),
            files: report.files.into_iter().map(FileRow::from).collect(),
        })?;
    } else {
        describe(&report)?;
        if ok {
            say(format!("ok: {} (checked in {})", held(report.level), took(elapsed)))?;
        }
    }
    if ok {
        store.close()?;
        return Ok(ExitCode::SUCCESS);
    }
    // Not closed by name: what closing could complain of has been told.
    if problem_count > 0 {
        let problems =
            if problem_count == 1 { "1 problem".to_owned() } else { format!("{} problems", count(problem_count)) };
        let cure = "`lodestore repair` saves what is whole into a new one";
        eprintln!("error: {} is damaged: {problems} found; {cure}", args.store.display());
        return Ok(ExitCode::FAILURE);
    }
    eprintln!("stopped: nothing is wrong with what was checked until then");
    Ok(ExitCode::from(INTERRUPTED))
}

fn held(level: VerifyLevel) -> &'static str {
    match level {
        VerifyLevel::Headers => "every header holds",
        VerifyLevel::Checksums => "every checksum holds",
        VerifyLevel::Graph => "every graph invariant holds",
        _ => "every checksum and every graph invariant holds",
    }
}

fn describe(report: &VerifyReport) -> Result<()> {
    for c in &report.collections {
        let mut parts = Vec::new();
        if matches!(report.level, VerifyLevel::Graph | VerifyLevel::Full) {
            parts.push(records(c.records));
        }
        if matches!(report.level, VerifyLevel::Checksums | VerifyLevel::Full) {
            parts.push(format!("{} pages, {} slots", count(c.pages), count(c.slots)));
        }
        if matches!(report.level, VerifyLevel::Graph | VerifyLevel::Full) {
            parts.push(format!("{} links; {} out of reach of a search", count(c.links), count(c.unreachable)));
        }
        if c.marked > 0 {
            parts.push(format!("{} marked as deleted", count(c.marked)));
        }
        if !parts.is_empty() {
            say(format!("collection '{}': {}", c.name, parts.join(", ")))?;
        }
    }
    let (bytes, checked) = report.files.iter().fold((0, 0), |(b, c), file| (b + file.bytes, c + file.checked));
    say(format!("{} files: {} of {} bytes checked", report.files.len(), count(checked), count(bytes)))?;
    report.problems.iter().try_for_each(say)?;
    report.notes.iter().try_for_each(|note| say(format!("note: {note}")))
}
