//! Numbers that stand for stores and collections. A number is given out once, so that one that is not open any more is
//! never mistaken for another.

use crate::status::{Failure, Result, Status};
use lodestore::{Collection, Store};
use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

enum Object {
    Store(Store),
    Collection(Collection<u64>),
}

#[derive(Default)]
struct Table {
    last: u64,
    open: HashMap<u64, Object>,
}

static TABLE: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

fn add(object: Object) -> u64 {
    let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
    table.last += 1;
    let handle = table.last;
    table.open.insert(handle, object);
    handle
}

fn refused<T>(handle: u64, what: &str) -> Result<T> {
    Err(Failure(Status::BadHandle, format!("{handle} is not an open {what}")))
}

pub(crate) fn add_store(store: Store) -> u64 {
    add(Object::Store(store))
}

pub(crate) fn add_collection(collection: Collection<u64>) -> u64 {
    add(Object::Collection(collection))
}

pub(crate) fn store(handle: u64) -> Result<Store> {
    match TABLE.read().unwrap_or_else(PoisonError::into_inner).open.get(&handle) {
        Some(Object::Store(store)) => Ok(store.clone()),
        _ => refused(handle, "store"),
    }
}

pub(crate) fn collection(handle: u64) -> Result<Collection<u64>> {
    match TABLE.read().unwrap_or_else(PoisonError::into_inner).open.get(&handle) {
        Some(Object::Collection(collection)) => Ok(collection.clone()),
        _ => refused(handle, "collection"),
    }
}

/// Forgets a store's handle.
pub(crate) fn take_store(handle: u64) -> Result<Store> {
    let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
    match table.open.remove(&handle) {
        Some(Object::Store(store)) => Ok(store),
        Some(other) => {
            table.open.insert(handle, other);
            refused(handle, "store")
        }
        None => refused(handle, "store"),
    }
}

/// Forgets a collection's handle. What it keeps open goes after the table is free again.
pub(crate) fn take_collection(handle: u64) -> Result<Collection<u64>> {
    let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
    match table.open.remove(&handle) {
        Some(Object::Collection(collection)) => Ok(collection),
        Some(other) => {
            table.open.insert(handle, other);
            refused(handle, "collection")
        }
        None => refused(handle, "collection"),
    }
}
