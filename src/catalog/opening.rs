//! A catalogue as a crash, a clean close or a writer in another process has left it.

use super::Catalog;
use crate::backend::Backend;
use crate::error::{Error, Result};
use lodestore_engine::Super;
use lodestore_wal::{DiskFile, Poison};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Opens the catalogue of the store of that state. `rests`: until it is told otherwise nothing is written. `cache`: bytes of
/// pages to keep. Also returns what is to be set once a failure to write is no longer one of the opening.
pub(crate) fn open(
    file: &Arc<dyn DiskFile>,
    poison: &Poison,
    state: &Super,
    (rests, cache): (bool, usize),
) -> Result<(Catalog, Arc<AtomicBool>)> {
    let open = |torn: bool| {
        let backend = Backend::new(file.clone(), poison.clone())?.with_cache(cache);
        let (hides_failures, torn_may_be) = (backend.hides_failures(), backend.torn_may_be());
        if rests {
            backend.rest();
        }
        torn_may_be.store(torn, Ordering::Relaxed);
        let catalog = Catalog::open(backend, state.uuid)?;
        torn_may_be.store(false, Ordering::Relaxed);
        Ok((catalog, hides_failures))
    };
    match open(false) {
        Err(damage @ Error::Corrupt { .. }) if !state.clean => match open(true) {
            Err(Error::Corrupt { .. }) => Err(damage),
            // A disk that fails meanwhile says nothing of damage.
            opened => opened,
        },
        opened => opened,
    }
}
