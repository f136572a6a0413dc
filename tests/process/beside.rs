//! Readers in one process while writers in others come, write, and are killed.

use super::{lines, say, start};
use crate::support::model::{Rng, seed};
use lodestore::{Durability, Error, Store, StoreOptions};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const KEYS: u64 = 64;
const DIM: usize = 4;

fn payload(round: u64) -> Vec<u8> {
    round.to_le_bytes().repeat(40 + round as usize % 200)
}

/// Each round replaces every record in one batch, and takes a checkpoint. Says when one is durable.
pub(super) fn write_rounds(path: &Path) {
    let options = Store::options().durability(Durability::Buffered).background(false);
    let store = options.open(path).unwrap();
    let docs = store.collection::<u64>("docs").dim(DIM).m(4).open_or_create().unwrap();
    let mut round = docs.get(0).unwrap().map_or(0, |record| record.vector[0] as u64);
    say("ready");
    loop {
        round += 1;
        let mut batch = store.batch();
        for key in 0..KEYS {
            batch.put(&docs, key, &[round as f32, key as f32, 1.0, 2.0], &payload(round)).unwrap();
        }
        batch.commit().unwrap();
        store.checkpoint().unwrap();
        say(&format!("round {round}"));
    }
}

/// The round that all records are of; `None` if the reader is told that another writer came.
fn shown(reader: &Store) -> Option<u64> {
    let docs = match reader.collection::<u64>("docs").open() {
        Err(Error::Stale { .. }) => return None,
        docs => docs.unwrap(),
    };
    assert_eq!(docs.len(), KEYS);
    let hits = docs.search(&[0.0; DIM]).k(KEYS as usize).ef(KEYS as usize).with_vectors().run().unwrap();
    let round = hits[0].vector.as_ref().unwrap()[0] as u64;
    let mut keys: Vec<u64> = hits.iter().map(|hit| hit.key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..KEYS).collect::<Vec<_>>(), "round {round}");
    assert!(hits.iter().all(|hit| hit.vector.as_ref().unwrap()[0] as u64 == round), "round {round}: {hits:?}");
    for key in 0..KEYS {
        match docs.get(key) {
            Ok(record) => {
                let record = record.unwrap();
                assert_eq!((record.vector[0] as u64, record.vector[1] as u64), (round, key));
                assert_eq!(record.payload, payload(round), "round {round}, key {key}");
            }
            Err(Error::Stale { .. }) => return None,
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    Some(round)
}

/// Killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn reading() -> StoreOptions {
    Store::options().catalog_cache_bytes(0).patience(Duration::from_secs(5))
}

#[test]
fn readers_beside_writers_that_are_killed() {
    let mut rng = Rng::new(seed("readers beside writers"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let began = Instant::now();
    let (mut looked, mut refreshed, mut stale, mut unsettled, mut acknowledged) = (0, 0, 0, 0, 0);
    let mut reader: Option<Store> = None;
    for _ in 0..12 {
        let mut child = Killed(start("rounds", &path, "0 0 0 0"));
        let (tell, told) = mpsc::channel();
        let said = lines(&mut child.0);
        let listener = std::thread::spawn(move || said.for_each(|line| drop(tell.send(line))));
        let mut ready = false;
        let kill_at = Instant::now() + Duration::from_millis(250 + rng.within(0..150));
        let (enough, seen) = (looked + 3, refreshed);
        // However slow the machine is, something is to be seen of each writer.
        while Instant::now() < kill_at || !ready || acknowledged == 0 || looked < enough || refreshed == seen {
            assert!(kill_at.elapsed() < Duration::from_secs(120), "nothing is seen of a writer");
            for line in told.try_iter() {
                ready |= line == "ready";
                acknowledged = line.strip_prefix("round ").map_or(acknowledged, |round| round.parse().unwrap());
            }
            if acknowledged == 0 {
                continue;
            }
            let mut open = match reader.take() {
                Some(reader) => reader,
                None => match reading().open_read_only(&path) {
                    Err(Error::Unsettled { .. }) => {
                        unsettled += 1;
                        continue;
                    }
                    open => open.unwrap(),
                },
            };
            let least = acknowledged;
            match open.refresh() {
                Ok(later) => refreshed += usize::from(later),
                // A writer that was killed in the middle of a checkpoint, and the next one is not there yet.
                Err(Error::Unsettled { .. }) => {
                    unsettled += 1;
                    continue;
                }
                Err(error) => panic!("{error}"),
            }
            match shown(&open) {
                Some(round) => {
                    looked += 1;
                    assert!(round >= least, "round {round}, {least} was acknowledged before");
                }
                None => stale += 1,
            }
            // Some look again at what they have, late.
            if rng.one_in(2) {
                std::thread::sleep(Duration::from_millis(rng.within(0..8)));
                let again = (shown(&open), shown(&open));
                assert!(again.0 == again.1 || again.1.is_none(), "{again:?}");
            }
            reader = (!rng.one_in(4)).then_some(open);
        }
        drop(child);
        listener.join().unwrap();
        for line in told.try_iter() {
            acknowledged = line.strip_prefix("round ").map_or(acknowledged, |round| round.parse().unwrap());
        }
    }
    let (rounds, took) = (acknowledged, began.elapsed());
    println!(
        "{looked} looks in {rounds} rounds, {refreshed} later ones, {stale} stale, {unsettled} unsettled, {took:.1?}"
    );
    drop(reader);
    let store = Store::open(&path).unwrap();
    assert!(store.verify().unwrap().ok());
    assert_eq!(store.stats().unwrap().readers, 0, "seats end with who has them");
}
