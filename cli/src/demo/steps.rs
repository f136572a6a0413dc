//! The peaceful half of the demo: build a store, search it.

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};
use lodestore::{Collection, Metric, Store};

use super::{
    GLOSSES,
    reader::{Data, TRUTH},
};
use crate::output::{count, per_second, preview, say, took};

const BATCH: usize = 500;
/// Queries whose answers are printed.
const SHOWN: [usize; 3] = [64, 144, 24];
const SHOWN_HITS: usize = 3;

pub(super) fn create(store: &Store, name: &str, data: &Data) -> Result<Collection<u64>> {
    Ok(store.collection::<u64>(name).dim(data.glosses.dim).metric(Metric::Cosine).seed(7).open_or_create()?)
}

pub(super) fn build(path: &Path, data: &Data) -> Result<()> {
    let started = Instant::now();
    let store = Store::open(path)?;
    let collection = create(&store, GLOSSES, data)?;
    let glosses = &data.glosses;
    let keys: Vec<u64> = (0..glosses.len() as u64).collect();
    let payloads: Vec<&[u8]> = glosses.texts.iter().map(|text| text.as_bytes()).collect();
    let batches = keys.chunks(BATCH).zip(payloads.chunks(BATCH)).zip(glosses.vectors().chunks(BATCH * glosses.dim));
    for ((keys, payloads), vectors) in batches {
        collection.put_many(keys, vectors, Some(payloads))?;
    }
    let elapsed = started.elapsed();
    drop(collection);
    store.close()?;
    say(format!(
        "   {} records, each a vector with its text, put in batches of {BATCH} that were on disk before the next: {} \
         ({} records/s)",
        count(keys.len() as u64),
        took(elapsed),
        count(per_second(keys.len() as u64, elapsed) as u64)
    ))
}

/// Shows a few answers and returns the recall over all queries.
pub(super) fn search(path: &Path, data: &Data) -> Result<f64> {
    let store = Store::open(path)?;
    let collection = create(&store, GLOSSES, data)?;
    for query in SHOWN {
        say(format!("   {:?}", data.queries.texts[query]))?;
        let hits = collection.search(data.queries.vector(query)).k(SHOWN_HITS).with_payloads().run()?;
        for hit in &hits {
            say(format!("     {:.3}  {}", hit.distance, preview(hit.payload.as_deref().unwrap_or_default(), 90)))?;
        }
    }
    let started = Instant::now();
    let recall = recall(&collection, data)?;
    let each = started.elapsed() / data.queries.len() as u32;
    say(format!(
        "   {} such queries: recall@{TRUTH} {recall:.3} against exact search, {} a query",
        data.queries.len(),
        took(each)
    ))?;
    ensure!(recall > 0.9, "recall@{TRUTH} is {recall:.3}, expected more than 0.9");
    drop(collection);
    store.close()?;
    Ok(recall)
}

/// Share of the exact nearest glosses that search finds, over all queries.
pub(super) fn recall(collection: &Collection<u64>, data: &Data) -> Result<f64> {
    let mut found = 0;
    for (query, truth) in data.truth.iter().enumerate() {
        let hits = collection.search(data.queries.vector(query)).k(TRUTH).ef(64).run()?;
        found += hits.iter().filter(|hit| truth.contains(&hit.key)).count();
    }
    Ok(found as f64 / (data.truth.len() * TRUTH) as f64)
}
