//! Checksums of the pages that change in place.
//!
//! # Format of `c/<id>/sums`
//!
//! Pages of 4096 bytes: 1,023 CRC-32 of data pages, then the CRC-32 of those 4,092 bytes. Data page `p` of array `a`
//! (0 = links, 1 = upper, 2 = tombs) has its checksum in page `3·(p / 1023) + a`, word `p mod 1023`. A page of zeros
//! is one that no checkpoint has written yet.

use crate::view;
use crate::view::PageImage;
use crate::windows::Windows;
use lodestore_wal::{DiskFile, Error, Mapping, PAGE, Result};
use std::sync::Arc;

/// Checksums in a page.
const PER_PAGE: u64 = PAGE as u64 / 4 - 1;
const OWN: usize = PAGE - 4;

/// A segment whose pages have checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Array {
    Links,
    Upper,
    Tombs,
}

/// Where a page's checksum is: page of the file, and word.
pub(crate) fn place(array: Array, page: u64) -> (u64, usize) {
    (3 * (page / PER_PAGE) + array as u64, (page % PER_PAGE) as usize)
}

/// Whether a page of checksums is what was written, or was never written.
pub(crate) fn whole(image: &[u8; PAGE]) -> bool {
    let own = u32::from_le_bytes(image[OWN..].try_into().expect("four bytes"));
    own == crc32fast::hash(&image[..OWN]) || image.iter().all(|&byte| byte == 0)
}

/// The checksums of one collection.
#[derive(Debug)]
pub(crate) struct Sums {
    windows: Windows,
}

impl Sums {
    pub(crate) fn open(file: Arc<dyn DiskFile>) -> Result<Self> {
        let pages = file.len()? / PAGE as u64;
        Ok(Self { windows: Windows::open(file, PAGE, Mapping::Shared, pages)? })
    }

    pub(crate) fn file(&self) -> &Arc<dyn DiskFile> {
        self.windows.file()
    }

    /// The checksum that the last checkpoint recorded for a page.
    pub(crate) fn recorded(&self, array: Array, page: u64) -> Result<u32> {
        let (sum_page, word) = place(array, page);
        if sum_page >= self.windows.slots() {
            let what = format!("no checksum for page {page} of {array:?}");
            return Err(Error::corrupt(self.file().path(), sum_page * PAGE as u64, what));
        }
        Ok(view::shared_word(&self.windows, sum_page as u32, word))
    }

    /// Compares a page read from its file with what the last checkpoint recorded.
    pub(crate) fn check(&self, array: Array, page: u64, image: &PageImage, file: &str) -> Result<()> {
        let recorded = self.recorded(array, page)?;
        let computed = crc32fast::hash(&image[..]);
        if recorded == computed {
            return Ok(());
        }
        let what = format!("page checksum {recorded:08x}, computed {computed:08x}");
        Err(Error::corrupt(file, page * PAGE as u64, what))
    }

    /// The new images of the checksum pages after the given data pages changed. Makes room for them in the file.
    pub(crate) fn updated(&self, changed: &[(Array, u64, u32)]) -> Result<Vec<(u64, PageImage)>> {
        let mut images: Vec<(u64, PageImage)> = Vec::new();
        let mut places: Vec<_> = changed.iter().map(|&(a, page, crc)| (place(a, page), crc)).collect();
        places.sort_unstable();
        for ((sum_page, word), crc) in places {
            if images.last().is_none_or(|(last, _)| *last != sum_page) {
                images.push((sum_page, self.read(sum_page)?));
            }
            let image = &mut images.last_mut().expect("just pushed").1;
            image[word * 4..word * 4 + 4].copy_from_slice(&crc.to_le_bytes());
        }
        for (_, image) in &mut images {
            let own = crc32fast::hash(&image[..OWN]);
            image[OWN..].copy_from_slice(&own.to_le_bytes());
        }
        if let Some((last, _)) = images.last() {
            self.windows.ensure(last + 1)?;
        }
        Ok(images)
    }

    /// A checksum page as it is in the file, checked; zeros if it was never written.
    pub(crate) fn read(&self, sum_page: u64) -> Result<PageImage> {
        let mut image: PageImage = Box::new([0; PAGE]);
        if sum_page >= self.windows.slots() {
            return Ok(image);
        }
        self.file().read_at(sum_page * PAGE as u64, &mut image[..])?;
        let own = u32::from_le_bytes(image[OWN..].try_into().expect("four bytes"));
        let computed = crc32fast::hash(&image[..OWN]);
        if own != computed && image.iter().any(|&b| b != 0) {
            let what = format!("own checksum {own:08x}, computed {computed:08x}");
            return Err(Error::corrupt(self.file().path(), sum_page * PAGE as u64 + OWN as u64, what));
        }
        Ok(image)
    }

    /// Pages of the file.
    pub(crate) fn pages(&self) -> u64 {
        self.windows.slots()
    }

    /// The checksum pages that cover the first `pages` data pages of `array`.
    pub(crate) fn covering(array: Array, pages: u64) -> impl Iterator<Item = u64> {
        (0..pages.div_ceil(PER_PAGE)).map(move |block| 3 * block + array as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestore_wal::{Disk, MemDisk};

    #[test]
    fn checksums_are_found_again_and_damage_is_noticed() {
        let disk = MemDisk::new();
        let sums = Sums::open(disk.create("sums").unwrap()).unwrap();
        let pages = [(Array::Links, 0), (Array::Tombs, 5), (Array::Upper, 1022), (Array::Links, 1023)];
        let changed: Vec<_> = pages.iter().enumerate().map(|(i, &(a, p))| (a, p, 100 + i as u32)).collect();
        for (page, image) in sums.updated(&changed).unwrap() {
            sums.file().write_at(page * PAGE as u64, &image[..]).unwrap();
        }
        for (array, page, crc) in changed {
            assert_eq!(sums.recorded(array, page).unwrap(), crc);
        }
        sums.file().write_at(17, &[9]).unwrap();
        assert!(matches!(sums.read(0), Err(Error::Corrupt { .. })));
        assert!(sums.recorded(Array::Links, 50_000).is_err());
    }
}
