//! Real vectors for tests: the demo's glosses, their MiniLM vectors, and the exact neighbours of 200 queries.

#![allow(dead_code, unused_imports, reason = "each test takes the part it needs")]

#[path = "../../demo/reader.rs"]
mod reader;

pub(crate) use reader::{Data, Set, TRUTH};
