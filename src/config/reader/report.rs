//! What was found while reading: each setting with what holds, each fault, and what a misspelt key probably meant.

use super::super::source::Node;
use super::super::{Fault, Source};

/// One setting that there is, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Dotted: `sessions.idle_ttl`; of the first client `clients[0].id`.
    pub key: String,
    /// What it is for, in a few words.
    pub meaning: &'static str,
    /// What may be written.
    pub bounds: String,
    /// What holds, as it could be written; empty if there is nothing. Never a secret.
    pub value: String,
    pub source: Source,
}

#[derive(Default)]
pub(in crate::config) struct Report {
    pub(in crate::config) faults: Vec<Fault>,
    /// Every key that could have been set, in the order of reading.
    pub(in crate::config) settings: Vec<Setting>,
    unknown: Vec<(String, Source)>,
}

impl Report {
    /// Turns what nobody asked for into faults. To be called when all is read.
    pub(in crate::config) fn judge_unknown_keys(&mut self) {
        for (key, source) in std::mem::take(&mut self.unknown) {
            let right = nearest(&key, &self.settings)
                .map_or_else(|| "remove it".to_owned(), |meant| format!("did you mean {meant}?"));
            self.faults.push(Fault::new(source, key.escape_debug().to_string(), "unknown key", right));
        }
    }

    /// Whether this setting, or one below it, is told as wrong already.
    pub(in crate::config) fn is_at_fault(&self, key: &str) -> bool {
        self.faults.iter().any(|fault| is_within(&fault.key, key))
    }

    /// Everything below a key that nobody asked for.
    pub(super) fn leave(&mut self, key: String, node: Node) {
        match node {
            Node::Table { entries, .. } if !entries.is_empty() => {
                for (name, node) in entries {
                    self.leave(format!("{key}.{name}"), node);
                }
            }
            other => self.unknown.push((key, other.source().clone())),
        }
    }
}

/// Where a setting was written; of a section, where the first of its settings was.
pub(in crate::config) fn source_of(settings: &[Setting], key: &str) -> Source {
    settings
        .iter()
        .filter(|setting| is_within(&setting.key, key))
        .map(|setting| setting.source.clone())
        .find(|source| *source != Source::Default)
        .unwrap_or(Source::Default)
}

fn is_within(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The known key that was probably meant: the same name in another section, or one with few letters changed.
fn nearest<'k>(key: &str, known: &'k [Setting]) -> Option<&'k str> {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    if key.split('.').count() < 3
        && let Some(same) = known.iter().find(|known| name(&known.key) == name(key))
    {
        return Some(&same.key);
    }
    let budget = (key.chars().count() / 3).min(4);
    known
        .iter()
        .map(|known| (strsim::osa_distance(key, &known.key), known))
        .filter(|(distance, _)| *distance <= budget)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known.key.as_str())
}
