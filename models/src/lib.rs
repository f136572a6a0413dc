//! Protocols between threads, run in every order (and with every value that the memory model lets a load see) by loom,
//! up to a number of preemptions. `tests/models.rs` runs them, each as it is and broken on purpose.
//!
//! | module | what runs |
//! |---|---|
//! | `readers` | the real `engine/src/readers.rs` |
//! | `publish` | a model of `engine/src/insert.rs`, `index.rs`: maps and files are cells here |
//! | `unlink` | a model of `engine/src/sweep.rs`, `insert.rs` and the store's gate: one list, one dead node |
//! | `reuse` | the real `readers.rs` and `free.rs` with a model of the rest: one list, one dead node, one checkpoint |
//! | `flight` | the real `src/flight.rs` |
//! | `group_commit` | the real `wal/src/log` on the simulated disk |
//!
//! Files of the other crates are included as they are; they take their locks and atomics from `crate::sync`, which here is
//! loom's.
// What is included brings its unit tests, which are for the real locks.
#![cfg(not(test))]

pub mod flight;
pub mod group_commit;
pub mod model;
pub mod publish;
pub mod readers;
pub mod reuse;
pub mod sync;
pub mod unlink;

/// What `wal/src/log` uses of its crate.
mod disk {
    pub(crate) use lodestore_wal::disk::*;
}
mod error {
    pub(crate) use lodestore_wal::error::*;
}
mod mutant {
    pub(crate) use lodestore_wal::mutant::*;
}
mod names {
    pub(crate) use lodestore_wal::names::*;
}
mod poison {
    pub(crate) use lodestore_wal::poison::*;
}

#[path = "../../wal/src/log/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "as in its own crate")]
mod log;
