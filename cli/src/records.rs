//! `lodestore get`, `put`, `remove`, `mark` and `unmark`: one record at a time.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::{
    args::{GetArgs, MarkArgs, PutArgs, RemoveArgs},
    formats::{self, Block},
    open,
    output::{count, preview, say, say_json},
};

/// Elements of a vector that the readable form shows.
const SHOWN: usize = 8;

#[derive(Debug, Serialize)]
struct Record<'a> {
    key: u64,
    dim: usize,
    vector: &'a [f32],
    payload: String,
    /// `utf-8`, or `hex` for bytes that are not text.
    payload_encoding: &'static str,
}

pub(crate) fn get(args: &GetArgs) -> Result<ExitCode> {
    let _store = open::store(&args.store)?;
    let (collection, _) = open::collection(&_store, &args.collection)?;
    let record = collection.get(args.key)?.with_context(|| missing(args.key, &args.collection))?;
    let (vector, dim) = (&record.vector, record.vector.len());
    if args.json {
        let (payload, payload_encoding) = match String::from_utf8(record.payload) {
            Ok(text) => (text, "utf-8"),
            Err(bytes) => (bytes.as_bytes().iter().map(|b| format!("{b:02x}")).collect(), "hex"),
        };
        say_json(&Record { key: args.key, dim, vector, payload, payload_encoding })?;
    } else {
        let mut shown: Vec<_> = vector.iter().take(SHOWN).map(f32::to_string).collect();
        if dim > SHOWN {
            shown.push(format!("and {} more (--json prints all)", dim - SHOWN));
        }
        say(format!("key      {}", args.key))?;
        say(format!("payload  {}", preview(&record.payload, 1_000)))?;
        say(format!("vector   {dim} dimensions: {}", shown.join(", ")))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn put(args: &PutArgs) -> Result<ExitCode> {
    let vector = vector(&args.vector)?;
    let store = open::store(&args.store)?;
    let (collection, _) = open::collection(&store, &args.collection)?;
    let verb = if collection.contains(args.key)? { "replaced" } else { "stored" };
    collection.put(args.key, &vector, args.payload.as_bytes())?;
    drop(collection);
    store.close()?;
    let (dim, bytes) = (vector.len(), count(args.payload.len() as u64));
    say(format!("{verb} key {} in '{}': {dim} dimensions, {bytes} bytes of payload", args.key, args.collection))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn remove(args: &RemoveArgs) -> Result<ExitCode> {
    let store = open::store(&args.store)?;
    let (collection, _) = open::collection(&store, &args.collection)?;
    if !collection.remove(args.key)? {
        bail!(missing(args.key, &args.collection));
    }
    drop(collection);
    store.close()?;
    say(format!("removed key {} from '{}'", args.key, args.collection))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn mark(args: &MarkArgs) -> Result<ExitCode> {
    let store = open::store(&args.store)?;
    let (collection, _) = open::collection(&store, &args.collection)?;
    if !collection.mark_deleted(args.key)? {
        if collection.is_marked_deleted(args.key)? {
            bail!("the record with the key {} is marked as deleted already", args.key);
        }
        bail!(missing(args.key, &args.collection));
    }
    drop(collection);
    store.close()?;
    say(format!("marked key {} of '{}' as deleted", args.key, args.collection))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn unmark(args: &MarkArgs) -> Result<ExitCode> {
    let store = open::store(&args.store)?;
    let (collection, _) = open::collection(&store, &args.collection)?;
    if !collection.unmark_deleted(args.key)? {
        if collection.contains(args.key)? {
            bail!("the record with the key {} is not marked as deleted", args.key);
        }
        bail!(missing(args.key, &args.collection));
    }
    drop(collection);
    store.close()?;
    say(format!("key {} of '{}' is there again", args.key, args.collection))?;
    Ok(ExitCode::SUCCESS)
}

fn missing(key: u64, collection: &str) -> String {
    format!("the collection '{collection}' holds no record with the key {key}")
}

/// Numbers with commas between them, also in brackets as `get --json` prints them; else the only row of a file.
fn vector(text: &str) -> Result<Block> {
    let list = text.trim().trim_start_matches('[').trim_end_matches(']');
    if let Ok(numbers) = list.split(',').map(|number| number.trim().parse()).collect() {
        return Ok(Block::F32(numbers));
    }
    if text.contains(',') && !Path::new(text).exists() {
        bail!("the vector '{}' is neither a list of numbers nor a file", preview(text.as_bytes(), 40));
    }
    let mut rows = formats::vectors(Path::new(text))?;
    if rows.count() != 1 {
        bail!("{text} holds {} rows, and a record has one vector", count(rows.count()));
    }
    let mut vector = rows.block();
    rows.read(1, &mut vector)?;
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers() {
        assert_eq!(vector("1,2.5,-3e2").unwrap(), Block::F32(vec![1.0, 2.5, -300.0]));
        assert_eq!(vector(" [1, 2] ").unwrap(), Block::F32(vec![1.0, 2.0]));
        assert_eq!(vector("-1").unwrap(), Block::F32(vec![-1.0]));
        for bad in ["", "1,,2", "1,x", "[]", "no-such.npy"] {
            assert!(vector(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
