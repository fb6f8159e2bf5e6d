//! Whether there are traces, how many, and where they go.

use std::ops::RangeInclusive;

use super::super::Telemetry;
use super::super::reader::{Key, Section, Wrong, quoted};
use super::gateway::origin;

const ONE_IN: RangeInclusive<u32> = 1..=1_000_000;
const NAME_MAX: usize = 64;

pub(super) fn read(section: &mut Section<'_>, out: &mut Telemetry) {
    let meaning = "of a collector that takes OTLP over gRPC; unset: no traces";
    let key = Key { name: "endpoint", meaning, bounds: "an origin: scheme, host and port".to_owned() };
    let show = |url: &Option<String>| url.clone().unwrap_or_default();
    section.text(key, &mut out.endpoint, show, |text| origin(text, "\"http://127.0.0.1:4317\"").map(Some));
    let meaning = "PEM: who vouches for the collector; unset: whom the machine trusts";
    section.optional_path("ca", meaning, &mut out.ca);
    let meaning = "of so many traces that begin here, one is exported; those of callers go on as they began";
    section.number("sample_one_in", meaning, &ONE_IN, &mut out.sample_one_in);
    let key = Key {
        name: "service_name",
        meaning: "what this program is called in traces",
        bounds: format!("1 to {NAME_MAX} of `a-z A-Z 0-9 . _ -`"),
    };
    section.text(key, &mut out.service_name, String::clone, |text| {
        let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if is_name && (1..=NAME_MAX).contains(&text.len()) {
            Ok(text.to_owned())
        } else {
            Err(Wrong::new(format!("{} is no such name", quoted(text)), "\"postern\""))
        }
    });
}
