//! What every search reads, and keeping it in memory.

use crate::index::Index;
use crate::windows::Windows;

impl Index {
    /// Reads what walks read into memory, in huge pages where the system grants them: links, and codes or else vectors.
    pub fn make_resident(&self) {
        self.walked().for_each(Windows::make_resident);
    }

    /// Bytes of links, and of codes or else vectors, that are in huge pages; 0 where the system does not tell.
    pub fn huge_bytes(&self) -> u64 {
        self.walked().map(Windows::huge_bytes).sum()
    }

    fn walked(&self) -> impl Iterator<Item = &Windows> {
        let points = self.codes().map_or(&self.vectors, |codes| &codes.windows);
        [points, self.links.windows(), self.upper.windows()].into_iter()
    }

    /// What a search reads besides the vectors that it ranks again: what walks read, ids, and tombstones.
    fn hot(&self) -> impl Iterator<Item = &Windows> {
        self.walked().chain([&self.ids, self.tombs.windows()])
    }

    /// Bytes of that.
    pub fn hot_bytes(&self) -> u64 {
        self.hot().map(|windows| windows.slots() * windows.stride() as u64).sum()
    }

    /// Bytes of vectors that are no part of it.
    pub fn cold_bytes(&self) -> u64 {
        if self.codes().is_some() { self.vectors.slots() * self.vectors.stride() as u64 } else { 0 }
    }

    /// Bytes of that in memory, and of vectors that are no part of it; `None` where the system does not tell.
    pub fn bytes_in_memory(&self) -> Option<(u64, u64)> {
        let hot = self.hot().map(Windows::bytes_in_memory).sum::<Option<u64>>()?;
        let cold = if self.codes().is_some() { self.vectors.bytes_in_memory()? } else { 0 };
        Some((hot, cold))
    }

    /// Reads what searches need most and is not in memory, `most` bytes of it, and lets the system know that all of it is
    /// in use. Says how many pages there are, and how many were missing.
    pub fn keep_hot(&self, mut most: u64) -> (u64, u64) {
        let kept = self.hot().map(|windows| windows.keep(&mut most));
        kept.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    }

    /// Where what every search reads does not fit into memory: looks what of it does, so that walks can ask the disk for the
    /// rest of what they are about to read. Says how many pages there are, and how many are missing.
    pub fn ask_in_walks(&self) -> (u64, u64) {
        let noted = self.walked().map(Windows::note_memory);
        let noted = noted.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        self.cold.set_walks_ask(true);
        noted
    }

    /// Walks take what they read for being in memory again.
    pub fn stop_asking(&self) {
        self.cold.set_walks_ask(false);
    }

    /// Takes what is written once out of the process's memory.
    pub fn give_back(&self) {
        let codes = self.codes().into_iter().map(|codes| &codes.windows);
        codes.chain([&self.vectors, &self.ids]).for_each(Windows::give_back);
    }
}

#[cfg(test)]
mod tests {
    use crate::element::{Element, Query};
    use crate::geometry::Geometry;
    use crate::ids::Id;
    use crate::index::Index;
    use crate::keys::KeyType;
    use crate::metric::Metric;
    use crate::seeded::Seeded;
    use crate::slots::{SlotBytes, vector_crc};
    use lodestore_wal::{Disk, MemDisk, names};

    const DIM: usize = 64;

    fn floats(n: u64) -> Vec<f32> {
        let mut seeded = Seeded::new(n);
        (0..DIM).map(|_| seeded.below(1000) as f32).collect()
    }

    fn built(count: u64) -> Index {
        let disk = MemDisk::new();
        disk.create_dir(names::COLLECTIONS_DIR).unwrap();
        let (element, metric, key) = (Element::F32, Metric::L2, KeyType::U64);
        let geometry = Geometry { dim: DIM, element, metric, m: 8, ef_construction: 40, seed: 1, codes: 8, key };
        Index::create(&disk, [7; 16], 0, &geometry).unwrap();
        let index = Index::open(&disk, [7; 16], 0, 1, None).unwrap();
        for n in 0..count {
            let place = index.places(1)[0];
            index.reserve(u64::from(place.slot) + 1, u64::from(place.upper) + u64::from(place.level)).unwrap();
            let (mut vector, mut bytes) = (Vec::new(), SlotBytes::default());
            Element::F32.encode(&floats(n), &mut vector).unwrap();
            index.encode(&vector, &mut bytes);
            let id = Id { key: n, lsn: n, vector_crc: vector_crc(&vector), upper: place.upper, level: place.level };
            index.write_slots(&[place.slot], &bytes, &[id]).unwrap();
            index.advance(place);
            index.link(place.slot).unwrap();
            // Half-way, so that inserts ask, too, and pages come about that nobody has looked for.
            if n == count / 2 {
                index.ask_in_walks();
            }
        }
        index
    }

    /// Asking the disk changes when bytes come, never which; nor does reading vectors by calls.
    #[test]
    fn searches_find_the_same_wherever_what_they_read_is() {
        let index = built(600);
        let queries: Vec<_> = (0..50).map(|n| floats(10_000 + n)).collect();
        let search = || -> Vec<_> {
            queries.iter().map(|query| index.search(Query::Floats(query), 10, 40, f32::INFINITY)).collect()
        };
        let asking = search();
        index.stop_asking();
        let plain = search();
        assert_eq!(asking, plain);
        assert!(plain.iter().all(|(found, counters)| found.len() == 10 && counters.reranked >= 10));
        index.set_cold(true);
        for ((by_calls, cold), (mapped, plain)) in search().iter().zip(&plain) {
            assert_eq!((by_calls, cold.reranked), (mapped, plain.reranked));
            assert!(index.check_read(cold).is_ok());
        }
        assert_eq!(index.verify().problems, [""; 0]);
    }

    #[test]
    fn what_is_hot_is_counted_kept_and_given_back() {
        let index = built(300);
        let (hot, cold) = (index.hot_bytes(), index.cold_bytes());
        assert!(cold >= 300 * DIM as u64 * 4 && hot >= 300 * (64 + 64 + 32), "{hot} {cold}");
        let (pages, _) = index.keep_hot(u64::MAX);
        // Where the system tells.
        if pages > 0 {
            assert!(pages * 4096 >= hot && pages * 4096 <= hot + 5 * 4096, "{pages} {hot}");
            // Unless the system is short of memory just now, all of it.
            assert_eq!(index.keep_hot(0).0, pages);
            assert!(index.bytes_in_memory().is_some_and(|(hot, _)| hot > 0 && hot <= pages * 4096));
            assert!(index.ask_in_walks().0 < pages, "ids and tombstones are no part of walks");
        }
        let before = index.search(Query::Floats(&floats(5)), 3, 20, f32::INFINITY);
        index.give_back();
        assert_eq!(index.search(Query::Floats(&floats(5)), 3, 20, f32::INFINITY), before);
        assert_eq!(before.0[0].key, 5);
    }
}
