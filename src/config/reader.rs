//! Takes settings out of the tree, one by one, and keeps a list of what is wrong. What nobody took is unknown. Knows
//! nothing of what the settings mean.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Fault;
use super::source::{Node, Source, Table, Value};

/// Longer values are cut when a fault quotes them.
const MAX_QUOTED_CHARS: usize = 60;

/// What was found while reading.
#[derive(Default)]
pub(super) struct Report {
    pub(super) faults: Vec<Fault>,
    /// Every key that could have been set, dotted.
    pub(super) known: Vec<String>,
    unknown: Vec<(String, Source)>,
}

impl Report {
    pub(super) fn into_faults(self) -> Vec<Fault> {
        let Self { mut faults, known, unknown } = self;
        faults.extend(unknown.into_iter().map(|(key, source)| {
            let right =
                nearest(&key, &known).map_or_else(|| "remove it".to_owned(), |meant| format!("did you mean {meant}?"));
            Fault::new(source, key.escape_debug().to_string(), "unknown key", right)
        }));
        faults
    }

    /// Everything below a key that nobody asked for.
    fn leave(&mut self, key: String, node: Node) {
        match node {
            Node::Table { entries, .. } if !entries.is_empty() => {
                for (name, node) in entries {
                    self.leave(format!("{key}.{name}"), node);
                }
            }
            Node::Table { source, .. } | Node::Leaf { source, .. } => self.unknown.push((key, source)),
        }
    }
}

/// What is wrong with a value, and what would be right.
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) right: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, right: impl Into<String>) -> Self {
        Self { what: what.into(), right: right.into() }
    }
}

/// One table of the tree. A setting that is absent or wrong leaves the default in place, so that reading goes on.
pub(super) struct Section<'r> {
    key: String,
    /// If it was written.
    source: Option<Source>,
    entries: Table,
    report: &'r mut Report,
}

impl<'r> Section<'r> {
    pub(super) fn read_root<T>(entries: Table, report: &'r mut Report, read: impl FnOnce(&mut Self) -> T) -> T {
        let mut root = Self { key: String::new(), source: None, entries, report };
        let out = read(&mut root);
        root.finish();
        out
    }

    pub(super) fn section<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let key = self.key(name);
        let (entries, source) = match self.entries.remove(name) {
            Some(Node::Table { entries, source }) => (entries, Some(source)),
            Some(Node::Leaf { source, .. }) => {
                self.report.faults.push(Fault::new(
                    source,
                    key.as_str(),
                    "one value where a section belongs",
                    "set the keys, not the section",
                ));
                (Table::new(), None)
            }
            None => (Table::new(), None),
        };
        let mut inner = Section { key, source, entries, report: &mut *self.report };
        let out = read(&mut inner);
        inner.finish();
        out
    }

    /// Which of the ways to write this section was chosen; `None` if it was left out, or is at fault.
    pub(super) fn choice(&mut self, names: &[&'static str]) -> Option<&'static str> {
        let source = self.source.clone()?;
        let known = any_of(names);
        if self.entries.is_empty() {
            self.report.faults.push(Fault::new(source, self.key.as_str(), "chooses nothing", known));
            return None;
        }
        let unknown: Vec<String> = self.entries.keys().filter(|key| !names.contains(&key.as_str())).cloned().collect();
        for name in unknown {
            if let Some(node) = self.entries.remove(&name) {
                let wrong = format!("{} is not known here", quoted(&name));
                self.report.faults.push(Fault::new(node.source().clone(), self.key.as_str(), wrong, known.as_str()));
            }
        }
        let chosen: Vec<&'static str> = names.iter().copied().filter(|name| self.entries.contains_key(*name)).collect();
        match chosen.as_slice() {
            [] => None,
            [one] => Some(one),
            several => {
                let entries = std::mem::take(&mut self.entries);
                let sources: Vec<&Source> = entries.values().map(Node::source).collect();
                let places: Vec<String> = sources.iter().map(ToString::to_string).collect();
                let wrong = format!("{} at once, in {}", several.join(" and "), places.join(" and "));
                let source = sources.into_iter().max().cloned().unwrap_or(source);
                self.report.faults.push(Fault::new(source, self.key.as_str(), wrong, "keep one of them"));
                None
            }
        }
    }

    /// Takes one setting. Answers where it was written.
    pub(super) fn set<T>(
        &mut self,
        name: &'static str,
        out: &mut T,
        parse: impl FnOnce(Value) -> Result<T, Wrong>,
    ) -> Source {
        let key = self.key(name);
        self.report.known.push(key.clone());
        match self.entries.remove(name) {
            None => Source::Default,
            Some(Node::Table { source, .. }) => {
                self.report.faults.push(Fault::new(
                    source.clone(),
                    key,
                    "a section where one value belongs",
                    "one value",
                ));
                source
            }
            Some(Node::Leaf { value, source }) => {
                match parse(value) {
                    Ok(value) => *out = value,
                    Err(Wrong { what, right }) => self.report.faults.push(Fault::new(source.clone(), key, what, right)),
                }
                source
            }
        }
    }

    pub(super) fn text<T>(
        &mut self,
        name: &'static str,
        out: &mut T,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Source {
        self.set(name, out, |value| parse(&into_text(value)?))
    }

    pub(super) fn path(&mut self, name: &'static str, out: &mut PathBuf) -> Source {
        self.text(name, out, |text| match text {
            "" => Err(Wrong::new("empty", "a path")),
            _ if text.starts_with("~/") => Err(Wrong::new("`~` is only known to shells", "the path written out")),
            _ => Ok(PathBuf::from(text)),
        })
    }

    /// One of a few words.
    pub(super) fn word<T: Clone>(&mut self, name: &'static str, words: &[(&'static str, T)], out: &mut T) -> Source {
        self.text(name, out, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone()).ok_or_else(|| {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Wrong::new(format!("{} is not known here", quoted(text)), any_of(&words))
            })
        })
    }

    pub(super) fn flag(&mut self, name: &'static str, out: &mut bool) -> Source {
        let right = "true or false";
        self.set(name, out, |value| match value {
            Value::Boolean(flag) => Ok(flag),
            Value::Untyped(text) => match text.parse() {
                Ok(flag) => Ok(flag),
                Err(_) => Err(Wrong::new(format!("{} is neither", quoted(&text)), right)),
            },
            other => Err(Wrong::new(other.found(), right)),
        })
    }

    pub(super) fn number<T>(&mut self, name: &'static str, range: &RangeInclusive<T>, out: &mut T) -> Source
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let right = || format!("{} to {}", range.start(), range.end());
        self.set(name, out, |value| {
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
        })
    }

    pub(super) fn duration(
        &mut self,
        name: &'static str,
        range: &RangeInclusive<Duration>,
        out: &mut Duration,
    ) -> Source {
        let right = || format!("\"{}\" to \"{}\"", in_words(*range.start()), in_words(*range.end()));
        self.set(name, out, |value| {
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
        })
    }

    /// Notes a fault that several settings make together.
    pub(super) fn fault(&mut self, name: &'static str, source: Source, wrong: Wrong) {
        let key = self.key(name);
        self.report.faults.push(Fault::new(source, key, wrong.what, wrong.right));
    }

    fn key(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    fn finish(self) {
        for (name, node) in self.entries {
            let key = if self.key.is_empty() { name } else { format!("{}.{name}", self.key) };
            self.report.leave(key, node);
        }
    }
}

impl Value {
    /// What was found, without what it says: it may be a secret at the wrong place.
    fn found(&self) -> String {
        let kind = match self {
            Self::Untyped(_) | Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Other(kind) => kind,
        };
        format!("found {kind}")
    }
}

pub(super) fn into_text(value: Value) -> Result<String, Wrong> {
    match value {
        Value::Untyped(text) | Value::Text(text) => Ok(text),
        other => Err(Wrong::new(other.found(), "a text in quotes")),
    }
}

/// For a message: in quotes, cut, and with nothing in it that a terminal would obey.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

fn any_of(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// The known key that was probably meant: the same name in another section, or one with few letters changed.
fn nearest<'k>(key: &str, known: &'k [String]) -> Option<&'k str> {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    if key.split('.').count() < 3
        && let Some(same) = known.iter().find(|known| name(known) == name(key))
    {
        return Some(same);
    }
    let budget = (key.chars().count() / 3).min(4);
    known
        .iter()
        .map(|known| (strsim::osa_distance(key, known), known))
        .filter(|(distance, _)| *distance <= budget)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known.as_str())
}

/// A duration as the settings have it: in the largest unit that leaves no rest. Months and years have none.
pub(super) fn in_words(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    match units.into_iter().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}
