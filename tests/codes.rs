//! Codes against vectors: what is found, exactness, and what the options around them do. Real vectors.

use crate::support::data::{Data, TRUTH};
use crate::support::model::Model;
use lodestore::{Codes, Collection, Metric, Residency, Store};

const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];

/// The demo's vectors, the first so many components of each, under keys from 0; built by one thread.
fn build(store: &Store, data: &Data, dim: usize, metric: Metric, codes: Codes) -> Collection<u64> {
    let docs = store.collection::<u64>(&codes.to_string()).dim(dim).metric(metric).codes(codes).create().unwrap();
    let rows: Vec<f32> = (0..data.glosses.len()).flat_map(|row| &data.glosses.vector(row)[..dim]).copied().collect();
    let keys: Vec<u64> = (0..data.glosses.len() as u64).collect();
    docs.put_many(&keys, &rows, None).unwrap();
    docs
}

#[test]
fn codes_find_what_vectors_find_and_distances_are_exact() {
    let data = Data::load();
    for dim in [100, data.glosses.dim] {
        for metric in METRICS {
            let mut model = Model::default();
            (0..data.glosses.len()).for_each(|row| model.put(row as u64, &data.glosses.vector(row)[..dim], b""));
            let queries: Vec<&[f32]> = (0..200).map(|row| &data.queries.vector(row)[..dim]).collect();
            let truth: Vec<f64> = queries.iter().map(|q| model.nearest(metric, q, TRUTH)[TRUTH - 1]).collect();
            let store = Store::options().threads(1);
            let store = store.open_on(std::sync::Arc::new(lodestore::disk::MemDisk::new()), "memory").unwrap();
            let recalls = [Codes::None, Codes::Eight, Codes::Four].map(|codes| {
                let docs = build(&store, &data, dim, metric, codes);
                let mut found = [0; 3];
                for (query, farthest) in queries.iter().zip(&truth) {
                    for (found, ef) in found.iter_mut().zip([16, 64, 200]) {
                        let hits = docs.search(query).k(TRUTH).ef(ef).run().unwrap();
                        for hit in &hits {
                            let vector = docs.get(hit.key).unwrap().unwrap().vector;
                            let mut own = Model::default();
                            own.put(0, &vector, b"");
                            let exact = own.nearest(metric, query, 1)[0];
                            assert!((f64::from(hit.distance) - exact).abs() < 1e-4, "{metric} {codes} {hit:?} {exact}");
                        }
                        assert!(hits.iter().zip(hits.iter().skip(1)).all(|(a, b)| a.distance <= b.distance));
                        *found += hits.iter().filter(|hit| f64::from(hit.distance) <= farthest + 1e-5).count();
                    }
                }
                found.map(|found| found as f64 / (queries.len() * TRUTH) as f64)
            });
            println!("{metric}, {dim} dimensions: recall at ef 16, 64, 200: none, 8, 4: {recalls:?}");
            for codes in &recalls[1..] {
                // 0.005 is what a walk may lose; 200 queries add a little of chance, most where least is found.
                assert!(codes[0] >= recalls[0][0] - 0.02 && codes[1] >= recalls[0][1] - 0.01, "{recalls:?}");
                assert!(codes[2] >= recalls[0][2] - 0.007, "{recalls:?}");
            }
            let report = store.verify().unwrap();
            assert!(report.ok(), "{:?}", report.problems);
        }
    }
}

#[test]
fn stopping_early_takes_less_work_and_finds_nearly_as_much() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = build(&store, &data, data.glosses.dim, Metric::Cosine, Codes::Auto);
    let run = |ratio: Option<f32>| {
        let (mut distances, mut found) = (0, 0);
        for (row, truth) in data.truth.iter().enumerate() {
            let mut search = docs.search(data.queries.vector(row)).k(TRUTH).ef(200);
            if let Some(ratio) = ratio {
                search = search.stop_beyond(ratio);
            }
            let hits = search.run().unwrap();
            distances += hits.stats().distances;
            found += hits.iter().filter(|hit| truth.contains(&hit.key)).count();
            assert_eq!(hits.len(), TRUTH);
        }
        (distances, found as f64 / (data.truth.len() * TRUTH) as f64)
    };
    let (all, recall) = run(None);
    let (fewer, nearly) = run(Some(1.2));
    println!("{all} distances, recall {recall}; stopping beyond 1.2 {fewer}, {nearly}");
    assert!(fewer * 10 < all * 8 && nearly > recall - 0.02);
    assert_eq!(run(Some(f32::INFINITY)), (all, recall));
    assert_eq!(run(Some(1e9)), (all, recall));
}

#[test]
fn a_resident_store_answers_as_a_mapped_one() {
    let data = Data::load();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    build(&store, &data, data.glosses.dim, Metric::Cosine, Codes::Auto);
    store.close().unwrap();
    let answers = [Residency::Mapped, Residency::Resident].map(|residency| {
        let store = Store::options().residency(residency).open(dir.path()).unwrap();
        let docs = store.collection::<u64>("auto").open().unwrap();
        println!("{residency:?}: {} bytes in huge pages", docs.huge_bytes());
        // Writing on is no different either.
        docs.put(1_000_000, data.queries.vector(0), b"").unwrap();
        let hits: Vec<_> = (0..50)
            .map(|row| docs.search(data.queries.vector(row)).run().unwrap().into_iter().collect::<Vec<_>>())
            .collect();
        assert_eq!(hits[0][0].key, 1_000_000);
        assert!(store.verify().unwrap().ok());
        store.close().unwrap();
        hits
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn asking_for_no_record_finds_none() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    for codes in [Codes::None, Codes::Eight, Codes::Four] {
        let docs = build(&store, &data, 64, Metric::L2, codes);
        let query = &data.queries.vector(0)[..64];
        assert_eq!(docs.search(query).k(0).run().unwrap().len(), 0);
        assert_eq!(docs.search(query).k(0).ef(0).stop_beyond(1.0).run().unwrap().len(), 0);
        assert!(docs.search_many(query).k(0).run().unwrap().keys(0).is_empty());
        assert_eq!(docs.search(query).k(1).ef(0).run().unwrap().len(), 1);
    }
}
