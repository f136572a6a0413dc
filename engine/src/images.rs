//! Checkpoint files: a durable copy of every page that is about to be overwritten in place.
//!
//! # Format of `ckpt/<no>.pgs`
//!
//! | part | bytes | content |
//! |---|---|---|
//! | header | 4096 | [`Header`], zeros, CRC-32 of the page at 4092 |
//! | images | 4096 × pages | in table order |
//! | table | 24 × pages, padded to 4096 | a [`Row`] for each image |
//! | footer | 4096 | [`Footer`], zeros, CRC-32 of the page at 4092 |
//!
//! A file that is complete and valid is a full description of state `ckpt_lsn`: applying it again does no harm.

use crate::geometry::{FORMAT_MAJOR, MAX_SLOTS};
use crate::view::PageImage;
use lodestore_wal::mutant::{self, Mutant};
use lodestore_wal::names::{self, Part};
use lodestore_wal::{Disk, DiskFile, Error, PAGE, Result};
use std::sync::Arc;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const MAGIC: [u8; 8] = *b"LODEPAGE";
const FOOTER_MAGIC: [u8; 8] = *b"LODEDONE";
const CRC_AT: usize = PAGE - 4;
const ROW: u64 = size_of::<Row>() as u64;
/// Pages written or read at once.
const BLOCK: usize = 256;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    major: U16,
    minor: U16,
    reserved: U32,
    uuid: [u8; 16],
    no: U64,
    ckpt_lsn: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Footer {
    magic: [u8; 8],
    no: U64,
    pages: U64,
    table_crc: U32,
    reserved: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Row {
    /// Page of its file.
    page: U64,
    collection: U32,
    /// 1 links, 2 upper, 3 tombs, 4 sums, 5 heads (collection 0).
    kind: U32,
    crc: U32,
    /// Of the collection's files.
    generation: U32,
}
const _: () = assert!(size_of::<Row>() == 24);

const KINDS: [(u32, Part); 4] = [(1, Part::Links), (2, Part::Upper), (3, Part::Tombs), (4, Part::Sums)];
const HEADS_KIND: u32 = 5;

/// The file a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// The heads file.
    Heads,
    /// Links, upper, tombs or sums of a collection, of one generation.
    Part(u32, u32, Part),
}

impl Target {
    /// Collection, generation, kind.
    fn code(self) -> (u32, u32, u32) {
        match self {
            Target::Heads => (0, 0, HEADS_KIND),
            Target::Part(id, generation, part) => {
                let kind = KINDS.iter().find(|(_, p)| *p == part).expect("only parts that change in place");
                (id, generation, kind.0)
            }
        }
    }

    fn from_code((id, generation, kind): (u32, u32, u32)) -> Option<Target> {
        if kind == HEADS_KIND {
            return (id == 0 && generation == 0).then_some(Target::Heads);
        }
        KINDS.iter().find(|(k, _)| *k == kind).map(|&(_, part)| Target::Part(id, generation, part))
    }

    /// The name of the file.
    pub(crate) fn name(self) -> String {
        match self {
            Target::Heads => names::HEADS.into(),
            Target::Part(id, generation, part) => names::part(id, generation, part),
        }
    }
}

/// A checkpoint file being written.
pub(crate) struct ImageWriter {
    file: Arc<dyn DiskFile>,
    no: u64,
    header: [u8; PAGE],
    rows: Vec<Row>,
    block: Vec<u8>,
    /// Where the next block goes.
    at: u64,
}

impl ImageWriter {
    /// Makes `ckpt/<no>.pgs` with room for about `pages` pages.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and others; what is left of the file is worth nothing without its footer.
    pub(crate) fn create(disk: &dyn Disk, uuid: [u8; 16], no: u64, ckpt_lsn: u64, pages: u64) -> Result<Self> {
        let header = Header {
            magic: MAGIC,
            major: U16::new(FORMAT_MAJOR),
            minor: U16::new(0),
            reserved: U32::new(0),
            uuid,
            no: U64::new(no),
            ckpt_lsn: U64::new(ckpt_lsn),
        };
        let file = disk.create(&names::ckpt(no))?;
        file.allocate(length(pages))?;
        let header = checked_page(header.as_bytes());
        Ok(Self { file, no, header, rows: Vec::new(), block: Vec::new(), at: PAGE as u64 })
    }

    /// Adds a page; returns its checksum.
    pub(crate) fn add(&mut self, target: Target, page: u64, image: &PageImage) -> Result<u32> {
        let crc = crc32fast::hash(&image[..]);
        let (collection, generation, kind) = target.code();
        self.rows.push(Row {
            page: U64::new(page),
            collection: U32::new(collection),
            kind: U32::new(kind),
            crc: U32::new(crc),
            generation: U32::new(generation),
        });
        self.block.extend_from_slice(&image[..]);
        if self.block.len() >= BLOCK * PAGE {
            self.flush()?;
        }
        Ok(crc)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_at(self.at, &self.block)?;
        self.at += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }

    /// Completes the file, and makes it and its name durable. Returns its length.
    pub(crate) fn seal(mut self, disk: &dyn Disk) -> Result<u64> {
        let footer = Footer {
            magic: FOOTER_MAGIC,
            no: U64::new(self.no),
            pages: U64::new(self.rows.len() as u64),
            table_crc: U32::new(crc32fast::hash(self.rows.as_bytes())),
            reserved: U32::new(0),
        };
        self.block.extend_from_slice(self.rows.as_bytes());
        self.block.resize(self.block.len().next_multiple_of(PAGE), 0);
        self.block.extend_from_slice(&checked_page(footer.as_bytes()));
        self.flush()?;
        self.file.write_at(0, &self.header)?;
        debug_assert_eq!(self.at, length(self.rows.len() as u64));
        self.file.set_len(self.at)?;
        mutant::unless(Mutant::CheckpointUnsynced, || self.file.sync())?;
        mutant::unless(Mutant::CheckpointNameUnsynced, || disk.sync_dir(names::CKPT_DIR))?;
        Ok(self.at)
    }
}

/// Bytes of a file of that many pages.
fn length(pages: u64) -> u64 {
    (pages + 2) * PAGE as u64 + (pages * ROW).next_multiple_of(PAGE as u64)
}

fn checked_page(content: &[u8]) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[..content.len()].copy_from_slice(content);
    let crc = crc32fast::hash(&page[..CRC_AT]);
    page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    page
}

/// A complete checkpoint file: header, table and footer are valid, and so is every image.
#[derive(Debug)]
pub(crate) struct Images {
    file: Arc<dyn DiskFile>,
    pub(crate) no: u64,
    pub(crate) ckpt_lsn: u64,
    pub(crate) length: u64,
    /// Where each image belongs, and its checksum.
    pub(crate) pages: Vec<(Target, u64, u32)>,
}

impl Images {
    /// Reads and checks `ckpt/<no>.pgs` as the disk holds it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the place of the first thing wrong.
    pub(crate) fn open(disk: &dyn Disk, uuid: [u8; 16], no: u64) -> Result<Self> {
        let name = names::ckpt(no);
        let corrupt = |at: u64, what: String| Error::corrupt(&name, at, what);
        let file = disk.open(&name)?;
        let total = file.len()?;
        if total < length(0) {
            return Err(corrupt(total, format!("at least {} bytes expected", length(0))));
        }
        let header_page = read_checked(&*file, &name, 0)?;
        let (header, _) =
            Header::read_from_prefix(&header_page[..]).map_err(|_| corrupt(0, "unreadable header".into()))?;
        if header.magic != MAGIC || header.no.get() != no || header.uuid != uuid {
            return Err(corrupt(0, format!("header names checkpoint {} of another store or file", header.no)));
        }
        if header.major.get() > FORMAT_MAJOR {
            let found = header.major.get();
            return Err(Error::FormatTooNew { file: name, found, supported: FORMAT_MAJOR });
        }
        let footer_at = total - PAGE as u64;
        let footer_page = read_checked(&*file, &name, footer_at)?;
        let (footer, _) =
            Footer::read_from_prefix(&footer_page[..]).map_err(|_| corrupt(footer_at, "unreadable footer".into()))?;
        let pages = footer.pages.get();
        // `pages` is bounded by the file's length before anything is sized by it.
        if footer.magic != FOOTER_MAGIC
            || footer.no.get() != no
            || pages > total / PAGE as u64
            || length(pages) != total
        {
            return Err(corrupt(footer_at, format!("footer says {pages} pages, the file has {total} bytes")));
        }
        let table_at = (pages + 1) * PAGE as u64;
        let mut table = vec![0; (pages * ROW) as usize];
        file.read_at(table_at, &mut table)?;
        if crc32fast::hash(&table) != footer.table_crc.get() {
            return Err(corrupt(table_at, "page table checksum does not match".into()));
        }
        let padding = table_at + table.len() as u64..footer_at;
        if let Some((at, _)) = lodestore_wal::disk::nonzero(&*file, padding)? {
            return Err(corrupt(at, "not zero behind the page table".into()));
        }
        let rows = <[Row]>::ref_from_bytes(&table).map_err(|_| corrupt(table_at, "unreadable table".into()))?;
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            let target = Target::from_code((row.collection.get(), row.generation.get(), row.kind.get()))
                .ok_or_else(|| corrupt(table_at, format!("unknown kind of page {}", row.kind)))?;
            // No file has more pages than slots may exist, each of a page at most.
            if row.page.get() >= u64::from(MAX_SLOTS) {
                return Err(corrupt(table_at, format!("page {} of {}", row.page, target.name())));
            }
            list.push((target, row.page.get(), row.crc.get()));
        }
        let images = Self { file, no, ckpt_lsn: header.ckpt_lsn.get(), length: total, pages: list };
        images.for_each(|_, _, _| Ok(()))?;
        Ok(images)
    }

    /// Calls `f` for every page in table order, checksum verified.
    pub(crate) fn for_each(&self, mut f: impl FnMut(Target, u64, &[u8; PAGE]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; BLOCK * PAGE];
        for (block, pages) in self.pages.chunks(BLOCK).enumerate() {
            let at = PAGE as u64 + (block * BLOCK * PAGE) as u64;
            let bytes = &mut buffer[..pages.len() * PAGE];
            self.file.read_at(at, bytes)?;
            for (i, (&(target, page, crc), image)) in pages.iter().zip(bytes.chunks_exact(PAGE)).enumerate() {
                let computed = crc32fast::hash(image);
                if computed != crc {
                    let what = format!("image checksum {crc:08x}, computed {computed:08x}");
                    return Err(Error::corrupt(self.file.path(), at + (i * PAGE) as u64, what));
                }
                f(target, page, image.try_into().expect("a page"))?;
            }
        }
        Ok(())
    }

    /// Writes every page into its place, in order of place, and makes it durable. May be repeated.
    ///
    /// # Errors
    /// Any error leaves the files half overwritten; the checkpoint file repairs them when it is applied again.
    pub(crate) fn apply(&self, open: impl Fn(Target) -> Result<Arc<dyn DiskFile>>) -> Result<()> {
        let mut order: Vec<usize> = (0..self.pages.len()).collect();
        order.sort_unstable_by_key(|&i| (self.pages[i].0.code(), self.pages[i].1));
        let mut image = vec![0; PAGE];
        let mut current: Option<(Target, Arc<dyn DiskFile>)> = None;
        for i in order {
            let (target, page, crc) = self.pages[i];
            if current.as_ref().is_none_or(|(t, _)| *t != target) {
                if let Some((_, file)) = current.take() {
                    sync_pages(&*file)?;
                }
                current = Some((target, open(target)?));
            }
            let at = (i as u64 + 1) * PAGE as u64;
            self.file.read_at(at, &mut image)?;
            let computed = crc32fast::hash(&image);
            if computed != crc {
                let what = format!("image checksum {crc:08x}, computed {computed:08x}");
                return Err(Error::corrupt(self.file.path(), at, what));
            }
            let file = &current.as_ref().expect("set above").1;
            let end = (page + 1) * PAGE as u64;
            if file.len()? < end {
                file.allocate(end)?;
            }
            file.write_at(page * PAGE as u64, &image)?;
        }
        match current {
            Some((_, file)) => sync_pages(&*file),
            None => Ok(()),
        }
    }
}

fn sync_pages(file: &dyn DiskFile) -> Result<()> {
    mutant::unless(Mutant::PagesUnsynced, || file.sync())
}

fn read_checked(file: &dyn DiskFile, name: &str, at: u64) -> Result<[u8; PAGE]> {
    let mut page = [0; PAGE];
    file.read_at(at, &mut page)?;
    let recorded = u32::from_le_bytes(page[CRC_AT..].try_into().expect("four bytes"));
    let computed = crc32fast::hash(&page[..CRC_AT]);
    if recorded != computed {
        let what = format!("page checksum {recorded:08x}, computed {computed:08x}");
        return Err(Error::corrupt(name, at + CRC_AT as u64, what));
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestore_wal::MemDisk;

    fn written(pages: u64) -> (MemDisk, u64) {
        let disk = MemDisk::new();
        disk.create_dir(names::CKPT_DIR).unwrap();
        let mut writer = ImageWriter::create(&disk, [1; 16], 5, 77, pages).unwrap();
        for page in 0..pages {
            let target =
                if page % 3 == 0 { Target::Heads } else { Target::Part(page as u32 % 2, page as u32 % 5, Part::Links) };
            writer.add(target, page, &Box::new([page as u8; PAGE])).unwrap();
        }
        let length = writer.seal(&disk).unwrap();
        (disk, length)
    }

    #[test]
    fn a_sealed_file_reads_back_and_applies() {
        let (disk, length) = written(600);
        let images = Images::open(&disk, [1; 16], 5).unwrap();
        assert_eq!((images.ckpt_lsn, images.length, images.pages.len()), (77, length, 600));
        let target = disk.create("target").unwrap();
        images.apply(|_| Ok(target.clone())).unwrap();
        let mut byte = [0];
        target.read_at(599 * PAGE as u64, &mut byte).unwrap();
        assert_eq!(byte[0], (599 % 256) as u8);
        assert!(Images::open(&disk, [2; 16], 5).is_err(), "another store's");
    }

    #[test]
    fn a_cut_or_damaged_file_is_refused() {
        let (disk, length) = written(3);
        let file = disk.open(&names::ckpt(5)).unwrap();
        let mut good = vec![0; length as usize];
        file.read_at(0, &mut good).unwrap();
        for at in (0..length as usize).step_by(37) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            file.write_at(0, &bad).unwrap();
            assert!(Images::open(&disk, [1; 16], 5).is_err(), "byte {at}");
        }
        file.write_at(0, &good).unwrap();
        for cut in (0..length).step_by(512) {
            file.set_len(cut).unwrap();
            assert!(Images::open(&disk, [1; 16], 5).is_err(), "cut at {cut}");
            file.set_len(length).unwrap();
            file.write_at(0, &good).unwrap();
        }
    }
}
