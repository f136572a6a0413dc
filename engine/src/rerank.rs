//! What walks and scans on codes have found, compared exactly.

use crate::cold;
use crate::distances::ExactTo;
use crate::index::Index;
use crate::metric::Point;
use crate::scratch::{Candidate, Counters, Scratch};
use crate::search::Distances;
use lodestore_wal::Result;
use std::time::Instant;

/// Vectors are farther than their codes, by about the same. How much more than any so far one may still differ from the
/// mean, towards the query. Measured on 30,000 sentence vectors with codes of 4 bits, recall@10 at ef 200: 0.9959 with
/// 1.5, 0.9970 with 2.5.
const SLACK: f32 = 2.5;

/// Candidates beyond `k` whose vectors are asked for ahead.
const AHEAD: usize = 6;

/// Vectors that are compared at a time.
const GROUP: usize = 4;

/// Of vectors that are read by calls, after as many as searches have needed lately, so many are at a time,
const MORE: usize = 2 * GROUP;
/// and never more than this.
const MOST: usize = 256;

/// Reading a vector that is in memory takes so many times as long as comparing it, at most.
const READ_COST: usize = 5;

/// Where candidates' vectors come from.
trait Vectors {
    /// The exact distances of up to four candidates from `at` on; `None`: they could not be read.
    fn distances(&mut self, candidates: &[Candidate], at: usize) -> Option<[f32; GROUP]>;
}

/// From the map.
struct Mapped<'a> {
    exact: ExactTo<'a>,
    ahead: usize,
}

impl Vectors for Mapped<'_> {
    #[inline(always)]
    fn distances(&mut self, candidates: &[Candidate], at: usize) -> Option<[f32; GROUP]> {
        if at == 0 {
            candidates.iter().take(self.ahead).for_each(|c| self.exact.prefetch(c.slot));
        }
        candidates[at..].iter().skip(self.ahead).take(GROUP).for_each(|c| self.exact.prefetch(c.slot));
        let group = &candidates[at..candidates.len().min(at + GROUP)];
        let last = group.len() - 1;
        Some(self.exact.to_4(std::array::from_fn(|n| group[n.min(last)].slot)))
    }
}

/// By calls, as many together as will likely be needed.
struct Read<'a> {
    exact: ExactTo<'a>,
    first: usize,
    /// Those of the candidates from one to the other are in `bytes`.
    from: usize,
    until: usize,
    bytes: &'a mut Vec<u8>,
    there: &'a mut Vec<bool>,
    missed: u64,
    failed: bool,
}

impl Read<'_> {
    fn fill(&mut self, candidates: &[Candidate], at: usize) -> Result<()> {
        let vectors = &self.exact.index.vectors;
        let (file, stride) = (vectors.file(), vectors.stride());
        let count = if at == 0 { self.first } else { MORE };
        let candidates = &candidates[at..candidates.len().min(at + count)];
        (self.from, self.until) = (at, at + candidates.len());
        if self.bytes.len() < candidates.len() * stride {
            self.bytes.resize(candidates.len() * stride, 0);
        }
        self.there.clear();
        let offset = |candidate: &Candidate| u64::from(candidate.slot) * stride as u64;
        let mut is_told = true;
        // All that is missing is asked for before any of it is waited for.
        for (candidate, bytes) in candidates.iter().zip(self.bytes.chunks_exact_mut(stride)) {
            let told = file
                .read_cached(offset(candidate), bytes)
                .inspect_err(|error| self.exact.index.cold.fail(file.path(), offset(candidate), error))?;
            if told != Some(true) {
                file.request(offset(candidate), stride as u64);
            }
            is_told &= told.is_some();
            self.there.push(told == Some(true));
        }
        let (begun, before) = (Instant::now(), self.missed);
        for ((candidate, bytes), there) in candidates.iter().zip(self.bytes.chunks_exact_mut(stride)).zip(&*self.there)
        {
            if !there {
                self.missed += 1;
                file.read_at(offset(candidate), bytes)
                    .inspect_err(|error| self.exact.index.cold.fail(file.path(), offset(candidate), error))?;
            }
        }
        // Where the system does not tell, the time does.
        if !is_told && !cold::is_slow(READ_COST * candidates.len(), begun.elapsed()) {
            self.missed = before;
        }
        Ok(())
    }
}

impl Vectors for Read<'_> {
    fn distances(&mut self, candidates: &[Candidate], at: usize) -> Option<[f32; GROUP]> {
        if at >= self.until && self.fill(candidates, at).is_err() {
            self.failed = true;
            return None;
        }
        let ExactTo { index, query } = self.exact;
        let stride = index.vectors.stride();
        let last = self.until.min(at + GROUP) - 1;
        let point = |n: usize| {
            let place = (at + n).min(last) - self.from;
            index.point_in(&self.bytes[place * stride..(place + 1) * stride])
        };
        Some(index.space().distance_4(query, std::array::from_fn(point)))
    }
}

impl Index {
    /// Compares what a walk on codes has found exactly, nearest first, until nothing that is left can be among the `k`
    /// nearest, as far as the codes' errors so far tell. Fewer than `ef` are compared all: they are all that there are.
    pub(crate) fn rerank(&self, query: Point<'_>, k: usize, found: &mut Vec<Candidate>, scratch: &mut Scratch) {
        let exact = ExactTo { index: self, query };
        if !self.cold.is_on() {
            let begun = Instant::now();
            let compared = compare(Mapped { exact, ahead: k + AHEAD }, k, scratch).1;
            self.cold.compared(compared, begun.elapsed());
        } else {
            self.cold.tell_once(|| self.vectors.file().expect_random());
            let (mut bytes, mut there) = (std::mem::take(&mut scratch.vectors), std::mem::take(&mut scratch.there));
            let first = (k + self.cold.expected()).next_multiple_of(GROUP).min(MOST);
            let (bytes_of, there_of) = (&mut bytes, &mut there);
            let read =
                Read { exact, first, from: 0, until: 0, bytes: bytes_of, there: there_of, missed: 0, failed: false };
            let (read, compared) = compare(read, k, scratch);
            let (missed, failed) = (read.missed, read.failed);
            (scratch.vectors, scratch.there) = (bytes, there);
            self.cold.read(missed, compared.saturating_sub(k));
            let Counters { missed: sum, unread, cut_short, .. } = &mut scratch.counters;
            *sum += missed;
            *unread |= failed;
            *cut_short |= failed;
        }
        found.extend(scratch.nearest.live());
    }

    /// The error of a search that [could not read](Counters::unread) a vector.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if the file is too short, [`Io`](lodestore_wal::Error::Io) otherwise.
    pub fn check_read(&self, counters: &Counters) -> Result<()> {
        if counters.unread { self.cold.failure().map_or(Ok(()), Err) } else { Ok(()) }
    }

    /// Whether all searches are to read vectors from the file instead of through the map: what they look at does not
    /// become part of the process's memory then.
    pub fn set_cold(&self, cold: bool) {
        self.cold.set_always(cold && self.codes().is_some());
    }

    /// Whether a search has met the disk since this was asked last.
    pub fn take_met_disk(&self) -> bool {
        self.cold.take_met()
    }
}

/// The `k` nearest are in `scratch.nearest` then. Says how many were compared.
#[inline(always)]
fn compare<V: Vectors>(mut vectors: V, k: usize, scratch: &mut Scratch) -> (V, usize) {
    let Scratch { pool, candidates, nearest, counters, .. } = scratch;
    candidates.clear();
    candidates.extend(pool.live());
    nearest.reset(k);
    // How much farther vectors are than their codes: of all so far, and of the one of which it is least.
    let (mut farther, mut least) = (0f32, f32::INFINITY);
    let mut at = 0;
    while at < candidates.len() {
        if at >= k && pool.room() == 0 {
            let mean = farther / at as f32;
            if candidates[at].distance + mean - SLACK * (mean - least) > nearest.bound() {
                break;
            }
        }
        let Some(distances) = vectors.distances(candidates, at) else { break };
        let group = &candidates[at..candidates.len().min(at + GROUP)];
        for (candidate, distance) in group.iter().zip(distances) {
            farther += distance - candidate.distance;
            least = least.min(distance - candidate.distance);
            if distance <= nearest.bound() {
                nearest.insert(distance, candidate.slot, true);
            }
        }
        at += group.len();
    }
    counters.reranked += at as u64;
    (vectors, at)
}
