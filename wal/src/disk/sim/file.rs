//! One file of the simulated disk: what programs see, and what the platter may hold.

use super::CrashMode;
use super::rng::Rng;
use crate::disk::DiskFile;
use crate::disk::mem::anonymous_file;
use crate::disk::os::OsFile;
use crate::error::Result;
use crate::map::{Map, Mapping};
use crate::names::{self, Part};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

/// What a disk writes as one.
const SECTOR: u64 = 512;

/// A file, whatever its names.
#[derive(Debug)]
pub(super) struct Node {
    /// The same after a reboot, so that two names of one file can be told from two files.
    pub(super) id: u64,
    /// What programs see: the system's cache.
    cached: OsFile,
    platter: Mutex<Platter>,
}

#[derive(Clone, Default)]
struct Platter {
    /// What is certain. Shared with the disks rebooted from this one until either changes.
    durable: Arc<Vec<u8>>,
    /// For each sector written since the last sync, what it has held, oldest first.
    written: BTreeMap<u64, Vec<Version>>,
    /// The lengths since the last sync, oldest first.
    lengths: Vec<u64>,
    /// Which of these were smaller than the one before.
    cuts: Vec<usize>,
    /// Sectors that a failed sync lost: the cache shows what the platter never got, and will not try again.
    lost: BTreeSet<u64>,
}

/// Without the bytes: a failing test that prints a store would print all of its files.
impl fmt::Debug for Platter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Platter { durable, written, lengths, lost, .. } = self;
        let mut f = f.debug_struct("Platter");
        f.field("durable", &durable.len()).field("unsynced", &written.len()).field("lengths", lengths);
        f.field("lost", lost).finish_non_exhaustive()
    }
}

/// What a sector held after a write.
#[derive(Clone)]
struct Version {
    /// How many of the lengths came before.
    after: usize,
    /// The whole sector; zeros where the file ends before.
    bytes: Box<[u8]>,
}

/// Which version of a sector got to the platter.
struct Kept {
    version: usize,
    /// If not all of it did: chance for where it is torn.
    tear: Option<u64>,
    /// What a torn sector is left with.
    garbage: Garbage,
}

/// What the bytes of a torn sector are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Garbage {
    /// The new ones up to a place, the old ones from there on.
    None,
    /// Anything where they change, the others as they were.
    Written,
    /// Anything.
    Sector,
}

impl Kept {
    fn newest(versions: &[Version]) -> Option<Kept> {
        Some(Kept { version: versions.len() - 1, tear: None, garbage: Garbage::None })
    }
}

impl Node {
    /// An empty file.
    pub(super) fn new(id: u64, path: &str) -> io::Result<Node> {
        Ok(Node { id, cached: OsFile::new(anonymous_file()?, path), platter: Mutex::default() })
    }

    pub(super) fn len(&self) -> Result<u64> {
        self.cached.len()
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.cached.read_at(offset, buf)
    }

    pub(super) fn map(&self, offset: u64, len: usize, mapping: Mapping) -> Result<Map> {
        self.cached.map(offset, len, mapping)
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut platter = self.platter.lock();
        let (old_len, end) = (self.cached.len()?, offset.saturating_add(bytes.len() as u64));
        self.cached.write_at(offset, bytes)?;
        if end > old_len {
            platter.lengths.push(end);
        }
        let (first, last) = (offset / SECTOR, (end - 1) / SECTOR);
        let (from, upto) = (first * SECTOR, (last + 1) * SECTOR);
        let mut content = vec![0; (upto - from) as usize];
        let in_file = (upto.min(old_len.max(end)) - from) as usize;
        self.cached.read_at(from, &mut content[..in_file])?;
        let after = platter.lengths.len();
        for (sector, bytes) in (first..).zip(content.chunks(SECTOR as usize)) {
            platter.written.entry(sector).or_default().push(Version { after, bytes: bytes.into() });
            // A sector that is written again goes to the platter as a whole.
            platter.lost.remove(&sector);
        }
        Ok(())
    }

    pub(super) fn set_len(&self, len: u64) -> Result<()> {
        let mut platter = self.platter.lock();
        let now = self.cached.len()?;
        if len == now {
            return Ok(());
        }
        self.cached.set_len(len)?;
        if len < now {
            let cut = platter.lengths.len();
            platter.cuts.push(cut);
        }
        platter.lengths.push(len);
        Ok(())
    }

    /// Everything reaches the platter.
    pub(super) fn sync(&self) {
        let mut platter = self.platter.lock();
        platter.settle_all(|_, versions| Kept::newest(versions));
    }

    /// The lengths and some sectors reach the platter; at least one sector does not. The cache forgets about it.
    pub(super) fn sync_badly(&self, rng: &mut Rng) {
        let mut platter = self.platter.lock();
        let loser = rng.index(platter.written.len());
        let mut lost: BTreeSet<u64> = platter.written.keys().copied().skip(loser).take(1).collect();
        platter.settle_all(|sector, versions| {
            if lost.contains(&sector) || rng.one_in(2) {
                lost.insert(sector);
                None
            } else {
                Kept::newest(versions)
            }
        });
        platter.lost.extend(lost);
    }

    /// The cache shows again what the platter holds, except where it still has something to write.
    pub(super) fn evict(&self) -> Result<()> {
        let mut platter = self.platter.lock();
        let lost = std::mem::take(&mut platter.lost);
        let len = self.cached.len()?.min(platter.durable.len() as u64);
        for from in lost.into_iter().map(|sector| sector * SECTOR).filter(|&from| from < len) {
            let upto = (from + SECTOR).min(len);
            self.cached.write_at(from, &platter.durable[from as usize..upto as usize])?;
        }
        Ok(())
    }

    /// The file on the disk after a crash.
    pub(super) fn after(&self, mode: CrashMode, rng: &mut Rng) -> Result<Node> {
        let platter = self.platter.lock();
        let path = self.cached.path();
        let new = Node::new(self.id, path).map_err(|e| crate::Error::io("create", path, e))?;
        if mode == CrashMode::ProcessKill {
            let mut seen = vec![0; self.cached.len()? as usize];
            self.cached.read_at(0, &mut seen)?;
            new.fill(&seen)?;
            *new.platter.lock() = platter.clone();
        } else {
            let garbage = match mode {
                CrashMode::Garbage if shares_sectors(path) => Garbage::Written,
                CrashMode::Garbage => Garbage::Sector,
                _ => Garbage::None,
            };
            let image = platter.image(mode, garbage, rng);
            new.fill(&image)?;
            new.platter.lock().durable = image;
        }
        Ok(new)
    }

    /// Gives an empty file its content, leaving the zeros at the end a hole: files reserve far more than they use.
    fn fill(&self, content: &[u8]) -> Result<()> {
        let used = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        self.cached.set_len(content.len() as u64)?;
        self.cached.write_at(0, &content[..used])
    }
}

impl Platter {
    /// What a crash leaves.
    fn image(&self, mode: CrashMode, garbage: Garbage, rng: &mut Rng) -> Arc<Vec<u8>> {
        let mut durable = Arc::clone(&self.durable);
        if mode == CrashMode::KeepNothing || (self.written.is_empty() && self.lengths.is_empty()) {
            return durable;
        }
        let image = Arc::make_mut(&mut durable);
        let all = self.lengths.len();
        match mode {
            CrashMode::KeepNothing => {}
            CrashMode::KeepAll | CrashMode::ProcessKill => {
                self.settle(image, all, |_, versions| Kept::newest(versions));
            }
            CrashMode::PowerLoss | CrashMode::Garbage => {
                let kept = match rng.below(3) {
                    0 => 0,
                    1 => all,
                    _ => rng.index(all + 1),
                };
                // Some whole files make it and some do not at all, else a file of many sectors is always a mixture.
                let (none, every) = match rng.below(4) {
                    0 => (true, false),
                    1 => (false, true),
                    _ => (false, false),
                };
                self.settle(image, kept, |_, versions| {
                    if none || (!every && rng.one_in(2)) {
                        return None;
                    }
                    if every {
                        return Kept::newest(versions);
                    }
                    let version = if rng.one_in(3) { rng.index(versions.len()) } else { versions.len() - 1 };
                    let tear = rng.one_in(if garbage == Garbage::None { 8 } else { 2 }).then(|| rng.next());
                    Some(Kept { version, tear, garbage })
                });
            }
        }
        durable
    }

    /// Turns `image`, the durable content, into what it is with the first `kept` lengths and the sectors that `pick`
    /// chooses.
    fn settle(&self, image: &mut Vec<u8>, kept: usize, mut pick: impl FnMut(u64, &[Version]) -> Option<Kept>) {
        let len = kept.checked_sub(1).map_or(image.len() as u64, |last| self.lengths[last]);
        // What a cut took away is zeros when the file grows again, never the old bytes.
        image.truncate(self.least(0, kept).min(len) as usize);
        image.resize(len as usize, 0);
        for (&sector, versions) in &self.written {
            let Some(Kept { version, tear, garbage }) = pick(sector, versions) else { continue };
            let version = &versions[version];
            let from = sector * SECTOR;
            let upto = (from + SECTOR).min(len).min(self.least(version.after, kept));
            if from >= upto {
                continue;
            }
            let old = &mut image[from as usize..upto as usize];
            let new = &version.bytes[..old.len()];
            match tear {
                None => old.copy_from_slice(new),
                Some(chance) if garbage == Garbage::None => {
                    let torn_at = tear_within(old, new, chance);
                    old[..torn_at].copy_from_slice(&new[..torn_at]);
                }
                Some(chance) => {
                    let mut rng = Rng::new(chance);
                    for (old, new) in old.iter_mut().zip(new) {
                        let anything = rng.next() as u8;
                        if garbage == Garbage::Sector || old != new {
                            *old = anything;
                        }
                    }
                }
            }
        }
    }

    /// Settles everything for good: nothing is unsynced after it.
    fn settle_all(&mut self, pick: impl FnMut(u64, &[Version]) -> Option<Kept>) {
        let mut durable = std::mem::take(&mut self.durable);
        self.settle(Arc::make_mut(&mut durable), self.lengths.len(), pick);
        self.durable = durable;
        self.written.clear();
        self.lengths.clear();
        self.cuts.clear();
    }

    /// The shortest that the file was cut to by the lengths numbered `from..upto`.
    fn least(&self, from: usize, upto: usize) -> u64 {
        let cuts = self.cuts.iter().filter(|&&cut| from <= cut && cut < upto);
        cuts.map(|&cut| self.lengths[cut]).min().unwrap_or(u64::MAX)
    }
}

/// Whether writes into a file share sectors with each other, which relies on a sector's other bytes being left alone.
fn shares_sectors(path: &str) -> bool {
    let written_once = [Part::Vectors, Part::Codes, Part::Ids, Part::Keys];
    path.starts_with(names::CATALOG) || names::parse_part(path).is_some_and(|(.., part)| written_once.contains(&part))
}

/// Where `new` is torn: among the bytes that it changes, because elsewhere a tear cannot be seen.
fn tear_within(old: &[u8], new: &[u8], chance: u64) -> usize {
    let differs = |at: &usize| old[*at] != new[*at];
    let (first, last) = ((0..old.len()).find(differs).unwrap_or(0), (0..old.len()).rfind(differs).unwrap_or(0));
    first + (chance % (last - first + 1) as u64) as usize
}
