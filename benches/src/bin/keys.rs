//! Keys: what strings cost beside numbers, looking up and scanning a million of them, and a thousand small collections.
//!
//! `cargo run --release -p lodestore-benches --bin keys -- compare|scale|many [N]` prints a JSON object a line. All on one
//! thread, in a directory of the system's for temporary files (`TMPDIR` says which).

use lodestore::{AsKey, Collection, Durability, Key, Metric, Store};
use lodestore_benches::process::{Outcome, print};
use lodestore_benches::{Vectors, numbers};
use serde_json::json;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

const BYTES: f64 = 1024.0;

/// A type of keys with a key for every number.
trait Numbered: Key<Owned: AsKey<Self>> {
    fn key(number: usize) -> Self::Owned;
}

impl Numbered for u64 {
    fn key(number: usize) -> u64 {
        number as u64
    }
}

/// As addresses of pages may be, of ten sites.
impl Numbered for str {
    fn key(number: usize) -> String {
        format!("https://{}.example.org/{number:08}", number % 10)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = |otherwise: usize| arguments.get(1).map_or(Ok(otherwise), |given| given.parse());
    let run = || -> Outcome<()> {
        match arguments.first().map(String::as_str) {
            Some("compare") => compare(count(5)?),
            Some("scale") => {
                scale::<u64>(count(1_000_000)?)?;
                scale::<str>(count(1_000_000)?)
            }
            Some("many") => many(count(1_000)?),
            Some("open") => open(Path::new(arguments.get(1).ok_or("open what?")?)),
            _ => Err("what to measure: compare [ROUNDS], scale [KEYS] or many [COLLECTIONS]".into()),
        }
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn store(path: &Path) -> lodestore::Result<Store> {
    Store::options().durability(Durability::Buffered).threads(1).open(path)
}

fn per_second(count: usize, time: Duration) -> u64 {
    (count as f64 / time.as_secs_f64()) as u64
}

/// Numbers from 0 in an order that jumps about.
fn shuffled(count: usize) -> impl Iterator<Item = usize> {
    // A step that has no divisor in common with any count up to it.
    const STEP: usize = 2_147_483_647;
    (0..count).map(move |at| at * (STEP % count) % count)
}

/// Puts, one by one, and searches of both types of keys by turns; the medians of the rounds.
fn compare(rounds: usize) -> Outcome<()> {
    let demo = Vectors::load();
    let small = Vectors { dim: 32, rows: numbers(20_000 * 32), queries: numbers(1_000 * 32) };
    for data in [&demo, &small] {
        let (mut ints, mut strings) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ints.push(puts_and_searches::<u64>(data)?);
            strings.push(puts_and_searches::<str>(data)?);
        }
        let (ints, strings) = (medians(ints), medians(strings));
        for (at, what) in ["put", "search"].into_iter().enumerate() {
            print(&json!({
                "what": what, "dim": data.dim, "u64_us": ints[at], "str_us": strings[at],
                "str_more": format!("{:+.1} %", (strings[at] / ints[at] - 1.0) * 100.0),
            }));
        }
    }
    Ok(())
}

fn medians(mut rounds: Vec<[f64; 2]>) -> [f64; 2] {
    [0, 1].map(|at| {
        rounds.sort_by(|a, b| a[at].total_cmp(&b[at]));
        rounds[rounds.len() / 2][at]
    })
}

/// Microseconds of a put and of a search.
fn puts_and_searches<K: Numbered + ?Sized>(data: &Vectors) -> Outcome<[f64; 2]> {
    let dir = tempfile::tempdir()?;
    let store = store(dir.path())?;
    let docs = store.collection::<K>("docs").dim(data.dim).create()?;
    let rows = data.rows.chunks_exact(data.dim).take(10_000);
    let keyed: Vec<(K::Owned, &[f32])> = rows.enumerate().map(|(number, row)| (K::key(number), row)).collect();
    let count = keyed.len();
    let started = Instant::now();
    for (key, vector) in keyed {
        docs.put(key, vector, b"payload")?;
    }
    let put = started.elapsed().as_secs_f64() * 1e6 / count as f64;
    let queries = || data.queries.chunks_exact(data.dim);
    let started = Instant::now();
    let mut searches = 0;
    for query in queries().cycle().take(3_000) {
        assert_eq!(docs.search(query).k(10).ef(64).run()?.len(), 10);
        searches += 1;
    }
    Ok([put, started.elapsed().as_secs_f64() * 1e6 / f64::from(searches)])
}

/// Looking up and scanning many keys, warm.
fn scale<K: Numbered + ?Sized>(keys: usize) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let store = store(dir.path())?;
    let docs = store.collection::<K>("docs").dim(8).m(4).ef_construction(8).create()?;
    let vectors = numbers(8 * keys);
    let started = Instant::now();
    for (at, vectors) in vectors.chunks(8 * 10_000).enumerate() {
        let keys: Vec<K::Owned> = (0..vectors.len() / 8).map(|row| K::key(at * 10_000 + row)).collect();
        let payloads = vec![&b"sixteen bytes..."[..]; keys.len()];
        docs.put_many(&keys, vectors, Some(&payloads))?;
    }
    store.checkpoint()?;
    print(&json!({ "what": "put_many", "keys": K::TYPE.name(), "per_s": per_second(keys, started.elapsed()) }));

    // Made before, so that only looking up is timed; the second round is warm.
    for round in ["first", "warm"] {
        let wanted: Vec<K::Owned> = shuffled(keys).take(300_000).map(K::key).collect();
        timed::<K>("payload", round, wanted, |key| Ok(docs.payload(key)?.is_some()))?;
        let wanted: Vec<K::Owned> = shuffled(keys).take(300_000).map(K::key).collect();
        timed::<K>("get", round, wanted, |key| Ok(docs.get(key)?.is_some()))?;
        let started = Instant::now();
        let seen = docs.iter().try_fold(0, |seen, key| key.map(|_| seen + 1))?;
        assert_eq!(seen, keys);
        let per_s = per_second(keys, started.elapsed());
        print(&json!({ "what": "scan of all keys", "keys": K::TYPE.name(), "round": round, "per_s": per_s }));
        let started = Instant::now();
        let seen = docs.iter().with_payloads().try_fold(0, |seen, item| item.map(|_| seen + 1))?;
        let per_s = per_second(seen, started.elapsed());
        print(&json!({ "what": "scan with payloads", "keys": K::TYPE.name(), "round": round, "per_s": per_s }));
    }
    if let Ok(docs) = store.collection::<str>("docs").open() {
        prefixes(&docs, keys)?;
    }
    Ok(store.close()?)
}

fn timed<K: Numbered + ?Sized>(
    what: &str,
    round: &str,
    wanted: Vec<K::Owned>,
    found: impl Fn(K::Owned) -> Outcome<bool>,
) -> Outcome<()> {
    let (count, started) = (wanted.len(), Instant::now());
    for key in wanted {
        assert!(found(key)?, "it was put");
    }
    let per_s = per_second(count, started.elapsed());
    print(&json!({ "what": what, "keys": K::TYPE.name(), "round": round, "per_s": per_s }));
    Ok(())
}

fn prefixes(docs: &Collection<str>, keys: usize) -> Outcome<()> {
    let started = Instant::now();
    let mut seen = 0;
    for site in 0..10 {
        seen = docs.prefix(format!("https://{site}.")).try_fold(seen, |seen, key| key.map(|_| seen + 1))?;
    }
    assert_eq!(seen, keys);
    print(&json!({ "what": "prefix scans of a tenth", "keys": "str", "per_s": per_second(keys, started.elapsed()) }));
    let (started, mut few) = (Instant::now(), 0);
    for number in shuffled(keys / 100).take(10_000) {
        // A hundred numbers, of which ten are of this site.
        few += docs.prefix(format!("https://{}.example.org/{number:06}", number % 10)).count();
    }
    let us = started.elapsed().as_secs_f64() * 1e6 / 1e4;
    print(&json!({ "what": "prefix scan of ten", "keys": "str", "us": us, "found": few }));
    Ok(())
}

/// So many collections of 100 vectors in one store, opened by a process of its own.
fn many(collections: usize) -> Outcome<()> {
    const DIM: usize = 128;
    let dir = tempfile::tempdir()?;
    let store = store(dir.path())?;
    let vectors = numbers(100 * DIM);
    let keys: Vec<u64> = (0..100).collect();
    let started = Instant::now();
    for number in 0..collections {
        let docs = store.collection::<u64>(&format!("collection {number}")).dim(DIM).metric(Metric::L2).create()?;
        docs.put_many(&keys, &vectors, None)?;
    }
    let made = started.elapsed();
    store.close()?;
    let (bytes, kept) = taken(dir.path())?;
    print(&json!({
        "what": "collections of 100 vectors, 128 dimensions", "collections": collections, "made_s": made.as_secs_f64(),
        "kb_of_files_each": bytes as f64 / BYTES / collections as f64,
        "kb_on_disk_each": kept as f64 / BYTES / collections as f64,
    }));
    let status = Command::new(std::env::current_exe()?).arg("open").arg(dir.path()).status()?;
    if status.success() { Ok(()) } else { Err("the process that opens it failed".into()) }
}

fn open(path: &Path) -> Outcome<()> {
    let before = resident()?;
    let started = Instant::now();
    let store = Store::options().create(false).open(path)?;
    let opened = started.elapsed();
    print(&json!({ "what": "open", "ms": ms(opened), "mb_more_resident": mb(before)? }));
    let started = Instant::now();
    let names: Vec<String> = store.collections()?.into_iter().map(|info| info.name).collect();
    print(&json!({ "what": "list", "ms": ms(started.elapsed()), "mb_more_resident": mb(before)? }));
    let started = Instant::now();
    let docs = names.iter().map(|name| store.collection::<u64>(name).open()).collect::<lodestore::Result<Vec<_>>>()?;
    print(&json!({ "what": "open all collections", "ms": ms(started.elapsed()), "mb_more_resident": mb(before)? }));
    let query = numbers(docs[0].dim());
    let started = Instant::now();
    for docs in &docs {
        assert_eq!(docs.search(&query).k(10).run()?.len(), 10);
    }
    print(&json!({ "what": "search each", "ms": ms(started.elapsed()), "mb_more_resident": mb(before)? }));
    Ok(store.close()?)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Resident bytes of the process.
fn resident() -> Outcome<usize> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = text.split(' ').nth(1).ok_or("statm has no second number")?.parse()?;
    Ok(pages * rustix::param::page_size())
}

fn mb(before: usize) -> Outcome<f64> {
    Ok(resident()?.saturating_sub(before) as f64 / BYTES / BYTES)
}

/// Bytes of the files in a directory, and what they take on the disk.
fn taken(path: &Path) -> Outcome<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let (mut bytes, mut kept) = (0, 0);
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let (inner, below) = if metadata.is_dir() { taken(&entry.path())? } else { (metadata.len(), 0) };
        bytes += inner;
        kept += below + 512 * metadata.blocks();
    }
    Ok((bytes, kept))
}
