//! Segments that change in place: private maps, dirty pages, and the copies a checkpoint takes.
//!
//! Invariants (docs/durability.md has the proof):
//! 1. A store into the map happens only after [`CowSegment::touch`] of its slot returned, by a thread that holds the
//!    store's gate for reading; so no thread is between the two while [`CowSegment::freeze`] runs.
//! 2. A page's dirty bit is set under the page's lock, and a frozen page is copied before its bit is set again: the
//!    checkpoint writes the page as it was at the freeze.
//! 3. A private copy is dropped only under the page's lock, when the page is not dirty and the file durably holds it.

use crate::sums::{Array, Sums};
use crate::view::{self, PageImage};
use crate::windows::{WINDOWS, Windows};
use lodestore_wal::mutant::{self, Mutant};
use lodestore_wal::{DiskFile, Mapping, PAGE, Result};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Page locks of a segment; pages share them by number.
const LOCKS: usize = 64;

/// One bit a page.
#[derive(Debug)]
struct Bits(Box<[AtomicU64]>);

impl Bits {
    fn new(pages: usize) -> Self {
        Self((0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    #[inline]
    fn get(&self, page: usize) -> bool {
        self.0[page / 64].load(Ordering::Acquire) & (1 << (page % 64)) != 0
    }

    /// Sets the bit; says whether it was clear.
    fn set(&self, page: usize) -> bool {
        self.0[page / 64].fetch_or(1 << (page % 64), Ordering::AcqRel) & (1 << (page % 64)) == 0
    }

    fn clear(&self, page: usize) {
        self.0[page / 64].fetch_and(!(1 << (page % 64)), Ordering::AcqRel);
    }
}

#[derive(Debug)]
struct WindowBits {
    /// Changed since the last freeze.
    dirty: Bits,
    /// Belongs to the checkpoint in progress.
    frozen: Bits,
    /// Frozen, and already copied because a writer came before the checkpoint.
    captured: Bits,
}

/// A mapped segment whose slots change in place.
#[derive(Debug)]
pub(crate) struct CowSegment {
    windows: Windows,
    array: Array,
    sums: Arc<Sums>,
    /// False for stores that keep nothing: pages are never written back.
    tracked: bool,
    bits: [OnceLock<WindowBits>; WINDOWS],
    locks: [Mutex<()>; LOCKS],
    captures: Mutex<HashMap<u64, PageImage>>,
    /// A checkpoint is between freeze and release.
    active: AtomicBool,
    /// Pages below this have a checksum on the disk.
    summed: AtomicU64,
    dirty_pages: AtomicU64,
}

impl CowSegment {
    /// Maps a segment of which the last checkpoint covers the first `slots` slots.
    pub(crate) fn open(
        file: Arc<dyn DiskFile>,
        stride: usize,
        slots: u64,
        array: Array,
        sums: Arc<Sums>,
        tracked: bool,
    ) -> Result<Self> {
        let segment = Self {
            windows: Windows::open(file, stride, Mapping::Private, slots)?,
            array,
            sums,
            tracked,
            bits: std::array::from_fn(|_| OnceLock::new()),
            locks: std::array::from_fn(|_| Mutex::new(())),
            captures: Mutex::new(HashMap::new()),
            active: AtomicBool::new(false),
            summed: AtomicU64::new(0),
            dirty_pages: AtomicU64::new(0),
        };
        segment.set_covered(slots);
        Ok(segment)
    }

    pub(crate) fn array(&self) -> Array {
        self.array
    }

    pub(crate) fn file(&self) -> &Arc<dyn DiskFile> {
        self.windows.file()
    }

    pub(crate) fn windows(&self) -> &Windows {
        &self.windows
    }

    /// See [`Windows::ensure`].
    pub(crate) fn ensure(&self, slots: u64) -> Result<()> {
        self.windows.ensure(slots)
    }

    /// Pages that hold the first `slots` slots.
    pub(crate) fn pages_for(&self, slots: u64) -> u64 {
        (slots * self.windows.stride() as u64).div_ceil(PAGE as u64)
    }

    /// Says that the disk now holds the first `slots` slots, with checksums.
    pub(crate) fn set_covered(&self, slots: u64) {
        self.summed.store(self.pages_for(slots), Ordering::Release);
    }

    /// The slot's words. Stores need [`touch`](Self::touch) first.
    #[inline]
    pub(crate) fn words(&self, slot: u32) -> &[AtomicU32] {
        view::words(&self.windows, slot)
    }

    /// Pages changed since the last freeze.
    pub(crate) fn dirty_pages(&self) -> u64 {
        self.dirty_pages.load(Ordering::Relaxed)
    }

    /// Announces a store into `slot`.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if the page comes from the disk for the first time since its last
    /// checkpoint and is not what was written: changing it would give the damage a fresh, valid checksum.
    #[inline]
    pub(crate) fn touch(&self, slot: u32) -> Result<()> {
        if !self.tracked {
            return Ok(());
        }
        for page in self.windows.pages_of(slot) {
            let (window, inside, _) = self.windows.page(page);
            if !self.window_bits(window).dirty.get(inside) {
                self.mark(page)?;
            }
        }
        Ok(())
    }

    /// Announces a new slot that nothing may ever be stored into: the next checkpoint must write its page all the same,
    /// or the page would be covered without a checksum.
    pub(crate) fn touch_new(&self, slot: u32) -> Result<()> {
        let covered = self.windows.pages_of(slot).end <= self.summed.load(Ordering::Acquire);
        if covered { Ok(()) } else { self.touch(slot) }
    }

    fn window_bits(&self, window: usize) -> &WindowBits {
        self.bits[window].get_or_init(|| {
            let (_, pages) = self.windows.window_pages(window);
            WindowBits { dirty: Bits::new(pages), frozen: Bits::new(pages), captured: Bits::new(pages) }
        })
    }

    fn lock(&self, page: u64) -> MutexGuard<'_, ()> {
        self.locks[page as usize % LOCKS].lock()
    }

    #[cold]
    fn mark(&self, page: u64) -> Result<()> {
        let (window, inside, map) = self.windows.page(page);
        let bits = self.window_bits(window);
        let _lock = self.lock(page);
        if bits.dirty.get(inside) {
            return Ok(());
        }
        if bits.frozen.get(inside) {
            // The checkpoint wants the page as it is now, before this writer changes it.
            if !mutant::on(Mutant::NoCapture) && bits.captured.set(inside) {
                self.captures.lock().insert(page, view::page_image(map, inside));
            }
        } else if page < self.summed.load(Ordering::Acquire) {
            self.sums.check(self.array, page, &view::page_image(map, inside), self.file().path())?;
        }
        if bits.dirty.set(inside) {
            self.dirty_pages.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Starts a checkpoint: the dirty pages become the frozen ones. Nobody stores meanwhile (the gate is closed).
    pub(crate) fn freeze(&self) -> Vec<u64> {
        debug_assert!(!self.active.load(Ordering::Acquire), "one checkpoint at a time");
        self.active.store(true, Ordering::Release);
        let mut pages = Vec::new();
        for window in 0..WINDOWS {
            let Some(bits) = self.bits[window].get() else { continue };
            let (first, _) = self.windows.window_pages(window);
            for (word, (dirty, frozen)) in bits.dirty.0.iter().zip(&bits.frozen.0).enumerate() {
                let mut set = dirty.swap(0, Ordering::AcqRel);
                frozen.store(set, Ordering::Release);
                while set != 0 {
                    pages.push(first + (word * 64) as u64 + u64::from(set.trailing_zeros()));
                    set &= set - 1;
                }
            }
        }
        self.dirty_pages.store(0, Ordering::Relaxed);
        pages
    }

    /// A frozen page as it was at the freeze. Asked for once a page.
    pub(crate) fn capture(&self, page: u64) -> PageImage {
        let (window, inside, map) = self.windows.page(page);
        let bits = self.window_bits(window);
        let _lock = self.lock(page);
        debug_assert!(bits.frozen.get(inside));
        // Either a writer was here first and left a copy, or the page is still as it was; the bit tells later writers
        // that they need not copy it any more.
        if bits.captured.set(inside) {
            view::page_image(map, inside)
        } else {
            self.captures.lock().remove(&page).expect("a captured page's copy is kept until it is asked for")
        }
    }

    /// Ends a checkpoint that is durably in the file: private copies of pages not changed since are given back.
    pub(crate) fn release(&self, pages: &[u64]) {
        for &page in pages {
            let (window, inside, map) = self.windows.page(page);
            let bits = self.window_bits(window);
            let _lock = self.lock(page);
            bits.frozen.clear(inside);
            bits.captured.clear(inside);
            if !bits.dirty.get(inside) || mutant::on(Mutant::ChangedPageDropped) {
                view::drop_page(map, inside);
            }
        }
        self.captures.lock().clear();
        self.active.store(false, Ordering::Release);
    }

    /// Gives up a checkpoint: its pages are dirty again.
    pub(crate) fn unfreeze(&self, pages: &[u64]) {
        for &page in pages {
            let (window, inside, _) = self.windows.page(page);
            let bits = self.window_bits(window);
            let _lock = self.lock(page);
            bits.frozen.clear(inside);
            bits.captured.clear(inside);
            if bits.dirty.set(inside) {
                self.dirty_pages.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.captures.lock().clear();
        self.active.store(false, Ordering::Release);
    }
}
