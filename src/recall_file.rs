//! What was measured of a collection's recall, kept for later openings.
//!
//! # Format of `c/<id>.recall`
//!
//! [`Header`], a [`Row`] for each `ef`, then the CRC-32 of all bytes before, u32. All numbers are little-endian. The file is
//! written whole, beside, and renamed. Nothing depends on it: it can be removed, and is measured anew with the next
//! measurement.

use crate::error::{Error, Result};
use crate::recall::{RecallAt, RecallReport};
use crate::shared::{Open, Shared};
use lodestore_wal::{Disk, DiskFile, names};
use std::sync::Arc;
use zerocopy::byteorder::little_endian::{F64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const MAGIC: [u8; 8] = *b"LODERECL";
const MAJOR: u16 = 1;
/// Longer ones were not written by us.
const MOST_ROWS: usize = 1024;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    major: U16,
    minor: U16,
    rows: U32,
    /// The store's.
    uuid: [u8; 16],
    /// The record of the log that made the collection.
    created: U64,
    /// The last record of the log when it was measured.
    lsn: U64,
    records: U64,
    samples: U64,
    k: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Row {
    ef: U64,
    recall: F64,
    low: F64,
    high: F64,
    distances: F64,
}

fn encode(uuid: [u8; 16], created: u64, report: &RecallReport) -> Vec<u8> {
    let header = Header {
        magic: MAGIC,
        major: U16::new(MAJOR),
        minor: U16::new(0),
        rows: U32::new(report.rows.len() as u32),
        uuid,
        created: U64::new(created),
        lsn: U64::new(report.lsn),
        records: U64::new(report.records),
        samples: U64::new(report.samples as u64),
        k: U64::new(report.k as u64),
    };
    let mut bytes = header.as_bytes().to_vec();
    for row in &report.rows {
        let numbers = [row.recall, row.low, row.high, row.distances].map(F64::new);
        let [recall, low, high, distances] = numbers;
        bytes.extend_from_slice(Row { ef: U64::new(row.ef as u64), recall, low, high, distances }.as_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// `None` if it is of another collection, or of a later version.
fn decode(uuid: [u8; 16], created: u64, bytes: &[u8]) -> std::result::Result<Option<RecallReport>, String> {
    let (content, crc) = bytes.split_last_chunk::<4>().ok_or_else(|| format!("{} bytes", bytes.len()))?;
    let (recorded, computed) = (u32::from_le_bytes(*crc), crc32fast::hash(content));
    if recorded != computed {
        return Err(format!("checksum {recorded:08x}, computed {computed:08x}"));
    }
    let (header, rest) = Header::ref_from_prefix(content).map_err(|_| format!("{} bytes", bytes.len()))?;
    if header.magic != MAGIC {
        return Err("it does not begin as such a file does".into());
    }
    if header.major.get() != MAJOR || header.uuid != uuid || header.created.get() != created {
        return Ok(None);
    }
    let rows = <[Row]>::ref_from_bytes(rest).map_err(|_| format!("{} bytes of rows", rest.len()))?;
    if rows.len() != header.rows.get() as usize {
        return Err(format!("{} rows, {} expected", rows.len(), header.rows));
    }
    let row = |row: &Row| RecallAt {
        ef: row.ef.get() as usize,
        recall: row.recall.get(),
        low: row.low.get(),
        high: row.high.get(),
        distances: row.distances.get(),
    };
    Ok(Some(RecallReport {
        k: header.k.get() as usize,
        samples: header.samples.get() as usize,
        records: header.records.get(),
        lsn: header.lsn.get(),
        rows: rows.iter().map(row).collect(),
    }))
}

/// What was measured last, and kept.
fn read(disk: &dyn Disk, uuid: [u8; 16], open: &Open) -> Result<Option<RecallReport>> {
    let name = names::recall(open.id);
    let file = match disk.open(&name) {
        Err(error) if error.is_not_found() => return Ok(None),
        file => file?,
    };
    let most = size_of::<Header>() + MOST_ROWS * size_of::<Row>() + 4;
    let length = file.len()?;
    let damaged = |what: String| {
        let what = format!("{what}; nothing depends on this file: measure recall again, or remove it");
        Error::Corrupt { file: name.clone(), offset: 0, what }
    };
    if length > most as u64 {
        return Err(damaged(format!("{length} bytes, more than {most}")));
    }
    let mut bytes = vec![0; length as usize];
    file.read_at(0, &mut bytes)?;
    decode(uuid, open.index().head().created, &bytes).map_err(damaged)
}

fn write(disk: &dyn Disk, uuid: [u8; 16], open: &Open, report: &RecallReport) -> Result<()> {
    let name = names::recall(open.id);
    let beside = names::tmp(&name);
    remove(disk, &beside)?;
    let file = disk.create(&beside)?;
    let written = file.write_at(0, &encode(uuid, open.index().head().created, report)).and_then(|()| file.sync());
    if let Err(error) = written {
        // Should it stay, the next one replaces it.
        let _ = disk.remove(&beside);
        return Err(error.into());
    }
    disk.rename(&beside, &name)?;
    Ok(disk.sync_dir(names::COLLECTIONS_DIR)?)
}

fn remove(disk: &dyn Disk, path: &str) -> Result<()> {
    match disk.remove(path) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}

impl Shared {
    /// What was measured last of a collection, now or before it was opened.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if what was kept is damaged.
    pub(crate) fn recall_of(&self, open: &Open) -> Result<Option<Arc<RecallReport>>> {
        let mut kept = open.recall.lock();
        if kept.is_none() {
            *kept = Some(read(&*self.disk, self.uuid, open)?.map(Arc::new));
        }
        Ok(kept.clone().flatten())
    }

    /// Reads what is kept of a collection again, and gives the file back, if there is one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is damaged.
    pub(crate) fn check_recall(&self, open: &Open) -> Result<Option<Arc<dyn DiskFile>>> {
        read(&*self.disk, self.uuid, open)?;
        match self.disk.open(&names::recall(open.id)) {
            Err(error) if error.is_not_found() => Ok(None),
            file => Ok(Some(file?)),
        }
    }

    /// Keeps what was measured.
    ///
    /// # Errors
    /// Of the disk; searches go by it all the same, until the collection is closed.
    pub(crate) fn keep_recall(&self, open: &Open, report: &RecallReport) -> Result<()> {
        // Closing waits for the gate: from then on the files are another's.
        let _gate = self.gate.read();
        self.check_open()?;
        let mut kept = open.recall.lock();
        *kept = Some(Some(Arc::new(report.clone())));
        if self.reader.is_some() {
            return Ok(());
        }
        // Searches of a store whose writing has stopped go by it, too.
        self.poison.check()?;
        write(&*self.disk, self.uuid, open, report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_back_and_damage_is_noticed() {
        let row = |ef| RecallAt { ef, recall: 0.5, low: 0.25, high: 0.75, distances: 99.5 };
        let report = RecallReport { k: 10, samples: 7, records: 12, lsn: 345, rows: vec![row(10), row(13)] };
        let bytes = encode([3; 16], 9, &report);
        assert_eq!(decode([3; 16], 9, &bytes), Ok(Some(report)));
        assert_eq!((decode([4; 16], 9, &bytes), decode([3; 16], 8, &bytes)), (Ok(None), Ok(None)));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert!(decode([3; 16], 9, &bad).is_err(), "byte {at}");
            assert!(decode([3; 16], 9, &bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
