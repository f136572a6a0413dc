//! The files that are no collection's: `SUPER`, `heads`, the log, the catalogue; and the headers of those that are.

use crate::error::{Error, Result};
use crate::findings::problem;
use crate::pages;
use crate::shared::{Open, Shared};
use lodestore_engine::{Checks, Findings, Steps};
use lodestore_wal::log::Commit;
use lodestore_wal::{LogScan, Session, names};
use std::collections::HashSet;
use std::sync::Arc;

/// Nobody writes meanwhile.
pub(super) fn check(
    shared: &Shared,
    checks: Checks,
    open: &[Arc<Open>],
    findings: &mut Findings,
    steps: &mut Steps<'_>,
) {
    let poisoned = shared.poison.reason().is_some();
    if shared.disk.is_persistent() {
        {
            let superblock = shared.superblock.lock();
            let (file, state) = &*superblock;
            // Whether the last writing of SUPER has reached it is not known to a store that has stopped.
            if !poisoned {
                file.check(state, findings);
            }
        }
        let ids: HashSet<u32> = shared.catalog.names().values().map(|entry| entry.id).collect();
        shared.heads.check(|id| ids.contains(&id), findings);
        open.iter().for_each(|open| open.index().check_files(&*shared.disk, shared.uuid, findings));
        for open in open {
            match shared.check_recall(open) {
                Ok(Some(file)) => findings.checked(&*file, u64::MAX),
                Ok(None) => {}
                Err(error) => problem(findings, error),
            }
        }
    }
    // Of a store that has stopped writing, neither log nor catalogue on the disk are all that its memory holds.
    if poisoned {
        return;
    }
    // A reader has none of the log.
    if shared.disk.is_persistent()
        && shared.reader.is_none()
        && let Err(error) = check_log(shared, checks, findings)
    {
        problem(findings, error);
    }
    if let Err(error) = check_catalog(shared, checks, findings, steps) {
        // Going on would let the log go that can still replace what is damaged.
        shared.poison.set(&error);
        problem(findings, error);
    }
}

fn check_log(shared: &Shared, checks: Checks, findings: &mut Findings) -> Result<()> {
    if let Some(log) = shared.log_if_any() {
        log.commit(log.last_lsn(), Commit::Synced)?;
    }
    // From what is not in both, segments and catalogue; of files before that, a crash may have left any part. This looks
    // at all headers.
    let from = shared.superblock.lock().1.ckpt_lsn.min(shared.catalog.durable()) + 1;
    let scan = LogScan::open_at_rest(shared.disk.clone(), shared.uuid, from)?;
    if !checks.bytes {
        return Ok(());
    }
    let odd = |name: &str, first: u64, count: u64| {
        findings.note(format!("{name}, byte {first}: {count} bytes from here on belong to no record"));
    };
    for (name, length) in scan.check(odd)? {
        let found = findings.files.entry(name).or_default();
        (found.bytes, found.checked) = (length, length);
    }
    Ok(())
}

/// The bytes of the catalogue's file, then redb's own checksums.
fn check_catalog(shared: &Shared, checks: Checks, findings: &mut Findings, steps: &mut Steps<'_>) -> Result<()> {
    if let Some(copy) = shared.catalog.spoilt() {
        let what = "was not whole when the store was opened, and has been written anew; the other one was";
        findings.note(format!("{}: copy {copy} of the first page {what}", names::CATALOG));
    }
    if checks == Checks::NONE {
        return Ok(());
    }
    shared.catalog.apply()?;
    if !checks.bytes {
        return Ok(());
    }
    shared.sync()?;
    let mut odd = Vec::new();
    if shared.disk.is_persistent() {
        let file = shared.disk.open(names::CATALOG)?;
        odd = pages::check(&*file, |pages| steps.made(pages))?;
        if steps.stopped() {
            return Ok(());
        }
        findings.checked(&*file, u64::MAX);
    }
    // Of all pages that redb uses.
    // Readers that cannot be asked for may be there.
    let is_seen = || shared.seats().map_or(true, |seats| !seats.is_empty());
    let seen = is_seen();
    let used = shared.catalog.check(&*shared.disk, seen);
    if !seen && is_seen() {
        // One that has come meanwhile may look at what was not kept for a moment.
        Session::end(&*shared.disk)?;
    }
    for page in odd {
        match &used {
            Ok(()) => {
                let what = format!("{}, byte {}: {}", names::CATALOG, page.offset, page.what);
                findings.note(format!("{what}; nothing that is in use"));
            }
            Err(Error::Corrupt { .. }) => findings.damage(names::CATALOG, page.offset, page.what),
            // The disk failed, or the check was never made: it says nothing of which pages are in use.
            Err(_) => {
                let what = format!("{}, byte {}: {}", names::CATALOG, page.offset, page.what);
                findings.note(format!("{what}; whether it is in use is not known"));
            }
        }
    }
    used?;
    Ok(shared.poison.check()?)
}
