//! The violent half of the demo: kill a writing process, then look at what it left.

use std::{
    env,
    hash::{BuildHasher, RandomState},
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lodestore::{Collection, Store};

use super::{GLOSSES, IMPORT, reader::Data, steps, writer::BATCH};
use crate::output::{count, records, say, took};

const SIGKILL: i32 = 9;

pub(super) struct Crime {
    /// Records `0..acknowledged` were said to be stored.
    pub(super) acknowledged: u64,
}

/// Kills the child when dropped, so that an error here leaves no process behind.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        // Both fail only if the child is already dead and waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn kill_a_writer(store: &Path, rows: u64) -> Result<Crime> {
    let program = env::current_exe().context("cannot find this program's own file")?;
    let mut child = Command::new(program)
        .arg("demo-writer")
        .arg(store)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the writer process")?;
    let mut acknowledgements = BufReader::new(child.stdout.take().context("the writer has no standard output")?);
    let mut victim = Victim(child);
    say(format!(
        "   process {} imports into the collection '{IMPORT}'; each batch of {BATCH} is on disk before it says so",
        victim.0.id()
    ))?;

    // Somewhere between a fifth and four fifths of the import, then a little later: inside a batch, most likely.
    let target = rows / 5 + random(rows * 3 / 5);
    let mut acknowledged = 0;
    while acknowledged < target {
        match next(&mut acknowledgements)? {
            Some(upto) => acknowledged = upto,
            None => break,
        }
    }
    thread::sleep(Duration::from_micros(random(10_000)));
    victim.0.kill().context("cannot kill the writer")?;
    let status = victim.0.wait().context("cannot wait for the writer")?;
    ensure!(status.signal() == Some(SIGKILL), "the writer ended before it was killed ({status})");
    // What it wrote before it died was acknowledged too.
    while let Some(upto) = next(&mut acknowledgements)? {
        acknowledged = upto;
    }
    say(format!("   SIGKILL at a random moment: {} had been acknowledged by then", records(acknowledged)))?;
    Ok(Crime { acknowledged })
}

/// The next number of acknowledged records, or none at the end; half a line was not said.
fn next(acknowledgements: &mut BufReader<ChildStdout>) -> Result<Option<u64>> {
    let mut line = String::new();
    acknowledgements.read_line(&mut line).context("cannot read from the writer")?;
    match line.strip_suffix('\n') {
        Some(number) => Ok(Some(number.parse().with_context(|| format!("the writer said {number:?}"))?)),
        None => Ok(None),
    }
}

pub(super) fn examine(path: &Path, data: &Data, crime: &Crime, recall_before: f64) -> Result<()> {
    let started = Instant::now();
    let store = Store::options().create(false).open(path)?;
    let opened = started.elapsed();
    let glosses = steps::create(&store, GLOSSES, data)?;
    let import = steps::create(&store, IMPORT, data)?;
    let hits = import.search(data.queries.vector(0)).k(1).run()?;
    ensure!(hits.len() == 1, "the first search after the crash found nothing");
    say(format!("   open took {}, the first answer came {} after the start", took(opened), took(started.elapsed())))?;

    let acknowledged = crime.acknowledged;
    let (lost, survivors) = (damaged(&import, data, 0..acknowledged)?, import.len());
    ensure!(lost == 0, "{lost} of {acknowledged} acknowledged records are missing or changed");
    say(format!("   {} of {0} acknowledged records are there, vector and text bit for bit", count(acknowledged)))?;

    let in_flight = survivors.checked_sub(acknowledged).context("there are fewer records than were acknowledged")?;
    ensure!(in_flight == 0 || in_flight == BATCH, "{in_flight} records of a batch of {BATCH} are there");
    ensure!(damaged(&import, data, acknowledged..survivors)? == 0, "the batch in flight was stored in part");
    say(match in_flight {
        0 => "   the batch in flight left no trace",
        _ => "   the batch in flight had reached the disk and is there whole",
    })?;

    let all = data.glosses.len() as u64;
    let lost = damaged(&glosses, data, 0..all)?;
    ensure!(lost == 0 && glosses.len() == all, "{lost} records of the collection '{GLOSSES}' are missing or changed");
    let recall = steps::recall(&glosses, data)?;
    ensure!(recall >= recall_before, "recall fell from {recall_before:.3} to {recall:.3}");
    say(format!("   the collection '{GLOSSES}' is untouched: {}, recall {recall:.3}", records(all)))?;

    let report = store.verify()?;
    let first = report.problems.first().map_or("no more is known", String::as_str);
    ensure!(report.ok(), "verify counts problems ({}), the first: {first}", report.problem_count);
    say("   verify: every checksum and every graph invariant holds")?;
    drop((glosses, import));
    store.close()?;
    Ok(())
}

/// How many of the records `keys` are missing or differ from what was put.
fn damaged(collection: &Collection<u64>, data: &Data, keys: std::ops::Range<u64>) -> Result<u64> {
    let mut damaged = 0;
    for key in keys {
        let row = (key % data.glosses.len() as u64) as usize;
        let whole = collection.get(key)?.is_some_and(|record| {
            let bits = |vector: &[f32]| vector.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            bits(&record.vector) == bits(data.glosses.vector(row))
                && record.payload == data.glosses.texts[row].as_bytes()
        });
        damaged += u64::from(!whole);
    }
    Ok(damaged)
}

/// A number below `end`, from the randomness that the standard library gives its hash maps.
fn random(end: u64) -> u64 {
    RandomState::new().hash_one(0) % end.max(1)
}
