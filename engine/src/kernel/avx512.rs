//! The kernels for x86-64 with AVX-512 F; those for codes also need BW and VNNI.

#![expect(unsafe_code, reason = "loads vectors through pointers, in functions that need CPU features")]

use std::arch::x86_64::*;

use super::{CODE_BLOCK, CodeAt, CodeFunctions, Codes, Functions, Work};

pub(super) static F32: Functions<f32> =
    Functions { l2: one::<true>, dot: one::<false>, l2_4: four::<true>, dot_4: four::<false> };

pub(super) static CODES: CodeFunctions = CodeFunctions {
    one: [one_code::<1>, one_code::<2>, one_code::<4>, one_code::<8>],
    four: [four_codes::<1>, four_codes::<2>, four_codes::<4>, four_codes::<8>],
    many: [many_codes::<1>, many_codes::<2>, many_codes::<4>, many_codes::<8>],
};

/// Floats in a register.
const LANES: usize = 16;

/// Sums per pair: enough to hide the latency of an addition, while those of four pairs leave half of the 32 registers to
/// the operands. Six measured no better on the whole; eight, two pairs at a time, worse.
const SUMS: usize = 4;

/// # Safety
/// See [`One`](super::One).
#[target_feature(enable = "avx512f")]
unsafe fn one<const L2: bool>(a: &[f32], b: &[f32]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { sums::<L2, 1>(a, &[b]) };
    // Halves, quarters, then (0+1) + (2+3), as `four` does.
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v)));
    let v = _mm256_add_ps(_mm512_castps512_ps256(v), high);
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehdup_ps(v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_movehl_ps(v, v)))
}

/// # Safety
/// See [`Four`](super::Four).
#[target_feature(enable = "avx512f")]
unsafe fn four<const L2: bool>(q: &[f32], x: &[&[f32]; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = unsafe { sums::<L2, 4>(q, x) };
    // Four registers are added up together, in quarters: first to [a a b b] and [c c d d], then to [a b c d].
    let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b));
    let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0b01_00_01_00>(c, d), _mm512_shuffle_f32x4::<0b11_10_11_10>(c, d));
    let v = _mm512_add_ps(_mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd), _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd));
    let v = _mm512_add_ps(v, _mm512_movehdup_ps(v));
    let v = _mm512_add_ps(v, _mm512_permute_ps::<0b10>(v));
    // The first lane of each quarter is its sum.
    let v = _mm512_maskz_compress_ps(0x1111, v);
    let mut out = [0.0; 4];
    // SAFETY: `out` has room for four floats.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), _mm512_castps512_ps128(v)) };
    out
}

/// The terms of `q` with each of `x`, added up to one register each.
///
/// # Safety
/// Each of `x` has the length of `q`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn sums<const L2: bool, const N: usize>(q: &[f32], x: &[&[f32]; N]) -> [__m512; N] {
    let mut sums = [[_mm512_setzero_ps(); N]; SUMS];
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
            // Fewer than LANES are left, or the loop above would have taken them.
            let mask = (1 << (q.len() - at)) - 1;
            // SAFETY: the mask has the lanes before the end of `q`, and others are not read.
            let a = unsafe { _mm512_maskz_loadu_ps(mask, q.as_ptr().add(at)) };
            for (sum, x) in sums[SUMS - 1].iter_mut().zip(x) {
                // SAFETY: as above; `x` has the length of `q`.
                let b = unsafe { _mm512_maskz_loadu_ps(mask, x.as_ptr().add(at)) };
                *sum = add::<L2>(*sum, a, b);
            }
        }
    }
    let [mut a, b, c, d] = sums;
    for n in 0..N {
        a[n] = _mm512_add_ps(_mm512_add_ps(a[n], b[n]), _mm512_add_ps(c[n], d[n]));
    }
    a
}

/// Adds [`LANES`] terms from `at` on to the sum of each of `x`.
///
/// # Safety
/// `at + LANES` is within `q`, and each of `x` has the length of `q`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn block<const L2: bool, const N: usize>(sums: &mut [__m512; N], q: &[f32], x: &[&[f32]; N], at: usize) {
    // SAFETY: the caller's promise.
    let a = unsafe { _mm512_loadu_ps(q.as_ptr().add(at)) };
    for (sum, x) in sums.iter_mut().zip(x) {
        // SAFETY: the caller's promise.
        let b = unsafe { _mm512_loadu_ps(x.as_ptr().add(at)) };
        *sum = add::<L2>(*sum, a, b);
    }
}

/// `sum` plus the square of the difference, or plus the product. Lanes of zeros add nothing.
#[inline]
#[target_feature(enable = "avx512f")]
fn add<const L2: bool>(sum: __m512, a: __m512, b: __m512) -> __m512 {
    if L2 {
        let d = _mm512_sub_ps(a, b);
        _mm512_fmadd_ps(d, d, sum)
    } else {
        _mm512_fmadd_ps(a, b, sum)
    }
}

/// # Safety
/// See [`OneCode`](super::OneCode).
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn one_code<const PER_BYTE: usize>(q: &[i8], x: &[u8]) -> i32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { code_sums::<PER_BYTE, 1>(q, [x.as_ptr()]) };
    _mm512_reduce_add_epi32(v)
}

/// Whether the CPU has what [`CODES`] and [`run`] need.
pub(super) fn has_codes() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// # Safety
/// The CPU has what [`has_codes`] looks for.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) unsafe fn run<W: Work>(work: W) -> W::Out {
    work.run(Inlined(()))
}

/// Made by [`run`] only, so that the CPU has what [`has_codes`] looks for.
#[derive(Clone, Copy)]
struct Inlined(());

impl Codes for Inlined {
    #[inline(always)]
    unsafe fn many(self, per_byte: usize, q: &[i8], x: &[[CodeAt; 4]], sums: &mut [[i32; 4]]) {
        // SAFETY: the CPU has the features; the rest is the caller's promise.
        unsafe {
            match per_byte {
                1 => many_codes::<1>(q, x, sums),
                2 => many_codes::<2>(q, x, sums),
                4 => many_codes::<4>(q, x, sums),
                _ => many_codes::<8>(q, x, sums),
            }
        }
    }
}

/// # Safety
/// See [`ManyCodes`](super::ManyCodes).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn many_codes<const PER_BYTE: usize>(q: &[i8], x: &[[CodeAt; 4]], sums: &mut [[i32; 4]]) {
    for (x, sums) in x.iter().zip(sums) {
        // SAFETY: the caller's promise.
        *sums = unsafe { four_at::<PER_BYTE>(q, *x) };
    }
}

/// # Safety
/// See [`FourCodes`](super::FourCodes).
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn four_codes<const PER_BYTE: usize>(q: &[i8], x: &[&[u8]; 4]) -> [i32; 4] {
    // SAFETY: the caller's promise.
    unsafe { four_at::<PER_BYTE>(q, x.map(|x| x.as_ptr())) }
}

/// # Safety
/// See [`ManyCodes`](super::ManyCodes).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn four_at<const PER_BYTE: usize>(q: &[i8], x: [CodeAt; 4]) -> [i32; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = unsafe { code_sums::<PER_BYTE, 4>(q, x) };
    // As in `four`.
    let ab = _mm512_add_epi32(_mm512_shuffle_i32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b));
    let cd = _mm512_add_epi32(_mm512_shuffle_i32x4::<0b01_00_01_00>(c, d), _mm512_shuffle_i32x4::<0b11_10_11_10>(c, d));
    let v =
        _mm512_add_epi32(_mm512_shuffle_i32x4::<0b10_00_10_00>(ab, cd), _mm512_shuffle_i32x4::<0b11_01_11_01>(ab, cd));
    let v = _mm512_add_epi32(v, _mm512_shuffle_epi32::<0b10_11_00_01>(v));
    let v = _mm512_add_epi32(v, _mm512_shuffle_epi32::<0b01_00_11_10>(v));
    let v = _mm512_maskz_compress_epi32(0x1111, v);
    let mut out = [0; 4];
    // SAFETY: `out` has room for four numbers.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_castsi512_si128(v)) };
    out
}

/// The products of `q` with each of `x`, added up to one register each.
///
/// # Safety
/// See [`ManyCodes`](super::ManyCodes).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn code_sums<const PER_BYTE: usize, const N: usize>(q: &[i8], x: [CodeAt; N]) -> [__m512i; N] {
    let mask = _mm512_set1_epi8((0xFFu8 >> (8 - 8 / PER_BYTE)) as i8);
    let mut sums = [_mm512_setzero_si512(); N];
    for at in (0..q.len()).step_by(PER_BYTE * CODE_BLOCK) {
        // SAFETY: each of `x` is whole blocks, as many as there are steps.
        let mut blocks = x.map(|x| unsafe { _mm512_loadu_si512(x.add(at / PER_BYTE).cast()) });
        for part in 0..PER_BYTE {
            // SAFETY: a step is that many blocks of `q`.
            let a = unsafe { _mm512_loadu_si512(q.as_ptr().add(at + part * CODE_BLOCK).cast()) };
            for (sum, block) in sums.iter_mut().zip(&mut blocks) {
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_and_si512(*block, mask), a);
                // The lowest bits that come into a byte are those of its neighbour, and masked off.
                *block = match PER_BYTE {
                    2 => _mm512_srli_epi16::<4>(*block),
                    4 => _mm512_srli_epi16::<2>(*block),
                    _ => _mm512_srli_epi16::<1>(*block),
                };
            }
        }
    }
    sums
}
