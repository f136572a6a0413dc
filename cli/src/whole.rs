//! Files that are there whole or not at all.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tempfile::{NamedTempFile, TempPath};

/// A file on its way: nobody sees it before it is [finished](Self::finish), and dropping it leaves nothing.
pub(crate) struct Whole {
    out: BufWriter<File>,
    beside: TempPath,
    path: PathBuf,
}

impl Whole {
    /// A file that is to be `path`, in the place of one that is there.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // As any other file that is made, not only for its owner.
        let mode = fs::Permissions::from_mode(0o666);
        let made = tempfile::Builder::new().permissions(mode).tempfile_in(folder).map(NamedTempFile::into_parts);
        let (file, beside) = made.with_context(|| path.display().to_string())?;
        Ok(Self { out: BufWriter::new(file), beside, path: path.into() })
    }

    pub(crate) fn out(&mut self) -> &mut BufWriter<File> {
        &mut self.out
    }

    /// Makes it durable under its name; says how long it is.
    pub(crate) fn finish(self) -> Result<u64> {
        let Self { out, beside, path } = self;
        let name = || path.display().to_string();
        let file = out.into_inner().map_err(|error| error.into_error()).with_context(name)?;
        file.sync_all().with_context(name)?;
        let bytes = file.metadata().with_context(name)?.len();
        beside.persist(&path).with_context(name)?;
        Ok(bytes)
    }

    /// What an error is about.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Writes over the beginning.
    pub(crate) fn rewrite(&mut self, head: &[u8]) -> Result<()> {
        use std::os::unix::fs::FileExt;
        self.out.flush().and_then(|()| self.out.get_ref().write_all_at(head, 0)).with_context(|| self.name())
    }
}
