//! `lodestore import`: rows of a file become records, a batch at a time.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use lodestore::{Collection, Store};
use serde::Serialize;

use crate::{
    args::{ElementArg, ImportArgs},
    formats::{self, Rows},
    open,
    output::{count, per_second, records, say, say_json, took},
    progress::Progress,
    stop::{INTERRUPTED, Stop},
};

const BATCH_ROWS: u64 = 1_000;
/// Wide rows make smaller batches, so that one batch stays a modest piece of memory and of the log.
const BATCH_BYTES: u64 = 32 << 20;

#[derive(Debug, Serialize)]
struct Summary<'a> {
    collection: &'a str,
    rows: u64,
    records: u64,
    seconds: f64,
    rows_per_s: f64,
    /// Closing the store: what a process pays once, after its last batch.
    close_seconds: f64,
    interrupted: bool,
}

pub(crate) fn run(args: &ImportArgs) -> Result<ExitCode> {
    // The file comes first: a wrong one must not leave an empty store behind.
    let mut rows = formats::vectors(&args.input)?;
    rows.skip_to(args.skip);
    let total = rows.count().saturating_sub(args.skip).min(args.limit.unwrap_or(u64::MAX));
    let stop = Stop::on_ctrl_c()?;
    let (store, collection) = open(args, rows.dim())?;

    let started = Instant::now();
    let mut progress = Progress::new(total);
    let done = feed(&mut rows, total, args.skip, &collection, &stop, &mut progress);
    progress.finish();
    let (done, seconds) = (done?, started.elapsed());

    let (in_all, closing) = (collection.len(), Instant::now());
    drop(collection);
    store.close()?;
    let interrupted = done < total;
    if args.json {
        say_json(&Summary {
            collection: &args.collection,
            rows: done,
            records: in_all,
            seconds: seconds.as_secs_f64(),
            rows_per_s: per_second(done, seconds),
            close_seconds: closing.elapsed().as_secs_f64(),
            interrupted,
        })?;
    } else {
        say(sentence(args, done, in_all, seconds))?;
    }
    if interrupted {
        let next = args.skip + done;
        let limit = args.limit.map_or_else(String::new, |_| format!(" --limit {}", total - done));
        eprintln!("stopped by Ctrl-C before row {next}; the same command with --skip {next}{limit} goes on from there");
        return Ok(INTERRUPTED.into());
    }
    Ok(ExitCode::SUCCESS)
}

fn sentence(args: &ImportArgs, done: u64, in_all: u64, seconds: Duration) -> String {
    format!(
        "imported {} row{} into '{}' in {} ({} rows/s); it holds {} now",
        count(done),
        if done == 1 { "" } else { "s" },
        args.collection,
        took(seconds),
        count(per_second(done, seconds) as u64),
        records(in_all),
    )
}

fn open(args: &ImportArgs, dim: usize) -> Result<(Store, Collection<u64>)> {
    let metric_missing = || {
        format!(
            "the collection '{}' does not exist yet: name its metric, --metric l2, ip, cosine or hamming",
            args.collection
        )
    };
    let unnamed = args.metric.is_none() && args.element != Some(ElementArg::Bits);
    if unnamed && !args.store.exists() {
        bail!(metric_missing());
    }
    let mut options = Store::options().durability(args.durability);
    if let Some(threads) = args.threads {
        options = options.threads(threads.get());
    }
    let store = options.open(&args.store)?;
    if unnamed && open::find(&store, &args.collection)?.is_none() {
        bail!(metric_missing());
    }
    // What was not asked for is taken as stored.
    let mut builder = store.collection::<u64>(&args.collection).dim(dim);
    if let Some(metric) = args.metric {
        builder = builder.metric(metric.into());
    }
    if let Some(element) = args.element {
        builder = builder.element(element.into());
    }
    if let Some(m) = args.m {
        builder = builder.m(m);
    }
    if let Some(ef) = args.ef_construction {
        builder = builder.ef_construction(ef);
    }
    if let Some(codes) = args.codes {
        builder = builder.codes(codes.into());
    }
    if let Some(seed) = args.seed {
        builder = builder.seed(seed);
    }
    let collection = builder.open_or_create()?;
    Ok((store, collection))
}

/// Puts rows until `total` are stored or Ctrl-C asks to stop, and says how many were.
fn feed(
    rows: &mut Rows,
    total: u64,
    first_key: u64,
    collection: &Collection<u64>,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<u64> {
    let batch = (BATCH_BYTES / (rows.dim() as u64 * 4)).clamp(1, BATCH_ROWS);
    let (mut vectors, mut keys) = (rows.block(), Vec::new());
    let mut done = 0;
    while done < total && !stop.asked() {
        vectors.clear();
        let mut put = || -> Result<u64> {
            let read = rows.read(batch.min(total - done), &mut vectors)?;
            keys.clear();
            keys.extend(first_key + done..first_key + done + read);
            collection.put_many(&keys, &vectors, None)?;
            Ok(read)
        };
        done += put().with_context(|| format!("the import stopped after {} of {} rows", count(done), count(total)))?;
        progress.at(done);
    }
    Ok(done)
}
