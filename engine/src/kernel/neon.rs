//! The kernels for 64-bit Arm.

#![expect(unsafe_code, reason = "loads vectors through pointers, in functions that need CPU features")]

use std::arch::aarch64::*;

use super::lookups;
use super::{BRAIN, CODE_BLOCK, CodeAt, CodeFunctions, Functions, HALF, SINGLE, Sum, whole};

pub(super) static F32: Functions = floats::<SINGLE>();
pub(super) static F16: Functions = floats::<HALF>();
pub(super) static BF16: Functions = floats::<BRAIN>();

const fn floats<const STORED: usize>() -> Functions {
    Functions {
        l2: Sum { one: one::<STORED, true>, four: four::<STORED, true> },
        dot: Sum { one: one::<STORED, false>, four: four::<STORED, false> },
    }
}

pub(super) static I8: Functions = bytes::<true>();
pub(super) static U8: Functions = bytes::<false>();

const fn bytes<const SIGNED: bool>() -> Functions {
    Functions {
        l2: Sum { one: one_bytes::<SIGNED, true>, four: four_bytes::<SIGNED, true> },
        dot: Sum { one: one_bytes::<SIGNED, false>, four: four_bytes::<SIGNED, false> },
    }
}

pub(super) static BITS: Sum = Sum { one: one_bits, four: four_bits };

pub(super) static CODES: CodeFunctions = CodeFunctions {
    one: [one_code::<1>, one_code::<2>, one_code::<4>, one_code::<8>],
    four: [four_codes::<1>, four_codes::<2>, four_codes::<4>, four_codes::<8>],
    many: [many_codes::<1>, many_codes::<2>, many_codes::<4>, many_codes::<8>],
    snapshot: lookups::neon::snapshot,
    looked_up: lookups::neon::looked_up,
};

/// Floats in a register.
const LANES: usize = 4;

/// Sums per pair: enough to hide the latency of an addition, while those of four pairs leave half of the 32 registers to
/// the operands.
const SUMS: usize = 4;

/// # Safety
/// See [`One`](super::One).
#[target_feature(enable = "neon")]
unsafe fn one<const STORED: usize, const L2: bool>(q: &[u8], x: &[u8]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { sums::<STORED, L2, 1>(q, &[x]) };
    // (0+1) + (2+3), as `four` does. Not `vaddvq_f32`, which does not promise an order.
    let v = vpaddq_f32(v, v);
    vgetq_lane_f32::<0>(vpaddq_f32(v, v))
}

/// # Safety
/// See [`Four`](super::Four).
#[target_feature(enable = "neon")]
unsafe fn four<const STORED: usize, const L2: bool>(q: &[u8], x: &[&[u8]; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = unsafe { sums::<STORED, L2, 4>(q, x) };
    let v = vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
    let mut out = [0.0; 4];
    // SAFETY: `out` has room for four floats.
    unsafe { vst1q_f32(out.as_mut_ptr(), v) };
    out
}

/// The terms of `q` with each of `x`, added up to one register each.
///
/// # Safety
/// Each of `x` has as many components as `q`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn sums<const STORED: usize, const L2: bool, const N: usize>(q: &[u8], x: &[&[u8]; N]) -> [float32x4_t; N] {
    let (count, q, x) = (q.len() / SINGLE, q.as_ptr(), x.map(<[u8]>::as_ptr));
    let mut sums = [[vdupq_n_f32(0.0); N]; SUMS];
    let mut at = 0;
    while at + SUMS * LANES <= count {
        for sums in &mut sums {
            // SAFETY: `at + SUMS * LANES` is within `q`, and `at` grows by no more than that here.
            unsafe { block::<STORED, L2, N>(sums, q, x, at) };
            at += LANES;
        }
    }
    if at < count {
        for sums in &mut sums[..SUMS - 1] {
            if at + LANES <= count {
                // SAFETY: just compared.
                unsafe { block::<STORED, L2, N>(sums, q, x, at) };
                at += LANES;
            }
        }
        if at < count {
            // SAFETY: fewer than LANES are left, or the loop above would have taken them.
            let a = unsafe { last::<SINGLE>(q, at, count) };
            for (sum, x) in sums[SUMS - 1].iter_mut().zip(x) {
                // SAFETY: `x` has as many components as `q`.
                let b = unsafe { last::<STORED>(x, at, count) };
                *sum = add::<L2>(*sum, a, b);
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
/// `at + LANES` is within `q`, and each of `x` has as many components as `q`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn block<const STORED: usize, const L2: bool, const N: usize>(
    sums: &mut [float32x4_t; N],
    q: *const u8,
    x: [*const u8; N],
    at: usize,
) {
    // SAFETY: the caller's promise.
    let a = unsafe { load::<SINGLE>(q, at) };
    for (sum, x) in sums.iter_mut().zip(x) {
        // SAFETY: the caller's promise.
        let b = unsafe { load::<STORED>(x, at) };
        *sum = add::<L2>(*sum, a, b);
    }
}

/// [`LANES`] components from number `at` on.
///
/// # Safety
/// There are so many, from number 0 on, at `bytes`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load<const STORED: usize>(bytes: *const u8, at: usize) -> float32x4_t {
    // As bytes, which may lie anywhere.
    if STORED == SINGLE {
        // SAFETY: the caller's promise.
        return vreinterpretq_f32_u8(unsafe { vld1q_u8(bytes.add(at * 4)) });
    }
    // SAFETY: the caller's promise.
    let bits = unsafe { vld1_u8(bytes.add(at * 2)) };
    if STORED == BRAIN {
        return vreinterpretq_f32_u32(vshll_n_u16::<16>(vreinterpret_u16_u8(bits)));
    }
    let floats: float32x4_t;
    // SAFETY: every 64-bit Arm CPU with NEON has the instruction, which touches its two registers only. (The intrinsic
    // for it takes a type that is not stable yet.)
    unsafe {
        std::arch::asm!(
            "fcvtl {floats:v}.4s, {bits:v}.4h",
            floats = lateout(vreg) floats,
            bits = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    floats
}

/// The components from number `at` on to the end, followed by zeros.
///
/// # Safety
/// There are `count` components at `bytes`, fewer than [`LANES`] of them from `at` on.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn last<const STORED: usize>(bytes: *const u8, at: usize, count: usize) -> float32x4_t {
    let size = if STORED == SINGLE { 4 } else { 2 };
    let mut lanes = [0u8; LANES * 4];
    // SAFETY: the caller's promise; there is room for LANES.
    unsafe { std::ptr::copy_nonoverlapping(bytes.add(at * size), lanes.as_mut_ptr(), (count - at) * size) };
    // SAFETY: `lanes` has LANES of 4 bytes.
    unsafe { load::<STORED>(lanes.as_ptr(), 0) }
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
/// See [`One`](super::One).
#[target_feature(enable = "neon")]
unsafe fn one_bytes<const SIGNED: bool, const L2: bool>(q: &[u8], x: &[u8]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { byte_sums::<SIGNED, L2, 1>(q, &[x]) };
    whole::<SIGNED, L2>(vaddvq_u32(v).cast_signed())
}

/// # Safety
/// See [`Four`](super::Four).
#[target_feature(enable = "neon")]
unsafe fn four_bytes<const SIGNED: bool, const L2: bool>(q: &[u8], x: &[&[u8]; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    unsafe { byte_sums::<SIGNED, L2, 4>(q, x) }.map(|v| whole::<SIGNED, L2>(vaddvq_u32(v).cast_signed()))
}

/// The terms of `q` with each of `x`, added up to one register each; sums wrap.
///
/// # Safety
/// Each of `x` has the length of `q`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn byte_sums<const SIGNED: bool, const L2: bool, const N: usize>(q: &[u8], x: &[&[u8]; N]) -> [uint32x4_t; N] {
    let mut sums = [vdupq_n_u32(0); N];
    for at in (0..q.len()).step_by(STEP) {
        // SAFETY: `at` is within `q`.
        let a = unsafe { some(q.as_ptr(), at, q.len()) };
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: `x` has the length of `q`.
            let b = unsafe { some(x.as_ptr(), at, q.len()) };
            *sum = add_bytes::<SIGNED, L2>(*sum, a, b);
        }
    }
    sums
}

/// Bytes in a register.
const STEP: usize = 16;

/// [`STEP`] bytes from `at` on, or what is there up to `count`, followed by zeros.
///
/// # Safety
/// There are `count` at `bytes`, more than `at`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn some(bytes: *const u8, at: usize, count: usize) -> uint8x16_t {
    if at + STEP <= count {
        // SAFETY: just compared.
        return unsafe { vld1q_u8(bytes.add(at)) };
    }
    let mut copy = [0; STEP];
    // SAFETY: the caller's promise; fewer than a step are left.
    unsafe { std::ptr::copy_nonoverlapping(bytes.add(at), copy.as_mut_ptr(), count - at) };
    // SAFETY: `copy` is as long as a step.
    unsafe { vld1q_u8(copy.as_ptr()) }
}

/// Squares of differences, or products, each of 16 bits.
#[inline]
#[target_feature(enable = "neon")]
fn add_bytes<const SIGNED: bool, const L2: bool>(sum: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
    if SIGNED && !L2 {
        let (a, b) = (vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b));
        let sum = vreinterpretq_s32_u32(sum);
        let sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
        return vreinterpretq_u32_s32(vpadalq_s16(sum, vmull_high_s8(a, b)));
    }
    let (a, b) = if L2 {
        // Of signed numbers, too, it fits into a byte without a sign.
        let d = if SIGNED {
            vreinterpretq_u8_s8(vabdq_s8(vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b)))
        } else {
            vabdq_u8(a, b)
        };
        (d, d)
    } else {
        (a, b)
    };
    let sum = vpadalq_u16(sum, vmull_u8(vget_low_u8(a), vget_low_u8(b)));
    vpadalq_u16(sum, vmull_high_u8(a, b))
}

/// # Safety
/// See [`One`](super::One).
#[target_feature(enable = "neon")]
unsafe fn one_bits(q: &[u8], x: &[u8]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { bit_sums(q, &[x]) };
    vaddvq_u32(v) as f32
}

/// # Safety
/// See [`Four`](super::Four).
#[target_feature(enable = "neon")]
unsafe fn four_bits(q: &[u8], x: &[&[u8]; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    unsafe { bit_sums(q, x) }.map(|v| vaddvq_u32(v) as f32)
}

/// How many bits of `q` and each of `x` differ, added up to one register each.
///
/// # Safety
/// Each of `x` has the length of `q`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn bit_sums<const N: usize>(q: &[u8], x: &[&[u8]; N]) -> [uint32x4_t; N] {
    let mut sums = [vdupq_n_u32(0); N];
    for at in (0..q.len()).step_by(STEP) {
        // SAFETY: `at` is within `q`.
        let a = unsafe { some(q.as_ptr(), at, q.len()) };
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: `x` has the length of `q`.
            let b = unsafe { some(x.as_ptr(), at, q.len()) };
            *sum = vpadalq_u16(*sum, vpaddlq_u8(vcntq_u8(veorq_u8(a, b))));
        }
    }
    sums
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
#[inline]
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
