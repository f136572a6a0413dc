//! Rows of fixed length, streamed.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{Block, Element, FormatError, MAX_DIM, element, npy};

/// A file of rows, open at the next one to read.
///
/// Invariant: `head + count * stride()` is the file's length as it was at opening, so a block is never larger than
/// the file.
#[derive(Debug)]
pub(crate) struct Rows {
    path: PathBuf,
    file: File,
    /// Bytes before the first row.
    head: u64,
    /// Bytes before the elements of each row: the TEXMEX dimension, or none.
    prefix: u64,
    element: Element,
    dim: usize,
    count: u64,
    next: u64,
    block: Vec<u8>,
}

impl Rows {
    pub(super) fn texmex(path: &Path, element: Element) -> Result<Self, FormatError> {
        let (mut file, length) = open(path)?;
        if length == 0 {
            return Err(FormatError::Empty { path: path.into() });
        }
        let truncated = |row, offset, expected| FormatError::Truncated {
            path: path.into(),
            row,
            offset,
            got: length - offset,
            expected,
        };
        if length < 4 {
            return Err(truncated(0, 0, 4));
        }
        let mut first = [0; 4];
        file.read_exact(&mut first).and_then(|()| file.rewind()).map_err(|e| io_error(path, e))?;
        let got = i32::from_le_bytes(first);
        let dim = match u64::try_from(got) {
            Ok(dim @ 1..=MAX_DIM) => dim,
            _ => return Err(FormatError::Dimension { path: path.into(), row: 0, offset: 0, got: got.into() }),
        };
        let stride = 4 + dim * element.bytes();
        let count = length / stride;
        // Found now rather than after hours of import.
        if length % stride != 0 {
            return Err(truncated(count, count * stride, stride));
        }
        Ok(Self {
            path: path.into(),
            file,
            head: 0,
            prefix: 4,
            element,
            dim: dim as usize,
            count,
            next: 0,
            block: vec![],
        })
    }

    pub(super) fn npy(path: &Path) -> Result<Self, FormatError> {
        let (mut file, length) = open(path)?;
        let bad = |offset, what: String| FormatError::Npy { path: path.into(), offset, what };
        let mut start = Vec::new();
        // Magic, version, and the longer of the two forms of the head's length.
        file.by_ref().take(12).read_to_end(&mut start).map_err(|e| io_error(path, e))?;
        if start.len() < 12 || !start.starts_with(npy::MAGIC) {
            return Err(bad(0, "it does not start as one".into()));
        }
        let (at, size) = match start[6] {
            1 => (10, u64::from(u16::from_le_bytes([start[8], start[9]]))),
            2 | 3 => (12, u64::from(u32::from_le_bytes([start[8], start[9], start[10], start[11]]))),
            other => return Err(bad(6, format!("format version {other} is not known, only 1 to 3"))),
        };
        if size > npy::MAX_HEAD || at + size > length {
            return Err(bad(8, format!("its head claims {size} bytes of a file of {length}")));
        }
        let mut text = Vec::new();
        let read = |file: &mut File, text: &mut Vec<u8>| -> io::Result<usize> {
            file.seek(SeekFrom::Start(at))?;
            file.take(size).read_to_end(text)
        };
        read(&mut file, &mut text).map_err(|e| io_error(path, e))?;
        let text = str::from_utf8(&text).map_err(|_| bad(at, "its head is not text".into()))?;
        let npy::Head { element, rows: count, dim } = npy::Head::parse(text).map_err(|what| bad(at, what))?;

        let (head, stride) = (at + size, dim as u64 * element.bytes());
        match count.checked_mul(stride).and_then(|bytes| bytes.checked_add(head)) {
            Some(end) if end == length => {}
            Some(end) if end < length => {
                return Err(FormatError::Trailing { path: path.into(), offset: end, extra: length - end });
            }
            _ => {
                let row = (length - head) / stride;
                let offset = head + row * stride;
                let (got, expected) = (length - offset, stride);
                return Err(FormatError::Truncated { path: path.into(), row, offset, got, expected });
            }
        }
        if count == 0 {
            return Err(FormatError::Empty { path: path.into() });
        }
        Ok(Self { path: path.into(), file, head, prefix: 0, element, dim, count, next: 0, block: vec![] })
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// All rows of the file.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Goes on at row `row`, or at the end if there are not so many.
    pub(crate) fn skip_to(&mut self, row: u64) {
        self.next = row.min(self.count);
    }

    /// Room for rows of this file.
    pub(crate) fn block(&self) -> Block {
        self.element.block()
    }

    /// Appends up to `max` rows to `out`, which was [made](Self::block) for them, and says how many; 0 at the end.
    pub(crate) fn read(&mut self, max: u64, out: &mut Block) -> Result<u64, FormatError> {
        let rows = self.read_block(max)?;
        for row in self.block.chunks_exact(self.stride() as usize) {
            self.element.decode(&row[self.prefix as usize..], out);
        }
        Ok(rows)
    }

    /// Appends the first `width` keys of each of up to `max` rows and says how many rows; 0 at the end.
    pub(crate) fn read_keys(&mut self, max: u64, width: usize, out: &mut Vec<u64>) -> Result<u64, FormatError> {
        let first = self.next;
        let rows = self.read_block(max)?;
        for (row, bytes) in (first..).zip(self.block.chunks_exact(self.stride() as usize)) {
            for got in element::array(&bytes[self.prefix as usize..]).map(i32::from_le_bytes).take(width) {
                let key = u64::try_from(got);
                out.push(key.map_err(|_| FormatError::Key { path: self.path.clone(), row, got })?);
            }
        }
        Ok(rows)
    }

    fn stride(&self) -> u64 {
        self.prefix + self.dim as u64 * self.element.bytes()
    }

    /// Reads whole rows into `block` and checks the dimension of each.
    fn read_block(&mut self, max: u64) -> Result<u64, FormatError> {
        let stride = self.stride();
        let rows = max.min(self.count - self.next);
        let start = self.head + self.next * stride;
        self.block.clear();
        let Self { file, block, .. } = self;
        let got = file
            .seek(SeekFrom::Start(start))
            .and_then(|_| file.take(rows * stride).read_to_end(block))
            .map_err(|e| io_error(&self.path, e))? as u64;
        // The file became shorter since it was opened.
        if got < rows * stride {
            let (row, path) = (self.next + got / stride, self.path.clone());
            let offset = self.head + row * stride;
            return Err(FormatError::Truncated { path, row, offset, got: got % stride, expected: stride });
        }
        if self.prefix > 0 {
            for (n, row) in self.block.chunks_exact(stride as usize).enumerate() {
                let got = i32::from_le_bytes([row[0], row[1], row[2], row[3]]);
                if i64::from(got) != self.dim as i64 {
                    let (row, path) = (self.next + n as u64, self.path.clone());
                    let offset = self.head + row * stride;
                    return Err(FormatError::MixedDimension { path, row, offset, got: got.into(), expected: self.dim });
                }
            }
        }
        self.next += rows;
        Ok(rows)
    }
}

fn open(path: &Path) -> Result<(File, u64), FormatError> {
    let opened = File::open(path).and_then(|file| {
        let meta = file.metadata()?;
        if meta.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok((file, meta.len())) }
    });
    opened.map_err(|e| io_error(path, e))
}

fn io_error(path: &Path, source: io::Error) -> FormatError {
    FormatError::Io { path: path.into(), source }
}
