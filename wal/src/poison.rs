//! The first failed write or sync is final.
//!
//! After a failed sync the kernel may mark lost pages clean, so trying again can succeed without the data being on
//! disk. A store therefore stops writing at once; reads go on, and only reopening, which reads what the disk really
//! holds, makes it writable again.

use crate::error::{Error, Result};
use std::sync::{Arc, OnceLock};

/// Shared by everything that writes to one store.
#[derive(Clone, Debug, Default)]
pub struct Poison(Arc<OnceLock<String>>);

impl Poison {
    /// A store that has not failed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops all writing, for `why`. The first reason stays.
    pub fn set(&self, why: &dyn std::fmt::Display) {
        let _ = self.0.set(why.to_string());
    }

    /// The reason, once poisoned.
    pub fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// # Errors
    /// [`Error::Poisoned`] if a write has failed before.
    pub fn check(&self) -> Result<()> {
        match self.0.get() {
            None => Ok(()),
            Some(first) => Err(Error::Poisoned { first: first.clone() }),
        }
    }

    /// Passes `result` through, poisoning the store if it is an error.
    pub fn guard<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.set(error);
        }
        result
    }
}
