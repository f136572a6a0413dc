//! How much is tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Tries the orders of a model's threads with up to `LODESTORE_MODEL_PREEMPTIONS` (3) preemptions, for at most
/// `LODESTORE_MODEL_SECONDS` (10).
///
/// # Panics
/// If one of them panics, or never ends.
pub fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(setting("LODESTORE_MODEL_PREEMPTIONS", 3) as usize);
    builder.max_duration = Some(Duration::from_secs(setting("LODESTORE_MODEL_SECONDS", 10)));
    builder.max_branches = 20_000;
    let (runs, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let counted = runs.clone();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{} runs in {:.1?}", runs.load(Ordering::Relaxed), start.elapsed());
}
