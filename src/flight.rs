//! Writes between the log and the graph.

use crate::sync::{Condvar, Mutex};

/// Writes that are in the log and in the catalogue, but not yet in the graph.
///
/// Who replaces or removes a record that such a write has put must wait for it: until then a search may find what the
/// write itself has replaced. Writes wait only for earlier ones.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// First and last LSN of each.
    writes: Mutex<Vec<(u64, u64)>>,
    landed: Condvar,
}

impl InFlight {
    /// Notes a write until the guard is dropped. Called under the log's lock.
    pub(crate) fn begin(&self, first_lsn: u64, last_lsn: u64) -> Flight<'_> {
        self.writes.lock().push((first_lsn, last_lsn));
        Flight { all: self, write: (first_lsn, last_lsn) }
    }
}

/// One write in flight.
#[derive(Debug)]
pub(crate) struct Flight<'a> {
    all: &'a InFlight,
    write: (u64, u64),
}

impl Flight<'_> {
    /// Waits until the write with record `lsn` has landed, if that is not this one.
    pub(crate) fn wait_for(&self, lsn: u64) {
        let mut writes = self.all.writes.lock();
        while writes.iter().any(|&(first, last)| (first..=last).contains(&lsn) && (first, last) != self.write) {
            self.all.landed.wait(&mut writes);
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut writes = self.all.writes.lock();
        if let Some(at) = writes.iter().position(|write| *write == self.write) {
            writes.swap_remove(at);
        }
        self.all.landed.notify_all();
    }
}
