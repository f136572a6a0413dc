//! Where the records lie that fulfil a condition on tags.
//!
//! What is found out once is kept with the collection, and kept up with what is written: each write says which slots it
//! has given which tags, in the order of the log. So that is all there is to look at, be it that searches and writes take turns.

use crate::error::Result;
use crate::key::RowKey;
use crate::shared::{Open, Shared};
use crate::tag_filter::TagFilter;
use lodestore_engine::{Index, Members, StoredKey};
use std::sync::Arc;

/// Where they lie; and the version that the collection has as long as nothing else is true.
pub(crate) type Fulfilling = (Arc<Members>, Option<u64>);

/// Finds them; `None` if the collection has just been compacted.
pub(crate) fn members(
    shared: &Shared,
    open: &Open,
    index: &Arc<Index>,
    filter: &TagFilter,
) -> Result<Option<Fulfilling>> {
    filter.check()?;
    let state = &open.tagged;
    let mut known = state.known.lock();
    let before = state.version();
    let holds = || state.is_quiet_at(before).then_some(before);
    if let Some(entry) = known.find(filter, index) {
        if entry.version == Some(before) {
            return Ok(Some((entry.members.clone(), entry.version)));
        }
        // Before the changes: what is put meanwhile is looked at by whoever scans.
        let progress = shared.progress(index);
        let kept_up = open.reading(|now| {
            // After compacting, changes are of other slots.
            if !std::ptr::eq(now, &**index) {
                return Ok(None);
            }
            let Some((changes, until)) = state.since(entry.until) else { return Ok(Some(false)) };
            let fulfils = |(slot, tags): (u32, Option<Arc<[u8]>>)| {
                (slot, filter.matches_encoded(tags.as_deref().unwrap_or_default()))
            };
            index.amend(Arc::make_mut(&mut entry.members), changes.into_iter().map(fulfils), progress);
            (entry.until, entry.version) = (until, holds());
            Ok(Some(true))
        })?;
        match kept_up {
            None => return Ok(None),
            Some(true) => return Ok(Some((entry.members.clone(), entry.version))),
            Some(false) => known.forget_last(),
        }
    }
    state.watch();
    let progress = shared.progress(index);
    let mut until = 0;
    let slots = open.reading(|now| {
        if !std::ptr::eq(now, &**index) {
            return Ok(None);
        }
        let tagged = shared.catalog.tagged(open.id, || until = state.position())?;
        Ok(Some(tagged.slots(filter, now.next_slot())?.iter().collect()))
    })?;
    let Some(slots) = slots else { return Ok(None) };
    let members = Arc::new(index.members_at(slots, progress));
    let version = holds();
    known.add(filter.clone(), index, members.clone(), until, version);
    Ok(Some((members, version)))
}

/// Whether the record of a key fulfils it.
pub(crate) fn is_fulfilled(shared: &Shared, open: &Open, key: StoredKey<'_>, filter: &TagFilter) -> Result<bool> {
    let tags = shared.catalog.tags(&RowKey::new(open.id, key))?;
    Ok(tags.is_some_and(|tags| filter.matches_encoded(tags.as_deref().unwrap_or_default())))
}
