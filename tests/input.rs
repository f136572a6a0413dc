//! Bad input: a typed error that says got and expected, and nothing changes. Bad places: the same, and nothing is
//! left behind.

mod full;
pub(crate) mod places;

use crate::support::model::{Model, distance, same_distance};
use lodestore::{Codes, Collection, Durability, Error, MAX_NAME, MAX_PAYLOAD, Metric, Store};
use std::time::Duration;

/// Everything a store shows of itself that a refused call must leave alone.
fn state(store: &Store, keys: std::ops::Range<u64>) -> String {
    let mut text = format!("{:?} {}", store.collections().unwrap(), store.stats().unwrap().last_lsn);
    for info in store.collections().unwrap() {
        let docs = store.collection::<u64>(&info.name).open().unwrap();
        let records: Vec<_> = keys.clone().map(|key| docs.get(key).unwrap()).collect();
        text.push_str(&format!("{records:?}"));
    }
    text
}

struct Fixture {
    store: Store,
    plain: Collection<u64>,
    angles: Collection<u64>,
}

/// Two collections of dimension 3 with records 1 and 2.
fn fixture() -> Fixture {
    let store = Store::in_memory().unwrap();
    let plain = store.collection::<u64>("plain").dim(3).create().unwrap();
    let angles = store.collection::<u64>("angles").dim(3).metric(Metric::Cosine).create().unwrap();
    for docs in [&plain, &angles] {
        docs.put_many(&[1, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], Some(&[b"one", b"two"])).unwrap();
    }
    Fixture { store, plain, angles }
}

impl Fixture {
    /// Runs a call that must be refused, and gives its error.
    fn refused<T: std::fmt::Debug>(&self, call: impl FnOnce(&Self) -> lodestore::Result<T>) -> Error {
        let before = state(&self.store, 0..10);
        let error = call(self).expect_err("bad input is refused");
        assert_eq!(state(&self.store, 0..10), before, "{error} changed something");
        assert!(self.store.stats().unwrap().poisoned.is_none(), "{error} poisoned the store");
        error
    }
}

#[test]
fn vectors_of_another_dimension() {
    let fix = fixture();
    for bad in [&[][..], &[1.0], &[1.0; 2], &[1.0; 4], &[1.0; 100_000]] {
        let all = [
            fix.refused(|f| f.plain.put(1, bad, b"x")),
            fix.refused(|f| f.plain.search(bad).run().map(|hits| hits.len())),
            fix.refused(|f| f.store.batch().put(&f.plain, 1, bad, b"x")),
        ];
        for error in all {
            match &error {
                Error::Dimension { collection, expected: 3, got, row: 0 } => {
                    assert_eq!((collection.as_str(), *got), ("plain", bad.len()));
                }
                other => panic!("{other:?}"),
            }
            assert!(error.to_string().contains(&format!("{} components", bad.len())), "{error}");
        }
    }
    let mut batch = fix.store.batch();
    batch.put(&fix.plain, 5, &[1.0; 3], b"").unwrap();
    assert!(matches!(batch.put(&fix.plain, 6, &[1.0; 2], b""), Err(Error::Dimension { row: 1, .. })));
    assert_eq!(batch.len(), 1, "a refused row is not in the batch");
    assert!(matches!(fix.refused(|f| f.plain.search_many(&[1.0; 7]).run().map(|h| h.rows())), Error::RowCount { .. }));
}

#[test]
fn components_that_are_no_numbers() {
    let fix = fixture();
    for (bad, at) in [
        ([f32::NAN, 1.0, 1.0], 0),
        ([1.0, f32::INFINITY, 1.0], 1),
        ([1.0, 1.0, f32::NEG_INFINITY], 2),
        // Their sum would be NaN, whichever is looked at.
        ([f32::INFINITY, f32::NEG_INFINITY, 0.0], 0),
        ([1.0, -f32::NAN, f32::NAN], 1),
    ] {
        let many = [&[1.0; 6][..], &bad].concat();
        let errors = [
            (0, fix.refused(|f| f.plain.put(1, &bad, b"x"))),
            (0, fix.refused(|f| f.angles.put(9, &bad, b"x"))),
            (2, fix.refused(|f| f.plain.put_many(&[7, 8, 9], &many, None))),
            (0, fix.refused(|f| f.plain.search(&bad).run().map(|hits| hits.len()))),
            (2, fix.refused(|f| f.angles.search_many(&many).threads(2).run().map(|hits| hits.rows()))),
            (0, fix.refused(|f| f.store.batch().put(&f.plain, 1, &bad, b"x"))),
        ];
        for (row, error) in errors {
            match error {
                Error::NotFinite { row: r, component, value } => {
                    assert_eq!((r, component), (row, at));
                    assert!(!value.is_finite());
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn vectors_without_a_direction() {
    let fix = fixture();
    for zero in [[0.0; 3], [-0.0, 0.0, -0.0]] {
        let many = [&[1.0; 3][..], &zero].concat();
        assert!(matches!(fix.refused(|f| f.angles.put(1, &zero, b"")), Error::ZeroVector { row: 0 }));
        assert!(matches!(fix.refused(|f| f.angles.put_many(&[1, 2], &many, None)), Error::ZeroVector { row: 1 }));
        assert!(matches!(fix.refused(|f| f.angles.search(&zero).run().map(|h| h.len())), Error::ZeroVector { .. }));
        assert!(matches!(fix.refused(|f| f.store.batch().put(&f.angles, 1, &zero, b"")), Error::ZeroVector { .. }));
        // The other metrics have no quarrel with it.
        fix.plain.put(3, &zero, b"").unwrap();
        assert_eq!(fix.plain.search(&zero).k(1).run().unwrap()[0].key, 3);
    }
}

/// As long as sums of squares neither overflow nor vanish, distances have a meaning at any magnitude.
#[test]
fn vectors_of_extreme_magnitude_are_kept_and_found() {
    for metric in [Metric::L2, Metric::Cosine, Metric::InnerProduct] {
        let store = Store::in_memory().unwrap();
        let docs = store.collection::<u64>("docs").dim(2).metric(metric).create().unwrap();
        let vectors = [[1e18, 1e18], [1e-18, 0.0], [-2e-18, 1e-18], [3e18, -3e18], [-1.0, 2.0], [2e18, 1.0]];
        let mut model = Model::default();
        for (key, vector) in (0..).zip(&vectors) {
            docs.put(key, vector, b"").unwrap_or_else(|error| panic!("{metric} {vector:?}: {error}"));
            model.put(key, vector, b"");
        }
        for vector in &vectors {
            let hits = docs.search(vector).k(10).run().unwrap();
            assert_eq!(hits.len(), 6, "{metric} {vector:?}: {hits:?}");
            for (hit, exact) in hits.iter().zip(model.nearest(metric, vector, 10)) {
                let own = distance(metric, vector, &vectors[hit.key as usize]);
                let all = same_distance(hit.distance, own) && same_distance(hit.distance, exact);
                assert!(all, "{metric} {vector:?}: {hits:?}");
            }
        }
        assert!(store.verify().unwrap().ok());
    }
}

#[test]
fn vectors_that_f32_has_no_room_for_are_refused() {
    let store = Store::in_memory().unwrap();
    for metric in [Metric::L2, Metric::Cosine, Metric::InnerProduct] {
        let docs = store.collection::<u64>(metric.name()).dim(2).metric(metric).create().unwrap();
        for huge in [[1e19, 0.0], [f32::MAX, f32::MAX], [-6e18, 6e18]] {
            assert!(matches!(docs.put(1, &huge, b""), Err(Error::Magnitude { row: 0, .. })), "{metric} {huge:?}");
            assert!(matches!(docs.search(&huge).run(), Err(Error::Magnitude { .. })), "{metric} {huge:?}");
        }
        let tiny = docs.put(1, &[1e-19, 0.0], b"");
        assert_eq!(matches!(tiny, Err(Error::Magnitude { .. })), metric == Metric::Cosine, "{tiny:?}");
        assert_eq!(docs.len(), u64::from(metric != Metric::Cosine));
    }
}

#[test]
fn counts_that_do_not_go_together() {
    let fix = fixture();
    let two: [&[u8]; 2] = [b"a", b"b"];
    for (keys, floats, got) in [(2, 5, 1), (2, 3, 1), (0, 3, 1), (2, 0, 0), (1, 6, 2), (3, 10, 3)] {
        let keys: Vec<u64> = (0..keys).collect();
        let error = fix.refused(|f| f.plain.put_many(&keys, &vec![1.0; floats], None));
        assert!(matches!(error, Error::RowCount { keys: k, got: g, .. } if (k, g) == (keys.len(), got)), "{error:?}");
    }
    for keys in [1, 3] {
        let vectors = vec![1.0; keys * 3];
        let keys: Vec<u64> = (0..keys as u64).collect();
        let error = fix.refused(|f| f.plain.put_many(&keys, &vectors, Some(&two)));
        assert!(matches!(error, Error::RowCount { what: "payloads", got: 2, .. }), "{error:?}");
    }
    fix.plain.put_many(&[0u64; 0], &[0.0; 0], None).unwrap();
    fix.plain.put_many(&[0u64; 0], &[0.0; 0], Some(&[])).unwrap();
    assert_eq!(fix.plain.search_many(&[0.0; 0]).threads(7).run().unwrap().rows(), 0);
    fix.store.batch().commit().unwrap();
    assert_eq!(fix.plain.len(), 2);
}

#[test]
fn payloads_and_batches_that_are_too_large() {
    let fix = fixture();
    let large = vec![7; MAX_PAYLOAD + 1];
    let check = |error: Error, expected: usize| match error {
        Error::PayloadTooLarge { row, got, limit } => {
            assert_eq!((row, got, limit), (expected, MAX_PAYLOAD + 1, MAX_PAYLOAD));
        }
        other => panic!("{other:?}"),
    };
    check(fix.refused(|f| f.plain.put(1, &[1.0; 3], &large)), 0);
    check(fix.refused(|f| f.plain.put_many(&[7, 8], &[1.0; 6], Some(&[b"", &large]))), 1);
    check(fix.refused(|f| f.store.batch().put(&f.plain, 1, &[1.0; 3], &large)), 0);

    let largest = &large[1..];
    fix.plain.put(3, &[1.0; 3], largest).unwrap();
    assert_eq!(fix.plain.payload(3).unwrap().unwrap(), largest);
    // Three of the largest go into a batch, four do not.
    for (rows, fits) in [(3, true), (4, false)] {
        let mut batch = fix.store.batch();
        (4..4 + rows).for_each(|key| batch.put(&fix.plain, key, &[1.0; 3], largest).unwrap());
        let committed = if fits { batch.commit() } else { Err(fix.refused(|_| batch.commit())) };
        match committed {
            Ok(()) => assert!(fits),
            Err(Error::TooLarge { got, limit: 67_108_864 }) => assert!(!fits && got > 67_108_864),
            Err(other) => panic!("{other:?}"),
        }
    }
    // `put_many` divides what it is given.
    fix.plain.put_many(&[5, 6, 7, 8, 9], &[1.0; 15], Some(&[largest; 5])).unwrap();
    assert_eq!(fix.plain.payload(9).unwrap().unwrap().len(), MAX_PAYLOAD);
}

#[test]
fn collections_that_are_not_there_or_otherwise() {
    let fix = fixture();
    let open = |name: &str| fix.store.collection::<u64>(name).open();
    match open("nowhere") {
        Err(error @ Error::NoCollection { .. }) => {
            assert!(error.to_string().contains("angles, plain"), "{error} says what is there");
        }
        other => panic!("{other:?}"),
    }
    let error = fix.refused(|f| f.store.collection::<u64>("plain").dim(3).create());
    assert!(matches!(error, Error::CollectionExists { .. }), "{error:?}");
    let differs = |setting: &str, stored: &str, asked: &str, error: Error| match error {
        Error::SettingDiffers { collection, setting: s, stored: st, asked: a } => {
            assert_eq!((collection.as_str(), s, st.as_str(), a.as_str()), ("plain", setting, stored, asked));
        }
        other => panic!("{other:?}"),
    };
    let plain = || fix.store.collection::<u64>("plain");
    differs("dim", "3", "4", fix.refused(|_| plain().dim(4).open_or_create()));
    differs("metric", "l2", "cosine", fix.refused(|_| plain().metric(Metric::Cosine).open()));
    differs("m", "16", "15", fix.refused(|_| plain().m(15).open()));
    differs("ef_construction", "128", "10", fix.refused(|_| plain().ef_construction(10).open_or_create()));
    differs("seed", "100", "101", fix.refused(|_| plain().seed(101).open()));
    differs("codes", "none", "8", fix.refused(|_| plain().codes(Codes::Eight).open()));
    plain().codes(Codes::Auto).open().unwrap();
    plain().dim(3).metric(Metric::L2).m(16).ef_construction(128).seed(100).open().unwrap();

    type Set = fn(lodestore::CollectionBuilder<u64>) -> lodestore::CollectionBuilder<u64>;
    let bad: [(Set, &str); 9] = [
        (|b| b, "dim"),
        (|b| b.dim(0), "dim is 0"),
        (|b| b.dim(65_537), "dim is 65537"),
        (|b| b.dim(usize::MAX), "18446744073709551615"),
        (|b| b.dim(3).m(1), "m is 1"),
        (|b| b.dim(3).m(513), "m is 513"),
        (|b| b.dim(3).m(usize::MAX), "m is"),
        (|b| b.dim(3).ef_construction(0), "ef_construction is 0"),
        (|b| b.dim(3).ef_construction(65_537), "65537"),
    ];
    for (set, says) in bad {
        for create in [false, true] {
            let builder = set(fix.store.collection::<u64>("new"));
            let error = fix.refused(|_| if create { builder.create() } else { builder.open_or_create() });
            assert!(matches!(error, Error::Setting(_)) && error.to_string().contains(says), "{error:?}");
        }
    }
    let largest = fix.store.collection::<u64>("largest").dim(65_536).m(512).ef_construction(65_536).create().unwrap();
    largest.put(1, &vec![0.5; 65_536], b"").unwrap();
    assert_eq!(largest.search(&vec![0.5; 65_536]).run().unwrap()[0].distance, 0.0);
}

#[test]
fn names_of_collections() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let long = "é".repeat(MAX_NAME / 2 + 1);
    for bad in ["", "a\nb", "\0", "tab\t", "\u{7f}", "\u{85}", &long, &"x".repeat(100_000)] {
        let made = store.collection::<u64>(bad).dim(2).open_or_create();
        assert!(matches!(made, Err(Error::Setting(_))), "{bad:?}: {made:?}");
        assert!(matches!(store.collection::<u64>(bad).open(), Err(Error::NoCollection { .. })));
    }
    let longest = "x".repeat(MAX_NAME);
    // None of these becomes a path.
    let good = ["a", " ", "..", "../../etc", "/", "C:\\x", "日本語 🙂", "a'b\"c", "NUL", "SUPER", &longest];
    for (key, name) in (0..).zip(good) {
        store.collection::<u64>(name).dim(2).create().unwrap().put(key, &[1.0, 2.0], name.as_bytes()).unwrap();
    }
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.collections().unwrap().len(), good.len());
    for (key, name) in (0..).zip(good) {
        assert_eq!(store.collection::<u64>(name).open().unwrap().payload(key).unwrap().unwrap(), name.as_bytes());
    }
}

#[test]
fn a_batch_takes_collections_of_its_own_store_only() {
    let (fix, other) = (fixture(), fixture());
    let mut batch = fix.store.batch();
    batch.put(&fix.plain, 3, &[1.0; 3], b"").unwrap();
    for result in [batch.put(&other.plain, 4, &[1.0; 3], b""), batch.remove(&other.angles, 1)] {
        assert!(matches!(result, Err(Error::OtherStore { .. })), "{result:?}");
    }
    batch.commit().unwrap();
    assert_eq!((fix.plain.len(), other.plain.len()), (3, 2));
}

#[test]
fn searches_for_nothing_for_everything_and_in_nothing() {
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("docs").dim(2).create().unwrap();
    let numbers = [0, 1, 2, 100, 1 << 20, usize::MAX];
    for k in numbers {
        for ef in numbers {
            assert!(docs.search(&[1.0, 1.0]).k(k).ef(ef).with_payloads().run().unwrap().is_empty());
            assert_eq!(docs.search_many(&[1.0; 4]).k(k).ef(ef).threads(usize::MAX).run().unwrap().keys(1), [0u64; 0]);
        }
    }
    let vectors: Vec<f32> = (0..100).map(|x| x as f32).collect();
    docs.put_many(&(0..50).collect::<Vec<u64>>(), &vectors, None).unwrap();
    (0..50).step_by(5).for_each(|key| assert!(docs.remove(key).unwrap()));
    for k in numbers {
        for ef in numbers {
            let hits = docs.search(&[0.0, 0.0]).k(k).ef(ef).run().unwrap();
            assert_eq!(hits.len(), k.min(40), "k {k}, ef {ef}");
            let keys: Vec<u64> = hits.iter().map(|hit| hit.key).collect();
            let many = docs.search_many(&vectors).k(k).ef(ef).threads(3).run().unwrap();
            assert_eq!(many.rows(), 50);
            assert_eq!(
                many.keys(0),
                docs.search(&vectors[..2]).k(k).ef(ef).run().unwrap().iter().map(|h| h.key).collect::<Vec<_>>()
            );
            assert_eq!(keys.iter().copied().min(), (k > 0).then_some(1));
        }
    }
    for key in 0..50 {
        docs.remove(key).unwrap();
    }
    assert!(docs.search(&[0.0, 0.0]).run().unwrap().is_empty() && docs.is_empty());
    docs.put(77, &[5.0, 5.0], b"").unwrap();
    assert_eq!(docs.search(&[0.0, 0.0]).run().unwrap()[0].key, 77);
}

#[test]
fn every_key_is_a_key() {
    let fix = fixture();
    for key in [0, u64::MAX, u64::MAX - 1, 1 << 63] {
        fix.plain.put(key, &[9.0, 9.0, (key >> 32) as f32], b"edge").unwrap();
        assert_eq!(fix.plain.search(&[9.0, 9.0, (key >> 32) as f32]).k(1).run().unwrap()[0].key, key);
        assert!(fix.plain.remove(key).unwrap() && !fix.plain.remove(key).unwrap());
    }
}

/// The longest period is longer than any clock.
#[test]
fn any_period_between_syncs_will_do() {
    for period in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let options = || Store::options().durability(Durability::Every(period));
        let store = options().checkpoint_log_bytes(1 << 10).checkpoint_dirty_bytes(1 << 12).open(dir.path()).unwrap();
        let docs = store.collection::<u64>("docs").dim(2).create().unwrap();
        (0..200).for_each(|key| docs.put(key, &[key as f32, 1.0], &[3; 200]).unwrap());
        // The store's own thread must have survived the period: checkpoints are its work.
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while store.stats().unwrap().checkpoints == 0 {
            assert!(std::time::Instant::now() < until, "{period:?}: no checkpoint");
            docs.put(1, &[1.0, 1.0], &[4; 2000]).unwrap();
        }
        store.close().unwrap();
        assert_eq!(options().open(dir.path()).unwrap().collection::<u64>("docs").open().unwrap().len(), 200);
    }
}

#[test]
fn a_ratio_below_one_is_refused() {
    let fix = fixture();
    for ratio in [0.99, 0.0, -1.0, f32::NAN, f32::NEG_INFINITY] {
        let one = fix.refused(|f| f.plain.search(&[1.0; 3]).stop_beyond(ratio).run().map(|hits| hits.len()));
        let many = fix.refused(|f| f.plain.search_many(&[1.0; 3]).stop_beyond(ratio).run().map(|hits| hits.rows()));
        for error in [one, many] {
            assert!(matches!(&error, Error::Setting(what) if what.contains("stop_beyond")), "{error:?}");
        }
    }
}
