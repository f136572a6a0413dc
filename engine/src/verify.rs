//! Whether a collection's segments are what they must be: checksums, and the graph's invariants.

use crate::findings::{Findings, Steps};
use crate::geometry::MAX_LEVEL;
use crate::ids::Id;
use crate::index::Index;
use crate::scratch::SlotSet;
use crate::search::END;
use std::collections::HashSet;
use std::sync::atomic::Ordering;

/// What is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Every page, vector, code and id.
    pub bytes: bool,
    /// Every list, level and counter.
    pub graph: bool,
}

impl Checks {
    /// Everything.
    pub const ALL: Checks = Checks { bytes: true, graph: true };
    /// Nothing.
    pub const NONE: Checks = Checks { bytes: false, graph: false };
}

impl Index {
    /// Checks every page, slot and link. Exact only while nobody writes.
    pub fn verify(&self) -> Findings {
        self.verify_with(Checks::ALL, &mut Steps::new(&mut |_| true))
    }

    /// Steps that [`verify_with`](Self::verify_with) takes, about.
    pub fn verify_steps(&self, checks: Checks) -> u64 {
        let slots = u64::from(self.limit());
        let bytes = if checks.bytes { self.byte_steps() } else { 0 };
        bytes + if checks.graph { 2 * slots } else { 0 }
    }

    /// As [`verify`](Self::verify), of a part, which may be stopped: the findings are of what was looked at then.
    pub fn verify_with(&self, checks: Checks, steps: &mut Steps<'_>) -> Findings {
        let mut findings = Findings::default();
        if checks.bytes {
            self.check_bytes(&mut findings, steps);
        }
        if checks.graph && !steps.stopped() {
            self.verify_slots(&mut findings, steps);
            if steps.stopped() {
                return findings;
            }
            self.verify_graph(&mut findings, steps);
            if let Some(slot) = self.packed_wrong() {
                findings
                    .problem(format!("slot {slot}: its packed neighbourhood, in memory only, does not fit its links"));
            }
        }
        findings
    }

    fn verify_slots(&self, findings: &mut Findings, steps: &mut Steps<'_>) {
        let mut listed = vec![false; self.next_upper() as usize];
        for slot in 0..self.limit() {
            if !steps.made(1) {
                return;
            }
            if self.free_place(slot).is_some() {
                findings.free += 1;
                continue;
            }
            *match (self.is_dead(slot), self.is_marked(slot)) {
                (false, _) => &mut findings.live,
                (true, false) => &mut findings.dead,
                (true, true) => &mut findings.marked,
            } += 1;
            // A damaged id has been told if bytes were checked.
            match self.own_id(slot) {
                Ok(id) => self.verify_level(slot, id, &mut listed, findings),
                Err(_) if findings.slots > 0 => {}
                Err(error) => drop(findings.check::<()>(Err(error))),
            }
        }
        let counted = (findings.live, findings.dead, findings.free, findings.marked);
        let recorded = (self.live(), self.dead(), self.free(), self.marked());
        if counted != recorded {
            findings.problem(format!("live, dead, free and marked slots: {counted:?} counted, {recorded:?} recorded"));
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

    fn verify_graph(&self, findings: &mut Findings, steps: &mut Steps<'_>) {
        let limit = self.limit();
        let unlinked: HashSet<u32> = self.unlinked().into_iter().collect();
        let is_linked = |slot: &u32| !unlinked.contains(slot) && self.free_place(*slot).is_none();
        let linked: Vec<u32> = (0..limit).filter(is_linked).collect();
        let mut in_links = SlotSet::below(limit);
        for &slot in &linked {
            if !steps.made(1) {
                return;
            }
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
        let reached = self.reached();
        findings.unreachable = vec![0; reached.len()];
        for &slot in linked.iter().filter(|&&slot| !self.is_gone(slot)) {
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
