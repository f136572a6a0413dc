//! `lodestore info` and `checkpoint`: the store as a whole.

use std::{collections::BTreeMap, process::ExitCode, time::Instant};

use anyhow::Result;
use indicatif::HumanBytes;
use lodestore::{CollectionInfo, Store};
use serde::Serialize;

use crate::{
    args::{CheckpointArgs, InspectArgs},
    open,
    output::{count, say, say_json, took},
    plan,
};

#[derive(Debug, Serialize)]
struct Info {
    store: String,
    records: u64,
    bytes: u64,
    log_bytes: u64,
    /// Bytes of changed pages in memory.
    dirty_bytes: u64,
    /// Stores opened for reading only, at this moment.
    readers: u64,
    last_lsn: u64,
    durable_lsn: u64,
    checkpoint_lsn: u64,
    /// Why the store takes no more writes, if it does not.
    poisoned: Option<String>,
    kernel: &'static str,
    collections: Vec<CollectionRow>,
    /// Bytes of each file.
    files: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct CollectionRow {
    name: String,
    key: &'static str,
    records: u64,
    /// Records marked as deleted; `records` does not count them.
    marked: u64,
    dim: usize,
    element: &'static str,
    metric: &'static str,
    m: usize,
    ef_construction: usize,
    /// `none`, `4` or `8`.
    codes: String,
    seed: u64,
}

pub(crate) fn info(args: &InspectArgs) -> Result<ExitCode> {
    let store = open::reading(&args.store, args.reading, Store::options())?;
    if let Some(bytes) = args.memory {
        plan::plan(&store, bytes, args.json)?;
        store.close()?;
        return Ok(ExitCode::SUCCESS);
    }
    let stats = store.stats()?;
    let row = |info: CollectionInfo| CollectionRow {
        name: info.name,
        key: info.key.name(),
        records: info.len,
        marked: info.marked,
        dim: info.dim,
        element: info.element.name(),
        metric: info.metric.name(),
        m: info.m,
        ef_construction: info.ef_construction,
        codes: info.codes.to_string(),
        seed: info.seed,
    };
    let info = Info {
        store: args.store.display().to_string(),
        records: stats.records,
        bytes: stats.bytes,
        log_bytes: stats.log_bytes,
        dirty_bytes: stats.dirty_bytes,
        readers: stats.readers,
        last_lsn: stats.last_lsn,
        durable_lsn: stats.durable_lsn,
        checkpoint_lsn: stats.checkpoint_lsn,
        poisoned: stats.poisoned,
        kernel: stats.kernel,
        collections: stats.collections.into_iter().map(row).collect(),
        files: stats.files.into_iter().collect(),
    };
    if args.json {
        say_json(&info)?
    } else {
        describe(&info)?
    }
    store.close()?;
    Ok(ExitCode::SUCCESS)
}

fn describe(info: &Info) -> Result<()> {
    say(format!("store     {}: {} in {} files", info.store, HumanBytes(info.bytes), info.files.len()))?;
    let parts = parts(&info.files);
    let parts: Vec<_> = parts.iter().map(|(part, bytes)| format!("{part} {}", HumanBytes(*bytes))).collect();
    say(format!("parts     {}", parts.join(", ")))?;
    say(match info.last_lsn.saturating_sub(info.checkpoint_lsn) {
        0 => "log       everything is in the last checkpoint".to_owned(),
        waiting => format!("log       {} writes since the last checkpoint", count(waiting)),
    })?;
    say(format!("kernel    {}", info.kernel))?;
    if let Some(reason) = &info.poisoned {
        say(format!("no more writes: {reason}"))?;
    }
    if info.collections.is_empty() {
        return say("\nno collections yet");
    }
    let width = info.collections.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max("collection".len());
    say(format!(
        "\n{:width$}  {:5}  {:>13}  {:>5}  element  metric     m  ef_construction  codes  seed",
        "collection", "keys", "records", "dim"
    ))?;
    for c in &info.collections {
        let (records, ef) = (count(c.records), c.ef_construction);
        say(format!(
            "{:width$}  {:5}  {records:>13}  {:>5}  {:7}  {:7}  {:>3}  {ef:>15}  {:>5}  {}",
            c.name, c.key, c.dim, c.element, c.metric, c.m, c.codes, c.seed
        ))?;
        if c.marked > 0 {
            say(format!("{:width$}  {:>13}  more are marked as deleted", "", count(c.marked)))?;
        }
    }
    Ok(())
}

/// What the bytes are for, the most first.
fn parts(files: &BTreeMap<String, u64>) -> Vec<(&'static str, u64)> {
    let mut parts = BTreeMap::new();
    for (path, bytes) in files {
        let part = match path.rsplit('/').next().unwrap_or(path) {
            "vectors" => "vectors",
            "codes" => "codes",
            "links" | "upper" => "graph",
            "catalog.redb" | "keys" => "keys and payloads",
            name if name.ends_with(".wal") => "log",
            _ => "other",
        };
        *parts.entry(part).or_insert(0) += bytes;
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
    parts
}

pub(crate) fn checkpoint(args: &CheckpointArgs) -> Result<ExitCode> {
    let store = open::store(&args.store)?;
    let started = Instant::now();
    store.checkpoint()?;
    say(format!("checkpoint written in {}", took(started.elapsed())))?;
    store.close()?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_summed_by_what_they_are_for() {
        let files =
            [("c/0/vectors", 5), ("c/1/vectors", 6), ("c/0/upper", 1), ("c/0/links", 1), ("wal/1.wal", 4), ("x", 1)];
        let files = files.map(|(path, bytes)| (path.to_owned(), bytes)).into();
        assert_eq!(parts(&files), [("vectors", 11), ("log", 4), ("graph", 2), ("other", 1)]);
    }
}
