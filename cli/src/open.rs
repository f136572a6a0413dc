//! Opening what is there, and nothing else: only `import` and `demo` make a store.

use std::path::Path;

use anyhow::{Context, Result};
use lodestore::{Collection, CollectionInfo, Store};

pub(crate) fn store(path: &Path) -> Result<Store> {
    Ok(Store::options().create(false).open(path)?)
}

/// An existing collection and what it is.
pub(crate) fn collection(store: &Store, name: &str) -> Result<(Collection<u64>, CollectionInfo)> {
    let collection = store.collection::<u64>(name).open()?;
    let info = find(store, name)?.context("the collection vanished while it was being opened")?;
    Ok((collection, info))
}

pub(crate) fn find(store: &Store, name: &str) -> Result<Option<CollectionInfo>> {
    Ok(store.collections()?.into_iter().find(|info| info.name == name))
}
