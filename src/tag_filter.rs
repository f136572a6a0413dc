//! What searches ask of tags.

use crate::by_value::by_value;
use crate::error::{Error, Result};
use crate::key::end_of_prefix;
use crate::tags::{self, TagValue, field_prefix, term, terms, text_prefix, type_prefix};
use std::fmt;
use std::ops::{BitAnd, BitOr, Bound, Not, RangeBounds, Sub};
use std::sync::Arc;

/// A condition on the [tags](crate::Tags) of records, for [`Search::tagged`](crate::Search::tagged): made of values and ranges of
/// fields, put together with `&`, `|`, `-` and `!`. A clone is the same condition, and costs nothing.
///
/// A field with several values fulfils what one of them does. `!condition` is every record that does not fulfil it, those
/// without such a field, too.
///
/// ```
/// use lodestore::TagFilter;
/// let recent = TagFilter::range("year", 2020..)? & TagFilter::any("lang", ["en", "fr"])? - TagFilter::has("draft")?;
/// assert_eq!(recent.to_string(), r#"year >= 2020 & lang in ["en", "fr"] & !has draft"#);
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TagFilter(pub(crate) Arc<Expr>);

#[derive(PartialEq, Eq)]
pub(crate) enum Expr {
    /// One of the terms that lie between.
    Between {
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        shown: String,
    },
    /// One of these terms, which are sorted.
    OneOf {
        terms: Vec<Vec<u8>>,
        shown: String,
    },
    And(Vec<TagFilter>),
    Or(Vec<TagFilter>),
    Not(TagFilter),
    /// Conditions within conditions, deeper than [`DEPTH`].
    TooDeep,
}

/// How deep conditions may be within each other: who asks goes down them by calls.
const DEPTH: usize = 64;

impl TagFilter {
    /// The field has this value.
    ///
    /// # Errors
    /// [`Error::Tag`] if no field or no value may be so.
    pub fn eq(field: &str, value: impl Into<TagValue>) -> Result<Self> {
        let value = value.into();
        tags::check(field, &value)?;
        let shown = format!("{field} = {}", quoted(&value));
        Ok(Self(Arc::new(Expr::OneOf { terms: vec![term(field, &value)], shown })))
    }

    /// The field has one of these values.
    ///
    /// # Errors
    /// As [`eq`](Self::eq).
    pub fn any<V: Into<TagValue>>(field: &str, values: impl IntoIterator<Item = V>) -> Result<Self> {
        tags::check(field, &TagValue::Integer(0))?;
        let values: Vec<TagValue> = values.into_iter().map(Into::into).collect();
        values.iter().try_for_each(|value| tags::check(field, value))?;
        let shown = format!("{field} in [{}]", values.iter().map(quoted).collect::<Vec<_>>().join(", "));
        let mut terms: Vec<Vec<u8>> = values.iter().map(|value| term(field, value)).collect();
        terms.sort_unstable();
        terms.dedup();
        Ok(Self(Arc::new(Expr::OneOf { terms, shown })))
    }

    /// The field has a value in a range, of numbers or of strings: `1..10`, `"2024-01".."2024-02"`. Without any bound, as
    /// [`has`](Self::has).
    ///
    /// # Errors
    /// As [`eq`](Self::eq); [`Error::Tag`] if one bound is a number and the other a string.
    pub fn range<V: Into<TagValue> + Clone>(field: &str, range: impl RangeBounds<V>) -> Result<Self> {
        let of = |bound: Bound<&V>| bound.map(|value| value.clone().into());
        Self::between(field, of(range.start_bound()), of(range.end_bound()))
    }

    /// As [`range`](Self::range), of bounds.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn between(field: &str, from: Bound<TagValue>, to: Bound<TagValue>) -> Result<Self> {
        use Bound::{Excluded, Included, Unbounded};
        let value = |bound: &Bound<TagValue>| match bound {
            Included(value) | Excluded(value) => Some(value.clone()),
            Unbounded => None,
        };
        let (low, high) = (value(&from), value(&to));
        low.iter().chain(&high).try_for_each(|value| tags::check(field, value))?;
        let Some(one) = low.as_ref().or(high.as_ref()) else { return Self::has(field) };
        if let (Some(low), Some(high)) = (&low, &high)
            && type_prefix(field, low) != type_prefix(field, high)
        {
            let what = format!("a range of tag '{field}' from {} to {}: of two types", quoted(low), quoted(high));
            return Err(Error::Tag(what));
        }
        let shown = match (&from, &to) {
            (Unbounded, to) => {
                format!("{field} {} {}", if matches!(to, Included(_)) { "<=" } else { "<" }, quoted(one))
            }
            (from, Unbounded) => {
                format!("{field} {} {}", if matches!(from, Included(_)) { ">=" } else { ">" }, quoted(one))
            }
            (from, to) => {
                let low = format!("{} {}", quoted(one), if matches!(from, Included(_)) { "<=" } else { "<" });
                let high = high.as_ref().map(quoted).unwrap_or_default();
                format!("{low} {field} {} {high}", if matches!(to, Included(_)) { "<=" } else { "<" })
            }
        };
        // Values of the other type are outside.
        let prefix = type_prefix(field, one);
        let of = |bound: Bound<TagValue>| bound.map(|value| term(field, &value));
        let from = if matches!(from, Unbounded) { Included(prefix.clone()) } else { of(from) };
        let to = if matches!(to, Unbounded) { end_of_prefix(&prefix) } else { of(to) };
        Ok(Self(Arc::new(Expr::Between { from, to, shown })))
    }

    /// The field has a string that begins so.
    ///
    /// # Errors
    /// As [`eq`](Self::eq).
    pub fn starts_with(field: &str, start: &str) -> Result<Self> {
        tags::check(field, &start.into())?;
        let from = text_prefix(field, start);
        let (to, shown) = (end_of_prefix(&from), format!("{field} starts with {start:?}"));
        Ok(Self(Arc::new(Expr::Between { from: Bound::Included(from), to, shown })))
    }

    /// The field has a value, whichever.
    ///
    /// # Errors
    /// As [`eq`](Self::eq).
    pub fn has(field: &str) -> Result<Self> {
        tags::check(field, &TagValue::Integer(0))?;
        let from = field_prefix(field);
        let (to, shown) = (end_of_prefix(&from), format!("has {field}"));
        Ok(Self(Arc::new(Expr::Between { from: Bound::Included(from), to, shown })))
    }

    /// Whether a record with these tags fulfils it; not if conditions are in each other more than 64 deep, which a search refuses.
    ///
    /// ```
    /// use lodestore::{TagFilter, Tags};
    /// let tags = Tags::new().with("year", 2024)?;
    /// assert!(TagFilter::eq("year", 2024)?.matches(&tags) && !TagFilter::eq("year", 2025)?.matches(&tags));
    /// # Ok::<(), lodestore::Error>(())
    /// ```
    pub fn matches(&self, tags: &crate::Tags) -> bool {
        self.matches_encoded(&tags.encode())
    }

    pub(crate) fn matches_encoded(&self, encoded: &[u8]) -> bool {
        match &*self.0 {
            Expr::Between { from, to, .. } => {
                let range = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
                terms(encoded).flatten().any(|term| RangeBounds::<[u8]>::contains(&range, term))
            }
            Expr::OneOf { terms: wanted, .. } => {
                terms(encoded).flatten().any(|term| wanted.binary_search_by(|other| (**other).cmp(term)).is_ok())
            }
            Expr::And(all) => all.iter().all(|part| part.matches_encoded(encoded)),
            Expr::Or(all) => all.iter().any(|part| part.matches_encoded(encoded)),
            Expr::Not(a) => !a.matches_encoded(encoded),
            Expr::TooDeep => false,
        }
    }

    fn depth(&self) -> usize {
        match &*self.0 {
            Expr::Between { .. } | Expr::OneOf { .. } => 0,
            Expr::And(parts) | Expr::Or(parts) => 1 + parts.iter().map(Self::depth).max().unwrap_or(0),
            Expr::Not(a) => 1 + a.depth(),
            Expr::TooDeep => DEPTH,
        }
    }

    /// The condition that is made of such parts, if it is not too deep.
    fn made(expr: Expr) -> Self {
        let made = Self(Arc::new(expr));
        if made.depth() > DEPTH { Self(Arc::new(Expr::TooDeep)) } else { made }
    }

    /// # Errors
    /// [`Error::Tag`] if it is too deep to be asked.
    pub(crate) fn check(&self) -> Result<()> {
        if matches!(*self.0, Expr::TooDeep) {
            let what =
                format!("conditions on tags are in each other more than {DEPTH} deep: put them together otherwise");
            return Err(Error::Tag(what));
        }
        Ok(())
    }
}

/// Both, side by side with the parts of those that are joined in the same way: what is joined one by one gets no deeper.
fn joined(
    one: &TagFilter,
    other: &TagFilter,
    make: fn(Vec<TagFilter>) -> Expr,
    parts: fn(&Expr) -> Option<&Vec<TagFilter>>,
) -> TagFilter {
    let of = |filter: &TagFilter| parts(&filter.0).cloned().unwrap_or_else(|| vec![filter.clone()]);
    let mut all = of(one);
    all.extend(of(other));
    TagFilter::made(make(all))
}

fn quoted(value: &TagValue) -> String {
    match value {
        TagValue::Integer(integer) => integer.to_string(),
        TagValue::Text(text) => format!("{text:?}"),
    }
}

impl fmt::Display for TagFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |parts: &[TagFilter], with: &str, f: &mut fmt::Formatter<'_>| {
            for (at, part) in parts.iter().enumerate() {
                f.write_str(if at == 0 { "" } else { with })?;
                // What is put together in another way is in brackets.
                match &*part.0 {
                    Expr::And(_) | Expr::Or(_) => write!(f, "({part})")?,
                    _ => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        match &*self.0 {
            Expr::Between { shown, .. } | Expr::OneOf { shown, .. } => f.write_str(shown),
            Expr::And(parts) => joined(parts, " & ", f),
            Expr::Or(parts) => joined(parts, " | ", f),
            Expr::Not(a) => match &*a.0 {
                Expr::And(_) | Expr::Or(_) => write!(f, "!({a})"),
                _ => write!(f, "!{a}"),
            },
            Expr::TooDeep => f.write_str("(too deep)"),
        }
    }
}

impl fmt::Debug for TagFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TagFilter({self})")
    }
}

impl Not for &TagFilter {
    type Output = TagFilter;

    fn not(self) -> TagFilter {
        match &*self.0 {
            Expr::Not(inner) => inner.clone(),
            _ => TagFilter::made(Expr::Not(self.clone())),
        }
    }
}

impl BitAnd for &TagFilter {
    type Output = TagFilter;

    fn bitand(self, other: &TagFilter) -> TagFilter {
        joined(self, other, Expr::And, |expr| if let Expr::And(parts) = expr { Some(parts) } else { None })
    }
}

impl BitOr for &TagFilter {
    type Output = TagFilter;

    fn bitor(self, other: &TagFilter) -> TagFilter {
        joined(self, other, Expr::Or, |expr| if let Expr::Or(parts) = expr { Some(parts) } else { None })
    }
}

impl Sub for &TagFilter {
    type Output = TagFilter;

    fn sub(self, other: &TagFilter) -> TagFilter {
        self & &!other
    }
}

by_value!(TagFilter);
