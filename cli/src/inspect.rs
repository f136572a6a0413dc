//! `lodestore info`, `verify` and `checkpoint`: the store as a whole.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use serde::Serialize;

use crate::{
    args::{CheckpointArgs, InspectArgs},
    open,
    output::{count, say, say_json, took},
};

#[derive(Debug, Serialize)]
struct Info {
    store: String,
    collections: Vec<CollectionRow>,
}

#[derive(Debug, Serialize)]
struct CollectionRow {
    name: String,
    records: u64,
    dim: usize,
    metric: &'static str,
    m: usize,
    ef_construction: usize,
    seed: u64,
}

#[derive(Debug, Serialize)]
struct Verified {
    ok: bool,
    problems: Vec<String>,
    seconds: f64,
}

pub(crate) fn info(args: &InspectArgs) -> Result<ExitCode> {
    let store = open::store(&args.store)?;
    let row = |info: lodestore::CollectionInfo| CollectionRow {
        name: info.name,
        records: info.len,
        dim: info.dim,
        metric: info.metric.name(),
        m: info.m,
        ef_construction: info.ef_construction,
        seed: info.seed,
    };
    let info = Info {
        store: args.store.display().to_string(),
        collections: store.collections()?.into_iter().map(row).collect(),
    };
    if args.json {
        say_json(&info)?;
    } else {
        say(format!("store  {}", info.store))?;
        say(format!("{:?}", store.stats()?))?;
        table(&info.collections)?;
    }
    store.close()?;
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[CollectionRow]) -> Result<()> {
    if rows.is_empty() {
        return say("\nno collections yet");
    }
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max("collection".len());
    say(format!(
        "\n{:width$}  {:>12}  {:>6}  {:<6}  {:>4}  {:>15}  seed",
        "collection", "records", "dim", "metric", "m", "ef_construction"
    ))?;
    for r in rows {
        say(format!(
            "{:width$}  {:>12}  {:>6}  {:<6}  {:>4}  {:>15}  {}",
            r.name,
            count(r.records),
            r.dim,
            r.metric,
            r.m,
            r.ef_construction,
            r.seed
        ))?;
    }
    Ok(())
}

pub(crate) fn verify(args: &InspectArgs) -> Result<ExitCode> {
    let store = open::store(&args.store)?;
    let started = Instant::now();
    let report = store.verify()?;
    let elapsed = started.elapsed();
    let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    let found = problems.len();
    if args.json {
        say_json(&Verified { ok: report.ok(), problems, seconds: elapsed.as_secs_f64() })?;
    } else {
        for problem in problems {
            say(problem)?;
        }
        if report.ok() {
            say(format!("ok: every checksum and every graph invariant holds (checked in {})", took(elapsed)))?;
        }
    }
    if report.ok() {
        store.close()?;
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: {} is damaged in {found} place{}", args.store.display(), if found == 1 { "" } else { "s" });
    Ok(ExitCode::FAILURE)
}

pub(crate) fn checkpoint(args: &CheckpointArgs) -> Result<ExitCode> {
    let store = open::store(&args.store)?;
    let started = Instant::now();
    store.checkpoint()?;
    say(format!("checkpoint written in {}", took(started.elapsed())))?;
    store.close()?;
    Ok(ExitCode::SUCCESS)
}
