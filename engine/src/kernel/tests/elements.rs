//! The properties of the kernels for other elements than `f32`.

use super::super::{Compare, Kernel, Pairs};
use super::{MAGNITUDES, Random, lengths};

/// What a binary16 stands for, by its definition.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1F), f64::from(bits & 0x3FF));
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        0x1F => f64::INFINITY,
        _ => sign * (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

/// What a bfloat16 stands for.
fn brain(bits: u16) -> f64 {
    f32::from_bits(u32::from(bits) << 16).into()
}

/// A kind of halves: its kernels, what the bits mean, and those of a random number near 1 in size.
type Half = (Pairs, fn(u16) -> f64, fn(&mut Random) -> u16);

fn halves(kernel: Kernel) -> [Half; 2] {
    let random_half = |random: &mut Random| (random.bits() & 0x83FF) as u16 | (10 + (random.bits() % 6) as u16) << 10;
    let random_brain = |random: &mut Random| (random.unit().to_bits() >> 16) as u16;
    [(kernel.f16(), half, random_half), (kernel.bf16(), brain, random_brain)]
}

fn float_bytes(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn half_bytes(halves: &[u16]) -> Vec<u8> {
    halves.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Every finite number comes out as what it stands for, wherever in a register it lies.
pub(super) fn halves_mean_what_they_stand_for(kernel: Kernel) {
    let step = if cfg!(miri) { 997 } else { 1 };
    for (pairs, meaning, _) in halves(kernel) {
        for length in [1, 3, 64, 71] {
            let mut at = 0;
            let (mut q, mut x) = (vec![0.0f32; length], vec![0u16; length]);
            for bits in
                (0..=u16::MAX).step_by(step).filter(|&bits| meaning(bits).is_finite() && bits & 0x7C00 != 0x7C00)
            {
                (q[at], x[at]) = (0.0, 0);
                at = (at + 1) % length;
                (q[at], x[at]) = (1.0, bits);
                let dot = pairs.dot.one(&float_bytes(&q), &half_bytes(&x));
                assert_eq!(f64::from(dot), meaning(bits), "{bits:#06x} at {at} of {length}");
            }
        }
    }
}

/// Near the sums in f64; four are four times one; where the bytes lie changes nothing, nor what follows them.
pub(super) fn halves_are_added_up(kernel: Kernel) {
    let mut random = Random(11);
    for (pairs, meaning, next) in halves(kernel) {
        for length in lengths() {
            let q = random.vector(length, MAGNITUDES[0]);
            let x: [Vec<u16>; 4] = std::array::from_fn(|_| (0..length).map(|_| next(&mut random)).collect());
            let start = length % 7;
            let placed = |bytes: Vec<u8>| [vec![0xFF; start], bytes, vec![0x7B; 70]].concat();
            let (q_bytes, x_bytes) = (placed(float_bytes(&q)), x.each_ref().map(|x| placed(half_bytes(x))));
            let q_bytes = &q_bytes[start..start + 4 * length];
            let x_bytes = x_bytes.each_ref().map(|x| &x[start..start + 2 * length]);
            for (sum, term) in [
                (pairs.l2, (|a, b| (a - b) * (a - b)) as fn(f64, f64) -> f64),
                (pairs.dot, (|a, b| a * b) as fn(f64, f64) -> f64),
            ] {
                let one = x_bytes.map(|x| sum.one(q_bytes, x));
                assert_eq!(sum.four(q_bytes, x_bytes).map(f32::to_bits), one.map(f32::to_bits), "length {length}");
                let (q_again, x_again) = (float_bytes(&q), half_bytes(&x[1]));
                assert_eq!(sum.one(&q_again, &x_again).to_bits(), one[1].to_bits(), "length {length}, elsewhere");
                for (got, x) in one.iter().zip(&x) {
                    let terms = || q.iter().zip(x).map(|(&q, &x)| term(q.into(), meaning(x)));
                    let (exact, absolute) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
                    assert!((f64::from(*got) - exact).abs() <= 1e-5 * absolute, "length {length}: {got}, {exact}");
                }
            }
        }
    }
}

/// A pair of stored vectors, either of them taken as the query, has one distance; of a vector to itself it is 0.
pub(super) fn halves_have_no_order(kernel: Kernel) {
    let mut random = Random(12);
    for (pairs, meaning, next) in halves(kernel) {
        for length in lengths() {
            let [a, b]: [Vec<u16>; 2] = std::array::from_fn(|_| (0..length).map(|_| next(&mut random)).collect());
            let query = |x: &[u16]| float_bytes(&x.iter().map(|&x| meaning(x) as f32).collect::<Vec<_>>());
            let (a_bytes, b_bytes) = (half_bytes(&a), half_bytes(&b));
            for sum in [pairs.l2, pairs.dot] {
                let (there, back) = (sum.one(&query(&a), &b_bytes), sum.one(&query(&b), &a_bytes));
                assert_eq!(there.to_bits(), back.to_bits(), "length {length}");
            }
            assert_eq!(pairs.l2.four(&query(&a), [&a_bytes; 4]), [0.0; 4], "length {length}");
        }
    }
}

/// Bytes and bits: exactly, with random and with extreme numbers, at every alignment, up to the largest dimension.
pub(super) fn whole_numbers_are_exact(kernel: Kernel) {
    let mut random = Random(13);
    let mut lengths = lengths();
    if !cfg!(miri) {
        lengths.extend([4096, 65_535, 65_536]);
    }
    type Kind = (Compare, fn(u8, u8) -> i64);
    let kinds: [Kind; 5] = [
        (kernel.i8().l2, |a, b| (i64::from(a.cast_signed()) - i64::from(b.cast_signed())).pow(2)),
        (kernel.i8().dot, |a, b| i64::from(a.cast_signed()) * i64::from(b.cast_signed())),
        (kernel.u8().l2, |a, b| (i64::from(a) - i64::from(b)).pow(2)),
        (kernel.u8().dot, |a, b| i64::from(a) * i64::from(b)),
        (kernel.bits(), |a, b| i64::from((a ^ b).count_ones())),
    ];
    for &length in &lengths {
        // Random; then what makes each sum largest, of products and of differences, or smallest.
        for (q_byte, x_byte) in
            [(None, None), (Some(255), Some(255)), (Some(128), Some(127)), (Some(0), Some(255)), (Some(128), Some(128))]
        {
            let start = length % 33;
            let mut bytes = |byte: Option<u8>| {
                let inside: Vec<u8> = (0..length).map(|_| byte.unwrap_or_else(|| random.bits() as u8)).collect();
                [vec![0x55; start], inside, vec![0xAA; 70]].concat()
            };
            let (q, x) = (bytes(q_byte), [x_byte, x_byte, None, x_byte].map(&mut bytes));
            let (q, x) = (&q[start..start + length], x.each_ref().map(|x| &x[start..start + length]));
            for (kind, (sum, term)) in kinds.iter().enumerate() {
                let expected = x.map(|x| q.iter().zip(x).map(|(&q, &x)| term(q, x)).sum::<i64>() as f32);
                let case = format!("kind {kind}, length {length}, {q_byte:?} and {x_byte:?}");
                assert_eq!(x.map(|x| sum.one(q, x)), expected, "{case}");
                assert_eq!(sum.four(q, x), expected, "{case}");
                assert_eq!(x.map(|x| sum.one(x, q)), expected, "{case}, swapped");
            }
        }
    }
}

pub(super) fn unequal_bytes_panic(kernel: Kernel) {
    let panics = |call: &dyn Fn()| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).expect_err("must panic");
    };
    let (same, halved) = ([kernel.f32(), kernel.i8(), kernel.u8()], [kernel.f16(), kernel.bf16()]);
    let all = same.iter().map(|pairs| (pairs, 1)).chain(halved.iter().map(|pairs| (pairs, 2)));
    let compares = all.flat_map(|(pairs, wider)| [(pairs.l2, wider), (pairs.dot, wider)]).chain([(kernel.bits(), 1)]);
    for (compare, wider) in compares {
        let q = [0u8; 64];
        let good = &q[..64 / wider];
        assert_eq!(compare.four(&q, [good; 4]), [0.0; 4]);
        for bad in [&q[..64 / wider - 1], &q[..4], &[], &[0; 65]] {
            panics(&|| _ = compare.one(&q, bad));
            for wrong in 0..4 {
                let mut x = [good; 4];
                x[wrong] = bad;
                panics(&|| _ = compare.four(&q, x));
            }
        }
    }
}
