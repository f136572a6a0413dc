//! How many of the true neighbours searches find, on real vectors.

use crate::support::data::{Data, TRUTH};
use crate::support::model::{Model, Rng};
use lodestore::{Collection, Durability, Metric, Store};
use std::sync::atomic::{AtomicBool, Ordering};

/// A collection in memory; `threads` build it.
pub(crate) fn build(vectors: &[f32], dim: usize, metric: Metric, threads: usize) -> (Store, Collection<u64>) {
    let store = Store::options().threads(threads).durability(Durability::Buffered);
    let store = store.open_on(std::sync::Arc::new(lodestore::disk::MemDisk::new()), "memory").unwrap();
    let docs = store.collection::<u64>("docs").dim(dim).metric(metric).create().unwrap();
    let keys: Vec<u64> = (0..(vectors.len() / dim) as u64).collect();
    docs.put_many(&keys, vectors, None).unwrap();
    (store, docs)
}

/// The share of the true ten nearest that are found; a copy at the same distance is as good.
pub(crate) fn recall(docs: &Collection<u64>, queries: &[Vec<f32>], truth: &[f64], ef: usize) -> f64 {
    let mut found = 0;
    for (query, farthest) in queries.iter().zip(truth) {
        let hits = docs.search(query).k(TRUTH).ef(ef).run().unwrap();
        assert_eq!(hits.len(), TRUTH);
        found += hits.iter().filter(|hit| f64::from(hit.distance) <= farthest + 1e-5 * farthest.abs().max(1.0)).count();
    }
    found as f64 / (queries.len() * TRUTH) as f64
}

#[test]
fn the_demo_vectors_are_found_by_cosine() {
    let data = Data::load();
    for threads in [1, 2] {
        let (store, docs) = build(data.glosses.vectors(), data.glosses.dim, Metric::Cosine, threads);
        let mut found = [0; 3];
        let efs = [16, 64, 200];
        for (row, truth) in data.truth.iter().enumerate() {
            for (found, ef) in found.iter_mut().zip(efs) {
                let hits = docs.search(data.queries.vector(row)).k(TRUTH).ef(ef).run().unwrap();
                *found += hits.iter().filter(|hit| truth.contains(&hit.key)).count();
            }
        }
        let recalls = found.map(|found| found as f64 / (data.truth.len() * TRUTH) as f64);
        let report = store.verify().unwrap();
        println!("cosine, {threads} threads: recall {recalls:?} at ef {efs:?}, {:?}", report.collections);
        assert!(report.ok(), "{:?}", report.problems);
        assert_eq!(report.collections[0].unreachable, 0);
        assert!(recalls[0] >= COSINE[0] && recalls[1] >= COSINE[1] && recalls[2] >= COSINE[2], "{recalls:?}");
        let lost = (0..data.glosses.len()).filter(|&row| {
            let hits = docs.search(data.glosses.vector(row)).k(1).run().unwrap();
            hits[0].distance.abs() > 1e-5
        });
        assert_eq!(lost.count(), 0, "every text finds itself");
    }
}

/// Measured, less a margin: recall at ef 16, 64 and 200.
const COSINE: [f64; 3] = [0.93, 0.985, 0.995];

#[test]
fn other_metrics_find_as_much() {
    let data = Data::load();
    let dim = 64;
    let mut rng = Rng::new(3);
    // Parts of the vectors, of different lengths, or all three metrics would order them alike.
    let mut stretched = |vector: &[f32]| {
        let factor = 0.5 + rng.below(1000) as f32 / 1000.0;
        vector[..dim].iter().map(|x| x * factor).collect::<Vec<f32>>()
    };
    let vectors: Vec<Vec<f32>> = (0..data.glosses.len()).map(|row| stretched(data.glosses.vector(row))).collect();
    let queries: Vec<Vec<f32>> = (0..100).map(|row| stretched(data.queries.vector(row))).collect();
    let mut model = Model::default();
    (0..).zip(&vectors).for_each(|(key, vector)| model.put(key, vector, b""));
    for (metric, bound) in [(Metric::L2, 0.97), (Metric::InnerProduct, 0.97), (Metric::Cosine, 0.97)] {
        let truth: Vec<f64> = queries.iter().map(|query| model.nearest(metric, query, TRUTH)[TRUTH - 1]).collect();
        for threads in [1, 2] {
            let (store, docs) = build(&vectors.concat(), dim, metric, threads);
            let recalls = [16, 64, 200].map(|ef| recall(&docs, &queries, &truth, ef));
            println!("{metric}, {threads} threads: recall {recalls:?}");
            assert!(recalls[1] >= bound, "{metric}, {threads} threads: {recalls:?}");
            assert!(store.verify().unwrap().ok());
        }
    }
}

#[test]
fn a_thousand_copies_of_one_vector_hide_nothing() {
    let glosses = Data::load().glosses;
    let dim = glosses.dim;
    let copied = glosses.vector(4000);
    // The copies come among the others, as in life.
    let mut vectors = Vec::new();
    let mut is_copy = Vec::new();
    for row in 0..3000 {
        vectors.extend_from_slice(glosses.vector(row));
        is_copy.push(false);
        if row % 3 == 0 {
            vectors.extend_from_slice(copied);
            is_copy.push(true);
        }
    }
    for threads in [1, 2] {
        let (store, docs) = build(&vectors, dim, Metric::Cosine, threads);
        let rows = || vectors.chunks_exact(dim).zip(&is_copy).enumerate();
        let lost = rows().filter(|(_, (_, copy))| !**copy).filter(|(_, (vector, _))| {
            let hits = docs.search(vector).k(1).run().unwrap();
            hits[0].distance.abs() > 1e-5
        });
        let lost = lost.count();
        let hits = docs.search(copied).k(50).ef(64).run().unwrap();
        let copies = hits.iter().filter(|hit| is_copy[hit.key as usize]).count();
        let report = store.verify().unwrap();
        println!("{threads} threads: {lost} of 3000 lost, {copies} of 50 hits are copies, {:?}", report.collections);
        assert!(report.ok(), "{:?}", report.problems);
        assert!(lost <= 150, "{lost} of 3000 others are not found");
        assert_eq!(copies, 50);
        assert_eq!(report.collections[0].unreachable, 0);
        // All but the copies, with as many candidates as there are copies and some.
        let all = docs.search(copied).k(1100).ef(1200).run().unwrap();
        let keys: std::collections::HashSet<u64> = all.iter().map(|hit| hit.key).collect();
        let copies = keys.iter().filter(|key| is_copy[**key as usize]).count();
        assert_eq!((keys.len(), copies), (1100, 1000), "{threads} threads");
    }
}

#[test]
fn searches_during_inserts_find_what_is_there() {
    let glosses = Data::load().glosses;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().durability(Durability::Buffered).open(dir.path()).unwrap();
    let docs = store.collection::<u64>("docs").dim(glosses.dim).metric(Metric::Cosine).create().unwrap();
    const ROWS: usize = 3000;
    const BLOCK: usize = 100;
    let done = AtomicBool::new(false);
    let written = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rng = Rng::new(9);
            let (mut searches, mut lost) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let there = written.load(Ordering::SeqCst);
                if there == 0 {
                    continue;
                }
                let hits = docs.search(glosses.vector(rng.below(there))).k(1).run().unwrap();
                lost += usize::from(hits[0].distance.abs() > 1e-5);
                searches += 1;
            }
            (searches, lost)
        });
        for first in (0..ROWS).step_by(BLOCK) {
            let keys: Vec<u64> = (first as u64..(first + BLOCK) as u64).collect();
            let range = first * glosses.dim..(first + BLOCK) * glosses.dim;
            docs.put_many(&keys, &glosses.vectors()[range], None).unwrap();
            written.store(first + BLOCK, Ordering::SeqCst);
        }
        done.store(true, Ordering::Relaxed);
        let (searches, lost) = reader.join().unwrap();
        println!("{lost} of {searches} searches missed a record that had been acknowledged before");
        assert!(searches > 50 && lost * 200 <= searches, "{lost} of {searches}");
    });
}

#[test]
fn recall_is_measured_against_exact_search() {
    let data = Data::load();
    let (store, docs) = build(data.glosses.vectors(), data.glosses.dim, Metric::Cosine, 2);
    let unmeasured = docs.search(data.queries.vector(0)).recall(0.9).run();
    assert!(
        matches!(&unmeasured, Err(lodestore::Error::Setting(what)) if what.contains("measure_recall")),
        "{unmeasured:?}"
    );
    for removed in 0..500 {
        docs.remove(removed * 3).unwrap();
    }
    // What was removed is unlinked now, and not between two measurements.
    store.checkpoint().unwrap();
    let report = docs.measure_recall(150).run().unwrap();
    println!("{report:?}");
    assert_eq!((report.k, report.samples, report.records), (10, 150, docs.len()));
    assert_eq!(report, docs.measure_recall(150).run().unwrap(), "the same vectors are drawn");
    assert!(report.rows.is_sorted_by(|a, b| a.ef < b.ef && a.distances <= b.distances));
    assert!(report.rows.iter().all(|row| row.low <= row.recall && row.recall <= row.high));
    let (first, last) = (report.rows[0], report.rows[report.rows.len() - 1]);
    assert!(first.recall > 0.7 && first.recall < last.recall && last.recall > 0.99, "{report:?}");

    // The same by hand: stored vectors, all others compared.
    let (ef, mut right) = (report.ef_for(0.95).unwrap(), 0);
    let live: Vec<usize> = (0..data.glosses.len()).filter(|&row| row % 3 != 0 || row >= 1500).collect();
    let queries: Vec<usize> = live.iter().copied().step_by(live.len() / 100).collect();
    let similarity = |a: usize, b: usize| {
        let (a, b) = (data.glosses.vector(a), data.glosses.vector(b));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    for &query in &queries {
        let mut others: Vec<f64> =
            live.iter().filter(|&&row| row != query).map(|&row| similarity(query, row)).collect();
        others.sort_unstable_by(|a, b| b.total_cmp(a));
        let hits = docs.search(data.glosses.vector(query)).k(11).ef(ef.max(11)).run().unwrap();
        let others_found = hits.iter().filter(|hit| hit.key as usize != query).take(10);
        right += others_found.filter(|hit| similarity(query, hit.key as usize) >= others[9] - 1e-6).count();
    }
    let by_hand = right as f64 / (queries.len() * 10) as f64;
    assert!((by_hand - 0.955).abs() < 0.04, "ef {ef} gives {by_hand}");

    let by_target = docs.search(data.queries.vector(0)).recall(0.95).run().unwrap();
    let by_ef = docs.search(data.queries.vector(0)).ef(ef).run().unwrap();
    assert_eq!((by_target.stats(), by_target[9].key), (by_ef.stats(), by_ef[9].key));
    let unreachable = docs.search(data.queries.vector(0)).recall(1.01).run();
    assert!(matches!(unreachable, Err(lodestore::Error::Setting(_))));
    let other_k = docs.search(data.queries.vector(0)).k(11).recall(0.9).run();
    assert!(matches!(other_k, Err(lodestore::Error::Setting(_))));
    for nothing in [docs.measure_recall(0).run(), docs.measure_recall(5).k(0).run()] {
        assert!(matches!(nothing, Err(lodestore::Error::Setting(_))));
    }
}

/// What was measured is there after a close, after a kill and after a compaction; how old it is shows; damage of it is
/// noticed and goes with the next measurement.
#[test]
fn measured_recall_outlives_the_process() {
    let data = Data::load();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let options = || Store::options().durability(Durability::Buffered).background(false);
    let store = options().open(&path).unwrap();
    let docs = store.collection::<u64>("docs").dim(data.glosses.dim).metric(Metric::Cosine).create().unwrap();
    let keys: Vec<u64> = (0..1500).collect();
    docs.put_many(&keys, &data.glosses.vectors()[..1500 * data.glosses.dim], None).unwrap();
    assert_eq!(docs.recall_report().unwrap(), None);
    let report = docs.measure_recall(80).run().unwrap();
    assert_eq!(report.lsn, store.stats().unwrap().last_lsn);
    let (query, many) = (data.queries.vector(0), &data.queries.vectors()[..20 * data.queries.dim]);
    let ef = report.ef_for(0.95).unwrap();
    let found = |docs: &Collection<u64>| {
        let one = docs.search(query).recall(0.95).run().unwrap();
        let by_ef = docs.search(query).ef(ef).run().unwrap();
        assert_eq!((one.stats(), one[9].key), (by_ef.stats(), by_ef[9].key));
        let batch = docs.search_many(many).recall(0.95).run().unwrap();
        assert_eq!(batch.stats(), docs.search_many(many).ef(ef).run().unwrap().stats());
    };
    found(&docs);
    let killed = dir.path().join("killed");
    crate::support::files::copy(&path, &killed);
    docs.put(7, query, b"").unwrap();
    docs.compact().run().unwrap();
    store.close().unwrap();
    for (path, writes) in [(&path, 2), (&killed, 0)] {
        let store = options().open(path).unwrap();
        let docs = store.collection::<u64>("docs").open().unwrap();
        assert_eq!(docs.recall_report().unwrap().as_ref(), Some(&report));
        assert_eq!(store.stats().unwrap().last_lsn - report.lsn, writes);
        found(&docs);
        assert!(store.verify().unwrap().ok());
    }
    let file = path.join("c/0.recall");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[70] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let store = options().open(&path).unwrap();
    let docs = store.collection::<u64>("docs").open().unwrap();
    let damaged = |error: lodestore::Error| error.to_string().contains("0.recall");
    assert!(docs.recall_report().is_err_and(damaged) && docs.search(query).recall(0.9).run().is_err_and(damaged));
    assert_eq!(store.verify().unwrap().problem_count, 1);
    let again = docs.measure_recall(80).run().unwrap();
    assert_eq!(docs.recall_report().unwrap(), Some(again));
    assert!(store.verify().unwrap().ok());
}
