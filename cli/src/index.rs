//! `lodestore import-index` and `lodestore export-index`: indexes of other libraries, graph and all.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use lodestore::{
    AsKey, CollectionBuilder, Element, Error, Graph, Key, Metric, Store,
    foreign::{chroma, hnswlib, voyager},
};
use serde::Serialize;

use crate::{
    args::{ExportIndexArgs, ImportIndexArgs, IndexFormat},
    chroma as chroma_directory,
    keys::{self, AnyCollection},
    open,
    output::{count, records, say, say_json, took},
    progress::Progress,
    stop::{INTERRUPTED, Stop},
    whole::Whole,
};

#[derive(Debug, Serialize)]
struct Imported<'a> {
    collection: &'a str,
    nodes: u64,
    records: u64,
    deleted: u64,
    duplicates: u64,
    unreachable: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Exported<'a> {
    output: &'a Path,
    space: &'a str,
    dim: usize,
    records: u64,
    deleted: u64,
    bytes: u64,
}

/// What an index holds.
enum Found {
    Graph(Graph),
    Exact(hnswlib::Exact),
    Collection(chroma_directory::Found),
}

/// Records to be put.
struct Rows<'a, K> {
    dim: usize,
    keys: &'a [K],
    vectors: &'a [f32],
    payloads: &'a [Vec<u8>],
}

pub(crate) fn import(args: &ImportIndexArgs) -> Result<ExitCode> {
    let element = args.element.into();
    let mut reading = hnswlib::Reading::default().element(element);
    if let Some(dim) = args.dim {
        reading = reading.dim(dim);
    }
    let (found, said) = read(args, &reading)?;
    let asked = args.metric.map(Metric::from);
    let metric = match (asked, said) {
        (Some(asked), Some(said)) if asked != said => bail!("it says that its metric is {said}, not {asked}"),
        (asked, said) => asked.or(said).context("name the metric of the index: --metric l2, ip or cosine")?,
    };
    let stop = Stop::on_ctrl_c()?;
    let store = Store::open(&args.store)?;
    let started = Instant::now();
    let mut progress = None;
    let mut go_on = |done: u64, all: u64| {
        progress.get_or_insert_with(|| Progress::new(all)).at(done);
        !stop.asked()
    };
    let imported = match &found {
        Found::Graph(graph) => {
            builder::<u64>(&store, args, metric).load(graph).relink(!args.as_is).while_told(&mut go_on).run().map(
                |loaded| Imported {
                    collection: &args.collection,
                    nodes: loaded.nodes,
                    records: loaded.collection.len(),
                    deleted: loaded.deleted,
                    duplicates: loaded.duplicates,
                    unreachable: loaded.unreachable,
                    seconds: started.elapsed().as_secs_f64(),
                },
            )
        }
        Found::Exact(exact) => {
            let (keys, vectors) = (&exact.keys[..], &exact.vectors[..]);
            let rows = Rows { dim: args.dim.unwrap_or_default(), keys, vectors, payloads: &[] };
            put_all(&store, rows, builder::<u64>(&store, args, metric), args, &mut go_on, started)
        }
        Found::Collection(found) => {
            let mut builder = builder::<str>(&store, args, metric);
            if let Some(m) = found.m {
                builder = builder.m(m.clamp(2, 512));
            }
            let chroma_directory::Records { ids, vectors, payloads } = &found.records;
            let rows = Rows { dim: found.dim, keys: ids, vectors, payloads };
            put_all(&store, rows, builder, args, &mut go_on, started)
        }
    };
    if let Some(progress) = progress {
        progress.finish();
    }
    store.close()?;
    match imported {
        Err(Error::Cancelled) => {
            eprintln!("stopped by Ctrl-C; the collection is as it was");
            return Ok(INTERRUPTED.into());
        }
        imported => report(&imported?, args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn builder<K: Key + ?Sized>(store: &Store, args: &ImportIndexArgs, metric: Metric) -> CollectionBuilder<K> {
    let mut builder = store.collection::<K>(&args.collection).metric(metric);
    let element: Element = args.element.into();
    if element != Element::F32 {
        builder = builder.element(element);
    }
    match args.codes {
        Some(codes) => builder.codes(codes.into()),
        None => builder,
    }
}

/// Where no graph can be taken over, of an exact index or under keys that are no labels. Stopped, it takes back what it has
/// put into the collection, which was empty.
fn put_all<'a, K: Key<Owned: AsKey<K>> + ?Sized>(
    store: &Store,
    rows: Rows<'_, K::Owned>,
    builder: CollectionBuilder<K>,
    args: &'a ImportIndexArgs,
    go_on: &mut dyn FnMut(u64, u64) -> bool,
    started: Instant,
) -> Result<Imported<'a>, Error> {
    let Rows { dim, keys, vectors, payloads } = rows;
    let collection = builder.dim(dim).open_or_create()?;
    if !collection.is_empty() {
        return Err(Error::CollectionExists { name: args.collection.clone() });
    }
    let nodes = keys.len() as u64;
    let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    let payloads = (!payloads.is_empty()).then_some(&payloads[..]);
    let written = collection.put_many_while(keys, vectors, payloads, |done| go_on(done as u64, nodes))?;
    if written < keys.len() {
        // A batch has a limit.
        for keys in keys[..written].chunks(1 << 12) {
            let mut batch = store.batch();
            keys.iter().try_for_each(|key| batch.remove(&collection, key.clone()))?;
            batch.commit()?;
        }
        return Err(Error::Cancelled);
    }
    Ok(Imported {
        collection: &args.collection,
        nodes: written as u64,
        records: collection.len(),
        deleted: 0,
        duplicates: written as u64 - collection.len(),
        unreachable: 0,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn report(imported: &Imported<'_>, args: &ImportIndexArgs) -> Result<()> {
    if args.json {
        return say_json(imported);
    }
    let time = took(std::time::Duration::from_secs_f64(imported.seconds));
    let mut text = format!("imported {} into '{}' in {time}", records(imported.records), imported.collection);
    if imported.deleted > 0 {
        text += &format!("; {} more are marked as deleted", count(imported.deleted));
    }
    if imported.duplicates > 0 {
        text += &format!("; {} had the key of another", count(imported.duplicates));
    }
    if imported.unreachable > 0 {
        let what = if args.as_is { "no walk reaches" } else { "no walk reached were linked" };
        text += &format!("; {} that {what}", count(imported.unreachable));
    }
    say(text)
}

/// The index, and its metric if it says so.
fn read(args: &ImportIndexArgs, reading: &hnswlib::Reading) -> Result<(Found, Option<Metric>)> {
    let path = &args.input;
    let name = path.display().to_string();
    if args.source.is_some() && !chroma_directory::is_directory(path) {
        bail!("--source is for a directory of Chroma with its database, which {name} is not");
    }
    if path.is_dir() || args.format == Some(IndexFormat::Chroma) {
        if !matches!(args.format, None | Some(IndexFormat::Chroma)) {
            bail!("{name} is a directory, which only indexes of Chroma are");
        }
        if chroma_directory::is_directory(path) {
            let found = chroma_directory::read(path, args.source.as_deref(), &args.collection)?;
            if let Some(dim) = args.dim
                && dim != found.dim
            {
                bail!("the vectors of '{}' are of dimension {}, not {dim}", found.name, found.dim);
            }
            let metric = found.metric;
            return Ok((Found::Collection(found), Some(metric)));
        }
        let segment = segment(path)?;
        let read =
            |file: &str| fs::read(segment.join(file)).with_context(|| format!("{}", segment.join(file).display()));
        let (header, data_level0, link_lists) =
            (read("header.bin")?, read("data_level0.bin")?, read("link_lists.bin")?);
        let files = chroma::Segment { header: &header, data_level0: &data_level0, link_lists: &link_lists };
        return Ok((Found::Graph(chroma::read(&files, reading)?.graph), None));
    }
    let bytes = fs::read(path).with_context(|| name.clone())?;
    let format = match args.format {
        Some(format) => format,
        None if voyager::has_header(&bytes) => IndexFormat::Voyager,
        None if hnswlib::is_index(&bytes) => IndexFormat::Hnswlib,
        None => bail!("{name} is no index of hnswlib or Voyager; an exact one needs --format hnswlib-exact and --dim"),
    };
    Ok(match format {
        IndexFormat::HnswlibExact => {
            let dim = args.dim.context("an exact index does not say its dimension: --dim N")?;
            (Found::Exact(hnswlib::read_exact(&bytes, &name, dim)?), None)
        }
        IndexFormat::Voyager => {
            let read = voyager::read(&bytes, &name, reading)?;
            (Found::Graph(read.index.graph), read.metric)
        }
        IndexFormat::Hnswlib | IndexFormat::Chroma => {
            (Found::Graph(hnswlib::read(&bytes, &name, reading)?.graph), None)
        }
    })
}

/// The directory with the files of Chroma's index: this one, or the only such in it.
fn segment(path: &Path) -> Result<PathBuf> {
    let has_index = |path: &Path| path.join("header.bin").is_file();
    if has_index(path) {
        return Ok(path.to_owned());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        let entry = entry?.path();
        if has_index(&entry) {
            found.push(entry);
        }
    }
    found.sort();
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => bail!("{} holds no header.bin, and neither does a directory in it", path.display()),
        several => {
            let names: Vec<_> = several.iter().map(|path| path.display().to_string()).collect();
            bail!("there are {} indexes; name one of {}", names.len(), names.join(", "))
        }
    }
}

pub(crate) fn export(args: &ExportIndexArgs) -> Result<ExitCode> {
    let store = open::reading(&args.store, args.reading, Store::options())?;
    let (any, info) = keys::open(&store, &args.collection)?;
    let AnyCollection::U64(collection) = any else {
        bail!("hnswlib's labels are numbers, and keys of the collection '{}' are of type {}", info.name, info.key);
    };
    let mut graph = collection.graph()?;
    let space = match info.metric {
        Metric::InnerProduct => "ip",
        Metric::Cosine => {
            hnswlib::normalise(&mut graph);
            "cosine"
        }
        // Of zeros and ones the squared distance is the number of those that differ.
        _ => "l2",
    };
    let name = || args.output.display().to_string();
    let mut file = Whole::new(&args.output)?;
    let is_live = |node: &usize| !graph.deleted()[*node];
    if args.exact {
        let live: Vec<usize> = (0..graph.len()).filter(is_live).collect();
        let mut exact = hnswlib::Exact::default();
        exact.max_elements = args.max_elements;
        exact.keys = live.iter().map(|&node| graph.keys()[node]).collect();
        exact.vectors = live.iter().flat_map(|&node| graph.vector(node as u32).to_vec()).collect();
        hnswlib::write_exact(&exact, graph.dim(), file.out()).with_context(name)?;
    } else {
        hnswlib::write(&graph, args.max_elements, file.out()).with_context(name)?;
    }
    let bytes = file.finish()?;
    let exported = Exported {
        output: &args.output,
        space,
        dim: graph.dim(),
        records: (0..graph.len()).filter(is_live).count() as u64,
        deleted: if args.exact { 0 } else { graph.deleted().iter().filter(|&&deleted| deleted).count() as u64 },
        bytes,
    };
    if args.json {
        say_json(&exported)?;
    } else {
        let class = if args.exact { "BFIndex" } else { "Index" };
        let (what, size) = (records(exported.records), count(bytes));
        say(format!("wrote {what}, {size} bytes: load it with hnswlib.{class}(\"{space}\", {})", graph.dim()))?;
    }
    drop(collection);
    store.close()?;
    Ok(ExitCode::SUCCESS)
}
