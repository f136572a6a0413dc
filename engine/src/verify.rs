//! Whether a collection's segments are what they must be: checksums, and the graph's invariants.

use crate::codes::CodeQuery;
use crate::geometry::MAX_LEVEL;
use crate::ids::Id;
use crate::index::{Index, tomb_words};
use crate::scratch::SlotSet;
use crate::search::END;
use crate::sums::Sums;
use crate::view;
use lodestore_wal::{PAGE, Result};
use std::collections::HashSet;
use std::sync::atomic::Ordering;

/// What was looked at, and what was wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Slots whose id and vector checksums were compared.
    pub slots: u64,
    /// Pages whose checksums were compared.
    pub pages: u64,
    /// Links followed.
    pub links: u64,
    /// Live slots.
    pub live: u64,
    /// Slots that are tombstoned and still linked.
    pub dead: u64,
    /// Slots that are neither live nor linked.
    pub free: u64,
    /// Live slots that links do not lead to from the entry point, of each level from 0 up: on a level, those that its
    /// links do not lead to from what is reached on the level above.
    pub unreachable: Vec<u64>,
    /// Live slots that no level-0 link points at.
    pub no_in_links: u64,
    /// Level-0 links of live slots, in all.
    pub degrees: u64,
    /// What is wrong, one sentence each, at most [`MAX_PROBLEMS`].
    pub problems: Vec<String>,
    /// Problems in all.
    pub problem_count: u64,
}

/// Sentences kept in a report.
pub const MAX_PROBLEMS: usize = 100;

impl Findings {
    /// Notes a problem.
    pub fn problem(&mut self, what: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(what.into());
        }
    }

    fn check<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.problem(error.to_string())).ok()
    }
}

impl Index {
    /// Checks every page, slot and link. Exact only while nobody writes.
    pub fn verify(&self) -> Findings {
        let mut findings = Findings::default();
        let pages = self.check_pages(|checked| {
            findings.check(checked);
            Ok(())
        });
        findings.pages = pages.unwrap_or(0);
        self.verify_slots(&mut findings);
        self.verify_graph(&mut findings);
        if let Some(slot) = self.packed_wrong() {
            findings.problem(format!("slot {slot}: its packed neighbourhood, in memory only, does not fit its links"));
        }
        findings
    }

    /// Compares the pages of lists and tombstones, as the last checkpoint left them in the files, with their checksums;
    /// calls `found` with what came of each, until that is an error itself. Says how many there are.
    pub(crate) fn check_pages(&self, mut found: impl FnMut(Result<()>) -> Result<()>) -> Result<u64> {
        let Some(head) = *self.recorded.lock() else { return Ok(0) };
        let slots = u64::from(head.next_slot);
        let covered = [slots, u64::from(head.next_upper), tomb_words(slots)];
        let mut image: view::PageImage = Box::new([0; PAGE]);
        let mut count = 0;
        for (segment, slots) in self.arrays().into_iter().zip(covered) {
            let (pages, file) = (segment.pages_for(slots), segment.file());
            for sum_page in Sums::covering(segment.array(), pages) {
                found(self.sums.read(sum_page).map(drop))?;
            }
            for page in 0..pages {
                let read = file.read_at(page * PAGE as u64, &mut image[..]);
                found(read.and_then(|()| self.sums.check(segment.array(), page, &image, file.path())))?;
            }
            count += pages;
        }
        Ok(count)
    }

    fn verify_slots(&self, findings: &mut Findings) {
        let (mut work, mut code, mut floats) = (CodeQuery::default(), Vec::new(), Vec::new());
        let (element, dim) = (self.geometry().element, self.geometry().dim);
        let mut listed = vec![false; self.next_upper() as usize];
        for slot in 0..self.limit() {
            if self.free_place(slot).is_some() {
                findings.free += 1;
                continue;
            }
            findings.slots += 1;
            let counted = if self.is_dead(slot) { &mut findings.dead } else { &mut findings.live };
            *counted += 1;
            let Some(id) = findings.check(self.checked_id(slot)) else { continue };
            // The vector's checksum is of its components. Another processor may have rounded the scale otherwise.
            let (kept, due) = (self.point(slot).scale, self.scale_of(self.vector(slot), &mut floats));
            // NaN is not close to anything.
            let close = (kept - due).abs() <= 1e-5 * due.abs();
            if kept != due && !close {
                findings.problem(format!("slot {slot}: its vector is scaled by {kept}, not {due}"));
            }
            if let Some(codes) = self.codes() {
                code.resize(codes.windows.stride(), 0);
                codes.coder.encode(element.floats(self.vector(slot), dim, &mut floats), &mut work, &mut code);
                if code != view::bytes(&codes.windows, slot) {
                    findings.problem(format!("slot {slot}: its code is not that of its vector"));
                }
            }
            self.verify_level(slot, id, &mut listed, findings);
        }
        let (counted, recorded) =
            ((findings.live, findings.dead, findings.free), (self.live(), self.dead(), self.free()));
        if counted != recorded {
            findings.problem(format!("live, dead and free slots: {counted:?} counted, {recorded:?} recorded"));
        }
    }

    /// A slot's level is what its id says; its upper lists are there, and no other slot's.
    fn verify_level(&self, slot: u32, id: Id, listed: &mut [bool], findings: &mut Findings) {
        if id.level > MAX_LEVEL {
            findings.problem(format!("slot {slot} is on level {}, the highest there may be is {MAX_LEVEL}", id.level));
            return;
        }
        let from = id.upper as usize;
        match listed.get_mut(from..from.saturating_add(usize::from(id.level))) {
            _ if id.level == 0 => {}
            Some(lists) if lists.iter().all(|taken| !taken) => lists.fill(true),
            Some(_) => findings.problem(format!("slot {slot}: upper lists from {from} on are another slot's, too")),
            None => {
                let there = listed.len();
                findings.problem(format!("slot {slot}: {} upper lists from {from} on, of {there}", id.level));
            }
        }
    }

    /// The level that a slot's id says, never more than there may be.
    fn level_of(&self, slot: u32) -> u8 {
        self.id_of(slot).level.min(MAX_LEVEL)
    }

    fn verify_graph(&self, findings: &mut Findings) {
        let limit = self.limit();
        let unlinked: HashSet<u32> = self.unlinked().into_iter().collect();
        let is_linked = |slot: &u32| !unlinked.contains(slot) && self.free_place(*slot).is_none();
        let linked: Vec<u32> = (0..limit).filter(is_linked).collect();
        let mut in_links = SlotSet::below(limit);
        for &slot in &linked {
            for level in 0..=self.level_of(slot) {
                self.verify_list(slot, level, &mut in_links, findings);
            }
        }
        let top = linked.iter().map(|&slot| self.id_of(slot).level).max();
        match self.entry() {
            None => {
                if !linked.is_empty() {
                    findings.problem(format!("{} linked slots, but no entry point", linked.len()));
                }
            }
            Some(entry) if !is_linked(&entry.slot) || self.level_of(entry.slot) != entry.level => {
                findings.problem(format!("entry point {} on level {}, of {limit} slots", entry.slot, entry.level));
                return;
            }
            Some(entry) if top.is_some_and(|top| top > entry.level) => {
                findings.problem(format!("entry point on level {}, the highest is {}", entry.level, top.unwrap_or(0)))
            }
            Some(_) => {}
        }
        let reached = self.reached(limit);
        findings.unreachable = vec![0; reached.len()];
        for &slot in linked.iter().filter(|&&slot| !self.is_dead(slot)) {
            for (level, reached) in reached.iter().enumerate().take(usize::from(self.id_of(slot).level) + 1) {
                findings.unreachable[level] += u64::from(!reached.has(slot));
            }
            let alone = self.entry().is_some_and(|entry| entry.slot == slot);
            findings.no_in_links += u64::from(!in_links.has(slot) && !alone);
            findings.degrees += self.neighbours(slot, 0).count() as u64;
        }
    }

    fn verify_list(&self, slot: u32, level: u8, in_links: &mut SlotSet, findings: &mut Findings) {
        let limit = self.limit();
        let list = self.list(slot, level);
        let mut seen: Vec<u32> = Vec::with_capacity(list.len());
        let mut ended = false;
        for word in list {
            let neighbour = word.load(Ordering::Acquire);
            if neighbour == END {
                ended = true;
                continue;
            }
            findings.links += 1;
            if ended {
                findings.problem(format!("slot {slot}, level {level}: a link after the end of the list"));
                return;
            }
            if neighbour >= limit || self.free_place(neighbour).is_some() {
                findings.problem(format!("slot {slot}, level {level}: link to {neighbour} of {limit}, or a free one"));
            } else if neighbour == slot || seen.contains(&neighbour) {
                findings.problem(format!("slot {slot}, level {level}: link to itself or twice to {neighbour}"));
            } else if level > 0 && self.level_of(neighbour) < level {
                findings
                    .problem(format!("slot {slot}, level {level}: link to {neighbour}, which is not on that level"));
            } else {
                if level == 0 {
                    in_links.add(neighbour);
                }
                seen.push(neighbour);
            }
        }
    }
}
