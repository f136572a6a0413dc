//! The victim: imports until it is killed, and says on its standard output what has been acknowledged.

use std::{
    io::{Write, stdout},
    path::Path,
    process::ExitCode,
};

use anyhow::Result;
use lodestore::{Durability, Store};

use super::{IMPORT, reader::Data, steps};

/// Records in a batch; a batch is on disk before it is acknowledged.
pub(super) const BATCH: u64 = 20;

/// Key `n` holds the vector and the text of gloss `n` modulo their number, so the import has no end of its own.
pub(crate) fn write_until_killed(path: &Path) -> Result<ExitCode> {
    let data = Data::load();
    let store = Store::options().create(false).durability(Durability::Sync).open(path)?;
    let collection = steps::create(&store, IMPORT, &data)?;
    let rows = data.glosses.len() as u64;
    let mut out = stdout().lock();
    let mut first = 0;
    loop {
        let keys: Vec<u64> = (first..first + BATCH).collect();
        let row = |key: &u64| (key % rows) as usize;
        let vectors: Vec<f32> = keys.iter().flat_map(|key| data.glosses.vector(row(key)).iter().copied()).collect();
        let payloads: Vec<&[u8]> = keys.iter().map(|key| data.glosses.texts[row(key)].as_bytes()).collect();
        collection.put_many(&keys, &vectors, Some(&payloads))?;
        first += BATCH;
        writeln!(out, "{first}")?;
        out.flush()?;
    }
}
