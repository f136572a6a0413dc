//! A random rotation that costs `O(d log d)` and needs no training: signs by a seed, then Hadamard transforms.
//!
//! After it the components of any vector look like draws from one normal distribution (Ailon and Chazelle 2009, the
//! "fast Johnson-Lindenstrauss transform"), so that one range suits them all, whatever the data and however it drifts.
//! A transform needs a power of two; other dimensions take two windows of one, at the start and at the end, by turns
//! (as the RaBitQ library does).

use crate::seeded::Seeded;

/// Rounds for a power of two. One leaves a vector with a single non-zero component flat, but not random; two do.
const ROUNDS: usize = 2;
/// Rounds of two overlapping windows.
const WINDOWED_ROUNDS: usize = 4;

/// An orthogonal map of vectors of one dimension.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    dim: usize,
    /// The largest power of two in `dim`.
    window: usize,
    /// What each component is multiplied with, round by round: 1 or −1, and the factor that the transform of the round
    /// before is short of. The last round is all factor.
    factors: Vec<f32>,
}

impl Rotation {
    pub(crate) fn new(dim: usize, seed: u64) -> Self {
        let window = 1 << dim.ilog2();
        let rounds = if window == dim { ROUNDS } else { WINDOWED_ROUNDS };
        let mut seeded = Seeded::new(seed ^ 0x726F_7461_7469_6F6E);
        let mut sign = || if seeded.number() >> 63 == 0 { 1.0 } else { -1.0 };
        let mut factors: Vec<f32> = (0..rounds * dim).map(|_| sign()).collect();
        factors.resize((rounds + 1) * dim, 1.0);
        let scale = 1.0 / (window as f32).sqrt();
        for round in 0..rounds {
            let start = (round + 1) * dim + Self::start(dim, window, round);
            factors[start..start + window].iter_mut().for_each(|factor| *factor *= scale);
        }
        Self { dim, window, factors }
    }

    /// Where a round's window begins.
    fn start(dim: usize, window: usize, round: usize) -> usize {
        if round.is_multiple_of(2) { 0 } else { dim - window }
    }

    /// Rotates a vector. Every operation is rounded by itself and in a fixed order, so that all CPUs agree on all bits.
    pub(crate) fn apply(&self, vector: &mut [f32]) {
        assert_eq!(vector.len(), self.dim);
        let rounds = self.factors.len() / self.dim - 1;
        for (round, factors) in self.factors.chunks_exact(self.dim).enumerate() {
            vector.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
            if round < rounds {
                let start = Self::start(self.dim, self.window, round);
                hadamard(&mut vector[start..start + self.window]);
            }
        }
    }
}

/// The Walsh-Hadamard transform, not scaled.
fn hadamard(x: &mut [f32]) {
    let mut half = 1;
    // The first steps eight components at a time, within registers.
    let (eights, _) = x.as_chunks_mut::<8>();
    if !eights.is_empty() {
        for x in eights {
            let [a, b, c, d, e, f, g, h] = *x;
            let [a, b, c, d, e, f, g, h] = [a + b, a - b, c + d, c - d, e + f, e - f, g + h, g - h];
            let [a, b, c, d, e, f, g, h] = [a + c, b + d, a - c, b - d, e + g, f + h, e - g, f - h];
            *x = [a + e, b + f, c + g, d + h, a - e, b - f, c - g, d - h];
        }
        half = 8;
    }
    // Then two steps at a time, where there are two.
    while 4 * half <= x.len() {
        for four in x.chunks_exact_mut(4 * half) {
            let (ab, cd) = four.split_at_mut(2 * half);
            let ((a, b), (c, d)) = (ab.split_at_mut(half), cd.split_at_mut(half));
            for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                let (p, q, r, s) = (*a + *b, *a - *b, *c + *d, *c - *d);
                (*a, *b, *c, *d) = (p + r, q + s, p - r, q - s);
            }
        }
        half *= 4;
    }
    while half < x.len() {
        for pair in x.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn norm(x: &[f32]) -> f64 {
        x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
    }

    #[test]
    fn lengths_and_angles_stay() {
        for dim in [1, 2, 3, 7, 64, 100, 128, 200, 384, 900, 1536] {
            let rotation = Rotation::new(dim, 5);
            let a: Vec<f32> = (0..dim).map(|n| ((n * 37 % 101) as f32) - 20.0).collect();
            let b: Vec<f32> = (0..dim).map(|n| ((n * 53 % 89) as f32) - 70.0).collect();
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let (mut ra, mut rb) = (a.clone(), b.clone());
            rotation.apply(&mut ra);
            rotation.apply(&mut rb);
            assert!((norm(&ra) / norm(&a) - 1.0).abs() < 1e-5, "{dim}");
            assert!((dot(&ra, &rb) - dot(&a, &b)).abs() < 1e-4 * norm(&a) * norm(&b), "{dim}");
        }
    }

    #[test]
    fn the_transform_is_hadamards() {
        for bits in 0..10 {
            let x: Vec<f32> = (0..1 << bits).map(|n| (n * n % 31) as f32 - 9.0).collect();
            let mut got = x.clone();
            hadamard(&mut got);
            for (row, got) in got.iter().enumerate() {
                let sign = |column: usize| if (row & column).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                let expected: f32 = x.iter().enumerate().map(|(column, x)| sign(column) * x).sum();
                assert_eq!(*got, expected, "{bits} {row}");
            }
        }
    }

    #[test]
    fn a_single_component_is_spread_over_all() {
        for dim in [64, 100, 128, 384, 1536] {
            let mut x = vec![0.0; dim];
            x[3] = 1.0;
            Rotation::new(dim, 1).apply(&mut x);
            let largest = x.iter().fold(0f32, |max, x| max.max(x.abs()));
            // Of a normal distribution about 3.5 / √d.
            assert!(largest < 6.0 / (dim as f32).sqrt(), "{dim}: {largest}");
        }
    }
}
