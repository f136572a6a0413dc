//! Codes: vectors in 4 or 8 bits a component, small enough that a walk waits less for the memory.
//!
//! A vector is rotated, and its components become whole numbers times a scale of its own. Nothing is trained and
//! nothing is shared, so codes never drift and never have to be made again. What a vector's code stands for is exactly
//! what is computed with: its norm is that of the rounded numbers, so an error of rounding counts in proportion to the
//! distance and not to the vector's length.
//!
//! # Format of `c/<id>/codes`
//!
//! Slots of [`Geometry::code_stride`] bytes: numbers, unsigned, and the trailer in the last five bytes. A block of 64
//! bytes (of the last one, what the trailer leaves) holds 1 number a byte (8 bits) or 2 (4 bits): of 4 bits, the low
//! halves are the first numbers, the high halves those that follow.
//!
//! | what | content |
//! |---|---|
//! | a number n of 8 bits | stands for n − 128 |
//! | a number n of 4 bits | stands for 2n − 15 |
//! | bytes −5..−3 | under L2 the scale: the high half of an f32; else 0 |
//! | bytes −3.. | the high 24 bits of an f32: under L2 the sum of the squares of what the numbers stand for, else the scale, which under cosine makes the norm 1 |
//!
//! The rotated components that have no room ([`Geometry::coded`]) are left out.

use crate::geometry::{Geometry, TRAILER};
use crate::kernel::{CODE_BLOCK, Codes, Kernel};
use crate::metric::{Metric, Space};
use crate::rotation::Rotation;
use crate::view;
use crate::windows::Windows;

/// What the numbers of a code stand for: `factor · n − offset`.
#[derive(Clone, Copy, Debug)]
struct Levels {
    bits: u8,
    factor: i32,
    offset: i32,
}

impl Levels {
    fn new(bits: u8) -> Self {
        match bits {
            8 => Self { bits, factor: 1, offset: 128 },
            // Levels on both sides of 0: of few, none is wasted.
            _ => Self { bits, factor: 2, offset: (1 << bits) - 1 },
        }
    }

    /// A scale for these components: of 8 bits so that the largest fits, of fewer so that the mean square error is
    /// least for a normal distribution, a few ends being cut off (Max 1960, table II).
    fn scale(self, rotated: &[f32]) -> f32 {
        let unit = match self.bits {
            8 => return largest(rotated) / LIMIT_8,
            4 => 0.1676,
            2 => 0.498,
            _ => 0.798,
        };
        ((square_sum(rotated) / rotated.len() as f64).sqrt() as f32) * unit
    }

    /// The number whose level is nearest to `x` times what `inverse` is the inverse of.
    #[inline]
    fn number(self, x: f32, inverse: f32) -> u8 {
        let scaled = x * inverse;
        match self.bits {
            8 => nearest(scaled.clamp(-LIMIT_8, LIMIT_8) + 128.0),
            bits => {
                let half = f32::from(1u8 << (bits - 1));
                nearest((scaled * 0.5 + (half - 0.5)).clamp(0.0, 2.0 * half - 1.0))
            }
        }
    }

    fn level(self, number: u8) -> i32 {
        self.factor * i32::from(number) - self.offset
    }
}

/// Largest number of a query, and level of a code of 8 bits.
const LIMIT_8: f32 = 127.0;

/// Turns vectors into codes, and compares them.
#[derive(Clone, Debug)]
pub(crate) struct Coder {
    levels: Levels,
    per_byte: usize,
    metric: Metric,
    rotation: Rotation,
    kernel: Kernel,
    /// Components that are coded.
    coded: usize,
    stride: usize,
    /// 1 for each place of a number, 0 for the rest, in the order of the kernels.
    counting: Vec<i8>,
}

/// What codes are compared with: a vector in 8-bit numbers, whatever the bits of the codes.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeQuery {
    /// In the order of the kernels.
    numbers: Vec<i8>,
    scale: f32,
    norm: f32,
    /// The sum of the numbers times the levels' offset.
    excess: i32,
    /// The rotated vector, while the query is made.
    rotated: Vec<f32>,
}

impl CodeQuery {
    /// Room for the components of a vector, while no query is made of one.
    pub(crate) fn floats(&mut self) -> &mut Vec<f32> {
        &mut self.rotated
    }

    /// The vector that a query was made of, rotated, as far as it is coded.
    pub(crate) fn rotated(&self) -> &[f32] {
        &self.rotated
    }
}

impl Coder {
    /// # Panics
    /// If the geometry has no codes.
    pub(crate) fn new(geometry: &Geometry, space: &Space) -> Self {
        let levels = Levels::new(geometry.codes);
        let mut coder = Self {
            levels,
            per_byte: 8 / usize::from(levels.bits),
            metric: geometry.metric,
            rotation: Rotation::new(geometry.dim, geometry.seed),
            kernel: space.kernel(),
            coded: geometry.coded(),
            stride: geometry.code_stride(),
            counting: vec![0; geometry.code_stride() * 8 / usize::from(levels.bits)],
        };
        for (_, count, block, part) in coder.runs() {
            coder.counting[(block * coder.per_byte + part) * CODE_BLOCK..][..count].fill(1);
        }
        coder
    }

    pub(crate) fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Where the numbers are: for each run of them that lies in one part of the bytes of a block, the first number,
    /// their count, the block and the part.
    #[inline]
    fn runs(&self) -> impl Iterator<Item = (usize, usize, usize, usize)> + use<> {
        let (coded, stride, per_byte) = (self.coded, self.stride, self.per_byte);
        (0..stride / CODE_BLOCK).flat_map(move |block| {
            let first = block * CODE_BLOCK * per_byte;
            let left = coded.saturating_sub(first);
            // The last block's numbers are spread evenly over the bytes before the trailer.
            let room = if (block + 1) * CODE_BLOCK == stride { left.div_ceil(per_byte) } else { CODE_BLOCK };
            (0..per_byte).map(move |part| {
                let at = (first + part * room).min(coded);
                (at, room.min(coded - at), block, part)
            })
        })
    }

    /// The code of a vector of finite components. The same on every CPU.
    pub(crate) fn encode(&self, vector: &[f32], work: &mut CodeQuery, out: &mut [u8]) {
        assert_eq!(out.len(), self.stride);
        let rotated = self.rotate(vector, work);
        out.fill(0);
        let levels = self.levels;
        let scale = match self.metric {
            Metric::L2 => high_half(levels.scale(rotated)),
            _ => levels.scale(rotated),
        };
        let inverse = inverse(scale);
        let (mut squares, mut product) = (0i64, 0f64);
        for (at, count, block, part) in self.runs() {
            let bytes = &mut out[block * CODE_BLOCK..][..count];
            for (x, byte) in rotated[at..at + count].iter().zip(bytes) {
                let number = levels.number(*x, inverse);
                *byte |= number << (part * usize::from(levels.bits));
                let level = levels.level(number);
                squares += i64::from(level * level);
                product += f64::from(*x) * f64::from(level);
            }
        }
        let scale = match self.metric {
            _ if inverse == 0.0 => 0.0,
            // Only the direction counts.
            Metric::Cosine => (1.0 / (squares.max(1) as f64).sqrt()) as f32,
            _ if levels.bits == 8 => scale,
            // The scale that comes nearest to the vector with these numbers.
            _ => (product / squares.max(1) as f64) as f32,
        };
        let trailer = match self.metric {
            Metric::L2 => u64::from(high_half(scale).to_bits() >> 16) | u64::from(high_24(squares as f32)) << 16,
            _ => u64::from(high_24(scale)) << 16,
        };
        out[self.stride - TRAILER..].copy_from_slice(&trailer.to_le_bytes()[..TRAILER]);
    }

    /// Makes `query` one of a vector.
    pub(crate) fn query(&self, vector: &[f32], query: &mut CodeQuery) {
        self.rotate(vector, query);
        let eight = Levels::new(8);
        let scale = eight.scale(&query.rotated);
        let inverse = inverse(scale);
        self.clear(query);
        let mut squares = 0i64;
        for (at, count, block, part) in self.runs() {
            let numbers = &mut query.numbers[(block * self.per_byte + part) * CODE_BLOCK..][..count];
            for (x, number) in query.rotated[at..at + count].iter().zip(numbers) {
                *number = (eight.number(*x, inverse) ^ 0x80) as i8;
                squares += i64::from(*number) * i64::from(*number);
            }
        }
        query.scale = match self.metric {
            Metric::Cosine if squares > 0 => (1.0 / (squares as f64).sqrt()) as f32,
            _ => scale,
        };
        query.norm = query.scale * query.scale * squares as f32;
        self.finish(query);
    }

    /// Makes `query` one of what a code stands for.
    pub(crate) fn query_of(&self, code: &[u8], query: &mut CodeQuery) {
        query.numbers.resize(self.stride * self.per_byte, 0);
        let (levels, mask) = (self.levels, 0xFF >> (8 - self.levels.bits));
        let (blocks, _) = code.as_chunks::<CODE_BLOCK>();
        let (parts, _) = query.numbers.as_chunks_mut::<CODE_BLOCK>();
        for (block, parts) in blocks.iter().zip(parts.chunks_exact_mut(self.per_byte)) {
            for (part, numbers) in parts.iter_mut().enumerate() {
                let shift = part * usize::from(levels.bits);
                for (byte, number) in block.iter().zip(numbers) {
                    let level = (byte >> shift & mask).wrapping_mul(levels.factor as u8);
                    *number = level.wrapping_sub(levels.offset as u8) as i8;
                }
            }
        }
        // What lies in the last block behind the numbers, the trailer too, counts nothing.
        let rest = query.numbers.len() - CODE_BLOCK * self.per_byte;
        for (number, counts) in query.numbers[rest..].iter_mut().zip(&self.counting[rest..]) {
            *number &= -counts;
        }
        let sum = self.kernel.codes(self.per_byte, &self.counting, code);
        query.excess = levels.offset.wrapping_mul(levels.factor * sum - levels.offset * self.coded as i32);
        (query.scale, query.norm) = self.trailer(code);
    }

    /// What a code stands for: the components that are coded, rotated.
    #[inline(always)]
    pub(crate) fn decode(&self, code: &[u8], out: &mut [f32]) {
        let (levels, mask) = (self.levels, 0xFF >> (8 - self.levels.bits));
        let (scale, _) = self.trailer(code);
        for (at, count, block, part) in self.runs() {
            let shift = part * usize::from(levels.bits);
            let bytes = &code[block * CODE_BLOCK..][..count];
            let (factor, offset) = (levels.factor as f32 * scale, levels.offset as f32 * scale);
            for (x, byte) in out[at..at + count].iter_mut().zip(bytes) {
                *x = f32::from(byte >> shift & mask) * factor - offset;
            }
        }
    }

    /// The distance of what a code stands for; at least 0, except of inner products.
    #[inline]
    pub(crate) fn distance(&self, query: &CodeQuery, code: &[u8]) -> f32 {
        self.finished(query, self.kernel.codes(self.per_byte, &query.numbers, code), code)
    }

    /// The distances of four; each equals [`distance`](Self::distance) bit for bit.
    #[inline(always)]
    pub(crate) fn distance_4(&self, query: &CodeQuery, codes: [&[u8]; 4]) -> [f32; 4] {
        let sums = self.kernel.codes_4(self.per_byte, &query.numbers, codes);
        let [a, b, c, d] = codes;
        [
            self.finished(query, sums[0], a),
            self.finished(query, sums[1], b),
            self.finished(query, sums[2], c),
            self.finished(query, sums[3], d),
        ]
    }

    /// The distances of the codes in `slots`, at most [`view::CODES`]; each equals [`distance`](Self::distance) bit for
    /// bit.
    ///
    /// # Panics
    /// As [`view::code_sums`].
    #[inline(always)]
    pub(crate) fn distances(
        &self,
        kernel: impl Codes,
        query: &CodeQuery,
        codes: &Windows,
        slots: &[[u32; 4]],
        to: &mut [[f32; 4]],
    ) {
        let (mut sums, mut last) = ([[0; 4]; view::CODES / 4], [[0; 4]; view::CODES / 4]);
        view::code_sums(kernel, (codes, self.per_byte), &query.numbers, slots, &mut sums, &mut last);
        let each = to.iter_mut().zip(sums.iter().zip(&last));
        // Decided once, so that the rest has no branches.
        match self.metric {
            Metric::L2 => each.for_each(|(to, (sums, last))| *to = four(sums, last, |s, l| self.l2(query, s, l))),
            Metric::Cosine => {
                each.for_each(|(to, (sums, last))| *to = four(sums, last, |s, l| self.cosine(query, s, l)))
            }
            _ => each.for_each(|(to, (sums, last))| *to = four(sums, last, |s, l| 1.0 - self.dot(query, s, l))),
        }
    }

    #[inline(always)]
    fn finished(&self, query: &CodeQuery, sum: i32, code: &[u8]) -> f32 {
        let last = last_bytes(code);
        match self.metric {
            Metric::L2 => self.l2(query, sum, last),
            Metric::Cosine => self.cosine(query, sum, last),
            _ => 1.0 - self.dot(query, sum, last),
        }
    }

    #[inline(always)]
    fn levels(&self, query: &CodeQuery, sum: i32) -> f32 {
        self.levels.factor.wrapping_mul(sum).wrapping_sub(query.excess) as f32
    }

    #[inline(always)]
    fn l2(&self, query: &CodeQuery, sum: i32, last: u64) -> f32 {
        let scale = low_half(last);
        let norm = scale * scale * high_part(last);
        (query.norm + norm - 2.0 * (query.scale * scale * self.levels(query, sum))).max(0.0)
    }

    #[inline(always)]
    fn cosine(&self, query: &CodeQuery, sum: i32, last: u64) -> f32 {
        (1.0 - self.dot(query, sum, last)).max(0.0)
    }

    #[inline(always)]
    fn dot(&self, query: &CodeQuery, sum: i32, last: u64) -> f32 {
        query.scale * high_part(last) * self.levels(query, sum)
    }

    /// Scale and squared norm.
    fn trailer(&self, code: &[u8]) -> (f32, f32) {
        let last = last_bytes(code);
        match self.metric {
            Metric::L2 => {
                let scale = low_half(last);
                (scale, scale * scale * high_part(last))
            }
            _ => (high_part(last), 1.0),
        }
    }

    fn rotate<'a>(&self, vector: &[f32], query: &'a mut CodeQuery) -> &'a [f32] {
        query.rotated.clear();
        query.rotated.extend_from_slice(vector);
        self.rotation.apply(&mut query.rotated);
        query.rotated.truncate(self.coded);
        &query.rotated
    }

    /// All zeros, so that whatever bits a code has where it has no number count nothing.
    fn clear(&self, query: &mut CodeQuery) {
        query.numbers.clear();
        query.numbers.resize(self.stride * self.per_byte, 0);
    }

    fn finish(&self, query: &mut CodeQuery) {
        query.excess = self.levels.offset * query.numbers.iter().map(|&x| i32::from(x)).sum::<i32>();
    }
}

/// The last bytes of a code, which its trailer is in.
#[inline(always)]
fn last_bytes(code: &[u8]) -> u64 {
    u64::from_le_bytes(*code.last_chunk::<8>().expect("a code is whole blocks"))
}

/// The trailer's last three bytes, as a number.
#[inline(always)]
fn high_part(last: u64) -> f32 {
    f32::from_bits(((last >> 40) as u32) << 8)
}

/// The two before.
#[inline(always)]
fn low_half(last: u64) -> f32 {
    f32::from_bits(((last >> 24) as u32) << 16)
}

#[inline(always)]
fn four(sums: &[i32; 4], last: &[u64; 4], finish: impl Fn(i32, u64) -> f32) -> [f32; 4] {
    std::array::from_fn(|n| finish(sums[n], last[n]))
}

/// The whole number nearest to `x`, which is between 0 and 255; of two the even one.
#[inline(always)]
fn nearest(x: f32) -> u8 {
    // Here floats are whole numbers, and adding rounds; the CPUs' own instructions for it are not in every baseline.
    const WHOLE: f32 = (1 << 23) as f32;
    (x + WHOLE).to_bits() as u8
}

/// Of a vector too small to be divided by its scale, 0: it has the code of the zero vector.
fn inverse(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if scale.is_normal() && inverse.is_normal() { inverse } else { 0.0 }
}

/// The number that is next to `x`, upwards, among those with nothing in the low half of their bits.
fn high_half(x: f32) -> f32 {
    f32::from_bits(x.to_bits().saturating_add(0xFFFF) & 0xFFFF_0000)
}

/// The high 24 bits of `x`, rounded.
fn high_24(x: f32) -> u32 {
    x.to_bits().saturating_add(0x80) >> 8
}

/// Sums side by side, in an order of their own on every CPU.
const LANES: usize = 8;

fn square_sum(x: &[f32]) -> f64 {
    let mut sums = [0f64; LANES];
    for x in x.chunks(LANES) {
        x.iter().zip(&mut sums).for_each(|(&x, sum)| *sum += f64::from(x) * f64::from(x));
    }
    sums.iter().sum()
}

fn largest(x: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    for x in x.chunks(16) {
        x.iter().zip(&mut lanes).for_each(|(x, lane)| *lane = lane.max(x.abs()));
    }
    lanes.iter().fold(0.0, |a: f32, &b| a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::{Element, Query};
    use crate::keys::KeyType;
    use proptest::prelude::*;

    fn coder(dim: usize, metric: Metric, codes: u8) -> (Coder, Space) {
        let element = Element::F32;
        let space = Space::new(metric, element);
        let geometry =
            Geometry { dim, element, metric, m: 16, ef_construction: 200, seed: 3, codes, key: KeyType::U64 };
        (Coder::new(&geometry, &space), space)
    }

    /// Deterministic, roughly normal components.
    fn vector(dim: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..dim).map(|_| (0..6).map(|_| uniform()).sum()).collect()
    }

    fn encode(coder: &Coder, vector: &[f32]) -> Vec<u8> {
        let mut code = vec![7; coder.stride];
        coder.encode(vector, &mut CodeQuery::default(), &mut code);
        code
    }

    /// Distances of codes are near the exact ones: of 8 bits to a few hundredths of the distance of two random
    /// vectors, of 4 bits to a fifth. Components that have no room count for a tenth at most.
    #[test]
    fn distances_of_codes_are_near_the_exact_ones() {
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            for (bits, dims) in [(8, [3, 59, 100, 200, 384, 900]), (4, [3, 59, 100, 200, 384, 900])] {
                for dim in dims {
                    let (coder, space) = coder(dim, metric, bits);
                    let mut query = CodeQuery::default();
                    for n in 0..20 {
                        let (a, b) = (vector(dim, 2 * n), vector(dim, 2 * n + 1));
                        coder.query(&a, &mut query);
                        let got = coder.distance(&query, &encode(&coder, &b));
                        let point = |v: &[f32]| (Query::Floats(v).bytes().to_vec(), space.scale(Query::Floats(v)));
                        let (x, y) = (point(&a), point(&b));
                        let exact = space.distance(
                            crate::metric::Point { vector: &x.0, scale: x.1 },
                            crate::metric::Point { vector: &y.0, scale: y.1 },
                        );
                        let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
                        let size = match metric {
                            Metric::Cosine => 1.0,
                            _ => norm(&a) * norm(&b),
                        };
                        // Errors of rounding add up like a random walk.
                        let rounding = if bits == 8 { 0.05 } else { 0.6 } / (dim as f32).sqrt();
                        let left_out = if coder.coded < dim { 0.25 } else { 0.0 };
                        let allowed = size * (rounding + left_out) * 2.0;
                        assert!((got - exact).abs() <= allowed, "{metric} {bits} {dim}: {got}, exactly {exact}");
                    }
                }
            }
        }
    }

    #[test]
    fn copies_have_one_code_and_are_nearest_to_themselves() {
        for bits in [4, 8] {
            for metric in [Metric::L2, Metric::Cosine] {
                let (coder, _) = coder(128, metric, bits);
                let codes: Vec<Vec<u8>> = (0..30).map(|n| encode(&coder, &vector(128, n))).collect();
                assert_eq!(codes[4], encode(&coder, &vector(128, 4)));
                let mut query = CodeQuery::default();
                for (n, code) in codes.iter().enumerate() {
                    coder.query_of(code, &mut query);
                    let distances: Vec<f32> = codes.iter().map(|c| coder.distance(&query, c)).collect();
                    let nearest = (0..30).min_by(|&a, &b| distances[a].total_cmp(&distances[b])).unwrap();
                    assert_eq!(nearest, n);
                    assert!(distances[n] <= 0.01 * distances[(n + 1) % 30], "{distances:?}");
                }
            }
        }
    }

    #[test]
    fn vectors_without_length_or_of_any_length_have_a_code() {
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            for bits in [4, 8] {
                let (coder, _) = coder(100, metric, bits);
                let mut query = CodeQuery::default();
                for size in [0.0, f32::MIN_POSITIVE / 4.0, 1e-30, 1e-15, 1.0, 1e9, 1e17] {
                    let scaled: Vec<f32> = vector(100, 9).iter().map(|x| x * size).collect();
                    let code = encode(&coder, &scaled);
                    coder.query(&scaled, &mut query);
                    let distance = coder.distance(&query, &code);
                    assert!(distance.is_finite(), "{metric} {bits} {size}: {distance}");
                }
            }
        }
    }

    /// Of codes with any bytes: no panic, and the four forms agree with the single one.
    #[test]
    fn damaged_codes_do_no_harm() {
        for bits in [4, 8] {
            for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
                let (coder, _) = coder(100, metric, bits);
                let mut query = CodeQuery::default();
                let noise =
                    |n: u64| vector(coder.stride, n).iter().map(|x| (x * 999.0) as i32 as u8).collect::<Vec<u8>>();
                for n in 0..50 {
                    let codes: Vec<Vec<u8>> = (0..4).map(|m| noise(4 * n + m)).collect();
                    coder.query_of(&codes[0], &mut query);
                    let four = coder.distance_4(&query, std::array::from_fn(|m| &codes[m][..]));
                    for m in 0..4 {
                        assert_eq!(four[m].to_bits(), coder.distance(&query, &codes[m]).to_bits());
                    }
                }
            }
        }
    }

    proptest! {
        /// What a code stands for as a query is the numbers that were put into it.
        #[test]
        fn a_query_of_a_code_holds_its_levels(seed in any::<u64>(), dim in 1usize..700, bits in prop_oneof![Just(4u8), Just(8u8)]) {
            let (coder, _) = coder(dim, Metric::L2, bits);
            let code = encode(&coder, &vector(dim, seed));
            let (mut query, mut expected) = (CodeQuery::default(), vec![0i8; coder.stride * coder.per_byte]);
            let mut count = 0;
            for (at, run, block, part) in coder.runs() {
                prop_assert_eq!(at, count);
                count += run;
                for n in 0..run {
                    let number = code[block * CODE_BLOCK + n] >> (part as u8 * (bits % 8)) & (0xFF >> (8 - bits));
                    expected[(block * coder.per_byte + part) * CODE_BLOCK + n] = coder.levels.level(number) as i8;
                }
            }
            prop_assert_eq!(count, coder.coded);
            coder.query_of(&code, &mut query);
            prop_assert_eq!(query.excess, coder.levels.offset * expected.iter().map(|&x| i32::from(x)).sum::<i32>());
            prop_assert_eq!(query.numbers, expected);
        }

        /// A code is the same whichever kernel the machine has, since nothing in it depends on an order of additions
        /// that a kernel chooses: it can be made again and compared, as `verify` does.
        #[test]
        fn codes_do_not_depend_on_the_kernel(seed in any::<u64>(), dim in 1usize..300, bits in prop_oneof![Just(4u8), Just(8u8)]) {
            let vector = vector(dim, seed);
            let (coder, _) = coder(dim, Metric::Cosine, bits);
            let first = encode(&coder, &vector);
            for tier in crate::kernel::Tier::ALL {
                if let Some(kernel) = Kernel::of(tier) {
                    prop_assert_eq!(&first, &encode(&Coder { kernel, ..coder.clone() }, &vector));
                }
            }
        }
    }
}
