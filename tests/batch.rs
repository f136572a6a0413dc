//! What a batch shows of itself before it is committed, and how a part of it is taken back.

use crate::support::model::{Rng, seed};
use lodestore::{Collection, Error, Metric, Savepoint, Store, WriteBatch};
use std::collections::BTreeMap;

const DIM: usize = 4;
const KEYS: u64 = 12;

/// Vector, payload, and whether it is marked as deleted.
type State = BTreeMap<(usize, u64), (Vec<f32>, Vec<u8>, bool)>;

fn collections(store: &Store) -> [Collection<u64>; 2] {
    // Under cosine more is stored of a vector than was given.
    [("a", Metric::L2), ("b", Metric::Cosine)]
        .map(|(name, metric)| store.collection::<u64>(name).dim(DIM).metric(metric).create().unwrap())
}

/// The same change to a batch and to what it ought to be.
fn change(rng: &mut Rng, docs: &[Collection<u64>; 2], batch: &mut WriteBatch, state: &mut State) {
    let (at, key) = (rng.below(2), rng.within(0..KEYS));
    let entry = state.get_mut(&(at, key));
    match rng.below(10) {
        0..4 => {
            let (vector, payload) = (rng.vector(DIM), rng.next().to_le_bytes()[..rng.below(9)].to_vec());
            batch.put(&docs[at], key, &vector, &payload).unwrap();
            state.insert((at, key), (vector, payload, false));
        }
        4..6 => {
            batch.remove(&docs[at], key).unwrap();
            state.remove(&(at, key));
        }
        6..8 => {
            let payload = rng.next().to_le_bytes();
            batch.set_payload(&docs[at], key, &payload).unwrap();
            if let Some((_, old, false)) = entry {
                *old = payload.to_vec();
            }
        }
        8 => {
            batch.mark_deleted(&docs[at], key).unwrap();
            entry.into_iter().for_each(|(_, _, marked)| *marked = true);
        }
        _ => {
            batch.unmark_deleted(&docs[at], key).unwrap();
            entry.into_iter().for_each(|(_, _, marked)| *marked = false);
        }
    }
}

fn expected(state: &State, at: usize, key: u64) -> Option<(Vec<f32>, Vec<u8>)> {
    let (vector, payload, marked) = state.get(&(at, key))?;
    (!marked).then(|| (vector.clone(), payload.clone()))
}

#[test]
fn a_batch_shows_what_its_commit_makes() {
    let seed = seed("batch");
    let rng = &mut Rng::new(seed);
    for _ in 0..40 {
        let store = Store::in_memory().unwrap();
        let docs = collections(&store);
        let mut state = State::new();
        for round in 0..6 {
            let mut batch = store.batch();
            let before = state.clone();
            let mut saved: Vec<(Savepoint, usize, State)> = Vec::new();
            for _ in 0..rng.below(40) {
                match rng.below(8) {
                    0 => saved.push((batch.savepoint(), batch.len(), state.clone())),
                    1 if !saved.is_empty() => {
                        // Those after it are gone with what they were after.
                        saved.truncate(rng.below(saved.len()) + 1);
                        let (savepoint, rows, back) = saved.pop().unwrap();
                        batch.rollback_to(savepoint).unwrap();
                        state = back;
                        assert_eq!(batch.len(), rows);
                    }
                    _ => change(rng, &docs, &mut batch, &mut state),
                }
                for (at, docs) in docs.iter().enumerate() {
                    for key in 0..KEYS {
                        let got = batch.get(docs, key).unwrap().map(|record| (record.vector, record.payload));
                        assert_eq!(got, expected(&state, at, key), "{at}/{key}, seed {seed}");
                        let stored = docs.get(key).unwrap().map(|record| (record.vector, record.payload));
                        assert_eq!(stored, expected(&before, at, key), "{at}/{key} was changed before the commit");
                    }
                }
            }
            if round == 3 {
                drop(batch);
                state = before;
            } else {
                batch.commit().unwrap();
            }
            for (at, docs) in docs.iter().enumerate() {
                for key in 0..KEYS {
                    let got = docs.get(key).unwrap().map(|record| (record.vector, record.payload));
                    assert_eq!(got, expected(&state, at, key), "{at}/{key} after the commit, seed {seed}");
                    let marked = state.get(&(at, key)).is_some_and(|(_, _, marked)| *marked);
                    assert_eq!(docs.get_marked(key).unwrap().is_some(), marked, "{at}/{key}, seed {seed}");
                }
            }
        }
        let report = store.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
    }
}

#[test]
fn a_savepoint_of_what_is_gone_is_refused() {
    let store = Store::in_memory().unwrap();
    let [docs, _] = collections(&store);
    let mut batch = store.batch();
    let start = batch.savepoint();
    batch.put(&docs, 1, &[1.0; DIM], b"one").unwrap();
    let one = batch.savepoint();
    batch.put(&docs, 2, &[2.0; DIM], b"two").unwrap();
    let two = batch.savepoint();
    batch.rollback_to(one).unwrap();
    assert!(matches!(batch.rollback_to(two), Err(Error::Setting(_))));
    // As many changes, but others.
    batch.put(&docs, 3, &[3.0; DIM], b"another").unwrap();
    assert!(matches!(batch.rollback_to(two), Err(Error::Setting(_))));
    assert_eq!(batch.len(), 2, "what is refused changes nothing");
    // And the same number of bytes: taken back is taken back.
    batch.rollback_to(one).unwrap();
    batch.put(&docs, 4, &[4.0; DIM], b"two").unwrap();
    assert!(matches!(batch.rollback_to(two), Err(Error::Setting(_))));
    // Of another batch, even if both are empty there.
    let mut second = store.batch();
    assert!(matches!(second.rollback_to(start), Err(Error::Setting(_))));
    second.put(&docs, 1, &[1.0; DIM], b"one").unwrap();
    assert!(matches!(second.rollback_to(one), Err(Error::Setting(_))) && second.len() == 1);
    batch.rollback_to(start).unwrap();
    assert!(batch.is_empty() && batch.get(&docs, 1).unwrap().is_none());
    let other = Store::in_memory().unwrap();
    let [foreign, _] = collections(&other);
    assert!(matches!(batch.get(&foreign, 1), Err(Error::OtherStore { .. })));
}
