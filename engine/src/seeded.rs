//! Numbers that follow from a seed, and so are the same in every run: splitmix64 (Steele and others 2014).

/// What a state grows by from one number to the next.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A number that follows from `seed` and `n`.
pub fn nth(seed: u64, n: u64) -> u64 {
    mix(seed ^ n.wrapping_mul(STEP))
}

/// Numbers in a row.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_paper() {
        let mut seeded = Seeded::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([(); 3].map(|()| seeded.number()), expected);
        assert_eq!(nth(0, 1), Seeded::new(0).number());
    }
}
