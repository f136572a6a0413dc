//! Making a backup, while writes and searches go on.
//!
//! 1. Writes wait for a moment: the log goes on in a new file, the dirty pages are noted (S0 of a checkpoint), and a read
//!    transaction of redb keeps the catalogue's rows as they are. Both are of the same LSN, so no log is needed.
//! 2. The checkpoint is carried out. From then on the files hold that state, until the next checkpoint, which waits for
//!    us: links, tombstones and counters as they were; vectors, codes and ids in slots that are written once, or in free
//!    ones, which the state has nothing in.
//! 3. The files are read in blocks. Those that the backup before has at the same place are named, the others written.
//! 4. What was written is synced, read again from the disk and compared. Then the backup's file gets its name.

use super::format::{BLOCK, Entry, Header, MAGIC, MAJOR, Manifest, ManifestWriter, RowCutter, ZEROS, hash};
use super::read::{Backups, Blocks};
use super::{BackupReport, is_kept};
use crate::error::{Error, Result};
use crate::files;
use crate::shared::Shared;
use lodestore_wal::{Disk, DiskFile, names};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use zerocopy::byteorder::little_endian::{U16, U32, U64};

/// Bytes read from a file, and written to the blocks, at once.
const AT_ONCE: usize = 1 << 20;

/// Called with the bytes looked at and those there are; says whether to go on.
pub(super) type Progress<'a> = dyn FnMut(u64, u64) -> bool + 'a;

pub(super) fn write(
    shared: &Shared,
    (to, path): (Arc<dyn Disk>, &Path),
    progress: &mut Progress<'_>,
) -> Result<BackupReport> {
    if !shared.disk.is_persistent() {
        return Err(Error::Setting("a store in memory has no files, and so no backup".into()));
    }
    let _lock = to.lock(names::LOCK, &format!("process {}, backing up", std::process::id()))?;
    let before = Backups::open_on(to.clone(), path)?;
    let last = before.last();
    if let Some(last) = last
        && last.header.uuid != shared.uuid
    {
        return Err(Error::OtherBackup { path: path.to_owned(), store: shared.path.clone() });
    }
    let number = before.next_number()?;
    let _creating = shared.creating.lock();
    let mut checkpoint = shared.checkpointing.lock();
    shared.check_open()?;
    shared.poison.check()?;
    shared.link_pending()?;
    let log = shared.log()?;
    let (begun, rows) = {
        let _gate = shared.gate.write();
        let begun = shared.freeze(log)?;
        let rows = shared.catalog.rows().inspect_err(|error| shared.poison.set(error));
        match rows {
            Ok((applied, rows)) => {
                debug_assert_eq!(applied, begun.lsn, "nobody writes");
                (begun, rows)
            }
            Err(error) => {
                begun.frozen.unfreeze();
                return Err(error);
            }
        }
    };
    let lsn = begun.lsn;
    shared.write_frozen(&mut checkpoint, log, begun)?;
    let done = shared.superblock.lock().1.done;

    let header = Header {
        magic: MAGIC,
        major: U16::new(MAJOR),
        minor: U16::new(0),
        reserved: [0; 4],
        uuid: shared.uuid,
        number: U64::new(number),
        lsn: U64::new(lsn),
        checkpoint: U64::new(done),
        made: U64::new(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())),
    };
    let files = files::list(&*shared.disk)?.into_iter().filter(|(name, _)| is_kept(name)).collect::<Vec<_>>();
    let all = files.iter().filter(|(name, _)| name != names::CATALOG).map(|(_, bytes)| bytes).sum();
    let result = (|| {
        let mut writer = Writer::new(to.clone(), header, last, (progress, all))?;
        for (name, length) in &files {
            if name == names::CATALOG {
                writer.rows(|sink| rows.for_each(sink))?;
            } else {
                // A recall that is measured meanwhile replaces its file, and no other changes what it has by now.
                let file = shared.disk.open(name)?;
                let length = if names::parse_recall(name).is_some() { file.len()? } else { *length };
                writer.file(name, length, &*file)?;
            }
        }
        writer.finish()
    })();
    if result.is_err() {
        // What is left without a backup's file is no backup, and the next one removes it.
        for name in [names::blocks(number), names::tmp(&names::backup(number))] {
            let _ = to.remove(&name);
        }
    }
    let report = result?;
    commit(&*to, number)?;
    Ok(report)
}

/// Gives a backup that is whole its name. If that fails it may be there all the same, so that its blocks must stay: the
/// next one builds on it, or removes what is left.
fn commit(to: &dyn Disk, number: u64) -> Result<()> {
    let (temporary, name) = (names::tmp(&names::backup(number)), names::backup(number));
    // The name of the blocks must last before the one that relies on them does.
    to.sync_dir("")?;
    to.rename(&temporary, &name)?;
    Ok(to.sync_dir("")?)
}

struct Writer<'a, 'p> {
    to: Arc<dyn Disk>,
    header: Header,
    last: Option<&'a Manifest>,
    manifest: ManifestWriter,
    blocks: Arc<dyn DiskFile>,
    /// Where the next block goes, and what of the blocks before is not written yet.
    at: u64,
    bytes: Vec<u8>,
    added: Vec<Entry>,
    report: BackupReport,
    /// Bytes of files looked at.
    looked_at: u64,
    progress: (&'p mut Progress<'a>, u64),
}

impl<'a, 'p> Writer<'a, 'p> {
    fn new(
        to: Arc<dyn Disk>,
        header: Header,
        last: Option<&'a Manifest>,
        progress: (&'p mut Progress<'a>, u64),
    ) -> Result<Self> {
        let number = header.number.get();
        let blocks = to.create(&names::blocks(number))?;
        let manifest = ManifestWriter::new(to.create(&names::tmp(&names::backup(number)))?, &header);
        let report =
            BackupReport { number, lsn: header.lsn.get(), incremental: last.is_some(), ..BackupReport::default() };
        Ok(Self {
            to,
            header,
            last,
            manifest,
            blocks,
            at: 0,
            bytes: Vec::with_capacity(AT_ONCE),
            added: Vec::new(),
            report,
            looked_at: 0,
            progress,
        })
    }

    /// The entries of a file as the backup before has it.
    fn entries_before(&self, name: &str) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        if let Some(last) = self.last
            && let Some(listed) = last.files.iter().find(|listed| listed.name == name)
        {
            last.entries(listed, |_, entry| {
                entries.push(entry);
                Ok(())
            })?;
        }
        Ok(entries)
    }

    fn file(&mut self, name: &str, length: u64, file: &dyn DiskFile) -> Result<()> {
        let before = self.entries_before(name)?;
        let mut entries: Vec<Entry> = Vec::with_capacity((length as usize).div_ceil(BLOCK));
        let mut buffer = vec![0; AT_ONCE];
        let mut at = 0;
        while at < length {
            let part = &mut buffer[..(length - at).min(AT_ONCE as u64) as usize];
            file.read_at(at, part)?;
            for block in part.chunks(BLOCK) {
                let entry = self.block(block, |hash| before.get(entries.len()).filter(|e| e.hash == *hash).copied())?;
                entries.push(entry);
            }
            at += part.len() as u64;
            self.report.bytes += part.len() as u64;
            self.looked_at += part.len() as u64;
            let (progress, all) = &mut self.progress;
            if !progress(self.looked_at.min(*all), *all) {
                return Err(Error::Cancelled);
            }
        }
        self.manifest.section(name, length, &entries)
    }

    fn rows(&mut self, for_each: impl FnOnce(&mut crate::catalog::RowSink<'_>) -> Result<()>) -> Result<()> {
        let before = self.entries_before(names::CATALOG)?;
        let before: HashMap<[u8; 16], Entry> = before.into_iter().map(|entry| (entry.hash, entry)).collect();
        let (mut cutter, mut entries, mut length) = (RowCutter::default(), Vec::new(), 0);
        let mut add = |writer: &mut Self, block: Vec<u8>| -> Result<()> {
            entries.push(writer.block(&block, |hash| before.get(hash).copied())?);
            length += block.len() as u64;
            Ok(())
        };
        for_each(&mut |table, key, value| match cutter.add(table, key, value) {
            Some(block) => add(self, block),
            None => Ok(()),
        })?;
        if let Some(block) = cutter.finish() {
            add(self, block)?;
        }
        self.report.bytes += length;
        self.manifest.section(names::CATALOG, length, &entries)
    }

    /// Where a block is, written now if it is nowhere.
    fn block(&mut self, block: &[u8], known: impl FnOnce(&[u8; 16]) -> Option<Entry>) -> Result<Entry> {
        let len = U32::new(block.len() as u32);
        if block.iter().all(|&byte| byte == 0) {
            return Ok(Entry { hash: [0; 16], from: U32::new(ZEROS), len, at: U64::new(0) });
        }
        let hash = hash(block);
        if let Some(known) = known(&hash).filter(|known| known.len == len) {
            return Ok(known);
        }
        let number = u32::try_from(self.header.number.get()).ok().filter(|&number| number < ZEROS);
        let number = number.ok_or(Error::TooLarge { got: self.header.number.get(), limit: u64::from(ZEROS) - 1 })?;
        let entry = Entry { hash, from: U32::new(number), len, at: U64::new(self.at) };
        self.at += block.len() as u64;
        self.bytes.extend_from_slice(block);
        if self.bytes.len() >= AT_ONCE {
            self.flush()?;
        }
        self.added.push(entry);
        Ok(entry)
    }

    fn flush(&mut self) -> Result<()> {
        self.blocks.write_at(self.at - self.bytes.len() as u64, &self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    /// Makes all of it durable, and compares it, still without its name.
    fn finish(mut self) -> Result<BackupReport> {
        self.flush()?;
        self.blocks.sync()?;
        let manifest = self.manifest.finish()?;
        let number = self.header.number.get();
        // What the disk has, not what is still in memory.
        self.blocks.evict()?;
        let (blocks, mut block) = (Blocks::of(self.blocks.clone(), number)?, Vec::new());
        for entry in &self.added {
            blocks.read(entry, &mut block)?;
        }
        let file = self.to.open(&names::tmp(&names::backup(number)))?;
        file.evict()?;
        Manifest::open(file, number)?;
        self.report.written = self.at + manifest;
        Ok(self.report)
    }
}
