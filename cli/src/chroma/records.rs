//! The records of a collection: what its segments have, and after that what is in the queue.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::Path,
};

use anyhow::Result;
use lodestore::{
    Graph, Metric,
    foreign::{chroma, hnswlib},
};
use serde_json::{Map, Value};

use super::{
    Found, Records,
    database::{self, Database, Source},
    error::ChromaError,
    pickle::{self, Labels},
    queue::{self, Change},
};

const LABELS: &str = "index_metadata.pickle";

/// An index that Chroma has written.
struct Index {
    graph: Graph,
    labels: Labels,
    /// How long vectors were before they were normalised; under cosine.
    lengths: Option<Vec<f32>>,
}

/// Where a record's vector is.
#[derive(Clone, Copy)]
enum Place {
    Node(u32),
    /// Among the rows of the queue.
    Row(usize),
}

pub(super) fn read(directory: &Path, database: &Database, source: Source) -> Result<Found> {
    let Some(dim) = source.dim else {
        let what = format!("the collection '{}' has never had a record, so nothing is known of it", source.full_name);
        return Err(database.damaged(what).into());
    };
    let index = read_index(directory, database, &source, dim)?;
    let mut places = places(&index, &directory.join(&source.vectors.id))?;
    let mut metadata: HashMap<String, Map<String, Value>> = database.metadata(&source.metadata)?.into_iter().collect();
    let seen = source.vectors.max_seq_id.or_else(|| index.as_ref()?.labels.max_seq_id).unwrap_or(0);
    let seen_of_metadata = source.metadata.max_seq_id.unwrap_or(0);
    let mut rows: Vec<f32> = Vec::new();
    database.queue(&source, seen.min(seen_of_metadata), |operation| {
        let id = &operation.id;
        if operation.seq_id > seen {
            let there = places.contains_key(id);
            match (queue::change(database, &operation, there)?, queue::vector(database, &operation, dim)?) {
                (Change::Put, Some(vector)) => {
                    places.insert(id.clone(), Place::Row(rows.len() / dim));
                    rows.extend(vector);
                }
                (Change::Put, None) if !there => {
                    let what = format!("operation {} of the queue makes '{id}' without a vector", operation.seq_id);
                    return Err(database.damaged(what));
                }
                (Change::Remove, _) => drop(places.remove(id)),
                _ => {}
            }
        }
        if operation.seq_id > seen_of_metadata {
            match queue::change(database, &operation, metadata.contains_key(id))? {
                Change::Put => queue::merge(database, &operation, metadata.entry(id.clone()).or_default())?,
                Change::Remove => drop(metadata.remove(id)),
                Change::Nothing => {}
            }
        }
        Ok(())
    })?;
    let m = index.as_ref().map(|index| index.graph.m());
    let records = put_together(database, places, metadata, |place, vectors: &mut Vec<f32>| match (place, &index) {
        (Place::Node(node), Some(index)) => {
            let length = index.lengths.as_ref().map_or(1.0, |lengths| lengths[node as usize]);
            vectors.extend(index.graph.vector(node).iter().map(|x| x * length));
        }
        (Place::Node(_), None) => unreachable!("nodes are of an index"),
        (Place::Row(row), _) => vectors.extend_from_slice(&rows[row * dim..][..dim]),
    })?;
    Ok(Found { name: source.full_name, dim, metric: source.metric, m, records })
}

/// None if Chroma has not written one yet.
fn read_index(directory: &Path, database: &Database, source: &Source, dim: usize) -> Result<Option<Index>> {
    let folder = directory.join(&source.vectors.id);
    let read = |file: &str| {
        let path = folder.join(file);
        fs::read(&path).map_err(|source| ChromaError::Io { path, source })
    };
    let ids = folder.join(LABELS);
    if !ids.exists() {
        if source.vectors.max_seq_id.unwrap_or(0) > 0 {
            let (name, ids) = (&source.full_name, ids.display());
            let what = format!("the collection '{name}' has vectors in an index, of which {ids} is missing");
            return Err(database.damaged(what).into());
        }
        return Ok(None);
    }
    let labels =
        pickle::read(&read(LABELS)?).map_err(|(offset, what)| ChromaError::Pickle { path: ids, offset, what })?;
    let (header, data_level0, link_lists) = (read("header.bin")?, read("data_level0.bin")?, read("link_lists.bin")?);
    let files = chroma::Segment { header: &header, data_level0: &data_level0, link_lists: &link_lists };
    let graph = chroma::read(&files, &hnswlib::Reading::default().dim(dim))?.graph;
    let mut lengths = None;
    if source.metric == Metric::Cosine {
        let bytes = read("length.bin")?;
        let all: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect();
        if all.len() < graph.len() {
            let what = format!("it has {} lengths of {} vectors", all.len(), graph.len());
            return Err(ChromaError::Damaged { path: folder.join("length.bin"), what }.into());
        }
        lengths = Some(all);
    }
    Ok(Some(Index { graph, labels, lengths }))
}

/// The nodes of the ids that an index has.
fn places(index: &Option<Index>, folder: &Path) -> Result<HashMap<String, Place>> {
    let Some(Index { graph, labels, .. }) = index else { return Ok(HashMap::new()) };
    let live = (0..).zip(graph.keys()).filter(|(node, _)| !graph.deleted()[*node as usize]);
    let nodes: HashMap<u64, u32> = live.map(|(node, &label)| (label, node)).collect();
    let mut seen = HashSet::new();
    let place = |(id, label): (&String, &u64)| match nodes.get(label) {
        Some(_) if !seen.insert(*label) => {
            let what = format!("'{id}' has the label {label}, which another id has");
            Err(ChromaError::Damaged { path: folder.join(LABELS), what }.into())
        }
        Some(&node) => Ok((id.clone(), Place::Node(node))),
        None => {
            let what = format!("'{id}' has the label {label}, which the index does not have");
            Err(ChromaError::Damaged { path: folder.join(LABELS), what }.into())
        }
    };
    labels.of_ids.iter().map(place).collect()
}

/// Every record with its vector and its metadata: who has one must have the other.
fn put_together(
    database: &Database,
    places: HashMap<String, Place>,
    mut metadata: HashMap<String, Map<String, Value>>,
    vector: impl Fn(Place, &mut Vec<f32>),
) -> Result<Records> {
    let mut records = Records::default();
    let places: BTreeMap<String, Place> = places.into_iter().collect();
    for (id, place) in places {
        let Some(metadata) = metadata.remove(&id) else {
            return Err(database.damaged(format!("'{id}' has a vector, but is none of the records")).into());
        };
        vector(place, &mut records.vectors);
        records.payloads.push(database::payload(metadata));
        records.ids.push(id);
    }
    match metadata.keys().min() {
        Some(id) => Err(database.damaged(format!("{} records have no vector, '{id}' is one", metadata.len())).into()),
        None => Ok(records),
    }
}
