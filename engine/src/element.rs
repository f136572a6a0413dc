//! Element types: what a collection keeps the components of its vectors as.
//!
//! # Format of a stored vector
//!
//! | element | bytes of a component | |
//! |---|---|---|
//! | `f32` | 4 | IEEE 754 binary32 |
//! | `f16` | 2 | IEEE 754 binary16 |
//! | `bf16` | 2 | the high half of a binary32 |
//! | `i8`, `u8` | 1 | whole numbers |
//! | `bits` | 1/8 | component i is bit i % 8, from the lowest up, of byte i / 8; the unused bits of the last byte are 0 |
//!
//! Numbers are little-endian. Every component of every type is an `f32` too, exactly.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::fmt;
use zerocopy::{FromBytes, IntoBytes};

/// What the components of a collection's vectors are kept as, which decides what memory they take and how distances are
/// computed.
///
/// ```
/// use lodestore_engine::Element;
/// assert_eq!(Element::from_name("bf16"), Some(Element::Bf16));
/// assert_eq!((Element::F16.bytes(100), Element::Bits.bytes(100)), (200, 13));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Element {
    /// `f32`, 4 bytes.
    #[default]
    F32,
    /// IEEE 754 binary16, 2 bytes: 11 significant bits, up to 65,504. Sums are computed in `f32`.
    F16,
    /// bfloat16, 2 bytes: 8 significant bits, the range of `f32`. Sums are computed in `f32`.
    Bf16,
    /// Whole numbers from −128 to 127, 1 byte. Sums are exact, and then rounded to `f32`.
    I8,
    /// Whole numbers from 0 to 255, 1 byte. Sums are exact, and then rounded to `f32`.
    U8,
    /// 0 or 1, eight components a byte; only with [`Metric::Hamming`](crate::Metric::Hamming).
    Bits,
}

impl Element {
    /// Every element type.
    pub const ALL: [Element; 6] = [Element::F32, Element::F16, Element::Bf16, Element::I8, Element::U8, Element::Bits];

    /// The name used in messages and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::Bf16 => "bf16",
            Element::I8 => "i8",
            Element::U8 => "u8",
            Element::Bits => "bits",
        }
    }

    /// The element type of that [`name`](Element::name).
    pub fn from_name(name: &str) -> Option<Element> {
        Element::ALL.into_iter().find(|element| element.name() == name)
    }

    /// The number used in files.
    pub fn code(self) -> u8 {
        match self {
            Element::F32 => 1,
            Element::F16 => 2,
            Element::Bf16 => 3,
            Element::I8 => 4,
            Element::U8 => 5,
            Element::Bits => 6,
        }
    }

    /// The element type of that [`code`](Element::code).
    pub fn from_code(code: u8) -> Option<Element> {
        Element::ALL.into_iter().find(|element| element.code() == code)
    }

    /// Bytes of a vector of `dim` components.
    pub fn bytes(self, dim: usize) -> usize {
        match self {
            Element::F32 => dim * 4,
            Element::F16 | Element::Bf16 => dim * 2,
            Element::I8 | Element::U8 => dim,
            Element::Bits => dim.div_ceil(8),
        }
    }

    /// Whether components are floats, so that queries are asked in `f32`.
    pub fn is_float(self) -> bool {
        matches!(self, Element::F32 | Element::F16 | Element::Bf16)
    }

    /// Appends the `dim` components of a stored vector to `out`, exactly.
    ///
    /// # Panics
    /// If `stored` has another length than [`bytes`](Self::bytes) says.
    pub fn decode(self, stored: &[u8], dim: usize, out: &mut Vec<f32>) {
        assert_eq!(stored.len(), self.bytes(dim), "bytes of a vector of {dim} components");
        let start = out.len();
        match self {
            Element::F32 => out.extend(stored.as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x))),
            // A slice at a time, which the CPU may have instructions for; slots and vectors of halves are aligned.
            Element::F16 => match <[f16]>::ref_from_bytes(stored) {
                Ok(halves) => {
                    out.resize(start + dim, 0.0);
                    halves.convert_to_f32_slice(&mut out[start..]);
                }
                Err(_) => out.extend(stored.as_chunks::<2>().0.iter().map(|&x| f16::from_le_bytes(x).to_f32())),
            },
            Element::Bf16 => out.extend(stored.as_chunks::<2>().0.iter().map(|&x| bf16::from_le_bytes(x).to_f32())),
            Element::I8 => out.extend(stored.iter().map(|&x| f32::from(x.cast_signed()))),
            Element::U8 => out.extend(stored.iter().map(|&x| f32::from(x))),
            Element::Bits => out.extend((0..dim).map(|at| f32::from(stored[at / 8] >> (at % 8) & 1))),
        }
    }

    /// As [`decode`](Self::decode), without copying where the components lie there as `f32` already; else `work`
    /// receives them.
    pub fn floats<'a>(self, stored: &'a [u8], dim: usize, work: &'a mut Vec<f32>) -> &'a [f32] {
        if self == Element::F32
            && let Ok(floats) = <[f32]>::ref_from_bytes(stored)
        {
            return floats;
        }
        work.clear();
        self.decode(stored, dim, work);
        work
    }

    /// Appends the bytes of a vector of finite components to `out`. Floats are rounded to the nearest, of two to the
    /// even one; other types take nothing but their own numbers.
    ///
    /// # Errors
    /// The first component that the type has no number for: too large, not whole, not 0 or 1. Nothing is appended then.
    pub fn encode(self, vector: &[f32], out: &mut Vec<u8>) -> Result<(), usize> {
        let unless = |bad: Option<usize>| bad.map_or(Ok(()), Err);
        // Of what is out of range, or no whole number, `as` makes something that differs.
        match self {
            Element::F32 => out.extend_from_slice(vector.as_bytes()),
            Element::F16 => {
                let mut halves = vec![f16::ZERO; vector.len()];
                halves.convert_from_f32_slice(vector);
                unless(halves.iter().position(|x| !x.is_finite()))?;
                out.extend_from_slice(halves.as_bytes());
            }
            Element::Bf16 => {
                let mut halves = vec![bf16::ZERO; vector.len()];
                halves.convert_from_f32_slice(vector);
                unless(halves.iter().position(|x| !x.is_finite()))?;
                out.extend_from_slice(halves.as_bytes());
            }
            Element::I8 => {
                unless(vector.iter().position(|&x| f32::from(x as i8) != x))?;
                out.extend(vector.iter().map(|&x| (x as i8).cast_unsigned()));
            }
            Element::U8 => {
                unless(vector.iter().position(|&x| f32::from(x as u8) != x))?;
                out.extend(vector.iter().map(|&x| x as u8));
            }
            Element::Bits => {
                unless(vector.iter().position(|&x| x != 0.0 && x != 1.0))?;
                let byte = |eight: &[f32]| (0..).zip(eight).map(|(at, &x)| u8::from(x == 1.0) << at).sum::<u8>();
                out.extend(vector.chunks(8).map(byte));
            }
        }
        Ok(())
    }

    /// Whether two stored vectors are at one point. Of floats, the two zeros are the same.
    pub(crate) fn same(self, a: &[u8], b: &[u8]) -> bool {
        // The first components settle it for all but true copies.
        match self {
            Element::F32 => {
                let floats = |x: &[u8; 4]| f32::from_le_bytes(*x);
                a.as_chunks().0.iter().map(floats).eq(b.as_chunks().0.iter().map(floats))
            }
            Element::F16 => {
                let floats = |x: &[u8; 2]| f16::from_le_bytes(*x);
                a.as_chunks().0.iter().map(floats).eq(b.as_chunks().0.iter().map(floats))
            }
            Element::Bf16 => {
                let floats = |x: &[u8; 2]| bf16::from_le_bytes(*x);
                a.as_chunks().0.iter().map(floats).eq(b.as_chunks().0.iter().map(floats))
            }
            _ => a == b,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A query, made ready for an element type.
#[derive(Clone, Copy, Debug)]
pub enum Query<'a> {
    /// Of `f32`, `f16` and `bf16`, which compare in `f32`: nothing of the query is lost.
    Floats(&'a [f32]),
    /// Of the others: bytes as a stored vector has.
    Stored(&'a [u8]),
}

impl<'a> Query<'a> {
    /// A stored vector of `dim` components, as a query; `work` may receive its components.
    ///
    /// # Panics
    /// As [`Element::decode`].
    pub fn of(element: Element, stored: &'a [u8], dim: usize, work: &'a mut Vec<f32>) -> Self {
        if element.is_float() { Query::Floats(element.floats(stored, dim, work)) } else { Query::Stored(stored) }
    }

    /// What the kernels take.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Query::Floats(floats) => floats.as_bytes(),
            Query::Stored(bytes) => bytes,
        }
    }

    /// Whether it is one for vectors of `dim` such components.
    pub fn fits(self, element: Element, dim: usize) -> bool {
        match self {
            Query::Floats(floats) => element.is_float() && floats.len() == dim,
            Query::Stored(bytes) => !element.is_float() && bytes.len() == element.bytes(dim),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_codes_round_trip() {
        for (at, element) in Element::ALL.into_iter().enumerate() {
            assert_eq!(Element::from_name(element.name()), Some(element));
            assert_eq!(Element::from_code(element.code()), Some(element));
            // Files have them.
            assert_eq!(usize::from(element.code()), at + 1);
        }
        assert_eq!((Element::from_code(0), Element::from_code(7), Element::from_name("F32")), (None, None, None));
    }

    fn encoded(element: Element, vector: &[f32]) -> Result<Vec<u8>, usize> {
        let mut out = vec![9];
        let result = element.encode(vector, &mut out);
        assert_eq!(out.remove(0), 9);
        assert!(result.is_ok() || out.is_empty());
        result.map(|()| out)
    }

    #[test]
    fn what_a_type_has_no_number_for_is_refused() {
        let fine = [0.0, 1.0, -0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        for element in Element::ALL {
            assert_eq!(encoded(element, &fine).unwrap().len(), element.bytes(9));
            let bad: &[f32] = match element {
                Element::F32 => &[],
                Element::F16 => &[65_520.0, -1e9, f32::MAX],
                Element::Bf16 => &[f32::MAX, -3.4e38],
                Element::I8 => &[128.0, -129.0, 0.5, 1e30],
                Element::U8 => &[256.0, -1.0, 0.5, f32::MIN_POSITIVE],
                Element::Bits => &[-1.0, 2.0, 0.5],
            };
            for &bad in bad {
                assert_eq!(encoded(element, &[1.0, 0.0, bad, bad]), Err(2), "{element} {bad}");
            }
        }
        assert_eq!(encoded(Element::Bits, &fine).unwrap(), [0b0001_1010, 1]);
        assert_eq!(encoded(Element::I8, &[-128.0, 127.0]).unwrap(), [0x80, 0x7F]);
        // To the nearest, of two to the even one.
        assert_eq!(encoded(Element::F16, &[65_519.0, 2049.0, 2051.0]).unwrap(), [0xFF, 0x7B, 0, 0x68, 2, 0x68]);
        assert_eq!(encoded(Element::Bf16, &[257.0, 259.0]).unwrap(), [0x80, 0x43, 0x82, 0x43]);
    }

    proptest! {
        /// What was stored comes out, and goes in again as it was; wherever it lies.
        #[test]
        fn stored_vectors_are_what_they_decode_to(seed in prop::collection::vec(any::<u8>(), 1..200), shift in 0usize..4) {
            for element in Element::ALL {
                let dim = match element {
                    Element::Bits => seed.len() * 8,
                    _ => seed.len() / element.bytes(1),
                };
                let bytes = element.bytes(dim);
                let placed = [&[0; 4][..shift], &seed[..bytes]].concat();
                let mut floats = vec![5.0];
                element.decode(&placed[shift..], dim, &mut floats);
                floats.remove(0);
                let mut work = Vec::new();
                let again = element.floats(&placed[shift..], dim, &mut work);
                prop_assert!(again.iter().zip(&floats).all(|(a, b)| a.to_bits() == b.to_bits()));
                if floats.iter().all(|x| x.is_finite()) {
                    prop_assert_eq!(encoded(element, &floats).unwrap(), &seed[..bytes]);
                    prop_assert!(element.same(&seed[..bytes], &placed[shift..]));
                }
            }
        }
    }
}
