//! Integration tests of the public crate, in one binary.

mod api;
