//! What an observer of a program sees of the store: spans of its long works (feature `tracing`), and what it has done in
//! numbers (feature `metrics`). Without these features nothing of this is compiled.
//!
//! docs/design.md, "What an observer sees", has the names.

use crate::error::Error;
use std::path::Path;

/// What takes so long that an observer wants to know.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(any(feature = "tracing", feature = "metrics")), allow(dead_code, reason = "nobody looks"))]
pub(crate) enum Work {
    Open,
    Checkpoint,
    Sweep,
    Compact,
    Backup,
    Verify,
    Scrub,
    Recall,
}

/// As long as it is there, a work is under way.
#[must_use = "the work ends with it"]
pub(crate) struct Span {
    #[cfg(feature = "metrics")]
    since: (Work, std::time::Instant),
    #[cfg(feature = "tracing")]
    _entered: tracing::span::EnteredSpan,
}

/// A work begins.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "nobody looks"))]
#[cfg_attr(not(feature = "metrics"), allow(unused_variables, reason = "nobody counts"))]
pub(crate) fn begin(work: Work, path: &Path) -> Span {
    Span {
        #[cfg(feature = "metrics")]
        since: (work, std::time::Instant::now()),
        #[cfg(feature = "tracing")]
        _entered: entered(work, path),
    }
}

#[cfg(feature = "tracing")]
fn entered(work: Work, path: &Path) -> tracing::span::EnteredSpan {
    use tracing::{debug_span, info_span};
    let store = path.display();
    match work {
        Work::Open => info_span!("lodestore.open", %store),
        Work::Checkpoint => debug_span!("lodestore.checkpoint", %store),
        Work::Sweep => debug_span!("lodestore.sweep", %store),
        Work::Compact => info_span!("lodestore.compact", %store),
        Work::Backup => info_span!("lodestore.backup", %store),
        Work::Verify => info_span!("lodestore.verify", %store),
        Work::Scrub => debug_span!("lodestore.scrub", %store),
        Work::Recall => info_span!("lodestore.recall", %store),
    }
    .entered()
}

#[cfg(feature = "metrics")]
impl Drop for Span {
    fn drop(&mut self) {
        let (work, since) = self.since;
        let (count, seconds) = match work {
            Work::Open => ("lodestore_opens_total", "lodestore_open_seconds"),
            Work::Checkpoint => ("lodestore_checkpoints_total", "lodestore_checkpoint_seconds"),
            Work::Sweep => ("lodestore_sweeps_total", "lodestore_sweep_seconds"),
            Work::Compact => ("lodestore_compactions_total", "lodestore_compaction_seconds"),
            Work::Backup => ("lodestore_backups_total", "lodestore_backup_seconds"),
            Work::Verify => ("lodestore_verifications_total", "lodestore_verification_seconds"),
            Work::Scrub => ("lodestore_scrubs_total", "lodestore_scrub_seconds"),
            Work::Recall => ("lodestore_recall_measurements_total", "lodestore_recall_measurement_seconds"),
        };
        metrics::counter!(count).increment(1);
        metrics::histogram!(seconds).record(since.elapsed());
    }
}

/// When a call began, if anybody wants to know how long it takes.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    #[cfg(feature = "metrics")]
    since: std::time::Instant,
}

impl Call {
    pub(crate) fn begin() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            since: std::time::Instant::now(),
        }
    }

    /// It has written so many rows.
    #[cfg_attr(not(feature = "metrics"), allow(unused_variables, reason = "nobody looks"))]
    pub(crate) fn wrote(self, rows: usize) {
        #[cfg(feature = "metrics")]
        {
            metrics::counter!("lodestore_writes_total").increment(1);
            metrics::counter!("lodestore_rows_written_total").increment(rows as u64);
            metrics::histogram!("lodestore_write_seconds").record(self.since.elapsed());
        }
    }

    /// It has answered so many queries with so many hops, distances, and vectors compared exactly.
    #[cfg_attr(not(feature = "metrics"), allow(unused_variables, reason = "nobody looks"))]
    pub(crate) fn searched(self, queries: usize, [hops, distances, reranked]: [u64; 3]) {
        #[cfg(feature = "metrics")]
        {
            metrics::counter!("lodestore_searches_total").increment(queries as u64);
            metrics::counter!("lodestore_search_hops_total").increment(hops);
            metrics::counter!("lodestore_search_distances_total").increment(distances);
            metrics::counter!("lodestore_search_reranked_total").increment(reranked);
            metrics::histogram!("lodestore_search_seconds").record(self.since.elapsed());
        }
    }
}

/// What nobody else is told of: a work of the store's own thread has failed.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "nobody looks"))]
pub(crate) fn failed(store: &Path, work: &'static str, error: &Error) {
    #[cfg(feature = "tracing")]
    tracing::error!(store = %store.display(), %error, "{work} failed");
}

/// A scrub has found damage.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "nobody looks"))]
pub(crate) fn damaged(store: &Path, problem: &str) {
    #[cfg(feature = "tracing")]
    tracing::error!(store = %store.display(), problem, "damage was found");
}
