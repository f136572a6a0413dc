//! How the records that are wanted are found with the least work: by a walk among them, or by comparing with each.
//!
//! A walk among them takes about `ef` hops, however many are wanted; but the fewer they are, the more lists of others it
//! reads on each, and the more candidates it needs for the same recall. A walk through all nodes does without asking about
//! those that are too far to be found, which pays if a closure is to be asked; it takes more hops, the more so if what is
//! wanted lies far from the query. Comparing with each takes a distance for each, most of them of neighbouring slots, which
//! the memory gives faster; and if nobody knows where they are, asking about all records before.

use crate::index::Index;
use crate::members::{Keep, Members};

/// How a search goes about.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Compares with each.
    Scan,
    /// Walks.
    Walk(Walks),
}

/// Walks, of which the first is taken that comes to its end; if there is none, what is wanted is compared with each.
#[derive(Debug)]
pub(crate) struct Walks {
    pub(crate) past: Option<Past>,
    pub(crate) among: Option<AmongKept>,
}

/// A walk through all nodes.
#[derive(Debug)]
pub(crate) struct Past {
    /// Hops that it may take.
    pub(crate) hops: u64,
    /// What share of the nodes is likely to be kept.
    pub(crate) share: f64,
}

/// A walk among those that are to be kept.
#[derive(Debug)]
pub(crate) struct AmongKept {
    /// Some of them, from all over, to begin at.
    pub(crate) seeds: Vec<u32>,
    /// Candidates that it keeps.
    pub(crate) ef: usize,
    /// Lists that it may read.
    pub(crate) lists: u64,
}

/// Slots to be kept that a walk begins at.
const SEEDS: usize = 32;
/// Slots that are looked at to guess how many are to be kept, at most,
const SAMPLES: u32 = 256;
/// and how many of them have to be for the guess to be good enough.
const SURE: usize = 24;

/// What things take, in the time that a scan takes for a distance, about 12 ns: of a walk a hop, without the lists of
/// others, and one of those lists; if slots are known,
const KNOWN: (f64, f64) = (60.0, 8.0);
/// and if a closure has to be asked about each neighbour, whose key lies anywhere.
const ASKED: (f64, f64) = (200.0, 250.0);
/// A hop of a walk through all nodes, with asking about those that are near.
const PAST: f64 = 130.0;
/// The least share to be kept: with less, the pool gets so large that it takes longer.
const LEAST: f64 = 1.0 / 16.0;
/// Asking about a record whose key lies beside that of the one before.
const ASK: f64 = 2.0;
/// How many more candidates a walk among few nodes keeps: that many times as many for each list of others that a hop would
/// need, to that power; the fewer nodes are kept, the worse is the graph that they make, and what lies at the border of
/// where they are is harder to find. Measured on 1,000,000 SIFT vectors: without a filter recall@10 at ef 64 was 0.960. That
/// took 1.3 times as many among half of them, the nearest to a point, and 2.3 times among a tenth; 1.2 and 1.6 if they are
/// random.
const MORE: (f64, f64) = (0.3, 0.7);
/// As many times at most.
const MOST: f64 = 16.0;

impl Index {
    /// The least work; `members` with whether not all of them may be found. The caller counts as a reader.
    pub(crate) fn plan(&self, keep: &Keep<'_>, members: (Option<&Members>, bool), ef: usize) -> Plan {
        let limit = f64::from(self.limit());
        let mut seeds = Vec::with_capacity(SEEDS);
        let (matches, asking, (hop, list)) = match members {
            (Some(members), _) if members.bits().is_none() => return Plan::Scan,
            (Some(members), false) => {
                // A walk takes those that it begins at for what it may find.
                members.spread(SEEDS, |slot| !self.is_dead(slot), &mut seeds);
                (members.len() as f64, 0.0, KNOWN)
            }
            (Some(members), true) => {
                let share = self.sample_of(members, keep, &mut seeds);
                (share * members.len() as f64, ASK * members.len() as f64, ASKED)
            }
            (None, _) => {
                let share = self.sample(keep, &mut seeds);
                seeds.truncate(SEEDS);
                (share * limit, ASK * limit, ASKED)
            }
        };
        if seeds.is_empty() {
            return Plan::Scan;
        }
        let linked = self.cap(0) as f64;
        let kept = linked * matches / limit;
        // What a node has of kept neighbours is made up to a list.
        let needed = ((linked - kept) / kept).max(0.0);
        let wide = ef as f64 * (1.0 + MORE.0 * needed.powf(MORE.1)).min(MOST);
        let (among, scan) = (wide * (hop + list * needed.min(linked)), matches + asking);
        let other = among.min(scan);
        let share = matches / limit;
        let hops = ef as f64 / share;
        // As long as the other way would take, if it turns out to be longer than guessed.
        let is_best = members.0.is_none() && share >= LEAST && hops * PAST < other;
        let past = is_best.then_some(Past { hops: (other / PAST).max(2.0 * hops) as u64, share });
        let lists = (scan / list + wide) as u64;
        let among = (among <= scan).then_some(AmongKept { seeds, ef: wide as usize, lists });
        if past.is_none() && among.is_none() { Plan::Scan } else { Plan::Walk(Walks { past, among }) }
    }

    /// Looks at some slots, and finds those that are to be kept. Says what share they are.
    fn sample(&self, keep: &Keep<'_>, found: &mut Vec<u32>) -> f64 {
        let limit = u64::from(self.limit());
        if limit == 0 {
            return 0.0;
        }
        let mut looked = 0;
        while looked < SAMPLES && found.len() < SURE {
            // Scattered, so that the first ones come from all over too (multiples of the golden ratio).
            let slot = ((u64::from(looked.wrapping_mul(0x9E37_79B9)) * limit) >> 32) as u32;
            looked += 1;
            if self.counts(slot, Some(keep)) {
                found.push(slot);
            }
        }
        found.len() as f64 / f64::from(looked)
    }

    /// As [`sample`](Self::sample), of what may be kept only.
    fn sample_of(&self, members: &Members, keep: &Keep<'_>, found: &mut Vec<u32>) -> f64 {
        let mut some = Vec::with_capacity(SAMPLES as usize);
        members.spread(SAMPLES as usize, |slot| !self.is_dead(slot), &mut some);
        found.extend(some.iter().copied().filter(|&slot| self.counts(slot, Some(keep))));
        let share = found.len() as f64 / some.len().max(1) as f64;
        // From all over.
        let step = found.len().div_ceil(SEEDS).max(1);
        *found = found.iter().copied().step_by(step).collect();
        share
    }

    /// Whether so few records are kept that comparing with each of them is less work than a walk that goes through all
    /// the others on its way to `ef` of them.
    pub(crate) fn few_are(&self, keep: &Keep<'_>, ef: usize) -> bool {
        /// Filters that are evaluated in the time of a distance.
        const FILTERS: f64 = 16.0;
        let _reading = self.reading();
        let share = self.sample(keep, &mut Vec::new());
        let walked = (self.geometry().m * ef) as f64 / share;
        let scanned = f64::from(self.limit()) * (share + 1.0 / FILTERS);
        share == 0.0 || walked > scanned
    }
}
