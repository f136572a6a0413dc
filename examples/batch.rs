//! Batches: changes to several collections that happen all or not at all. Run with
//! `cargo run --release --example batch`.

use lodestore::{Error, Metric, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("library.store");
    let store = Store::open(&path)?;
    let titles = store.collection::<u64>("titles").dim(2).open_or_create()?;
    let pages = store.collection::<u64>("pages").dim(3).metric(Metric::Cosine).open_or_create()?;

    // A book is one title and three pages, and must never be seen by halves after a crash.
    let book = 7;
    let mut batch = store.batch();
    batch.put(&titles, book, &[0.2, 0.9], b"On Stores")?;
    for page in 0..3u64 {
        let text = format!("page {page}");
        batch.put(&pages, book * 1000 + page, &[1.0, page as f32, 0.5], text.as_bytes())?;
    }
    assert_eq!((titles.len(), pages.len()), (0, 0), "nothing happens before the commit");
    batch.commit()?; // one sync for all four
    assert_eq!((titles.len(), pages.len()), (1, 3));

    // The same for taking it out. A batch may also put and remove the same key; the last change wins.
    let mut batch = store.batch();
    batch.remove(&titles, book)?;
    for page in 0..3u64 {
        batch.remove(&pages, book * 1000 + page)?;
    }
    // Dropped, it does nothing.
    drop(batch);
    assert_eq!((titles.len(), pages.len()), (1, 3));

    // What cannot be stored is refused when it is added, and the rest of the batch stays as it was.
    let mut batch = store.batch();
    batch.put(&titles, 8, &[0.5, 0.5], b"Another")?;
    let refused = batch.put(&titles, 9, &[0.5], b"too short");
    assert!(matches!(refused, Err(Error::Dimension { expected: 2, got: 1, .. })));
    assert_eq!(batch.len(), 1);
    batch.commit()?;

    drop((titles, pages));
    store.close()?;
    let store = Store::open(&path)?;
    let titles = store.collection::<u64>("titles").open()?;
    assert_eq!(titles.get(book)?.map(|record| record.payload), Some(b"On Stores".to_vec()));
    println!("{} titles and {} pages, whole", titles.len(), store.collection::<u64>("pages").open()?.len());
    Ok(())
}
