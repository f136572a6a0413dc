//! The first failed write or sync is final.
//!
//! After a failed sync the kernel may mark lost pages clean, so trying again can succeed without the data being on
//! disk. A store therefore stops writing at once; reads go on, and only reopening, which reads what the disk really
//! holds, makes it writable again.

use crate::error::{Error, Result};
use std::sync::{Arc, OnceLock};

/// Shared by everything that writes to one store.
#[derive(Clone, Debug, Default)]
pub struct Poison(Arc<OnceLock<Reason>>);

#[derive(Debug)]
struct Reason {
    text: String,
    /// Of a full disk: what was to grow, and by how much.
    full: Option<(String, u64)>,
}

impl Poison {
    /// A store that has not failed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops all writing, for `why`. The first reason stays.
    pub fn set(&self, why: &dyn std::fmt::Display) {
        let _ = self.0.set(Reason { text: why.to_string(), full: None });
    }

    /// The reason, once poisoned.
    pub fn reason(&self) -> Option<&str> {
        self.0.get().map(|reason| reason.text.as_str())
    }

    /// The [`Error::NoSpace`] that was the first failure a [`guard`](Self::guard) has seen, if it was one: for what is
    /// only being made, and is not to be reopened.
    pub fn no_space(&self) -> Option<Error> {
        let (path, needed) = self.0.get()?.full.clone()?;
        Some(Error::NoSpace { path, needed })
    }

    /// # Errors
    /// [`Error::Poisoned`] if a write has failed before.
    pub fn check(&self) -> Result<()> {
        match self.0.get() {
            None => Ok(()),
            Some(first) => Err(Error::Poisoned { first: first.text.clone() }),
        }
    }

    /// Passes `result` through, poisoning the store if it is an error.
    pub fn guard<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            let full = match error {
                Error::NoSpace { path, needed } => Some((path.clone(), *needed)),
                _ => None,
            };
            let _ = self.0.set(Reason { text: error.to_string(), full });
        }
        result
    }
}
