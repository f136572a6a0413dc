//! Element types on real vectors: what is found, how near it is said to be, what comes back, and what is refused.

use crate::support::data::{Data, TRUTH};
use crate::support::files;
use crate::support::model::distance;
use lodestore::disk::MemDisk;
use lodestore::{Bits, Codes, Collection, Components, Durability, Element, Error, Metric, Store, bf16, f16};
use std::path::Path;
use std::sync::Arc;

const ELEMENTS: [Element; 6] = [Element::F32, Element::F16, Element::Bf16, Element::I8, Element::U8, Element::Bits];

/// Every element type with every metric that it goes with.
fn pairs() -> Vec<(Element, Metric)> {
    let numbers = ELEMENTS.into_iter().filter(|element| *element != Element::Bits);
    let metrics = [Metric::L2, Metric::InnerProduct, Metric::Cosine];
    numbers.flat_map(|e| metrics.map(|m| (e, m))).chain([(Element::Bits, Metric::Hamming)]).collect()
}

/// A vector of real numbers about 0.05 in size, as one that the element type has numbers for: floats as they are, bytes
/// stretched to fill most of their range, signs.
fn fitting(element: Element, vector: &[f32]) -> Vec<f32> {
    let fit = |&x: &f32| match element {
        Element::I8 => (x * 400.0).round().clamp(-128.0, 127.0),
        Element::U8 => (x * 400.0 + 128.0).round().clamp(0.0, 255.0),
        Element::Bits => f32::from(u8::from(x > 0.0)),
        _ => x,
    };
    vector.iter().map(fit).collect()
}

/// What the collection keeps of it.
fn kept(element: Element, vector: &[f32]) -> Vec<f32> {
    let keep = |&x: &f32| match element {
        Element::F16 => f16::from_f32(x).to_f32(),
        Element::Bf16 => bf16::from_f32(x).to_f32(),
        _ => x,
    };
    vector.iter().map(keep).collect()
}

/// Rows in the type of the collection, so that it has nothing to convert.
enum Own {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    Bits(Vec<u8>),
}

impl Own {
    fn new(element: Element, rows: &[f32], dim: usize) -> Self {
        match element {
            Element::F32 => Own::F32(rows.to_vec()),
            Element::F16 => Own::F16(rows.iter().map(|&x| f16::from_f32(x)).collect()),
            Element::Bf16 => Own::Bf16(rows.iter().map(|&x| bf16::from_f32(x)).collect()),
            Element::I8 => Own::I8(rows.iter().map(|&x| x as i8).collect()),
            Element::U8 => Own::U8(rows.iter().map(|&x| x as u8).collect()),
            _ => {
                let row = |row: &[f32]| {
                    let mut bytes = vec![0u8; dim.div_ceil(8)];
                    (0..dim).filter(|&i| row[i] == 1.0).for_each(|i| bytes[i / 8] |= 1 << (i % 8));
                    bytes
                };
                Own::Bits(rows.chunks(dim).flat_map(row).collect())
            }
        }
    }

    fn components(&self) -> Components<'_> {
        match self {
            Own::F32(x) => x.into(),
            Own::F16(x) => x.into(),
            Own::Bf16(x) => x.into(),
            Own::I8(x) => x.into(),
            Own::U8(x) => x.into(),
            Own::Bits(x) => Bits(x).into(),
        }
    }
}

/// Rows under keys from 0; the first half in the collection's own type, the second in `f32`.
fn fill(docs: &Collection<u64>, rows: &[Vec<f32>]) {
    let (first, second) = rows.split_at(rows.len() / 2);
    let keys: Vec<u64> = (0..rows.len() as u64).collect();
    let own = Own::new(docs.element(), &first.concat(), docs.dim());
    docs.put_many(&keys[..first.len()], own.components(), None).unwrap();
    docs.put_many(&keys[first.len()..], &second.concat(), None).unwrap();
}

/// Whether a distance is what f64 gives. Of whole numbers, except under cosine, there is nothing to round.
fn is_exact(docs: &Collection<u64>, got: f32, query: &[f32], stored: &[f32]) -> bool {
    let exact = distance(docs.metric(), query, stored);
    match (docs.element(), docs.metric()) {
        (Element::F32 | Element::F16 | Element::Bf16, _) | (_, Metric::Cosine) => {
            (f64::from(got) - exact).abs() <= 1e-5 * exact.abs().max(1.0)
        }
        _ => f64::from(got) == exact,
    }
}

#[test]
fn every_element_finds_as_much_as_f32_and_says_exact_distances() {
    let data = Data::load();
    for (element, metric) in pairs() {
        // Tails of every kernel; of bits more are needed to tell texts apart, and the last byte is not full.
        let dim = if element == Element::Bits { 381 } else { 107 };
        let fit = |vector: &[f32]| fitting(element, &vector[..dim]);
        let rows: Vec<Vec<f32>> = (0..data.glosses.len()).map(|row| fit(data.glosses.vector(row))).collect();
        let queries: Vec<Vec<f32>> = (0..100).map(|row| fit(data.queries.vector(row))).collect();
        let store = Store::options().durability(Durability::Buffered).threads(2);
        let store = store.open_on(Arc::new(MemDisk::new()), "memory").unwrap();
        let docs = store.collection::<u64>("docs").dim(dim).element(element).metric(metric);
        let docs = docs.codes(Codes::None).create().unwrap();
        fill(&docs, &rows);
        let stored: Vec<Vec<f32>> = rows.iter().map(|row| kept(element, row)).collect();
        for (key, row) in stored.iter().enumerate().step_by(7) {
            assert_eq!(&docs.get(key as u64).unwrap().unwrap().vector, row, "{element} {metric} {key}");
        }
        let mut found = [0; 3];
        for query in &queries {
            let mut exact: Vec<f64> = stored.iter().map(|row| distance(metric, query, row)).collect();
            exact.sort_unstable_by(f64::total_cmp);
            let farthest = exact[TRUTH - 1] + 1e-5 * exact[TRUTH - 1].abs().max(1.0);
            for (found, ef) in found.iter_mut().zip([16, 64, 200]) {
                let hits = docs.search(query).k(TRUTH).ef(ef).run().unwrap();
                assert_eq!(hits.len(), TRUTH);
                for hit in &hits {
                    let row = &stored[hit.key as usize];
                    assert!(is_exact(&docs, hit.distance, query, row), "{element} {metric} {hit:?}");
                    *found += usize::from(f64::from(hit.distance) <= farthest);
                }
            }
        }
        let recalls = found.map(|found| found as f64 / (queries.len() * TRUTH) as f64);
        println!("{element}, {metric}, {dim} dimensions: recall {recalls:?} at ef 16, 64, 200");
        // As in `recall.rs` for f32.
        assert!(recalls[1] >= 0.97 && recalls[2] >= 0.99, "{element} {metric}: {recalls:?}");
        let report = store.verify().unwrap();
        assert!(report.ok(), "{element} {metric}: {:?}", report.problems);
    }
}

#[test]
fn queries_of_any_type_are_asked_alike() {
    let data = Data::load();
    let dim = 45;
    for (element, metric) in pairs() {
        let store = Store::in_memory().unwrap();
        let docs = store.collection::<u64>("docs").dim(dim).element(element).metric(metric).create().unwrap();
        let rows: Vec<Vec<f32>> = (0..500).map(|row| fitting(element, &data.glosses.vector(row)[..dim])).collect();
        fill(&docs, &rows);
        let queries: Vec<Vec<f32>> =
            (0..20).map(|row| kept(element, &fitting(element, &data.queries.vector(row)[..dim]))).collect();
        let own = Own::new(element, &queries.concat(), dim);
        let many = docs.search_many(own.components()).k(5).threads(2).run().unwrap();
        let same = docs.search_many(&queries.concat()).k(5).run().unwrap();
        for (row, query) in queries.iter().enumerate() {
            let own = Own::new(element, query, dim);
            let one = docs.search(own.components()).k(5).run().unwrap();
            let keys: Vec<u64> = one.iter().map(|hit| hit.key).collect();
            let distances: Vec<f32> = one.iter().map(|hit| hit.distance).collect();
            for (k, d) in [(many.keys(row), many.distances(row)), (same.keys(row), same.distances(row))] {
                assert_eq!((k, d), (&keys[..], &distances[..]), "{element} {metric}");
            }
        }
        // Queries in f32 are not rounded to the halves that a collection keeps.
        if matches!(element, Element::F16 | Element::Bf16) && metric == Metric::L2 {
            let query: Vec<f32> = rows[0].iter().map(|x| x + 0.01 / 3.0).collect();
            let hit = &docs.search(&query).k(1).run().unwrap()[0];
            assert_eq!(hit.key, 0);
            let exact = distance(metric, &query, &kept(element, &rows[0]));
            assert!((f64::from(hit.distance) - exact).abs() < 1e-9, "{hit:?} {exact}");
        }
    }
}

#[test]
fn codes_of_other_elements() {
    let data = Data::load();
    let dim = data.glosses.dim;
    let store = Store::in_memory().unwrap();
    let auto = |element: Element, metric| {
        let docs = store.collection::<u64>(&format!("{element} {metric}")).dim(dim).element(element).metric(metric);
        docs.create().unwrap().info().codes
    };
    for element in ELEMENTS {
        let expected = match element {
            Element::F32 | Element::F16 | Element::Bf16 => Codes::Four,
            _ => Codes::None,
        };
        let metric = if element == Element::Bits { Metric::Hamming } else { Metric::Cosine };
        assert_eq!(auto(element, metric), expected, "{element}");
    }
    for element in [Element::F16, Element::Bf16, Element::I8, Element::U8] {
        let metric = if element == Element::U8 { Metric::L2 } else { Metric::Cosine };
        let rows: Vec<Vec<f32>> = (0..2000).map(|row| fitting(element, data.glosses.vector(row))).collect();
        let [plain, eight, four] = [Codes::None, Codes::Eight, Codes::Four].map(|codes| {
            let docs = store.collection::<u64>(&format!("{element} {codes}")).dim(dim).element(element).metric(metric);
            let docs = docs.codes(codes).create().unwrap();
            fill(&docs, &rows);
            let mut found = 0;
            for row in 0..50 {
                let query = fitting(element, data.queries.vector(row));
                let hits = docs.search(&query).k(TRUTH).ef(100).run().unwrap();
                let mut exact: Vec<f64> =
                    rows.iter().map(|row| distance(metric, &query, &kept(element, row))).collect();
                for hit in &hits {
                    let stored = docs.get(hit.key).unwrap().unwrap().vector;
                    assert!(is_exact(&docs, hit.distance, &query, &stored), "{element} {codes} {hit:?}");
                }
                exact.sort_unstable_by(f64::total_cmp);
                let farthest = exact[TRUTH - 1] + 1e-5 * exact[TRUTH - 1].max(1.0);
                found += hits.iter().filter(|hit| f64::from(hit.distance) <= farthest).count();
            }
            f64::from(found as u32) / (50 * TRUTH) as f64
        });
        println!("{element} {metric}: recall with no codes, 8, 4: {plain}, {eight}, {four}");
        assert!(eight >= plain - 0.02 && four >= plain - 0.03, "{element}: {plain} {eight} {four}");
    }
    assert!(store.verify().unwrap().ok());
}

/// A collection, and rows for it.
type Rows = (Collection<u64>, Vec<Vec<f32>>);

/// A store with one collection of each kind, and what they are to hold.
fn store_of_all(path: &Path, data: &Data) -> (Store, Vec<Rows>) {
    let store = Store::options().durability(Durability::Sync).background(false).open(path).unwrap();
    let make = |(element, metric): (Element, Metric)| {
        let dim = 29;
        let name = format!("{element} {metric}");
        let docs = store.collection::<u64>(&name).dim(dim).element(element).metric(metric).create().unwrap();
        let rows: Vec<Vec<f32>> = (0..60).map(|row| fitting(element, &data.glosses.vector(row)[..dim])).collect();
        (docs, rows)
    };
    let all = pairs().into_iter().map(make).collect();
    (store, all)
}

/// Everything is there, found, and whole.
fn check(store: &Store, expected: &[(String, Element, Vec<Vec<f32>>)]) {
    for (name, element, rows) in expected {
        let docs = store.collection::<u64>(name).element(*element).open().unwrap();
        assert_eq!((docs.element(), docs.len()), (*element, rows.len() as u64));
        assert_eq!(docs.info().element, *element);
        for (key, row) in (0..).zip(rows) {
            let record = docs.get(key).unwrap().unwrap();
            assert_eq!(record.vector, kept(*element, row), "{name} {key}");
            assert_eq!(record.payload, name.as_bytes());
            if docs.metric() != Metric::InnerProduct {
                let hit = &docs.search(row).k(1).ef(64).run().unwrap()[0];
                let own = distance(docs.metric(), row, &record.vector) + 1e-5;
                assert!(f64::from(hit.distance) <= own, "{name} {key}: {hit:?}");
            }
        }
    }
    let report = store.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
}

#[test]
fn every_element_survives_closing_and_a_crash() {
    let data = Data::load();
    let dir = tempfile::tempdir().unwrap();
    let (path, crashed) = (dir.path().join("store"), dir.path().join("crashed"));
    let (store, all) = store_of_all(&path, &data);
    let mut expected = Vec::new();
    for (docs, rows) in all {
        let (name, element) = (docs.name().to_owned(), docs.element());
        // By each way in: one by one, many at once, and in a batch.
        for (key, row) in (0..20).zip(&rows) {
            docs.put(key, Own::new(element, row, docs.dim()).components(), name.as_bytes()).unwrap();
        }
        let keys: Vec<u64> = (20..40).collect();
        docs.put_many(&keys, &rows[20..40].concat(), Some(&[name.as_bytes(); 20])).unwrap();
        let mut batch = store.batch();
        for (key, row) in (40..).zip(&rows[40..]) {
            batch.put(&docs, key, Own::new(element, row, docs.dim()).components(), name.as_bytes()).unwrap();
        }
        batch.commit().unwrap();
        expected.push((name, element, rows));
    }
    // The log is all that has the records.
    files::copy(&path, &crashed);
    let recovered = Store::open(&crashed).unwrap();
    check(&recovered, &expected);
    recovered.close().unwrap();
    check(&Store::open(&crashed).unwrap(), &expected);
    // Half of them in a checkpoint, the others, the same again, in the log behind it.
    store.checkpoint().unwrap();
    for (name, _, rows) in &expected {
        let docs = store.collection::<u64>(name).open().unwrap();
        docs.put_many(&(30..60).collect::<Vec<_>>(), &rows[30..].concat(), Some(&[name.as_bytes(); 30])).unwrap();
    }
    let again = dir.path().join("again");
    files::copy(&path, &again);
    check(&Store::open(&again).unwrap(), &expected);
    store.close().unwrap();
    check(&Store::open(&path).unwrap(), &expected);
}

#[test]
fn a_flipped_byte_of_any_vector_is_found() {
    let data = Data::load();
    let dir = tempfile::tempdir().unwrap();
    let (store, all) = store_of_all(dir.path(), &data);
    let kinds: Vec<(Element, Metric)> = all.iter().map(|(docs, _)| (docs.element(), docs.metric())).collect();
    all.iter().for_each(|(docs, rows)| fill(docs, rows));
    drop(all);
    store.close().unwrap();
    for (id, (element, metric)) in kinds.into_iter().enumerate() {
        let file = dir.path().join(format!("c/{id}/vectors"));
        let good = std::fs::read(&file).unwrap();
        let components = match element {
            Element::Bits => 4,
            Element::I8 | Element::U8 => 29,
            Element::F32 => 116,
            _ => 58,
        };
        let stride = if element == Element::F32 { 128 } else { 64 };
        for at in [0, components - 1] {
            let mut bad = good.clone();
            bad[5 * stride + at] ^= 0x10;
            std::fs::write(&file, &bad).unwrap();
            let store = Store::open(dir.path()).unwrap();
            let report = store.verify().unwrap();
            let named = |problem: &String| {
                problem.contains(&format!("'{element} {metric}'")) && problem.contains("slot 5: vector checksum")
            };
            assert!(report.problems.iter().any(named), "{element} {metric}, byte {at}: {:?}", report.problems);
            store.close().unwrap();
        }
        std::fs::write(&file, &good).unwrap();
    }
    assert!(Store::open(dir.path()).unwrap().verify().unwrap().ok());
}

/// The ways of a vector into a collection, as the only bad one of several, at its row; and as a query.
fn refused<'a>(
    docs: &'a Collection<u64>,
    store: &Store,
    bad: Components<'a>,
    many: Components<'a>,
) -> [(usize, Error); 5] {
    let before: Vec<_> = (0..4).map(|key| docs.get(key).unwrap()).collect();
    let good = vec![1.0; docs.dim()];
    let mut batch = store.batch();
    batch.put(docs, 1, &good, b"").unwrap();
    let errors = [
        (0, docs.put(1, bad, b"x").expect_err("a put")),
        (1, docs.put_many(&[1, 2, 3], many, None).expect_err("many")),
        (1, batch.put(docs, 2, bad, b"x").expect_err("a batch")),
        (0, docs.search(bad).run().map(|hits| hits.len()).expect_err("a query")),
        (1, docs.search_many(many).run().map(|hits| hits.rows()).expect_err("many queries")),
    ];
    assert_eq!(batch.len(), 1);
    assert_eq!(before, (0..4).map(|key| docs.get(key).unwrap()).collect::<Vec<_>>());
    assert_eq!(docs.len(), before.iter().flatten().count() as u64);
    errors
}

#[test]
fn what_an_element_has_no_number_for_changes_nothing() {
    let store = Store::in_memory().unwrap();
    for element in ELEMENTS {
        let docs = store.collection::<u64>(element.name()).dim(3).element(element).create().unwrap();
        docs.put_many(&[0, 1], &[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], None).unwrap();
        let bad: &[f32] = match element {
            Element::F32 => &[],
            Element::F16 => &[65_520.0, -1e6],
            Element::Bf16 => &[f32::MAX],
            Element::I8 => &[127.5, 128.0, -129.0, 1e9, 0.1],
            Element::U8 => &[-1.0, 256.0, 0.5],
            _ => &[0.5, -1.0, 2.0],
        };
        for &bad in bad {
            let vector = [1.0, bad, 1.0];
            let many = [[1.0; 3], vector, [1.0; 3]].concat();
            for (at, error) in refused_vectors(&docs, &store, &vector, &many) {
                match error {
                    Error::NotRepresentable { row, component: 1, value, element: e } => {
                        assert_eq!((row, value, e), (at, bad, element));
                    }
                    other => panic!("{element} {bad}: {other:?}"),
                }
            }
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let vector = [1.0, 1.0, bad];
            let many = [[1.0; 3], vector, [1.0; 3]].concat();
            for (at, error) in refused(&docs, &store, (&vector).into(), (&many).into()) {
                assert!(
                    matches!(error, Error::NotFinite { row, component: 2, .. } if row == at),
                    "{element}: {error:?}"
                );
            }
            let (vector, many) =
                (vector.map(f16::from_f32), many.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>());
            for (at, error) in refused(&docs, &store, (&vector).into(), (&many).into()) {
                assert!(
                    matches!(error, Error::NotFinite { row, component: 2, .. } if row == at),
                    "{element}: {error:?}"
                );
            }
        }
        for (got, bad) in [
            (2, Components::from(&[1i8; 2])),
            (4, (&[1u8; 4]).into()),
            (16, Bits(&[1; 2]).into()),
            (0, Bits(&[]).into()),
        ] {
            let error = docs.put(1, bad, b"").unwrap_err();
            assert!(matches!(error, Error::Dimension { expected: 3, got: g, row: 0, .. } if g == got), "{error:?}");
            let error = docs.search(bad).run().map(|hits| hits.len()).unwrap_err();
            assert!(matches!(error, Error::Dimension { expected: 3, got: g, row: 0, .. } if g == got), "{error:?}");
        }
        assert!(matches!(docs.put_many(&[1], &[1i8; 4], None), Err(Error::RowCount { .. })));
        assert!(matches!(docs.put_many(&[1], Bits(&[1; 2]), None), Err(Error::RowCount { keys: 1, got: 2, .. })));
        // A bit behind the last one, whatever it would be converted to.
        for (at, error) in refused(&docs, &store, Bits(&[0b0001_0001]).into(), Bits(&[7, 0b0001_0001, 1]).into()) {
            assert!(matches!(error, Error::SpareBit { row, bit: 4, dim: 3 } if row == at), "{error:?}");
        }
        assert!(store.verify().unwrap().ok());
    }
}

/// As [`refused`], without the queries where a query may be what a stored vector may not: of halves, in `f32`.
fn refused_vectors(docs: &Collection<u64>, store: &Store, bad: &[f32], many: &[f32]) -> Vec<(usize, Error)> {
    if matches!(docs.element(), Element::F16 | Element::Bf16) {
        let good = vec![1.0; docs.dim()];
        let mut batch = store.batch();
        batch.put(docs, 1, &good, b"").unwrap();
        return vec![
            (0, docs.put(1, bad, b"x").expect_err("a put")),
            (1, docs.put_many(&[1, 2, 3], many, None).expect_err("many")),
            (1, batch.put(docs, 2, bad, b"x").expect_err("a batch")),
        ];
    }
    refused(docs, store, bad.into(), many.into()).into()
}

#[test]
fn zeros_without_a_direction_are_refused_as_stored() {
    let store = Store::in_memory().unwrap();
    for (element, tiny) in [(Element::F16, 1e-9), (Element::Bf16, 0.0), (Element::I8, -0.0), (Element::U8, 0.0)] {
        let docs = store.collection::<u64>(element.name()).dim(2).element(element).metric(Metric::Cosine);
        let docs = docs.create().unwrap();
        // Too small for a binary16: what would be stored is zero.
        assert!(matches!(docs.put(1, &[tiny, 0.0], b""), Err(Error::ZeroVector { row: 0 })), "{element}");
        let many = [1.0, 0.0, tiny, tiny];
        assert!(matches!(docs.put_many(&[1, 2], &many, None), Err(Error::ZeroVector { row: 1 })), "{element}");
        let zero = docs.search(&[0.0, 0.0]).run().map(|hits| hits.len());
        assert!(matches!(zero, Err(Error::ZeroVector { row: 0 })), "{element}");
        assert!(docs.is_empty());
    }
    let docs = store.collection::<u64>("bf16").open().unwrap();
    assert!(matches!(docs.put(1, &[1e19, 1e19], b""), Err(Error::Magnitude { row: 0, .. })));
    assert!(matches!(docs.put(1, &[1e-19, 1e-19], b""), Err(Error::Magnitude { row: 0, .. })));
}

#[test]
fn settings_that_do_not_go_together() {
    let store = Store::in_memory().unwrap();
    let builder = |name: &str| store.collection::<u64>(name).dim(8);
    for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
        let error = builder("a").element(Element::Bits).metric(metric).create().unwrap_err();
        assert!(matches!(&error, Error::Setting(what) if what.contains("hamming")), "{error}");
    }
    for element in ELEMENTS.into_iter().filter(|element| *element != Element::Bits) {
        let error = builder("a").element(element).metric(Metric::Hamming).create().unwrap_err();
        assert!(matches!(&error, Error::Setting(what) if what.contains(element.name())), "{error}");
    }
    assert!(matches!(builder("a").element(Element::Bits).codes(Codes::Eight).create(), Err(Error::Setting(_))));
    assert!(store.collections().unwrap().is_empty());
    let bits = builder("bits").metric(Metric::Hamming).create().unwrap();
    assert_eq!((bits.element(), bits.metric()), (Element::Bits, Metric::Hamming));
    let bits = builder("more").element(Element::Bits).create().unwrap();
    assert_eq!((bits.element(), bits.metric(), bits.info().codes), (Element::Bits, Metric::Hamming, Codes::None));
    assert_eq!(builder("plain").create().unwrap().element(), Element::F32);
    match builder("plain").element(Element::U8).open() {
        Err(Error::SettingDiffers { setting: "element", stored, asked, .. }) => {
            assert_eq!((stored.as_str(), asked.as_str()), ("f32", "u8"));
        }
        other => panic!("{other:?}"),
    }
}
