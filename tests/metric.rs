//! Metrics of the program's own: through puts, crashes, compaction, `verify` and every way to ask.

use crate::support::data::Data;
use crate::support::model::{Rng, seed};
use lodestore::{
    Bits, Codes, Collection, Durability, Element, Error, Metric, Residency, Store, StoreOptions, UserMetric,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[path = "../examples/user_metrics.rs"]
#[allow(unreachable_pub, reason = "an example is a crate of its own")]
pub(crate) mod examples;

use examples::{Jaccard, Lorentzian, Manhattan, Poincare};

const DIM: usize = 12;

fn options() -> StoreOptions {
    Store::options().metric(Poincare).metric(Lorentzian).metric(Jaccard).metric(Manhattan).threads(2)
}

/// A vector that a metric has distances for, in `DIM` components.
fn vector(metric: &str, rng: &mut Rng) -> Vec<f32> {
    let raw = rng.vector(DIM);
    let length = |of: &[f32]| of.iter().map(|x| x * x).sum::<f32>().sqrt();
    match metric {
        "poincare" => {
            let to = 0.95 * rng.below(1000) as f32 / 1000.0;
            let by = to / length(&raw);
            raw.iter().map(|x| x * by).collect()
        }
        "lorentzian" => {
            let rest = &raw[1..];
            let mut all = vec![(1.0 + rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()).sqrt() as f32];
            all.extend(rest);
            all
        }
        "jaccard" => raw.iter().map(|x| x.max(0.0)).collect(),
        _ => raw,
    }
}

fn all() -> [(&'static str, Box<dyn UserMetric>); 4] {
    [
        ("poincare", Box::new(Poincare)),
        ("lorentzian", Box::new(Lorentzian)),
        ("jaccard", Box::new(Jaccard)),
        ("manhattan", Box::new(Manhattan)),
    ]
}

type Model = BTreeMap<u64, Vec<f32>>;

/// Exact searches are right, walks nearly always, and what comes back has the metric's own distance.
fn check(docs: &Collection<u64>, metric: &dyn UserMetric, model: &Model, rng: &mut Rng) {
    assert_eq!(docs.len(), model.len() as u64);
    let (mut right, mut asked) = (0, 0);
    for _ in 0..25 {
        let query = vector(metric.name(), rng);
        let mut truth: Vec<f32> = model.values().map(|vector| metric.distance(&query, vector)).collect();
        truth.sort_by(f32::total_cmp);
        let exact = docs.search(&query).k(10).exact().run().unwrap();
        let exact: Vec<f32> = exact.iter().map(|hit| hit.distance).collect();
        assert_eq!(exact, truth[..10.min(truth.len())], "{}", metric.name());
        let hits = docs.search(&query).k(10).ef(100).run().unwrap();
        assert_eq!(hits.len(), exact.len());
        for hit in &hits {
            assert_eq!(hit.distance, metric.distance(&query, &model[&hit.key]));
            right += usize::from(hit.distance <= *exact.last().unwrap());
        }
        asked += exact.len();
        let within = docs.search(&query).exact().within(exact[4]).unwrap();
        assert_eq!(within.len(), truth.iter().filter(|&&distance| distance <= exact[4]).count());
    }
    assert!(right * 100 >= asked * 97, "{}: {right} of {asked}", metric.name());
    for (key, vector) in model.iter().step_by(7) {
        assert_eq!(docs.get(key).unwrap().unwrap().vector, *vector);
    }
}

#[test]
fn the_examples_go_through_everything() {
    let seed = seed("the_examples_go_through_everything");
    for (name, metric) in all() {
        let mut rng = Rng::new(seed);
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
        let store = options().durability(Durability::Buffered).open(&path).unwrap();
        let docs = store.collection::<u64>("docs").dim(DIM).user_metric(name).create().unwrap();
        assert_eq!((docs.metric().name(), docs.info().codes), (name, Codes::None));
        let rows: Vec<Vec<f32>> = (0..1500).map(|_| vector(name, &mut rng)).collect();
        let keys: Vec<u64> = (0..1500).collect();
        docs.put_many(&keys[..1200], &rows[..1200].concat(), None).unwrap();
        for key in 1200..1500 {
            docs.put(key, &rows[key as usize], b"one").unwrap();
        }
        let mut model: Model = keys.iter().copied().zip(rows).collect();
        for key in (0..1500).step_by(6) {
            assert!(docs.remove(key).unwrap());
            model.remove(&key);
            let again = vector(name, &mut rng);
            docs.put(key + 1, &again, b"again").unwrap();
            model.insert(key + 1, again);
        }
        check(&docs, &*metric, &model, &mut rng);
        // As after a kill: everything is in the log.
        crate::support::files::copy(&path, &copy);
        for residency in [Residency::Resident, Residency::Packed] {
            let back = options().residency(residency).open(&copy).unwrap();
            let docs = back.collection::<u64>("docs").user_metric(name).open().unwrap();
            check(&docs, &*metric, &model, &mut rng);
            let report = back.verify().unwrap();
            assert!(report.ok(), "{name}: {:?}", report.problems);
            back.close().unwrap();
        }
        docs.compact().run().unwrap();
        check(&docs, &*metric, &model, &mut rng);
        store.close().unwrap();
        let store = options().open(&path).unwrap();
        check(&store.collection::<u64>("docs").open().unwrap(), &*metric, &model, &mut rng);
        let report = store.verify().unwrap();
        assert!(report.ok(), "{name}: {:?}", report.problems);
    }
}

/// The two hyperbolic ones measure one space: the same points have the same distances in both.
#[test]
fn ball_and_hyperboloid_agree() {
    let mut rng = Rng::new(seed("ball_and_hyperboloid_agree"));
    for _ in 0..1000 {
        let [a, b] = [(); 2].map(|()| vector("poincare", &mut rng).iter().map(|x| 0.7 * x).collect::<Vec<f32>>());
        let lift = |x: &[f32]| -> Vec<f32> {
            let square: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            let head = (1.0 + square) / (1.0 - square);
            std::iter::once(head as f32)
                .chain(x.iter().map(|&x| (2.0 * f64::from(x) / (1.0 - square)) as f32))
                .collect()
        };
        let (ball, hyperboloid) = (Poincare.distance(&a, &b), Lorentzian.distance(&lift(&a), &lift(&b)));
        assert!((ball - hyperboloid).abs() < 2e-3, "{ball}, {hyperboloid}: {a:?} {b:?}");
        assert!(Lorentzian.check(&lift(&a)).is_ok());
    }
    assert!((Poincare.distance(&[0.0], &[0.5]) - 3f32.ln()).abs() < 1e-6);
    assert_eq!(Jaccard.distance(&[1.0, 1.0, 0.0], &[0.0, 1.0, 1.0]), 1.0 - 1.0 / 3.0);
}

#[test]
fn a_metric_has_to_be_registered_under_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    let docs = store.collection::<u64>("docs").dim(2).user_metric("manhattan").create().unwrap();
    docs.put(1, &[1.0, 2.0], b"").unwrap();
    store.collection::<u64>("plain").dim(2).create().unwrap().put(1, &[1.0, 2.0], b"").unwrap();
    let differs = store.collection::<u64>("docs").user_metric("jaccard").open();
    assert!(matches!(differs, Err(Error::SettingDiffers { setting: "metric", .. })), "{differs:?}");
    assert!(matches!(store.collection::<u64>("docs").metric(Metric::L2).open(), Err(Error::SettingDiffers { .. })));
    let unknown = store.collection::<u64>("new").dim(2).user_metric("canberra").create();
    assert!(matches!(unknown, Err(Error::UnknownMetric { ref metric, .. }) if metric == "canberra"), "{unknown:?}");
    let codes = store.collection::<u64>("new").dim(64).user_metric("manhattan").codes(Codes::Eight).create();
    assert!(matches!(codes, Err(Error::Setting(_))), "{codes:?}");
    for name in ["", "l2", "a\nb"] {
        assert!(matches!(store.collection::<u64>("new").dim(2).user_metric(name).create(), Err(Error::Setting(_))));
    }
    drop((docs, store));

    // Everything of the store but that collection is as ever.
    let without = Store::open(dir.path()).unwrap();
    let missing = without.collection::<u64>("docs").open();
    assert!(matches!(missing, Err(Error::UnknownMetric { ref metric, .. }) if metric == "manhattan"), "{missing:?}");
    assert_eq!(without.collection::<u64>("plain").open().unwrap().search(&[1.0, 2.0]).run().unwrap().len(), 1);
    without.close().unwrap();
    assert_eq!(options().open(dir.path()).unwrap().collection::<u64>("docs").open().unwrap().len(), 1);

    struct Named(&'static str);
    impl UserMetric for Named {
        fn name(&self) -> &str {
            self.0
        }
        fn distance(&self, _: &[f32], _: &[f32]) -> f32 {
            0.0
        }
    }
    for bad in ["", "cosine", "01234567890123456789012345678901234567890"] {
        assert!(matches!(Store::options().metric(Named(bad)).open(dir.path()), Err(Error::Setting(_))), "{bad}");
    }
    let twice = Store::options().metric(Named("x")).metric(Named("x")).open(dir.path());
    assert!(matches!(twice, Err(Error::Setting(_))), "{twice:?}");
}

/// After a crash a store with records in the log needs the metric to open, and without it changes nothing.
#[test]
fn recovery_without_the_metric_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
    let store = options().open(&path).unwrap();
    let docs = store.collection::<u64>("docs").dim(2).user_metric("manhattan").create().unwrap();
    docs.put(1, &[1.0, 2.0], b"one").unwrap();
    crate::support::files::copy(&path, &copy);
    let refused = Store::open(&copy);
    assert!(matches!(refused, Err(Error::UnknownMetric { .. })), "{refused:?}");
    let back = options().open(&copy).unwrap();
    let docs = back.collection::<u64>("docs").open().unwrap();
    assert_eq!(docs.search(&[0.0, 0.0]).with_payloads().run().unwrap()[0].payload.as_deref(), Some(&b"one"[..]));
}

#[test]
fn other_elements_and_vectors_without_distances() {
    let data = Data::load();
    let store = options().open_on(Arc::new(lodestore::disk::MemDisk::new()), "memory").unwrap();
    for element in [Element::F16, Element::Bf16, Element::I8, Element::U8] {
        let docs = store.collection::<u64>(element.name()).dim(384).element(element);
        let docs = docs.user_metric("manhattan").create().unwrap();
        let whole = |row: usize| -> Vec<f32> {
            let scale = |x: &f32| (x * 200.0).clamp(-100.0, 100.0).round();
            data.glosses
                .vector(row)
                .iter()
                .map(|x| if element == Element::U8 { scale(x).abs() } else { scale(x) })
                .collect()
        };
        let rows: Vec<f32> = (0..500).flat_map(whole).collect();
        docs.put_many(&(0..500).collect::<Vec<u64>>(), &rows, None).unwrap();
        for row in (0..500).step_by(31) {
            let (query, hits) = (whole(row), docs.search(&whole(row)).k(3).run().unwrap());
            assert_eq!((hits[0].key, hits[0].distance), (row as u64, 0.0), "{element}");
            assert_eq!(hits[2].distance, Manhattan.distance(&query, &whole(hits[2].key as usize)), "{element}");
        }
    }
    let sets = store.collection::<u64>("sets").dim(12).element(Element::Bits).user_metric("jaccard").create().unwrap();
    sets.put_many(&[1, 2], Bits(&[0b111, 0, 0b1000, 0b1000]), None).unwrap();
    let hits = sets.search(Bits(&[0b11, 0])).run().unwrap();
    assert_eq!(hits.iter().map(|hit| (hit.key, hit.distance)).collect::<Vec<_>>(), [(1, 1.0 - 2.0 / 3.0), (2, 1.0)]);

    let ball = store.collection::<u64>("ball").dim(2).user_metric("poincare").create().unwrap();
    ball.put(1, &[0.5, 0.5], b"").unwrap();
    match ball.put_many(&[2, 3], &[0.1, 0.1, 1.0, 1.0], None) {
        Err(Error::NoDistance { row: 1, metric, reason }) => {
            assert!(metric == "poincare" && reason.contains("below 1"))
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(ball.search(&[2.0, 0.0]).run(), Err(Error::NoDistance { row: 0, .. })));
    assert!(matches!(ball.put(1, &[f32::NAN, 0.0], b""), Err(Error::NotFinite { .. })));
    assert_eq!((ball.len(), ball.get(2).unwrap()), (1, None));
}

/// Once it is told to, gives nonsense and panics: answers are as good as they can be, records are all there.
#[test]
fn a_metric_that_misbehaves_spoils_answers_only() {
    struct Moody(Arc<AtomicBool>);
    impl UserMetric for Moody {
        fn name(&self) -> &str {
            "moody"
        }
        fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
            let distance = Manhattan.distance(a, b);
            match (distance.to_bits() % 5, self.0.load(Ordering::Relaxed) && distance != 0.0) {
                (0, true) => f32::NAN,
                // Unwinds as a panic does, and says nothing.
                (1, true) => std::panic::resume_unwind(Box::new("on purpose")),
                (2, true) => f32::NEG_INFINITY,
                _ => distance,
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let wild = Arc::new(AtomicBool::new(false));
    let store = Store::options().metric(Moody(wild.clone())).open(dir.path()).unwrap();
    let docs = store.collection::<u64>("docs").dim(4).user_metric("moody").create().unwrap();
    let mut rng = Rng::new(seed("a_metric_that_misbehaves_spoils_answers_only"));
    let rows: Vec<Vec<f32>> = (0..400).map(|_| rng.vector(4)).collect();
    docs.put_many(&(0..200).collect::<Vec<u64>>(), &rows[..200].concat(), None).unwrap();
    wild.store(true, Ordering::Relaxed);
    docs.put_many(&(200..350).collect::<Vec<u64>>(), &rows[200..350].concat(), None).unwrap();
    (350..400).for_each(|key| docs.put(key, &rows[key as usize], b"").unwrap());
    assert_eq!(docs.search(&rows[0]).k(400).run().unwrap().len(), 400);
    assert_eq!(docs.search(&rows[0]).stream().unwrap().count(), 400);
    wild.store(false, Ordering::Relaxed);
    for (key, row) in rows.iter().enumerate() {
        assert_eq!(docs.get(key as u64).unwrap().unwrap().vector, *row);
        assert_eq!(docs.search(row).k(1).exact().run().unwrap()[0].key, key as u64);
    }
    store.checkpoint().unwrap();
    assert!(store.verify().unwrap().problems.is_empty());
    docs.compact().run().unwrap();
    assert!(store.verify().unwrap().problems.is_empty());
}

/// Sums of `u8` are whole numbers, exact as long as `f32` has them; and `f32` comes back bit for bit.
#[test]
fn whole_numbers_are_compared_exactly() {
    let mut rng = Rng::new(seed("whole_numbers_are_compared_exactly"));
    let store = Store::in_memory().unwrap();
    for dim in [1, 3, 16, 31, 64, 100, 128, 257] {
        let docs = store.collection::<u64>(&format!("u8 {dim}")).dim(dim).element(Element::U8).create().unwrap();
        let rows: Vec<Vec<u8>> = (0..200).map(|_| (0..dim).map(|_| rng.next() as u8).collect()).collect();
        docs.put_many(&(0..200).collect::<Vec<u64>>(), &rows.concat(), None).unwrap();
        for query in &rows[..20] {
            let l2 =
                |row: &[u8]| -> u32 { query.iter().zip(row).map(|(&a, &b)| u32::from(a.abs_diff(b)).pow(2)).sum() };
            for exact in [true, false] {
                let search = docs.search(query).k(200).ef(200);
                let hits = if exact { search.exact().run() } else { search.run() }.unwrap();
                for hit in &hits {
                    assert_eq!(f64::from(hit.distance), f64::from(l2(&rows[hit.key as usize]) as f32), "dim {dim}");
                }
                let truth: Vec<u32> = hits.iter().map(|hit| l2(&rows[hit.key as usize])).collect();
                assert!(truth.is_sorted() && hits.len() == 200, "dim {dim}");
            }
        }
        assert!(dim > 257 || 255 * 255 * dim < 1 << 24, "so every sum is a whole f32");
    }
    let docs = store.collection::<u64>("bits of f32").dim(4).create().unwrap();
    let odd = [-0.0f32, f32::from_bits(1), f32::from_bits(0x8000_0001), f32::MIN_POSITIVE / 3.0];
    docs.put(1, &odd, b"").unwrap();
    for key in 2..200 {
        let row: Vec<f32> = (0..4).map(|_| f32::from_bits(rng.next() as u32 & 0x9FFF_FFFF)).collect();
        docs.put(key, &row, b"").unwrap();
        let got = docs.get(key).unwrap().unwrap().vector;
        assert!(got.iter().map(|x| x.to_bits()).eq(row.iter().map(|x| x.to_bits())), "{row:?}, {got:?}");
    }
    let got = docs.get(1).unwrap().unwrap().vector;
    assert!(got.iter().map(|x| x.to_bits()).eq(odd.iter().map(|x| x.to_bits())), "{got:?}");
}
