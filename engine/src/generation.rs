//! A collection's files written anew, beside those in use: the next generation.
//!
//! Nothing names it until it is whole and durable, so its pages go into their places at once, without a checkpoint file.

use crate::cow::CowSegment;
use crate::heads::Head;
use crate::ids::{self, Id};
use crate::index::{Index, tomb_words};
use crate::keys::{NewKeys, StoredKey};
use crate::view;
use lodestore_wal::mutant::{self, Mutant};
use lodestore_wal::names::{self, Part};
use lodestore_wal::{Disk, DiskFile, Error, PAGE, Result};

/// Bytes of slots, or pages, that are written at once.
const AT_ONCE: usize = 1 << 20;
/// Changed pages that are kept in memory.
const MOST_PAGES: u64 = (32 << 20) / PAGE as u64;

/// Writes what comes in order, from the start of a file on.
struct Appended<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> Appended<'a> {
    fn new(file: &'a dyn DiskFile) -> Self {
        Self { file, at: 0, bytes: Vec::with_capacity(AT_ONCE) }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= AT_ONCE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if !self.bytes.is_empty() {
            self.file.write_at(self.at, &self.bytes)?;
            self.at += self.bytes.len() as u64;
            self.bytes.clear();
        }
        Ok(())
    }
}

impl Index {
    /// Makes the files of the next generation, with nothing in them. Also its counters.
    pub(crate) fn empty_generation(&self, disk: &dyn Disk, uuid: [u8; 16]) -> Result<(Index, Head)> {
        let head = self.head();
        let limit = u64::from(u32::MAX);
        let generation = self.generation().checked_add(1).ok_or(Error::TooLarge { got: limit + 1, limit })?;
        Index::create_generation(disk, uuid, (self.id(), generation), self.geometry())?;
        let empty = Head { next_slot: 0, next_upper: 0, entry: 0, live: 0, free: 0, generation, next_key: 0, ..head };
        let new = Index::open_with(disk, uuid, (self.id(), head.created), Some(empty), self.metrics())?;
        new.set_named(false);
        Ok((new, empty))
    }

    /// Makes the files of the next generation, with the slots of `order` in that order: vectors, codes and ids, and
    /// room for the lists. `told` is called for each slot.
    pub(crate) fn next_generation(
        &self,
        disk: &dyn Disk,
        uuid: [u8; 16],
        order: &[u32],
        mut told: impl FnMut(),
    ) -> Result<Index> {
        let (new, empty) = self.empty_generation(disk, uuid)?;
        let slots = order.len() as u64;
        let uppers = order.iter().map(|&slot| u64::from(self.id_of(slot).level)).sum();
        new.reserve(slots, uppers)?;
        let mut vectors = Appended::new(&**new.vectors.file());
        let mut codes = new.codes().map(|codes| Appended::new(&**codes.windows.file()));
        let mut ids = Appended::new(&**new.ids.file());
        let (mut upper, mut keys) = (0, NewKeys::after(0));
        for &slot in order {
            // Damage must not get fresh, valid checksums.
            let id = self.checked_id(slot)?;
            vectors.add(view::bytes(&self.vectors, slot))?;
            if let (Some(codes), Some(from)) = (&mut codes, self.codes()) {
                codes.add(view::bytes(&from.windows, slot))?;
            }
            let key = match self.key(id.key)? {
                StoredKey::Number(key) => key,
                StoredKey::Bytes(key) => keys.add(key)?,
            };
            if keys.len() >= AT_ONCE {
                new.write_keys(&keys)?;
                keys = NewKeys::after(keys.end());
            }
            ids.add(&Id { key, upper, ..id }.encode())?;
            upper += u32::from(id.level);
            told();
        }
        vectors.flush()?;
        codes.iter_mut().try_for_each(Appended::flush)?;
        ids.flush()?;
        new.write_keys(&keys)?;
        let next_key = keys.end();
        debug_assert_eq!(ids.at, slots * ids::STRIDE as u64);
        // No bit is ever set in a page of tombstones now, but each is to have its checksum.
        for word in (0..tomb_words(slots)).step_by(PAGE / 4) {
            new.tombs.touch(word as u32)?;
        }
        let head = Head { next_slot: order.len() as u32, next_upper: upper, live: slots, next_key, ..empty };
        new.set_head(&head);
        Ok(new)
    }

    /// Writes changed pages into their places, if there are many by now.
    pub(crate) fn settle_some(&self) -> Result<()> {
        if self.dirty_pages() >= MOST_PAGES { self.settle_pages() } else { Ok(()) }
    }

    /// Writes all changed pages into their places, with their checksums. Only of a generation that nothing names, and
    /// which nobody else uses.
    fn settle_pages(&self) -> Result<()> {
        let mut changed = Vec::new();
        for segment in self.arrays() {
            let pages = segment.freeze();
            for run in pages.chunk_by(|a, b| a + 1 == *b).flat_map(|run| run.chunks(AT_ONCE / PAGE)) {
                self.settle_run(segment, run, &mut changed)?;
            }
            segment.release(&pages);
        }
        for (page, image) in self.sums.updated(&changed)? {
            self.sums.file().write_at(page * PAGE as u64, &image[..])?;
        }
        Ok(())
    }

    fn settle_run(
        &self,
        segment: &CowSegment,
        run: &[u64],
        changed: &mut Vec<(crate::sums::Array, u64, u32)>,
    ) -> Result<()> {
        let mut bytes = Vec::with_capacity(run.len() * PAGE);
        for &page in run {
            let image = segment.capture(page);
            changed.push((segment.array(), page, crc32fast::hash(&image[..])));
            bytes.extend_from_slice(&image[..]);
        }
        segment.file().write_at(run[0] * PAGE as u64, &bytes)
    }

    /// Makes a new generation durable, as a checkpoint would have left it.
    pub(crate) fn settle_generation(&self, disk: &dyn Disk) -> Result<()> {
        if !disk.is_persistent() {
            return Ok(());
        }
        self.settle_pages()?;
        mutant::unless(Mutant::GenerationUnsynced, || {
            self.sync_slots()?;
            self.arrays().into_iter().try_for_each(|segment| segment.file().sync())?;
            self.sums.file().sync()
        })?;
        disk.sync_dir(&names::collection_dir(self.id(), self.generation()))?;
        let head = self.head();
        let slots = u64::from(head.next_slot);
        self.links.set_covered(slots);
        self.upper.set_covered(u64::from(head.next_upper));
        self.tombs.set_covered(tomb_words(slots));
        *self.recorded.lock() = Some(head);
        Ok(())
    }
}

/// Removes a generation of a collection's files, or what there is of it.
///
/// # Errors
/// Of the disk; what is left is removed when the store is opened.
pub fn remove_generation(disk: &dyn Disk, id: u32, generation: u32) -> Result<()> {
    let there = |result: Result<()>| match result {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    };
    for part in [Part::Meta].into_iter().chain(Part::SEGMENTS) {
        there(disk.remove(&names::part(id, generation, part)))?;
    }
    there(disk.remove_dir(&names::collection_dir(id, generation)))?;
    disk.sync_dir(names::COLLECTIONS_DIR)
}
