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
//! | [`seeded`] | numbers that follow from a seed |
//! | [`findings`] | what a check has found |
//! | [`ids`] | key, LSN, level and checksum of a slot |
//! | [`kernel`] | distances by hand for each kind of CPU (`unsafe`) |
//! | [`element`] | what components are kept as |
//! | [`user_metric`] | metrics of the program's own |
//! | [`metric`] | metrics and points |
//! | [`pending`] | slots not linked yet after a crash |
//! | [`readers`] | who is reading |
//! | `free` | slots that wait to be used again |
//! | `doubt` | nodes linked while others were linked |
//! | `journal` | slots that were used again |
//! | `windows` | slot numbers to addresses |
//! | `view` | typed views of mapped memory (`unsafe`) |
//! | [`keys`] | types of keys, and those that are not numbers |
//! | `marks` | which slots are marked as deleted |
//! | [`geometry`] | what a collection is; its meta file |
//! | [`heads`] | counters of each collection as of the last checkpoint |
//! | `rotation` | random rotations that need no training |
//! | `codes` | vectors in 8 or 4 bits a component |
//! | `packed` | neighbourhoods in one block each |
//! | [`scratch`] | candidate pool, visited marks |
//! | `cold` | whether vectors have to be read from the disk |
//! | `search` | the one search loop |
//! | `filter` | the search loop on packed neighbourhoods |
//! | `among` | the search loop among some of the nodes |
//! | `sums` | page checksums |
//! | `cow` | segments that change in place: dirty pages, captures |
//! | `images` | checkpoint files |
//! | `select` | neighbour selection |
//! | [`superblock`] | SUPER: which checkpoint holds |
//! | [`index`] | one collection's segments |
//! | `hot` | what every search reads, and keeping it in memory |
//! | `slots` | what goes into a slot: vector, code, id |
//! | `keyed` | the keys of slots |
//! | `pack` | an index's packed neighbourhoods |
//! | `reuse` | free slots, and how they get another vector |
//! | `soft` | records that are marked as deleted, and may come back |
//! | `distances` | what walks compare: vectors or codes |
//! | `crowd` | many copies of one vector |
//! | [`checkpoint`] | the segments' part of checkpoint and recovery |
//! | `paths` | which links a walk needs |
//! | `insert` | linking a node |
//! | `bulk` | linking many nodes together |
//! | `reach` | which nodes walks can reach |
//! | [`sweep`] | unlinking dead nodes |
//! | [`members`] | which slots hold the records of a set of keys |
//! | `wanted` | what a search is to find |
//! | `records` | slots to records |
//! | `rerank` | what codes have found, compared exactly |
//! | `scan` | comparing with all records, or all of some |
//! | `plan` | how records that are to be kept are found with the least work |
//! | [`query`] | queries |
//! | [`stream`] | walks that go on as far as they are asked to |
//! | `cover` | every byte of a collection's files |
//! | [`verify`] | checksums and graph invariants |
//! | `generation` | a collection's files written anew: slots, pages, names |
//! | [`compact`] | a collection without its dead slots |
//! | [`load`] | a graph that another library built |
//! | [`salvage`] | what is whole in a collection's files |

#[cfg(not(target_endian = "little"))]
compile_error!("lodestore maps its little-endian files directly; this target is big-endian");

pub mod seeded;
pub mod findings;
pub mod ids;
pub mod kernel;
pub mod element;
pub mod user_metric;
pub mod metric;
pub mod pending;
mod sync;
pub mod readers;
mod free;
mod doubt;
mod journal;
mod windows;
mod view;
pub mod keys;
mod marks;
pub mod geometry;
pub mod heads;
mod rotation;
mod codes;
mod packed;
pub mod scratch;
mod cold;
mod search;
mod filter;
mod among;
mod sums;
mod cow;
mod images;
mod select;
pub mod superblock;
pub mod index;
mod hot;
mod slots;
mod keyed;
mod pack;
mod reuse;
mod soft;
mod distances;
mod crowd;
pub mod checkpoint;
mod paths;
mod insert;
mod bulk;
mod reach;
pub mod sweep;
pub mod members;
mod wanted;
mod records;
mod rerank;
mod scan;
mod plan;
mod near;
pub mod query;
pub mod stream;
mod cover;
pub mod verify;
mod generation;
pub mod compact;
pub mod load;
pub mod salvage;

pub use checkpoint::{Frozen, recover_segments};
pub use element::{Element, Query};
pub use findings::{Damage, FileFindings, Findings, Steps};
pub use generation::remove_generation;
pub use geometry::Geometry;
pub use heads::{Head, Heads};
pub use ids::Id;
pub use index::{Index, Place};
pub use keys::{KeyType, MAX_KEY, NewKeys, StoredKey};
pub use marks::MarkedSlots;
pub use members::{Keep, Members, Progress};
pub use metric::Metric;
pub use pending::Replayed;
pub use readers::Reading;
pub use records::Neighbour;
pub use reuse::OwnedReading;
pub use salvage::{Overlay, Salvage, SalvagedKey, SlotId};
pub use scratch::Counters;
pub use search::{GoOn, Watch};
pub use slots::{SlotBytes, vector_crc};
pub use stream::{Step, Walk};
pub use superblock::{Super, Superblock};
pub use user_metric::{MAX_METRIC_NAME, MetricName, Metrics, UserMetric};
pub use verify::Checks;
pub use wanted::Wanted;
