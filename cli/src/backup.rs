//! `lodestore backup`, `backups` and `restore`.

use std::{process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use indicatif::HumanBytes;
use lodestore::{BackupInfo, BackupReport, Backups, Store};
use serde::Serialize;

use crate::{
    args::{BackupArgs, BackupsArgs, RestoreArgs},
    open,
    output::{say, say_json, took},
};

#[derive(Debug, Serialize)]
struct Made {
    number: u64,
    lsn: u64,
    incremental: bool,
    /// Of the files and rows in it.
    bytes: u64,
    /// Written for it.
    written: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    number: u64,
    lsn: u64,
    /// Seconds since 1970.
    made: u64,
    bytes: u64,
    /// Whether every block is as it was written; without `--verify`, whether the backup's own file is.
    ok: bool,
    problem: Option<String>,
}

impl Row {
    fn of(info: BackupInfo, problem: Option<String>) -> Self {
        let BackupInfo { number, lsn, made, bytes, .. } = info;
        Row { number, lsn, made, bytes, ok: problem.is_none(), problem }
    }
}

pub(crate) fn make(args: &BackupArgs) -> Result<ExitCode> {
    let store = open::store(&args.store)?;
    let started = Instant::now();
    let BackupReport { number, lsn, incremental, bytes, written, .. } = store.backup(&args.to).run()?;
    let elapsed = started.elapsed();
    let seconds = elapsed.as_secs_f64();
    if args.json {
        say_json(&Made { number, lsn, incremental, bytes, written, seconds })?;
    } else {
        let (bytes, written) = (HumanBytes(bytes), HumanBytes(written));
        say(format!("backup {number} of {bytes} in {}: {written} written, in {}", args.to.display(), took(elapsed)))?;
    }
    store.close()?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn list(args: &BackupsArgs) -> Result<ExitCode> {
    let backups = Backups::open(&args.from)?;
    let check = |info: &BackupInfo| match args.verify {
        true => backups.verify(info.number).err().map(|error| error.to_string()),
        false => None,
    };
    let mut rows: Vec<Row> =
        backups.list().into_iter().map(|info| (check(&info), info)).map(|(bad, info)| Row::of(info, bad)).collect();
    let damaged = backups.damaged().iter();
    rows.extend(damaged.map(|(number, what)| Row {
        number: *number,
        lsn: 0,
        made: 0,
        bytes: 0,
        ok: false,
        problem: Some(what.clone()),
    }));
    rows.sort_by_key(|row| row.number);
    if args.json {
        say_json(&rows)?;
    } else if rows.is_empty() {
        say(format!("no backups in {}", args.from.display()))?;
    }
    for row in rows.iter().filter(|_| !args.json) {
        say(match &row.problem {
            Some(problem) => format!("backup {}: {problem}", row.number),
            None => {
                format!("backup {}: up to record {}, {}, ok", row.number, row.lsn, HumanBytes(row.bytes))
            }
        })?;
    }
    Ok(if rows.iter().all(|row| row.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) fn restore(args: &RestoreArgs) -> Result<ExitCode> {
    let backups = Backups::open(&args.from)?;
    let newest = backups.list().last().map(|info| info.number);
    let number = args.number.or(newest).with_context(|| format!("no backups in {}", args.from.display()))?;
    let started = Instant::now();
    let info = backups.restore(number, &args.to)?;
    let store = Store::options().create(false).open(&args.to)?;
    let report = store.verify()?;
    store.close()?;
    anyhow::ensure!(report.ok(), "the restored store is damaged: {}", report.problems.join("; "));
    let elapsed = started.elapsed();
    if args.json {
        say_json(&Row::of(info, None))?;
    } else {
        say(format!("restored and verified backup {number} into {}, in {}", args.to.display(), took(elapsed)))?;
    }
    Ok(ExitCode::SUCCESS)
}
