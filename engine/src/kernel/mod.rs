//! Distance kernels: how far apart two vectors are, as fast as this CPU can say it.
//!
//! The same four functions exist once per [`Tier`]. A [`Kernel`] is chosen once, when a store opens, and holds
//! pointers to the functions of one tier; the only ways to get one check the CPU first, so owning a `Kernel` proves
//! that its instructions exist here and its methods are safe.
//!
//! What every tier promises, and `tests.rs` checks for each of them:
//!
//! 1. Any length, any alignment. Rows that start on a 64-byte line are fastest.
//! 2. A pair has one distance within a tier: the `_4` forms give the bits of the single form, and swapping the two
//!    vectors changes nothing. How a search batches its candidates therefore never changes its answer. Tiers add in
//!    different orders and differ from each other in the last bits, so compare distances of one tier only.
//! 3. `l2(a, a)` is exactly 0 for finite `a`.
//!
//! Sums stay in f32, in several independent accumulators: one chain of additions would wait for the latency of every
//! single one, and widening to f64 costs several times the time for digits a search does not need.
//!
//! Codes (`codes.rs` of the engine) are whole numbers, so what is computed of them is exact and the same on every tier:
//! Σ x·q of a code's unsigned numbers x, of 8, 4, 2 or 1 bits, with signed ones q of 8.
//!
//! To add an element type, write a `Functions` of it in every tier's file and a field of [`Kernel`] that holds it.

#![expect(
    unsafe_code,
    reason = "calls functions compiled for CPU features that were checked, and asks for cache lines"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(test)]
mod tests;

use std::env::{self, VarError};
use std::fmt;
use std::sync::OnceLock;

/// The environment variable that forces a tier by its name.
const VARIABLE: &str = "LODESTORE_KERNEL";

/// A set of instructions that the kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Plain Rust, on any CPU.
    Scalar,
    /// x86-64 with AVX2 and FMA: 8 floats a register.
    Avx2,
    /// x86-64 with AVX-512 F: 16 floats a register, and masks for the tail.
    Avx512,
    /// 64-bit Arm: 4 floats a register.
    Neon,
}

impl Tier {
    /// Every tier, on whatever CPU; of those that a CPU has, the later is the faster.
    pub const ALL: [Tier; 4] = [Tier::Scalar, Tier::Avx2, Tier::Avx512, Tier::Neon];

    /// The name in `LODESTORE_KERNEL` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            Tier::Avx2 => "avx2",
            Tier::Avx512 => "avx512",
            Tier::Neon => "neon",
        }
    }

    /// Whether this CPU, and the system that runs on it, has the tier.
    pub fn is_available(self) -> bool {
        self.f32().is_some()
    }

    /// The functions of the tier for floats, if this CPU may call them: the one place that decides it.
    fn f32(self) -> Option<&'static Functions<f32>> {
        match self {
            Tier::Scalar => Some(&scalar::F32),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => Some(&avx2::F32),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 if is_x86_feature_detected!("avx512f") => Some(&avx512::F32),
            #[cfg(target_arch = "aarch64")]
            Tier::Neon if std::arch::is_aarch64_feature_detected!("neon") => Some(&neon::F32),
            _ => None,
        }
    }

    /// The functions of the tier for codes, and of the next lower one where this CPU lacks an instruction for them.
    fn codes(self) -> &'static CodeFunctions {
        match self {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 if avx512::has_codes() => &avx512::CODES,
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 | Tier::Avx2 if avx2::has_codes() => &avx2::CODES,
            #[cfg(target_arch = "aarch64")]
            Tier::Neon if std::arch::is_aarch64_feature_detected!("neon") => &neon::CODES,
            _ => &scalar::CODES,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The distance of one pair.
///
/// # Safety
/// - The CPU has the features of the tier whose function this is.
/// - Both vectors have the same length.
type One<T> = unsafe fn(&[T], &[T]) -> f32;

/// The distances of one vector to four.
///
/// # Safety
/// As for [`One`], for each of the four pairs.
type Four<T> = unsafe fn(&[T], &[&[T]; 4]) -> [f32; 4];

/// What one tier can do with elements of type `T`.
struct Functions<T: 'static> {
    l2: One<T>,
    dot: One<T>,
    l2_4: Four<T>,
    dot_4: Four<T>,
}

/// Σ x·q of one code.
///
/// # Safety
/// - The CPU has the features of the function's tier.
/// - The lengths are those that [`Kernel::codes`] checks.
type OneCode = unsafe fn(&[i8], &[u8]) -> i32;

/// Σ x·q of four codes.
///
/// # Safety
/// As for [`OneCode`], for each of the four.
type FourCodes = unsafe fn(&[i8], &[&[u8]; 4]) -> [i32; 4];

/// Where a code's bytes begin.
pub type CodeAt = *const u8;

/// Σ x·q of many codes, in fours.
///
/// # Safety
/// As for [`OneCode`], for each of them: from each address on, there is a code of as many numbers as `q` has.
type ManyCodes = unsafe fn(&[i8], &[[CodeAt; 4]], &mut [[i32; 4]]);

/// What one tier can do with codes of 1, 2, 4 and 8 numbers a byte.
struct CodeFunctions {
    one: [OneCode; 4],
    four: [FourCodes; 4],
    many: [ManyCodes; 4],
}

/// Bytes of a code that are taken at a time, and so the granule of its length.
pub const CODE_BLOCK: usize = 64;

/// The distance functions of one tier that this CPU has.
#[derive(Clone, Copy)]
pub struct Kernel {
    tier: Tier,
    f32: &'static Functions<f32>,
    codes: &'static CodeFunctions,
}

impl Kernel {
    /// The kernel this process uses: the one that `LODESTORE_KERNEL` names, or the best one if that is not set or names
    /// none that works here. Decided at the first call, then remembered.
    pub fn detect() -> Kernel {
        static CHOSEN: OnceLock<Kernel> = OnceLock::new();
        *CHOSEN.get_or_init(|| Kernel::from_env().unwrap_or_else(|_| Kernel::best()))
    }

    /// The kernel that `LODESTORE_KERNEL` names, the best one if it is not set, or a sentence on why the named one
    /// cannot be had.
    pub fn from_env() -> Result<Kernel, String> {
        match env::var(VARIABLE) {
            Ok(name) => Kernel::named(&name),
            Err(VarError::NotPresent) => Ok(Kernel::best()),
            Err(VarError::NotUnicode(name)) => Kernel::named(&name.to_string_lossy()),
        }
    }

    fn named(name: &str) -> Result<Kernel, String> {
        let tier = Tier::ALL.into_iter().find(|tier| tier.name() == name).ok_or_else(|| {
            let known = Tier::ALL.map(Tier::name).join(", ");
            format!("{VARIABLE}={name:?} is not a kernel; the kernels are {known}")
        })?;
        Kernel::of(tier).ok_or_else(|| format!("{VARIABLE}={tier}, but this CPU does not have it"))
    }

    fn best() -> Kernel {
        Tier::ALL.into_iter().rev().find_map(Kernel::of).expect("the scalar kernel runs everywhere")
    }

    /// The kernel of one tier; `None` if this CPU lacks it.
    pub fn of(tier: Tier) -> Option<Kernel> {
        Some(Kernel { tier, f32: tier.f32()?, codes: tier.codes() })
    }

    /// The tier whose functions these are.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The squared Euclidean distance.
    ///
    /// # Panics
    /// If the lengths differ.
    #[inline]
    pub fn l2(&self, a: &[f32], b: &[f32]) -> f32 {
        check(a, &[b]);
        // SAFETY: `of` saw that the CPU has the tier, and the lengths are equal.
        unsafe { (self.f32.l2)(a, b) }
    }

    /// The inner product.
    ///
    /// # Panics
    /// If the lengths differ.
    #[inline]
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        check(a, &[b]);
        // SAFETY: `of` saw that the CPU has the tier, and the lengths are equal.
        unsafe { (self.f32.dot)(a, b) }
    }

    /// [`l2`](Kernel::l2) of `q` to each of four vectors, reading `q` fewer times.
    ///
    /// # Panics
    /// If a length differs from that of `q`.
    #[inline]
    pub fn l2_4(&self, q: &[f32], x: [&[f32]; 4]) -> [f32; 4] {
        check(q, &x);
        // SAFETY: `of` saw that the CPU has the tier, and the lengths are equal.
        unsafe { (self.f32.l2_4)(q, &x) }
    }

    /// [`dot`](Kernel::dot) of `q` with each of four vectors, reading `q` fewer times.
    ///
    /// # Panics
    /// If a length differs from that of `q`.
    #[inline]
    pub fn dot_4(&self, q: &[f32], x: [&[f32]; 4]) -> [f32; 4] {
        check(q, &x);
        // SAFETY: `of` saw that the CPU has the tier, and the lengths are equal.
        unsafe { (self.f32.dot_4)(q, &x) }
    }

    /// Σ x·q of a code `x` with 1, 2, 4 or 8 numbers a byte. Of each block of 64 bytes, the lowest bits of the bytes are
    /// the first 64 numbers, the next higher ones the next 64, and so on. Exact unless the sum leaves an `i32`, which no
    /// 65,536 numbers can make it do; then it wraps.
    ///
    /// # Panics
    /// If `x` is not whole blocks, `q` not as many numbers, or `per_byte` another number.
    #[inline]
    pub fn codes(&self, per_byte: usize, q: &[i8], x: &[u8]) -> i32 {
        check_codes(q, per_byte, &[x]);
        // SAFETY: `of` saw that the CPU has the tier, and the lengths are right.
        unsafe { (self.codes.one[per_byte.trailing_zeros() as usize])(q, x) }
    }

    /// [`codes`](Kernel::codes) of four.
    ///
    /// # Panics
    /// As [`codes`](Kernel::codes).
    #[inline]
    pub fn codes_4(&self, per_byte: usize, q: &[i8], x: [&[u8]; 4]) -> [i32; 4] {
        check_codes(q, per_byte, &x);
        // SAFETY: `of` saw that the CPU has the tier, and the lengths are right.
        unsafe { (self.codes.four[per_byte.trailing_zeros() as usize])(q, &x) }
    }
}

#[cfg(test)]
impl Kernel {
    /// What [`Codes::many`] makes of codes.
    fn codes_many(&self, per_byte: usize, q: &[i8], x: &[[&[u8]; 4]; 3]) -> [[i32; 4]; 3] {
        struct Many<'a>(usize, &'a [i8], &'a [[&'a [u8]; 4]; 3]);
        impl Work for Many<'_> {
            type Out = [[i32; 4]; 3];

            fn run(self, codes: impl Codes) -> Self::Out {
                let Many(per_byte, q, x) = self;
                let (at, mut sums) = (x.map(|x| x.map(<[u8]>::as_ptr)), [[0; 4]; 3]);
                // SAFETY: just checked, and borrowed.
                unsafe { codes.many(per_byte, q, &at, &mut sums) };
                sums
            }
        }
        x.iter().for_each(|x| check_codes(q, per_byte, x));
        self.run(Many(per_byte, q, x))
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({})", self.tier)
    }
}

/// The kernels for codes of one tier, known when the caller is compiled, so that they become part of it. Who has one,
/// runs on a CPU that has the tier.
pub trait Codes: Copy {
    /// [`Kernel::codes`] of many, in fours; `sums` receives those of each.
    ///
    /// # Safety
    /// At each address is a code of whole blocks, with `per_byte` numbers a byte for all those of `q`, that nobody
    /// writes to meanwhile.
    unsafe fn many(self, per_byte: usize, q: &[i8], x: &[[CodeAt; 4]], sums: &mut [[i32; 4]]);
}

/// Work that is compiled once for each tier, with all the instructions that the tier's CPUs have.
pub trait Work {
    /// What comes of it.
    type Out;
    /// Does it. To be `#[inline(always)]`, with whatever it spends its time in, since what is not part of
    /// [`Kernel::run`] has only the instructions that every CPU has.
    fn run(self, codes: impl Codes) -> Self::Out;
}

/// The functions behind pointers: of whatever tier.
#[derive(Clone, Copy)]
struct Pointers(&'static CodeFunctions);

impl Codes for Pointers {
    #[inline(always)]
    unsafe fn many(self, per_byte: usize, q: &[i8], x: &[[CodeAt; 4]], sums: &mut [[i32; 4]]) {
        // SAFETY: only `Kernel` makes a `Pointers`, of its own functions; the rest is the caller's promise.
        unsafe { (self.0.many[per_byte.trailing_zeros() as usize])(q, x, sums) }
    }
}

/// The scalar kernel's [`ManyCodes`], here because of its addresses.
///
/// # Safety
/// See [`ManyCodes`].
unsafe fn plain<const PER_BYTE: usize>(q: &[i8], x: &[[CodeAt; 4]], sums: &mut [[i32; 4]]) {
    for (x, sums) in x.iter().zip(sums) {
        // SAFETY: the caller's promise.
        *sums = x.map(|x| scalar::code::<PER_BYTE>(q, unsafe { std::slice::from_raw_parts(x, q.len() / PER_BYTE) }));
    }
}

impl Kernel {
    /// Does `work`, compiled for this tier.
    #[inline]
    pub fn run<W: Work>(&self, work: W) -> W::Out {
        #[cfg(target_arch = "x86_64")]
        match self.tier {
            // SAFETY: these functions are chosen only where the CPU has what they need (`Tier::codes`).
            Tier::Avx512 if std::ptr::eq(self.codes, &avx512::CODES) => return unsafe { avx512::run(work) },
            // SAFETY: as above.
            Tier::Avx2 if std::ptr::eq(self.codes, &avx2::CODES) => return unsafe { avx2::run(work) },
            _ => {}
        }
        work.run(Pointers(self.codes))
    }
}

/// Panics unless every vector of `x` is as long as `q`: what the functions behind the pointers rely on.
#[inline(always)]
fn check<T, const N: usize>(q: &[T], x: &[&[T]; N]) {
    for x in x {
        if x.len() != q.len() {
            lengths_differ(q.len(), x.len());
        }
    }
}

/// Panics unless every code is whole blocks and has `per_byte` numbers a byte for those of `q`.
#[inline(always)]
fn check_codes<const N: usize>(q: &[i8], per_byte: usize, x: &[&[u8]; N]) {
    for x in x {
        if x.len() * per_byte != q.len() || x.len() % CODE_BLOCK != 0 || !matches!(per_byte, 1 | 2 | 4 | 8) {
            lengths_differ(q.len(), x.len() * per_byte);
        }
    }
}

/// Out of line, so that the check costs its callers no more than a compare.
#[cold]
#[inline(never)]
fn lengths_differ(a: usize, b: usize) -> ! {
    panic!("vectors of {a} and {b} dimensions have no distance");
}

/// The bytes that a prefetch fetches. Some CPUs fetch more; none that we know of fetches less.
pub const LINE: usize = 64;

/// Asks for every cache line of the `bytes` at `at`, to be found in the nearest cache a little later.
///
/// A hint: no address faults, mapped or not. On a CPU for which we know no such instruction it does nothing.
#[inline(always)]
pub fn prefetch(at: *const u8, bytes: usize) {
    let skipped = at.addr() % LINE;
    let first = at.wrapping_sub(skipped);
    for line in 0..(skipped + bytes).div_ceil(LINE) {
        prefetch_line(first.wrapping_add(line * LINE));
    }
}

/// As [`prefetch`], of so many lines from one that begins at `at`.
#[inline(always)]
pub fn prefetch_lines(at: *const u8, lines: usize) {
    // Counting takes longer than asking for a line or two.
    match lines {
        1 => prefetch_line(at),
        2 => [0, 1].into_iter().for_each(|line| prefetch_line(at.wrapping_add(line * LINE))),
        _ => (0..lines).for_each(|line| prefetch_line(at.wrapping_add(line * LINE))),
    }
}

/// Asks for the cache line that holds `at`, as [`prefetch`] does for many.
#[inline(always)]
pub fn prefetch_line(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 CPU has the instruction; it reads nothing and ignores addresses that are not mapped.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    {
        // SAFETY: every 64-bit Arm CPU has the instruction; it changes no register, flag or memory, and ignores
        // addresses that are not mapped. (The intrinsic for it is not stable yet.)
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nomem, nostack, preserves_flags));
        }
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = at;
}
