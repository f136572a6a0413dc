//! Stores opened for reading, in any number of processes, beside the one that writes.
//!
//! A reader looks at one checkpoint, whole, for as long as it likes. Nothing tells it that the writer goes on, and the
//! writer waits for no reader. What a checkpoint changes in place (heads, lists, tombstones, sums, the first page of the
//! catalogue) it copies into memory, in the hope that no checkpoint comes between; if SUPER says afterwards that one did,
//! it tries again. Slots and the catalogue's other pages it reads where they are, which its
//! [seat](lodestore_wal::seats) asks the writer to leave as they are.
//!
//! To the rest of the crate all this is a [disk](Snapshot) with a cleanly closed store on it.

use crate::budget::Budget;
use crate::catalog;
use crate::clock::holder;
use crate::error::{Error, Result};
use crate::keeper;
use crate::options::StoreOptions;
use crate::pages;
use crate::reader::{Kept, Place, Reader};
use crate::recover::exists;
use crate::shared::{Handle, LazyLog, Parts, Shared};
use lodestore_engine::{Heads, Super, Superblock};
use lodestore_wal::names::{self, Part};
use lodestore_wal::{Disk, Poison, Seat, Session, Snapshot};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long before it looks again.
const PAUSE: Duration = Duration::from_millis(2);
/// How often damage is seen before it is taken for damage, and not for what a writer was about to change.
const DOUBTS: u32 = 5;

/// A checkpoint that is whole.
struct Captured {
    disk: Snapshot,
    superblock: Superblock,
    state: Super,
    session: Session,
}

/// Opens the last checkpoint of a store.
pub(crate) fn open(from: Place, options: StoreOptions) -> Result<Handle> {
    if let Some(what) = &options.wrong_metric {
        return Err(Error::Setting(what.clone()));
    }
    options.memory.map_or(Ok(()), Budget::check)?;
    if !exists(&*from.disk)? {
        return Err(Error::NotAStore { path: from.path });
    }
    let kept = match Seat::take(&from.seats, &holder()) {
        Err(lodestore_wal::Error::Io { source, .. }) if source.kind() == ErrorKind::ReadOnlyFilesystem => {
            // To a writer it may be another file system.
            match from.disk.lock_shared(names::LOCK) {
                Ok(_lock) => Kept::Locked { _lock },
                Err(error) if error.is_not_found() => Kept::Alone,
                Err(error) => return Err(error.into()),
            }
        }
        seat => Kept::Seat(seat?),
    };
    let (begun, mut doubts) = (Instant::now(), 0);
    loop {
        let before = Superblock::peek(&*from.disk)?;
        match try_open(&from, &kept, options.catalog_bytes()) {
            Ok(Some((parts, session))) => {
                let reader = Reader::new(from, parts.state.done, session, kept);
                let shared = Arc::new(Shared::new(Parts { options, reader: Some(reader), ..parts }));
                if shared.options.background {
                    keeper::start(&shared)?;
                }
                return Ok(Handle(shared));
            }
            Ok(None) | Err(Error::Stale { .. }) => {}
            // Files come and go with the checkpoints, and may be seen half written.
            Err(error) => {
                doubts += u32::from(Superblock::peek(&*from.disk)? == before);
                if doubts == DOUBTS {
                    return Err(error);
                }
            }
        }
        if begun.elapsed() >= options.patience {
            return Err(Error::Unsettled { path: from.path, waited: options.patience });
        }
        std::thread::sleep(PAUSE);
    }
}

/// `None` if a checkpoint is under way. Options and reader are for the caller to fill in.
fn try_open(from: &Place, kept: &Kept, cache: usize) -> Result<Option<(Parts, Session)>> {
    let Some(Captured { disk, superblock, state, session }) = capture(from)? else { return Ok(None) };
    let poison = Poison::new();
    let (mut catalog, _) = catalog::open(&disk.open(names::CATALOG)?, &poison, &state, (true, cache))?;
    // The catalogue is a little ahead before the checkpoint counts that it belongs to.
    if catalog.applied() != state.ckpt_lsn {
        return Ok(None);
    }
    if let Kept::Seat(seat) = kept {
        seat.sit(state.done)?;
    }
    catalog.set_session(session.clone());
    // A writer that came meanwhile may not have seen the seat.
    session.check(names::CATALOG)?;
    let parts = Parts {
        path: from.path.clone(),
        heads: Heads::new(disk.open(names::HEADS)?),
        disk: Arc::new(disk),
        options: StoreOptions::default(),
        poison,
        catalog,
        superblock,
        state,
        log: LazyLog::never(),
        lock: None,
        next_checkpoint: 0,
        open: HashMap::new(),
        retired: Vec::new(),
        oldest_reader: u64::MAX,
        reader: None,
    };
    Ok(Some((parts, session)))
}

/// Copies what changes. `None` if it may have changed meanwhile.
fn capture(from: &Place) -> Result<Option<Captured>> {
    let disk = &*from.disk;
    let session = Session::now(&*from.seats)?;
    let state = Superblock::peek(disk)?;
    if state.pending != 0 {
        return Ok(None);
    }
    let copied = copy(disk, &session);
    // Pages are put in place only after SUPER has said so.
    if Superblock::peek(disk)? != state {
        return Ok(None);
    }
    let copied = copied?;
    // To whoever opens it, a store that was closed after this checkpoint.
    let (superblock, mut closed) = Superblock::open(&copied)?;
    if (closed.done, closed.ckpt_lsn, closed.pending) != (state.done, state.ckpt_lsn, 0) {
        return Ok(None);
    }
    closed.clean = true;
    superblock.write(&mut closed)?;
    Ok(Some(Captured { disk: copied, superblock, state: closed, session }))
}

fn copy(disk: &dyn Disk, session: &Session) -> Result<Snapshot> {
    let mut snapshot = Snapshot::new(&[names::WAL_DIR, names::CKPT_DIR, names::COLLECTIONS_DIR]);
    snapshot.copy(names::SUPER, &*disk.open(names::SUPER)?)?;
    let file = disk.open(names::CATALOG)?;
    let mut head = vec![0; pages::CHANGING.min(file.len()?) as usize];
    file.read_at(0, &mut head)?;
    snapshot.view(names::CATALOG, file, head, session.clone())?;
    let heads = Heads::new(snapshot.copy(names::HEADS, &*disk.open(names::HEADS)?)?);
    for id in 0..heads.count()? {
        let Some(head) = heads.read(id)? else { continue };
        for part in [Part::Meta].into_iter().chain(Part::SEGMENTS) {
            let path = names::part(id, head.generation, part);
            match (disk.open(&path), part) {
                // Whether it is needed `meta` says.
                (Err(error), Part::Codes | Part::Keys) if error.is_not_found() => {}
                (file, Part::Links | Part::Upper | Part::Tombs | Part::Sums) => {
                    snapshot.copy(&path, &*file?)?;
                }
                (file, _) => snapshot.share(&path, file?),
            }
        }
        match disk.open(&names::recall(id)) {
            Ok(file) => snapshot.share(&names::recall(id), file),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(snapshot)
}
