//! What a living store does, measured in the process through the public API: the lodestore side of
//! `benches/peers/live.py`.
//!
//! The argument is a job, one JSON object; each run of it prints a JSON object on a line of its own. Files of vectors
//! hold little-endian f32, row after row.

use lodestore::{Codes, Collection, CollectionInfo, Durability, Metric, Residency, Store};
use lodestore_benches::process::{self, BUILD_ROWS, COLLECTION, Outcome, floats, numbers, pin, print};
use lodestore_engine::Geometry;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Debug, Deserialize)]
struct Job {
    /// The store's directory.
    index: PathBuf,
    queries: PathBuf,
    dim: usize,
    metric: String,
    k: usize,
    ef: usize,
    resident: bool,
    /// The cores to measure on. Where there is something to do besides reading, it is done on the first.
    cores: Vec<usize>,
    #[serde(flatten)]
    task: Task,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Task {
    /// Makes a store of all rows of `base`; row N gets key N.
    Build { base: PathBuf, m: usize, codes: String, threads: usize },
    /// Writes the keys found for each query to `ids`.
    Find { ids: PathBuf },
    /// What is in memory after all queries.
    Memory,
    /// Puts rows one by one, from `key` on, and then replaces as many records, spread over all keys below.
    Write { rows: PathBuf, key: u64, puts: usize },
    /// One and two threads that read.
    Readers { seconds: f64 },
    /// A thread that reads while this one writes: after the first `skip` rows `many` in batches, then the rest singly.
    Mixed { rows: PathBuf, skip: usize, key: u64, many: usize, batch: usize, seconds: f64 },
}

fn main() -> ExitCode {
    process::run(|job: Job| {
        if job.dim == 0 || job.cores.is_empty() {
            return Err("a job has a dimension and at least one core".into());
        }
        job.run()
    })
}

impl Job {
    fn run(&self) -> Outcome<()> {
        match &self.task {
            Task::Build { base, m, codes, threads } => self.build(base, *m, codes, *threads),
            Task::Find { ids } => self.find(ids),
            Task::Memory => self.memory(),
            Task::Write { rows, key, puts } => self.write(rows, *key, *puts),
            Task::Readers { seconds } => self.readers(*seconds),
            Task::Mixed { rows, skip, key, many, batch, seconds } => {
                let fresh = numbers(rows)?;
                let left = fresh.get(skip * self.dim..).ok_or("too few rows to write")?;
                let (many, singles) = left.split_at_checked(many * self.dim).ok_or("too few rows to write")?;
                self.mixed(many, singles, *batch, *key, *seconds)
            }
        }
    }

    /// The store of an earlier `build`. One thread links, whatever the size of a write: a core is measured.
    fn open(&self) -> Outcome<(Store, Collection<u64>)> {
        let residency = if self.resident { Residency::Resident } else { Residency::Mapped };
        let options = Store::options().create(false).durability(Durability::Buffered).threads(1).residency(residency);
        let store = options.open(&self.index)?;
        let docs = store.collection(COLLECTION).dim(self.dim).open()?;
        Ok((store, docs))
    }

    fn queries(&self) -> Outcome<Vec<f32>> {
        let queries = numbers(&self.queries)?;
        let whole = !queries.is_empty() && queries.len().is_multiple_of(self.dim);
        whole.then_some(queries).ok_or_else(|| "the queries are no whole rows".into())
    }

    fn search(&self, docs: &Collection<u64>, query: &[f32]) -> Outcome<()> {
        docs.search(query).k(self.k).ef(self.ef).run()?;
        Ok(())
    }

    fn build(&self, base: &Path, m: usize, codes: &str, threads: usize) -> Outcome<()> {
        let metric = Metric::from_name(&self.metric).ok_or_else(|| format!("no metric is called {:?}", self.metric))?;
        let codes = process::codes(codes)?;
        let started = Instant::now();
        let store = Store::options().durability(Durability::Buffered).threads(threads).open(&self.index)?;
        let docs = store.collection::<u64>(COLLECTION).dim(self.dim).metric(metric).m(m).codes(codes).create()?;
        let mut file = BufReader::new(File::open(base)?);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            file.by_ref().take((BUILD_ROWS * self.dim * 4) as u64).read_to_end(&mut bytes)?;
            if bytes.is_empty() {
                break;
            }
            let vectors = floats(&bytes);
            let keys: Vec<u64> = (docs.len()..).take(vectors.len() / self.dim).collect();
            docs.put_many(&keys, &vectors, None)?;
        }
        store.close()?;
        print(&json!({"run": "build", "seconds": started.elapsed().as_secs_f64()}));
        Ok(())
    }

    fn find(&self, ids: &Path) -> Outcome<()> {
        let queries = self.queries()?;
        let (store, docs) = self.open()?;
        let hits = docs.search_many(&queries).k(self.k).ef(self.ef).threads(self.cores.len()).run()?;
        let mut bytes = Vec::with_capacity(hits.rows() * self.k * 8);
        for row in 0..hits.rows() {
            // A row that found less is filled up with a key that nothing has.
            let keys = hits.keys(row).iter().copied().chain(std::iter::repeat(u64::MAX)).take(self.k);
            bytes.extend(keys.flat_map(u64::to_le_bytes));
        }
        fs::write(ids, bytes)?;
        let (stats, rows) = (hits.stats(), hits.rows() as f64);
        print(&json!({"run": "find", "hops": stats.hops as f64 / rows, "distances": stats.distances as f64 / rows,
            "reranked": stats.reranked as f64 / rows}));
        Ok(store.close()?)
    }

    fn memory(&self) -> Outcome<()> {
        pin(&self.cores[..1])?;
        let queries = self.queries()?;
        let folder = self.index.canonicalize()?;
        let before = Memory::now(&folder)?;
        let (store, docs) = self.open()?;
        for query in queries.chunks_exact(self.dim) {
            self.search(&docs, query)?;
        }
        let after = Memory::now(&folder)?;
        let info = docs.info();
        let geometry = geometry(&info);
        let walked = info.slots * (geometry.links_stride() + geometry.code_stride()) as u64;
        let mapped: u64 = after.files.values().sum();
        let anonymous = after.anonymous.saturating_sub(before.anonymous);
        print(&json!({"run": "memory", "bytes": mapped + anonymous, "mapped_bytes": mapped,
            "anonymous_bytes": anonymous, "files": after.files, "links_and_codes_bytes": walked,
            "slots": info.slots, "kernel": store.stats()?.kernel}));
        Ok(store.close()?)
    }

    fn write(&self, rows: &Path, key: u64, puts: usize) -> Outcome<()> {
        // Before the store is opened: its own thread is started on the same core.
        pin(&self.cores[..1])?;
        let fresh = numbers(rows)?;
        let (put, update) = fresh.split_at_checked(puts * self.dim).ok_or("too few rows to write")?;
        let update = update.get(..puts * self.dim).ok_or("too few rows to write")?;
        let (store, docs) = self.open()?;
        for query in self.queries()?.chunks_exact(self.dim) {
            self.search(&docs, query)?;
        }
        let apart = (key / puts.max(1) as u64).max(1);
        let one_by_one = |run: &str, vectors: &[f32], key_of: &dyn Fn(u64) -> u64| -> Outcome<()> {
            let mut times = Vec::with_capacity(puts);
            for (n, vector) in vectors.chunks_exact(self.dim).enumerate() {
                let started = Instant::now();
                docs.put(key_of(n as u64), vector, b"")?;
                times.push(started.elapsed());
            }
            print(&latencies(run, times));
            Ok(())
        };
        one_by_one("put", put, &|n| key + n)?;
        one_by_one("update", update, &|n| n * apart)?;
        // What the writes have put off, and would pay for when the log has grown.
        let (started, dirty) = (Instant::now(), store.stats()?.dirty_bytes);
        store.checkpoint()?;
        print(&json!({"run": "checkpoint", "seconds": started.elapsed().as_secs_f64(), "dirty_bytes": dirty}));
        Ok(store.close()?)
    }

    fn readers(&self, seconds: f64) -> Outcome<()> {
        let queries = self.queries()?;
        let (store, docs) = self.open()?;
        // Once untimed, so that no page is read for the first time.
        docs.search_many(&queries).k(self.k).ef(self.ef).threads(self.cores.len()).run()?;
        for count in [1, 2] {
            let cores = self.cores.get(..count).ok_or("two threads want two cores")?;
            // The threads of a call are kept to these cores together, as they inherit it; which takes which is the
            // system's business.
            let qps = thread::scope(|scope| {
                let caller = scope.spawn(|| {
                    pin(cores)?;
                    let (started, mut rows) = (Instant::now(), 0);
                    while started.elapsed().as_secs_f64() < seconds {
                        rows += docs.search_many(&queries).k(self.k).ef(self.ef).threads(count).run()?.rows();
                    }
                    Outcome::Ok(rows as f64 / started.elapsed().as_secs_f64())
                });
                caller.join().expect("a searching thread panicked")
            })?;
            print(&json!({"run": format!("many-{count}"), "qps": qps}));
        }
        for count in [1, 2] {
            let qps = self.independent(&docs, &queries, &self.cores[..count], seconds)?;
            print(&json!({"run": format!("own-{count}"), "qps": qps}));
        }
        Ok(store.close()?)
    }

    /// Searches a second of threads that call `search` on their own, each on its own core.
    fn independent(&self, docs: &Collection<u64>, queries: &[f32], cores: &[usize], seconds: f64) -> Outcome<f64> {
        let start = Barrier::new(cores.len());
        let rows = queries.len() / self.dim;
        let one = |n: usize| {
            let pinned = pin(&cores[n..=n]);
            // All get here, whatever went wrong.
            start.wait();
            pinned?;
            let (started, mut done) = (Instant::now(), 0u64);
            // Each begins elsewhere: what the one has just read is of no use to the other.
            let from = queries.chunks_exact(self.dim).cycle().skip(n * rows / cores.len());
            for query in from {
                self.search(docs, query)?;
                done += 1;
                if started.elapsed().as_secs_f64() >= seconds {
                    break;
                }
            }
            Outcome::Ok(done as f64 / started.elapsed().as_secs_f64())
        };
        thread::scope(|scope| {
            let one = &one;
            let threads: Vec<_> = (0..cores.len()).map(|n| scope.spawn(move || one(n))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a searching thread panicked")).sum()
        })
    }

    fn mixed(&self, many: &[f32], singles: &[f32], batch: usize, key: u64, seconds: f64) -> Outcome<()> {
        let &[writing, reading, ..] = &self.cores[..] else {
            return Err("to read while writing wants two cores".into());
        };
        // Before the store is opened: its own thread writes too, and must leave the reader's core alone.
        pin(&[writing])?;
        let queries = self.queries()?;
        let (store, docs) = self.open()?;
        let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                pin(&[reading])?;
                for query in queries.chunks_exact(self.dim).cycle() {
                    self.search(&docs, query)?;
                    done.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
                Outcome::Ok(())
            });
            // Once round untimed, so that no page is read for the first time.
            while (done.load(Ordering::Relaxed) as usize) < queries.len() / self.dim && !reader.is_finished() {
                thread::sleep(Duration::from_millis(10));
            }
            let during = |run: &str, rows: usize, work: &dyn Fn() -> Outcome<()>| -> Outcome<()> {
                let (before, started) = (done.load(Ordering::Relaxed), Instant::now());
                work()?;
                let (after, seconds) = (done.load(Ordering::Relaxed), started.elapsed().as_secs_f64());
                print(&json!({"run": run, "qps": (after - before) as f64 / seconds, "seconds": seconds,
                    "rows": rows, "rows_per_s": rows as f64 / seconds}));
                Ok(())
            };
            let idle = || {
                thread::sleep(Duration::from_secs_f64(seconds));
                Ok(())
            };
            let in_batches = || {
                let mut next = key;
                for rows in many.chunks(batch.max(1) * self.dim) {
                    let keys: Vec<u64> = (next..).take(rows.len() / self.dim).collect();
                    docs.put_many(&keys, rows, None)?;
                    next += keys.len() as u64;
                }
                Ok(())
            };
            let (batched, alone) = (many.len() / self.dim, singles.len() / self.dim);
            let one_by_one = || {
                for (n, row) in singles.chunks_exact(self.dim).enumerate() {
                    docs.put(key + (batched + n) as u64, row, b"")?;
                }
                Ok(())
            };
            let outcome = during("idle-1", 0, &idle)
                .and_then(|()| during("many", batched, &in_batches))
                .and_then(|()| during("idle-2", 0, &idle))
                .and_then(|()| during("single", alone, &one_by_one))
                .and_then(|()| during("idle-3", 0, &idle));
            stop.store(true, Ordering::Relaxed);
            reader.join().expect("the searching thread panicked")?;
            outcome
        })?;
        Ok(store.close()?)
    }
}

/// What this process has in memory.
struct Memory {
    /// Of no file.
    anonymous: u64,
    /// Of each mapped file of the store, by its path in the store.
    files: BTreeMap<String, u64>,
}

impl Memory {
    fn now(folder: &Path) -> Outcome<Self> {
        let mut memory = Self { anonymous: 0, files: BTreeMap::new() };
        let text = fs::read_to_string("/proc/self/smaps")?;
        let mut path = "";
        for line in text.lines() {
            let first = line.split_whitespace().next().unwrap_or_default();
            if let Some(field) = first.strip_suffix(':') {
                if field != "Rss" {
                    continue;
                }
                let kib: u64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
                if let Ok(file) = Path::new(path).strip_prefix(folder) {
                    *memory.files.entry(file.display().to_string()).or_default() += kib << 10;
                } else if path.is_empty() || path.starts_with('[') {
                    memory.anonymous += kib << 10;
                }
            } else {
                // Range, rights, offset, device and inode stand before it.
                path = line.splitn(6, ' ').nth(5).unwrap_or_default().trim_start();
            }
        }
        Ok(memory)
    }
}

fn geometry(info: &CollectionInfo) -> Geometry {
    let codes = match info.codes {
        Codes::Eight => 8,
        Codes::Four => 4,
        _ => 0,
    };
    let &CollectionInfo { dim, metric, element, m, ef_construction, seed, key, .. } = info;
    Geometry { dim, metric, element, m, ef_construction, seed, codes, key }
}

fn latencies(run: &str, mut times: Vec<Duration>) -> Value {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let total: Duration = times.iter().sum();
    times.sort_unstable();
    let percentile = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100);
        us(times.get(rank.saturating_sub(1)).copied().unwrap_or_default())
    };
    json!({"run": run, "rows": times.len(), "mean_us": us(total) / times.len().max(1) as f64,
        "p50_us": percentile(50), "p99_us": percentile(99), "max_us": percentile(100)})
}
