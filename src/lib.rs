//! lodestore: an embedded, persistent vector store.
//!
//! A [`Store`] is a directory. It holds named collections of records, each a key with a vector and a payload, and
//! finds the records nearest to a query by HNSW search directly on memory-mapped files. Every write is in a log
//! before it is acknowledged: after a crash the store holds what was acknowledged, whole.
//!
//! ```
//! use lodestore::{Metric, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("data.lodestore");
//! let store = Store::open(&path)?;
//! let docs = store.collection::<u64>("docs").dim(3).metric(Metric::Cosine).open_or_create()?;
//! docs.put(1, &[0.1, 0.9, 0.3], b"the first document")?; // on the disk when it returns
//! docs.put(2, &[0.8, 0.1, 0.5], b"the second")?;
//!
//! for hit in &docs.search(&[0.2, 0.8, 0.3]).k(1).with_payloads().run()? {
//!     println!("{} at {:.4}: {:?}", hit.key, hit.distance, hit.payload);
//! }
//! docs.remove(2)?;
//! store.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Handles are cheap to clone and usable from any thread; searches run while writes run. There is no capacity to
//! guess and no index to build. What each level of durability promises: [`Durability`].
#![forbid(unsafe_code)]

// Lower first: a module names only those above it.
mod error;
mod by_value;
mod findings;
mod graph;
pub mod foreign;
mod clock;
mod control;
mod key;
mod tags;
mod tag_filter;
mod budget;
mod options;
mod codes;
mod components;
mod op;
mod observe;
mod pages;
mod backend;
mod catalog;
mod recall;
mod scrub_report;
mod sync;
mod flight;
mod reader;
mod tagged;
mod shared;
mod memory;
mod recall_file;
mod absent;
mod info;
mod check;
mod write;
mod sweep;
mod checkpoint;
mod background;
mod syncer;
mod open;
mod generation;
mod scrub;
mod keeper;
mod recover;
mod read_only;
mod hits;
mod stop;
mod keyset;
mod tag_members;
mod which;
mod search;
mod search_many;
mod stream;
mod measure;
mod files;
mod compact;
mod record;
mod collection;
mod scan;
mod marking;
mod tagging;
mod batch;
#[cfg(feature = "serde")]
mod typed;
mod builder;
mod load;
mod unload;
mod stats;
mod verify;
mod backup;
mod store;
mod batch_rows;
mod repair;

pub use absent::AbsentReport;
pub use backup::{Backup, BackupInfo, BackupReport, Backups};
pub use batch::{Savepoint, WriteBatch};
pub use builder::{CollectionBuilder, MAX_NAME};
pub use check::MAX_PAYLOAD;
pub use codes::Codes;
pub use collection::Collection;
pub use compact::{Compact, CompactReport, CompactedCollection};
pub use components::{Bits, Components};
pub use control::Control;
pub use error::{Error, Result};
pub use graph::Graph;
pub use half::{bf16, f16};
pub use hits::{Hit, Hits, Plan, SearchStats};
pub use info::CollectionInfo;
pub use key::{AsKey, Key};
pub use keyset::KeySet;
pub use load::{Load, Loaded};
pub use lodestore_engine::{Element, KeyType, MAX_KEY, Metric, MetricName, UserMetric};
pub use measure::MeasureRecall;
pub use memory::MemoryStats;
pub use options::{Durability, Residency, StoreOptions};
pub use recall::{RecallAt, RecallReport};
pub use record::Record;
pub use repair::{Loss, LossKind, RepairOptions, RepairReport, RepairedCollection, repair};
pub use scan::{KeyRange, Keys, Payloads, Records};
pub use scrub_report::ScrubReport;
pub use search::Search;
pub use search_many::{BatchHits, SearchMany};
pub use stats::StoreStats;
pub use stop::{Documents, Radius, StopCondition, Verdict};
pub use store::Store;
pub use stream::{Group, Groups, Stream};
pub use tag_filter::TagFilter;
pub use tags::{MAX_TAG_FIELD, MAX_TAG_VALUE, MAX_TAGS, TagValue, Tags};
#[cfg(feature = "serde")]
pub use typed::{Typed, TypedRecord};
pub use verify::{CollectionReport, Damage, FileReport, VerifyLevel, VerifyOptions, VerifyReport};

/// The storage seam: for running a store on something else than the file system.
pub mod disk {
    pub use lodestore_wal::{Disk, DiskFile, DiskLock, MemDisk, OsDisk};
}

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
