//! Words for people, objects for programs, both on stdout.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::Result;
use indicatif::HumanCount;
use serde::Serialize;

/// Marks a failure to write to stdout, which is not the store's.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
struct Stdout(#[source] io::Error);

/// Prints one line, or several; unlike `println!` it does not panic when nobody reads.
pub(crate) fn say(text: impl AsRef<str>) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()).map_err(Stdout)?;
    Ok(())
}

/// Prints one JSON object on one line.
pub(crate) fn say_json(object: &impl Serialize) -> Result<()> {
    say(serde_json::to_string(object)?)
}

pub(crate) fn reader_went_away(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Stdout>().is_some_and(|Stdout(error)| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The error and its causes on one line; a cause that the sentence already holds is not said again.
pub(crate) fn one_sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// 1234567 as `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    HumanCount(n).to_string()
}

/// `records(1)` is `1 record`, `records(2)` is `2 records`.
pub(crate) fn records(n: u64) -> String {
    format!("{} record{}", count(n), if n == 1 { "" } else { "s" })
}

/// A duration in the unit a person would choose, with three digits or so.
pub(crate) fn took(duration: Duration) -> String {
    let s = duration.as_secs_f64();
    match s {
        _ if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        _ if s < 0.1 => format!("{:.1} ms", s * 1e3),
        _ if s < 1.0 => format!("{:.0} ms", s * 1e3),
        _ if s < 100.0 => format!("{s:.1} s"),
        _ => format!("{} min {} s", s as u64 / 60, s as u64 % 60),
    }
}

/// Events a second; 0 when no time passed.
pub(crate) fn per_second(events: u64, duration: Duration) -> f64 {
    let s = duration.as_secs_f64();
    if s > 0.0 { events as f64 / s } else { 0.0 }
}

/// A payload as text of at most `max` characters, harmless on a terminal.
pub(crate) fn preview(payload: &[u8], max: usize) -> String {
    match std::str::from_utf8(payload) {
        _ if payload.is_empty() => "(empty)".to_owned(),
        Err(_) => format!("({} bytes, not text)", count(payload.len() as u64)),
        Ok(text) => {
            let mut shown: String = text
                .chars()
                .take(max)
                // A stored escape sequence must not steer the reader's terminal.
                .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
                .collect();
            if text.chars().nth(max).is_some() {
                shown.push('…');
            }
            shown
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_is_said_once_and_on_one_line() {
        let error = anyhow!("no such\nfile").context("cannot open x: no such\nfile").context("import stopped");
        assert_eq!(one_sentence(&error), "import stopped: cannot open x: no such file");
    }

    #[test]
    fn previews_are_short_and_harmless() {
        assert_eq!(preview(b"plain", 10), "plain");
        assert_eq!(preview("größer".as_bytes(), 3), "grö…");
        assert_eq!(preview(b"\x1b[2J", 10), "\\u{1b}[2J");
        assert_eq!(preview(b"\xff\xfe", 10), "(2 bytes, not text)");
        assert_eq!(preview(b"", 10), "(empty)");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(took(Duration::from_micros(150)), "150 µs");
        assert_eq!(took(Duration::from_micros(12_340)), "12.3 ms");
        assert_eq!(took(Duration::from_millis(345)), "345 ms");
        assert_eq!(took(Duration::from_millis(2_340)), "2.3 s");
        assert_eq!(took(Duration::from_secs(125)), "2 min 5 s");
    }
}
