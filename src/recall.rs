//! What a measurement of recall found.

/// Recall at one `ef`.
///
/// See [`RecallReport`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecallAt {
    /// Candidates kept by the searches.
    pub ef: usize,
    /// The share of the true nearest that they found, 0 to 1.
    pub recall: f64,
    /// The interval that holds the collection's recall with 95 % confidence (Wilson 1927). Each query counts as one
    /// trial, though it looks for several neighbours, so the interval is rather too wide.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Distances computed by a search, on average.
    pub distances: f64,
}

/// How much of what an exact search finds is found by searches with different `ef`.
///
/// The queries are stored vectors, each without itself. Queries from elsewhere may be harder: measure with those if
/// you have them and their true neighbours.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// let keys: Vec<u64> = (0..500).collect();
/// let vectors: Vec<f32> = (0..1000).map(|n| (n * n % 997) as f32).collect();
/// docs.put_many(&keys, &vectors, None)?;
/// let report = docs.measure_recall(100).k(5).run()?;
/// let ef = report.ef_for(0.95).expect("so few are all found");
/// println!("{} of {} queries: recall 0.95 from ef {ef}", report.samples, report.records);
/// let hits = docs.search(&[3.0, 4.0]).k(5).recall(0.95).run()?; // uses what was measured
/// # assert_eq!(hits.len(), 5);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecallReport {
    /// Neighbours looked for.
    pub k: usize,
    /// Queries.
    pub samples: usize,
    /// Records there were.
    pub records: u64,
    /// The store's last write then, as [`StoreStats::last_lsn`](crate::StoreStats::last_lsn) counts: the difference to
    /// what it is now is how many writes it has seen since, of all collections.
    pub lsn: u64,
    /// One row for each `ef`, rising, up to the first at which everything was found.
    pub rows: Vec<RecallAt>,
}

impl RecallReport {
    /// The least measured `ef` with which that share (0 to 1) of the true neighbours was found; `None` if none was
    /// enough.
    pub fn ef_for(&self, recall: f64) -> Option<usize> {
        self.rows.iter().find(|row| row.recall >= recall).map(|row| row.ef)
    }
}

/// The interval for a share `p` of `n` trials, with 95 % confidence.
pub(crate) fn wilson(p: f64, n: usize) -> (f64, f64) {
    /// Standard deviations that hold 95 % of a normal distribution.
    const Z: f64 = 1.959_964;
    let n = n as f64;
    let middle = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).max(0.0).sqrt();
    let all = 1.0 + Z * Z / n;
    // Rounding must not leave the share itself outside.
    (((middle - half) / all).clamp(0.0, p), ((middle + half) / all).clamp(p, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for ((r, n), (low, high)) in [
            ((81.0, 263), (0.2553, 0.3662)),
            ((15.0, 148), (0.0624, 0.1605)),
            ((0.0, 20), (0.0, 0.1611)),
            ((1.0, 29), (0.0061, 0.1718)),
        ] {
            let got = wilson(r / f64::from(n), n as usize);
            assert!((got.0 - low).abs() < 1e-4 && (got.1 - high).abs() < 1e-4, "{r} of {n}: {got:?}");
        }
        assert_eq!(wilson(1.0, 100).1, 1.0);
    }

    #[test]
    fn the_least_sufficient_ef_is_taken() {
        let row = |ef, recall| RecallAt { ef, recall, low: 0.0, high: 1.0, distances: 0.0 };
        let report = RecallReport { k: 10, samples: 5, records: 9, lsn: 0, rows: vec![row(10, 0.8), row(20, 0.95)] };
        assert_eq!([0.5, 0.8, 0.81, 0.96].map(|r| report.ef_for(r)), [Some(10), Some(10), Some(20), None]);
    }
}
