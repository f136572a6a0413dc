//! SUPER: which checkpoint holds. Its writing is the commit point of every checkpoint.
//!
//! # Format of `SUPER`
//!
//! Two slots of 4096 bytes, each a `Slot` followed by zeros and a CRC-32 of everything before it at byte 4092.
//! Slot `seq mod 2` is written; the valid slot with the higher `seq` holds. So one of the two is never being
//! overwritten.

use crate::findings::Findings;
use crate::geometry::FORMAT_MAJOR;
use lodestore_wal::mutant::{self, Mutant};
use lodestore_wal::{Disk, DiskFile, Error, PAGE, Result, names};
use std::sync::Arc;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const MAGIC: [u8; 8] = *b"LODESUPR";
const CRC_AT: usize = PAGE - 4;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Slot {
    magic: [u8; 8],
    major: U16,
    minor: U16,
    /// Bit 0: the store was closed after a checkpoint and nothing was written since.
    flags: U32,
    uuid: [u8; 16],
    seq: U64,
    /// The log up to this LSN is in the segments.
    ckpt_lsn: U64,
    /// The checkpoint file whose pages must be in place before the segments hold; 0 if they are.
    pending: U64,
    /// The last checkpoint that was applied.
    done: U64,
    /// Length of the pending checkpoint file.
    pending_len: U64,
    /// Version of the writer, for people.
    writer: [u8; 32],
}
const _: () = assert!(size_of::<Slot>() == 104);

/// What the newest valid slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Super {
    /// The store's identity.
    pub uuid: [u8; 16],
    /// Grows by one with every write of SUPER.
    pub seq: u64,
    /// The log up to this LSN is in the segments (once `pending` is applied).
    pub ckpt_lsn: u64,
    /// The checkpoint file to be applied; 0 = none.
    pub pending: u64,
    /// The last checkpoint applied.
    pub done: u64,
    /// Length of the pending checkpoint file in bytes.
    pub pending_len: u64,
    /// Closed cleanly: every sync since the store was opened succeeded, and the log holds nothing beyond `ckpt_lsn`.
    pub clean: bool,
}

/// The open SUPER file.
#[derive(Debug)]
pub struct Superblock {
    file: Arc<dyn DiskFile>,
}

impl Superblock {
    /// Makes a store exist: SUPER is written beside, synced and renamed last of all files of a new store.
    pub fn create(disk: &dyn Disk, first: &Super) -> Result<()> {
        let temporary = names::tmp(names::SUPER);
        let file = disk.create(&temporary)?;
        file.write_at((first.seq % 2) * PAGE as u64, &encode(first))?;
        file.set_len(2 * PAGE as u64)?;
        file.sync()?;
        disk.rename(&temporary, names::SUPER)?;
        disk.sync_dir("")
    }

    /// Opens SUPER and reads the slot that holds. What is read is what the disk holds, not what an earlier process
    /// left in the page cache after a failed sync.
    ///
    /// # Errors
    /// A not-found error if there is no SUPER; [`Error::Corrupt`] if no slot is valid.
    pub fn open(disk: &dyn Disk) -> Result<(Self, Super)> {
        let file = disk.open(names::SUPER)?;
        mutant::unless(Mutant::OldSuperUnsynced, || file.sync())?;
        mutant::unless(Mutant::NoEviction, || file.evict())?;
        Self::read(file)
    }

    fn read(file: Arc<dyn DiskFile>) -> Result<(Self, Super)> {
        let length = file.len()?;
        if length < 2 * PAGE as u64 {
            return Err(Error::corrupt(names::SUPER, length, format!("8192 bytes expected, the file has {length}")));
        }
        let mut best: Option<Super> = None;
        let mut problem = None;
        for slot in 0..2 {
            let mut page = [0; PAGE];
            let at = slot * PAGE as u64;
            file.read_at(at, &mut page)?;
            match decode(&page, at) {
                Ok(found) if best.is_none_or(|b| b.seq < found.seq) => best = Some(found),
                Ok(_) => {}
                Err(error @ Error::FormatTooNew { .. }) => return Err(error),
                // An empty slot is no reason to complain of when the other one is damaged.
                Err(error) if page.iter().any(|&b| b != 0) => problem = Some(error),
                Err(_) => {}
            }
        }
        match (best, problem) {
            (Some(found), _) => Ok((Self { file }, found)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::corrupt(names::SUPER, 0, "both slots are empty")),
        }
    }

    /// Reads the slot that holds, and changes nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn peek(disk: &dyn Disk) -> Result<Super> {
        Ok(Self::read(disk.open(names::SUPER)?)?.1)
    }

    /// Compares both slots, as the file has them, with the state that holds. Nobody writes meanwhile.
    ///
    /// The slot that does not hold may be damaged without harm; a crash that cuts its writing short leaves the same, so
    /// it is a note.
    pub fn check(&self, state: &Super, findings: &mut Findings) {
        let Some(length) = findings.check(self.file.len()) else { return };
        if length != 2 * PAGE as u64 {
            findings.damage(names::SUPER, length.min(2 * PAGE as u64), format!("8192 bytes expected, not {length}"));
        }
        for slot in 0..2 {
            let (mut page, at) = ([0; PAGE], slot * PAGE as u64);
            if findings.check(self.file.read_at(at, &mut page)).is_none() {
                continue;
            }
            match decode(&page, at) {
                Ok(found) if found.seq > state.seq || found.seq == state.seq && found != *state => {
                    findings.damage(names::SUPER, at, format!("{found:?}, where {state:?} holds"));
                }
                Ok(_) => {}
                Err(error) if state.seq % 2 == slot => drop(findings.check::<()>(Err(error))),
                // The slot of a store that was only just made.
                Err(_) if state.seq == 1 && page.iter().all(|&byte| byte == 0) => {}
                Err(error) => findings.note(format!("{error}; it is the slot that does not hold")),
            }
        }
        findings.checked(&*self.file, length);
    }

    /// Writes the next state, with the next `seq`, and makes it durable.
    pub fn write(&self, state: &mut Super) -> Result<()> {
        state.seq += 1;
        let slot = if mutant::on(Mutant::OneSuperSlot) { 0 } else { state.seq % 2 };
        self.file.write_at(slot * PAGE as u64, &encode(state))?;
        self.file.sync()
    }
}

fn encode(state: &Super) -> [u8; PAGE] {
    let mut writer = [0; 32];
    let version = concat!("lodestore ", env!("CARGO_PKG_VERSION")).as_bytes();
    writer[..version.len().min(32)].copy_from_slice(&version[..version.len().min(32)]);
    let slot = Slot {
        magic: MAGIC,
        major: U16::new(FORMAT_MAJOR),
        minor: U16::new(0),
        flags: U32::new(u32::from(state.clean)),
        uuid: state.uuid,
        seq: U64::new(state.seq),
        ckpt_lsn: U64::new(state.ckpt_lsn),
        pending: U64::new(state.pending),
        done: U64::new(state.done),
        pending_len: U64::new(state.pending_len),
        writer,
    };
    let mut page = [0; PAGE];
    page[..size_of::<Slot>()].copy_from_slice(slot.as_bytes());
    let crc = crc32fast::hash(&page[..CRC_AT]);
    page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    page
}

fn decode(page: &[u8; PAGE], at: u64) -> Result<Super> {
    let (slot, _) =
        Slot::read_from_prefix(&page[..]).map_err(|_| Error::corrupt(names::SUPER, at, "unreadable slot"))?;
    if slot.magic != MAGIC {
        return Err(Error::corrupt(names::SUPER, at, "not a lodestore SUPER file"));
    }
    let recorded = u32::from_le_bytes(page[CRC_AT..].try_into().expect("four bytes"));
    let computed = crc32fast::hash(&page[..CRC_AT]);
    if recorded != computed {
        let what = format!("checksum {recorded:08x}, computed {computed:08x}");
        return Err(Error::corrupt(names::SUPER, at + CRC_AT as u64, what));
    }
    if slot.major.get() > FORMAT_MAJOR {
        let found = slot.major.get();
        return Err(Error::FormatTooNew { file: names::SUPER.into(), found, supported: FORMAT_MAJOR });
    }
    Ok(Super {
        uuid: slot.uuid,
        seq: slot.seq.get(),
        ckpt_lsn: slot.ckpt_lsn.get(),
        pending: slot.pending.get(),
        done: slot.done.get(),
        pending_len: slot.pending_len.get(),
        clean: slot.flags.get() & 1 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestore_wal::MemDisk;

    fn state() -> Super {
        Super { uuid: [3; 16], seq: 1, ckpt_lsn: 9, pending: 0, done: 4, pending_len: 0, clean: true }
    }

    #[test]
    fn the_newer_slot_holds_and_the_older_one_backs_it_up() {
        let disk = MemDisk::new();
        Superblock::create(&disk, &state()).unwrap();
        let (superblock, mut now) = Superblock::open(&disk).unwrap();
        assert_eq!(now, state());
        now.ckpt_lsn = 20;
        superblock.write(&mut now).unwrap();
        assert_eq!(Superblock::open(&disk).unwrap().1, now);
        // Damage to the newer slot leaves the older one.
        superblock.file.write_at((now.seq % 2) * PAGE as u64 + 50, &[0xEE]).unwrap();
        assert_eq!(Superblock::open(&disk).unwrap().1.ckpt_lsn, 9);
        superblock.file.write_at(((now.seq + 1) % 2) * PAGE as u64 + 50, &[0xEE]).unwrap();
        assert!(matches!(Superblock::open(&disk), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_newer_format_is_refused_by_number() {
        let disk = MemDisk::new();
        Superblock::create(&disk, &state()).unwrap();
        let mut page = encode(&state());
        page[8] = 9;
        let crc = crc32fast::hash(&page[..CRC_AT]);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        disk.open(names::SUPER).unwrap().write_at(PAGE as u64, &page).unwrap();
        let error = Superblock::open(&disk).unwrap_err();
        assert!(matches!(error, Error::FormatTooNew { found: 9, .. }), "{error}");
    }
}
