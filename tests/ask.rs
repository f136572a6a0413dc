//! More ways to ask: streams, radii, conditions, groups, deadlines, and a search for what is stored.

use crate::support::data::Data;
use crate::support::model::{Rng, seed};
use lodestore::{Codes, Collection, Control, Documents, Error, Hit, Metric, Radius, Store, Verdict};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The glosses under their row numbers; some replaced and removed, so that dead slots lie between.
fn glosses(data: &Data, store: &Store, codes: Codes, metric: Metric) -> Collection<u64> {
    let docs = store.collection::<u64>("glosses").dim(data.glosses.dim).metric(metric).codes(codes).create().unwrap();
    let keys: Vec<u64> = (0..data.glosses.len() as u64).collect();
    docs.put_many(&keys, data.glosses.vectors(), None).unwrap();
    for key in (0..500).step_by(5) {
        docs.put(key, data.glosses.vector(key as usize), b"again").unwrap();
        assert!(docs.remove(key + 1).unwrap());
    }
    docs
}

fn keys<'a>(hits: impl IntoIterator<Item = &'a Hit<u64>>) -> Vec<u64> {
    hits.into_iter().map(|hit| hit.key).collect()
}

#[test]
fn a_stream_gives_every_record_once_and_the_nearest_first() {
    let data = Data::load();
    for (codes, metric) in
        [(Codes::Auto, Metric::Cosine), (Codes::None, Metric::L2), (Codes::Auto, Metric::InnerProduct)]
    {
        let store = Store::in_memory().unwrap();
        let docs = glosses(&data, &store, codes, metric);
        let (mut right, mut in_order) = (0, 0);
        for row in 0..20 {
            let query = data.queries.vector(row);
            let exact = docs.search(query).k(5000).exact().run().unwrap();
            assert_eq!(exact.len(), 4900);
            let mut stream = docs.search(query).stream().unwrap();
            let first: Vec<Hit<u64>> = stream.by_ref().take(100).map(Result::unwrap).collect();
            let truth: HashSet<u64> = exact.iter().take(100).map(|hit| hit.key).collect();
            right += first.iter().filter(|hit| truth.contains(&hit.key)).count();
            in_order += first.windows(2).filter(|pair| pair[0].distance <= pair[1].distance).count();
            let work = stream.stats();
            assert!(work.distances < 4900 && work.complete, "100 of 5,000 records: {work:?}");
            let mut all: BTreeMap<u64, f32> = first.iter().map(|hit| (hit.key, hit.distance)).collect();
            for hit in stream.by_ref() {
                let hit = hit.unwrap();
                assert!(all.insert(hit.key, hit.distance).is_none(), "{} came twice", hit.key);
            }
            assert!(stream.next().is_none() && stream.stats().complete);
            assert_eq!(all, exact.iter().map(|hit| (hit.key, hit.distance)).collect());
            assert!(stream.stats().distances <= 2 * 5100, "{:?}", stream.stats());
            // Exact: in order to the end.
            let exactly = docs.search(query).exact().stream().unwrap();
            let exactly: Vec<f32> = exactly.map(|hit| hit.unwrap().distance).collect();
            assert_eq!(exactly, exact.iter().map(|hit| hit.distance).collect::<Vec<_>>());
        }
        println!("{metric}: {right} of 2000 right, {in_order} of 1980 in order");
        let enough = if metric == Metric::InnerProduct { 1900 } else { 1960 };
        assert!(right >= enough && in_order >= 1960, "{metric}: {right} right, {in_order} in order");
    }
}

#[test]
fn a_stream_of_some_records_only() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = glosses(&data, &store, Codes::Auto, Metric::Cosine);
    for every in [2, 40, 2000] {
        let keep = |key: u64| key.is_multiple_of(every);
        let query = data.queries.vector(7);
        let exact = docs.search(query).k(5000).filter(&keep).exact().run().unwrap();
        let mut found: Vec<u64> = docs.search(query).filter(&keep).stream().unwrap().map(|h| h.unwrap().key).collect();
        let mut truth = keys(&exact);
        assert!(found[0] == truth[0] && found.iter().all(|&key| keep(key)));
        found.sort_unstable();
        truth.sort_unstable();
        assert_eq!(found, truth, "one of {every}");
    }
    // Without the filter it borrows nothing and goes to another thread.
    let none = |_: u64| false;
    let stream = docs.search(data.queries.vector(1)).filter(&none).stream().unwrap().without_filter();
    assert_eq!(std::thread::spawn(move || stream.take(3).count()).join().unwrap(), 3);
}

#[test]
fn streams_find_what_recovery_has_not_linked_yet() {
    let data = Data::load();
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
    let store = Store::options().background(false).open(&path).unwrap();
    let docs = glosses(&data, &store, Codes::Auto, Metric::Cosine);
    crate::support::files::copy(&path, &copy);
    let there = docs.len();
    drop((docs, store));
    // Linking goes on in the background.
    let store = Store::open(&copy).unwrap();
    let docs = store.collection::<u64>("glosses").open().unwrap();
    let query = data.queries.vector(3);
    println!("{} not linked yet", docs.info().unlinked);
    let first: Vec<u64> = docs.search(query).stream().unwrap().take(10).map(|hit| hit.unwrap().key).collect();
    assert_eq!(first, keys(&docs.search(query).exact().run().unwrap()));
    assert_eq!(docs.search(query).stream().unwrap().count() as u64, there);
}

#[test]
fn streams_go_on_beside_writes() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = glosses(&data, &store, Codes::Auto, Metric::Cosine);
    let mut stream = docs.search(data.queries.vector(0)).stream().unwrap();
    let mut seen: HashSet<u64> = stream.by_ref().take(50).map(|hit| hit.unwrap().key).collect();
    for key in 1000..2000u64 {
        match key % 3 {
            0 => drop(docs.remove(key).unwrap()),
            1 => docs.put(key, data.glosses.vector(key as usize), b"new").unwrap(),
            _ => docs.put(key + 10_000, data.glosses.vector(key as usize), b"new").unwrap(),
        }
    }
    store.checkpoint().unwrap();
    docs.compact().run().unwrap();
    for hit in stream {
        let hit = hit.unwrap();
        assert!(seen.insert(hit.key), "{} came twice", hit.key);
    }
    // Whatever was there all the time has come.
    let missing = (0..5000u64).filter(|key| docs.contains(key).unwrap() && !seen.contains(key)).count();
    assert_eq!(missing, 0);
    let closed = docs.search(data.queries.vector(0)).stream().unwrap();
    store.close().unwrap();
    let ends: Vec<_> = closed.collect();
    assert!(matches!(ends[..], [Err(Error::Closed)]), "{ends:?}");
}

#[test]
fn everything_within_a_radius_is_found() {
    let data = Data::load();
    for metric in [Metric::Cosine, Metric::L2, Metric::InnerProduct] {
        let store = Store::in_memory().unwrap();
        let docs = glosses(&data, &store, Codes::Auto, metric);
        let (mut found, mut there) = (0, 0);
        for row in 0..100 {
            let query = data.queries.vector(row);
            let exact = docs.search(query).k(5000).exact().run().unwrap();
            for rank in [0, 5, 60, 3000] {
                let radius = exact[rank].distance;
                let truth: HashSet<u64> =
                    exact.iter().filter(|hit| hit.distance <= radius).map(|hit| hit.key).collect();
                let hits = docs.search(query).within(radius).unwrap();
                assert!(hits.iter().all(|hit| truth.contains(&hit.key)));
                assert!(hits.iter().is_sorted_by(|a, b| a.distance <= b.distance));
                (found, there) = (found + hits.len(), there + truth.len());
                let exactly = docs.search(query).exact().within(radius).unwrap();
                assert_eq!(exactly.len(), truth.len());
                assert_eq!(docs.search(query).k(4).within(radius).unwrap().len(), truth.len().min(4));
                if rank == 3000 {
                    assert_eq!(hits.len(), truth.len(), "so many that all were compared");
                }
            }
            let nothing = docs.search(query).within(exact[0].distance - 0.001).unwrap();
            assert!(nothing.is_empty() && nothing.stats().complete);
        }
        println!("{metric}: {found} of {there} within");
        assert!(found * 1000 >= there * 995, "{metric}: {found} of {there}");
        assert!(matches!(docs.search(data.queries.vector(0)).within(f32::NAN), Err(Error::Setting(_))));
    }
}

/// The epsilon search of hnswlib: at least so many candidates, at most so many hits.
#[test]
fn a_radius_with_bounds_on_candidates() {
    let seed = seed("a_radius_with_bounds_on_candidates");
    let mut rng = Rng::new(seed);
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("docs").dim(16).create().unwrap();
    let rows: Vec<f32> = (0..10_000).flat_map(|_| rng.vector(16)).collect();
    docs.put_many(&(0..10_000).collect::<Vec<u64>>(), &rows, None).unwrap();
    for _ in 0..20 {
        let query = rng.vector(16);
        let exact = docs.search(&query).k(10_000).exact().run().unwrap();
        let radius = exact[200].distance;
        let all = docs.search(&query).ef(100).stop_when(Radius::new(radius).min_candidates(100)).unwrap();
        assert!(all.len() <= 201 && all.len() >= 190, "{} of 201", all.len());
        let bounded = docs.search(&query).stop_when(Radius::new(radius).max_candidates(30)).unwrap();
        // A walk may come upon one of them late.
        let (bounded, nearest) = (keys(&bounded), keys(all.iter().take(30)));
        assert!(bounded.len() == 30 && bounded.iter().filter(|key| nearest.contains(key)).count() >= 27);
        // Nothing is so near, and still enough is looked at.
        let few = docs.search(&query).stop_when(Radius::new(exact[0].distance / 2.0).min_candidates(50)).unwrap();
        assert!(few.is_empty());
        assert!(docs.search(&query).stop_when(Radius::new(radius).max_candidates(0)).unwrap().is_empty());
    }
}

/// Documents of several vectors each, told by key or by payload.
#[test]
fn documents_are_found_by_their_nearest_vector() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("parts").dim(data.glosses.dim).metric(Metric::Cosine).create().unwrap();
    let of = |key: u64| key * 7919 % 400;
    for key in 0..3000u64 {
        docs.put(key, data.glosses.vector(key as usize), &of(key).to_le_bytes()).unwrap();
    }
    let mut right = 0;
    for row in 0..50 {
        let query = data.queries.vector(row);
        let mut truth: Vec<u64> = Vec::new();
        for hit in &docs.search(query).k(3000).exact().run().unwrap() {
            if !truth.contains(&of(hit.key)) {
                truth.push(of(hit.key));
            }
        }
        truth.truncate(5);
        let groups = docs.search(query).k(5).group_by(2, |hit| of(hit.key)).unwrap().groups;
        let ids: Vec<u64> = groups.iter().map(|group| group.id).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 5);
        for group in &groups {
            assert!((1..=2).contains(&group.hits.len()) && group.hits.iter().all(|hit| of(hit.key) == group.id));
            assert!(group.hits.is_sorted_by(|a, b| a.distance <= b.distance));
        }
        right += ids.iter().filter(|id| truth.contains(id)).count();
        // The same from hnswlib's condition, with the document in the payload.
        let by_payload = |hit: &Hit<u64>| hit.payload.clone().unwrap();
        let hits = docs.search(query).with_payloads().stop_when(Documents::new(5, by_payload)).unwrap();
        let seen: HashSet<u64> = hits.iter().map(|hit| of(hit.key)).collect();
        assert_eq!(seen, ids.into_iter().collect());
    }
    assert!(right >= 245, "{right} of 250");
    let everything = docs.search(data.queries.vector(0)).k(1000).group_by(9, |hit| of(hit.key)).unwrap();
    assert!(everything.groups.len() == 400 && everything.stats.complete, "fewer groups than asked for: all");
    let none = Documents::new(0, |hit: &Hit<u64>| hit.key);
    assert!(docs.search(data.queries.vector(0)).stop_when(none).unwrap().is_empty());
}

#[test]
fn a_condition_that_panics_or_never_ends_breaks_nothing() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = glosses(&data, &store, Codes::Auto, Metric::Cosine);
    let query = data.queries.vector(0);
    let before = docs.search(query).run().unwrap();
    for after in [0, 1, 50, 3000] {
        let mut asked = 0;
        let panics = |_: &Hit<u64>| {
            asked += 1;
            assert!(asked <= after, "on purpose");
            Verdict::Take
        };
        let search = std::panic::AssertUnwindSafe(|| docs.search(query).stop_when(panics));
        assert!(std::panic::catch_unwind(search).is_err());
        let filter = |key: u64| key != 77 || panic!("on purpose");
        let search = std::panic::AssertUnwindSafe(|| docs.search(query).exact().filter(&filter).run());
        assert!(std::panic::catch_unwind(search).is_err());
    }
    let mut asked = 0;
    let hits = docs.search(query).stop_when(|_: &Hit<u64>| {
        asked += 1;
        Verdict::Skip
    });
    assert!(hits.unwrap().is_empty());
    assert_eq!(asked, docs.len());
    assert_eq!(keys(&docs.search(query).run().unwrap()), keys(&before));
    // Removed slots are used again: nobody is still counted as a reader.
    for round in 0..3 {
        for key in 600..1200 {
            docs.put(key, data.glosses.vector(key as usize), &[round]).unwrap();
        }
        store.checkpoint().unwrap();
    }
    store.checkpoint().unwrap();
    for key in 600..1200 {
        docs.put(key, data.glosses.vector(key as usize), b"").unwrap();
    }
    assert!(docs.info().slots < 7000, "{:?}", docs.info());
    assert!(store.verify().unwrap().ok());
}

#[test]
fn deadlines_give_what_is_known_and_cancelling_gives_nothing() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = glosses(&data, &store, Codes::Auto, Metric::Cosine);
    let query = data.queries.vector(0);
    let past = Control::new().deadline(Instant::now());
    let hits = docs.search(query).control(&past).run().unwrap();
    assert!(!hits.stats().complete && hits.len() <= 10);
    assert!(!docs.search(query).exact().control(&past).run().unwrap().stats().complete);
    assert!(!docs.search(query).control(&past).within(2.0).unwrap().stats().complete);
    let many = docs.search_many(data.queries.vectors()).control(&past).threads(2).run().unwrap();
    assert!(!many.stats().complete && many.rows() == data.queries.len() && many.keys(0).is_empty());
    let enough = Control::new().timeout(Duration::MAX);
    let hits = docs.search(query).control(&enough).run().unwrap();
    assert!(hits.stats().complete);
    assert_eq!(keys(&hits), keys(&docs.search(query).run().unwrap()));

    let cancelled = Control::new();
    cancelled.clone().cancel();
    assert!(matches!(docs.search(query).control(&cancelled).run(), Err(Error::Cancelled)));
    assert!(matches!(docs.search(query).control(&cancelled).within(1.0), Err(Error::Cancelled)));
    assert!(matches!(docs.search_many(query).control(&cancelled).run(), Err(Error::Cancelled)));
    assert!(matches!(docs.measure_recall(10).control(&cancelled).run(), Err(Error::Cancelled)));
    let all: Vec<_> = docs.search(query).control(&cancelled).stream().unwrap().collect();
    assert!(matches!(all[..], [Err(Error::Cancelled)]));
    let written = docs.put_many_while(&[1], query, None, |_| cancelled.goes_on()).unwrap();
    assert_eq!(written, 0);
}

/// Cancelled from within, wherever the search is: the walk is left at once, and the next one is as ever.
#[test]
fn a_search_can_be_ended_anywhere() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = glosses(&data, &store, Codes::Auto, Metric::Cosine);
    let query = data.queries.vector(9);
    let whole = docs.search(query).ef(500).filter(&|_| true).run().unwrap();
    for after in [1, 300, 700, 1500] {
        let (control, asked) = (Control::new(), AtomicU64::new(0));
        let filter = |_: u64| {
            if asked.fetch_add(1, Ordering::Relaxed) == after {
                control.cancel();
            }
            true
        };
        let search = docs.search(query).ef(500).filter(&filter).control(&control).run();
        assert!(matches!(search, Err(Error::Cancelled)), "after {after}: {search:?}");
        assert!(
            asked.into_inner() < after + 2000,
            "16 hops of at most 32 neighbours, and a guess at how many are kept"
        );
        assert_eq!(keys(&docs.search(query).ef(500).filter(&|_| true).run().unwrap()), keys(&whole));
    }
}

#[test]
fn progress_is_told_to_its_end() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = glosses(&data, &store, Codes::Auto, Metric::Cosine);
    let told = Arc::new(Mutex::new(Vec::new()));
    let to = told.clone();
    let control = Control::new().on_progress(move |done, all| to.lock().unwrap().push((done, all)));
    docs.search_many(data.queries.vectors()).control(&control).threads(2).run().unwrap();
    let all = data.queries.len() as u64;
    let mut said = std::mem::take(&mut *told.lock().unwrap());
    said.sort_unstable();
    assert!(said.len() as u64 >= all / 16 && said.last() == Some(&(all, all)), "{said:?}");
    docs.measure_recall(25).control(&control).run().unwrap();
    let mut said = std::mem::take(&mut *told.lock().unwrap());
    said.sort_unstable();
    assert_eq!(said, (1..=25).map(|done| (done, 25)).collect::<Vec<_>>());
}

#[test]
fn queries_of_one_call_differ_in_filter_and_ef() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = glosses(&data, &store, Codes::Auto, Metric::Cosine);
    let rows = 40;
    let queries: Vec<f32> = (0..rows).flat_map(|row| data.queries.vector(row)).copied().collect();
    let keep = |row: usize, key: u64| key % 7 == row as u64 % 7;
    let low = |key: u64| key < 4000;
    let ef: Vec<usize> = (0..rows).map(|row| 10 + 10 * row).collect();
    let many = docs.search_many(&queries).k(5).ef_rows(&ef).filter(&low).filter_rows(&keep).threads(2).run().unwrap();
    for (row, &ef) in ef.iter().enumerate() {
        let filter = |key: u64| low(key) && keep(row, key);
        let one = docs.search(data.queries.vector(row)).k(5).ef(ef).filter(&filter).run().unwrap();
        assert_eq!(many.keys(row), keys(&one), "row {row}");
        assert_eq!(many.distances(row).len(), 5);
    }
    let differ = docs.search_many(&queries).ef_rows(&ef[1..]).run();
    assert!(matches!(differ, Err(Error::RowCount { keys: 40, got: 39, .. })), "{differ:?}");
    assert!(matches!(docs.search_many(&queries).recall(0.9).run(), Err(Error::Setting(_))));
    docs.measure_recall(100).run().unwrap();
    let few = docs.search_many(&queries).recall(0.5).run().unwrap().stats();
    assert!(few.distances < docs.search_many(&queries).recall(0.99).run().unwrap().stats().distances);
}

#[test]
fn more_like_this_and_vectors_as_they_were_put() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = glosses(&data, &store, Codes::Auto, Metric::Cosine);
    for key in [2u64, 10, 4321] {
        let query = data.glosses.vector(key as usize);
        let near = docs.search_near(key).unwrap().with_vectors().with_payloads().run().unwrap();
        assert_eq!(keys(&near), keys(&docs.search(query).run().unwrap()));
        assert_eq!(near[0].key, key);
        for hit in &near {
            let put: Vec<u32> = data.glosses.vector(hit.key as usize).iter().map(|x| x.to_bits()).collect();
            let got: Vec<u32> = hit.vector.as_ref().unwrap().iter().map(|x| x.to_bits()).collect();
            assert_eq!(got, put);
            assert_eq!(docs.get(hit.key).unwrap().unwrap().vector, *hit.vector.as_ref().unwrap());
            assert_eq!(
                hit.payload.as_deref(),
                Some(if hit.key < 500 && hit.key % 5 == 0 { &b"again"[..] } else { b"" })
            );
        }
        let others = docs.search_near(key).unwrap().k(9).exclude_self().run().unwrap();
        assert_eq!(keys(&others), keys(near.iter().skip(1)));
        let others: Vec<u64> =
            docs.search_near(key).unwrap().exclude_self().stream().unwrap().map(|hit| hit.unwrap().key).collect();
        assert!(!others.contains(&key) && others.len() as u64 + 1 == docs.len());
    }
    match docs.search_near(1) {
        Err(Error::NoRecord { collection, key }) => assert_eq!((&*collection, &*key), ("glosses", "1")),
        other => panic!("{other:?}"),
    }
    assert!(docs.search(data.queries.vector(0)).run().unwrap()[0].vector.is_none());
}
