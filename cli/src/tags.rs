//! Tags as they are typed, and as JSON has them.

use anyhow::{Context, Result, anyhow, bail};
use lodestore::{TagFilter, TagValue, Tags};
use serde_json::{Map, Value};
use std::ops::Bound;

/// A number if it can be one; text in quotes never is.
fn value(text: &str) -> TagValue {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match (quoted, text.parse()) {
        (Some(text), _) => TagValue::Text(text.to_owned()),
        (None, Ok(integer)) => TagValue::Integer(integer),
        (None, Err(_)) => TagValue::Text(text.to_owned()),
    }
}

/// `FIELD=VALUE`, of a record.
pub(crate) fn of(typed: &[String]) -> Result<Tags> {
    let mut tags = Tags::new();
    for tag in typed {
        let parts = tag.split_once('=').with_context(|| format!("--tag {tag}: a tag is FIELD=VALUE"))?;
        tags.add(parts.0, value(parts.1))?;
    }
    Ok(tags)
}

/// What all of the conditions want; `None` if there are none.
pub(crate) fn conditions(typed: &[String]) -> Result<Option<TagFilter>> {
    let all = typed.iter().map(|one| condition(one)).collect::<Result<Vec<_>>>()?;
    Ok(all.into_iter().reduce(|one, other| one & other))
}

/// `FIELD`, or `FIELD`, one of `=`, `!=`, `<`, `<=`, `>`, `>=`, `^=`, and a value; for `=` and `!=` several with `|` between.
fn condition(typed: &str) -> Result<TagFilter> {
    use Bound::{Excluded, Included, Unbounded};
    let Some(at) = typed.find(['=', '!', '<', '>', '^']) else { return Ok(TagFilter::has(typed)?) };
    let (field, rest) = typed.split_at(at);
    let signs = ["!=", "<=", ">=", "^=", "=", "<", ">"];
    let sign = signs.into_iter().find(|sign| rest.starts_with(sign));
    let sign = sign.ok_or_else(|| anyhow!("--tag {typed}: no comparison, which is one of {}", signs.join(" ")))?;
    let rest = &rest[sign.len()..];
    Ok(match sign {
        "=" => TagFilter::any(field, rest.split('|').map(value))?,
        "!=" => !TagFilter::any(field, rest.split('|').map(value))?,
        "^=" => TagFilter::starts_with(field, rest)?,
        "<" => TagFilter::between(field, Unbounded, Excluded(value(rest)))?,
        "<=" => TagFilter::between(field, Unbounded, Included(value(rest)))?,
        ">" => TagFilter::between(field, Excluded(value(rest)), Unbounded)?,
        _ => TagFilter::between(field, Included(value(rest)), Unbounded)?,
    })
}

/// To each field its value, or a list of several.
pub(crate) fn json(tags: &Tags) -> Map<String, Value> {
    let mut map = Map::new();
    for (field, value) in tags.iter() {
        let value = match value {
            TagValue::Integer(integer) => Value::from(*integer),
            TagValue::Text(text) => Value::from(text.as_str()),
        };
        match map.get_mut(field) {
            None => drop(map.insert(field.to_owned(), value)),
            Some(Value::Array(several)) => several.push(value),
            Some(one) => *one = Value::Array(vec![one.take(), value]),
        }
    }
    map
}

/// What [`json`] gives.
pub(crate) fn of_json(map: &Map<String, Value>) -> Result<Tags> {
    fn add(tags: &mut Tags, field: &str, value: &Value) -> Result<()> {
        match value {
            Value::String(text) => tags.add(field, text)?,
            Value::Number(number) if number.is_i64() => tags.add(field, number.as_i64().unwrap_or_default())?,
            other => {
                bail!("the tag '{field}' is {other}: tags are strings and whole numbers of 64 bits, or lists of them")
            }
        };
        Ok(())
    }
    let mut tags = Tags::new();
    for (field, value) in map {
        match value {
            Value::Array(several) => several.iter().try_for_each(|value| add(&mut tags, field, value))?,
            one => add(&mut tags, field, one)?,
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_typed() {
        for (typed, means) in [
            ("lang=en", r#"lang in ["en"]"#),
            ("lang=en|fr", r#"lang in ["en", "fr"]"#),
            ("lang!=en", r#"!lang in ["en"]"#),
            ("year>=2020", "year >= 2020"),
            ("year<=2020", "year <= 2020"),
            ("year<-5", "year < -5"),
            ("year>\"5\"", "year > \"5\""),
            ("path^=a/=b", r#"path starts with "a/=b""#),
            ("draft", "has draft"),
            ("empty=", r#"empty in [""]"#),
        ] {
            assert_eq!(condition(typed).unwrap().to_string(), means, "{typed}");
        }
        for bad in ["=x", "", "a!b", "a^b", "<5"] {
            assert!(condition(bad).is_err(), "{bad} was accepted");
        }
        let both = conditions(&["a=1".into(), "b".into()]).unwrap().unwrap();
        assert_eq!(both.to_string(), "a in [1] & has b");
        assert!(conditions(&[]).unwrap().is_none());
    }

    #[test]
    fn json_comes_back() {
        let tags = of(&["lang=en".into(), "lang=fr".into(), "year=2024".into(), "n=\"1\"".into()]).unwrap();
        let map = json(&tags);
        assert_eq!(serde_json::to_string(&map).unwrap(), r#"{"lang":["en","fr"],"n":"1","year":2024}"#);
        assert_eq!(of_json(&map).unwrap(), tags);
        for bad in
            [r#"{"a": 1.5}"#, r#"{"a": null}"#, r#"{"a": {"b": 1}}"#, r#"{"": 1}"#, r#"{"a": 9223372036854775808}"#]
        {
            assert!(of_json(&serde_json::from_str(bad).unwrap()).is_err(), "{bad} was accepted");
        }
        assert!(of(&["a".into()]).is_err());
    }
}
