//! What one number of a row looks like in a file.

use lodestore::f16;

use super::Block;

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

    /// Room for rows of these.
    pub(crate) fn block(self) -> Block {
        match self {
            Self::F16 => Block::F16(Vec::new()),
            Self::I8 => Block::I8(Vec::new()),
            Self::U8 => Block::U8(Vec::new()),
            Self::F32 | Self::F64 | Self::I32 => Block::F32(Vec::new()),
        }
    }

    /// Appends the elements of `row` to a block that was [made](Self::block) for them; `f64` is rounded, which may give
    /// an infinity.
    pub(crate) fn decode(self, row: &[u8], out: &mut Block) {
        match (self, out) {
            (Self::F64, Block::F32(out)) => out.extend(array(row).map(|b| f64::from_le_bytes(b) as f32)),
            (Self::I32, Block::F32(out)) => out.extend(array(row).map(|b| i32::from_le_bytes(b) as f32)),
            (_, Block::F32(out)) => out.extend(array(row).map(f32::from_le_bytes)),
            (_, Block::F16(out)) => out.extend(array(row).map(f16::from_le_bytes)),
            (_, Block::I8(out)) => out.extend(row.iter().map(|&b| b.cast_signed())),
            (_, Block::U8(out)) => out.extend_from_slice(row),
        }
    }
}

/// The row in pieces of `N` bytes.
pub(crate) fn array<const N: usize>(row: &[u8]) -> impl Iterator<Item = [u8; N]> {
    row.as_chunks::<N>().0.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_decodes() {
        let decoded = |element: Element, row: &[u8]| {
            let mut out = element.block();
            element.decode(row, &mut out);
            out
        };
        assert_eq!(decoded(Element::F32, &1.5f32.to_le_bytes()), Block::F32(vec![1.5]));
        assert_eq!(decoded(Element::F64, &2.5f64.to_le_bytes()), Block::F32(vec![2.5]));
        assert_eq!(decoded(Element::F16, &0x3c00u16.to_le_bytes()), Block::F16(vec![f16::ONE]));
        assert_eq!(decoded(Element::I8, &[0xff]), Block::I8(vec![-1]));
        assert_eq!(decoded(Element::U8, &[0xff]), Block::U8(vec![255]));
        assert_eq!(decoded(Element::I32, &(-7i32).to_le_bytes()), Block::F32(vec![-7.0]));
    }
}
