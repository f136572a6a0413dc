//! What a store must hold, kept beside it in the plainest way; exact search; numbers from a seed.

use super::keyed::Numbered;
use lodestore::{Collection, Metric};
use std::collections::BTreeMap;
use std::ops::Range;

/// Numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// Below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    /// Components between -1 and 1, never all zero.
    pub(crate) fn vector(&mut self, dim: usize) -> Vec<f32> {
        (0..dim).map(|_| ((self.next() >> 40) as f32 + 0.5) / (1u64 << 23) as f32 - 1.0).collect()
    }
}

/// A seed of its own for each run unless the environment gives one; printed, so that a failure can be repeated.
pub(crate) fn seed(test: &str) -> u64 {
    let given = std::env::var("LODESTORE_SEED").ok().and_then(|s| s.parse().ok());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let seed = given.unwrap_or_else(|| now() % 1_000_000_007);
    println!("{test}: LODESTORE_SEED={seed}");
    seed
}

/// The distance of two vectors as the documentation defines it, in f64.
pub(crate) fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(&x, &y)| (f64::from(x), f64::from(y)));
    let dot = || pairs().map(|(x, y)| x * y).sum::<f64>();
    match metric {
        // Of zeros and ones, what differs counts 1.
        Metric::L2 | Metric::Hamming => pairs().map(|(x, y)| (x - y) * (x - y)).sum(),
        Metric::InnerProduct => 1.0 - dot(),
        _ => {
            let norm = |v: &[f32]| v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            1.0 - dot() / norm(a) / norm(b)
        }
    }
}

/// Whether a distance computed in f32 is the exact one.
pub(crate) fn same_distance(got: f32, exact: f64) -> bool {
    (f64::from(got) - exact).abs() <= 1e-4 * exact.abs().max(1.0)
}

/// One collection's records.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model(pub(crate) BTreeMap<u64, (Vec<f32>, Vec<u8>)>);

impl Model {
    pub(crate) fn put(&mut self, key: u64, vector: &[f32], payload: &[u8]) {
        self.0.insert(key, (vector.to_vec(), payload.to_vec()));
    }

    pub(crate) fn remove(&mut self, key: u64) {
        self.0.remove(&key);
    }

    /// The distances of the `k` nearest records, nearest first.
    pub(crate) fn nearest(&self, metric: Metric, query: &[f32], k: usize) -> Vec<f64> {
        let mut all: Vec<f64> = self.0.values().map(|(vector, _)| distance(metric, query, vector)).collect();
        all.sort_unstable_by(f64::total_cmp);
        all.truncate(k);
        all
    }

    /// What a collection says otherwise of any key below `keys` or of the model; `None` if nothing.
    pub(crate) fn difference<K: Numbered + ?Sized>(&self, docs: &Collection<K>, keys: u64) -> Option<String> {
        if docs.len() != self.0.len() as u64 {
            return Some(format!("{} records, {} expected", docs.len(), self.0.len()));
        }
        for key in (0..keys).chain(self.0.range(keys..).map(|(key, _)| *key)) {
            let found = match docs.get(K::key(key)) {
                Ok(found) => found.map(|record| (record.vector, record.payload)),
                Err(error) => return Some(format!("get({key}): {error}")),
            };
            if found.as_ref() != self.0.get(&key) {
                return Some(format!("key {key}: {found:?}, {:?} expected", self.0.get(&key)));
            }
            let contains = docs.contains(K::key(key));
            if contains.as_ref().ok() != Some(&self.0.contains_key(&key)) {
                return Some(format!("contains({key}): {contains:?}"));
            }
        }
        None
    }

    /// What searches for every record's vector say otherwise than exact search; `None` if nothing. For collections so
    /// small that a search with `ef` candidates sees all of them.
    pub(crate) fn search_difference<K: Numbered + ?Sized>(
        &self,
        docs: &Collection<K>,
        k: usize,
        ef: usize,
    ) -> Option<String> {
        for (key, (query, _)) in &self.0 {
            let hits = match docs.search(query).k(k).ef(ef).with_payloads().run() {
                Ok(hits) => hits,
                Err(error) => return Some(format!("search for {key}: {error}")),
            };
            let exact = self.nearest(docs.metric(), query, k);
            if hits.len() != exact.len() {
                return Some(format!("search for {key}: {} hits, {} expected", hits.len(), exact.len()));
            }
            for (hit, exact) in hits.iter().zip(exact) {
                let Some((vector, payload)) = self.0.get(&K::number(&hit.key)) else {
                    return Some(format!("search for {key} found {:?}, which is not there", hit.key));
                };
                let own = distance(docs.metric(), query, vector);
                if !same_distance(hit.distance, exact) || !same_distance(hit.distance, own) {
                    return Some(format!("search for {key}: {hit:?}, distance {own}, {exact} expected here"));
                }
                if hit.payload.as_ref() != Some(payload) {
                    return Some(format!("search for {key}: {hit:?}, payload {payload:?} expected"));
                }
            }
        }
        None
    }
}
