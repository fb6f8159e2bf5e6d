//! One value: from what was written to what it means.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::super::source::Value;
use super::words::{Wrong, in_words, quoted};

impl Value {
    /// What was found, without what it says: it may be a secret at the wrong place.
    pub(super) fn found(&self) -> String {
        let kind = match self {
            Self::Untyped(_) | Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Other(kind) => kind,
        };
        format!("found {kind}")
    }
}

pub(in crate::config) fn into_text(value: Value) -> Result<String, Wrong> {
    match value {
        Value::Untyped(text) | Value::Text(text) => Ok(text),
        other => Err(Wrong::new(other.found(), "a text in quotes")),
    }
}

pub(super) fn path(text: &str) -> Result<PathBuf, Wrong> {
    match text {
        "" => Err(Wrong::new("empty", "a path")),
        _ if text.starts_with("~/") => Err(Wrong::new("`~` is only known to shells", "the path written out")),
        _ => Ok(PathBuf::from(text)),
    }
}

pub(super) fn number<T>(range: &RangeInclusive<T>, value: Value) -> Result<T, Wrong>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    let right = || format!("{} to {}", range.start(), range.end());
    let number = match value {
        Value::Integer(number) => number,
        Value::Untyped(text) => match text.parse() {
            Ok(number) => number,
            Err(_) => return Err(Wrong::new(format!("{} is not a number", quoted(&text)), right())),
        },
        other => return Err(Wrong::new(other.found(), right())),
    };
    match T::try_from(number) {
        Ok(fitting) if range.contains(&fitting) => Ok(fitting),
        _ => Err(Wrong::new(format!("{number} is out of bounds"), right())),
    }
}

pub(super) fn duration(range: &RangeInclusive<Duration>, value: Value) -> Result<Duration, Wrong> {
    let right = || span(range, "\"");
    let text = match value {
        Value::Integer(number) => return Err(Wrong::new(format!("{number} has no unit"), right())),
        other => into_text(other).map_err(|wrong| Wrong::new(wrong.what, right()))?,
    };
    let duration = match humantime::parse_duration(&text) {
        Ok(duration) => duration,
        Err(_) if text.parse::<f64>().is_ok_and(|number| number != 0.0) => {
            return Err(Wrong::new(format!("{} has no unit", quoted(&text)), right()));
        }
        Err(_) => return Err(Wrong::new(format!("{} is not a length of time", quoted(&text)), right())),
    };
    if range.contains(&duration) {
        return Ok(duration);
    }
    Err(Wrong::new(format!("{} is out of bounds", quoted(&text)), right()))
}

/// Both ends, in the marks of where it is shown.
pub(super) fn span(range: &RangeInclusive<Duration>, mark: &str) -> String {
    format!("{mark}{}{mark} to {mark}{}{mark}", in_words(*range.start()), in_words(*range.end()))
}
