//! Linking a new node (Malkov and Yashunin 2018, Algorithm 1).
//!
//! All searches run before anything is written, then the node's own lists, then the links to it. Readers and other
//! writers never wait, except two writers of one list, and of a new highest level.

use crate::codes::CodeQuery;
use crate::distances::{CodePairs, CodesTo, ExactPairs, ExactTo};
use crate::index::{Entry, GraphLevel, Index};
use crate::paths::Paths;
use crate::scratch::{Candidate, Dropped, Scratch};
use crate::search::{Distances, END, Level, Pairs, Until, descend, search_level};
use crate::select::select;
use crate::view;
use lodestore_wal::Result;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

/// A node being linked.
struct Node<D> {
    slot: u32,
    level: u8,
    distances: D,
}

/// A level that notes which nodes are expanded: each has its list asked for once.
struct Noted<'a> {
    level: GraphLevel<'a>,
    expanded: RefCell<Vec<u32>>,
}

impl Level for Noted<'_> {
    #[inline]
    fn list(&self, slot: u32) -> &[AtomicU32] {
        self.expanded.borrow_mut().push(slot);
        self.level.list(slot)
    }

    #[inline]
    fn prefetch_list(&self, slot: u32) {
        self.level.prefetch_list(slot);
    }

    #[inline]
    fn meets_disk(&self) -> bool {
        self.level.meets_disk()
    }

    fn request_list(&self, slot: u32) {
        self.level.request_list(slot);
    }
}

/// What a walk from the entry point towards a node has found, for each level from 0 up.
#[derive(Debug, Default)]
pub(crate) struct Nearby {
    /// The node's neighbours to be, nearest first.
    pub(crate) own: Vec<Vec<Candidate>>,
    /// The nodes that were expanded, in their order.
    pub(crate) walked: Vec<Vec<u32>>,
}

/// How walks came to a node that is being linked: all of its round together, and its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) walk: &'a [Vec<u32>],
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
        let near = self.prepare(slot, level, from, scratch)?;
        if level > from.level {
            self.keep_entry(slot, &near, from)?;
        }
        self.link_back(slot, &near, scratch)?;
        if level > from.level {
            self.set_entry(Some(Entry { slot, level }));
        }
        drop(raising);
        Ok(())
    }

    /// A node that is to be the entry point links to the one before: whatever walks came to from there, they come to.
    fn keep_entry(&self, slot: u32, near: &Nearby, before: Entry) -> Result<()> {
        let own = near.own.get(usize::from(before.level)).map_or(&[][..], Vec::as_slice);
        if own.iter().any(|c| c.slot == before.slot) {
            return Ok(());
        }
        let others = own.iter().map(|c| c.slot).take(self.cap(before.level) - 1);
        self.store_list(slot, before.level, std::iter::once(before.slot).chain(others))
    }

    /// Links to a node from its neighbours on each level.
    pub(crate) fn link_back(&self, slot: u32, near: &Nearby, scratch: &mut Scratch) -> Result<()> {
        let paths = self.paths(std::iter::once(&near.walked[..]));
        let ways = Ways { paths: &paths, walk: &near.walked };
        scratch.dropped.clear();
        for (at, neighbours) in near.own.iter().enumerate() {
            let mut kept = 0;
            for neighbour in neighbours {
                kept += usize::from(self.attach(Link::back(neighbour, at, slot), scratch)?);
            }
            if kept == 0 {
                self.insist(slot, (at, neighbours), ways)?;
            }
        }
        let dropped = std::mem::take(&mut scratch.dropped);
        dropped
            .iter()
            .filter(|dropped| self.is_lost(dropped, ways))
            .try_for_each(|&lost| self.take_back(lost, ways))?;
        scratch.dropped = dropped;
        Ok(())
    }

    /// Nobody kept a link to a node: it would never be found again. Its nearest neighbour must.
    pub(crate) fn insist(&self, slot: u32, (level, neighbours): (usize, &[Candidate]), ways: Ways<'_>) -> Result<()> {
        let nearest = neighbours.first().map(|nearest| Link::back(nearest, level, slot));
        nearest.map_or(Ok(()), |link| self.attach_anyway(link, ways))
    }

    /// Adds a link, if need be in place of one to a node that walks come to without it. If the list has none such, another
    /// of those that lead there has.
    pub(crate) fn attach_anyway(&self, link: Link, ways: Ways<'_>) -> Result<()> {
        if self.force_link(link, ways)? {
            return Ok(());
        }
        for node in ways.paths.before(ways.walk, link.new, link.level) {
            if !self.is_leaving(node) && self.force_link(Link { node, ..link }, ways)? {
                return Ok(());
            }
        }
        // All of these are full of links that are the only ones. What they link to leads there as well.
        for node in ways.paths.before(ways.walk, link.new, link.level) {
            for behind in self.neighbours(node, link.level).collect::<Vec<_>>() {
                let may = behind < self.limit() && behind != link.new && !ways.paths.has(behind, link.level);
                if may && !self.is_leaving(behind) && self.force_link(Link { node: behind, ..link }, ways)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Finds a node's neighbours on each level, from 0 up, and writes its lists.
    pub(crate) fn prepare(&self, slot: u32, level: u8, from: Entry, scratch: &mut Scratch) -> Result<Nearby> {
        let near = self.nearby(slot, level, from, scratch);
        self.write_own_lists(slot, level, &near.own)?;
        Ok(near)
    }

    /// Finds a node's neighbours on each level, from 0 up.
    pub(crate) fn nearby(&self, slot: u32, level: u8, from: Entry, scratch: &mut Scratch) -> Nearby {
        let mut query = std::mem::take(&mut scratch.query);
        let mut work = std::mem::take(&mut scratch.from);
        let near = match self.codes() {
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
        near
    }

    /// Adds a link to a list, choosing again among its neighbours if the list is full. Says whether the link is there now.
    /// What the list has given up by choice is noted in the scratch.
    pub(crate) fn attach(&self, link: Link, scratch: &mut Scratch) -> Result<bool> {
        let Scratch { from: work, dropped, .. } = scratch;
        match self.codes() {
            Some(codes) => self.add_link(link, &CodePairs { codes, limit: self.limit() }, (work, dropped)),
            None => self.add_link(link, &ExactPairs(self), (work, dropped)),
        }
    }

    /// Whether walks come to a node no more that a list has given up. One that a sweep is unlinking need not be come to:
    /// perhaps it has passed this list already.
    pub(crate) fn is_lost(&self, dropped: &Dropped, ways: Ways<'_>) -> bool {
        let Dropped { node, level, lost } = *dropped;
        !self.is_reached((lost.slot, level), node, ways.paths, ways.walk) && !self.is_leaving(lost.slot)
    }

    /// Gives a list back what it has given up.
    pub(crate) fn take_back(&self, dropped: Dropped, ways: Ways<'_>) -> Result<()> {
        let Dropped { node, level, lost: Candidate { slot: new, distance } } = dropped;
        self.attach_anyway(Link { node, level, new, distance }, ways)
    }

    /// The neighbours of a new node on each level, from 0 up.
    fn find_neighbours<D: Distances, P: Pairs>(
        &self,
        node: &Node<D>,
        from: Entry,
        pairs: &P,
        work: &mut CodeQuery,
        scratch: &mut Scratch,
    ) -> Nearby {
        let Node { slot, level, ref distances } = *node;
        // Asked before the first look: if there are none, none can be met that were dead before.
        let any_dead = self.any_dead();
        let entry = Candidate { distance: distances.to(from.slot), slot: from.slot };
        let mut nearest = entry;
        for above in (level + 1..=from.level).rev() {
            nearest = descend(&GraphLevel { index: self, level: above }, distances, nearest, scratch);
        }
        let top = level.min(from.level);
        let levels = usize::from(top) + 1;
        let mut near = Nearby { own: vec![Vec::new(); levels], walked: vec![Vec::new(); levels] };
        let ef = self.geometry().ef_construction.max(self.geometry().m);
        let mut candidates = Vec::with_capacity(ef);
        for at in (0..=top).rev() {
            let noted = Noted { level: GraphLevel { index: self, level: at }, expanded: RefCell::default() };
            let live = |s: u32| s != slot && !(any_dead && self.was_dead(s, slot));
            let mut more = Some(ef);
            while let Some(ef_now) = more {
                noted.expanded.borrow_mut().clear();
                search_level(&noted, distances, &[nearest], Until::ef(ef_now), live, scratch);
                more = self.uncrowded((ef, ef_now), &scratch.pool, |near| self.are_copies(slot, near));
            }
            if let Some(found) = scratch.pool.nearest() {
                nearest = found;
            }
            near.walked[usize::from(at)] = noted.expanded.take();
            candidates.clear();
            candidates.extend(scratch.pool.live());
            if candidates.is_empty() {
                // Everything near is dead; a dead neighbour is better than none, since walks pass through it.
                let dead = scratch.pool.nearest().filter(|c| c.slot != slot && !self.is_leaving(c.slot));
                candidates.extend(dead.or((from.slot != slot).then_some(entry)));
            }
            select(pairs, slot, &candidates, self.geometry().m, work, &mut near.own[usize::from(at)]);
        }
        near
    }

    /// Writes a new node's lists on all its levels, every word of them: the place may hold leftovers of a crash.
    pub(crate) fn write_own_lists(&self, slot: u32, level: u8, own: &[Vec<Candidate>]) -> Result<()> {
        for at in 0..=level {
            let neighbours = own.get(usize::from(at)).map_or(&[][..], Vec::as_slice);
            self.store_list(slot, at, neighbours.iter().map(|c| c.slot))?;
        }
        Ok(())
    }

    /// The words of a list that ends within `cap`: how many there are, or `None` if `new` is one of them.
    fn count_without(words: &[AtomicU32], new: u32) -> Option<usize> {
        let mut count = 0;
        for word in words {
            match word.load(Ordering::Acquire) {
                END => break,
                present if present == new => return None,
                _ => count += 1,
            }
        }
        Some(count)
    }

    /// Adds a link to a list, if it is full in place of one to a node that walks come to without it, the last such. Says
    /// whether the link is there now.
    fn force_link(&self, link: Link, ways: Ways<'_>) -> Result<bool> {
        let Link { node, level, new, .. } = link;
        let Some((segment, place)) = self.list_place(node, level) else { return Ok(false) };
        let cap = self.cap(level);
        let _lock = self.lock_lists(node);
        let words = &segment.words(place)[..cap];
        let Some(count) = Self::count_without(words, new) else { return Ok(true) };
        let at = if count < cap {
            count
        } else {
            let limit = self.limit();
            let replaceable = |word: &AtomicU32| {
                let slot = word.load(Ordering::Acquire);
                slot < limit && self.is_reached((slot, level), node, ways.paths, ways.walk)
            };
            let Some(at) = words.iter().rposition(replaceable) else { return Ok(false) };
            at
        };
        segment.touch(place)?;
        words[at].store(new, Ordering::Release);
        self.repack_one(node, level, at);
        Ok(true)
    }

    /// See [`attach`](Self::attach).
    fn add_link<P: Pairs>(
        &self,
        link: Link,
        pairs: &P,
        (work, dropped): (&mut CodeQuery, &mut Vec<Dropped>),
    ) -> Result<bool> {
        let Link { node, level, new, distance } = link;
        let Some((segment, place)) = self.list_place(node, level) else { return Ok(false) };
        let cap = self.cap(level);
        let _lock = self.lock_lists(node);
        let words = &segment.words(place)[..cap];
        let Some(count) = Self::count_without(words, new) else { return Ok(true) };
        if count < cap {
            segment.touch(place)?;
            words[count].store(new, Ordering::Release);
            self.repack_one(node, level, count);
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
