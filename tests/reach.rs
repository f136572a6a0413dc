//! Every live record can be found: after building in each way, by its own vector; among copies of one vector; far
//! away from all others; of any length under inner products. What removals do to it is in `reach/removal.rs`.

use crate::support::data::Data;
use crate::support::model::{Model, Rng, distance, seed};
use lodestore::disk::MemDisk;
use lodestore::{Codes, Collection, Durability, Metric, Store};
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

mod removal;

/// What a search keeps by default.
const EF: usize = 64;
const K: usize = 10;
/// What may find a record that [`EF`] does not.
const MORE: [usize; 5] = [128, 256, 512, 1024, 4096];

/// Vectors in the order in which they are put; each has its place as its key.
type Rows<'a> = Vec<&'a [f32]>;

/// Halves of all vectors, so twice as many: first halves and second ones by turns.
fn halves(vectors: &[f32], dim: usize) -> Rows<'_> {
    vectors.chunks_exact(dim / 2).collect()
}

fn store(threads: usize) -> Store {
    let options = Store::options().threads(threads).durability(Durability::Buffered);
    options.open_on(Arc::new(MemDisk::new()), "memory").unwrap()
}

fn model(rows: &Rows<'_>) -> Model {
    let mut model = Model::default();
    (0..).zip(rows).for_each(|(key, vector)| model.put(key, vector, b""));
    model
}

fn put_many(docs: &Collection<u64>, rows: &Rows<'_>) {
    let keys: Vec<u64> = (0..rows.len() as u64).collect();
    docs.put_many(&keys, &rows.concat(), None).unwrap();
}

/// A collection of `rows`, put by `put_many`.
fn build(rows: &Rows<'_>, metric: Metric, codes: Codes, threads: usize) -> (Store, Collection<u64>) {
    let store = store(threads);
    let docs = store.collection::<u64>("docs").dim(rows[0].len()).metric(metric).codes(codes).create().unwrap();
    put_many(&docs, rows);
    (store, docs)
}

/// How much of a collection can be found.
#[derive(Clone, Debug, Default, PartialEq)]
struct Reach {
    /// Keys whose own vector finds neither them nor a copy of them, each with the least of [`MORE`] that does.
    lost: Vec<(u64, Option<usize>)>,
    /// As `verify` counts them.
    unreachable: u64,
    no_in_links: u64,
}

impl Reach {
    /// Searches for the vector of every record; verifies the store, which holds one collection.
    fn of(store: &Store, docs: &Collection<u64>, model: &Model) -> Self {
        // First: it waits for what is to be linked after a crash.
        let report = store.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
        assert_eq!(docs.len(), model.0.len() as u64);
        let found = |vector: &[f32], ef: usize| {
            let hits = docs.search(vector).k(1).ef(ef).run().unwrap();
            let own = distance(docs.metric(), vector, vector);
            hits.iter().any(|hit| f64::from(hit.distance) <= own + 1e-5)
        };
        let lost = model.0.iter().filter(|(_, (vector, _))| !found(vector, EF));
        let lost = lost.map(|(&key, (vector, _))| (key, MORE.into_iter().find(|&ef| found(vector, ef)))).collect();
        let report = &report.collections[0];
        Self { lost, unreachable: report.unreachable, no_in_links: report.no_in_links }
    }

    /// Prints what it is, and says whether everything is found.
    #[track_caller]
    fn check(&self, what: &str) {
        let Self { lost, unreachable, no_in_links } = self;
        println!("{what}: {} lost, {unreachable} unreachable, {no_in_links} without an in-link", lost.len());
        assert_eq!(*self, Self::default(), "{what}");
    }
}

/// The share of the true ten nearest that are found; a copy at the same distance is as good.
fn recall<'q>(docs: &Collection<u64>, model: &Model, queries: impl IntoIterator<Item = &'q [f32]>, ef: usize) -> f64 {
    let (mut found, mut all) = (0, 0);
    for query in queries {
        let exact = model.nearest(docs.metric(), query, K);
        let farthest = exact.last().copied().unwrap_or(f64::NEG_INFINITY);
        let hits = docs.search(query).k(K).ef(ef).run().unwrap();
        assert_eq!(hits.len(), exact.len());
        found += hits.iter().filter(|hit| f64::from(hit.distance) <= farthest + 1e-5 * farthest.abs().max(1.0)).count();
        all += exact.len();
    }
    if all == 0 { 1.0 } else { found as f64 / all as f64 }
}

/// How a walk compares, and by what.
const KINDS: [(Metric, Codes); 4] = [
    (Metric::Cosine, Codes::Auto),
    (Metric::Cosine, Codes::None),
    (Metric::L2, Codes::Eight),
    (Metric::L2, Codes::None),
];

fn built_by(how: &str, put: impl Fn(&Store, &Collection<u64>, &Rows<'_>)) {
    let data = Data::load();
    let rows: Rows<'_> = data.glosses.vectors().chunks_exact(data.glosses.dim).collect();
    let model = model(&rows);
    let mut wrong = Vec::new();
    for (metric, codes) in KINDS {
        let store = store(2);
        let docs = store.collection::<u64>("docs").dim(data.glosses.dim).metric(metric).codes(codes).create().unwrap();
        put(&store, &docs, &rows);
        let reach = Reach::of(&store, &docs, &model);
        println!("{how}, {metric}, {codes:?}: {reach:?}");
        if reach != Reach::default() {
            wrong.push((metric, codes, reach));
        }
    }
    assert!(wrong.is_empty(), "{how}: {wrong:?}");
}

#[test]
fn records_put_one_by_one_are_found() {
    built_by("one by one", |_, docs, rows| {
        (0..).zip(rows).for_each(|(key, vector)| docs.put(key, *vector, b"").unwrap());
    });
}

#[test]
fn records_put_in_one_batch_are_found() {
    built_by("one batch", |store, docs, rows| {
        let mut batch = store.batch();
        (0..).zip(rows).for_each(|(key, vector)| batch.put(docs, key, *vector, b"").unwrap());
        batch.commit().unwrap();
    });
}

#[test]
fn records_put_many_at_a_time_are_found() {
    built_by("many at a time", |_, docs, rows| put_many(docs, rows));
}

#[test]
fn records_put_by_several_threads_are_found() {
    built_by("four threads", |_, docs, rows| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let mine = (0..).zip(rows).skip(thread).step_by(4);
                scope.spawn(|| mine.for_each(|(key, vector): (u64, _)| docs.put(key, *vector, b"").unwrap()));
            }
        });
    });
}

const COPIES: usize = 1000;

/// 10,000 vectors, and one that is none of them.
fn others_and_one(data: &Data) -> (Rows<'_>, &[f32]) {
    let dim = data.queries.dim / 2;
    (halves(data.glosses.vectors(), data.glosses.dim), &data.queries.vector(0)[..dim])
}

fn between<'a>(others: Rows<'a>, copies: Rows<'a>) -> Rows<'a> {
    let (step, mut copies) = (others.len() / copies.len(), copies.into_iter());
    others.chunks(step).flat_map(|some| some.iter().copied().chain(copies.next()).collect::<Vec<_>>()).collect()
}

/// The first copy is the entry point for long.
fn first<'a>(others: Rows<'a>, copies: Rows<'a>) -> Rows<'a> {
    [copies, others].concat()
}

fn last<'a>(others: Rows<'a>, copies: Rows<'a>) -> Rows<'a> {
    [others, copies].concat()
}

/// How copies and others are mixed.
type Mix = for<'a> fn(Rows<'a>, Rows<'a>) -> Rows<'a>;

/// No more candidates than copies asked for are needed, so the default `ef`, which then is `k`, is enough.
#[test]
fn a_thousand_copies_are_all_found() {
    let data = Data::load();
    let (others, copied) = others_and_one(&data);
    for (order, mix) in [("between", between as Mix), ("first", first), ("last", last)] {
        let rows = mix(others.clone(), vec![copied; COPIES]);
        let (_store, docs) = build(&rows, Metric::Cosine, Codes::Auto, 1);
        let hits = docs.search(copied).k(COPIES).run().unwrap();
        let copies: HashSet<u64> = hits.iter().map(|hit| hit.key).filter(|&key| rows[key as usize] == copied).collect();
        assert_eq!(copies.len(), COPIES, "{order}");
    }
}

/// 1,000 copies of one vector and 10,000 others, all of which are found as without the copies.
fn copies_hide_nothing(order: &str, threads: usize, mix: Mix) {
    let data = Data::load();
    let (others, copied) = others_and_one(&data);
    let rows = mix(others.clone(), vec![copied; COPIES]);
    assert_eq!(rows.len(), others.len() + COPIES);
    let queries = halves(data.queries.vectors(), data.queries.dim);
    let measured = |rows: &Rows<'_>| {
        let (store, docs) = build(rows, Metric::Cosine, Codes::Auto, threads);
        let model = model(rows);
        // Not the vector that is copied, and every second of the rest.
        let asked = queries.iter().copied().skip(1).step_by(2);
        (recall(&docs, &model, asked, EF), Reach::of(&store, &docs, &model))
    };
    let ((found, reach), (without, usual)) = (measured(&rows), measured(&others));
    println!(
        "copies {order}, {threads} threads: recall {found:.4}, {} lost; without copies {without:.4}, {} lost",
        reach.lost.len(),
        usual.lost.len()
    );
    assert_eq!(usual, Reach::default(), "without copies");
    assert!(found >= without - 0.005, "recall is {found}, without the copies {without}");
    assert_eq!(reach, Reach::default());
}

#[test]
fn copies_between_the_others_hide_nothing() {
    copies_hide_nothing("between", 1, between);
}

#[test]
fn copies_between_the_others_put_by_two_threads_hide_nothing() {
    copies_hide_nothing("between", 2, between);
}

#[test]
fn copies_that_come_first_hide_nothing() {
    copies_hide_nothing("first", 1, first);
}

#[test]
fn copies_that_come_last_hide_nothing() {
    copies_hide_nothing("last", 1, last);
}

/// Vectors far away from all others, and whether everything is found. They come first, last, or evenly between.
fn far_away(what: &str, metric: Metric, far: &[Vec<f32>]) {
    let data = Data::load();
    let near: Rows<'_> = data.glosses.vectors().chunks_exact(data.glosses.dim).take(3000).collect();
    let far: Rows<'_> = far.iter().map(|vector| &vector[..]).collect();
    let mut wrong = Vec::new();
    for codes in [Codes::None, Codes::Eight] {
        for (order, rows) in [
            ("first", first(near.clone(), far.clone())),
            ("last", last(near.clone(), far.clone())),
            ("between", between(near.clone(), far.clone())),
        ] {
            assert_eq!(rows.len(), near.len() + far.len());
            let (store, docs) = build(&rows, metric, codes, 1);
            let mut reach = Reach::of(&store, &docs, &model(&rows));
            // Nearly all are found at once, the others with some more candidates.
            assert!(reach.lost.len() <= 3, "{what} {order}: {reach:?}");
            reach.lost.retain(|(_, found_at)| found_at.is_none_or(|ef| ef > 4 * EF));
            let lost_far = reach.lost.iter().filter(|(key, _)| far.contains(&rows[*key as usize])).count();
            println!("{what} {order}, {metric}, {codes:?}: {lost_far} of {} of them lost, {reach:?}", far.len());
            if reach != Reach::default() {
                wrong.push((order, codes, reach));
            }
        }
    }
    assert!(wrong.is_empty(), "{what}: {wrong:?}");
}

#[test]
fn outliers_each_on_its_own_are_found() {
    let glosses = Data::load().glosses;
    let stretched = |n: usize| glosses.vector(3000 + n).iter().map(|x| x * (10.0 + n as f32)).collect();
    far_away("outliers", Metric::L2, &(0..50).map(stretched).collect::<Vec<Vec<f32>>>());
}

#[test]
fn outliers_in_one_crowd_are_found() {
    let glosses = Data::load().glosses;
    // As near to each other as glosses are, and all a hundred times as far from the rest.
    let moved = |n: usize| glosses.vector(3000 + n).iter().map(|x| x + 5.0).collect();
    far_away("a crowd", Metric::L2, &(0..50).map(moved).collect::<Vec<Vec<f32>>>());
}

#[test]
fn outliers_in_direction_are_found() {
    let glosses = Data::load().glosses;
    let turned = |n: usize| glosses.vector(3000 + n).iter().map(|x| -x).collect();
    far_away("opposites", Metric::Cosine, &(0..50).map(turned).collect::<Vec<Vec<f32>>>());
}

/// Vectors of lengths between 0.1 and 10, spread evenly, or evenly by their logarithm.
fn of_any_length(data: &Data, logarithm: bool) -> Vec<Vec<f32>> {
    let mut rng = Rng::new(11);
    let mut factor = || {
        let at = rng.below(1 << 20) as f32 / (1 << 20) as f32;
        if logarithm { 0.1 * 100f32.powf(at) } else { 0.1 + 9.9 * at }
    };
    data.glosses
        .vectors()
        .chunks_exact(data.glosses.dim)
        .map(|vector| {
            let factor = factor();
            vector.iter().map(|x| x * factor).collect()
        })
        .collect()
}

fn inner_products(check: impl Fn(&str, &Store, &Collection<u64>, &Model, &Data)) {
    let data = Data::load();
    for (logarithm, how) in [(false, "evenly"), (true, "evenly by their logarithm")] {
        let stretched = of_any_length(&data, logarithm);
        let rows: Rows<'_> = stretched.iter().map(|vector| &vector[..]).collect();
        for codes in [Codes::Auto, Codes::None] {
            let (store, docs) = build(&rows, Metric::InnerProduct, codes, 1);
            check(&format!("lengths spread {how}, {codes:?}"), &store, &docs, &model(&rows), &data);
        }
    }
}

/// Lengths differ a hundredfold, so a few long vectors are near to most queries. An `ef` of 64 finds 0.995 of the true
/// ones here.
#[test]
fn inner_products_find_vectors_of_any_length() {
    inner_products(|what, _, docs, model, data| {
        let recalls = [EF, 2 * EF].map(|ef| {
            let queries = data.queries.vectors().chunks_exact(data.queries.dim);
            recall(docs, model, queries, ef)
        });
        println!("{what}: recall {recalls:?}");
        assert!(recalls[0] >= 0.95 && recalls[1] >= 0.99, "{what}: recall {recalls:?}");
    });
}

/// The short ones too: a search for many, or of what is left when the long ones have been removed, wants them.
#[test]
fn inner_products_leave_nothing_out_of_reach() {
    let wrong = RefCell::new(Vec::new());
    inner_products(|what, store, docs, model, _| {
        let report = store.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
        let about = &report.collections[0];
        let query = model.0[&0].0.clone();
        let all = docs.search(&query).k(model.0.len()).run().unwrap().len();
        println!("{what}: {} unreachable, {} without an in-link, {all} found", about.unreachable, about.no_in_links);
        if (about.unreachable, about.no_in_links, all) != (0, 0, model.0.len()) {
            wrong.borrow_mut().push((what.to_owned(), about.unreachable, about.no_in_links, all));
        }
    });
    assert!(wrong.borrow().is_empty(), "{:?}", wrong.borrow());
}

/// Copies that are replaced by what they hide: nothing of it is out of reach at any moment, before they are unlinked and
/// after.
#[test]
fn copies_that_are_all_replaced_leave_no_gap() {
    let data = Data::load();
    let dim = data.glosses.dim;
    for (codes, one_by_one) in [(Codes::None, false), (Codes::Auto, false), (Codes::None, true), (Codes::Auto, true)] {
        let store = Store::in_memory().unwrap();
        let docs = store.collection::<u64>("docs").dim(dim).metric(Metric::L2).codes(codes).create().unwrap();
        let keys: Vec<u64> = (0..100).collect();
        docs.put_many(&keys, &vec![0f32; 100 * dim][..], None).unwrap();
        let unreachable = || {
            let report = store.verify().unwrap();
            assert!(report.ok(), "{:?}", report.problems);
            report.collections[0].unreachable
        };
        if one_by_one {
            for &key in &keys {
                docs.put(key, data.glosses.vector(key as usize), b"").unwrap();
                assert_eq!(unreachable(), 0, "{codes:?}, with {key}");
            }
        } else {
            docs.put_many(&keys, &data.glosses.vectors()[..100 * dim], None).unwrap();
        }
        assert_eq!(unreachable(), 0, "{codes:?}, one by one {one_by_one}");
        store.checkpoint().unwrap();
        assert_eq!(unreachable(), 0, "{codes:?}, one by one {one_by_one}, after the checkpoint");
        for &key in &keys {
            let hits = docs.search(data.glosses.vector(key as usize)).k(1).run().unwrap();
            assert_eq!(hits[0].key, key, "{codes:?}");
        }
    }
}

/// Short lists, so that each link that one of them gives up is dear; many copies; vectors of any length. After each of
/// a few thousand writes, of one record or of many, all records are within reach.
#[test]
fn no_write_leaves_anything_out_of_reach() {
    let data = Data::load();
    let (dim, seed) = (16, crate::support::model::seed("reach after each write"));
    let mut rng = Rng::new(seed);
    for (metric, codes) in [(Metric::L2, Codes::None), (Metric::InnerProduct, Codes::None), (Metric::L2, Codes::Eight)]
    {
        let dim = if codes == Codes::Eight { 32 } else { dim };
        let options = Store::options().durability(Durability::Buffered).maintenance(false).background(false);
        let store = options.open_on(Arc::new(MemDisk::new()), "memory").unwrap();
        let docs = store.collection::<u64>("docs").dim(dim).metric(metric).codes(codes).m(4).ef_construction(12);
        let docs = docs.create().unwrap();
        let vector = |rng: &mut Rng| {
            // One in three is a copy of one of few, or nearly.
            let row = if rng.one_in(3) { rng.below(4) } else { rng.below(data.glosses.len()) };
            let factor = if rng.one_in(2) { 1.0 } else { 0.1 + rng.below(100) as f32 / 10.0 };
            data.glosses.vector(row)[..dim].iter().map(|x| x * factor).collect::<Vec<f32>>()
        };
        let mut keys = 0;
        for write in 0..700 {
            match rng.below(10) {
                0 => {
                    let some: Vec<u64> = (0..2 + rng.within(0..40)).map(|_| rng.within(0..keys + 30)).collect();
                    let rows: Vec<f32> = some.iter().flat_map(|_| vector(&mut rng)).collect();
                    docs.put_many(&some, &rows, None).unwrap();
                    keys += 30;
                }
                1 => drop(docs.remove(rng.within(0..keys + 1)).unwrap()),
                _ => {
                    docs.put(rng.within(0..keys + 3), &vector(&mut rng), b"").unwrap();
                    keys += 1;
                }
            }
            // The more there is the less often.
            if write < 150 || write % 10 == 0 {
                let report = store.verify().unwrap();
                assert!(report.ok(), "{:?}", report.problems);
                let found = &report.collections[0];
                assert!(found.unreachable_by_level.iter().all(|&n| n == 0), "{metric}, {codes:?}, {write}: {found:?}");
            }
        }
    }
}

/// With four links a node, walks from one side may not come to what walks from the other do; with room for all records a
/// search answers as if it compared with each.
#[test]
fn an_ef_of_all_records_finds_exactly() {
    let data = Data::load();
    let mut rng = Rng::new(seed("an_ef_of_all_records_finds_exactly"));
    for metric in [Metric::L2, Metric::Cosine] {
        let store = store(1);
        let docs = store.collection::<u64>("docs").dim(6).metric(metric).m(2).ef_construction(20).create().unwrap();
        for _ in 0..1500 {
            let key = rng.within(0..300);
            if rng.one_in(4) {
                docs.remove(key).unwrap();
            } else {
                docs.put(key, &data.glosses.vector(rng.below(data.glosses.len()))[..6], b"").unwrap();
            }
        }
        for _ in 0..200 {
            let query = &data.glosses.vector(rng.below(data.glosses.len()))[6..12];
            let found = |exact: bool| {
                let search = docs.search(query).k(20).ef(300);
                let hits = if exact { search.exact() } else { search }.run().unwrap();
                hits.iter().map(|hit| (hit.key, hit.distance)).collect::<Vec<_>>()
            };
            assert_eq!(found(false), found(true), "{metric}");
        }
    }
}
