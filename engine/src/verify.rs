//! Whether a collection's segments are what they must be: checksums, and the graph's invariants.

use crate::codes::CodeQuery;
use crate::cow::CowSegment;
use crate::index::{Index, tomb_words};
use crate::search::END;
use crate::sums::Sums;
use crate::view;
use lodestore_wal::{PAGE, Result};
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
    /// Live slots that no path of links, of whatever levels, leads to from the entry point.
    pub unreachable: u64,
    /// Live slots that no level-0 link points at.
    pub no_in_links: u64,
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
        self.verify_pages(&mut findings);
        self.verify_slots(&mut findings);
        self.verify_graph(&mut findings);
        if let Some(slot) = self.packed_wrong() {
            findings.problem(format!("slot {slot}: its packed neighbourhood, in memory only, does not fit its links"));
        }
        findings
    }

    /// The files as the last checkpoint left them, against its checksums.
    fn verify_pages(&self, findings: &mut Findings) {
        let Some(head) = *self.recorded.lock() else { return };
        let slots = u64::from(head.next_slot);
        let covered = [
            (&self.links, self.links.pages_for(slots)),
            (&self.upper, self.upper.pages_for(u64::from(head.next_upper))),
            (&self.tombs, self.tombs.pages_for(tomb_words(slots))),
        ];
        for (segment, pages) in covered {
            for sum_page in Sums::covering(segment.array(), pages) {
                findings.check(self.sums.read(sum_page));
            }
            findings.pages += pages;
            for page in 0..pages {
                self.verify_page(segment, page, findings);
            }
        }
    }

    fn verify_page(&self, segment: &CowSegment, page: u64, findings: &mut Findings) {
        let mut image: view::PageImage = Box::new([0; PAGE]);
        let file = segment.file();
        if findings.check(file.read_at(page * PAGE as u64, &mut image[..])).is_some() {
            findings.check(self.sums.check(segment.array(), page, &image, file.path()));
        }
    }

    fn verify_slots(&self, findings: &mut Findings) {
        let (mut work, mut code, mut floats) = (CodeQuery::default(), Vec::new(), Vec::new());
        let (element, dim) = (self.geometry().element, self.geometry().dim);
        for slot in 0..self.limit() {
            findings.slots += 1;
            findings.live += u64::from(!self.is_dead(slot));
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
            if id.level != self.geometry().level(slot) {
                findings.problem(format!("slot {slot} is on level {}, not {}", id.level, self.geometry().level(slot)));
            }
        }
        if findings.live != self.live() {
            findings.problem(format!("{} live slots counted, {} recorded", findings.live, self.live()));
        }
    }

    fn verify_graph(&self, findings: &mut Findings) {
        let limit = self.limit();
        let mut in_links = vec![false; limit as usize];
        for slot in 0..limit {
            for level in 0..=self.geometry().level(slot) {
                self.verify_list(slot, level, &mut in_links, findings);
            }
        }
        let Some(entry) = self.entry() else {
            if limit > 0 && self.unlinked().len() < limit as usize {
                findings.problem(format!("{limit} slots, but no entry point"));
            }
            return;
        };
        if entry.slot >= limit || self.geometry().level(entry.slot) != entry.level {
            findings.problem(format!("entry point {} on level {}, of {limit} slots", entry.slot, entry.level));
            return;
        }
        let unlinked: std::collections::HashSet<u32> = self.unlinked().into_iter().collect();
        let top = (0..limit).filter(|s| !unlinked.contains(s)).map(|s| self.geometry().level(s)).max();
        if top.is_some_and(|top| top > entry.level) {
            findings.problem(format!("entry point on level {}, the highest is {}", entry.level, top.unwrap_or(0)));
        }
        let reached = self.reach(entry.slot);
        for slot in (0..limit).filter(|&s| !self.is_dead(s) && !unlinked.contains(&s)) {
            findings.unreachable += u64::from(!reached[slot as usize]);
            findings.no_in_links += u64::from(!in_links[slot as usize] && slot != entry.slot);
        }
    }

    fn verify_list(&self, slot: u32, level: u8, in_links: &mut [bool], findings: &mut Findings) {
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
            if neighbour >= in_links.len() as u32 {
                findings.problem(format!("slot {slot}, level {level}: link to {neighbour} of {}", in_links.len()));
            } else if neighbour == slot || seen.contains(&neighbour) {
                findings.problem(format!("slot {slot}, level {level}: link to itself or twice to {neighbour}"));
            } else if self.geometry().level(neighbour) < level {
                findings
                    .problem(format!("slot {slot}, level {level}: link to {neighbour}, which is not on that level"));
            } else {
                if level == 0 {
                    in_links[neighbour as usize] = true;
                }
                seen.push(neighbour);
            }
        }
    }

    /// Which slots level-0 links lead to from `start`, and from the nodes of the upper levels on the way down.
    fn reach(&self, start: u32) -> Vec<bool> {
        let limit = self.limit();
        let mut reached = vec![false; limit as usize];
        let mut queue = vec![start];
        reached[start as usize] = true;
        while let Some(slot) = queue.pop() {
            for level in 0..=self.geometry().level(slot) {
                for neighbour in self.neighbours(slot, level) {
                    if neighbour < limit && !reached[neighbour as usize] {
                        reached[neighbour as usize] = true;
                        queue.push(neighbour);
                    }
                }
            }
        }
        reached
    }
}
