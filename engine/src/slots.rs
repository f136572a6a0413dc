//! What goes into a slot, and comes out of it: the vector with its scale, the code, the id.
//!
//! # Format of `c/<id>/vectors`
//!
//! Slots of [`Geometry::vector_stride`](crate::Geometry::vector_stride) bytes: the components as `element.rs` says,
//! under cosine at [`scale_at`](crate::Geometry::scale_at) their inverse norm (an `f32`), zeros for the rest.

use crate::codes::CodeQuery;
use crate::element::Query;
use crate::ids::{self, Id};
use crate::index::Index;
use crate::metric::{Metric, Point};
use crate::view;
use lodestore_wal::names::{self, Part};
use lodestore_wal::{DiskFile, Error, PAGE, Result};
use std::ops::Range;

/// The bytes that vectors take in consecutive slots of the segments.
#[derive(Debug, Default)]
pub struct SlotBytes {
    vectors: Vec<u8>,
    codes: Vec<u8>,
}

impl SlotBytes {
    /// Adds the bytes of the slots that follow.
    pub fn append(&mut self, next: &SlotBytes) {
        self.vectors.extend_from_slice(&next.vectors);
        self.codes.extend_from_slice(&next.codes);
    }
}

impl Index {
    /// Adds the bytes that `vectors` (as stored, row by row) take in consecutive slots.
    pub fn encode(&self, vectors: &[u8], bytes: &mut SlotBytes) {
        self.scratch.with(|scratch| self.encode_with(vectors, &mut scratch.query, bytes));
    }

    fn encode_with(&self, vectors: &[u8], work: &mut CodeQuery, bytes: &mut SlotBytes) {
        let geometry = self.geometry();
        let (stride, scale_at) = (geometry.vector_stride(), geometry.scale_at());
        let mut floats = Vec::new();
        for row in vectors.chunks_exact(geometry.vector_bytes()) {
            let at = bytes.vectors.len();
            bytes.vectors.resize(at + stride, 0);
            let out = &mut bytes.vectors[at..];
            out[..row.len()].copy_from_slice(row);
            if geometry.metric == Metric::Cosine {
                let scale = self.scale_of(row, &mut floats);
                out[scale_at..scale_at + 4].copy_from_slice(&scale.to_le_bytes());
            }
            if let Some(codes) = self.codes() {
                let at = bytes.codes.len();
                bytes.codes.resize(at + codes.windows.stride(), 0);
                let floats = geometry.element.floats(row, geometry.dim, &mut floats);
                codes.coder.encode(floats, work, &mut bytes.codes[at..]);
            }
        }
    }

    /// What is stored behind the components of a vector, under cosine.
    pub(crate) fn scale_of(&self, stored: &[u8], work: &mut Vec<f32>) -> f32 {
        let geometry = self.geometry();
        self.space().scale(Query::of(geometry.element, stored, geometry.dim, work))
    }

    /// Writes what [`encode`](Self::encode) made, and the ids, into these slots, of which nobody may know yet.
    ///
    /// # Errors
    /// Of the disk.
    pub fn write_slots(&self, slots: &[u32], bytes: &SlotBytes, ids: &[Id]) -> Result<()> {
        debug_assert_eq!(
            (bytes.vectors.len(), ids.len()),
            (slots.len() * self.geometry().vector_stride(), slots.len())
        );
        let mut done = 0;
        for run in slots.chunk_by(|&a, &b| a + 1 == b) {
            self.write_run(run[0], bytes, done..done + run.len(), &ids[done..done + run.len()])?;
            done += run.len();
        }
        Ok(())
    }

    /// Those of `bytes` at `rows` into consecutive slots from `first` on.
    fn write_run(&self, first: u32, bytes: &SlotBytes, rows: Range<usize>, ids: &[Id]) -> Result<()> {
        let mut id_bytes = Vec::with_capacity(ids.len() * ids::STRIDE);
        for id in ids {
            id_bytes.extend_from_slice(&id.encode());
        }
        // One word of tombstones for each page of them.
        let words = first / 32..(first + ids.len() as u32).div_ceil(32);
        words.clone().step_by(PAGE / 4).chain(words.last()).try_for_each(|word| self.tombs.touch_new(word))?;
        let write = |file: &dyn DiskFile, bytes: &[u8], stride: usize| {
            file.write_at(u64::from(first) * stride as u64, &bytes[rows.start * stride..rows.end * stride])
        };
        write(&**self.vectors.file(), &bytes.vectors, self.geometry().vector_stride())?;
        if let Some(codes) = self.codes() {
            write(&**codes.windows.file(), &bytes.codes, codes.windows.stride())?;
        }
        self.ids.file().write_at(u64::from(first) * ids::STRIDE as u64, &id_bytes)
    }

    /// Makes write-once slots durable, and the files' lengths (checkpoint step S1).
    pub(crate) fn sync_slots(&self) -> Result<()> {
        self.vectors.file().sync()?;
        self.codes().iter().try_for_each(|codes| codes.windows.file().sync())?;
        self.keys.iter().try_for_each(|keys| keys.file().sync())?;
        self.ids.file().sync()
    }

    /// A published slot's vector and scale.
    #[inline(always)]
    pub(crate) fn point(&self, slot: u32) -> Point<'_> {
        self.point_in(view::bytes(&self.vectors, slot))
    }

    /// Those of four slots.
    #[inline(always)]
    pub(crate) fn points(&self, slots: [u32; 4]) -> [Point<'_>; 4] {
        view::bytes_4(&self.vectors, slots).map(|bytes| self.point_in(bytes))
    }

    #[inline(always)]
    pub(crate) fn point_in<'a>(&self, slot: &'a [u8]) -> Point<'a> {
        let vector = &slot[..self.vector_bytes()];
        let scale = match self.geometry().metric {
            Metric::Cosine => {
                let at = self.scale_at();
                f32::from_le_bytes([slot[at], slot[at + 1], slot[at + 2], slot[at + 3]])
            }
            _ => 1.0,
        };
        Point { vector, scale }
    }

    /// A published slot's vector as a query, for which `work` may be needed.
    #[inline]
    pub(crate) fn as_query<'a>(&'a self, slot: u32, work: &'a mut Vec<f32>) -> Point<'a> {
        let (Point { vector, scale }, geometry) = (self.point(slot), self.geometry());
        Point { vector: Query::of(geometry.element, vector, geometry.dim, work).bytes(), scale }
    }

    /// A query's vector and scale.
    ///
    /// # Panics
    /// If it is not one for the collection's dimension and element type.
    pub(crate) fn asked<'a>(&self, query: Query<'a>) -> Point<'a> {
        let geometry = self.geometry();
        assert!(query.fits(geometry.element, geometry.dim), "a query for another collection");
        Point { vector: query.bytes(), scale: self.space().scale(query) }
    }

    /// Makes `code` a query for the codes, if there are any.
    pub(crate) fn code_query(&self, query: Query<'_>, code: &mut CodeQuery) {
        let Some(codes) = self.codes() else { return };
        match query {
            Query::Floats(floats) => codes.coder.query(floats, code),
            Query::Stored(stored) => {
                let mut floats = Vec::new();
                self.geometry().element.decode(stored, self.geometry().dim, &mut floats);
                codes.coder.query(&floats, code);
            }
        }
    }

    /// The components of a published slot's vector.
    pub fn decoded(&self, slot: u32) -> Vec<f32> {
        let (element, dim) = (self.geometry().element, self.geometry().dim);
        let mut vector = Vec::with_capacity(dim);
        element.decode(self.vector(slot), dim, &mut vector);
        vector
    }

    /// The vector of a published slot, as stored.
    pub fn vector(&self, slot: u32) -> &[u8] {
        &view::bytes(&self.vectors, slot)[..self.geometry().vector_bytes()]
    }

    /// As [`id_of`](Self::id_of), with its own checksum compared.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it differs.
    pub fn own_id(&self, slot: u32) -> Result<Id> {
        Id::checked(view::bytes(&self.ids, slot)).map_err(|(recorded, computed)| {
            let at = u64::from(slot) * ids::STRIDE as u64;
            let what = format!("slot {slot}: checksum {recorded:08x}, computed {computed:08x}");
            Error::corrupt(names::part(self.id(), self.generation(), Part::Ids), at, what)
        })
    }

    /// As [`id_of`](Self::id_of), with both checksums compared: the id's own and the vector's.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one differs.
    pub fn checked_id(&self, slot: u32) -> Result<Id> {
        let id = self.own_id(slot)?;
        let computed = vector_crc(self.vector(slot));
        if computed != id.vector_crc {
            let at = u64::from(slot) * self.geometry().vector_stride() as u64;
            let what = format!("slot {slot}: vector checksum {:08x}, computed {computed:08x}", id.vector_crc);
            return Err(Error::corrupt(names::part(self.id(), self.generation(), Part::Vectors), at, what));
        }
        Ok(id)
    }
}

/// CRC-32 of a stored vector.
pub fn vector_crc(stored: &[u8]) -> u32 {
    crc32fast::hash(stored)
}
