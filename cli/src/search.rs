//! `lodestore search`: a file of queries, timed one call at a time, or all in one.

use std::{
    ops::{AddAssign, Range},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use lodestore::{Collection, CollectionInfo, KeyType, Residency, SearchStats, Store, TagFilter};
use serde::Serialize;

use crate::{
    args::SearchArgs,
    formats::{self, Block, Rows},
    keys::{self, TextKey, with_any},
    open,
    output::{count, per_second, preview, records, say, say_json, took},
    tags,
};

/// Queries held in memory at a time.
const BLOCK_ROWS: u64 = 16_384;
/// Queries whose hits are shown in the readable report.
const SHOWN: usize = 3;
const SHOWN_HITS: usize = 5;

#[derive(Debug, Serialize)]
struct Summary<'a> {
    collection: &'a str,
    metric: &'static str,
    element: &'static str,
    dim: usize,
    records: u64,
    queries: u64,
    k: usize,
    ef: usize,
    threads: usize,
    /// Share of the true `k` nearest keys that were found.
    #[serde(skip_serializing_if = "Option::is_none")]
    recall: Option<f64>,
    /// Queries a second over the time spent in queries alone.
    qps: f64,
    #[serde(flatten)]
    latency: Option<Latency>,
    seconds: f64,
    open_ms: f64,
    /// Bytes of what searches walk through that are in huge pages.
    huge_bytes: u64,
    packed_bytes: u64,
    /// Nodes expanded by a query, on average.
    hops: f64,
    /// Distances computed by a query, on average.
    distances: f64,
    /// Vectors compared exactly by a query after a walk on codes, on average.
    reranked: f64,
    /// Those of them that were read from the disk.
    disk_reads: f64,
    /// Pages of 4 KiB that the process has read from the disk for each query; none where the system does not tell.
    page_reads: Option<f64>,
}

/// What single queries took.
#[derive(Debug, Serialize)]
struct Latency {
    mean_us: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    /// Of the very first query after opening.
    first_us: f64,
}

impl Latency {
    /// `None` if no query was timed by itself.
    fn of(mut latencies: Vec<Duration>, first: Option<Duration>) -> Option<Self> {
        let first = first?;
        latencies.sort_unstable();
        let us = |latency: Duration| latency.as_secs_f64() * 1e6;
        Some(Self {
            mean_us: latencies.iter().copied().map(us).sum::<f64>() / latencies.len().max(1) as f64,
            p50_us: us(percentile(&latencies, 500)),
            p99_us: us(percentile(&latencies, 990)),
            p999_us: us(percentile(&latencies, 999)),
            max_us: us(percentile(&latencies, 1000)),
            first_us: us(first),
        })
    }
}

/// What one stretch of queries gave.
#[derive(Debug, Default)]
struct Run {
    latencies: Vec<Duration>,
    /// The keys found, query after query, if they are numbers as ground truths name them, and where each query's keys end.
    keys: Vec<u64>,
    ends: Vec<usize>,
    work: Work,
}

/// What queries cost, all together.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    hops: u64,
    distances: u64,
    reranked: u64,
    disk_reads: u64,
}

impl From<SearchStats> for Work {
    fn from(stats: SearchStats) -> Self {
        let SearchStats { hops, distances, reranked, disk_reads, .. } = stats;
        Self { hops, distances, reranked, disk_reads }
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, more: Self) {
        self.hops += more.hops;
        self.distances += more.distances;
        self.reranked += more.reranked;
        self.disk_reads += more.disk_reads;
    }
}

pub(crate) fn run(args: &SearchArgs) -> Result<ExitCode> {
    let tags = tags::conditions(&args.tags)?;
    let tags = tags.as_ref();
    let (k, ef, threads) = (args.k.get(), args.ef.get(), args.threads.get());
    let mut queries = formats::vectors(&args.queries)?;
    let total = queries.count().min(args.limit.unwrap_or(u64::MAX));
    let mut truth = match &args.groundtruth {
        Some(path) => Some(ground_truth(formats::keys(path)?, k, total)?),
        None => None,
    };

    let opening = Instant::now();
    let residency = match (args.packed, args.resident) {
        (true, _) => Residency::Packed,
        (_, true) => Residency::Resident,
        _ => Residency::Mapped,
    };
    let mut options = Store::options().residency(residency);
    if let Some(bytes) = args.memory {
        options = options.memory(bytes);
    }
    let store = open::reading(&args.store, args.reading, options)?;
    let (any, info) = keys::open(&store, &args.collection)?;
    let open_ms = opening.elapsed().as_secs_f64() * 1e3;
    if queries.dim() != info.dim {
        bail!("the queries have dimension {}, and the collection '{}' has {}", queries.dim(), info.name, info.dim);
    }
    if truth.is_some() && info.key != KeyType::U64 {
        bail!("a ground truth names keys of type u64, and those of the collection '{}' are {}", info.name, info.key);
    }

    let (mut rows, mut expected, mut sample) = (queries.block(), Vec::new(), None);
    let (mut latencies, mut spent, mut found) = (Vec::new(), Duration::ZERO, 0);
    let (mut first, mut work) = (None, Work::default());
    let passes: &[bool] = if args.warmup { &[false, true] } else { &[true] };
    let mut read_before = None;
    for &counted in passes {
        read_before = read_bytes();
        queries.skip_to(0);
        let mut done = 0;
        while done < total {
            rows.clear();
            let read = queries.read(BLOCK_ROWS.min(total - done), &mut rows)?;
            let started = Instant::now();
            let runs = with_any!(&any, collection => search(collection, &rows, args, tags))?;
            let elapsed = started.elapsed();
            done += read;
            first = first.or_else(|| runs[0].latencies.first().copied());
            if !counted {
                continue;
            }
            spent += elapsed;
            if let Some(truth) = &mut truth {
                expected.clear();
                truth.read_keys(read, k, &mut expected)?;
                found += overlap(&runs, &expected, k);
            }
            runs.iter().for_each(|run| work += run.work);
            latencies.extend(runs.into_iter().flat_map(|run| run.latencies));
            sample.get_or_insert_with(|| {
                let mut sample = rows.clone();
                sample.truncate(SHOWN * info.dim);
                sample
            });
        }
    }

    let a_query = |sum: u64| sum as f64 / total.max(1) as f64;
    let summary = Summary {
        collection: &info.name,
        metric: info.metric.name(),
        element: info.element.name(),
        dim: info.dim,
        records: with_any!(&any, collection => collection.len()),
        queries: total,
        k,
        ef,
        threads,
        recall: truth.is_some().then(|| found as f64 / (total as f64 * k as f64)),
        qps: per_second(total, spent),
        latency: Latency::of(latencies, first),
        seconds: spent.as_secs_f64(),
        open_ms,
        huge_bytes: with_any!(&any, collection => collection.huge_bytes()),
        packed_bytes: with_any!(&any, collection => collection.packed_bytes()),
        hops: a_query(work.hops),
        distances: a_query(work.distances),
        reranked: a_query(work.reranked),
        disk_reads: a_query(work.disk_reads),
        page_reads: read_before.zip(read_bytes()).map(|(before, now)| a_query(now - before) / 4096.0),
    };
    if args.json {
        say_json(&summary)?;
    } else {
        report(&summary)?;
        if let Some(sample) = &sample {
            with_any!(&any, collection => show(collection, &info, sample, args, tags))?;
        }
    }
    drop(any);
    store.close()?;
    Ok(ExitCode::SUCCESS)
}

/// Bytes that the process has read from the disk so far, as Linux tells.
fn read_bytes() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/self/io").ok()?;
    told.lines().find_map(|line| line.strip_prefix("read_bytes: "))?.parse().ok()
}

fn ground_truth(truth: Rows, k: usize, queries: u64) -> Result<Rows> {
    if truth.dim() < k {
        bail!("the ground truth holds {} keys for each query, and recall at {k} needs {k}", truth.dim());
    }
    if truth.count() < queries {
        bail!("the ground truth holds {} rows for {} queries", count(truth.count()), count(queries));
    }
    Ok(truth)
}

/// Searches all `rows`, split evenly among threads.
fn search<K: TextKey + ?Sized>(
    collection: &Collection<K>,
    rows: &Block,
    args: &SearchArgs,
    tags: Option<&TagFilter>,
) -> Result<Vec<Run>> {
    let (count, threads) = (rows.len() / collection.dim(), args.threads.get());
    if args.batch {
        return Ok(vec![all_at_once(collection, rows, args, tags)?]);
    }
    if threads == 1 {
        return Ok(vec![one_by_one(collection, rows, 0..count, args, tags)?]);
    }
    let share = count.div_ceil(threads).max(1);
    thread::scope(|scope| {
        let start = |first: usize| {
            scope.spawn(move || one_by_one(collection, rows, first..count.min(first + share), args, tags))
        };
        let workers: Vec<_> = (0..count).step_by(share).map(start).collect();
        workers.into_iter().map(|worker| worker.join().expect("a searching thread panicked")).collect()
    })
}

fn one_by_one<K: TextKey + ?Sized>(
    collection: &Collection<K>,
    rows: &Block,
    which: Range<usize>,
    args: &SearchArgs,
    tags: Option<&TagFilter>,
) -> Result<Run> {
    let mut run = Run::default();
    for row in which {
        let query = rows.part(row * collection.dim()..(row + 1) * collection.dim());
        let started = Instant::now();
        let mut search = collection.search(query).k(args.k.get()).ef(args.ef.get());
        if let Some(ratio) = args.stop_beyond {
            search = search.stop_beyond(ratio);
        }
        if let Some(tags) = tags {
            search = search.tagged(tags);
        }
        let hits = search.run()?;
        run.latencies.push(started.elapsed());
        run.work += hits.stats().into();
        run.keys.extend(hits.iter().filter_map(|hit| K::row(&hit.key)));
        run.ends.push(run.keys.len());
    }
    Ok(run)
}

fn all_at_once<K: TextKey + ?Sized>(
    collection: &Collection<K>,
    rows: &Block,
    args: &SearchArgs,
    tags: Option<&TagFilter>,
) -> Result<Run> {
    let mut search =
        collection.search_many(rows.part(0..rows.len())).k(args.k.get()).ef(args.ef.get()).threads(args.threads.get());
    if let Some(ratio) = args.stop_beyond {
        search = search.stop_beyond(ratio);
    }
    if let Some(tags) = tags {
        search = search.tagged(tags);
    }
    let hits = search.run()?;
    let mut run = Run::default();
    run.work += hits.stats().into();
    for row in 0..hits.rows() {
        run.keys.extend(hits.keys(row).iter().filter_map(K::row));
        run.ends.push(run.keys.len());
    }
    Ok(run)
}

/// How many of the `width` expected keys of each query were found, summed.
fn overlap(runs: &[Run], expected: &[u64], width: usize) -> u64 {
    let mut expected = expected.chunks_exact(width);
    let mut found = 0;
    for run in runs {
        let mut start = 0;
        for (&end, expected) in run.ends.iter().zip(&mut expected) {
            found += run.keys[start..end].iter().filter(|key| expected.contains(key)).count() as u64;
            start = end;
        }
    }
    found
}

/// The smallest latency that so many in a thousand of the sorted ones do not exceed.
fn percentile(sorted: &[Duration], in_1000: usize) -> Duration {
    let rank = (sorted.len() * in_1000).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn report(s: &Summary<'_>) -> Result<()> {
    let us = |us: f64| took(Duration::from_secs_f64(us / 1e6));
    let of = if s.element == "f32" { String::new() } else { format!(" of {}", s.element) };
    say(format!("collection  {} ({}{of}, {} dimensions, {})", s.collection, s.metric, s.dim, records(s.records)))?;
    say(format!("queries     {} with k {}, ef {}, threads {}", count(s.queries), s.k, s.ef, s.threads))?;
    if let Some(recall) = s.recall {
        say(format!("recall@{:<4} {recall:.4}", s.k))?;
    }
    say(format!("speed       {} queries/s", count(s.qps as u64)))?;
    if let Some(latency) = &s.latency {
        let [mean, p50, p99, p999] = [latency.mean_us, latency.p50_us, latency.p99_us, latency.p999_us].map(us);
        say(format!("latency     mean {mean}, p50 {p50}, p99 {p99}, p99.9 {p999}"))?;
    }
    if s.disk_reads > 0.0 {
        say(format!(
            "disk        {:.1} of {:.1} vectors compared exactly were read from it",
            s.disk_reads, s.reranked
        ))?;
    }
    Ok(())
}

/// What the first queries found, with the payloads if there are any.
fn show<K: TextKey + ?Sized>(
    collection: &Collection<K>,
    info: &CollectionInfo,
    queries: &Block,
    args: &SearchArgs,
    tags: Option<&TagFilter>,
) -> Result<()> {
    for n in 0..queries.len() / info.dim {
        let query = queries.part(n * info.dim..(n + 1) * info.dim);
        let mut search = collection.search(query).k(args.k.get()).ef(args.ef.get()).with_payloads();
        if let Some(tags) = tags {
            search = search.tagged(tags);
        }
        let hits = search.run()?;
        say(format!("\nquery {n}{:>16}  distance", "key"))?;
        for hit in hits.iter().take(SHOWN_HITS) {
            let payload = match hit.payload.as_deref() {
                None | Some([]) => String::new(),
                Some(payload) => format!("  {}", preview(payload, 80)),
            };
            say(format!("{:>23}  {:<8.4}{payload}", K::show(&hit.key), hit.distance))?;
        }
        if hits.len() > SHOWN_HITS {
            say(format!("{:>23}  {} more", "", hits.len() - SHOWN_HITS))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let sorted: Vec<_> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!(percentile(&sorted, 500), Duration::from_micros(100));
        assert_eq!(percentile(&sorted, 990), Duration::from_micros(198));
        assert_eq!(percentile(&sorted, 999), Duration::from_micros(200));
        assert_eq!(percentile(&sorted, 1000), Duration::from_micros(200));
        assert_eq!(percentile(&sorted[..1], 500), Duration::from_micros(1));
        assert_eq!(percentile(&[], 500), Duration::ZERO);
    }

    #[test]
    fn overlap_counts_each_query_apart_and_across_runs() {
        let runs = [
            Run { latencies: vec![], keys: vec![1, 2, 3], ends: vec![2, 3], ..Run::default() },
            Run { latencies: vec![], keys: vec![9, 8], ends: vec![2], ..Run::default() },
        ];
        // The second query found one key only, and not one of its own.
        assert_eq!(overlap(&runs, &[2, 1, 1, 2, 8, 7], 2), 3);
    }
}
