//! What one number of a row looks like in a file.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F64,
    F16,
    I8,
    U8,
    I32,
}

impl Element {
    pub(crate) const fn bytes(self) -> u64 {
        match self {
            Self::F64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    /// Appends the elements of `row` as `f32`; `f64` is rounded, which may give an infinity.
    pub(crate) fn decode(self, row: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F32 => out.extend(array(row).map(f32::from_le_bytes)),
            Self::F64 => out.extend(array(row).map(|b| f64::from_le_bytes(b) as f32)),
            Self::F16 => out.extend(array(row).map(|b| half(u16::from_le_bytes(b)))),
            Self::I8 => out.extend(row.iter().map(|&b| f32::from(b.cast_signed()))),
            Self::U8 => out.extend(row.iter().map(|&b| f32::from(b))),
            Self::I32 => out.extend(array(row).map(|b| i32::from_le_bytes(b) as f32)),
        }
    }
}

/// The row in pieces of `N` bytes.
pub(crate) fn array<const N: usize>(row: &[u8]) -> impl Iterator<Item = [u8; N]> {
    row.as_chunks::<N>().0.iter().copied()
}

/// IEEE 754 binary16 to `f32`, exactly.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        0x1f if fraction == 0.0 => sign * f32::INFINITY,
        0x1f => f32::NAN,
        _ => sign * (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_values() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x3555, 0.333_251_95),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#06x}");
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn every_kind_decodes() {
        let mut out = Vec::new();
        Element::F32.decode(&1.5f32.to_le_bytes(), &mut out);
        Element::F64.decode(&2.5f64.to_le_bytes(), &mut out);
        Element::F16.decode(&0x3c00u16.to_le_bytes(), &mut out);
        Element::I8.decode(&[0xff], &mut out);
        Element::U8.decode(&[0xff], &mut out);
        Element::I32.decode(&(-7i32).to_le_bytes(), &mut out);
        assert_eq!(out, [1.5, 2.5, 1.0, -1.0, 255.0, -7.0]);
    }
}
