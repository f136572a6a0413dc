//! Integration tests of the public crate, in one binary.

mod api;
mod ask;
mod backup;
mod batch;
mod bulk;
mod churn;
mod codes;
mod compact;
mod concurrency;
mod damage;
mod element;
mod filter;
mod input;
mod keys;
mod load;
mod marking;
mod memory;
mod metric;
mod mutants;
mod observe;
mod packed;
mod process;
mod reach;
mod readers;
mod recall;
mod recovery;
mod repair;
mod scan;
mod scrub;
mod tags;
mod tidy;
mod typed;
mod crash;

mod support {
    pub(crate) mod data;
    pub(crate) mod files;
    pub(crate) mod keyed;
    pub(crate) mod model;
}
