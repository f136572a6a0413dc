//! Queries: from the entry point down to level 0.

use crate::among::{Among, search_among};
use crate::distances::{CodesTo, ExactTo};
use crate::element::Query;
use crate::filter::{Filter, search_packed};
use crate::index::{GraphLevel, Index};
use crate::members::{Keep, Members};
use crate::metric::Metric;
use crate::near::Near;
use crate::packed::Packed;
use crate::plan::{Plan, Walks};
use crate::records::Neighbour;
use crate::scratch::{Candidate, Counters, Scratch};
use crate::search::{Distances, Until, descend, search_level};
use crate::wanted::Wanted;

/// A walk that finds only records that are to be kept.
#[derive(Clone, Copy)]
struct Choice<'a> {
    keep: &'a Keep<'a>,
    members: Option<&'a Members>,
    /// Whether not all of those may be found.
    partial: bool,
    way: Way<'a>,
}

/// Where it goes.
#[derive(Clone, Copy)]
enum Way<'a> {
    /// Through all nodes, so many hops at most.
    Past { hops: u64, share: f64 },
    /// Among those that are to be kept, and no others. Begins at `seeds`, which are, and reads `lists` at most.
    Among { seeds: &'a [u32], lists: u64 },
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    /// With two slots of one record among what it found.
    Superseded,
    /// Before its end: another way is likely shorter.
    TooLong,
}

/// What one walk has found.
struct Once {
    records: Vec<Neighbour>,
    ended: Ended,
    /// How many it came to, if it ended for want of anything to expand, before it had `ef`.
    came_to: Option<u64>,
    counters: Counters,
}

impl Index {
    /// The `k` nearest records to `query`, nearest first; `ef` (at least `k`) candidates are kept on the way.
    /// The walk ends before when what it would look at next is farther than `ratio` times the `k`th nearest found
    /// (infinite: never; without effect on inner products).
    ///
    /// Takes no lock that a writer holds for long. Complexity: about `ef · m` distances.
    ///
    /// # Panics
    /// If `query` is not one for the collection's dimension and element type.
    pub fn search(&self, query: Query<'_>, k: usize, ef: usize, ratio: f32) -> (Vec<Neighbour>, Counters) {
        self.find(query, &Wanted { ef, ratio, ..Wanted::nearest(k) })
    }

    /// As [`search`](Self::search), of what is wanted. Of the records that are to be kept finds `k` whenever there are so
    /// many: where few are kept, or a walk takes too long or comes to fewer than `ef` and there are more, it compares with
    /// all of them.
    ///
    /// # Panics
    /// If `query` is not one for the collection's dimension and element type.
    pub fn find(&self, query: Query<'_>, wanted: &Wanted<'_>) -> (Vec<Neighbour>, Counters) {
        let Some(keep) = wanted.keep else {
            let (found, counters) = self.search_kept(query, wanted, None);
            return (found.unwrap_or_default(), counters);
        };
        let _reading = self.reading();
        match self.plan(keep, (wanted.members, wanted.partial), wanted.ef.max(wanted.k)) {
            Plan::Scan => self.find_nearly_exactly(query, wanted),
            Plan::Walk(walks) => self.find_walking(query, wanted, keep, &walks),
        }
    }

    /// Takes the first of the walks that comes to its end, and scans if none does.
    fn find_walking(
        &self,
        query: Query<'_>,
        wanted: &Wanted<'_>,
        keep: &Keep<'_>,
        walks: &Walks,
    ) -> (Vec<Neighbour>, Counters) {
        let (members, partial) = (wanted.members, wanted.partial);
        let past = walks.past.as_ref().map(|past| (Way::Past { hops: past.hops, share: past.share }, wanted.ef));
        let among = walks.among.as_ref();
        let among = among.map(|among| (Way::Among { seeds: &among.seeds, lists: among.lists }, among.ef));
        let mut before = Counters::default();
        for (way, ef) in past.into_iter().chain(among) {
            let wanted = Wanted { ef, ..*wanted };
            let (found, counters) = self.search_kept(query, &wanted, Some(Choice { keep, members, partial, way }));
            before += counters;
            if let Some(found) = found {
                return (found, before);
            }
        }
        let (found, counters) = self.find_nearly_exactly(query, wanted);
        before += counters;
        (found, before)
    }

    /// Walks; `None`: it was too long a way. That happens only to walks that have a choice.
    fn search_kept(
        &self,
        query: Query<'_>,
        wanted: &Wanted<'_>,
        choice: Option<Choice<'_>>,
    ) -> (Option<Vec<Neighbour>>, Counters) {
        let _reading = self.reading();
        let k = wanted.k;
        let mut counters = Counters { walks: 1, ..Counters::default() };
        let (mut found, mut asked) = (Vec::new(), k);
        loop {
            let once = self.search_once(query, &Wanted { k: asked, ..*wanted }, choice);
            counters += once.counters;
            let slots = self.limit() as usize;
            let short = once.records.len() < k && once.ended == Ended::Superseded && asked < slots;
            found = if once.records.len() >= found.len() { once.records } else { found };
            if !short || counters.cut_short {
                found.truncate(k);
                if counters.cut_short {
                    return (Some(found), counters);
                }
                if once.ended == Ended::TooLong {
                    return (None, counters);
                }
                if self.has_more(found.len() < k, once.came_to, choice) {
                    // No walk comes to what is missing, or nothing is. It is rare: nearly all was asked for.
                    let (all, work) = self.find_exactly(query, wanted);
                    counters += work;
                    found = all;
                }
                return (Some(found), counters);
            }
            // While updates run, two of those found may be one record's, the old and the new.
            asked = slots.min(2 * asked);
        }
    }

    /// Whether there may be records that a walk did not come to, though it had room for them: if fewer than were asked
    /// for were found, or if there was nothing left to expand after `came_to`, fewer than `ef`. So an `ef` of all records
    /// or more finds exactly.
    fn has_more(&self, short: bool, came_to: Option<u64>, choice: Option<Choice<'_>>) -> bool {
        // Of the records that a filter keeps nobody knows how many there are.
        let there_are = match choice {
            Some(Choice { members, .. }) => members.map_or(u64::MAX, |members| members.len() as u64),
            None => self.live(),
        };
        (short || came_to.is_some()) && came_to.unwrap_or(0) < there_are
    }

    fn search_once(&self, query: Query<'_>, wanted: &Wanted<'_>, choice: Option<Choice<'_>>) -> Once {
        let point = self.asked(query);
        let k = wanted.k;
        let until = self.until(wanted);
        let keep = choice.map(|choice| choice.keep);
        self.scratch.with(|scratch| {
            // Before the walk: a slot linked in between is then found twice rather than not at all.
            let unlinked = self.scan_unlinked(point, (until.ef, wanted.watch), (keep, wanted.members), scratch);
            let mut found = std::mem::take(&mut scratch.found);
            found.clear();
            let in_time = match self.codes() {
                Some(codes) => {
                    let mut code = std::mem::take(&mut scratch.query);
                    self.code_query(query, &mut code);
                    let distances = CodesTo { codes, query: &code, limit: self.limit() };
                    let packed = self.packed.get();
                    let in_time =
                        self.walk_past_copies(query, until, scratch, |until, scratch| match (choice, packed) {
                            (Some(choice), _) => self.walk_kept(&distances, until, choice, scratch),
                            (None, Some(packed)) => self.walk_packed(packed, &distances, until, scratch),
                            (None, None) => self.walk(&distances, until, scratch),
                        });
                    scratch.query = code;
                    self.rerank(point, k.max(1), &mut found, scratch);
                    in_time
                }
                None => {
                    let distances = ExactTo { index: self, query: point };
                    let in_time = self.walk_past_copies(query, until, scratch, |until, scratch| match choice {
                        Some(choice) => self.walk_kept(&distances, until, choice, scratch),
                        None => self.walk(&distances, until, scratch),
                    });
                    found.extend(scratch.pool.live());
                    in_time
                }
            };
            if !unlinked.is_empty() {
                found.extend(unlinked);
                found.sort_unstable_by(Candidate::nearer);
                found.dedup_by_key(|c| c.slot);
            }
            let (records, superseded) = self.resolve(&found, k, keep.and(wanted.last_word()));
            let pool = &scratch.pool;
            let came_to = (pool.room() > 0 && pool.peek_next().is_none()).then(|| pool.live().count() as u64);
            scratch.found = found;
            let ended = match (in_time, superseded) {
                (false, _) => Ended::TooLong,
                (true, true) => Ended::Superseded,
                (true, false) => Ended::Well,
            };
            Once { records, ended, came_to, counters: scratch.counters }
        })
    }

    /// Walks from the entry point to level 0; the `ef` nearest live nodes are in the pool then. Always to its end.
    fn walk<D: Distances>(&self, distances: &D, until: Until<'_>, scratch: &mut Scratch) -> bool {
        // Asked before the first look: if there are none, none can be met that were dead before.
        let any_dead = self.any_dead();
        let Some(nearest) = self.walk_down(distances, until, scratch) else { return true };
        let level = GraphLevel { index: self, level: 0 };
        if any_dead {
            search_level(&level, distances, &[nearest], until, |s| !self.is_dead(s), scratch);
        } else {
            search_level(&level, distances, &[nearest], until, |_| true, scratch);
        }
        true
    }

    /// As [`walk`](Self::walk), for nodes that are to be kept. Says whether it came to its end.
    fn walk_kept<D: Distances>(
        &self,
        distances: &D,
        until: Until<'_>,
        Choice { keep, members, partial, way }: Choice<'_>,
        scratch: &mut Scratch,
    ) -> bool {
        let any_dead = self.any_dead();
        let Some(nearest) = self.walk_down(distances, until, scratch) else { return true };
        let level = GraphLevel { index: self, level: 0 };
        let (seeds, lists) = match way {
            Way::Past { hops, share } => {
                let near = Near::new(self, keep, hops, share);
                return self.walk_past(distances, until, &near, nearest, scratch);
            }
            Way::Among { seeds, lists } => (seeds, lists),
        };
        let among = Among { level: &level, distances, until, most: lists };
        let bits = members.and_then(Members::bits);
        if let Some(bits) = bits.filter(|_| !partial) {
            let keeps = |slot| bits.has(slot) && !(any_dead && self.is_dead(slot));
            return search_among(among, nearest, seeds, keeps, scratch);
        }
        // A filter that is code of the caller's may take its time: it is asked once about each node.
        let (mut asked, mut kept) = (std::mem::take(&mut scratch.asked), std::mem::take(&mut scratch.kept));
        asked.reset(distances.limit() as usize);
        kept.grow(distances.limit());
        let mut refused = 0;
        let keeps = |slot: u32| {
            if bits.is_some_and(|bits| !bits.has(slot)) {
                return false;
            }
            if asked.insert(slot) {
                asked.note(&[slot]);
                let is_live = !self.is_dead(slot);
                let is_kept = is_live && keep(self.id_of(slot).key);
                kept.set(slot, is_kept);
                refused += u64::from(is_live && !is_kept);
            }
            kept.has(slot)
        };
        let in_time = search_among(among, nearest, seeds, keeps, scratch);
        scratch.counters.refused += refused;
        (scratch.asked, scratch.kept) = (asked, kept);
        in_time
    }

    /// Walks through nodes of all kinds. Asks about those only that are near enough to be found. Says whether it came to
    /// its end: it does not if `hops` are too few, or if it meets much less than the `share` to be kept that it should.
    fn walk_past<D: Distances>(
        &self,
        distances: &D,
        until: Until<'_>,
        live: &Near<'_>,
        nearest: Candidate,
        scratch: &mut Scratch,
    ) -> bool {
        // The hops down are no part of it.
        live.hops.set(live.hops.get().saturating_add(scratch.counters.hops));
        let until = Until { hops: Some(&live.hops), ..until };
        search_level(&GraphLevel { index: self, level: 0 }, distances, &[nearest], until, live, scratch);
        scratch.counters.refused += live.asked.get() - live.kept.get();
        scratch.counters.hops < live.hops.get()
    }

    /// Walks, with more candidates if copies have filled the pool.
    fn walk_past_copies<'a>(
        &self,
        query: Query<'_>,
        until: Until<'a>,
        scratch: &mut Scratch,
        walk: impl Fn(Until<'a>, &mut Scratch) -> bool,
    ) -> bool {
        let is_own = |slot: u32| query.bytes() == self.vector(slot);
        let mut more = Some(until.ef);
        while let Some(ef) = more {
            if !walk(Until { ef, ..until }, scratch) {
                return false;
            }
            let done = scratch.counters.cut_short;
            more = self.uncrowded((until.ef, ef), &scratch.pool, is_own).filter(|_| !done);
        }
        true
    }

    /// As [`walk`](Self::walk), on packed neighbourhoods.
    fn walk_packed(&self, packed: &Packed, distances: &CodesTo<'_>, until: Until<'_>, scratch: &mut Scratch) -> bool {
        let any_dead = self.any_dead();
        let Some(nearest) = self.walk_down(distances, until, scratch) else { return true };
        packed.prefetch(nearest.slot);
        let mut tables = std::mem::take(&mut scratch.tables);
        tables.make(self.geometry().metric, distances.query);
        let filter = Filter { packed, tables: &tables, distances, until };
        if any_dead {
            search_packed(filter, &[nearest], |s| !self.is_dead(s), scratch);
        } else {
            search_packed(filter, &[nearest], |_| true, scratch);
        }
        scratch.tables = tables;
        true
    }

    /// Walks from the entry point, if there is one, down to level 0. The pool is empty then.
    pub(crate) fn walk_down<D: Distances>(
        &self,
        distances: &D,
        until: Until<'_>,
        scratch: &mut Scratch,
    ) -> Option<Candidate> {
        scratch.pool.reset(until.ef);
        let entry = self.entry().filter(|entry| entry.slot < distances.limit())?;
        let mut nearest = Candidate { distance: distances.to(entry.slot), slot: entry.slot };
        scratch.counters.distances += 1;
        for level in (1..=entry.level).rev() {
            nearest = descend(&GraphLevel { index: self, level }, distances, nearest, scratch);
        }
        Some(nearest)
    }

    fn until<'a>(&self, wanted: &Wanted<'a>) -> Until<'a> {
        let &Wanted { k, ef, ratio, watch, .. } = wanted;
        // Inner products have no zero to measure ratios from, and of a user's metric nobody knows.
        let without = matches!(self.geometry().metric, Metric::InnerProduct | Metric::User(_));
        let ratio = if without { f32::INFINITY } else { ratio };
        Until { ef: ef.max(k).max(1), k, ratio, watch, hops: None }
    }

    /// The live slots that a slot is linked to, for each of its levels from 0 up.
    pub fn links(&self, slot: u32) -> Vec<Vec<u32>> {
        let limit = self.limit();
        let of = |level| self.neighbours(slot, level).filter(|&link| link < limit && !self.is_dead(link)).collect();
        (0..=self.id_of(slot).level).map(of).collect()
    }
}
