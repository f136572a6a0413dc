//! What the log's records say.
//!
//! # Format of record bodies
//!
//! Little-endian. Every record carries all numbers it needs, so that replaying it asks no other part of the store.
//!
//! | kind | body |
//! |---|---|
//! | 1 put | [`PutHeader`], the vector's components (f32), the payload |
//! | 2 remove | [`RemoveBody`] |
//! | 3 create collection | collection u32, then its name (UTF-8) |

use crate::error::{Error, Result};
use lodestore_engine::Place;
use lodestore_wal::log::{Appender, IGNORABLE, Record};
use zerocopy::byteorder::little_endian::{F32, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const CREATE: u8 = 3;
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
    reserved: [u8; 3],
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

/// A record, decoded.
#[derive(Debug, PartialEq)]
pub(crate) enum Op<'a> {
    Put { collection: u32, key: u64, place: Place, old: Option<u32>, vector: Vec<f32>, payload: &'a [u8] },
    Remove { collection: u32, key: u64, slot: u32 },
    Create { collection: u32, name: &'a str },
}

/// Bytes of a put's body.
pub(crate) fn put_len(dim: usize, payload: usize) -> usize {
    PUT_HEADER + dim * 4 + payload
}

/// Bytes of a remove's body.
pub(crate) const REMOVE_LEN: usize = size_of::<RemoveBody>();

/// Bytes of a create's body.
pub(crate) fn create_len(name: &str) -> usize {
    4 + name.len()
}

pub(crate) fn append_put(
    log: &mut Appender<'_>,
    collection: u32,
    key: u64,
    place: Place,
    old: Option<u32>,
    vector: &[f32],
    payload: &[u8],
) -> u64 {
    let header = PutHeader {
        collection: U32::new(collection),
        slot: U32::new(place.slot),
        old: U32::new(old.unwrap_or(NO_SLOT)),
        upper: U32::new(place.upper),
        key: U64::new(key),
        dim: U32::new(vector.len() as u32),
        level: place.level,
        reserved: [0; 3],
    };
    // Memory is little-endian: the engine compiles for nothing else.
    log.append(PUT, 0, &[header.as_bytes(), vector.as_bytes(), payload])
}

pub(crate) fn append_remove(log: &mut Appender<'_>, collection: u32, key: u64, slot: u32) -> u64 {
    let body = RemoveBody { collection: U32::new(collection), slot: U32::new(slot), key: U64::new(key) };
    log.append(REMOVE, 0, &[body.as_bytes()])
}

pub(crate) fn append_create(log: &mut Appender<'_>, collection: u32, name: &str) -> u64 {
    log.append(CREATE, 0, &[&collection.to_le_bytes(), name.as_bytes()])
}

impl<'a> Op<'a> {
    /// `None` for a kind of a later version that may be skipped.
    pub(crate) fn decode(record: &Record<'a>) -> Result<Option<Op<'a>>> {
        let corrupt = |what: String| Error::Corrupt { file: record.file.into(), offset: record.offset, what };
        match record.kind {
            PUT => {
                let (header, rest) = PutHeader::read_from_prefix(record.body)
                    .map_err(|_| corrupt(format!("a put of {} bytes", record.body.len())))?;
                let dim = header.dim.get() as usize;
                let bytes = dim.checked_mul(4).filter(|&b| b <= rest.len());
                let (vector, payload) =
                    rest.split_at(bytes.ok_or_else(|| corrupt(format!("{dim} components in {} bytes", rest.len())))?);
                let vector = <[F32]>::ref_from_bytes(vector).map_err(|_| corrupt("unreadable vector".into()))?;
                Ok(Some(Op::Put {
                    collection: header.collection.get(),
                    key: header.key.get(),
                    place: Place { slot: header.slot.get(), level: header.level, upper: header.upper.get() },
                    old: Some(header.old.get()).filter(|&s| s != NO_SLOT),
                    vector: vector.iter().map(|x| x.get()).collect(),
                    payload,
                }))
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
            _ if record.flags & IGNORABLE != 0 => Ok(None),
            kind => Err(corrupt(format!("a record of kind {kind}, which this build does not know"))),
        }
    }
}
