//! `lodestore recall`: how much of what an exact search finds is found, and with which ef.

use std::{process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use lodestore::Store;
use serde::Serialize;

use crate::{
    args::RecallArgs,
    keys::{self, with_any},
    output::{count, records, say, say_json, took},
};

/// Shares for which the report names an ef.
const TARGETS: [f64; 3] = [0.9, 0.95, 0.99];

#[derive(Debug, Serialize)]
struct Report<'a> {
    collection: &'a str,
    records: u64,
    k: usize,
    samples: usize,
    /// None of one that was measured before.
    seconds: Option<f64>,
    /// Writes that the store has seen since, of all collections.
    writes_since: u64,
    rows: Vec<Row>,
    /// The least measured ef that reached each share; none if no ef did.
    ef_for: Vec<Needed>,
}

#[derive(Debug, Serialize)]
struct Row {
    ef: usize,
    recall: f64,
    /// The interval of 95 % confidence.
    low: f64,
    high: f64,
    distances: f64,
}

#[derive(Debug, Serialize)]
struct Needed {
    recall: f64,
    ef: Option<usize>,
}

pub(crate) fn run(args: &RecallArgs) -> Result<ExitCode> {
    let store = Store::options().create(false).open(&args.store)?;
    let (any, info) = keys::open(&store, &args.collection)?;
    let started = Instant::now();
    let report = if args.last {
        let unmeasured = || format!("the recall of '{}' has never been measured; without --last it is", info.name);
        with_any!(&any, collection => collection.recall_report())?.with_context(unmeasured)?
    } else {
        let measured = with_any!(&any, collection => collection.measure_recall(args.samples.get()).k(args.k.get()));
        measured.seed(args.seed).run()?
    };
    let elapsed = (!args.last).then(|| started.elapsed());
    let writes_since = store.stats()?.last_lsn.saturating_sub(report.lsn);
    let rows = report.rows.iter();
    let summary = Report {
        collection: &info.name,
        records: report.records,
        k: report.k,
        samples: report.samples,
        seconds: elapsed.map(|elapsed| elapsed.as_secs_f64()),
        writes_since,
        rows: rows
            .map(|row| Row { ef: row.ef, recall: row.recall, low: row.low, high: row.high, distances: row.distances })
            .collect(),
        ef_for: TARGETS.map(|recall| Needed { recall, ef: report.ef_for(recall) }).into(),
    };
    if args.json {
        say_json(&summary)?;
    } else {
        let Report { collection, samples, k, .. } = summary;
        say(format!(
            "{collection}: {}; {} of them searched for, k {k}, {}",
            records(summary.records),
            count(samples as u64),
            match elapsed {
                Some(elapsed) => format!("in {}", took(elapsed)),
                None => format!("{} writes ago", count(writes_since)),
            }
        ))?;
        say("     ef  recall  95 % confidence  distances")?;
        for row in &summary.rows {
            let Row { ef, recall, low, high, distances } = row;
            say(format!("{ef:>7}  {recall:.4}  {low:.4} to {high:.4} {distances:>10.0}"))?;
        }
        for Needed { recall, ef } in &summary.ef_for {
            let ef = ef.map_or_else(|| "not reached".to_owned(), |ef| format!("ef {ef}"));
            say(format!("recall {recall:<4}  {ef}"))?;
        }
    }
    drop(any);
    store.close()?;
    Ok(ExitCode::SUCCESS)
}
