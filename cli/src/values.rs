//! What options can be.

use std::time::Duration;

use clap::ValueEnum;
use lodestore::{Codes, Durability, Element, Metric};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MetricArg {
    /// Squared Euclidean distance
    L2,
    /// Inner product: 1 − x·y
    Ip,
    /// Cosine: 1 − cos
    Cosine,
    /// How many bits differ
    Hamming,
}

impl From<MetricArg> for Metric {
    fn from(arg: MetricArg) -> Self {
        match arg {
            MetricArg::L2 => Metric::L2,
            MetricArg::Ip => Metric::InnerProduct,
            MetricArg::Cosine => Metric::Cosine,
            MetricArg::Hamming => Metric::Hamming,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ElementArg {
    /// 4 bytes
    F32,
    /// IEEE 754 binary16, rounded to
    F16,
    /// The high half of an f32, rounded to
    Bf16,
    /// Whole numbers from −128 to 127
    I8,
    /// Whole numbers from 0 to 255
    U8,
    /// 0 or 1; only with hamming
    Bits,
}

impl From<ElementArg> for Element {
    fn from(arg: ElementArg) -> Self {
        match arg {
            ElementArg::F32 => Element::F32,
            ElementArg::F16 => Element::F16,
            ElementArg::Bf16 => Element::Bf16,
            ElementArg::I8 => Element::I8,
            ElementArg::U8 => Element::U8,
            ElementArg::Bits => Element::Bits,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CodesArg {
    /// By dimension and metric
    Auto,
    /// The vectors themselves
    None,
    /// Copies of 8 bits a component
    #[value(name = "8")]
    Eight,
    /// Copies of 4 bits a component
    #[value(name = "4")]
    Four,
}

impl From<CodesArg> for Codes {
    fn from(arg: CodesArg) -> Self {
        match arg {
            CodesArg::Auto => Codes::Auto,
            CodesArg::None => Codes::None,
            CodesArg::Eight => Codes::Eight,
            CodesArg::Four => Codes::Four,
        }
    }
}

/// When a batch counts as stored.
pub(crate) fn durability(text: &str) -> Result<Durability, String> {
    match text.split_once(':') {
        None if text == "sync" => Ok(Durability::Sync),
        None if text == "buffered" => Ok(Durability::Buffered),
        Some(("every", ms)) => match ms.parse() {
            Ok(ms) if ms > 0 => Ok(Durability::Every(Duration::from_millis(ms))),
            _ => Err(format!("every:{ms} needs a whole number of milliseconds above 0, such as every:100")),
        },
        _ => Err("one of sync, every:MS, buffered is expected".to_owned()),
    }
}

/// Bytes, as a number with a unit, of 1,024 or 1,000 of the next smaller: KiB, MiB, GiB, TiB, kB, MB, GB, TB; without one
/// of bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..at], text[at..].trim());
    let units = ["", "B", "kB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB"];
    let bytes = [1, 1, 1000, 1 << 10, 1000_u64.pow(2), 1 << 20, 1000_u64.pow(3), 1 << 30, 1000_u64.pow(4), 1 << 40];
    let place = units.iter().position(|known| known.eq_ignore_ascii_case(unit));
    match (number.parse::<f64>(), place) {
        (Ok(number), Some(place)) if number > 0.0 && number * (bytes[place] as f64) < u64::MAX as f64 => {
            Ok((number * bytes[place] as f64) as u64)
        }
        _ => Err("a number and a unit are expected, such as 512MiB or 2GiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let good = [
            ("4096", 4096),
            ("2GiB", 2 << 30),
            ("2 gib", 2 << 30),
            ("1.5MiB", 3 << 19),
            ("3kB", 3000),
            ("1TB", 1_000_000_000_000),
        ];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "GiB", "-1GiB", "0", "1.2.3MB", "2 G i B", "99999999999TiB", "1e9", "NaN"] {
            assert!(size(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn durability_levels() {
        assert!(matches!(durability("sync"), Ok(Durability::Sync)));
        assert!(matches!(durability("buffered"), Ok(Durability::Buffered)));
        assert!(matches!(durability("every:250"), Ok(Durability::Every(d)) if d == Duration::from_millis(250)));
        for bad in ["", "every", "every:", "every:0", "every:-1", "every:x", "Sync", "buffered:1"] {
            assert!(durability(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
