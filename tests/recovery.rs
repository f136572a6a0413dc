//! Opening after a crash answers at once, while what was in the log is being linked.

use crate::support::data::Data;
use crate::support::files;
use lodestore::{Durability, Metric, Store};

#[test]
fn records_are_found_before_they_are_linked_and_after() {
    let demo = Data::load();
    let (glosses, queries) = (&demo.glosses, &demo.queries);
    let dir = tempfile::tempdir().unwrap();
    let (live, crashed) = (dir.path().join("live"), dir.path().join("crashed"));
    let store = Store::options().durability(Durability::Buffered).open(&live).unwrap();
    let docs = store.collection::<u64>("docs").dim(glosses.dim).metric(Metric::Cosine).create().unwrap();
    let keys: Vec<u64> = (0..glosses.len() as u64).collect();
    let rows: Vec<f32> = (0..glosses.len()).flat_map(|row| glosses.vector(row).to_vec()).collect();
    let half = keys.len() / 2;
    docs.put_many(&keys[..half], &rows[..half * glosses.dim], None).unwrap();
    store.checkpoint().unwrap();
    docs.put_many(&keys[half..], &rows[half * glosses.dim..], None).unwrap();
    for key in 0..50 {
        docs.remove(key).unwrap();
        docs.put(100 + key, glosses.vector(2000 + key as usize), b"moved").unwrap();
    }
    // What a kill leaves: the files as they are, without a close.
    files::copy(&live, &crashed);

    let reopened = Store::open(&crashed).unwrap();
    let found = reopened.collection::<u64>("docs").open().unwrap();
    let mut unlinked_at_some_time = 0;
    loop {
        let unlinked = found.info().unlinked;
        unlinked_at_some_time = unlinked_at_some_time.max(unlinked);
        for row in (0..queries.len()).step_by(7) {
            let query = queries.vector(row);
            let exact = docs.search(query).k(10).ef(2000).run().unwrap();
            let hits = found.search(query).k(10).ef(2000).run().unwrap();
            let keys = |hits: &lodestore::Hits<u64>| hits.iter().map(|hit| hit.key).collect::<Vec<_>>();
            assert_eq!(keys(&hits), keys(&exact), "query {row}, {unlinked} records unlinked");
        }
        if unlinked == 0 {
            break;
        }
    }
    assert!(unlinked_at_some_time > 0, "all was linked before the first look; nothing was tested");
    assert_eq!(found.len(), docs.len());
    assert_eq!(found.get(101).unwrap().unwrap().payload, b"moved");
    let report = reopened.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
}
