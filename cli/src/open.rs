//! Opening what is there, and nothing else: only `import` and `demo` make a store.

use std::path::Path;

use anyhow::{Context, Result};
use lodestore::{Collection, CollectionInfo, Store};

pub(crate) fn store(path: &Path) -> Result<Store> {
    Ok(Store::options().create(false).open(path)?)
}

/// An existing collection and the store that holds it.
pub(crate) fn collection(path: &Path, name: &str) -> Result<(Store, Collection<u64>, CollectionInfo)> {
    let store = store(path)?;
    let collection = store.collection::<u64>(name).open()?;
    let info = find(&store, name)?.context("the collection vanished while it was being opened")?;
    Ok((store, collection, info))
}

pub(crate) fn find(store: &Store, name: &str) -> Result<Option<CollectionInfo>> {
    Ok(store.collections()?.into_iter().find(|info| info.name == name))
}
