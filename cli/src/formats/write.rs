//! Rows on their way into a file.

use std::{
    io::{self, Write},
    path::Path,
};

use super::{FormatError, ending, npy};

/// What rows become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `f32`, each row behind its dimension.
    Fvecs,
    /// `u8`, each row behind its dimension.
    Bvecs,
    /// Row after row behind a head.
    Npy(Numbers),
}

/// The numbers of a NumPy array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    F32,
    I8,
    U8,
}

impl Numbers {
    fn descr(self) -> &'static str {
        match self {
            Self::F32 => "<f4",
            Self::I8 => "|i1",
            Self::U8 => "|u1",
        }
    }
}

impl Kind {
    /// By the file's ending; `numbers` is what a NumPy file is to have.
    pub(crate) fn of(path: &Path, numbers: Numbers) -> Result<Self, FormatError> {
        match ending(path).as_deref() {
            Some("fvecs") => Ok(Self::Fvecs),
            // Others would lose what they are.
            Some("bvecs") if numbers == Numbers::U8 => Ok(Self::Bvecs),
            Some("bvecs") => Err(FormatError::Bvecs { path: path.into() }),
            Some("npy") => Ok(Self::Npy(numbers)),
            _ => Err(FormatError::WriteEnding { path: path.into() }),
        }
    }

    /// What the file begins with, if it has so many rows; as long for any number of them.
    pub(crate) fn head(self, rows: u64, dim: usize) -> Vec<u8> {
        let Self::Npy(numbers) = self else { return Vec::new() };
        npy::head(numbers.descr(), rows, dim)
    }

    /// Writes a row. Its components are numbers of the kind.
    pub(crate) fn write(self, row: &[f32], out: &mut impl Write) -> io::Result<()> {
        if let Self::Fvecs | Self::Bvecs = self {
            out.write_all(&(row.len() as i32).to_le_bytes())?;
        }
        match self {
            Self::Fvecs | Self::Npy(Numbers::F32) => row.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
            Self::Bvecs | Self::Npy(Numbers::U8) => row.iter().try_for_each(|&x| out.write_all(&[x as u8])),
            Self::Npy(Numbers::I8) => row.iter().try_for_each(|&x| out.write_all(&(x as i8).to_le_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Block, vectors};
    use super::*;
    use std::fs;

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let whole: [[f32; 3]; 4] = [[1.0, 2.0, 250.0], [0.0, 7.0, 8.0], [9.0, 10.0, 11.0], [5.0, 0.0, 1.0]];
        for (name, numbers) in
            [("a.fvecs", Numbers::F32), ("a.npy", Numbers::F32), ("b.bvecs", Numbers::U8), ("b.npy", Numbers::U8)]
        {
            let path = dir.path().join(name);
            let kind = Kind::of(&path, numbers).unwrap();
            let mut bytes = kind.head(4, 3);
            whole.iter().for_each(|row| kind.write(row, &mut bytes).unwrap());
            fs::write(&path, bytes).unwrap();
            let mut rows = vectors(&path).unwrap();
            let mut block = rows.block();
            assert_eq!((rows.count(), rows.dim(), rows.read(10, &mut block).unwrap()), (4, 3, 4), "{name}");
            match block {
                Block::F32(got) => assert_eq!(got, whole.concat(), "{name}"),
                Block::U8(got) => {
                    assert_eq!(got, whole.concat().iter().map(|&x| x as u8).collect::<Vec<_>>(), "{name}")
                }
                other => panic!("{name} is read as {other:?}"),
            }
        }
        let kind = Kind::of(Path::new("x.npy"), Numbers::I8).unwrap();
        let mut bytes = kind.head(1, 2);
        kind.write(&[-128.0, 127.0], &mut bytes).unwrap();
        let path = dir.path().join("x.npy");
        fs::write(&path, bytes).unwrap();
        let mut rows = vectors(&path).unwrap();
        let mut block = rows.block();
        rows.read(1, &mut block).unwrap();
        assert_eq!(block, Block::I8(vec![-128, 127]));
        assert!(
            Kind::of(Path::new("x.bvecs"), Numbers::F32).is_err() && Kind::of(Path::new("x"), Numbers::F32).is_err()
        );
    }

    #[test]
    fn a_head_has_one_length() {
        let kind = Kind::Npy(Numbers::F32);
        assert_eq!(kind.head(0, 3).len(), kind.head(u64::from(u32::MAX), 3).len());
        assert_eq!(kind.head(7, 65_536).len() % 64, 0);
    }
}
