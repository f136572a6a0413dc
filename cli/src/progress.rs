//! How far a long job is: a bar on a terminal, a line every two seconds elsewhere, both on stderr.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{count, per_second, took};

const LINE_EVERY: Duration = Duration::from_secs(2);

pub(crate) enum Progress {
    Bar(ProgressBar),
    Lines { total: u64, of: &'static str, started: Instant, last: Instant },
}

impl Progress {
    pub(crate) fn new(total: u64) -> Self {
        Self::of(total, "rows")
    }

    /// Of something else than rows.
    pub(crate) fn of(total: u64, of: &'static str) -> Self {
        if stderr().is_terminal() {
            let template = "{bar:30} {percent:>3}%  {human_pos} of {human_len} {of}  {per_sec}  {eta} left";
            let style = ProgressStyle::with_template(template)
                .expect("the template is a constant")
                .with_key("of", move |_: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                    let _ = out.write_str(of);
                })
                .with_key("per_sec", move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                    // Ignored: a bar that cannot be drawn is no reason to stop an import.
                    let _ = write!(out, "{} {of}/s", count(state.per_sec() as u64));
                });
            Self::Bar(ProgressBar::new(total).with_style(style))
        } else {
            let now = Instant::now();
            Self::Lines { total, of, started: now, last: now }
        }
    }

    pub(crate) fn at(&mut self, done: u64) {
        match self {
            Self::Bar(bar) => bar.set_position(done),
            Self::Lines { total, of, started, last } => {
                if last.elapsed() >= LINE_EVERY && done < *total {
                    *last = Instant::now();
                    eprintln!("{}", line(done, *total, of, started.elapsed()));
                }
            }
        }
    }

    /// Takes the bar away: the summary that follows says it all.
    pub(crate) fn finish(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn line(done: u64, total: u64, of: &str, elapsed: Duration) -> String {
    let rate = per_second(done, elapsed);
    let left = match total.saturating_sub(done) as f64 / rate {
        seconds if seconds.is_finite() => Duration::try_from_secs_f64(seconds).ok(),
        _ => None,
    };
    let left = left.map_or_else(|| "time left unknown".to_owned(), |left| format!("{} left", took(left)));
    let percent = done.saturating_mul(100) / total.max(1);
    format!("{} of {} {of} ({percent}%), {} {of}/s, {left}", count(done), count(total), count(rate as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_rate_and_time_left() {
        let text = line(250_000, 1_000_000, "rows", Duration::from_secs(25));
        assert_eq!(text, "250,000 of 1,000,000 rows (25%), 10,000 rows/s, 75.0 s left");
        assert_eq!(line(0, 10, "rows", Duration::ZERO), "0 of 10 rows (0%), 0 rows/s, time left unknown");
    }
}
