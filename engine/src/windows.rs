//! Slot numbers to addresses: one file, or memory of no file, mapped in windows that double.
//!
//! Window 0 holds slots 0 to 2¹⁶ − 1, window *w* the 2¹⁵⁺ʷ slots from 2¹⁵⁺ʷ on. A window is mapped when its first
//! slot is needed and stays where it is, so addresses never move; the file grows under it in small steps, so a
//! small collection stays small. Finding a slot costs a count of leading zeros, a load and a multiplication.

use lodestore_wal::{DiskFile, Error, Map, Mapping, PAGE, Result};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Slots of window 0, as a power of two.
const FIRST: u32 = 16;
/// Windows enough for 2³¹ slots.
pub(crate) const WINDOWS: usize = 16;
/// The file grows by one in so many of its slots,
const GROWTH_ONE_IN: u64 = 16;
/// by this many bytes at most,
const MOST_GROWTH: u64 = 64 << 20;
/// and at least by this many, or doubles while it is smaller.
const LEAST_GROWTH: u64 = 64 << 10;
/// Pages that are read because what lies before and behind them is.
const NEAR: usize = 8;
/// Slots of a fresh file, if they are no more bytes than two pages.
const SMALLEST: u64 = 16;

/// The window of a slot, and the window's first slot.
#[inline]
fn window_of(slot: u32) -> (usize, u32) {
    let high = slot >> FIRST;
    if high == 0 {
        (0, 0)
    } else {
        let window = u32::BITS - high.leading_zeros();
        (window as usize, 1 << (FIRST - 1 + window))
    }
}

/// The slots of a window.
fn window_slots(window: usize) -> Range<u64> {
    if window == 0 { 0..1 << FIRST } else { 1 << (FIRST as usize - 1 + window)..1 << (FIRST as usize + window) }
}

/// One segment file with fixed-stride slots, mapped; or memory like that, zeroed.
#[derive(Debug)]
pub(crate) struct Windows {
    /// `None` for memory.
    file: Option<(Arc<dyn DiskFile>, Mapping)>,
    stride: usize,
    maps: [OnceLock<Map>; WINDOWS],
    /// Where slot 0 would be if each window reached back to it: an address is one of these plus slot times stride.
    /// Null until the window is mapped.
    bases: [AtomicPtr<u8>; WINDOWS],
    /// Slots that may be touched: mapped, and inside the file.
    slots: AtomicU64,
    /// A bit for each page of a window: whether it was in memory when that was last looked at, or has been asked for
    /// since. Only where walks meet the disk.
    in_memory: [OnceLock<Box<[AtomicU64]>>; WINDOWS],
    growing: Mutex<()>,
}

impl Windows {
    /// Maps a file of `stride`-byte slots of which the first `slots` must be there.
    pub(crate) fn open(file: Arc<dyn DiskFile>, stride: usize, mapping: Mapping, slots: u64) -> Result<Self> {
        let length = file.len()?;
        let needed = slots.saturating_mul(stride as u64);
        if length < needed {
            let what = format!("{needed} bytes expected ({slots} slots of {stride}), the file ends here");
            return Err(Error::corrupt(file.path(), length, what));
        }
        let windows = Self::new(Some((file, mapping)), stride);
        windows.ensure(slots)?;
        Ok(windows)
    }

    /// Memory for `stride`-byte slots, in huge pages where the system grants them; none yet.
    pub(crate) fn in_memory(stride: usize) -> Self {
        Self::new(None, stride)
    }

    fn new(file: Option<(Arc<dyn DiskFile>, Mapping)>, stride: usize) -> Self {
        debug_assert!(stride > 0 && (stride << FIRST).is_multiple_of(PAGE));
        Self {
            file,
            stride,
            maps: std::array::from_fn(|_| OnceLock::new()),
            bases: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())),
            slots: AtomicU64::new(0),
            in_memory: std::array::from_fn(|_| OnceLock::new()),
            growing: Mutex::new(()),
        }
    }

    /// Whether slots from one to the other follow each other in memory, too.
    pub(crate) fn are_together(first: u32, last: u32) -> bool {
        window_of(first) == window_of(last)
    }

    /// Where the window of a slot ends.
    pub(crate) fn window_end(slot: u32) -> u32 {
        window_slots(window_of(slot).0).end as u32
    }

    /// The first slot from `next` on from which `count` slots follow each other in memory.
    pub(crate) fn contiguous(next: u32, count: u32) -> u32 {
        let last = next.saturating_add(count.saturating_sub(1));
        if Self::are_together(next, last) { next } else { Self::window_end(next) }
    }

    /// # Panics
    /// If they are memory.
    pub(crate) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file.as_ref().expect("memory of no file").0
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Slots that there are windows for.
    pub(crate) const MOST: u64 = 1 << (FIRST as usize + WINDOWS - 1);

    /// Slots that may be touched now.
    #[inline]
    pub(crate) fn slots(&self) -> u64 {
        self.slots.load(Ordering::Acquire)
    }

    /// Makes the first `slots` slots touchable, growing file and maps as needed.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`MOST`](Self::MOST), [`Error::NoSpace`] and failed maps; nothing has changed for
    /// readers then.
    pub(crate) fn ensure(&self, slots: u64) -> Result<()> {
        // Numbers come from files, too.
        if slots > Self::MOST {
            return Err(Error::TooLarge { got: slots, limit: Self::MOST });
        }
        if slots <= self.slots() {
            return Ok(());
        }
        let _growing = self.growing.lock();
        let now = self.slots();
        if slots <= now {
            return Ok(());
        }
        let target = slots.max(self.grown(now)).min(Self::MOST);
        let reached = match &self.file {
            Some((file, _)) => self.grow(&**file, slots, target)?,
            None => target,
        };
        for window in 0..WINDOWS {
            let range = window_slots(window);
            if range.start >= reached {
                break;
            }
            if self.maps[window].get().is_none() {
                let offset = range.start * self.stride as u64;
                let length = (range.end - range.start) as usize * self.stride;
                let map = match &self.file {
                    Some((file, mapping)) => file.map(offset, length, *mapping)?,
                    None => Self::memory(length)?,
                };
                let base = map.as_ptr().wrapping_sub(offset as usize).cast_mut();
                let _ = self.maps[window].set(map);
                self.bases[window].store(base, Ordering::Release);
            }
        }
        self.slots.store(reached, Ordering::Release);
        Ok(())
    }

    /// How many slots it should have when the `now` it has are too few. What is allocated ahead is disk that nobody uses,
    /// so it is little.
    fn grown(&self, now: u64) -> u64 {
        let of = |bytes: u64| (bytes / self.stride as u64).max(1);
        let step = (now / GROWTH_ONE_IN).clamp(of(LEAST_GROWTH).max(4), of(MOST_GROWTH).max(4));
        (now + step.min(now)).max(SMALLEST.min(of(2 * PAGE as u64)))
    }

    /// Makes the file long enough for `target` slots, or at least for `slots`; says how many it is long enough for, up to
    /// `target`.
    fn grow(&self, file: &dyn DiskFile, slots: u64, target: u64) -> Result<u64> {
        // Whole pages: checksums and checkpoint images are of whole pages.
        let bytes = (target * self.stride as u64).next_multiple_of(PAGE as u64);
        let length = file.len()?;
        if length < bytes {
            // When there is no room for growing ahead, what is needed now may still fit.
            let least = (slots * self.stride as u64).next_multiple_of(PAGE as u64);
            match file.allocate(bytes) {
                Err(error) if error.is_no_space() && length < least => file.allocate(least)?,
                Err(error) if error.is_no_space() => {}
                other => other?,
            }
        }
        Ok((file.len()? / self.stride as u64).min(target))
    }

    fn memory(length: usize) -> Result<Map> {
        let map = Map::anonymous(length).map_err(|error| Error::io("map", "memory", error))?;
        map.prefer_huge();
        Ok(map)
    }

    /// Reads the file into memory anew, in huge pages where the system grants them.
    pub(crate) fn make_resident(&self) {
        // Pages that are there already stay as small as they are. A refusal costs speed only.
        let _ = self.file().evict();
        let length = self.slots() as usize * self.stride;
        for (window, map) in self.maps.iter().enumerate() {
            let Some(map) = map.get() else { break };
            let start = window_slots(window).start as usize * self.stride;
            map.populate(length.saturating_sub(start));
        }
    }

    /// Each window that there is: where it begins in the file, its map, and how much of that is in the file.
    fn mapped(&self) -> impl Iterator<Item = (u64, &Map, usize)> {
        let length = self.slots() * self.stride as u64;
        self.maps.iter().map_while(OnceLock::get).enumerate().map(move |(window, map)| {
            let start = window_slots(window).start * self.stride as u64;
            (start, map, length.saturating_sub(start).min(map.len() as u64) as usize)
        })
    }

    /// Looks which pages are in memory, for [`request`](Self::request). Says how many there are, and how many are missing.
    pub(crate) fn note_memory(&self) -> (u64, u64) {
        let (mut pages, mut missing) = (0, 0);
        for (window, (_, map, length)) in self.mapped().enumerate() {
            let bits = self.in_memory[window].get_or_init(|| {
                let words = self.window_pages(window).1.div_ceil(64);
                (0..words).map(|_| AtomicU64::new(0)).collect()
            });
            let mut word = 0;
            map.for_each_page(length, |page, is_there| {
                word |= u64::from(is_there) << (page % 64);
                (pages, missing) = (pages + 1, missing + u64::from(!is_there));
                if page % 64 == 63 {
                    bits[page / 64].store(std::mem::take(&mut word), Ordering::Relaxed);
                }
            });
            if let Some(last) = bits.get(length.div_ceil(PAGE) / 64) {
                last.store(word, Ordering::Relaxed);
            }
        }
        (pages, missing)
    }

    /// Asks the disk for the pages of a slot that are not in memory, as far as that is known, and does not wait for them.
    pub(crate) fn request(&self, slot: u32) {
        let (window, _) = window_of(slot);
        let Some(bits) = self.in_memory[window].get() else { return };
        let first = self.window_pages(window).0;
        for page in self.pages_of(slot) {
            let inside = (page - first) as usize;
            let Some(word) = bits.get(inside / 64) else { return };
            let bit = 1 << (inside % 64);
            if word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
                self.file().request(page * PAGE as u64, PAGE as u64);
            }
        }
    }

    /// See [`Map::give_back`].
    pub(crate) fn give_back(&self) {
        self.maps.iter().filter_map(OnceLock::get).for_each(Map::give_back);
    }

    /// Bytes, of whole pages, that are in memory; `None` where the system does not tell.
    pub(crate) fn bytes_in_memory(&self) -> Option<u64> {
        let (mut told, mut there) = (0, 0);
        for (_, map, length) in self.mapped() {
            map.for_each_page(length, |_, is_there| (told, there) = (told + 1, there + u64::from(is_there)));
        }
        (told > 0 || self.slots() == 0).then_some(there * PAGE as u64)
    }

    /// Reads what is not in memory, of which up to `most` bytes (which become less), and [keeps](Map::keep) the rest there.
    /// Says how many pages there are, and how many were missing.
    pub(crate) fn keep(&self, most: &mut u64) -> (u64, u64) {
        let (mut pages, mut missing) = (0, 0);
        for (start, map, length) in self.mapped() {
            // Of the pages that are missing, stretches that lie near each other are asked for together.
            let (mut runs, mut kept): (Vec<Range<usize>>, usize) = (Vec::new(), length);
            map.for_each_page(length, |page, is_there| {
                pages += 1;
                if is_there {
                    return;
                }
                missing += 1;
                if *most < PAGE as u64 {
                    kept = kept.min(page * PAGE);
                    return;
                }
                *most -= PAGE as u64;
                match runs.last_mut() {
                    Some(run) if page < run.end + NEAR => run.end = page + 1,
                    _ => runs.push(page..page + 1),
                }
            });
            for run in runs {
                self.file().request(start + (run.start * PAGE) as u64, (run.len() * PAGE) as u64);
            }
            map.keep(kept);
        }
        (pages, missing)
    }

    /// Bytes that are in huge pages.
    pub(crate) fn huge_bytes(&self) -> u64 {
        self.maps.iter().filter_map(OnceLock::get).map(Map::huge_bytes).sum()
    }

    /// The address of a slot.
    ///
    /// # Panics
    /// If the slot is not [ensured](Self::ensure).
    #[inline(always)]
    pub(crate) fn address(&self, slot: u32) -> *const u8 {
        assert!(u64::from(slot) < self.slots.load(Ordering::Acquire), "slot {slot} was never made");
        self.hint(slot)
    }

    /// As [`address`](Self::address), for prefetching: any slot gives an address, which may not be touched.
    #[inline(always)]
    pub(crate) fn hint(&self, slot: u32) -> *const u8 {
        // Slots below 2³¹ have windows 0 to 15; the mask lets the compiler know.
        let window = (u32::BITS - (slot >> FIRST).leading_zeros()) as usize % WINDOWS;
        self.bases[window].load(Ordering::Acquire).wrapping_add(slot as usize * self.stride)
    }

    /// The window a page of the file lies in, the page's number in there, and the map.
    pub(crate) fn page(&self, page: u64) -> (usize, usize, &Map) {
        let slot = page * PAGE as u64 / self.stride as u64;
        let (window, first) = window_of(slot as u32);
        let first_page = u64::from(first) * self.stride as u64 / PAGE as u64;
        let map = self.maps[window].get().expect("only pages of mapped windows are asked for");
        (window, (page - first_page) as usize, map)
    }

    /// The first page of a window, and how many it has.
    pub(crate) fn window_pages(&self, window: usize) -> (u64, usize) {
        let range = window_slots(window);
        let first = range.start * self.stride as u64 / PAGE as u64;
        (first, (range.end - range.start) as usize * self.stride / PAGE)
    }

    /// The pages that a slot's bytes lie in.
    #[inline]
    pub(crate) fn pages_of(&self, slot: u32) -> Range<u64> {
        let start = u64::from(slot) * self.stride as u64;
        start / PAGE as u64..(start + self.stride as u64).div_ceil(PAGE as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestore_wal::{Disk, MemDisk};

    #[test]
    fn windows_tile_the_slots() {
        for slot in [0u32, 1, 65_535, 65_536, 131_071, 131_072, 262_143, 1 << 20, (1 << 30) - 1] {
            let (window, first) = window_of(slot);
            assert!(window < WINDOWS);
            assert!(window_slots(window).contains(&u64::from(slot)), "{slot}");
            assert_eq!(window_slots(window).start, u64::from(first));
        }
        for window in 1..WINDOWS {
            assert_eq!(window_slots(window - 1).end, window_slots(window).start);
        }
    }

    #[test]
    fn slots_keep_their_address_while_the_file_grows() {
        let disk = MemDisk::new();
        let file = disk.create("x").unwrap();
        let windows = Windows::open(file.clone(), 64, Mapping::Shared, 0).unwrap();
        windows.ensure(1).unwrap();
        let first = windows.address(0);
        assert!(file.len().unwrap() <= 4096, "a small file stays small");
        windows.ensure(200_000).unwrap();
        assert_eq!(windows.address(0), first);
        assert_eq!(windows.address(65_535) as usize - first as usize, 65_535 * 64);
        assert!(!windows.address(199_999).is_null());
    }

    #[test]
    fn little_is_allocated_ahead() {
        let windows = Windows::open(MemDisk::new().create("x").unwrap(), 512, Mapping::Shared, 0).unwrap();
        let mut calls = 0;
        for slots in 1..100_000 {
            let before = windows.slots();
            windows.ensure(slots).unwrap();
            calls += u32::from(windows.slots() != before);
            let (length, needed) = (windows.file().len().unwrap(), slots * 512);
            assert!(
                length <= (2 * needed).max(8192) && length <= needed + needed / 16 + LEAST_GROWTH,
                "{slots}: {length}"
            );
        }
        assert!(calls < 100, "the file grew {calls} times");
    }

    #[test]
    fn pages_are_asked_for_once() {
        let windows = Windows::open(MemDisk::new().create("x").unwrap(), 64, Mapping::Shared, 0).unwrap();
        windows.ensure(200_000).unwrap();
        // Before anybody has looked, and of slots that there are not, nothing happens.
        [0, 199_999, 3_000_000].iter().for_each(|&slot| windows.request(slot));
        let (pages, missing) = windows.note_memory();
        if pages == 0 {
            return; // The system does not tell.
        }
        assert_eq!(pages, (windows.slots() * 64).div_ceil(PAGE as u64));
        let noted = |slot: u32| {
            let (window, inside, _) = windows.page(windows.pages_of(slot).start);
            windows.in_memory[window].get().unwrap()[inside / 64].load(Ordering::Relaxed) >> (inside % 64) & 1
        };
        let there: u64 = (0..windows.slots()).step_by(PAGE / 64).map(|slot| noted(slot as u32)).sum();
        assert_eq!(there, pages - missing);
        for slot in [0, 65_535, 65_536, 199_999] {
            windows.request(slot);
            assert_eq!(noted(slot), 1);
        }
        windows.request(3_000_000);
    }

    #[test]
    fn a_short_file_is_corrupt() {
        let disk = MemDisk::new();
        let file = disk.create("x").unwrap();
        file.set_len(6400 - 1).unwrap();
        let error = Windows::open(file, 64, Mapping::Shared, 100).unwrap_err();
        assert!(matches!(error, Error::Corrupt { offset: 6399, .. }), "{error}");
    }

    #[test]
    fn pages_are_found_in_their_window() {
        let disk = MemDisk::new();
        let windows = Windows::open(disk.create("x").unwrap(), 192, Mapping::Private, 0).unwrap();
        windows.ensure(200_000).unwrap();
        for slot in [0u32, 21, 65_535, 65_536, 199_999] {
            for page in windows.pages_of(slot) {
                let (window, inside, map) = windows.page(page);
                let (first, count) = windows.window_pages(window);
                assert!(inside < count && first + inside as u64 == page);
                let address = map.as_ptr() as usize + inside * PAGE;
                let slot_address = windows.address(slot) as usize;
                assert!(address < slot_address + 192 && slot_address < address + PAGE);
            }
        }
    }
}
