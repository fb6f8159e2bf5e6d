//! How faults in the settings are told: one line each, in columns.

use std::fmt;

use super::Source;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it was written.
    pub source: Source,
    /// The dotted key, like `sessions.idle_ttl`; empty if the fault is the whole file's.
    pub key: String,
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl Fault {
    pub(super) fn new(
        source: Source,
        key: impl Into<String>,
        wrong: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Self { source, key: key.into(), wrong: wrong.into(), right: right.into() }
    }
}

/// The settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// In the order of the file, then the environment, then the command line. Never empty.
    pub faults: Vec<Fault>,
}

impl ConfigError {
    pub(super) fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| (&a.source, &a.key).cmp(&(&b.source, &b.key)));
        Self { faults }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.faults.len();
        let noun = if count == 1 { "fault" } else { "faults" };
        write!(f, "{count} {noun} in the settings; nothing was started\n{}", in_columns(&self.faults))
    }
}

/// A line each, without an end behind the last.
pub fn in_columns(faults: &[Fault]) -> String {
    let place = |source: &Source| match source {
        Source::Default => "not set".to_owned(),
        source => source.to_string(),
    };
    let is_about_places = faults.iter().any(|fault| fault.source != Source::Default);
    let rows: Vec<[String; 4]> = faults
        .iter()
        .map(|fault| [place(&fault.source), fault.key.clone(), fault.wrong.clone(), fault.right.clone()])
        .collect();
    let width = |column: fn(&[String; 4]) -> &String| {
        rows.iter().map(|row| column(row).chars().count()).max().unwrap_or_default()
    };
    let (source, key, wrong) = (width(|row| &row[0]), width(|row| &row[1]), width(|row| &row[2]));
    let lines = rows.iter().map(|[a, b, c, right]| {
        let place = if is_about_places { format!("{a:source$}  ") } else { String::new() };
        let name = if key > 0 { format!("{b:key$}  ") } else { String::new() };
        format!("  {place}{name}{c:wrong$}  {right}")
    });
    lines.collect::<Vec<_>>().join("\n")
}
