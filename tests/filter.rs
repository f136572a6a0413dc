//! Searches of some records only, and exact ones.

use crate::support::data::Data;
use crate::support::model::{Rng, seed};
use lodestore::{Codes, Collection, KeySet, Metric, Plan, Residency, Store};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

#[test]
fn an_ef_of_all_that_are_kept_finds_exactly() {
    let data = Data::load();
    for codes in [Codes::Eight, Codes::None] {
        let store = Store::in_memory().unwrap();
        let docs = glosses(&data, &store, codes);
        for every in [2, 20, 1000] {
            let keep = |key: u64| key % every == 1;
            let set: KeySet = (0..5000).filter(|&key| keep(key)).collect();
            for row in 0..data.queries.len() {
                let search = || docs.search(data.queries.vector(row)).k(K).ef(set.len() as usize + 1);
                let exact = search().filter(&keep).exact().run().unwrap();
                assert_eq!(keys(&search().filter(&keep).run().unwrap()), keys(&exact), "{codes:?}, one of {every}");
                assert_eq!(keys(&search().among(&set).run().unwrap()), keys(&exact), "{codes:?}, one of {every}");
            }
        }
    }
}

/// Whatever share of the records is kept: k come back if there are so many, all of them kept, nearly all the right ones.
fn check_filters(data: &Data, docs: &Collection<u64>) {
    for every in [1, 2, 7, 40, 300, 1000, 6000] {
        let keep = move |key: u64| key % every == 3 % every;
        let kept = (0..5000).filter(|&key| keep(key) && docs.contains(key).unwrap()).count();
        let many = docs.search_many(data.queries.vectors()).k(K).ef(64).filter(&keep).threads(2).run().unwrap();
        // One query may go another way than many.
        let (mut right, mut right_of_many) = (0, 0);
        for row in 0..data.queries.len() {
            let search = || docs.search(data.queries.vector(row)).k(K).ef(64).filter(&keep);
            let (found, truth) = (search().run().unwrap(), search().exact().run().unwrap());
            let lengths = [found.len(), truth.len(), many.keys(row).len()];
            assert_eq!(lengths, [K.min(kept); 3], "one of {every}");
            assert!(keys(&found).iter().chain(many.keys(row)).all(|&key| keep(key)), "one of {every}: {found:?}");
            assert!(many.distances(row).is_sorted());
            assert!(found.iter().is_sorted_by(|a, b| a.distance <= b.distance));
            let truth = keys(&truth);
            right += found.iter().filter(|hit| truth.contains(&hit.key)).count();
            right_of_many += many.keys(row).iter().filter(|key| truth.contains(key)).count();
        }
        let recall = |right: usize| right as f64 / (data.queries.len() * K.min(kept)).max(1) as f64;
        let (recall, of_many) = (recall(right), recall(right_of_many));
        println!("one of {every}: {kept} kept, recall {recall:.4}, of many queries {of_many:.4}");
        assert!(recall.min(of_many) >= 0.95 || kept == 0, "one of {every}: recall {recall}, {of_many}");
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
fn closures_are_asked_about_what_is_near_or_once_for_many() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = glosses(&data, &store, Codes::Auto);
    let asked = AtomicU64::new(0);
    let keep = |key: u64| {
        asked.fetch_add(1, Ordering::Relaxed);
        key.is_multiple_of(2)
    };
    let rows = data.queries.len();
    for row in 0..rows {
        let hits = docs.search(data.queries.vector(row)).k(K).ef(20).filter(&keep).run().unwrap();
        assert_eq!(hits.stats().plan(), Plan::Walk);
    }
    let each = asked.swap(0, Ordering::Relaxed) as f64 / rows as f64;
    docs.search_many(data.queries.vectors()).k(K).ef(20).filter(&keep).threads(2).run().unwrap();
    let of_many = asked.swap(0, Ordering::Relaxed) as usize;
    println!("asked about {each:.0} a query, of {rows} together {of_many}");
    // Most of what walks meet is too far; what is found is asked about again.
    assert!(each < 1000.0);
    assert!((5000..=5000 + 2 * K * rows).contains(&of_many));
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

/// The glosses nearest to one of them, a region of space, and as many at random, for several sizes.
fn sets(data: &Data, docs: &Collection<u64>) -> Vec<(String, KeySet)> {
    let mut sets = Vec::new();
    for size in [4000, 2500, 1200, 400, 60, 7] {
        let region = docs.search(data.glosses.vector(size % 97)).k(size).exact().run().unwrap();
        sets.push((format!("a region of {size}"), region.iter().map(|hit| hit.key).collect()));
        let mut rng = Rng::new(size as u64);
        sets.push((format!("{size} at random"), (0..size).map(|_| rng.below(5000) as u64).collect()));
    }
    sets
}

/// Whatever the set: `k` if there are so many, the right ones nearly always; by walks and by scans.
#[test]
fn sets_of_keys_are_searched_completely() {
    let data = Data::load();
    for codes in [Codes::None, Codes::Auto] {
        let store = Store::in_memory().unwrap();
        let docs = glosses(&data, &store, codes);
        let mut plans = BTreeSet::new();
        for (name, set) in sets(&data, &docs) {
            let (mut right, mut wanted) = (0, 0);
            let many = docs.search_many(data.queries.vectors()).k(K).ef(20).among(&set).threads(2).run().unwrap();
            for row in 0..data.queries.len() {
                let search = || docs.search(data.queries.vector(row)).k(K).ef(20).among(&set);
                let (found, truth) = (search().run().unwrap(), search().exact().run().unwrap());
                assert_eq!(found.len(), K.min(set.len() as usize), "{name}, query {row}");
                assert_eq!(found.len(), truth.len(), "{name}, query {row}");
                assert!(found.iter().all(|hit| set.contains(hit.key)), "{name}: {found:?}");
                assert!(found.iter().is_sorted_by(|a, b| a.distance <= b.distance), "{name}: {found:?}");
                assert_eq!(keys(&found), many.keys(row), "{name}, query {row}");
                assert!(truth.stats().distances <= set.len() && truth.stats().plan() == Plan::Scan);
                let truth = keys(&truth);
                let hits = keys(&found);
                right += hits.iter().filter(|key| truth.contains(key)).count();
                wanted += truth.len();
                plans.insert(format!("{:?}", found.stats().plan()));
            }
            let recall = right as f64 / wanted as f64;
            println!("{name}, {codes:?}: recall {recall:.4}");
            assert!(recall >= 0.95, "{name}: recall {recall}");
        }
        assert!(plans.contains("Walk") && plans.contains("Scan"), "{plans:?}");
    }
}

#[test]
fn sets_are_put_together_as_sets_are() {
    let seed = seed("filters");
    let mut rng = Rng::new(seed);
    // A model: which of the first keys are in a set, and whether all further ones are.
    const KEYS: usize = 40;
    // They lie in several of the blocks of 2³² that a set has, and at their ends.
    const PLACE: u64 = (1 << 32) - 20;
    let mut sets = vec![(KeySet::new(), vec![false; KEYS], false), (KeySet::range(..), vec![true; KEYS], true)];
    let range = |from: usize, to: usize| KeySet::range(PLACE + from as u64..PLACE + to as u64);
    for (from, to) in [(0, 40), (3, 20), (20, 40), (19, 21), (5, 5), (0, 20)] {
        sets.push((range(from, to), (0..KEYS).map(|key| (from..to).contains(&key)).collect(), false));
    }
    let low = (0..KEYS).map(|key| key < 7).collect();
    sets.push((KeySet::range(..PLACE + 7) - KeySet::range(..PLACE), low, false));
    sets.push((KeySet::range(PLACE + 9..) | KeySet::range(..PLACE), (0..KEYS).map(|key| key >= 9).collect(), true));
    for _ in 0..400 {
        let a = rng.below(sets.len());
        let b = rng.below(sets.len());
        let key = rng.below(KEYS);
        let (a, b) = (&sets[a], &sets[b]);
        let zip = |f: fn(bool, bool) -> bool| -> (Vec<bool>, bool) {
            (a.1.iter().zip(&b.1).map(|(&a, &b)| f(a, b)).collect(), f(a.2, b.2))
        };
        let (set, (all, rest)) = match rng.below(7) {
            0 => (&a.0 & &b.0, zip(|a, b| a && b)),
            1 => (&a.0 | &b.0, zip(|a, b| a || b)),
            2 => (&a.0 - &b.0, zip(|a, b| a && !b)),
            3 => (!&a.0, zip(|a, _| !a)),
            4 => {
                let (mut set, mut all) = (a.0.clone(), a.1.clone());
                assert_eq!(set.insert(PLACE + key as u64), !all[key], "seed {seed}");
                all[key] = true;
                (set, (all, a.2))
            }
            5 => {
                let (mut set, mut all) = (a.0.clone(), a.1.clone());
                assert_eq!(set.remove(PLACE + key as u64), all[key], "seed {seed}");
                all[key] = false;
                (set, (all, a.2))
            }
            _ => {
                let some: Vec<u64> = (0..5).map(|_| PLACE + rng.below(KEYS) as u64).collect();
                let (mut set, mut all) = (a.0.clone(), a.1.clone());
                set.extend(some.iter().copied());
                some.iter().for_each(|&key| all[(key - PLACE) as usize] = true);
                (set, (all, a.2))
            }
        };
        let got: Vec<bool> = (0..KEYS as u64).map(|key| set.contains(PLACE + key)).collect();
        let elsewhere = [0, 1 << 40, u64::MAX, PLACE - 1, PLACE + KEYS as u64];
        assert!(got == all && elsewhere.iter().all(|&key| set.contains(key) == rest), "seed {seed}: {set:?}");
        let inside = all.iter().filter(|&&is_in| is_in).count() as u64;
        let len = if rest { (u64::MAX - KEYS as u64).saturating_add(1).saturating_add(inside) } else { inside };
        assert_eq!(set.len(), len, "seed {seed}");
        assert_eq!(set == a.0, all == a.1 && rest == a.2, "seed {seed}");
        sets.push((set, all, rest));
    }
}

/// A set that is kept finds what is put, replaced and removed, also in places that are used again, and after compacting.
#[test]
fn a_set_keeps_up_with_the_collection() {
    let data = Data::load();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().background(false).threads(1).open(dir.path()).unwrap();
    let docs = store.collection::<u64>("glosses").dim(data.glosses.dim).metric(Metric::Cosine).create().unwrap();
    let rows: Vec<u64> = (0..2000).collect();
    docs.put_many(&rows, &data.glosses.vectors()[..2000 * data.glosses.dim], None).unwrap();
    let sets = [
        ("few", KeySet::from([3, 500, 1999, 2500, 3001])),
        ("even", (0..2500).map(|n| 2 * n).collect()),
        ("all but some", !KeySet::range(100..1500)),
        ("high", KeySet::range(1900..)),
    ];
    let seed = seed("filters");
    let mut rng = Rng::new(seed);
    let mut live: BTreeSet<u64> = rows.into_iter().collect();
    let mut reused = false;
    for round in 0..40 {
        let free = docs.info().free;
        for _ in 0..100 {
            let key = rng.below(4000) as u64;
            if rng.below(3) == 0 {
                assert_eq!(docs.remove(key).unwrap(), live.remove(&key), "seed {seed}");
            } else {
                docs.put(key, data.glosses.vector(rng.below(5000)), b"").unwrap();
                live.insert(key);
            }
        }
        reused |= docs.info().free < free;
        match round % 10 {
            4 => store.checkpoint().unwrap(),
            9 => drop(docs.compact().run().unwrap()),
            _ => {}
        }
        for (name, set) in &sets {
            let there: BTreeSet<u64> = live.iter().copied().filter(|&key| set.contains(key)).collect();
            let query = data.queries.vector(round);
            // All of them, whatever way, and of the nearest only some of them.
            for exact in [false, true] {
                let search = docs.search(query).k(5000).among(set);
                let found = if exact { search.exact().run() } else { search.run() }.unwrap();
                let found: BTreeSet<u64> = keys(&found).into_iter().collect();
                assert_eq!(found, there, "{name}, round {round}, seed {seed}");
            }
            let found = docs.search(query).k(5).ef(40).among(set).run().unwrap();
            assert_eq!(found.len(), there.len().min(5), "{name}, round {round}, seed {seed}");
            assert!(found.iter().all(|hit| there.contains(&hit.key)), "{name}, round {round}, seed {seed}: {found:?}");
        }
    }
    assert!(reused, "no place was used again");
}

/// While records are replaced all the time, each of them is there all the time: in any set, however it is searched.
#[test]
fn sets_are_searched_completely_beside_writers() {
    let data = Data::load();
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::options().checkpoint_log_bytes(1 << 20).checkpoint_dirty_bytes(1 << 20).open(dir.path()).unwrap();
    let docs = store.collection::<u64>("glosses").dim(data.glosses.dim).metric(Metric::Cosine).create().unwrap();
    let keys: Vec<u64> = (0..3000).collect();
    docs.put_many(&keys, &data.glosses.vectors()[..3000 * data.glosses.dim], None).unwrap();
    let done = AtomicBool::new(false);
    let sets = [KeySet::from([5, 70, 700, 2100]), KeySet::range(1000..1060), (0..1500).map(|n| 2 * n).collect()];
    std::thread::scope(|scope| {
        for writer in 0..2u64 {
            let (docs, data, done) = (&docs, &data, &done);
            scope.spawn(move || {
                let mut rng = Rng::new(seed("writers") + writer);
                while !done.load(Ordering::Relaxed) {
                    let key = 2 * rng.below(1500) as u64 + writer;
                    docs.put(key, data.glosses.vector(rng.below(5000)), b"").unwrap();
                }
            });
        }
        let _stop = Stop(&done);
        for round in 0..600 {
            let (set, query) = (&sets[round % 3], data.queries.vector(round % data.queries.len()));
            let search = docs.search(query).among(set);
            let (k, hits) = match round % 4 {
                0 => (10, search.k(10).run()),
                1 => (60, search.k(60).ef(20).run()),
                2 => (10, search.k(10).exact().run()),
                _ => (1500, search.k(1500).run()),
            };
            let hits = hits.unwrap();
            assert_eq!(hits.len(), k.min(set.len() as usize), "round {round}: {:?}", hits.stats());
            assert!(hits.iter().all(|hit| set.contains(hit.key)), "round {round}");
            let different: BTreeSet<u64> = hits.iter().map(|hit| hit.key).collect();
            assert_eq!(different.len(), hits.len(), "round {round}");
        }
    });
}

/// Ends the writers, whatever happens.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn filters_of_payloads_and_of_each_query() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("glosses").dim(data.glosses.dim).metric(Metric::Cosine).create().unwrap();
    let keys: Vec<u64> = (0..1000).collect();
    let payloads: Vec<Vec<u8>> = keys.iter().map(|key| vec![(key % 10) as u8]).collect();
    let payloads: Vec<&[u8]> = payloads.iter().map(|payload| &payload[..]).collect();
    docs.put_many(&keys, &data.glosses.vectors()[..1000 * data.glosses.dim], Some(&payloads)).unwrap();
    let of_key = |key: u64| key % 10 == 3;
    let of_payload = |_: u64, payload: &[u8]| payload == [3];
    let sevens: KeySet = (0..100).map(|n| 10 * n + 7).collect();
    let each = [KeySet::from([3, 5]), sevens.clone(), sevens];
    for row in 0..50 {
        let query = data.queries.vector(row);
        let a = docs.search(query).k(K).filter(&of_key).run().unwrap();
        let b = docs.search(query).k(K).filter_payloads(&of_payload).run().unwrap();
        assert_eq!(self::keys(&a), self::keys(&b));
        let three = [query, query, query].concat();
        let hits = docs.search_many(&three).k(K).among_rows(&each).run().unwrap();
        assert!(hits.keys(0).iter().all(|key| [3, 5].contains(key)) && hits.keys(0).len() == 2);
        assert!(hits.keys(1).len() == K && hits.keys(1).iter().all(|key| key % 10 == 7));
        assert_eq!(hits.keys(1), hits.keys(2));
        let both = docs.search(query).k(K).among(&each[0]).filter(&of_key).run().unwrap();
        assert_eq!(self::keys(&both), [3]);
    }
    let error = docs.search_many(data.queries.vectors()).among_rows(&each).run().unwrap_err();
    assert!(error.to_string().contains("sets"), "{error}");
}

/// Searches among a set that was not asked for before go on while a collection is compacted, which keeps writers waiting.
#[test]
fn sets_are_searched_while_a_collection_is_compacted() {
    let data = Data::load();
    let store = Store::in_memory().unwrap();
    let docs = glosses(&data, &store, Codes::Auto);
    let mut found = None;
    let during = |_, _| {
        found.get_or_insert_with(|| {
            let (docs, query) = (docs.clone(), data.queries.vector(0).to_vec());
            let (told, answer) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let hits = docs.search(&query).k(2).among(&KeySet::from([7, 70])).run().unwrap();
                let mut found = keys(&hits);
                found.sort_unstable();
                let _ = told.send(found);
            });
            answer.recv_timeout(std::time::Duration::from_secs(20)).ok()
        });
    };
    docs.compact().progress(during).run().unwrap();
    assert_eq!(found, Some(Some(vec![7, 70])));
}
