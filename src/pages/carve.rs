//! What may be leaves of redb's trees, in a file that is damaged. Checksums of pages are not compared: each row in a leaf
//! has one of its own, and a page of checksums that is damaged must not cost the thousand pages that it is for.

use super::{BODY, GROUP, GROUP_BYTES, PAGE};
use lodestore_wal::{DiskFile, Result};
use std::ops::Range;

/// The most bytes of a leaf that are looked at: a record's payload, and what comes with it.
const MOST: usize = 32 << 20;

/// Reads page by page what redb has written.
pub(crate) struct Carver<'a> {
    file: &'a dyn DiskFile,
    pages: u64,
    page: Vec<u8>,
}

impl<'a> Carver<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile) -> Result<Self> {
        let body = file.len()?.saturating_sub(BODY);
        let pages = body / GROUP_BYTES * GROUP + (body % GROUP_BYTES / PAGE).saturating_sub(1);
        Ok(Self { file, pages, page: vec![0; PAGE as usize] })
    }

    /// The numbers of the pages, without the first one.
    pub(crate) fn pages(&self) -> Range<u64> {
        1..self.pages + 1
    }

    /// Reads a page, if there is one of that number.
    fn read(&mut self, page: u64) -> Result<bool> {
        if page > self.pages {
            return Ok(false);
        }
        let (group, nth) = ((page - 1) / GROUP, (page - 1) % GROUP);
        let start = BODY + group * GROUP_BYTES;
        self.file.read_at(start + (1 + nth) * PAGE, &mut self.page)?;
        Ok(true)
    }

    /// Fills `leaf` with the leaf that may begin at a page, with as many pages as it says that it takes.
    pub(crate) fn leaf(&mut self, page: u64, leaf: &mut Vec<u8>) -> Result<bool> {
        leaf.clear();
        if !self.read(page)? || self.page[0] != 1 {
            return Ok(false);
        }
        leaf.extend_from_slice(&self.page);
        let count = usize::from(u16::from_le_bytes([leaf[2], leaf[3]]));
        let last = 4 + 8 * count.max(1) - 4;
        let end = leaf.get(last..last + 4).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().expect("four")));
        let mut next = page + 1;
        while leaf.len() < (end as usize).min(MOST) && self.read(next)? {
            leaf.extend_from_slice(&self.page);
            next += 1;
        }
        Ok(true)
    }
}
