//! Files that are there whole or not at all.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tempfile::{NamedTempFile, TempPath};

/// A file on its way: nobody sees it under its name before it is [finished](Self::finish), and dropping it takes it away.
pub(crate) struct Whole {
    out: BufWriter<File>,
    beside: TempPath,
    /// What it is to be, and where links to that lead.
    path: PathBuf,
    target: PathBuf,
}

impl Whole {
    /// A file that is to be `path`, in the place of one that is there. Nothing but a file is replaced.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        let target = match fs::metadata(path) {
            Ok(there) if there.is_file() => path.canonicalize().with_context(name)?,
            Ok(_) => bail!("{} is not a file; nothing was written", path.display()),
            Err(_) => path.to_owned(),
        };
        // As any other file that is made, not only for its owner.
        let mode = fs::Permissions::from_mode(0o666);
        let made =
            tempfile::Builder::new().permissions(mode).tempfile_in(folder(&target)).map(NamedTempFile::into_parts);
        let (file, beside) = made.with_context(name)?;
        Ok(Self { out: BufWriter::new(file), beside, path: path.into(), target })
    }

    pub(crate) fn out(&mut self) -> &mut BufWriter<File> {
        &mut self.out
    }

    /// What an error is about.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Whether two would be one file.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let place = |whole: &Self| {
            let folder = folder(&whole.target).canonicalize().unwrap_or_else(|_| folder(&whole.target).to_owned());
            whole.target.file_name().map(|name| folder.join(name))
        };
        place(self) == place(other)
    }

    /// Writes over the beginning.
    pub(crate) fn rewrite(&mut self, head: &[u8]) -> Result<()> {
        self.out.flush().and_then(|()| self.out.get_ref().write_all_at(head, 0)).with_context(|| self.name())
    }

    /// Writes what is left to the disk, under no name yet; says how long it is.
    pub(crate) fn settle(&mut self) -> Result<u64> {
        let bytes =
            self.out.flush().and_then(|()| self.out.get_ref().sync_all()).and_then(|()| self.out.get_ref().metadata());
        Ok(bytes.with_context(|| self.name())?.len())
    }

    /// Gives it its name, durably; says how long it is. Of several files all are [settled](Self::settle) before the first
    /// is finished, so that what can go wrong has gone wrong by then.
    pub(crate) fn finish(mut self) -> Result<u64> {
        let bytes = self.settle()?;
        let name = self.name();
        self.beside.persist(&self.target).with_context(|| name.clone())?;
        File::open(folder(&self.target)).and_then(|folder| folder.sync_all()).with_context(|| name)?;
        Ok(bytes)
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
