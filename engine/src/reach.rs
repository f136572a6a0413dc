//! Which nodes walks can reach.

use crate::index::Index;
use crate::scratch::SlotSet;

impl Index {
    /// The slots that links lead to from the entry point, for each level from 0 up: on a level, those that its links
    /// lead to from what was reached on the level above. Also through what is put meanwhile.
    pub(crate) fn reached(&self) -> Vec<SlotSet> {
        let entry = self.entry();
        // Afterwards: an entry point has been given out before it is one.
        let limit = self.limit();
        let Some(entry) = entry else { return vec![SlotSet::below(limit)] };
        let mut levels = Vec::new();
        let mut queue = Vec::new();
        // What was reached above, in the order in which it was.
        let mut above = vec![entry.slot];
        for level in (0..=entry.level).rev() {
            let mut reached = SlotSet::below(limit);
            above.retain(|&slot| reached.add(slot));
            queue.extend_from_slice(&above);
            while let Some(slot) = queue.pop() {
                for neighbour in self.neighbours(slot, level) {
                    if neighbour < limit && reached.add(neighbour) {
                        queue.push(neighbour);
                        above.push(neighbour);
                    }
                }
            }
            levels.push(reached);
        }
        levels.reverse();
        levels
    }

    /// Slots with a record below `limit` that no walk on level 0 can reach; those among them that are being put.
    pub(crate) fn unreached(&self, limit: u32) -> Vec<u32> {
        let reached = &self.reached()[0];
        (0..limit).filter(|&slot| !reached.has(slot) && !self.is_gone(slot)).collect()
    }

    /// Nodes that were linked while others were, since it was last [asked](Self::lost) what is out of reach.
    pub fn doubted(&self) -> u64 {
        self.doubt.nodes()
    }

    /// The slots with a record that no walk on level 0 can reach, without those put after `lsn`, up to which all is linked;
    /// [`relink`](Self::relink) links them anew. Complexity: all links of the collection.
    pub fn lost(&self, lsn: u64) -> Vec<u32> {
        self.doubt.take();
        let unreached = self.unreached(self.limit()).into_iter();
        unreached.filter(|&slot| self.id_of(slot).lsn <= lsn).collect()
    }
}
