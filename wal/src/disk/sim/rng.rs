//! Chance that can be repeated.

/// SplitMix64: small, and good from any seed.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0..n`; 0 if that is empty. Not quite even, which no test can notice.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// As [`below`](Self::below), for indices.
    pub(super) fn index(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// The part of a write that got done: often nothing or all.
    pub(super) fn prefix<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match self.below(4) {
            0 => &[],
            1 => bytes,
            _ => &bytes[..self.index(bytes.len() + 1)],
        }
    }
}
