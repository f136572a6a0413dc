//! One collection's files, read without opening it and without changing them: what is whole, slot by slot.
//!
//! Pages of a checkpoint that is on the disk but perhaps not in place yet come before those in the files.

use crate::geometry::{Geometry, read_meta_of_any};
use crate::heads::{self, Head};
use crate::ids::{self, Id};
use crate::images::{Images, Target};
use crate::keys::{self, KeyType, StoredKey};
use crate::slots::vector_crc;
use crate::sums::{self, Array};
use crate::superblock::Super;
use crate::view::PageImage;
use lodestore_wal::names::{self, Part};
use lodestore_wal::{Disk, DiskFile, Error, PAGE, Result};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Ids read at once.
const AT_ONCE: u64 = 4096;

/// Pages of a whole checkpoint file.
#[derive(Debug, Default)]
pub struct Overlay {
    pages: HashMap<(Target, u64), PageImage>,
    /// The LSN that it brings the segments to.
    pub ckpt_lsn: Option<u64>,
}

impl Overlay {
    /// What the newest whole checkpoint file holds of tombstones, checksums and heads. `found` is called with the files
    /// that are not whole.
    ///
    /// # Errors
    /// Of the disk.
    pub fn read(disk: &dyn Disk, uuid: [u8; 16], state: Option<&Super>, mut found: impl FnMut(Error)) -> Result<Self> {
        let listed = match disk.list(names::CKPT_DIR) {
            Err(error) if error.is_not_found() => Vec::new(),
            listed => listed?,
        };
        let mut numbers: Vec<u64> = listed.iter().filter_map(|name| names::parse_ckpt(name)).collect();
        numbers.sort_unstable();
        let mut overlay = Self::default();
        for &no in numbers.iter().rev().filter(|&&no| state.is_none_or(|state| no > state.done)) {
            match Images::open(disk, uuid, no) {
                Ok(images) if state.is_none_or(|state| images.ckpt_lsn >= state.ckpt_lsn) => {
                    images.for_each(|target, page, image| {
                        if matches!(target, Target::Heads | Target::Part(_, _, Part::Tombs | Part::Sums)) {
                            overlay.pages.insert((target, page), Box::new(*image));
                        }
                        Ok(())
                    })?;
                    overlay.ckpt_lsn = Some(images.ckpt_lsn);
                    break;
                }
                Ok(_) => {}
                Err(error) => found(error),
            }
        }
        Ok(overlay)
    }

    /// A page of a file, or of the checkpoint that is to go there.
    fn page(&self, target: Target, page: u64, file: &dyn DiskFile) -> Result<PageImage> {
        if let Some(image) = self.pages.get(&(target, page)) {
            return Ok(image.clone());
        }
        let mut image = Box::new([0; PAGE]);
        file.read_at(page * PAGE as u64, &mut image[..])?;
        Ok(image)
    }

    /// What `heads` says of a collection.
    ///
    /// # Errors
    /// [`Error::Corrupt`], and of the disk.
    pub fn head(&self, disk: &dyn Disk, id: u32) -> Result<Option<Head>> {
        let (page, at) = heads::place(id);
        if let Some(image) = self.pages.get(&(Target::Heads, page)) {
            return heads::in_page(image, id, at);
        }
        heads::Heads::new(disk.open(names::HEADS)?).read(id)
    }
}

/// What a slot's id turned out to be.
#[derive(Clone, Debug)]
pub enum SlotId {
    /// Nothing was ever put there.
    Empty,
    /// Not what was written.
    Damaged,
    /// Whole.
    Whole(Id),
}

/// A key that was read.
#[derive(Clone, Debug)]
pub enum SalvagedKey {
    /// A `u64`.
    Number(u64),
    /// Of any other type.
    Bytes(Vec<u8>),
}

impl SalvagedKey {
    /// As a collection has it.
    pub fn as_stored(&self) -> StoredKey<'_> {
        match self {
            Self::Number(number) => StoredKey::Number(*number),
            Self::Bytes(bytes) => StoredKey::Bytes(bytes),
        }
    }
}

/// A generation of a collection's files.
#[derive(Debug)]
pub struct Salvage {
    id: u32,
    generation: u32,
    geometry: Geometry,
    vectors: Result<Arc<dyn DiskFile>>,
    ids: Result<Arc<dyn DiskFile>>,
    /// Of a collection whose keys are not in their ids.
    keys: Option<Result<Arc<dyn DiskFile>>>,
    tombs: Result<Arc<dyn DiskFile>>,
    sums: Result<Arc<dyn DiskFile>>,
    /// The page of tombstones that was looked at last, if it is whole.
    tomb_page: RefCell<Option<(u64, Option<PageImage>)>>,
}

impl Salvage {
    /// # Errors
    /// If `meta` cannot be read: without it nothing is known of what the other files hold.
    pub fn open(disk: &dyn Disk, uuid: Option<[u8; 16]>, id: u32, generation: u32) -> Result<Self> {
        let geometry = read_meta_of_any(disk, uuid, (id, generation))?;
        let open = |part| disk.open(&names::part(id, generation, part));
        let (vectors, ids) = (open(Part::Vectors), open(Part::Ids));
        let (tombs, sums) = (open(Part::Tombs), open(Part::Sums));
        let keys = (!geometry.key.in_id()).then(|| open(Part::Keys));
        Ok(Self { id, generation, geometry, vectors, ids, keys, tombs, sums, tomb_page: RefCell::new(None) })
    }

    /// Its settings.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The collection's number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The generation of its files.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The files of what cannot be made again that cannot be opened, and why.
    pub fn damage(&self) -> Vec<(String, String)> {
        let files = [(Part::Vectors, &self.vectors), (Part::Ids, &self.ids), (Part::Tombs, &self.tombs)];
        let files = files.into_iter().chain([(Part::Sums, &self.sums)]);
        let files = files.chain(self.keys.iter().map(|keys| (Part::Keys, keys)));
        let damaged = files.filter_map(|(part, file)| Some((part, file.as_ref().err()?)));
        damaged.map(|(part, error)| (names::part(self.id, self.generation, part), error.to_string())).collect()
    }

    /// Where a slot is in `ids` or in `vectors`: the file's name, and the offset.
    pub fn place(&self, part: Part, slot: u32) -> (String, u64) {
        let stride = if part == Part::Ids { ids::STRIDE } else { self.geometry.vector_stride() };
        (names::part(self.id, self.generation, part), u64::from(slot) * stride as u64)
    }

    /// Calls `f` for every slot that the file of ids has, in order.
    ///
    /// # Errors
    /// Those of `f`. What cannot be read is damaged.
    pub fn each_id<E>(
        &self,
        mut f: impl FnMut(u32, SlotId) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let Ok(file) = &self.ids else { return Ok(()) };
        let slots = (file.len().unwrap_or(0) / ids::STRIDE as u64).min(u64::from(crate::geometry::MAX_SLOTS));
        let mut block = vec![0; (AT_ONCE as usize) * ids::STRIDE];
        for first in (0..slots).step_by(AT_ONCE as usize) {
            let bytes = &mut block[..(slots - first).min(AT_ONCE) as usize * ids::STRIDE];
            let read = file.read_at(first * ids::STRIDE as u64, bytes).is_ok();
            for (slot, bytes) in (first as u32..).zip(bytes.chunks_exact(ids::STRIDE)) {
                let id = match Id::checked(bytes) {
                    _ if !read => SlotId::Damaged,
                    _ if bytes.iter().all(|&byte| byte == 0) => SlotId::Empty,
                    Ok(id) => SlotId::Whole(id),
                    Err(_) => SlotId::Damaged,
                };
                f(slot, id)?;
            }
        }
        Ok(())
    }

    /// The key that an id stands for.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not what was written; of the disk.
    pub fn key(&self, id: &Id) -> Result<SalvagedKey> {
        let Some(file) = &self.keys else { return Ok(SalvagedKey::Number(id.key)) };
        let name = names::part(self.id, self.generation, Part::Keys);
        let at = keys::offset(id.key);
        let corrupt = |what: String| Error::corrupt(&name, at, what);
        let file = file.as_ref().map_err(|error| corrupt(error.to_string()))?;
        keys::read_from(&**file, id.key)?.map(SalvagedKey::Bytes).map_err(corrupt)
    }

    /// Whether a key, as the catalogue has it, may be the one that an id stands for, as far as the id alone tells.
    pub fn may_be(&self, id: &Id, key: &[u8]) -> bool {
        match self.geometry.key {
            KeyType::U64 => key == id.key.to_be_bytes(),
            _ => keys::may_be(id.key, key),
        }
    }

    /// The components of the vector in a slot whose id is `id`, as stored.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if they are not what was written; of the disk.
    pub fn vector(&self, slot: u32, id: &Id) -> Result<Vec<u8>> {
        let (name, at) = self.place(Part::Vectors, slot);
        let unreadable = |error: &Error| Error::corrupt(&name, at, format!("slot {slot}: {error}"));
        let file = self.vectors.as_ref().map_err(unreadable)?;
        let mut vector = vec![0; self.geometry.vector_bytes()];
        file.read_at(at, &mut vector).map_err(|error| unreadable(&error))?;
        let computed = vector_crc(&vector);
        if computed != id.vector_crc {
            let what = format!("slot {slot}: vector checksum {:08x}, computed {computed:08x}", id.vector_crc);
            return Err(Error::corrupt(name, at, what));
        }
        Ok(vector)
    }

    /// Whether a slot was tombstoned by the last checkpoint; `None` if the page that says so is damaged.
    pub fn is_dead(&self, overlay: &Overlay, slot: u32) -> Option<bool> {
        let (page, word) = (u64::from(slot) / 8 / PAGE as u64, (slot / 32) as usize % (PAGE / 4));
        let mut last = self.tomb_page.borrow_mut();
        if last.as_ref().is_none_or(|(known, _)| *known != page) {
            *last = Some((page, self.whole_tombs(overlay, page)));
        }
        let image = last.as_ref()?.1.as_ref()?;
        let bits = u32::from_le_bytes(image[4 * word..4 * word + 4].try_into().expect("four bytes"));
        Some(bits & (1 << (slot % 32)) != 0)
    }

    fn whole_tombs(&self, overlay: &Overlay, page: u64) -> Option<PageImage> {
        let target = |part| Target::Part(self.id, self.generation, part);
        let (tombs, sums) = (self.tombs.as_ref().ok()?, self.sums.as_ref().ok()?);
        let (sum_page, word) = sums::place(Array::Tombs, page);
        let image = overlay.page(target(Part::Tombs), page, &**tombs).ok()?;
        let sums = overlay.page(target(Part::Sums), sum_page, &**sums).ok()?;
        let recorded =
            sums::whole(&sums).then(|| u32::from_le_bytes(sums[4 * word..4 * word + 4].try_into().expect("four")));
        // A page that no checkpoint has written is of zeros, as is its checksum.
        let untouched = recorded == Some(0) && image.iter().all(|&byte| byte == 0);
        (untouched || recorded == Some(crc32fast::hash(&image[..]))).then_some(image)
    }
}
