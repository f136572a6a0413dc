//! A store of some thousand real records: bytes here and there in every file.

use super::bytes::told;
use super::files::{self, Files, Table, Watch};
use super::options;
use crate::support::data::{Data, Set};
use crate::support::model::{Rng, seed};
use lodestore::{Metric, Store};

const RECORDS: usize = 2000;
/// Bytes that are tried of each file, without and with `LODESTORE_EVERY_BYTE`.
const FLIPS: (usize, usize) = (8, 500);

fn store_of(glosses: &Set) -> Files {
    let dir = files::directory();
    let store = options().open(dir.path()).unwrap();
    let docs = store.collection::<u64>("docs").dim(glosses.dim).metric(Metric::Cosine).create().unwrap();
    let keys: Vec<u64> = (0..RECORDS as u64).collect();
    let vectors: Vec<f32> = (0..RECORDS).flat_map(|row| glosses.vector(row)).copied().collect();
    let payloads: Vec<Vec<u8>> = keys.iter().map(|key| format!("gloss {key}").into_bytes()).collect();
    docs.put_many(&keys, &vectors, Some(&payloads.iter().map(Vec::as_slice).collect::<Vec<_>>())).unwrap();
    store.close().unwrap();
    Files::read(dir.path())
}

/// Every record, by its key and by its vector; some of the latter.
fn difference(store: &Store, glosses: &Set) -> lodestore::Result<Option<String>> {
    let docs = store.collection::<u64>("docs").open()?;
    for row in 0..RECORDS {
        let record = docs.get(row as u64)?;
        let stored = record.is_some_and(|record| record.payload == format!("gloss {row}").into_bytes());
        if !stored {
            return Ok(Some(format!("record {row} is another one")));
        }
        if row % 97 == 0 {
            let hits = docs.search(glosses.vector(row)).k(1).ef(200).run()?;
            if hits.is_empty() || hits[0].distance > 1e-5 {
                return Ok(Some(format!("record {row} is not found: {hits:?}")));
            }
        }
    }
    Ok(None)
}

#[test]
fn every_file_of_a_larger_store_flipped_here_and_there() {
    let mut rng = Rng::new(seed("a larger store"));
    let Data { glosses, .. } = Data::load();
    let files = store_of(&glosses);
    let every = std::env::var_os("LODESTORE_EVERY_BYTE").is_some();
    let (watch, mut table, mut tried) = (Watch::start(), Table::default(), 0);
    for (name, bytes) in files.each() {
        // Most of them where something is.
        for at in files::places(bytes, if every { FLIPS.1 } else { FLIPS.0 }, &mut rng) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << rng.below(8);
            let path = files.write_with(name, &damaged);
            let mut kind = "";
            let case = watch.run(&format!("{name} byte {at}"), || {
                let difference =
                    |store: &Store| difference(store, &glosses).unwrap_or_else(|error| Some(error.to_string()));
                let (outcome, by) = told(path, difference);
                kind = by;
                outcome
            });
            table.note(name, kind, case);
            tried += 1;
        }
    }
    println!("{tried} bytes of {} in {RECORDS} records", files.each().map(|(_, bytes)| bytes.len()).sum::<usize>());
    table.finish();
}
