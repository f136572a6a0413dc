//! The keys of slots: numbers in the ids themselves, others in the keys segment.

use crate::index::Index;
use crate::keys::{KeySegment, NewKeys, StoredKey};
use lodestore_wal::Result;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

impl Index {
    /// The key that an id has as `raw`.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if it is in the keys segment and not what was put there.
    #[inline]
    pub fn key(&self, raw: u64) -> Result<StoredKey<'_>> {
        match &self.keys {
            None => Ok(StoredKey::Number(raw)),
            Some(keys) => keys.read(raw).map(StoredKey::Bytes),
        }
    }

    /// Whether two ids are of one key. A key that was removed and put again has two places.
    #[inline]
    pub(crate) fn is_same_key(&self, a: u64, b: u64) -> bool {
        let equal = |keys: &KeySegment| keys.read(a).is_ok_and(|a| keys.read(b).is_ok_and(|b| a == b));
        a == b || self.keys.as_ref().is_some_and(|keys| self.key_hash(a) == self.key_hash(b) && equal(keys))
    }

    /// The same for all ids of one key.
    #[inline]
    pub(crate) fn key_hash(&self, raw: u64) -> u64 {
        if self.keys.is_some() { raw >> 32 } else { raw }
    }

    /// Units of the keys segment that are in use.
    pub fn next_key(&self) -> u32 {
        self.keys.as_ref().map_or(0, KeySegment::next)
    }

    /// Writes keys that came to be [behind](NewKeys::after) those in use. Nobody may look at them yet.
    ///
    /// # Errors
    /// Of the disk; nothing has changed then.
    pub fn write_keys(&self, new: &NewKeys) -> Result<()> {
        self.keys.as_ref().map_or(Ok(()), |keys| keys.write(new))
    }

    /// Counts keys up to there, which are written, as in use. Called under the sequencer, before a slot that has one of
    /// them is given out.
    pub fn advance_keys(&self, end: u32) {
        if let Some(keys) = &self.keys {
            keys.set_next(end);
        }
    }

    /// The slots, given out or not any more or not yet, whose id says `key`.
    pub fn slots_with(&self, key: StoredKey<'_>) -> Vec<u32> {
        let says = |&slot: &u32| {
            let id = self.id_of(slot);
            id.lsn != 0 && self.key(id.key).is_ok_and(|stored| stored == key)
        };
        (0..self.ids.slots() as u32).filter(says).collect()
    }

    /// The units of the keys segment, in use or not, from which on `key` is there. Nobody writes meanwhile.
    pub fn key_units(&self, key: StoredKey<'_>) -> Vec<u32> {
        match (&self.keys, key) {
            (Some(keys), StoredKey::Bytes(key)) => keys.units_with(key),
            _ => Vec::new(),
        }
    }
}

/// Keys that were come upon, by what ids have for them.
#[derive(Debug, Default)]
pub(crate) struct SeenKeys {
    /// By hash.
    first: HashMap<u64, u64>,
    /// Others with the hash of one of those.
    more: Vec<u64>,
}

impl SeenKeys {
    /// Says whether it was not there yet.
    pub(crate) fn add(&mut self, index: &Index, raw: u64) -> bool {
        let first = match self.first.entry(index.key_hash(raw)) {
            Entry::Vacant(entry) => {
                entry.insert(raw);
                return true;
            }
            Entry::Occupied(entry) => *entry.get(),
        };
        let is_seen = index.is_same_key(first, raw) || self.more.iter().any(|&seen| index.is_same_key(seen, raw));
        if !is_seen {
            self.more.push(raw);
        }
        !is_seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::{Element, Query};
    use crate::geometry::Geometry;
    use crate::ids::Id;
    use crate::keys::KeyType;
    use crate::metric::Metric;
    use crate::search::Watch;
    use crate::slots::{SlotBytes, vector_crc};
    use crate::stream::{Step, Walk};
    use crate::wanted::Wanted;
    use lodestore_wal::{Disk, MemDisk, names};
    use std::sync::Arc;

    /// A key that was removed and put again is in two places while the old slot is not buried yet.
    #[test]
    fn slots_of_one_key_in_two_places_are_one_record() {
        let disk = MemDisk::new();
        disk.create_dir(names::COLLECTIONS_DIR).unwrap();
        let (element, metric, key) = (Element::F32, Metric::L2, KeyType::Str);
        let geometry = Geometry { dim: 1, element, metric, m: 4, ef_construction: 200, seed: 1, codes: 0, key };
        Index::create(&disk, [1; 16], 0, &geometry).unwrap();
        let index = Index::open(&disk, [1; 16], 0, 1, None).unwrap();
        // Enough that results are told apart by a map.
        let keys: Vec<String> = (0..100).flat_map(|n| [format!("key {n}"), format!("key {n}")]).collect();
        let mut new = NewKeys::after(0);
        let references: Vec<u64> = keys.iter().map(|key| new.add(key.as_bytes()).unwrap()).collect();
        index.write_keys(&new).unwrap();
        index.advance_keys(new.end());
        for (n, &key) in references.iter().enumerate() {
            let vector = (n as f32).to_le_bytes();
            let place = index.places(1)[0];
            index.reserve(u64::from(place.slot) + 1, u64::from(place.upper) + u64::from(place.level)).unwrap();
            let (level, upper, lsn) = (place.level, place.upper, n as u64 + 1);
            let id = Id { key, lsn, vector_crc: vector_crc(&vector), upper, level };
            let mut bytes = SlotBytes::default();
            index.encode(&vector, &mut bytes);
            index.write_slots(&[place.slot], &bytes, &[id]).unwrap();
            index.advance(place);
            index.link(place.slot).unwrap();
        }
        for k in [3, 10, 100] {
            let wanted = Wanted { ef: 300, ..Wanted::nearest(k) };
            let (found, _) = index.find(Query::Floats(&[0.0]), &wanted);
            // Each key has two slots that follow each other.
            let keys: Vec<u32> = found.iter().map(|n| n.slot / 2).collect();
            assert_eq!(keys, (0..k as u32).collect::<Vec<_>>());
        }
        let index = Arc::new(index);
        let mut walk = Walk::new(index.clone(), Query::Floats(&[0.0]), 8, false);
        let mut keys = Vec::new();
        while let Step::Found(found) = walk.next(None, Watch::NOBODY) {
            keys.push(found.slot / 2);
        }
        keys.sort_unstable();
        assert_eq!(keys, (0..100).collect::<Vec<_>>());
        assert_eq!(index.slots_with(StoredKey::Bytes(b"key 7")), [14, 15]);
        assert_eq!(index.key_units(StoredKey::Bytes(b"key 7")).len(), 2);
        assert_eq!(index.verify().problems, [""; 0]);
    }
}
