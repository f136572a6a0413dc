//! What readers in other processes read of the catalogue's file stays as it is.
//!
//! redb writes over a page once no transaction can see what was there. A reader in another process is not known to it. So
//! the state that each checkpoint makes durable is kept by a transaction of ours, a *pin*, until the next one has been made
//! durable and nobody has a [seat](lodestore_wal::seats) that may need it. The pin is there before any page of that state
//! can go: nothing is applied between the commit and the pin.

use super::{Catalog, failed, guarded};
use crate::error::{Error, Result};
use lodestore_wal::seats::oldest;
use redb::{Database, ReadTransaction, ReadableDatabase};
use std::fmt;

/// States that are kept, each with the first checkpoint that it belongs to, oldest first.
#[derive(Default)]
pub(crate) struct Pins(Vec<(u64, ReadTransaction)>);

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(number, _)| number)).finish()
    }
}

/// A database that another one has taken the place of, with what is kept of it: that goes last, when it writes no more.
#[derive(Debug)]
pub(super) struct Replaced {
    db: Option<Database>,
    _pins: Pins,
}

impl Replaced {
    pub(super) fn new(db: Option<Database>, pins: Pins) -> Self {
        Self { db, _pins: pins }
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        // It writes what it saves for its next opening, should there be one.
        let _ = guarded(|| {
            drop(self.db.take());
            Ok(())
        });
    }
}

impl Pins {
    /// The checkpoint of the newest one.
    pub(super) fn newest(&self) -> Option<u64> {
        self.0.last().map(|(number, _)| *number)
    }
}

impl Catalog {
    /// Keeps what is durable, which belongs to checkpoint `number` and those that follow until the next pin. Nothing has
    /// been applied since it was made so.
    pub(crate) fn pin(&self, number: u64) -> Result<()> {
        self.pin_in(self.db.read().as_ref().ok_or(Error::Closed)?, number)
    }

    pub(super) fn pin_in(&self, db: &Database, number: u64) -> Result<()> {
        let txn = guarded(|| db.begin_read().map_err(failed))?;
        self.pins.lock().0.push((number, txn));
        Ok(())
    }

    /// Lets go of what no reader with these seats needs, nor one that comes now.
    pub(crate) fn unpin(&self, seats: &[Option<u64>]) {
        let (oldest, mut pins) = (oldest(seats), self.pins.lock());
        // The last one that the oldest reader may need.
        let needed = pins.0.iter().rev().map(|(number, _)| *number).find(|&number| number <= oldest).unwrap_or(0);
        pins.0.retain(|(number, _)| *number >= needed);
    }

    /// Takes all of them away.
    pub(super) fn take_pins(&self) -> Pins {
        std::mem::take(&mut self.pins.lock())
    }
}
