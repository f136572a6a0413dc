//! A process that runs into a memory limit: the system kills it, again and again, wherever it is.

use crate::Result;
use crate::program::{Rng, check, ops_with_large_ones, states};
use crate::writer::{Job, Writer};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The number of the signal by which the system kills.
const SIGKILL: i32 = 9;
/// Limits that are tried, in KiB: from what a process hardly starts with to what the store's own work ends.
const LIMITS: Range<u64> = 3 << 10..40 << 10;
/// For those that only open it, which takes less and is soon done; and how fast they fill their memory, in KiB a second.
const OPENING: Range<u64> = 2 << 10..12 << 10;
const HASTE: u64 = 256 << 10;

/// A control group with a memory limit, which goes when it is dropped. Both versions are known.
struct Group {
    path: PathBuf,
    unified: bool,
}

impl Group {
    fn new() -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let unified = root.join("cgroup.controllers").exists();
        if unified {
            // Refused if it is on already and processes are there, which is all the same.
            let _ = std::fs::write(root.join("cgroup.subtree_control"), "+memory");
        }
        let parent = if unified { root.to_owned() } else { root.join("memory") };
        let path = parent.join(format!("lodestore-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("a control group at {}: {error}", path.display()))?;
        Ok(Self { path, unified })
    }

    fn limit(&self, bytes: u64) -> Result<()> {
        if self.unified {
            self.write("memory.swap.max", "0")?;
            return self.write("memory.max", &bytes.to_string());
        }
        self.write("memory.limit_in_bytes", &bytes.to_string())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let file = self.path.join(name);
        Ok(std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?)
    }

    /// Processes that the system has killed here.
    fn killed(&self) -> Result<u64> {
        let name = if self.unified { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(self.path.join(name))?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(line.ok_or_else(|| format!("{name} does not count: {text}"))?.trim().parse()?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.path) {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}

/// What a process under a limit came to.
struct End {
    begun: usize,
    done: usize,
    /// It was opening the store when it ended.
    opening: bool,
    killed: bool,
}

/// Runs a process in the group until it ends.
fn run(group: &Group, store: &Path, seed: u64, job: Job) -> Result<End> {
    let before = group.killed()?;
    let mut writer = Writer::within(&group.path, store, seed, job)?;
    let mut end = End { begun: 0, done: 0, opening: true, killed: false };
    // The end of its words is the end of the process.
    while let Ok(line) = writer.hear() {
        end.opening = false;
        match line.split_once(' ') {
            Some(("begin", n)) => end.begun = n.parse()?,
            Some(("done", n)) => end.done = n.parse()?,
            None if line == "open" || line == "end" => {}
            _ => return Err(format!("the writer says: {line}").into()),
        }
        if writer.go_on().is_err() {
            break;
        }
    }
    let status = writer.wait()?;
    end.killed = status.signal() == Some(SIGKILL);
    if !end.killed && !status.success() {
        return Err(format!("the process ended by itself: {status}").into());
    }
    if end.killed && group.killed()? == before {
        return Err("it was killed, and not for its memory".into());
    }
    Ok(end)
}

/// Kills `count` writers by their memory, and some of those that open what they left; compares each time.
pub(crate) fn kills(count: u64, seed: u64) -> Result<()> {
    let (root, group) = (tempfile::tempdir()?, Group::new()?);
    let store = root.path().join("store");
    let (mut rng, began) = (Rng(seed ^ 0x0030_0111), Instant::now());
    let (mut writers, mut openers, mut rounds, mut open) = (0, 0, 0u64, 0);
    let mut within = [0; 2];
    while writers < count {
        if rounds > 20 * count {
            return Err(format!("{writers} of {count} were killed in {rounds} rounds").into());
        }
        let seed = seed + rounds;
        rounds += 1;
        let mut limit = |of: Range<u64>| group.limit((of.start + rng.below(of.end - of.start)) << 10);
        limit(LIMITS)?;
        // Every other one also fills its memory beside the store's work, so that it ends anywhere in it.
        let pace = if rounds.is_multiple_of(2) { 0 } else { 1 << (10 + rounds / 2 % 8) };
        let end = run(&group, &store, seed, Job::Write { pace })?;
        writers += u64::from(end.killed);
        if end.killed {
            open += u64::from(end.opening);
            within[usize::from(end.begun > end.done)] += u64::from(!end.opening);
        }
        // Those who open what is left are killed, too; the last one is not.
        for _ in 0..rounds % 3 {
            limit(OPENING)?;
            openers += u64::from(run(&group, &store, seed, Job::Open { pace: HASTE })?.killed);
        }
        let ops = ops_with_large_ones(seed);
        if store.exists() {
            let most = end.begun.max(end.done);
            check(&store, &states(&ops), end.done, most)
                .map_err(|error| format!("round {rounds}, seed {seed}, after {} operations: {error}", end.done))?;
            std::fs::remove_dir_all(&store)?;
        }
    }
    let [between, during] = within;
    println!(
        "{writers} writers killed for their memory in {rounds} rounds, {:.0?}: {open} while they opened the store, \
         {during} in an operation, {between} between two; and {openers} that opened what was left; nothing lost",
        began.elapsed()
    );
    Ok(())
}
