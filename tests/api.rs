//! What the public calls promise.

use lodestore::{Durability, Error, Metric, Store};

fn vectors(count: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    (0..count * dim)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 40) as f32 / (1 << 24) as f32) - 0.5
        })
        .collect()
}

#[test]
fn records_survive_reopening_with_and_without_close() {
    for close in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let data = vectors(3000, 16, 1);
        let keys: Vec<u64> = (0..3000).collect();
        let store = Store::options().durability(Durability::Buffered).open(&path).unwrap();
        let docs = store.collection::<u64>("docs").dim(16).open_or_create().unwrap();
        docs.put_many(&keys, &data, None).unwrap();
        docs.put(5, &data[..16], b"five again").unwrap();
        assert!(docs.remove(7).unwrap());
        assert!(!docs.remove(7).unwrap());
        if close {
            store.close().unwrap();
            assert!(matches!(docs.get(1), Err(Error::Closed)));
        } else {
            drop((store, docs));
        }
        let store = Store::open(&path).unwrap();
        let docs = store.collection::<u64>("docs").open().unwrap();
        assert_eq!(docs.len(), 2999);
        for key in 0..3000u64 {
            let record = docs.get(key).unwrap();
            if key == 7 {
                assert!(record.is_none());
                continue;
            }
            let record = record.unwrap();
            let row = if key == 5 { 0 } else { key as usize };
            assert_eq!(record.vector, data[row * 16..row * 16 + 16]);
            assert_eq!(record.payload, if key == 5 { &b"five again"[..] } else { b"" });
        }
        let report = store.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
        let hits = docs.search(&data[160..176]).k(1).run().unwrap();
        assert_eq!((hits[0].key, hits[0].distance), (10, 0.0));
    }
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("docs").dim(3).metric(Metric::Cosine).create().unwrap();
    docs.put(1, &[1.0, 2.0, 3.0], b"x").unwrap();
    assert!(matches!(docs.put(1, &[1.0], b""), Err(Error::Dimension { expected: 3, got: 1, .. })));
    assert!(matches!(docs.put(1, &[1.0, f32::NAN, 0.0], b""), Err(Error::NotFinite { component: 1, .. })));
    assert!(matches!(docs.put(1, &[1.0, f32::INFINITY, f32::NEG_INFINITY], b""), Err(Error::NotFinite { .. })));
    assert!(matches!(docs.put(1, &[0.0; 3], b""), Err(Error::ZeroVector { row: 0 })));
    assert!(matches!(docs.search(&[0.0; 3]).run(), Err(Error::ZeroVector { .. })));
    assert!(matches!(docs.search(&[0.0; 2]).run(), Err(Error::Dimension { .. })));
    assert!(matches!(docs.put_many(&[1, 2], &[0.0; 5], None), Err(Error::RowCount { .. })));
    assert!(matches!(docs.put_many(&[1, 2], &[1., 1., 1., 0., 0., 0.], None), Err(Error::ZeroVector { row: 1 })));
    assert!(matches!(
        store.collection::<u64>("docs").metric(Metric::L2).open_or_create(),
        Err(Error::SettingDiffers { setting: "metric", .. })
    ));
    assert!(matches!(store.collection::<u64>("other").open(), Err(Error::NoCollection { .. })));
    assert!(matches!(store.collection::<u64>("other").open_or_create(), Err(Error::Setting(_))));
    assert_eq!(docs.get(1).unwrap().unwrap().vector, [1.0, 2.0, 3.0]);
    assert_eq!(docs.len(), 1);
    assert_eq!(docs.search(&[1.0, 0.0, 0.0]).k(100).run().unwrap().len(), 1);
}
