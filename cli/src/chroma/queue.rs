//! What operations of the queue do.

use serde_json::{Map, Value};

use super::database::{Database, Operation, Result};

const ADD: i64 = 0;
const UPDATE: i64 = 1;
const UPSERT: i64 = 2;
const DELETE: i64 = 3;

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    /// It is made, or changed.
    Put,
    Remove,
    Nothing,
}

/// What an operation does with a record that is there, or is not.
pub(super) fn change(database: &Database, operation: &Operation, there: bool) -> Result<Change> {
    match (operation.kind, there) {
        (ADD, false) | (UPDATE, true) | (UPSERT, _) => Ok(Change::Put),
        (ADD, true) | (UPDATE, false) => Ok(Change::Nothing),
        (DELETE, _) => Ok(Change::Remove),
        (other, _) => Err(database.damaged(format!("operation {} of the queue is of kind {other}", operation.seq_id))),
    }
}

/// The vector of an operation, if it has one.
pub(super) fn vector(database: &Database, operation: &Operation, dim: usize) -> Result<Option<Vec<f32>>> {
    let Some(bytes) = &operation.vector else { return Ok(None) };
    let (words, rest) = bytes.as_chunks::<4>();
    if words.len() != dim || !rest.is_empty() {
        let (number, got) = (operation.seq_id, bytes.len());
        let what =
            format!("operation {number} of the queue has a vector of {got} bytes, where {} are expected", 4 * dim);
        return Err(database.damaged(what));
    }
    match operation.encoding.as_deref() {
        Some("FLOAT32") => Ok(Some(words.iter().map(|&word| f32::from_le_bytes(word)).collect())),
        Some("INT32") => Ok(Some(words.iter().map(|&word| i32::from_le_bytes(word) as f32).collect())),
        other => {
            let (number, other) = (operation.seq_id, other.unwrap_or("nothing"));
            Err(database.damaged(format!("operation {number} of the queue has a vector encoded as '{other}'")))
        }
    }
}

/// Takes over the metadata of an operation: null takes a key away, other keys stay.
pub(super) fn merge(database: &Database, operation: &Operation, into: &mut Map<String, Value>) -> Result<()> {
    let Some(text) = &operation.metadata else { return Ok(()) };
    let changed: Option<Map<String, Value>> = serde_json::from_str(text).map_err(|error| {
        database.damaged(format!("operation {} of the queue has metadata that are no JSON: {error}", operation.seq_id))
    })?;
    for (key, value) in changed.into_iter().flatten() {
        match value {
            Value::Null => drop(into.remove(&key)),
            value => drop(into.insert(key, value)),
        }
    }
    Ok(())
}
