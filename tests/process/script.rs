//! What a writer does until it is killed, and what the store must hold then.

use super::say;
use crate::support::data::{Data, Set};
use crate::support::keyed::Numbered;
use crate::support::model::{Model, Rng};
use lodestore::{Collection, Durability, Metric, Store, StoreOptions};
use std::path::Path;
use std::time::Duration;

/// Rows that one `put_many` of an importing thread writes, and how many such blocks each of two threads has.
pub(super) const BLOCK: usize = 32;
pub(super) const BLOCKS: usize = 45;
/// First keys of the records that are edited one by one and of those that batches write.
pub(super) const EDITS: u64 = 1 << 20;
pub(super) const BATCHES: u64 = 1 << 21;
pub(super) const BATCH: u64 = 8;

/// Calls that returned: blocks of each importer, edits, batches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Progress {
    pub(super) blocks: [usize; 2],
    pub(super) edits: usize,
    pub(super) batches: usize,
}

impl Progress {
    pub(super) fn to_text(self) -> String {
        format!("{} {} {} {}", self.blocks[0], self.blocks[1], self.edits, self.batches)
    }

    pub(super) fn from_text(text: &str) -> Self {
        let n: Vec<usize> = text.split(' ').map(|n| n.parse().unwrap()).collect();
        Self { blocks: [n[0], n[1]], edits: n[2], batches: n[3] }
    }
}

pub(super) fn options(job: &str) -> StoreOptions {
    let durability = match job {
        "sync" => Durability::Sync,
        "every" => Durability::Every(Duration::from_millis(20)),
        "buffered" => Durability::Buffered,
        other => panic!("{other}"),
    };
    // Checkpoints often enough that kills fall into them too.
    Store::options().durability(durability).checkpoint_log_bytes(256 << 10).checkpoint_dirty_bytes(512 << 10)
}

pub(super) fn collections(store: &Store, dim: usize) -> (Collection<u64>, Collection<str>) {
    let docs = store.collection::<u64>("docs").dim(dim).metric(Metric::Cosine).ef_construction(100);
    (docs.open_or_create().unwrap(), store.collection::<str>("notes").dim(4).open_or_create().unwrap())
}

pub(super) fn write_until_killed(job: &str, path: &Path, from: Progress) {
    let glosses = Data::load().glosses;
    let store = options(job).open(path).unwrap();
    let (docs, notes) = collections(&store, glosses.dim);
    say("ready");
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (docs, glosses) = (&docs, &glosses);
            scope.spawn(move || {
                for block in from.blocks[thread]..BLOCKS {
                    let rows: Vec<usize> = block_rows(thread, block).collect();
                    let keys: Vec<u64> = rows.iter().map(|&row| row as u64).collect();
                    let vectors: Vec<f32> = rows.iter().flat_map(|&row| glosses.vector(row)).copied().collect();
                    let payloads: Vec<&[u8]> = rows.iter().map(|&row| glosses.texts[row].as_bytes()).collect();
                    docs.put_many(&keys, &vectors, Some(&payloads)).unwrap();
                    say(&format!("block {thread}"));
                }
            });
        }
        let (mut edits, mut batches) = (from.edits, from.batches);
        loop {
            for _ in 0..5 {
                match edit(edits) {
                    (key, Some(row)) => docs.put(key, glosses.vector(row), edit_payload(edits).as_bytes()).unwrap(),
                    (key, None) => drop(docs.remove(key).unwrap()),
                }
                edits += 1;
                say("edit");
            }
            let mut batch = store.batch();
            for (key, row) in batch_rows(batches) {
                batch.put(&docs, key, glosses.vector(row), batch_payload(batches).as_bytes()).unwrap();
                batch.put(&notes, str::key(key), &glosses.vector(row)[..4], b"").unwrap();
            }
            batch.remove(&docs, batch_removes(batches)).unwrap();
            batch.commit().unwrap();
            batches += 1;
            say("batch");
            // Changes no record; the importers wait.
            if batches % 12 == 7 {
                docs.compact().erase(batches % 24 == 7).run().unwrap();
            }
        }
    });
}

pub(super) fn block_rows(thread: usize, block: usize) -> std::ops::Range<usize> {
    let first = (2 * block + thread) * BLOCK;
    first..first + BLOCK
}

/// The n-th edit: a key, and the row it is put from; `None` = removed.
fn edit(n: usize) -> (u64, Option<usize>) {
    let mut rng = Rng::new(n as u64);
    let key = EDITS + rng.below(40) as u64;
    (key, (rng.below(4) > 0).then(|| 3000 + rng.below(1900)))
}

fn edit_payload(n: usize) -> String {
    format!("edit {n}")
}

/// The keys of the n-th batch, each with its row. They come round again, so that batches also replace records.
fn batch_rows(n: usize) -> impl Iterator<Item = (u64, usize)> {
    let first = BATCHES + (n % 16) as u64 * BATCH;
    (first..first + BATCH).map(move |key| (key, 3000 + (n * 13 + key as usize) % 1900))
}

fn batch_payload(n: usize) -> String {
    format!("batch {n}")
}

/// The n-th batch removes a record of the one before.
fn batch_removes(n: usize) -> u64 {
    BATCHES + ((n + 15) % 16) as u64 * BATCH
}

/// What the store holds after that much work.
pub(super) fn expected(glosses: &Set, done: Progress) -> (Model, Model) {
    let (mut docs, mut notes) = (Model::default(), Model::default());
    for (thread, blocks) in done.blocks.into_iter().enumerate() {
        for row in (0..blocks).flat_map(|block| block_rows(thread, block)) {
            docs.put(row as u64, glosses.vector(row), glosses.texts[row].as_bytes());
        }
    }
    for n in 0..done.edits {
        match edit(n) {
            (key, Some(row)) => docs.put(key, glosses.vector(row), edit_payload(n).as_bytes()),
            (key, None) => docs.remove(key),
        }
    }
    for n in 0..done.batches {
        for (key, row) in batch_rows(n) {
            docs.put(key, glosses.vector(row), batch_payload(n).as_bytes());
            notes.put(key, &glosses.vector(row)[..4], b"");
        }
        docs.remove(batch_removes(n));
    }
    (docs, notes)
}
