//! Asks a store for the neighbours of many queries again and again, each time a line comes in, and prints the seconds it took:
//! what `benches/peers/drop_in.py` compares Python with.
//!
//! `batch STORE COLLECTION QUERIES K EF`: queries are f32, row by row. The store is opened for reading, beside whoever has it.

use std::io::{BufRead, stdin};
use std::time::Instant;

use lodestore::Store;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [store, collection, queries, k, ef] = &words[..] else { return Err("STORE COLLECTION QUERIES K EF".into()) };
    let queries = std::fs::read(queries)?;
    let queries: Vec<f32> = queries.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect();
    let store = Store::open_read_only(store)?;
    let docs = store.collection::<u64>(collection).open()?;
    let (k, ef) = (k.parse()?, ef.parse()?);
    for line in stdin().lock().lines() {
        line?;
        let started = Instant::now();
        let hits = docs.search_many(&queries).k(k).ef(ef).run()?;
        let seconds = started.elapsed().as_secs_f64();
        assert!(hits.rows() * docs.dim() == queries.len() && hits.keys(0).len() == k.min(docs.len() as usize));
        println!("{seconds}");
    }
    Ok(())
}
