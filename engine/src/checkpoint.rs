//! The segments' part of a checkpoint (steps S0 to S7 of docs/durability.md) and of recovery (R1 to R4, R8).

use crate::heads::{Head, Heads};
use crate::images::{ImageWriter, Images, Target};
use crate::index::{Index, tomb_words};
use crate::sums::Array;
use crate::superblock::{Super, Superblock};
use lodestore_wal::mutant::{self, Mutant};
use lodestore_wal::names::{self, Part};
use lodestore_wal::{Disk, Error, Result};
use std::sync::Arc;

/// What a checkpoint has to write: taken while nobody writes, as of one LSN.
#[derive(Debug, Default)]
pub struct Frozen(Vec<FrozenIndex>);

#[derive(Debug)]
struct FrozenIndex {
    index: Arc<Index>,
    head: Head,
    /// In the order of [`Index::arrays`].
    pages: [Vec<u64>; 3],
}

fn part_of(array: Array) -> Part {
    match array {
        Array::Links => Part::Links,
        Array::Upper => Part::Upper,
        Array::Tombs => Part::Tombs,
    }
}

impl Frozen {
    /// S0: notes the changed pages and the counters. The caller keeps every writer out meanwhile.
    pub fn freeze(indexes: &[Arc<Index>]) -> Self {
        let changed =
            indexes.iter().filter(|i| i.dirty_pages() > 0 || !i.is_named() || *i.recorded.lock() != Some(i.head()));
        Self(
            changed
                .map(|index| FrozenIndex {
                    index: index.clone(),
                    head: index.head(),
                    pages: [index.links.freeze(), index.upper.freeze(), index.tombs.freeze()],
                })
                .collect(),
        )
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Pages frozen.
    pub fn pages(&self) -> u64 {
        self.0.iter().flat_map(|f| &f.pages).map(|p| p.len() as u64).sum()
    }

    /// S1: what write-once slots hold becomes durable.
    pub fn sync_slots(&self) -> Result<()> {
        let sync = || self.0.iter().try_for_each(|frozen| frozen.index.sync_slots());
        mutant::unless(Mutant::SlotsUnsynced, sync)
    }

    /// S2: writes every frozen page, with its checksum and the heads, into `ckpt/<no>.pgs`, durably. Returns its length.
    ///
    /// # Errors
    /// Nothing in place has changed; [`unfreeze`](Self::unfreeze) makes the pages dirty again.
    pub fn write(&self, disk: &dyn Disk, uuid: [u8; 16], no: u64, ckpt_lsn: u64, heads: &Heads) -> Result<u64> {
        let collections = self.0.len() as u64;
        // Checksum pages come on top: few, and the file grows where the guess is short.
        let guess = self.pages() + self.pages() / 1000 + 4 * collections;
        let mut writer = ImageWriter::create(disk, uuid, no, ckpt_lsn, guess)?;
        for frozen in &self.0 {
            let (id, generation) = (frozen.index.id(), frozen.index.generation());
            let mut changed = Vec::new();
            for (segment, pages) in frozen.index.arrays().into_iter().zip(&frozen.pages) {
                let target = Target::Part(id, generation, part_of(segment.array()));
                for &page in pages {
                    let crc = writer.add(target, page, &segment.capture(page))?;
                    changed.push((segment.array(), page, crc));
                }
            }
            for (page, image) in frozen.index.sums.updated(&changed)? {
                writer.add(Target::Part(id, generation, Part::Sums), page, &image)?;
            }
        }
        let new_heads: Vec<_> = self.0.iter().map(|f| (f.index.id(), f.head)).collect();
        for (page, image) in heads.updated(&new_heads)? {
            writer.add(Target::Heads, page, &image)?;
        }
        writer.seal(disk)
    }

    /// S5: overwrites the pages in place, durably, from the checkpoint file.
    ///
    /// # Errors
    /// Some pages may be half written; the checkpoint file repairs them at the next open. The store must stop writing.
    pub fn apply(&self, disk: &dyn Disk, uuid: [u8; 16], no: u64, heads: &Heads) -> Result<()> {
        let images = Images::open(disk, uuid, no)?;
        images.apply(|target| match target {
            Target::Heads => Ok(heads.file().clone()),
            Target::Part(id, _, part) => {
                let frozen = self.0.iter().find(|f| f.index.id() == id).expect("written by us");
                Ok(match part {
                    Part::Links => frozen.index.links.file().clone(),
                    Part::Upper => frozen.index.upper.file().clone(),
                    Part::Tombs => frozen.index.tombs.file().clone(),
                    _ => frozen.index.sums.file().clone(),
                })
            }
        })
    }

    /// S7: the private copies of pages that the files now hold, as of checkpoint `number`, go back to the system. No other
    /// process looks at a checkpoint before `oldest`.
    pub fn release(self, number: u64, oldest: u64) {
        for frozen in self.0 {
            let FrozenIndex { index, head, pages } = frozen;
            let slots = u64::from(head.next_slot);
            index.links.set_covered(slots);
            index.upper.set_covered(u64::from(head.next_upper));
            index.tombs.set_covered(tomb_words(slots));
            *index.recorded.lock() = Some(head);
            index.settle_free(number, oldest);
            index.set_named(true);
            for (segment, pages) in index.arrays().into_iter().zip(&pages) {
                segment.release(pages);
            }
        }
    }

    /// Gives the checkpoint up before S4: everything frozen is to be written by the next one.
    pub fn unfreeze(self) {
        for frozen in self.0 {
            for (segment, pages) in frozen.index.arrays().into_iter().zip(&frozen.pages) {
                segment.unfreeze(pages);
            }
        }
    }
}

impl Index {
    pub(crate) fn arrays(&self) -> [&crate::cow::CowSegment; 3] {
        [&self.links, &self.upper, &self.tombs]
    }
}

/// R1 to R4 and R8 for the segments: brings them to the state of the newest complete checkpoint, and removes checkpoint
/// files that are no longer needed. Returns the highest checkpoint number ever used here.
///
/// # Errors
/// [`Error::Corrupt`] if SUPER names a checkpoint that is not whole; of the disk.
pub fn recover_segments(disk: &dyn Disk, superblock: &Superblock, state: &mut Super) -> Result<u64> {
    let mut numbers: Vec<u64> = disk.list(names::CKPT_DIR)?.iter().filter_map(|n| names::parse_ckpt(n)).collect();
    numbers.sort_unstable();
    if !numbers.is_empty() {
        disk.sync_dir(names::CKPT_DIR)?;
    }
    for &no in &numbers {
        let file = disk.open(&names::ckpt(no))?;
        file.sync()?;
        mutant::unless(Mutant::NoEviction, || file.evict())?;
    }
    let known = state.pending.max(state.done);
    // R3: a checkpoint that is whole is a legal state even if SUPER does not say so (its newest slot may be damaged).
    for &no in numbers.iter().rev().filter(|&&no| no > known) {
        let images = match Images::open(disk, state.uuid, no) {
            Ok(images) => images,
            // Not finished. Any other error must not cost the file, which may be all that there is of its state.
            Err(Error::Corrupt { .. }) => continue,
            Err(error) => return Err(error),
        };
        if images.ckpt_lsn >= state.ckpt_lsn {
            sync_all_slots(disk)?;
            state.ckpt_lsn = images.ckpt_lsn;
            state.pending = no;
            state.pending_len = images.length;
            state.clean = false;
            superblock.write(state)?;
            break;
        }
    }
    if state.pending != 0 {
        let images = Images::open(disk, state.uuid, state.pending).map_err(|error| {
            if error.is_not_found() {
                Error::corrupt(names::ckpt(state.pending), 0, "SUPER names this checkpoint, but the file is missing")
            } else {
                error
            }
        })?;
        if images.length != state.pending_len || images.ckpt_lsn != state.ckpt_lsn {
            let what = format!(
                "{} bytes for LSN {} expected, the file has {} for LSN {}",
                state.pending_len, state.ckpt_lsn, images.length, images.ckpt_lsn
            );
            return Err(Error::corrupt(names::ckpt(images.no), 0, what));
        }
        images.apply(|target| disk.open(&target.name()))?;
        state.done = state.pending;
        state.pending = 0;
        state.pending_len = 0;
        superblock.write(state)?;
    }
    for &no in &numbers {
        disk.remove(&names::ckpt(no))?;
    }
    Ok(numbers.last().copied().unwrap_or(0).max(state.done))
}

/// A checkpoint that was not named by SUPER relies on slots whose sync may have happened in another process.
fn sync_all_slots(disk: &dyn Disk) -> Result<()> {
    let paths = disk.list(names::COLLECTIONS_DIR)?;
    let paths = paths.iter().map(|name| format!("{}/{name}", names::COLLECTIONS_DIR));
    for (id, generation) in paths.filter_map(|path| names::parse_collection_dir(&path)) {
        for part in [Part::Vectors, Part::Codes, Part::Keys, Part::Ids] {
            match disk.open(&names::part(id, generation, part)) {
                Ok(file) => file.sync()?,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
