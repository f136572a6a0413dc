//! Numbers that stand for stores, collections and batches. A number is given out once, so that one that is not open any more
//! is never mistaken for another.

use crate::status::{Failure, Result, Status};
use lodestore::{Collection, Store, WriteBatch};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

enum Object {
    Store(Store),
    Collection(Collection<u64>),
    Named(Named),
    Batch(Batch),
}

/// A collection whose keys are names.
#[derive(Clone)]
pub(crate) enum Named {
    Text(Collection<str>),
    Bytes(Collection<[u8]>),
}

/// Does the same with a collection of whatever names, whose type of keys it calls as it is told.
macro_rules! with_named {
    ($named:expr, $collection:ident, $key:ident => $does:expr) => {
        match $named {
            $crate::handles::Named::Text($collection) => {
                type $key = str;
                $does
            }
            $crate::handles::Named::Bytes($collection) => {
                type $key = [u8];
                $does
            }
        }
    };
}
pub(crate) use with_named;

/// A batch that may be used from several threads.
#[derive(Clone)]
pub(crate) struct Batch(Arc<Mutex<Option<WriteBatch>>>);

impl Batch {
    pub(crate) fn new(batch: WriteBatch) -> Self {
        Self(Arc::new(Mutex::new(Some(batch))))
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut WriteBatch) -> lodestore::Result<()>) -> Result<()> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(batch) => Ok(change(batch)?),
            None => Err(Failure(Status::BadHandle, "the batch was committed".into())),
        }
    }

    pub(crate) fn take(&self) -> Option<WriteBatch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Default)]
struct Table {
    last: u64,
    open: HashMap<u64, Object>,
}

static TABLE: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

fn read() -> RwLockReadGuard<'static, Table> {
    TABLE.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> RwLockWriteGuard<'static, Table> {
    TABLE.write().unwrap_or_else(PoisonError::into_inner)
}

fn add(object: Object) -> u64 {
    let mut table = write();
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

pub(crate) fn add_named(named: Named) -> u64 {
    add(Object::Named(named))
}

pub(crate) fn add_batch(batch: Batch) -> u64 {
    add(Object::Batch(batch))
}

pub(crate) fn store(handle: u64) -> Result<Store> {
    match read().open.get(&handle) {
        Some(Object::Store(store)) => Ok(store.clone()),
        _ => refused(handle, "store"),
    }
}

/// What a store has become is what its handle stands for from now on, if it is still open.
pub(crate) fn replace_store(handle: u64, store: Store) {
    if let Some(Object::Store(there)) = write().open.get_mut(&handle) {
        *there = store;
    }
}

pub(crate) fn collection(handle: u64) -> Result<Collection<u64>> {
    match read().open.get(&handle) {
        Some(Object::Collection(collection)) => Ok(collection.clone()),
        Some(Object::Named(_)) => refused(handle, "collection of numbers; its keys are names"),
        _ => refused(handle, "collection"),
    }
}

pub(crate) fn named(handle: u64) -> Result<Named> {
    match read().open.get(&handle) {
        Some(Object::Named(named)) => Ok(named.clone()),
        Some(Object::Collection(_)) => refused(handle, "collection of names; its keys are numbers"),
        _ => refused(handle, "collection"),
    }
}

/// A collection of whatever keys.
pub(crate) enum Any {
    Numbers(Collection<u64>),
    Names(Named),
}

pub(crate) fn any(handle: u64) -> Result<Any> {
    match read().open.get(&handle) {
        Some(Object::Collection(collection)) => Ok(Any::Numbers(collection.clone())),
        Some(Object::Named(named)) => Ok(Any::Names(named.clone())),
        _ => refused(handle, "collection"),
    }
}

pub(crate) fn batch(handle: u64) -> Result<Batch> {
    match read().open.get(&handle) {
        Some(Object::Batch(batch)) => Ok(batch.clone()),
        _ => refused(handle, "batch"),
    }
}

/// Takes an object out, if it is such a one. What it keeps open goes after the table is free again.
fn take(handle: u64, is: impl FnOnce(&Object) -> bool, what: &str) -> Result<Object> {
    let mut table = write();
    let is = table.open.get(&handle).is_some_and(is);
    is.then(|| table.open.remove(&handle)).flatten().map_or_else(|| refused(handle, what), Ok)
}

/// Forgets a store's handle.
pub(crate) fn take_store(handle: u64) -> Result<Store> {
    match take(handle, |object| matches!(object, Object::Store(_)), "store")? {
        Object::Store(store) => Ok(store),
        _ => refused(handle, "store"),
    }
}

/// Forgets a collection's handle.
pub(crate) fn take_collection(handle: u64) -> Result<()> {
    let is = |object: &Object| matches!(object, Object::Collection(_) | Object::Named(_));
    take(handle, is, "collection").map(drop)
}

/// Forgets a batch's handle.
pub(crate) fn take_batch(handle: u64) -> Result<Batch> {
    match take(handle, |object| matches!(object, Object::Batch(_)), "batch")? {
        Object::Batch(batch) => Ok(batch),
        _ => refused(handle, "batch"),
    }
}
