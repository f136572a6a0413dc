//! Keys as people type and read them, and collections of whatever keys.

use anyhow::{Context, Result, anyhow, bail};
use lodestore::{AsKey, Collection, CollectionInfo, Key, KeyType, Store};
use serde_json::Value;

use crate::open;

/// A type of keys that can be typed.
pub(crate) trait TextKey: Key<Owned: AsKey<Self>> {
    fn parse(text: &str) -> Result<Self::Owned>;

    /// What `parse` takes again, but that control characters of strings are escaped: harmless on a terminal.
    fn show(key: &Self::Owned) -> String;

    /// The key as a number, if it is one that ground truths name.
    fn row(_key: &Self::Owned) -> Option<u64> {
        None
    }

    fn json(key: &Self::Owned) -> Value {
        Self::show(key).into()
    }
}

impl TextKey for u64 {
    fn parse(text: &str) -> Result<u64> {
        text.parse().map_err(|_| anyhow!("'{text}' is no key: keys here are whole numbers from 0 to 2^64 - 1"))
    }

    fn show(key: &u64) -> String {
        key.to_string()
    }

    fn row(key: &u64) -> Option<u64> {
        Some(*key)
    }

    fn json(key: &u64) -> Value {
        (*key).into()
    }
}

impl TextKey for u128 {
    fn parse(text: &str) -> Result<u128> {
        text.parse().map_err(|_| anyhow!("'{text}' is no key: keys here are whole numbers from 0 to 2^128 - 1"))
    }

    fn show(key: &u128) -> String {
        key.to_string()
    }
}

impl TextKey for uuid::Uuid {
    fn parse(text: &str) -> Result<uuid::Uuid> {
        text.parse().with_context(|| format!("'{text}' is no key: keys here are UUIDs"))
    }

    fn show(key: &uuid::Uuid) -> String {
        key.to_string()
    }
}

impl TextKey for str {
    fn parse(text: &str) -> Result<String> {
        Ok(text.to_owned())
    }

    fn show(key: &String) -> String {
        key.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
    }

    fn json(key: &String) -> Value {
        key.as_str().into()
    }
}

/// Text, or behind `0x` hexadecimal digits.
impl TextKey for [u8] {
    fn parse(text: &str) -> Result<Vec<u8>> {
        let Some(digits) = text.strip_prefix("0x") else { return Ok(text.as_bytes().to_vec()) };
        unhex(digits).with_context(|| format!("'{text}' is no key: 0x needs pairs of digits"))
    }

    fn show(key: &Vec<u8>) -> String {
        match std::str::from_utf8(key) {
            Ok(text) if !text.starts_with("0x") && !text.chars().any(char::is_control) => text.to_owned(),
            _ => format!("0x{}", hex(key)),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that pairs of hexadecimal digits stand for.
pub(crate) fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    digits.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// An existing collection, whatever its keys are.
pub(crate) enum AnyCollection {
    U64(Collection<u64>),
    U128(Collection<u128>),
    Uuid(Collection<uuid::Uuid>),
    Str(Collection<str>),
    Bytes(Collection<[u8]>),
}

/// Does the same with a collection of any keys.
macro_rules! with_any {
    ($any:expr, $collection:ident => $does:expr) => {
        match $any {
            $crate::keys::AnyCollection::U64($collection) => $does,
            $crate::keys::AnyCollection::U128($collection) => $does,
            $crate::keys::AnyCollection::Uuid($collection) => $does,
            $crate::keys::AnyCollection::Str($collection) => $does,
            $crate::keys::AnyCollection::Bytes($collection) => $does,
        }
    };
}
pub(crate) use with_any;

/// An existing collection and what it is.
pub(crate) fn open(store: &Store, name: &str) -> Result<(AnyCollection, CollectionInfo)> {
    let Some(info) = open::find(store, name)? else {
        // Says which ones there are.
        store.collection::<u64>(name).open()?;
        bail!("the collection '{name}' came into being while it was being opened");
    };
    let any = match info.key {
        KeyType::U64 => AnyCollection::U64(store.collection(name).open()?),
        KeyType::U128 => AnyCollection::U128(store.collection(name).open()?),
        KeyType::Uuid => AnyCollection::Uuid(store.collection(name).open()?),
        KeyType::Str => AnyCollection::Str(store.collection(name).open()?),
        KeyType::Bytes => AnyCollection::Bytes(store.collection(name).open()?),
        other => bail!("the collection '{name}' has keys of type {other}, which this command does not know"),
    };
    Ok((any, info))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again<K: TextKey + ?Sized>(text: &str, shown: &str) {
        assert_eq!(K::show(&K::parse(text).unwrap()), shown);
        assert_eq!(K::show(&K::parse(shown).unwrap()), shown);
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        again::<u64>("7", "7");
        again::<u128>("340282366920938463463374607431768211455", "340282366920938463463374607431768211455");
        again::<uuid::Uuid>("67E55044-10B1-426F-9247-BB680E5FE0C8", "67e55044-10b1-426f-9247-bb680e5fe0c8");
        again::<str>("größer", "größer");
        again::<[u8]>("text", "text");
        again::<[u8]>("0x00ff", "0x00ff");
        again::<[u8]>("0x3078", "0x3078");
        assert_eq!(<[u8]>::parse("").unwrap(), b"");
        for bad in ["", "-1", "x", "18446744073709551616"] {
            assert!(u64::parse(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(
            <[u8]>::parse("0x123").is_err()
                && <[u8]>::parse("0xgg").is_err()
                && <[u8]>::parse("0x+f").is_err()
                && uuid::Uuid::parse("7").is_err()
        );
        assert_eq!(str::show(&"\u{1b}[2J".to_owned()), "\\u{1b}[2J");
    }
}
