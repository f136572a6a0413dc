//! Room in a log file, taken ahead of the writing, so that a full disk shows before anything has changed.

use super::format::{ALIGN, FILE_HEADER};
use crate::disk::DiskFile;
use crate::error::{Error, Result};
use std::sync::Arc;

/// What a new file takes, and the least it grows by.
const SMALL: u64 = 64 << 10;
/// The most a file grows by at once.
const LARGE: u64 = 16 << 20;

/// The part of a file that is known to have room on the disk.
#[derive(Debug)]
pub(super) struct Space {
    file: Arc<dyn DiskFile>,
    allocated: u64,
}

impl Space {
    /// Room for a new file's header and first groups.
    pub(super) fn new(file: Arc<dyn DiskFile>) -> Result<Space> {
        let mut space = Space { file, allocated: 0 };
        space.ensure(FILE_HEADER as u64)?;
        Ok(space)
    }

    pub(super) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Makes sure of room up to `end`. Takes more than that, in steps that grow with the file, unless the disk is
    /// nearly full.
    pub(super) fn ensure(&mut self, end: u64) -> Result<()> {
        if end <= self.allocated {
            return Ok(());
        }
        let least = end.next_multiple_of(ALIGN);
        let ample = end.next_multiple_of(SMALL).max(self.allocated + self.allocated.clamp(SMALL, LARGE));
        let ample = if self.allocated == 0 { SMALL.max(least) } else { ample };
        let taken = match self.file.allocate(ample) {
            Ok(()) => ample,
            Err(error) if error.is_no_space() && least < ample => {
                self.file.allocate(least).map_err(|error| self.no_space(error, least))?;
                least
            }
            Err(error) => return Err(self.no_space(error, least)),
        };
        self.allocated = taken;
        Ok(())
    }

    /// One shape for a full disk, however the disk put it.
    fn no_space(&self, error: Error, end: u64) -> Error {
        if !error.is_no_space() {
            return error;
        }
        Error::NoSpace { path: self.file.path().to_owned(), needed: end - self.allocated }
    }
}
