//! From slots to records.

use crate::ids::Id;
use crate::index::Index;
use crate::members::Keep;
use crate::scratch::Candidate;
use std::collections::HashMap;

/// A record found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its key, as its id has it: [`Index::key`] reads it.
    pub key: u64,
    /// Its slot.
    pub slot: u32,
    /// Its distance from the query.
    pub distance: f32,
}

/// Up to this many results are compared with each other directly; more go through a hash map.
const FEW: usize = 64;

impl Index {
    /// Slots to records, one for each key: while an update runs, the old and the new slot of a key may both be found,
    /// and the newer one counts. Says whether that was so.
    /// A slot may have got another record since it was said to hold one that is to be kept; such records are left out.
    pub(crate) fn resolve(&self, nearest: &[Candidate], k: usize, keep: Option<&Keep<'_>>) -> (Vec<Neighbour>, bool) {
        nearest.iter().take(k).for_each(|c| self.prefetch_id(c.slot));
        let mut found: Vec<Neighbour> = Vec::with_capacity(k.min(1 << 16));
        let mut places: HashMap<u64, usize> = HashMap::new();
        let mut superseded = false;
        for &Candidate { distance, slot } in nearest {
            if found.len() == k {
                break;
            }
            let Id { key, lsn, .. } = self.id_of(slot);
            if keep.is_some_and(|keep| !keep(key)) {
                continue;
            }
            let earlier = if found.len() <= FEW && places.is_empty() {
                found.iter().position(|n| self.is_same_key(n.key, key))
            } else {
                if places.is_empty() {
                    places.extend(found.iter().enumerate().map(|(at, n)| (self.key_hash(n.key), at)));
                }
                // Two keys may have one hash.
                let same = |at: &usize| self.is_same_key(found[*at].key, key);
                let of_hash = places.get(&self.key_hash(key)).copied();
                of_hash.and_then(|at| Some(at).filter(same).or_else(|| (0..found.len()).find(same)))
            };
            match earlier {
                None => {
                    if !places.is_empty() {
                        places.insert(self.key_hash(key), found.len());
                    }
                    found.push(Neighbour { key, slot, distance });
                }
                Some(at) if self.id_of(found[at].slot).lsn < lsn => {
                    found[at] = Neighbour { key, slot, distance };
                    superseded = true;
                }
                Some(_) => superseded = true,
            }
        }
        if superseded {
            found.sort_by(|a, b| a.distance.total_cmp(&b.distance));
        }
        (found, superseded)
    }
}
