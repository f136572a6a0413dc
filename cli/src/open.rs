//! Opening what is there, and nothing else: only `import` and `demo` make a store.

use std::path::Path;

use anyhow::Result;
use lodestore::{CollectionInfo, Store, StoreOptions};

use crate::args::ReadingArgs;

pub(crate) fn store(path: &Path) -> Result<Store> {
    Ok(Store::options().create(false).open(path)?)
}

/// For commands that only read.
pub(crate) fn reading(path: &Path, reading: ReadingArgs, options: StoreOptions) -> Result<Store> {
    Ok(if reading.read_only { options.open_read_only(path)? } else { options.create(false).open(path)? })
}

pub(crate) fn find(store: &Store, name: &str) -> Result<Option<CollectionInfo>> {
    Ok(store.collections()?.into_iter().find(|info| info.name == name))
}
