//! Tags: searches by them, and that they stay those of their records.

use crate::support::data::Data;
use crate::support::files::copy;
use crate::support::model::{Rng, seed};
use lodestore::{
    Backups, Codes, Collection, Durability, Error, KeySet, MAX_TAGS, Metric, Plan, RepairOptions, Store, TagFilter,
    TagValue, Tags, repair,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const K: usize = 10;
const DIM: usize = 4;
/// Queries that each is tried with.
const QUERIES: usize = 25;

fn keys_of<'a>(hits: impl IntoIterator<Item = &'a lodestore::Hit<u64>>) -> Vec<u64> {
    hits.into_iter().map(|hit| hit.key).collect()
}

/// Of a row: one of seven numbers, one of four languages or two, a number that nothing else has.
fn tags_of(row: u64) -> Tags {
    let mut tags = Tags::new();
    let languages = ["de", "en", "fr", "hu"];
    let mut add = |field: &str, value: TagValue| assert!(tags.add(field, value).unwrap());
    add("row", (row as i64 - 2500).into());
    if !row.is_multiple_of(5) {
        add("seven", (row as i64 % 7).into());
    }
    add("lang", languages[row as usize % 4].into());
    if row.is_multiple_of(3) {
        add("lang", languages[(row as usize + 1) % 4].into());
    }
    tags
}

#[test]
fn searches_find_k_of_those_with_the_tags() {
    let data = Data::load();
    let all: Vec<Tags> = (0..5000).map(tags_of).collect();
    let numbers: Vec<u64> = (0..5000).collect();
    let filters = [
        TagFilter::eq("lang", "en").unwrap(),
        TagFilter::any("seven", [1, 4]).unwrap(),
        !TagFilter::has("seven").unwrap(),
        TagFilter::range("row", -100..=100).unwrap(),
        TagFilter::range("row", 2498..).unwrap(),
        TagFilter::range("row", 3000..).unwrap(),
        TagFilter::eq("lang", "de").unwrap() & TagFilter::eq("lang", "en").unwrap(),
        TagFilter::starts_with("lang", "f").unwrap() | TagFilter::range("seven", ..2).unwrap(),
        TagFilter::any::<i64>("seven", []).unwrap(),
        TagFilter::eq("row", "5").unwrap(),
        TagFilter::range("lang", "e".."g").unwrap() - TagFilter::eq("seven", 3).unwrap(),
    ];
    for codes in [Codes::None, Codes::Auto] {
        let store = Store::in_memory().unwrap();
        let builder = store.collection::<u64>("glosses").dim(data.glosses.dim).metric(Metric::Cosine).codes(codes);
        let docs = builder.create().unwrap();
        docs.put_many_tagged(&numbers, data.glosses.vectors(), None, &all).unwrap();
        let odd: KeySet = (0..5000).filter(|key| key % 2 == 1).collect();
        for filter in &filters {
            let matching = |key: u64| filter.matches(&all[key as usize]);
            let kept = (0..5000).filter(|&key| matching(key)).count();
            let many = docs
                .search_many(&data.queries.vectors()[..QUERIES * data.queries.dim])
                .k(K)
                .tagged(filter)
                .threads(2)
                .run()
                .unwrap();
            let (mut right, mut of_many, mut both) = (0, 0, 0);
            for row in 0..QUERIES {
                let search = || docs.search(data.queries.vector(row)).k(K);
                let truth = search().filter(&matching).exact().run().unwrap();
                assert_eq!(keys_of(&search().tagged(filter).exact().run().unwrap()), keys_of(&truth), "{filter}");
                let found = search().tagged(filter).run().unwrap();
                let lengths = [found.len(), truth.len(), many.keys(row).len()];
                assert_eq!(lengths, [K.min(kept); 3], "{filter}");
                assert!(keys_of(&found).iter().chain(many.keys(row)).all(|&key| matching(key)), "{filter}");
                let (truth, has) = (keys_of(&truth), |key: &u64, truth: &[u64]| usize::from(truth.contains(key)));
                right += keys_of(&found).iter().map(|key| has(key, &truth)).sum::<usize>();
                of_many += many.keys(row).iter().map(|key| has(key, &truth)).sum::<usize>();
                // With other filters.
                let third = |key: u64| key.is_multiple_of(3);
                let truth = keys_of(&search().filter(&|key| matching(key) && third(key)).exact().run().unwrap());
                let found = keys_of(&search().tagged(filter).filter(&third).run().unwrap());
                assert!(found.len() == truth.len() && found.iter().all(|&key| matching(key) && third(key)), "{filter}");
                both += found.iter().map(|key| has(key, &truth)).sum::<usize>() + K - truth.len();
                let truth = keys_of(&search().filter(&|key| matching(key) && odd.contains(key)).exact().run().unwrap());
                let found = keys_of(&search().tagged(filter).among(&odd).run().unwrap());
                assert!(
                    found.len() == truth.len() && found.iter().all(|&key| matching(key) && key % 2 == 1),
                    "{filter}"
                );
            }
            let total = (QUERIES * K) as f64;
            let share = |right: usize| (right + QUERIES * (K - K.min(kept))) as f64 / total;
            println!(
                "{codes:?} {filter}: {kept}, recall {:.4} {:.4} {:.4}",
                share(right),
                share(of_many),
                both as f64 / total
            );
            assert!(share(right).min(share(of_many)).min(both as f64 / total) >= 0.95, "{filter}");
        }
        let few = docs.search(data.queries.vector(0)).tagged(&filters[3]).run().unwrap().stats();
        assert_eq!((few.plan(), few.distances), (Plan::Scan, 201), "it compares with those alone");
    }
}

/// What one record must have.
type Model = BTreeMap<u64, (Tags, Vec<u8>, bool)>;

struct Life {
    rng: Rng,
    model: Model,
}

impl Life {
    fn tags(&mut self) -> Tags {
        let mut tags = Tags::new();
        for _ in 0..self.rng.below(4) {
            let added = match self.rng.one_in(2) {
                true => tags.add("n", self.rng.below(5) as i64 - 2),
                false => tags.add("t", ["", "a", "ab", "a\0"][self.rng.below(4)]),
            };
            added.unwrap();
        }
        tags
    }

    fn step(&mut self, docs: &Collection<u64>, store: &Store) {
        let (key, tags) = (self.rng.within(0..40), self.tags());
        let (vector, payload) = (self.rng.vector(DIM), vec![self.rng.next() as u8; self.rng.below(20)]);
        match self.rng.below(12) {
            0..3 => {
                docs.put_tagged(key, &vector, &payload, &tags).unwrap();
                self.model.insert(key, (tags, payload, false));
            }
            3 => {
                docs.put(key, &vector, &payload).unwrap();
                self.model.insert(key, (Tags::new(), payload, false));
            }
            4 | 5 => {
                let live = self.model.get_mut(&key).filter(|(.., marked)| !marked);
                assert_eq!(docs.set_tags(key, &tags).unwrap(), live.is_some());
                live.into_iter().for_each(|record| record.0.clone_from(&tags));
            }
            6 => {
                let live = self.model.get_mut(&key).filter(|(.., marked)| !marked);
                assert_eq!(docs.set_payload(key, &payload).unwrap(), live.is_some());
                live.into_iter().for_each(|record| record.1.clone_from(&payload));
            }
            7 => assert_eq!(docs.remove(key).unwrap(), self.model.remove(&key).is_some()),
            8 => {
                let to = self.rng.one_in(2);
                let _ = if to { docs.mark_deleted(key) } else { docs.unmark_deleted(key) };
                self.model.entry(key).and_modify(|record| record.2 = to);
            }
            9 | 10 => {
                let mut batch = store.batch();
                for _ in 0..self.rng.below(8) {
                    let (key, tags) = (self.rng.within(0..12), self.tags());
                    match self.rng.below(5) {
                        0 => {
                            batch.put_tagged(docs, key, &vector, &payload, &tags).unwrap();
                            self.model.insert(key, (tags, payload.clone(), false));
                        }
                        1 => {
                            batch.set_tags(docs, key, &tags).unwrap();
                            let live = self.model.get_mut(&key).filter(|(.., marked)| !marked);
                            live.into_iter().for_each(|record| record.0.clone_from(&tags));
                        }
                        2 => {
                            batch.set_payload(docs, key, b"in a batch").unwrap();
                            let live = self.model.get_mut(&key).filter(|(.., marked)| !marked);
                            live.into_iter().for_each(|record| record.1 = b"in a batch".to_vec());
                        }
                        3 => {
                            batch.remove(docs, key).unwrap();
                            self.model.remove(&key);
                        }
                        _ => {
                            let to = self.rng.one_in(2);
                            let _ = if to { batch.mark_deleted(docs, key) } else { batch.unmark_deleted(docs, key) };
                            self.model.entry(key).and_modify(|record| record.2 = to);
                        }
                    }
                    let seen = batch.get(docs, key).unwrap().map(|record| (record.tags, record.payload));
                    let due = self.model.get(&key).filter(|(.., marked)| !marked);
                    assert_eq!(
                        seen,
                        due.map(|(tags, payload, _)| (tags.clone(), payload.clone())),
                        "as the batch sees it"
                    );
                }
                batch.commit().unwrap();
            }
            _ => match self.rng.below(4) {
                0 => docs.compact().erase(self.rng.one_in(2)).run().map(drop).unwrap(),
                _ => store.checkpoint().unwrap(),
            },
        }
    }
}

fn filters() -> Vec<TagFilter> {
    let one = TagFilter::eq("n", 1).unwrap();
    let text = TagFilter::starts_with("t", "a").unwrap();
    vec![
        TagFilter::range("n", -1..=1).unwrap(),
        !TagFilter::has("t").unwrap(),
        &one | &text,
        &text - &one,
        !(&one & &TagFilter::eq("t", "a\0").unwrap()),
        one,
        text,
    ]
}

fn check(docs: &Collection<u64>, model: &Model, filters: &[TagFilter]) {
    for filter in filters {
        let live = model.iter().filter(|(_, (.., marked))| !marked);
        let due: Vec<u64> = live.filter(|(_, (tags, ..))| filter.matches(tags)).map(|(&key, _)| key).collect();
        let hits = docs.search(&[0.0; DIM]).k(100).tagged(filter).with_tags().run().unwrap();
        let mut found: Vec<u64> = hits.iter().map(|hit| hit.key).collect();
        assert!(hits.iter().all(|hit| hit.tags.as_ref() == Some(&model[&hit.key].0)));
        found.sort_unstable();
        assert_eq!(found, due, "{filter}: {:?}", hits.stats());
    }
}

fn open(path: &Path) -> (Store, Collection<u64>) {
    let store = Store::options().durability(Durability::Buffered).open(path).unwrap();
    let docs = store.collection::<u64>("docs").dim(DIM).open_or_create().unwrap();
    (store, docs)
}

#[test]
fn whatever_happens_to_records_their_tags_find_them() {
    let mut life = Life { rng: Rng::new(seed("tags of a life")), model: Model::new() };
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut docs) = open(folder.path());
    let filters = filters();
    for step in 0..600 {
        life.step(&docs, &store);
        if step % 3 == 0 {
            check(&docs, &life.model, &filters[..5]);
        }
        if step % 100 == 99 {
            // Also what nobody has asked for before.
            check(&docs, &life.model, &filters);
            let listed = docs.iter().with_records().map(|item| item.map(|(key, record)| (key, record.tags)));
            let listed = listed.collect::<Result<BTreeMap<_, _>, _>>().unwrap();
            let live = life.model.iter().filter(|(_, (.., marked))| !marked);
            assert_eq!(listed, live.map(|(&key, (tags, ..))| (key, tags.clone())).collect());
            let report = store.verify().unwrap();
            assert!(report.ok(), "{:?}", report.problems);
            drop(docs);
            if step % 200 == 199 {
                store.close().unwrap()
            } else {
                drop(store)
            }
            (store, docs) = open(folder.path());
        }
    }
    drop(docs);
    store.close().unwrap();
}

/// What is left of a store with tags in it, if this happens to its files.
fn repaired(checkpointed: bool, damage: impl Fn(&Path)) {
    let mut life = Life { rng: Rng::new(seed("tags repaired")), model: Model::new() };
    let [folder, crashed, to] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (store, docs) = open(folder.path());
    for key in 0..60 {
        let (vector, tags) = (life.rng.vector(DIM), [life.tags(), life.tags()]);
        docs.put_tagged(key, &vector, b"", &tags[0]).unwrap();
        if key % 2 == 0 {
            docs.set_tags(key, &tags[1]).unwrap();
        }
        life.model.insert(key, (tags[if key % 2 == 0 { 1 } else { 0 }].clone(), Vec::new(), false));
    }
    if checkpointed {
        store.checkpoint().unwrap();
    }
    // As a crash leaves it.
    copy(folder.path(), crashed.path());
    damage(crashed.path());
    let to = to.path().join("repaired");
    let report = repair(crashed.path(), &to, RepairOptions::new()).unwrap();
    assert!(report.complete, "{report:?}");
    let (store, docs) = open(&to);
    check(&docs, &life.model, &filters());
    assert!(store.verify().unwrap().ok());
}

#[test]
fn a_repaired_store_has_the_tags() {
    // Of a whole catalogue, of the log alone, of what is found in a catalogue that is not whole.
    repaired(true, |_| {});
    repaired(false, |store| std::fs::remove_file(store.join("catalog.redb")).unwrap());
    repaired(true, |store| {
        let path = store.join("catalog.redb");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[..4096].fill(0);
        std::fs::write(&path, bytes).unwrap();
    });
}

/// A walk begins at some of those that may be found. They are many here, so it does walk.
#[test]
fn what_is_gone_is_not_found_by_tags_nor_by_keys() {
    const RECORDS: u64 = 6000;
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("docs").dim(DIM).create().unwrap();
    let mut rng = Rng::new(seed("tags of what is gone"));
    let vectors: Vec<f32> = (0..RECORDS).flat_map(|_| rng.vector(DIM)).collect();
    let tags: Vec<Tags> = (0..RECORDS).map(|key| Tags::new().with("all", (key % 2) as i64).unwrap()).collect();
    let keys: Vec<u64> = (0..RECORDS).collect();
    docs.put_many_tagged(&keys, &vectors, None, &tags).unwrap();
    let filters = [TagFilter::has("all").unwrap(), !TagFilter::has("none").unwrap()];
    let set = KeySet::range(..RECORDS);
    let check = |gone: &dyn Fn(u64) -> bool| {
        // Every slot may be the one that a walk begins at.
        for key in (0..RECORDS).step_by(37).chain(0..64) {
            let vector = &vectors[key as usize * DIM..][..DIM];
            let search = || docs.search(vector).k(1);
            let found = filters.iter().map(|filter| search().tagged(filter).run().unwrap());
            for hits in found.chain([search().among(&set).run().unwrap()]) {
                assert_eq!(hits.stats().plan(), Plan::Walk);
                assert_eq!(hits[0].key == key, !gone(key), "{key}: {hits:?}");
            }
        }
    };
    check(&|_| false);
    (0..RECORDS).step_by(2).for_each(|key| assert!(docs.remove(key).unwrap()));
    check(&|key| key % 2 == 0);
    // Unlinked now, and free.
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    check(&|key| key % 2 == 0);
    (0..RECORDS).filter(|key| key % 6 == 1).for_each(|key| assert!(docs.mark_deleted(key).unwrap()));
    check(&|key| key % 2 == 0 || key % 6 == 1);
}

/// One call of many queries goes on while records change and the collection is compacted: what it finds has the tags.
#[test]
fn a_long_call_finds_only_what_has_the_tags() {
    const RECORDS: u64 = 3000;
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("docs").dim(DIM).create().unwrap();
    let mut rng = Rng::new(seed("tags in a long call"));
    let state = |state: i64| Tags::new().with("state", state).unwrap();
    // Those below a thousand are never anything but 0, and only they are.
    let tags: Vec<Tags> = (0..RECORDS).map(|key| state(i64::from(key >= 1000))).collect();
    let keys: Vec<u64> = (0..RECORDS).collect();
    let vectors: Vec<f32> = (0..RECORDS).flat_map(|_| rng.vector(DIM)).collect();
    docs.put_many_tagged(&keys, &vectors, None, &tags).unwrap();
    let zero = TagFilter::eq("state", 0).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = Rng::new(7);
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..50 {
                    let key = rng.within(0..RECORDS);
                    docs.put_tagged(key, &rng.vector(DIM), b"", &state(if key < 1000 { 0 } else { 2 })).unwrap();
                }
                docs.compact().run().unwrap();
            }
        });
        let sets: Vec<KeySet> = (0..300).map(|row| KeySet::range(row % 2..)).collect();
        let queries: Vec<f32> = (0..300).flat_map(|_| rng.vector(DIM)).collect();
        for _ in 0..6 {
            let hits = docs.search_many(&queries).k(K).tagged(&zero).among_rows(&sets).threads(2).run().unwrap();
            for row in 0..300 {
                assert!(hits.keys(row).iter().all(|&key| key < 1000), "{:?}", hits.keys(row));
                assert_eq!(hits.keys(row).len(), K);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// While a call goes on, what it has counted on loses its tags: others take its place.
#[test]
fn as_many_come_back_while_records_lose_their_tags() {
    const RECORDS: u64 = 2000;
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("docs").dim(1).create().unwrap();
    let (keys, vectors): (Vec<u64>, Vec<f32>) = (0..RECORDS).map(|key| (key, key as f32)).unzip();
    let tags = vec![Tags::new().with("a", 1).unwrap(); RECORDS as usize];
    docs.put_many_tagged(&keys, &vectors, None, &tags).unwrap();
    let one = TagFilter::eq("a", 1).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..1500).for_each(|key| assert!(docs.set_tags(key, &Tags::new()).unwrap())));
        let queries = vec![0.0; 200];
        while !writer.is_finished() {
            let hits = docs.search_many(&queries).k(K).tagged(&one).exact().threads(1).run().unwrap();
            assert!((0..200).all(|row| hits.keys(row).len() == K));
        }
    });
    assert_eq!(keys_of(&docs.search(&[0.0]).k(3).tagged(&one).run().unwrap()), [1500, 1501, 1502]);
}

#[test]
fn conditions_that_are_too_deep_are_refused() {
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("docs").dim(1).create().unwrap();
    docs.put_tagged(1, &[1.0], b"", &Tags::new().with("a", 1).unwrap()).unwrap();
    let one = TagFilter::eq("a", 1).unwrap();
    let mut deep = one.clone();
    for _ in 0..100_000 {
        deep = !(deep & one.clone());
    }
    let error = docs.search(&[0.0]).tagged(&deep).run().unwrap_err();
    assert!(matches!(error, Error::Tag(_)), "{error}");
    assert!(docs.search(&[0.0]).tagged(&deep).stream().is_err() && deep.to_string().len() < 100);
    // Side by side as many as there are, and twice turned round is nothing.
    let wide = (0..2000).map(|n| TagFilter::eq("a", n).unwrap()).reduce(|a, b| a | b).unwrap();
    let turned = (0..1000).fold(wide, |filter, _| !filter);
    assert_eq!(docs.search(&[0.0]).tagged(&turned).run().unwrap().len(), 1);
}

#[test]
fn a_change_of_tags_is_seen_whole() {
    const RECORDS: u64 = 400;
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("docs").dim(DIM).create().unwrap();
    let mut rng = Rng::new(seed("tags changed while they are searched"));
    let state = |state: i64| Tags::new().with("state", state).unwrap();
    for key in 0..RECORDS {
        docs.put_tagged(key, &rng.vector(DIM), b"", &state(0)).unwrap();
    }
    let (any, stop, searches) = (TagFilter::has("state").unwrap(), AtomicBool::new(false), AtomicU64::new(0));
    let (never, settled) = (TagFilter::eq("state", 9).unwrap(), TagFilter::eq("state", 5).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (docs, any, never) = (&docs, &any, &never);
            let (stop, searches) = (&stop, &searches);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // One of the two is true of each record at every moment.
                    let hits = docs.search(&[0.0; DIM]).k(RECORDS as usize).tagged(any).run().unwrap();
                    assert_eq!(hits.len() as u64, RECORDS);
                    assert!(docs.search(&[0.0; DIM]).tagged(never).run().unwrap().is_empty());
                    searches.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut at = 0i64;
        while searches.load(Ordering::Relaxed) < 300 {
            at += 1;
            let key = rng.within(0..RECORDS);
            match rng.below(3) {
                0 => docs.put_tagged(key, &rng.vector(DIM), b"", &state(at % 5)).unwrap(),
                _ => assert!(docs.set_tags(key, &state(at % 5)).unwrap()),
            }
        }
        // What has been acknowledged is seen by whoever asks then.
        for key in 0..RECORDS {
            docs.set_tags(key, &state(5)).unwrap();
            let found = docs.search(&[0.0; DIM]).k(RECORDS as usize).tagged(&settled).run().unwrap();
            assert_eq!(found.len() as u64, key + 1);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(store.verify().unwrap().ok());
}

#[test]
fn tags_are_refused_with_what_is_wrong_and_nothing_changes() {
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("docs").dim(1).create().unwrap();
    docs.put_tagged(1, &[1.0], b"", &Tags::new().with("a", 1).unwrap()).unwrap();
    let (one, two) = (&[Tags::new()][..], &[2.0, 3.0]);
    assert!(matches!(docs.put_many_tagged(&[2, 3], two, None, one), Err(Error::RowCount { what: "tags", got: 1, .. })));
    assert!(docs.put_tagged(1, &[f32::NAN], b"", &Tags::new()).is_err());
    assert_eq!(docs.tags(1).unwrap(), Some(Tags::new().with("a", 1).unwrap()));
    assert_eq!(docs.tags(2).unwrap(), None);
    let mut many = Tags::new();
    (0..MAX_TAGS as i64).for_each(|value| assert!(many.add("many", value).unwrap()));
    docs.set_tags(1, &many).unwrap();
    assert_eq!(docs.tags(1).unwrap(), Some(many));
    let error = TagFilter::between("f", std::ops::Bound::Included(1.into()), std::ops::Bound::Included("x".into()));
    assert_eq!(error.unwrap_err().to_string(), "a range of tag 'f' from 1 to \"x\": of two types");
    let from_to = |from: i64, to: i64| TagFilter::range("many", from..to).unwrap();
    let backwards = from_to(5, 2) | from_to(3, 3);
    assert!(docs.search(&[0.0]).tagged(&backwards).run().unwrap().is_empty());
}

#[test]
fn a_backup_has_the_tags_too() {
    let (folder, backups, to) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, docs) = open(folder.path());
    let mut life = Life { rng: Rng::new(seed("tags in a backup")), model: Model::new() };
    (0..60).for_each(|_| life.step(&docs, &store));
    store.backup(backups.path()).run().unwrap();
    let held = life.model.clone();
    (0..60).for_each(|_| life.step(&docs, &store));
    let kept = Backups::open(backups.path()).unwrap();
    kept.restore(kept.list()[0].number, to.path().join("restored")).unwrap();
    let (restored, docs) = open(&to.path().join("restored"));
    check(&docs, &held, &filters());
    assert!(restored.verify().unwrap().ok());
}
