//! Comparing with all records, or with all that are to be kept.

use crate::distances::{CodesTo, ExactTo};
use crate::element::Query;
use crate::index::Index;
use crate::kernel::{Codes, Work};
use crate::members::{Keep, Members};
use crate::metric::Point;
use crate::records::Neighbour;
use crate::scratch::{Candidate, Counters, Scratch};
use crate::search::{Distances, Watch, ahead, ask, compare};
use crate::wanted::Wanted;
use std::cell::Cell;

/// Slots that are compared at a time.
const AT_ONCE: usize = 256;
/// So few records are compared exactly at once: codes are faster only if there is much to read. Measured on SIFT vectors:
/// 1,000 of them took 24 µs, by their codes 70; 5,000 took 1.2 ms, by their codes 0.5.
const FEW: usize = 2000;
/// Candidates beyond half as many again as were asked for, of a scan on codes, at least.
const MORE: usize = 16;
/// How often a scan looks for what was put while it ran. Each time there is less.
const LOOKS: usize = 100;

impl Index {
    /// What is wanted, by comparing with every record.
    ///
    /// # Panics
    /// If `query` is not one for the collection's dimension and element type.
    pub fn find_exactly(&self, query: Query<'_>, wanted: &Wanted<'_>) -> (Vec<Neighbour>, Counters) {
        let point = self.asked(query);
        self.find_all(wanted, |asked, found, scratch| {
            scratch.pool.reset(asked);
            self.scan(&ExactTo { index: self, query: point }, wanted, scratch);
            found.extend(scratch.pool.live());
        })
    }

    /// The same on codes, if there are any and many to compare, more than `ef`: some of those whose codes are nearest are
    /// compared exactly.
    pub(crate) fn find_nearly_exactly(&self, query: Query<'_>, wanted: &Wanted<'_>) -> (Vec<Neighbour>, Counters) {
        let few = wanted.members.map_or(self.limit() as usize, Members::len) <= FEW.max(wanted.ef);
        let Some(codes) = self.codes().filter(|_| !few) else { return self.find_exactly(query, wanted) };
        let point = self.asked(query);
        self.find_all(wanted, |asked, found, scratch| {
            scratch.pool.reset(wanted.ef.max(asked + asked / 2 + MORE));
            let mut code = std::mem::take(&mut scratch.query);
            self.code_query(query, &mut code);
            self.scan(&CodesTo { codes, query: &code, limit: self.limit() }, wanted, scratch);
            scratch.query = code;
            self.rerank(point, asked, found, scratch);
        })
    }

    /// Has `scan` find the so many nearest, and again more of them if some are two of one record's.
    fn find_all(
        &self,
        wanted: &Wanted<'_>,
        scan: impl Fn(usize, &mut Vec<Candidate>, &mut Scratch),
    ) -> (Vec<Neighbour>, Counters) {
        let _reading = self.reading();
        let k = wanted.k;
        let (mut asked, mut counters) = (k.max(1), Counters { scans: 1, ..Counters::default() });
        loop {
            let (records, again, work) = self.scratch.with(|scratch| {
                let mut found = std::mem::take(&mut scratch.found);
                found.clear();
                scan(asked, &mut found, scratch);
                let full = found.len() >= asked;
                // What was put meanwhile may have been looked at twice.
                found.dedup_by_key(|c| c.slot);
                let (records, _) = self.resolve(&found, k, wanted.last_word());
                // Two of one record's, or such that are not to be kept any more.
                let again = full && records.len() < k;
                scratch.found = found;
                (records, again, scratch.counters)
            });
            counters += work;
            if records.len() >= k || !again || counters.cut_short {
                return (records, counters);
            }
            asked *= 2;
        }
    }

    /// Compares with all live slots that are to be kept. The nearest are in the pool then.
    ///
    /// Whoever replaces a record gives it a new slot before the old one dies. So a record whose old slot was found dead is
    /// found by looking, at the end, at the slots that were put since the beginning.
    fn scan<D: Distances>(&self, distances: &D, wanted: &Wanted<'_>, scratch: &mut Scratch) {
        let &Wanted { keep, members, partial, watch, .. } = wanted;
        let (seen, refused, cut_short) = (Cell::new(0u32), Cell::new(0u64), Cell::new(false));
        let goes_on = |_: &u32| {
            cut_short.set(cut_short.get() || watch.ends_scan(seen.get()));
            seen.set(seen.get().wrapping_add(1));
            !cut_short.get()
        };
        let is_kept_by = |slot: u32, keep: Option<&Keep<'_>>| {
            let is_live = !self.is_dead(slot);
            let is_kept = is_live && keep.is_none_or(|keep| keep(self.id_of(slot).key));
            refused.set(refused.get() + u64::from(is_live && !is_kept));
            is_kept
        };
        let (is_kept, is_new) =
            (|&slot: &u32| is_kept_by(slot, keep), |&slot: &u32| is_kept_by(slot, wanted.last_word()));
        let mut from = match members {
            Some(members) => {
                let slots = members.iter().take_while(goes_on);
                match partial {
                    true => self.compare_all(distances, slots.filter(is_kept), scratch),
                    false => self.compare_all(distances, slots.filter(|&slot| !self.is_dead(slot)), scratch),
                }
                members.until()
            }
            None => {
                let until = self.progress();
                self.compare_all(distances, (0..self.limit()).take_while(goes_on).filter(is_kept), scratch);
                until
            }
        };
        for _ in 0..LOOKS {
            let now = self.progress();
            if now == from || cut_short.get() {
                break;
            }
            match self.changed(from, now) {
                Some(changed) => self.compare_all(distances, changed.filter(is_new), scratch),
                None => self.compare_all(distances, (0..self.limit()).filter(is_new), scratch),
            }
            from = now;
        }
        scratch.counters.refused += refused.get();
        scratch.counters.cut_short |= cut_short.get();
    }

    fn compare_all<D: Distances>(&self, distances: &D, slots: impl Iterator<Item = u32>, scratch: &mut Scratch) {
        distances.kernel().run(CompareAll { distances, slots, scratch });
    }

    /// The nearest `ef` of the live slots that recovery has not linked yet; of `members`, if there are.
    pub(crate) fn scan_unlinked(
        &self,
        query: Point<'_>,
        (ef, watch): (usize, Watch<'_>),
        (keep, members): (Option<&Keep<'_>>, Option<&Members>),
        scratch: &mut Scratch,
    ) -> Vec<Candidate> {
        let Some(pending) = self.pending.get().filter(|p| p.left() > 0) else { return Vec::new() };
        scratch.pool.reset(ef);
        let mut cut_short = false;
        let slots = (0..).zip(pending.unlinked()).take_while(|&(n, _)| {
            cut_short = watch.ends_scan(n);
            !cut_short
        });
        let may_be = |&slot: &u32| members.is_none_or(|members| members.has(slot)) && self.counts(slot, keep);
        let counted = slots.map(|(_, slot)| slot).filter(may_be);
        self.compare_all(&ExactTo { index: self, query }, counted, scratch);
        scratch.counters.cut_short |= cut_short;
        scratch.pool.live().collect()
    }
}

struct CompareAll<'a, D, I> {
    distances: &'a D,
    slots: I,
    scratch: &'a mut Scratch,
}

impl<D: Distances, I: Iterator<Item = u32>> Work for CompareAll<'_, D, I> {
    type Out = ();

    #[inline(always)]
    fn run(self, kernel: impl Codes) {
        let Self { distances, mut slots, scratch } = self;
        loop {
            scratch.fresh.clear();
            scratch.fresh.extend(slots.by_ref().take(AT_ONCE));
            let count = scratch.fresh.len();
            if count == 0 {
                return;
            }
            scratch.fresh.resize(count + 3, 0);
            scratch.counters.distances += count as u64;
            ask(distances, &scratch.fresh[..count.min(ahead(distances))]);
            compare(|_| {}, distances, kernel, count, &|_| true, scratch);
        }
    }
}
