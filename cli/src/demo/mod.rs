//! `lodestore demo`: the main job on real data, with a murder in the middle.

mod steps;
mod writer;
mod crash;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::output::{count, say, took};

pub(crate) use writer::write_until_killed;

#[path = "../../../demo/reader.rs"]
mod reader;

/// The collection that is built, and must come through the crash untouched.
const GLOSSES: &str = "glosses";
/// The collection that is being imported when its writer is killed.
const IMPORT: &str = "import";

pub(crate) fn run(args: &crate::args::DemoArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let data = reader::Data::load();
    let place = Place::new(args.dir.as_deref())?;
    let store = place.path();
    say(format!(
        "lodestore demo: {} WordNet glosses with their MiniLM sentence vectors ({} dimensions)",
        count(data.glosses.len() as u64),
        data.glosses.dim
    ))?;
    say(format!("store: {}", store.display()))?;

    say("\n1. Build")?;
    steps::build(&store, &data)?;
    say("\n2. Search by meaning")?;
    let before = steps::search(&store, &data)?;
    say("\n3. Kill the writer")?;
    let crime = crash::kill_a_writer(&store, data.glosses.len() as u64)?;
    say("\n4. Reopen")?;
    crash::examine(&store, &data, &crime, before)?;

    say(format!(
        "\nDone in {}. A store was built and searched by meaning; a process that was importing into it got SIGKILL \
         after {} acknowledged records; the store opened again and nothing acknowledged was lost.",
        took(started.elapsed()),
        count(crime.acknowledged)
    ))?;
    if let Place::Kept(dir) = &place {
        say(format!("The store stays in {}; `lodestore info {0}` shows it.", dir.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the demo's store lives: a temporary directory that goes away, or one that was asked for.
enum Place {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Place {
    fn new(dir: Option<&Path>) -> Result<Self> {
        let Some(dir) = dir else {
            let dir = tempfile::Builder::new().prefix("lodestore-demo-").tempdir();
            return Ok(Self::Temporary(dir.context("cannot make a temporary directory")?));
        };
        if dir.exists() && fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?.next().is_some()
        {
            bail!("{} is not empty, and the demo writes only into a new place", dir.display());
        }
        Ok(Self::Kept(dir.to_owned()))
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Temporary(dir) => dir.path().join("store"),
            Self::Kept(dir) => dir.clone(),
        }
    }
}
