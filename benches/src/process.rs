//! What the processes have in common that `benches/peers` starts: jobs as JSON, files of vectors, cores.

use lodestore::Codes;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// What a job comes to: an error is told in a line.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The collection that is measured.
pub const COLLECTION: &str = "bench";
/// Rows that are put together while a store is built.
pub const BUILD_ROWS: usize = 1_000;

/// Runs the job that the argument is, one JSON object.
pub fn run<J: DeserializeOwned>(job: impl FnOnce(J) -> Outcome<()>) -> ExitCode {
    let read = || -> Outcome<J> {
        let text = std::env::args().nth(1).ok_or("the argument is a job as JSON; benches/peers makes them")?;
        Ok(serde_json::from_str(&text)?)
    };
    match read().and_then(job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The codes of a name on the command line.
pub fn codes(name: &str) -> Outcome<Codes> {
    match name {
        "auto" => Ok(Codes::Auto),
        "none" => Ok(Codes::None),
        "8" => Ok(Codes::Eight),
        "4" => Ok(Codes::Four),
        other => Err(format!("no codes are called {other:?}").into()),
    }
}

/// Keeps the calling thread, and those that it will start, to some cores.
pub fn pin(cores: &[usize]) -> Outcome<()> {
    let mut set = CpuSet::new();
    for &core in cores {
        if core >= CpuSet::MAX_CPU {
            return Err(format!("there is no core {core}").into());
        }
        set.set(core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// What all threads of the process have computed so far.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The numbers of a file of little-endian f32.
pub fn numbers(path: &Path) -> Outcome<Vec<f32>> {
    Ok(floats(&fs::read(path)?))
}

/// Little-endian f32.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number)).collect()
}

/// Tells a measurement: an object on a line of its own.
pub fn print(value: &Value) {
    println!("{value}");
}
