//! One event, one line. Owns the two formats and the neutralizing of what callers put into fields: a line end forges
//! a line, an escape sequence takes over the terminal of whoever reads the log, a bidirectional mark reorders it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::Write as _;

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::people;
use crate::clock::Clock;
use crate::config::LogAddresses;

/// Names that a line has already.
const RESERVED: [&str; 3] = ["timestamp", "level", "target"];
/// Under this name an event tells in a JSON object of texts what only it has; the line has the object itself.
const DETAIL: &str = "detail";
/// Of one field. What is longer comes from a caller, or is of no use.
const TEXT_BYTES_MAX: usize = 8 * 1024;

pub(super) enum Format {
    Pretty { colour: bool },
    Json,
}

/// The layer that writes lines.
pub(super) struct Lines<W> {
    format: Format,
    addresses: LogAddresses,
    writer: W,
    clock: Clock,
    /// Pretty lines are for the person at the terminal; JSON is always UTC.
    zone: TimeZone,
}

impl<W> Lines<W> {
    pub(super) fn new(format: Format, addresses: LogAddresses, writer: W, clock: Clock) -> Self {
        let zone = match format {
            Format::Pretty { .. } => TimeZone::system(),
            Format::Json => TimeZone::UTC,
        };
        Self { format, addresses, writer, clock, zone }
    }

    fn json(now: Instant, metadata: &Metadata<'_>, fields: &Fields) -> Result<String, fmt::Error> {
        let mut line = String::new();
        write!(line, r#"{{"timestamp":"{now:.6}","level":"{}","target":"#, metadata.level())?;
        write_json(&mut line, metadata.target())?;
        for (name, value) in &fields.0 {
            line.push(',');
            let prefix = if RESERVED.contains(name) { "field." } else { "" };
            write!(line, r#""{prefix}{name}":"#)?;
            match value {
                Value::Literal(literal) => line.push_str(literal),
                Value::Text(text) => match details(name, text) {
                    Some(details) => write_object(&mut line, &details)?,
                    None => write_json(&mut line, text)?,
                },
            }
        }
        line.push_str("}\n");
        Ok(line)
    }

    fn pretty(&self, now: Instant, metadata: &Metadata<'_>, fields: &Fields) -> Result<String, fmt::Error> {
        let mut line = now.to_zoned(self.zone.clone()).strftime("%H:%M:%S%.3f ").to_string();
        let level = metadata.level();
        match self.format {
            Format::Pretty { colour: true } => write!(line, "\u{1b}[{}m{level}\u{1b}[0m", colour_of(*level))?,
            Format::Pretty { colour: false } | Format::Json => write!(line, "{level}")?,
        }
        line.push_str(if level.as_str().len() == 4 { "  " } else { " " });
        // Ours are told apart by their words; others say who speaks.
        if !metadata.target().starts_with(env!("CARGO_CRATE_NAME")) {
            write_tame(&mut line, metadata.target())?;
            line.push_str(": ");
        }
        if let Some(Value::Text(message)) = fields.get(MESSAGE) {
            write_tame(&mut line, message)?;
            line.push(' ');
        }
        for (name, value) in fields.0.iter().filter(|(name, _)| *name != MESSAGE) {
            match value {
                Value::Literal(text) => write!(line, " {name}={text}")?,
                Value::Text(text) => match details(name, text) {
                    Some(details) => details.iter().try_for_each(|(name, value)| write_pair(&mut line, name, value))?,
                    None => write_pair(&mut line, name, text)?,
                },
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        Ok(line)
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // The event first, then from the innermost span out: what is nearer wins.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.add_missing(outer);
            }
        }
        fields.cut_addresses(self.addresses);
        let now = Instant::from_microsecond(self.clock.now().micros()).unwrap_or_default();
        let metadata = event.metadata();
        let line = match self.format {
            Format::Pretty { .. } => self.pretty(now, metadata, &fields),
            Format::Json => Self::json(now, metadata, &fields),
        };
        // In one write, so that lines of two threads do not mix. A failure has nowhere left to be told.
        if let Ok(line) = line {
            self.writer.make_writer_for(metadata).write_all(line.as_bytes()).ok();
        }
    }
}

const MESSAGE: &str = "message";

/// Fields of an event or a span, each name once.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

#[derive(Clone)]
enum Value {
    /// A number, true, false or null, as JSON writes it.
    Literal(String),
    Text(String),
}

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn put(&mut self, field: &Field, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == field.name()) {
            Some((_, old)) => *old = value,
            None => self.0.push((field.name(), value)),
        }
    }

    fn cut_addresses(&mut self, how: LogAddresses) {
        for (name, value) in &mut self.0 {
            if let Value::Text(text) = value
                && people::is_address(name)
            {
                *text = people::cut(text, how);
            }
        }
    }

    fn add_missing(&mut self, outer: &Self) {
        for (name, value) in &outer.0 {
            if self.get(name).is_none() {
                self.0.push((name, value.clone()));
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::Text(cut(format!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(cut(value.to_owned())));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        self.put(field, Value::Text(cut(text)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Literal(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Literal(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Literal(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for infinity.
        let literal = if value.is_finite() { value.to_string() } else { "null".to_owned() };
        self.put(field, Value::Literal(literal));
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let whole = text.len();
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text = format!("{text} [{} bytes more]", whole - text.len());
    }
    text
}

/// What is in the object; `None` if it is none, or holds other than texts.
fn details(name: &str, text: &str) -> Option<BTreeMap<String, String>> {
    if name == DETAIL { serde_json::from_str(text).ok() } else { None }
}

const fn colour_of(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// Whether a letter does something else than to be seen: controls, line and paragraph ends, bidirectional marks.
fn is_wild(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains([' ', '"', '=', '\\']) && !text.contains(is_wild)
}

fn write_tame(line: &mut String, text: &str) -> fmt::Result {
    for letter in text.chars() {
        match letter {
            wild if is_wild(wild) => write!(line, "{}", wild.escape_default())?,
            tame => line.push(tame),
        }
    }
    Ok(())
}

/// One in a pretty line. A name may come from an object.
fn write_pair(line: &mut String, name: &str, text: &str) -> fmt::Result {
    line.push(' ');
    write_tame(line, name)?;
    line.push('=');
    if is_plain(text) {
        line.push_str(text);
        return Ok(());
    }
    write_quoted(line, text)
}

fn write_quoted(line: &mut String, text: &str) -> fmt::Result {
    line.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                line.push('\\');
                line.push(letter);
            }
            wild if is_wild(wild) => write!(line, "{}", wild.escape_default())?,
            tame => line.push(tame),
        }
    }
    line.push('"');
    Ok(())
}

fn write_object(line: &mut String, object: &BTreeMap<String, String>) -> fmt::Result {
    line.push('{');
    for (number, (name, value)) in object.iter().enumerate() {
        if number > 0 {
            line.push(',');
        }
        write_json(line, name)?;
        line.push(':');
        write_json(line, value)?;
    }
    line.push('}');
    Ok(())
}

/// A JSON text. By hand, because JSON itself lets pass what a terminal or another reader of lines would obey.
fn write_json(line: &mut String, text: &str) -> fmt::Result {
    line.push('"');
    for letter in text.chars() {
        match letter {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            // All of them are below U+10000, so that one group of four digits is enough.
            wild if is_wild(wild) => write!(line, "\\u{:04x}", u32::from(wild))?,
            tame => line.push(tame),
        }
    }
    line.push('"');
    Ok(())
}
