//! What the log's records say.
//!
//! # Format of record bodies
//!
//! Little-endian. Every record carries all numbers it needs, so that replaying it asks no other part of the store.
//!
//! | kind | body |
//! |---|---|
//! | 1 put | [`PutHeader`], the vector as stored (`engine/src/element.rs`), the payload |
//! | 2 remove | [`RemoveBody`] |
//! | 3 create collection | collection u32, then its name (UTF-8) |
//! | 4 compact | [`CompactBody`]: from here on the collection is that generation of its files, with these counters |
//! | 5 mark | [`MarkBody`]: the record in that slot is marked as deleted |
//! | 6 unmark | [`MarkBody`]: it is not any more |
//! | 8 load | [`CompactBody`]: as compact, of an empty collection; each live slot is a record with an empty payload |

use crate::error::{Error, Result};
use lodestore_engine::geometry::MAX_DIM;
use lodestore_engine::{Element, Head, Place};
use lodestore_wal::log::{Appender, IGNORABLE, Record};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const CREATE: u8 = 3;
const COMPACT: u8 = 4;
const MARK: u8 = 5;
const UNMARK: u8 = 6;
const LOAD: u8 = 8;
const NO_SLOT: u32 = u32::MAX;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct PutHeader {
    collection: U32,
    slot: U32,
    /// The slot that this one replaces; `u32::MAX` = none.
    old: U32,
    upper: U32,
    key: U64,
    /// Components of the vector.
    dim: U32,
    level: u8,
    /// What the components are, as in the collection's meta file; 0 for f32.
    element: u8,
    reserved: [u8; 2],
}
const PUT_HEADER: usize = 32;
const _: () = assert!(size_of::<PutHeader>() == PUT_HEADER);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RemoveBody {
    collection: U32,
    slot: U32,
    key: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MarkBody {
    collection: U32,
    slot: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct CompactBody {
    collection: U32,
    generation: U32,
    next_slot: U32,
    next_upper: U32,
    /// As in the heads file.
    entry: U64,
    live: U64,
}

/// A put as the log has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Put<'a> {
    pub(crate) collection: u32,
    pub(crate) key: u64,
    pub(crate) place: Place,
    pub(crate) old: Option<u32>,
    pub(crate) element: Element,
    pub(crate) dim: usize,
    /// As stored.
    pub(crate) vector: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// A record, decoded.
#[derive(Debug, PartialEq)]
pub(crate) enum Op<'a> {
    Put(Put<'a>),
    Remove {
        collection: u32,
        key: u64,
        slot: u32,
    },
    Create {
        collection: u32,
        name: &'a str,
    },
    Mark {
        collection: u32,
        slot: u32,
        /// Or else it is unmarked.
        marked: bool,
    },
    /// The head says all but which record made the collection.
    Compact {
        collection: u32,
        head: Head,
        /// Its live slots are new records.
        loaded: bool,
    },
}

/// Bytes of a put's body, with a stored vector of so many bytes.
pub(crate) fn put_len(vector: usize, payload: usize) -> usize {
    PUT_HEADER + vector + payload
}

/// Bytes of a remove's body.
pub(crate) const REMOVE_LEN: usize = size_of::<RemoveBody>();

/// Bytes of a mark's or unmark's body.
pub(crate) const MARK_LEN: usize = size_of::<MarkBody>();

/// Bytes of a compact's or load's body.
pub(crate) const COMPACT_LEN: usize = size_of::<CompactBody>();

/// Bytes of a create's body.
pub(crate) fn create_len(name: &str) -> usize {
    4 + name.len()
}

impl Put<'_> {
    fn header(&self) -> PutHeader {
        PutHeader {
            collection: U32::new(self.collection),
            slot: U32::new(self.place.slot),
            old: U32::new(self.old.unwrap_or(NO_SLOT)),
            upper: U32::new(self.place.upper),
            key: U64::new(self.key),
            dim: U32::new(self.dim as u32),
            level: self.place.level,
            element: if self.element == Element::F32 { 0 } else { self.element.code() },
            reserved: [0; 2],
        }
    }
}

pub(crate) fn append_put(log: &mut Appender<'_>, put: &Put<'_>) -> u64 {
    log.append(PUT, 0, &[put.header().as_bytes(), put.vector, put.payload])
}

pub(crate) fn append_remove(log: &mut Appender<'_>, collection: u32, key: u64, slot: u32) -> u64 {
    let body = RemoveBody { collection: U32::new(collection), slot: U32::new(slot), key: U64::new(key) };
    log.append(REMOVE, 0, &[body.as_bytes()])
}

pub(crate) fn append_mark(log: &mut Appender<'_>, collection: u32, slot: u32, marked: bool) -> u64 {
    let body = MarkBody { collection: U32::new(collection), slot: U32::new(slot) };
    log.append(if marked { MARK } else { UNMARK }, 0, &[body.as_bytes()])
}

pub(crate) fn append_create(log: &mut Appender<'_>, collection: u32, name: &str) -> u64 {
    log.append(CREATE, 0, &[&collection.to_le_bytes(), name.as_bytes()])
}

pub(crate) fn append_compact(log: &mut Appender<'_>, collection: u32, head: &Head) -> u64 {
    log.append(COMPACT, 0, &[CompactBody::new(collection, head).as_bytes()])
}

pub(crate) fn append_load(log: &mut Appender<'_>, collection: u32, head: &Head) -> u64 {
    log.append(LOAD, 0, &[CompactBody::new(collection, head).as_bytes()])
}

impl CompactBody {
    fn new(collection: u32, head: &Head) -> Self {
        Self {
            collection: U32::new(collection),
            generation: U32::new(head.generation),
            next_slot: U32::new(head.next_slot),
            next_upper: U32::new(head.next_upper),
            entry: U64::new(head.entry),
            live: U64::new(head.live),
        }
    }
}

impl<'a> Op<'a> {
    /// `None` for a kind of a later version that may be skipped.
    pub(crate) fn decode(record: &Record<'a>) -> Result<Option<Op<'a>>> {
        let corrupt = |what: String| Error::Corrupt { file: record.file.into(), offset: record.offset, what };
        match record.kind {
            PUT => {
                let (header, rest) = PutHeader::read_from_prefix(record.body)
                    .map_err(|_| corrupt(format!("a put of {} bytes", record.body.len())))?;
                let element = match header.element {
                    0 => Element::F32,
                    code => Element::from_code(code).ok_or_else(|| corrupt(format!("unknown element type {code}")))?,
                };
                let dim = header.dim.get() as usize;
                let bytes = (dim <= MAX_DIM).then(|| element.bytes(dim)).filter(|&b| b <= rest.len());
                let bytes = bytes.ok_or_else(|| corrupt(format!("{dim} components in {} bytes", rest.len())))?;
                let (vector, payload) = rest.split_at(bytes);
                Ok(Some(Op::Put(Put {
                    collection: header.collection.get(),
                    key: header.key.get(),
                    place: Place { slot: header.slot.get(), level: header.level, upper: header.upper.get() },
                    old: Some(header.old.get()).filter(|&s| s != NO_SLOT),
                    element,
                    dim,
                    vector,
                    payload,
                })))
            }
            REMOVE => {
                let body = RemoveBody::ref_from_bytes(record.body)
                    .map_err(|_| corrupt(format!("a remove of {} bytes", record.body.len())))?;
                let (collection, key, slot) = (body.collection.get(), body.key.get(), body.slot.get());
                Ok(Some(Op::Remove { collection, key, slot }))
            }
            CREATE => {
                let (collection, name) = record
                    .body
                    .split_first_chunk::<4>()
                    .ok_or_else(|| corrupt(format!("a create of {} bytes", record.body.len())))?;
                let name = std::str::from_utf8(name).map_err(|_| corrupt("a name that is not UTF-8".into()))?;
                Ok(Some(Op::Create { collection: u32::from_le_bytes(*collection), name }))
            }
            MARK | UNMARK => {
                let body = MarkBody::ref_from_bytes(record.body)
                    .map_err(|_| corrupt(format!("a mark of {} bytes", record.body.len())))?;
                let (collection, slot) = (body.collection.get(), body.slot.get());
                Ok(Some(Op::Mark { collection, slot, marked: record.kind == MARK }))
            }
            COMPACT | LOAD => {
                let body = CompactBody::ref_from_bytes(record.body)
                    .map_err(|_| corrupt(format!("a compact or load of {} bytes", record.body.len())))?;
                let head = Head {
                    next_slot: body.next_slot.get(),
                    next_upper: body.next_upper.get(),
                    entry: body.entry.get(),
                    live: body.live.get(),
                    created: 0,
                    free: 0,
                    generation: body.generation.get(),
                };
                Ok(Some(Op::Compact { collection: body.collection.get(), head, loaded: record.kind == LOAD }))
            }
            _ if record.flags & IGNORABLE != 0 => Ok(None),
            kind => Err(corrupt(format!("a record of kind {kind}, which this build does not know"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(element: Element, dim: usize, vector: &[u8]) -> Put<'_> {
        let place = Place { slot: 7, level: 2, upper: 9 };
        Put { collection: 3, key: 0x0102, place, old: None, element, dim, vector, payload: b"text" }
    }

    fn body(put: &Put<'_>) -> Vec<u8> {
        [put.header().as_bytes(), put.vector, put.payload].concat()
    }

    fn decode(body: &[u8]) -> Result<Option<Op<'_>>> {
        Op::decode(&Record { lsn: 1, kind: PUT, flags: 0, body, ends_group: true, file: "a.wal", offset: 0 })
    }

    /// Byte for byte what it was before there were other elements.
    #[test]
    fn a_put_of_f32() {
        let expected = [
            &[3, 0, 0, 0, 7, 0, 0, 0, 255, 255, 255, 255, 9, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0][..],
            &[0, 0, 128, 63],
            b"text",
        ];
        assert_eq!(body(&put(Element::F32, 1, &1.0f32.to_le_bytes())), expected.concat());
    }

    #[test]
    fn puts_of_every_element_are_read_as_they_were_written() {
        let vector: Vec<u8> = (1..100).collect();
        for element in Element::ALL {
            for dim in [1, 7, 8, 9, 24] {
                let put = put(element, dim, &vector[..element.bytes(dim)]);
                let body = body(&put);
                assert_eq!(decode(&body).unwrap(), Some(Op::Put(put)), "{element} {dim}");
                assert!(decode(&body[..PUT_HEADER + element.bytes(dim) - 1]).is_err(), "{element} {dim}");
            }
        }
        let mut wrong = body(&put(Element::I8, 4, &[1, 2, 3, 4]));
        wrong[29] = 77;
        assert!(decode(&wrong).unwrap_err().to_string().contains("element type 77"));
        let mut long = body(&put(Element::Bits, 8, &[1]));
        long[24..28].fill(0xFF);
        assert!(decode(&long).is_err());
    }
}
