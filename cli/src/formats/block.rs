//! Rows in memory.

use std::ops::Range;

use lodestore::{Components, f16};

/// Elements, row after row, in the type of their file if the library takes it, else in `f32`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Block {
    F32(Vec<f32>),
    F16(Vec<f16>),
    I8(Vec<i8>),
    U8(Vec<u8>),
}

impl Block {
    pub(crate) fn clear(&mut self) {
        match self {
            Self::F32(all) => all.clear(),
            Self::F16(all) => all.clear(),
            Self::I8(all) => all.clear(),
            Self::U8(all) => all.clear(),
        }
    }

    /// Elements in all.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(all) => all.len(),
            Self::F16(all) => all.len(),
            Self::I8(all) => all.len(),
            Self::U8(all) => all.len(),
        }
    }

    /// Some of them.
    pub(crate) fn part(&self, range: Range<usize>) -> Components<'_> {
        match self {
            Self::F32(all) => Components::from(&all[range]),
            Self::F16(all) => Components::from(&all[range]),
            Self::I8(all) => Components::from(&all[range]),
            Self::U8(all) => Components::from(&all[range]),
        }
    }

    /// Keeps the first so many.
    pub(crate) fn truncate(&mut self, len: usize) {
        match self {
            Self::F32(all) => all.truncate(len),
            Self::F16(all) => all.truncate(len),
            Self::I8(all) => all.truncate(len),
            Self::U8(all) => all.truncate(len),
        }
    }
}

impl<'a> From<&'a Block> for Components<'a> {
    fn from(block: &'a Block) -> Self {
        block.part(0..block.len())
    }
}
