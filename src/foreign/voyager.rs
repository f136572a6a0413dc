//! Files of Voyager: hnswlib's index behind a header that says what it is.
//!
//! # Format
//!
//! `"VOYA"`, i32 1, i32 dimension, u8 space (0 Euclidean, 1 inner product, 2 cosine), u8 storage (0x10, 0x20 or 0x30),
//! f32 longest norm, u8 transform; then an index as [`hnswlib`] has it, with vectors of the storage. Format
//! 0 has no header. With the transform vectors have one component more, so that inner products become distances.
//!
//! | storage | a component |
//! |---|---|
//! | 0x10 | i8, of 127ths |
//! | 0x20 | f32 |
//! | 0x30 | u8: sign in bit 0, 4 bits of exponent (bias 7), 3 bits of fraction; the last two are no numbers |

use super::bytes::Bytes;
use super::hnswlib::{self, Index, Reading, Vectors};
use crate::error::Result;
use lodestore_engine::Metric;

const MAGIC: [u8; 4] = *b"VOYA";

/// An index read from a file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Read {
    /// The index; its keys are ids.
    pub index: Index,
    /// The metric, if the file says so. Under cosine vectors are normalised.
    pub metric: Option<Metric>,
}

/// Whether this is a file of format 1 or later.
pub fn has_header(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Reads what Voyager's `Index.save` has written, in format 1 or 0; `file` is its name, for errors. `reading` is for
/// format 0, which does not say what it holds.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) with the byte at which the file is not what Voyager writes; of a later
/// format, too, and of an index of inner products that was transformed to distances, whose vectors are longer than those
/// given.
pub fn read(bytes: &[u8], file: &str, reading: &Reading) -> Result<Read> {
    if !has_header(bytes) {
        return Ok(Read { index: hnswlib::read(bytes, file, reading)?, metric: None });
    }
    let all = bytes;
    let mut bytes = Bytes::new(bytes, file);
    let what = "the header";
    bytes.take(MAGIC.len(), what)?;
    let version = bytes.u32(what)?;
    if version != 1 {
        return Err(bytes.wrong(format!("format {version} of Voyager; 0 and 1 are read")));
    }
    let dim = bytes.u32(what)? as usize;
    let metric = match bytes.u8(what)? {
        0 => Metric::L2,
        1 => Metric::InnerProduct,
        2 => Metric::Cosine,
        other => return Err(bytes.wrong(format!("space {other}; 0, 1 and 2 are known"))),
    };
    let storage = bytes.u8(what)?;
    bytes.u32(what)?;
    if bytes.u8(what)? != 0 {
        return Err(bytes.wrong("inner products that were transformed to distances: its vectors are not those given"));
    }
    let values = match storage {
        0x10 => Some(Box::new(std::array::from_fn(|byte| f32::from(byte as u8 as i8) / 127.0))),
        0x20 => None,
        0x30 => Some(Box::new(std::array::from_fn(|byte| small_float(byte as u8)))),
        other => return Err(bytes.wrong(format!("storage 0x{other:02x}; 0x10, 0x20 and 0x30 are known"))),
    };
    let from = bytes.at();
    let vectors = Vectors { dim, values };
    let index = hnswlib::read_with(Bytes::new(&all[from..], file).from(from), |width, bytes| {
        if dim == 0 || vectors.values.is_none() && !width.is_multiple_of(4) || width != vectors.width() {
            return Err(bytes.wrong(format!("vectors of {width} bytes, where {dim} components were due")));
        }
        Ok(vectors)
    })?;
    Ok(Read { index, metric: Some(metric) })
}

/// The value of a byte of storage 0x30.
fn small_float(byte: u8) -> f32 {
    let (exponent, fraction) = (i32::from(byte >> 1 & 15), f32::from(byte >> 5) / 8.0);
    let size = match (exponent, byte >> 5) {
        (15, 7) => f32::NAN,
        (0, _) => fraction * 2f32.powi(-7),
        _ => (1.0 + fraction) * 2f32.powi(exponent - 7),
    };
    if byte & 1 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::small_float;

    #[test]
    fn small_floats() {
        let bytes = [0, 2, 3, 0x20, 0xE0, 14, 0x2E, 0xDE];
        let expected = [0.0, 2f32.powi(-6), -(2f32.powi(-6)), 2f32.powi(-10), 7.0 * 2f32.powi(-10), 1.0, 1.125, 448.0];
        assert_eq!(bytes.map(small_float), expected);
        assert!(small_float(0xFE).is_nan() && small_float(0xFF).is_nan());
    }
}
