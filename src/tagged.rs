//! Which records of an open collection fulfil conditions on tags: kept, and kept up with what is written.

use crate::tag_filter::TagFilter;
use lodestore_engine::{Index, Members};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Changes that are kept for who wants to keep up, and bytes of their tags, about.
const KEPT: usize = 1 << 16;
const KEPT_BYTES: usize = 8 << 20;
/// Conditions of which it is known which records fulfil them.
const FILTERS: usize = 16;

/// A slot, and the tags that its record has got.
type Change = (u32, Option<Arc<[u8]>>);

/// Of an open collection.
#[derive(Default)]
pub(crate) struct TagState {
    /// Whether anybody wants to know of changes.
    watched: AtomicBool,
    /// Writes that have begun to give slots out, and those of them that have linked theirs and buried what they replace.
    begun: AtomicU64,
    landed: AtomicU64,
    changes: Mutex<Changes>,
    pub(crate) known: Mutex<Known>,
}

#[derive(Default)]
struct Changes {
    /// How many there were before the first of these.
    before: u64,
    of: VecDeque<Change>,
    /// Of their tags.
    bytes: usize,
}

/// What is known of conditions, the last used last.
#[derive(Default)]
pub(crate) struct Known(Vec<Entry>);

/// Of one of them.
pub(crate) struct Entry {
    filter: TagFilter,
    /// Compacting makes another one.
    index: Weak<Index>,
    pub(crate) members: Arc<Members>,
    /// Changes that are in it.
    pub(crate) until: u64,
    /// Nothing has been written while the collection has this version.
    pub(crate) version: Option<u64>,
}

impl TagState {
    /// Another one after each write has begun.
    pub(crate) fn version(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Whether nothing is being written that this version does not know to the end.
    pub(crate) fn is_quiet_at(&self, version: u64) -> bool {
        self.landed.load(Ordering::SeqCst) == version && self.version() == version
    }

    /// Has changes kept from now on.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Ordering::SeqCst);
    }

    /// Changes so far.
    pub(crate) fn position(&self) -> u64 {
        let changes = self.changes.lock();
        changes.before + changes.of.len() as u64
    }

    /// The changes after the first `position`, and how many there are with them; `None` if some are not kept any more.
    pub(crate) fn since(&self, position: u64) -> Option<(Vec<Change>, u64)> {
        let changes = self.changes.lock();
        let from = position.checked_sub(changes.before)? as usize;
        let until = changes.before + changes.of.len() as u64;
        Some((changes.of.range(from.min(changes.of.len())..).cloned().collect(), until))
    }

    /// A write is about to give slots out. Called under the log's lock.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// Searches see all that a write has made, and nothing of what it has replaced.
    pub(crate) fn landed(&self) {
        self.landed.fetch_add(1, Ordering::SeqCst);
    }

    /// The catalogue knows what the write has made. Called while it is staged.
    pub(crate) fn staged(&self, made: impl Iterator<Item = Change>) {
        if self.watched.load(Ordering::SeqCst) {
            let mut changes = self.changes.lock();
            let size = |change: &Change| change.1.as_ref().map_or(0, |tags| tags.len());
            for change in made {
                changes.bytes += size(&change);
                changes.of.push_back(change);
                if (changes.of.len() > KEPT || changes.bytes > KEPT_BYTES)
                    && let Some(oldest) = changes.of.pop_front()
                {
                    changes.bytes -= size(&oldest);
                    changes.before += 1;
                }
            }
        }
    }
}

impl Known {
    /// What is known of a condition.
    pub(crate) fn find(&mut self, filter: &TagFilter, index: &Arc<Index>) -> Option<&mut Entry> {
        let is_it = |entry: &Entry| std::ptr::eq(entry.index.as_ptr(), Arc::as_ptr(index)) && entry.filter == *filter;
        let at = self.0.iter().position(is_it)?;
        self.0[at..].rotate_left(1);
        self.0.last_mut()
    }

    /// Takes out what is known of the condition asked for last.
    pub(crate) fn forget_last(&mut self) {
        self.0.pop();
    }

    pub(crate) fn add(
        &mut self,
        filter: TagFilter,
        index: &Arc<Index>,
        members: Arc<Members>,
        until: u64,
        version: Option<u64>,
    ) {
        self.0.retain(|entry| entry.index.strong_count() > 0);
        if self.0.len() == FILTERS {
            self.0.remove(0);
        }
        self.0.push(Entry { filter, index: Arc::downgrade(index), members, until, version });
    }
}

impl fmt::Debug for TagState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagState").field("version", &self.version()).finish_non_exhaustive()
    }
}
