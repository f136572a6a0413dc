//! Ctrl-C: the first asks to stop after the batch at hand, the second ends the process at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};
use signal_hook::{consts::SIGINT, flag};

/// The exit status of a command that Ctrl-C ended, as shells count it.
pub(crate) const INTERRUPTED: u8 = 130;

#[derive(Clone)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn on_ctrl_c() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        // In this order: the shutdown acts only on a signal that finds the flag already set.
        flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), Arc::clone(&asked))
            .and_then(|_| flag::register(SIGINT, Arc::clone(&asked)))
            .context("cannot listen for Ctrl-C")?;
        Ok(Self(asked))
    }

    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
