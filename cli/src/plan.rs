//! `lodestore info --plan`: what of a store fits into so much memory, and what searches would read from the disk.
//!
//! How a budget is divided is `StoreOptions::memory`'s. What searches do is asked of the store: some stored vectors are
//! searched for.

use std::ops::Bound;

use anyhow::Result;
use indicatif::HumanBytes;
use lodestore::{Collection, CollectionInfo, Store};
use serde::Serialize;

use crate::{
    keys::{self, TextKey, with_any},
    output::{count, records, say, say_json},
};

/// Stored vectors that are searched for,
const SAMPLES: usize = 32;
/// as searches are by default.
const K: usize = 10;
const EF: usize = 64;

#[derive(Debug, Serialize)]
struct Plan {
    memory: u64,
    /// The part of that for what every search reads.
    hot_limit: u64,
    /// Of all collections.
    hot: u64,
    vectors: u64,
    fits: Fits,
    collections: Vec<Row>,
}

/// How much of a store its part of the memory has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Fits {
    /// Everything.
    All,
    /// What every search reads, and not all vectors beside it.
    Hot,
    /// Not even that.
    Part,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    records: u64,
    hot: u64,
    vectors: u64,
    hot_bytes_per_record: f64,
    vector_bytes_per_record: f64,
    k: usize,
    ef: usize,
    /// Of a search, on average.
    hops: f64,
    distances: f64,
    reranked: f64,
    /// The most that a search reads from the disk, on average, in reads of a vector, a list or a code.
    reads: f64,
    /// Recall at `k` and the ef that it was measured for last, the nearest to `ef`.
    measured: Option<Measured>,
}

#[derive(Debug, Serialize)]
struct Measured {
    k: usize,
    ef: usize,
    recall: f64,
}

impl Fits {
    fn of(hot: u64, vectors: u64, limit: u64) -> Self {
        match (hot + vectors <= limit, hot <= limit) {
            (true, _) => Self::All,
            (_, true) => Self::Hot,
            _ => Self::Part,
        }
    }
}

pub(crate) fn plan(store: &Store, memory: u64, json: bool) -> Result<()> {
    let infos = store.collections()?;
    let (hot, vectors) = infos.iter().fold((0, 0), |sum, info| (sum.0 + info.hot_bytes, sum.1 + info.vector_bytes));
    // As the library divides it.
    let hot_limit = memory / 2;
    let fits = Fits::of(hot, vectors, hot_limit);
    // What is not in memory of what every search reads.
    let missing = 1.0 - (hot_limit as f64 / hot.max(1) as f64).min(1.0);
    let mut rows = Vec::new();
    for info in infos {
        let (any, _) = keys::open(store, &info.name)?;
        rows.push(with_any!(&any, collection => row(collection, &info, fits, missing))?);
    }
    let plan = Plan { memory, hot_limit, hot, vectors, fits, collections: rows };
    if json { say_json(&plan) } else { describe(&plan) }
}

fn row<K: TextKey + ?Sized>(
    collection: &Collection<K>,
    info: &CollectionInfo,
    fits: Fits,
    missing: f64,
) -> Result<Row> {
    let (mut samples, mut hops, mut distances, mut reranked) = (0, 0, 0, 0);
    for key in collection.range((Bound::<K::Owned>::Unbounded, Bound::Unbounded)).take(SAMPLES) {
        let stats = collection.search_near(key?)?.k(self::K).ef(EF).run()?.stats();
        samples += 1;
        hops += stats.hops;
        distances += stats.distances;
        reranked += stats.reranked;
    }
    let mean = |sum: u64| sum as f64 / f64::from(samples.max(1));
    let (hops, distances, reranked) = (mean(hops), mean(distances), mean(reranked));
    let reads = match fits {
        Fits::All => 0.0,
        Fits::Hot => reranked,
        Fits::Part => reranked + (hops + distances) * missing,
    };
    let each = |bytes: u64| bytes as f64 / info.slots.max(1) as f64;
    let measured = collection.recall_report()?.and_then(|report| {
        let nearest = report.rows.iter().min_by_key(|at| at.ef.abs_diff(EF))?;
        Some(Measured { k: report.k, ef: nearest.ef, recall: nearest.recall })
    });
    Ok(Row {
        name: info.name.clone(),
        records: info.len,
        hot: info.hot_bytes,
        vectors: info.vector_bytes,
        hot_bytes_per_record: each(info.hot_bytes),
        vector_bytes_per_record: each(info.vector_bytes),
        k: self::K,
        ef: EF,
        hops,
        distances,
        reranked,
        reads,
        measured,
    })
}

fn describe(plan: &Plan) -> Result<()> {
    let Plan { memory, hot_limit, hot, vectors, fits, .. } = plan;
    say(format!("memory    {}, of which {} for what searches read", HumanBytes(*memory), HumanBytes(*hot_limit)))?;
    say(format!("store     {} that every search reads, {} of vectors beyond", HumanBytes(*hot), HumanBytes(*vectors)))?;
    say(match fits {
        Fits::All => "fits      everything: searches read nothing from the disk once it has been read",
        Fits::Hot => {
            "fits      what every search reads: a search reads from the disk only vectors to compare exactly, all at once"
        }
        Fits::Part => {
            "fits      not even what every search reads: walks read from the disk at every hop; more memory, a smaller M or codes of 4 bits would help"
        }
    })?;
    for row in &plan.collections {
        say(format!(
            "\n{}: {}, of {:.0} bytes each that every search reads, and {:.0} of vectors",
            row.name,
            records(row.records),
            row.hot_bytes_per_record,
            row.vector_bytes_per_record
        ))?;
        say(format!(
            "  a search for {} with ef {}: {:.0} hops, {} distances, {:.0} compared exactly; reads at most {:.0} from the disk",
            row.k,
            row.ef,
            row.hops,
            count(row.distances as u64),
            row.reranked,
            row.reads
        ))?;
        if let Some(Measured { k, ef, recall }) = &row.measured {
            say(format!("  recall@{k} at ef {ef} was measured as {recall:.3}; memory does not change it"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits() {
        assert_eq!(Fits::of(10, 90, 100), Fits::All);
        assert_eq!(Fits::of(10, 91, 100), Fits::Hot);
        assert_eq!(Fits::of(101, 0, 100), Fits::Part);
        assert_eq!(Fits::of(0, 0, 1), Fits::All);
    }
}
