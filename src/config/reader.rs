//! Takes settings out of the tree, one by one, and keeps a list of what they are and what is wrong. What nobody took is
//! unknown. Knows nothing of what the settings mean.

mod report;
mod values;
mod words;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Fault;
use super::source::{Node, Source, Table, Value};

pub use report::Setting;
pub(super) use report::{Report, source_of};
pub(super) use values::into_text;
use values::{duration, number, path, span};
pub(super) use words::{Wrong, any_of, in_words, quoted};

/// One table of the tree. A setting that is absent or wrong leaves the default in place, so that reading goes on.
pub(super) struct Section<'r> {
    key: String,
    /// If it was written.
    source: Option<Source>,
    entries: Table,
    report: &'r mut Report,
}

/// What a setting is called, what it is for, and what may be written.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) bounds: String,
}

impl Section<'_> {
    pub(super) fn read_root<T>(entries: Table, report: &mut Report, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let mut root = Section { key: String::new(), source: None, entries, report };
        let out = read(&mut root);
        root.finish();
        out
    }

    pub(super) fn section<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let key = self.key(name);
        let (entries, source) = match self.entries.remove(name) {
            Some(Node::Table { entries, source }) => (entries, Some(source)),
            Some(Node::Leaf { source, .. }) => {
                self.note(source, &key, "one value where a section belongs", "set the keys, not the section");
                (Table::new(), None)
            }
            Some(Node::List { source, .. }) => {
                self.note(source, &key, "a list where a section belongs", format!("[{key}]"));
                (Table::new(), None)
            }
            None => (Table::new(), None),
        };
        self.inner(key, source, entries, read)
    }

    /// Each table of a list, `[[name]]`.
    pub(super) fn each(&mut self, name: &'static str, mut read: impl FnMut(&mut Section<'_>)) {
        let list = self.key(name);
        let items = match self.entries.remove(name) {
            None => return,
            Some(Node::List { items, .. }) => items,
            Some(other) => {
                let right = format!("{} in the file, once for each", self.list_form(name));
                self.note(other.source().clone(), &list, "one where a list belongs", right);
                return;
            }
        };
        for (index, item) in items.into_iter().enumerate() {
            let key = format!("{list}[{index}]");
            match item {
                Node::Table { entries, source } => self.inner(key, Some(source), entries, &mut read),
                other => self.note(other.source().clone(), &key, "a value where a table belongs", self.list_form(name)),
            }
        }
    }

    fn list_form(&self, name: &str) -> String {
        if self.key.is_empty() { format!("[[{name}]]") } else { format!("{name} = [{{ … }}]") }
    }

    fn inner<T>(
        &mut self,
        key: String,
        source: Option<Source>,
        entries: Table,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut inner = Section { key, source, entries, report: &mut *self.report };
        let out = read(&mut inner);
        inner.finish();
        out
    }

    /// Which of the ways to write this section was chosen; `None` if it was left out, or is at fault.
    pub(super) fn choice(&mut self, names: &[&'static str]) -> Option<&'static str> {
        let source = self.source.clone()?;
        let known = any_of(names);
        let section = self.key.clone();
        if self.entries.is_empty() {
            self.note(source, &section, "chooses nothing", known);
            return None;
        }
        let unknown: Vec<String> = self.entries.keys().filter(|key| !names.contains(&key.as_str())).cloned().collect();
        for name in unknown {
            if let Some(node) = self.entries.remove(&name) {
                let wrong = format!("{} is not known here", quoted(&name));
                self.note(node.source().clone(), &section, wrong, known.as_str());
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
                self.note(source, &section, wrong, "keep one of them");
                None
            }
        }
    }

    /// Takes one setting. Answers where it was written.
    pub(super) fn set<T>(
        &mut self,
        key: Key,
        out: &mut T,
        show: impl FnOnce(&T) -> String,
        parse: impl FnOnce(Value) -> Result<T, Wrong>,
    ) -> Source {
        let dotted = self.key(key.name);
        let (source, value) = match self.entries.remove(key.name) {
            None => (Source::Default, None),
            Some(Node::Table { source, .. }) => {
                self.note(source.clone(), &dotted, "a section where one value belongs", "one value");
                (source, None)
            }
            Some(Node::List { source, .. }) => (source, Some(Value::Other("a list"))),
            Some(Node::Leaf { value, source }) => (source, Some(value)),
        };
        match value.map(parse) {
            Some(Ok(value)) => *out = value,
            Some(Err(Wrong { what, right })) => self.note(source.clone(), &dotted, what, right),
            None => {}
        }
        self.record(key, dotted, show(out), source.clone());
        source
    }

    pub(super) fn text<T>(
        &mut self,
        key: Key,
        out: &mut T,
        show: impl FnOnce(&T) -> String,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Source {
        self.set(key, out, show, |value| parse(&into_text(value)?))
    }

    /// Each text of a list, in its order and once. A bad one is a fault of its own, at its line.
    pub(super) fn texts<T: PartialEq + Display>(
        &mut self,
        key: Key,
        out: &mut Vec<T>,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Source {
        let dotted = self.key(key.name);
        let (source, items) = match self.entries.remove(key.name) {
            None => (Source::Default, Vec::new()),
            Some(Node::List { items, source }) => (source, items),
            Some(other) => {
                let source = other.source().clone();
                self.note(source.clone(), &dotted, "one value where a list belongs", "[\"…\", \"…\"]");
                (source, Vec::new())
            }
        };
        for item in items {
            let place = item.source().clone();
            let text = match item {
                Node::Leaf { value, .. } => into_text(value),
                Node::Table { .. } | Node::List { .. } => Err(Wrong::new("found no text", "a text in quotes")),
            };
            match text.and_then(|text| parse(&text)) {
                Ok(value) if out.contains(&value) => {
                    self.note(place, &dotted, format!("{} stands there twice", quoted(&value.to_string())), "once");
                }
                Ok(value) => out.push(value),
                Err(Wrong { what, right }) => self.note(place, &dotted, what, right),
            }
        }
        let shown = out.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        self.record(key, dotted, shown, source.clone());
        source
    }

    pub(super) fn path(&mut self, name: &'static str, meaning: &'static str, out: &mut PathBuf) -> Source {
        let key = Key { name, meaning, bounds: "a path".to_owned() };
        self.text(key, out, |path| path.display().to_string(), path)
    }

    pub(super) fn optional_path(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        out: &mut Option<PathBuf>,
    ) -> Source {
        let key = Key { name, meaning, bounds: "a path".to_owned() };
        let show = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        self.text(key, out, show, |text| path(text).map(Some))
    }

    /// One of a few words.
    pub(super) fn word<T: Clone + PartialEq>(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        words: &[(&'static str, T)],
        out: &mut T,
    ) -> Source {
        let known = any_of(&words.iter().map(|(word, _)| *word).collect::<Vec<_>>());
        let bounds = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let show = |value: &T| {
            words.iter().find(|(_, meaning)| meaning == value).map(|(word, _)| (*word).to_owned()).unwrap_or_default()
        };
        self.text(Key { name, meaning, bounds }, out, show, |text| {
            words
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, meaning)| meaning.clone())
                .ok_or_else(|| Wrong::new(format!("{} is not known here", quoted(text)), known))
        })
    }

    pub(super) fn flag(&mut self, name: &'static str, meaning: &'static str, out: &mut bool) -> Source {
        let right = "true or false";
        let key = Key { name, meaning, bounds: "`true`, `false`".to_owned() };
        self.set(key, out, bool::to_string, |value| match value {
            Value::Boolean(flag) => Ok(flag),
            Value::Untyped(text) => match text.parse() {
                Ok(flag) => Ok(flag),
                Err(_) => Err(Wrong::new(format!("{} is neither", quoted(&text)), right)),
            },
            other => Err(Wrong::new(other.found(), right)),
        })
    }

    pub(super) fn number<T>(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        range: &RangeInclusive<T>,
        out: &mut T,
    ) -> Source
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let key = Key { name, meaning, bounds: format!("{} to {}", range.start(), range.end()) };
        self.set(key, out, T::to_string, |value| number(range, value))
    }

    pub(super) fn duration(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        range: &RangeInclusive<Duration>,
        out: &mut Duration,
    ) -> Source {
        let key = Key { name, meaning, bounds: span(range, "`") };
        self.set(key, out, |value| in_words(*value), |value| duration(range, value))
    }

    pub(super) fn optional_number<T>(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        range: &RangeInclusive<T>,
        out: &mut Option<T>,
    ) -> Source
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let key = Key { name, meaning, bounds: format!("{} to {}", range.start(), range.end()) };
        let show = |value: &Option<T>| value.as_ref().map(T::to_string).unwrap_or_default();
        self.set(key, out, show, |value| number(range, value).map(Some))
    }

    pub(super) fn optional_duration(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        range: &RangeInclusive<Duration>,
        out: &mut Option<Duration>,
    ) -> Source {
        let key = Key { name, meaning, bounds: span(range, "`") };
        let show = |value: &Option<Duration>| value.map(in_words).unwrap_or_default();
        self.set(key, out, show, |value| duration(range, value).map(Some))
    }

    /// Notes a fault that several settings make together.
    pub(super) fn fault(&mut self, name: &str, source: Source, wrong: Wrong) {
        let key = self.key(name);
        self.note(source, &key, wrong.what, wrong.right);
    }

    /// Whether this setting, or one below it, is told as wrong already.
    pub(super) fn is_at_fault(&self, name: &str) -> bool {
        self.report.is_at_fault(&self.key(name))
    }

    /// Where this section begins; the default if it was not written.
    pub(super) fn source(&self) -> Source {
        self.source.clone().unwrap_or(Source::Default)
    }

    /// The setting holds no more: another one was chosen.
    pub(super) fn displace(&mut self, name: &str) {
        let key = self.key(name);
        self.report.settings.iter_mut().filter(|setting| setting.key == key).for_each(|setting| setting.value.clear());
    }

    fn note(&mut self, source: Source, key: &str, wrong: impl Into<String>, right: impl Into<String>) {
        self.report.faults.push(Fault::new(source, key, wrong, right));
    }

    fn record(&mut self, key: Key, dotted: String, value: String, source: Source) {
        let Key { meaning, bounds, .. } = key;
        self.report.settings.push(Setting { key: dotted, meaning, bounds, value, source });
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
