//! Integration tests of the public crate, in one binary.

mod api;
mod bulk;
mod codes;
mod concurrency;
mod damage;
mod element;
mod input;
mod packed;
mod process;
mod recall;
mod recovery;
mod tidy;
mod crash;

mod support {
    pub(crate) mod data;
    pub(crate) mod files;
    pub(crate) mod model;
}
