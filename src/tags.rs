//! Tags of records: fields with a number or a string each, by which searches choose.
//!
//! # Format of encoded tags
//!
//! Each tag: its length u16 LE, and its term. In the order of the terms, each once.
//!
//! A term: bytes of the field's name u8; the name (UTF-8); 1 and an `i64`, big-endian, its sign bit flipped; or 2 and a
//! string, its bytes 0 as 0 255, ended by 0 1. So terms of one field have the order of their values, and none begins
//! with another.

use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::fmt;

/// The most bytes of a tag's field.
pub const MAX_TAG_FIELD: usize = 64;
/// The most bytes of a tag's value that is a string.
pub const MAX_TAG_VALUE: usize = 256;
/// The most tags of a record.
pub const MAX_TAGS: usize = 64;

const INTEGER: u8 = 1;
const STRING: u8 = 2;
const SIGN: u64 = 1 << 63;

/// The value of a tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagValue {
    /// A number.
    Integer(i64),
    /// A string of up to [`MAX_TAG_VALUE`] bytes.
    Text(String),
}

impl From<&str> for TagValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for TagValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for TagValue {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&TagValue> for TagValue {
    fn from(value: &TagValue) -> Self {
        value.clone()
    }
}

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for TagValue {
            fn from(integer: $integer) -> Self {
                Self::Integer(integer.into())
            }
        }
    )*};
}
from_integers!(i64, i32, i16, i8, u32, u16, u8, bool);

impl fmt::Display for TagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// The tags of a record: fields, each with a number or a string, or with several. [Searches](crate::Search::tagged) choose by
/// them, through an index; they are put beside the payload, and come back with it.
///
/// ```
/// use lodestore::{TagFilter, Tags};
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(1).open_or_create()?;
/// docs.put_tagged(1, &[1.0], b"", &Tags::new().with("lang", "en")?.with("year", 2024)?)?;
/// docs.put_tagged(2, &[2.0], b"", &Tags::try_from([("lang", "en"), ("lang", "fr")])?)?;
/// docs.put(3, &[3.0], b"")?;
/// let english = TagFilter::eq("lang", "en")?;
/// assert_eq!(docs.search(&[3.0]).k(1).tagged(&english).run()?[0].key, 2);
/// let recent = &english & &TagFilter::range("year", 2020..)?;
/// assert_eq!(docs.search(&[3.0]).k(1).tagged(&recent).run()?[0].key, 1);
/// assert_eq!(docs.tags(2)?.expect("just put").get("lang").count(), 2);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tags(BTreeSet<(String, TagValue)>);

impl Tags {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more, unless it is there already. A field may have several values.
    ///
    /// # Errors
    /// [`Error::Tag`] if the field or the value is too long, the field is empty, or there are [`MAX_TAGS`] already.
    pub fn with(mut self, field: &str, value: impl Into<TagValue>) -> Result<Self> {
        self.add(field, value)?;
        Ok(self)
    }

    /// Adds one; says whether it is new.
    ///
    /// # Errors
    /// As [`with`](Self::with); the tags are as before then.
    pub fn add(&mut self, field: &str, value: impl Into<TagValue>) -> Result<bool> {
        let value = value.into();
        check(field, &value)?;
        let tag = (field.to_owned(), value);
        if self.0.len() == MAX_TAGS && !self.0.contains(&tag) {
            return Err(Error::Tag(format!("a record has {} tags, the limit is {MAX_TAGS}", MAX_TAGS + 1)));
        }
        Ok(self.0.insert(tag))
    }

    /// Takes out all values of a field; says whether there were any.
    pub fn remove(&mut self, field: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(other, _)| other != field);
        self.0.len() < before
    }

    /// The values of a field, in their order: numbers first.
    pub fn get<'a>(&'a self, field: &'a str) -> impl Iterator<Item = &'a TagValue> + 'a {
        self.0.iter().filter(move |(other, _)| other == field).map(|(_, value)| value)
    }

    /// All fields and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TagValue)> {
        self.0.iter().map(|(field, value)| (field.as_str(), value))
    }

    /// How many values there are, of all fields.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut terms: Vec<Vec<u8>> = self.0.iter().map(|(field, value)| term(field, value)).collect();
        terms.sort_unstable();
        let mut bytes = Vec::new();
        for term in terms {
            bytes.extend_from_slice(&(term.len() as u16).to_le_bytes());
            bytes.extend_from_slice(&term);
        }
        bytes
    }

    /// `None` if they are not what [`encode`](Self::encode) makes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let tags: Option<BTreeSet<_>> = terms(bytes).map(|term| read_term(term?)).collect();
        let tags = Self(tags?);
        (tags.encode() == bytes).then_some(tags)
    }
}

impl<V: Into<TagValue>, const N: usize> TryFrom<[(&str, V); N]> for Tags {
    type Error = Error;

    fn try_from(tags: [(&str, V); N]) -> Result<Self> {
        let mut all = Self::new();
        tags.into_iter().try_for_each(|(field, value)| all.add(field, value).map(drop))?;
        Ok(all)
    }
}

/// # Errors
/// [`Error::Tag`].
pub(crate) fn check(field: &str, value: &TagValue) -> Result<()> {
    if field.is_empty() || field.len() > MAX_TAG_FIELD {
        let got = field.len();
        return Err(Error::Tag(format!("the field of a tag has {got} bytes, allowed are 1 to {MAX_TAG_FIELD}")));
    }
    match value {
        TagValue::Text(text) if text.len() > MAX_TAG_VALUE => {
            let got = text.len();
            Err(Error::Tag(format!("the value of tag '{field}' has {got} bytes, the limit is {MAX_TAG_VALUE}")))
        }
        _ => Ok(()),
    }
}

/// How all terms of a field begin.
pub(crate) fn field_prefix(field: &str) -> Vec<u8> {
    let mut term = Vec::with_capacity(field.len() + 16);
    term.push(field.len() as u8);
    term.extend_from_slice(field.as_bytes());
    term
}

/// How all terms of a field begin whose values are of the type of this one.
pub(crate) fn type_prefix(field: &str, value: &TagValue) -> Vec<u8> {
    let mut term = field_prefix(field);
    term.push(if matches!(value, TagValue::Integer(_)) { INTEGER } else { STRING });
    term
}

/// How the terms begin of a field's strings that begin so.
pub(crate) fn text_prefix(field: &str, start: &str) -> Vec<u8> {
    let mut term = field_prefix(field);
    term.push(STRING);
    push_text(&mut term, start);
    term
}

pub(crate) fn term(field: &str, value: &TagValue) -> Vec<u8> {
    let mut term = type_prefix(field, value);
    match value {
        TagValue::Integer(integer) => term.extend_from_slice(&(*integer as u64 ^ SIGN).to_be_bytes()),
        TagValue::Text(text) => {
            push_text(&mut term, text);
            term.extend_from_slice(&[0, 1]);
        }
    }
    term
}

fn push_text(term: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        term.push(byte);
        if byte == 0 {
            term.push(255);
        }
    }
}

/// A term's field and value; `None` if it is not one.
pub(crate) fn read_term(term: &[u8]) -> Option<(String, TagValue)> {
    let (&length, rest) = term.split_first()?;
    let (field, rest) = rest.split_at_checked(length.into())?;
    let field = std::str::from_utf8(field).ok()?;
    let value = match rest.split_first()? {
        (&INTEGER, number) => TagValue::Integer((u64::from_be_bytes(number.try_into().ok()?) ^ SIGN) as i64),
        (&STRING, text) => {
            let (mut bytes, mut from) = (Vec::with_capacity(text.len()), text.strip_suffix(&[0, 1])?.iter());
            while let Some(&byte) = from.next() {
                bytes.push(byte);
                if byte == 0 && from.next() != Some(&255) {
                    return None;
                }
            }
            TagValue::Text(String::from_utf8(bytes).ok()?)
        }
        _ => return None,
    };
    check(field, &value).ok()?;
    Some((field.to_owned(), value))
}

/// The terms of encoded tags; ends with `None` where they are not whole.
pub(crate) fn terms(mut bytes: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let next = bytes.split_first_chunk::<2>();
        let next = next.and_then(|(length, rest)| rest.split_at_checked(u16::from_le_bytes(*length).into()));
        bytes = next.map_or(&[], |(_, rest)| rest);
        Some(next.map(|(term, _)| term))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_have_the_order_of_values_and_none_begins_with_another() {
        let texts = ["", "\0", "\0\0", "\0a", "a", "a\0", "a\u{1}", "ab", "b", "é"].map(TagValue::from);
        let numbers = [i64::MIN, -256, -1, 0, 1, 255, 256, i64::MAX].map(TagValue::from);
        let values: Vec<TagValue> = numbers.into_iter().chain(texts).collect();
        assert!(values.is_sorted());
        let terms: Vec<Vec<u8>> = values.iter().map(|value| term("of", value)).collect();
        assert!(terms.is_sorted(), "{terms:x?}");
        for (at, (term, value)) in terms.iter().zip(&values).enumerate() {
            assert_eq!(read_term(term), Some(("of".to_owned(), value.clone())));
            assert!(terms.iter().skip(at + 1).all(|other| !other.starts_with(term)), "{value:?}");
            assert!((0..term.len()).all(|end| read_term(&term[..end]).is_none()), "{value:?}");
        }
    }

    #[test]
    fn encoded_tags_are_read_again_and_nothing_else_is() {
        let tags = Tags::new().with("year", 2024).unwrap().with("lang", "fr").unwrap().with("lang", "en").unwrap();
        let bytes = tags.encode();
        assert_eq!(Tags::decode(&bytes), Some(tags));
        assert_eq!(Tags::decode(&[]), Some(Tags::new()));
        assert!((1..bytes.len()).all(|end| Tags::decode(&bytes[..end]).is_none_or(|part| part.len() < 3)));
        let twice = [&bytes[..], &bytes[..]].concat();
        assert_eq!(Tags::decode(&twice), None, "each once, in order");
    }

    #[test]
    fn limits_are_told() {
        let long = "x".repeat(MAX_TAG_FIELD.max(MAX_TAG_VALUE) + 1);
        assert!(Tags::new().with("", 1).is_err() && Tags::new().with(&long, 1).is_err());
        assert!(Tags::new().with("f", long.as_str()).is_err());
        let mut tags = Tags::new();
        (0..MAX_TAGS as i64).for_each(|n| assert!(tags.add("n", n).unwrap()));
        assert!(!tags.add("n", 0).unwrap());
        let error = tags.add("n", -1).unwrap_err().to_string();
        assert_eq!(error, "a record has 65 tags, the limit is 64");
        assert!(tags.remove("n") && tags.is_empty() && !tags.remove("n"));
    }
}
