//! The kernels in plain Rust: what the others are tested against, and what runs where no other does.
//!
//! Written so that the compiler may use vector registers on any target: it must not reorder float additions, so the
//! code itself keeps [`LANES`] sums that do not wait for each other. No `mul_add`, which without an FMA instruction is
//! a call to a slow function.

#![forbid(unsafe_code)]

use super::{CODE_BLOCK, CodeFunctions, Functions, Sum, whole};

/// A function for one pair, and for four by calling it.
macro_rules! sum_of {
    ($one:expr) => {
        Sum { one: $one, four: |q, x| x.map(|x| ($one)(q, x)) }
    };
}

macro_rules! functions {
    ($l2:expr, $dot:expr) => {
        Functions { l2: sum_of!($l2), dot: sum_of!($dot) }
    };
}

pub(super) static F32: Functions =
    functions!(|q, x| sum(q, x, f32::from_le_bytes, square), |q, x| sum(q, x, f32::from_le_bytes, product));

pub(super) static F16: Functions = functions!(|q, x| sum(q, x, half, square), |q, x| sum(q, x, half, product));

pub(super) static BF16: Functions = functions!(|q, x| sum(q, x, brain, square), |q, x| sum(q, x, brain, product));

pub(super) static I8: Functions = functions!(bytes::<true, true>, bytes::<true, false>);

pub(super) static U8: Functions = functions!(bytes::<false, true>, bytes::<false, false>);

pub(super) static BITS: Sum = sum_of!(bits);

pub(super) static CODES: CodeFunctions = CodeFunctions {
    one: [code::<1>, code::<2>, code::<4>, code::<8>],
    four: [
        |q, x| x.map(|x| code::<1>(q, x)),
        |q, x| x.map(|x| code::<2>(q, x)),
        |q, x| x.map(|x| code::<4>(q, x)),
        |q, x| x.map(|x| code::<8>(q, x)),
    ],
    many: [super::plain::<1>, super::plain::<2>, super::plain::<4>, super::plain::<8>],
    snapshot: super::lookups::scalar::snapshot,
    looked_up: super::lookups::scalar::looked_up,
};

/// Sums side by side: four registers of the narrowest vector unit (128 bits).
const LANES: usize = 16;

/// The terms of a query's floats with a vector's components, which `to_float` reads.
#[inline(always)]
fn sum<const N: usize>(q: &[u8], x: &[u8], to_float: impl Fn([u8; N]) -> f32, term: impl Fn(f32, f32) -> f32) -> f32 {
    let (q, x) = (q.as_chunks::<4>().0, x.as_chunks::<N>().0);
    let (q_blocks, q_tail) = q.as_chunks::<LANES>();
    let (x_blocks, x_tail) = x.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (q, x) in q_blocks.iter().zip(x_blocks) {
        for lane in 0..LANES {
            sums[lane] += term(f32::from_le_bytes(q[lane]), to_float(x[lane]));
        }
    }
    for ((sum, &q), &x) in sums.iter_mut().zip(q_tail).zip(x_tail) {
        *sum += term(f32::from_le_bytes(q), to_float(x));
    }
    // Halves onto each other, so that this vectorises too.
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0]
}

fn square(a: f32, b: f32) -> f32 {
    (a - b) * (a - b)
}

fn product(a: f32, b: f32) -> f32 {
    a * b
}

/// What a binary16 stands for; of infinities and NaN, which are not stored, something.
#[inline(always)]
fn half(bytes: [u8; 2]) -> f32 {
    /// 2¹¹²: moved to their places in an `f32`, the bits of a binary16 say so much less, whether subnormal or not.
    const UNIT: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(u16::from_le_bytes(bytes));
    let size = f32::from_bits((bits & 0x7FFF) << 13) * UNIT;
    f32::from_bits(size.to_bits() | (bits & 0x8000) << 16)
}

/// What a bfloat16 stands for.
#[inline(always)]
fn brain(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

fn bytes<const SIGNED: bool, const L2: bool>(q: &[u8], x: &[u8]) -> f32 {
    // Through 16 bits, of which vector registers multiply twice as many at once.
    let number = |byte: u8| if SIGNED { i16::from(byte.cast_signed()) } else { i16::from(byte) };
    let mut sum: i32 = 0;
    for (&q, &x) in q.iter().zip(x) {
        let (q, x) = (number(q), number(x));
        let (a, b) = if L2 { (q - x, q - x) } else { (q, x) };
        sum = sum.wrapping_add(i32::from(a) * i32::from(b));
    }
    whole::<SIGNED, L2>(sum)
}

fn bits(q: &[u8], x: &[u8]) -> f32 {
    let (q_words, q_tail) = q.as_chunks::<8>();
    let (x_words, x_tail) = x.as_chunks::<8>();
    let words = q_words.iter().zip(x_words).map(|(&q, &x)| u64::from_le_bytes(q) ^ u64::from_le_bytes(x));
    let tail = q_tail.iter().zip(x_tail).map(|(q, x)| (q ^ x).count_ones());
    (words.map(u64::count_ones).sum::<u32>() + tail.sum::<u32>()) as f32
}

pub(super) fn code<const PER_BYTE: usize>(q: &[i8], x: &[u8]) -> i32 {
    let bits = 8 / PER_BYTE;
    let mut sum: i32 = 0;
    for (q, x) in q.chunks_exact(PER_BYTE * CODE_BLOCK).zip(x.chunks_exact(CODE_BLOCK)) {
        for (part, q) in q.chunks_exact(CODE_BLOCK).enumerate() {
            for (&q, &x) in q.iter().zip(x) {
                let number = x >> (part * bits) & (0xFF >> (8 - bits));
                sum = sum.wrapping_add(i32::from(q) * i32::from(number));
            }
        }
    }
    sum
}
