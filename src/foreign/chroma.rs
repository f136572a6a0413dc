//! The index that Chroma keeps of a collection, in the directory of its vector segment.
//!
//! # Format
//!
//! | file | content |
//! |---|---|
//! | `header.bin` | i32 1, then the header of an index of [`hnswlib`] |
//! | `data_level0.bin` | its elements, for as many as there is room |
//! | `link_lists.bin` | its upper lists |
//! | `length.bin` | f32 for each element: how long the vector was before it was normalised |
//!
//! Labels are numbers that Chroma gives; `index_metadata.pickle` and the database have the ids that they stand for. What
//! was added since Chroma last wrote the index is in the database only.

use super::bytes::Bytes;
use super::hnswlib::{self, Index, Reading};
use crate::error::Result;

/// The bytes of a segment's files.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Of `header.bin`.
    pub header: &'a [u8],
    /// Of `data_level0.bin`.
    pub data_level0: &'a [u8],
    /// Of `link_lists.bin`.
    pub link_lists: &'a [u8],
}

/// Reads an index; `reading` says of which dimension it is, if that is known.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) with the file and the byte at which it is not what Chroma writes.
pub fn read(segment: &Segment<'_>, reading: &Reading) -> Result<Index> {
    let files = ["header.bin", "data_level0.bin", "link_lists.bin"];
    let mut bytes = Bytes::new(segment.header, files[0]);
    let version = bytes.u32("the version")?;
    if version != 1 {
        return Err(bytes.wrong(format!("version {version}; 1 is read")));
    }
    hnswlib::read_split(&segment.header[bytes.at()..], segment.data_level0, segment.link_lists, files, reading)
}
