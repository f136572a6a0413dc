//! Files of hnswlib (0.2 to 0.8, which all write the same bytes), of 64-bit little-endian machines.
//!
//! # Format of an index
//!
//! Little-endian, without padding, version or checksum.
//!
//! | bytes | content |
//! |---|---|
//! | 96 | `Header`'s fields in their order, before them u64 0 |
//! | count × element | u16 level-0 links, u8 flags (1 = deleted), u8 0, u32\[2M\] links, the vector, u64 label |
//! | for each element | u32 bytes of its upper lists; for each level from 1 up u16 links, u16 0, u32\[M\] links |
//!
//! Links behind a list's count are leftovers. The metric and what a component is are not in the file; a cosine index
//! holds normalised vectors.
//!
//! # Format of an exact index
//!
//! u64 room, u64 bytes of an element, u64 count; then for each element that there is room for the vector and u64 label.

use super::bytes::Bytes;
use crate::error::{Error, Result};
use crate::graph::Graph;
use lodestore_engine::Element;
use lodestore_engine::geometry::MAX_DIM;
use std::io::{self, Write};

/// Bytes before the elements.
const HEADER: usize = 96;
/// More links hnswlib does not take.
const MOST_M: u64 = 10_000;
const DELETED: u8 = 1;
/// The entry point of an empty index.
const NO_ENTRY: u32 = u32::MAX;

/// What is known of a file that it does not say.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Reading {
    /// The dimension, if it is known: a file of another is refused.
    pub dim: Option<usize>,
    /// What its components are: [`Element::F32`], the default, or [`Element::U8`].
    pub element: Element,
}

impl Default for Reading {
    fn default() -> Self {
        Self { dim: None, element: Element::F32 }
    }
}

impl Reading {
    /// Of a dimension.
    pub fn dim(mut self, dim: usize) -> Self {
        self.dim = Some(dim);
        self
    }

    /// Of another type of components.
    pub fn element(mut self, element: Element) -> Self {
        self.element = element;
        self
    }
}

/// An index read from a file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Index {
    /// The graph; its keys are labels.
    pub graph: Graph,
    /// How many elements there was room for.
    pub max_elements: u64,
}

/// The fields behind the first, which is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Header {
    max_elements: u64,
    count: u64,
    /// Bytes of an element.
    size: u64,
    label_offset: u64,
    offset_data: u64,
    max_level: i32,
    entry: u32,
    max_m: u64,
    max_m0: u64,
    m: u64,
    /// 1 / ln M.
    mult: f64,
    ef_construction: u64,
}

impl Header {
    fn read(bytes: &mut Bytes<'_>) -> Result<Self> {
        let what = "the header";
        let offset_level0 = bytes.u64(what)?;
        if offset_level0 != 0 {
            return Err(bytes.wrong(format!("the elements begin at {offset_level0}, not at 0; no index of hnswlib?")));
        }
        Ok(Self {
            max_elements: bytes.u64(what)?,
            count: bytes.u64(what)?,
            size: bytes.u64(what)?,
            label_offset: bytes.u64(what)?,
            offset_data: bytes.u64(what)?,
            max_level: bytes.u32(what)? as i32,
            entry: bytes.u32(what)?,
            max_m: bytes.u64(what)?,
            max_m0: bytes.u64(what)?,
            m: bytes.u64(what)?,
            mult: f64::from_bits(bytes.u64(what)?),
            ef_construction: bytes.u64(what)?,
        })
    }

    fn of(graph: &Graph, max_elements: u64) -> Self {
        let m = graph.m() as u64;
        let offset_data = 4 + 8 * m;
        let label_offset = offset_data + 4 * graph.dim() as u64;
        let top = graph.levels().iter().max();
        Self {
            max_elements: max_elements.max(graph.len() as u64),
            count: graph.len() as u64,
            size: label_offset + 8,
            label_offset,
            offset_data,
            max_level: top.map_or(-1, |&top| i32::from(top)),
            entry: graph.entry().unwrap_or(NO_ENTRY),
            max_m: m,
            max_m0: 2 * m,
            m,
            mult: 1.0 / (m as f64).ln(),
            ef_construction: graph.ef_construction().max(graph.m()) as u64,
        }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let wide = [0, self.max_elements, self.count, self.size, self.label_offset, self.offset_data];
        wide.iter().try_for_each(|field| out.write_all(&field.to_le_bytes()))?;
        out.write_all(&self.max_level.to_le_bytes())?;
        out.write_all(&self.entry.to_le_bytes())?;
        let wide = [self.max_m, self.max_m0, self.m, self.mult.to_bits(), self.ef_construction];
        wide.iter().try_for_each(|field| out.write_all(&field.to_le_bytes()))
    }

    /// Bytes of a vector, and M, if all that follows from M and them is as it must be.
    fn check(&self, bytes: &Bytes<'_>) -> Result<(usize, usize)> {
        if !(1..=MOST_M).contains(&self.m) || (self.max_m, self.max_m0) != (self.m, 2 * self.m) {
            let what = format!("M {}, {} and {} links on a level; M is 1 to {MOST_M}", self.m, self.max_m, self.max_m0);
            return Err(bytes.wrong(what));
        }
        let width = self.label_offset.checked_sub(self.offset_data).filter(|&width| width <= 4 * MAX_DIM as u64);
        let fits = self.offset_data == 4 + 8 * self.m && self.label_offset.checked_add(8) == Some(self.size);
        match width {
            Some(width) if fits && width > 0 => Ok((width as usize, self.m as usize)),
            _ => Err(bytes.wrong(format!(
                "elements of {} bytes with a vector at {} and a label at {} do not go together with M {}",
                self.size, self.offset_data, self.label_offset, self.m
            ))),
        }
    }
}

/// What a vector's bytes are.
pub(super) struct Vectors {
    /// Values of it.
    pub(super) dim: usize,
    /// Of all values but of four bytes: what a byte stands for.
    pub(super) values: Option<Box<[f32; 256]>>,
}

impl Vectors {
    /// Of so many bytes each.
    fn of(reading: &Reading, width: usize, bytes: &Bytes<'_>) -> Result<Self> {
        let (dim, values) = match reading.element {
            Element::F32 if width.is_multiple_of(4) => (width / 4, None),
            Element::U8 => (width, Some(Box::new(std::array::from_fn(|byte| byte as f32)))),
            Element::F32 => return Err(bytes.wrong(format!("vectors of {width} bytes are none of f32"))),
            other => return Err(Error::Setting(format!("hnswlib's files hold f32 or u8, not {other}"))),
        };
        if let Some(expected) = reading.dim
            && expected != dim
        {
            return Err(bytes.wrong(format!("vectors of {width} bytes, of dimension {dim}, not {expected}")));
        }
        Ok(Self { dim, values })
    }

    pub(super) fn width(&self) -> usize {
        if self.values.is_some() { self.dim } else { 4 * self.dim }
    }

    fn extend(&self, graph: &mut Graph, stored: &[u8]) {
        match &self.values {
            Some(values) => graph.extend_vector(stored.iter().map(|&byte| values[usize::from(byte)])),
            None => graph.extend_vector(stored.as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x))),
        }
    }
}

/// Whether this may be an index of hnswlib: so many bytes of a header that goes together.
pub fn is_index(bytes: &[u8]) -> bool {
    let mut bytes = Bytes::new(bytes, "");
    Header::read(&mut bytes).is_ok_and(|header| header.check(&bytes).is_ok())
}

/// Reads what `Index.save_index` has written; `file` is its name, for errors.
///
/// Numbers are looked at as far as they are needed to read on; links when the graph is
/// [loaded](crate::CollectionBuilder::load).
///
/// # Errors
/// [`Error::Corrupt`] with the byte at which the file is not what hnswlib writes, or is of another dimension.
pub fn read(bytes: &[u8], file: &str, reading: &Reading) -> Result<Index> {
    read_with(Bytes::new(bytes, file), |width, bytes| Vectors::of(reading, width, bytes))
}

/// Reads an index, of vectors that `vectors` knows when it is told their bytes.
pub(super) fn read_with(
    mut bytes: Bytes<'_>,
    vectors: impl FnOnce(usize, &Bytes<'_>) -> Result<Vectors>,
) -> Result<Index> {
    let header = Header::read(&mut bytes)?;
    let (width, m) = header.check(&bytes)?;
    let vectors = vectors(width, &bytes)?;
    let count = elements(&header, &bytes)?;
    let level0 = bytes.take(count * header.size as usize, "elements")?;
    read_parts(&header, (level0, HEADER), m, &vectors, &mut bytes)
}

/// How many elements there are, as many as there are bytes for.
fn elements(header: &Header, bytes: &Bytes<'_>) -> Result<usize> {
    let there = (bytes.left() as u64) / header.size;
    if header.count > there || header.count > header.max_elements {
        let what = format!("{} elements, where there is room for {} of {there}", header.count, header.max_elements);
        return Err(bytes.wrong(what));
    }
    Ok(header.count as usize)
}

/// Reads elements, at `from` in their file, and from `uppers` their upper lists up to its end.
fn read_parts(
    header: &Header,
    (level0, from): (&[u8], usize),
    m: usize,
    vectors: &Vectors,
    uppers: &mut Bytes<'_>,
) -> Result<Index> {
    let ef_construction = usize::try_from(header.ef_construction).unwrap_or(usize::MAX);
    let mut graph = Graph::new(vectors.dim, m, ef_construction);
    graph.reserve(header.count as usize, 0);
    for element in level0.chunks_exact(header.size as usize) {
        let mut bytes = Bytes::new(element, uppers.file()).from(from + graph.len() * header.size as usize);
        let (links, flags) = (bytes.u16("links")?, bytes.u8("flags")?);
        bytes.u8("flags")?;
        let place = bytes.take(8 * m, "links")?;
        let stored = bytes.take(vectors.width(), "the vector")?;
        graph.begin(bytes.u64("the label")?, flags & DELETED != 0);
        vectors.extend(&mut graph, stored);
        push(&mut graph, usize::from(links), place, &bytes)?;
        let size = uppers.u32("the length of upper lists")? as usize;
        let one = 4 + 4 * m;
        if !size.is_multiple_of(one) || size / one > usize::from(u8::MAX) {
            return Err(uppers.wrong(format!("{size} bytes of upper lists of {one} each")));
        }
        for _ in 0..size / one {
            let (links, _) = (uppers.u16("links")?, uppers.u16("links")?);
            let place = uppers.take(4 * m, "upper links")?;
            push(&mut graph, usize::from(links), place, uppers)?;
        }
    }
    uppers.end()?;
    if header.entry != NO_ENTRY || !graph.is_empty() {
        graph.set_entry(header.entry);
    }
    let top = graph.levels().iter().max().map_or(-1, |&top| i32::from(top));
    if header.max_level != top {
        return Err(uppers.wrong(format!("the header has {} for the highest level, it is {top}", header.max_level)));
    }
    Ok(Index { graph, max_elements: header.max_elements })
}

fn push(graph: &mut Graph, links: usize, place: &[u8], bytes: &Bytes<'_>) -> Result<()> {
    let words = place.as_chunks::<4>().0;
    if links > words.len() {
        return Err(bytes.wrong(format!("{links} links where there is room for {}", words.len())));
    }
    graph.push_list(words[..links].iter().map(|&word| u32::from_le_bytes(word)));
    Ok(())
}

/// Reads an index that is kept in parts: header and elements, of which there may be room for more, in one, and upper
/// lists, of those elements only that there were when they were written, in another.
pub(super) fn read_split(
    header: &[u8],
    level0: &[u8],
    uppers: &[u8],
    files: [&str; 3],
    reading: &Reading,
) -> Result<Index> {
    let mut bytes = Bytes::new(header, files[0]);
    let header = Header::read(&mut bytes)?;
    let (width, m) = header.check(&bytes)?;
    bytes.end()?;
    let vectors = Vectors::of(reading, width, &bytes)?;
    let count = elements(&header, &Bytes::new(level0, files[1]))?;
    let level0 = &level0[..count * header.size as usize];
    read_parts(&header, (level0, 0), m, &vectors, &mut Bytes::new(uppers, files[2]))
}

/// Bytes that [`write()`] writes of a graph.
pub fn size(graph: &Graph) -> u64 {
    let header = Header::of(graph, 0);
    let uppers: u64 = graph.levels().iter().map(|&level| u64::from(level)).sum();
    HEADER as u64 + header.count * (header.size + 4) + uppers * (4 + 4 * header.m)
}

/// Writes what `Index.load_index` reads, with room for `max_elements`, or for as many as there are. Lists are cut to
/// what the file has room for.
///
/// Under cosine hnswlib keeps [normalised](normalise) vectors.
///
/// # Errors
/// What `out` says.
pub fn write(graph: &Graph, max_elements: u64, out: &mut impl Write) -> io::Result<()> {
    let header = Header::of(graph, max_elements);
    header.write(out)?;
    let m = graph.m();
    let mut element = Vec::with_capacity(header.size as usize);
    for node in 0..graph.len() as u32 {
        element.clear();
        put_list(&mut element, graph.links(node, 0), 2 * m);
        element[2] = if graph.deleted()[node as usize] { DELETED } else { 0 };
        graph.vector(node).iter().for_each(|x| element.extend_from_slice(&x.to_le_bytes()));
        element.extend_from_slice(&graph.keys()[node as usize].to_le_bytes());
        out.write_all(&element)?;
    }
    for node in 0..graph.len() as u32 {
        element.clear();
        let level = graph.levels()[node as usize];
        element.extend_from_slice(&(u32::from(level) * (4 + 4 * m as u32)).to_le_bytes());
        (1..=level).for_each(|level| put_list(&mut element, graph.links(node, level), m));
        out.write_all(&element)?;
    }
    Ok(())
}

/// A list with its count, and zeros for what it has room for.
fn put_list(out: &mut Vec<u8>, links: &[u32], room: usize) {
    let links = &links[..links.len().min(room).min(usize::from(u16::MAX))];
    out.extend_from_slice(&(links.len() as u32).to_le_bytes());
    links.iter().for_each(|link| out.extend_from_slice(&link.to_le_bytes()));
    out.resize(out.len() + 4 * (room - links.len()), 0);
}

/// Divides every vector by its length, as hnswlib does under cosine.
pub fn normalise(graph: &mut Graph) {
    graph.map_vectors(|vector| {
        let square: f32 = vector.iter().map(|x| x * x).sum();
        let scale = 1.0 / (square.sqrt() + 1e-30);
        vector.iter_mut().for_each(|x| *x *= scale);
    });
}

/// Keys and vectors of an exact index.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Exact {
    /// Labels.
    pub keys: Vec<u64>,
    /// Vectors, row by row.
    pub vectors: Vec<f32>,
    /// How many elements there was room for.
    pub max_elements: u64,
}

/// Reads what `BFIndex.save_index` has written, of vectors of dimension `dim`; `file` is its name, for errors.
///
/// # Errors
/// [`Error::Corrupt`] with the byte at which the file is not what hnswlib writes.
pub fn read_exact(bytes: &[u8], file: &str, dim: usize) -> Result<Exact> {
    let mut bytes = Bytes::new(bytes, file);
    let what = "the header";
    let (max_elements, _, count) = (bytes.u64(what)?, bytes.u64(what)?, bytes.u64(what)?);
    let width = dim.checked_mul(4).filter(|_| (1..=MAX_DIM).contains(&dim));
    let width = width.ok_or_else(|| bytes.wrong(format!("vectors of dimension {dim}")))?;
    let size = width + 8;
    if max_elements.checked_mul(size as u64) != Some(bytes.left() as u64) || count > max_elements {
        let what = format!("{count} elements and room for {max_elements} of {size} bytes, in {} bytes", bytes.left());
        return Err(bytes.wrong(what));
    }
    let mut exact = Exact { max_elements, ..Exact::default() };
    for _ in 0..count {
        let stored = bytes.take(width, "a vector")?;
        exact.vectors.extend(stored.as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x)));
        exact.keys.push(bytes.u64("a label")?);
    }
    Ok(exact)
}

/// Writes what `BFIndex.load_index` reads.
///
/// # Errors
/// What `out` says.
pub fn write_exact(exact: &Exact, dim: usize, out: &mut impl Write) -> io::Result<()> {
    let (count, size) = (exact.keys.len() as u64, 4 * dim as u64 + 8);
    let room = exact.max_elements.max(count);
    [room, size, count].iter().try_for_each(|field| out.write_all(&field.to_le_bytes()))?;
    for (key, vector) in exact.keys.iter().zip(exact.vectors.chunks_exact(dim.max(1))) {
        vector.iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))?;
        out.write_all(&key.to_le_bytes())?;
    }
    let empty = vec![0; size as usize];
    (count..room).try_for_each(|_| out.write_all(&empty))
}
