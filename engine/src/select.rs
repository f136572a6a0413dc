//! Which of the candidates become neighbours (Malkov and Yashunin 2018, Algorithm 4; of its two
//! extensions the second, pruned candidates, in part).
//!
//! A candidate is taken unless a taken one is nearer to it than the base is: links point in different directions.
//! By that rule alone lists stay half empty; the nearest of the pruned fill them to three quarters. Measured at equal
//! ef that finds more (recall@10 at ef 32 on 30,000 sentence vectors 0.9589 instead of 0.9539, at ef 64 on 50,000 word
//! vectors 0.929 instead of 0.922) for 3 % more distances; filling to the brim adds little and slows building by a
//! quarter.
//!
//! Copies of the base are a case of their own. By the rule alone they would either fill the list, and a group of
//! copies would become a sink that no walk leaves, or shut everything else out. So a base keeps a few of its copies,
//! which neither count as directions nor prune others; the choice (the next older, the next newer, then at random by
//! slot) ties all copies of a vector into one connected group.

use crate::codes::CodeQuery;
use crate::scratch::Candidate;
use crate::search::{Distances, Pairs};

/// How much nearer than the base a taken node must be to prune a candidate (Vamana's α, Subramanya and others 2019;
/// here of squared distances). Measured as above at ef 64, distances beside: 1 gives 0.9855 and 0.9292 (1303), 1.06
/// 0.9855 and 0.936 (1290), 1.1 0.984 and 0.934 (1284), 1.2 0.976 and 0.926 (1208).
const ALPHA: f32 = 1.06;

/// Links that a list of `cap` gets even if the rule prunes them.
fn filled(cap: usize) -> usize {
    cap * 3 / 4
}

/// Copies of the base's own vector kept in a list of `cap`.
fn copies_kept(cap: usize) -> usize {
    (cap / 8).max(2)
}

/// Chooses at most `cap` neighbours of `base` among `candidates`, which are sorted by distance and do not hold `base`.
/// `chosen` receives them, nearest first.
pub(crate) fn select<P: Pairs>(
    pairs: &P,
    base: u32,
    candidates: &[Candidate],
    cap: usize,
    work: &mut CodeQuery,
    chosen: &mut Vec<Candidate>,
) {
    chosen.clear();
    if candidates.len() < cap {
        chosen.extend_from_slice(candidates);
        return;
    }
    let mut copies: Vec<Candidate> = Vec::new();
    let mut directions: Vec<Candidate> = Vec::with_capacity(cap);
    let mut pruned: Vec<Candidate> = Vec::new();
    for &candidate in candidates {
        if directions.len() == cap {
            break;
        }
        if pairs.are_copies(candidate.slot, base) {
            copies.push(candidate);
            continue;
        }
        if !is_pruned(pairs, candidate, &directions, work) {
            directions.push(candidate);
        } else if pruned.len() < filled(cap) {
            pruned.push(candidate);
        }
    }
    if directions.len() < filled(cap) {
        pruned.truncate(filled(cap) - directions.len());
        directions.append(&mut pruned);
        directions.sort_unstable_by(Candidate::nearer);
    }
    if !copies.is_empty() {
        keep_some(base, &mut copies, copies_kept(cap));
        directions.truncate(cap - copies.len().min(cap));
        chosen.append(&mut copies);
    }
    chosen.append(&mut directions);
}

/// Adds up to `room` of the `candidates`, which are sorted by distance, to what a list of `cap` links has: those that lie
/// in other directions, and if there are too few, the nearest.
pub(crate) fn fill_up<P: Pairs>(
    pairs: &P,
    candidates: &[Candidate],
    (room, cap): (usize, usize),
    work: &mut CodeQuery,
    chosen: &mut Vec<Candidate>,
) {
    let most = chosen.len() + room;
    let mut pruned = Vec::new();
    for &candidate in candidates {
        if chosen.len() == most {
            return;
        }
        if is_pruned(pairs, candidate, chosen, work) {
            pruned.push(candidate);
        } else {
            chosen.push(candidate);
        }
    }
    let more = most.min(filled(cap)).saturating_sub(chosen.len());
    chosen.extend(pruned.into_iter().take(more));
}

/// Whether a taken node is nearer to the candidate than the base is.
fn is_pruned<P: Pairs>(pairs: &P, candidate: Candidate, taken: &[Candidate], work: &mut CodeQuery) -> bool {
    if taken.is_empty() {
        return false;
    }
    let from = pairs.from(candidate.slot, work);
    let bar = candidate.distance / ALPHA;
    let mut fours = taken.chunks_exact(4);
    for four in &mut fours {
        let slots = [four[0].slot, four[1].slot, four[2].slot, four[3].slot];
        if from.to_4(slots).iter().any(|&d| d < bar) {
            return true;
        }
    }
    fours.remainder().iter().any(|t| from.to(t.slot) < bar)
}

/// Keeps the next older, the next newer, and a seeded choice of the other copies.
fn keep_some(base: u32, copies: &mut Vec<Candidate>, keep: usize) {
    if copies.len() <= keep {
        return;
    }
    let older = copies.iter().map(|c| c.slot).filter(|&s| s < base).max();
    let newer = copies.iter().map(|c| c.slot).filter(|&s| s > base).min();
    copies.sort_unstable_by_key(|c| {
        let near = Some(c.slot) == older || Some(c.slot) == newer;
        (!near, (c.slot ^ base.rotate_left(16)).wrapping_mul(0x9E37_79B1), c.slot)
    });
    copies.truncate(keep);
}
