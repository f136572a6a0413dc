//! Numbers in a file that is not believed.

use crate::error::{Error, Result};

/// A file's bytes, and how far they are read.
pub(super) struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Of the first byte, in the file.
    from: usize,
    file: &'a str,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8], file: &'a str) -> Self {
        Self { bytes, at: 0, from: 0, file }
    }

    /// Of bytes that begin somewhere in the file.
    pub(super) fn from(self, from: usize) -> Self {
        Self { from, ..self }
    }

    pub(super) fn file(&self) -> &'a str {
        self.file
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// That the file is not what it should be, at the byte that comes next.
    pub(super) fn wrong(&self, what: impl Into<String>) -> Error {
        Error::Corrupt { file: self.file.to_owned(), offset: (self.from + self.at) as u64, what: what.into() }
    }

    pub(super) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8]> {
        if count > self.left() {
            return Err(self.wrong(format!("{what}: {count} bytes expected, {} are left", self.left())));
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self, what: &str) -> Result<u8> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(super) fn u16(&mut self, what: &str) -> Result<u16> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// All of it has been read.
    pub(super) fn end(&self) -> Result<()> {
        if self.left() == 0 { Ok(()) } else { Err(self.wrong(format!("the file goes on for {} bytes", self.left()))) }
    }
}
