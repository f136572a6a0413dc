//! A walk that goes on as far as it is asked to: records in the order of their distances, one after the other.
//!
//! It is the search of level 0 with a pool that forgets nothing: once all in the pool are expanded, its nearest node is
//! what comes next, and the place that it leaves is filled with the nearest of what there was no room for. So what has
//! been given after n records is what a search with n more candidates finds. The walk compares vectors and not codes:
//! who listens decides by distances, and those are to be exact.
//!
//! A walk costs at most half more than comparing with all: once it has compared with half of the slots, the others
//! are compared one after the other, and what follows is in exact order. That is also what it does at its end, so every
//! record is given, and given once.

use crate::distances::ExactTo;
use crate::element::Query;
use crate::index::{GraphLevel, Index};
use crate::keyed::SeenKeys;
use crate::members::Keep;
use crate::metric::Point;
use crate::readers::Seat;
use crate::records::Neighbour;
use crate::scratch::{Candidate, Counters, Scratch};
use crate::search::{Distances, Until, Watch, begin, go_on};
use std::sync::Arc;

/// A query that is kept.
#[derive(Debug)]
enum Asked {
    Floats(Vec<f32>),
    Stored(Vec<u8>),
}

impl Asked {
    fn query(&self) -> Query<'_> {
        match self {
            Asked::Floats(floats) => Query::Floats(floats),
            Asked::Stored(bytes) => Query::Stored(bytes),
        }
    }
}

/// A walk from a query outwards. While it is there, no slot that it may come upon is used again.
#[derive(Debug)]
pub struct Walk {
    index: Arc<Index>,
    seat: Seat,
    scratch: Scratch,
    asked: Asked,
    scale: f32,
    /// How many nodes beyond what is given are known, and their neighbours.
    ef: usize,
    started: bool,
    /// Slots below this were looked at without a walk, and what was found there.
    rest_from: u32,
    rest: Vec<Candidate>,
    all_known: bool,
    given: SeenKeys,
}

/// What a walk has come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// The next record.
    Found(Neighbour),
    /// There is no other.
    End,
    /// It was told not to go on; it can be asked again.
    CutShort,
}

impl Walk {
    /// A walk from `query` that looks `ef` nodes ahead; if `exact`, all vectors are compared before the first is given.
    ///
    /// # Panics
    /// If `query` is not one for the collection's dimension and element type.
    pub fn new(index: Arc<Index>, query: Query<'_>, ef: usize, exact: bool) -> Self {
        let scale = index.asked(query).scale;
        // Nothing may fail from here on, or nobody would leave.
        let seat = index.readers.enter();
        let asked = match query {
            Query::Floats(floats) => Asked::Floats(floats.to_vec()),
            Query::Stored(bytes) => Asked::Stored(bytes.to_vec()),
        };
        let mut scratch = index.scratch.take();
        scratch.pool.reset_keeping_all(ef.max(1));
        scratch.visited.reset(0);
        let (ef, given) = (ef.max(1), SeenKeys::default());
        Self {
            index,
            seat,
            scratch,
            asked,
            scale,
            ef,
            started: exact,
            rest_from: 0,
            rest: Vec::new(),
            all_known: false,
            given,
        }
    }

    /// The next record of those that are to be kept: the nearest that is known. Always with the same `keep`.
    ///
    /// Complexity: a node's list read, and a distance for each of its nodes not seen before; more for the first.
    pub fn next(&mut self, keep: Option<&Keep<'_>>, watch: Watch<'_>) -> Step {
        self.scratch.counters.cut_short = false;
        if !self.started {
            self.started = true;
            if !keep.is_some_and(|keep| self.index.few_are(keep, self.ef)) {
                self.start(keep, watch);
                if self.scratch.counters.cut_short {
                    return Step::CutShort;
                }
            }
        }
        loop {
            if !self.expand(keep, watch) {
                return Step::CutShort;
            }
            match self.scratch.pool.pop_nearest() {
                Some((_, false)) => {}
                Some((Candidate { distance, slot }, true)) => {
                    // While updates run, the old and the new slot of a record may both be found.
                    let key = self.index.id_of(slot).key;
                    if self.given.add(&self.index, key) {
                        return Step::Found(Neighbour { key, slot, distance });
                    }
                }
                None if self.all_known => return Step::End,
                None if self.compare_rest(keep, watch) => {}
                None => return Step::CutShort,
            }
        }
    }

    /// The work so far.
    pub fn counters(&self) -> Counters {
        self.scratch.counters
    }

    /// The index that it walks on.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// From the entry point down to level 0.
    fn start(&mut self, keep: Option<&Keep<'_>>, watch: Watch<'_>) {
        let Self { index, scratch, asked, scale, ef, .. } = self;
        let distances = ExactTo { index, query: Point { vector: asked.query().bytes(), scale: *scale } };
        let nearest = index.walk_down(&distances, Until::ef(*ef), scratch);
        scratch.pool.reset_keeping_all(*ef);
        begin(&distances, nearest.as_slice(), &index.counted(keep), scratch);
        let Some(pending) = index.pending.get() else { return };
        let Scratch { pool, visited, counters, .. } = scratch;
        for (n, slot) in (0..).zip(pending.unlinked()) {
            if watch.ends_scan(n) {
                // Those that are left are found as what no walk has come to.
                counters.cut_short = true;
                return;
            }
            if index.counts(slot, keep) && slot < visited.slots() && visited.insert(slot) {
                visited.note(&[slot]);
                pool.insert_settled(distances.to(slot), slot);
                counters.distances += 1;
            }
        }
    }

    /// Takes care that all in the pool are expanded; says no if it was told to end before.
    fn expand(&mut self, keep: Option<&Keep<'_>>, watch: Watch<'_>) -> bool {
        let Self { index, scratch, asked, scale, ef, .. } = self;
        if self.all_known || scratch.pool.peek_next().is_none() {
            return true;
        }
        if 2 * scratch.counters.distances >= u64::from(index.next_slot()) {
            return self.compare_rest(keep, watch);
        }
        let distances = ExactTo { index, query: Point { vector: asked.query().bytes(), scale: *scale } };
        let level = GraphLevel { index, level: 0 };
        go_on(&level, &distances, Until { watch, ..Until::ef(*ef) }, index.counted(keep), scratch);
        !scratch.counters.cut_short
    }

    /// Compares with all that no walk has come to, those put meanwhile included. Says no if it was told to end before.
    fn compare_rest(&mut self, keep: Option<&Keep<'_>>, watch: Watch<'_>) -> bool {
        let Self { index, scratch, asked, scale, rest_from, rest, .. } = self;
        let distances = ExactTo { index, query: Point { vector: asked.query().bytes(), scale: *scale } };
        let Scratch { pool, visited, counters, .. } = scratch;
        for slot in *rest_from..distances.limit() {
            *rest_from = slot;
            if watch.ends_scan(slot) {
                counters.cut_short = true;
                return false;
            }
            let seen = slot < visited.slots() && visited.has(slot);
            if !seen && index.counts(slot, keep) {
                rest.push(Candidate { distance: distances.to(slot), slot });
                counters.distances += 1;
            }
        }
        pool.settle_all(rest.drain(..));
        self.all_known = true;
        true
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.index.readers.leave(&self.seat);
        // What a panic has left half done is not used again.
        if !std::thread::panicking() {
            self.index.scratch.give_back(std::mem::take(&mut self.scratch));
        }
    }
}
