//! Copies of one vector, when there are so many that they fill a search's pool.
//!
//! All copies are equally far from a query, so a walk that has come to a few dozen of them keeps expanding copies, and
//! finds neither what lies nearer, if few of the copies link to it, nor what lies behind. A search whose pool ends up
//! full of copies is therefore made again with more candidates: copies hide nothing, at a cost only near them.

use crate::distances::{CodePairs, ExactPairs};
use crate::index::Index;
use crate::scratch::Pool;
use crate::search::Pairs;

/// How many times more candidates the next search gets,
const MORE: usize = 4;
/// up to so many.
const MOST: usize = 1 << 14;

impl Index {
    /// With how many candidates a search for `wanted` is to be made again, after one with `ef`, if copies may hide
    /// something. Of copies that `is_own` says are of what was searched for, there is nothing behind that matters.
    pub(crate) fn uncrowded(
        &self,
        (wanted, ef): (usize, usize),
        pool: &Pool,
        is_own: impl Fn(u32) -> bool,
    ) -> Option<usize> {
        let (mut found, mut distinct) = (0, 0);
        let mut last = None;
        for candidate in pool.live() {
            found += 1;
            let is_copy = last.is_some_and(|(distance, slot)| {
                distance == candidate.distance && self.are_copies(slot, candidate.slot)
            });
            distinct += usize::from(!is_copy);
            last = Some((candidate.distance, candidate.slot));
        }
        let crowded = found >= ef && 2 * distinct < wanted && ef < MOST;
        let nearest = pool.live().next()?;
        (crowded && !is_own(nearest.slot)).then(|| (ef * MORE).min(MOST))
    }

    /// Whether two nodes are one to a walk.
    pub(crate) fn are_copies(&self, a: u32, b: u32) -> bool {
        match self.codes() {
            Some(codes) => CodePairs { codes, limit: self.limit() }.are_copies(a, b),
            None => ExactPairs(self).are_copies(a, b),
        }
    }
}
