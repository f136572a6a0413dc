//! Power cuts beneath real file systems, and disks that are small or fail: the store on ext4, xfs and btrfs.
//!
//! The file system lies on a loop device over the one file of a FUSE file system, which is this program: it keeps every
//! write and every flush, in their order. Afterwards it puts together what a power cut may leave of the device at any
//! moment, all that was flushed and any of the writes since, mounts that, and opens the store in it.
//!
//! Needs root, `/dev/fuse`, loop devices, for `memory` control groups, and the tools `losetup`, `mount` and `mkfs` of the file system. Installs nothing.
//!
//! ```sh
//! cargo build --release -p lodestore-blockdev
//! sudo target/release/lodestore-blockdev images --fs ext4 --count 300 --seed 1
//! sudo target/release/lodestore-blockdev failing --fs xfs --count 10
//! sudo target/release/lodestore-blockdev full
//! sudo target/release/lodestore-blockdev memory --count 100
//! ```
//!
//! | command | what it does |
//! |---|---|
//! | `images` | crash images of a device on which a store was written; each must hold what was acknowledged, exactly |
//! | `failing` | writes of the log fail beneath the file system: the store must say so, take no more writes, lose nothing |
//! | `full` | file systems of many small sizes, full at every phase of a store's life: errors, nothing lost, room helps |
//! | `memory` | processes in a control group with a memory limit, killed by the system when they reach it: nothing lost |

mod device;
mod full;
mod images;
mod memory;
mod mounts;
mod program;
mod writer;

use mounts::Kind;
use std::process::ExitCode;
use writer::Job;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What the command line asks for.
struct Args {
    fs: Kind,
    count: u64,
    seed: u64,
}

fn args(words: &[String]) -> Result<Args> {
    let mut args = Args { fs: Kind::Ext4, count: 100, seed: 1 };
    for pair in words.chunks(2) {
        match pair {
            [name, value] if name == "--fs" => args.fs = Kind::from_name(value)?,
            [name, value] if name == "--count" => args.count = value.parse()?,
            [name, value] if name == "--seed" => args.seed = value.parse()?,
            other => return Err(format!("{other:?}: --fs, --count and --seed are known, each with a value").into()),
        }
    }
    Ok(args)
}

fn run(words: &[String]) -> Result<()> {
    let Some((command, rest)) = words.split_first() else {
        return Err("images, failing, full or memory is to be said".into());
    };
    match command.as_str() {
        "images" => args(rest).and_then(|a| images::crash(a.fs, a.count, a.seed)),
        "failing" => args(rest).and_then(|a| images::fail(a.fs, a.count, a.seed)),
        "full" => args(rest).and_then(|a| full::every_size(a.seed)),
        "memory" => args(rest).and_then(|a| memory::kills(a.count, a.seed)),
        // What the commands start.
        "write" => match rest {
            [directory, seed] => writer::write(directory.as_ref(), seed.parse()?),
            _ => Err("write DIRECTORY SEED".into()),
        },
        "fill-and-write" | "fill-and-open" => match rest {
            [directory, seed, pace] => {
                let pace = pace.parse()?;
                let job = if command == "fill-and-open" { Job::Open { pace } } else { Job::Write { pace } };
                writer::work(job, directory.as_ref(), seed.parse()?)
            }
            _ => Err(format!("{command} DIRECTORY SEED KIBIBYTES-A-SECOND").into()),
        },
        other => Err(format!("there is no command {other}").into()),
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lodestore-blockdev: {error}");
            ExitCode::FAILURE
        }
    }
}
