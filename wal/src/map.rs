//! Memory maps. One of the few files with `unsafe`: here bytes of a file become addresses.
//!
//! Why this is sound: a [`Map`] hands out raw pointers only, never a slice. Who reads through them says why the
//! bytes hold still (`engine`: write-once slots) or uses atomics (links). Files under a map are never shrunk.
//! What remains: another program that cuts the file while it is mapped ends this process by `SIGBUS`, as does a
//! disk that fails a read (docs/memory.md has the policy). The store's lock keeps well-behaved programs out.
#![expect(unsafe_code, reason = "mapping a file is unsafe by nature; every site says why it holds")]

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw, UncheckedAdvice};
use std::fs::File;
use std::io;
use std::ops::Range;

/// Bytes in a page, as the formats count them.
pub const PAGE: usize = 4096;

/// How a file's bytes appear in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Read-only, one with the page cache.
    Shared,
    /// Copy-on-write: a changed page is this process's own until it is [dropped](Map::drop_pages).
    Private,
}

/// A mapped range of a file, or anonymous memory. Unmapped when dropped.
#[derive(Debug)]
pub struct Map {
    inner: Inner,
    /// Dropping a page brings back the file's bytes only for a private file map.
    can_drop: bool,
}

#[derive(Debug)]
enum Inner {
    Shared(MmapRaw),
    Private(MmapMut, *mut u8),
}

// SAFETY: the pointer inside `Private` is the map's own base address, valid as long as the map; all access through
// it goes by the rules of whoever called `as_mut_ptr`, from whatever thread.
unsafe impl Send for Map {}
// SAFETY: as for `Send`; a shared reference to `Map` gives out addresses only.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `len` bytes of `file` from `offset`, a multiple of the page size. The range may lie past the file's end.
    pub(crate) fn file(file: &File, offset: u64, len: usize, mapping: Mapping) -> io::Result<Map> {
        let mut options = MmapOptions::new();
        options.offset(offset).len(len);
        // Walks jump about: reading ahead would fetch a hundred pages for the one that is wanted, and in a store larger
        // than the memory push out as many that are. A refusal costs speed only.
        match mapping {
            Mapping::Shared => {
                let map = options.map_raw_read_only(file)?;
                let _ = map.advise(Advice::Random);
                Ok(Map { inner: Inner::Shared(map), can_drop: false })
            }
            Mapping::Private => {
                // Without this, 64 GiB of private map would be counted against memory that is never used.
                options.no_reserve_swap();
                // SAFETY: no reference into the map is ever made; the file under it is not cut (see the module).
                let mut map = unsafe { options.map_copy(file)? };
                let _ = map.advise(Advice::Random);
                let base = map.as_mut_ptr();
                Ok(Map { inner: Inner::Private(map, base), can_drop: true })
            }
        }
    }

    /// `len` bytes of zeroed memory that belongs to no file. None of it is used before it is written to.
    ///
    /// # Errors
    /// Of the system, when it has no more addresses.
    pub fn anonymous(len: usize) -> io::Result<Map> {
        let mut options = MmapOptions::new();
        let mut map = options.len(len).no_reserve_swap().map_anon()?;
        let base = map.as_mut_ptr();
        Ok(Map { inner: Inner::Private(map, base), can_drop: false })
    }

    /// The first byte's address.
    pub fn as_ptr(&self) -> *const u8 {
        match &self.inner {
            Inner::Shared(map) => map.as_ptr(),
            Inner::Private(_, base) => *base,
        }
    }

    /// The first byte's address, for writing; `None` for a shared map, which is read-only.
    pub fn as_mut_ptr(&self) -> Option<*mut u8> {
        match &self.inner {
            Inner::Shared(_) => None,
            Inner::Private(_, base) => Some(*base),
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        match &self.inner {
            Inner::Shared(map) => map.len(),
            Inner::Private(map, _) => map.len(),
        }
    }

    /// Whether the map holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the first `bytes` into memory, in huge pages where the system grants them. A refusal costs speed only.
    pub fn populate(&self, bytes: usize) {
        let bytes = bytes.min(self.len());
        if bytes == 0 {
            return;
        }
        #[cfg(target_os = "linux")]
        for advice in [Advice::HugePage, Advice::PopulateRead] {
            let _ = match &self.inner {
                Inner::Shared(map) => map.advise_range(advice, 0, bytes),
                Inner::Private(map, _) => map.advise_range(advice, 0, bytes),
            };
        }
    }

    /// Takes care that the first `bytes` stay in memory, as well as a program can: they are read where they are missing, and
    /// the system hears that all of them are used. It would not know: of maps that are read here and there it
    /// does not look at what was used (Linux since 6.3), and drops what has been there for long. A refusal costs speed only.
    pub fn keep(&self, bytes: usize) {
        let bytes = bytes.min(self.len());
        #[cfg(target_os = "linux")]
        if bytes > 0 {
            let _ = match &self.inner {
                Inner::Shared(map) => map.advise_range(Advice::PopulateRead, 0, bytes),
                Inner::Private(map, _) => map.advise_range(Advice::PopulateRead, 0, bytes),
            };
        }
    }

    /// Takes all of a shared map out of the process's memory; the system keeps its copies as it likes. Nothing else: a
    /// private map has pages that are nowhere else.
    pub fn give_back(&self) {
        if let Inner::Shared(map) = &self.inner {
            // SAFETY: the pages of a shared map of a file are the file's; what is read next is the same bytes.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, 0, map.len()) };
        }
    }

    /// Calls `f` for each of the pages of the first `bytes`, in their order, with whether it is in memory; for none where
    /// the system does not tell.
    pub fn for_each_page(&self, bytes: usize, mut f: impl FnMut(usize, bool)) {
        /// Pages asked about at once.
        const AT_ONCE: usize = 4096;
        let pages = bytes.min(self.len()).div_ceil(PAGE);
        let mut there = [0u8; AT_ONCE];
        for first in (0..pages).step_by(AT_ONCE) {
            let count = AT_ONCE.min(pages - first);
            let address = self.as_ptr().wrapping_add(first * PAGE).cast_mut();
            // SAFETY: the range lies inside the live map, and there is a byte for each of its pages; nothing else is
            // written, and nothing of the map.
            #[cfg(target_os = "linux")]
            let told = unsafe { libc::mincore(address.cast(), count * PAGE, there.as_mut_ptr()) } == 0;
            #[cfg(not(target_os = "linux"))]
            let told = false;
            let _ = address;
            if !told {
                return;
            }
            there[..count].iter().zip(first..).for_each(|(state, page)| f(page, state & 1 != 0));
        }
    }

    /// Asks for huge pages wherever the map gets memory from now on. A refusal costs speed only.
    pub fn prefer_huge(&self) {
        #[cfg(target_os = "linux")]
        let _ = match &self.inner {
            Inner::Shared(map) => map.advise(Advice::HugePage),
            Inner::Private(map, _) => map.advise(Advice::HugePage),
        };
    }

    /// Bytes of the map that are in huge pages now; 0 where the system does not tell.
    pub fn huge_bytes(&self) -> u64 {
        let start = self.as_ptr() as usize;
        std::fs::read_to_string("/proc/self/smaps").map_or(0, |smaps| huge_bytes_in(&smaps, start..start + self.len()))
    }

    /// Forgets the private copies of the pages in `bytes` (page-aligned), so that the file's bytes show again.
    /// Does nothing for shared and anonymous maps, and where the system keeps the page.
    ///
    /// # Safety
    /// The file holds the same bytes as the pages, or nobody needs what the pages hold; and no thread stores to
    /// them meanwhile.
    pub unsafe fn drop_pages(&self, bytes: Range<usize>) {
        debug_assert!(bytes.start.is_multiple_of(PAGE) && bytes.end.is_multiple_of(PAGE) && bytes.end <= self.len());
        if !self.can_drop || bytes.is_empty() {
            return;
        }
        if let Inner::Private(map, _) = &self.inner {
            // A refusal (a locked page, a system without it) only means that the memory stays in use.
            // SAFETY: the caller vouches for the content; the range lies inside the map.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
        }
    }
}

/// What Linux says, mapping by mapping, of those that lie in `range`.
fn huge_bytes_in(smaps: &str, range: Range<usize>) -> u64 {
    let (mut inside, mut kib) = (false, 0);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some(field) = first.strip_suffix(':') {
            if inside && matches!(field, "AnonHugePages" | "ShmemPmdMapped" | "FilePmdMapped") {
                kib += words.next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
            }
        } else if let Some((start, end)) = first.split_once('-') {
            let number = |text| usize::from_str_radix(text, 16).unwrap_or(0);
            inside = number(start) >= range.start && number(end) <= range.end;
        }
    }
    kib << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_counted_in_the_range_only() {
        let smaps = "1000-3000 r--s 00000000 fe:00 7 /store/c/0/codes\nRss:  8 kB\nAnonHugePages:  0 kB\n\
            FilePmdMapped:  6144 kB\nVmFlags: rd sh\n3000-4000 rw-p 00000000 00:00 0\nAnonHugePages:  2048 kB\n";
        assert_eq!(huge_bytes_in(smaps, 0x1000..0x3000), 6144 << 10);
        assert_eq!(huge_bytes_in(smaps, 0x1000..0x4000), 8192 << 10);
        assert_eq!(huge_bytes_in(smaps, 0x2000..0x4000), 2048 << 10);
        assert_eq!(huge_bytes_in("", 0..usize::MAX), 0);
    }

    #[test]
    fn populating_changes_no_byte() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..3 * PAGE).map(|n| (n % 251) as u8).collect();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        // Longer than the file, as maps of growing files are.
        let map = Map::file(&file, 0, 16 * PAGE, Mapping::Shared).unwrap();
        map.populate(3 * PAGE);
        assert!(map.huge_bytes() <= map.len() as u64);
        for (n, byte) in bytes.iter().enumerate() {
            // SAFETY: within the file and its live map, which nobody writes.
            assert_eq!(unsafe { *map.as_ptr().add(n) }, *byte);
        }
    }
}
