//! Readers in other processes: each has a seat, a locked file that says which checkpoint it looks at.
//!
//! A reader copies what checkpoints change in place, so the writer need not wait for it. Two things it reads where they
//! are: write-once slots, and pages of the catalogue that its checkpoint refers to. So a writer uses neither again while a
//! seat is taken that may need it; it looks at the seats after each checkpoint, once that is the one that new readers
//! see. Seats end with the process that has them.
//!
//! A writer that did not see a reader come, since an earlier one ended without closing, cannot know what pages that
//! reader needs. It [ends the session](Session::end) before it changes anything: from then on readers that came before
//! get [`Error::Stale`] where they would read such a page, and have to look anew.
//!
//! # Format of `readers/NN`
//!
//! Text about the holder; at byte 512 the number of the reader's checkpoint plus one, u64 LE. A file that is shorter is
//! that of a reader which is still opening, and may need anything. What is in a file that is not locked means nothing.
//!
//! # Format of `readers/session`
//!
//! A number, u64 LE. An empty file is a zero.

use crate::disk::{Disk, DiskFile, DiskLock};
use crate::error::{Error, Result};
use crate::names;
use std::io;
use std::sync::Arc;

/// Readers at once.
const SEATS: usize = 100;
/// Where the number is.
const NUMBER_AT: u64 = 512;

/// A reader's seat; given up when dropped.
#[derive(Debug)]
pub struct Seat {
    disk: Arc<dyn Disk>,
    path: String,
    _lock: Box<dyn DiskLock>,
}

impl Seat {
    /// Takes a free seat. From now on writers keep whatever a reader may need that opens next.
    ///
    /// # Errors
    /// [`Error::NoSeat`]; of the disk.
    pub fn take(disk: &Arc<dyn Disk>, holder: &str) -> Result<Self> {
        disk.create_dir(names::READERS_DIR)?;
        let holder = holder.get(..NUMBER_AT as usize).unwrap_or(holder);
        for no in 0..SEATS {
            let path = names::seat(no);
            match disk.lock(&path, holder) {
                Ok(_lock) => return Ok(Self { disk: disk.clone(), path, _lock }),
                Err(Error::Locked { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::NoSeat { seats: SEATS, path: names::READERS_DIR.into() })
    }

    /// Says that the reader looks at this checkpoint from now on, and at none before.
    ///
    /// # Errors
    /// Of the disk; writers go on keeping whatever they did.
    pub fn sit(&self, checkpoint: u64) -> Result<()> {
        let number = checkpoint.saturating_add(1);
        self.disk.open(&self.path)?.write_at(NUMBER_AT, &number.to_le_bytes())
    }
}

/// The checkpoints that readers look at now, `None` for one that is still opening.
///
/// # Errors
/// Of the disk.
pub fn taken(disk: &dyn Disk) -> Result<Vec<Option<u64>>> {
    let entries = match disk.list(names::READERS_DIR) {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut taken = Vec::new();
    for no in entries.iter().filter_map(|entry| names::parse_seat(entry)) {
        let path = names::seat(no);
        match disk.lock(&path, "a writer that looks for readers") {
            // A reader that wants this very seat meanwhile takes the next one.
            Ok(_) => {}
            Err(Error::Locked { .. }) => taken.push(number(disk, &path)),
            // Where nobody can write nobody has a seat.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

fn number(disk: &dyn Disk, path: &str) -> Option<u64> {
    let mut bytes = [0; 8];
    disk.open(path).and_then(|file| file.read_at(NUMBER_AT, &mut bytes)).ok()?;
    u64::from_le_bytes(bytes).checked_sub(1)
}

/// The oldest checkpoint that any of these readers looks at; `u64::MAX` if there are none.
pub fn oldest(taken: &[Option<u64>]) -> u64 {
    taken.iter().map(|at| at.unwrap_or(0)).min().unwrap_or(u64::MAX)
}

/// The time for which what readers see is kept for them.
#[derive(Clone, Debug)]
pub struct Session {
    /// `None` where nobody can write, and no writer can come.
    file: Option<Arc<dyn DiskFile>>,
    number: u64,
}

impl Session {
    /// The one that goes on now.
    ///
    /// # Errors
    /// Of the disk.
    pub fn now(disk: &dyn Disk) -> Result<Self> {
        match file(disk) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Ok(Self { file: None, number: 0 })
            }
            file => file.and_then(|file| Ok(Self { number: read(&*file)?, file: Some(file) })),
        }
    }

    /// Whether it still goes on.
    ///
    /// # Errors
    /// [`Error::Stale`], with `path`, if not; of the disk.
    pub fn check(&self, path: &str) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if read(&**file)? == self.number { Ok(()) } else { Err(Error::Stale { path: path.to_owned() }) }
    }

    /// Begins the next one, so that readers of this one get errors. It need not be durable: readers end with the system.
    ///
    /// # Errors
    /// Of the disk.
    pub fn end(disk: &dyn Disk) -> Result<()> {
        let file = file(disk)?;
        file.write_at(0, &read(&*file)?.wrapping_add(1).to_le_bytes())
    }
}

/// The file, made if it is missing.
fn file(disk: &dyn Disk) -> Result<Arc<dyn DiskFile>> {
    loop {
        match disk.open(names::SESSION) {
            Err(error) if error.is_not_found() => {}
            file => return file,
        }
        disk.create_dir(names::READERS_DIR)?;
        match disk.create(names::SESSION) {
            // Somebody else was faster.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
            file => {
                let file = file?;
                // So that ending it takes no room on a disk that is full by then.
                file.write_at(0, &[0; 8])?;
                return Ok(file);
            }
        }
    }
}

fn read(file: &dyn DiskFile) -> Result<u64> {
    let mut bytes = [0; 8];
    // One that is just being made is empty.
    let there = file.len()?.min(8) as usize;
    file.read_at(0, &mut bytes[..there])?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemDisk, OsDisk};

    fn seats_of(disk: Arc<dyn Disk>) {
        assert_eq!(taken(&*disk).unwrap(), []);
        assert_eq!(oldest(&[]), u64::MAX);
        let (first, second) = (Seat::take(&disk, "a").unwrap(), Seat::take(&disk, "b").unwrap());
        first.sit(7).unwrap();
        assert_eq!(taken(&*disk).unwrap(), [Some(7), None]);
        second.sit(0).unwrap();
        assert_eq!(oldest(&taken(&*disk).unwrap()), 0);
        drop(first);
        assert_eq!(taken(&*disk).unwrap(), [Some(0)]);
        // What the last one in this seat said is forgotten.
        let again = Seat::take(&disk, "c").unwrap();
        assert_eq!(taken(&*disk).unwrap(), [None, Some(0)]);
        drop((again, second));
        assert_eq!(taken(&*disk).unwrap(), []);
    }

    #[test]
    fn seats_are_taken_and_given_up() {
        seats_of(Arc::new(MemDisk::new()));
        let dir = tempfile::tempdir().unwrap();
        seats_of(Arc::new(OsDisk::new(dir.path()).unwrap()));
    }

    #[test]
    fn there_are_only_so_many() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let all: Vec<_> = (0..SEATS).map(|_| Seat::take(&disk, "x").unwrap()).collect();
        assert!(matches!(Seat::take(&disk, "x"), Err(Error::NoSeat { seats: SEATS, .. })));
        drop(all);
        Seat::take(&disk, "x").unwrap();
    }

    #[test]
    fn a_session_ends_for_those_that_were_in_it() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let session = Session::now(&*disk).unwrap();
        session.check("f").unwrap();
        Session::end(&*disk).unwrap();
        assert!(matches!(session.check("f"), Err(Error::Stale { .. })));
        let next = Session::now(&*disk).unwrap();
        next.check("f").unwrap();
        Session::end(&*disk).unwrap();
        assert!(next.check("f").is_err());
    }
}
