//! One set of properties for every tier.
//!
//! A tier that this CPU lacks cannot be tested and says so, unless `LODESTORE_TEST_TIERS` (a list such as
//! `avx2,avx512`) names it: then its tests fail, so that a machine that is meant to cover a tier does.

#![forbid(unsafe_code)]

mod elements;
mod lookups;

use super::{CODE_BLOCK, Kernel, Tier, prefetch, prefetch_line};

macro_rules! tests_of {
    ($name:ident, $tier:expr) => {
        mod $name {
            use super::{Tier, tier};

            #[test]
            fn is_close_to_f64() {
                tier($tier, super::is_close_to_f64);
            }

            #[test]
            fn has_no_favourite_alignment() {
                tier($tier, super::has_no_favourite_alignment);
            }

            #[test]
            fn four_are_four_times_one() {
                tier($tier, super::four_are_four_times_one);
            }

            #[test]
            fn order_of_a_pair_does_not_matter() {
                tier($tier, super::order_of_a_pair_does_not_matter);
            }

            #[test]
            fn distance_to_itself_is_zero() {
                tier($tier, super::distance_to_itself_is_zero);
            }

            #[test]
            fn every_element_counts_once() {
                tier($tier, super::every_element_counts_once);
            }

            #[test]
            fn nothing_beyond_the_end_counts() {
                tier($tier, super::nothing_beyond_the_end_counts);
            }

            #[test]
            fn codes_are_added_up_exactly() {
                tier($tier, super::codes_are_added_up_exactly);
            }

            #[test]
            fn lookups_are_added_up_exactly() {
                tier($tier, super::lookups::are_added_up_exactly);
            }

            #[test]
            fn snapshots_are_copies() {
                tier($tier, super::lookups::snapshots_are_copies);
            }

            #[test]
            fn unequal_lengths_panic() {
                tier($tier, super::unequal_lengths_panic);
            }

            #[test]
            fn halves_mean_what_they_stand_for() {
                tier($tier, super::elements::halves_mean_what_they_stand_for);
            }

            #[test]
            fn halves_are_added_up() {
                tier($tier, super::elements::halves_are_added_up);
            }

            #[test]
            fn halves_have_no_order() {
                tier($tier, super::elements::halves_have_no_order);
            }

            #[test]
            fn whole_numbers_are_exact() {
                tier($tier, super::elements::whole_numbers_are_exact);
            }

            #[test]
            fn unequal_bytes_panic() {
                tier($tier, super::elements::unequal_bytes_panic);
            }
        }
    };
}

tests_of!(scalar, Tier::Scalar);
tests_of!(avx2, Tier::Avx2);
tests_of!(avx512, Tier::Avx512);
tests_of!(neon, Tier::Neon);

/// Runs a property with the kernel of a tier, or says that it could not.
fn tier(tier: Tier, property: fn(Kernel)) {
    match Kernel::of(tier) {
        Some(kernel) => {
            assert_eq!(kernel.tier(), tier);
            property(kernel);
        }
        None => {
            assert!(!demanded().contains(&tier), "LODESTORE_TEST_TIERS names {tier}, but this CPU does not have it")
        }
    }
}

/// The tiers that must be testable here.
fn demanded() -> Vec<Tier> {
    let list = std::env::var("LODESTORE_TEST_TIERS").unwrap_or_default();
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let tier = Tier::ALL.into_iter().find(|tier| tier.name() == name);
            tier.unwrap_or_else(|| panic!("LODESTORE_TEST_TIERS names {name:?}, which is no tier"))
        })
        .collect()
}

#[test]
fn demanded_tiers_are_here() {
    for tier in Tier::ALL {
        println!("{tier}: {}", if tier.is_available() { "tested" } else { "NOT TESTED, this CPU does not have it" });
    }
    for tier in demanded() {
        assert!(tier.is_available(), "LODESTORE_TEST_TIERS names {tier}, but this CPU does not have it");
    }
}

/// Every tail of every kernel, and the dimensions that people use. Miri takes its time, so it gets the edges only.
fn lengths() -> Vec<usize> {
    if cfg!(miri) {
        return vec![0, 1, 3, 4, 15, 16, 17, 63, 64, 65, 127, 130];
    }
    (0..=130).chain([384, 768, 900, 960, 1536]).collect()
}

/// Random numbers that are the same on every run (SplitMix64).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between -1 and 1.
    fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn vector(&mut self, length: usize, magnitudes: Magnitudes) -> Vec<f32> {
        (0..length)
            .map(|_| match magnitudes {
                Magnitudes::All(scale) => self.unit() * scale,
                // Squares and products of these neither overflow nor, mostly, vanish.
                Magnitudes::Mixed => self.unit() * 10f32.powi((self.bits() % 25) as i32 - 12),
            })
            .collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Magnitudes {
    All(f32),
    Mixed,
}

const MAGNITUDES: [Magnitudes; 4] =
    [Magnitudes::All(1.0), Magnitudes::All(1e15), Magnitudes::All(1e-15), Magnitudes::Mixed];

/// Checks a result against the sum of its terms in f64. Rounding is bounded by the sum of their absolute values, which
/// is what an inner product near zero must be measured by.
fn assert_close(got: f32, a: &[f32], b: &[f32], term: fn(f64, f64) -> f64, what: &str) {
    let terms = || a.iter().zip(b).map(|(&a, &b)| term(a.into(), b.into()));
    let (sum, absolute) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
    let error = (f64::from(got) - sum).abs();
    assert!(error <= 1e-5 * absolute, "{what} of length {}: {got} instead of {sum}, terms of {absolute}", a.len());
}

fn assert_both_close(kernel: Kernel, a: &[f32], b: &[f32]) {
    assert_close(kernel.l2(a, b), a, b, |a, b| (a - b) * (a - b), "l2");
    assert_close(kernel.dot(a, b), a, b, |a, b| a * b, "dot");
}

fn is_close_to_f64(kernel: Kernel) {
    let mut random = Random(1);
    for length in lengths() {
        for magnitudes in MAGNITUDES {
            let (a, b) = (random.vector(length, magnitudes), random.vector(length, magnitudes));
            assert_both_close(kernel, &a, &b);
        }
    }
}

/// Same bits wherever the vectors start, at any distance from a cache line.
fn has_no_favourite_alignment(kernel: Kernel) {
    let mut random = Random(2);
    for length in lengths() {
        let (a, b) = (random.vector(length, MAGNITUDES[0]), random.vector(length, MAGNITUDES[0]));
        let (l2, dot) = (kernel.l2(&a, &b), kernel.dot(&a, &b));
        let starts = if length <= 130 && !cfg!(miri) { 17 } else { 3 };
        for start in 1..starts {
            let moved = |vector: &[f32], start| [vec![f32::NAN; start], vector.to_vec()].concat();
            let (a, b) = (moved(&a, start), moved(&b, 2 * start + 1));
            let (a, b) = (&a[start..], &b[2 * start + 1..]);
            assert_eq!(kernel.l2(a, b).to_bits(), l2.to_bits(), "length {length}, start {start}");
            assert_eq!(kernel.dot(a, b).to_bits(), dot.to_bits(), "length {length}, start {start}");
        }
    }
}

fn four_are_four_times_one(kernel: Kernel) {
    let mut random = Random(3);
    for length in lengths() {
        for magnitudes in MAGNITUDES {
            let q = random.vector(length, magnitudes);
            let x: [Vec<f32>; 4] = std::array::from_fn(|_| random.vector(length, magnitudes));
            let x = x.each_ref().map(Vec::as_slice);
            let l2 = x.map(|x| kernel.l2(&q, x).to_bits());
            let dot = x.map(|x| kernel.dot(&q, x).to_bits());
            assert_eq!(kernel.l2_4(&q, x).map(f32::to_bits), l2, "length {length}, {magnitudes:?}");
            assert_eq!(kernel.dot_4(&q, x).map(f32::to_bits), dot, "length {length}, {magnitudes:?}");
        }
    }
}

fn order_of_a_pair_does_not_matter(kernel: Kernel) {
    let mut random = Random(4);
    for length in lengths() {
        for magnitudes in MAGNITUDES {
            let (a, b) = (random.vector(length, magnitudes), random.vector(length, magnitudes));
            assert_eq!(kernel.l2(&a, &b).to_bits(), kernel.l2(&b, &a).to_bits(), "length {length}, {magnitudes:?}");
            assert_eq!(kernel.dot(&a, &b).to_bits(), kernel.dot(&b, &a).to_bits(), "length {length}, {magnitudes:?}");
        }
    }
}

fn distance_to_itself_is_zero(kernel: Kernel) {
    let mut random = Random(5);
    for length in lengths() {
        for magnitudes in MAGNITUDES {
            let a = random.vector(length, magnitudes);
            assert_eq!(kernel.l2(&a, &a.clone()), 0.0, "length {length}, {magnitudes:?}");
            assert_eq!(kernel.l2_4(&a, [&a; 4]), [0.0; 4], "length {length}, {magnitudes:?}");
        }
    }
}

/// Small whole numbers add up exactly in any order, so here every tier must agree to the bit: an element that is left
/// out, or taken twice, or paired with the wrong one, shows.
fn every_element_counts_once(kernel: Kernel) {
    let mut random = Random(6);
    for length in lengths() {
        let mut whole = || -> Vec<f32> { (0..length).map(|_| (random.bits() % 61) as f32 - 30.0).collect() };
        let (q, x) = (whole(), [whole(), whole(), whole(), whole()]);
        let sums = |term: fn(f32, f32) -> f32| {
            x.each_ref().map(|x| q.iter().zip(x).map(|(&q, &x)| term(q, x) as i64).sum::<i64>() as f32)
        };
        let slices = x.each_ref().map(Vec::as_slice);
        let (l2, dot) = (sums(|q, x| (q - x) * (q - x)), sums(|q, x| q * x));
        assert_eq!(slices.map(|x| kernel.l2(&q, x)), l2, "length {length}");
        assert_eq!(slices.map(|x| kernel.dot(&q, x)), dot, "length {length}");
        assert_eq!(kernel.l2_4(&q, slices), l2, "length {length}");
        assert_eq!(kernel.dot_4(&q, slices), dot, "length {length}");
    }
}

/// Whatever follows a vector in memory leaves no trace in its distances.
fn nothing_beyond_the_end_counts(kernel: Kernel) {
    for length in lengths() {
        let vector = |value| [vec![value; length], vec![f32::NAN; 64]].concat();
        let (a, b) = (vector(2.0), vector(-1.0));
        let (a, b) = (&a[..length], &b[..length]);
        let (l2, dot) = (9.0 * length as f32, -2.0 * length as f32);
        assert_eq!((kernel.l2(a, b), kernel.dot(a, b)), (l2, dot), "length {length}");
        assert_eq!((kernel.l2_4(a, [b; 4]), kernel.dot_4(a, [b; 4])), ([l2; 4], [dot; 4]), "length {length}");
    }
}

fn unequal_lengths_panic(kernel: Kernel) {
    let panics = |call: &dyn Fn()| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
        let message = *result.expect_err("must panic").downcast::<String>().expect("a message");
        assert!(message.contains("dimensions"), "{message}");
    };
    let (long, short) = ([0.0; 17], [0.0; 16]);
    for (a, b) in [(&long[..], &short[..]), (&short[..], &long[..]), (&long[..], &[])] {
        panics(&|| _ = kernel.l2(a, b));
        panics(&|| _ = kernel.dot(a, b));
        for wrong in 0..4 {
            let mut x = [a; 4];
            x[wrong] = b;
            panics(&|| _ = kernel.l2_4(a, x));
            panics(&|| _ = kernel.dot_4(a, x));
        }
    }
}

#[test]
fn names_are_names_of_tiers() {
    for tier in Tier::ALL {
        match Kernel::named(tier.name()) {
            Ok(kernel) => assert_eq!(kernel.tier(), tier),
            Err(why) => {
                assert!(!tier.is_available(), "{why}");
                assert!(why.contains(tier.name()) && why.contains("LODESTORE_KERNEL"), "{why}");
            }
        }
    }
    for name in ["", "AVX2", "sse2", "avx2 "] {
        let why = Kernel::named(name).expect_err("no such tier");
        assert!(why.contains("scalar, avx2, avx512, neon"), "{why}");
    }
}

#[test]
fn best_is_better_than_scalar_where_it_can_be() {
    let best = Kernel::best().tier();
    println!("best: {best}, detected: {:?}", Kernel::detect());
    for tier in Tier::ALL.into_iter().filter(|tier| tier.is_available()) {
        let rank = |tier| Tier::ALL.into_iter().position(|other| other == tier);
        assert!(rank(tier) <= rank(best), "{tier} beats {best}");
    }
    assert_eq!(Kernel::detect().tier(), Kernel::detect().tier());
}

/// A hint cannot fail, whatever it is given.
#[test]
fn prefetch_takes_any_address() {
    let bytes = [0u8; 300];
    for start in [0, 1, 63, 64, 299] {
        for length in [0, 1, 64, 65, 300] {
            prefetch(bytes.as_ptr().wrapping_add(start), length);
        }
    }
    prefetch_line(std::ptr::null());
    prefetch(std::ptr::null(), 129);
    prefetch(std::ptr::without_provenance(usize::MAX - 10), 500);
}

/// Against sums in i64, with extreme and with random numbers, at every alignment.
fn codes_are_added_up_exactly(kernel: Kernel) {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for blocks in [1, 2, 3, 6, 12, 13, 1024] {
        let length = blocks * CODE_BLOCK;
        for kind in 0..4 {
            let mut number = || match kind {
                0 => 255,
                1 => next() | 127,
                _ => next(),
            };
            let offset = kind * 13 % CODE_BLOCK;
            let x: Vec<Vec<u8>> = (0..4).map(|_| (0..length + offset).map(|_| number()).collect()).collect();
            let x: [&[u8]; 4] = std::array::from_fn(|n| &x[n][offset..]);
            for per_byte in [1, 2, 4, 8] {
                let q: Vec<i8> = (0..per_byte * length)
                    .map(|_| match kind {
                        0 => 127,
                        1 => -127,
                        _ => next() as i8,
                    })
                    .collect();
                let bits = 8 / per_byte;
                let expected = x.map(|x| {
                    let of = |at: usize| {
                        let (step, inside) = (at / (per_byte * CODE_BLOCK), at % (per_byte * CODE_BLOCK));
                        let byte = u32::from(x[step * CODE_BLOCK + inside % CODE_BLOCK]);
                        byte >> (inside / CODE_BLOCK * bits) & ((1 << bits) - 1)
                    };
                    q.iter().enumerate().map(|(at, &q)| i64::from(q) * i64::from(of(at))).sum::<i64>()
                });
                let case = format!("{blocks} blocks, kind {kind}, {bits} bits");
                assert_eq!(kernel.codes_4(per_byte, &q, x).map(i64::from), expected, "{case}");
                let [a, b, c, d] = x;
                let sums = kernel.codes_many(per_byte, &q, &[x, [b, b, b, b], [d, c, b, a]]);
                let [e, f, g, h] = expected;
                assert_eq!(sums.map(|s| s.map(i64::from)), [expected, [f; 4], [h, g, f, e]], "{case}");
                assert_eq!(x.map(|x| i64::from(kernel.codes(per_byte, &q, x))), expected, "{case}");
            }
        }
    }
    let bad = |per_byte, q: usize, x: usize| {
        let call = || kernel.codes(per_byte, &vec![0; q], &vec![0; x]);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err()
    };
    assert!(
        bad(1, 64, 63) && bad(1, 63, 63) && bad(2, 64, 64) && bad(2, 64, 32) && bad(3, 192, 64) && bad(16, 1024, 64)
    );
}
