//! Mapped segments, HNSW graph and distance kernels of lodestore.
//!
//! ```text
//! insert:  reserve ─ take_slot ─ write_slots ─ link ─┬─ search_level (query side: search) ─ kernel
//!                                                     └─ select ─ touch ─ store          ─ cow
//! checkpoint:  freeze ─ sync_slots ─ write ─ [SUPER] ─ apply ─ [SUPER] ─ release
//! ```
//!
//! Modules, lower first; a module names only those above it in this list:
//!
//! | module | what it does |
//! |---|---|
//! | [`kernel`] | distances by hand for each kind of CPU (`unsafe`) |
//! | [`metric`] | metrics and points |
//! | [`geometry`] | what a collection is; its meta file |
//! | [`ids`] | key, LSN, level and checksum of a slot |
//! | [`heads`] | counters of each collection as of the last checkpoint |
//! | [`superblock`] | SUPER: which checkpoint holds |
//! | `windows` | slot numbers to addresses |
//! | `view` | typed views of mapped memory (`unsafe`) |
//! | `sums` | page checksums |
//! | `cow` | segments that change in place: dirty pages, captures |
//! | `images` | checkpoint files |
//! | [`scratch`] | candidate pool, visited marks |
//! | `search` | the one search loop |
//! | `select` | neighbour selection |
//! | `pending` | slots not linked yet after a crash |
//! | [`index`] | one collection's segments |
//! | `insert` | linking a node |
//! | [`query`] | queries |
//! | [`checkpoint`] | the segments' part of checkpoint and recovery |
//! | [`verify`] | checksums and graph invariants |

#[cfg(not(target_endian = "little"))]
compile_error!("lodestore maps its little-endian files directly; this target is big-endian");

pub mod checkpoint;
mod cow;
pub mod geometry;
pub mod heads;
pub mod ids;
mod images;
pub mod index;
mod insert;
pub mod kernel;
pub mod metric;
mod pending;
pub mod query;
pub mod scratch;
mod search;
mod select;
mod sums;
pub mod superblock;
pub mod verify;
mod view;
mod windows;

pub use checkpoint::{Frozen, recover_segments};
pub use geometry::Geometry;
pub use heads::{Head, Heads};
pub use ids::Id;
pub use index::{Index, Place, vector_crc};
pub use metric::Metric;
pub use query::Neighbour;
pub use scratch::Counters;
pub use superblock::{Super, Superblock};
pub use verify::Findings;
