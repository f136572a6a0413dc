//! `lodestore get`, `put`, `remove`, `mark` and `unmark`: one record at a time; and `lodestore keys`.

use std::{ops::Bound, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use lodestore::{Collection, Keys, Store};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    args::{GetArgs, KeysArgs, MarkArgs, PutArgs, RemoveArgs},
    formats::{self, Block},
    keys::{self, AnyCollection, TextKey, with_any},
    open,
    output::{count, preview, say, say_json},
    tags,
};

/// Elements of a vector that the readable form shows.
const SHOWN: usize = 8;
/// Bytes of keys that are printed at once.
const LINES_AT_ONCE: usize = 1 << 16;

#[derive(Debug, Serialize)]
struct Record<'a> {
    key: Value,
    dim: usize,
    vector: &'a [f32],
    payload: String,
    /// `utf-8`, or `hex` for bytes that are not text.
    payload_encoding: &'static str,
    tags: Map<String, Value>,
}

pub(crate) fn get(args: &GetArgs) -> Result<ExitCode> {
    let store = open::reading(&args.store, args.reading, Store::options())?;
    let (any, _) = keys::open(&store, &args.collection)?;
    with_any!(&any, collection => get_from(collection, args))
}

fn get_from<K: TextKey + ?Sized>(collection: &Collection<K>, args: &GetArgs) -> Result<ExitCode> {
    let key = K::parse(&args.key)?;
    let record = collection.get(key.clone())?.with_context(|| missing(&args.key, &args.collection))?;
    let (vector, dim, tags) = (&record.vector, record.vector.len(), tags::json(&record.tags));
    if args.json {
        let (payload, payload_encoding) = match String::from_utf8(record.payload) {
            Ok(text) => (text, "utf-8"),
            Err(bytes) => (bytes.as_bytes().iter().map(|b| format!("{b:02x}")).collect(), "hex"),
        };
        say_json(&Record { key: K::json(&key), dim, vector, payload, payload_encoding, tags })?;
    } else {
        let mut shown: Vec<_> = vector.iter().take(SHOWN).map(f32::to_string).collect();
        if dim > SHOWN {
            shown.push(format!("and {} more (--json prints all)", dim - SHOWN));
        }
        say(format!("key      {}", K::show(&key)))?;
        say(format!("payload  {}", preview(&record.payload, 1_000)))?;
        if !tags.is_empty() {
            say(format!("tags     {}", preview(serde_json::to_string(&tags)?.as_bytes(), 1_000)))?;
        }
        say(format!("vector   {dim} dimensions: {}", shown.join(", ")))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn put(args: &PutArgs) -> Result<ExitCode> {
    let vector = vector(&args.vector)?;
    let store = open::store(&args.store)?;
    let (any, _) = keys::open(&store, &args.collection)?;
    let verb = with_any!(&any, collection => put_into(collection, args, &vector))?;
    drop(any);
    store.close()?;
    let (dim, bytes) = (vector.len(), count(args.payload.len() as u64));
    let key = preview(args.key.as_bytes(), 200);
    say(format!("{verb} key {key} in '{}': {dim} dimensions, {bytes} bytes of payload", args.collection))?;
    Ok(ExitCode::SUCCESS)
}

fn put_into<K: TextKey + ?Sized>(collection: &Collection<K>, args: &PutArgs, vector: &Block) -> Result<&'static str> {
    let key = K::parse(&args.key)?;
    let verb = if collection.contains(key.clone())? { "replaced" } else { "stored" };
    collection.put_tagged(key, vector, args.payload.as_bytes(), &tags::of(&args.tags)?)?;
    Ok(verb)
}

pub(crate) fn remove(args: &RemoveArgs) -> Result<ExitCode> {
    let store = open::store(&args.store)?;
    let (any, _) = keys::open(&store, &args.collection)?;
    if !with_any!(&any, collection => remove_from(collection, &args.key))? {
        bail!(missing(&args.key, &args.collection));
    }
    drop(any);
    store.close()?;
    say(format!("removed key {} from '{}'", preview(args.key.as_bytes(), 200), args.collection))?;
    Ok(ExitCode::SUCCESS)
}

fn remove_from<K: TextKey + ?Sized>(collection: &Collection<K>, key: &str) -> Result<bool> {
    Ok(collection.remove(K::parse(key)?)?)
}

pub(crate) fn mark(args: &MarkArgs) -> Result<ExitCode> {
    change_mark(args, true)?;
    say(format!("marked key {} of '{}' as deleted", preview(args.key.as_bytes(), 200), args.collection))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn unmark(args: &MarkArgs) -> Result<ExitCode> {
    change_mark(args, false)?;
    say(format!("key {} of '{}' is there again", preview(args.key.as_bytes(), 200), args.collection))?;
    Ok(ExitCode::SUCCESS)
}

fn change_mark(args: &MarkArgs, mark: bool) -> Result<()> {
    let store = open::store(&args.store)?;
    let (any, _) = keys::open(&store, &args.collection)?;
    with_any!(&any, collection => change_mark_in(collection, args, mark))?;
    drop(any);
    Ok(store.close()?)
}

fn change_mark_in<K: TextKey + ?Sized>(collection: &Collection<K>, args: &MarkArgs, mark: bool) -> Result<()> {
    let key = K::parse(&args.key)?;
    let (changed, as_asked) = match mark {
        true => (collection.mark_deleted(key.clone())?, collection.is_marked_deleted(key.clone())?),
        false => (collection.unmark_deleted(key.clone())?, collection.contains(key.clone())?),
    };
    match (changed, as_asked) {
        (true, _) => Ok(()),
        (false, false) => bail!(missing(&args.key, &args.collection)),
        (false, true) if mark => bail!("the record with the key {} is marked as deleted already", K::show(&key)),
        (false, true) => bail!("the record with the key {} is not marked as deleted", K::show(&key)),
    }
}

fn missing(key: &str, collection: &str) -> String {
    format!("the collection '{collection}' holds no record with the key {}", preview(key.as_bytes(), 200))
}

pub(crate) fn keys(args: &KeysArgs) -> Result<ExitCode> {
    let store = open::reading(&args.store, args.reading, Store::options())?;
    let (any, info) = keys::open(&store, &args.collection)?;
    match (&any, &args.prefix) {
        (AnyCollection::Str(collection), Some(prefix)) => list(collection.prefix(prefix), args)?,
        (AnyCollection::Bytes(collection), Some(prefix)) => list(collection.prefix(<[u8]>::parse(prefix)?), args)?,
        (_, Some(_)) => bail!("keys of type {} have no prefix; use --from and --to", info.key),
        (any, None) => with_any!(any, collection => list(between(collection, args)?, args))?,
    }
    drop(any);
    store.close()?;
    Ok(ExitCode::SUCCESS)
}

fn between<K: TextKey + ?Sized>(collection: &Collection<K>, args: &KeysArgs) -> Result<Keys<K>> {
    let parsed = |key: &Option<String>| key.as_deref().map(K::parse).transpose();
    let from = parsed(&args.from)?.map_or(Bound::Unbounded, Bound::Included);
    let to = parsed(&args.to)?.map_or(Bound::Unbounded, Bound::Excluded);
    Ok(collection.range((from, to)))
}

fn list<K: TextKey + ?Sized>(keys: Keys<K>, args: &KeysArgs) -> Result<()> {
    let keys: Box<dyn Iterator<Item = _>> = if args.reverse { Box::new(keys.rev()) } else { Box::new(keys) };
    let mut lines = String::new();
    for key in keys.take(args.limit.unwrap_or(usize::MAX)) {
        let key = key?;
        lines.push_str(&if args.json { K::json(&key).to_string() } else { K::show(&key) });
        lines.push('\n');
        if lines.len() >= LINES_AT_ONCE {
            say(&lines[..lines.len() - 1])?;
            lines.clear();
        }
    }
    if lines.is_empty() { Ok(()) } else { say(&lines[..lines.len() - 1]) }
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
