//! A disk that can lose power at any call, for crash tests of the real engine.
//!
//! What the store sees while it runs is one *anonymous file* per file, so maps behave exactly as in production.
//! Beside each lies what the platter holds: the durable content, and for every 512-byte sector written since the last
//! sync each content it has had. The names are kept twice as well, with the operations in between, directory by
//! directory. [`SimDisk::reboot`] picks from all this what a power cut may leave behind.
//!
//! With one thread the same calls give the same steps, and the same seeds the same images.

use super::mem::{Entry, Locks, LocksGuard, Tree};
use super::{Disk, DiskFile, DiskLock};
use crate::error::{Error, Result};
use crate::names;
use file::Node;
use handle::SimFile;
use parking_lot::{Mutex, MutexGuard};
use rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

mod file;
mod handle;
mod rng;
#[cfg(test)]
mod tests;

/// What is left when the lights go on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashMode {
    /// Of what was not synced anything may be there: any subset of the sectors, each in any content it has had, some
    /// torn at a byte; any length a file has had; any prefix or subset of what was done to a directory.
    PowerLoss,
    /// As `PowerLoss`, and of a sector in which the power fails nothing is left but garbage. In files whose writes share
    /// sectors, that is so of the bytes written only.
    Garbage,
    /// Only what was synced.
    KeepNothing,
    /// Everything reached the platter, except what a failed sync had lost.
    KeepAll,
    /// Only the process died. The system's cache is still there, and what is not synced can still be lost later.
    ProcessKill,
}

impl CrashMode {
    /// Every one of them.
    pub const ALL: [CrashMode; 5] =
        [CrashMode::PowerLoss, CrashMode::Garbage, CrashMode::KeepNothing, CrashMode::KeepAll, CrashMode::ProcessKill];
}

/// A disk that can lose power at any call: what programs see, what the platter holds, and what lies in between.
#[derive(Debug)]
pub struct SimDisk {
    shared: Arc<Shared>,
    locks: Arc<Locks>,
}

/// Called with a call and its path. Whether it wants to be called again.
type Hook = Box<dyn FnMut(&str, &str) -> bool + Send>;

struct Shared {
    state: Mutex<State>,
    hook: Mutex<Option<Hook>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.lock().fmt(f)
    }
}

#[derive(Debug)]
struct State {
    rng: Rng,
    steps: u64,
    syncs: u64,
    writes: u64,
    crash_at: u64,
    crash_at_sync: u64,
    crashed: bool,
    fail_sync_at: u64,
    fail_write_at: u64,
    no_space_at_write: u64,
    calls: u64,
    fail_call_at: u64,
    reads: u64,
    fail_read_at: u64,
    short_writes: bool,
    /// Bytes that files may still grow by, in all.
    room: u64,
    trace: Option<Vec<String>>,
    /// The names as programs see them.
    names: Tree<Arc<Node>>,
    /// The names on the platter.
    durable: BTreeMap<String, Entry<Arc<Node>>>,
    /// Done to the names, oldest first, and not synced.
    pending: Vec<DirOp>,
    next_node: u64,
}

/// One change to a directory; its parts reach the platter together.
#[derive(Clone, Debug)]
struct DirOp {
    dir: String,
    changes: Vec<(String, Option<Entry<Arc<Node>>>)>,
}

impl SimDisk {
    /// An empty disk. The seed decides what a failing sync loses and how far a write gets in which the power fails.
    pub fn new(seed: u64) -> Arc<SimDisk> {
        Self::with(State {
            rng: Rng::new(seed),
            steps: 0,
            syncs: 0,
            writes: 0,
            crash_at: u64::MAX,
            crash_at_sync: u64::MAX,
            crashed: false,
            fail_sync_at: u64::MAX,
            fail_write_at: u64::MAX,
            no_space_at_write: u64::MAX,
            calls: 0,
            fail_call_at: u64::MAX,
            reads: 0,
            fail_read_at: u64::MAX,
            short_writes: false,
            room: u64::MAX,
            trace: None,
            names: Tree::default(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            next_node: 0,
        })
    }

    fn with(state: State) -> Arc<SimDisk> {
        Arc::new(SimDisk {
            shared: Arc::new(Shared { state: Mutex::new(state), hook: Mutex::default() }),
            locks: Arc::default(),
        })
    }

    /// How many calls so far changed something or made it durable. Each is a point to crash at.
    pub fn steps(&self) -> u64 {
        self.shared.state.lock().steps
    }

    /// How many syncs so far, of files and of directories.
    pub fn syncs(&self) -> u64 {
        self.shared.state.lock().syncs
    }

    /// How many writes so far.
    pub fn writes(&self) -> u64 {
        self.shared.state.lock().writes
    }

    /// The power fails in the first step numbered `step` (the first is 1) or higher. That step is not done, unless it
    /// is a write, which may get part of the way; from then on every call fails, reads too.
    pub fn crash_at(&self, step: u64) {
        self.shared.state.lock().crash_at = step;
    }

    /// Whether the power is gone.
    pub fn is_crashed(&self) -> bool {
        self.shared.state.lock().crashed
    }

    /// The `n`-th sync (the first is 1) fails with an I/O error, once. As on real systems, nothing is unsynced after
    /// it: reads show the new bytes, later syncs succeed, and some sectors never reach the platter, which only
    /// [`DiskFile::evict`] brings to light. A failing sync of a directory leaves its changes unsynced.
    pub fn fail_sync_at(&self, n: u64) {
        self.shared.state.lock().fail_sync_at = n;
    }

    /// The `n`-th write (the first is 1) fails with an I/O error, part of the way, once.
    pub fn fail_write_at(&self, n: u64) {
        self.shared.state.lock().fail_write_at = n;
    }

    /// The `n`-th write (the first is 1) finds the disk full and changes nothing, once.
    pub fn no_space_at_write(&self, n: u64) {
        self.shared.state.lock().no_space_at_write = n;
    }

    /// Calls `hook` before every step, with the call and its path, on the thread that makes the call and until it
    /// returns false: to have something happen in the middle of something else, always at the same place. It may use the
    /// disk; what it does there is not told to it. `None` ends that.
    pub fn set_hook(&self, hook: Option<impl FnMut(&str, &str) -> bool + Send + 'static>) {
        let hook = hook.map(|hook| Box::new(hook) as Hook);
        // What the old one holds may use the disk when it goes.
        let old = std::mem::replace(&mut *self.shared.hook.lock(), hook);
        drop(old);
    }

    /// The power fails in the `n`-th sync (the first is 1), of a file or directory: what was written before it is not
    /// durable yet.
    pub fn crash_at_sync(&self, n: u64) {
        self.shared.state.lock().crash_at_sync = n;
    }

    /// How many calls so far that can fail: all but dropping from the cache and mapping.
    pub fn calls(&self) -> u64 {
        self.shared.state.lock().calls
    }

    /// The `n`-th call (the first is 1) fails with an I/O error, once. One that changes something changes nothing then,
    /// except that a write gets part of the way, and that a sync of a file loses what [`fail_sync_at`](Self::fail_sync_at)
    /// says.
    pub fn fail_call_at(&self, n: u64) {
        self.shared.state.lock().fail_call_at = n;
    }

    /// How many reads so far; those through maps are not seen.
    pub fn reads(&self) -> u64 {
        self.shared.state.lock().reads
    }

    /// The `n`-th read (the first is 1) fails with an I/O error, once.
    pub fn fail_read_at(&self, n: u64) {
        self.shared.state.lock().fail_read_at = n;
    }

    /// Whether the system takes writes in pieces, as when a signal interrupts it. Each piece is a step.
    pub fn set_short_writes(&self, on: bool) {
        self.shared.state.lock().short_writes = on;
    }

    /// From now on files can grow by `bytes` in all, a write that does not fit by what fits of it; what is cut off or removed counts as free again.
    /// `u64::MAX` lifts the limit.
    pub fn no_space_after(&self, bytes: u64) {
        self.shared.state.lock().room = bytes;
    }

    /// Begins, or ends and forgets, writing down every step.
    pub fn set_tracing(&self, on: bool) {
        self.shared.state.lock().trace = on.then(Vec::new);
    }

    /// The steps since tracing began, as `12 write wal/00000001.wal 4096+120`; failures as `!crash`, `!eio`, `!full`.
    pub fn trace(&self) -> Vec<String> {
        self.shared.state.lock().trace.clone().unwrap_or_default()
    }

    /// The disk after a crash: this one's power is cut, should it still be on, and a new disk starts with what
    /// `mode` leaves, picked by `seed`. The same disk can be rebooted many times. No fault is set on the new one.
    ///
    /// # Panics
    /// If the system gives no more anonymous files.
    pub fn reboot(&self, mode: CrashMode, seed: u64) -> Arc<SimDisk> {
        let mut state = self.shared.state.lock();
        state.crashed = true;
        let mut rng = Rng::new(seed);
        let mut entries = state.names_after(mode, &mut rng);

        // A file can have two names, or none but a pending one; all of them must go on meaning the same file.
        let mut copies = BTreeMap::new();
        let mut copy = |entry: &Entry<Arc<Node>>| match entry {
            Entry::Dir => Entry::Dir,
            Entry::File(node) => {
                let new = || Arc::new(node.after(mode, &mut rng).expect("an anonymous file for the new disk"));
                Entry::File(Arc::clone(copies.entry(node.id).or_insert_with(new)))
            }
        };
        entries.values_mut().for_each(|entry| *entry = copy(entry));
        let (mut durable, mut pending) = (entries.clone(), Vec::new());
        if mode == CrashMode::ProcessKill {
            durable = state.durable.clone();
            durable.values_mut().for_each(|entry| *entry = copy(entry));
            pending = state.pending.clone();
            let changes = pending.iter_mut().flat_map(|op| &mut op.changes);
            changes.filter_map(|(_, entry)| entry.as_mut()).for_each(|entry| *entry = copy(entry));
        }

        let disk = Self::new(rng.next());
        {
            let mut fresh = disk.shared.state.lock();
            fresh.names.entries = entries;
            fresh.durable = durable;
            fresh.pending = pending;
            fresh.next_node = state.next_node;
        }
        disk
    }

    fn handle(&self, path: &str, node: Arc<Node>) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { shared: Arc::clone(&self.shared), path: path.to_owned(), node })
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        self.shared.tell("create", path);
        let mut state = self.shared.state.lock();
        state.step("create", path, "")?;
        state.call("create", path)?;
        Ok(self.handle(path, state.create(path)?))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        let mut state = self.shared.powered("open", path)?;
        state.call("open", path)?;
        let node = state.names.open(path).map_err(|e| Error::io("open", path, e))?;
        Ok(self.handle(path, node))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.shared.tell("rename", from);
        let mut state = self.shared.state.lock();
        state.step("rename", from, to)?;
        state.call("rename", from)?;
        let (node, replaced) = state.names.rename(from, to).map_err(|e| Error::io("rename", from, e))?;
        if from == to {
            return Ok(());
        }
        if let Some(old) = replaced {
            state.unlinked(&old)?;
        }
        let (gone, here) = ((from.to_owned(), None), (to.to_owned(), Some(Entry::File(node))));
        if names::parent(from) == names::parent(to) {
            state.changed(vec![gone, here]);
        } else {
            // Nothing but syncing both directories makes this durable as a whole.
            state.changed(vec![here]);
            state.changed(vec![gone]);
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.shared.tell("remove", path);
        let mut state = self.shared.state.lock();
        state.step("remove", path, "")?;
        state.call("remove", path)?;
        let node = state.names.remove(path).map_err(|e| Error::io("remove", path, e))?;
        state.unlinked(&node)?;
        state.changed(vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        let mut state = self.shared.powered("list", dir)?;
        state.call("list", dir)?;
        state.names.list(dir).map_err(|e| Error::io("list", dir, e))
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        self.shared.tell("create_dir", path);
        let mut state = self.shared.state.lock();
        state.step("create_dir", path, "")?;
        state.call("create_dir", path)?;
        if state.names.create_dir(path).map_err(|e| Error::io("create directory", path, e))? {
            state.changed(vec![(path.to_owned(), Some(Entry::Dir))]);
        }
        Ok(())
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        self.shared.tell("remove_dir", path);
        let mut state = self.shared.state.lock();
        state.step("remove_dir", path, "")?;
        state.call("remove_dir", path)?;
        state.names.remove_dir(path).map_err(|e| Error::io("remove directory", path, e))?;
        state.changed(vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> Result<()> {
        self.shared.tell("sync_dir", dir);
        let mut state = self.shared.state.lock();
        state.step("sync_dir", dir, "")?;
        state.call("sync directory", dir)?;
        state.names.check_dir(dir).map_err(|e| Error::io("sync directory", dir, e))?;
        if state.sync_fails() {
            return Err(eio("sync directory", dir));
        }
        let State { pending, durable, .. } = &mut *state;
        pending.retain(|op| {
            if op.dir == dir {
                op.apply(durable);
            }
            op.dir != dir
        });
        Ok(())
    }

    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn DiskLock>> {
        let mut state = self.shared.powered("lock", path)?;
        state.call("lock", path)?;
        let guard = self.locks.take(path, holder)?;
        let node = match state.names.open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => state.create(path)?,
            result => result.map_err(|e| Error::io("lock", path, e))?,
        };
        node.set_len(0)?;
        node.write(0, holder.as_bytes())?;
        Ok(Box::new(SimLock { shared: self.shared.clone(), path: path.to_owned(), node, _guard: guard }))
    }
}

#[derive(Debug)]
struct SimLock {
    shared: Arc<Shared>,
    path: String,
    node: Arc<Node>,
    _guard: LocksGuard,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        // As on the real disk, by whoever still has power to do it.
        if let Ok(_power) = self.shared.powered("unlock", &self.path) {
            let _ = self.node.set_len(0);
        }
    }
}

impl Shared {
    fn tell(&self, op: &str, path: &str) {
        let taken = self.hook.lock().take();
        if let Some(mut hook) = taken
            && hook(op, path)
        {
            *self.hook.lock() = Some(hook);
        }
    }

    /// The state, unless the power is gone.
    fn powered(&self, op: &'static str, path: &str) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.crashed { Err(no_power(op, path)) } else { Ok(state) }
    }
}

impl State {
    /// Counts a step, in which the power may fail.
    fn step(&mut self, op: &'static str, path: &str, what: &str) -> Result<()> {
        if self.crashed {
            return Err(no_power(op, path));
        }
        self.steps += 1;
        if let Some(trace) = &mut self.trace {
            let path = if path.is_empty() { "." } else { path };
            let space = if what.is_empty() { "" } else { " " };
            trace.push(format!("{} {op} {path}{space}{what}", self.steps));
        }
        let at_sync = op.starts_with("sync") && self.syncs + 1 >= self.crash_at_sync;
        if self.steps >= self.crash_at || at_sync {
            self.crashed = true;
            self.note("!crash");
            return Err(no_power(op, path));
        }
        Ok(())
    }

    /// Counts a call and says whether it is the one to fail.
    fn call(&mut self, op: &'static str, path: &str) -> Result<()> {
        self.calls += 1;
        if self.calls != self.fail_call_at {
            return Ok(());
        }
        self.event(op, path, "!eio");
        Err(eio(op, path))
    }

    /// How much of a write of `len` bytes is taken at once.
    fn piece(&mut self, len: usize) -> usize {
        if self.short_writes && len > 1 && self.rng.one_in(2) { 1 + self.rng.index(len - 1) } else { len }
    }

    /// Writes down what is no step.
    fn event(&mut self, op: &str, path: &str, what: &str) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{} {op} {path} {what}", self.steps));
        }
    }

    /// Adds to the step written down last.
    fn note(&mut self, what: &str) {
        if let Some(last) = self.trace.as_mut().and_then(|trace| trace.last_mut()) {
            last.push(' ');
            last.push_str(what);
        }
    }

    fn create(&mut self, path: &str) -> Result<Arc<Node>> {
        let id = self.next_node;
        let new = || Node::new(id, path).map(Arc::new);
        let node = self.names.create(path, new).map_err(|e| Error::io("create", path, e))?;
        self.next_node += 1;
        self.changed(vec![(path.to_owned(), Some(Entry::File(Arc::clone(&node))))]);
        Ok(node)
    }

    /// Notes one change to the names, which all lie in one directory.
    fn changed(&mut self, changes: Vec<(String, Option<Entry<Arc<Node>>>)>) {
        if let Some((path, _)) = changes.first() {
            self.pending.push(DirOp { dir: names::parent(path).to_owned(), changes });
        }
    }

    /// Counts a sync and says whether it is the one to fail.
    fn sync_fails(&mut self) -> bool {
        self.syncs += 1;
        let fails = self.syncs == self.fail_sync_at;
        if fails {
            self.note("!eio");
        }
        fails
    }

    /// Takes room for a file to grow from `now` to `len`.
    fn take_room(&mut self, path: &str, now: u64, len: u64) -> Result<()> {
        if self.room == u64::MAX {
            return Ok(());
        }
        let needed = len.saturating_sub(now);
        if needed > self.room {
            return Err(self.full(path, needed));
        }
        self.room -= needed;
        Ok(())
    }

    fn give_room(&mut self, bytes: u64) {
        if self.room != u64::MAX {
            self.room = self.room.saturating_add(bytes).min(u64::MAX - 1);
        }
    }

    fn full(&mut self, path: &str, needed: u64) -> Error {
        self.note("!full");
        Error::NoSpace { path: path.to_owned(), needed }
    }

    fn unlinked(&mut self, node: &Node) -> Result<()> {
        self.give_room(node.len()?);
        Ok(())
    }

    /// The names that `mode` leaves.
    fn names_after(&self, mode: CrashMode, rng: &mut Rng) -> BTreeMap<String, Entry<Arc<Node>>> {
        let mut left = self.durable.clone();
        match mode {
            CrashMode::KeepNothing => {}
            CrashMode::KeepAll | CrashMode::ProcessKill => return self.names.entries.clone(),
            CrashMode::PowerLoss | CrashMode::Garbage => {
                // Journalled directories lose the newest changes, others any.
                let in_order = rng.one_in(2);
                let cut = rng.below(self.pending.len() as u64 + 1);
                for (op, at) in self.pending.iter().zip(0..) {
                    if if in_order { at < cut } else { rng.one_in(2) } {
                        op.apply(&mut left);
                    }
                }
            }
        }
        // What lies in a directory that is not there cannot be reached. Parents sort before what they hold.
        let mut dirs = BTreeSet::from([String::new()]);
        left.retain(|path, entry| {
            let reachable = dirs.contains(names::parent(path));
            if reachable && matches!(entry, Entry::Dir) {
                dirs.insert(path.clone());
            }
            reachable
        });
        left
    }
}

impl DirOp {
    fn apply(&self, names: &mut BTreeMap<String, Entry<Arc<Node>>>) {
        for (path, entry) in &self.changes {
            match entry {
                Some(entry) => names.insert(path.clone(), entry.clone()),
                None => names.remove(path),
            };
        }
    }
}

fn no_power(op: &'static str, path: &str) -> Error {
    Error::io(op, path, io::Error::other("simulated crash"))
}

/// As the system reports it, number and all.
fn eio(op: &'static str, path: &str) -> Error {
    Error::io(op, path, rustix::io::Errno::IO.into())
}
