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
                _ => match disk.open(&path) {
                    Ok(file) => files.push((path, file.len()?)),
                    // Gone with its generation, or none of ours, and no file at all.
                    Err(error) if error.is_not_found() || !is_ours(&path) => {}
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a store has files of that name.
fn is_ours(path: &str) -> bool {
    let entry = path.rsplit('/').next().unwrap_or(path);
    match names::parent(path) {
        "" => [names::SUPER, names::HEADS, names::CATALOG].contains(&path),
        names::WAL_DIR => names::parse_wal(entry).is_some(),
        names::CKPT_DIR => names::parse_ckpt(entry).is_some(),
        _ => names::parse_part(path).is_some() || names::parse_recall(path).is_some(),
    }
}

/// Length of all together.
pub(crate) fn bytes(disk: &dyn Disk) -> Result<u64> {
    Ok(list(disk)?.iter().map(|(_, bytes)| bytes).sum())
}
