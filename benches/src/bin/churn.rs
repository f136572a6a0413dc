//! A store that is changed for long, measured in the process through the public API: the lodestore side of
//! `benches/peers/churn.py`, which says what is done and judges what is found.
//!
//! The argument is a job, one JSON object; each stop prints a JSON object on a line of its own. Files of vectors hold
//! little-endian f32, row after row; files of changes and of records little-endian u32.

use lodestore::{Collection, Durability, Metric, SearchStats, Store};
use lodestore_benches::process::{self, BUILD_ROWS, COLLECTION, Outcome, cpu_time, floats, numbers, pin, print};
use serde::Deserialize;
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Debug, Deserialize)]
struct Job {
    /// Where the stores are made, and what was found is written.
    folder: PathBuf,
    rows: PathBuf,
    queries: PathBuf,
    /// Kind (0 removal, 1 insert, 2 update), key and row of each change.
    changes: PathBuf,
    /// Key N has row N at first, of so many.
    stored: usize,
    dim: usize,
    metric: String,
    m: usize,
    codes: String,
    k: usize,
    ef: usize,
    /// The queries are timed so often.
    rounds: usize,
    /// So many inserts, updates and removals are timed each by itself, with what the store's own thread does for them.
    costs: usize,
    /// All cores build; the first one alone changes and searches.
    cores: Vec<usize>,
    stops: Vec<Stop>,
}

/// Where to stop and measure.
#[derive(Debug, Deserialize)]
struct Stop {
    /// Changes that have been made by then.
    after: usize,
    /// Key and row of each record that is there then.
    live: PathBuf,
    /// Whether to build the same anew beside it.
    fresh: bool,
}

/// Vectors in a file, which may be large.
struct Rows {
    file: File,
    dim: usize,
}

impl Rows {
    fn gather(&self, rows: impl Iterator<Item = u32>) -> Outcome<Vec<f32>> {
        let mut vectors = Vec::new();
        let width = self.dim * 4;
        let mut bytes = vec![0; width];
        for row in rows {
            self.file.read_exact_at(&mut bytes, u64::from(row) * width as u64)?;
            vectors.extend(floats(&bytes));
        }
        Ok(vectors)
    }
}

/// An open store, and where.
struct Open {
    path: PathBuf,
    store: Store,
    docs: Collection<u64>,
}

fn main() -> ExitCode {
    process::run(|job: Job| {
        if job.dim == 0 || job.cores.is_empty() || job.rounds == 0 {
            return Err("a job has a dimension, at least one core and one round".into());
        }
        job.run()
    })
}

impl Job {
    fn run(&self) -> Outcome<()> {
        let rows = Rows { file: File::open(&self.rows)?, dim: self.dim };
        let queries = numbers(&self.queries)?;
        let changes = triples(&self.changes)?;
        let first: Vec<(u32, u32)> = (0..self.stored as u32).map(|row| (row, row)).collect();
        let (mut open, seconds) = self.build("store", &rows, &first)?;
        print(&json!({"run": "build", "seconds": seconds}));
        if self.costs > 0 {
            print(&self.costs(&rows)?);
        }
        let mut done = 0;
        for (number, stop) in self.stops.iter().enumerate() {
            let part = changes.get(done..stop.after).ok_or("a stop beyond the changes")?;
            let computed = cpu_time();
            let us = self.change(&open.docs, &rows, part)?;
            done = stop.after;
            // As it is left on the disk.
            let bytes;
            (open, bytes) = self.reopened(open)?;
            let cpu_us = (cpu_time() - computed).as_secs_f64() * 1e6 / part.len().max(1) as f64;
            let live = pairs(&stop.live)?;
            self.own(&open.docs, &rows, &live, &format!("own-{number}"))?;
            let info = open.docs.info();
            let report = open.store.verify()?;
            let about = report.collections.first().ok_or("the store has lost its collection")?;
            let mut told = json!({"run": "stop", "bytes": bytes, "remove_us": us[0], "insert_us": us[1],
                "update_us": us[2], "cpu_us": cpu_us, "mean_degree": about.mean_degree, "dead": info.dead, "free": info.free,
                "files": files_of(&open.path)?, "slots": info.slots, "records": info.len, "unreachable": about.unreachable,
                "no_in_links": about.no_in_links, "problems": report.problem_count});
            if stop.fresh {
                let (fresh, seconds) = self.build("fresh", &rows, &live)?;
                let (fresh, bytes) = self.reopened(fresh)?;
                self.own(&fresh.docs, &rows, &live, &format!("fresh-own-{number}"))?;
                let fresh_work = self.find(&fresh.docs, &queries, &format!("fresh-found-{number}"))?;
                told["work"] = work(self.find(&open.docs, &queries, &format!("found-{number}"))?);
                let (mut qps, mut fresh_qps) = (Vec::new(), Vec::new());
                for _ in 0..self.rounds {
                    qps.push(self.speed(&open.docs, &queries)?);
                    fresh_qps.push(self.speed(&fresh.docs, &queries)?);
                }
                told["qps"] = json!(qps);
                let about = fresh.store.verify()?;
                let degree = about.collections.first().map_or(0.0, |about| about.mean_degree);
                told["fresh"] = json!({"seconds": seconds, "bytes": bytes, "qps": fresh_qps,
                    "work": work(fresh_work), "mean_degree": degree, "files": files_of(&fresh.path)?});
                fresh.store.close()?;
                fs::remove_dir_all(&fresh.path)?;
            } else {
                told["work"] = work(self.find(&open.docs, &queries, &format!("found-{number}"))?);
                let qps: Outcome<Vec<f64>> = (0..self.rounds).map(|_| self.speed(&open.docs, &queries)).collect();
                told["qps"] = json!(qps?);
            }
            print(&told);
        }
        open.store.close()?;
        fs::remove_dir_all(&open.path)?;
        Ok(())
    }

    fn open(&self, path: PathBuf, threads: usize) -> Outcome<Open> {
        let metric = Metric::from_name(&self.metric).ok_or_else(|| format!("no metric is called {:?}", self.metric))?;
        let store = Store::options().durability(Durability::Buffered).threads(threads).open(&path)?;
        let docs = store.collection::<u64>(COLLECTION).dim(self.dim).metric(metric).m(self.m);
        let docs = docs.codes(process::codes(&self.codes)?).open_or_create()?;
        Ok(Open { path, store, docs })
    }

    /// What one insert, one update and one removal cost, in microseconds of one core: of the calls, and with all that
    /// the store's own thread does for them until it is closed.
    fn costs(&self, rows: &Rows) -> Outcome<serde_json::Value> {
        let records: Vec<(u32, u32)> = (0..self.stored as u32).map(|row| (row, row)).collect();
        let (mut open, _) = self.build("costs", rows, &records)?;
        let (stored, count) = (self.stored as u32, self.costs as u32);
        let there = rows.file.metadata()?.len() / (4 * self.dim as u64);
        if count > stored || u64::from(stored) + 2 * u64::from(count) > there {
            return Err(format!("{count} inserts and updates of {stored} records want more than {there} rows").into());
        }
        // New keys; then others of the same number, spread over all; then those again.
        let spread = |n: u32| (u64::from(n) * u64::from(stored) / u64::from(count)) as u32;
        let kinds: [(&str, Vec<[u32; 3]>); 3] = [
            ("insert", (0..count).map(|n| [1, stored + n, stored + n]).collect()),
            ("update", (0..count).map(|n| [2, spread(n), stored + count + n]).collect()),
            ("remove", (0..count).map(|n| [0, spread(n), 0]).collect()),
        ];
        let mut told = json!({"run": "costs", "count": count});
        for (kind, changes) in kinds {
            let computed = cpu_time();
            let us = self.change(&open.docs, rows, &changes)?;
            let Open { path, store, docs } = open;
            drop(docs);
            // What is due is done; and then what a store that goes on would do some time.
            store.checkpoint()?;
            store.close()?;
            let cpu = (cpu_time() - computed).as_secs_f64() * 1e6 / f64::from(count);
            told[kind] = json!({"call_us": us.into_iter().flatten().next(), "cpu_us": cpu});
            open = self.open(path, 1)?;
        }
        open.store.close()?;
        fs::remove_dir_all(&open.path)?;
        Ok(told)
    }

    /// A store of these keys and rows, by all cores; the seconds it took, closing included.
    fn build(&self, name: &str, rows: &Rows, records: &[(u32, u32)]) -> Outcome<(Open, f64)> {
        pin(&self.cores)?;
        let path = self.folder.join(name);
        let (mut spent, started) = (Duration::ZERO, Instant::now());
        let Open { store, docs, .. } = self.open(path.clone(), self.cores.len())?;
        spent += started.elapsed();
        for some in records.chunks(BUILD_ROWS) {
            let vectors = rows.gather(some.iter().map(|record| record.1))?;
            let keys: Vec<u64> = some.iter().map(|record| u64::from(record.0)).collect();
            let started = Instant::now();
            docs.put_many(&keys, &vectors, None)?;
            spent += started.elapsed();
        }
        let started = Instant::now();
        drop(docs);
        store.close()?;
        spent += started.elapsed();
        // The store's own thread is started on the same core.
        pin(&self.cores[..1])?;
        Ok((self.open(path, 1)?, spent.as_secs_f64()))
    }

    /// Closes and opens a store; the bytes of its files in between.
    fn reopened(&self, open: Open) -> Outcome<(Open, u64)> {
        let Open { path, store, docs } = open;
        drop(docs);
        store.close()?;
        let bytes = size_of(&path)?;
        Ok((self.open(path, 1)?, bytes))
    }

    /// Makes changes, one a call; the mean microseconds of each kind.
    fn change(&self, docs: &Collection<u64>, rows: &Rows, changes: &[[u32; 3]]) -> Outcome<[Option<f64>; 3]> {
        let (mut spent, mut counts) = ([Duration::ZERO; 3], [0u32; 3]);
        for &[kind, key, row] in changes {
            let (at, key) = (kind as usize, u64::from(key));
            let vector = if kind == 0 { Vec::new() } else { rows.gather(std::iter::once(row))? };
            let started = Instant::now();
            match kind {
                0 if docs.remove(key)? => {}
                0 => return Err(format!("{key} is to be removed and is not there").into()),
                1 | 2 => docs.put(key, &vector, b"")?,
                _ => return Err(format!("no change is of kind {kind}").into()),
            }
            spent[at] += started.elapsed();
            counts[at] += 1;
        }
        Ok(std::array::from_fn(|at| (counts[at] > 0).then(|| spent[at].as_secs_f64() * 1e6 / f64::from(counts[at]))))
    }

    /// Writes the keys that the queries find.
    fn find(&self, docs: &Collection<u64>, queries: &[f32], name: &str) -> Outcome<SearchStats> {
        let hits = docs.search_many(queries).k(self.k).ef(self.ef).run()?;
        // A row that found less is filled up with a key that nothing has.
        let keys = |row| hits.keys(row).iter().copied().chain(std::iter::repeat(u64::MAX)).take(self.k);
        let bytes: Vec<u8> = (0..hits.rows()).flat_map(keys).flat_map(u64::to_le_bytes).collect();
        fs::write(self.folder.join(name), bytes)?;
        Ok(hits.stats())
    }

    /// Writes the key that each record's own vector finds first.
    fn own(&self, docs: &Collection<u64>, rows: &Rows, live: &[(u32, u32)], name: &str) -> Outcome<()> {
        let mut bytes = Vec::with_capacity(live.len() * 8);
        for some in live.chunks(BUILD_ROWS) {
            let vectors = rows.gather(some.iter().map(|record| record.1))?;
            let hits = docs.search_many(&vectors).k(1).ef(self.ef).run()?;
            let key = |row| hits.keys(row).first().copied().unwrap_or(u64::MAX);
            bytes.extend((0..hits.rows()).map(key).flat_map(u64::to_le_bytes));
        }
        Ok(fs::write(self.folder.join(name), bytes)?)
    }

    /// Queries a second, one a call.
    fn speed(&self, docs: &Collection<u64>, queries: &[f32]) -> Outcome<f64> {
        let started = Instant::now();
        for query in queries.chunks_exact(self.dim) {
            docs.search(query).k(self.k).ef(self.ef).run()?;
        }
        Ok((queries.len() / self.dim) as f64 / started.elapsed().as_secs_f64())
    }
}

fn work(stats: SearchStats) -> serde_json::Value {
    json!({"hops": stats.hops, "distances": stats.distances, "reranked": stats.reranked})
}

/// Bytes of each file of a store.
fn files_of(folder: &Path) -> Outcome<serde_json::Value> {
    let mut files = serde_json::Map::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(folder)?.display().to_string();
                files.insert(name, json!(entry.metadata()?.len()));
            }
        }
    }
    Ok(files.into())
}

/// Bytes of the files below a directory.
fn size_of(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size_of(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

fn words(path: &Path) -> Outcome<Vec<u32>> {
    Ok(fs::read(path)?.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect())
}

fn triples(path: &Path) -> Outcome<Vec<[u32; 3]>> {
    Ok(words(path)?.as_chunks().0.to_vec())
}

fn pairs(path: &Path) -> Outcome<Vec<(u32, u32)>> {
    Ok(words(path)?.as_chunks().0.iter().map(|&[key, row]| (key, row)).collect())
}
