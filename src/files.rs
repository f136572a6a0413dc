//! The files of a store.

use crate::error::Result;
use lodestore_wal::{Disk, names};

/// Name, relative to the store's directory, and length of each, by name.
pub(crate) fn list(disk: &dyn Disk) -> Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        let names = match disk.list(&directory) {
            // A generation of a collection may go between the two calls.
            Err(error) if error.is_not_found() => continue,
            names => names?,
        };
        for name in names {
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            match path.as_str() {
                names::LOCK => {}
                names::WAL_DIR | names::CKPT_DIR | names::COLLECTIONS_DIR => directories.push(path),
                _ if names::parse_collection_dir(&path).is_some() => directories.push(path),
                // A file, too; one that is none of ours does not count.
                _ => {
                    if let Ok(file) = disk.open(&path) {
                        files.push((path, file.len()?));
                    }
                }
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Length of all together.
pub(crate) fn bytes(disk: &dyn Disk) -> Result<u64> {
    Ok(list(disk)?.iter().map(|(_, bytes)| bytes).sum())
}
