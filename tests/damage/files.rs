//! A store's files in memory, written out whole for each case; what came of the cases.

use crate::support::model::Rng;
use lodestore::Error;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tempfile::TempDir;

/// A directory in memory if there is one: these tests write thousands of small files.
pub(super) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The files of a store at rest.
pub(super) struct Files {
    files: BTreeMap<String, Vec<u8>>,
    directories: Vec<String>,
    place: TempDir,
    path: PathBuf,
}

impl Files {
    pub(super) fn read(root: &Path) -> Self {
        let place = directory();
        let path = place.path().join("store");
        let mut all = Self { files: BTreeMap::new(), directories: Vec::new(), place, path };
        all.read_directory(root, "");
        all
    }

    fn read_directory(&mut self, root: &Path, below: &str) {
        for entry in std::fs::read_dir(root.join(below)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{below}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                self.directories.push(name.clone());
                self.read_directory(root, &format!("{name}/"));
            } else if entry.file_type().unwrap().is_file() {
                self.files.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }

    /// All files but the lock, whose content is for people.
    pub(super) fn each(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.files.iter().filter(|(name, _)| *name != "LOCK")
    }

    /// All files.
    pub(super) fn with_lock(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.files.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Vec<u8>> {
        self.files.get(name)
    }

    /// Lays out the files anew, and says where.
    pub(super) fn write(&self) -> &Path {
        self.write_changed("", None)
    }

    /// With other content for one file.
    pub(super) fn write_with(&self, name: &str, bytes: &[u8]) -> &Path {
        self.write_changed(name, Some(bytes))
    }

    pub(super) fn write_without(&self, name: &str) -> &Path {
        self.write_changed(name, None)
    }

    fn write_changed(&self, changed: &str, bytes: Option<&[u8]>) -> &Path {
        assert!(self.path.starts_with(self.place.path()));
        let _ = std::fs::remove_dir_all(&self.path);
        std::fs::create_dir(&self.path).unwrap();
        self.directories.iter().for_each(|name| std::fs::create_dir(self.path.join(name)).unwrap());
        for (name, content) in &self.files {
            match if name == changed { bytes } else { Some(content.as_slice()) } {
                Some(content) => std::fs::write(self.path.join(name), content).unwrap(),
                None => continue,
            }
        }
        &self.path
    }
}

/// The bytes of a file to be damaged: all of a small one; of a large one those that say something, as far as the
/// budget goes, and some of the zeros between them.
pub(super) fn places(bytes: &[u8], budget: usize, rng: &mut Rng) -> Vec<usize> {
    let (mut full, mut zero): (Vec<usize>, Vec<usize>) = (0..bytes.len()).partition(|&at| bytes[at] != 0);
    let mut thin = |places: &mut Vec<usize>, most: usize| {
        while places.len() > most {
            let at = rng.below(places.len());
            places.swap_remove(at);
        }
    };
    thin(&mut full, budget * 4 / 5);
    let rest = budget - full.len();
    thin(&mut zero, rest);
    full.extend(zero);
    full.sort_unstable();
    full
}

/// What came of opening, verifying and asking a damaged store.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// A typed error of `open` or `verify`.
    Refused(&'static str),
    /// `verify` says that something is wrong.
    Damaged,
    /// Answers as if nothing had happened, and nothing that matters has.
    Equal,
    /// As after the first so many writes: the end of the log is gone.
    Prefix(usize),
    Wrong(String),
}

impl Outcome {
    pub(super) fn refused(by: &'static str, error: &Error) -> Outcome {
        let text = error.to_string();
        let typed = match error {
            Error::Corrupt { file, what, .. } => !file.is_empty() && !what.is_empty(),
            Error::FormatTooNew { .. } => true,
            Error::Io { path, .. } => !path.is_empty(),
            _ => false,
        };
        if typed { Outcome::Refused(by) } else { Outcome::Wrong(format!("{by}: {error:?}: {text}")) }
    }
}

/// Counts of outcomes for each file and kind of damage.
#[derive(Default)]
pub(super) struct Table {
    counts: BTreeMap<(String, &'static str), BTreeMap<String, usize>>,
    wrong: Vec<String>,
}

impl Table {
    pub(super) fn note(&mut self, file: &str, kind: &'static str, (case, outcome): (String, Outcome)) {
        let column = match &outcome {
            Outcome::Refused(by) => format!("refused by {by}"),
            Outcome::Damaged => "found by verify".into(),
            Outcome::Equal => "equal".into(),
            Outcome::Prefix(_) => "prefix".into(),
            Outcome::Wrong(what) => {
                self.wrong.push(format!("{case}: {what:.600}"));
                "WRONG".into()
            }
        };
        *self.counts.entry((file.into(), kind)).or_default().entry(column).or_default() += 1;
    }

    /// Prints the table; fails if anything was wrong.
    pub(super) fn finish(self) {
        for ((file, kind), counts) in &self.counts {
            let counts: Vec<String> = counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
            println!("{file:<18} {kind:<10} {}", counts.join(", "));
        }
        let few = self.wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n  ");
        assert!(self.wrong.is_empty(), "{} wrong:\n  {few}", self.wrong.len());
    }
}

/// Runs cases, and ends the process with the name of one that does not come to its end.
pub(super) struct Watch {
    case: Arc<Mutex<String>>,
    alive: mpsc::Sender<()>,
}

impl Watch {
    pub(super) fn start() -> Self {
        let case = Arc::new(Mutex::new(String::new()));
        let (alive, heard) = mpsc::channel();
        let watched = case.clone();
        std::thread::spawn(move || {
            while let Ok(()) | Err(mpsc::RecvTimeoutError::Timeout) = match heard.recv_timeout(Duration::from_secs(60))
            {
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    eprintln!("no end of: {}", watched.lock().unwrap());
                    std::process::exit(1);
                }
                other => other,
            } {}
        });
        Self { case, alive }
    }

    pub(super) fn run(&self, case: &str, run: impl FnOnce() -> Outcome) -> (String, Outcome) {
        case.clone_into(&mut self.case.lock().unwrap());
        self.alive.send(()).unwrap();
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Outcome::Wrong(format!("panicked: {}", text.unwrap_or_default()))
        });
        (case.to_owned(), outcome)
    }
}

/// Makes a header one of version 9, with the checksum that belongs to it.
pub(super) fn set_version(bytes: &mut [u8], version_at: usize, crc_at: usize) {
    bytes[version_at] = 9;
    let crc = crc32(&bytes[..crc_at]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 })
    })
}
