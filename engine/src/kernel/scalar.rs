//! The kernels in plain Rust: what the others are tested against, and what runs where no other does.
//!
//! Written so that the compiler may use vector registers on any target: it must not reorder float additions, so the
//! code itself keeps [`LANES`] sums that do not wait for each other. No `mul_add`, which without an FMA instruction is
//! a call to a slow function.

#![forbid(unsafe_code)]

use super::{CODE_BLOCK, CodeFunctions, Functions};

pub(super) static F32: Functions<f32> =
    Functions { l2, dot, l2_4: |q, x| x.map(|x| l2(q, x)), dot_4: |q, x| x.map(|x| dot(q, x)) };

pub(super) static CODES: CodeFunctions = CodeFunctions {
    one: [code::<1>, code::<2>, code::<4>, code::<8>],
    four: [
        |q, x| x.map(|x| code::<1>(q, x)),
        |q, x| x.map(|x| code::<2>(q, x)),
        |q, x| x.map(|x| code::<4>(q, x)),
        |q, x| x.map(|x| code::<8>(q, x)),
    ],
    many: [super::plain::<1>, super::plain::<2>, super::plain::<4>, super::plain::<8>],
};

/// Sums side by side: four registers of the narrowest vector unit (128 bits).
const LANES: usize = 16;

fn l2(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |a, b| (a - b) * (a - b))
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |a, b| a * b)
}

#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_blocks, a_tail) = a.as_chunks::<LANES>();
    let (b_blocks, b_tail) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    for ((sum, &a), &b) in sums.iter_mut().zip(a_tail).zip(b_tail) {
        *sum += term(a, b);
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
