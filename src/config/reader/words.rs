//! How values and faults are worded.

use std::time::Duration;

/// Longer values are cut when a fault quotes them.
const MAX_QUOTED_CHARS: usize = 60;

/// What is wrong with a value, and what would be right.
pub(in crate::config) struct Wrong {
    pub(in crate::config) what: String,
    pub(in crate::config) right: String,
}

impl Wrong {
    pub(in crate::config) fn new(what: impl Into<String>, right: impl Into<String>) -> Self {
        Self { what: what.into(), right: right.into() }
    }
}

/// For a message: in quotes, cut, and with nothing in it that a terminal would obey.
pub(in crate::config) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

pub(in crate::config) fn any_of(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// A duration as the settings have it: in the largest unit that leaves no rest. Months and years have none.
pub(in crate::config) fn in_words(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    match units.into_iter().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}
