//! The kernels for x86-64 with AVX2 and FMA; those for f16 and bf16 also need F16C.

#![expect(unsafe_code, reason = "loads vectors through pointers, in functions that need CPU features")]

use std::arch::x86_64::*;

use super::lookups::{self, ABREAST, Line, check_tables};
use super::{CODE_BLOCK, CodeAt, CodeFunctions, Codes, Functions, Sum, Work, few, whole};

pub(super) static F32: Functions =
    Functions { l2: Sum { one: one::<true>, four: four::<true> }, dot: Sum { one: one::<false>, four: four::<false> } };

pub(super) static F16: Functions = Functions {
    l2: Sum { one: one_half::<false, true>, four: four_halves::<false, true> },
    dot: Sum { one: one_half::<false, false>, four: four_halves::<false, false> },
};

pub(super) static BF16: Functions = Functions {
    l2: Sum { one: one_half::<true, true>, four: four_halves::<true, true> },
    dot: Sum { one: one_half::<true, false>, four: four_halves::<true, false> },
};

pub(super) static I8: Functions = Functions {
    l2: Sum { one: one_bytes::<true, true>, four: four_bytes::<true, true> },
    dot: Sum { one: one_bytes::<true, false>, four: four_bytes::<true, false> },
};

pub(super) static U8: Functions = Functions {
    l2: Sum { one: one_bytes::<false, true>, four: four_bytes::<false, true> },
    dot: Sum { one: one_bytes::<false, false>, four: four_bytes::<false, false> },
};

pub(super) static BITS: Sum = Sum { one: one_bits, four: four_bits };

pub(super) static CODES: CodeFunctions = CodeFunctions {
    one: [one_code::<1>, one_code::<2>, one_code::<4>, one_code::<8>],
    four: [four_codes::<1>, four_codes::<2>, four_codes::<4>, four_codes::<8>],
    many: [many_codes::<1>, many_codes::<2>, many_codes::<4>, many_codes::<8>],
    snapshot: lookups::avx2::snapshot,
    looked_up: lookups::avx2::looked_up,
};

/// Floats in a register.
const LANES: usize = 8;

/// Sums per pair. More would suit single pairs of many dimensions (a sixth faster at 768), but `four`, the form that
/// searches use, takes two pairs at once, and the sums of those must leave registers to the operands.
const SUMS: usize = 4;

/// # Safety
/// See [`One`](super::One).
#[target_feature(enable = "avx2,fma")]
unsafe fn one<const L2: bool>(q: &[u8], x: &[u8]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { sums::<L2, 1>(q, &[x]) };
    total(v)
}

/// Two and two: the sums of all four would take every one of the 16 registers.
///
/// # Safety
/// See [`Four`](super::Four).
#[target_feature(enable = "avx2,fma")]
unsafe fn four<const L2: bool>(q: &[u8], x: &[&[u8]; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    let [a, b] = unsafe { sums::<L2, 2>(q, &[x[0], x[1]]) };
    // SAFETY: the caller's promise.
    let [c, d] = unsafe { sums::<L2, 2>(q, &[x[2], x[3]]) };
    totals(a, b, c, d)
}

/// ((0+1) + (2+3)) + ((4+5) + (6+7)), as [`totals`] does.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn total(v: __m256) -> f32 {
    let v = _mm256_add_ps(v, _mm256_movehdup_ps(v));
    let v = _mm256_add_ps(v, _mm256_permute_ps::<0b10>(v));
    _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn totals(a: __m256, b: __m256, c: __m256, d: __m256) -> [f32; 4] {
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
unsafe fn sums<const L2: bool, const N: usize>(q: &[u8], x: &[&[u8]; N]) -> [__m256; N] {
    let (count, q, x) = (q.len() / 4, q.as_ptr().cast::<f32>(), x.map(|x| x.as_ptr().cast::<f32>()));
    let mut sums = [[_mm256_setzero_ps(); N]; SUMS];
    let mut at = 0;
    while at + SUMS * LANES <= count {
        for sums in &mut sums {
            // SAFETY: `at + SUMS * LANES` is within `q`, and `at` grows by no more than that here.
            unsafe { block::<L2, N>(sums, q, x, at) };
            at += LANES;
        }
    }
    if at < count {
        for sums in &mut sums[..SUMS - 1] {
            if at + LANES <= count {
                // SAFETY: just compared.
                unsafe { block::<L2, N>(sums, q, x, at) };
                at += LANES;
            }
        }
        if at < count {
            let left = _mm256_set1_epi32((count - at) as i32);
            let mask = _mm256_cmpgt_epi32(left, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            // SAFETY: the mask has the lanes before the end of `q`, and others are not read.
            let a = unsafe { _mm256_maskload_ps(q.add(at), mask) };
            for (sum, x) in sums[SUMS - 1].iter_mut().zip(x) {
                // SAFETY: as above; `x` has the length of `q`.
                let b = unsafe { _mm256_maskload_ps(x.add(at), mask) };
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
unsafe fn block<const L2: bool, const N: usize>(sums: &mut [__m256; N], q: *const f32, x: [*const f32; N], at: usize) {
    // SAFETY: the caller's promise.
    let a = unsafe { _mm256_loadu_ps(q.add(at)) };
    for (sum, x) in sums.iter_mut().zip(x) {
        // SAFETY: the caller's promise.
        let b = unsafe { _mm256_loadu_ps(x.add(at)) };
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
/// See [`One`](super::One).
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn one_half<const BRAIN: bool, const L2: bool>(q: &[u8], x: &[u8]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { half_sums::<BRAIN, L2, 1>(q, &[x]) };
    total(v)
}

/// # Safety
/// See [`Four`](super::Four).
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn four_halves<const BRAIN: bool, const L2: bool>(q: &[u8], x: &[&[u8]; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    let [a, b] = unsafe { half_sums::<BRAIN, L2, 2>(q, &[x[0], x[1]]) };
    // SAFETY: the caller's promise.
    let [c, d] = unsafe { half_sums::<BRAIN, L2, 2>(q, &[x[2], x[3]]) };
    totals(a, b, c, d)
}

/// As [`sums`], of floats `q` and halves `x`.
///
/// # Safety
/// Each of `x` has half the length of `q`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn half_sums<const BRAIN: bool, const L2: bool, const N: usize>(q: &[u8], x: &[&[u8]; N]) -> [__m256; N] {
    let (count, q, x) = (q.len() / 4, q.as_ptr().cast::<f32>(), x.map(|x| x.as_ptr().cast::<u16>()));
    let mut sums = [[_mm256_setzero_ps(); N]; SUMS];
    let mut at = 0;
    while at + SUMS * LANES <= count {
        for sums in &mut sums {
            // SAFETY: `at + SUMS * LANES` is within `q`, and `at` grows by no more than that here.
            let a = unsafe { _mm256_loadu_ps(q.add(at)) };
            for (sum, x) in sums.iter_mut().zip(x) {
                // SAFETY: `x` has as many components as `q`.
                *sum = add::<L2>(*sum, a, unsafe { halves::<BRAIN>(x.add(at)) });
            }
            at += LANES;
        }
    }
    for sums in &mut sums {
        let left = (count - at).min(LANES);
        if left == 0 {
            break;
        }
        // The last lanes, of which some have been counted, and are masked out; of short vectors copies.
        let (mut a_copy, mut x_copy) = ([0f32; LANES], [0u16; LANES]);
        let before = LANES - left;
        let mask = _mm256_cmpgt_epi32(_mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8), _mm256_set1_epi32(before as i32));
        let enough = count >= LANES;
        // SAFETY: with `before` lanes before it, `at` is within `q` if `q` has whole lanes; else it is 0, and all of
        // `q`, less than the lanes, goes to the end of the copy.
        let a = unsafe {
            if enough {
                _mm256_loadu_ps(q.add(at).sub(before))
            } else {
                std::ptr::copy_nonoverlapping(q.cast::<u8>(), a_copy.as_mut_ptr().add(before).cast(), left * 4);
                _mm256_loadu_ps(a_copy.as_ptr())
            }
        };
        let a = _mm256_and_ps(a, _mm256_castsi256_ps(mask));
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: as above; `x` has as many components as `q`.
            let b = unsafe {
                if enough {
                    halves::<BRAIN>(x.add(at).sub(before))
                } else {
                    std::ptr::copy_nonoverlapping(x.cast::<u8>(), x_copy.as_mut_ptr().add(before).cast(), left * 2);
                    halves::<BRAIN>(x_copy.as_ptr())
                }
            };
            *sum = add::<L2>(*sum, a, _mm256_and_ps(b, _mm256_castsi256_ps(mask)));
        }
        at += left;
    }
    let [mut a, b, c, d] = sums;
    for n in 0..N {
        a[n] = _mm256_add_ps(_mm256_add_ps(a[n], b[n]), _mm256_add_ps(c[n], d[n]));
    }
    a
}

/// What [`LANES`] halves stand for.
///
/// # Safety
/// There are so many at `at`, which need not be aligned.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn halves<const BRAIN: bool>(at: *const u16) -> __m256 {
    // SAFETY: the caller's promise.
    let bits = unsafe { _mm_loadu_si128(at.cast()) };
    if BRAIN {
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
    } else {
        _mm256_cvtph_ps(bits)
    }
}

/// # Safety
/// See [`One`](super::One).
#[target_feature(enable = "avx2")]
unsafe fn one_bytes<const SIGNED: bool, const L2: bool>(q: &[u8], x: &[u8]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { byte_sums::<SIGNED, L2, 1>(q, &[x]) };
    whole::<SIGNED, L2>(integers(v, v, v, v)[0])
}

/// # Safety
/// See [`Four`](super::Four).
#[target_feature(enable = "avx2")]
unsafe fn four_bytes<const SIGNED: bool, const L2: bool>(q: &[u8], x: &[&[u8]; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = unsafe { byte_sums::<SIGNED, L2, 4>(q, x) };
    integers(a, b, c, d).map(whole::<SIGNED, L2>)
}

/// The terms of `q` with each of `x`, added up to one register each; sums wrap.
///
/// # Safety
/// Each of `x` has the length of `q`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn byte_sums<const SIGNED: bool, const L2: bool, const N: usize>(q: &[u8], x: &[&[u8]; N]) -> [__m256i; N] {
    /// Bytes that, as 16 bits each, fill a register.
    const STEP: usize = 16;
    let (count, q, x) = (q.len(), q.as_ptr(), x.map(<[u8]>::as_ptr));
    let mut sums = [_mm256_setzero_si256(); N];
    let mut at = 0;
    while at + STEP <= count {
        // SAFETY: just compared.
        let a = widened::<SIGNED>(unsafe { _mm_loadu_si128(q.add(at).cast()) });
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: `x` has the length of `q`.
            let b = widened::<SIGNED>(unsafe { _mm_loadu_si128(x.add(at).cast()) });
            *sum = add_bytes::<L2>(*sum, a, b);
        }
        at += STEP;
    }
    if at < count {
        // SAFETY: `at` is whole steps, and less than one is left.
        let a = widened::<SIGNED>(unsafe { last_16(q, at, count) });
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: `x` has the length of `q`.
            let b = widened::<SIGNED>(unsafe { last_16(x, at, count) });
            *sum = add_bytes::<L2>(*sum, a, b);
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2")]
fn widened<const SIGNED: bool>(bytes: __m128i) -> __m256i {
    if SIGNED { _mm256_cvtepi8_epi16(bytes) } else { _mm256_cvtepu8_epi16(bytes) }
}

/// Two terms of 16 bits in each lane of 32: at most 2 · 255², which is far from full.
#[inline]
#[target_feature(enable = "avx2")]
fn add_bytes<const L2: bool>(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
    if L2 {
        let d = _mm256_sub_epi16(a, b);
        _mm256_add_epi32(sum, _mm256_madd_epi16(d, d))
    } else {
        _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
    }
}

/// As many zeros as ones, to load a mask from.
static MASKS: [u8; 64] = {
    let mut masks = [0; 64];
    let mut at = 32;
    while at < 64 {
        masks[at] = 0xFF;
        at += 1;
    }
    masks
};

/// The bytes from `at` to `count`, and zeros, in places that depend on these two only.
///
/// # Safety
/// `bytes` are `count`; `at` is a multiple of 16 and at most 15 away from it.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn last_16(bytes: *const u8, at: usize, count: usize) -> __m128i {
    let left = count - at;
    if at == 0 {
        // SAFETY: the caller's promise.
        let all = few(unsafe { std::slice::from_raw_parts(bytes, count) });
        return _mm_set_epi64x((all >> 64) as i64, all as i64);
    }
    // SAFETY: 16 bytes or more come before `at`; and the mask begins up to 16 bytes before the middle of the masks.
    let (bytes, mask) = unsafe {
        let mask = _mm_loadu_si128(MASKS.as_ptr().add(16 + left).cast());
        (_mm_loadu_si128(bytes.add(count - 16).cast()), mask)
    };
    _mm_and_si128(bytes, mask)
}

/// As [`last_16`], of 32 bytes.
///
/// # Safety
/// As [`last_16`], with 32.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn last_32(bytes: *const u8, at: usize, count: usize) -> __m256i {
    let left = count - at;
    if at == 0 {
        if count < 16 {
            // SAFETY: the caller's promise.
            return _mm256_zextsi128_si256(unsafe { last_16(bytes, 0, count) });
        }
        // SAFETY: there are 16 bytes or more, and fewer than 16 behind them.
        let (first, rest) = unsafe { (_mm_loadu_si128(bytes.cast()), last_16(bytes, 16, count)) };
        return _mm256_set_m128i(rest, first);
    }
    // SAFETY: 32 bytes or more come before `at`; and the mask begins up to 32 bytes before the middle of the masks.
    let (bytes, mask) = unsafe {
        let mask = _mm256_loadu_si256(MASKS.as_ptr().add(left).cast());
        (_mm256_loadu_si256(bytes.add(count - 32).cast()), mask)
    };
    _mm256_and_si256(bytes, mask)
}

/// # Safety
/// See [`One`](super::One).
#[target_feature(enable = "avx2")]
unsafe fn one_bits(q: &[u8], x: &[u8]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { bit_sums(q, &[x]) };
    integers(v, v, v, v)[0].cast_unsigned() as f32
}

/// # Safety
/// See [`Four`](super::Four).
#[target_feature(enable = "avx2")]
unsafe fn four_bits(q: &[u8], x: &[&[u8]; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = unsafe { bit_sums(q, x) };
    integers(a, b, c, d).map(|sum| sum.cast_unsigned() as f32)
}

/// How many bits of `q` and each of `x` differ, added up to one register each.
///
/// # Safety
/// Each of `x` has the length of `q`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn bit_sums<const N: usize>(q: &[u8], x: &[&[u8]; N]) -> [__m256i; N] {
    const STEP: usize = 32;
    let (count, q, x) = (q.len(), q.as_ptr(), x.map(<[u8]>::as_ptr));
    let mut sums = [_mm256_setzero_si256(); N];
    let mut at = 0;
    while at + STEP <= count {
        // SAFETY: just compared.
        let a = unsafe { _mm256_loadu_si256(q.add(at).cast()) };
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: `x` has the length of `q`.
            let b = unsafe { _mm256_loadu_si256(x.add(at).cast()) };
            *sum = _mm256_add_epi64(*sum, ones(_mm256_xor_si256(a, b)));
        }
        at += STEP;
    }
    if at < count {
        // SAFETY: `at` is whole steps, and less than one is left.
        let a = unsafe { last_32(q, at, count) };
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: `x` has the length of `q`.
            let b = unsafe { last_32(x, at, count) };
            *sum = _mm256_add_epi64(*sum, ones(_mm256_xor_si256(a, b)));
        }
    }
    sums
}

/// The number of ones in each quarter: looked up for each half of a byte (Mula and others 2018), then added up.
#[inline]
#[target_feature(enable = "avx2")]
fn ones(v: __m256i) -> __m256i {
    let low = _mm256_set1_epi8(0x0F);
    let table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    let a = _mm256_shuffle_epi8(table, _mm256_and_si256(v, low));
    let b = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(v), low));
    _mm256_sad_epu8(_mm256_add_epi8(a, b), _mm256_setzero_si256())
}

/// The sums of the lanes of four registers.
#[inline]
#[target_feature(enable = "avx2")]
fn integers(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> [i32; 4] {
    let v = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let mut out = [0; 4];
    // SAFETY: `out` has room for four numbers.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), v) };
    out
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

    #[inline(always)]
    unsafe fn snapshot(self, from: CodeAt, to: &mut [Line]) {
        // SAFETY: the CPU has the features; the rest is the caller's promise.
        unsafe { lookups::avx2::snapshot(from, to) }
    }

    #[inline(always)]
    fn looked_up(self, tables: &[u8], codes: &[u8]) -> [u16; ABREAST] {
        check_tables(tables, codes);
        let mut sums = [0; ABREAST];
        // SAFETY: the CPU has the features, and the lengths are right.
        unsafe { lookups::avx2::looked_up(tables, codes, &mut sums) };
        sums
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
    integers(a, b, c, d)
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
