//! The C interface: `include/lodestore.h` is made from these functions.
//!
//! | module | what it does |
//! |---|---|
//! | `status` | status codes, error texts, and that no panic leaves |
//! | `handles` | numbers that stand for stores, collections and batches |
//! | `memory` | what callers point to |
//! | `types` | settings as C has them |
//! | [`store`] | stores |
//! | [`collection`] | collections and their records |
//! | [`search`] | searches |
//! | [`named`] | records and searches of keys that are text or bytes |
//! | [`batch`] | changes that happen all or not at all |

mod status;
mod handles;
mod memory;
mod types;
pub mod store;
pub mod collection;
pub mod search;
pub mod named;
pub mod batch;

pub use memory::Bytes;
pub use status::{Status, lodestore_error_text, lodestore_version};
pub use types::{Durability, Element, KeyType, Metric, Settings};
