//! The kernels for x86-64 with AVX2 and FMA.

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
const LANES: usize = 8;

/// Sums per pair. More would suit single pairs of many dimensions (a sixth faster at 768), but `four`, the form that
/// searches use, takes two pairs at once, and the sums of those must leave registers to the operands.
const SUMS: usize = 4;

/// # Safety
/// See [`One`](super::One).
#[target_feature(enable = "avx2,fma")]
unsafe fn one<const L2: bool>(a: &[f32], b: &[f32]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { sums::<L2, 1>(a, &[b]) };
    // ((0+1) + (2+3)) + ((4+5) + (6+7)), as `four` does.
    let v = _mm256_add_ps(v, _mm256_movehdup_ps(v));
    let v = _mm256_add_ps(v, _mm256_permute_ps::<0b10>(v));
    _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v)))
}

/// Two and two: the sums of all four would take every one of the 16 registers.
///
/// # Safety
/// See [`Four`](super::Four).
#[target_feature(enable = "avx2,fma")]
unsafe fn four<const L2: bool>(q: &[f32], x: &[&[f32]; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    let [a, b] = unsafe { sums::<L2, 2>(q, &[x[0], x[1]]) };
    // SAFETY: the caller's promise.
    let [c, d] = unsafe { sums::<L2, 2>(q, &[x[2], x[3]]) };
    let v = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let mut out = [0.0; 4];
    // SAFETY: `out` has room for four floats.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), v) };
    out
}

/// The terms of `q` with each of `x`, added up to one register each.
///
/// # Safety
/// Each of `x` has the length of `q`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sums<const L2: bool, const N: usize>(q: &[f32], x: &[&[f32]; N]) -> [__m256; N] {
    let mut sums = [[_mm256_setzero_ps(); N]; SUMS];
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
            let left = _mm256_set1_epi32((q.len() - at) as i32);
            let mask = _mm256_cmpgt_epi32(left, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            // SAFETY: the mask has the lanes before the end of `q`, and others are not read.
            let a = unsafe { _mm256_maskload_ps(q.as_ptr().add(at), mask) };
            for (sum, x) in sums[SUMS - 1].iter_mut().zip(x) {
                // SAFETY: as above; `x` has the length of `q`.
                let b = unsafe { _mm256_maskload_ps(x.as_ptr().add(at), mask) };
                *sum = add::<L2>(*sum, a, b);
            }
        }
    }
    let [mut a, b, c, d] = sums;
    for n in 0..N {
        a[n] = _mm256_add_ps(_mm256_add_ps(a[n], b[n]), _mm256_add_ps(c[n], d[n]));
    }
    a
}

/// Adds [`LANES`] terms from `at` on to the sum of each of `x`.
///
/// # Safety
/// `at + LANES` is within `q`, and each of `x` has the length of `q`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn block<const L2: bool, const N: usize>(sums: &mut [__m256; N], q: &[f32], x: &[&[f32]; N], at: usize) {
    // SAFETY: the caller's promise.
    let a = unsafe { _mm256_loadu_ps(q.as_ptr().add(at)) };
    for (sum, x) in sums.iter_mut().zip(x) {
        // SAFETY: the caller's promise.
        let b = unsafe { _mm256_loadu_ps(x.as_ptr().add(at)) };
        *sum = add::<L2>(*sum, a, b);
    }
}

/// `sum` plus the square of the difference, or plus the product. Lanes of zeros add nothing.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add<const L2: bool>(sum: __m256, a: __m256, b: __m256) -> __m256 {
    if L2 {
        let d = _mm256_sub_ps(a, b);
        _mm256_fmadd_ps(d, d, sum)
    } else {
        _mm256_fmadd_ps(a, b, sum)
    }
}

/// # Safety
/// See [`OneCode`](super::OneCode).
#[target_feature(enable = "avx2")]
unsafe fn one_code<const PER_BYTE: usize>(q: &[i8], x: &[u8]) -> i32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { code_sums::<PER_BYTE, 1>(q, [x.as_ptr()]) };
    let v = _mm256_hadd_epi32(v, v);
    let v = _mm256_hadd_epi32(v, v);
    _mm256_extract_epi32::<0>(v).wrapping_add(_mm256_extract_epi32::<4>(v))
}

/// Whether the CPU has what [`CODES`] and [`run`] need.
pub(super) fn has_codes() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// # Safety
/// The CPU has what [`has_codes`] looks for.
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
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
#[target_feature(enable = "avx2")]
unsafe fn many_codes<const PER_BYTE: usize>(q: &[i8], x: &[[CodeAt; 4]], sums: &mut [[i32; 4]]) {
    for (x, sums) in x.iter().zip(sums) {
        // SAFETY: the caller's promise.
        *sums = unsafe { four_at::<PER_BYTE>(q, *x) };
    }
}

/// # Safety
/// See [`FourCodes`](super::FourCodes).
#[target_feature(enable = "avx2")]
unsafe fn four_codes<const PER_BYTE: usize>(q: &[i8], x: &[&[u8]; 4]) -> [i32; 4] {
    // SAFETY: the caller's promise.
    unsafe { four_at::<PER_BYTE>(q, x.map(|x| x.as_ptr())) }
}

/// # Safety
/// See [`ManyCodes`](super::ManyCodes).
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn four_at<const PER_BYTE: usize>(q: &[i8], x: [CodeAt; 4]) -> [i32; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = unsafe { code_sums::<PER_BYTE, 4>(q, x) };
    let v = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let mut out = [0; 4];
    // SAFETY: `out` has room for four numbers.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), v) };
    out
}

/// The products of `q` with each of `x`, added up to one register each.
///
/// # Safety
/// See [`ManyCodes`](super::ManyCodes).
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn code_sums<const PER_BYTE: usize, const N: usize>(q: &[i8], x: [CodeAt; N]) -> [__m256i; N] {
    let mut sums = [_mm256_setzero_si256(); N];
    if PER_BYTE == 1 {
        // Multiplying bytes would saturate: 255 · 127 twice is more than 16 bits hold. So they are widened first.
        for at in (0..q.len()).step_by(16) {
            // SAFETY: lengths are multiples of 64.
            let a = unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(q.as_ptr().add(at).cast())) };
            for (sum, x) in sums.iter_mut().zip(x) {
                // SAFETY: `x` has the length of `q`.
                let v = unsafe { _mm256_cvtepu8_epi16(_mm_loadu_si128(x.add(at).cast())) };
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(a, v));
            }
        }
        return sums;
    }
    let (mask, ones) = (_mm256_set1_epi8((0xFFu8 >> (8 - 8 / PER_BYTE)) as i8), _mm256_set1_epi16(1));
    for step in (0..q.len()).step_by(PER_BYTE * CODE_BLOCK) {
        for half in [0, CODE_BLOCK / 2] {
            // SAFETY: each of `x` is whole blocks, as many as there are steps.
            let mut blocks = x.map(|x| unsafe { _mm256_loadu_si256(x.add(step / PER_BYTE + half).cast()) });
            for part in 0..PER_BYTE {
                // SAFETY: a step is that many blocks of `q`.
                let a = unsafe { _mm256_loadu_si256(q.as_ptr().add(step + part * CODE_BLOCK + half).cast()) };
                for (sum, block) in sums.iter_mut().zip(&mut blocks) {
                    // 15 · 127 twice fits into 16 bits.
                    let pairs = _mm256_maddubs_epi16(_mm256_and_si256(*block, mask), a);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                    *block = match PER_BYTE {
                        2 => _mm256_srli_epi16::<4>(*block),
                        4 => _mm256_srli_epi16::<2>(*block),
                        _ => _mm256_srli_epi16::<1>(*block),
                    };
                }
            }
        }
    }
    sums
}
