//! Measuring recall: searches for stored vectors, compared with exact search.

use crate::control::Control;
use crate::error::{Error, Result};
use crate::observe::{self, Work};
use crate::recall::{RecallAt, RecallReport, wilson};
use crate::shared::{Open, Shared};
use lodestore_engine::seeded::Seeded;
use lodestore_engine::{Index, Neighbour, Query, Wanted, Watch};
use rayon::ThreadPool;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// From one `ef` to the next.
const STEP: f64 = 1.3;
/// The largest `ef` measured.
const MOST: usize = 2048;
const DEFAULT_K: usize = 10;

/// A measurement to be set up and [run](Self::run); see [`RecallReport`].
#[derive(Clone, Debug)]
#[must_use = "nothing is measured until it is run"]
pub struct MeasureRecall<'a> {
    shared: &'a Shared,
    open: &'a Open,
    samples: usize,
    k: usize,
    seed: u64,
    control: Option<&'a Control>,
}

/// A stored vector that is searched for, and what an exact search finds besides itself.
struct Sample {
    slot: u32,
    truth: Vec<Neighbour>,
}

impl<'a> MeasureRecall<'a> {
    pub(crate) fn new(shared: &'a Shared, open: &'a Open, samples: usize) -> Self {
        Self { shared, open, samples, k: DEFAULT_K, seed: 0, control: None }
    }

    /// Neighbours to look for. Default: 10.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// Draws other vectors. Default: 0. The same seed draws the same ones as long as nothing is written.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Cancelling and progress, which counts the samples that were compared exactly: most of the work. A deadline
    /// cancels, since part of a measurement is none.
    pub fn control(mut self, control: &'a Control) -> Self {
        self.control = Some(control);
        self
    }

    /// Measures, with the store's threads. The store keeps the report, for [`Search::recall`](crate::Search::recall) and
    /// [`recall_report`](crate::Collection::recall_report), until the collection is measured again. Complexity: a distance
    /// for each sample and record, and then the searches.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is nothing to look for: no samples, a `k` of 0, or fewer than two records;
    /// [`Error::Cancelled`]. If the report cannot be written, which [`Error::NoSpace`] or [`Error::Io`] says, searches go by
    /// it until the store is closed.
    pub fn run(self) -> Result<RecallReport> {
        let (shared, open) = (self.shared, self.open);
        shared.check_open()?;
        let _work = observe::begin(Work::Recall, &shared.path);
        let (index, records, lsn) = (&*open.index(), open.records.load(Ordering::Acquire), shared.last_lsn());
        if self.samples == 0 || self.k == 0 || records < 2 {
            let (samples, k) = (self.samples, self.k);
            let what = format!("recall of {k} neighbours, {samples} samples and {records} records cannot be measured");
            return Err(Error::Setting(what));
        }
        let _reading = index.reading();
        let pool = if shared.threads()? > 1 { Some(shared.pool()?) } else { None };
        let k = self.k.min(records as usize - 1);
        let goes_on = || self.control.is_none_or(Control::goes_on);
        let samples = with_truth(index, (self.samples, k, self.seed), pool, self.control);
        let mut rows: Vec<RecallAt> = Vec::new();
        let mut ef = k;
        while goes_on() && rows.last().is_none_or(|row| row.recall < 1.0) && ef <= MOST.max(k) {
            rows.push(at(index, &samples, k, ef, pool));
            ef = ((ef as f64 * STEP) as usize).max(ef + 1);
        }
        if !goes_on() {
            return Err(Error::Cancelled);
        }
        let report = RecallReport { k, samples: samples.len(), records, lsn, rows };
        shared.keep_recall(open, &report)?;
        Ok(report)
    }
}

/// Recall@10 at ef 64 on so many stored vectors, for a rough comparison; `None` if nothing can be measured.
pub(crate) fn sampled_recall(shared: &Shared, open: &Open, samples: usize) -> Result<Option<f64>> {
    const EF: usize = 64;
    let index = &*open.index();
    let k = DEFAULT_K.min((index.live() as usize).saturating_sub(1));
    if samples == 0 || k == 0 {
        return Ok(None);
    }
    let pool = if shared.threads()? > 1 { Some(shared.pool()?) } else { None };
    Ok(Some(at(index, &with_truth(index, (samples, k, 0), pool, None), k, EF, pool).recall))
}

/// Stored vectors, and what an exact search finds for each.
fn with_truth(
    index: &Index,
    (samples, k, seed): (usize, usize, u64),
    pool: Option<&ThreadPool>,
    control: Option<&Control>,
) -> Vec<Sample> {
    let slots = draw(index, samples, seed);
    let (done, all) = (AtomicU64::new(0), slots.len() as u64);
    let goes_on = || control.is_none_or(Control::goes_on);
    let watch = if control.is_some() { Watch::new(&goes_on) } else { Watch::NOBODY };
    let wanted = Wanted { watch, ..Wanted::nearest(k + 1) };
    each(pool, &slots, |&slot| {
        let truth = others(slot, with_query(index, slot, |q| index.find_exactly(q, &wanted).0), k);
        if let Some(control) = control.filter(|control| control.goes_on()) {
            control.tell(done.fetch_add(1, Ordering::Relaxed) + 1, all);
        }
        Sample { slot, truth }
    })
}

/// What `f` makes of each, in order: by the threads of `pool`, or here.
fn each<T: Sync, R: Send>(pool: Option<&ThreadPool>, of: &[T], f: impl Fn(&T) -> R + Send + Sync) -> Vec<R> {
    match pool {
        Some(pool) => pool.install(|| of.par_iter().map(f).collect()),
        None => of.iter().map(f).collect(),
    }
}

/// Live slots, evenly spread by chance, none twice.
fn draw(index: &Index, samples: usize, seed: u64) -> Vec<u32> {
    let mut live: Vec<u32> = (0..index.next_slot()).filter(|&slot| !index.is_dead(slot)).collect();
    let samples = samples.min(live.len());
    let mut seeded = Seeded::new(seed);
    for at in 0..samples {
        let other = at + seeded.below(live.len() - at);
        live.swap(at, other);
    }
    live.truncate(samples);
    live
}

fn with_query<T>(index: &Index, slot: u32, f: impl FnOnce(Query<'_>) -> T) -> T {
    let (geometry, stored) = (index.geometry(), index.vector(slot));
    f(Query::of(geometry.element, stored, geometry.dim, &mut Vec::new()))
}

/// The `k` nearest without the slot itself.
fn others(slot: u32, mut found: Vec<Neighbour>, k: usize) -> Vec<Neighbour> {
    found.retain(|neighbour| neighbour.slot != slot);
    found.truncate(k);
    found
}

fn at(index: &Index, samples: &[Sample], k: usize, ef: usize, pool: Option<&ThreadPool>) -> RecallAt {
    let (shares, distances): (Vec<f64>, Vec<u64>) = each(pool, samples, |sample| {
        let (found, counters) =
            with_query(index, sample.slot, |q| index.search(q, k + 1, ef.max(k + 1), f32::INFINITY));
        // One at the distance of the last is as good as that one.
        let bound = sample.truth.last().map_or(f32::NEG_INFINITY, |last| last.distance);
        let right = others(sample.slot, found, k).iter().filter(|found| found.distance <= bound).count();
        (right as f64 / sample.truth.len().max(1) as f64, counters.distances)
    })
    .into_iter()
    .unzip();
    let n = samples.len().max(1);
    let recall = (shares.iter().sum::<f64>() / n as f64).min(1.0);
    let (low, high) = wilson(recall, n);
    RecallAt { ef, recall, low, high, distances: distances.iter().sum::<u64>() as f64 / n as f64 }
}
