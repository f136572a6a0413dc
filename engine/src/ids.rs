//! What a slot holds besides its vector.
//!
//! # Format of `c/<id>/ids`
//!
//! An `IdSlot` of 32 bytes for each slot, written once.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a slot of `ids`.
pub(crate) const STRIDE: usize = 32;
const CRC_AT: usize = 28;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
struct IdSlot {
    /// A `u64`, or of other keys the reference (`keys.rs`).
    key: U64,
    lsn: U64,
    /// CRC-32 of the vector's components.
    vector_crc: U32,
    /// The first of the node's upper lists (level 1; the next levels follow).
    upper: U32,
    level: u8,
    reserved: [u8; 3],
    crc: U32,
}
const _: () = assert!(size_of::<IdSlot>() == STRIDE);

/// The decoded content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    /// The record's key if it is a `u64`, or else where it is ([`keys`](crate::keys)).
    pub key: u64,
    /// The log record that made the slot.
    pub lsn: u64,
    /// CRC-32 of the vector's components, little-endian.
    pub vector_crc: u32,
    /// The first of the node's upper lists.
    pub upper: u32,
    /// The node's highest level.
    pub level: u8,
}

impl Id {
    pub(crate) fn encode(&self) -> [u8; STRIDE] {
        let slot = IdSlot {
            key: U64::new(self.key),
            lsn: U64::new(self.lsn),
            vector_crc: U32::new(self.vector_crc),
            upper: U32::new(self.upper),
            level: self.level,
            reserved: [0; 3],
            crc: U32::new(0),
        };
        let mut bytes = [0; STRIDE];
        bytes.copy_from_slice(slot.as_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a slot without checking it: its use must survive any content.
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Id {
        let (slot, _) = IdSlot::ref_from_prefix(bytes).expect("a slot has 32 bytes");
        Id {
            key: slot.key.get(),
            lsn: slot.lsn.get(),
            vector_crc: slot.vector_crc.get(),
            upper: slot.upper.get(),
            level: slot.level,
        }
    }

    /// Reads a slot; the recorded and computed checksums if they differ.
    pub(crate) fn checked(bytes: &[u8]) -> Result<Id, (u32, u32)> {
        let recorded = u32::from_le_bytes(bytes[CRC_AT..STRIDE].try_into().expect("four bytes"));
        let computed = crc32fast::hash(&bytes[..CRC_AT]);
        if recorded == computed { Ok(Id::read(bytes)) } else { Err((recorded, computed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let id = Id { key: u64::MAX - 1, lsn: 77, vector_crc: 5, upper: 9, level: 3 };
        let good = id.encode();
        assert_eq!(Id::checked(&good), Ok(id));
        for bit in 0..STRIDE * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Id::checked(&bad).is_err(), "bit {bit}");
        }
    }
}
