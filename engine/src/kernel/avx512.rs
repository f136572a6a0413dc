//! The kernels for x86-64 with AVX-512 F; those for bytes and codes also need BW and VNNI, those for bits BW and
//! VPOPCNTDQ.

#![expect(unsafe_code, reason = "loads vectors through pointers, in functions that need CPU features")]

use std::arch::x86_64::*;

use super::lookups::{self, ABREAST, Line, check_tables};
use super::{BRAIN, CODE_BLOCK, CodeAt, CodeFunctions, Codes, Functions, HALF, SINGLE, Sum, Work, whole};

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
    snapshot: lookups::avx512::snapshot,
    looked_up: lookups::avx512::looked_up,
};

/// Floats in a register.
const LANES: usize = 16;

/// Sums per pair: enough to hide the latency of an addition, while those of four pairs leave half of the 32 registers to
/// the operands. Six measured no better on the whole; eight, two pairs at a time, worse.
const SUMS: usize = 4;

/// # Safety
/// See [`One`](super::One).
#[target_feature(enable = "avx512f")]
unsafe fn one<const STORED: usize, const L2: bool>(q: &[u8], x: &[u8]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { sums::<STORED, L2, 1>(q, &[x]) };
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
unsafe fn four<const STORED: usize, const L2: bool>(q: &[u8], x: &[&[u8]; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = unsafe { sums::<STORED, L2, 4>(q, x) };
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
/// Each of `x` has as many components as `q`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn sums<const STORED: usize, const L2: bool, const N: usize>(q: &[u8], x: &[&[u8]; N]) -> [__m512; N] {
    let (count, q, x) = (q.len() / SINGLE, q.as_ptr(), x.map(<[u8]>::as_ptr));
    let mut sums = [[_mm512_setzero_ps(); N]; SUMS];
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
            // Fewer than LANES are left, or the loop above would have taken them.
            // SAFETY: `q` has `count` floats.
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
        a[n] = _mm512_add_ps(_mm512_add_ps(a[n], b[n]), _mm512_add_ps(c[n], d[n]));
    }
    a
}

/// Adds [`LANES`] terms from `at` on to the sum of each of `x`.
///
/// # Safety
/// `at + LANES` is within `q`, and each of `x` has as many components as `q`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn block<const STORED: usize, const L2: bool, const N: usize>(
    sums: &mut [__m512; N],
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
#[target_feature(enable = "avx512f")]
unsafe fn load<const STORED: usize>(bytes: *const u8, at: usize) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        if STORED == SINGLE {
            _mm512_loadu_ps(bytes.cast::<f32>().add(at))
        } else {
            halves::<STORED>(_mm256_loadu_si256(bytes.cast::<u16>().add(at).cast()))
        }
    }
}

/// The components from number `at` on to the end, fewer than [`LANES`], in the first lanes; zeros in the others.
///
/// # Safety
/// There are `count` components at `bytes`, and `at` is less than that.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn last<const STORED: usize>(bytes: *const u8, at: usize, count: usize) -> __m512 {
    let mask = (1 << (count - at)) - 1;
    if STORED == SINGLE {
        // SAFETY: the mask has the lanes before the end, and others are not read.
        return unsafe { _mm512_maskz_loadu_ps(mask, bytes.cast::<f32>().add(at)) };
    }
    // Masked loads of two bytes would be another extension; masked loads of pairs read one too many of an odd count.
    let (pairs, bytes) = ((count - at) / 2, bytes.wrapping_add(at * 2));
    // SAFETY: the mask has the pairs before the end, and others are not read.
    let bits = unsafe { _mm512_maskz_loadu_epi32((1 << pairs) - 1, bytes.cast()) };
    let mut bits = _mm512_castsi512_si256(bits);
    if !(count - at).is_multiple_of(2) {
        // SAFETY: the last component, which the pairs have left.
        let odd = unsafe { bytes.cast::<u16>().add(2 * pairs).read_unaligned() };
        let odd = _mm512_maskz_set1_epi32(1 << pairs, i32::from(odd));
        bits = _mm256_or_si256(bits, _mm512_castsi512_si256(odd));
    }
    halves::<STORED>(bits)
}

/// What halves stand for.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves<const STORED: usize>(bits: __m256i) -> __m512 {
    if STORED == HALF {
        _mm512_cvtph_ps(bits)
    } else {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
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
/// See [`One`](super::One).
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn one_bytes<const SIGNED: bool, const L2: bool>(q: &[u8], x: &[u8]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { byte_sums::<SIGNED, L2, 1>(q, &[x]) };
    whole::<SIGNED, L2>(_mm512_reduce_add_epi32(v))
}

/// # Safety
/// See [`Four`](super::Four).
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn byte_sums<const SIGNED: bool, const L2: bool, const N: usize>(q: &[u8], x: &[&[u8]; N]) -> [__m512i; N] {
    /// Bytes that, as 16 bits each, fill a register.
    const STEP: usize = 32;
    let (count, q, x) = (q.len(), q.as_ptr(), x.map(<[u8]>::as_ptr));
    // By turns, since an addition waits for the one before.
    let mut sums = [[_mm512_setzero_si512(); N]; 2];
    let mut at = 0;
    while at + 2 * STEP <= count {
        for sums in &mut sums {
            // SAFETY: `at + 2 * STEP` is within `q`, and `at` grows by no more than that here.
            let a = widened::<SIGNED>(unsafe { _mm256_loadu_si256(q.add(at).cast()) });
            for (sum, x) in sums.iter_mut().zip(x) {
                // SAFETY: `x` has the length of `q`.
                let b = widened::<SIGNED>(unsafe { _mm256_loadu_si256(x.add(at).cast()) });
                *sum = add_bytes::<L2>(*sum, a, b);
            }
            at += STEP;
        }
    }
    if at < count {
        let mask = (1 << (count - at)) - 1;
        // SAFETY: the mask has the bytes before the end of `q`, and others are not read.
        let a = unsafe { _mm512_maskz_loadu_epi8(mask, q.add(at).cast()) };
        let (a_low, a_high) = (_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64::<1>(a));
        for n in 0..N {
            // SAFETY: as above; `x` has the length of `q`.
            let b = unsafe { _mm512_maskz_loadu_epi8(mask, x[n].add(at).cast()) };
            let (b_low, b_high) = (_mm512_castsi512_si256(b), _mm512_extracti64x4_epi64::<1>(b));
            sums[0][n] = add_bytes::<L2>(sums[0][n], widened::<SIGNED>(a_low), widened::<SIGNED>(b_low));
            sums[1][n] = add_bytes::<L2>(sums[1][n], widened::<SIGNED>(a_high), widened::<SIGNED>(b_high));
        }
    }
    std::array::from_fn(|n| _mm512_add_epi32(sums[0][n], sums[1][n]))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn widened<const SIGNED: bool>(bytes: __m256i) -> __m512i {
    if SIGNED { _mm512_cvtepi8_epi16(bytes) } else { _mm512_cvtepu8_epi16(bytes) }
}

/// Two terms of 16 bits in each lane of 32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_bytes<const L2: bool>(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    if L2 {
        let d = _mm512_sub_epi16(a, b);
        _mm512_dpwssd_epi32(sum, d, d)
    } else {
        _mm512_dpwssd_epi32(sum, a, b)
    }
}

/// # Safety
/// See [`One`](super::One).
#[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq")]
unsafe fn one_bits(q: &[u8], x: &[u8]) -> f32 {
    // SAFETY: the caller's promise.
    let [v] = unsafe { bit_sums(q, &[x]) };
    _mm512_reduce_add_epi64(v) as f32
}

/// # Safety
/// See [`Four`](super::Four).
#[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq")]
unsafe fn four_bits(q: &[u8], x: &[&[u8]; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = unsafe { bit_sums(q, x) };
    // The high halves of the lanes are zeros.
    integers(a, b, c, d).map(|sum| sum.cast_unsigned() as f32)
}

/// How many bits of `q` and each of `x` differ, added up to one register each.
///
/// # Safety
/// Each of `x` has the length of `q`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq")]
unsafe fn bit_sums<const N: usize>(q: &[u8], x: &[&[u8]; N]) -> [__m512i; N] {
    const STEP: usize = 64;
    let (count, q, x) = (q.len(), q.as_ptr(), x.map(<[u8]>::as_ptr));
    let mut sums = [_mm512_setzero_si512(); N];
    for at in (0..count).step_by(STEP) {
        let mask = u64::MAX >> (STEP - (count - at).min(STEP));
        // SAFETY: the mask has the bytes before the end of `q`, and others are not read.
        let a = unsafe { _mm512_maskz_loadu_epi8(mask, q.add(at).cast()) };
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: as above; `x` has the length of `q`.
            let b = unsafe { _mm512_maskz_loadu_epi8(mask, x.add(at).cast()) };
            *sum = _mm512_add_epi64(*sum, _mm512_popcnt_epi64(_mm512_xor_si512(a, b)));
        }
    }
    sums
}

/// The sums of the lanes of four registers, in the manner of [`four`].
#[inline]
#[target_feature(enable = "avx512f")]
fn integers(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [i32; 4] {
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

    #[inline(always)]
    unsafe fn snapshot(self, from: CodeAt, to: &mut [Line]) {
        // SAFETY: the CPU has the features; the rest is the caller's promise.
        unsafe { lookups::avx512::snapshot(from, to) }
    }

    #[inline(always)]
    fn looked_up(self, tables: &[u8], codes: &[u8]) -> [u16; ABREAST] {
        check_tables(tables, codes);
        let mut sums = [0; ABREAST];
        // SAFETY: the CPU has the features, and the lengths are right.
        unsafe { lookups::avx512::looked_up(tables, codes, &mut sums) };
        sums
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
    integers(a, b, c, d)
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
