//! A disk: the one file of a FUSE file system, which keeps all that was written to it and when it was flushed.

use crate::Result;
use crate::program::Rng;
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// The name of the file.
pub(crate) const NAME: &str = "disk";
const TTL: Duration = Duration::from_secs(1000);

/// What reached the device.
pub(crate) enum Event {
    Write(u64, Box<[u8]>),
    Flush,
}

struct State {
    content: Vec<u8>,
    events: Vec<Event>,
    /// Writes that contain this fail.
    failing: Option<&'static [u8]>,
    failed: u64,
}

/// A device, seen from both sides.
#[derive(Clone)]
pub(crate) struct Device {
    state: Arc<Mutex<State>>,
    size: u64,
}

impl Device {
    pub(crate) fn new(size: u64) -> Self {
        let state = State { content: vec![0; size as usize], events: Vec::new(), failing: None, failed: 0 };
        Self { state: Arc::new(Mutex::new(state)), size }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the file in a directory until the session is dropped.
    pub(crate) fn show(&self, directory: &Path) -> Result<BackgroundSession> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("lodestore-blockdev".into())];
        Ok(fuser::spawn_mount(self.clone(), directory, &config)?)
    }

    /// How many events there were so far.
    pub(crate) fn events(&self) -> usize {
        self.state().events.len()
    }

    /// From now on writes that contain `marker` fail; with `None` none does. Returns how many have failed.
    pub(crate) fn fail(&self, marker: Option<&'static [u8]>) -> u64 {
        let mut state = self.state();
        state.failing = marker;
        state.failed
    }

    /// Writes into a file what a power cut after the first `cut` events leaves: all that was flushed, any of the rest.
    pub(crate) fn image(&self, cut: usize, rng: &mut Rng, file: &File) -> Result<()> {
        let state = self.state();
        let flushed = state.events[..cut].iter().rposition(|event| matches!(event, Event::Flush)).unwrap_or(0);
        // Some disks keep nothing, some all, most something.
        let kept = [0, 128, 128, 220, 256][rng.below(5) as usize];
        file.set_len(0)?;
        file.set_len(self.size)?;
        for (at, event) in state.events[..cut].iter().enumerate() {
            if let Event::Write(offset, bytes) = event
                && (at < flushed || rng.below(256) < kept)
            {
                file.write_all_at(bytes, *offset)?;
            }
        }
        Ok(())
    }

    fn attributes(&self, inode: u64) -> FileAttr {
        let directory = inode == 1;
        FileAttr {
            ino: INodeNo(inode),
            size: if directory { 0 } else { self.size },
            blocks: self.size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if directory { FileType::Directory } else { FileType::RegularFile },
            perm: if directory { 0o755 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }
}

impl Filesystem for Device {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if u64::from(parent) == 1 && name == NAME {
            reply.entry(&TTL, &self.attributes(2), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(u64::from(inode)));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let end = (offset + u64::from(size)).min(self.size) as usize;
        reply.data(&self.state().content[(offset as usize).min(end)..end]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.state();
        let hit = |marker: &[u8]| bytes.chunks(4096).any(|block| block.starts_with(marker));
        if state.failing.is_some_and(hit) {
            state.failed += 1;
            reply.error(Errno::EIO);
            return;
        }
        let at = offset as usize;
        let Some(place) = state.content.get_mut(at..at + bytes.len()) else {
            reply.error(Errno::ENOSPC);
            return;
        };
        place.copy_from_slice(bytes);
        state.events.push(Event::Write(offset, bytes.into()));
        reply.written(bytes.len() as u32);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.state().events.push(Event::Flush);
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}
