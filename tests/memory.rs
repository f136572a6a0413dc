//! Data larger than memory: vectors that are read by calls, a budget that is kept to, a file that is cut under the store.

use crate::support::data::Data;
use lodestore::{Collection, Error, Hit, Metric, Store, StoreOptions};
use std::fs::File;
use std::path::Path;

/// The least budget.
const LEAST: u64 = 32 << 20;
/// Vectors of the demo that are joined into one, so that all together do not fit into the least budget.
const JOINED: usize = 4;

/// Row `row` and those that follow it, as one vector.
fn joined(data: &Data, row: usize) -> Vec<f32> {
    let count = data.glosses.len();
    (0..JOINED).flat_map(|next| data.glosses.vector((row + next) % count)).copied().collect()
}

fn build(dir: &Path, data: &Data) {
    let store = Store::options().threads(1).open(dir).unwrap();
    let dim = data.glosses.dim * JOINED;
    let docs = store.collection::<u64>("docs").dim(dim).metric(Metric::Cosine).create().unwrap();
    let keys: Vec<u64> = (0..data.glosses.len() as u64).collect();
    let rows: Vec<f32> = (0..data.glosses.len()).flat_map(|row| joined(data, row)).collect();
    docs.put_many(&keys, &rows, None).unwrap();
    store.close().unwrap();
}

fn search(docs: &Collection<u64>, data: &Data) -> Vec<Vec<Hit<u64>>> {
    let query = |n: usize| {
        let of = |part: usize| data.queries.vector((n + part) % data.queries.len());
        (0..JOINED).flat_map(of).copied().collect::<Vec<f32>>()
    };
    let run = |n| docs.search(&query(n)).k(10).ef(64).run().unwrap();
    (0..data.queries.len()).map(|n| run(n).into_iter().collect()).collect()
}

#[test]
fn what_is_read_by_calls_is_what_is_mapped() {
    let (data, dir) = (Data::load(), tempfile::tempdir().unwrap());
    build(dir.path(), &data);
    let open = |options: StoreOptions| {
        let store = options.open(dir.path()).unwrap();
        let docs = store.collection::<u64>("docs").open().unwrap();
        (store, docs)
    };
    let (store, docs) = open(Store::options());
    let mapped = search(&docs, &data);
    assert_eq!(store.stats().unwrap().memory.budget, None);
    store.close().unwrap();

    let (store, docs) = open(Store::options().memory(LEAST));
    assert_eq!(search(&docs, &data), mapped);
    let memory = store.stats().unwrap().memory;
    assert!(memory.hot + memory.vectors > memory.hot_limit.unwrap(), "vectors are to be read by calls: {memory:?}");
    assert!(memory.hot < memory.hot_limit.unwrap() && memory.catalog_limit <= LEAST / 16, "{memory:?}");
    assert!(memory.hot_in_memory.is_none_or(|bytes| bytes > 0 && bytes <= memory.hot + (1 << 20)), "{memory:?}");
    let stats = docs.search(&joined(&data, 7)).k(10).run().unwrap().stats();
    assert!(stats.reranked >= 10, "{stats:?}");
    // A thousand searches of all kinds of k.
    for k in [1, 3, 100, 1000] {
        let hits = docs.search(&joined(&data, 7)).k(k).ef(1000).run().unwrap();
        let exact = docs.search(&joined(&data, 7)).k(k).exact().run().unwrap();
        assert_eq!((hits.len(), hits[0].key), (k, 7));
        assert_eq!(hits[0].distance.to_bits(), exact[0].distance.to_bits());
    }
    store.close().unwrap();
}

#[test]
fn vectors_that_cannot_be_read_are_an_error() {
    let (data, dir) = (Data::load(), tempfile::tempdir().unwrap());
    build(dir.path(), &data);
    let store = Store::options().memory(LEAST).open(dir.path()).unwrap();
    let docs = store.collection::<u64>("docs").open().unwrap();
    let file = File::options().write(true).open(dir.path().join("c/0/vectors")).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2 / 4096 * 4096).unwrap();
    let (mut found, mut failed) = (0, 0);
    for row in 0..200 {
        // Vectors of the first half may still find nothing behind the cut.
        match docs.search(&joined(&data, row * data.glosses.len() / 200)).k(3).ef(16).run() {
            Ok(hits) => found += usize::from(!hits.is_empty()),
            Err(Error::Corrupt { file, offset, .. }) => {
                assert!(file.ends_with("c/0/vectors") && offset > 0, "{file} {offset}");
                failed += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(failed >= 100, "{failed} of 200 searches failed, {found} did not");
}

#[test]
fn changed_pages_keep_to_their_part() {
    let dir = tempfile::tempdir().unwrap();
    // Checkpoints are due for no other reason.
    let options = || Store::options().checkpoint_log_bytes(1 << 40).checkpoint_dirty_bytes(1 << 40).maintenance(false);
    let fill = |options: StoreOptions, name: &str, look: &dyn Fn(&Store)| {
        let store = options.open(dir.path().join(name)).unwrap();
        let docs = store.collection::<u64>("docs").dim(8).m(128).ef_construction(16).create().unwrap();
        let mut state = 9u64;
        let mut component = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32
        };
        for batch in 0..24u64 {
            let keys: Vec<u64> = (batch * 500..(batch + 1) * 500).collect();
            let rows: Vec<f32> = (0..500 * 8).map(|_| component()).collect();
            docs.put_many(&keys, &rows, None).unwrap();
            look(&store);
        }
        let stats = store.stats().unwrap();
        assert_eq!(stats.records, 12_000);
        store.close().unwrap();
        stats
    };
    let without = fill(options(), "without", &|_| ());
    let limit = LEAST / 4;
    assert!(without.dirty_bytes > limit && without.checkpoints == 0, "{}", without.dirty_bytes);
    let within = fill(options().memory(LEAST), "within", &|store| {
        let memory = store.stats().unwrap().memory;
        assert!(memory.changed <= memory.changed_limit.unwrap(), "{memory:?}");
        assert_eq!(memory.changed_limit, Some(limit));
    });
    assert!(within.checkpoints > 0);
    let store = Store::options().memory(LEAST).open(dir.path().join("within")).unwrap();
    assert!(store.verify().unwrap().ok());
}

#[test]
fn a_budget_that_is_too_small_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = Store::options().memory(LEAST - 1).open(dir.path()).unwrap_err();
    assert!(matches!(&error, Error::Setting(what) if what.contains("33554431")), "{error}");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was made");
}
