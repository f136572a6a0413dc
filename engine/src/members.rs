//! Which slots hold the records of a set of keys: found out once, kept up with what is put afterwards.

use crate::index::Index;
use crate::scratch::SlotSet;

/// Says of a key, as an id has it, whether its record may be found.
pub type Keep<'a> = dyn Fn(u64) -> bool + Sync + 'a;

/// How far a collection has got: which slots are given out, and which have been used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    limit: u32,
    reused: u64,
}

/// The slots that held records with keys of some set, as of some moment.
///
/// A slot that is in it may hold another record since: so what is found is looked up once more by its key. A dead slot
/// may be in it.
#[derive(Clone, Debug)]
pub struct Members {
    slots: Slots,
    until: Progress,
}

#[derive(Clone, Debug)]
enum Slots {
    /// Sorted. They are compared one by one, so it matters little how long it takes to look one up.
    Few(Vec<u32>),
    /// A bit for each slot of the collection.
    Many(SlotSet, usize),
}

/// More than one slot in so many is many: then going through all bits takes no longer than comparing those that are set.
const FEW: u32 = 256;

impl Members {
    /// As of when.
    pub(crate) fn until(&self) -> Progress {
        self.until
    }

    /// How many there are, dead ones included.
    pub fn len(&self) -> usize {
        match &self.slots {
            Slots::Few(slots) => slots.len(),
            Slots::Many(_, count) => *count,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A bit for each slot, if there are many.
    #[inline]
    pub(crate) fn bits(&self) -> Option<&SlotSet> {
        match &self.slots {
            Slots::Few(_) => None,
            Slots::Many(bits, _) => Some(bits),
        }
    }

    /// Whether a slot is in it.
    pub(crate) fn has(&self, slot: u32) -> bool {
        match &self.slots {
            Slots::Few(slots) => slots.binary_search(&slot).is_ok(),
            Slots::Many(bits, _) => bits.has(slot),
        }
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let (few, many) = match &self.slots {
            Slots::Few(slots) => (&slots[..], None),
            Slots::Many(bits, _) => (&[][..], Some(bits.iter())),
        };
        few.iter().copied().chain(many.into_iter().flatten())
    }

    /// Some of them that are `wanted`, from all over.
    pub(crate) fn spread(&self, count: usize, wanted: impl Fn(u32) -> bool, into: &mut Vec<u32>) {
        match &self.slots {
            Slots::Few(slots) => {
                let some = slots.iter().copied().step_by((slots.len() / count).max(1));
                into.extend(some.filter(|&slot| wanted(slot)).take(count));
            }
            Slots::Many(bits, _) => bits.spread(count, wanted, into),
        }
    }

    fn set(&mut self, slot: u32, is_in: bool) {
        match &mut self.slots {
            Slots::Few(slots) => match (slots.binary_search(&slot), is_in) {
                (Err(at), true) => slots.insert(at, slot),
                (Ok(at), false) => drop(slots.remove(at)),
                _ => {}
            },
            Slots::Many(bits, count) => {
                if is_in {
                    *count += usize::from(bits.add(slot));
                } else {
                    *count -= usize::from(bits.remove(slot));
                }
            }
        }
    }

    /// Changes the form if the number asks for it, with room for slots below `limit`.
    fn settle(&mut self, limit: u32) {
        match &mut self.slots {
            Slots::Few(slots) if slots.len() as u64 * u64::from(FEW) > u64::from(limit) => {
                let mut bits = SlotSet::below(limit);
                slots.iter().for_each(|&slot| bits.set(slot, true));
                self.slots = Slots::Many(bits, slots.len());
            }
            Slots::Many(bits, _) => bits.grow(limit),
            Slots::Few(_) => {}
        }
    }
}

impl Index {
    /// How far it has got. What is put later shows in the next answer.
    pub fn progress(&self) -> Progress {
        // In this order: a slot is not used again before it was given out.
        let reused = self.reused.count();
        Progress { limit: self.limit(), reused }
    }

    /// Which slots hold records with keys that are to be kept, by looking at every slot.
    ///
    /// Complexity: reads the ids of all slots; some 10 ns a slot.
    pub fn members(&self, keep: &Keep<'_>) -> Members {
        let _reading = self.reading();
        let until = self.progress();
        let mut live = (0..until.limit).filter(|&slot| self.counts(slot, Some(keep)));
        let first = live.by_ref().take((until.limit / FEW) as usize + 1).collect();
        let mut members = Members { slots: Slots::Few(first), until };
        members.settle(until.limit);
        live.for_each(|slot| members.set(slot, true));
        members
    }

    /// The same, if somebody else knows the slots: all those that were to be kept at `until`, and perhaps newer ones.
    pub fn members_at(&self, mut slots: Vec<u32>, until: Progress) -> Members {
        let limit = self.limit();
        // There are no others, but in a catalogue that is damaged.
        slots.retain(|&slot| slot < limit);
        slots.sort_unstable();
        slots.dedup();
        let mut members = Members { slots: Slots::Few(slots), until };
        members.settle(limit);
        members
    }

    /// Says of slots whether they are in it now; it is all those that were to be kept at `until` then, and perhaps newer ones.
    pub fn amend(&self, members: &mut Members, changes: impl IntoIterator<Item = (u32, bool)>, until: Progress) {
        let limit = self.limit();
        members.until = until;
        members.settle(limit);
        changes.into_iter().filter(|&(slot, _)| slot < limit).for_each(|(slot, is_in)| members.set(slot, is_in));
        members.settle(limit);
    }

    /// Whether nothing was put since.
    pub fn is_current(&self, members: &Members) -> bool {
        members.until == self.progress()
    }

    /// Looks at what was put since.
    ///
    /// Complexity: a look-up for each slot put since; after more than 65,536 of those used again, as
    /// [`members`](Self::members).
    pub fn catch_up(&self, members: &mut Members, keep: &Keep<'_>) {
        let _reading = self.reading();
        let now = self.progress();
        let Some(changed) = self.changed(members.until, now) else {
            *members = self.members(keep);
            return;
        };
        members.until = now;
        members.settle(now.limit);
        changed.for_each(|slot| members.set(slot, self.counts(slot, Some(keep))));
        members.settle(now.limit);
    }

    /// The slots that were put between two moments; `None` if that is not known any more.
    pub(crate) fn changed(&self, from: Progress, to: Progress) -> Option<impl Iterator<Item = u32> + use<>> {
        let reused = self.reused.between(from.reused, to.reused)?;
        Some((from.limit..to.limit).chain(reused))
    }

    /// Whether a slot may be found. Who asks counts as a reader.
    pub(crate) fn counts(&self, slot: u32, keep: Option<&Keep<'_>>) -> bool {
        !self.is_dead(slot) && keep.is_none_or(|keep| keep(self.id_of(slot).key))
    }

    /// Says so of slots. From one function, so that all who use it share one compiled walk.
    pub(crate) fn counted<'a>(&'a self, keep: Option<&'a Keep<'a>>) -> impl Fn(u32) -> bool + 'a {
        move |slot| self.counts(slot, keep)
    }
}
