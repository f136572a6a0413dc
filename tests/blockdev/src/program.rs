//! What is done to a store, and what it must hold then.

use crate::Result;
use lodestore::{Collection, Metric, Store};
use std::collections::BTreeMap;
use std::sync::Arc;

const DIM: usize = 16;
/// Keys are below this.
const KEYS: u64 = 60;
/// Operations of a life.
pub(crate) const OPS: usize = 260;

/// Numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// Below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    vector: Vec<f32>,
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// All or nothing: a value, or a removal, for each key.
    Write(Vec<(u64, Option<Arc<Value>>)>),
    Checkpoint,
    /// Whether to erase.
    Compact(bool),
}

pub(crate) type State = BTreeMap<u64, Arc<Value>>;

fn value(rng: &mut Rng, payload: u64) -> Value {
    let vector = (0..DIM).map(|_| f32::from(rng.next() as i8)).collect();
    Value { vector, payload: vec![rng.next() as u8; rng.below(payload) as usize] }
}

/// As [`ops`], with batches among them that take megabytes.
pub(crate) fn ops_with_large_ones(seed: u64) -> Vec<Op> {
    let (mut ops, mut rng) = (ops(seed), Rng(seed ^ 0x1A26E));
    for _ in 0..8 {
        let at = rng.below(ops.len() as u64) as usize;
        let payload = 64 << rng.below(14);
        ops[at] = Op::Write((0..8).map(|_| (rng.below(KEYS), Some(Arc::new(value(&mut rng, payload))))).collect());
    }
    ops
}

/// The operations of a seed, always the same.
pub(crate) fn ops(seed: u64) -> Vec<Op> {
    let mut rng = Rng(seed);
    let value = |rng: &mut Rng| Arc::new(value(rng, 300));
    let op = |_| match rng.below(40) {
        0 | 1 => Op::Checkpoint,
        2 => Op::Compact(rng.below(2) == 0),
        3..10 => Op::Write(vec![(rng.below(KEYS), None)]),
        kind => {
            let changes = if kind < 20 { 1 + rng.below(8) } else { 1 };
            let change = |_| {
                let key = rng.below(KEYS);
                (key, (rng.below(8) > 0).then(|| value(&mut rng)))
            };
            Op::Write((0..changes).map(change).collect())
        }
    };
    (0..OPS).map(op).collect()
}

/// The state after each number of operations.
pub(crate) fn states(ops: &[Op]) -> Vec<State> {
    let mut states = vec![State::new()];
    for op in ops {
        let mut state = states[states.len() - 1].clone();
        if let Op::Write(changes) = op {
            for (key, value) in changes {
                match value {
                    Some(value) => drop(state.insert(*key, value.clone())),
                    None => drop(state.remove(key)),
                }
            }
        }
        states.push(state);
    }
    states
}

/// Opens the store, or makes it, with checkpoints often enough that crashes fall into them.
pub(crate) fn open(directory: &std::path::Path) -> lodestore::Result<(Store, Collection<u64>)> {
    let store = Store::options().checkpoint_log_bytes(96 << 10).open(directory)?;
    let docs = store.collection::<u64>("docs").dim(DIM).metric(Metric::L2).m(4).open_or_create()?;
    Ok((store, docs))
}

pub(crate) fn carry_out(store: &Store, docs: &Collection<u64>, op: &Op) -> lodestore::Result<()> {
    match op {
        Op::Write(changes) => {
            let mut batch = store.batch();
            for (key, value) in changes {
                match value {
                    Some(value) => batch.put(docs, key, &value.vector, &value.payload)?,
                    None => batch.remove(docs, key)?,
                }
            }
            batch.commit()
        }
        Op::Checkpoint => store.checkpoint(),
        Op::Compact(erase) => docs.compact().erase(*erase).run().map(drop),
    }
}

/// All that the collection holds.
pub(crate) fn state(docs: &Collection<u64>) -> Result<State> {
    let mut found = State::new();
    for key in 0..KEYS {
        if let Some(record) = docs.get(key)? {
            found.insert(key, Arc::new(Value { vector: record.vector, payload: record.payload }));
        }
    }
    if found.len() as u64 != docs.len() {
        return Err(format!("{} records, a length of {}", found.len(), docs.len()).into());
    }
    Ok(found)
}

/// Opens the store and says which of the states numbered `least..=most` it holds.
pub(crate) fn check(directory: &std::path::Path, states: &[State], least: usize, most: usize) -> Result<usize> {
    let (store, docs) = open(directory).map_err(|error| format!("it does not open: {error}"))?;
    let found = state(&docs)?;
    let Some(n) = (least..=most).rev().find(|&n| states[n] == found) else {
        let other = states.iter().rposition(|state| *state == found);
        return Err(format!("operations 1 to {least} were acknowledged, {most} begun; it is as after {other:?}").into());
    };
    let report = store.verify()?;
    if !report.ok() {
        return Err(format!("verify: {:?}", report.problems).into());
    }
    // Searches are approximate; a graph that came back wrong would be missing far more than one in twenty.
    let mut missed = 0;
    for value in found.values() {
        let hits = docs.search(&value.vector).k(1).ef(500).run()?;
        missed += usize::from(hits.iter().next().is_none_or(|hit| hit.distance != 0.0));
    }
    if missed * 20 > found.len() {
        return Err(format!("{missed} of {} records are not found by their vectors", found.len()).into());
    }
    store.close()?;
    Ok(n)
}
