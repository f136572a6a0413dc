//! Atomics of what is also run under a model checker: `models/` brings others of the same names.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
