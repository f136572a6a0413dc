//! Large writes: the graph that several threads make together.

use crate::recall::{build, recall};
use crate::support::data::{Data, TRUTH};
use lodestore::{Durability, Metric, Store};
use std::path::Path;

/// The bytes of a collection's links after a clean close.
fn links(dir: &Path) -> Vec<Vec<u8>> {
    let collections = std::fs::read_dir(dir.join("c")).unwrap();
    let collection = collections.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    ["links", "upper"].map(|part| std::fs::read(collection.join(part)).unwrap()).to_vec()
}

/// One writer, the same writes: the same graph, whatever the number of threads; also if the process ends after the
/// writes and the log has to be linked again.
#[test]
fn any_number_of_threads_makes_the_same_graph() {
    let data = Data::load();
    let (set, rows) = (&data.glosses, data.glosses.len().min(4000));
    let mut graphs = Vec::new();
    for (threads, crash) in [(1, false), (2, false), (5, false), (1, true), (3, true)] {
        let dir = tempfile::tempdir().unwrap();
        let options = || Store::options().threads(threads).durability(Durability::Buffered);
        // With a checkpoint on the way, a crash leaves linked and unlinked rows.
        let store = options().background(false).open(dir.path()).unwrap();
        let docs = store.collection::<u64>("docs").dim(set.dim).metric(Metric::Cosine).create().unwrap();
        let keys: Vec<u64> = (0..rows as u64).collect();
        for (part, keys) in keys.chunks(1100).enumerate() {
            let first = keys[0] as usize;
            docs.put_many(keys, &set.vectors()[first * set.dim..(first + keys.len()) * set.dim], None).unwrap();
            // A few replaced, and a few on their own.
            for row in 0..5 {
                docs.put(keys[row * 7], set.vector(first + row), b"").unwrap();
            }
            if part == 1 {
                store.checkpoint().unwrap();
            }
        }
        if crash {
            // What a killed process leaves: nothing is closed, the lock is gone.
            let copy = tempfile::tempdir().unwrap();
            crate::support::files::copy(dir.path(), copy.path());
            drop(docs);
            store.close().unwrap();
            options().background(false).open(copy.path()).unwrap().close().unwrap();
            graphs.push(links(copy.path()));
        } else {
            drop(docs);
            store.close().unwrap();
            graphs.push(links(dir.path()));
        }
    }
    for (n, graph) in graphs.iter().enumerate().skip(1) {
        for (part, (first, this)) in graphs[0].iter().zip(graph).enumerate() {
            // Files grow in steps that depend on the way; what is behind the last list is zeros.
            let end = |bytes: &[u8]| bytes.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
            assert!(first[..end(first)] == this[..end(this)], "graph {n}, part {part}");
        }
    }
}

/// Rows that come sorted have their neighbours in the same write, right beside them.
#[test]
fn rows_that_come_sorted_are_found_as_well() {
    let data = Data::load();
    let set = &data.glosses;
    // By the nearest of a few texts: cluster after cluster.
    let centre = |row: usize| {
        let dot = |centre: usize| {
            set.vector(row).iter().zip(set.vector(centre * 97)).map(|(a, b)| f64::from(a * b)).sum::<f64>()
        };
        (0..40).max_by(|&a, &b| dot(a).total_cmp(&dot(b))).unwrap()
    };
    let mut rows: Vec<(usize, usize)> = (0..set.len()).map(|row| (centre(row), row)).collect();
    rows.sort_unstable();
    let sorted: Vec<f32> = rows.iter().flat_map(|&(_, row)| set.vector(row)).copied().collect();
    let queries: Vec<Vec<f32>> = (0..data.truth.len()).map(|row| data.queries.vector(row).to_vec()).collect();
    let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let distance = |a: &[f32], b: &[f32]| {
        1.0 - a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>() / norm(a) / norm(b)
    };
    let truth: Vec<f64> = queries
        .iter()
        .zip(&data.truth)
        .map(|(query, truth)| truth.iter().map(|&key| distance(query, set.vector(key as usize))).fold(0.0, f64::max))
        .collect();
    assert!(data.truth.iter().all(|truth| truth.len() == TRUTH));
    let (_shuffled, usual) = build(set.vectors(), set.dim, Metric::Cosine, 2);
    let (store, docs) = build(&sorted, set.dim, Metric::Cosine, 2);
    let recalls = [16, 64].map(|ef| (recall(&docs, &queries, &truth, ef), recall(&usual, &queries, &truth, ef)));
    println!("sorted and as usual: {recalls:?}");
    assert!(recalls.iter().all(|(sorted, usual)| *sorted >= usual - 0.01), "{recalls:?}");
    let report = store.verify().unwrap();
    assert!(report.ok() && report.collections[0].unreachable == 0, "{:?}", report.problems);
}
