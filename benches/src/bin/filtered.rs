//! Filtered searches of a store, measured in the process through the public API: the lodestore side of
//! `benches/peers/filtered.py`, which says what the filters are and judges what is found.
//!
//! The argument is a job, one JSON object; each measurement prints a JSON object on a line of its own. Files of vectors
//! hold little-endian f32, row after row; files of keys little-endian u32. Found keys are written as little-endian u32,
//! `k` a query, u32::MAX where there are fewer.

use lodestore::{Collection, Durability, KeySet, Metric, Residency, Store, TagFilter, Tags};
use lodestore_benches::process::{self, BUILD_ROWS, COLLECTION, Outcome, floats, numbers, pin, print};
use serde::Deserialize;
use serde_json::json;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Debug, Deserialize)]
struct Job {
    /// Made of `base` if it is not there.
    store: PathBuf,
    base: PathBuf,
    queries: PathBuf,
    dim: usize,
    metric: String,
    m: usize,
    k: usize,
    ef: Vec<usize>,
    rounds: usize,
    core: usize,
    resident: bool,
    filters: Vec<Asked>,
    /// Where what was found is written.
    folder: PathBuf,
}

/// A filter: `keys` may be found; all may if there are none.
#[derive(Debug, Deserialize)]
struct Asked {
    name: String,
    keys: Option<PathBuf>,
}

/// Which records may be found.
#[derive(Clone, Copy)]
enum Kept<'a> {
    All,
    Set(&'a KeySet),
    Closure(&'a (dyn Fn(u64) -> bool + Sync)),
    Tags(&'a TagFilter),
}

fn main() -> ExitCode {
    process::run(|job: Job| job.run())
}

impl Job {
    fn run(&self) -> Outcome<()> {
        let metric = Metric::from_name(&self.metric).ok_or_else(|| format!("no metric is called {:?}", self.metric))?;
        let is_new = !self.store.exists();
        let residency = if self.resident { Residency::Resident } else { Residency::Mapped };
        let open = || Store::options().durability(Durability::Buffered).residency(residency).open(&self.store);
        if is_new {
            let store = open()?;
            let docs = store.collection::<u64>(COLLECTION).dim(self.dim).metric(metric).m(self.m).create()?;
            self.build(&docs)?;
            store.close()?;
        }
        let store = open()?;
        let docs = store.collection::<u64>(COLLECTION).open()?;
        self.tag(&store, &docs)?;
        let queries = numbers(&self.queries)?;
        pin(&[self.core])?;
        for asked in &self.filters {
            let keys = asked.keys.as_ref().map(|path| Ok::<_, std::io::Error>(keys(&fs::read(path)?))).transpose()?;
            let set: Option<KeySet> = keys.as_ref().map(|keys| keys.iter().map(|&key| u64::from(key)).collect());
            // The same as a closure: a bit for each key.
            let most = keys.iter().flatten().max().map_or(0, |&most| most as usize + 1);
            let mut bits = vec![false; most];
            keys.iter().flatten().for_each(|&key| bits[key as usize] = true);
            let closure = |key: u64| bits.get(key as usize).is_some_and(|&is_in| is_in);
            let by_set = set.as_ref().map_or(Kept::All, Kept::Set);
            let by_closure = Kept::Closure(&closure);
            for &ef in &self.ef {
                self.measure(&docs, &queries, asked, "set", by_set, ef)?;
                if set.is_some() {
                    self.measure(&docs, &queries, asked, "closure", by_closure, ef)?;
                    self.measure(&docs, &queries, asked, "tags", Kept::Tags(&TagFilter::has(&asked.name)?), ef)?;
                }
            }
            self.measure(&docs, &queries, asked, "exact", by_set, 0)?;
        }
        Ok(())
    }

    fn build(&self, docs: &Collection<u64>) -> Outcome<()> {
        let started = Instant::now();
        let mut base = BufReader::new(File::open(&self.base)?);
        let width = self.dim * 4;
        let mut bytes = Vec::new();
        let mut next = 0u64;
        while base.by_ref().take((BUILD_ROWS * width) as u64).read_to_end(&mut bytes)? > 0 {
            let rows = (bytes.len() / width) as u64;
            docs.put_many(&(next..next + rows).collect::<Vec<_>>(), &floats(&bytes)[..], None)?;
            next += rows;
            bytes.clear();
        }
        print(&json!({"run": "build", "rows": next, "seconds": started.elapsed().as_secs_f64()}));
        Ok(())
    }

    /// Gives each record the names of the filters that keep it as tags.
    fn tag(&self, store: &Store, docs: &Collection<u64>) -> Outcome<()> {
        let started = Instant::now();
        let mut tags: Vec<Tags> = Vec::new();
        for asked in &self.filters {
            let Some(path) = &asked.keys else { continue };
            for key in keys(&fs::read(path)?) {
                if tags.len() <= key as usize {
                    tags.resize(key as usize + 1, Tags::new());
                }
                tags[key as usize].add(&asked.name, 1)?;
            }
        }
        for (some, first) in tags.chunks(BUILD_ROWS).zip((0..).step_by(BUILD_ROWS)) {
            let mut batch = store.batch();
            (first..).zip(some).try_for_each(|(key, tags)| batch.set_tags(docs, key, tags))?;
            batch.commit()?;
        }
        print(&json!({"run": "tags", "rows": tags.len(), "seconds": started.elapsed().as_secs_f64()}));
        Ok(())
    }

    /// Runs all queries, once untimed.
    fn measure(
        &self,
        docs: &Collection<u64>,
        queries: &[f32],
        asked: &Asked,
        how: &str,
        kept: Kept<'_>,
        ef: usize,
    ) -> Outcome<()> {
        let mut found = Vec::new();
        let (mut hops, mut distances, mut scans, mut walks) = (0, 0, 0, 0);
        let mut times = Vec::new();
        // Comparing with all takes long: fewer queries tell enough of its speed.
        let count = queries.len() / self.dim;
        let timed = if ef == 0 { count.min(50) } else { count };
        for round in 0..=self.rounds {
            let started = Instant::now();
            for query in queries.chunks_exact(self.dim).take(timed) {
                let mut search = docs.search(query).k(self.k).ef(ef.max(self.k));
                search = match kept {
                    Kept::All => search,
                    Kept::Set(set) => search.among(set),
                    Kept::Closure(closure) => search.filter(closure),
                    Kept::Tags(tags) => search.tagged(tags),
                };
                let hits = if ef == 0 { search.exact().run()? } else { search.run()? };
                if round == 0 {
                    let keys = hits.iter().map(|hit| hit.key as u32).chain(std::iter::repeat(u32::MAX));
                    found.extend(keys.take(self.k).flat_map(u32::to_le_bytes));
                    let stats = hits.stats();
                    hops += stats.hops;
                    distances += stats.distances;
                    scans += stats.scans;
                    walks += stats.walks;
                }
            }
            times.push(started.elapsed().as_secs_f64());
        }
        times.remove(0);
        let qps: Vec<f64> = times.iter().map(|seconds| timed as f64 / seconds).collect();
        let path = self.folder.join(format!("{}-{how}-{ef}", asked.name));
        fs::write(&path, found)?;
        let each = |n: u64| n as f64 / timed as f64;
        print(&json!({"run": "search", "filter": asked.name, "how": how, "ef": ef, "qps": qps, "found": path,
            "hops": each(hops), "distances": each(distances), "scans": each(scans), "walks": each(walks)}));
        Ok(())
    }
}

fn keys(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|&key| u32::from_le_bytes(key)).collect()
}
