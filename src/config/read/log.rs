//! What is logged, and how.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::super::reader::{Key, Section, Wrong, quoted};
use super::super::{Log, LogAddresses, LogFormat};

pub(super) fn read(section: &mut Section<'_>, out: &mut Log) {
    let formats = [("auto", LogFormat::Auto), ("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
    section.word("format", "`auto`: pretty on a terminal, else JSON", &formats, &mut out.format);
    let meaning = "a level, or levels by module: `info,postern=debug`";
    let key = Key { name: "filter", meaning, bounds: "`off`, `error`, `warn`, `info`, `debug`, `trace`".to_owned() };
    section.text(key, &mut out.filter, String::clone, log_filter);
    let words = [("full", LogAddresses::Full), ("truncated", LogAddresses::Truncated), ("none", LogAddresses::None)];
    let meaning = "of people: `truncated` to /24, or /48 of IPv6; the audit log has them whole";
    section.word("addresses", meaning, &words, &mut out.addresses);
}

fn log_filter(text: &str) -> Result<String, Wrong> {
    let right = "\"info\", or \"info,postern=debug\"";
    // `debgu` would be the name of a module, and silence everything else.
    let is_bare = |part: &&str| part.is_empty() || (!part.contains(['=', '[']) && part.parse::<LevelFilter>().is_err());
    let bare = text.split(',').map(str::trim).find(is_bare);
    if let Some(bare) = bare {
        return Err(Wrong::new(format!("{} is not a level", quoted(bare)), right));
    }
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Wrong::new(format!("{}: {error}", quoted(text)), right)),
    }
}
