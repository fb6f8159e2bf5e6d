//! Where settings come from, and how the layers become one tree whose every leaf knows its origin.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{ConfigError, DEFAULT_FILE, Fault};

const ENV_PREFIX: &str = "POSTERN__";

/// More than any settings need; `--config /dev/zero` must end.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// No key is deeper; a hostile one must not exhaust the stack.
const MAX_DEPTH: usize = 8;

/// What `Config::load` reads. Has no `Debug`: it may hold a secret.
#[derive(Clone, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// The whole environment will do: only `POSTERN__…` is read.
    pub env: Vec<(String, String)>,
    /// From the command line: dotted key and value.
    pub overrides: Vec<(String, String)>,
}

impl Sources {
    /// The sources of this process. Without `file`, `./postern.toml` is read if it exists.
    ///
    /// # Errors
    /// If a variable of ours is not UTF-8.
    pub fn from_process(file: Option<PathBuf>, overrides: Vec<(String, String)>) -> Result<Self, ConfigError> {
        let mut env = Vec::new();
        let mut faults = Vec::new();
        // Not `vars()`, which panics when any variable, ours or not, is not UTF-8.
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX)) else { continue };
            match value.into_string() {
                Ok(value) => env.push((name.to_owned(), value)),
                Err(_) => faults.push(Fault::new(
                    Source::Env(name.to_owned()),
                    env_path(name).join("."),
                    "not UTF-8",
                    "text in UTF-8",
                )),
            }
        }
        if !faults.is_empty() {
            return Err(ConfigError::new(faults));
        }
        let default = PathBuf::from(DEFAULT_FILE);
        Ok(Self { file: file.or_else(|| default.exists().then_some(default)), env, overrides })
    }
}

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nowhere: the default holds.
    Default,
    File {
        path: PathBuf,
        /// Absent if it is about the whole file.
        line: Option<usize>,
    },
    /// The name of the variable.
    Env(String),
    CommandLine,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "{}", name.escape_debug()),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// A table of settings.
pub(super) type Table = BTreeMap<String, Node>;

/// What stands at a key. Has no `Debug`: it may hold a secret.
pub(super) enum Node {
    Table {
        entries: Table,
        source: Source,
    },
    /// Only in a file: the environment and the command line have no way to write one.
    List {
        items: Vec<Node>,
        source: Source,
    },
    Leaf {
        value: Value,
        source: Source,
    },
}

/// A value as it was written.
pub(super) enum Value {
    /// From the environment or the command line, where everything is text.
    Untyped(String),
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// What no key of ours takes: its name.
    Other(&'static str),
}

impl Node {
    pub(super) const fn source(&self) -> &Source {
        match self {
            Self::Table { source, .. } | Self::List { source, .. } | Self::Leaf { source, .. } => source,
        }
    }
}

/// One tree out of all layers. A file that cannot be parsed ends it: beside it nothing else can be judged fairly.
pub(super) fn merge(sources: Sources, faults: &mut Vec<Fault>) -> Result<Table, ConfigError> {
    let mut root = match &sources.file {
        Some(path) => parse_file(path)?,
        None => Table::new(),
    };
    // Sorted, so that what is told does not depend on the order in which the environment came.
    let mut env = sources.env;
    env.sort();
    for (name, value) in env {
        if name.starts_with(ENV_PREFIX) {
            let path = env_path(&name);
            insert(&mut root, &path, Value::Untyped(value), Source::Env(name), faults);
        }
    }
    for (key, value) in sources.overrides {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        insert(&mut root, &path, Value::Untyped(value), Source::CommandLine, faults);
    }
    Ok(root)
}

fn env_path(name: &str) -> Vec<String> {
    name.strip_prefix(ENV_PREFIX).unwrap_or(name).split("__").map(str::to_lowercase).collect()
}

/// Puts a value over what lower layers said.
fn insert(root: &mut Table, path: &[String], value: Value, source: Source, faults: &mut Vec<Fault>) {
    let key = path.join(".");
    let Some((last, parents)) = path.split_last() else { return };
    if path.len() > MAX_DEPTH {
        faults.push(Fault::new(source, key.escape_debug().to_string(), "unknown key", "too deep for any key"));
        return;
    }
    let mut table = root;
    for (depth, name) in parents.iter().enumerate() {
        let node =
            table.entry(name.clone()).or_insert_with(|| Node::Table { entries: Table::new(), source: source.clone() });
        if let Node::List { source: list, .. } = node {
            let wrong = format!("a list, which is set as a whole, in {list}");
            faults.push(Fault::new(source, key.escape_debug().to_string(), wrong, "set it in the file"));
            return;
        }
        if let Node::Leaf { source: whole, .. } = node {
            let parent = path.iter().take(depth + 1).map(String::as_str).collect::<Vec<_>>().join(".");
            faults.push(both_ways(whole.clone(), &parent, &source));
            *node = Node::Table { entries: Table::new(), source: source.clone() };
        }
        match node {
            Node::Table { entries, .. } => table = entries,
            Node::List { .. } | Node::Leaf { .. } => return,
        }
    }
    if let Some(Node::Table { source: parts, .. }) = table.get(last) {
        faults.push(both_ways(source, &key, parts));
        return;
    }
    table.insert(last.clone(), Node::Leaf { value, source });
}

fn both_ways(whole: Source, key: &str, parts: &Source) -> Fault {
    let wrong = format!("one value where a section belongs, whose keys are set by {parts}");
    Fault::new(whole, key.escape_debug().to_string(), wrong, "set the keys, not the section")
}

fn parse_file(path: &Path) -> Result<Table, ConfigError> {
    let text = read_file(path).map_err(|error| {
        let source = Source::File { path: path.to_owned(), line: None };
        ConfigError::new(vec![Fault::new(source, "", format!("cannot be read: {error}"), "a readable TOML file")])
    })?;
    let lines = Lines { path, text: &text };
    let (document, errors) = DeTable::parse_recoverable(&text);
    if errors.is_empty() {
        return Ok(lines.table(document.into_inner()));
    }
    let fault = |error: toml::de::Error| {
        let source = lines.source(error.span().unwrap_or_default().start);
        // Not the error's `Display`, which quotes the line: it may hold a secret.
        Fault::new(source, "", error.message(), "valid TOML")
    };
    Err(ConfigError::new(errors.into_iter().map(fault).collect()))
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

struct Lines<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Lines<'_> {
    fn source(&self, offset: usize) -> Source {
        let line = self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        Source::File { path: self.path.to_owned(), line: Some(line) }
    }

    fn table(&self, table: DeTable<'_>) -> Table {
        table.into_iter().map(|(key, value)| (key.get_ref().to_string(), self.node(&key, value.into_inner()))).collect()
    }

    fn node(&self, key: &Spanned<std::borrow::Cow<'_, str>>, value: DeValue<'_>) -> Node {
        self.node_at(key.span().start, value)
    }

    fn node_at(&self, offset: usize, value: DeValue<'_>) -> Node {
        let source = self.source(offset);
        let value = match value {
            DeValue::Table(entries) => return Node::Table { entries: self.table(entries), source },
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => integer(&number),
            DeValue::Boolean(flag) => Value::Boolean(flag),
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => {
                let items = items.into_iter().map(|item| self.node_at(item.span().start, item.into_inner())).collect();
                return Node::List { items, source };
            }
        };
        Node::Leaf { value, source }
    }
}

fn integer(number: &DeInteger<'_>) -> Value {
    i64::from_str_radix(number.as_str(), number.radix())
        .map_or(Value::Other("a number out of any range"), Value::Integer)
}
