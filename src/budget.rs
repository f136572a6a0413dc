//! How a store's memory is divided, if it was told how much to take.
//!
//! | part | of the budget | what keeps to it |
//! |---|---|---|
//! | changed pages, until a checkpoint has written them | a quarter | a checkpoint is due at half of it, and at all of it writers wait for one |
//! | the catalogue's pages | a sixteenth | redb's cache is no larger |
//! | what every search reads: links, codes, ids | a half | if all is no more, it is kept in memory; if not, nothing is, and what was mapped is given back |
//! | the rest: staged rows, the log's buffers, searches' own | what is left | not counted |
//!
//! Pages that a checkpoint is writing are changed pages that it gives back at its end; pages that change meanwhile are
//! new ones. So together they are a quarter and a half of that at most, and what one write changes.

use crate::error::{Error, Result};

/// The least budget that makes sense.
const LEAST: u64 = 32 << 20;

/// A store's budget, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget(pub(crate) u64);

impl Budget {
    /// # Errors
    /// [`Error::Setting`] if it is too small.
    pub(crate) fn check(self) -> Result<()> {
        if self.0 >= LEAST {
            return Ok(());
        }
        Err(Error::Setting(format!("a memory budget of {} bytes; the least is {LEAST} (32 MiB)", self.0)))
    }

    /// Of changed pages, at which writers wait; at half of it a checkpoint is due.
    pub(crate) fn changed(self) -> u64 {
        self.0 / 4
    }

    /// Of the catalogue's pages.
    pub(crate) fn catalog(self) -> u64 {
        self.0 / 16
    }

    /// Of what every search reads.
    pub(crate) fn hot(self) -> u64 {
        self.0 / 2
    }
}
