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

    /// Takes what is written once out of the process's memory.
    pub fn give_back(&self) {
        let codes = self.codes().into_iter().map(|codes| &codes.windows);
        codes.chain([&self.vectors, &self.ids]).for_each(Windows::give_back);
    }
}
