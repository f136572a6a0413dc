//! The storage seam and the write-ahead log of lodestore.
//!
//! Modules, lower first; a module names only those above it in this list:
//!
//! | module | what it does |
//! |---|---|
//! | [`error`] | what can go wrong, with the numbers |
//! | [`mutant`] | deliberate bugs, in test builds only |
//! | `sync` | locks and atomics that a model checker can replace |
//! | [`names`] | every file name |
//! | [`map`] | memory maps (`unsafe` lives here) |
//! | [`disk`] | the seam: real, in-memory and simulated disk |
//! | [`seats`] | readers in other processes, and what a writer must know of them |
//! | [`snapshot`] | some files of a disk as they were at one moment |
//! | [`poison`] | the first failed write is final |
//! | [`log`] | groups, group commit, rotation, replay |

pub mod error;
pub mod mutant;
mod sync;
pub mod names;
pub mod map;
pub mod disk;
pub mod seats;
pub mod snapshot;
pub mod poison;
pub mod log;

pub use disk::{Disk, DiskFile, DiskLock, MemDisk, OsDisk};
pub use error::{Error, Result};
pub use log::{Appender, Commit, Log, LogScan, LogStats, Record};
pub use map::{Map, Mapping, PAGE};
pub use poison::Poison;
pub use seats::{Seat, Session};
pub use snapshot::Snapshot;
