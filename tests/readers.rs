//! Stores opened for reading beside one that writes: each sees one checkpoint, whole, as long as it likes.

use crate::support::keyed::Numbered;
use crate::support::model::{Model, Rng, seed};
use lodestore::{Codes, Collection, Durability, Error, Store, StoreOptions, VerifyLevel, VerifyOptions};
use lodestore_wal::Disk;
use lodestore_wal::disk::{CrashMode, SimDisk};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

const DIM: usize = 6;
const KEYS: u64 = 40;

fn options() -> StoreOptions {
    Store::options().background(false).threads(1).durability(Durability::Buffered)
}

fn reading() -> StoreOptions {
    // What is read is not kept in memory, or the disk would not matter.
    Store::options().patience(Duration::ZERO).catalog_cache_bytes(0)
}

/// Two collections, one of which walks on codes and has keys that are no numbers.
#[derive(Clone)]
struct Docs {
    plain: Collection<u64>,
    named: Collection<str>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    plain: Model,
    named: Model,
}

fn make(store: &Store) -> Docs {
    let plain = store.collection::<u64>("plain").dim(DIM).m(4).ef_construction(24).codes(Codes::None);
    let named = store.collection::<str>("named").dim(DIM).m(3).ef_construction(24).codes(Codes::Eight);
    Docs { plain: plain.open_or_create().unwrap(), named: named.open_or_create().unwrap() }
}

/// Puts, replaces and removes, so that slots are used again. Says what was there after each call.
fn change(docs: &Docs, state: &mut State, rng: &mut Rng, calls: usize) -> Vec<State> {
    let mut states = Vec::new();
    for _ in 0..calls {
        let key = rng.within(0..KEYS);
        let (vector, payload) = (rng.vector(DIM), vec![rng.next() as u8; rng.below(700)]);
        if rng.one_in(3) {
            docs.plain.remove(key).unwrap();
            state.plain.remove(key);
            states.push(state.clone());
            docs.named.remove(str::key(key)).unwrap();
            state.named.remove(key);
        } else {
            docs.plain.put(key, &vector, &payload).unwrap();
            state.plain.put(key, &vector, &payload);
            states.push(state.clone());
            docs.named.put(str::key(key), &vector, &payload).unwrap();
            state.named.put(key, &vector, &payload);
        }
        states.push(state.clone());
    }
    states
}

/// The one of these states that a store shows.
fn seen(store: &Store, states: &[State], what: &str) -> State {
    let found = states.iter().rev().find(|state| difference(store, state).is_none());
    let last = states.last().unwrap();
    found.unwrap_or_else(|| panic!("{what}: none of {}: {:?}", states.len(), difference(store, last))).clone()
}

fn difference(store: &Store, state: &State) -> Option<String> {
    let plain = match store.collection::<u64>("plain").open() {
        Ok(plain) => plain,
        // No checkpoint has seen it.
        Err(Error::NoCollection { .. }) if *state == State::default() => return None,
        Err(error) => return Some(error.to_string()),
    };
    let named = store.collection::<str>("named").open().map_err(|error| error.to_string());
    let differs = |named: Collection<str>| {
        let model = &state.plain;
        let all = model.difference(&plain, KEYS).or_else(|| model.search_difference(&plain, 5, KEYS as usize));
        let model = &state.named;
        let all = all.or_else(|| model.difference(&named, KEYS));
        let all = all.or_else(|| model.search_difference(&named, 5, KEYS as usize));
        all.or_else(|| {
            let rows: Vec<_> = plain.iter().map(|key| key.unwrap()).collect();
            (rows != state.plain.0.keys().copied().collect::<Vec<_>>()).then(|| format!("a scan finds {rows:?}"))
        })
    };
    named.map_or_else(Some, differs)
}

fn check(store: &Store, state: &State, what: &str) {
    if let Some(wrong) = difference(store, state) {
        panic!("{what}: {wrong}");
    }
    let report = store.verify_with(VerifyOptions::new().level(VerifyLevel::Graph)).unwrap();
    assert!(report.ok(), "{what}: {:?}", report.problems);
}

/// One that comes at any call of a checkpoint sees it all, or nothing of it, or has to wait; and whatever the writer does
/// from then on, it goes on seeing the same.
#[test]
fn a_reader_at_any_moment_of_a_checkpoint_sees_it_whole_and_keeps_what_it_sees() {
    let seed = seed("readers at any moment");
    let (mut came, mut early, mut late) = (0, 0, 0);
    for at in (0..2000).step_by(2) {
        let mut rng = Rng::new(seed + at);
        let sim = SimDisk::new(at);
        let store = options().open_on(sim.clone(), "sim").unwrap();
        let docs = make(&store);
        let mut state = State::default();
        change(&docs, &mut state, &mut rng, 30);
        store.checkpoint().unwrap();
        let before = state.clone();
        change(&docs, &mut state, &mut rng, 20);
        let two = [before, state.clone()];
        let reader = Arc::new(Mutex::new(None));
        {
            let (reader, disk, mut left) = (reader.clone(), sim.clone(), at);
            sim.set_hook(Some(move |_: &str, _: &str| {
                if left == 0 {
                    *reader.lock() = Some(reading().open_read_only_on(disk.clone(), "sim"));
                    return false;
                }
                left -= 1;
                true
            }));
        }
        store.checkpoint().unwrap();
        sim.set_hook(None::<fn(&str, &str) -> bool>);
        let reader = match reader.lock().take() {
            // The checkpoint has fewer calls.
            None => break,
            Some(Err(Error::Unsettled { .. })) => {
                late += 1;
                continue;
            }
            Some(reader) => reader.unwrap(),
        };
        came += 1;
        let sees = || two.iter().position(|state| difference(&reader, state).is_none());
        // Half of them look at all of it at once, the others come back to it late.
        let at_once =
            (at % 4 == 0).then(|| sees().unwrap_or_else(|| panic!("at call {at}: {:?}", difference(&reader, &two[1]))));
        for round in 0..12 {
            change(&docs, &mut state, &mut rng, 25);
            store.checkpoint().unwrap();
            match round {
                4 => drop(docs.plain.compact().run().unwrap()),
                6 => drop(store.compact().erase(true).run().unwrap()),
                8 => assert!(store.verify().unwrap().ok()),
                _ => {}
            }
        }
        let saw = sees().unwrap_or_else(|| panic!("at call {at}, in the end: {:?}", difference(&reader, &two[1])));
        assert_eq!(at_once.unwrap_or(saw), saw, "at call {at}");
        early += usize::from(saw == 0);
        check(&reader, &two[saw], "the reader");
        check(&store, &state, "the writer");
        assert_eq!(store.stats().unwrap().readers, 1);
        drop(reader);
        assert_eq!(store.stats().unwrap().readers, 0);
        store.close().unwrap();
    }
    println!("{came} readers came, {early} of them saw the checkpoint before, {late} had to wait");
    assert!(came > 5 && early > 0 && late > 0, "{came} {early} {late}");
}

/// Many at once, of many checkpoints, that come, refresh and go, while slots and pages are used again.
#[test]
fn readers_come_and_go() {
    let mut rng = Rng::new(seed("readers come and go"));
    let sim = SimDisk::new(1);
    let mut store = options().open_on(sim.clone(), "sim").unwrap();
    let mut docs = make(&store);
    let mut state = State::default();
    // What there was since a checkpoint that we know of. Removals make others due.
    let mut since = vec![State::default()];
    let mut readers: Vec<(Store, State)> = Vec::new();
    let (mut refreshed, mut stale) = (0, 0);
    for round in 0..150 {
        let calls = rng.below(30);
        since.extend(change(&docs, &mut state, &mut rng, calls));
        let mut known = true;
        match rng.below(12) {
            0..5 => store.checkpoint().unwrap(),
            5 => drop(docs.named.compact().run().unwrap()),
            6 => drop(docs.plain.compact().erase(rng.one_in(2)).run().unwrap()),
            7 => assert!(store.verify().unwrap().ok()),
            8 if rng.one_in(3) => {
                // What the last one has closed stays as it was until the next one comes, and is told then.
                store.close().unwrap();
                for (reader, seen) in &readers {
                    check(reader, seen, "a reader of a closed store");
                }
                store = options().open_on(sim.clone(), "sim").unwrap();
                docs = make(&store);
            }
            _ => known = false,
        }
        if known {
            since = vec![state.clone()];
        }
        match rng.below(4) {
            0 if readers.len() < 6 => {
                let reader = reading().open_read_only_on(sim.clone(), "sim").unwrap();
                let now = seen(&reader, &since, "a new reader");
                check(&reader, &now, "a new reader");
                readers.push((reader, now));
            }
            1 if !readers.is_empty() => drop(readers.swap_remove(rng.below(readers.len()))),
            2 if !readers.is_empty() => {
                let at = rng.below(readers.len());
                let (reader, now) = &mut readers[at];
                refreshed += usize::from(reader.refresh().unwrap());
                *now = seen(reader, &since, "refreshed");
                check(reader, now, "refreshed");
            }
            _ => {}
        }
        for (reader, now) in &mut readers {
            match difference(reader, now) {
                None => {}
                // Said, and not wrong.
                Some(what) if what.contains("call Store::refresh") => {
                    stale += 1;
                    assert!(reader.refresh().unwrap());
                    *now = seen(reader, &since, "after a new writer");
                }
                Some(what) => panic!("round {round}: {what}"),
            }
        }
    }
    println!("{refreshed} refreshed, {stale} told of a new writer");
    assert!(refreshed > 5);
}

/// Records with payloads of some pages, all of them replaced.
fn replace_all(docs: &Docs, round: u8) {
    for key in 0..60 {
        docs.plain.put(key, &[f32::from(round); DIM], &vec![round; 3000 + key as usize]).unwrap();
    }
}

/// Whether all of a round is there; `None` if the reader says that it is not kept.
fn shows(reader: &Store, round: u8) -> Option<bool> {
    let plain = reader.collection::<u64>("plain").open().unwrap();
    let mut all = true;
    for key in 0..60 {
        match plain.get(key) {
            Ok(found) => all &= found.unwrap().payload == vec![round; 3000 + key as usize],
            Err(Error::Stale { .. }) => return None,
            Err(error) => panic!("round {round}, key {key}: {error}"),
        }
    }
    Some(all)
}

/// The catalogue's pages, too, that a reader comes to late.
#[test]
fn what_a_reader_has_not_read_yet_is_kept() {
    let sim = SimDisk::new(7);
    let store = options().open_on(sim.clone(), "sim").unwrap();
    let docs = make(&store);
    let mut readers = Vec::new();
    for round in 1..20 {
        replace_all(&docs, round);
        store.checkpoint().unwrap();
        readers.push((round, reading().open_read_only_on(sim.clone(), "sim").unwrap()));
        if round % 5 == 0 {
            assert!(store.verify().unwrap().ok());
        }
    }
    // Some let go, the others are looked at for the first time.
    readers.retain(|(round, _)| round % 3 != 1);
    for round in 20..30 {
        replace_all(&docs, round);
        store.checkpoint().unwrap();
    }
    for (round, reader) in &readers {
        assert_eq!(shows(reader, *round), Some(true), "round {round}");
    }
    // And nothing is kept any more once nobody looks.
    drop(readers);
    let mut bytes = 0;
    for round in 30..130 {
        replace_all(&docs, round);
        store.checkpoint().unwrap();
        if round == 40 {
            bytes = sim_bytes(&sim);
        }
    }
    assert_eq!(sim_bytes(&sim), bytes, "the catalogue grows without readers");
}

fn sim_bytes(sim: &SimDisk) -> u64 {
    sim.open("catalog.redb").unwrap().len().unwrap()
}

/// What is written while a checkpoint is taken is not in it, neither in segments nor in the catalogue.
#[test]
fn a_checkpoint_is_of_one_moment_in_all_its_parts() {
    for at in 0..40 {
        let sim = SimDisk::new(at);
        let store = options().open_on(sim.clone(), "sim").unwrap();
        let docs = make(&store);
        replace_all(&docs, 1);
        {
            let (docs, mut left, mut begun) = (docs.clone(), at, false);
            sim.set_hook(Some(move |call: &str, path: &str| {
                begun |= call == "create" && path.starts_with("ckpt/");
                // The catalogue's own lock is held while it writes.
                if !begun || left > 0 || path.starts_with("catalog") {
                    left = left.saturating_sub(u64::from(begun));
                    return true;
                }
                replace_all(&docs, 2);
                false
            }));
        }
        store.checkpoint().unwrap();
        sim.set_hook(None::<fn(&str, &str) -> bool>);
        let mut reader = reading().open_read_only_on(sim.clone(), "sim").unwrap();
        assert_eq!(shows(&reader, 1), Some(true), "at call {at}");
        store.checkpoint().unwrap();
        reader.refresh().unwrap();
        let twice = docs.plain.get(0).unwrap().unwrap().payload[0];
        assert_eq!(shows(&reader, twice), Some(true), "at call {at}, refreshed");
    }
}

/// A writer that has not seen a reader come cannot keep what it looks at. Then it is told.
#[test]
fn a_reader_is_told_of_a_new_writer() {
    let sim = SimDisk::new(3);
    let mut told = 0;
    for round in 1..12 {
        let store = options().open_on(sim.clone(), "sim").unwrap();
        let docs = make(&store);
        replace_all(&docs, 2 * round);
        store.checkpoint().unwrap();
        let mut reader = reading().open_read_only_on(sim.clone(), "sim").unwrap();
        // Some have read a part of it.
        let plain = reader.collection::<u64>("plain").open().unwrap();
        (0..u64::from(round) * 3 % 30)
            .for_each(|key| assert_eq!(plain.get(key).unwrap().unwrap().payload[0], 2 * round));
        drop((docs, store));
        for again in 0..3 {
            let store = options().open_on(sim.clone(), "sim").unwrap();
            replace_all(&make(&store), 2 * round + 1);
            store.checkpoint().unwrap();
            replace_all(&make(&store), 100 + again);
        }
        match shows(&reader, 2 * round) {
            None => told += 1,
            Some(shown) => assert!(shown, "round {round}"),
        }
        // Searches do not need the catalogue.
        let hits = plain.search(&[f32::from(2 * round); DIM]).k(5).run().unwrap();
        assert!(hits.len() == 5 && hits.iter().all(|hit| hit.distance == 0.0), "{hits:?}");
        assert!(reader.refresh().unwrap());
        assert_eq!(shows(&reader, 102), Some(true));
    }
    assert!(told > 0);
}

#[test]
fn what_was_opened_before_a_refresh_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    let docs = make(&store);
    docs.plain.put(1, &[1.0; DIM], b"one").unwrap();
    store.checkpoint().unwrap();
    let mut reader = reading().open_read_only(dir.path()).unwrap();
    assert!(reader.is_read_only() && !store.is_read_only());
    let old = reader.collection::<u64>("plain").open().unwrap();
    assert!(!reader.refresh().unwrap(), "nothing new");
    for n in 0..200 {
        docs.plain.put(1, &[n as f32; DIM], &[n]).unwrap();
        store.checkpoint().unwrap();
    }
    assert!(reader.refresh().unwrap());
    assert_eq!(old.get(1).unwrap().unwrap().payload, b"one");
    assert_eq!(old.search(&[1.0; DIM]).k(1).with_vectors().run().unwrap()[0].vector.as_deref(), Some(&[1.0; DIM][..]));
    let new = reader.collection::<u64>("plain").open().unwrap();
    assert_eq!(new.get(1).unwrap().unwrap().payload, [199]);
    assert_eq!(store.stats().unwrap().readers, 2, "the old collection has a seat, too");
    drop(old);
    assert_eq!(reader.stats().unwrap().readers, 1);
    // A writer that is refreshed has nothing to do.
    let mut store = store;
    assert!(!store.refresh().unwrap());
}

#[test]
fn a_reader_refuses_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    let docs = make(&store);
    let mut state = State::default();
    change(&docs, &mut state, &mut Rng::new(3), 40);
    let key = *state.plain.0.keys().next().unwrap();
    store.close().unwrap();
    let files = || {
        let mut all = crate::support::files::all(dir.path());
        all.retain(|(name, _)| !name.starts_with("readers"));
        all
    };
    let before = files();
    let reader = reading().open_read_only(dir.path()).unwrap();
    let docs = reader.collection::<u64>("plain").open().unwrap();
    let refused = |result: lodestore::Result<()>| assert!(matches!(result, Err(Error::ReadOnly)), "{result:?}");
    refused(docs.put(1, &[0.5; DIM], b""));
    refused(docs.put_many(&[1, 2], &[0.5; 2 * DIM], None));
    refused(docs.remove(key).map(drop));
    refused(docs.set_payload(key, b"x").map(drop));
    refused(docs.mark_deleted(key).map(drop));
    refused(reader.collection::<u64>("new").dim(2).create().map(drop));
    refused(reader.collection::<u64>("new").dim(2).open_or_create().map(drop));
    refused(docs.compact().run().map(drop));
    refused(reader.compact().erase(true).run().map(drop));
    refused(reader.backup(dir.path().join("backups")).run().map(drop));
    let mut batch = reader.batch();
    batch.put(&docs, 1, &[0.5; DIM], b"").unwrap();
    refused(batch.commit());
    assert!(matches!(docs.verify_absent(1_000), Err(Error::ReadOnly)), "it has not got all that is to be looked at");
    // What is measured is known until it is closed.
    let measured = docs.measure_recall(10).run().unwrap();
    assert_eq!(docs.recall_report().unwrap(), Some(measured));
    // Nothing to do is no error.
    reader.sync().unwrap();
    reader.checkpoint().unwrap();
    assert!(matches!(reader.verify(), Err(Error::Setting(_))));
    check(&reader, &state, "a reader");
    assert_eq!(reader.stats().unwrap().readers, 1);
    reader.close().unwrap();
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let after = files();
    assert_eq!(names(&after), names(&before));
    assert!(after == before, "a byte has changed");
}

#[test]
fn what_cannot_be_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("missing")] {
        assert!(matches!(Store::open_read_only(&path), Err(Error::NotAStore { .. })), "{}", path.display());
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was made");
    let path = dir.path().join("store");
    let store = Store::open(&path).unwrap();
    let readers: Vec<_> = (0..100).map(|_| Store::open_read_only(&path).unwrap()).collect();
    assert!(matches!(Store::open_read_only(&path), Err(Error::TooManyReaders { seats: 100 })));
    // A second writer is refused as ever.
    assert!(matches!(Store::open(&path), Err(Error::Locked { .. })));
    drop(readers);
    Store::open_read_only(&path).unwrap();
    store.close().unwrap();
    let heads = path.join("heads");
    std::fs::remove_file(&heads).unwrap();
    assert!(Store::open_read_only(&path).is_err());
}

/// A writer that is killed leaves checkpoints that can be read, or says that it has to be opened for writing first.
#[test]
fn a_crashed_store_is_read_as_of_its_last_checkpoint() {
    let seed = seed("readers after a crash");
    let (mut read, mut unsettled) = (0, 0);
    for case in 0..60 {
        let mut rng = Rng::new(seed + case);
        let sim = SimDisk::new(case);
        let store = options().open_on(sim.clone(), "sim").unwrap();
        let docs = make(&store);
        let (mut state, mut states) = (State::default(), vec![State::default()]);
        sim.crash_at(sim.steps() + 60 + rng.within(0..120));
        let mut life = || -> Result<(), Error> {
            for _ in 0..20 {
                // As far as it gets.
                let mut next = state.clone();
                for _ in 0..8 {
                    let (key, vector, payload) =
                        (rng.within(0..KEYS), rng.vector(DIM), vec![rng.next() as u8; rng.below(60)]);
                    docs.plain.put(key, &vector, &payload)?;
                    docs.named.put(str::key(key), &vector, &payload)?;
                    next.plain.put(key, &vector, &payload);
                    next.named.put(key, &vector, &payload);
                }
                state = next;
                states.push(state.clone());
                store.checkpoint()?;
            }
            Ok(())
        };
        let ended = life();
        if !sim.is_crashed() {
            ended.unwrap();
        }
        drop((docs, store));
        let modes = [CrashMode::ProcessKill, CrashMode::PowerLoss];
        let after = sim.reboot(modes[case as usize % 2], case);
        match reading().open_read_only_on(after.clone(), "sim") {
            Ok(reader) => {
                read += 1;
                let seen = states.iter().find(|state| difference(&reader, state).is_none());
                let seen =
                    seen.unwrap_or_else(|| panic!("case {case}: {:?}", difference(&reader, states.last().unwrap())));
                check(&reader, seen, "after a crash");
                // The next writer recovers, and tells it.
                let store = options().open_on(after.clone(), "sim").unwrap();
                make(&store).plain.put(1, &[0.25; DIM], b"new").unwrap();
                store.checkpoint().unwrap();
                let mut reader = reader;
                assert!(reader.refresh().unwrap());
                let docs = reader.collection::<u64>("plain").open().unwrap();
                assert_eq!(docs.get(1).unwrap().unwrap().payload, b"new");
            }
            Err(Error::Unsettled { .. }) => unsettled += 1,
            // Of a power loss before anything was durable, or a catalogue that has to be mended.
            Err(error) => panic!("case {case}: {error}"),
        }
    }
    println!("{read} read, {unsettled} in the middle of a checkpoint");
    assert!(read > 10 && unsettled > 0, "{read} {unsettled}");
}
