//! `lodestore export`: the records of a collection, in the order of their keys, as files that other programs read and
//! `import` takes again.

use std::{io::Write, path::Path, process::ExitCode, time::Instant};

use anyhow::{Context, Result, anyhow, bail};
use lodestore::{Collection, Element, KeyType, Store, Tags};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    args::ExportArgs,
    formats::{Kind, Numbers},
    keys::{self, TextKey, with_any},
    open,
    output::{count, per_second, records, say, say_json, took},
    progress::Progress,
    stop::{INTERRUPTED, Stop},
    tags,
    whole::Whole,
};

/// A line of the file of records.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) key: Value,
    /// If it is neither u64 nor str.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_type: Option<String>,
    #[serde(default)]
    pub(crate) payload: String,
    /// `hex` for bytes that are not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload_encoding: Option<String>,
    /// To each field its value, or a list of several.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) tags: Map<String, Value>,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    collection: &'a str,
    rows: u64,
    dim: usize,
    key: &'a str,
    element: String,
    metric: String,
    /// Records that are marked as deleted, which are not exported.
    marked: u64,
    vector_bytes: u64,
    seconds: f64,
}

pub(crate) fn run(args: &ExportArgs) -> Result<ExitCode> {
    let store = open::reading(&args.store, args.reading, Store::options())?;
    let (any, info) = keys::open(&store, &args.collection)?;
    let numbers = match info.element {
        Element::U8 | Element::Bits => Numbers::U8,
        Element::I8 => Numbers::I8,
        _ => Numbers::F32,
    };
    let kind = Kind::of(&args.output, numbers)?;
    let (stop, started) = (Stop::on_ctrl_c()?, Instant::now());
    let mut vectors = Whole::new(&args.output)?;
    let mut lines = args.records.as_deref().map(Whole::new).transpose()?;
    if lines.as_ref().is_some_and(|lines| lines.is(&vectors)) {
        bail!("--output and --records are the same file, {}", vectors.name());
    }
    let mut progress = Progress::of(info.len, "records");
    let rows =
        with_any!(&any, collection => write(collection, kind, &mut vectors, lines.as_mut(), &stop, &mut progress));
    progress.finish();
    let Some(rows) = rows? else {
        eprintln!("stopped by Ctrl-C; nothing was written");
        return Ok(INTERRUPTED.into());
    };
    if rows == 0 {
        bail!("the collection '{}' holds no records; nothing was written", args.collection);
    }
    // The number of rows is known now.
    vectors.rewrite(&kind.head(rows, info.dim))?;
    vectors.settle()?;
    lines.as_mut().map_or(Ok(0), Whole::settle)?;
    let vector_bytes = vectors.finish()?;
    lines.map_or(Ok(0), Whole::finish)?;
    let seconds = started.elapsed();
    if args.json {
        say_json(&Summary {
            collection: &args.collection,
            rows,
            dim: info.dim,
            key: info.key.name(),
            element: info.element.to_string(),
            metric: info.metric.to_string(),
            marked: info.marked,
            vector_bytes,
            seconds: seconds.as_secs_f64(),
        })?;
    } else {
        let (what, to, speed) = (records(rows), args.output.display(), count(per_second(rows, seconds) as u64));
        say(format!("wrote {what} of {} dimensions to {to} in {} ({speed} records/s)", info.dim, took(seconds)))?;
        if info.marked > 0 {
            say(format!("left out: {} marked as deleted", records(info.marked)))?;
        }
        say(format!("import it with --metric {} --element {}", info.metric, info.element))?;
    }
    drop(any);
    store.close()?;
    Ok(ExitCode::SUCCESS)
}

/// Says how many; `None` if it was stopped.
fn write<K: TextKey + ?Sized>(
    collection: &Collection<K>,
    kind: Kind,
    vectors: &mut Whole,
    mut lines: Option<&mut Whole>,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<Option<u64>> {
    vectors.out().write_all(&kind.head(0, collection.dim())).with_context(|| vectors.name())?;
    let mut rows = 0;
    for item in collection.iter().with_records() {
        if stop.asked() {
            return Ok(None);
        }
        let (key, record) = item?;
        kind.write(&record.vector, vectors.out()).with_context(|| vectors.name())?;
        if let Some(lines) = &mut lines {
            let line = serde_json::to_string(&Line::new::<K>(&key, record.payload, &record.tags))?;
            writeln!(lines.out(), "{line}").with_context(|| lines.name())?;
        }
        rows += 1;
        progress.at(rows);
    }
    Ok(Some(rows))
}

impl Line {
    fn new<K: TextKey + ?Sized>(key: &K::Owned, payload: Vec<u8>, tags: &Tags) -> Self {
        let key_type = !matches!(K::TYPE, KeyType::U64 | KeyType::Str);
        let (payload, payload_encoding) = match String::from_utf8(payload) {
            Ok(payload) => (payload, None),
            Err(bytes) => (keys::hex(bytes.as_bytes()), Some("hex".into())),
        };
        let (key_type, tags) = (key_type.then(|| K::TYPE.name().into()), tags::json(tags));
        Self { key: K::json(key), key_type, payload, payload_encoding, tags }
    }

    /// What its key is, as far as it says.
    pub(crate) fn type_of_key(&self) -> Result<KeyType> {
        match &self.key_type {
            Some(name) => name.parse().map_err(|what: String| anyhow!(what)),
            None => Ok(if self.key.is_u64() { KeyType::U64 } else { KeyType::Str }),
        }
    }

    /// Reads line `at`, from 1 on, of a file.
    pub(crate) fn read(text: &str, at: u64, path: &Path) -> Result<Self> {
        serde_json::from_str(text).with_context(|| format!("line {at} of {}", path.display()))
    }

    /// The key as it would be typed.
    pub(crate) fn key_text(&self) -> Result<String> {
        match &self.key {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) if number.is_u64() => Ok(number.to_string()),
            other => bail!("{other} is no key: keys are whole numbers or strings"),
        }
    }

    pub(crate) fn payload_bytes(self) -> Result<Vec<u8>> {
        match self.payload_encoding.as_deref() {
            None | Some("utf-8") => Ok(self.payload.into_bytes()),
            Some("hex") => keys::unhex(&self.payload).context("the payload is no row of pairs of hexadecimal digits"),
            Some(other) => bail!("the payload's encoding is {other:?}, and only utf-8 and hex are read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back() {
        for payload in [&b"text \n \"quoted\""[..], b"", &[0, 255, 128]] {
            let tags = Tags::try_from([("a", 1)]).unwrap();
            let line = Line::new::<u64>(&7, payload.to_vec(), &tags);
            let text = serde_json::to_string(&line).unwrap();
            assert!(!text.contains('\n'));
            let again = Line::read(&text, 1, Path::new("x")).unwrap();
            assert_eq!(again, line);
            assert_eq!(again.key_text().unwrap(), "7");
            assert_eq!(tags::of_json(&again.tags).unwrap(), tags);
            assert_eq!(again.payload_bytes().unwrap(), payload);
        }
        assert_eq!(Line::read(r#"{"key": "a"}"#, 1, Path::new("x")).unwrap().payload_bytes().unwrap(), b"");
        assert_eq!(Line::new::<[u8]>(&vec![255], Vec::new(), &Tags::new()).type_of_key().unwrap(), KeyType::Bytes);
        assert_eq!(Line::new::<str>(&"7".into(), Vec::new(), &Tags::new()).type_of_key().unwrap(), KeyType::Str);
        for bad in [r#"{"payload": "x"}"#, r#"{"key": 1, "paylaod": "x"}"#, "7", "", r#"{"key": 1, "payload": 7}"#] {
            assert!(Line::read(bad, 1, Path::new("x")).is_err(), "{bad} was accepted");
        }
        for bad in ["abc", "0g", "ä", "+f"] {
            let line: Line = serde_json::from_str(r#"{"key": 1, "payload_encoding": "hex"}"#).unwrap();
            let line = Line { payload: bad.into(), ..line };
            assert!(line.payload_bytes().is_err(), "{bad} was accepted");
        }
        for bad in [Value::Null, (-1).into(), 1.5.into(), vec![1].into()] {
            let line: Line = serde_json::from_str(r#"{"key": 1}"#).unwrap();
            assert!(Line { key: bad, ..line }.key_text().is_err());
        }
    }
}
