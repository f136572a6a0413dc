//! The kernels for 64-bit Arm.

#![expect(unsafe_code, reason = "loads vectors through pointers, in functions that need CPU features")]

use std::arch::aarch64::*;

use super::{CODE_BLOCK, CodeAt, CodeFunctions, Functions};

pub(super) static F32: Functions<f32> =
    Functions { l2: one::<true>, dot: one::<false>, l2_4: four::<true>, dot_4: four::<false> };

pub(super) static CODES: CodeFunctions = CodeFunctions {
    one: [one_code::<1>, one_code::<2>, one_code::<4>, one_code::<8>],
    four: [four_codes::<1>, four_codes::<2>, four_codes::<4>, four_codes::<8>],
    many: [many_codes::<1>, many_codes::<2>, many_codes::<4>, many_codes::<8>],
};

/// Floats in a register.
const LANES: usize = 4;

/// Sums per pair: enough to hide the latency of an addition, while those of four pairs leave half of the 32 registers to
/// the operands.
const SUMS: usize = 4;

/// # Safety
/// See [`One`](super::One).
#[target_feature(enable = "neon")]
unsafe fn one<const L2: bool>(a: &[f32], b: &[f32]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { sums::<L2, 1>(a, &[b]) };
    // (0+1) + (2+3), as `four` does. Not `vaddvq_f32`, which does not promise an order.
    let v = vpaddq_f32(v, v);
    vgetq_lane_f32::<0>(vpaddq_f32(v, v))
}

/// # Safety
/// See [`Four`](super::Four).
#[target_feature(enable = "neon")]
unsafe fn four<const L2: bool>(q: &[f32], x: &[&[f32]; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = unsafe { sums::<L2, 4>(q, x) };
    let v = vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
    let mut out = [0.0; 4];
    // SAFETY: `out` has room for four floats.
    unsafe { vst1q_f32(out.as_mut_ptr(), v) };
    out
}

/// The terms of `q` with each of `x`, added up to one register each.
///
/// # Safety
/// Each of `x` has the length of `q`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn sums<const L2: bool, const N: usize>(q: &[f32], x: &[&[f32]; N]) -> [float32x4_t; N] {
    let mut sums = [[vdupq_n_f32(0.0); N]; SUMS];
    let mut at = 0;
    while at + SUMS * LANES <= q.len() {
        for sums in &mut sums {
            // SAFETY: `at + SUMS * LANES` is within `q`, and `at` grows by no more than that here.
            unsafe { block::<L2, N>(sums, q, x, at) };
            at += LANES;
        }
    }
    if at < q.len() {
        for sums in &mut sums[..SUMS - 1] {
            if at + LANES <= q.len() {
                // SAFETY: just compared.
                unsafe { block::<L2, N>(sums, q, x, at) };
                at += LANES;
            }
        }
        if at < q.len() {
            let a = padded(&q[at..]);
            for (sum, x) in sums[SUMS - 1].iter_mut().zip(x) {
                *sum = add::<L2>(*sum, a, padded(&x[at..]));
            }
        }
    }
    let [mut a, b, c, d] = sums;
    for n in 0..N {
        a[n] = vaddq_f32(vaddq_f32(a[n], b[n]), vaddq_f32(c[n], d[n]));
    }
    a
}

/// Adds [`LANES`] terms from `at` on to the sum of each of `x`.
///
/// # Safety
/// `at + LANES` is within `q`, and each of `x` has the length of `q`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn block<const L2: bool, const N: usize>(sums: &mut [float32x4_t; N], q: &[f32], x: &[&[f32]; N], at: usize) {
    // SAFETY: the caller's promise.
    let a = unsafe { vld1q_f32(q.as_ptr().add(at)) };
    for (sum, x) in sums.iter_mut().zip(x) {
        // SAFETY: the caller's promise.
        let b = unsafe { vld1q_f32(x.as_ptr().add(at)) };
        *sum = add::<L2>(*sum, a, b);
    }
}

/// The last floats of a vector, fewer than [`LANES`], followed by zeros.
#[inline]
#[target_feature(enable = "neon")]
fn padded(tail: &[f32]) -> float32x4_t {
    let mut lanes = [0.0; LANES];
    lanes[..tail.len()].copy_from_slice(tail);
    // SAFETY: `lanes` has four floats.
    unsafe { vld1q_f32(lanes.as_ptr()) }
}

/// `sum` plus the square of the difference, or plus the product. Lanes of zeros add nothing.
#[inline]
#[target_feature(enable = "neon")]
fn add<const L2: bool>(sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
    if L2 {
        let d = vsubq_f32(a, b);
        vfmaq_f32(sum, d, d)
    } else {
        vfmaq_f32(sum, a, b)
    }
}

/// # Safety
/// See [`OneCode`](super::OneCode).
#[target_feature(enable = "neon")]
unsafe fn one_code<const PER_BYTE: usize>(q: &[i8], x: &[u8]) -> i32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { code_sums::<PER_BYTE, 1>(q, [x.as_ptr()]) };
    vaddvq_s32(v)
}

/// # Safety
/// See [`ManyCodes`](super::ManyCodes).
#[target_feature(enable = "neon")]
unsafe fn many_codes<const PER_BYTE: usize>(q: &[i8], x: &[[CodeAt; 4]], sums: &mut [[i32; 4]]) {
    for (x, sums) in x.iter().zip(sums) {
        // SAFETY: the caller's promise.
        *sums = unsafe { four_at::<PER_BYTE>(q, *x) };
    }
}

/// # Safety
/// See [`FourCodes`](super::FourCodes).
#[target_feature(enable = "neon")]
unsafe fn four_codes<const PER_BYTE: usize>(q: &[i8], x: &[&[u8]; 4]) -> [i32; 4] {
    // SAFETY: the caller's promise.
    unsafe { four_at::<PER_BYTE>(q, x.map(|x| x.as_ptr())) }
}

/// # Safety
/// See [`ManyCodes`](super::ManyCodes).
#[inline]
#[target_feature(enable = "neon")]
unsafe fn four_at<const PER_BYTE: usize>(q: &[i8], x: [CodeAt; 4]) -> [i32; 4] {
    // SAFETY: the caller's promise.
    unsafe { code_sums::<PER_BYTE, 4>(q, x) }.map(|v| vaddvq_s32(v))
}

/// The products of `q` with each of `x`, added up to one register each.
///
/// # Safety
/// See [`ManyCodes`](super::ManyCodes).
#[inline]
#[target_feature(enable = "neon")]
unsafe fn code_sums<const PER_BYTE: usize, const N: usize>(q: &[i8], x: [CodeAt; N]) -> [int32x4_t; N] {
    let bits = 8 / PER_BYTE;
    let mut sums = [vdupq_n_s32(0); N];
    for step in (0..q.len()).step_by(PER_BYTE * CODE_BLOCK) {
        for at in (0..CODE_BLOCK).step_by(16) {
            // SAFETY: each of `x` is whole blocks, as many as there are steps.
            let blocks = x.map(|x| unsafe { vld1q_u8(x.add(step / PER_BYTE + at)) });
            for part in 0..PER_BYTE {
                // SAFETY: a step is that many blocks of `q`.
                let a = unsafe { vld1q_s8(q.as_ptr().add(step + part * CODE_BLOCK + at)) };
                for (sum, block) in sums.iter_mut().zip(blocks) {
                    if PER_BYTE == 1 {
                        let (low, high) = (vmovl_u8(vget_low_u8(block)), vmovl_high_u8(block));
                        *sum = widening(*sum, vmovl_s8(vget_low_s8(a)), vreinterpretq_s16_u16(low));
                        *sum = widening(*sum, vmovl_high_s8(a), vreinterpretq_s16_u16(high));
                        continue;
                    }
                    let numbers = vshlq_u8(block, vdupq_n_s8(-((part * bits) as i8)));
                    let numbers = vreinterpretq_s8_u8(vandq_u8(numbers, vdupq_n_u8(0xFF >> (8 - bits))));
                    // 15 · 127 twice fits into 16 bits.
                    let pairs = vmlal_high_s8(vmull_s8(vget_low_s8(numbers), vget_low_s8(a)), numbers, a);
                    *sum = vpadalq_s16(*sum, pairs);
                }
            }
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "neon")]
fn widening(sum: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t {
    vmlal_high_s16(vmlal_s16(sum, vget_low_s16(a), vget_low_s16(b)), a, b)
}
