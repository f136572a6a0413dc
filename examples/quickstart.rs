//! Put, search, remove, reopen. Run with `cargo run --release --example quickstart`.

use lodestore::{Metric, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("colours.store");

    let store = Store::open(&path)?;
    // Dimension and metric are fixed when a collection is made, and stored with it.
    let colours = store.collection::<u64>("colours").dim(3).metric(Metric::L2).open_or_create()?;
    let named: [(&str, [f32; 3]); 6] = [
        ("red", [1.0, 0.0, 0.0]),
        ("orange", [1.0, 0.6, 0.0]),
        ("yellow", [1.0, 1.0, 0.0]),
        ("green", [0.0, 0.6, 0.0]),
        ("blue", [0.0, 0.0, 1.0]),
        ("grey", [0.5, 0.5, 0.5]),
    ];
    for (key, (name, rgb)) in named.iter().enumerate() {
        colours.put(key as u64, rgb, name.as_bytes())?; // on the disk when it returns
    }

    let salmon = [1.0, 0.5, 0.4];
    println!("near salmon:");
    let hits = colours.search(&salmon).k(3).with_payloads().run()?;
    for hit in &hits {
        let name = String::from_utf8_lossy(hit.payload.as_deref().unwrap_or_default());
        println!("  {name:8} at {:.2}", hit.distance);
    }
    assert_eq!(hits[0].payload.as_deref(), Some(&b"orange"[..]));
    assert!(hits[0].distance <= hits[1].distance, "nearest first");

    // The same key again replaces vector and payload in one step.
    colours.put(5, &[0.6, 0.6, 0.6], b"light grey")?;
    assert!(colours.remove(1)?, "there was an orange");
    assert!(!colours.remove(1)?, "and there is none any more");

    drop(colours);
    store.close()?;

    let store = Store::open(&path)?;
    let colours = store.collection::<u64>("colours").open()?; // the settings are in the store
    assert_eq!(colours.len(), 5);
    let grey = colours.get(5)?.expect("it was put");
    assert_eq!((grey.vector, grey.payload), (vec![0.6, 0.6, 0.6], b"light grey".to_vec()));
    assert!(colours.search(&salmon).k(10).run()?.iter().all(|hit| hit.key != 1));
    println!("after reopening: {} colours, without the orange", colours.len());
    Ok(())
}
