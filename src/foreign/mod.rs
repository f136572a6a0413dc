//! Index files of other libraries: read into a [`Graph`](crate::Graph), and written from one.
//!
//! Reading is a function from bytes to a graph or a typed error: every count and offset is compared with the bytes that
//! there are before anything is made of it. What the files do not say, the metric above all, the caller has to know.
//!
//! | library | read | written |
//! |---|---|---|
//! | hnswlib 0.2 to 0.8, `Index.save_index` | [`hnswlib::read`] | [`hnswlib::write`] |
//! | hnswlib, `BFIndex.save_index` | [`hnswlib::read_exact`] | [`hnswlib::write_exact`] |
//! | Voyager, formats 0 and 1 | [`voyager::read`] | |
//! | Chroma, the directory of a segment | [`chroma::read`] | |
//!
//! ```
//! use lodestore::{Graph, Store, foreign::hnswlib};
//! let mut graph = Graph::new(2, 16, 200);
//! graph.add(7, &[0.0, 1.0], &[&[]])?;
//! graph.set_entry(0);
//! let mut file = Vec::new();
//! hnswlib::write(&graph, 100, &mut file)?;
//! let read = hnswlib::read(&file, "index.bin", &hnswlib::Reading::default())?;
//! let store = Store::in_memory()?;
//! let docs = store.collection::<u64>("docs").load(&read.graph).run()?.collection;
//! assert_eq!(docs.get(7)?.unwrap().vector, [0.0, 1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bytes;
pub mod hnswlib;
pub mod voyager;
pub mod chroma;
