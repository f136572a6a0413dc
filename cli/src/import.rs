//! `lodestore import`: rows of a file become records, a batch at a time.

use std::{
    fs::File,
    io::{BufRead, BufReader, Lines},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use lodestore::{Collection, KeyType, Store, Tags};
use serde::Serialize;

use crate::{
    args::{ElementArg, ImportArgs},
    export::Line,
    formats::{self, Rows},
    keys::TextKey,
    open,
    output::{count, per_second, records, say, say_json, took},
    progress::Progress,
    stop::{INTERRUPTED, Stop},
    tags,
};

const BATCH_ROWS: u64 = 1_000;
/// Wide rows make smaller batches, so that one batch stays a modest piece of memory and of the log.
const BATCH_BYTES: u64 = 32 << 20;

/// With a budget, a batch is of one row for each so many bytes of it: with M 16 its pages are an eighth of the budget then.
const BATCH_SHARE: u64 = 512 << 10;
const LEAST_ROWS: u64 = 64;

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

/// Where the keys of the rows come from, and their payloads.
#[derive(Debug)]
enum Source {
    /// Row N gets the key N.
    Numbers,
    /// A key a line.
    Keys(Lines<BufReader<File>>),
    /// A record a line, as `export` writes them.
    Records(Lines<BufReader<File>>, PathBuf),
}

impl Source {
    /// Of the lines, of which there must be so many, the first `skip` are left out.
    fn new(args: &ImportArgs, rows: u64) -> Result<Self> {
        let Some(path) = args.keys.as_ref().or(args.records.as_ref()) else { return Ok(Source::Numbers) };
        let unreadable = || format!("cannot read {}", path.display());
        let lines = || Ok::<_, anyhow::Error>(BufReader::new(File::open(path).with_context(unreadable)?).lines());
        let mut found = 0;
        for line in lines()? {
            line.with_context(|| format!("line {} of {}", found + 1, path.display()))?;
            found += 1;
        }
        if found != rows {
            bail!("{} has {} lines, and there are {} rows", path.display(), count(found), count(rows));
        }
        let mut lines = lines()?;
        for _ in 0..args.skip {
            lines.next().transpose().with_context(unreadable)?;
        }
        Ok(if args.keys.is_some() { Source::Keys(lines) } else { Source::Records(lines, path.clone()) })
    }

    /// The key of a row, and its payload and tags if the file has any.
    fn next<K: TextKey + ?Sized>(&mut self, row: u64) -> Result<(K::Owned, Vec<u8>, Tags)> {
        let next = |lines: &mut Lines<BufReader<File>>| match lines.next() {
            Some(line) => line.with_context(|| format!("the key of row {row}")),
            None => bail!("there are no more keys at row {row}"),
        };
        match self {
            Source::Numbers => Ok((K::parse(&row.to_string())?, Vec::new(), Tags::new())),
            Source::Keys(lines) => Ok((K::parse(&next(lines)?)?, Vec::new(), Tags::new())),
            Source::Records(lines, path) => {
                let line = Line::read(&next(lines)?, row + 1, path)?;
                let key = line.key_text().and_then(|key| K::parse(&key));
                let of = || format!("line {} of {}", row + 1, path.display());
                let tags = tags::of_json(&line.tags).with_context(of)?;
                Ok((key.with_context(of)?, line.payload_bytes().with_context(of)?, tags))
            }
        }
    }
}

/// What the keys of a new collection are, if that is not said.
fn type_of_keys(args: &ImportArgs) -> Result<KeyType> {
    let Some(path) = &args.records else {
        return Ok(if args.keys.is_some() { KeyType::Str } else { KeyType::U64 });
    };
    let mut first = String::new();
    let read = File::open(path).and_then(|file| BufReader::new(file).read_line(&mut first));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Line::read(first.trim_end(), 1, path)?.type_of_key().with_context(|| format!("line 1 of {}", path.display()))
}

pub(crate) fn run(args: &ImportArgs) -> Result<ExitCode> {
    // The files come first: one that cannot be read, or has too few keys, must not leave an empty store behind.
    let mut rows = formats::vectors(&args.input)?;
    rows.skip_to(args.skip);
    let mut keys = Source::new(args, rows.count())?;
    let by_default = type_of_keys(args)?;
    let total = rows.count().saturating_sub(args.skip).min(args.limit.unwrap_or(u64::MAX));
    let stop = Stop::on_ctrl_c()?;
    let (store, key) = open_store(args, by_default)?;

    let started = Instant::now();
    let mut progress = Progress::new(total);
    let mut import = Import { args, rows: &mut rows, keys: &mut keys, total, stop: &stop, progress: &mut progress };
    let done = match key {
        KeyType::U64 => import.put_all::<u64>(&store),
        KeyType::U128 => import.put_all::<u128>(&store),
        KeyType::Uuid => import.put_all::<uuid::Uuid>(&store),
        KeyType::Str => import.put_all::<str>(&store),
        KeyType::Bytes => import.put_all::<[u8]>(&store),
        other => bail!("this command knows no keys of type {other}"),
    };
    progress.finish();
    let ((done, in_all), seconds) = (done?, started.elapsed());

    let closing = Instant::now();
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

/// The store, and what the collection's keys are, or are to be.
fn open_store(args: &ImportArgs, by_default: KeyType) -> Result<(Store, KeyType)> {
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
    if let Some(bytes) = args.memory {
        options = options.memory(bytes);
    }
    let store = options.open(&args.store)?;
    let stored = open::find(&store, &args.collection)?;
    if unnamed && stored.is_none() {
        bail!(metric_missing());
    }
    // What was not asked for is taken as stored.
    Ok((store, args.key.or(stored.map(|info| info.key)).unwrap_or(by_default)))
}

/// An import under way.
struct Import<'a> {
    args: &'a ImportArgs,
    rows: &'a mut Rows,
    keys: &'a mut Source,
    total: u64,
    stop: &'a Stop,
    progress: &'a mut Progress,
}

impl Import<'_> {
    /// Puts rows until all are stored or Ctrl-C asks to stop; says how many were, and how many records there are now.
    fn put_all<K: TextKey + ?Sized>(&mut self, store: &Store) -> Result<(u64, u64)> {
        let args = self.args;
        let mut builder = store.collection::<K>(&args.collection).dim(self.rows.dim());
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
        let done = self.feed(&collection)?;
        Ok((done, collection.len()))
    }

    fn feed<K: TextKey + ?Sized>(&mut self, collection: &Collection<K>) -> Result<u64> {
        // What one call changes comes on top of a budget: up to a page for each link.
        let most = self.args.memory.map_or(BATCH_ROWS, |bytes| (bytes / BATCH_SHARE).clamp(LEAST_ROWS, BATCH_ROWS));
        let batch = (BATCH_BYTES / (self.rows.dim() as u64 * 4)).clamp(1, most);
        let (total, first) = (self.total, self.args.skip);
        let (mut vectors, mut keys, mut payloads, mut tags) = (self.rows.block(), Vec::new(), Vec::new(), Vec::new());
        let mut done = 0;
        while done < total && !self.stop.asked() {
            vectors.clear();
            let mut put = || -> Result<u64> {
                keys.clear();
                payloads.clear();
                tags.clear();
                let (mut row, mut bytes) = (first + done, 0);
                while row < first + done + batch.min(total - done) && bytes < BATCH_BYTES {
                    let (key, payload, of_row) = self.keys.next::<K>(row)?;
                    bytes += payload.len() as u64;
                    keys.push(key);
                    payloads.push(payload);
                    tags.push(of_row);
                    row += 1;
                }
                let read = self.rows.read(row - first - done, &mut vectors)?;
                let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
                collection.put_many_tagged(&keys, &vectors, Some(&payloads), &tags)?;
                Ok(read)
            };
            done +=
                put().with_context(|| format!("the import stopped after {} of {} rows", count(done), count(total)))?;
            self.progress.at(done);
        }
        Ok(done)
    }
}
