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
//! | 4 compact | [`CompactBody`]: from here on the collection is that generation of its files, with these counters. If it has keys of bytes, a u32: the units of its keys segment |
//! | 5 mark | [`MarkBody`]: the record in that slot is marked as deleted |
//! | 6 unmark | [`MarkBody`]: it is not any more |
//! | 8 load | [`CompactBody`]: as compact, of an empty collection; each live slot is a record with an empty payload |
//! | 9 put, key of bytes | as 1; [`PutHeader`] has the key's reference (`engine/src/keys.rs`) and its length, the key comes before the payload |
//! | 10 remove, key of bytes | [`RemoveBody`] with the key's reference, then the key |
//! | 11 set payload | [`PayloadHeader`], the payload: of the record in that slot, and nothing else of it |
//! | 12 set payload, key of bytes | [`PayloadHeader`] with the key's reference and length, the key, the payload |
//! | 13 set tags | as 11, with encoded tags (`src/tags.rs`) for the payload |
//! | 14 set tags, key of bytes | as 12, with encoded tags for the payload |

use crate::error::{Error, Result};
use crate::tags::Tags;
use lodestore_engine::geometry::MAX_DIM;
use lodestore_engine::{Element, Head, MAX_KEY, Place, StoredKey};
use lodestore_wal::log::{Appender, IGNORABLE, Record};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const CREATE: u8 = 3;
const COMPACT: u8 = 4;
const MARK: u8 = 5;
const UNMARK: u8 = 6;
const LOAD: u8 = 8;
const PUT_BYTES: u8 = 9;
const REMOVE_BYTES: u8 = 10;
const PAYLOAD: u8 = 11;
const PAYLOAD_BYTES: u8 = 12;
const TAGS: u8 = 13;
const TAGS_BYTES: u8 = 14;
const NO_SLOT: u32 = u32::MAX;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct PutHeader {
    collection: U32,
    slot: U32,
    /// The slot that this one replaces; `u32::MAX` = none.
    old: U32,
    upper: U32,
    /// Or its reference.
    key: U64,
    /// Components of the vector.
    dim: U32,
    level: u8,
    /// What the components are, as in the collection's meta file; 0 for f32.
    element: u8,
    /// Bytes of the key; 0 if it is a `u64`.
    key_len: U16,
}
const PUT_HEADER: usize = 32;
const _: () = assert!(size_of::<PutHeader>() == PUT_HEADER);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RemoveBody {
    collection: U32,
    slot: U32,
    /// Or its reference.
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
struct PayloadHeader {
    collection: U32,
    slot: U32,
    /// Or its reference.
    key: U64,
    /// Bytes of the key; 0 if it is a `u64`.
    key_len: U16,
    reserved: [u8; 6],
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

/// A key as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoggedKey<'a> {
    Number(u64),
    /// With its reference in the keys segment.
    Bytes(u64, &'a [u8]),
}

impl<'a> LoggedKey<'a> {
    /// The key itself.
    pub(crate) fn stored(self) -> StoredKey<'a> {
        match self {
            Self::Number(number) => StoredKey::Number(number),
            Self::Bytes(_, bytes) => StoredKey::Bytes(bytes),
        }
    }

    /// What an id has, and the bytes that it does not have.
    fn parts(self) -> (u64, &'a [u8]) {
        match self {
            Self::Number(number) => (number, &[]),
            Self::Bytes(reference, bytes) => (reference, bytes),
        }
    }

    fn kind(self, number: u8, bytes: u8) -> u8 {
        if matches!(self, Self::Number(_)) { number } else { bytes }
    }
}

/// A put as the log has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Put<'a> {
    pub(crate) collection: u32,
    pub(crate) key: LoggedKey<'a>,
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
        key: LoggedKey<'a>,
        slot: u32,
    },
    SetPayload {
        collection: u32,
        key: LoggedKey<'a>,
        slot: u32,
        payload: &'a [u8],
    },
    SetTags {
        collection: u32,
        key: LoggedKey<'a>,
        slot: u32,
        tags: &'a [u8],
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

/// The most bytes of a put's body, with a key and a stored vector of so many bytes.
pub(crate) fn put_len(key: usize, vector: usize, payload: usize) -> usize {
    PUT_HEADER + key + vector + payload
}

/// The most bytes of a remove's body, with a key of so many.
pub(crate) fn remove_len(key: usize) -> usize {
    size_of::<RemoveBody>() + key
}

/// Bytes of a mark's or unmark's body.
pub(crate) const MARK_LEN: usize = size_of::<MarkBody>();

/// The most bytes of the body of a set payload or set tags, with a key and a payload, or tags, of so many.
pub(crate) fn payload_len(key: usize, payload: usize) -> usize {
    size_of::<PayloadHeader>() + key + payload
}

/// The most bytes of a compact's or load's body.
pub(crate) const COMPACT_LEN: usize = size_of::<CompactBody>() + 4;

/// Bytes of a create's body.
pub(crate) fn create_len(name: &str) -> usize {
    4 + name.len()
}

impl Put<'_> {
    fn header(&self) -> PutHeader {
        let (key, bytes) = self.key.parts();
        PutHeader {
            collection: U32::new(self.collection),
            slot: U32::new(self.place.slot),
            old: U32::new(self.old.unwrap_or(NO_SLOT)),
            upper: U32::new(self.place.upper),
            key: U64::new(key),
            dim: U32::new(self.dim as u32),
            level: self.place.level,
            element: if self.element == Element::F32 { 0 } else { self.element.code() },
            key_len: U16::new(bytes.len() as u16),
        }
    }
}

pub(crate) fn append_put(log: &mut Appender<'_>, put: &Put<'_>) -> u64 {
    let kind = put.key.kind(PUT, PUT_BYTES);
    log.append(kind, 0, &[put.header().as_bytes(), put.vector, put.key.parts().1, put.payload])
}

pub(crate) fn append_remove(log: &mut Appender<'_>, collection: u32, key: LoggedKey<'_>, slot: u32) -> u64 {
    let (raw, bytes) = key.parts();
    let body = RemoveBody { collection: U32::new(collection), slot: U32::new(slot), key: U64::new(raw) };
    log.append(key.kind(REMOVE, REMOVE_BYTES), 0, &[body.as_bytes(), bytes])
}

pub(crate) fn append_mark(log: &mut Appender<'_>, collection: u32, slot: u32, marked: bool) -> u64 {
    let body = MarkBody { collection: U32::new(collection), slot: U32::new(slot) };
    log.append(if marked { MARK } else { UNMARK }, 0, &[body.as_bytes()])
}

pub(crate) fn append_payload(
    log: &mut Appender<'_>,
    collection: u32,
    key: LoggedKey<'_>,
    slot: u32,
    payload: &[u8],
) -> u64 {
    append_beside(log, key.kind(PAYLOAD, PAYLOAD_BYTES), collection, key, slot, payload)
}

pub(crate) fn append_tags(log: &mut Appender<'_>, collection: u32, key: LoggedKey<'_>, slot: u32, tags: &[u8]) -> u64 {
    append_beside(log, key.kind(TAGS, TAGS_BYTES), collection, key, slot, tags)
}

fn append_beside(log: &mut Appender<'_>, kind: u8, collection: u32, key: LoggedKey<'_>, slot: u32, what: &[u8]) -> u64 {
    let (raw, bytes) = key.parts();
    let header = PayloadHeader {
        collection: U32::new(collection),
        slot: U32::new(slot),
        key: U64::new(raw),
        key_len: U16::new(bytes.len() as u16),
        reserved: [0; 6],
    };
    log.append(kind, 0, &[header.as_bytes(), bytes, what])
}

pub(crate) fn append_create(log: &mut Appender<'_>, collection: u32, name: &str) -> u64 {
    log.append(CREATE, 0, &[&collection.to_le_bytes(), name.as_bytes()])
}

pub(crate) fn append_compact(log: &mut Appender<'_>, collection: u32, head: &Head) -> u64 {
    append_head(log, COMPACT, collection, head)
}

pub(crate) fn append_load(log: &mut Appender<'_>, collection: u32, head: &Head) -> u64 {
    append_head(log, LOAD, collection, head)
}

fn append_head(log: &mut Appender<'_>, kind: u8, collection: u32, head: &Head) -> u64 {
    let next_key = head.next_key.to_le_bytes();
    let keys: &[u8] = if head.next_key == 0 { &[] } else { &next_key };
    log.append(kind, 0, &[CompactBody::new(collection, head).as_bytes(), keys])
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

/// A key and what follows it.
fn split_key(
    of_bytes: bool,
    raw: u64,
    length: u16,
    rest: &[u8],
) -> std::result::Result<(LoggedKey<'_>, &[u8]), String> {
    match usize::from(length) {
        length if of_bytes => {
            let key = rest.split_at_checked(length).filter(|_| length <= MAX_KEY);
            let (key, rest) = key.ok_or_else(|| format!("a key of {length} bytes in {}", rest.len()))?;
            Ok((LoggedKey::Bytes(raw, key), rest))
        }
        0 => Ok((LoggedKey::Number(raw), rest)),
        length => Err(format!("a number as key has {length} bytes more")),
    }
}

impl<'a> Op<'a> {
    /// `None` for a kind of a later version that may be skipped.
    pub(crate) fn decode(record: &Record<'a>) -> Result<Option<Op<'a>>> {
        let corrupt = |what: String| Error::Corrupt { file: record.file.into(), offset: record.offset, what };
        match record.kind {
            PUT | PUT_BYTES => {
                let (header, rest) = PutHeader::read_from_prefix(record.body)
                    .map_err(|_| corrupt(format!("a put of {} bytes", record.body.len())))?;
                let element = match header.element {
                    0 => Element::F32,
                    code => Element::from_code(code).ok_or_else(|| corrupt(format!("unknown element type {code}")))?,
                };
                let dim = header.dim.get() as usize;
                let bytes = (dim <= MAX_DIM).then(|| element.bytes(dim)).filter(|&b| b <= rest.len());
                let bytes = bytes.ok_or_else(|| corrupt(format!("{dim} components in {} bytes", rest.len())))?;
                let (vector, rest) = rest.split_at(bytes);
                let (key, payload) = split_key(record.kind == PUT_BYTES, header.key.get(), header.key_len.get(), rest)
                    .map_err(corrupt)?;
                Ok(Some(Op::Put(Put {
                    collection: header.collection.get(),
                    key,
                    place: Place { slot: header.slot.get(), level: header.level, upper: header.upper.get() },
                    old: Some(header.old.get()).filter(|&s| s != NO_SLOT),
                    element,
                    dim,
                    vector,
                    payload,
                })))
            }
            REMOVE | REMOVE_BYTES => {
                let odd = || corrupt(format!("a remove of {} bytes", record.body.len()));
                let (body, rest) = RemoveBody::ref_from_prefix(record.body).map_err(|_| odd())?;
                let (collection, raw, slot) = (body.collection.get(), body.key.get(), body.slot.get());
                let key = match (record.kind, rest.len()) {
                    (REMOVE, 0) => LoggedKey::Number(raw),
                    (REMOVE_BYTES, 0..=MAX_KEY) => LoggedKey::Bytes(raw, rest),
                    _ => return Err(odd()),
                };
                Ok(Some(Op::Remove { collection, key, slot }))
            }
            PAYLOAD | PAYLOAD_BYTES | TAGS | TAGS_BYTES => {
                let (header, rest) = PayloadHeader::read_from_prefix(record.body)
                    .map_err(|_| corrupt(format!("a set payload or tags of {} bytes", record.body.len())))?;
                let of_bytes = matches!(record.kind, PAYLOAD_BYTES | TAGS_BYTES);
                let (key, what) = split_key(of_bytes, header.key.get(), header.key_len.get(), rest).map_err(corrupt)?;
                let (collection, slot) = (header.collection.get(), header.slot.get());
                Ok(Some(match record.kind {
                    PAYLOAD | PAYLOAD_BYTES => Op::SetPayload { collection, key, slot, payload: what },
                    _ if Tags::decode(what).is_none() => {
                        return Err(corrupt(format!("{} bytes that are no tags", what.len())));
                    }
                    _ => Op::SetTags { collection, key, slot, tags: what },
                }))
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
                let odd = || corrupt(format!("a compact or load of {} bytes", record.body.len()));
                let (body, rest) = CompactBody::ref_from_prefix(record.body).map_err(|_| odd())?;
                let next_key = match rest {
                    [] => 0,
                    rest => u32::from_le_bytes(rest.try_into().map_err(|_| odd())?),
                };
                let head = Head {
                    next_slot: body.next_slot.get(),
                    next_upper: body.next_upper.get(),
                    entry: body.entry.get(),
                    live: body.live.get(),
                    created: 0,
                    free: 0,
                    generation: body.generation.get(),
                    next_key,
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
        let key = LoggedKey::Number(0x0102);
        Put { collection: 3, key, place, old: None, element, dim, vector, payload: b"text" }
    }

    fn body(put: &Put<'_>) -> Vec<u8> {
        [put.header().as_bytes(), put.vector, put.key.parts().1, put.payload].concat()
    }

    fn decode(body: &[u8]) -> Result<Option<Op<'_>>> {
        decode_kind(PUT, body)
    }

    fn decode_kind(kind: u8, body: &[u8]) -> Result<Option<Op<'_>>> {
        Op::decode(&Record { lsn: 1, kind, flags: 0, body, ends_group: true, file: "a.wal", offset: 0 })
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

    #[test]
    fn keys_of_bytes_are_read_as_they_were_written() {
        for key in [&b""[..], b"k", &[7; MAX_KEY]] {
            let key = LoggedKey::Bytes(0x0304, key);
            let put = Put { key, ..put(Element::I8, 3, &[1, 2, 3]) };
            let body = body(&put);
            assert_eq!(decode_kind(PUT_BYTES, &body).unwrap(), Some(Op::Put(put)));
            let kept = PUT_HEADER + 3 + key.parts().1.len();
            assert!(decode_kind(PUT_BYTES, &body[..kept]).is_ok());
            assert!(key.parts().1.is_empty() || decode_kind(PUT_BYTES, &body[..kept - 1]).is_err());
            assert!(key.parts().1.is_empty() || decode_kind(PUT, &body).is_err());
        }
        let remove = RemoveBody { collection: U32::new(3), slot: U32::new(4), key: U64::new(5) };
        let remove = [remove.as_bytes(), b"key"].concat();
        let expected = Op::Remove { collection: 3, key: LoggedKey::Bytes(5, b"key"), slot: 4 };
        assert_eq!(decode_kind(REMOVE_BYTES, &remove).unwrap(), Some(expected));
        assert!(decode_kind(REMOVE, &remove).is_err() && decode_kind(REMOVE, &remove[..16]).is_ok());
        assert!(decode_kind(REMOVE_BYTES, &[0; 16 + MAX_KEY + 1]).is_err());
        let set = PayloadHeader {
            collection: U32::new(3),
            slot: U32::new(4),
            key: U64::new(5),
            key_len: U16::new(3),
            reserved: [0; 6],
        };
        let set = [set.as_bytes(), b"keytext"].concat();
        let key = LoggedKey::Bytes(5, b"key");
        let expected = Op::SetPayload { collection: 3, key, slot: 4, payload: b"text" };
        assert_eq!(decode_kind(PAYLOAD_BYTES, &set).unwrap(), Some(expected));
        assert!(decode_kind(PAYLOAD, &set).is_err() && decode_kind(PAYLOAD_BYTES, &set[..26]).is_err());
    }
}
