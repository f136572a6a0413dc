//! Linking a new node (Malkov and Yashunin 2018, Algorithm 1).
//!
//! All searches run before anything is written, then the node's own lists, then the links to it. Readers and other
//! writers never wait, except two writers of one list, and of a new highest level.

use crate::codes::CodeQuery;
use crate::distances::{CodePairs, CodesTo, ExactPairs, ExactTo};
use crate::index::{Entry, GraphLevel, Index};
use crate::scratch::{Candidate, Dropped, Scratch};
use crate::search::{Distances, END, Pairs, Until, descend, search_level};
use crate::select::select;
use crate::view;
use lodestore_wal::Result;
use std::sync::atomic::{AtomicU32, Ordering};

/// A node being linked.
struct Node<D> {
    slot: u32,
    level: u8,
    distances: D,
}

/// A link that `node` is to get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) node: u32,
    pub(crate) level: u8,
    pub(crate) new: u32,
    pub(crate) distance: f32,
}

impl Link {
    /// The link from `neighbour` to `new`.
    pub(crate) fn back(neighbour: &Candidate, level: usize, new: u32) -> Self {
        Self { node: neighbour.slot, level: level as u8, new, distance: neighbour.distance }
    }
}

impl Index {
    /// Links a slot that [`write_slots`](Self::write_slots) has written, so that searches find it.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if a page that has to change is damaged. The graph is sound then,
    /// but the slot may be missing from it.
    pub fn link(&self, slot: u32) -> Result<()> {
        let level = self.id_of(slot).level;
        self.scratch.with(|scratch| self.link_with(slot, level, scratch))?;
        self.settle(slot);
        Ok(())
    }

    /// Says that a slot is linked.
    pub(crate) fn settle(&self, slot: u32) {
        if let Some(pending) = self.pending.get() {
            pending.set_linked(slot);
        }
    }

    fn link_with(&self, slot: u32, level: u8, scratch: &mut Scratch) -> Result<()> {
        let mut entry = self.entry();
        // A node above all others becomes the entry point; two of them must not do so at once, nor must a second
        // node come between a first one and its being there.
        let raising = entry.is_none_or(|e| e.level < level).then(|| self.raising.lock());
        if raising.is_some() {
            entry = self.entry();
        }
        let Some(from) = entry else {
            self.write_own_lists(slot, level, &[])?;
            self.set_entry(Some(Entry { slot, level }));
            return Ok(());
        };
        let own = self.prepare(slot, level, from, scratch)?;
        self.link_back(slot, &own, scratch)?;
        if level > from.level {
            self.set_entry(Some(Entry { slot, level }));
        }
        drop(raising);
        Ok(())
    }

    /// Links to a node from its neighbours on each level.
    pub(crate) fn link_back(&self, slot: u32, own: &[Vec<Candidate>], scratch: &mut Scratch) -> Result<()> {
        scratch.dropped.clear();
        for (at, neighbours) in own.iter().enumerate() {
            let mut kept = 0;
            for neighbour in neighbours {
                kept += usize::from(self.attach(Link::back(neighbour, at, slot), false, scratch)?);
            }
            if kept == 0 {
                self.insist(slot, (at, neighbours), scratch)?;
            }
        }
        let dropped = std::mem::take(&mut scratch.dropped);
        dropped.iter().filter(|dropped| self.is_lost(dropped)).try_for_each(|&lost| self.take_back(lost, scratch))?;
        scratch.dropped = dropped;
        Ok(())
    }

    /// Nobody kept a link to a node: it would never be found again. Its nearest neighbour must.
    pub(crate) fn insist(
        &self,
        slot: u32,
        (level, neighbours): (usize, &[Candidate]),
        scratch: &mut Scratch,
    ) -> Result<()> {
        let nearest = neighbours.first().map(|nearest| Link::back(nearest, level, slot));
        nearest.map_or(Ok(()), |link| self.attach_anyway(link, scratch))
    }

    /// Adds a link, if need be in place of one that is not the only one to its node; if there is none such, then from one
    /// of the node's neighbours that has room.
    pub(crate) fn attach_anyway(&self, link: Link, scratch: &mut Scratch) -> Result<()> {
        if self.attach(link, true, scratch)? {
            return Ok(());
        }
        let limit = self.limit();
        let may = |n: &u32| *n < limit && *n != link.new && !self.is_leaving(*n);
        let known: Vec<u32> = self.neighbours(link.node, link.level).filter(may).collect();
        for node in known {
            if self.attach(Link { node, ..link }, true, scratch)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Finds a node's neighbours on each level, from 0 up, and writes its lists.
    pub(crate) fn prepare(
        &self,
        slot: u32,
        level: u8,
        from: Entry,
        scratch: &mut Scratch,
    ) -> Result<Vec<Vec<Candidate>>> {
        let own = self.nearby(slot, level, from, scratch);
        self.write_own_lists(slot, level, &own)?;
        Ok(own)
    }

    /// Finds a node's neighbours on each level, from 0 up.
    pub(crate) fn nearby(&self, slot: u32, level: u8, from: Entry, scratch: &mut Scratch) -> Vec<Vec<Candidate>> {
        let mut query = std::mem::take(&mut scratch.query);
        let mut work = std::mem::take(&mut scratch.from);
        let own = match self.codes() {
            Some(codes) => {
                codes.coder.query_of(view::bytes(&codes.windows, slot), &mut query);
                let limit = self.limit();
                let node = Node { slot, level, distances: CodesTo { codes, query: &query, limit } };
                self.find_neighbours(&node, from, &CodePairs { codes, limit }, &mut work, scratch)
            }
            None => {
                let distances = ExactTo { index: self, query: self.as_query(slot, query.floats()) };
                self.find_neighbours(&Node { slot, level, distances }, from, &ExactPairs(self), &mut work, scratch)
            }
        };
        (scratch.query, scratch.from) = (query, work);
        own
    }

    /// Adds a link to a list, choosing again among its neighbours if the list is full. With `force`, in place of one to
    /// which there are others, if there is one. Says whether the link is there now. What the list has given up by choice
    /// is noted in the scratch.
    pub(crate) fn attach(&self, link: Link, force: bool, scratch: &mut Scratch) -> Result<bool> {
        let Scratch { from: work, dropped, .. } = scratch;
        match self.codes() {
            Some(codes) => self.add_link(link, force, &CodePairs { codes, limit: self.limit() }, (work, dropped)),
            None => self.add_link(link, force, &ExactPairs(self), (work, dropped)),
        }
    }

    /// Whether a node that a list has given up may now have no link to it: none of those that it links to links back.
    /// One that a sweep is unlinking shall have none: perhaps it has passed this list already.
    pub(crate) fn is_lost(&self, dropped: &Dropped) -> bool {
        !self.is_linked_back(dropped.lost.slot, dropped.level, dropped.node) && !self.is_leaving(dropped.lost.slot)
    }

    /// Whether one of those that a node links to links back, other than `except`.
    fn is_linked_back(&self, slot: u32, level: u8, except: u32) -> bool {
        let limit = self.limit();
        let mut known = self.neighbours(slot, level).filter(|&n| n < limit && n != except);
        known.any(|n| self.neighbours(n, level).any(|back| back == slot))
    }

    /// Gives a list back what it has given up.
    pub(crate) fn take_back(&self, dropped: Dropped, scratch: &mut Scratch) -> Result<()> {
        let Dropped { node, level, lost: Candidate { slot: new, distance } } = dropped;
        self.attach_anyway(Link { node, level, new, distance }, scratch)
    }

    /// The neighbours of a new node on each level, from 0 up.
    fn find_neighbours<D: Distances, P: Pairs>(
        &self,
        node: &Node<D>,
        from: Entry,
        pairs: &P,
        work: &mut CodeQuery,
        scratch: &mut Scratch,
    ) -> Vec<Vec<Candidate>> {
        let Node { slot, level, ref distances } = *node;
        // Asked before the first look: if there are none, none can be met that were dead before.
        let any_dead = self.any_dead();
        let entry = Candidate { distance: distances.to(from.slot), slot: from.slot };
        let mut nearest = entry;
        for above in (level + 1..=from.level).rev() {
            nearest = descend(&GraphLevel { index: self, level: above }, distances, nearest, scratch);
        }
        let top = level.min(from.level);
        let mut own = vec![Vec::new(); usize::from(top) + 1];
        let ef = self.geometry().ef_construction.max(self.geometry().m);
        let mut candidates = Vec::with_capacity(ef);
        for at in (0..=top).rev() {
            let graph_level = GraphLevel { index: self, level: at };
            let live = |s: u32| s != slot && !(any_dead && self.was_dead(s, slot));
            let mut more = Some(ef);
            while let Some(ef_now) = more {
                search_level(&graph_level, distances, &[nearest], Until::ef(ef_now), live, scratch);
                more = self.uncrowded((ef, ef_now), &scratch.pool, |near| self.are_copies(slot, near));
            }
            if let Some(found) = scratch.pool.nearest() {
                nearest = found;
            }
            candidates.clear();
            candidates.extend(scratch.pool.live());
            if candidates.is_empty() {
                // Everything near is dead; a dead neighbour is better than none, since walks pass through it.
                let dead = scratch.pool.nearest().filter(|c| c.slot != slot && !self.is_leaving(c.slot));
                candidates.extend(dead.or((from.slot != slot).then_some(entry)));
            }
            select(pairs, slot, &candidates, self.geometry().m, work, &mut own[usize::from(at)]);
        }
        own
    }

    /// Writes a new node's lists on all its levels, every word of them: the place may hold leftovers of a crash.
    pub(crate) fn write_own_lists(&self, slot: u32, level: u8, own: &[Vec<Candidate>]) -> Result<()> {
        for at in 0..=level {
            let neighbours = own.get(usize::from(at)).map_or(&[][..], Vec::as_slice);
            self.store_list(slot, at, neighbours.iter().map(|c| c.slot))?;
        }
        Ok(())
    }

    /// See [`attach`](Self::attach).
    fn add_link<P: Pairs>(
        &self,
        link: Link,
        force: bool,
        pairs: &P,
        (work, dropped): (&mut CodeQuery, &mut Vec<Dropped>),
    ) -> Result<bool> {
        let Link { node, level, new, distance } = link;
        let Some((segment, place)) = self.list_place(node, level) else { return Ok(false) };
        let cap = self.cap(level);
        let _lock = self.lock_lists(node);
        let words = &segment.words(place)[..cap];
        let mut count = 0;
        for word in words {
            match word.load(Ordering::Acquire) {
                END => break,
                present if present == new => return Ok(true),
                _ => count += 1,
            }
        }
        if count < cap {
            segment.touch(place)?;
            words[count].store(new, Ordering::Release);
            self.repack_one(node, level, count);
            return Ok(true);
        }
        if force {
            let replaceable = |word: &AtomicU32| self.is_linked_back(word.load(Ordering::Acquire), level, node);
            let Some(at) = words.iter().rposition(replaceable) else { return Ok(false) };
            segment.touch(place)?;
            words[at].store(new, Ordering::Release);
            self.repack_one(node, level, at);
            return Ok(true);
        }
        let limit = self.limit();
        let mut candidates = Vec::with_capacity(cap + 1);
        candidates.push(Candidate { distance, slot: new });
        let present: Vec<u32> = words.iter().map(|w| w.load(Ordering::Acquire)).filter(|&s| s < limit).collect();
        {
            let from = pairs.from(node, work);
            present.iter().for_each(|&s| from.prefetch(s));
            let mut fours = present.chunks_exact(4);
            for four in &mut fours {
                let four = [four[0], four[1], four[2], four[3]];
                candidates
                    .extend(from.to_4(four).into_iter().zip(four).map(|(distance, slot)| Candidate { distance, slot }));
            }
            for &slot in fours.remainder() {
                candidates.push(Candidate { distance: from.to(slot), slot });
            }
        }
        candidates.sort_unstable_by(Candidate::nearer);
        let mut chosen = Vec::with_capacity(cap);
        select(pairs, node, &candidates, cap, work, &mut chosen);
        if !chosen.iter().any(|c| c.slot == new) {
            // The list stays as it is: fuller than what was chosen, and one page less to write.
            return Ok(false);
        }
        self.store_list(node, level, chosen.iter().map(|c| c.slot))?;
        let lost = candidates.into_iter().filter(|c| !chosen.iter().any(|kept| kept.slot == c.slot));
        dropped.extend(lost.map(|lost| Dropped { node, level, lost }));
        Ok(true)
    }
}
