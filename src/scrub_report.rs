//! What looking for damage has found.

use std::time::SystemTime;

/// What a [scrub](crate::Store::scrub) has read, and what is not as it was written.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// let store = lodestore::Store::open(dir.path())?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// docs.put(1, &[1.0, 2.0], b"one")?;
/// store.checkpoint()?; // rows are read as of the last one
/// let report = store.scrub()?;
/// assert!(report.ok() && report.slots == 1 && report.rows == 1);
/// assert_eq!(store.stats()?.scrub, Some(report));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubReport {
    /// When it came to its end.
    pub ended: SystemTime,
    /// Slots of which vector, code, id and key were compared with what they must be.
    pub slots: u64,
    /// Pages of links, tombstones and checksums.
    pub pages: u64,
    /// Rows of the catalogue.
    pub rows: u64,
    /// What is wrong, one sentence each with file and offset, at most 100.
    pub problems: Vec<String>,
    /// Problems in all.
    pub problem_count: u64,
}

impl ScrubReport {
    /// Whether nothing is wrong.
    pub fn ok(&self) -> bool {
        self.problem_count == 0
    }
}
