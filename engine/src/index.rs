//! One collection's segments: slots in, neighbours out.
//!
//! Invariants:
//! 1. A slot's vector and id are written before its number appears in a link, in the entry word or in the catalogue,
//!    and not again while it does, nor while anybody may still look at it (`readers`).
//! 2. A link list ends at the first end mark; every number before it is a published slot, whatever mixture of old and
//!    new a reader sees.
//! 3. A node's own lists, on all its levels, are written before the first link to it.
//! 4. The entry word names a node and its level together; its level is the highest of the graph.
//! 5. Slots are given out only under the sequencer (the log's lock), in the order of the log: free ones, then new ones.

use crate::codes::Coder;
use crate::cold::Cold;
use crate::cow::CowSegment;
use crate::doubt::Doubt;
use crate::free::FreeSlots;
use crate::geometry::{self, Geometry, MAX_SLOTS};
use crate::heads::Head;
use crate::ids::{self, Id};
use crate::journal::Journal;
use crate::kernel::{self, LINE};
use crate::keys::KeySegment;
use crate::marks::Marks;
use crate::metric::{Metric, Space};
use crate::packed::Packed;
use crate::pending::{Pending, Replayed};
use crate::readers::Readers;
use crate::scratch::ScratchPool;
use crate::scratch::SlotSet;
use crate::search::{AHEAD_OF_ONE, END, Level};
use crate::sums::{Array, Sums};
use crate::user_metric::Metrics;
use crate::view;
use crate::windows::Windows;
use lodestore_wal::names::{self, Part};
use lodestore_wal::{Disk, Error, Mapping, Result};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// List locks of a collection; nodes share them by slot.
const LOCKS: usize = 4096;

/// A collection's geometry, segments and graph.
#[derive(Debug)]
pub struct Index {
    id: u32,
    generation: u32,
    created: u64,
    geometry: Geometry,
    space: Space,
    pub(crate) vectors: Windows,
    /// As the geometry says; kept, since every distance needs them.
    vector_bytes: usize,
    scale_at: usize,
    /// Cache lines of a vector that a walk asks the memory for.
    prefetched_lines: usize,
    /// What walks compare instead of vectors, if the collection has it.
    codes: Option<CodeSegment>,
    pub(crate) ids: Windows,
    /// Keys that are not numbers, if the collection has such.
    pub(crate) keys: Option<KeySegment>,
    pub(crate) links: CowSegment,
    pub(crate) upper: CowSegment,
    pub(crate) tombs: CowSegment,
    pub(crate) sums: Arc<Sums>,
    metrics: Metrics,
    next_slot: AtomicU32,
    next_upper: AtomicU32,
    /// Level + 1 and slot; 0 = empty graph.
    entry: AtomicU64,
    pub(crate) live: AtomicU64,
    /// Slots that are tombstoned and still linked, so that a search must look for them.
    pub(crate) dead: AtomicU64,
    /// Slots that are tombstoned, linked, and may come back.
    pub(crate) marks: Marks,
    /// Slots that are tombstoned and not linked any more.
    pub(crate) free_count: AtomicU64,
    pub(crate) free_slots: Mutex<FreeSlots>,
    pub(crate) readers: Readers,
    pub(crate) cold: Cold,
    pub(crate) reused: Journal,
    /// Slots that are being unlinked, and must not be linked to.
    pub(crate) condemned: RwLock<Option<Arc<SlotSet>>>,
    locks: Box<[Mutex<()>]>,
    pub(crate) doubt: Doubt,
    /// Held while the highest level is being raised.
    pub(crate) raising: Mutex<()>,
    pub(crate) scratch: ScratchPool,
    /// Slots that recovery put in place and has not linked yet.
    pub(crate) pending: OnceLock<Pending>,
    /// Neighbourhoods packed, if searches are to run on them.
    pub(crate) packed: OnceLock<Packed>,
    /// The head that the last checkpoint recorded.
    pub(crate) recorded: Mutex<Option<Head>>,
    /// The heads file names this generation.
    named: AtomicBool,
}

/// Codes, and how they are made.
#[derive(Debug)]
pub(crate) struct CodeSegment {
    pub(crate) coder: Coder,
    pub(crate) windows: Windows,
    /// Cache lines of a code that a walk asks the memory for.
    pub(crate) prefetched_lines: usize,
}

/// The entry point: where every walk starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) slot: u32,
    pub(crate) level: u8,
}

impl Entry {
    pub(crate) fn encode(entry: Option<Entry>) -> u64 {
        entry.map_or(0, |e| (u64::from(e.level) + 1) << 32 | u64::from(e.slot))
    }

    pub(crate) fn decode(word: u64) -> Option<Entry> {
        let level = (word >> 32).checked_sub(1)?;
        Some(Entry { slot: word as u32, level: level.min(255) as u8 })
    }
}

impl Index {
    /// Makes the files of collection `id`, durable when this returns. Leftovers of an earlier attempt are replaced.
    ///
    /// # Errors
    /// Of the disk; what is left behind is not named by anything.
    pub fn create(disk: &dyn Disk, uuid: [u8; 16], id: u32, geometry: &Geometry) -> Result<()> {
        Self::create_generation(disk, uuid, (id, 0), geometry)
    }

    /// As [`create`](Self::create), of any generation.
    pub(crate) fn create_generation(
        disk: &dyn Disk,
        uuid: [u8; 16],
        (id, generation): (u32, u32),
        geometry: &Geometry,
    ) -> Result<()> {
        let dir = names::collection_dir(id, generation);
        disk.create_dir(names::COLLECTIONS_DIR)?;
        disk.create_dir(&dir)?;
        for part in [Part::Meta].into_iter().chain(Part::SEGMENTS) {
            match disk.remove(&names::part(id, generation, part)) {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        geometry::write_meta(disk, uuid, (id, generation), geometry)?;
        for part in Part::SEGMENTS {
            let is_used = match part {
                Part::Codes => geometry.codes != 0,
                Part::Keys => !geometry.key.in_id(),
                _ => true,
            };
            if is_used {
                disk.create(&names::part(id, generation, part))?.sync()?;
            }
        }
        disk.sync_dir(&dir)?;
        disk.sync_dir(names::COLLECTIONS_DIR)?;
        disk.sync_dir("")
    }

    /// Opens collection `id` as the last checkpoint, or compaction, left it: `head` has its counters and says which
    /// generation of the files it is. No step depends on the number of records.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a file is shorter than its counters say or its meta file is damaged.
    pub fn open(disk: &dyn Disk, uuid: [u8; 16], id: u32, created: u64, head: Option<Head>) -> Result<Self> {
        Self::open_with(disk, uuid, (id, created), head, &Metrics::default())
    }

    /// As [`open`](Self::open), with the metrics that the program has registered.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Unregistered`] if the collection's metric is none of them.
    pub fn open_with(
        disk: &dyn Disk,
        uuid: [u8; 16],
        (id, created): (u32, u64),
        head: Option<Head>,
        metrics: &Metrics,
    ) -> Result<Self> {
        let recorded = head;
        let head = head.unwrap_or(Head { created, ..Head::default() });
        let geometry = geometry::read_meta(disk, uuid, (id, head.generation))?;
        let used = head.live.saturating_add(u64::from(head.free));
        if head.next_slot > MAX_SLOTS
            || used > u64::from(head.next_slot)
            || Entry::decode(head.entry).is_some_and(|e| e.slot >= head.next_slot)
        {
            let what = format!("next slot {}, {used} live or free, entry {:x}", head.next_slot, head.entry);
            return Err(Error::corrupt(names::HEADS, u64::from(id) * 128, what));
        }
        let slots = u64::from(head.next_slot);
        let open = |part| disk.open(&names::part(id, head.generation, part));
        let sums = Arc::new(Sums::open(open(Part::Sums)?)?);
        let tracked = disk.is_persistent();
        let cow =
            |part, stride, slots, array| CowSegment::open(open(part)?, stride, slots, array, sums.clone(), tracked);
        let space = match geometry.metric {
            Metric::User(name) => {
                let unregistered = || Error::Unregistered {
                    file: names::part(id, head.generation, Part::Meta),
                    metric: name.as_str().to_owned(),
                };
                let metric = metrics.get(name).ok_or_else(unregistered)?;
                Space::of_user(metric.clone(), geometry.element, geometry.dim)
            }
            metric => Space::new(metric, geometry.element),
        };
        let marks = Marks::new();
        marks.ensure(slots)?;
        let codes = match geometry.codes {
            0 => None,
            _ => Some(CodeSegment {
                coder: Coder::new(&geometry, &space),
                windows: Windows::open(open(Part::Codes)?, geometry.code_stride(), Mapping::Shared, slots)?,
                prefetched_lines: geometry.code_stride().min(AHEAD_OF_ONE) / LINE,
            }),
        };
        let keys = if geometry.key.in_id() { None } else { Some(KeySegment::open(open(Part::Keys)?, head.next_key)?) };
        Ok(Self {
            id,
            generation: head.generation,
            created,
            geometry,
            space,
            codes,
            vector_bytes: geometry.vector_bytes(),
            scale_at: geometry.scale_at(),
            prefetched_lines: geometry.point_bytes().min(AHEAD_OF_ONE).div_ceil(LINE),
            vectors: Windows::open(open(Part::Vectors)?, geometry.vector_stride(), Mapping::Shared, slots)?,
            ids: Windows::open(open(Part::Ids)?, ids::STRIDE, Mapping::Shared, slots)?,
            keys,
            links: cow(Part::Links, geometry.links_stride(), slots, Array::Links)?,
            upper: cow(Part::Upper, geometry.upper_stride(), u64::from(head.next_upper), Array::Upper)?,
            tombs: cow(Part::Tombs, 4, tomb_words(slots), Array::Tombs)?,
            sums,
            metrics: metrics.clone(),
            next_slot: AtomicU32::new(head.next_slot),
            next_upper: AtomicU32::new(head.next_upper),
            entry: AtomicU64::new(head.entry),
            live: AtomicU64::new(head.live),
            dead: AtomicU64::new(slots - used),
            marks,
            free_count: AtomicU64::new(u64::from(head.free)),
            free_slots: Mutex::new(FreeSlots::below(if head.free == 0 { 0 } else { head.next_slot })),
            readers: Readers::default(),
            cold: Cold::default(),
            reused: Journal::default(),
            condemned: RwLock::new(None),
            locks: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            doubt: Doubt::default(),
            raising: Mutex::new(()),
            scratch: ScratchPool::default(),
            pending: OnceLock::new(),
            packed: OnceLock::new(),
            recorded: Mutex::new(recorded),
            named: AtomicBool::new(true),
        })
    }

    /// The collection's number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Which generation of its files this is: how many times the collection was compacted.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether the heads file names this generation. If not, the next checkpoint does it.
    pub fn is_named(&self) -> bool {
        self.named.load(Ordering::Acquire)
    }

    /// See [`is_named`](Self::is_named).
    pub fn set_named(&self, named: bool) {
        self.named.store(named, Ordering::Release);
    }

    /// Its fixed settings.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Its metric and kernel.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The metrics that it was opened with.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Slots that are not tombstoned.
    pub fn live(&self) -> u64 {
        self.live.load(Ordering::Acquire)
    }

    /// Slots given out so far.
    pub fn next_slot(&self) -> u32 {
        self.next_slot.load(Ordering::Acquire)
    }

    /// Upper lists given out so far.
    pub fn next_upper(&self) -> u32 {
        self.next_upper.load(Ordering::Acquire)
    }

    /// The counters as a checkpoint records them. Exact while nobody writes.
    pub fn head(&self) -> Head {
        Head {
            next_slot: self.next_slot(),
            next_upper: self.next_upper(),
            entry: self.entry.load(Ordering::Acquire),
            live: self.live(),
            created: self.created,
            free: self.free() as u32,
            generation: self.generation,
            next_key: self.next_key(),
        }
    }

    /// Takes the counters of a graph that has been put in place. Nobody else knows the index yet.
    pub(crate) fn set_head(&self, head: &Head) {
        self.next_slot.store(head.next_slot, Ordering::Release);
        self.next_upper.store(head.next_upper, Ordering::Release);
        self.entry.store(head.entry, Ordering::Release);
        self.live.store(head.live, Ordering::Release);
        self.dead.store(u64::from(head.next_slot) - head.live - u64::from(head.free), Ordering::Release);
        self.advance_keys(head.next_key);
    }

    /// Pages changed since the last checkpoint.
    pub fn dirty_pages(&self) -> u64 {
        self.links.dirty_pages() + self.upper.dirty_pages() + self.tombs.dirty_pages()
    }

    /// Makes room for `slots` slots and `uppers` upper lists in all.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; nothing has changed then.
    pub fn reserve(&self, slots: u64, uppers: u64) -> Result<()> {
        if slots > u64::from(MAX_SLOTS) {
            return Err(Error::TooLarge { got: slots, limit: u64::from(MAX_SLOTS) });
        }
        self.packed.get().map_or(Ok(()), |packed| packed.ensure(slots))?;
        self.marks.ensure(slots)?;
        self.vectors.ensure(slots)?;
        self.codes.iter().try_for_each(|codes| codes.windows.ensure(slots))?;
        self.ids.ensure(slots)?;
        self.links.ensure(slots)?;
        self.upper.ensure(uppers)?;
        self.tombs.ensure(tomb_words(slots))
    }

    /// Says what recovery has put in place without linking it.
    ///
    /// # Panics
    /// If called twice.
    pub fn set_pending(&self, replayed: Replayed) {
        assert!(self.pending.set(Pending::new(replayed)).is_ok(), "recovery runs once");
        // What writers had left to be mended before the crash is not known any more.
        self.doubt.end(self.doubt.begin(), 1, true);
    }

    /// Slots that recovery has put in place and not linked yet.
    pub fn unlinked(&self) -> Vec<u32> {
        self.pending.get().map_or_else(Vec::new, |p| p.unlinked().collect())
    }

    /// As [`unlinked`](Self::unlinked), the slots of each write together, with the slots given out before it.
    pub fn unlinked_writes(&self) -> Vec<(Vec<u32>, u32)> {
        self.pending.get().map_or_else(Vec::new, Pending::unlinked_writes)
    }

    /// The slots that the next `count` vectors get, in order: free ones, then new ones. Called under the sequencer.
    pub fn places(&self, count: u32) -> Vec<Place> {
        let mut places = self.reusable(count as usize);
        let mut upper = self.next_upper();
        let from = self.next_slot();
        places.extend((from..from.saturating_add(count - places.len() as u32)).map(|slot| {
            let place = Place { slot, level: self.geometry.level(slot), upper };
            upper += u32::from(place.level);
            place
        }));
        places
    }

    /// Gives out a slot. Called under the sequencer, slot by slot, after [`reserve`](Self::reserve) and
    /// [`write_slots`](Self::write_slots).
    pub fn advance(&self, place: Place) {
        if place.slot < self.next_slot() {
            self.revive(place.slot);
        } else {
            self.next_slot.store(place.slot + 1, Ordering::Release);
            self.next_upper.store(place.upper + u32::from(place.level), Ordering::Release);
        }
        self.live.fetch_add(1, Ordering::AcqRel);
    }

    /// Slots below this are published.
    pub(crate) fn limit(&self) -> u32 {
        self.next_slot()
    }

    /// Where a slot's vector is, for prefetching.
    #[inline(always)]
    pub(crate) fn vector_hint(&self, slot: u32) -> *const u8 {
        self.vectors.hint(slot)
    }

    /// Bytes of a vector's components.
    #[inline(always)]
    pub(crate) fn vector_bytes(&self) -> usize {
        self.vector_bytes
    }

    /// Where in its slot a vector's inverse norm is.
    #[inline(always)]
    pub(crate) fn scale_at(&self) -> usize {
        self.scale_at
    }

    /// Cache lines of a vector that a walk asks the memory for.
    #[inline(always)]
    pub(crate) fn prefetched_lines(&self) -> usize {
        self.prefetched_lines
    }

    /// What walks compare instead of vectors, if the collection has it.
    pub(crate) fn codes(&self) -> Option<&CodeSegment> {
        self.codes.as_ref()
    }

    /// What else a published slot holds, unchecked.
    pub fn id_of(&self, slot: u32) -> Id {
        Id::read(view::bytes(&self.ids, slot))
    }

    /// Asks the memory for a slot's id.
    pub(crate) fn prefetch_id(&self, slot: u32) {
        kernel::prefetch_line(self.ids.hint(slot));
    }

    /// Whether a slot is tombstoned.
    #[inline]
    pub fn is_dead(&self, slot: u32) -> bool {
        self.tombs.words(slot / 32)[0].load(Ordering::Acquire) & (1 << (slot % 32)) != 0
    }

    /// Whether `other` was dead when `slot` was put.
    pub(crate) fn was_dead(&self, other: u32, slot: u32) -> bool {
        self.is_gone(other) && !self.pending.get().is_some_and(|pending| pending.outlived(other, slot))
    }

    /// Slots that are tombstoned for good and still linked.
    pub fn dead(&self) -> u64 {
        self.dead.load(Ordering::Acquire)
    }

    /// Whether any slot that is linked is tombstoned.
    #[inline]
    pub(crate) fn any_dead(&self) -> bool {
        // In this order: a mark that is given up is counted as dead first.
        self.marked() != 0 || self.dead() != 0
    }

    /// The slot where walks begin.
    pub fn entry_slot(&self) -> Option<u32> {
        self.entry().map(|entry| entry.slot)
    }

    pub(crate) fn entry(&self) -> Option<Entry> {
        Entry::decode(self.entry.load(Ordering::Acquire))
    }

    pub(crate) fn set_entry(&self, entry: Option<Entry>) {
        self.entry.store(Entry::encode(entry), Ordering::Release);
    }

    /// Whether a slot is being unlinked, or is already, so that nothing may link to it any more. Whoever holds the gate
    /// gets the same answer as long as they do.
    pub(crate) fn is_leaving(&self, slot: u32) -> bool {
        // In this order: a slot is free before it is no longer condemned.
        self.condemned.read().as_ref().is_some_and(|condemned| condemned.has(slot)) || self.free_place(slot).is_some()
    }

    /// The lock of a node's lists. Held one at a time.
    pub(crate) fn lock_lists(&self, slot: u32) -> MutexGuard<'_, ()> {
        self.locks[slot as usize % LOCKS].lock()
    }

    /// Where a node's list on `level` is kept; `None` if the node is not on that level, or its id is damaged.
    #[inline]
    pub(crate) fn list_place(&self, slot: u32, level: u8) -> Option<(&CowSegment, u32)> {
        if level == 0 {
            return Some((&self.links, slot));
        }
        let id = self.id_of(slot);
        let place = id.upper.checked_add(u32::from(level) - 1)?;
        (id.level >= level && place < self.next_upper()).then_some((&self.upper, place))
    }

    /// A node's list on `level`, empty if it has none.
    #[inline]
    pub(crate) fn list(&self, slot: u32, level: u8) -> &[AtomicU32] {
        match self.list_place(slot, level) {
            // A level's cap may be smaller than the stride, which is of whole lines.
            Some((segment, place)) => &segment.words(place)[..self.cap(level)],
            None => &[],
        }
    }

    /// The most links of a node on a level.
    #[inline]
    pub(crate) fn cap(&self, level: u8) -> usize {
        if level == 0 { self.geometry.m0() } else { self.geometry.m }
    }

    /// The neighbours of a node on a level, up to the end of its list.
    pub fn neighbours(&self, slot: u32, level: u8) -> impl Iterator<Item = u32> + '_ {
        self.list(slot, level).iter().map(|w| w.load(Ordering::Acquire)).take_while(|&n| n != END)
    }
}

/// The numbers that a new slot gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The slot.
    pub slot: u32,
    /// Its highest level.
    pub level: u8,
    /// Its first upper list.
    pub upper: u32,
}

/// Words of 32 tombstone bits for that many slots.
pub(crate) fn tomb_words(slots: u64) -> u64 {
    slots.div_ceil(32)
}

/// One level of an index's graph.
pub(crate) struct GraphLevel<'a> {
    pub(crate) index: &'a Index,
    pub(crate) level: u8,
}

impl Level for GraphLevel<'_> {
    #[inline]
    fn list(&self, slot: u32) -> &[AtomicU32] {
        self.index.list(slot, self.level)
    }

    #[inline]
    fn prefetch_list(&self, slot: u32) {
        if self.level == 0 {
            let links = self.index.links.windows();
            kernel::prefetch_lines(links.hint(slot), links.stride() / LINE);
        } else {
            self.index.prefetch_id(slot);
        }
    }

    #[inline(always)]
    fn meets_disk(&self) -> bool {
        self.index.cold.walks_ask()
    }

    fn request_list(&self, slot: u32) {
        if self.level == 0 {
            self.index.links.windows().request(slot);
        }
    }
}
