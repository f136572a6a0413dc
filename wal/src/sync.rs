//! Locks and atomics of what is also run under a model checker: `models/` brings others of the same names.

pub(crate) use parking_lot::{Condvar, Mutex};
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
