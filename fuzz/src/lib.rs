//! Shared by the fuzz targets: a `main` for compilers without libFuzzer, files on a disk in memory, checksums.
//!
//! A target is a function from bytes to nothing that must not panic. With `--cfg fuzzing` libFuzzer calls it; without,
//! [`run`] does, on the files it is given or on a short random walk that is the same every time.

pub mod reseal;

use lodestore_wal::{Disk, MemDisk};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(fuzzing)]
pub use libfuzzer_sys;

/// Makes a function the target of this binary: its first argument is the function, the second gives the inputs that a
/// random walk starts from.
#[macro_export]
macro_rules! target {
    ($target:path, $seeds:path) => {
        #[cfg(fuzzing)]
        const _: fn() -> Vec<Vec<u8>> = $seeds;
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $target(bytes));
        #[cfg(not(fuzzing))]
        fn main() {
            $crate::run($target, &$seeds());
        }

        #[test]
        fn a_short_walk() {
            $crate::check(module_path!(), $target, &$seeds());
        }
    };
}

/// The identity of the store that all files made here belong to.
pub const UUID: [u8; 16] = [7; 16];
/// Bytes of a page.
pub const PAGE: usize = lodestore_wal::map::PAGE;
/// Inputs of a random walk without arguments.
const RUNS: u64 = 500;
/// Inputs of a random walk in a test.
const SHORT_RUNS: u64 = 60;

/// Runs a target on the files (and the files in the directories) that the command line names. Without any: on the
/// seeds and on `LODESTORE_FUZZ_RUNS` changed copies of them, changed as `LODESTORE_SEED` says. After `--write-seeds`:
/// writes the seeds into a directory.
pub fn run(target: impl Fn(&[u8]), seeds: &[Vec<u8>]) {
    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if paths.is_empty() {
        return walk(target, seeds, number("LODESTORE_FUZZ_RUNS", RUNS), number("LODESTORE_SEED", 1));
    }
    if paths.first().is_some_and(|option| option.as_os_str() == "--write-seeds") {
        return write_seeds(paths.get(1).expect("--write-seeds DIRECTORY"), seeds);
    }
    let mut files = 0u64;
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
            paths
                .extend(entries.unwrap_or_else(|error| panic!("{}: {error}", path.display())).iter().map(|e| e.path()));
        } else {
            target(&read(&path));
            files += 1;
        }
    }
    println!("{files} files");
}

/// What a test of a target runs: the seeds, the inputs kept in `corpus/<target>`, and a short walk from all of them.
/// `module` is where the target stands, its name first.
pub fn check(module: &str, target: impl Fn(&[u8]), seeds: &[Vec<u8>]) {
    let name = module.split("::").next().unwrap_or_default();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let all: Vec<Vec<u8>> = seeds.iter().cloned().chain(paths.iter().map(|path| read(path))).collect();
    walk(target, &all, number("LODESTORE_FUZZ_RUNS", SHORT_RUNS), number("LODESTORE_SEED", 1));
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Files for libFuzzer to start from.
fn write_seeds(directory: &Path, seeds: &[Vec<u8>]) {
    let made = std::fs::create_dir_all(directory);
    let write = |(n, seed): (usize, &Vec<u8>)| std::fs::write(directory.join(format!("seed-{n}")), seed);
    let written = made.and_then(|()| seeds.iter().enumerate().try_for_each(write));
    written.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    println!("{} seeds in {}", seeds.len(), directory.display());
}

fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    // What libFuzzer would refuse to make is not worth running either.
    let read = file.and_then(|file| file.take(1 << 30).read_to_end(&mut bytes));
    read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes
}

fn walk(target: impl Fn(&[u8]), seeds: &[Vec<u8>], runs: u64, seed: u64) {
    let mut rng = Rng(seed);
    seeds.iter().for_each(|seed| target(seed));
    for run in 0..runs {
        let mut bytes = seeds.get(rng.below(seeds.len().max(1))).cloned().unwrap_or_default();
        mutate(&mut bytes, &mut rng);
        let last_words = LastWords { bytes: &bytes, run, seed };
        target(&bytes);
        std::mem::forget(last_words);
    }
    println!("{} inputs and {runs} changed ones, seed {seed}", seeds.len());
}

/// Dropped only by a panic: says how to see it again.
struct LastWords<'a> {
    bytes: &'a [u8],
    run: u64,
    seed: u64,
}

impl Drop for LastWords<'_> {
    fn drop(&mut self) {
        let path = std::env::temp_dir().join(format!("lodestore-fuzz-{}-{}", self.seed, self.run));
        let kept = std::fs::write(&path, self.bytes);
        eprintln!("LODESTORE_SEED={} run {}: input in {} ({kept:?})", self.seed, self.run, path.display());
    }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len().max(1));
        match rng.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.extend((0..rng.below(300)).map(|_| rng.number() as u8)),
            2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][rng.below(5)],
            3 if bytes.len() >= at + 8 => bytes[at..at + 8].copy_from_slice(&interesting(rng).to_le_bytes()),
            4 if bytes.len() >= at + 4 => bytes[at..at + 4].copy_from_slice(&(interesting(rng) as u32).to_le_bytes()),
            5 => {
                let end = (at + rng.below(100)).min(bytes.len());
                bytes.extend_from_within(at..end);
            }
            _ if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
            _ => bytes.push(rng.number() as u8),
        }
    }
}

/// Numbers at the edges of what sizes and counters may be.
fn interesting(rng: &mut Rng) -> u64 {
    let edge = [0, 1, 64, 4096, 1 << 16, 1 << 26, 1 << 30, 1 << 31, 1 << 32, 1 << 48, 1 << 63, u64::MAX];
    edge[rng.below(edge.len())].wrapping_add(rng.number() % 3).wrapping_sub(1)
}

/// A small generator of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }
}

/// A disk in memory with a file of these bytes, in directories that are made for it.
pub fn disk_with(path: &str, bytes: &[u8]) -> Arc<MemDisk> {
    let disk = Arc::new(MemDisk::new());
    put(&*disk, path, bytes);
    disk
}

/// Adds a file, and the directories it lies in.
pub fn put(disk: &dyn Disk, path: &str, bytes: &[u8]) {
    for (at, _) in path.match_indices('/') {
        disk.create_dir(&path[..at]).expect("a directory in memory");
    }
    let file = disk.create(path).expect("a new file in memory");
    file.write_at(0, bytes).expect("room in memory");
}

/// All files of a store's disk but its lock, by name.
pub fn files_of(disk: &dyn Disk) -> Vec<(String, Vec<u8>)> {
    let (mut files, mut directories) = (Vec::new(), vec![String::new()]);
    while let Some(directory) = directories.pop() {
        for name in disk.list(&directory).expect("a directory") {
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            match disk.open(&path) {
                Ok(_) => files.push((path.clone(), get(disk, &path))),
                Err(_) => directories.push(path),
            }
        }
    }
    files.retain(|(path, _)| path != lodestore_wal::names::LOCK);
    files.sort();
    files
}

/// The bytes of a file.
pub fn get(disk: &dyn Disk, path: &str) -> Vec<u8> {
    let file = disk.open(path).expect("a file that was made");
    let mut bytes = vec![0; file.len().expect("its length") as usize];
    file.read_at(0, &mut bytes).expect("all of it");
    bytes
}

/// Whether an input is one of those, one in `n`, that are worth a long look: what is read is a matter of microseconds, what
/// is then done with it is not. The same input gets the same answer.
pub fn is_chosen(bytes: &[u8], n: u32) -> bool {
    crc32fast::hash(bytes).is_multiple_of(n)
}

/// Takes the first byte of an input off: whether checksums are to be put right. Without that hardly any changed byte
/// would be looked at; with it always, nobody would look at the checks.
pub fn switch(bytes: &[u8]) -> Option<(bool, Vec<u8>)> {
    let (first, rest) = bytes.split_first()?;
    Some((first & 1 == 1, rest.to_vec()))
}

/// An input for which [`switch`] says `reseal`.
pub fn with_switch(reseal: bool, bytes: &[u8]) -> Vec<u8> {
    [&[u8::from(reseal)], bytes].concat()
}
