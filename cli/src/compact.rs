//! `lodestore compact`: the live records in new files, and nothing else.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use indicatif::HumanBytes;
use lodestore::{CompactReport, CompactedCollection};
use serde::Serialize;

use crate::{
    args::CompactArgs,
    keys::{self, with_any},
    open,
    output::{count, records, say, say_json, took},
    progress::Progress,
};

#[derive(Debug, Serialize)]
struct Report {
    erased: bool,
    seconds: f64,
    /// Of all files of the store.
    bytes_before: u64,
    bytes_after: u64,
    collections: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    records: u64,
    slots_before: u64,
    slots_after: u64,
    /// Recall@10 at ef 64, if measured.
    recall_before: Option<f64>,
    recall_after: Option<f64>,
}

impl From<CompactedCollection> for Row {
    fn from(row: CompactedCollection) -> Self {
        let CompactedCollection { name, records, slots_before, slots_after, recall_before, recall_after, .. } = row;
        Row { name, records, slots_before, slots_after, recall_before, recall_after }
    }
}

pub(crate) fn run(args: &CompactArgs) -> Result<ExitCode> {
    let store = open::store(&args.store)?;
    let started = Instant::now();
    let mut progress: Option<Progress> = None;
    let any = args.collection.as_ref().map(|name| keys::open(&store, name)).transpose()?;
    let compact = match &any {
        Some((any, _)) => with_any!(any, collection => collection.compact()),
        None => store.compact(),
    };
    // Two steps for each record.
    let tell = |done: u64, all: u64| progress.get_or_insert_with(|| Progress::new(all / 2)).at(done / 2);
    let report = compact.erase(args.erase).samples(args.samples).progress(tell).run();
    if let Some(progress) = progress {
        progress.finish();
    }
    let CompactReport { collections, bytes_before, bytes_after, .. } = report?;
    let (elapsed, collections) = (started.elapsed(), collections.into_iter().map(Row::from).collect());
    let seconds = elapsed.as_secs_f64();
    let report = Report { erased: args.erase, seconds, bytes_before, bytes_after, collections };
    if args.json {
        say_json(&report)?;
    } else {
        for row in &report.collections {
            let (before, after) = (count(row.slots_before), count(row.slots_after));
            let mut text =
                format!("collection '{}': {}, {before} slots before, {after} now", row.name, records(row.records));
            if let (Some(before), Some(after)) = (row.recall_before, row.recall_after) {
                text += &format!("; recall@10 at ef 64 {before:.4} before, {after:.4} now");
            }
            say(text)?;
        }
        let (before, after) = (HumanBytes(bytes_before), HumanBytes(bytes_after));
        say(format!("{before} before, {after} now, in {}", took(elapsed)))?;
    }
    drop(any);
    store.close()?;
    Ok(ExitCode::SUCCESS)
}
