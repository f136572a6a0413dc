//! What packed neighbourhoods need of each tier: copies of blocks that change meanwhile, and sums of lookups in tables
//! that fit into a register (André, Kermarrec and Le Scouarnec 2015, "Cache locality is not enough").
//!
//! A place of a code has 4 bits and a table of 16 numbers, and one instruction looks up a place of 16 codes at once: so
//! the codes of [`ABREAST`] vectors lie together, place by place.

#![expect(unsafe_code, reason = "reads memory that others store to, in functions that need CPU features")]

use super::{CODE_BLOCK, CodeAt, LINE, lengths_differ};
use std::sync::atomic::{AtomicU32, Ordering};

/// A cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Line(pub [u32; LINE / 4]);

impl Line {
    /// The bytes of lines.
    #[inline(always)]
    pub fn bytes(lines: &[Line]) -> &[u8] {
        // SAFETY: the same memory, borrowed as long; a line has no padding, and bytes no alignment.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
    }
}

/// Codes whose lookups are summed at a time.
pub const ABREAST: usize = 32;

/// Copies lines that others may be storing to.
///
/// # Safety
/// - The CPU has the features of the function's tier.
/// - From the address on, a multiple of 64, there are as many lines; whoever stores to them meanwhile uses atomics.
pub(super) type Snapshot = unsafe fn(CodeAt, &mut [Line]);

/// See [`Codes::looked_up`](super::Codes::looked_up); the sums come in place of those given.
///
/// # Safety
/// - The CPU has the features of the function's tier.
/// - The lengths are those that [`check_tables`] checks.
pub(super) type LookedUp = unsafe fn(&[u8], &[u8], &mut [u16; ABREAST]);

/// Panics unless there are tables for all places of the codes, in whole blocks.
#[inline(always)]
pub(super) fn check_tables(tables: &[u8], codes: &[u8]) {
    if tables.len() != codes.len() || !codes.len().is_multiple_of(CODE_BLOCK) {
        lengths_differ(tables.len(), codes.len());
    }
}

/// Places of 16 bytes each.
const PLACE: usize = 16;

pub(super) mod scalar {
    use super::*;

    /// # Safety
    /// See [`Snapshot`](super::Snapshot).
    pub(in crate::kernel) unsafe fn snapshot(from: CodeAt, to: &mut [Line]) {
        let from = from.cast::<AtomicU32>();
        for (at, word) in to.iter_mut().flat_map(|line| &mut line.0).enumerate() {
            // SAFETY: the word is there, and aligned as its line is.
            *word = unsafe { &*from.wrapping_add(at) }.load(Ordering::Relaxed);
        }
    }

    pub(in crate::kernel) fn looked_up(tables: &[u8], codes: &[u8], sums: &mut [u16; ABREAST]) {
        *sums = [0; ABREAST];
        for (table, codes) in tables.chunks_exact(PLACE).zip(codes.chunks_exact(PLACE)) {
            let (low, high) = sums.split_at_mut(PLACE);
            for (code, (low, high)) in codes.iter().zip(low.iter_mut().zip(high)) {
                *low = low.wrapping_add(u16::from(table[usize::from(code & 15)]));
                *high = high.wrapping_add(u16::from(table[usize::from(code >> 4)]));
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    use super::*;
    use std::arch::asm;
    use std::arch::x86_64::*;

    /// # Safety
    /// See [`Snapshot`](super::Snapshot).
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(in crate::kernel) unsafe fn snapshot(from: CodeAt, to: &mut [Line]) {
        for (at, line) in to.iter_mut().enumerate() {
            let from = from.wrapping_add(at * LINE);
            let read: __m512i;
            // SAFETY: the line is there, and aligned. Others may be storing to it, by atomics: what the instruction reads of
            // each word is what a relaxed atomic load of it would; and since it is not the compiler's load, nothing is
            // assumed of it that a store meanwhile would make wrong.
            unsafe {
                asm!("vmovdqa64 {}, [{}]", out(zmm_reg) read, in(reg) from, options(readonly, nostack, preserves_flags));
                _mm512_store_si512(line.0.as_mut_ptr().cast(), read);
            }
        }
    }

    /// # Safety
    /// See [`LookedUp`](super::LookedUp).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(in crate::kernel) unsafe fn looked_up(tables: &[u8], codes: &[u8], sums: &mut [u16; ABREAST]) {
        let mask = _mm512_set1_epi8(0x0F);
        // Of the first 16 codes and of the others: the sum of whole words, in which the odd bytes count 256 times, and that of
        // the odd bytes.
        let mut both = [_mm512_setzero_si512(); 2];
        let mut odd = both;
        for at in (0..codes.len()).step_by(CODE_BLOCK) {
            // SAFETY: both slices are whole blocks, and of one length.
            let (table, codes) = unsafe {
                (_mm512_loadu_si512(tables.as_ptr().add(at).cast()), _mm512_loadu_si512(codes.as_ptr().add(at).cast()))
            };
            let halves = [_mm512_and_si512(codes, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(codes), mask)];
            for n in 0..2 {
                let found = _mm512_shuffle_epi8(table, halves[n]);
                both[n] = _mm512_add_epi16(both[n], found);
                odd[n] = _mm512_add_epi16(odd[n], _mm512_srli_epi16::<8>(found));
            }
        }
        let even: [_; 2] = std::array::from_fn(|n| _mm512_sub_epi16(both[n], _mm512_slli_epi16::<8>(odd[n])));
        // In each quarter of a register eight codes, in order; a place of four in each.
        let (a, b) = (_mm512_unpacklo_epi16(even[0], odd[0]), _mm512_unpackhi_epi16(even[0], odd[0]));
        let (c, d) = (_mm512_unpacklo_epi16(even[1], odd[1]), _mm512_unpackhi_epi16(even[1], odd[1]));
        let ab =
            _mm512_add_epi16(_mm512_shuffle_i32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b));
        let cd =
            _mm512_add_epi16(_mm512_shuffle_i32x4::<0b01_00_01_00>(c, d), _mm512_shuffle_i32x4::<0b11_10_11_10>(c, d));
        let all = _mm512_add_epi16(
            _mm512_shuffle_i32x4::<0b10_00_10_00>(ab, cd),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(ab, cd),
        );
        // SAFETY: `sums` has room for 32 words.
        unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), all) };
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use super::*;
    use std::arch::asm;
    use std::arch::x86_64::*;

    /// # Safety
    /// See [`Snapshot`](super::Snapshot).
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in crate::kernel) unsafe fn snapshot(from: CodeAt, to: &mut [Line]) {
        for (at, half) in to.iter_mut().flat_map(|line| line.0.as_chunks_mut::<8>().0).enumerate() {
            let from = from.wrapping_add(at * LINE / 2);
            let read: __m256i;
            // SAFETY: as in `avx512::snapshot`, of half a line.
            unsafe {
                asm!("vmovdqa {}, [{}]", out(ymm_reg) read, in(reg) from, options(readonly, nostack, preserves_flags));
                _mm256_storeu_si256(half.as_mut_ptr().cast(), read);
            }
        }
    }

    /// # Safety
    /// See [`LookedUp`](super::LookedUp).
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in crate::kernel) unsafe fn looked_up(tables: &[u8], codes: &[u8], sums: &mut [u16; ABREAST]) {
        let mask = _mm256_set1_epi8(0x0F);
        // See `avx512::looked_up`.
        let mut both = [_mm256_setzero_si256(); 2];
        let mut odd = both;
        for at in (0..codes.len()).step_by(CODE_BLOCK / 2) {
            // SAFETY: both slices are whole blocks, and of one length.
            let (table, codes) = unsafe {
                (_mm256_loadu_si256(tables.as_ptr().add(at).cast()), _mm256_loadu_si256(codes.as_ptr().add(at).cast()))
            };
            let halves = [_mm256_and_si256(codes, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(codes), mask)];
            for n in 0..2 {
                let found = _mm256_shuffle_epi8(table, halves[n]);
                both[n] = _mm256_add_epi16(both[n], found);
                odd[n] = _mm256_add_epi16(odd[n], _mm256_srli_epi16::<8>(found));
            }
        }
        for n in 0..2 {
            let even = _mm256_sub_epi16(both[n], _mm256_slli_epi16::<8>(odd[n]));
            // In each half of a register eight codes, in order; a place of two in each.
            let (a, b) = (_mm256_unpacklo_epi16(even, odd[n]), _mm256_unpackhi_epi16(even, odd[n]));
            let all =
                _mm256_add_epi16(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b));
            // SAFETY: `sums` has room for twice 16 words.
            unsafe { _mm256_storeu_si256(sums.as_mut_ptr().add(n * PLACE).cast(), all) };
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) mod neon {
    use super::*;
    use std::arch::aarch64::*;
    use std::arch::asm;

    /// # Safety
    /// See [`Snapshot`](super::Snapshot).
    #[target_feature(enable = "neon")]
    pub(in crate::kernel) unsafe fn snapshot(from: CodeAt, to: &mut [Line]) {
        for (at, quarter) in to.iter_mut().flat_map(|line| line.0.as_chunks_mut::<4>().0).enumerate() {
            let from = from.wrapping_add(at * LINE / 4);
            let read: uint32x4_t;
            // SAFETY: the words are there, and aligned. Others may be storing to them, by atomics: what the instruction
            // reads of each word is what a relaxed atomic load of it would; and since it is not the compiler's load,
            // nothing is assumed of it that a store meanwhile would make wrong.
            unsafe {
                asm!("ldr {:q}, [{}]", out(vreg) read, in(reg) from, options(readonly, nostack, preserves_flags));
                vst1q_u32(quarter.as_mut_ptr(), read);
            }
        }
    }

    /// # Safety
    /// See [`LookedUp`](super::LookedUp).
    #[target_feature(enable = "neon")]
    pub(in crate::kernel) unsafe fn looked_up(tables: &[u8], codes: &[u8], sums: &mut [u16; ABREAST]) {
        let mut all = [vdupq_n_u16(0); 4];
        for at in (0..codes.len()).step_by(PLACE) {
            // SAFETY: both slices are whole blocks, and of one length.
            let (table, codes) = unsafe { (vld1q_u8(tables.as_ptr().add(at)), vld1q_u8(codes.as_ptr().add(at))) };
            for (n, half) in [vandq_u8(codes, vdupq_n_u8(15)), vshrq_n_u8::<4>(codes)].into_iter().enumerate() {
                let found = vqtbl1q_u8(table, half);
                all[2 * n] = vaddw_u8(all[2 * n], vget_low_u8(found));
                all[2 * n + 1] = vaddw_high_u8(all[2 * n + 1], found);
            }
        }
        for (n, sum) in all.into_iter().enumerate() {
            // SAFETY: `sums` has room for four times 8 words.
            unsafe { vst1q_u16(sums.as_mut_ptr().add(8 * n), sum) };
        }
    }
}
