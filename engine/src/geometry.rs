//! What a collection is, fixed at its creation, and the file that says so.
//!
//! # Format of `c/<id>/meta`
//!
//! `MetaFile`, 128 bytes, little-endian, written once and durable before the log names the collection.

use crate::element::Element;
use crate::keys::KeyType;
use crate::metric::{Metric, USER_CODE};
use crate::seeded;
use crate::user_metric::{MAX_METRIC_NAME, MetricName};
use lodestore_wal::names::{self, Part};
use lodestore_wal::{Disk, Error, Result};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The newest major format version of everything this crate writes.
pub const FORMAT_MAJOR: u16 = 1;
/// Slots a collection can have; two bits of a slot number are flags in the candidate pool.
pub const MAX_SLOTS: u32 = 1 << 30;
/// The most components of a vector.
pub const MAX_DIM: usize = 65_536;
/// The largest M.
pub const MAX_M: usize = 512;
/// The largest ef_construction.
pub const MAX_EF_CONSTRUCTION: usize = 65_536;
/// The highest level of a node.
pub const MAX_LEVEL: u8 = 15;

const MAGIC: [u8; 8] = *b"LODEMETA";
const LINE: usize = 64;
/// Bytes behind a code's numbers.
pub(crate) const TRAILER: usize = 5;
/// One in so many components of a rotated vector may be left out of its code for the sake of a cache line: each is a
/// random direction, and what distances lose by that is less than what rounding takes.
const LEFT_OUT: usize = 10;

/// Dimension, element type, metric, graph parameters and type of keys of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Components of a vector.
    pub dim: usize,
    /// What they are kept as.
    pub element: Element,
    /// The metric; Hamming's for bits, and only for them, or one of the program's own.
    pub metric: Metric,
    /// Links of a node on the levels above 0; level 0 has twice as many.
    pub m: usize,
    /// Candidates kept while inserting.
    pub ef_construction: usize,
    /// Seed of the levels, and of the codes' rotation.
    pub seed: u64,
    /// Bits of a component in the codes that walks run on: 8 or 4, or 0 for none. Vectors of bits have none.
    pub codes: u8,
    /// What its keys are.
    pub key: KeyType,
}

impl Geometry {
    /// Bytes of a stored vector's components.
    pub fn vector_bytes(&self) -> usize {
        self.element.bytes(self.dim)
    }

    /// Where under cosine the components' inverse norm is, an `f32`: behind them, at the next multiple of its size.
    pub fn scale_at(&self) -> usize {
        self.vector_bytes().next_multiple_of(4)
    }

    /// Bytes of a stored vector: the components, and under cosine their inverse norm.
    pub fn point_bytes(&self) -> usize {
        if self.metric == Metric::Cosine { self.scale_at() + 4 } else { self.vector_bytes() }
    }

    /// Bytes from one vector to the next: whole cache lines.
    pub fn vector_stride(&self) -> usize {
        self.point_bytes().next_multiple_of(LINE)
    }

    /// Bytes from one code to the next: whole cache lines, which are the kernels' blocks; 0 without codes.
    pub fn code_stride(&self) -> usize {
        match self.codes {
            0 => 0,
            bits => {
                let lines = (self.dim * usize::from(bits)).div_ceil(8) + TRAILER;
                let lines = lines.div_ceil(LINE);
                // A line less, if that costs few components.
                let fits = |lines: usize| (lines * LINE).saturating_sub(TRAILER) * 8 / usize::from(bits);
                let fewer = lines - usize::from(self.dim - fits(lines - 1).min(self.dim) <= self.dim / LEFT_OUT);
                fewer.max(1) * LINE
            }
        }
    }

    /// Components that a code has numbers for: all, or most of those of the rotated vector.
    pub fn coded(&self) -> usize {
        let room = self.code_stride().saturating_sub(TRAILER) * 8;
        room.checked_div(usize::from(self.codes)).unwrap_or(0).min(self.dim)
    }

    /// Links of a node on level 0.
    pub fn m0(&self) -> usize {
        2 * self.m
    }

    /// Bytes of a level-0 list.
    pub fn links_stride(&self) -> usize {
        (self.m0() * 4).next_multiple_of(LINE)
    }

    /// Bytes of a list above level 0.
    pub fn upper_stride(&self) -> usize {
        (self.m * 4).next_multiple_of(LINE)
    }

    /// The level of slot `slot`: a hash of seed and slot, distributed as in the HNSW paper (section 4, `mL = 1/ln M`),
    /// so that replaying the log or building in parallel gives the same levels.
    pub fn level(&self, slot: u32) -> u8 {
        let x = seeded::nth(self.seed, u64::from(slot) + 1);
        // 53 random bits, never 0, so that the logarithm is finite.
        let uniform = ((x >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let level = -uniform.ln() / (self.m as f64).ln();
        (level as u64).min(u64::from(MAX_LEVEL)) as u8
    }

    /// # Errors
    /// What is out of range, with the range.
    pub fn check(&self) -> std::result::Result<(), String> {
        let within = |name, got: usize, low: usize, high: usize| {
            if (low..=high).contains(&got) {
                Ok(())
            } else {
                Err(format!("{name} is {got}, allowed are {low} to {high}"))
            }
        };
        within("dim", self.dim, 1, MAX_DIM)?;
        within("m", self.m, 2, MAX_M)?;
        within("ef_construction", self.ef_construction, 1, MAX_EF_CONSTRUCTION)?;
        match (self.element, self.metric) {
            (_, Metric::User(_)) if self.codes != 0 => {
                return Err("a metric of the program's own has no codes: they know nothing of it".into());
            }
            (Element::Bits, Metric::Hamming) | (_, Metric::User(_)) => {}
            (Element::Bits, metric) => return Err(format!("bits are compared by hamming, not by {metric}")),
            (element, Metric::Hamming) => return Err(format!("hamming compares bits, not {element}")),
            _ => {}
        }
        match self.codes {
            0 => Ok(()),
            4 | 8 if self.element == Element::Bits => Err("vectors of bits have no codes, they are as small".into()),
            4 | 8 => Ok(()),
            bits => Err(format!("codes of {bits} bits, known are 0, 4 and 8")),
        }
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MetaFile {
    magic: [u8; 8],
    major: U16,
    minor: U16,
    /// The collection's number, the directory's name.
    id: U32,
    /// The store's identity, so that a file of another store is not mistaken for ours.
    uuid: [u8; 16],
    dim: U32,
    /// 1 = l2, 2 = ip, 3 = cosine, 4 = hamming, 5 = the program's own of the name below.
    metric: u8,
    /// 1 = f32, 2 = f16, 3 = bf16, 4 = i8, 5 = u8, 6 = bits.
    element: u8,
    /// 1 = u64, 2 = u128, 3 = UUID, 4 = str, 5 = bytes.
    key: u8,
    /// 0 = no codes, 4 or 8 = their bits.
    codes: u8,
    m: U32,
    ef_construction: U32,
    seed: U64,
    /// The name of a metric of the program's own, in UTF-8, zeros behind it; zeros for others.
    metric_name: [u8; MAX_METRIC_NAME],
    /// Zero; room for what later versions add.
    spare: [u8; 28],
    crc: U32,
}
const _: () = assert!(size_of::<MetaFile>() == 128);
const CRC_AT: usize = 124;
/// Bytes of a `meta` file.
pub(crate) const META_BYTES: u64 = size_of::<MetaFile>() as u64;

/// Writes a generation's `meta`, durable except for its directory entry.
pub(crate) fn write_meta(
    disk: &dyn Disk,
    uuid: [u8; 16],
    (id, generation): (u32, u32),
    geometry: &Geometry,
) -> Result<()> {
    let mut meta = MetaFile {
        magic: MAGIC,
        major: U16::new(FORMAT_MAJOR),
        minor: U16::new(0),
        id: U32::new(id),
        uuid,
        dim: U32::new(geometry.dim as u32),
        metric: geometry.metric.code(),
        element: geometry.element.code(),
        key: geometry.key.code(),
        codes: geometry.codes,
        m: U32::new(geometry.m as u32),
        ef_construction: U32::new(geometry.ef_construction as u32),
        seed: U64::new(geometry.seed),
        metric_name: metric_name(geometry.metric),
        spare: [0; 28],
        crc: U32::new(0),
    };
    meta.crc = U32::new(crc32fast::hash(&meta.as_bytes()[..CRC_AT]));
    let file = disk.create(&names::part(id, generation, Part::Meta))?;
    file.write_at(0, meta.as_bytes())?;
    file.sync()
}

fn metric_name(metric: Metric) -> [u8; MAX_METRIC_NAME] {
    let mut bytes = [0; MAX_METRIC_NAME];
    if let Metric::User(name) = metric {
        bytes[..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
    }
    bytes
}

fn user_metric(bytes: &[u8]) -> Option<Metric> {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    MetricName::of(std::str::from_utf8(&bytes[..end]).ok()?).map(Metric::User)
}

/// Reads and checks a generation's `meta`.
pub(crate) fn read_meta(disk: &dyn Disk, uuid: [u8; 16], of: (u32, u32)) -> Result<Geometry> {
    read_meta_of_any(disk, Some(uuid), of)
}

/// As [`read_meta`], of whatever store if that is not known.
pub(crate) fn read_meta_of_any(
    disk: &dyn Disk,
    uuid: Option<[u8; 16]>,
    (id, generation): (u32, u32),
) -> Result<Geometry> {
    let name = names::part(id, generation, Part::Meta);
    let file = disk.open(&name)?;
    let length = file.len()?;
    if length < size_of::<MetaFile>() as u64 {
        return Err(Error::corrupt(name, length, format!("128 bytes expected, the file has {length}")));
    }
    let mut bytes = [0; size_of::<MetaFile>()];
    file.read_at(0, &mut bytes)?;
    let meta = MetaFile::read_from_bytes(&bytes).map_err(|_| Error::corrupt(&name, 0, "unreadable"))?;
    if meta.magic != MAGIC {
        return Err(Error::corrupt(name, 0, "not a collection's meta file"));
    }
    if meta.major.get() > FORMAT_MAJOR {
        return Err(Error::FormatTooNew { file: name, found: meta.major.get(), supported: FORMAT_MAJOR });
    }
    let crc = crc32fast::hash(&bytes[..CRC_AT]);
    if meta.crc.get() != crc {
        return Err(Error::corrupt(
            name,
            CRC_AT as u64,
            format!("checksum {:08x}, computed {crc:08x}", meta.crc.get()),
        ));
    }
    if uuid.is_some_and(|uuid| meta.uuid != uuid) || meta.id.get() != id {
        return Err(Error::corrupt(name, 12, format!("belongs to collection {} of another store", meta.id.get())));
    }
    let users = || (meta.metric == USER_CODE).then(|| user_metric(&meta.metric_name)).flatten();
    let metric = Metric::from_code(meta.metric)
        .or_else(users)
        .ok_or_else(|| Error::corrupt(&name, 36, format!("unknown metric code {}", meta.metric)))?;
    let element = Element::from_code(meta.element)
        .ok_or_else(|| Error::corrupt(&name, 37, format!("unknown element type {}", meta.element)))?;
    let key = KeyType::from_code(meta.key)
        .ok_or_else(|| Error::corrupt(&name, 38, format!("unknown key type {}", meta.key)))?;
    let geometry = Geometry {
        dim: meta.dim.get() as usize,
        element,
        metric,
        m: meta.m.get() as usize,
        ef_construction: meta.ef_construction.get() as usize,
        seed: meta.seed.get(),
        codes: meta.codes,
        key,
    };
    geometry.check().map_err(|what| Error::corrupt(name, 32, what))?;
    Ok(geometry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestore_wal::MemDisk;

    fn geometry() -> Geometry {
        let (element, metric) = (Element::F32, Metric::Cosine);
        Geometry { dim: 128, element, metric, m: 16, ef_construction: 200, seed: 9, codes: 8, key: KeyType::U64 }
    }

    #[test]
    fn levels_follow_the_paper() {
        let geometry = geometry();
        let mut counts = [0u32; 16];
        for slot in 0..1_000_000 {
            counts[geometry.level(slot) as usize] += 1;
        }
        // P(level ≥ 1) = 1/16, P(level ≥ 2) = 1/256.
        let above = |l: usize| f64::from(counts[l..].iter().sum::<u32>()) / 1e6;
        assert!((above(1) - 1.0 / 16.0).abs() < 0.001, "{counts:?}");
        assert!((above(2) - 1.0 / 256.0).abs() < 0.0003, "{counts:?}");
    }

    #[test]
    fn strides_are_whole_cache_lines() {
        let geometry = geometry();
        assert_eq!(geometry.vector_stride(), 576);
        assert_eq!(Geometry { metric: Metric::L2, ..geometry }.vector_stride(), 512);
        assert_eq!((geometry.links_stride(), geometry.upper_stride()), (128, 64));
        assert_eq!(Geometry { m: 5, ..geometry }.links_stride(), 64);
        let code = |dim, codes| {
            let geometry = Geometry { dim, codes, ..geometry };
            (geometry.code_stride(), geometry.coded())
        };
        assert_eq!([code(100, 8), code(128, 8), code(140, 8)], [(128, 100), (128, 123), (192, 140)]);
        assert_eq!([code(100, 4), code(128, 4), code(384, 4)], [(64, 100), (64, 118), (192, 374)]);
        assert_eq!([code(1, 4), code(1536, 4), code(65_536, 8)], [(64, 1), (768, 1526), (65_536, 65_531)]);
        assert_eq!(code(128, 0), (0, 0));
    }

    #[test]
    fn every_element_has_its_strides() {
        for (element, dim, cosine, l2) in [
            (Element::F16, 30, 64, 64),
            (Element::F16, 31, 128, 64),
            (Element::Bf16, 128, 320, 256),
            (Element::I8, 59, 64, 64),
            (Element::I8, 61, 128, 64),
            (Element::U8, 65_536, 65_600, 65_536),
        ] {
            let geometry = Geometry { dim, element, ..geometry() };
            assert_eq!(geometry.vector_stride(), cosine, "{element}, {dim}");
            assert_eq!(Geometry { metric: Metric::L2, ..geometry }.vector_stride(), l2, "{element}, {dim}");
            assert!(geometry.scale_at().is_multiple_of(4) && geometry.scale_at() >= geometry.vector_bytes());
        }
        let bits = |dim| Geometry { dim, element: Element::Bits, metric: Metric::Hamming, codes: 0, ..geometry() };
        assert_eq!([1, 512, 513].map(|dim| bits(dim).vector_stride()), [64, 64, 128]);
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        let bits = Geometry { element: Element::Bits, metric: Metric::Hamming, codes: 0, ..geometry() };
        assert!(bits.check().is_ok() && geometry().check().is_ok());
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            assert!(Geometry { metric, ..bits }.check().is_err());
        }
        for element in Element::ALL.into_iter().filter(|element| *element != Element::Bits) {
            assert!(Geometry { element, ..bits }.check().is_err(), "{element}");
            assert!(Geometry { element, ..geometry() }.check().is_ok(), "{element}");
        }
        assert!(Geometry { codes: 8, ..bits }.check().is_err() && Geometry { codes: 3, ..geometry() }.check().is_err());
    }

    #[test]
    fn every_flipped_bit_of_a_meta_file_is_noticed() {
        let disk = MemDisk::new();
        disk.create_dir(names::COLLECTIONS_DIR).unwrap();
        disk.create_dir(&names::collection_dir(3, 0)).unwrap();
        write_meta(&disk, [7; 16], (3, 0), &geometry()).unwrap();
        assert_eq!(read_meta(&disk, [7; 16], (3, 0)).unwrap(), geometry());
        let users = ["x".to_owned(), "é".repeat(20)].map(|name| Metric::User(MetricName::of(&name).unwrap()));
        let built_in = |element| if element == Element::Bits { Metric::Hamming } else { Metric::L2 };
        let all = Element::ALL.map(|element| (element, built_in(element)));
        for (element, metric) in all.into_iter().chain(users.map(|metric| (Element::F16, metric))) {
            for key in KeyType::ALL {
                let other = Geometry { element, metric, codes: 0, key, ..geometry() };
                disk.remove(&names::part(3, 0, Part::Meta)).unwrap();
                write_meta(&disk, [7; 16], (3, 0), &other).unwrap();
                assert_eq!(read_meta(&disk, [7; 16], (3, 0)).unwrap(), other);
            }
        }
        disk.remove(&names::part(3, 0, Part::Meta)).unwrap();
        write_meta(&disk, [7; 16], (3, 0), &geometry()).unwrap();
        assert!(read_meta(&disk, [8; 16], (3, 0)).is_err());
        let file = disk.open(&names::part(3, 0, Part::Meta)).unwrap();
        let mut good = [0; 128];
        file.read_at(0, &mut good).unwrap();
        // Cosine, f32, u64 and 8 bits: as they were before there were other elements.
        assert_eq!(good[36..40], [3, 1, 1, 8]);
        for bit in 0..1024 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            file.write_at(0, &bad).unwrap();
            assert!(read_meta(&disk, [7; 16], (3, 0)).is_err(), "bit {bit}");
        }
    }
}
