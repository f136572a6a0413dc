//! Vectors as they are given: of any element type, made into a collection's own.

use crate::error::{Error, Result};
use half::{bf16, f16};
use lodestore_engine::{Element, Query};
use std::borrow::Cow;
use std::ops::Range;
use zerocopy::IntoBytes;

/// The components of one vector, or of several row by row, in the type they are given in.
///
/// Calls that take vectors take anything that makes this: slices, arrays and `Vec`s of `f32`, [`f16`](crate::f16),
/// [`bf16`](crate::bf16), `i8` and `u8`, by reference, and [`Bits`]. Given in the collection's own
/// [`Element`](crate::Element) nothing is converted. Otherwise every component must have a number of that type, or the
/// call is refused with [`Error::NotRepresentable`]: floats are rounded to the nearest `f16` or `bf16` that is finite,
/// `i8` and `u8` take whole numbers in their range, bits take 0 and 1. Queries of a collection of `f16` or `bf16` are
/// compared as they are, in `f32`, and not rounded.
///
/// ```
/// use lodestore::{Bits, Element, Error, Metric};
/// let store = lodestore::Store::in_memory()?;
/// let pixels = store.collection::<u64>("pixels").dim(3).element(Element::U8).create()?;
/// pixels.put(1, &[10u8, 0, 255], b"")?;
/// pixels.put(2, &[11.0, 0.0, 250.0], b"")?; // whole numbers, so nothing is lost
/// let hits = pixels.search(&[10u8, 0, 255]).run()?;
/// assert_eq!((hits[1].key, hits[1].distance), (2, 26.0));
/// assert!(matches!(pixels.put(3, &[0.5, 0.0, 0.0], b""), Err(Error::NotRepresentable { component: 0, .. })));
///
/// let prints = store.collection::<u64>("prints").dim(12).metric(Metric::Hamming).create()?;
/// prints.put(1, Bits(&[0b0000_0101, 0b0000_1000]), b"")?; // components 0, 2 and 11 are 1
/// assert_eq!(prints.search(Bits(&[0b0000_0100, 0])).run()?[0].distance, 2.0);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Components<'a> {
    /// `f32`.
    F32(&'a [f32]),
    /// IEEE 754 binary16.
    F16(&'a [f16]),
    /// bfloat16.
    Bf16(&'a [bf16]),
    /// Whole numbers from −128 to 127.
    I8(&'a [i8]),
    /// Whole numbers from 0 to 255.
    U8(&'a [u8]),
    /// 0 or 1, eight a byte.
    Bits(Bits<'a>),
}

/// Components that are 0 or 1, eight a byte: component i of a row is bit i % 8, from the lowest up, of its byte i / 8.
/// A row of `dim` components has `dim.div_ceil(8)` bytes, and the bits that its last byte has too many are 0.
///
/// ```
/// use lodestore::{Bits, Metric};
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(64).metric(Metric::Hamming).create()?;
/// docs.put_many(&[1, 2], Bits(&[0xFF; 16]), None)?;
/// assert_eq!(docs.get(2)?.unwrap().vector, [1.0; 64]);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits<'a>(pub &'a [u8]);

macro_rules! from_slices {
    ($($variant:ident($number:ty)),*) => {$(
        impl<'a> From<&'a [$number]> for Components<'a> {
            fn from(components: &'a [$number]) -> Self {
                Components::$variant(components)
            }
        }

        impl<'a> From<&'a Vec<$number>> for Components<'a> {
            fn from(components: &'a Vec<$number>) -> Self {
                Components::$variant(components)
            }
        }

        impl<'a, const N: usize> From<&'a [$number; N]> for Components<'a> {
            fn from(components: &'a [$number; N]) -> Self {
                Components::$variant(components)
            }
        }

        // What iterators over rows give.
        impl<'a> From<&&'a [$number]> for Components<'a> {
            fn from(components: &&'a [$number]) -> Self {
                Components::$variant(components)
            }
        }
    )*};
}

from_slices!(F32(f32), F16(f16), Bf16(bf16), I8(i8), U8(u8));

impl<'a> From<Bits<'a>> for Components<'a> {
    fn from(bits: Bits<'a>) -> Self {
        Components::Bits(bits)
    }
}

/// A collection's dimension and element type, and its name for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    pub(crate) name: &'a str,
    pub(crate) dim: usize,
    pub(crate) element: Element,
}

impl<'a> Components<'a> {
    fn element(self) -> Element {
        match self {
            Components::F32(_) => Element::F32,
            Components::F16(_) => Element::F16,
            Components::Bf16(_) => Element::Bf16,
            Components::I8(_) => Element::I8,
            Components::U8(_) => Element::U8,
            Components::Bits(_) => Element::Bits,
        }
    }

    /// As they lie in memory, which is as they are stored.
    fn bytes(self) -> &'a [u8] {
        match self {
            Components::F32(x) => x.as_bytes(),
            Components::F16(x) => x.as_bytes(),
            Components::Bf16(x) => x.as_bytes(),
            Components::I8(x) => x.as_bytes(),
            Components::U8(x) => x,
            Components::Bits(Bits(x)) => x,
        }
    }

    /// Whole rows of `dim` components that there are, and whether nothing is left behind them.
    pub(crate) fn rows(self, dim: usize) -> (usize, bool) {
        let (bytes, row) = (self.bytes().len(), self.element().bytes(dim));
        (bytes / row, bytes.is_multiple_of(row))
    }

    /// # Errors
    /// [`Error::Dimension`] unless it is one row.
    pub(crate) fn one_row(self, shape: Shape<'_>, row: usize) -> Result<()> {
        let (bytes, expected) = (self.bytes().len(), shape.dim);
        if bytes == self.element().bytes(expected) {
            return Ok(());
        }
        let got = match self {
            Components::Bits(_) => bytes * 8,
            _ => bytes / self.element().bytes(1),
        };
        Err(Error::Dimension { collection: shape.name.to_owned(), expected, got, row })
    }

    /// The rows as a collection stores them; the first of them is number `first`. Not looked at any further.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::NotRepresentable`].
    pub(crate) fn stored(self, shape: Shape<'_>, first: usize) -> Result<Cow<'a, [u8]>> {
        let (own, element, dim) = (self.element(), shape.element, shape.dim);
        if own == element {
            return Ok(Cow::Borrowed(self.bytes()));
        }
        let mut stored = Vec::with_capacity(self.rows(dim).0 * element.bytes(dim));
        self.each(dim, first, |row, floats| {
            let refuse = |component| Error::NotRepresentable { row, component, value: floats[component], element };
            element.encode(floats, &mut stored).map_err(refuse)
        })?;
        Ok(Cow::Owned(stored))
    }

    /// The rows in `f32`.
    fn floats(self, dim: usize) -> Result<Cow<'a, [f32]>> {
        if let Components::F32(floats) = self {
            return Ok(Cow::Borrowed(floats));
        }
        let mut all = Vec::with_capacity(self.rows(dim).0 * dim);
        self.each(dim, 0, |_, floats| {
            all.extend_from_slice(floats);
            Ok(())
        })?;
        Ok(Cow::Owned(all))
    }

    /// Hands on row after row, with its number, in `f32`.
    fn each(self, dim: usize, first: usize, mut take: impl FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
        let own = self.element();
        let mut floats = Vec::new();
        for (row, bytes) in (first..).zip(self.bytes().chunks_exact(own.bytes(dim))) {
            let floats = own.floats(bytes, dim, &mut floats);
            if let Some(component) = floats.iter().position(|x| !x.is_finite()) {
                return Err(Error::NotFinite { row, component, value: floats[component] });
            }
            if own == Element::Bits {
                check_spare_bits(bytes, dim, row)?;
            }
            take(row, floats)?;
        }
        Ok(())
    }
}

/// # Errors
/// [`Error::SpareBit`].
pub(crate) fn check_spare_bits(bytes: &[u8], dim: usize, row: usize) -> Result<()> {
    match bytes.last() {
        Some(last) if !dim.is_multiple_of(8) && last >> (dim % 8) != 0 => {
            let bit = dim / 8 * 8 + (7 - last.leading_zeros() as usize);
            Err(Error::SpareBit { row, bit, dim })
        }
        _ => Ok(()),
    }
}

/// Queries, row by row, made ready for a collection's element type.
pub(crate) enum Queries<'a> {
    Floats(Cow<'a, [f32]>),
    Stored(Cow<'a, [u8]>),
}

impl<'a> Queries<'a> {
    /// Whole rows only.
    ///
    /// # Errors
    /// As [`Components::stored`].
    pub(crate) fn new(components: Components<'a>, shape: Shape<'_>) -> Result<Self> {
        if shape.element.is_float() {
            Ok(Queries::Floats(components.floats(shape.dim)?))
        } else {
            Ok(Queries::Stored(components.stored(shape, 0)?))
        }
    }

    pub(crate) fn row(&self, shape: Shape<'_>, row: usize) -> Query<'_> {
        let of = |width: usize| -> Range<usize> { row * width..(row + 1) * width };
        match self {
            Queries::Floats(floats) => Query::Floats(&floats[of(shape.dim)]),
            Queries::Stored(bytes) => Query::Stored(&bytes[of(shape.element.bytes(shape.dim))]),
        }
    }
}
