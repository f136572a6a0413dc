//! Searches of some records only, and exact ones.

use crate::support::data::Data;
use lodestore::{Codes, Collection, Metric, Residency, Store};

const K: usize = 10;

fn glosses(data: &Data, store: &Store, codes: Codes) -> Collection<u64> {
    let builder = store.collection::<u64>("glosses").dim(data.glosses.dim).metric(Metric::Cosine).codes(codes);
    let docs = builder.create().unwrap();
    let keys: Vec<u64> = (0..data.glosses.len() as u64).collect();
    docs.put_many(&keys, data.glosses.vectors(), None).unwrap();
    docs
}

fn keys<'a>(hits: impl IntoIterator<Item = &'a lodestore::Hit<u64>>) -> Vec<u64> {
    hits.into_iter().map(|hit| hit.key).collect()
}

#[test]
fn exact_searches_find_the_true_neighbours() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = glosses(&data, &store, Codes::Auto);
    for (row, truth) in data.truth.iter().enumerate() {
        let hits = docs.search(data.queries.vector(row)).k(K).exact().run().unwrap();
        assert_eq!(keys(&hits), truth, "query {row}");
        assert_eq!(hits.stats().distances, 5000);
    }
    let hits = docs.search_many(data.queries.vectors()).k(K).exact().threads(2).run().unwrap();
    for (row, truth) in data.truth.iter().enumerate() {
        assert_eq!(hits.keys(row), truth, "query {row}");
    }
}

/// Whatever share of the records is kept: k come back if there are so many, all of them kept, nearly all the right ones.
fn check_filters(data: &Data, docs: &Collection<u64>) {
    for every in [1, 2, 7, 40, 300, 1000, 6000] {
        let keep = move |key: u64| key % every == 3 % every;
        let kept = (0..5000).filter(|&key| keep(key) && docs.contains(key).unwrap()).count();
        let many = docs.search_many(data.queries.vectors()).k(K).ef(64).filter(&keep).threads(2).run().unwrap();
        let mut right = 0;
        for row in 0..data.queries.len() {
            let search = || docs.search(data.queries.vector(row)).k(K).ef(64).filter(&keep);
            let (found, truth) = (search().run().unwrap(), search().exact().run().unwrap());
            assert_eq!(keys(&found), many.keys(row));
            assert_eq!((found.len(), truth.len()), (K.min(kept), K.min(kept)), "one of {every}");
            assert!(found.iter().all(|hit| keep(hit.key)), "one of {every}: {found:?}");
            assert!(found.iter().is_sorted_by(|a, b| a.distance <= b.distance));
            let truth = keys(&truth);
            right += found.iter().filter(|hit| truth.contains(&hit.key)).count();
        }
        let recall = right as f64 / (data.queries.len() * K.min(kept)).max(1) as f64;
        println!("one of {every}: {kept} kept, recall {recall:.4}");
        assert!(recall >= 0.95 || kept == 0, "one of {every}: recall {recall}");
    }
}

#[test]
fn filtered_searches_find_k_whenever_there_are_so_many() {
    let data = Data::load();
    for codes in [Codes::None, Codes::Auto] {
        let store = Store::in_memory().unwrap();
        let docs = glosses(&data, &store, codes);
        check_filters(&data, &docs);
        // Of removed and replaced records nothing is found.
        for key in 0..5000u64 {
            match key % 4 {
                0 => assert!(docs.remove(key).unwrap()),
                1 if key % 3 == 0 => docs.put(key, data.glosses.vector(key as usize), b"again").unwrap(),
                _ => {}
            }
        }
        // Unlinked now, and not between two searches that are compared.
        store.checkpoint().unwrap();
        check_filters(&data, &docs);
    }
}

#[test]
fn filters_hold_for_packed_neighbourhoods_and_what_is_not_linked_yet() {
    let data = Data::load();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let packed = || Store::options().residency(Residency::Packed).background(false).open(&path).unwrap();
    let store = packed();
    // 384 components are too many to be packed.
    let docs = store.collection::<u64>("glosses").dim(128).metric(Metric::Cosine).create().unwrap();
    let cut = |row: usize| &data.glosses.vector(row)[..128];
    let rows: Vec<f32> = (0..5000).flat_map(cut).copied().collect();
    docs.put_many(&(0..5000).collect::<Vec<u64>>(), &rows, None).unwrap();
    assert!(docs.packed_bytes() > 0);
    let check = |docs: &Collection<u64>| {
        for every in [2, 40, 1000] {
            for row in 0..100 {
                let keep = |key: u64| key % every == 1;
                let hits = docs.search(cut(row * 7)).k(4).ef(50).filter(&keep).run().unwrap();
                assert!(hits.len() == 4 && hits.iter().all(|hit| keep(hit.key)), "one of {every}: {hits:?}");
            }
        }
    };
    check(&docs);
    // As after a crash: everything is in the log.
    let copy = dir.path().join("copy");
    crate::support::files::copy(&path, &copy);
    drop((docs, store));
    let store = Store::options().residency(Residency::Packed).open(&copy).unwrap();
    check(&store.collection::<u64>("glosses").open().unwrap());
}
