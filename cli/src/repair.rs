//! `lodestore repair`: what is whole in a damaged store, in a new one.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use lodestore::{Loss, LossKind, RepairOptions, RepairReport, RepairedCollection};
use serde::Serialize;

use crate::{
    args::RepairArgs,
    output::{count, records, say, say_json, took},
    progress::Progress,
    stop::{INTERRUPTED, Stop},
};

#[derive(Debug, Serialize)]
struct Repaired {
    /// Whether everything is in the new store, as far as it can be known.
    lossless: bool,
    /// False if it was stopped.
    complete: bool,
    records: u64,
    seconds: f64,
    collections: Vec<Row>,
    losses: Vec<LossRow>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    records: u64,
    lost: u64,
    payloads_lost: u64,
    tags_lost: u64,
    /// Records that may have been removed or replaced.
    uncertain: u64,
}

#[derive(Debug, Serialize)]
struct LossRow {
    /// `record`, `payload`, `tags`, `removal` or `unknown`.
    kind: &'static str,
    collection: Option<String>,
    key: Option<String>,
    slot: Option<u32>,
    file: String,
    offset: u64,
    why: String,
}

impl From<RepairedCollection> for Row {
    fn from(c: RepairedCollection) -> Self {
        let (lost, payloads_lost, tags_lost, uncertain) = (c.lost, c.payloads_lost, c.tags_lost, c.uncertain);
        Row { name: c.name, records: c.records, lost, payloads_lost, tags_lost, uncertain }
    }
}

impl From<Loss> for LossRow {
    fn from(loss: Loss) -> Self {
        let (kind, file, offset) = (loss.kind.name(), loss.file, loss.offset);
        LossRow { kind, collection: loss.collection, key: loss.key, slot: loss.slot, file, offset, why: loss.why }
    }
}

pub(crate) fn run(args: &RepairArgs) -> Result<ExitCode> {
    let stop = Stop::on_ctrl_c()?;
    let started = Instant::now();
    let mut progress: Option<Progress> = None;
    let tell = |done: u64, all: u64| {
        progress.get_or_insert_with(|| Progress::of(all, "records")).at(done);
        !stop.asked()
    };
    let report = lodestore::repair(&args.store, &args.to, RepairOptions::new().progress(tell));
    if let Some(progress) = progress {
        progress.finish();
    }
    let (report, elapsed) = (report?, started.elapsed());
    let (lossless, complete) = (report.lossless(), report.complete);
    let of_records = report.losses.iter().filter(|loss| loss.kind != LossKind::Unknown).count() as u64;
    if args.json {
        let (records, seconds) = (report.records(), elapsed.as_secs_f64());
        let collections = report.collections.into_iter().map(Row::from).collect();
        let losses = report.losses.into_iter().map(LossRow::from).collect();
        say_json(&Repaired { lossless, complete, records, seconds, collections, losses })?;
    } else {
        describe(&report)?;
        let (all, to) = (records(report.records()), args.to.display());
        say(format!("{all} in {to}, written in {}", took(elapsed)))?;
    }
    if !complete {
        eprintln!("stopped: {} holds a part of the records only", args.to.display());
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if lossless {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "error: {} was damaged: {} records are lost or changed, see above",
        args.store.display(),
        count(of_records)
    );
    Ok(ExitCode::FAILURE)
}

fn describe(report: &RepairReport) -> Result<()> {
    for c in &report.collections {
        let beside = [(c.payloads_lost, "without payload"), (c.tags_lost, "without tags")];
        let counts = [(c.lost, "lost"), beside[0], beside[1], (c.uncertain, "perhaps removed")];
        let counts = counts.into_iter().filter(|(number, _)| *number > 0);
        let rest: String = counts.map(|(number, what)| format!(", {} {what}", count(number))).collect();
        say(format!("collection '{}': {}{rest}", c.name, records(c.records)))?;
    }
    report.losses.iter().try_for_each(|loss| say(loss.to_string()))
}
