//! Every byte of a collection's files: compared with a checksum, made again from what has one, or zero.
//!
//! What is behind the slots and pages that hold something was never written and is zero, but for two cases that a crash
//! explains: a slot that was written and never given out, and one that waits to be used again.

use crate::codes::CodeQuery;
use crate::cow::CowSegment;
use crate::findings::{Findings, Steps};
use crate::geometry;
use crate::index::{Index, tomb_words};
use crate::keys::UNIT;
use crate::metric::Metric;
use crate::sums::Sums;
use crate::view;
use crate::windows::Windows;
use lodestore_wal::names::{self, Part};
use lodestore_wal::{Disk, DiskFile, Error, PAGE, Result};
use std::ops::Range;

/// Why a slot's bytes are as they are, for a note.
const UNUSED: &str = "behind the last slot: a write that was given up left them, or they were changed";

/// Scales that are not to the bit what this processor computes.
#[derive(Debug, Default)]
struct Rounded {
    count: u64,
    first: u32,
}

/// A page that has a checksum.
enum SummedPage<'a> {
    /// Of checksums, with one of its own.
    Sums(u64),
    /// Of a segment, with one among those.
    Data(&'a CowSegment, u64),
}

impl Index {
    /// Reads `meta` again and compares the lengths of the files with the counters.
    pub fn check_files(&self, disk: &dyn Disk, uuid: [u8; 16], findings: &mut Findings) {
        let id = (self.id(), self.generation());
        let name = names::part(id.0, id.1, Part::Meta);
        match geometry::read_meta(disk, uuid, id) {
            Ok(found) if found == *self.geometry() => {}
            Ok(found) => findings.damage(&name, 0, format!("{found:?}, it was opened as {:?}", self.geometry())),
            Err(error) => drop(findings.check::<()>(Err(error))),
        }
        if let Some(file) = findings.check(disk.open(&name)) {
            let (length, due) = (file.len().unwrap_or(0), geometry::META_BYTES);
            if length > due {
                findings.damage(&name, due, format!("{due} bytes expected, the file has {length}"));
            }
            findings.checked(&*file, length.min(due));
        }
        for (file, needed) in self.lengths() {
            let Some(length) = findings.check(file.len()) else { continue };
            if length < needed {
                findings.damage(file.path(), length, format!("{needed} bytes expected, the file ends here"));
            }
            // Whether its bytes are read is for the checks that follow.
            findings.files.entry(file.path().to_owned()).or_default().bytes = length;
        }
    }

    /// The files of slots and pages, and how long each must be.
    fn lengths(&self) -> Vec<(&dyn DiskFile, u64)> {
        let slots = u64::from(self.next_slot());
        let mut lengths: Vec<(&dyn DiskFile, u64)> = Vec::new();
        lengths.extend(self.slot_windows().map(|windows| (&**windows.file(), slots * windows.stride() as u64)));
        lengths.extend(self.keys.iter().map(|keys| (&**keys.file(), keys.bytes())));
        lengths.extend(self.covered().map(|(segment, pages)| (&**segment.file(), pages * PAGE as u64)));
        lengths
    }

    /// The segments of slots that are written once.
    fn slot_windows(&self) -> impl Iterator<Item = &Windows> {
        [Some(&self.vectors), self.codes().map(|codes| &codes.windows), Some(&self.ids)].into_iter().flatten()
    }

    /// The segments of pages, each with how many of them the last checkpoint has written.
    fn covered(&self) -> [(&CowSegment, u64); 3] {
        let head = self.recorded.lock().unwrap_or_default();
        let slots = u64::from(head.next_slot);
        let [links, upper, tombs] = self.arrays();
        let numbers = [slots, u64::from(head.next_upper), tomb_words(slots)];
        [(links, numbers[0]), (upper, numbers[1]), (tombs, numbers[2])].map(|(of, slots)| (of, of.pages_for(slots)))
    }

    /// Steps that [`check_bytes`](Self::check_bytes) takes, about.
    pub(crate) fn byte_steps(&self) -> u64 {
        self.covered().iter().map(|(_, pages)| pages).sum::<u64>() + u64::from(self.limit())
    }

    /// Checks pages, slots, and what lies between and behind them. Exact only while nobody writes.
    pub(crate) fn check_bytes(&self, findings: &mut Findings, steps: &mut Steps<'_>) {
        let pages = self.check_pages(|checked| {
            findings.check(checked);
            // No error of a file; it ends the loop.
            if steps.made(1) { Ok(()) } else { Err(Error::corrupt("", 0, "stopped")) }
        });
        findings.pages = pages.unwrap_or(0);
        if steps.stopped() {
            return;
        }
        self.check_behind_pages(findings);
        self.check_keys(findings);
        self.check_slots(findings, steps);
    }

    /// Every entry of the keys segment, of records or not any more.
    fn check_keys(&self, findings: &mut Findings) {
        let Some(keys) = &self.keys else { return };
        let file = &**keys.file();
        keys.check_all(|unit, what| findings.damage(file.path(), u64::from(unit) * UNIT as u64, what));
        findings.zeros(file, keys.bytes()..u64::MAX, false, UNUSED);
        findings.checked(file, u64::MAX);
    }

    /// Compares the pages of lists and tombstones, as the last checkpoint left them in the files, with their checksums;
    /// calls `found` with what came of each, until that is an error itself. Says how many there are.
    pub(crate) fn check_pages(&self, mut found: impl FnMut(Result<()>) -> Result<()>) -> Result<u64> {
        let mut image: view::PageImage = Box::new([0; PAGE]);
        self.summed_pages().try_for_each(|page| found(self.check_page(page, &mut image)))?;
        Ok(self.covered().iter().map(|(_, pages)| pages).sum())
    }

    /// Compares `count` pages from the `first` on with their checksums, pages of checksums among them. Says how many there
    /// were. No checkpoint is taken meanwhile.
    pub fn scrub_pages(&self, first: u64, count: u64, findings: &mut Findings) -> u64 {
        let mut image: view::PageImage = Box::new([0; PAGE]);
        let mut looked = 0;
        for page in self.summed_pages().skip(first as usize).take(count as usize) {
            findings.check(self.check_page(page, &mut image));
            looked += 1;
        }
        findings.pages += looked;
        looked
    }

    /// All pages that have checksums, each segment's behind those that hold them.
    fn summed_pages(&self) -> impl Iterator<Item = SummedPage<'_>> {
        self.covered().into_iter().flat_map(|(segment, pages)| {
            let sums = Sums::covering(segment.array(), pages).map(SummedPage::Sums);
            sums.chain((0..pages).map(move |page| SummedPage::Data(segment, page)))
        })
    }

    fn check_page(&self, page: SummedPage<'_>, image: &mut view::PageImage) -> Result<()> {
        match page {
            SummedPage::Sums(page) => self.sums.read(page).map(drop),
            SummedPage::Data(segment, page) => {
                let file = segment.file();
                file.read_at(page * PAGE as u64, &mut image[..])?;
                self.sums.check(segment.array(), page, image, file.path())
            }
        }
    }

    /// Checks vectors, codes, ids and keys of `count` slots from `first` on. Says how many there were. Nobody writes
    /// meanwhile.
    pub fn scrub_slots(&self, first: u32, count: u32, findings: &mut Findings) -> u32 {
        let (mut work, mut code, mut floats) = (CodeQuery::default(), Vec::new(), Vec::new());
        let end = first.saturating_add(count).min(self.limit());
        for slot in (first..end).filter(|&slot| self.free_place(slot).is_none()) {
            findings.slots += 1;
            let before = findings.problem_count;
            // Rounded otherwise is no damage.
            self.check_slot(slot, findings, &mut Rounded::default(), (&mut work, &mut code, &mut floats));
            if findings.problem_count == before {
                findings.check(self.key(self.id_of(slot).key).map(drop));
            }
        }
        end.saturating_sub(first)
    }

    /// Pages that no checkpoint has written are zeros, and so is what is left of a file behind its whole pages.
    fn check_behind_pages(&self, findings: &mut Findings) {
        let mut summed = Vec::new();
        for (segment, pages) in self.covered() {
            let file = &**segment.file();
            findings.zeros(file, pages * PAGE as u64..u64::MAX, true, "behind the last page that was written");
            findings.checked(file, u64::MAX);
            summed.extend(Sums::covering(segment.array(), pages));
        }
        let (sums, pages) = (&**self.sums.file(), self.sums.pages());
        for page in (0..pages).filter(|page| !summed.contains(page)) {
            findings.check(self.sums.read(page));
        }
        findings.zeros(sums, pages * PAGE as u64..u64::MAX, true, "behind the last page of checksums");
        findings.checked(sums, u64::MAX);
    }

    fn check_slots(&self, findings: &mut Findings, steps: &mut Steps<'_>) {
        let (mut work, mut code, mut floats) = (CodeQuery::default(), Vec::new(), Vec::new());
        let mut rounded = Rounded::default();
        for slot in 0..self.limit() {
            if self.free_place(slot).is_some() {
                let mut of_slot = Findings::default();
                self.check_slot(slot, &mut of_slot, &mut rounded, (&mut work, &mut code, &mut floats));
                // A crash may have left half of what was to be put there.
                of_slot.problems.into_iter().for_each(|what| findings.note(format!("{what}; the slot is free")));
            } else {
                findings.slots += 1;
                self.check_slot(slot, findings, &mut rounded, (&mut work, &mut code, &mut floats));
            }
            if !steps.made(1) {
                return;
            }
        }
        if rounded.count > 0 {
            let Rounded { count, first } = rounded;
            findings.note(format!(
                "{}: the scales of {count} vectors, the first in slot {first}, are right but not to the bit what this \
                 processor computes: another kind of processor wrote them, or they were changed",
                names::part(self.id(), self.generation(), Part::Vectors)
            ));
        }
        for windows in self.slot_windows() {
            let (file, end) = (&**windows.file(), u64::from(self.limit()) * windows.stride() as u64);
            findings.zeros(file, end..u64::MAX, false, UNUSED);
            findings.checked(file, u64::MAX);
        }
    }

    fn check_slot(
        &self,
        slot: u32,
        findings: &mut Findings,
        rounded: &mut Rounded,
        (work, code, floats): (&mut CodeQuery, &mut Vec<u8>, &mut Vec<f32>),
    ) {
        if findings.check(self.checked_id(slot)).is_none() {
            return;
        }
        let geometry = self.geometry();
        let at =
            |part, stride: usize| (names::part(self.id(), self.generation(), part), u64::from(slot) * stride as u64);
        let (vectors, start) = at(Part::Vectors, geometry.vector_stride());
        for Range { start: from, end } in self.padding() {
            if let Some(odd) = view::bytes(&self.vectors, slot)[from..end].iter().position(|&byte| byte != 0) {
                let what = format!("slot {slot}: not zero where nothing is kept");
                findings.damage(&vectors, start + (from + odd) as u64, what);
            }
        }
        // The vector's checksum is of its components. Another processor may have rounded the scale otherwise.
        let (kept, due) = (self.point(slot).scale, self.scale_of(self.vector(slot), floats));
        if kept.to_bits() != due.to_bits() {
            // NaN is not close to anything.
            if (kept - due).abs() <= 1e-5 * due.abs() {
                rounded.first = if rounded.count == 0 { slot } else { rounded.first };
                rounded.count += 1;
            } else {
                let what = format!("slot {slot}: its vector is scaled by {kept}, not {due}");
                findings.damage(&vectors, start + geometry.scale_at() as u64, what);
            }
        }
        if let Some(codes) = self.codes() {
            code.clear();
            code.resize(codes.windows.stride(), 0);
            codes.coder.encode(geometry.element.floats(self.vector(slot), geometry.dim, floats), work, code);
            let kept = view::bytes(&codes.windows, slot);
            if let Some(odd) = code.iter().zip(kept).position(|(due, kept)| due != kept) {
                let (name, start) = at(Part::Codes, codes.windows.stride());
                findings.damage(&name, start + odd as u64, format!("slot {slot}: its code is not that of its vector"));
            }
        }
    }

    /// Where in a slot of `vectors` zeros are.
    fn padding(&self) -> [Range<usize>; 2] {
        let geometry = self.geometry();
        let components = geometry.vector_bytes();
        let before = if geometry.metric == Metric::Cosine { geometry.scale_at() } else { components };
        [components..before, geometry.point_bytes()..geometry.vector_stride()]
    }
}
