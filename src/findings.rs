//! Errors as something that was found.

use crate::error::Error;
use lodestore_engine::Findings;

/// A problem, of its file if it says so.
pub(crate) fn problem(findings: &mut Findings, error: Error) {
    match error {
        Error::Corrupt { file, offset, what } => findings.damage(&file, offset, what),
        error => findings.problem(error.to_string()),
    }
}
