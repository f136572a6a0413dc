//! Distance kernels: how far apart two vectors are, as fast as this CPU can say it.
//!
//! The same functions exist once per [`Tier`]. A [`Kernel`] is chosen once, when a store opens, and holds pointers to
//! the functions of one tier; the only ways to get one check the CPU first, so owning a `Kernel` proves that its
//! instructions exist here and its methods are safe.
//!
//! Vectors are bytes to the functions, so that a [`Compare`], chosen once for an element type and a sum, is all that a
//! walk needs to know of both. What the components of the two vectors of a pair are, little-endian:
//!
//! | | query `q` | stored `x` | sums |
//! |---|---|---|---|
//! | [`f32`](Kernel::f32) | `f32` | `f32` | in `f32` |
//! | [`f16`](Kernel::f16), [`bf16`](Kernel::bf16) | `f32` | 2 bytes | in `f32`, of the stored components made `f32` exactly |
//! | [`i8`](Kernel::i8), [`u8`](Kernel::u8) | 1 byte | 1 byte | exact, then rounded to `f32` |
//! | [`bits`](Kernel::bits) | 8 a byte | 8 a byte | exact, then rounded to `f32` |
//!
//! What every tier promises, and `tests.rs` checks for each of them:
//!
//! 1. Any length, any alignment. Rows that start on a 64-byte line are fastest.
//! 2. A pair has one distance within a tier: the `_4` forms give the bits of the single form, and swapping the two
//!    vectors changes nothing. How a search batches its candidates therefore never changes its answer. Tiers add floats
//!    in different orders and differ from each other in the last bits, so compare distances of one tier only.
//! 3. `l2(a, a)` is exactly 0 for finite `a`.
//!
//! Sums of floats stay in f32, in several independent accumulators: one chain of additions would wait for the latency
//! of every single one, and widening to f64 costs several times the time for digits a search does not need.
//!
//! Sums of bytes stay in lanes of 32 bits that wrap. The sums that can be as large as 2³² are not negative, and of
//! 65,536 components none is larger: 65,536 · 255² < 2³² (`squares_or_unsigned`); products of `i8` stay below 2³⁰.
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
mod lookups;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(test)]
mod tests;
mod tier;

pub use lookups::{ABREAST, Line};
pub use tier::Tier;

use lookups::{LookedUp, Snapshot, check_tables};

use std::env::{self, VarError};
use std::fmt;
use std::sync::OnceLock;

/// The environment variable that forces a tier by its name.
const VARIABLE: &str = "LODESTORE_KERNEL";

/// A sum over the components of one pair: of a query, and of a stored vector.
///
/// # Safety
/// - The CPU has the features of the tier whose function this is.
/// - Both vectors have the same number of components, of the kind that the function is for.
type One = unsafe fn(&[u8], &[u8]) -> f32;

/// The sums of one query with four stored vectors.
///
/// # Safety
/// As for [`One`], for each of the four pairs.
type Four = unsafe fn(&[u8], &[&[u8]; 4]) -> [f32; 4];

/// A sum, of one pair and of four.
#[derive(Clone, Copy)]
struct Sum {
    one: One,
    four: Four,
}

/// What one tier can do with components of one kind.
struct Functions {
    /// Of the squares of differences.
    l2: Sum,
    /// Of products.
    dot: Sum,
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

/// What one tier can do with codes of 1, 2, 4 and 8 numbers a byte, and with packed neighbourhoods.
struct CodeFunctions {
    one: [OneCode; 4],
    four: [FourCodes; 4],
    many: [ManyCodes; 4],
    snapshot: Snapshot,
    looked_up: LookedUp,
}

/// How a stored float lies in memory, for the tiers that have one text for all of them: these are told apart.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const SINGLE: usize = 4;
/// IEEE 754 binary16.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const HALF: usize = 2;
/// bfloat16, also of two bytes.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const BRAIN: usize = 3;

/// Bytes of a code that are taken at a time, and so the granule of its length.
pub const CODE_BLOCK: usize = 64;

/// The distance functions of one tier that this CPU has.
#[derive(Clone, Copy)]
pub struct Kernel {
    tier: Tier,
    f32: &'static Functions,
    halves: [&'static Functions; 2],
    bytes: [&'static Functions; 2],
    bits: &'static Sum,
    codes: &'static CodeFunctions,
}

/// One way of comparing vectors of one kind, given in bytes, by one tier that this CPU has.
#[derive(Clone, Copy)]
pub struct Compare {
    sum: Sum,
    /// A query has 2 to the power of this as many bytes as a stored vector.
    wider: u32,
}

/// The two ways of comparing numbers.
#[derive(Clone, Copy, Debug)]
pub struct Pairs {
    /// Σ (q − x)².
    pub l2: Compare,
    /// Σ q·x.
    pub dot: Compare,
}

impl Compare {
    /// The sum over one pair.
    ///
    /// # Panics
    /// If `q` and `x` have not the same number of components.
    #[inline]
    pub fn one(&self, q: &[u8], x: &[u8]) -> f32 {
        check_bytes(q, &[x], self.wider);
        // SAFETY: `Kernel::of` saw that the CPU has the tier, and the numbers of components are equal.
        unsafe { (self.sum.one)(q, x) }
    }

    /// [`one`](Self::one) of `q` and each of four vectors, bit for bit, reading `q` fewer times.
    ///
    /// # Panics
    /// As [`one`](Self::one).
    #[inline]
    pub fn four(&self, q: &[u8], x: [&[u8]; 4]) -> [f32; 4] {
        check_bytes(q, &x, self.wider);
        // SAFETY: `Kernel::of` saw that the CPU has the tier, and the numbers of components are equal.
        unsafe { (self.sum.four)(q, &x) }
    }
}

impl fmt::Debug for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compare({} to 1)", 1 << self.wider)
    }
}

impl Functions {
    fn pairs(&self, wider: u32) -> Pairs {
        Pairs { l2: Compare { sum: self.l2, wider }, dot: Compare { sum: self.dot, wider } }
    }
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
        let f32 = tier.f32()?;
        Some(Kernel { tier, f32, halves: tier.halves(), bytes: tier.bytes(), bits: tier.bits(), codes: tier.codes() })
    }

    /// For `f32` stored, `f32` asked.
    pub fn f32(&self) -> Pairs {
        self.f32.pairs(0)
    }

    /// For `f16` (IEEE 754 binary16) stored, `f32` asked.
    pub fn f16(&self) -> Pairs {
        self.halves[0].pairs(1)
    }

    /// For `bf16` (the high half of an `f32`) stored, `f32` asked.
    pub fn bf16(&self) -> Pairs {
        self.halves[1].pairs(1)
    }

    /// For `i8` stored and asked; exact up to 65,536 components.
    pub fn i8(&self) -> Pairs {
        self.bytes[0].pairs(0)
    }

    /// For `u8` stored and asked; exact up to 65,536 components.
    pub fn u8(&self) -> Pairs {
        self.bytes[1].pairs(0)
    }

    /// For bits stored and asked: how many differ.
    pub fn bits(&self) -> Compare {
        Compare { sum: *self.bits, wider: 0 }
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
        unsafe { (self.f32.l2.one)(bytes(a), bytes(b)) }
    }

    /// The inner product.
    ///
    /// # Panics
    /// If the lengths differ.
    #[inline]
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        check(a, &[b]);
        // SAFETY: `of` saw that the CPU has the tier, and the lengths are equal.
        unsafe { (self.f32.dot.one)(bytes(a), bytes(b)) }
    }

    /// [`l2`](Kernel::l2) of `q` to each of four vectors, reading `q` fewer times.
    ///
    /// # Panics
    /// If a length differs from that of `q`.
    #[inline]
    pub fn l2_4(&self, q: &[f32], x: [&[f32]; 4]) -> [f32; 4] {
        check(q, &x);
        // SAFETY: `of` saw that the CPU has the tier, and the lengths are equal.
        unsafe { (self.f32.l2.four)(bytes(q), &x.map(bytes)) }
    }

    /// [`dot`](Kernel::dot) of `q` with each of four vectors, reading `q` fewer times.
    ///
    /// # Panics
    /// If a length differs from that of `q`.
    #[inline]
    pub fn dot_4(&self, q: &[f32], x: [&[f32]; 4]) -> [f32; 4] {
        check(q, &x);
        // SAFETY: `of` saw that the CPU has the tier, and the lengths are equal.
        unsafe { (self.f32.dot.four)(bytes(q), &x.map(bytes)) }
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

/// The kernels for codes of one tier, known when the caller is compiled, so that they become part of it. Who has one,
/// runs on a CPU that has the tier.
pub trait Codes: Copy {
    /// [`Kernel::codes`] of many, in fours; `sums` receives those of each.
    ///
    /// # Safety
    /// At each address is a code of whole blocks, with `per_byte` numbers a byte for all those of `q`, that nobody
    /// writes to meanwhile.
    unsafe fn many(self, per_byte: usize, q: &[i8], x: &[[CodeAt; 4]], sums: &mut [[i32; 4]]);

    /// Copies as many lines as `to` has, each word of them as a relaxed atomic load would read it.
    ///
    /// # Safety
    /// From the address on, a multiple of 64, there are as many lines; whoever stores to them meanwhile uses atomics.
    unsafe fn snapshot(self, from: CodeAt, to: &mut [Line]);

    /// What [`ABREAST`] codes of 4 bits a place look up in a table of 16 numbers for each place, added up: of the 16
    /// bytes of a place, the low half of byte n is of code n, the high half of code n + 16. Exact up to 257 places,
    /// since 257 · 255 < 2¹⁶; then it wraps.
    ///
    /// # Panics
    /// If the two are not of one length, a multiple of [`CODE_BLOCK`].
    fn looked_up(self, tables: &[u8], codes: &[u8]) -> [u16; ABREAST];
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

    #[inline(always)]
    unsafe fn snapshot(self, from: CodeAt, to: &mut [Line]) {
        // SAFETY: as above; the rest is the caller's promise.
        unsafe { (self.0.snapshot)(from, to) }
    }

    #[inline(always)]
    fn looked_up(self, tables: &[u8], codes: &[u8]) -> [u16; ABREAST] {
        check_tables(tables, codes);
        let mut sums = [0; ABREAST];
        // SAFETY: as above, and the lengths are right.
        unsafe { (self.0.looked_up)(tables, codes, &mut sums) };
        sums
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

/// [`Codes::snapshot`] of words that start a line.
#[cfg(test)]
fn snapshot_of(codes: impl Codes, words: &[std::sync::atomic::AtomicU32], to: &mut [Line]) {
    assert!(words.as_ptr().cast::<Line>().is_aligned() && size_of_val(to) <= size_of_val(words));
    // SAFETY: just checked; all stores are through the atomics.
    unsafe { codes.snapshot(words.as_ptr().cast(), to) }
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

/// The bytes of floats.
#[inline(always)]
fn bytes(floats: &[f32]) -> &[u8] {
    // SAFETY: the same memory, borrowed as long; floats have no padding, and bytes no alignment.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), size_of_val(floats)) }
}

/// What a sum of 32 bits that may have wrapped stands for, if it is of squares or of products of `u8`.
fn squares_or_unsigned(sum: i32) -> f32 {
    sum.cast_unsigned() as f32
}

/// As [`squares_or_unsigned`], of any sum of bytes that the kernels make.
#[inline(always)]
fn whole<const SIGNED: bool, const L2: bool>(sum: i32) -> f32 {
    if SIGNED && !L2 { sum as f32 } else { squares_or_unsigned(sum) }
}

/// Fewer than 16 bytes, and zeros behind them. Copying so few, of a number not known beforehand, would take a call.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn few(bytes: &[u8]) -> u128 {
    let behind = |all: usize| 8 * (all - bytes.len()) as u32;
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        // What both have is shifted out of the second.
        let last = u64::from_le_bytes(*last).checked_shr(behind(16)).unwrap_or(0);
        return u128::from(u64::from_le_bytes(*first)) | u128::from(last) << 64;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let last = u32::from_le_bytes(*last).checked_shr(behind(8)).unwrap_or(0);
        return u128::from(u32::from_le_bytes(*first)) | u128::from(last) << 32;
    }
    bytes.iter().rev().fold(0, |all, &byte| all << 8 | u128::from(byte))
}

/// Panics unless every vector of `x` has as many components as `q`, which has 2 to the power of `wider` as many bytes.
#[inline(always)]
fn check_bytes<const N: usize>(q: &[u8], x: &[&[u8]; N], wider: u32) {
    for x in x {
        if x.len() << wider != q.len() {
            lengths_differ(q.len(), x.len() << wider);
        }
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
